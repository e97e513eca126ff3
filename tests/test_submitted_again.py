"""The same rows submitted again: under a name they keep their ids, and nothing is paid for twice."""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import sqlite3
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from background import ending, nobody_at_work, work
from killing import oracle
from sentences import wording
from servers import answer, echo, fault_server

import tablenodes as tn
from tablenodes import tables
from tablenodes.cli import main
from tablenodes.later.replaced_file import ids_in as ids_found
from tablenodes.store import StoreFile, ids
from tablenodes.store.inventory import Inventory
from tablenodes.store.store_file import VARIABLE

NODE = tn.CreateChatCompletionAsync(model="m", prompt="Say {{ word }}")
IDS = "future_response_id"
ONE = tn.Limits(concurrency=1)
QUICK = tn.Retry(not_executed=0, server_error=0, throttled=0, ambiguous=0)


@pytest.fixture
def store(tmp_path):
    with ending(tmp_path / "store") as path:
        yield path


def words(*names):
    return pd.DataFrame({"word": names})


def submit(url, store, *names, submission="mine", node=NODE, **manner):
    connection = tn.Connection(url, "sk-canary-0123456789")
    out = node.run(words(*names), connection, store=store, progress=False, submission=submission, **manner)
    return [*out.result[IDS]]


def retrieve(ids, store, **manner):
    return tn.RetrieveResponse().run(pd.DataFrame({IDS: ids}), store=store, progress=False, **manner)


def test_the_same_rows_have_the_same_ids_and_are_sent_once(store):
    """Equal rows are told apart by their order; what was added is new."""
    with oracle() as server:
        first = submit(server.url, store, "a", "b", "b")
        assert len(set(first)) == 3
        retrieve(first, store)
        assert submit(server.url, store, "a", "b", "b") == first
        moved = submit(server.url, store, "b", "c", "a", "b")
        assert [moved[0], moved[2], moved[3]] == [first[1], first[0], first[2]]
        assert set(retrieve(moved, store).log["outcome"]) == {"ok"}
        assert len(server.received) == 4


def test_rows_are_put_down_once_while_they_are_pending(store):
    """Nobody need have answered them."""
    with oracle(0.5) as server:
        first = submit(server.url, store, "a", "b")
        assert submit(server.url, store, "a", "b") == first
        retrieve(first, store)
        assert len(server.received) == 2


def test_a_server_that_has_ended_has_no_connection_open():
    """A worker keeps its own while it waits for more."""
    with ExitStack() as stack:
        with oracle() as server:
            worker = stack.enter_context(socket.create_connection(("127.0.0.1", urlsplit(server.url).port)))
            worker.settimeout(5)
            worker.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
            assert worker.recv(65_536)
        with suppress(ConnectionResetError):
            assert worker.recv(65_536) == b""


@pytest.mark.parametrize(
    "other",
    [
        {"submission": None},
        {"submission": "another"},
        {"node": NODE.replace(temperature=1)},
        {"node": tn.CreateCompletionAsync(model="m", prompt="Say {{ word }}")},
    ],
    ids=["no name", "another name", "another body", "another path"],
)
def test_what_is_another_submission_is_new(store, other):
    """Without a name each row is."""
    with fault_server(echo()) as server:
        first = submit(server.url, store, "a")
        assert submit(server.url, store, "a", **other) != first


def test_another_server_is_asked_anew(store):
    """The address is a part of what is asked."""
    with fault_server(echo()) as one, fault_server(echo()) as other:
        assert submit(one.url, store, "a") != submit(other.url, store, "a")


def test_what_failed_and_may_pass_is_submitted_anew(store):
    """A server that was ill has another chance; the old id keeps what came."""
    reactions = iter([answer(b"{}", 500), echo()])
    with fault_server(lambda exchange: next(reactions)(exchange)) as server:
        first = submit(server.url, store, "a", retry=QUICK)
        assert [*retrieve(first, store).log["outcome"]] == ["http_error"]
        second = submit(server.url, store, "a", retry=QUICK)
        assert second != first
        assert [*retrieve(second, store).log["outcome"]] == ["ok"]
        assert submit(server.url, store, "a", retry=QUICK) == second
        assert [*retrieve(first, store).log["outcome"]] == ["http_error"]
        assert len(server.requests) == 2


