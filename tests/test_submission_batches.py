"""Submissions over batches: what comes out is what the whole table's gives, and no row is in the store twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import orjson
import pandas as pd
import pyarrow as pa
import pytest
from background import elsewhere, ending, nobody_at_work
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_runs import exit_code_of
from sentences import wording
from servers import echo, fault_server

import tablenodes as tn
from tablenodes.errors import SettingError
from tablenodes.later import open_submission
from tablenodes.store.futures import Futures
from tablenodes.store.store_file import VARIABLE
from tablenodes.tables import batches

NODE = tn.CreateChatCompletionAsync(model="m", prompt="{{ text }}")
NOWHERE = tn.Connection("http://127.0.0.1:1/v1", api_key="")
texts = st.lists(st.sampled_from(["a", "b", "c", "", None]), max_size=12)


@pytest.fixture
def store(tmp_path):
    with ending(tmp_path / "store") as path:
        yield path


@pytest.fixture
def small(monkeypatch):
    """Batches of a few rows, and fewer in a transaction."""
    monkeypatch.setattr(batches, "BATCH_ROWS", 5)
    monkeypatch.setattr(open_submission, "_ROWS", 3)


def table_of(rows):
    return pa.table({"id": [*range(len(rows))], "text": pa.array(rows, pa.string())})


def streamed(table, size, store, node=NODE, connection=NOWHERE, **manner):
    source = iter(table.to_batches(max_chunksize=size) or [table.schema.empty_table()])
    with nobody_at_work(store):
        made = node.run_batches(source, connection, store=store, progress=False, **manner)
        return pa.Table.from_batches([*made], made.schema), made.summary


def whole(table, store, node=NODE, connection=NOWHERE, **manner):
    with nobody_at_work(store):
        output = node.run(table, connection, store=store, progress=False, **manner)
        return output.table, output.summary


def stored(store):
    """How many rows a store has, and how many of them are pending."""
    with contextlib.closing(sqlite3.connect(store)) as database:
        return tuple(database.execute(f"SELECT count(*) FROM {each}").fetchone()[0] for each in ("future", "pending"))


@settings(max_examples=8, deadline=None)
@given(texts, st.integers(1, 5), st.booleans())
def test_the_batches_of_a_submission_are_its_table(rows, size, whole_first):
    """Ids, errors, columns and counts, whichever is first; equal rows differ by their turn over all batches."""
    table = table_of(rows)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        ways = [lambda: whole(table, store, submission="x"), lambda: streamed(table, size, store, submission="x")]
        (first, counts), (second, again) = [way() for way in (ways if whole_first else reversed(ways))]
        assert first.equals(second)
        assert counts.outcomes == again.outcomes
        assert stored(store) == (counts.submitted,) * 2
        unnamed, _ = streamed(table, size, store)
    ids = unnamed["future_response_id"].to_pylist()
    assert [each is None for each in ids] == first["future_response_id"].is_null().to_pylist()
    assert not {*filter(None, ids)} & {*first["future_response_id"].to_pylist()}


def test_a_submission_that_was_stopped_goes_on_where_it_was(store, small):
    """What was handed out before has its ids, and the rest is added: no row is there twice."""
    table, rows = table_of([f"w{at % 7}" for at in range(20)]), 10
    with nobody_at_work(store):
        made = NODE.run_batches(table, NOWHERE, store=store, submission="x", progress=False)
        first = [next(iter(made)), next(iter(made))]
        made.close()
    assert made.summary.submitted == stored(store)[0] == rows
    second, summary = streamed(table, 4, store, submission="x")
    assert pa.Table.from_batches(first).equals(second.slice(0, rows))
    assert (summary.submitted, stored(store)[0]) == (20, 20)


def test_a_worker_is_at_work_while_rows_are_still_submitted(store, small, monkeypatch):
    """It is started behind the first batch, looked for now and then, and at the end."""
    started = []
    monkeypatch.setattr(open_submission, "ensure_worker", lambda *_: started.append(stored(store)[0]))
    made = NODE.run_batches(table_of(["w"] * 20), NOWHERE, store=store, progress=False)
    assert started == []
    next(iter(made))
    assert started == [5]
    made.read_all()
    assert started == [5, 20]


def test_a_limit_without_a_name_needs_the_source_twice(store):
    """The limit is that of an earlier submission of the same rows; with a name, the name says it."""
    from tablenodes.run.options import RunOptions
    from tablenodes.run.rows import Context

    table, journal = table_of(["a", "b"]), store.with_name("kept")
    options = RunOptions(limits=tn.Limits(max_requests=1), journal=journal, store=store, progress=False)
    with nobody_at_work(store):
        for _ in range(2):
            NODE._in_batches(table, NOWHERE, options, Context()).read_all()
        with pytest.raises(SettingError) as caught:
            NODE._in_batches(iter(table.to_batches()), NOWHERE, options, Context())
    assert caught.value.place == "source"
    wording(str(caught.value))
    with contextlib.closing(sqlite3.connect(store)) as database:
        assert len({*database.execute("SELECT json_extract(recipe, '$.once') FROM recipe")}) == 1


def test_a_store_that_fails_in_the_middle_leaves_the_rest_without_ids(store, small, monkeypatch):
    """What was accepted before has its ids, as with a whole table."""
    submit, calls = Futures.submit, []

    def failing(self, *arguments, **manner):
        calls.append(1)
        if len(calls) == 3:
            raise tn.errors.StoreError("the store's disk is full")
        return submit(self, *arguments, **manner)

    monkeypatch.setattr(Futures, "submit", failing)
    made, summary = streamed(table_of(["w"] * 20), 20, store)
    assert summary.outcomes == {"not_sent": 15, "submitted": 5}
    assert made["error_message"].to_pylist() == [None] * 5 + ["the store's disk is full"] * 15


def test_rows_that_cannot_be_submitted_are_looked_for_first(store):
    with pytest.raises(tn.errors.InvalidRequests):
        NODE.run_batches(table_of(["a", None]), NOWHERE, store=store, check="first", on_invalid="raise", progress=False)
    assert not store.exists()


VICTIM = """
from tablenodes.tables import batches
batches.BATCH_ROWS = 25
table, url, store = sys.argv[1:]
node = tn.CreateChatCompletionAsync(model="m", prompt="{{ text }}")
for batch in node.run_batches(table, tn.Connection(url), store=store, submission="x", progress=False):
    print(len(batch), flush=True)
