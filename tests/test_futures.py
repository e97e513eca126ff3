"""Futures: submitted at once, sent by a worker that outlives its starter, retrieved from any process."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sqlite3
import threading
import time
from contextlib import closing
from io import StringIO
from pathlib import Path

import orjson
import pandas as pd
import pytest
from background import at_work, elsewhere, ending, is_worker, kill, nobody_at_work, told, until, work, workers
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import oracle
from measuring import measures_seconds
from permissions import permissions_bind
from sentences import wording
from servers import answer, completion, digest, echo, fault_server, held
from signalling import Process

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.cli.complaints import SOME_FAILED
from tablenodes.run.rows import PlanInputs
from tablenodes.store import StoreFile
from tablenodes.store.inventory import Inventory
from tablenodes.store.store_file import VARIABLE

KEY = "sk-canary-0123456789"
SIZE = re.compile(r"\d+ kB")
TIMED = ["latency", "started"]  # which only who sent them knows
NODE = tn.CreateChatCompletionAsync(model="m", prompt="Say {{ word }}")
RETRIEVE = tn.RetrieveResponse()
QUICK = tn.Retry(not_executed=0, server_error=0, throttled=0, ambiguous=1)


@pytest.fixture
def store(tmp_path):
    with ending(tmp_path / "store") as path:
        yield path


def words(rows):
    return pd.DataFrame({"word": [f"w{row}" for row in range(rows)]})


def body(word):
    return orjson.dumps({"model": "m", "messages": [{"role": "user", "content": f"Say {word}"}]})


def texts(rows):
    return [digest(body(f"w{row}")) for row in range(rows)]


def submitted(url, store, rows=3, *, node=NODE, table=None, key=KEY, **manner):
    connection = tn.Connection(url, key)
    return node.run(words(rows) if table is None else table, connection, store=store, progress=False, **manner).table


def retrieved(table, store, wait=None, **manner):
    return RETRIEVE.run(table, wait, store=store, progress=False, **manner)


def answered(url, store, rows=3, **manner):
    """Submit rows, have them worked on in this process, and give what came."""
    with nobody_at_work(store):
        table = submitted(url, store, rows, key="", **manner)
    work(store)
    with nobody_at_work(store):
        return retrieved(table, store, 0)


def error_of(out, row=0):
    return json.loads(out.result["body"][row])["error"]


@measures_seconds
def test_the_ids_come_at_once_and_the_answers_in_another_process(store):
    """40 rows, a server that takes two seconds: no more than one to submit them."""
    with oracle(0.7) as server:
        began = time.monotonic()
        out = NODE.run(words(40), tn.Connection(server.url, KEY), store=store, progress=False)
        assert time.monotonic() - began < 1
        assert list(out.result.columns) == ["future_response_id", "error_message"]
        assert out.result["error_message"].isna().all()
        assert out.result["future_response_id"].str.fullmatch(r"resp_[0-9a-f]{40}").all()
        assert (len(out.succeeded), len(out.failed), out.summary.submitted) == (40, 0, 40)
        out.table.to_csv(store.with_name("later.csv"), index=False)
        code = (
            "out = tn.RetrieveResponse().run(tn.read_table(sys.argv[1]), store=sys.argv[2], progress=False)\n"
            "print(json.dumps([list(out.text), [int(each) for each in out.result['status']]]))"
        )
        found, statuses = told(elsewhere(code, str(store.with_name("later.csv")), str(store)))
        assert (found, statuses) == (texts(40), [200] * 40)
        assert set(server.sends.values()) == {1}


def test_what_comes_back_is_what_a_plain_run_gives(store):
    """The same table, text and log; a pending row has no status."""
    with fault_server(echo(headers={"x-request-id": "r1"})) as server:
        table = submitted(server.url, store)
        out = retrieved(table, store)
        plain = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}").run(
            words(3), tn.Connection(server.url, KEY), progress=False
        )
    pd.testing.assert_frame_equal(out.result, plain.result)
    pd.testing.assert_series_equal(out.text, plain.text)
    pd.testing.assert_frame_equal(out.log.drop(columns=TIMED), plain.log.drop(columns=TIMED))
    assert list(out.table.columns) == [
        "word",
        "future_response_id",
        "error_message",
        "answer",
        "status",
        "outcome",
        "message",
    ]
    assert out.summary.completion_tokens == plain.summary.completion_tokens


def test_answers_that_came_later_have_their_cost(store):
    """By the prices of the connection that retrieves them, at the server that was asked."""
    named = json.loads(completion(b"")) | {"model": "m"}
    with fault_server(answer(json.dumps(named))) as server:
        with nobody_at_work(store):
            table = submitted(server.url, store, key="")
        work(store)
        connection = tn.Connection(server.url, "", prices={"m": {"input": 1e6, "output": 2e6}})
        with nobody_at_work(store):
            out = RETRIEVE.run(table, 0, connection=connection, store=store, progress=False)
    assert [*out.usage["cost"]] == [3.0] * 3
    assert out.summary.cost == 9.0


def test_rows_that_are_not_answered_yet_are_pending(store):
    """No status, an error object of that type; nobody waits longer than asked."""
    answering = threading.Event()
    with fault_server(held(answering)) as server:
        table = submitted(server.url, store)
        for wait in (0, 0.05):
            out = retrieved(table, store, wait)
            assert set(out.log["outcome"]) == {"pending"}
            assert out.result["status"].isna().all()
            assert error_of(out)["type"] == "pending"
        answering.set()
        assert set(retrieved(table, store).log["outcome"]) == {"ok"}


def test_retrieved_twice_is_the_same_bytes_and_no_request(store):
    """Also at the same time."""
    with oracle() as server:
        table = submitted(server.url, store)
        first = retrieved(table, store).result
        found = []
        threads = [threading.Thread(target=lambda: found.append(retrieved(table, store).result)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        for each in found:
            pd.testing.assert_frame_equal(first, each)
        assert len(server.received) == 3


@pytest.mark.parametrize("moment", [0.0, 0.3])
def test_a_worker_that_is_killed_loses_nothing(store, moment):
    """Every row is answered; no more are sent twice than were in flight."""
    with oracle(0.03) as server:
        table = submitted(server.url, store, 40, limits=tn.Limits(concurrency=4))
        pid = at_work(store)
        until(lambda: len(server.received) >= moment * 40, "some requests")
        kill(pid, store)
        assert list(retrieved(table, store, connection=tn.Connection(server.url, KEY)).text) == texts(40)
        assert sum(server.sends.values()) - 40 <= 4


def test_workers_that_are_killed_again_and_again_lose_nothing(store):
    """Each time no more than were in flight are sent twice."""
    with oracle(0.03) as server:
        table = submitted(server.url, store, 40, limits=tn.Limits(concurrency=4))
        for share in (0.2, 0.5, 0.8):
            pid = at_work(store)
            until(lambda: len(server.sends) >= share * 40, "some requests")  # noqa: B023
            kill(pid, store)
            retrieved(table, store, 0, connection=tn.Connection(server.url, KEY))
        assert list(retrieved(table, store, connection=tn.Connection(server.url, KEY)).text) == texts(40)
        assert sum(server.sends.values()) - 40 <= 4 * 3


def test_a_worker_outlives_who_started_it(store):
    """It is nobody's child, in a session of its own, with nothing of the starter's open; it is not even waited for."""
    code = (
        "import os, signal\n"
        "table = pd.DataFrame({'word': ['w0', 'w1', 'w2']})\n"
        "node = tn.CreateChatCompletionAsync(model='m', prompt='Say {{ word }}')\n"
        "out = node.run(table, tn.Connection(sys.argv[1]), store=sys.argv[2], progress=False)\n"
        "print(json.dumps(list(out.result['future_response_id'])), flush=True)\n"
        "os.killpg(os.getpgid(0), signal.SIGKILL)"
    )
    with oracle(0.2) as server:
        process = elsewhere(code, server.url, str(store), alone=True)
        table = pd.DataFrame({"future_response_id": json.loads(process.communicate(timeout=60)[0])})
        assert process.returncode == -signal.SIGKILL
        pid = at_work(store)
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert parent not in {os.getpid(), process.pid}
        assert os.getsid(pid) == os.getpgid(pid) not in {os.getsid(0), process.pid}
        streams = [os.readlink(f"/proc/{pid}/fd/{each}") for each in range(3)]
        assert streams == ["/dev/null", "/dev/null", f"{store}.worker.log"]
        assert list(retrieved(table, store).text) == texts(3)
        assert len(server.received) == 3


def test_two_submit_and_two_retrieve_and_every_row_is_sent_once(store):
    """One worker serves them all."""
    code = (
        "table = pd.DataFrame({'word': [f'{sys.argv[3]}{row}' for row in range(20)]})\n"
        "node = tn.CreateChatCompletionAsync(model='m', prompt='Say {{ word }}')\n"
        "out = node.run(table, tn.Connection(sys.argv[1], 'k' * 20), store=sys.argv[2], progress=False)\n"
        "got = tn.RetrieveResponse().run(out.table, store=sys.argv[2], progress=False)\n"
        "print(json.dumps(list(got.text)))"
    )
    with oracle(0.05) as server:
        both = [elsewhere(code, server.url, str(store), name) for name in "ab"]
        for name, process in zip("ab", both, strict=True):
            assert told(process) == [digest(body(f"{name}{row}")) for row in range(20)]
        assert len(server.received) == 40
        until(lambda: len(workers(store)) == 1, "the end of the worker that came second")


def test_an_unknown_or_tampered_id_sends_nothing_and_touches_no_file(store, tmp_path):
    """Each has its outcome, in its row."""
    with oracle() as server:
        good = submitted(server.url, store, 1)["future_response_id"][0]
        retrieved(pd.DataFrame({"future_response_id": [good]}), store)
        other = f"resp_{'0' * 32}{0xECBB4B55:08x}"
        wrong = ["../x", "=1+1", "x" * 10_000, good.upper(), good[:-1], f"{good}\n", f" {good}", good[:-1] + "g"]
        table = pd.DataFrame({"future_response_id": [good, None, "", other, *wrong]})
        out = retrieved(table, store)
        outcomes = list(out.log["outcome"])
        assert outcomes == ["ok", "invalid_request", "invalid_request", "unknown_id", *["invalid_id"] * len(wrong)]
        assert str(store) in error_of(out, 3)["message"]
        assert len(server.received) == 1
        found = RETRIEVE.check(table)
        assert (found.rows, found.valid) == (12, 2)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=60) | st.from_regex(r"\Aresp_[0-9a-f]{40}\Z") | st.none(), min_size=1, max_size=5))
def test_whatever_stands_in_a_cell_has_its_outcome(tmp_path_factory, cells):
    """A store that is not there is not made."""
    store = tmp_path_factory.mktemp("ids") / "store"
    out = retrieved(pd.DataFrame({"future_response_id": pd.Series(cells, dtype="object")}), store)
    assert set(out.log["outcome"]) <= {"invalid_request", "invalid_id", "unknown_id"}
    assert list(store.parent.iterdir()) == []


def test_a_store_that_was_deleted_is_said(store):
    """The ids are unknown, plainly."""
    with oracle() as server:
        table = submitted(server.url, store, 1)
        at_work(store)
        for path in store.parent.glob("store*"):
            path.unlink()
        out = retrieved(table, store)
        assert list(out.log["outcome"]) == ["unknown_id"]
        wording.line(error_of(out)["message"])
        assert not store.exists()


def test_a_key_that_the_worker_lacks_is_the_reason_and_another_one_is_not_used(store, monkeypatch):
    """The rows wait; whoever has the key gets them answered."""
    with oracle() as server:
        with nobody_at_work(store):
            table = submitted(server.url, store)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-another-one-00000")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        out = retrieved(table, store)
        assert set(out.log["outcome"]) == {"pending"}
        wording.line(error_of(out)["message"])
        assert server.received == []
        out = retrieved(table, store, connection=tn.Connection(server.url, KEY))
        assert list(out.text) == texts(3)


def test_a_key_of_the_environment_goes_to_its_own_address_alone(store, monkeypatch):
    """The rows were submitted with it; where the environment has another address by now, they wait."""
    with fault_server(echo()) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        with nobody_at_work(store):
            table = NODE.run(words(1), store=store, progress=False).table
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        out = retrieved(table, store)
        assert list(out.log["outcome"]) == ["pending"]
        wording.line(error_of(out)["message"])
        assert server.requests == []
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert list(retrieved(table, store).log["outcome"]) == ["ok"]
        assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {KEY}"]


def test_a_store_that_is_cleared_or_deleted_while_somebody_waits_is_said(store):
    """What was answered is not there either; no row is without a reason."""
    answering = threading.Event()

    def react(exchange):
        if exchange.received.body == body("w1"):
            answering.wait(30)
        echo()(exchange)

    def clear():
        until(lambda: "ok" in list(retrieved(table, store, 0).log["outcome"]), "an answer")
        with StoreFile(store) as file:
            assert Inventory(file).clear(time.time() + 60) == 1
        answering.set()

    def delete():
        until(lambda: "ok" in list(retrieved(table, store, 0).log["outcome"]), "an answer")
        for path in store.parent.glob("store*"):
            path.unlink(missing_ok=True)

    with fault_server(react) as server:
        for end, outcomes in ((clear, ["unknown_id", "ok"]), (delete, ["unknown_id"] * 2)):
            answering.clear()
            table = submitted(server.url, store, 2)
            thread = threading.Thread(target=end)
            thread.start()
            out = retrieved(table, store)
            thread.join()
            assert list(out.log["outcome"]) == outcomes
            assert out.log["message"][0] == error_of(out)["message"]
            wording(error_of(out)["message"])
        answering.set()


def test_answers_of_a_store_that_took_the_place_of_another_are_not_given_out(store):
    """Its rows may have the same numbers; they are others."""
    with fault_server(echo()) as server, nobody_at_work(store):
        table = submitted(server.url, store, 2, key="")
        found = []
        thread = threading.Thread(target=lambda: found.append(retrieved(table, store)))
        thread.start()
        other = store.with_name("other")
        with nobody_at_work(other):
            submitted(server.url, other, 2, key="")
        work(other)
        for end in ("", "-wal", "-shm"):
            store.with_name(f"store{end}").unlink(missing_ok=True)
        other.rename(store)
        thread.join(30)
    assert list(found[0].log["outcome"]) == ["unknown_id"] * 2


def test_a_wrong_key_stops_the_sending_and_loses_nothing(store):
    """What was refused is auth, the rest waits; with each retrieval a few more are tried."""
    good = threading.Event()

    def react(exchange):
        (echo() if good.is_set() else answer({"error": {"message": "no"}}, 401))(exchange)

    with fault_server(react) as server:
        table = submitted(server.url, store, 40, limits=tn.Limits(concurrency=2))
        out = retrieved(table, store, connection=tn.Connection(server.url, KEY))
        counts = out.summary.outcomes
        assert set(counts) == {"auth", "pending"}
        assert len(server.requests) <= 2 * (2 + 5), "the submission and the retrieval have tried"
        wording.line(error_of(out, 39)["message"])
        good.set()
        again = retrieved(table, store, connection=tn.Connection(server.url, KEY)).summary.outcomes
        assert again == {"ok": counts["pending"], "auth": counts["auth"]}


def test_a_server_that_asks_to_wait_for_long_is_heeded(store):
    """The rows are pending with the reason; nothing is sent before, whoever retrieves."""
    with fault_server(answer({"error": {}}, 429, {"Retry-After": "86000"})) as server:
        table = submitted(server.url, store, 5, limits=tn.Limits(concurrency=1))
        for _ in range(2):
            out = retrieved(table, store, connection=tn.Connection(server.url, KEY))
            assert set(out.log["outcome"]) == {"pending"}
            wording.line(error_of(out)["message"])
        assert len(server.requests) == 1


def test_rows_in_doubt_are_not_sent_again_where_that_is_asked(store):
    """At most once: a row whose answer was not seen is said, and is over."""
    with oracle() as server:
        server.holding = True
        table = submitted(server.url, store, 3, retry=tn.Retry(ambiguous=0))
        pid = at_work(store)
        until(lambda: len(server.received) == 3, "the requests")
        kill(pid, store)
        server.release()
        out = retrieved(table, store, connection=tn.Connection(server.url, KEY))
        assert list(out.log["outcome"]) == ["in_doubt"] * 3
        assert list(out.log["maybe_billed"]) == [True] * 3
        assert len(server.received) == 3


def test_a_deadline_is_not_extended_by_another_worker(store):
    """It was stored with the row; what is late is not sent."""
    with oracle() as server:
        with nobody_at_work(store):
            table = submitted(server.url, store, 2, deadline=30)
        with closing(sqlite3.connect(store)) as database, database:
            database.execute("UPDATE future SET deadline = submitted WHERE number = 1")
        out = retrieved(table, store, connection=tn.Connection(server.url, KEY))
        assert list(out.log["outcome"]) == ["not_sent", "ok"]
        wording.line(error_of(out)["message"])
        assert len(server.received) == 1


def test_a_deadline_passes_also_where_a_server_asks_to_wait(store):
    """Nothing may be sent for the rows yet; those whose time is over end when the next worker begins, and say so."""
    with fault_server(answer({"error": {}}, 429, {"Retry-After": "86000"})) as server:
        with nobody_at_work(store):
            table = submitted(server.url, store, 3, key="", limits=tn.Limits(concurrency=1))
        work(store)
        with closing(sqlite3.connect(store)) as database, database:
            database.execute("UPDATE future SET deadline = submitted WHERE number = 2")
        work(store)
        assert len(server.requests) == 1
        with nobody_at_work(store):
            out = retrieved(table, store, 0)
    assert list(out.log["outcome"]) == ["pending", "not_sent", "pending"]
    wording(error_of(out, 1)["message"])


@measures_seconds
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_worker_that_is_told_to_end_leaves_soon_and_loses_nothing(store, number):
    """What is in flight is left to the next one."""
    with oracle(0.2) as server:
        table = submitted(server.url, store, 6, limits=tn.Limits(concurrency=3))
        pid = at_work(store)
        until(lambda: len(server.received) >= 3, "the requests")
        began = time.monotonic()
        kill(pid, store, number)
        assert time.monotonic() - began < 2.5
        assert list(retrieved(table, store, connection=tn.Connection(server.url, KEY)).text) == texts(6)
        assert len(server.received) <= 6 + 3


def test_waiting_can_be_interrupted_and_the_worker_goes_on(store):
    """The output has what came by then."""
    slow, answering = body("w1"), threading.Event()

    def react(exchange):
        if exchange.received.body == slow:
            answering.wait(30)
        echo()(exchange)

    def press():
        until(lambda: signal.getsignal(signal.SIGINT) is not signal.default_int_handler, "the waiting")
        os.kill(os.getpid(), signal.SIGINT)

    with fault_server(react) as server:
        table = submitted(server.url, store, 2)
        retrieved(table[:1], store)
        thread = threading.Thread(target=press)
        thread.start()
        with wording.raises(tn.errors.Interrupted) as caught:
            retrieved(table, store)
        thread.join()
        answering.set()
        assert list(caught.value.output.log["outcome"]) == ["ok", "pending"]
        assert list(retrieved(table, store).log["outcome"]) == ["ok", "ok"]


def test_a_store_that_cannot_be_written_is_said_in_every_row(store, tmp_path):
    """Nothing is accepted that could be lost; rows that cannot be sent say their own."""
    store.write_text("this is a file of something else, longer than a header of a database\n" * 4)
    table = pd.DataFrame({"word": ["a", "b"], "temperature": [1, 7]})
    with fault_server(echo()) as server:
        out = NODE.run(table, tn.Connection(server.url, KEY), store=store, progress=False)
        assert out.result["future_response_id"].isna().all()
        wording(out.result["error_message"][0])
        assert "$.temperature" in out.result["error_message"][1]
        assert out.summary.outcomes == {"not_sent": 1, "invalid_request": 1}
        assert server.requests == []


@permissions_bind
def test_a_folder_that_is_read_only_is_said_in_every_row(tmp_path):
    """Before a request is sent."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    with fault_server(echo()) as server:
        out = submitted(server.url, folder / "store", 2)
        assert out["future_response_id"].isna().all()
        (message,) = set(out["error_message"])
        wording(message)
        assert server.requests == []


