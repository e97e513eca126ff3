"""Workflows: nodes over one table, where a later one reads the earlier answers to the same row."""

from __future__ import annotations

import json
import os
import pickle

import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from permissions import permissions_bind
from sentences import wording
from servers import Exchange, answer, echo, fault_server, interrupting, message

import tablenodes as tn
from tablenodes.engine.calls import Answer
from tablenodes.engine.journal.journal import Journal
from tablenodes.errors import (
    ColumnError,
    ConnectionSettingError,
    InvalidRequests,
    JournalError,
    SettingError,
    TableError,
    TransportError,
    WorkflowError,
)
from tablenodes.workflow.inputs import Answers
from tablenodes.workflow.references import Reading

ASK = tn.CreateChatCompletion(model="m", prompt="First {{ word }}")
AGAIN = tn.CreateChatCompletion(model="m", prompt="Then {{ outputs.ask.choices[0].message.content }} of {{ word }}")


def words(count=3):
    return pd.DataFrame({"word": [f"w{i}" for i in range(count)]}, index=range(10, 10 + count))


def prompt_of(received):
    return orjson.loads(received.body)["messages"][-1]["content"]


def chat(text, **message_parts):
    return {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text} | message_parts, "finish_reason": "stop"}
        ]
    }


def by_prompt(reaction):
    """Answer by the last message's text."""

    def react(exchange: Exchange) -> None:
        reaction(prompt_of(exchange.received))(exchange)

    return react


SHOUT = by_prompt(lambda prompt: answer(chat(prompt.upper())))


def run(workflow, table, script=SHOUT, **more):
    with fault_server(script) as server:
        out = workflow.run(table, connection=tn.Connection(server.url), progress=False, **more)
    return out, server.requests


# --- what a workflow is ----------------------------------------------------------------------------------------------


def test_nodes_are_given_as_a_mapping_or_as_pairs():
    """Both keep their order; a workflow is a value."""
    made = tn.Workflow({"ask": ASK, "again": AGAIN})
    assert made == tn.Workflow([("ask", ASK), ("again", AGAIN)])
    assert made.nodes == (("ask", ASK), ("again", AGAIN))
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_workflow_shows_what_it_is():
    """Nodes, then what was set."""
    made = tn.Workflow({"ask": ASK}, id="x", output="o.csv")
    assert repr(made) == ("Workflow(ask: CreateChatCompletion; id='x'; output=Destination(path='o.csv', raw=False))")


@pytest.mark.parametrize(
    "arguments",
    [
        {"nodes": []},
        {"nodes": 5},
        {"nodes": ["ask"]},
        {"nodes": {"ask": "x"}},
        {"nodes": {5: ASK}},
        {"nodes": [("a", ASK), ("a", ASK)]},
        {"nodes": {"again": AGAIN, "ask": ASK}},
        {"connection": "http://h/v1"},
        {"limits": 5},
        {"id": "a/b"},
        {"table": words()},
        {"inputs": ["x"]},
        {"output": 5},
        {"output": ""},
    ],
)
def test_parts_that_do_not_fit_are_refused(arguments):
    """When the workflow is made, not when it is run."""
    with wording.raises(WorkflowError):
        tn.Workflow(**{"nodes": {"ask": ASK}, **arguments})


def test_a_part_can_be_replaced():
    """The rest stays; an unknown part is an error."""
    made = tn.Workflow({"ask": ASK}, id="x")
    assert made.replace(output="o.csv") == tn.Workflow({"ask": ASK}, id="x", output="o.csv")
    with wording.raises(WorkflowError):
        made.replace(outputs="o.csv")


def test_a_schema_file_does_not_depend_on_the_current_directory(tmp_path, monkeypatch):
    """A path is made absolute when the workflow is made."""
    monkeypatch.chdir(tmp_path)
    made = tn.Workflow({"ask": ASK.replace(schema="my.json")})
    assert made._steps[0][1].schema == str(tmp_path / "my.json")
    assert tn.Workflow({"ask": ASK.replace(schema={"type": "object"})})._steps[0][1].schema == {"type": "object"}