"""


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_submission_that_is_killed_pays_for_nothing_twice(store, tmp_path, kills):
    """Whenever it is killed, while a worker sends what it has put down: the same table, and each row sent once."""
    rows, chance = 40 * (kills + 1), random.Random(kills)
    path = tmp_path / "rows.parquet"
    tn.write_table(table_of([f"w{at}" if at % 11 else None for at in range(rows)]), path)
    with fault_server(echo()) as server:
        for _ in range(kills):
            with elsewhere(VICTIM, str(path), server.url, str(store)) as victim:
                for _ in range(chance.randrange(1 + rows // 25)):
                    victim.stdout.readline()
                time.sleep(chance.random() * 0.03)
                victim.kill()
        made = NODE.run_batches(str(path), tn.Connection(server.url), store=store, submission="x", progress=False)
        table = made.read_all()
        same = NODE.run(table.select(["id", "text"]), tn.Connection(server.url), store=store, submission="x").table
        answers = tn.RetrieveResponse().run(table, store=store, progress=False)
        asked = Counter(orjson.loads(each.body)["messages"][0]["content"] for each in server.requests)
    assert table.equals(same)
    assert answers.summary.ok == made.summary.submitted == len(asked) == asked.total()


def command(*more):
    base = ["submit", "CreateChatCompletion", "rows.csv", "--model", "m", "--prompt", "{{ text }}", "--no-progress"]
    return [*base, "--base-url", "http://127.0.0.1:1/v1", "--no-key", *more]


@pytest.fixture
def rows(tmp_path, store, small, monkeypatch):
    """A table of some batches, in the current folder, with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, str(store))
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"{at},{'w' * (at % 7)}\n" for at in range(30)))
    with nobody_at_work(store):
        yield


