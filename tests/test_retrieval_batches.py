"""Retrievals over batches: what comes out is what a retrieval of the whole table gives, in its order."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from unittest import mock

import orjson
import pandas as pd
import pyarrow as pa
import pytest
from background import ending, nobody_at_work, work
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_runs import exit_code_of
from servers import answer, fault_server

import tablenodes as tn
from tablenodes.errors import Interrupted
from tablenodes.later import pending_answers
from tablenodes.report import charts
from tablenodes.store.store_file import VARIABLE
from tablenodes.tables import batches

FIELDS = {"word": str, "length": int}
NODE = tn.CreateChatCompletionAsync(model="m", prompt="{{ text }}")
RETRIEVE = tn.RetrieveResponse(answer=FIELDS)
WORDS = ("one", "two", "off", "bad", "gone")
IDS = "future_response_id"
ONCE = tn.Retry(server_error=0)


def react(exchange):
    word = orjson.loads(exchange.received.body)["messages"][-1]["content"]
    if word == "bad":
        answer({"error": {"message": "no", "code": "no"}}, 400)(exchange)
    elif word == "gone":
        answer({"error": {"message": "later"}}, 500)(exchange)
    else:
        text = "no JSON" if word == "off" else orjson.dumps({"word": word, "length": len(word)}).decode()
        used = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        said = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
        answer({"choices": [said], "usage": used})(exchange)


def submitted(url, store, words, **more):
    with nobody_at_work(store):
        table = pa.table({"text": [*words]})
        return NODE.run(table, tn.Connection(url), store=store, progress=False, retry=ONCE, **more).table


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store with answers of each kind, and rows that wait; the ids of all, and some that are none."""
    with ending(tmp_path_factory.mktemp("kept") / "store") as store, fault_server(react) as server:
        done = submitted(server.url, store, WORDS)
        work(store)
        waiting = submitted(server.url, store, ["pending"], limits=tn.Limits(concurrency=2))
        ids = dict(zip((*WORDS, "pending"), done[IDS].to_pylist() + waiting[IDS].to_pylist(), strict=True))
        yield store, ids | {"none": None, "wrong": "resp_1", "unknown": f"resp_{'0' * 32}{0xECBB4B55:08x}"}


def whole(table, store, node=RETRIEVE, wait=0, **manner):
    with nobody_at_work(store):
        return node.run(table, wait, store=store, progress=False, **manner)


def streamed(table, size, store, node=RETRIEVE, wait=0, *, again=True, **manner):
    source = table if again else iter(table.to_batches())
    with nobody_at_work(store), mock.patch.object(batches, "BATCH_ROWS", size):
        made = node.run_batches(source, wait, store=store, progress=False, **manner)
        return pa.Table.from_batches([*made], made.schema), made


KINDS = (*WORDS, "pending", "none", "wrong", "unknown")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=12), st.integers(1, 5), st.booleans(), st.booleans())
def test_the_batches_of_a_retrieval_are_its_table(kept, kinds, size, is_typed, was_retrieved):
    """The configuration, the answers, the ends and what they used; also of a table that was retrieved before."""
    store, ids = kept
    node = RETRIEVE if is_typed else tn.RetrieveResponse()
    table = pa.table({"id": [*range(len(kinds))], IDS: pa.array([ids[kind] for kind in kinds], pa.string())})
    table = whole(table, store, node).table if was_retrieved else table
    expected = whole(table, store, node)
    found, made = streamed(table, size, store, node)
    names = expected.table.column_names
    assert [*made._named.table] == names
    assert found.select(names).to_pydict() == expected.table.to_pydict()
    assert found["body"].to_pylist() == expected.result["body"].to_pylist()
    assert found["total_tokens"].to_pylist() == expected.usage["total_tokens"].to_pylist()
    assert made.summary.outcomes == expected.summary.outcomes
    assert made.summary.prompt_tokens == expected.summary.prompt_tokens
    assert made.summary.notes == expected.summary.notes
    assert sorted(made._failures()) == sorted(expected._failures())


def test_columns_of_an_earlier_retrieval_stay_where_it_is_not_known_what_is_behind(kept):
    """Of a source that can be read only once: what they say may be more than what is known now."""
    store, ids = kept
    table = whole(pa.table({IDS: [ids["one"], ids["two"]]}), store).table
    found, made = streamed(table, 1, store, again=False)
    assert made._named.table == (*table.column_names, "word_2", "length_2", "status_2", "outcome_2", "message_2")
    assert found["word_2"].to_pylist() == found["word"].to_pylist() == ["one", "two"]


