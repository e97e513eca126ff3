"""Nodes that send many rows in one request, in a workflow over batches."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_workflow_streams import chat, table_of

import tablenodes as tn

QUIET = {"progress": False}


def embed(text, pack=4, **more):
    return tn.CreateEmbedding(model="e", input=text, pack=pack, **more)


NODES = {
    "first": embed("{{ text }}"),
    "ask": chat("{{ text }}"),
    "then": embed("{{ ask }}", pack=5),
    "last": chat("{{ ask }} {{ outputs.then.outcome }}"),
}


def serving():
    """Return a connection that refuses a text with a seven."""

    def reply(body):
        if "messages" in body:
            return body["messages"][-1]["content"]
        return (400, {"error": {"message": "no"}}) if "7" in body["input"] else [len(body["input"]), 2.0]

    return tn.testing.canned(reply)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 20), st.integers(1, 9), st.sampled_from([1, 10**6]), st.booleans())
def test_the_batches_are_the_table_of_a_run(count, size, window, apart):
    """Packs that are refused are halved here too; what rows used sums up; of one connection or two."""
    table = table_of(count)

    def made():
        servers = [serving() for _ in range(2 if apart else 1)]
        nodes = {
            name: tn.Step(node, connection=servers[at % len(servers)]) for at, (name, node) in enumerate(NODES.items())
        }
        return tn.Workflow(nodes)

    whole = made().run(table, **QUIET)
    batches = iter(table.to_batches(size) or [table])
    parts = made().run_batches(batches, **QUIET, window=window, limits=tn.Limits(concurrency=3))
    assert parts.read_all().to_pydict() == whole.table.to_pydict()
    for name, output in whole.items():
        for number in ("outcomes", "prompt_tokens", "rows"):
            assert getattr(parts.summaries[name], number) == getattr(output.summary, number), (name, number)


def test_rows_are_packed_as_they_come(tmp_path):
    """At a later node too, and what is counted are requests; a second run sends none."""
    server = tn.testing.canned(lambda body: "x" if "messages" in body else [1.0, 2.0])
    table, kept = pa.table({"text": [f"w{at}" for at in range(100)]}), {**QUIET, "journal": tmp_path / "run.journal"}
    made = tn.Workflow(NODES).run_batches(iter(table.to_batches(30)), server, **kept)
    made.read_all()
    first, then = made.summaries["first"], made.summaries["then"]
    assert first.requests == first.first_try == 25
    assert then.requests == 20
    again = tn.Workflow(NODES).run_batches(iter(table.to_batches(9)), server, **kept)
    again.read_all()
    assert [each.requests for each in again.summaries.values()] == [0] * 4
    assert [each.reused for each in again.summaries.values()] == [100] * 4


def test_packs_of_a_run_that_is_stopped_end_their_rows():
    """Each row comes out, as not sent."""
    server = tn.testing.canned(lambda body: "x" if "messages" in body else [1.0, 2.0])
    limits = tn.Limits(max_requests=10, concurrency=4)
    made = tn.Workflow(NODES).run_batches(table_of(60), server, **QUIET, limits=limits)
    together = made.read_all()
    assert together["id"].to_pylist() == list(range(60))
    assert set(together["last_outcome"].to_pylist()) <= {"ok", "not_sent"}
    assert sum(each.requests for each in made.summaries.values()) == 10


def test_equal_rows_are_packed_once():
    sent = []
    server = tn.testing.canned(lambda body: sent.append(body) or [1.0, 2.0])
    table = pa.table({"text": ["a", "b", "a", "c"] * 10})
    made = tn.Workflow({"first": embed("{{ text }}"), "second": embed("x{{ text }}")}).run_batches(
        table, server, **QUIET, duplicates="once"
    )
    together = made.read_all()
    assert together["second"].to_pylist() == [[1.0, 2.0]] * 40
    assert len(sent) == 6
    assert made.summaries["first"].shared == 37


def test_a_pack_that_is_tried_again_is_one_request_more():
    failed = []

    def reply(body):
        if not failed:
            failed.append(body)
            return 500, {"error": {"message": "again"}}
        return [1.0, 2.0]

    nodes = {"first": embed("{{ text }}"), "note": tn.Return(text="{{ first }}")}
    made = tn.Workflow(nodes).run_batches(table_of(8), tn.testing.canned(reply), **QUIET)
    made.read_all()
    assert made.summaries["first"].requests == 3
    assert made.summaries["first"].retries == {"server_error": 1}
    assert made.summaries["first"].first_try == 1


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("concurrency", [1, 7, 64])
def test_packs_are_full_while_rows_are_on_their_way(apart, concurrency):
    """The last pack of a node waits for all rows before it, and none for anything else."""
    nodes = {"ask": chat("{{ text }}"), "then": embed("{{ ask }}", pack=8), "last": embed("x{{ ask }}", pack=7)}
    servers = [tn.testing.canned(lambda body: "x" if "messages" in body else [1.0, 2.0]) for _ in range(2)]
    steps = {name: tn.Step(node, connection=servers[apart and name != "ask"]) for name, node in nodes.items()}
    made = tn.Workflow(steps).run_batches(table_of(60), **QUIET, limits=tn.Limits(concurrency=concurrency))
    together = made.read_all()
    assert (together.num_rows, made.summaries["ask"].requests) == (60, 60)
    assert [made.summaries[name].requests for name in ("then", "last")] == [8, 9]
