"""Workflows over tables that come in batches: what comes out is what a run over the whole table gives."""

from __future__ import annotations

import sys
import threading

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import completion, fault_server, message

import tablenodes as tn
from tablenodes.workflow import stream_plan

FIELDS = {"word": str, "length": int}


def reply(body):
    """Answer with the prompt's text, or a record of it; refuse what ends in a seven, and answer no JSON to a five."""
    text = body["messages"][-1]["content"]
    if text.endswith("7"):
        return 400, {"error": {"message": "no sevens", "code": "seven"}}
    if "response_format" in body and not text.endswith("5"):
        return orjson.dumps({"word": text[-3:], "length": len(text)}).decode()
    return f"{text[-20:]}:{len(body['messages'])}"


def table_of(count):
    return pa.table({"id": pa.array(range(count), pa.int32()), "text": [f"w{at}" for at in range(count)]})


def chat(prompt, **more):
    return tn.CreateChatCompletion(model="m", prompt=prompt, **more)


def texts_after(earlier, draw):
    """Return a prompt or an expression that reads columns and earlier nodes, in one of several ways."""
    ways = ["{{ text }}", "{{ id }}-{{ text }}", "{{ inputs.name }} {{ text }}"]
    for name, kind in earlier:
        read = f"{name}.word" if kind == "fields" else name
        ways += [f"{{{{ {read} }}}}", f"{{{{ {read} | default('none') }}}} {{{{ text }}}}"]
        ways += [f"{{{{ text }}}} {{{{ outputs.{name}.outcome }}}}"]
    return draw(st.sampled_from(ways))


def node_of(kind, at, text):
    if kind == "return":
        return tn.Return(text=text)
    if kind == "several":
        return tn.Return(fields={"word": text, "same": "{{ text }}"})
    more = {"text": {}, "fields": {"answer": FIELDS}, "one": {"answer": ["a", "b"], "into": f"x{at}"}}
    return chat(text, **more[kind])


@st.composite
def workflows(draw):
    """Return a workflow of two to four nodes, the first of which asks."""
    nodes, earlier = {}, []
    for at in range(draw(st.integers(2, 4))):
        kind = draw(st.sampled_from(["text", "fields", "one", "return", "several"])) if at else "text"
        node, whens = node_of(kind, at, texts_after(earlier, draw)), [None, None, "{{ id % 3 }}"]
        whens += [f"{{{{ outputs.{name}.outcome == 'ok' }}}}" for name, _ in earlier]
        when = draw(st.sampled_from(whens)) if at else None
        nodes[f"n{at}"] = node if when is None else tn.Step(node, when=when)
        earlier.append((f"n{at}", "fields" if kind in ("fields", "several") else kind))
    return tn.Workflow(nodes, inputs={"name": "x"})


@settings(max_examples=12, deadline=None)
@given(workflows(), st.integers(0, 23), st.integers(1, 7), st.sampled_from([1, 10**6]))
def test_the_batches_of_a_workflow_are_its_table(workflow, count, size, window):
    """Each column and its type, and how many rows ended how at each node, whatever the nodes read of each other."""
    table, server = table_of(count), tn.testing.canned(reply)
    whole = workflow.run(table, connection=server, progress=False)
    made = workflow.run_batches(
        iter(table.to_batches(size) or [table.schema.empty_table()]), server, progress=False, window=window
    )
    together = made.read_all()
    assert together.to_pydict() == whole.table.to_pydict()
    assert together.schema == whole.table.schema
    for name, output in whole.items():
        assert made.summaries[name].outcomes == output.summary.outcomes
        for number in ("requests", "first_try", "prompt_tokens", "completion_tokens", "rows"):
            assert getattr(made.summaries[name], number) == getattr(output.summary, number), (name, number)


@pytest.mark.parametrize("size", [3, 50])
def test_conversations_grow_in_batches(tmp_path, size):
    """They are begun, made longer by an answer and a message, and asked again, as in a run over the whole table."""
    workflow = tn.Workflow(
        {
            "begin": tn.CreateConversation(system="You are {{ id }}."),
            "say": tn.AddUserMessage(text="{{ text }}"),
            "ask": tn.CreateChatCompletion(model="m"),
            "more": tn.AddUserMessage(text="and {{ text }}?", continue_from="ask"),
            "again": tn.CreateChatCompletion(model="m"),
            "end": tn.AppendReply(continue_from="again"),
        }
    )
    table, server = table_of(30), tn.testing.canned(reply)
    whole = workflow.run(table, connection=server, progress=False, store=tmp_path / "a.db")
    batches = iter(table.to_batches(size))
    made = workflow.run_batches(batches, server, progress=False, store=tmp_path / "b.db").read_all()
    assert made.to_pydict() == whole.table.to_pydict()
    assert tn.transcript(made, store=tmp_path / "b.db").equals(tn.transcript(whole.table, store=tmp_path / "a.db"))