def test_what_failed_for_good_is_not_submitted_anew(store):
    """It would fail again."""
    with fault_server(answer(b"{}", 400)) as server:
        first = submit(server.url, store, "a")
        retrieve(first, store)
        assert submit(server.url, store, "a") == first
        assert len(server.requests) == 1


def test_a_limit_holds_for_the_whole_submission(store):
    """However often it is begun again."""
    limits = tn.Limits(max_requests=2)
    with fault_server(echo()) as server:
        ids = submit(server.url, store, "a", "b", "c", limits=limits)
        retrieve(ids, store)
        ids = submit(server.url, store, "a", "b", "c", limits=limits)
        assert sorted(retrieve(ids, store).log["outcome"]) == ["not_sent", "ok", "ok"]
        assert len(server.requests) == 2


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return ended.value.code


@pytest.fixture
def folder(store, tmp_path, monkeypatch):
    """A folder with a table, in which commands are run; the store is elsewhere."""
    monkeypatch.setenv(VARIABLE, str(store))
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    (tmp_path / "mine" / "words.csv").write_text("word\na\nb\nc\n")
    return tmp_path / "mine"


def command(server, table="words.csv", output="ids.csv", prompt="Say {{ word }}"):
    asked = ["submit", "CreateChatCompletion", table, "--model", "m", "--prompt", prompt, "--output", output]
    return [*asked, "--base-url", server.url, "--no-key", "--no-progress"]


def ids_in(path):
    return [*pd.read_csv(path)[IDS]]


def test_moving_files_submits_nothing_again(store, folder, monkeypatch, capsys):
    """A submission is known by its node and rows: not by where it is run, nor by where its output goes."""
    with fault_server(echo()) as server:
        assert run(*command(server)) == 0
        first = ids_in("ids.csv")
        moved = folder.rename(folder.with_name("renamed"))
        monkeypatch.chdir(moved)
        assert run(*command(server)) == 0
        (moved / "elsewhere").mkdir()
        monkeypatch.chdir(moved / "elsewhere")
        assert run(*command(server, "../words.csv", "../ids.csv")) == 0
        copied = shutil.copytree(moved, moved.with_name("copied"))
        monkeypatch.chdir(copied)
        assert run(*command(server)) == 0
        assert run(*command(server, output="others.csv")) == 0
        found = [moved / "ids.csv", copied / "ids.csv", copied / "others.csv"]
        assert [ids_in(each) for each in found] == [first] * 3
        assert set(retrieve(first, store).log["outcome"]) == {"ok"}
        assert len(server.requests) == 3


@pytest.mark.parametrize("more", [[], ["--rows", "2"], ["--submission", "other"]], ids=["all", "fewer rows", "a name"])
def test_ids_are_not_written_over_by_those_of_other_rows(store, folder, capsys, more):
    """A changed prompt onto the same file is refused, before anything is submitted; or the old file is kept."""
    with fault_server(echo()) as server:
        assert run(*command(server)) == 0
        before = Path("ids.csv").read_bytes()
        capsys.readouterr()
        changed = [*command(server, prompt="Sing {{ word }}"), *more]
        assert run(*changed) == 1
        wording.line(" ".join(capsys.readouterr().err.replace("│", " ").split()))
        assert Path("ids.csv").read_bytes() == before
        with StoreFile(store) as file:
            assert sum(Inventory(file).counts().values()) == 3
        for _ in range(2):
            assert run(*changed, "--replace") == 0
        wording.line(capsys.readouterr().err.splitlines()[0])
        assert Path("ids.csv.before").read_bytes() == before
        assert not {*ids_in("ids.csv")} & {*ids_in("ids.csv.before")}
        assert sorted(os.listdir()) == ["ids.csv", "ids.csv.before", "words.csv"]