def test_a_full_disk_is_said_in_every_row(store, monkeypatch):
    """All of a transaction is accepted, or none."""
    from tablenodes.store import store_file as file

    look = file._look_at

    def small(database, path):
        look(database, path)
        database.execute("PRAGMA max_page_count = 20")

    with fault_server(echo()) as server:
        with monkeypatch.context() as patched:
            patched.setattr(file, "_look_at", small)
            out = submitted(server.url, store, 2000)
        assert out["future_response_id"].isna().all()
        (message,) = set(out["error_message"])
        wording(message)
        assert server.requests == []
        assert list(retrieved(submitted(server.url, store, 2), store).text) == texts(2)


def test_rows_that_cannot_be_sent_say_so_and_are_not_submitted(store):
    """The two branches are the accepted rows and the others."""
    table = pd.DataFrame({"word": ["a", "b", None], "temperature": [0.5, 3, 1]})
    with fault_server(echo()) as server:
        out = NODE.run(table, tn.Connection(server.url, KEY), store=store, progress=False)
        assert list(out.succeeded["word"]) == ["a"]
        assert list(out.failed["error_message"]) == list(out.result["error_message"][1:])
        assert list(retrieved(out.succeeded, store).log["outcome"]) == ["ok"]
        wording(out.result["error_message"][1])
        assert list(retrieved(out, store).log["outcome"]) == ["ok", "invalid_request", "invalid_request"]
        with wording.raises(tn.errors.InvalidRequests):
            NODE.run(table, tn.Connection(server.url, KEY), store=store, progress=False, on_invalid="raise")
        assert len(server.requests) == 1


