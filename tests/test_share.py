"""One limit for several processes: the file that keeps it, real workers and a real server, and what does not fit."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import sqlite3
import stat
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from background import until
from limited_servers import LimitedServer
from measuring import measures_seconds
from sentences import wording
from servers import answer, echo, fault_server

import tablenodes as tn
from tablenodes.answers import Pricing
from tablenodes.cluster import Share
from tablenodes.cluster.settlement import settlement
from tablenodes.cluster.share_actor import ActorHandle, ShareActor
from tablenodes.engine.journal import Entry, Journal, Key
from tablenodes.engine.journal.entry import KeptAnswer
from tablenodes.engine.scheduling.lease import Amounts, Report, Unsettled
from tablenodes.errors import SettingError, StoreError, UsageError
from tablenodes.run.cost_limit import CostLimit

NODE = tn.CreateChatCompletion(model="m", prompt="{{ word }}", max_tokens=10)

DEAR = {
    "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 10, "total_tokens": 11},
}


def words(count, name="w"):
    return pd.DataFrame({"word": [f"{name}{row}" for row in range(count)]})


@contextlib.contextmanager
def limited(kind, rate, latency=0.02):
    """Yield a server that limits a rate, and what it saw: when, and with which status it answered."""
    server, lock, began, seen = LimitedServer(kind, rate), threading.Lock(), time.monotonic(), []

    def react(exchange):
        with lock:
            now = time.monotonic() - began
            status, headers = server.ask(now)
            seen.append((now, status))
        time.sleep(latency)
        lines = dict(line.split(": ") for line in headers.decode().splitlines())
        (echo(200, lines) if status == 200 else answer(b"{}", 429, lines))(exchange)

    with fault_server(react) as address:
        yield address.url, seen


def outcomes(made):
    return [outcome for each in made for outcome in each["outcome"]]


def in_processes(mapper, tables):
    """Return what a mapper makes of tables, each in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(len(tables), mp_context=spawn) as pool:
        return list(pool.map(mapper, tables))


def in_threads(mapper, tables):
    """Return what a mapper makes of tables, each in a thread with a mapper of its own."""
    copies = [pickle.loads(pickle.dumps(mapper)) for _ in tables]
    with concurrent.futures.ThreadPoolExecutor(len(tables)) as pool:
        return list(pool.map(lambda copy, table: copy(table), copies, tables))


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_processes_keep_one_max_requests():
    """Two of 60 rows each, of which 70 may be sent: the others were not, in whichever process."""
    with limited("silent", 1000) as (url, seen):
        share = Share(tn.Limits(concurrency=8, max_requests=70))
        made = in_processes(NODE.mapper(tn.Connection(url, ""), share=share), [words(60, "a"), words(60, "b")])
    assert len(seen) == 70
    assert sorted(outcomes(made)) == ["not_sent"] * 50 + ["ok"] * 70
    assert min(list(each["outcome"]).count("ok") for each in made) >= 8


def test_max_cost_is_that_of_all():
    """A request costs 1 dollar for its answer's tokens; a worker exceeds 20 dollars by one request at most."""
    with fault_server(answer(DEAR)) as server:
        connection = tn.Connection(server.url, "", prices={"m": {"input": 0, "output": 100_000}})
        mapper = NODE.mapper(connection, share=Share(tn.Limits(concurrency=4, max_cost=20)))
        made = in_threads(mapper, [words(30, "a"), words(30, "b")])
    assert 20 <= outcomes(made).count("ok") <= 22
    assert len(server.requests) == outcomes(made).count("ok")


def test_what_one_run_has_used_is_used_for_the_next():
    """A share is of all that is sent with it, at the same time or one after the other."""
    with fault_server(echo()) as server:
        mapper = NODE.mapper(tn.Connection(server.url, ""), share=Share(tn.Limits(max_requests=25)))
        counts = [list(mapper(words(10, name))["outcome"]).count("ok") for name in "abcd"]
    assert counts == [10, 10, 5, 0]
    assert len(server.requests) == 25