def test_rows_are_added_to_a_submission(store, folder):
    """The ids of those that were there stay, so nothing is refused."""
    with fault_server(echo()) as server:
        assert run(*command(server)) == 0
        first = ids_in("ids.csv")
        Path("words.csv").write_text("word\nd\nc\nb\na\n")
        assert run(*command(server)) == 0
        assert ids_in("ids.csv")[:0:-1] == first


def test_rows_are_submitted_again_where_that_is_asked(store, folder, capsys):
    """The file of the first ids is kept."""
    with fault_server(echo()) as server:
        assert run(*command(server)) == 0
        first = ids_in("ids.csv")
        assert run(*command(server), "--again") == 0
        assert not {*ids_in("ids.csv")} & {*first}
        assert ids_in("ids.csv.before") == first


def test_ids_are_not_written_over_by_another_node(store, folder):
    """Whatever takes the place of their file, it is kept; a file of answers is not."""
    with fault_server(echo()) as server:
        assert run(*command(server)) == 0
        before = Path("ids.csv").read_bytes()
        for _ in range(2):
            assert run(*["call", *command(server)[1:], "--no-journal"]) == 0
        assert Path("ids.csv.before").read_bytes() == before
        assert sorted(os.listdir()) == ["ids.csv", "ids.csv.before", "words.csv"]


def test_ids_that_a_retrieval_reads_are_in_its_table(store, folder):
    """So its output may take the place of their file, and nothing is kept beside it."""
    with fault_server(echo()) as server:
        assert run(*command(server)) == 0
        ids = ids_in("ids.csv")
        get = tn.Workflow({"get": tn.RetrieveResponse()}, output="ids.csv")
        get.run(pd.read_csv("ids.csv"), store=store, progress=False)
        assert (ids_in("ids.csv"), os.path.exists("ids.csv.before")) == (ids, False)


def test_ids_in_a_large_file_are_found_where_it_names_its_columns(store, folder):
    """At the end of a Parquet file."""
    with fault_server(echo()) as server:
        ids = submit(server.url, store, "a")
        blob = random.Random(0).randbytes(300_000).hex()
        pd.DataFrame({"blob": [blob], IDS: ids}).to_parquet("ids.parquet", compression=None)
        assert run("call", "Return", "words.csv", "--set", "text=x", "--output", "ids.parquet") == 0
        assert pd.read_parquet("ids.parquet.before")[IDS].tolist() == ids


def test_what_was_submitted_is_listed_and_cleared_by_its_name(store, folder, capsys):
    """With when, for which node and file, and how it ended; the list is a table that retrieve reads."""
    with fault_server(echo()) as server:
        assert run(*command(server, output="a.csv"), "--submission", "mine") == 0
        assert run(*command(server, output="b.csv")) == 0
        ids = [*ids_in("a.csv"), *ids_in("b.csv")]
        retrieve(ids, store)
        capsys.readouterr()
        assert run("store", "--ids") == 0
        found = pd.read_csv(io.StringIO(capsys.readouterr().out))
        assert [*found[IDS]] == ids
        assert [*found["submission"].fillna("-")] == ["mine"] * 3 + ["-"] * 3
        assert {*found["node"]} == {"CreateChatCompletionAsync"}
        assert [*found["output"]] == [str(folder / "a.csv")] * 3 + [str(folder / "b.csv")] * 3
        assert {*found["outcome"]} == {"ok"}
        assert abs(pd.to_datetime(found["when"][0]).timestamp() - time.time()) < 60
        assert run("store", "--clear", "mine") == 0
        wording.line(capsys.readouterr().out.splitlines()[0])
        assert run("store", "--clear", "1") == 0
        assert run("store", "--clear", "-1") == 2
        assert [*retrieve(ids, store).log["outcome"]] == ["unknown_id"] * 3 + ["ok"] * 3