THREE = {
    "ask": chat("{{ text }}"),
    "again": chat("{{ ask }} of {{ text }}"),
    "last": chat("{{ again | default('-') }}"),
}


def test_a_row_goes_on_while_others_are_still_waiting():
    """Rows that have come further go first, and what is behind a slow row waits on the disk."""
    seen, slow, asked = threading.Event(), [], []

    def reaction(exchange):
        text = orjson.loads(exchange.received.body)["messages"][-1]["content"]
        asked.append(text)
        if text == "w2":
            slow.append(seen.wait(20))
        if text == "w99":
            seen.set()
        exchange.send(message(completion(exchange.received.body)))

    with fault_server(reaction) as server:
        connection = tn.Connection(server.url, "key")
        made = tn.Workflow(THREE).run_batches(
            iter(table_of(100).to_batches(10)),
            connection,
            progress=False,
            window=3_000,
            limits=tn.Limits(concurrency=8),
        )
        together = made.read_all()
    assert slow == [True]
    assert together["id"].to_pylist() == list(range(100))
    assert [summary.ok for summary in made.summaries.values()] == [100] * 3
    assert "w60" not in asked[:60]


def test_rows_after_a_stop_are_not_sent_at_any_node():
    """The rest of the source is read, and comes out as what it is."""
    server = tn.testing.canned(lambda body: (401, {"error": {"message": "no"}}))
    made = tn.Workflow(THREE).run_batches(iter(table_of(200).to_batches(10)), server, progress=False)
    together = made.read_all()
    assert together["id"].to_pylist() == list(range(200))
    assert {together[f"{name}_outcome"].to_pylist()[-1] for name in THREE} == {"not_sent"}
    assert made.summaries["ask"].stopped == "auth"


def test_what_is_closed_sends_nothing_more():
    """What came by then is counted."""
    sent = []
    server = tn.testing.canned(lambda body: sent.append(body) or "x")
    with tn.Workflow(THREE).run_batches(iter(table_of(20_000).to_batches(10)), server, progress=False) as made:
        assert len(next(iter(made))) == 10
    assert len(sent) < 5_000
    assert sum(summary.requests for summary in made.summaries.values()) == len(sent)


def test_all_requests_have_one_limit():
    """It is one run; what is beyond it was not sent."""
    sent = []
    server = tn.testing.canned(lambda body: sent.append(body) or "x")
    limits = tn.Limits(max_requests=50, concurrency=4)
    made = tn.Workflow(THREE).run_batches(table_of(60), server, progress=False, limits=limits)
    together = made.read_all()
    assert len(sent) == 50
    assert together["last_outcome"].to_pylist().count("ok") >= 10


def test_a_second_run_sends_what_is_missing(tmp_path):
    """In batches or at once: the journal is the same."""
    sent = []
    server = tn.testing.canned(lambda body: sent.append(body) or reply(body))
    table, workflow, few = table_of(60), tn.Workflow(THREE), tn.Limits(concurrency=4)
    kept = {"journal": tmp_path / "run.journal", "progress": False}
    with workflow.run_batches(iter(table.to_batches(7)), server, **kept, limits=few) as made:
        next(iter(made))
    first = len(sent)
    again = workflow.run_batches(iter(table.to_batches(9)), server, **kept).read_all()
    whole = tn.Workflow(THREE).run(table, connection=tn.testing.canned(reply), progress=False)
    assert again.to_pydict() == whole.table.to_pydict()
    assert first < len(sent) == sum(output.summary.requests for output in whole.values())
    count = len(sent)
    assert workflow.run(table, connection=server, **kept).table.to_pydict() == again.to_pydict()
    assert len(sent) == count


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ({"say": tn.Return(text="x")}, "none of its nodes sends"),
        ({"get": tn.RetrieveResponse(future_response_id="{{ text }}")}, "node 'get' waits for a worker's answers"),
    ],
)
def test_what_needs_the_whole_table_is_refused(nodes, told):
    """Before anything is sent, with the way."""
    workflow = tn.Workflow(nodes, connection=tn.testing.canned("x"))
    with pytest.raises(tn.errors.WorkflowError, match=told) as caught:
        workflow.run_batches(table_of(3), progress=False)
    assert caught.value.code == "whole_table"