@measures_seconds
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "next", "seconds", "ms", "silent"])
def test_processes_together_keep_a_servers_rate(kind):
    """Half a minute of 100 a second, and two processes."""
    with limited(kind, 100, latency=0.05) as (url, seen):
        mapper = NODE.mapper(tn.Connection(url, ""), share=Share(tn.Limits(concurrency=128)))
        made = in_processes(mapper, [words(1500, "a"), words(1500, "b")])
    assert set(outcomes(made)) == {"ok"}
    known = min((at for at, status in seen if status == 429), default=1e9) + 0.1
    late = [status for at, status in seen if at > known]
    refused, rate = late.count(429), 3000 / (seen[-1][0] - seen[0][0])
    print(f"{kind}: {rate:.1f} a second, {refused} of {len(late)} refused")
    assert rate >= 90
    assert refused <= (0.08 if kind == "silent" else 0.05) * len(late) + 5


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.slow
@pytest.mark.parametrize("journal", [False, True])
@pytest.mark.parametrize("limits", [{"max_requests": 400}, {"max_cost": 400.0}])
def test_what_a_killed_process_was_leased_stays_counted_until_its_journal_says_otherwise(tmp_path, limits, journal):
    """0 requests more than may be sent, a dollar a worker more; a lease fewer, or with a journal what is in doubt."""
    dear = answer(DEAR)

    def slow(exchange):
        time.sleep(0.1)
        dear(exchange)

    with fault_server(slow) as server:
        connection = tn.Connection(server.url, "", prices={"m": {"input": 0, "output": 100_000}})
        share = Share(tn.Limits(concurrency=16, **limits))
        mapper = NODE.mapper(connection, share=share, journal=tmp_path if journal else None)
        spawn = multiprocessing.get_context("spawn")
        processes = [spawn.Process(target=mapper, args=(words(400, name),)) for name in "ab"]
        for each in processes:
            each.start()
        until(lambda: len(server.requests) >= 150, "requests", 60)
        os.kill(processes[0].pid, signal.SIGKILL)
        for each in processes:
            each.join(60)
        seen = len(server.requests)
    print(f"{limits}, {'a' if journal else 'no'} journal: {seen} requests")
    assert 400 - (16 if journal else 40) <= seen <= 400 + (2 if "max_cost" in limits else 0)


class TaskActor:
    """An actor that can be found only in the thread of a task; what was found may be called in any."""

    def __init__(self, limits):
        self.kept, self.thread = ShareActor(limits), threading.get_ident()

    @property
    def renew(self):
        assert threading.get_ident() == self.thread
        return self.ask

    def ask(self, report):
        told = concurrent.futures.Future()
        told.set_result(self.kept.renew(report))
        return told


def test_an_actor_is_found_in_the_thread_of_its_task():
    """Though it is asked in another one, beside the loop."""
    with fault_server(echo()) as server:
        share = Share(tn.Limits(max_requests=7))
        share._keeper = ActorHandle(TaskActor(share.limits))
        made = NODE.mapper(tn.Connection(server.url, ""), share=share)(words(10))
    assert list(made["outcome"]).count("ok") == 7


# --- what a dead process had used, by its journal -------------------------------------------------------------------


def test_a_journal_says_what_a_dead_process_had_used(tmp_path):
    """Held, gone or damaged, it says nothing; what is in doubt counts as the dearest."""
    journal = Journal(tmp_path / "held.journal")
    entries = [Entry(Key(bytes([number]) * 32, 0)) for number in range(3)]
    for entry in entries:
        journal.intend(entry)
    journal.commit()
    for entry in entries[:2]:
        journal.done(entry, KeptAnswer("ok", None, 200, body=json.dumps(DEAR).encode()))
    journal.commit()
    for name in ("held.journal", "held.journal-wal"):
        shutil.copyfile(tmp_path / name, tmp_path / name.replace("held", "left"))
    (tmp_path / "damaged.journal").write_bytes(bytes(5000))
    pricing = Pricing("", {"m": {"input": 0, "output": 100_000}})

    def used(name, **limits):
        cost_limit = CostLimit(pricing, ["m"]) if limits else None
        told = {"token_budget": 1} if limits else {"max_requests": 1}
        return settlement(Unsettled("a", f"/elsewhere/{name}.journal", 1.5), tmp_path, tn.Limits(**told), cost_limit)

    assert [used(name) for name in ("held", "gone", "damaged")] == [None] * 3
    assert used("left") == (3, 0, 0)
    assert used("left", max_cost=1) == (3, 33, pytest.approx(3.5))
    journal.close()