def test_optional_inputs_are_typed_however_a_table_holds_them(store):
    """Numbers as texts, a JSON object as text, stop sequences with commas between them."""
    columns = {
        "model": ["m", "m"],
        "word": ["a", "b"],
        "temperature": ["0.5", 1],
        "top_p": [None, "1"],
        "n": ["2", 1],
        "stop": ["END, STOP,\n", None],
        "max_tokens": ["16", 16.0],
        "presence_penalty": ["-2", 0],
        "frequency_penalty": [2, "0.25"],
        "logit_bias": ['{"50256": -100}', None],
        "user": ["u", None],
    }
    taken = [name for name in columns if name not in {"word"}]
    node = tn.CreateChatCompletionAsync(prompt="Say {{ word }}", columns=taken)
    with fault_server(echo()) as server:
        answered(server.url, store, node=node, table=pd.DataFrame(columns))
        sent = {each["messages"][0]["content"]: each for each in (orjson.loads(r.body) for r in server.requests)}
    assert sent["Say a"] == {
        "messages": [{"role": "user", "content": "Say a"}],
        "model": "m",
        "temperature": 0.5,
        "n": 2,
        "stop": ["END", "STOP", "\n"],
        "max_tokens": 16,
        "presence_penalty": -2,
        "frequency_penalty": 2,
        "logit_bias": {"50256": -100},
        "user": "u",
    }
    assert sent["Say b"] | {"messages": None} == {
        "messages": None,
        "model": "m",
        "temperature": 1,
        "top_p": 1,
        "n": 1,
        "max_tokens": 16,
        "presence_penalty": 0,
        "frequency_penalty": 0.25,
    }


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        *(("END", "END"), (",", None), ("", None), ("a,,b", ["a", "b"]), (["a,b"], ["a,b"]), (" ,x", [" ", "x"])),
        *(
            ('["END","a,b"]', ["END", "a,b"]),
            (' ["END"]', ["END"]),
            ("[]", None),
            ("[a,b", ["[a", "b"]),
            ("[1]", "[1]"),
        ),
    ],
)
def test_stop_is_split_at_commas_by_these_nodes_alone(given, sent):
    """A list is what it is, also one that is written as JSON; the plain node sends any other text as one sequence."""
    cells = ("w",)
    node = NODE.replace(stop=given)
    assert orjson.loads(node._plan(["word"], PlanInputs()).encode(cells)).get("stop") == sent
    if isinstance(given, str) and "," in given:
        plain = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}", stop=given)
        whole = sent if given.startswith('["') else given
        assert orjson.loads(plain._plan(["word"], PlanInputs()).encode(cells))["stop"] == whole


