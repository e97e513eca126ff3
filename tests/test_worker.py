"""The worker from within: the engine over a store, whatever the server, the disk or another worker does."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import sqlite3
import threading
import time
from contextlib import closing

import numpy
import orjson
import pandas as pd
import pytest
from background import nobody_at_work, until, work, workers
from measuring import measures_seconds
from sentences import wording
from servers import answer, echo, fault_server, fin, held, refusing_port

import tablenodes as tn
from tablenodes.connection.endpoint import opened
from tablenodes.engine.calls import Answer, Call, Request
from tablenodes.engine.journal import KeptAnswer
from tablenodes.later.group import Deadlines
from tablenodes.later.lock import WorkerLock, ensure_worker
from tablenodes.later.stored_connection import StoredConnection, restored
from tablenodes.later.worker import Worker, cancel
from tablenodes.run.wiring import Engine
from tablenodes.secret import Secret
from tablenodes.store.futures import Futures, _end_sum
from tablenodes.store.inventory import Inventory
from tablenodes.store.store_file import StoreFile

NODE = tn.CreateChatCompletionAsync(model="m", prompt="Say {{ word }}")
ONCE = tn.Retry(not_executed=0, server_error=0, throttled=0, ambiguous=0)
SALT = b"s" * 16


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def queued(url, store, rows=3, **manner):
    """Submit rows and start no worker."""
    table = pd.DataFrame({"word": [f"w{row}" for row in range(rows)]})
    with nobody_at_work(store):
        return NODE.run(table, tn.Connection(url), store=store, progress=False, **manner).table


def found(table, store):
    """Look at what there is, as somebody who may start no worker."""
    with nobody_at_work(store):
        return tn.RetrieveResponse().run(table, 0, store=store, progress=False)


@contextlib.contextmanager
def a_worker_at_work(store, idle=5.0):
    """Have a worker at work, in a thread; nobody starts another one as long as it is."""
    worker = Worker(store, idle=idle)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        until(lambda: WorkerLock(store).is_held() or not thread.is_alive(), "the worker")
        yield
    finally:
        worker.stop()
        thread.join(30)
        assert not thread.is_alive()


def outcomes(table, store):
    return list(found(table, store).log["outcome"])


def meanwhile(table, store):
    """Look at what there is while a worker is at work."""
    return list(tn.RetrieveResponse().run(table, 0, store=store, progress=False).log["outcome"])


def reason(table, store, row=0):
    return json.loads(found(table, store).result["body"][row])["error"]["message"]


def test_a_worker_works_until_nothing_is_left_and_lets_go(store):
    """It waits a little for more, then it ends."""
    with fault_server(echo()) as server:
        table = queued(server.url, store)
        work(store)
    assert outcomes(table, store) == ["ok"] * 3
    assert not WorkerLock(store).is_held()


def test_a_worker_without_a_store_or_beside_another_one_does_nothing(store):
    """It makes no file, and sends nothing."""
    work(store)
    assert not store.exists()
    with fault_server(echo()) as server:
        queued(server.url, store)
        with nobody_at_work(store):
            work(store)
        assert server.requests == []


def test_rows_that_are_submitted_meanwhile_are_taken_up(store):
    """By the same worker, also after the others have come to their end."""
    submitted = threading.Event()

    def submit():
        table = pd.DataFrame({"word": ["a", "b", "c"]})
        return NODE.run(table, tn.Connection(server.url), store=store, progress=False).table

    with fault_server(held(submitted)) as server:
        tables = [queued(server.url, store, 1)]
        with a_worker_at_work(store, idle=30):
            until(lambda: len(server.requests) == 1)
            tables.append(submit())
            submitted.set()
            until(lambda: {*meanwhile(tables[0], store), *meanwhile(tables[1], store)} == {"ok"})
            time.sleep(0.3)  # in this time a worker would have ended that waits for nothing
            tables.append(submit())
            until(lambda: meanwhile(tables[2], store) == ["ok"] * 3)
            assert workers(store) == []
        assert len(server.requests) == 7
    assert [outcomes(table, store) for table in tables] == [["ok"], ["ok"] * 3, ["ok"] * 3]


def test_a_row_that_fails_is_tried_again_as_in_any_run(store):
    """Its attempts are counted."""
    with fault_server([answer("oops", 500), echo()]) as server:
        table = queued(server.url, store, 1)
        work(store)
        assert len(server.requests) == 2
    log = found(table, store).log
    assert (log["outcome"][0], log["attempts"][0]) == ("ok", 2)


def test_a_row_that_fails_for_good_keeps_what_the_server_said(store):
    """Status and body as they came."""
    with fault_server(answer({"error": {"message": "too long"}}, 400)) as server:
        table = queued(server.url, store, 1)
        work(store)
    out = found(table, store)
    assert (out.log["outcome"][0], out.result["status"][0]) == ("http_error", 400)
    assert "too long" in out.result["body"][0]


def test_a_row_without_an_answer_keeps_the_reason(store):
    """Nothing came: an error object, and that it may have been billed."""
    with fault_server(fin()) as server:
        table = queued(server.url, store, 1, retry=ONCE)
        work(store)
    out = found(table, store)
    assert (out.log["outcome"][0], out.log["maybe_billed"][0]) == ("disconnected", True)
    assert json.loads(out.result["body"][0])["error"]["type"] == "disconnected"


def test_whichever_commit_fails_what_came_is_saved(store, monkeypatch):
    """One after the other: it stops sending, saves what came once there is room, and the next worker sends the rest."""
    put = Futures.put
    reasons = set()
    for nth in range(1, 12):
        path = store.with_name(f"store{nth}")
        left = [nth]

        def fails(self, *arguments):
            left[0] -= 1  # noqa: B023
            if left[0] == 0:  # noqa: B023
                raise tn.errors.StoreError("the disk is full")
            put(self, *arguments)

        with fault_server(echo()) as server:
            table = queued(server.url, path, 6, limits=tn.Limits(concurrency=2))
            with monkeypatch.context() as patched:
                patched.setattr(Futures, "put", fails)
                work(path)
            came = outcomes(table, path).count("ok")
            assert came == len(server.requests)
            if came < 6:
                reasons.add(reason(table, path, 5))
                work(path)
            assert outcomes(table, path) == ["ok"] * 6
            assert list(found(table, path).log["attempts"]) == [1] * 6
            assert len(server.requests) == 6
    wording(sorted(reasons))


def test_a_worker_that_was_replaced_writes_nothing_any_more(store):
    """One at a time, even where the lock does not work."""
    replaced = threading.Event()
    with fault_server(held(replaced)) as server:
        table = queued(server.url, store, 4, limits=tn.Limits(concurrency=1))
        worker = threading.Thread(target=work, args=(store,))
        worker.start()
        until(lambda: len(server.requests) == 1)
        with StoreFile(store) as file:
            Futures(file).begin(secrets.token_bytes(16), os.getpid(), time.time())
        replaced.set()
        worker.join(30)
        assert not worker.is_alive()
        assert len(server.requests) == 1
        assert outcomes(table, store) == ["pending"] * 4
        work(store)
        assert outcomes(table, store) == ["ok"] * 4


def test_a_store_that_is_deleted_under_a_worker_is_not_made_anew(store):
    """It ends; nothing is left."""
    deleted = threading.Event()
    with fault_server(held(deleted)) as server:
        queued(server.url, store, 4, limits=tn.Limits(concurrency=1))
        worker = threading.Thread(target=work, args=(store,))
        worker.start()
        until(lambda: len(server.requests) == 1)
        for path in store.parent.glob("store*"):
            path.unlink()
        deleted.set()
        worker.join(30)
        assert not worker.is_alive()
        assert len(server.requests) == 1
    assert not store.exists()


def test_a_worker_whose_store_was_made_anew_ends_without_a_word(store):
    """The rows of the new one are not its own: it sends none of them, and nothing keeps them."""
    made = threading.Event()
    with fault_server(held(made)) as server:
        queued(server.url, store, 4, limits=tn.Limits(concurrency=1))
        worker = Worker(store, idle=5)
        thread = threading.Thread(target=worker.run)
        thread.start()
        until(lambda: len(server.requests) == 1)
        for path in store.parent.glob("store*"):
            path.unlink()
        table = queued(server.url, store, 4, limits=tn.Limits(concurrency=1))
        made.set()
        thread.join(30)
        assert not thread.is_alive()
        assert len(server.requests) == 1
        wording(reason(table, store))
        work(store)
        assert outcomes(table, store) == ["ok"] * 4


def test_an_unforeseen_error_keeps_its_group_alone(store, monkeypatch, capsys):
    """The others go on; the log says where it was, and nothing that may quote a row."""
    right = Engine.calling

    def wrong(self, request, **more):
        if "completions" in request.url and "chat" not in request.url:
            raise RuntimeError(orjson.dumps([6, 7]))
        return right(self, request, **more)

    monkeypatch.setattr(Engine, "calling", wrong)
    with fault_server(echo()) as server:
        good = queued(server.url, store)
        with nobody_at_work(store):
            node = tn.CreateCompletionAsync(model="m", prompt="x")
            bad = node.run(pd.DataFrame({"word": ["a"]}), tn.Connection(server.url), store=store).table
        work(store)
    assert outcomes(good, store) == ["ok"] * 3
    wording.line(reason(bad, store))
    log = capsys.readouterr().err
    assert ("RuntimeError" in log, "group.py" in log, "[6,7]" in log) == (True, True, False)


def test_rows_of_another_version_are_left_alone(store):
    """Whoever wrote them knows how they are sent."""
    with fault_server(echo()) as server:
        table = queued(server.url, store)
        with closing(sqlite3.connect(store)) as database, database:
            database.execute("""UPDATE recipe SET recipe = replace(recipe, '"version":1', '"version":2')""")
        work(store)
        assert server.requests == []
    wording.line(reason(table, store))


def test_limits_may_be_numbers_of_other_libraries(store):
    """As anywhere."""
    with fault_server(echo()) as server:
        limits = tn.Limits(concurrency=numpy.int64(2), grace=numpy.float32(1))
        table = queued(server.url, store, limits=limits, retry=tn.Retry(row_deadline=numpy.float64(60)))
        work(store)
    assert outcomes(table, store) == ["ok"] * 3


@contextlib.contextmanager
def busy_and_refused(store):
    """Have a worker at work on a row that is not answered, and on others for which the key is refused until it is good.

    Gives the table of these others, their server's requests, and what makes the key good.
    """
    ends, good = threading.Event(), threading.Event()

    def react(exchange):
        (echo() if good.is_set() else answer(b"{}", 401))(exchange)

    with fault_server(held(ends)) as slow, fault_server(react) as server:
        queued(slow.url, store, 1)
        table = queued(server.url, store, 20, limits=tn.Limits(concurrency=1))
        with a_worker_at_work(store):
            until(lambda: "the server refuses the key" in str(list(look(table, store).log["message"])))
            try:
                yield table, server, good
            finally:
                ends.set()


def look(table, store):
    """Look at what there is while a worker is at work."""
    return tn.RetrieveResponse().run(table, 0, store=store, progress=False)


def test_a_retrieval_has_a_worker_that_is_busy_try_again(store):
    """What kept the rows may be over; the worker need not end before."""
    with busy_and_refused(store) as (table, server, good):
        good.set()
        refused = list(look(table, store).log["outcome"]).count("auth")
        again = tn.RetrieveResponse().run(table, store=store, progress=False).summary.outcomes
        assert again == {"auth": refused, "ok": 20 - refused}
        assert len(server.requests) == 20


def test_new_rows_have_a_worker_that_is_busy_try_again(store):
    """Nobody need retrieve them."""
    with busy_and_refused(store) as (_, server, good):
        good.set()
        new = NODE.run(
            pd.DataFrame({"word": ["new"]}),
            tn.Connection(server.url),
            store=store,
            limits=tn.Limits(concurrency=1),
            progress=False,
        )
        assert new.summary.submitted == 1
        until(lambda: len(server.requests) == 21)


def test_what_keeps_rows_is_said_until_they_are_tried_again(store):
    """Nobody has taken them up yet."""
    with refusing_port() as port:
        retry = tn.Retry(outage_patience=0, not_executed=100, max_attempts=100)
        table = queued(f"http://127.0.0.1:{port}/v1", store, 3, retry=retry, limits=tn.Limits(concurrency=1))
        work(store)
    for _ in range(2):
        wording.line(reason(table, store))


def test_rows_that_wait_for_a_key_end_at_their_deadline_beside_a_worker_at_work(store, monkeypatch):
    """Whatever it does meanwhile."""
    monkeypatch.setenv("MY_KEY", "e" * 20)
    with fault_server(echo()) as server:
        queued(server.url, store)
        with nobody_at_work(store):
            connection = tn.Connection(server.url, api_key_env="MY_KEY")
            NODE.run(pd.DataFrame({"word": ["a"]}), connection, store=store, deadline=2, progress=False)
        monkeypatch.delenv("MY_KEY")
        with a_worker_at_work(store, idle=3600), StoreFile(store) as file:
            until(lambda: Inventory(file).counts() == {"ok": 3, "not_sent": 1}, "the deadline")  # nobody asks for it


def test_a_worker_that_cannot_say_what_keeps_rows_ends(store, monkeypatch):
    """On a full disk; it does not try again and again."""
    monkeypatch.setenv("MY_KEY", "e" * 20)
    with fault_server(echo()) as server, nobody_at_work(store):
        connection = tn.Connection(server.url, api_key_env="MY_KEY")
        NODE.run(pd.DataFrame({"word": ["a"]}), connection, store=store, progress=False)
    monkeypatch.delenv("MY_KEY")
    tries = []

    def full(*_, **__):
        tries.append(1)
        raise tn.errors.StoreError("the disk of the store is full")

    monkeypatch.setattr(Futures, "hold", full)
    with a_worker_at_work(store):
        until(lambda: not WorkerLock(store).is_held(), "the end of the worker")
    assert tries == [1]


def test_an_outage_leaves_the_rest_pending(store):
    """Nobody answers: the row that was tried last and those that were not wait for the next worker."""
    with refusing_port() as port:
        retry = tn.Retry(outage_patience=0, not_executed=100, max_attempts=100)
        table = queued(f"http://127.0.0.1:{port}/v1", store, 3, retry=retry, limits=tn.Limits(concurrency=1))
        work(store)
    assert outcomes(table, store) == ["pending"] * 3
    wording.line(reason(table, store))


def test_a_spent_quota_leaves_the_rest_pending(store):
    """A paid bill mends it."""
    spent = answer({"error": {"message": "x", "type": "insufficient_quota", "code": "insufficient_quota"}}, 429)
    with fault_server(spent) as server:
        table = queued(server.url, store, 20, limits=tn.Limits(concurrency=1))
        work(store)
        assert len(server.requests) <= 6
    assert set(outcomes(table, store)) == {"quota_exhausted", "pending"}
    wording.line(reason(table, store, 19))


def test_a_spent_token_budget_ends_the_rest(store):
    """They can never be sent."""
    with fault_server(echo()) as server:
        table = queued(server.url, store, 200, limits=tn.Limits(concurrency=1, token_budget=4))
        work(store)
    assert outcomes(table, store) == ["ok"] * 2 + ["not_sent"] * 198
    wording.line(reason(table, store, 199))


def test_a_row_is_not_tried_beyond_its_own_time(store):
    """It began to run with its first send, in an earlier process."""
    with fault_server(answer("oops", 500)) as server:
        table = queued(server.url, store, 1, retry=tn.Retry(server_error=0, row_deadline=100))
        with closing(sqlite3.connect(store)) as database, database:
            row = database.execute("SELECT number, id FROM future").fetchone()
            crc = _end_sum(row[1], row[0], KeptAnswer(message=""), 1, billed=False)
            values = (row[0], time.time() - 200, crc)
            database.execute(
                "INSERT INTO answer (number, sends, billed, first_sent, headers, body, message, latency, crc)"
                " VALUES (?, 1, 0, ?, x'', x'', '', 0, ?)",
                values,
            )
        work(store)
        assert server.requests == []
    assert outcomes(table, store) == ["in_doubt"]


@measures_seconds
def test_a_row_ends_at_its_deadline_with_its_last_answer(store):
    """Status and body as they came, however long the server would have it wait."""
    began = time.monotonic()
    with fault_server(answer({"error": {"message": "slow down"}}, 429, {"Retry-After": "12"})) as server:
        table = queued(server.url, store, 1, deadline=2)
        with a_worker_at_work(store):
            until(lambda: "pending" not in meanwhile(table, store))
    out = found(table, store)
    assert (out.log["outcome"][0], out.result["status"][0]) == ("rate_limited", 429)
    assert "slow down" in out.result["body"][0]
    assert time.monotonic() - began < 4


@measures_seconds
def test_rows_that_nobody_could_send_end_at_their_deadlines(store):
    """Also while nothing is sent, and the rows that are not read yet."""
    began = time.monotonic()
    with fault_server(answer(b"{}", 429, {"Retry-After": "60"})) as server:
        table = queued(server.url, store, 150, deadline=1, limits=tn.Limits(concurrency=1))
        with a_worker_at_work(store):
            until(lambda: "pending" not in meanwhile(table, store))
        assert len(server.requests) == 1
    assert outcomes(table, store) == ["rate_limited"] + ["not_sent"] * 149
    wording.line(reason(table, store, 1))
    assert time.monotonic() - began < 5


@measures_seconds
def test_a_row_that_ended_while_it_was_next_keeps_its_end(store):
    """It is not sent when the pause is over, and nothing takes the place of its end."""
    with fault_server([answer(b"{}", 429, {"Retry-After": "2"}), echo()]) as server:
        table = queued(server.url, store, 2, deadline=1, limits=tn.Limits(concurrency=1))
        work(store)
        assert len(server.requests) == 1
    assert outcomes(table, store) == ["rate_limited", "not_sent"]
    assert list(found(table, store).log["attempts"]) == [1, 0]


def test_a_pause_holds_for_rows_that_are_submitted_meanwhile(store):
    """Also where nothing was left to send; the worker lives as long as the pause."""
    manner = {"retry": tn.Retry(throttled=0)}
    with fault_server([answer(b"{}", 429, {"Retry-After": "1"}), echo()]) as server:
        first = queued(server.url, store, 1, **manner)
        with a_worker_at_work(store, idle=0.05):
            until(lambda: meanwhile(first, store) == ["rate_limited"])
            table = pd.DataFrame({"word": ["later"]})
            second = NODE.run(table, tn.Connection(server.url), store=store, progress=False, **manner).table
            until(lambda: meanwhile(second, store) == ["ok"])
        early, late = (request.time for request in server.requests)
        assert late - early >= 1


def test_an_allowance_that_is_renewed_too_late_keeps_the_rest(store):
    """As a delay that is too long does: nobody is sent before, by whichever worker."""
    told = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h"}
    with fault_server([echo(200, told), *[answer(b"{}", 429, told)] * 5]) as server:
        table = queued(server.url, store, 9, limits=tn.Limits(concurrency=1))
        work(store)
        work(store)
        assert len(server.requests) == 6
    assert outcomes(table, store) == ["ok", *["pending"] * 8]
    wording.line(reason(table, store, 8))


def test_a_server_that_refuses_nobody_is_worked_for_and_left(store):
    """Whatever it says of an allowance; and the worker stays no longer for it."""
    told = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h"}
    with fault_server(echo(200, told)) as server:
        table = queued(server.url, store, 3, limits=tn.Limits(concurrency=1))
        began = time.monotonic()
        work(store)
        assert time.monotonic() - began < 20
    assert outcomes(table, store) == ["ok"] * 3


def test_a_call_takes_no_longer_than_its_row_has_left():
    """And none is begun for a row that has nothing left."""
    begun = []

    class Inner:
        capacity = 7

        def start(self, call):
            begun.append(call)

        def cancel(self, key):
            begun.append(key)

        def wait(self, seconds):
            return []

        def close(self):
            begun.append("closed")

    left = {1: 5.0, 2: 0.0, 3: -1.0}
    transport = Deadlines(Inner(), left.__getitem__)
    call = Call(1, Request("POST", "http://127.0.0.1/", ()), b"{}", 60.0)
    for key in left:
        transport.start(call._replace(key=key))
    transport.cancel(3)
    assert [each.total for each in begun[:1]] == [5.0]
    assert begun[1:] == [3]
    (late,) = transport.wait(1.0)
    assert (type(late), late.key, late.fault, late.sends) == (Answer, 2, "timeout_total", 0)
    assert transport.wait(0.0) == []
    assert transport.capacity == 7
    transport.close()
    assert begun[-1] == "closed"


@pytest.mark.parametrize(
    "connection",
    [
        tn.Connection("http://127.0.0.1:1/v1", ""),
        tn.Connection("http://127.0.0.1:1/v1", "k" * 20, timeout=7, transport="requests", allow_insecure=True),
        tn.Connection(
            "http://127.0.0.1:1/v1", headers={"Api-Key": "s" * 20, "X-Title": "t"}, query={"api-version": "1"}
        ),
        tn.Connection("https://example.com/v1", "k" * 20, proxy="http://user:password@proxy:1", query={"sig": "q" * 9}),
        tn.Connection("https://example.com/v1", api_key_env="MY_KEY", timeout=tn.Timeout(idle=3)),
        tn.Connection.local("model.gguf", slots=2),
    ],
)
def test_a_connection_arrives_as_it_was_sent_without_a_secret(connection, monkeypatch):
    """What the recipe lacks is in the environment, by names that tell nothing."""
    monkeypatch.setenv("MY_KEY", "e" * 20)
    stored = StoredConnection(connection, SALT)
    text = orjson.dumps(stored.recipe).decode()
    assert not any(secret in text for secret in ("kkkk", "ssss", "qqqq", "eeee", "user:"))
    environ = {**os.environ, **stored.secrets}
    there = restored(orjson.loads(text), environ, SALT)
    if connection.local_model is None:
        with opened(connection) as before, opened(there, environ) as after:
            assert (after.base_url, after.timeout) == (before.base_url, before.timeout)
            assert after.request("POST", "/x") == before.request("POST", "/x")
        assert (there.proxy, there.transport) == (connection.proxy, connection.transport)
        assert isinstance(there.proxy, Secret | None)
    else:
        assert there.local_model.path == os.path.abspath("model.gguf")
        assert there.local_model.slots == 2
    if stored.secrets:
        with wording.raises(tn.errors.ConnectionSettingError):
            restored(orjson.loads(text), {}, SALT)


def test_the_name_of_a_secret_depends_on_its_store_and_its_address():
    """It is the same where both are: a worker that has it is known to have it."""

    def name(url, salt):
        return list(StoredConnection(tn.Connection(url, "k" * 20), salt).secrets)

    here = "http://127.0.0.1:1/v1"
    assert name(here, SALT) == name(here, SALT)
    assert len({*name(here, SALT), *name(here, b"t" * 16), *name("http://127.0.0.1:2/v1", SALT)}) == 3


def test_one_lock_a_store_and_looking_does_not_hold_it(store):
    """It opens with the process that held it, or with its file."""
    first, second = WorkerLock(store), WorkerLock(store)
    assert not second.is_held()
    assert first.take()
    assert second.is_held()
    assert not second.take()
    first.release()
    stop = threading.Event()

    def look():
        while not stop.is_set():
            second.is_held()

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for each in lookers:
        each.start()
    for _ in range(50):
        assert first.take()
        first.release()
    stop.set()
    for each in lookers:
        each.join()


def test_a_file_system_without_locks_is_said(store, monkeypatch):
    """Two workers would send everything twice."""
    import fcntl

    def refuses(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuses)
    with wording.raises(tn.errors.StoreError):
        WorkerLock(store).take()
    assert not WorkerLock(store).is_held()


def test_a_lock_that_cannot_be_made_is_said(store):
    """A link is not followed."""
    store.with_name("store.worker").symlink_to("elsewhere")
    with pytest.raises(tn.errors.StoreError, match=r"store\.worker"):
        WorkerLock(store).take()


def test_a_worker_that_cannot_be_started_is_said_and_the_rows_wait(store, monkeypatch, capsys):
    """They are in the store; the next retrieval tries again."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with wording.raises(tn.errors.StoreError):
        ensure_worker(store, "", {})
    with fault_server(echo()) as server:
        table = NODE.run(pd.DataFrame({"word": ["a"]}), tn.Connection(server.url), store=store, progress=False).table
        wording.line(capsys.readouterr().err)
        out = tn.RetrieveResponse().run(table, store=store, progress=False)
        wording(json.loads(out.result["body"][0])["error"]["message"])
    assert not WorkerLock(store).is_held()


