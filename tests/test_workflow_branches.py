"""A workflow's branches: what became of a row, read by later nodes, and which rows a node is run for."""

from __future__ import annotations

import json

import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.errors import UsageError, WorkflowError

ASK = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
OTHER = tn.CreateChatCompletion(model="m", prompt="fine")
AGAIN = tn.CreateChatCompletion(model="m", prompt="{{ outputs.ask.error.message }}")
NO_RETRY = tn.Retry(throttled=0, server_error=0, ambiguous=0)


def react(exchange):
    """Refuse ``bad``, and answer any other word with itself."""
    body = orjson.loads(exchange.received.body)
    word = body["messages"][-1]["content"]
    if word == "bad":
        answer({"error": {"message": "No such word", "type": "invalid", "code": "word"}}, status=400)(exchange)
        return
    answer({"choices": [{"index": 0, "message": {"content": f"<{word}>"}, "finish_reason": "stop"}]})(exchange)


def run(nodes, *words, table=None, **manner):
    """Return what came of a run, and what the server was asked."""
    with fault_server(react) as server:
        flow = tn.Workflow(nodes, connection=tn.Connection(server.url), retry=NO_RETRY)
        given = pd.DataFrame({"word": [*words]}) if table is None else table
        out = flow.run(given, progress=False, **manner)
        return out, [orjson.loads(each.body)["messages"][-1]["content"] for each in server.requests]


def texts(output):
    return list(output.text)


def outcomes(output):
    return list(output.log["outcome"])


# --- What became of a row --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("{{ outputs.ask.outcome }}", "ok", "http_error"),
        ("{{ outputs.ask.status }}", "200", "400"),
        ("{{ outputs.ask.error.message | default('none') }}", "none", "No such word"),
        ("{{ outputs.ask.error.code | default('none') }}", "none", "word"),
        ("{{ ask | default('nothing') }} {{ outputs.ask.outcome }}", "<a> ok", "nothing http_error"),
        ("{{ outputs.ask.choices[0].finish_reason | default(outputs.ask.status) }}", "stop", "400"),
        ("{{ ask | default('failed: ' ~ outputs.ask.error.message) }}", "<a>", "failed: No such word"),
        ("{{ ask | default(outputs.ask.error.message | upper) }}", "<a>", "NO SUCH WORD"),
        ("{{ ask if outputs.ask.outcome == 'ok' else outputs.ask.error.code }}", "<a>", "word"),
        ("{{ outputs.ask.error.code if outputs.ask.status >= 400 else ask | upper }}", "<A>", "word"),
    ],
)
def test_a_later_node_reads_what_became_of_a_row(text, good, bad):
    """The outcome, the status and the server's words, of rows that are ok and of those that failed."""
    out, _ = run({"ask": ASK, "say": tn.Return(text=text)}, "a", "bad")
    assert (texts(out["say"]), outcomes(out["say"])) == ([good, bad], ["ok", "ok"])


def test_a_failed_row_of_a_node_that_sends_nothing_has_an_error_too():
    """Its message is the one that the log has; it has no status."""
    table = pd.DataFrame({"word": ["a", None]})
    say = tn.Return(text="{{ outputs.first.outcome }}: {{ outputs.first.error.message | default('-') }}")
    out = tn.Workflow({"first": tn.Return(text="{{ word }}"), "say": say}).run(table, progress=False)
    assert texts(out["say"]) == ["ok: -", f"invalid_request: {out['first'].log['message'][1]}"]


def test_an_answer_is_still_needed_where_it_is_read_as_well():
    """Only what has a default goes on without it."""
    out, _ = run({"ask": ASK, "say": tn.Return(text="{{ ask }} {{ outputs.ask.outcome }}")}, "a", "bad")
    assert outcomes(out["say"]) == ["ok", "upstream_failed"]


def test_a_condition_about_another_node_does_not_excuse_what_is_missing():
    """Only what the condition asks about may be missing behind it."""
    nodes = {"ask": ASK, "other": OTHER, "say": tn.Return(text="{{ ask if outputs.other.outcome == 'ok' else 'x' }}")}
    out, _ = run(nodes, "a", "bad")
    assert outcomes(out["say"]) == ["ok", "upstream_failed"]