@pytest.mark.parametrize("more", [(), ("--columns", "error_message,future_response_id"), ("--raw", "--rows", "3:9")])
def test_the_command_line_submits_in_batches(rows, store, more, capsys):
    """The same table and log, and what gets the answers, as with a whole one; ``--where`` skips rows of both."""
    how = ["--submission", "x", "--where", "id | int < 25", *more]
    whole = exit_code_of(*command("-o", "a.csv", "--log", "log-a.csv", *how))
    first = capsys.readouterr().err
    parts = exit_code_of(*command("-o", "b.csv", "--log", "log-b.csv", "--memory", "300MB", *how))
    second = capsys.readouterr().err
    assert whole == parts == 3
    assert stored(store)[0] == pd.read_csv("log-a.csv")["outcome"].eq("submitted").sum()
    for name in ("", "log-"):
        pd.testing.assert_frame_equal(pd.read_csv(f"{name}a.csv"), pd.read_csv(f"{name}b.csv"))
    (told,) = (line for line in first.splitlines() if "gets the answers" in line)
    assert told.replace("a.csv", "b.csv") in second


def test_ctrl_c_leaves_what_was_submitted_and_the_same_command_goes_on(rows, store, monkeypatch, capsys):
    """Whole rows with their ids beside the output, and none is in the store twice."""
    submit, calls = Futures.submit, []

    def stopped(self, *arguments, **manner):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return submit(self, *arguments, **manner)

    monkeypatch.setattr(Futures, "submit", stopped)
    assert exit_code_of(*command("-o", "a.csv", "--memory", "300MB")) == 130
    wording(capsys.readouterr().err)
    part = pd.read_csv("a.csv.partial")
    assert exit_code_of(*command("-o", "a.csv", "--memory", "300MB")) == 3
    made = pd.read_csv("a.csv")
    pd.testing.assert_frame_equal(part, made[: len(part)])
    assert (len(part), len(made), stored(store)[0]) == (10, 30, made["future_response_id"].notna().sum())


def test_ctrl_c_in_a_whole_table_says_why_rows_have_no_ids(rows, store, monkeypatch, capsys):
    """The output is there whole, with the ids of what was submitted; the same command goes on."""
    submit, calls = Futures.submit, []

    def stopped(self, *arguments, **manner):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return submit(self, *arguments, **manner)

    monkeypatch.setattr(Futures, "submit", stopped)
    assert exit_code_of(*command("-o", "a.csv")) == 130
    wording(capsys.readouterr().err)
    first = pd.read_csv("a.csv")
    without = first["future_response_id"].isna()
    assert (len(first), without.sum()) == (30, 24)
    assert first["error_message"].isna().eq(~without).all()
    assert exit_code_of(*command("-o", "a.csv")) == 3
    made = pd.read_csv("a.csv")
    assert made["future_response_id"][~without].equals(first["future_response_id"][~without])
    assert stored(store)[0] == made["future_response_id"].notna().sum()


def test_ids_of_other_rows_are_not_written_over_in_batches(rows, store, capsys):
    """As by a whole table; with ``--replace``, the earlier file is kept."""
    assert exit_code_of(*command("-o", "a.csv", "--memory", "300MB")) == 3
    count = stored(store)[0]
    assert exit_code_of(*command("-o", "a.csv", "--memory", "300MB")) == 3
    assert stored(store)[0] == count
    other = [each.replace("{{ text }}", "Say {{ text }}") for each in command("-o", "a.csv", "--memory", "300MB")]
    capsys.readouterr()
    assert exit_code_of(*other) == 1
    wording.line(capsys.readouterr().err)
    assert stored(store)[0] == count
    assert exit_code_of(*other, "--replace") == 3
    assert Path("a.csv.before").exists()


@pytest.fixture
def server():
    with fault_server(echo()) as server:
        yield tn.Connection(server.url, api_key="")


def both(workflow, table, store, server, size=5, **manner):
    """Run a workflow over a whole table, then over its batches, under one name."""
    manner |= {"store": store, "progress": False, "submission": "x"}
    with nobody_at_work(store):
        output = workflow.run(table, connection=server, **manner)
        made = workflow.run_batches(iter(table.to_batches(max_chunksize=size)), server, **manner)
        return output, made.read_all(), made