def test_commas_of_the_author_separate_stop_sequences_and_those_of_a_cell_beside_them_do_not():
    """A check and a run say how many there are."""
    plan = NODE.replace(stop="{{ word }}, END,{{ 'x,y' }}")._plan(["word"], PlanInputs())
    assert orjson.loads(plan.encode(("a, b",)))["stop"] == ["a, b", "END", "x,y"]
    wording("\n".join(plan.passed_over))
    assert [line.place for line in plan.passed_over] == ["stop"]
    plan = NODE.replace(stop="{{ word }}")._plan(["word"], PlanInputs())
    assert orjson.loads(plan.encode(("a, b",)))["stop"] == ["a", "b"]


def test_a_streamed_answer_is_put_together(store):
    """stream=True on a node whose answer comes later: the body is that of a plain one."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": part}, "finish_reason": None}]} for part in ("Hel", "lo")]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    data = b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    with fault_server(answer(data, headers={"Content-Type": "text/event-stream"})) as server:
        out = answered(server.url, store, 1, node=NODE.replace(stream=True))
        assert list(out.text) == ["Hello"]
        assert json.loads(out.result["body"][0])["object"] == "chat.completion"
        assert orjson.loads(server.requests[0].body)["stream"] is True


def test_a_key_in_pieces_is_masked_in_a_stream_that_nobody_asked_for(store, monkeypatch):
    """A server may answer so; nothing of the key is written down."""
    monkeypatch.setenv("MY_KEY", KEY)
    chunks = [{"choices": [{"index": 0, "delta": {"content": part}}]} for part in ("It is ", *KEY)]
    data = b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    with fault_server(answer(data, headers={"Content-Type": "text/event-stream"})) as server:
        with nobody_at_work(store):
            connection = tn.Connection(server.url, api_key_env="MY_KEY")
            table = NODE.run(words(1), connection, store=store, progress=False).table
        work(store)
    assert list(retrieved(table, store, 0).text) == ["It is ***"]
    with closing(sqlite3.connect(store)) as database:
        ((kept,),) = database.execute("SELECT body FROM answer").fetchall()
    assert kept.count(b'"content"') == 1


def test_completions_come_later_too(store):
    """The other endpoint, found by its name."""
    with fault_server(answer({"choices": [{"index": 0, "text": "there", "finish_reason": "stop"}]})) as server:
        node = tn.CreateCompletionAsync(model="m", prompt=tn.col("word"), max_tokens="4")
        out = answered(server.url, store, 1, node=node)
        assert list(out.text) == ["there"]
        assert server.requests[0].path == "/v1/completions"


def test_a_limit_over_all_rows_holds_for_a_submission(store):
    """What cannot be sent any more has its end."""
    with oracle() as server:
        out = answered(server.url, store, 6, limits=tn.Limits(max_requests=4, concurrency=2))
        assert out.summary.outcomes == {"ok": 4, "not_sent": 2}
        wording.line(error_of(out, 5)["message"])
        assert len(server.received) == 4


def test_a_limit_over_all_rows_counts_what_earlier_workers_sent(store):
    """A worker that is begun anew, after one that a refused key has stopped, has no new limit."""
    good = threading.Event()

    def react(exchange):
        (echo() if good.is_set() else answer({"error": {"message": "no"}}, 401))(exchange)

    with fault_server(react) as server:
        with nobody_at_work(store):
            table = submitted(server.url, store, 20, key="", limits=tn.Limits(max_requests=12, concurrency=1))
        work(store)
        refused = len(server.requests)
        assert 0 < refused < 12
        good.set()
        work(store)
        assert len(server.requests) == 12
        with nobody_at_work(store):
            out = retrieved(table, store, 0)
    assert out.summary.outcomes == {"ok": 12 - refused, "auth": refused, "not_sent": 8}
    wording.line(error_of(out, 19)["message"])


def test_rows_of_a_model_that_the_server_does_not_know_have_their_end(store):
    """They are not sent, as in a plain run; rows of other models are."""

    def react(exchange):
        known = orjson.loads(exchange.received.body)["model"] == "m"
        error = {"error": {"message": "x", "type": "invalid_request_error", "code": "model_not_found"}}
        (echo() if known else answer(error, 404))(exchange)

    table = pd.DataFrame({"word": [str(row) for row in range(20)], "model": ["m", *["none"] * 19]})
    node = tn.CreateChatCompletionAsync(prompt="Say {{ word }}")
    with fault_server(react) as server:
        out = answered(server.url, store, node=node, table=table, limits=tn.Limits(concurrency=1))
        assert set(out.summary.outcomes) == {"ok", "http_error", "not_sent"}
        wording.line(error_of(out, 6)["message"])
        assert len(server.requests) < 12


def test_the_key_is_nowhere_but_in_the_request(store):
    """Not in the store, its log, its lock, or a command line; also where the server echoes it."""

    def react(exchange):
        key = exchange.received.headers["authorization"]
        answer({"choices": [{"message": {"content": f"you sent {key}"}, "finish_reason": "stop"}]})(exchange)

    with fault_server(react) as server:
        connection = tn.Connection(server.url, KEY, headers={"X-Api-Token": KEY}, query={"api_key": KEY})
        table = NODE.run(words(2), connection, store=store, progress=False).table
        pid = at_work(store)
        assert KEY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        out = retrieved(table, store)
        assert list(out.text) == ["you sent Bearer ***"] * 2
        assert KEY in server.requests[0].headers["x-api-token"]
        assert KEY in server.requests[0].path
        with Process(pid) as worker:
            assert is_worker(pid, store)
            worker.send(signal.SIGSTOP)  # its files come and go no more
        for path in store.parent.iterdir():
            data = path.read_bytes()
            for form in (KEY, KEY[::-1], KEY[len(KEY) // 2 :], base64.b64encode(KEY.encode()).decode()[:16]):
                assert form.encode() not in data, path
            assert path.stat().st_mode & 0o077 == 0, path


def test_what_cannot_go_to_another_process_is_refused(store):
    """A session, a transport of one's own; a key that is not there; a deadline that makes no sense."""
    import requests

    with requests.Session() as session, wording.raises(tn.errors.ConnectionSettingError):
        NODE.run(words(1), tn.Connection("http://127.0.0.1:9/v1", session=session), store=store)
    with wording.raises(tn.errors.ConnectionSettingError):
        NODE.run(words(1), store=store)
    for deadline in (0, True, "soon", float("nan")):
        with wording.raises(tn.errors.SettingError):
            NODE.run(words(1), tn.Connection("http://127.0.0.1:9/v1"), store=store, deadline=deadline)
    with wording.raises(tn.errors.SettingError):
        NODE.run(words(1), "http://127.0.0.1:9/v1", store=store)
    for wait in (-1, "soon", True, float("nan")):
        with wording.raises(tn.errors.SettingError):
            retrieved(pd.DataFrame({"future_response_id": []}), store, wait)
    with wording.raises(tn.errors.ColumnError):
        retrieved(words(1), store)
    with wording.raises(tn.errors.SettingError):
        NODE.run(words(1), tn.Connection("http://127.0.0.1:9/v1"), store=store, submission="")


