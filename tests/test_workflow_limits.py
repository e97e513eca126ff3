"""The limits of a workflow hold for its run as a whole, also where a worker sends what some of its nodes ask."""

from __future__ import annotations

import threading

import pandas as pd
import pytest
from background import ending, nobody_at_work
from servers import answer, echo, fault_server

import tablenodes as tn

LATER = tn.CreateChatCompletionAsync(model="m", prompt="later {{ word }}")
NOW = tn.CreateChatCompletion(model="m", prompt="now {{ word }}")
GET = tn.RetrieveResponse()
ONE = tn.Limits(concurrency=1, max_requests=5)


@pytest.fixture
def store(tmp_path):
    with ending(tmp_path / "store") as path:
        yield path


def words(count=3):
    return pd.DataFrame({"word": [f"w{i}" for i in range(count)]})


def run(nodes, server, store, limits=ONE, **more):
    manner = {"connection": tn.Connection(server.url), "progress": False, "store": store}
    out = tn.Workflow(nodes).run(words(), limits=limits, **manner, **more)
    return {name: dict(output.summary.outcomes) for name, output in out.items()}


@pytest.mark.parametrize("journal", [False, True], ids=["alone", "with a journal"])
@pytest.mark.parametrize("by_id", [{}, {"future_response_id": "{{ outputs.later.future_response_id }}"}])
def test_what_a_worker_has_sent_counts(store, tmp_path, journal, by_id):
    """A chat after three answers that were retrieved has two requests left, of five."""
    more = {"journal": tmp_path / "j"} if journal else {}
    with fault_server(echo()) as server:
        out = run({"later": LATER, "get": tn.RetrieveResponse(**by_id), "now": NOW}, server, store, **more)
        assert (out["get"], out["now"]) == ({"ok": 3}, {"ok": 2, "not_sent": 1})
        assert len(server.requests) == 5
        if journal:
            assert run({"later": LATER, "get": GET, "now": NOW}, server, store, **more) == out
            assert len(server.requests) == 5


def test_what_a_worker_has_sent_again_counts(store):
    """As the log of the answers has it."""
    first = threading.Event()

    def react(exchange):
        (echo() if first.is_set() else answer({"error": {"message": "no"}}, 503))(exchange)
        first.set()

    with fault_server(react) as server:
        out = run({"later": LATER, "get": GET, "now": NOW}, server, store)
        assert (out["get"], out["now"]) == ({"ok": 3}, {"ok": 1, "not_sent": 2})
        assert len(server.requests) == 5


def test_a_row_that_waits_for_a_worker_counts_as_one_request(store):
    """Whether somebody has looked for its answer or not."""
    for between in ({}, {"get": tn.RetrieveResponse(wait=0)}):
        with nobody_at_work(store), fault_server(echo()) as server:
            out = run({"later": LATER, **between, "now": NOW}, server, store)
            assert out["now"] == {"ok": 2, "not_sent": 1}
            assert len(server.requests) == 2


@pytest.mark.parametrize("journal", [False, True], ids=["alone", "with a journal"])
def test_a_worker_sends_what_is_left(store, tmp_path, journal):
    """Where there is a journal, what earlier runs have sent counts too."""
    more = {"journal": tmp_path / "j"} if journal else {}
    with fault_server(echo()) as server:
        for _ in range(2 if journal else 1):
            out = run({"now": NOW, "later": LATER, "get": GET}, server, store, **more)
            assert (out["now"], out["get"]) == ({"ok": 3}, {"ok": 2, "not_sent": 1})
            assert len(server.requests) == 5


def test_answers_to_what_another_run_has_asked_do_not_count(store):
    """They were sent under its limits."""
    with fault_server(echo()) as server:
        connection = tn.Connection(server.url)
        table = LATER.run(words(), connection, store=store, progress=False).table
        nodes = tn.Workflow({"get": GET, "now": NOW})
        limits = tn.Limits(max_requests=3)
        out = nodes.run(table, connection=connection, limits=limits, store=store, progress=False)
        assert out["now"].summary.outcomes == {"ok": 3}
        assert len(server.requests) == 6