# --- the file -------------------------------------------------------------------------------------------------------


def files():
    return {each.name for each in Path(tempfile.gettempdir()).glob("tablenodes-share-*")}


def test_a_file_that_nobody_named_goes_with_its_share():
    """It is this user's alone; a copy that has travelled leaves it."""
    before = files()
    share = Share(tn.Limits())
    (name,) = {each for each in files() - before if each.endswith(".sqlite")}
    assert stat.S_IMODE(os.stat(os.path.join(tempfile.gettempdir(), name)).st_mode) & 0o077 == 0 or os.name == "nt"
    copy = pickle.loads(pickle.dumps(share))
    copy.renew(Report("a", leaves=True))
    del copy
    assert share.renew(Report("b")).slots > 0
    del share
    assert not {each for each in files() if each.startswith(name)}


def test_a_named_file_is_found_by_others(tmp_path):
    """By the same limits: what one has used is used for the other."""
    one, other = (Share(tn.Limits(max_requests=10), path=tmp_path / "share.sqlite") for _ in range(2))
    one.renew(Report("a", wants=Amounts(8, 0, 0)))
    one.renew(Report("a", used=Amounts(8, 0, 0), leaves=True))
    assert other.renew(Report("b", wants=Amounts(8, 0, 0))).granted.requests == 2
    with wording.raises(SettingError, code="other_limits"):
        Share(tn.Limits(max_requests=11), path=tmp_path / "share.sqlite")


@pytest.mark.parametrize("content", [b"", b"no database" * 200])
def test_another_file_is_no_share(tmp_path, content):
    """It is left as it is."""
    path = tmp_path / "share.sqlite"
    path.write_bytes(content)
    with wording.raises(StoreError):
        Share(tn.Limits(), path=path)
    assert path.read_bytes() == content


def test_nothing_but_a_ledger_is_loaded_from_a_file(tmp_path):
    """Whoever can write it runs no code in the processes that read it."""
    share = Share(tn.Limits(), path=tmp_path / "share.sqlite")
    with contextlib.closing(sqlite3.connect(tmp_path / "share.sqlite")) as database, database:
        database.execute("UPDATE share SET ledger = ?", (pickle.dumps(os.getcwd),))
    with wording.raises(StoreError):
        share.renew(Report("a"))


@pytest.mark.parametrize("kind", ["Ledger", "LearnedRate", "Record", "Member", "Amounts"])
def test_a_ledger_of_another_version_is_one_clear_line(tmp_path, kind):
    """Whatever it has fewer of: a field of an object, or a part of a tuple."""
    share = Share(tn.Limits(), path=tmp_path / "share.sqlite")
    share.renew(Report("a"))

    def shortened(plain):
        if not isinstance(plain, list):
            return plain
        return [shortened(each) for each in (plain[:-1] if plain[0] == kind else plain)]

    with contextlib.closing(sqlite3.connect(tmp_path / "share.sqlite")) as database, database:
        (text,) = database.execute("SELECT ledger FROM share").fetchone()
        database.execute("UPDATE share SET ledger = ?", (json.dumps(shortened(json.loads(text))),))
    with wording.raises(StoreError):
        share.renew(Report("a"))


def test_a_share_that_is_gone_ends_a_run_before_it_sends(tmp_path):
    """Nothing is sent on limits that nobody keeps."""
    with fault_server(echo()) as server:
        mapper = NODE.mapper(tn.Connection(server.url, ""), share=Share(tn.Limits(), path=tmp_path / "share.sqlite"))
        copy = pickle.loads(pickle.dumps(mapper))
        for each in tmp_path.iterdir():
            each.unlink()
        with pytest.raises(StoreError) as caught:
            copy(words(3))
        assert caught.value.code == "no_share"
        assert server.requests == []


# --- what does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Share({"concurrency": 4}),
        lambda: Share(tn.Limits(), 5),
        lambda: Share(tn.Limits(), object(), path="x"),
        lambda: NODE.mapper(tn.Connection("http://127.0.0.1:1", ""), share=5),
        lambda: NODE.mapper(tn.Connection("http://127.0.0.1:1", ""), share=Share(tn.Limits()), limits=tn.Limits()),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_sent(make):
    """Where a share is made, and where it is given."""
    with wording.raises(UsageError):
        make()
