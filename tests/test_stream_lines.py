"""Workflows over batches whose nodes have different connections: one run, with a scheduler for each."""

from __future__ import annotations

import dataclasses

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import completion, fault_server, message
from test_workflow_streams import chat, node_of, reply, table_of, texts_after

import tablenodes as tn
from tablenodes.engine.calls import Answer, Call
from tablenodes.engine.transports.carrier_switch import CarrierSwitch

QUIET = {"progress": False}


def on(node, server):
    return tn.Step(node, connection=server)


@st.composite
def workflows(draw):
    """Return the nodes of a workflow, and for each the number of one of three connections."""
    nodes, lines, earlier = {}, {}, []
    for at in range(draw(st.integers(2, 5))):
        kind = draw(st.sampled_from(["text", "fields", "one", "return"])) if at else "text"
        nodes[f"n{at}"], lines[f"n{at}"] = node_of(kind, at, texts_after(earlier, draw)), draw(st.integers(0, 2))
        earlier.append((f"n{at}", kind))
    return nodes, lines


@settings(max_examples=6, deadline=None)
@given(workflows(), st.integers(0, 14), st.integers(1, 20))
def test_each_node_is_asked_where_it_is_asked_in_a_run(workflow, count, concurrency):
    """The table, the sums and what each server got are those of a run over the whole table."""
    nodes, lines = workflow
    table, limits = table_of(count), tn.Limits(concurrency=concurrency)
    got = {}

    def made(way):
        asked = [got.setdefault((way, line), []) for line in range(3)]
        servers = [
            tn.testing.canned(lambda body, own=own: own.append(orjson.dumps(body)) or reply(body)) for own in asked
        ]
        steps = {name: on(node, servers[lines[name]]) for name, node in nodes.items()}
        return tn.Workflow(steps, inputs={"name": "x"})

    whole = made("whole").run(table, **QUIET)
    batches = made("parts").run_batches(iter(table.to_batches(4) or [table]), **QUIET, limits=limits)
    assert batches.read_all().to_pydict() == whole.table.to_pydict()
    for name, output in whole.items():
        for number in ("outcomes", "requests", "first_try", "rows"):
            assert getattr(batches.summaries[name], number) == getattr(output.summary, number), (name, number)
    for line in range(3):
        assert sorted(got["whole", line]) == sorted(got["parts", line])


def two(first, second):
    """Return a workflow whose second and third node are asked at another connection than the first."""
    return tn.Workflow(
        {
            "ask": on(chat("{{ text }}"), first),
            "again": on(chat("{{ ask }} of {{ text }}"), second),
            "last": on(chat("{{ again | default('-') }}"), second),
        }
    )


def counted(answer="x"):
    """Return a connection and the bodies that it got."""
    sent = []
    return tn.testing.canned(lambda body: sent.append(body) or answer), sent


def test_requests_of_all_connections_count_together():
    (first, one), (second, other) = counted(), counted()
    made = two(first, second).run_batches(table_of(60), **QUIET, limits=tn.Limits(max_requests=50, concurrency=4))
    made.read_all()
    assert len(one) + len(other) == 50
    assert made.summaries["last"].stopped == "max_requests"
    assert made.summaries["last"].ok >= 10


def test_each_connection_has_its_own_places():
    """With one at a time, both servers have one at a time; none waits for the other's."""
    under_way, most = {}, {}

    def reaction(exchange):
        place = exchange.server.url
        under_way[place] = under_way.get(place, 0) + 1
        most["each"] = max(most.get("each", 0), under_way[place])
        most["all"] = max(most.get("all", 0), sum(under_way.values()))
        exchange.pause(0.01)
        under_way[place] -= 1
        exchange.send(message(completion(exchange.received.body)))

    with fault_server(reaction) as one, fault_server(reaction) as other:
        made = two(tn.Connection(one.url, "k"), tn.Connection(other.url, "key"))
        batches = made.run_batches(table_of(20), **QUIET, limits=tn.Limits(concurrency=1))
        assert batches.read_all()["last_outcome"].to_pylist() == ["ok"] * 20
    assert most == {"each": 1, "all": 2}


def test_a_server_that_asks_to_wait_is_waited_for_while_nothing_else_is_to_be_done():
    """What is held back for it is no end of the run."""

    def slow(exchange):
        is_first = len(server.requests) == 1
        late = message(b"{}", 429, headers={"retry-after-ms": "600"})
        exchange.send(late if is_first else message(completion(exchange.received.body)))

    (first, _) = counted()
    with fault_server(slow) as server:
        made = two(first, tn.Connection(server.url, "key")).run_batches(table_of(9), **QUIET)
        assert made.read_all()["last_outcome"].to_pylist() == ["ok"] * 9
    assert made.summaries["again"].seconds_paused > 0.5