# --- what a run does -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [lambda f: f, pa.Table.from_pandas, pl.from_pandas])
def test_a_later_node_reads_the_earlier_answer_to_the_same_row(kind):
    """Row by row, in whatever kind of table; the configuration is passed through."""
    table = kind(words(5))
    out, requests = run(tn.Workflow({"ask": ASK, "again": AGAIN}), table)
    assert list(out) == ["ask", "again"]
    assert out["again"].configuration is table
    assert out["again"].texts() == [f"THEN FIRST W{i} OF W{i}" for i in range(5)]
    assert len(requests) == 10


def test_rows_of_a_stream_are_read_once_for_all_nodes():
    """It is read into a table, which every node gets."""
    stream = pa.Table.from_pandas(words(), preserve_index=False).to_reader()
    out, _ = run(tn.Workflow({"ask": ASK, "again": AGAIN}), stream)
    assert out["again"].texts()[2] == "THEN FIRST W2 OF W2"


def test_a_row_without_an_earlier_answer_is_upstream_failed():
    """It is not sent; the others are."""
    table = pd.DataFrame({"word": ["a", None, "bad"]})
    script = by_prompt(
        lambda prompt: answer({"error": {"message": "no"}}, 400) if "bad" in prompt else answer(chat("x"))
    )
    out, requests = run(tn.Workflow({"ask": ASK, "again": AGAIN}), table, script)
    assert list(out["again"].log["outcome"]) == ["ok", "upstream_failed", "upstream_failed"]
    bodies = [json.loads(body)["error"] for body in out["again"].result["body"][1:]]
    wording([error["message"].rpartition(": ")[2] for error in bodies])
    assert len(requests) == 3


def test_a_node_that_reads_no_answer_runs_on_every_row():
    """Only what is read matters."""
    out, _ = run(
        tn.Workflow({"ask": AGAIN.replace(prompt="{{ word | default('-') }}"), "b": ASK}),
        pd.DataFrame({"word": ["a", None]}),
    )
    assert list(out["ask"].log["outcome"]) == ["ok", "ok"]
    assert list(out["b"].log["outcome"]) == ["ok", "invalid_request"]


def test_any_answer_may_be_reached_by_a_name_that_is_worked_out():
    """Then every earlier answer must be there."""
    which = AGAIN.replace(prompt="{{ outputs[word].choices[0].message.content }}")
    out, _ = run(tn.Workflow({"a": ASK, "b": ASK, "c": which}), pd.DataFrame({"word": ["a", "b", "x"]}))
    assert out["c"].texts() == ["FIRST A", "FIRST B", None]
    assert list(out["c"].log["outcome"]) == ["ok", "ok", "invalid_request"]


def test_the_arguments_of_calls_are_parsed():
    """``arguments`` is JSON in a text, and reached as what it says; what is no JSON stays a text."""
    call = {"name": "reply", "arguments": '{"urgency": "reply now", "title": "Mr"}'}
    broken = {"function": {"name": "x", "arguments": "{broken"}}
    script = by_prompt(
        lambda prompt: answer(
            chat(None, function_call=call, tool_calls=[broken, {"function": call}])
            if "First" in prompt
            else chat(prompt)
        )
    )
    said = "outputs.ask.choices[0].message"
    later = ASK.replace(
        prompt=f"{{{{ {said}.function_call.arguments.urgency }}}}, "
        f"{{{{ {said}.tool_calls[1].function.arguments.title }}}}, {{{{ {said}.tool_calls[0].function.arguments }}}}"
    )
    ask = ASK.replace(functions=[{"name": "reply"}], tools=[{"name": "x"}, {"name": "reply"}])
    out, _ = run(tn.Workflow({"ask": ask, "later": later}), words(1), script)
    assert out["later"].texts() == ["reply now, Mr, {broken"]


def test_an_answer_that_cannot_be_parsed_ends_its_row():
    """It may be good enough for the API and too deep for us: the row says so, the others go on."""

    class Output:
        def _end_of(self, row):
            return "ok", 200, None

        def _answer_to(self, row):
            return "ok", ("[" * 5000, '{"choices": []}')[row]

    answers = Answers({"ask": Output()}, {"ask": Reading(answer=False, needs_answer=False)})
    assert answers(0).outcome == "upstream_failed"
    wording(answers(0).problem.message)
    assert answers(1) == {"ask": {"choices": []}}