@pytest.mark.parametrize(
    "text",
    [
        "{{ outputs.ask.error.mesage }}",
        "{{ outputs.ask.outcome.x }}",
        "{{ outputs.ask.outcom }}",
        "{{ outputs.ask.statu | default(1) }}",
        "{{ outputs.ask.eror.message }}",
        "{{ outputs.ask.answers }}",
        "{{ outputs.ask.body }}",
        "{{ outputs.ask.outcome == 'OK' }}",
        "{{ 'x' if outputs.ask.outcome not in ['ok', 'failed'] else 'y' }}",
    ],
)
def test_a_part_of_an_end_that_is_not_there_is_found_beforehand(text):
    """Nothing is sent."""
    with wording.raises(WorkflowError):
        tn.Workflow({"ask": ASK, "say": tn.Return(text=text)})


# --- For which rows a node runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "asked"),
    [
        ("{{ n > 1 }}", ["b", "c"]),
        ("n > 1", ["b", "c"]),
        ("  {{- n > 1 and flag -}} ", ["c"]),
        ("{{ n - 1 }}", ["b", "c"]),
        ("{{ note }}", ["a"]),
        ("{{ note | default('') }}", ["a"]),
        ("{{ inputs.wanted }}", []),
        ('{{ row["n"] == 2 }}', ["b"]),
        ("{{ [] }}", []),
        ("{{ 'false' }}", ["a", "b", "c"]),
        (False, []),
    ],
)
def test_a_node_runs_for_the_rows_for_which_its_expression_is_true(when, asked):
    """With or without braces; as Python has it, and null is false. Nothing else is sent, and nothing has failed."""
    table = pd.DataFrame(
        {"word": ["a", "b", "c"], "n": [1, 2, 3], "flag": [True, False, True], "note": ["x", None, ""]}
    )
    with fault_server(react) as server:
        flow = tn.Workflow(
            {"ask": tn.Step(ASK, when=when)}, connection=tn.Connection(server.url), inputs={"wanted": {"default": 0}}
        )
        out = flow.run(table, progress=False)["ask"]
        sent = sorted(orjson.loads(each.body)["messages"][-1]["content"] for each in server.requests)
    assert sent == asked
    assert outcomes(out) == ["ok" if word in asked else "skipped" for word in "abc"]
    assert (out.summary.failed, out.summary.skipped, len(out.failed)) == (0, 3 - len(asked), 0)


def test_a_branch_is_taken_where_an_earlier_node_failed():
    """Each row goes one way; what joins the two meets the other one by a default."""
    nodes = {
        "ask": ASK,
        "again": tn.Step(
            tn.CreateChatCompletion(model="m", prompt="{{ outputs.ask.error.message }}"),
            when="outputs.ask.outcome != 'ok'",
        ),
        "say": tn.Return(text="{{ ask | default(again) }}"),
    }
    out, sent = run(nodes, "a", "bad")
    assert sorted(sent) == ["No such word", "a", "bad"]
    assert outcomes(out["again"]) == ["skipped", "ok"]
    assert texts(out["say"]) == ["<a>", "<No such word>"]


def test_a_node_may_run_where_an_earlier_answer_is_none():
    """As where it failed; the test itself needs no answer."""
    nodes = {"ask": ASK, "say": tn.Step(tn.Return(text="{{ outputs.ask.status is none }}"), when="{{ ask is none }}")}
    out, _ = run(nodes, "a", "bad")
    assert (outcomes(out["say"]), texts(out["say"])[1]) == (["skipped", "ok"], "false")


def test_what_joins_branches_needs_one_of_them():
    """The first that there is; where there is none, the row is as they were: skipped, or failed upstream."""
    nodes = {
        "ask": tn.Step(ASK, when="{{ word != 'c' }}"),
        "again": tn.Step(tn.Return(text="again"), when="{{ word == 'b' }}"),
        "say": tn.Return(text="{{ ask | default(again) }}"),
        "met": tn.Return(text="{{ ask | default(again) | default('none') }}"),
    }
    out, _ = run(nodes, "a", "bad", "c")
    assert outcomes(out["say"]) == ["ok", "upstream_failed", "skipped"]
    assert texts(out["met"]) == ["<a>", "none", "none"]