@pytest.mark.parametrize("wait", [float("inf"), "inf", 10**400], ids=["inf", "text", "400 digits"])
def test_a_wait_without_an_end_is_one_until_all_are_there(store, wait):
    """As where none is given."""
    assert tn.RetrieveResponse(wait=wait) == tn.RetrieveResponse()
    with fault_server(echo()) as server:
        assert list(tn.RetrieveResponse(wait=0).run(submitted(server.url, store), wait, store=store).text) == texts(3)


def test_a_damaged_answer_is_not_given_out(store):
    """A bit that changed on the disk is seen."""
    with oracle() as server:
        table = submitted(server.url, store, 1)
        retrieved(table, store)
        with closing(sqlite3.connect(store)) as database, database:
            database.execute("UPDATE answer SET body = '{}'")
        with wording.raises(tn.errors.StoreError):
            retrieved(table, store)


def test_a_worker_that_does_not_come_up_is_said(store, monkeypatch):
    """After a few attempts; the rows wait."""
    with oracle() as server:
        with nobody_at_work(store):
            table = submitted(server.url, store, 1, key="")
        monkeypatch.setenv("PYTHONHOME", "/nowhere")
        out = retrieved(table, store)
        wording.line(error_of(out)["message"])
        monkeypatch.delenv("PYTHONHOME")
        assert list(retrieved(table, store).log["outcome"]) == ["ok"]