def test_a_check_says_what_has_a_long_table_held_in_memory(monkeypatch):
    """Once, with the way; of a short table, and of what can be run in batches, nothing is said."""
    later = tn.RetrieveResponse(future_response_id="{{ ask }}")
    whole, streamed = ({"ask": chat("x"), "say": each} for each in (later, chat("{{ ask }}")))

    def said(nodes):
        found = tn.Workflow(nodes, connection=tn.testing.canned("x")).check(table_of(3))
        return [told for each in found.values() for told in each.warnings if "in memory" in told]

    assert said(whole) == []
    monkeypatch.setattr(stream_plan, "HELD_ROWS", 2)
    (told,) = said(whole)
    assert "node 'say' waits for a worker's answers" in told
    assert "a workflow of its own" in told
    assert said(streamed) == []


@pytest.mark.parametrize("status", [400, 401, 404])
def test_no_fresh_row_is_paid_for_while_a_later_node_refuses_all(status):
    """Some rows from further on are asked to see whose fault it is, then the run stops."""
    sent = []

    def refuse(body):
        sent.append(body)
        is_later = " of " in body["messages"][-1]["content"]
        return (status, {"error": {"message": "no such thing"}}) if is_later else "x"

    made = tn.Workflow(THREE).run_batches(
        iter(table_of(4_000).to_batches(50)), tn.testing.canned(refuse), progress=False, limits=tn.Limits(concurrency=8)
    )
    together = made.read_all()
    assert len(sent) < 200
    assert together["id"].to_pylist() == list(range(4_000))
    assert made.summaries["again"].outcomes["not_sent"] > 3_800
    assert made.summaries["again"].stopped


def test_rows_that_a_later_node_refuses_for_themselves_stop_nothing():
    """Where one from further on is answered, all go on, in their order."""

    def refuse(body):
        text = body["messages"][-1]["content"]
        number = int(text.rpartition("w")[2] or 0) if "w" in text else 999
        return (400, {"error": {"message": "no"}}) if " of " in text and number < 60 else "x"

    limits = tn.Limits(concurrency=8)
    made = tn.Workflow(THREE).run_batches(table_of(300), tn.testing.canned(refuse), progress=False, limits=limits)
    together = made.read_all()
    assert together["id"].to_pylist() == list(range(300))
    assert [name == "ok" for name in together["again_outcome"].to_pylist()] == [at >= 60 for at in range(300)]
    assert made.summaries["last"].ok == 300


def test_rows_that_have_begun_go_on_where_nothing_more_may_wait():
    """What waits behind others has no room left: no row begins until there is, and none is stuck."""
    limits, batches = tn.Limits(concurrency=8), iter(table_of(60).to_batches(5))
    made = tn.Workflow(THREE).run_batches(
        batches, tn.testing.canned("x"), progress=False, window=1, spill=1, limits=limits
    )
    assert made.read_all()["id"].to_pylist() == list(range(60))
    assert [summary.ok for summary in made.summaries.values()] == [60] * 3


def test_an_answer_is_parsed_once():
    """By what judges it: neither by the node that reads it, nor for the table and what it used."""
    fields = {"answer": {"word": str}}
    nodes = {
        "ask": chat("{{ text }}", **fields),
        "again": chat("{{ ask.word }}", **fields),
        "last": chat("{{ again.word }}"),
    }
    server = tn.testing.canned(lambda body: '{"word": "w"}' if "response_format" in body else "w")
    parsed = []

    def profile(_, event, what):
        if event == "c_call" and what is orjson.loads:
            parsed.append(what)

    batches = tn.Workflow(nodes).run_batches(table_of(40), server, progress=False)
    sys.setprofile(profile)
    try:
        made = batches.read_all()
    finally:
        sys.setprofile(None)
    assert made["last"].to_pylist() == ["w"] * 40
    # The server parses each of 120 requests, and what judges an answer its body, and its fields if it has some.
    assert len(parsed) == 120 + 120 + 80