def test_a_row_that_was_skipped_is_skipped_where_its_answer_is_read():
    """As far as that goes, and no failure; a default goes on without it."""
    nodes = {
        "ask": tn.Step(ASK, when="{{ word != 'b' }}"),
        "more": tn.CreateChatCompletion(model="m", prompt="{{ ask }}"),
        "last": tn.Return(text="{{ more }}"),
        "met": tn.Return(text="{{ more | default('-') }} {{ outputs.ask.outcome }}"),
    }
    out, sent = run(nodes, "a", "b")
    assert sorted(sent) == ["<a>", "a"]
    assert [outcomes(each) for each in out.values()] == [["ok", "skipped"]] * 3 + [["ok", "ok"]]
    assert texts(out["met"])[1] == "- skipped"
    assert [each.summary.failed for each in out.values()] == [0, 0, 0, 0]
    assert list(out.table["ask_outcome"]) == ["ok", "skipped"]


def test_what_decides_may_lack_an_answer():
    """The row has failed upstream then, as with any other placeholder; or it has no value to decide by."""
    out, _ = run({"ask": ASK, "say": tn.Step(tn.Return(text="x"), when="{{ ask != 'a' }}")}, "a", "bad")
    assert outcomes(out["say"]) == ["ok", "upstream_failed"]
    out, _ = run({"say": tn.Step(tn.Return(text="x"), when="{{ n > 1 }}")}, table=pd.DataFrame({"n": [2, None]}))
    assert outcomes(out["say"]) == ["ok", "invalid_request"]
    wording(out["say"].log["message"][1])


def test_a_conversation_stays_where_nothing_is_added(tmp_path):
    """A turn that is skipped leaves the conversation as it was, for the next one."""
    nodes = {
        "begin": tn.CreateConversation(),
        "first": tn.AddUserMessage(text="{{ word }}"),
        "second": tn.Step(tn.AddUserMessage(text="more"), when="{{ word == 'b' }}"),
        "ask": tn.CreateChatCompletion(model="m"),
        "reply": tn.Step(tn.AppendReply(continue_from="ask"), when="{{ outputs.ask.outcome == 'ok' }}"),
    }
    out, sent = run(nodes, "a", "b", store=tmp_path / "store")
    assert sorted(sent) == ["a", "more"]
    assert outcomes(out["second"]) == ["skipped", "ok"]
    assert out.table["conversation"].notna().all()


def test_rows_that_failed_are_asked_again_alone():
    """`retry_failed` decides anew for the rows that it asks, each by its own answers."""
    nodes = {"first": tn.Return(text="{{ word }}"), "ask": tn.Step(ASK, when="{{ first != 'b' }}")}
    with fault_server(react) as server:
        out = tn.Workflow(nodes, connection=tn.Connection(server.url)).run(
            pd.DataFrame({"word": ["b", "a", "bad"]}), progress=False
        )
        again = out["ask"].retry_failed(progress=False)
        assert [orjson.loads(each.body)["messages"][0]["content"] for each in server.requests].count("bad") == 2
    assert outcomes(again) == ["skipped", "ok", "http_error"]


def test_a_check_says_which_rows_are_skipped():
    """They have no problem, and nor have rows that would be skipped after them."""
    table = pd.DataFrame({"word": ["a", None, "c", None], "n": [1, 2, 1, 1]})
    found = tn.Workflow({"ask": tn.Step(ASK, when="n < 2"), "say": tn.Return(text="{{ ask }}")}).check(table)
    assert [(each.valid, each.skipped, list(each.problems["row"])) for each in found.values()] == [(2, 1, [3])] * 2
    wording(str(found["ask"]))
    late = {"first": tn.Return(text="x"), "say": tn.Step(tn.Return(text="x"), when="{{ first }}")}
    assert tn.Workflow(late).check(table)["say"].valid == 4


