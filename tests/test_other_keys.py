"""Rows of several keys in one store: each is sent with the one that it was submitted with."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing

import pandas as pd
import pytest
from background import ending, nobody_at_work, until, work, workers
from sentences import wording
from servers import answer, echo, fault_server, held

import tablenodes as tn
from tablenodes.later import open_submission as submitting
from tablenodes.store import StoreFile
from tablenodes.store.futures import Futures
from tablenodes.store.inventory import Inventory

NODE = tn.CreateChatCompletionAsync(model="m", prompt="Say {{ word }}")
OLD, NEW = "sk-canary-old-0123", "sk-canary-new-0123"


@pytest.fixture
def store(tmp_path):
    with ending(tmp_path / "store") as path:
        yield path


def submit(store, word, connection=None, **manner):
    table = pd.DataFrame({"word": [word]})
    return NODE.run(table, connection, store=store, **{"progress": False, **manner}).table


def left_by(key, server, store, monkeypatch):
    """Submit a row with a key of the environment, for nobody to send it."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with nobody_at_work(store):
        return submit(store, "a")


def retrieve(table, store, wait=None, connection=None):
    out = tn.RetrieveResponse().run(table, wait, store=store, connection=connection, progress=False)
    return out.log["outcome"][0], out.log["message"][0]


def keys(server):
    return [request.headers.get("authorization", "").removeprefix("Bearer ") for request in server.requests]


def answered(store):
    """Return how many rows are answered; nobody is made to do anything by that."""
    with StoreFile(store) as file:
        return Inventory(file).counts().get("ok", 0)


