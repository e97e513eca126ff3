"""Earlier answers as ``{{ ID }}``, and the workflow's table: every node's columns, called as the node."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import orjson
import pandas as pd
import polars
import pyarrow as pa
import pytest
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.errors import UsageError, WorkflowError

REVIEW = {"kind": ["good", "bad"], "stars": int}
ASK = tn.CreateChatCompletion(model="m", prompt="{{ word }}", answer=REVIEW)
PLAIN = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
BESIDE = ("status", "outcome", "message")


def react(exchange):
    """Answer ``bad`` with what fits nothing, ``called`` without a text, and any other word by what it asks for."""
    body = orjson.loads(exchange.received.body)
    word = body["messages"][-1]["content"]
    text = json.dumps({"kind": "good", "stars": 4}) if "response_format" in body else f"<{word}>"
    text = {"bad": "no", "called": None}.get(word, text)
    answer({"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]})(exchange)


def run(nodes, *words, table=None, **manner):
    with fault_server(react) as server:
        flow = tn.Workflow(nodes, connection=tn.Connection(server.url))
        out = flow.run(pd.DataFrame({"word": [*words]}) if table is None else table, progress=False, **manner)
        return out, [orjson.loads(each.body)["messages"][-1]["content"] for each in server.requests]


def outcomes(output):
    return list(output.log["outcome"])


@pytest.mark.parametrize(
    ("ask", "text", "expected"),
    [
        (PLAIN, "{{ ask }}", "<x>"),
        (PLAIN, "{{ ask | upper }}!{{ask[0]}}", "<X>!<"),
        (PLAIN, '{{ row["word"] ~ ask }}', "x<x>"),
        (PLAIN, "{{ outputs.ask.answer }}", "<x>"),
        (PLAIN, "{{ 'b' if 'x' in ask else 'c' }} ask", "b ask"),
        (ASK, "{{ ask.stars }} {{ ask['kind'] }}", "4 good"),
        (ASK, "{{ ask.stars + 1 }}", "5"),
        (ASK, "{{ ask }}", '{"kind":"good","stars":4}'),
        (ASK.replace(answer=REVIEW, into="x"), "{{ ask.stars }}", "4"),
        (tn.Return(text="{{ word }}."), "{{ ask }}{{ outputs.ask.text }}{{ outputs.ask.answer }}", "x.x.x."),
    ],
)
def test_a_later_node_reads_an_earlier_answer_by_its_id(ask, text, expected):
    """A text, a label or a record; in any expression."""
    out, _ = run({"ask": ask, "said": tn.Return(text=text)}, "x")
    assert list(out.table["said"]) == [expected]


def test_an_answer_may_stand_wherever_placeholders_may():
    """In messages, in JSON texts, in every shortcut."""
    nodes = {
        "ask": PLAIN,
        "a": PLAIN.replace(prompt="{{ ask }}1"),
        "b": PLAIN.replace(prompt=None, messages=[{"role": "user", "content": "{{ ask }}2"}]),
        "c": PLAIN.replace(prompt=None, messages='[{"role": "user", "content": "{{ ask }}3"}]'),
    }
    assert run(nodes, "x")[1] == ["x", "<x>1", "<x>2", "<x>3"]


def test_a_row_without_an_earlier_answer_is_upstream_failed():
    """Be it unusable or missing; unless every placeholder that reads it has a default."""
    nodes = {
        "ask": ASK,
        "plain": PLAIN,
        "fields": tn.Return(text="{{ ask.stars }}"),
        "text": tn.Return(text="{{ plain }}"),
        "met": tn.Return(text="{{ ask.stars | default(0) }} {{ plain | default('-') }}"),
        "long": tn.Return(text="{{ outputs.ask.choices[0].message.content | default('none') }}"),
        "half": tn.Return(text="{{ ask.stars | default(0) }} {{ ask.kind }}"),
    }
    out, _ = run(nodes, "x", "bad", "called")
    assert outcomes(out["ask"]) == ["ok", "unusable", "unusable"]
    assert outcomes(out["fields"]) == outcomes(out["half"]) == ["ok", "upstream_failed", "upstream_failed"]
    assert outcomes(out["text"]) == ["ok", "ok", "upstream_failed"]
    assert list(out.table["met"]) == ["4 <x>", "0 no", "0 -"]
    assert list(out.table["long"])[1:] == ["none", "none"]
    wording(out["text"].log["message"].iloc[2])


@pytest.mark.parametrize("kind", [lambda frame: frame, pa.Table.from_pandas, polars.from_pandas])
def test_the_table_has_every_nodes_columns(kind):
    """Typed, called as the node or as into says; in the table's kind."""
    nodes = {"ask": ASK, "note": PLAIN.replace(into="n"), "said": tn.Return(text="{{ note }}")}
    out, _ = run(nodes, table=kind(pd.DataFrame({"word": ["x", "bad"]})))
    names = ["word", "ask_kind", "ask_stars", *(f"ask_{each}" for each in BESIDE)]
    names += ["n", *(f"n_{each}" for each in BESIDE), "said", "said_outcome", "said_message"]
    table = out.table
    assert type(table) is type(out["ask"].table)
    assert [*getattr(table, "column_names", table.columns)] == names
    assert list(out) == ["ask", "note", "said"]
    if isinstance(table, pd.DataFrame):
        assert list(table["ask_kind"].cat.categories) == ["good", "bad"]
        assert table["ask_stars"].to_list() == [4, pd.NA]
        assert list(out["ask"].table.columns) == ["word", "kind", "stars", *BESIDE]