@pytest.mark.parametrize(
    "when",
    [
        "{{ word }} and {{ n }}",
        "",
        "{{ }}",
        "{{ wort }}",
        "{{ outputs.nothing.outcome }}",
        "{{ word",
        3,
        "{{ inputs.x }}",
        "{{ n = 3 }}",
        "{{ n == 3 AND word == 'x' && !n }}",
        "{{ unit price = 3 }}",
    ],
)
def test_an_expression_that_cannot_decide_is_refused(when):
    """Before anything is sent, and its place is ``when``."""
    with wording.raises(UsageError):
        tn.Workflow({"ask": tn.Step(ASK, when=when)}).check(pd.DataFrame({"word": ["a"]}))


# --- Where requests go -----------------------------------------------------------------------------------------------


def test_a_node_may_have_a_connection_of_its_own(tmp_path):
    """Else the workflow's is used; one that the run is given goes before both."""
    with fault_server(react) as one, fault_server(react) as other:
        nodes = {"ask": ASK, "more": tn.Step(ASK, connection=tn.Connection(other.url, ""), description="elsewhere")}
        flow = tn.Workflow(nodes, connection=tn.Connection(one.url, ""))
        flow.run(pd.DataFrame({"word": ["a"]}), progress=False)
        assert (len(one.requests), len(other.requests)) == (1, 1)
        flow.run(pd.DataFrame({"word": ["a"]}), connection=tn.Connection(one.url, ""), progress=False)
        assert (len(one.requests), len(other.requests)) == (3, 1)


FILE = """
connection: {base_url: "http://127.0.0.1:1/v1", api_key: ""}
nodes:
  - id: ask
    type: CreateChatCompletion
    description: The first question.
    model: m
    prompt: "{{ word }}"
  - id: more
    type: CreateChatCompletion
    when: "{{ ask == 'yes' }}"
    connection: {base_url: "http://127.0.0.1:2/v1", api_key_env: OTHER_KEY}
    model: m
    prompt: "{{ ask }}"
"""


def test_a_file_says_of_a_node_when_it_runs_and_where(tmp_path):
    """And reads back as the same; the short form stays."""
    (tmp_path / "w.yaml").write_text(FILE)
    flow = tn.Workflow.load(tmp_path / "w.yaml")
    step = dict(flow._as_given)["more"]
    assert (step.when, step.connection.base_url) == ("{{ ask == 'yes' }}", "http://127.0.0.1:2/v1")
    assert dict(flow._as_given)["ask"].description == "The first question."
    flow.save(tmp_path / "again.yaml")
    assert tn.Workflow.load(tmp_path / "again.yaml") == flow


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ask == 'yes'", "asq == 'yes'"),
        ("api_key_env: OTHER_KEY", "api_key: secret"),
        ("when:", "wen:"),
        ("The first question.", "[1]"),
    ],
)
def test_what_is_wrong_with_it_has_its_line(tmp_path, before, after):
    """As with any other key of a node."""
    (tmp_path / "w.yaml").write_text(FILE.replace(before, after))
    with wording.raises(UsageError, hide=[str(tmp_path)]):
        tn.Workflow.load(tmp_path / "w.yaml").check(pd.DataFrame({"word": ["a"]}))


# --- Several columns, and those that are written ---------------------------------------------------------------------


def test_return_makes_several_columns():
    """Called after the node in the workflow's table; later nodes read them below its id, and take none as a setting."""
    fields = {"model": "{{ word }}!", "end": "{{ outputs.ask.outcome }}"}
    say = tn.Return(text="{{ all.model }} {{ all.end }}")
    nodes = {"ask": ASK, "all": tn.Return(fields=fields), "more": ASK, "say": say}
    out, _ = run(nodes, "a", "bad")
    made = ["all_model", "all_end", "all_outcome", "all_message"]
    assert [name for name in out.table.columns if name.startswith("all")] == made
    assert out.table[made[:2]].to_numpy().tolist() == [["a!", "ok"], ["bad!", "http_error"]]
    assert texts(out["say"]) == ["a! ok", "bad! http_error"]
    assert json.loads(out["more"]._answer_to(0)[1])["choices"]
    alone = tn.Return(fields={"one": "{{ word }}", "two": 2}).run(pd.DataFrame({"word": ["a", None]}))
    assert alone.table.fillna("-").to_numpy().tolist() == [["a", "a", "2"], ["-", "-", "2"]]
    assert outcomes(alone) == ["ok", "invalid_request"]


