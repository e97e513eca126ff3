"""The same rows submitted again: under a name they keep their ids, and nothing is paid for twice."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pandas as pd
import pytest
from background import ending, work
from killing import oracle
from sentences import wording
from servers import answer, echo, fault_server

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.store import StoreFile
from tablenodes.store.futures import Futures
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


def test_the_same_command_again_gives_the_same_ids(store, tmp_path, monkeypatch, capsys):
    """For the same output; another output, or --again, is another submission."""
    monkeypatch.setenv(VARIABLE, str(store))
    table, output = tmp_path / "words.csv", tmp_path / "ids.csv"
    table.write_text("word\na\nb\n")
    with fault_server(echo()) as server:
        command = ["submit", "CreateChatCompletion", table, "--set", "model=m", "--prompt", "Say {{ word }}"]
        command += ["--base-url", server.url, "--no-key"]
        assert run(*command, "--output", output) == 0
        first = output.read_bytes()
        capsys.readouterr()
        assert run(*command, "--output", output) == 0
        assert output.read_bytes() == first
        wording.line(capsys.readouterr().err)
        assert run(*command, "--output", tmp_path / "others.csv") == 0
        assert (tmp_path / "others.csv").read_bytes() != first
        assert run(*command, "--output", output, "--again") == 0
        assert output.read_bytes() != first


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
            assert Futures(file).clear(2) == 1
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