def test_one_node_names_its_columns_too():
    """And no row has the same ones."""
    some, none = run({"ask": ASK}, "x")[0].table, run({"ask": ASK})[0].table
    assert list(some.columns) == list(none.columns) == ["word", "ask_kind", "ask_stars", *(f"ask_{e}" for e in BESIDE)]
    assert list(some.dtypes[1:]) == list(none.dtypes[1:])


def test_conversations_and_ids_stand_in_the_table_as_the_last_node_left_them(tmp_path):
    """Beside the answers of every turn."""
    nodes = {
        "start": tn.CreateConversation(),
        "first": tn.AddUserMessage(text="{{ word }}"),
        "reply": tn.CreateChatCompletion(model="m"),
        "second": tn.AddUserMessage(text="{{ reply }}?", continue_from="reply"),
        "end": tn.CreateChatCompletion(model="m"),
    }
    out, asked = run(nodes, "x", store=tmp_path / "store")
    assert asked == ["x", "<x>?"]
    beside = {name: [name, *(f"{name}_{e}" for e in BESIDE)] for name in ("reply", "end")}
    ends = (beside.get(name) or [f"{name}_outcome", f"{name}_message"] for name in nodes)
    assert list(out.table.columns) == ["word", "conversation", *(column for each in ends for column in each)]
    assert out.table["conversation"][0] == out["second"].table["conversation"][0]


@pytest.mark.parametrize(
    ("nodes", "code"),
    [
        ({"word": PLAIN}, ""),
        ({"ask": PLAIN, "word": tn.Return(text="{{ ask }}")}, ""),
        ({"ask": PLAIN.replace(into="gold")}, "answer_column"),
        ({"ask": ASK.replace(into="my")}, "answer_column"),
        ({"ask": ASK, "ask_kind": PLAIN}, ""),
        ({"a": PLAIN.replace(into="b"), "b": PLAIN}, ""),
    ],
)
def test_a_name_that_is_taken_is_an_error_before_anything_is_sent(nodes, code):
    """Of an id, of what into says, of two nodes."""
    table = pd.DataFrame({"word": ["x"], "gold": ["g"], "my_kind": ["good"]})
    with fault_server(react) as server:
        flow = tn.Workflow(nodes, connection=tn.Connection(server.url))
        for do in (flow.check, flow.run):
            with wording.raises(UsageError) as caught:
                do(table)
            assert caught.value.code == code
        assert server.requests == []


def test_a_column_that_is_called_as_a_plain_answer_is_no_clash():
    """The workflow's column has the node's name: a gold answer is compared with that."""
    out, _ = run({"ask": PLAIN}, table=pd.DataFrame({"word": ["x"], "answer": ["gold"], "ask_status": ["mine"]}))
    assert list(out.table.columns) == [
        "word",
        "answer",
        "ask_status",
        "ask",
        "ask_status_2",
        "ask_outcome",
        "ask_message",
    ]


def test_a_check_is_shown_by_node_and_an_output_says_how_many_rows_are_not():
    """What can be known only later is no warning; a connection in the place of the inputs is told its name."""
    flow, table = (
        tn.Workflow({"ask": ASK, "said": tn.Return(text="{{ ask.stars }}")}),
        pd.DataFrame({"word": ["x"] * 6}),
    )
    running = tn.testing.canned({"stars": 1, "kind": "bug"})
    wording(str(flow.check(table, connection=running)))
    with wording.raises(WorkflowError):
        flow.run(table, running)
    assert repr(flow.run(table, connection=running)).endswith("\n… and 1 more row")


@pytest.mark.parametrize("text", ["{{ aks.stars }}", "{{ nothing }}", "{{ said }}"])
def test_a_misspelt_id_is_told_the_ids(text):
    """They are read like columns; a node that reads itself is told that."""
    flow = tn.Workflow({"ask": ASK, "said": tn.Return(text=text), "later": PLAIN})
    with wording.raises(UsageError):
        flow.check(pd.DataFrame({"word": ["x"]}))


def test_a_misspelt_id_is_told_the_nearest_where_there_is_no_table():
    """Nothing else could be read there."""
    nodes = {"ask": PLAIN.replace(prompt="p"), "said": tn.Return(text="{{ aks }}")}
    with wording.raises(UsageError):
        tn.Workflow(nodes).check()