def test_a_field_that_cannot_be_made_leaves_the_others():
    """Its row is not ok and says which; a field whose answer was skipped is null, and the row is skipped."""
    cut = tn.Step(OTHER, when="{{ word != 'cut' }}")
    fields = {
        "said": "{{ word }}",
        "why": "{{ ask }}",
        "again": "{{ ask | upper }}",
        "n": "{{ n }}",
        "cut": "{{ cut }}",
    }
    table = pd.DataFrame({"word": ["a", "bad", "c", "cut"], "n": [1, 2, None, 4]})
    out, _ = run({"ask": ASK, "cut": cut, "all": tn.Return(fields=fields)}, table=table)
    made = out.table[[f"all_{name}" for name in fields]].fillna("-").to_numpy().tolist()
    assert made == [
        ["a", "<a>", "<A>", "1", "<fine>"],
        ["bad", "-", "-", "2", "<fine>"],
        ["c", "<c>", "<C>", "-", "<fine>"],
        ["cut", "<cut>", "<CUT>", "4", "-"],
    ]
    assert outcomes(out["all"]) == ["ok", "upstream_failed", "invalid_request", "skipped"]
    wording(list(out["all"].log["message"][1:]))
    found = tn.Return(fields={"a": "{{ word }}", "n": "{{ n }}"}).check(table)
    assert list(found.problems["path"]) == ["$.fields.n"]
    assert list(found.problems["column"]) == ["n"]


@pytest.mark.parametrize(
    "settings",
    [
        *({"fields": fields} for fields in ({}, ["a"], {"a b": "x"}, {"a": []})),
        {"fields": {"a": "x"}, "text": "x"},
    ],
)
def test_fields_that_cannot_be_columns_are_refused(settings):
    """When the node is made."""
    with wording.raises(UsageError):
        tn.Return(**settings)


def test_a_field_that_is_not_there_is_found_beforehand():
    """As with the fields of an answer."""
    with wording.raises(WorkflowError):
        tn.Workflow({"all": tn.Return(fields={"one": "x"}), "say": tn.Return(text="{{ all.won }}")})


@pytest.mark.parametrize("kind", [lambda frame: frame, pa.Table.from_pandas, pl.from_pandas])
def test_the_columns_that_are_written_can_be_chosen(tmp_path, kind):
    """In the order in which they are named; the output in memory has all."""
    path = tmp_path / "out.csv"
    flow = tn.Workflow({"say": tn.Return(text="{{ word }}!")}, output={"path": str(path), "columns": ["say", "word"]})
    out = flow.run(kind(pd.DataFrame({"word": ["a"], "n": [1]})), progress=False)
    assert path.read_text() == "say,word\na!,a\n"
    assert list(getattr(out.table, "column_names", out.table.columns)) == [
        "word",
        "n",
        "say",
        "say_outcome",
        "say_message",
    ]


@pytest.mark.parametrize(
    "output",
    [{"columns": ["sai"]}, {"columns": "say"}, {"columns": ["say"] * 2}, {"columns": ["body"], "raw": True}],
)
def test_a_column_that_will_not_be_there_is_refused(tmp_path, output):
    """Before anything is sent."""
    with wording.raises(UsageError):
        tn.Workflow({"say": tn.Return(text="x")}, output={"path": str(tmp_path / "o.csv"), **output}).check(
            pd.DataFrame({"word": ["a"]})
        )