def test_inputs_are_the_same_in_every_row():
    """Defaults, unless the run gives others."""
    node = ASK.replace(prompt="{{ inputs.verb }} {{ word }}", temperature="{{ inputs.heat }}")
    workflow = tn.Workflow({"ask": node}, inputs={"verb": "say", "heat": 0.5})
    out, requests = run(workflow, words(2), inputs={"verb": "sing"})
    assert out["ask"].texts() == ["SING W0", "SING W1"]
    assert orjson.loads(requests[0].body)["temperature"] == 0.5


@pytest.mark.parametrize(
    "given",
    [
        {"wort": "x"},
        {"x": "x"},
        {"word": 5},
        {"word": "x", "number": "5.5"},
        {"word": "x", "number": 5.5},
        {"word": "x", "number": "five"},
        {"word": "x", "number": True},
        {},
        {"word": b"x"},
        ["word"],
    ],
)
def test_inputs_are_checked_before_anything_is_sent(given):
    """Names, types, and those that must be given."""
    node = ASK.replace(prompt="{{ inputs.word }}")
    workflow = tn.Workflow({"ask": node}, inputs={"word": {"type": "string"}, "number": 1})
    with fault_server(echo()) as server, wording.raises(WorkflowError):
        workflow.run(words(), given, tn.Connection(server.url), progress=False)
    assert server.requests == []


def test_an_input_that_is_not_required_may_be_missing():
    """It is as an empty cell is."""
    node = ASK.replace(prompt="{{ inputs.word | default('-') }}")
    out, _ = run(tn.Workflow({"ask": node}, inputs={"word": {"required": False}}), words(1))
    assert out["ask"].texts() == ["-"]


def test_a_workflow_without_inputs_says_so():
    """Nothing is passed over in silence."""
    with wording.raises(WorkflowError):
        tn.Workflow({"ask": ASK}).check(words(), {"x": 1})


def test_a_workflow_reads_its_table_and_writes_its_output(tmp_path, monkeypatch):
    """The table beside the file, the output in the current directory; again makes the same."""
    (tmp_path / "flows").mkdir()
    monkeypatch.chdir(tmp_path)
    words().to_csv("flows/words.csv", index=False)
    tn.Workflow({"ask": ASK}, table="flows/words.csv", output="out.csv").save("flows/w.yaml")
    workflow = tn.Workflow.load("flows/w.yaml")
    out, _ = run(workflow, None)
    assert (tmp_path / "out.csv").read_text() == "word,ask,ask_status,ask_outcome,ask_message\n" + "".join(
        f"w{i},FIRST W{i},200,ok,\n" for i in range(3)
    )
    assert list(out.table["ask"]) == list(out["ask"].table["answer"]) == ["FIRST W0", "FIRST W1", "FIRST W2"]


def test_a_raw_output_is_body_and_status(tmp_path):
    """The last node's Raw Response."""
    path = tmp_path / "out.jsonl"
    run(tn.Workflow({"ask": ASK}, output={"path": str(path), "raw": True}), words(1))
    written = json.loads(path.read_text())
    assert sorted(written) == ["body", "status"]
    assert json.loads(written["body"])["choices"][0]["message"]["content"] == "FIRST W0"


def test_limits_and_retries_of_a_run_go_before_those_of_the_workflow():
    """One value replaces the other."""
    workflow = tn.Workflow({"ask": ASK}, limits=tn.Limits(max_requests=1), retry=tn.Retry(server_error=0))
    out, requests = run(workflow, words(3))
    assert out["ask"].summary.outcomes == {"ok": 1, "not_sent": 2}
    out, requests = run(workflow, words(3), limits=tn.Limits(max_requests=2))
    assert len(requests) == 2