@pytest.mark.parametrize("text", ["{{ ask.sters }}", "{{ plain.stars }}", "{{ later }}", "{{ outputs.ask.answer.x }}"])
def test_a_part_of_an_answer_that_cannot_be_there_is_found_beforehand(text):
    """A misspelt field, a field of a text, a node that comes later."""
    nodes = {"ask": ASK, "plain": PLAIN, "said": tn.Return(text=text), "later": PLAIN}
    with wording.raises(UsageError):
        tn.Workflow(nodes).check(pd.DataFrame({"word": ["x"]}))


def test_the_file_keeps_the_short_form(tmp_path):
    """As it was written."""
    flow = tn.Workflow({"ask": PLAIN, "said": tn.Return(text="{{ ask }}")})
    flow.save(tmp_path / "w.yaml")
    assert "{{ ask }}" in (tmp_path / "w.yaml").read_text()
    assert tn.Workflow.load(tmp_path / "w.yaml") == flow
    Path(tmp_path / "w.yaml").write_text(
        "nodes:\n- {id: a, type: Return, text: x}\n- {id: b, type: Return, text: '{{ a.x }}'}\n"
    )
    with wording.raises(WorkflowError, folder=tmp_path):
        tn.Workflow.load(tmp_path / "w.yaml")


def test_the_output_is_a_mapping_that_can_be_pickled():
    """Of every node's, with one table."""
    out, _ = run({"ask": PLAIN, "said": tn.Return(text="{{ ask }}")}, "x")
    again = pickle.loads(pickle.dumps(out))
    pd.testing.assert_frame_equal(again.table, out.table)
    assert isinstance(out, tn.WorkflowOutput)
    assert (dict(out).keys(), len(out), "ask" in out) == ({"ask", "said"}, 2, True)
    assert "said" in repr(out)


def test_call_writes_what_python_gives(tmp_path, capsys):
    """A node alone calls its column answer."""
    pd.DataFrame({"word": ["x"], "CreateChatCompletion": ["own"]}).to_csv(tmp_path / "t.csv", index=False)
    given = ("--model", "m", "--prompt", "{{ word }}", "--no-key", "-o", "-")
    with fault_server(react) as server, pytest.raises(SystemExit) as ended:
        main(["call", "CreateChatCompletion", str(tmp_path / "t.csv"), *given, "--base-url", server.url])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("word,CreateChatCompletion,answer,status,outcome,message\n")


def test_a_check_shows_no_prompt_that_is_made_of_answers_which_are_not_there():
    """It would have holes in it."""
    flow = tn.Workflow({"ask": PLAIN, "again": PLAIN.replace(prompt="{{ word }}: {{ ask }}")})
    found = flow.check(pd.DataFrame({"word": ["a"]}))
    assert [each.text for each in found["ask"].prompts] == ["a"]
    assert found["again"].prompts == ()


def test_answers_and_inputs_stand_in_lists_and_objects_of_settings():
    """Functions with placeholders keep their arguments known: a part that cannot be there is found beforehand."""
    parameter = {"name": "urgency", "type": "string", "enumValues": ["{{ word }}", "later"]}
    ask = tn.CreateChatCompletion(
        model="m",
        prompt="go",
        stop=["{{ first }}"],
        extra_body={"top_k": "{{ inputs.k }}", "labels": ["{{ first }}"]},
        functions=[{"name": "f", "description": "for {{ first }}", "parameters": [parameter]}],
    )
    with fault_server(react) as server:
        flow = tn.Workflow({"first": PLAIN, "ask": ask}, inputs={"k": 5}, connection=tn.Connection(server.url))
        flow.run(pd.DataFrame({"word": ["a"]}), progress=False)
        body = orjson.loads(server.requests[-1].body)
    (function,) = body["functions"]
    assert (body["stop"], body["top_k"], body["labels"]) == (["<a>"], 5, ["<a>"])
    assert function["description"] == "for <a>"
    assert function["parameters"]["properties"] == {"urgency": {"type": "string", "enum": ["a", "later"]}}
    last = tn.Return(text="{{ outputs.ask.choices[0].message.function_call.arguments.urgncy }}")
    for nodes in ({"first": PLAIN, "ask": ask, "last": last}, {"ask": ask.replace(functions=None, stop=None)}):
        with wording.raises(WorkflowError):
            tn.Workflow(nodes, inputs={"kk": 5} if len(nodes) == 1 else {"k": 5})


LATER = tn.CreateChatCompletionAsync(model="m", prompt="{{ word }}")


def test_ids_that_would_be_in_no_table_are_refused_before_anything_is_submitted():
    """The second node's would take the place of the first's; unless somebody retrieves these, wherever."""
    with wording.raises(WorkflowError):
        tn.Workflow({"first": LATER, "second": LATER}).check(pd.DataFrame({"word": ["a"]}))
    first = tn.RetrieveResponse(future_response_id="{{ outputs.first.future_response_id }}")
    both = {"first": LATER, "second": LATER, "answers": first}
    assert tn.Workflow(both).check(pd.DataFrame({"word": ["a"]}))["second"].valid == 1
    between = {"first": LATER, "answers": tn.RetrieveResponse(), "second": LATER}
    assert tn.Workflow(between).check(pd.DataFrame({"word": ["a"]}))["second"].valid == 1