def test_a_key_of_the_environment_that_was_changed_is_used_for_new_rows(store, monkeypatch):
    """Also while a worker lives that was started with the old one."""
    with fault_server(echo()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        for key in (OLD, NEW):
            monkeypatch.setenv("OPENAI_API_KEY", key)
            assert retrieve(submit(store, "a"), store)[0] == "ok"
        assert keys(server) == [OLD, NEW]


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "MY_KEY"])
def test_rows_of_a_key_of_the_environment_wait_for_it_or_for_whoever_retrieves_them(store, monkeypatch, variable):
    """A worker does not use another one by itself; a retrieval has the rows sent with the key that it has by then."""
    with fault_server(echo()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv(variable, OLD)
        with nobody_at_work(store):
            table = submit(store, "a", tn.Connection(api_key_env=variable))
        monkeypatch.setenv(variable, NEW)
        work(store)
        with nobody_at_work(store):
            outcome, message = retrieve(table, store, 0)
        assert (outcome, server.requests) == ("pending", [])
        wording(message)
        with StoreFile(store) as file:
            (waiting,) = Futures(file).waiting([1]).values()
        wording(waiting.reason)
        assert OLD.encode() not in store.read_bytes()
        assert retrieve(table, store)[0] == "ok"
        assert keys(server) == [NEW]


def test_the_key_that_rows_were_submitted_with_may_be_given(store, monkeypatch):
    """It goes before the environment's."""
    with fault_server(echo()) as server:
        table = left_by(OLD, server, store, monkeypatch)
        monkeypatch.setenv("OPENAI_API_KEY", NEW)
        assert retrieve(table, store, connection=tn.Connection(server.url, OLD))[0] == "ok"
        assert keys(server) == [OLD]


def test_a_key_that_was_refused_is_mended_in_the_environment(store, monkeypatch):
    """The rows that it kept need not be submitted again."""

    def react(exchange):
        refused = {"error": {"message": "no", "code": "invalid_api_key"}}
        right = exchange.received.headers.get("authorization") == f"Bearer {NEW}"
        (echo() if right else answer(refused, 401))(exchange)

    with fault_server(react) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", OLD)
        with nobody_at_work(store):
            words = pd.DataFrame({"word": list("abcdefg")})
            manner = {"limits": tn.Limits(concurrency=1), "store": store, "progress": False}
            table = NODE.run(words, **manner).table
        work(store)
        assert keys(server) == [OLD] * 6  # five in a row, and one more that shows it
        monkeypatch.setenv("OPENAI_API_KEY", NEW)
        out = tn.RetrieveResponse().run(table, store=store, progress=False)
        assert sorted(out.log["outcome"]) == ["auth"] * 6 + ["ok"]
        assert keys(server) == [OLD] * 6 + [NEW]


def test_a_key_that_a_retrieval_gives_is_not_taken_for_the_first_one(store, monkeypatch):
    """Rows that are submitted with that very key, and given it, wait for it."""
    with fault_server(echo()) as server:
        table = left_by(OLD, server, store, monkeypatch)
        monkeypatch.setenv("OPENAI_API_KEY", NEW)
        assert retrieve(table, store)[0] == "ok"
        given = tn.Connection(server.url, OLD)
        assert retrieve(submit(store, "b", given), store, connection=given)[0] == "ok"
        assert keys(server) == [NEW, OLD]


def test_rows_that_were_submitted_without_a_key_are_sent_without_one(store, monkeypatch):
    """Whatever the environment has by then."""
    with fault_server(echo()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with nobody_at_work(store):
            submit(store, "a")
        monkeypatch.setenv("OPENAI_API_KEY", NEW)
        work(store)
        assert keys(server) == [""]


def test_rows_are_billed_to_the_project_that_they_were_submitted_for(store, monkeypatch):
    """Or to none; the worker's own does not count."""
    with fault_server(echo()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        with nobody_at_work(store):
            monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_first")
            submit(store, "a")
            monkeypatch.delenv("OPENAI_PROJECT_ID")
            submit(store, "b")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_of_the_worker")
        work(store)
        projects = {str(request.body)[-20:-5]: request.headers.get("openai-project") for request in server.requests}
        assert sorted(projects.values(), key=str) == [None, "proj_first"]


def test_rows_of_a_store_of_an_earlier_version_have_the_project_of_the_worker(store, monkeypatch):
    """None travelled with them then."""
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_first")
    with fault_server(echo()) as server:
        left_by(OLD, server, store, monkeypatch)
        with closing(sqlite3.connect(store)) as database, database:
            recipe = json.loads(database.execute("SELECT recipe FROM recipe").fetchone()[0])
            del recipe["connection"]["found_key"], recipe["connection"]["headers"]["OpenAI-Project"]
            database.execute("UPDATE recipe SET recipe = ?", (json.dumps(recipe),))
        work(store)
        assert [request.headers.get("openai-project") for request in server.requests] == ["proj_first"]


@pytest.mark.parametrize("with_its_key", [True, False], ids=["each its own worker", "one by hand"])
def test_rows_of_another_key_do_not_wait_behind_somebody_elses(store, monkeypatch, with_its_key):
    """Each key has its worker; one that is started by hand leaves the rows whose key it lacks to those who have it."""
    ends = threading.Event()
    with fault_server(held(ends)) as slow, fault_server(echo()) as server:
        first = submit(store, "a", tn.Connection(slow.url, OLD))
        until(lambda: slow.requests, "the first request")
        if not with_its_key:
            with nobody_at_work(store):
                submit(store, "b", tn.Connection(server.url, NEW))
            work(store)
            assert server.requests == []
        other = tn.Connection(server.url, NEW)
        assert retrieve(submit(store, "c", other), store, None, other)[0] == "ok"
        assert (keys(slow), {*keys(server)}) == ([OLD], {NEW})
        ends.set()
        assert retrieve(first, store)[0] == "ok"


def test_a_retrieval_without_the_key_says_so_and_keeps_nobody_from_sending(store, monkeypatch):
    """It starts no worker that could send nothing, and ends what is late."""
    with fault_server(echo()) as server:
        connection = tn.Connection(server.url, OLD)
        with nobody_at_work(store):
            table, late = submit(store, "a", connection), submit(store, "b", connection, deadline=1)
        time.sleep(1.1)
        outcome, message = retrieve(table, store)
        assert outcome == "pending"
        wording(message)
        assert retrieve(late, store)[0] == "not_sent"
        assert workers(store) == []
        assert retrieve(table, store, None, connection)[0] == "ok"
        assert keys(server) == [OLD]


def test_whoever_stops_a_submission_that_waits_for_a_worker_has_its_ids(store, monkeypatch):
    """The rows are in the store by then."""

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(submitting, "ensure_worker", stopped)
    stop = wording.raises(tn.errors.Interrupted)
    with fault_server(echo()) as server, stop as caught:
        submit(store, "a", tn.Connection(server.url, OLD))
    assert caught.value.output.result["future_response_id"].notna().all()