def test_a_column_that_will_not_be_there_is_refused_on_the_standard_output_too(tmp_path, capsys):
    """With the file's line; nothing is printed."""
    (tmp_path / "flow.yaml").write_text(
        "output: {path: o.csv, columns: [sai]}\nnodes: [{id: say, type: Return, text: x}]\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(["run", str(tmp_path / "flow.yaml"), "-o", "-"])
    printed = capsys.readouterr()
    assert (ended.value.code != 0, printed.out) == (True, "")
    assert "no column 'sai'; did you mean 'say'?" in printed.err


FIVE = """
inputs:
  tone: {type: string, default: kind}
output: {path: OUT, columns: [word, COLUMNS]}
nodes:
  - id: begin
    type: CreateConversation
    system: "Be {{ inputs.tone }}. {{ first }}"
  - id: turn
    type: AddUserMessage
    text: "{{ word }}"
  - id: ask
    type: CreateChatCompletion
    model: m
    functions:
      - {name: sort, parameters: [{name: place, type: string, enumValues: [now, later], required: true}]}
  - id: reply
    type: CreateChatCompletion
    when: "{{ outputs.ask.choices[0].message.function_call.arguments.place == 'now' }}"
    model: m
    prompt: "{{ answerable }}"
  - id: told
    type: Return
    fields:
      begin: "{{ outputs.begin.outcome }} {{ outputs.begin.error.message | default('-') }}"
      turn: "{{ outputs.turn.outcome }} {{ outputs.turn.error.message | default('-') }}"
      end: "{{ outputs.ask.outcome }} {{ outputs.ask.error.message | default('-') }}"
      place: "{{ outputs.ask.choices[0].message.function_call.arguments.place | default('none') }}"
      last: "{{ last }}"
"""


def sorting(exchange):
    """Call the function for ``now`` and ``later``, refuse ``bad``, and answer a plain request."""
    body = orjson.loads(exchange.received.body)
    word = body["messages"][-1]["content"]
    if word == "bad":
        answer({"error": {"message": "No such word"}}, status=400)(exchange)
        return
    call = {"name": "sort", "arguments": json.dumps({"place": "later" if word == "later" else "now"})}
    message = {"content": "done"} if "functions" not in body else {"content": None, "function_call": call}
    answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})(exchange)


def test_each_failure_of_a_flow_stands_with_its_node_outcome_and_reason(tmp_path):
    """Inputs, a turn, functions, a condition: a row that fails at each node, and one table that says all of it."""
    rows = [
        ("now", "x", "x", "x"),
        ("later", "x", "x", "x"),
        ("now", None, "x", "x"),  # fails where the conversation begins
        (None, "x", "x", "x"),  # at the turn
        ("bad", "x", "x", "x"),  # where the model is asked
        ("now", "x", None, "x"),  # at the reply
        ("now", "x", "x", None),  # at the end
    ]
    columns = ["word", "first", "answerable", "last"]
    nodes = ("begin", "turn", "ask", "reply", "told")
    shown = [*(f"{name}_{what}" for name in nodes for what in ("outcome", "message")), "reply", "told_end"]
    (tmp_path / "flow.yaml").write_text(
        FIVE.replace("OUT", str(tmp_path / "out.csv")).replace("COLUMNS", ", ".join(shown))
    )
    with fault_server(sorting) as server:
        out = tn.Workflow.load(tmp_path / "flow.yaml").run(
            pd.DataFrame(rows, columns=columns),
            connection=tn.Connection(server.url, ""),
            store=tmp_path / "store",
            progress=False,
        )
        assert len(server.requests) == 7
    assert {name: outcomes(each) for name, each in out.items()} == {
        "begin": ["ok", "ok", "invalid_request", "ok", "ok", "ok", "ok"],
        "turn": ["ok", "ok", "upstream_failed", "invalid_request", "ok", "ok", "ok"],
        "ask": ["ok", "ok", "upstream_failed", "upstream_failed", "http_error", "ok", "ok"],
        "reply": ["ok", "skipped", *["upstream_failed"] * 3, "invalid_request", "ok"],
        "told": [*["ok"] * 6, "invalid_request"],
    }
    wording((tmp_path / "out.csv").read_text())
    for name in nodes:
        assert list(out.table[f"{name}_outcome"]) == outcomes(out[name])
        assert [each is None or each != each for each in out.table[f"{name}_message"]] == [
            each == "ok" for each in outcomes(out[name])
        ]