def test_rows_whose_time_is_over_end_without_a_key(store, monkeypatch):
    """Also those of a group that nothing can be sent for."""
    monkeypatch.setenv("MY_KEY", "e" * 20)
    with fault_server(echo()) as server, nobody_at_work(store):
        connection = tn.Connection(server.url, api_key_env="MY_KEY")
        table = NODE.run(pd.DataFrame({"word": ["a", "b"]}), connection, store=store, progress=False).table
    monkeypatch.delenv("MY_KEY")
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("UPDATE future SET deadline = 0 WHERE number = 1")
    work(store)
    assert outcomes(table, store) == ["not_sent", "pending"]
    wording.line(reason(table, store, 1))


def test_whoever_stops_a_submission_has_the_ids_of_what_was_accepted(store, monkeypatch):
    """Ctrl-C between two transactions: they are in the output."""
    from tablenodes.later import open_submission as submitting

    submit, calls = Futures.submit, []

    def stopped(self, *arguments, **manner):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return submit(self, *arguments, **manner)

    monkeypatch.setattr(submitting, "_ROWS", 2)
    monkeypatch.setattr(Futures, "submit", stopped)
    with fault_server(echo()) as server, wording.raises(tn.errors.Interrupted) as caught:
        queued(server.url, store, 5)
    result = caught.value.output.result
    assert list(result["future_response_id"].notna()) == [True, True, False, False, False]
    assert outcomes(caught.value.output.table[:2], store) == ["pending"] * 2


