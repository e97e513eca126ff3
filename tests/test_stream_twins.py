"""Equal rows of a workflow over batches, of which each node is asked once."""

from __future__ import annotations

from collections import Counter

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_workflow_streams import FIELDS, chat, reply

import tablenodes as tn
from tablenodes.engine.journal.journal import Journal

ONCE = {"duplicates": "once", "progress": False}
NODES = {
    "ask": chat("{{ text }}"),
    "note": tn.Return(text="{{ ask | default('no') }}"),
    "again": tn.Step(
        chat("{{ note }} {{ text }}", answer=FIELDS), when="{{ outputs.ask.outcome == 'ok' or text == 'w5' }}"
    ),
    "last": chat("all the same {{ again.word | default('none') }}"),
}
NUMBERS = ("outcomes", "requests", "first_try", "shared", "shared_tokens", "prompt_tokens", "completion_tokens", "cost")


def counting():
    """Return a connection, and how often each body came."""
    sent = Counter()
    prices = {"m": {"input": 1.0, "output": 2.0}}
    return tn.testing.canned(lambda body: sent.update([orjson.dumps(body)]) or reply(body), prices=prices), sent


@settings(max_examples=6, deadline=None)
@given(st.lists(st.sampled_from(["w1", "w2", "w5", "w7"]), max_size=16), st.integers(1, 5), st.sampled_from([1, 10**6]))
def test_the_batches_are_the_table_of_a_run_and_each_request_is_sent_once(words, size, window):
    table, workflow = pa.table({"text": pa.array(words, pa.string())}), tn.Workflow(NODES)
    (server, first), (other, second) = counting(), counting()
    whole = workflow.run(table, connection=server, **ONCE)
    batches = iter(table.to_batches(size) or [table])
    made = workflow.run_batches(batches, other, **ONCE, window=window, limits=tn.Limits(concurrency=3))
    assert made.read_all().to_pydict() == whole.table.to_pydict()
    assert first == second
    assert max(second.values(), default=1) == 1
    for name, output in whole.items():
        for number in NUMBERS:
            assert getattr(made.summaries[name], number) == pytest.approx(getattr(output.summary, number)), (
                name,
                number,
            )


def test_rows_that_wait_for_a_slow_one_are_no_more_than_may_wait(monkeypatch):
    """Fresh rows are held until it has come; then all have its end."""
    monkeypatch.setattr("tablenodes.workflow.step_twins._MOST", 30)
    read, asked = [], []

    def batches():
        for batch in pa.table({"text": ["w1"] * 200}).to_batches(20):
            read.append(batch)
            yield batch

    server = tn.testing.canned(lambda body: asked.append(len(read)) or reply(body))
    made = tn.Workflow(NODES).run_batches(batches(), server, **ONCE)
    assert made.read_all()["last_outcome"].to_pylist() == ["ok"] * 200
    assert made.summaries["last"].shared == 199
    assert len(asked) == 3
    assert asked[0] < 6


def test_a_run_that_goes_on_sends_neither_what_came_nor_its_equals(tmp_path):
    """After an early end; what was stopped has its first row's end for all."""
    server, sent = counting()
    table = pa.table({"text": [f"w{at % 6}" for at in range(60)]})
    kept = {**ONCE, "journal": tmp_path / "run.journal"}
    few = (
        tn.Workflow(NODES)
        .run_batches(table, server, **kept, limits=tn.Limits(max_requests=4, concurrency=1))
        .read_all()
    )
    assert Counter(few["ask_outcome"].to_pylist()).keys() == {"ok", "not_sent"}
    again = tn.Workflow(NODES).run_batches(table, server, **kept).read_all()
    whole = tn.Workflow(NODES).run(table, connection=counting()[0], **ONCE)
    assert again.to_pydict() == whole.table.to_pydict()
    assert max(sent.values()) == 1


def test_a_run_that_goes_on_reads_many_rows_of_its_journal_at_once(tmp_path, monkeypatch):
    """Those of several nodes stand side by side in it."""
    server, sent = counting()
    table = pa.table({"text": [f"word {at}" for at in range(400)]})
    kept = {"progress": False, "journal": tmp_path / "run.journal"}
    whole = tn.Workflow(NODES).run_batches(table, server, **kept).read_all()
    before, reads, read = sent.total(), [], Journal.read
    monkeypatch.setattr(Journal, "read", lambda journal, *places: reads.append(places) or read(journal, *places))
    assert tn.Workflow(NODES).run_batches(table, server, **kept).read_all().equals(whole)
    assert sent.total() == before
    assert len(reads) < before / 3