@pytest.mark.parametrize(("status", "servers"), [(401, 1), (400, 1), (400, 2)])
def test_where_one_connection_refuses_all_nothing_more_is_paid_at_the_other(status, servers):
    """The run stops; no more fresh rows have gone through the nodes before than may wait."""
    first, sent = counted()
    second = tn.testing.canned(lambda body: (status, {"error": {"message": "no such thing"}}))
    second = dataclasses.replace(second, base_url=[f"http://127.0.0.1:{port}/v1" for port in range(1, 1 + servers)])
    made = two(first, second).run_batches(iter(table_of(800).to_batches(50)), **QUIET)
    together = made.read_all()
    assert together["id"].to_pylist() == list(range(800))
    assert len(sent) < 400
    assert made.summaries["again"].stopped
    assert made.summaries["ask"].outcomes["not_sent"] > 400


def test_no_more_fresh_rows_begin_than_a_slow_server_later_on_lets_wait(monkeypatch):
    """Those that it has no place for wait, and fresh rows with them."""
    monkeypatch.setattr("tablenodes.workflow.stream_lines._MOST", 64)
    first, sent = counted()
    ahead = []

    def later(body):
        ahead.append(len(sent))
        return "x"

    limits = tn.Limits(concurrency=8)
    made = two(first, tn.testing.canned(later)).run_batches(table_of(400), **QUIET, limits=limits)
    assert made.read_all()["last_outcome"].to_pylist() == ["ok"] * 400
    assert max(own - at // 2 for at, own in enumerate(ahead)) < 150


class Bringing:
    """A carrier that brings what it is given, or raises it."""

    capacity = 4

    def __init__(self, *news):
        self.news = [*news]

    def start(self, call):
        pass

    def wait(self, seconds):
        found = self.news.pop(0) if self.news else []
        if isinstance(found, Exception):
            raise found
        return found


def test_what_one_carrier_has_brought_is_used_before_another_ones_failure():
    """An answer that came is not lost; whoever has something is asked until the time is over."""
    answers = [Answer(key, 200, b"", b"") for key in range(2)]
    both = CarrierSwitch([Bringing([], [], answers[:1]), Bringing([], [], OSError("gone"))], lambda key: key)
    for key in range(2):
        both.start(Call(key, None, b"", 1.0))
    assert both.wait(5.0) == answers[:1]
    with pytest.raises(OSError, match="gone"):
        both.wait(0.0)
    assert both.capacity == 8


def test_a_second_run_sends_what_is_missing(tmp_path):
    """The journal knows each node's server."""
    (first, one), (second, other) = counted(), counted("y")
    kept = {"journal": tmp_path / "run.journal", "progress": False}
    with two(first, second).run_batches(
        iter(table_of(60).to_batches(7)), **kept, limits=tn.Limits(concurrency=4)
    ) as made:
        next(iter(made))
    before = len(one) + len(other)
    again = two(first, second).run_batches(iter(table_of(60).to_batches(9)), **kept).read_all()
    assert before < len(one) + len(other) == 180
    whole = two(first, second).run(table_of(60), **kept)
    assert whole.table.to_pydict() == again.to_pydict()
    assert len(one) + len(other) == 180


def priced(dollars):
    """Return a connection whose answers cost so much for a million tokens, and the bodies that it got."""
    sent = []
    prices = {"m": {"input": dollars, "output": dollars}}
    return tn.testing.canned(lambda body: sent.append(body) or "x" * 400, prices=prices), sent


def test_money_is_one_limit_for_all_connections(tmp_path):
    """Each answer costs what it costs at its own server; an earlier run of the journal counts too."""
    (first, one), (second, other) = priced(1.0), priced(9.0)
    kept = {"journal": tmp_path / "run.journal", "progress": False}
    made = two(first, second).run_batches(table_of(40), **kept, limits=tn.Limits(max_cost=0.02))
    made.read_all()
    costs = [summary.cost for summary in made.summaries.values()]
    assert made.summaries["last"].stopped == "max_cost"
    assert 0.019 < sum(costs) < 0.025
    assert costs[1] > costs[0]
    count = len(one) + len(other)
    two(first, second).run_batches(table_of(40), **kept, limits=tn.Limits(max_cost=0.02)).read_all()
    assert len(one) + len(other) == count
    with pytest.raises(tn.errors.SettingError):
        two(first, counted()[0]).run_batches(table_of(3), **QUIET, limits=tn.Limits(max_cost=1))


def test_a_profiles_limits_are_those_of_its_connection(tmp_path, monkeypatch):
    """Its requests and its money; with it, the run ends."""
    monkeypatch.chdir(tmp_path)
    (first, one), (second, other) = counted(), priced(5.0)
    profile = tn.connection.profile.Profile("small", limits=tn.Limits(max_requests=9))
    made = two(first, dataclasses.replace(second, profile=profile)).run_batches(table_of(40), **QUIET)
    made.read_all()
    assert len(other) == 9
    assert len(one) > 9
    profile = tn.connection.profile.Profile("poor", limits=tn.Limits(max_cost=0.005))
    made = two(first, dataclasses.replace(second, profile=profile)).run_batches(table_of(40), **QUIET)
    made.read_all()
    assert made.summaries["again"].stopped == "max_cost"