@pytest.mark.parametrize("journal", [False, True], ids=["alone", "with a journal"])
def test_the_requests_of_all_nodes_count_once(tmp_path, journal):
    """max_requests is for the whole run, and where there is a journal, for all runs that have it."""
    more = {"journal": tmp_path / "j"} if journal else {}
    nodes = tn.Workflow({"ask": ASK, "b": ASK.replace(prompt="b {{ word }}")})
    out, requests = run(nodes, words(3), limits=tn.Limits(concurrency=1, max_requests=5), **more)
    assert [output.summary.requests for output in out.values()] == [3, 2]
    assert out["b"].summary.outcomes == {"ok": 2, "not_sent": 1}
    assert len(requests) == 5


def test_a_journal_counts_the_requests_of_earlier_runs_once(tmp_path):
    """What a run was short of is sent by the next one with a higher limit, and no more."""
    nodes = tn.Workflow({"ask": ASK, "b": ASK.replace(prompt="b {{ word }}")})
    sent = []
    with fault_server(SHOUT) as server:
        for most in (2, 4, 5, 6):
            limits = tn.Limits(concurrency=1, max_requests=most)
            nodes.run(
                words(3), connection=tn.Connection(server.url), progress=False, limits=limits, journal=tmp_path / "j"
            )
            sent.append(len(server.requests))
    assert sent == [2, 4, 5, 6]


def test_the_tokens_of_all_nodes_count():
    """token_budget is for the whole run: a node has what those before it have left."""
    nodes = tn.Workflow([(name, ASK.replace(prompt=f"{name} {{{{ word }}}}")) for name in "abc"])
    limits = tn.Limits(concurrency=1, token_budget=9)
    out, requests = run(nodes, words(3), echo(), limits=limits)  # each answer uses two tokens
    assert [output.summary.ok for output in out.values()] == [3, 2, 0]
    assert out["c"].summary.stopped == "token_budget"
    assert len(requests) == 5


def test_tokens_of_answers_from_the_journal_were_used_by_another_run(tmp_path):
    """They are no part of this one's budget."""
    nodes = tn.Workflow({"ask": ASK, "b": ASK.replace(prompt="b {{ word }}")})
    limits = tn.Limits(concurrency=1, token_budget=7)  # each answer uses two
    found = []
    with fault_server(echo()) as server:
        for _ in range(2):
            out = nodes.run(
                words(3), connection=tn.Connection(server.url), progress=False, limits=limits, journal=tmp_path / "j"
            )
            found.append([output.summary.ok for output in out.values()])
    assert found == [[3, 1], [3, 3]]
    assert len(server.requests) == 6


# --- before anything is sent -----------------------------------------------------------------------------------------