def test_the_columns_of_a_table_depend_on_no_row():
    """A node that sends nothing has its outcome and message whether a row fails or not; a look at it does without."""
    nodes = {"begin": tn.CreateConversation(system="{{ word }}"), "say": tn.Return(text="{{ word }}")}
    flow = tn.Workflow(nodes)
    fine, failing = (flow.run(pd.DataFrame({"word": words}), progress=False) for words in (["a", "b"], ["a", None]))
    ends = ["begin_outcome", "begin_message", "say_outcome", "say_message"]
    assert (
        list(fine.table.columns) == list(failing.table.columns) == ["word", "conversation", *ends[:2], "say", *ends[2:]]
    )
    assert failing.table[ends].iloc[1].notna().all()
    assert not any(name in repr(fine) for name in ends)
    assert all(name in repr(failing) for name in ends)
    assert flow.check(pd.DataFrame({"word": ["a"]}))
    with pytest.raises(WorkflowError, match="both make the column"):
        tn.Workflow({**nodes, "say_outcome": tn.Return(text="x")}).check(pd.DataFrame({"word": ["a"]}))
    taken = flow.run(pd.DataFrame({"word": ["a"], "say_outcome": ["mine"]}), progress=False).table
    assert taken[["say_outcome", "say_outcome_2"]].iloc[0].tolist() == ["mine", "ok"]


# --- What a server may add, what an input is, and the drawing --------------------------------------------------------


NULLS = {
    "ok": "{{ outputs.ask.error.message }}",
    "no server": "{{ outputs.first.status }}",
    "an error has no type": "{{ outputs.first.error.type }}",
    "no answer": "{{ outputs.first.text if outputs.first.outcome != 'ok' else '' }}",
    "null in the answer": "{{ outputs.ask.choices[0].message.refusal }}",
    "not in the answer": "{{ outputs.ask.choices[0].message.annotations }}",
}