def test_a_workflow_that_is_run_again_sends_nothing(store, tmp_path, monkeypatch):
    """It comes to the same output, byte for byte."""
    monkeypatch.setenv(VARIABLE, str(store))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.csv").write_text("word\na\nb\n")
    with fault_server(echo()) as server:
        (tmp_path / "later.yaml").write_text(
            f'connection: {{base_url: "{server.url}", api_key: ""}}\ntable: words.csv\nnodes:\n'
            '  - {id: ask, type: CreateChatCompletionAsync, model: m, prompt: "Say {{ word }}"}\n'
            '  - {id: get, type: RetrieveResponse, future_response_id: "{{ outputs.ask.future_response_id }}"}\n'
            "output: out.csv\n"
        )
        assert run("run", "later.yaml") == 0
        first = (tmp_path / "out.csv").read_bytes()
        work(store)
        assert run("run", "later.yaml") == 0
        assert (tmp_path / "out.csv").read_bytes() == first
        assert len(server.requests) == 2


def test_a_node_that_sends_nothing_cannot_be_submitted(tmp_path, capsys):
    """Those that can be are named."""
    (tmp_path / "words.csv").write_text("word\na\n")
    assert run("submit", "Return", tmp_path / "words.csv", "--set", "text=a") == 2
    wording.line(" ".join(capsys.readouterr().err.replace("│", " ").split()))


def test_rows_that_wait_for_a_key_are_asked_with_the_one_that_is_given_now(store):
    """A key that the server refuses is no reason to wait for it."""

    def react(exchange):
        good = exchange.received.headers["authorization"].endswith("good")
        (echo() if good else answer(b"{}", 401))(exchange)

    def ask(server, key):
        connection, names = tn.Connection(server.url, key), [f"w{i}" for i in range(30)]
        out = NODE.run(words(*names), connection, store=store, progress=False, submission="mine", limits=ONE)
        found = tn.RetrieveResponse().run(out, store=store, connection=connection, progress=False)
        return found.summary.outcomes

    with fault_server(react) as server:
        assert "ok" not in ask(server, "sk-canary-bad")
        assert ask(server, "sk-canary-good") == {"ok": 30}


def test_a_submission_outlives_the_clearing_of_what_failed_before(store):
    """The answer is still known by the name of its row."""
    reactions = iter([answer(b"{}", 500), echo()])
    with fault_server(lambda exchange: next(reactions)(exchange)) as server:
        retrieve(submit(server.url, store, "a", retry=QUICK), store)
        with closing(sqlite3.connect(store)) as database, database:
            database.execute("UPDATE answer SET finished = 1")
        ids = submit(server.url, store, "a", retry=QUICK)
        retrieve(ids, store)
        with StoreFile(store) as file:
            assert Inventory(file).clear(2) == 1
        assert submit(server.url, store, "a", retry=QUICK) == ids


def test_a_limit_that_is_raised_counts_what_was_sent_before(store):
    """It is one limit over the whole submission."""
    with fault_server(echo()) as server:
        for most in (2, 3):
            limits = tn.Limits(max_requests=most)
            retrieve(submit(server.url, store, "a", "b", "c", "d", limits=limits), store)
            assert len(server.requests) == most


def test_a_name_that_is_none_is_said(store):
    """In one line."""
    with wording.raises(tn.errors.SettingError):
        submit("http://127.0.0.1:9/v1", store, "a", submission=5)
    with wording.raises(tn.errors.SettingError):
        tn.RetrieveResponse().run("ids.csv", store=store)


def test_a_submitted_row_is_submitted_and_neither_answered_nor_failed(store, folder, capsys):
    """In the log, the two branches and the numbers; the hint names the store that was named."""
    with fault_server(echo()) as server:
        out = NODE.run(words("a", None), tn.Connection(server.url, ""), store=store, progress=False)
        assert [*out.log["outcome"]] == ["submitted", "invalid_request"]
        assert ([*out.succeeded["word"]], [*out.failed.index]) == (["a"], [1])
        assert (out.summary.ok, out.summary.submitted, out.summary.failed) == (0, 1, 1)
        assert run(*command(server), "--store", store) == 0
        wording(capsys.readouterr().err.splitlines()[-1].replace(str(store), "STORE"))