def test_a_submission_is_cancelled_whoever_works_on_it(store):
    """What is under way is answered; the rest ends, and is sent where it is submitted or wanted again."""
    manner = {"limits": tn.Limits(concurrency=1), "submission": "mine"}
    with fault_server(echo(delay=0.5)) as server, StoreFile(store) as file:
        other = queued(server.url, store, 1, submission="other")
        table = queued(server.url, store, 200, **manner)
        with a_worker_at_work(store):
            until(lambda: len(server.requests) > 1, "a request")
            assert cancel(file, "mine") > 190
            until(lambda: Inventory(file, "mine").counts().get("pending", 0) == 0, "the end", 3.0)
        assert (len(server.requests) < 6, meanwhile(other, store)) == (True, ["ok"])
        wording({*found(table, store).log["message"].dropna()}.pop())
        again = queued(server.url, store, 5, **manner)
        assert cancel(file) == outcomes(again, store).count("not_sent")
        with nobody_at_work(store):
            options = {"store": store, "progress": False, "retry_failed": "all"}
            tn.RetrieveResponse().run(again, 0, **options)
        work(store)
        assert outcomes(again, store) == ["ok"] * 5


def test_rows_that_are_cancelled_are_counted_until_their_end(store):
    """A worker that has them sees it a little later; where none has, they end at once."""
    with fault_server(echo()) as server, StoreFile(store) as file:
        queued(server.url, store, 3)
        inventory = Inventory(file)
        assert (inventory.cancelled(), inventory.cancel(), inventory.cancelled()) == (0, 3, 3)
        cancel(file)
        assert (inventory.cancelled(), inventory.counts(), server.requests) == (0, {"not_sent": 3}, [])


def test_answers_that_are_old_can_be_deleted(store):
    """Their ids are unknown then; what is pending stays."""
    with fault_server(echo()) as server:
        old = queued(server.url, store, 2)
        work(store)
        new = queued(server.url, store, 1)
    with StoreFile(store) as file:
        inventory = Inventory(file)
        assert inventory.counts() == {"pending": 1, "ok": 2}
        assert inventory.clear(time.time() - 60) == 0
        assert inventory.clear(time.time() + 60) == 2
        assert inventory.counts() == {"pending": 1}
    assert outcomes(old, store) == ["unknown_id"] * 2
    assert outcomes(new, store) == ["pending"]