@pytest.mark.parametrize("text", NULLS.values(), ids=NULLS)
def test_what_is_null_in_a_row_is_said_whole_with_the_reason(text):
    """The placeholder as its author wrote it, and what became of the row at that node."""
    nodes = {"first": tn.Return(text="{{ other }}"), "ask": ASK, "say": tn.Return(text=text)}
    message = {"role": "assistant", "content": "x", "refusal": None}
    reply = (200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    table = pd.DataFrame({"word": ["a"], "other": [None]})
    out = tn.Workflow(nodes).run(table, connection=tn.testing.canned(reply), progress=False)
    wording(out["say"].log["message"][0])


@pytest.mark.parametrize(
    ("text", "when", "doubts"),
    [
        ("{{ outputs.ask.status }} {{ outputs.ask.error.code }}", None, 2),
        ("{{ outputs.ask.status | default(0) }} {{ outputs.ask.error }}", None, 0),
        ("{{ outputs.ask.error.code if outputs.ask.outcome != 'ok' else '' }}", None, 0),
        ("{{ outputs.ask.error.code }}", "{{ outputs.ask.outcome == 'http_error' }}", 0),
        ("x", "{{ outputs.ask.status == 200 }}", 0),
    ],
)
def test_a_check_says_which_parts_of_an_end_not_every_row_has(text, when, doubts):
    """Where neither a default nor a condition meets that."""
    flow = tn.Workflow({"ask": ASK, "say": tn.Step(tn.Return(text=text), when=when)})
    found = [line for line in flow.check(pd.DataFrame({"word": ["a"]}))["say"].warnings if "is null where" in line]
    assert len(found) == doubts
    wording(found) if found else None


@pytest.mark.parametrize("text", ["{{ ask > 3 }}", "{{ outputs.ask.choices[0].message.content - 1 }}"])
def test_an_answer_that_is_a_text_and_no_number_is_said_by_its_name(text):
    """With what makes a number of it."""
    out, _ = run({"ask": ASK, "say": tn.Return(text=text)}, "a")
    wording(out["say"].log["message"][0])


def test_a_reply_that_is_appended_from_nowhere_is_answered_with_the_node_to_name():
    """A workflow knows which node has asked."""
    begin = {"begin": tn.CreateConversation(system="x")}
    reply = {"reply": tn.AppendReply()}
    for nodes in ({**begin, "ask": ASK.replace(prompt=None), **reply}, {**begin, **reply}, reply):
        with wording.raises(UsageError):
            tn.Workflow(nodes).check(pd.DataFrame({"word": ["a"], "conversation": ["x"]}))


def test_a_table_that_is_looked_at_leaves_out_what_says_nothing():
    """That each row of a node is ok; the table itself, and so a file, has it."""
    nodes = {"ask": OTHER, "say": tn.Return(text="x"), "other": ASK}
    out, _ = run(nodes, "a", "bad")
    shown = repr(out)
    assert "other_outcome" in shown
    assert not [name for name in ("ask_outcome", "ask_status", "say_outcome") if name in shown]
    assert {"ask_outcome", "ask_status", "ask_message", "say_outcome"} <= {*out.table.columns}
    alone, _ = run({"ask": ASK}, "a")
    assert "ask_status" in repr(alone)


def test_fields_of_a_reply_that_was_not_added_are_told_the_node_that_adds_them():
    """AppendReply adds a text alone; on the command line there is no output to continue from."""
    table = pd.DataFrame({"conversation": ["x"], "stars": [1], "status": [200], "outcome": ["ok"], "message": [None]})
    wording([line for line in tn.AddUserMessage(text="hi").check(table).warnings if "not added" in line])


def test_a_text_that_is_a_part_of_an_outcome_may_be_looked_for():
    """Only what is compared whole is one of the outcomes, or none."""
    out, _ = run({"ask": ASK, "say": tn.Return(text="{{ 'error' in outputs.ask.outcome }}")}, "a", "bad")
    assert texts(out["say"]) == ["false", "true"]


def test_a_run_says_what_a_check_warns_of(capsys):
    """Of its inputs, and of what only a server may add: a line each, before anything is sent."""
    nodes = {"ask": ASK, "say": tn.Return(text="{{ outputs.ask.zodiac | default('') }}")}
    flow = tn.Workflow(nodes, inputs={"unread": 1})
    table = pd.DataFrame({"word": ["a"]})
    warned = [
        line for check in flow.check(table).values() for line in check.warnings if "reads the answers" not in line
    ]
    flow.run(table, connection=tn.testing.canned("x"), progress=None)
    said = capsys.readouterr().err
    assert len(warned) == 2
    assert all(line in said for line in warned)


@pytest.mark.parametrize("path", ["choices[0].message.audio_url", "usage.reasoning_tokens", "choices[0].message.name"])
def test_a_part_of_an_answer_that_a_server_may_add_is_a_warning(path):
    """Said by a check and by a run; a misspelt name stays an error."""
    flow = tn.Workflow({"ask": ASK, "say": tn.Return(text=f"{{{{ outputs.ask.{path} }}}}")})
    warned = [line for line in flow.check(pd.DataFrame({"word": ["a"]}))["say"].warnings if "the API has no" in line]
    wording(warned)


@pytest.mark.parametrize(
    "value",
    [
        *({"type": "STRING", "defaults": "x"}, {"type": "string", "value": 1}, {"type": "bug"}, {"type": None, "x": 1}),
        *({"defaults": "x"}, {"requird": False, "default": 1}),
    ],
)
def test_a_mapping_with_a_type_is_a_declaration(value):
    """Never a value, and nor is one whose keys are all nearly a declaration's; one is written as a default."""
    with wording.raises(WorkflowError):
        tn.Workflow({"say": tn.Return(text="{{ inputs.a }}")}, inputs={"a": value})
    flow = tn.Workflow({"say": tn.Return(text="{{ inputs.a.type }}")}, inputs={"a": {"default": {"type": "bug"}}})
    assert texts(flow.run(progress=False)["say"]) == ["bug"]


def test_a_workflow_draws_itself(tmp_path, capsys):
    """Its nodes and what each reads: dotted where that is only what became of rows."""
    (tmp_path / "flow.yaml").write_text(FIVE.replace("OUT", str(tmp_path / "out.csv")).replace("COLUMNS", "told_end"))
    with pytest.raises(SystemExit):
        main(["graph", str(tmp_path / "flow.yaml")])
    wording(capsys.readouterr().out)
    again = tn.Step(AGAIN, when="outputs.ask.outcome != 'ok'")
    assert "n0 -.-> n1" in tn.Workflow({"ask": ASK, "again": again}).graph()
    asks_alike = {"ask": ASK.replace(prompt="x")}
    assert "table[" not in tn.Workflow(asks_alike).graph()
    assert 'table[("words.csv")]' in tn.Workflow(asks_alike, table="data/words.csv").graph()