def test_what_heals_a_row_is_said_and_done(store, folder):
    """Of a row that ended while the server was down, where it is seen; by the command line and by Python."""
    up = []
    with fault_server(lambda exchange: (echo() if up else answer(b"{}", 500))(exchange)) as server:
        retry = tn.Retry(not_executed=0, server_error=0, throttled=0)
        out = NODE.run(words("a", "b"), tn.Connection(server.url, ""), store=store, progress=False, retry=retry)
        ids = [*out.result[IDS]]
        found = retrieve(ids, store)
        wording(found.summary.notes[0])
        up.append(True)
        pd.DataFrame({IDS: ids}).to_csv("ids.csv", index=False)
        asked = ["retrieve", "ids.csv", "--output", "out.csv", "--no-progress"]
        assert run(*asked) == 3
        assert run(*asked, "--retry-failed", "transient") == 0
        assert [*pd.read_csv("out.csv")["outcome"]] == ["ok", "ok"]


@pytest.mark.parametrize("is_retrieved", [True, False], ids=["retrieved", "answered"])
def test_a_store_is_whole_in_its_file_while_a_worker_waits_for_more(store, monkeypatch, is_retrieved):
    """So its file alone may be moved, and nothing is sent twice."""
    with fault_server(echo()) as server, ExitStack() as stack:
        with nobody_at_work(store):
            out = NODE.run(words("a", "b"), tn.Connection(server.url, ""), store=store, progress=False)
        ids = [*out.result[IDS]]
        idle = stack.enter_context(closing(sqlite3.connect(store)))
        idle.execute("SELECT count(*) FROM answer").fetchone()  # so that the log outlives who writes it
        with monkeypatch.context() as patched:
            if is_retrieved:  # as where the retrieval is faster
                patched.setattr(StoreFile, "settle", lambda _: None)
            work(store)
        if is_retrieved:
            retrieve(ids, store)
        moved = store.rename(store.with_name("moved"))
        with ending(moved):
            assert set(retrieve(ids, moved).log["outcome"]) == {"ok"}
        assert len(server.requests) == 2


def test_a_limit_holds_for_a_submission_that_was_moved(store, folder, monkeypatch):
    """However it is known, it is the same one: by its rows, the file that has its ids, or both."""

    def at_once(server, *more):
        with nobody_at_work(store):
            assert run(*command(server), *more) == 0
        work(store)

    limited = ("--max-requests", "3")
    with fault_server(echo()) as server:
        (folder / "words.csv").write_text("word\n" + "".join(f"{word}\n" for word in "abcdef"))
        for place in ("mine", "renamed", "renamed again"):
            folder = folder.rename(folder.with_name(place))
            monkeypatch.chdir(folder)
            at_once(server, *limited)
            assert len(server.requests) == 3
        (folder / "words.csv").write_text("word\ng\nh\n")
        at_once(server, *limited, "--replace")
        at_once(server, "--output", "others.csv", "--max-requests", "1", "--again")
        assert len(server.requests) == 4


@pytest.mark.parametrize("table", ["abcd", "cba", "ab"])
def test_equal_rows_are_counted_whatever_table_they_are_in(store, capsys, table):
    """A cell that is run twice pays twice, and says how it would not."""
    with fault_server(echo()) as server:
        for names in ("abc", table):
            assert capsys.readouterr().err == ""
            NODE.run(words(*names), tn.Connection(server.url, ""), store=store)
        wording.line(capsys.readouterr().err)