REFUSED = {
    "no table": (lambda folder: ({}, {}), WorkflowError),
    "table is missing": (lambda folder: ({}, {"table": str(folder / "t.csv")}), TableError),
    "no table at all": (lambda folder: ({}, {"table": 5}), TableError),
    "column": (
        lambda folder: ({"nodes": {"a": ASK, "b": ASK.replace(prompt="{{ wrd }}")}}, {"table": words()}),
        ColumnError,
    ),
    "connection": (lambda folder: ({}, {"table": words(), "connection": "x"}), tn.errors.ConnectionSettingError),
    "output is the table": (
        lambda folder: ({"output": str(folder / "in.csv")}, {"table": folder / "in.csv"}),
        TableError,
    ),
    "output is the table, another name": (
        lambda folder: ({"output": str(folder / "x" / ".." / "in.csv")}, {"table": folder / "in.csv"}),
        TableError,
    ),
    "output is the workflow's table": (lambda folder: ({"output": "/no/t.csv", "table": "/no/t.csv"}, {}), TableError),
    "output ending": (lambda folder: ({"output": str(folder / "out.txt")}, {"table": words()}), TableError),
    "output folder": (lambda folder: ({"output": "/no/out.csv"}, {"table": words()}), TableError),
    "output is a folder": (lambda folder: ({"output": str(folder / "d.csv")}, {"table": words()}), TableError),
    "output is a device": (lambda folder: ({"output": str(folder / "con.csv")}, {"table": words()}), TableError),
    "manner": (lambda folder: ({}, {"table": words(), "on_invalid": "x"}), SettingError),
    "journal": (lambda folder: ({}, {"table": words(), "journal": 5}), SettingError),
    "journal is the table": (
        lambda folder: ({}, {"table": folder / "in.csv", "journal": folder / "in.csv"}),
        JournalError,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_sent(tmp_path, name):
    """Also what only a later node would meet."""
    (tmp_path / "in.csv").write_text("word\na\n")
    (tmp_path / "d.csv").mkdir()
    (tmp_path / "x").mkdir()
    make, error = REFUSED[name]
    parts, arguments = make(tmp_path)
    with fault_server(echo()) as server:
        workflow = tn.Workflow(**{"nodes": {"ask": ASK}, **parts, "connection": tn.Connection(server.url)})
        with wording.raises(error):
            workflow.run(**{"progress": False, **arguments})
    assert server.requests == []
    assert (tmp_path / "in.csv").read_text() == "word\na\n"


@permissions_bind
def test_a_write_protected_folder_is_found_before_anything_is_sent(tmp_path):
    """The table could not be written at the end."""
    tmp_path.chmod(0o500)
    with wording.raises(TableError):
        tn.Workflow({"ask": ASK}, output=str(tmp_path / "out.csv")).run(words())


def test_a_write_protected_folder_is_seen(tmp_path, monkeypatch):
    """As the test before, for an administrator."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with wording.raises(TableError):
        tn.Workflow({"ask": ASK}, output=str(tmp_path / "out.csv")).run(words())


def test_without_a_key_nothing_is_sent():
    """The connection's own words."""
    with wording.raises(ConnectionSettingError):
        tn.Workflow({"ask": ASK}).run(words(), connection=tn.Connection("https://example.com/v1"))


def test_a_column_that_is_not_there_is_named_with_its_line(tmp_path):
    """File and line of the setting, also when it is found with the table."""
    (tmp_path / "w.yaml").write_text(
        "nodes:\n- id: a\n  type: CreateChatCompletion\n  messages:\n  - role: user\n    content: 'x {{ wrd }}'\n"
    )
    with wording.raises(ColumnError):
        tn.Workflow.load(tmp_path / "w.yaml").replace(id="x").check(words())


def test_rows_that_cannot_be_sent_can_be_refused_as_a_whole():
    """``on_invalid="raise"`` looks at every node first."""
    table = pd.DataFrame({"word": ["a", None]})
    workflow = tn.Workflow({"ok": AGAIN.replace(prompt="x"), "ask": ASK})
    with fault_server(echo()) as server:
        with wording.raises(InvalidRequests):
            workflow.run(table, connection=tn.Connection(server.url), on_invalid="raise", progress=False)
        assert server.requests == []
        reading = tn.Workflow({"ask": ASK, "again": AGAIN})
        out = reading.run(words(), connection=tn.Connection(server.url), on_invalid="raise", progress=False)
    assert out["again"].summary.ok == 3


@pytest.mark.parametrize("broken", ["first", "second"])
def test_an_output_is_not_replaced_when_no_row_can_be_sent(tmp_path, broken):
    """Whichever node it is, nothing is sent, the old file stays, and the message says why."""
    output = tmp_path / "out.csv"
    output.write_text("good")
    nodes = {"ask": ASK, "again": AGAIN}
    name = "ask" if broken == "first" else "again"
    workflow = tn.Workflow({**nodes, name: nodes[name].replace(temperature="{{ limit }}")}, output=output)
    table = pd.DataFrame({"word": ["a", "b"], "limit": [9, "x"]})
    with fault_server(echo()) as server:
        with wording.raises(InvalidRequests) as caught:
            workflow.run(table, connection=tn.Connection(server.url), progress=False)
        assert server.requests == []
    assert (caught.value.check.valid, output.read_text()) == (0, "good")


def test_an_output_is_written_when_one_row_can_be_sent(tmp_path):
    """Rows that cannot be sent are rows of it; a table without rows makes one without rows."""
    workflow = tn.Workflow({"ask": ASK, "again": AGAIN}, output=tmp_path / "out.csv")
    out, _ = run(workflow, pd.DataFrame({"word": [None, "b"]}))
    assert list(out["again"].log["outcome"]) == ["upstream_failed", "ok"]
    assert (tmp_path / "out.csv").read_text().count("\n") == 3
    run(workflow, pd.DataFrame({"word": pd.Series([], dtype="str")}))
    assert (tmp_path / "out.csv").read_text().count("\n") == 1


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_says_what_each_node_would_send():
    """What depends on answers is left out, and said to be."""
    found = tn.Workflow({"ask": ASK, "again": AGAIN.replace(max_tokens="{{ outputs.ask.usage.total_tokens }}")}).check(
        words()
    )
    assert [(each.valid, each.rows) for each in found.values()] == [(3, 3), (3, 3)]
    assert found["again"].sources["messages"] == "setting, with word, earlier answers"
    assert found["again"].duplicates == 0
    wording(found["again"].warnings[-1])


def test_check_finds_what_does_not_depend_on_answers():
    """A setting that is wrong is wrong whatever is answered."""
    table = pd.DataFrame({"word": ["a", "b"], "temperature": ["1", "5"]})
    found = tn.Workflow({"ask": ASK.replace(temperature=0), "again": AGAIN}).check(table)["again"]
    assert (found.valid, list(found.problems["path"])) == (1, ["$.temperature"])


def test_check_hands_rows_that_cannot_be_sent_on():
    """What reads their answers cannot be sent either."""
    found = tn.Workflow({"ask": ASK, "again": AGAIN.replace(prompt="{{ outputs | tojson }}")}).check(
        pd.DataFrame({"word": ["a", None]})
    )
    assert [each.valid for each in found.values()] == [1, 1]
    wording(found["again"].problems["message"][0])


def test_check_takes_whatever_is_looked_for_in_an_answer_as_there():
    """It is not there yet: neither a condition nor a filter over it is held against the row."""
    prompt = (
        "{{ outputs['ask'].choices | map(attribute='x') | join }}{{ 'x' if 'y' in outputs.ask else word }}"
        "{{ outputs.ask.get('x') }}{{ outputs.ask.choices[0].message.content.upper() }}"
    )
    found = tn.Workflow({"ask": ASK, "again": AGAIN.replace(prompt=prompt)}).check(words())
    assert found["again"].valid == 3


def test_check_leaves_a_stream_alone():
    """It can be read only once."""
    stream = pa.Table.from_pandas(words(), preserve_index=False).to_reader()
    with wording.raises(TableError):
        tn.Workflow({"ask": ASK}).check(stream)
    assert stream.read_all().num_rows == 3


# --- stopped ---------------------------------------------------------------------------------------------------------


def test_a_stopped_run_keeps_and_writes_what_it_has(tmp_path):
    """The error carries the outputs as far as they had come."""
    workflow = tn.Workflow(
        {"ask": ASK, "again": AGAIN}, output=str(tmp_path / "out.csv"), limits=tn.Limits(concurrency=1)
    )
    with fault_server(interrupting(SHOUT, 7)) as server, pytest.raises(tn.errors.Interrupted) as caught:
        workflow.run(words(5), connection=tn.Connection(server.url), progress=False)
    out = caught.value.output
    assert list(out) == ["ask", "again"]
    assert out["ask"].summary.ok == 5
    answered = out["again"].summary.ok
    assert answered in (2, 3)
    assert out["again"].summary.outcomes["not_sent"] == 5 - answered
    wording(caught.value)
    assert (tmp_path / "out.csv").read_text().count(",ok") == 5 + answered


class _Stopped:
    """A transport that is stopped when it is asked for anything."""

    def __init__(self, error):
        self.error = error

    def start(self, call, *_):
        raise self.error

    def cancel(self, key): ...
    def wait(self, seconds): ...
    def close(self): ...


class Breaking:
    """A user's own transport: answers so many calls, then fails."""

    def __init__(self, left):
        self.left, self.calls = left, []

    def start(self, call):
        self.calls.append(call)

    def cancel(self, key):
        pass

    def wait(self, seconds):
        calls, self.calls = self.calls, []
        self.left -= len(calls)
        if self.left < 0:
            raise OSError("mine")
        return [Answer(call.key, 200, b"", orjson.dumps(chat("x"))) for call in calls]

    def close(self):
        pass


def test_when_a_transport_fails_what_came_is_kept(tmp_path):
    """The error is the one that a node would raise, with the outputs of all nodes."""
    workflow = tn.Workflow({"ask": ASK, "b": ASK}, output=tmp_path / "out.csv", limits=tn.Limits(concurrency=1))
    connection = tn.Connection("https://nowhere.example/v1", transport=Breaking(4))
    with pytest.raises(TransportError) as caught:
        workflow.run(words(), connection=connection, progress=False)
    assert isinstance(caught.value.__cause__, OSError)
    assert [output.summary.ok for output in caught.value.output.values()] == [3, 1]
    assert (tmp_path / "out.csv").read_text().count(",ok,\n") == 1


def test_when_the_journal_fails_what_came_is_kept(tmp_path, monkeypatch):
    """The error carries the outputs, and they are written."""
    commit, failures = Journal.commit, iter([JournalError("the disk is full")])

    def full(self):
        commit(self)
        if self.sends >= 4 and (failure := next(failures, None)):
            raise failure

    monkeypatch.setattr(Journal, "commit", full)
    workflow = tn.Workflow({"ask": ASK, "b": ASK}, output=str(tmp_path / "out.csv"), limits=tn.Limits(concurrency=1))
    with fault_server(SHOUT) as server, wording.raises(JournalError) as caught:
        workflow.run(words(), connection=tn.Connection(server.url), progress=False, journal=tmp_path / "j")
    assert list(caught.value.output) == ["ask", "b"]
    assert caught.value.output["ask"].summary.ok == 3
    assert (tmp_path / "out.csv").read_text().startswith("word,ask,ask_status,ask_outcome,ask_message,b,b_status,")


def test_ctrl_c_is_an_interruption_wherever_it_comes(monkeypatch):
    """Between nodes, or out of what carries the bytes."""
    with wording.raises(tn.errors.Interrupted) as caught:
        tn.Workflow({"ask": ASK}).run(words(), connection=tn.Connection(transport=_Stopped(KeyboardInterrupt())))
    assert set(caught.value.output["ask"].log["outcome"]) == {"in_doubt", "not_sent"}
    monkeypatch.setattr(tn.CreateChatCompletion, "_carry_out", _Stopped(KeyboardInterrupt()).start)
    with wording.raises(tn.errors.Interrupted) as caught:
        tn.Workflow({"ask": ASK}).run(words(), connection=tn.Connection(transport="curl"))
    assert caught.value.output == {}


def test_what_earlier_nodes_were_answered_is_written_whatever_happens(tmp_path):
    """Paid for is not lost."""
    path = tmp_path / "out.csv"

    class Breaks(tn.CreateChatCompletion):
        def _recipe(self):
            if path.with_suffix(".now").exists():
                raise MemoryError
            return super()._recipe()

    def react(exchange: Exchange) -> None:
        path.with_suffix(".now").touch()
        exchange.send(message(json.dumps(chat("x")).encode()))

    with fault_server(react) as server, pytest.raises(MemoryError):
        tn.Workflow({"ask": ASK, "b": Breaks(model="m", prompt="y")}, output=str(path)).run(
            words(1), connection=tn.Connection(server.url), progress=False
        )
    assert path.read_text() == "word,ask,ask_status,ask_outcome,ask_message\nw0,x,200,ok,\n"


def test_one_embedded_server_serves_all_nodes(monkeypatch):
    """It is started once and ended once."""
    opened = []
    enter, leave = tn.Connection.__enter__, tn.Connection.__exit__
    monkeypatch.setattr(tn.Connection, "__enter__", lambda self: opened.append("in") or enter(self))
    monkeypatch.setattr(tn.Connection, "__exit__", lambda self, *error: opened.append("out") or leave(self, *error))
    run(tn.Workflow({"ask": ASK, "again": AGAIN}), words())
    assert opened == ["in", "out"]