@pytest.mark.parametrize("again", [True, False])
def test_failed_rows_are_sent_again_once(tmp_path, again):
    """Of all batches before the first comes out, however often their ids are there."""
    with ending(tmp_path / "store") as store, fault_server(react) as server:
        table = submitted(server.url, store, ("gone", "one", "bad"))
        work(store)
        table = pa.concat_tables([table, table])
        made, _ = streamed(table, 2, store, again=again, retry_failed="transient")
        assert made["outcome"].to_pylist() == ["pending", "ok", "http_error"] * 2
        work(store)
        assert len(server.requests) == 4
        made, _ = streamed(table, 2, store, again=again)
    assert made["outcome"].to_pylist() == ["http_error", "ok", "http_error"] * 2


@contextlib.contextmanager
def slow(store, held):
    """Have a server at work that answers ``two`` only once it may."""

    def wait(exchange):
        if b"two" in exchange.received.body:
            held.wait(30)
        react(exchange)

    with fault_server(wait) as server:
        yield submitted(server.url, store, ("one", "two", "one"), limits=tn.Limits(concurrency=1))
        held.set()


def test_batches_come_out_while_later_ones_are_waited_for(tmp_path):
    """In the table's order, each with its answers."""
    held = threading.Event()
    with ending(tmp_path / "store") as store, slow(store, held) as table, mock.patch.object(batches, "BATCH_ROWS", 1):
        made = RETRIEVE.run_batches(table, store=store, progress=False)
        assert next(iter(made))["word"].to_pylist() == ["one"]
        held.set()
        assert made.read_all()["word"].to_pylist() == ["two", "one"]
    assert made.summary.ok == 3


def test_all_batches_have_one_time(tmp_path):
    """What has not come by then is pending, and nothing more is waited for; what has is there."""
    held = threading.Event()
    with ending(tmp_path / "store") as store, slow(store, held) as table, mock.patch.object(batches, "BATCH_ROWS", 1):
        began = time.monotonic()
        made = RETRIEVE.run_batches(table, 2.0, store=store, progress=False)
        found = made.read_all()["outcome"].to_pylist()
        assert found == ["ok", "pending", "pending"]
        assert time.monotonic() - began < 3.5


def test_ctrl_c_ends_a_retrieval_after_the_batches_that_are_whole(tmp_path, monkeypatch):
    """The worker goes on, and the same call gets the rest."""
    held, came = threading.Event(), []
    with ending(tmp_path / "store") as store, slow(store, held) as table, mock.patch.object(batches, "BATCH_ROWS", 1):
        made, wait = RETRIEVE.run_batches(table, store=store, progress=False), pending_answers.PendingAnswers.wait

        def interrupted(self, interrupts, moved):
            if came:
                signal.raise_signal(signal.SIGINT)
            wait(self, interrupts, moved)

        monkeypatch.setattr(pending_answers.PendingAnswers, "wait", interrupted)
        with pytest.raises(Interrupted):
            came.extend(made)
        assert [each["word"].to_pylist() for each in came] == [["one"]]
        assert made.summary.outcomes == {"ok": 1}


def test_a_large_table_is_retrieved_by_the_command_line_as_a_small_one_is(kept, tmp_path, monkeypatch, capsys):
    """The same table, log and words; a report too, whose charts are not drawn here."""
    store, ids = kept
    monkeypatch.setattr(charts, "histogram", lambda *_, **__: ("", ""))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, str(store))
    monkeypatch.setattr(batches, "BATCH_ROWS", 2)
    pd.DataFrame({"id": range(len(KINDS)), IDS: [ids[kind] for kind in KINDS]}).to_csv("ids.csv", index=False)
    how = ["--answer", "word=str", "--answer", "length=int", "--wait", "0", "--no-progress", "--report", "page.html"]
    with nobody_at_work(store):
        told = []
        for name, more in (("a", ()), ("b", ("--memory", "300MB"))):
            assert (
                exit_code_of("retrieve", "ids.csv", "-o", f"{name}.csv", "--log", f"log-{name}.csv", *how, *more) == 3
            )
            told.append([line.replace("a.csv", "b.csv") for line in capsys.readouterr().err.splitlines()[1:]])
    pd.testing.assert_frame_equal(pd.read_csv("a.csv"), pd.read_csv("b.csv"))
    logs = [pd.read_csv(f"log-{name}.csv") for name in "ab"]
    pd.testing.assert_frame_equal(logs[0], logs[1][logs[0].columns])
    assert told[0] == told[1]