def test_ids_of_another_store_are_not_written_over(store, folder, capsys):
    """Nothing is submitted afresh; with --replace, their file is kept."""
    with fault_server(echo()) as server, ending(store.with_name("other")) as other:
        with nobody_at_work(store):
            assert run(*command(server)) == 0
        work(store)
        before = Path("ids.csv").read_bytes()
        capsys.readouterr()
        with nobody_at_work(other):
            assert run(*command(server), "--store", other) == 1
            wording.line(" ".join(capsys.readouterr().err.replace(str(other), "OTHER").split()))
            work(other)
            assert (len(server.requests), Path("ids.csv").read_bytes()) == (3, before)
            assert run(*command(server), "--store", other, "--replace") == 0
        assert Path("ids.csv.before").read_bytes() == before


def test_ids_are_found_in_every_file_that_an_output_may_replace(store, tmp_path):
    """However it is packed: else they would be lost with it."""
    with oracle() as server:
        ids = pd.DataFrame({IDS: submit(server.url, store, "a", "b")})
    for name in ("x.csv", "x.json", "x.csv.gz", "x.csv.bz2", "x.csv.zst", "x.csv.xz", "x.xlsx", "x.ods"):
        tables.write_table(ids, tmp_path / name)
        assert len(ids_found(str(tmp_path / name))) == 2, name


def test_a_submission_that_is_not_there_is_said(store, folder, capsys):
    """With those that are; one whose name is a number is cleared by its option."""
    with fault_server(echo()) as server, nobody_at_work(store):
        for name in ("30", "mine"):
            assert run(*command(server, output=f"{name}.csv"), "--submission", name) == 0
    for asked in (
        ("--clear", "mins"),
        ("--ids", "--submission", "x"),
        ("--cancel", "--submission", "x"),
        ("--clear", "30"),
    ):
        capsys.readouterr()
        assert run("store", *asked) == 2
        wording.line(" ".join(capsys.readouterr().err.split()))
    assert run("store", "--clear", "0", "--submission", "30") == 0
    wording.line(capsys.readouterr().out.splitlines()[1])
    assert run("store", "--cancel", "--submission", "30") == 0
    wording.line(capsys.readouterr().out.splitlines()[0])
    with StoreFile(store) as file:
        assert Inventory(file).counts() == {"pending": 3, "not_sent": 3}


def test_the_list_of_ids_names_the_file_that_they_were_last_written_to(store, folder, monkeypatch, capsys):
    """Also where nothing is sent for it."""
    with fault_server(echo()) as server, nobody_at_work(store):
        assert run(*command(server)) == 0
        monkeypatch.chdir(folder.rename(folder.with_name("renamed")))
        assert run(*command(server)) == 0
    capsys.readouterr()
    assert run("store", "--ids") == 0
    assert {*pd.read_csv(io.StringIO(capsys.readouterr().out))["output"]} == {
        str(folder.with_name("renamed") / "ids.csv")
    }


def test_one_id_that_is_not_there_is_said_without_a_place(store, folder, capsys):
    """There is but one."""
    with fault_server(echo()) as server, nobody_at_work(store):
        assert run(*command(server)) == 0
        capsys.readouterr()
        assert run("retrieve", ids.written(b"x" * 16)) == 3
        wording.line(capsys.readouterr().err.replace(str(store), "STORE"), "1 row failed")


@pytest.mark.parametrize("of_file", [True, False], ids=["by its file", "by an option"])
def test_a_workflow_that_only_submits_says_what_gets_the_answers(store, folder, capsys, of_file):
    """And in which store they are."""
    Path("flow.yaml").write_text(
        "connection: {base_url: 'http://127.0.0.1:9/v1', api_key: ''}\ntable: words.csv\noutput: ids.csv\n"
        "nodes: [{id: ask, type: CreateChatCompletionAsync, model: m, prompt: 'Say {{ word }}'}]\n"
        + (f"store: {store}\n" if of_file else "")
    )
    with nobody_at_work(store):
        assert run("run", "flow.yaml", *(() if of_file else ("--store", store))) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"tablenodes retrieve ids.csv --store {store} gets the answers")