def test_a_workflow_submits_and_retrieves(store, monkeypatch):
    """The ids are a column of the table that later nodes get; a later node reads the answers."""
    monkeypatch.setenv(VARIABLE, str(store))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    path = store.with_name("later.yaml")
    path.write_text(
        "id: later\n"
        "nodes:\n"
        "  - {id: ask, type: CreateChatCompletionAsync, model: m, prompt: 'Say {{ word }}', stop: 'END,STOP'}\n"
        "  - {id: answers, type: RetrieveResponse, wait: 30}\n"
        "  - {id: more, type: CreateChatCompletion, model: m,"
        " prompt: 'After {{ outputs.answers.choices[0].message.content }}'}\n"
    )
    with fault_server(echo()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        workflow = tn.Workflow.load(path)
        assert all(found.valid == 2 for found in workflow.check(words(2)).values())
        outputs = workflow.run(words(2), progress=False)
        assert [{*out.log["outcome"]} for out in outputs.values()] == [{"submitted"}, {"ok"}, {"ok"}]
        prompts = [orjson.loads(each.body)["messages"][0]["content"] for each in server.requests[2:]]
    assert sorted(prompts) == sorted(f"After {text}" for text in outputs["answers"].text)


def test_a_submission_starts_no_model_and_the_worker_says_what_it_lacks(store, monkeypatch):
    """The embedded model's server is the worker's; the rows wait until it can be started."""
    monkeypatch.setenv(VARIABLE, str(store))
    connection = tn.Connection.local(store.with_name("none.gguf"))
    workflow = tn.Workflow({"ask": NODE, "answer": RETRIEVE}, connection=connection)
    out = workflow.run(words(1), progress=False)["answer"]
    assert list(out.log["outcome"]) == ["pending"]
    assert "none.gguf" in error_of(out)["message"]


def command(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    return ended.value.code, capsys.readouterr().out


def test_the_command_line_submits_retrieves_and_shows(store, tmp_path, capsys, monkeypatch):
    """As call does, in two steps; the key is in the environment."""
    words(2).to_csv(tmp_path / "words.csv", index=False)
    later, at = tmp_path / "later.csv", ("--store", store)
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("MY_KEY", KEY)
    with fault_server(echo()) as server:
        asked = ("--model", "m", "--prompt", "Say {{ word }}", "--base-url", server.url, "--api-key-env", "MY_KEY")
        assert (
            command(capsys, "submit", "CreateChatCompletion", tmp_path / "words.csv", *asked, "-o", later, *at)[0] == 0
        )
        assert list(pd.read_csv(later).columns) == ["word", "future_response_id", "error_message"]
        assert command(capsys, "retrieve", later, "--wait", "30", *at, "-o", tmp_path / "answers.csv")[0] == 0
        assert list(pd.read_csv(tmp_path / "answers.csv")["answer"]) == texts(2)
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
        known = pd.read_csv(later)["future_response_id"][1]
        code, shown = command(capsys, "retrieve", known, *at)
        assert (code, pd.read_csv(StringIO(shown))["answer"].tolist()) == (0, texts(2)[1:])
        assert command(capsys, "retrieve", f"{known[:-1]}x", *at)[0] == SOME_FAILED
        assert tn.RetrieveResponse().run(known, store=store).text.tolist() == texts(2)[1:]
    code, shown = command(capsys, "store", *at)
    assert (code, "ok" in shown) == (0, True)
    wording.line(shown, size=SIZE)
    wording.line(command(capsys, "store", *at, "--clear", "0")[1])
    wording.line(command(capsys, "store", "--store", tmp_path / "none")[1])
    code, shown = command(capsys, "retrieve", later, *at)
    assert code == 3
    assert "unknown_id" in shown


def test_a_submission_is_said_to_be_one(store, tmp_path, capsys, monkeypatch):
    """Nothing is ok yet; the next step is named, as a command that gets the answers as they were asked for."""
    words(2).to_csv(tmp_path / "words.csv", index=False)
    later = tmp_path / "later ids.csv"
    monkeypatch.setenv(VARIABLE, "")
    with fault_server(echo()) as server, nobody_at_work(store):
        asked = ("--model", "m", "--prompt", "Say {{ word }}", "--base-url", server.url, "--no-key")
        asked += ("--answer", "stars=int", "--answer", "kind=yes, no", "--store", store)
        arguments = ("submit", "CreateChatCompletion", tmp_path / "words.csv", *asked, "-o", later)
        with pytest.raises(SystemExit) as ended:
            main([str(each) for each in arguments])
    err = capsys.readouterr().err
    assert (ended.value.code, " ok" in err) == (0, False)
    wording.line(err)
    wording(err.splitlines()[-1], submission=later)


@pytest.mark.parametrize("how", ["full", "foreign"])
def test_the_command_line_submits_nothing_to_a_store_that_cannot_be_used(store, tmp_path, capsys, monkeypatch, how):
    """One line; no table of ids that there are none of."""
    from tablenodes.store import store_file as file

    look = file._look_at

    def small(database, path):
        look(database, path)
        database.execute("PRAGMA max_page_count = 20")

    if how == "full":
        monkeypatch.setattr(file, "_look_at", small)
    else:
        store.write_text("this is a file of something else, longer than a header of a database\n" * 4)
    words(2000).to_csv(tmp_path / "words.csv", index=False)
    monkeypatch.setenv(VARIABLE, "")
    with fault_server(echo()) as server:
        asked = ("--model", "m", "--prompt", "Say {{ word }}", "--base-url", server.url, "--no-key")
        arguments = ("submit", "CreateChatCompletion", tmp_path / "words.csv", *asked, "-o", tmp_path / "later.csv")
        with pytest.raises(SystemExit) as ended:
            main([str(each) for each in (*arguments, "--store", store, "--no-progress")])
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (1, "", 1)
    assert " store" in err
    assert not (tmp_path / "later.csv").exists()


def test_what_is_cleared_is_given_back(store, capsys):
    """The file is small again, and still the same store."""
    with fault_server(echo()) as server:
        answered(server.url, store, 400, node=tn.CreateChatCompletionAsync(model="m", prompt="{{ word }}" + "y" * 4000))
        assert store.stat().st_size > 1_000_000
        wording.line(command(capsys, "store", "--store", store, "--clear", "0")[1])
        assert store.stat().st_size < 200_000
        assert list(answered(server.url, store, 2).text) == texts(2)


def test_a_store_that_is_in_use_is_cleared_all_the_same(store, capsys):
    """Its space is given back another time."""
    with fault_server(echo()) as server:
        answered(server.url, store, 3)
    reader = sqlite3.connect(store, isolation_level=None)
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM store").fetchone()
        code, shown = command(capsys, "store", "--store", store, "--clear", "0")
    finally:
        reader.close()
    assert code == 0
    wording.line(shown, size=SIZE)
    wording.line(shown, size=SIZE)


def test_the_command_line_says_why_rows_are_pending(store, capsys):
    """How many there are for each reason."""
    with fault_server(answer({"error": {}}, 429, {"Retry-After": "86000"})) as server:
        answered(server.url, store, 2, limits=tn.Limits(concurrency=1))
        work(store)
        assert len(server.requests) == 1
    shown = command(capsys, "store", "--store", store)[1]
    wording.line(shown, size=SIZE)
    wording.line(shown, size=SIZE)


def test_a_conversation_is_gone_on_with_later(store, monkeypatch):
    """Its messages are what is asked; the answer is appended to it."""
    monkeypatch.setenv(VARIABLE, str(store))
    table = tn.AddUserMessage(text="Say {{ word }}").run(tn.CreateConversation().run(words(2)).table).table
    with fault_server(echo()) as server:
        out = answered(server.url, store, node=tn.CreateChatCompletionAsync(model="m"), table=table)
        assert list(out.text) == texts(2)
    assert tn.AppendReply().run(out).summary.ok == 2
    turned = tn.AppendReply().run(table.iloc[::-1], continue_from=out)
    assert turned.summary.outcomes == {"invalid_request": 2}