LATER = tn.CreateChatCompletionAsync(model="m", prompt="{{ text }}")
WORKFLOWS = {
    "alone": {"later": LATER},
    "behind what is made": {"say": tn.Return(text="Say {{ text }}"), "later": LATER.replace(prompt="{{ say }}")},
    "before what is made": {
        "later": LATER,
        "say": tn.Return(text="{{ future_response_id }} {{ outputs.later.outcome }}"),
    },
    "before what is asked": {"later": LATER, "ask": tn.CreateChatCompletion(model="m", prompt="{{ text }}")},
    "behind what is asked": {
        "ask": tn.CreateChatCompletion(model="m", prompt="{{ text }}"),
        "later": LATER.replace(prompt="{{ ask }} {{ id }}"),
        "say": tn.Return(text="{{ outputs.later.error.message }}"),
    },
    "some rows": {"later": tn.Step(LATER, when="{{ id % 3 }}"), "say": tn.Return(text="{{ outputs.later.outcome }}")},
    "a conversation": {
        "begin": tn.CreateConversation(),
        "say": tn.AddUserMessage(text="{{ text }}"),
        "later": tn.CreateChatCompletionAsync(model="m"),
    },
}


@pytest.mark.parametrize("nodes", WORKFLOWS.values(), ids=WORKFLOWS)
def test_the_batches_of_a_workflow_that_submits_are_its_table(nodes, store, server):
    """Ids, what later nodes make of them, and the ends at each node; no row is in the store twice."""
    output, made, stream = both(tn.Workflow(nodes), table_of([*"abcab", None, "", *"abdefgc"] * 2), store, server)
    assert made.to_pydict() == output.table.to_pydict()
    assert made.schema == output.table.schema
    submitted = 0
    for name, whole in output.items():
        assert stream.summaries[name].outcomes == whole.summary.outcomes
        submitted += whole.summary.submitted
    assert stored(store)[0] == submitted > 0


def test_a_workflow_hands_batches_out_while_it_submits(store):
    """Also where nothing is sent, and no call is waited for."""
    with nobody_at_work(store):
        made = tn.Workflow({"later": LATER}).run_batches(
            iter(table_of(["w"] * 2000).to_batches(max_chunksize=100)), NOWHERE, store=store, progress=False
        )
        next(iter(made))
        assert stored(store)[0] < 1000
        made.close()
    assert made.summaries["later"].rows < 1000


def test_rows_behind_a_stop_are_not_submitted(store):
    """What was submitted before has its ids; of the rest, it is said why it has none."""
    with fault_server(echo(401)) as server, nobody_at_work(store):
        nodes = {"ask": tn.CreateChatCompletion(model="m", prompt="{{ text }}"), "later": LATER}
        source = iter(table_of(["w"] * 600).to_batches(max_chunksize=100))
        made = tn.Workflow(nodes).run_batches(source, tn.Connection(server.url), store=store, progress=False)
        ends = Counter(made.read_all()["later_outcome"].to_pylist())
    assert ends["submitted"] + ends["not_sent"] == 600
    assert ends["submitted"] == (stored(store)[0] if store.exists() else 0) < 600


def test_limits_of_a_run_are_not_those_of_a_worker_beside_it(store):
    limits = tn.Limits(max_requests=5)
    with pytest.raises(SettingError) as caught:
        tn.Workflow({"later": LATER}).run_batches(table_of(["a"]), NOWHERE, store=store, limits=limits, progress=False)
    assert caught.value.place == "limits"
    wording(str(caught.value))


def test_limits_of_a_profile_are_not_those_of_a_worker_beside_its_other_nodes(store):
    """Where it is the worker's alone, it counts them."""
    profile = tn.connection.profile.Profile("mine", limits=tn.Limits(token_budget=5))
    connection = replace(NOWHERE, profile=profile)
    made = tn.Workflow({"later": LATER}).run_batches(table_of(["a"]), connection, store=store, progress=False)
    made.close()
    nodes = {"ask": tn.CreateChatCompletion(model="m", prompt="{{ text }}"), "later": LATER}
    with pytest.raises(SettingError) as caught:
        tn.Workflow(nodes).run_batches(table_of(["a"]), connection, store=store, progress=False)
    assert caught.value.place == "limits"
    wording(str(caught.value))
