"""Several servers: rows are spread over them, one that fails is left and tried again, and nothing gets lost."""

from __future__ import annotations

import math
import random
import threading

import orjson
import pandas as pd
import pyarrow as pa
import pytest
from sample_runs import exit_code_of
from scheduler_simulation import Simulation, fault, ok, status
from servers import fault_server, message

import tablenodes as tn
from tablenodes.engine.scheduling.fleet import Fleet
from tablenodes.run.server_watch import ServerWatch
from tablenodes.settings import Limits, Retry

UNKNOWN = b'{"error": {"message": "no such model", "code": "model_not_found"}}'


class Served:
    """A server in virtual time: so many slots of so many seconds, between its death and its return it is gone."""

    def __init__(self, slots=8, seconds=0.05, dies=math.inf, returns=math.inf, answer=None):
        self.free = [0.0] * slots
        self.seconds, self.dies, self.returns, self.answer = seconds, dies, returns, answer
        self.asked = []

    def __call__(self, at, key):
        if self.dies <= at < self.returns:
            return fault("connect", reached=False, seconds=0.001)
        self.asked.append((at, key))
        if self.answer is not None and (given := self.answer(at, key)) is not None:
            return given
        slot = min(range(len(self.free)), key=self.free.__getitem__)
        self.free[slot] = ends = max(at, self.free[slot]) + self.seconds
        if at < self.dies < ends:
            return fault("disconnected", seconds=self.dies - at)
        return {**ok(), "seconds": ends - at}


class Spread(Simulation):
    """A run over several servers."""

    def __init__(self, rows, servers, *, bodies=None, **more):
        self.servers, self.bodies, self.sent_to, self.attempts = servers, bodies, {}, []
        super().__init__(rows, None, latency=lambda chance: 0.0002, **more)

    def __post_init__(self):
        super().__post_init__()
        self.scheduler = Fleet(
            len(self.servers),
            self.limits,
            self.retry,
            random=self.chance.random,
            sent_before=self.sent_before,
            answered_before=lambda: self.answered_before,
        )

    def _send(self, key):
        body = self.bodies(key) if self.bodies else b""
        left = self.scheduler.started(key, self.now, self.tokens(key), body)
        assert 0 < left <= self.retry.row_deadline
        self.peak = max(self.peak, self.scheduler.in_flight)
        number = self.scheduler.server_of(key)
        self.sent_to[key] = number
        self.attempts.append((self.now, key, number))
        self._event(self.now + 0.0001, "arrives", key, 0.0001)

    def _arrives(self, key, back, at):
        self.server = self.servers[self.sent_to[key]]
        super()._arrives(key, back, at)


def test_two_servers_serve_what_both_can():
    """And after one has died all rows are answered, at what the other can, without a wait."""
    alive, mortal = Served(), Served(dies=1002.0)
    run = Spread(960, [alive, mortal], limits=Limits(concurrency=16)).run()
    assert run.outcomes == ["ok"] * 960
    before = sum(1 for at, *_ in run.answers if at <= 1002.0)
    assert before >= 0.9 * 2 * 2.0 * 8 / 0.05
    left = 960 - before
    assert run.seconds - 2.0 <= 1.1 * left * 0.05 / 8 + 0.2


def test_a_server_that_comes_back_is_used_again():
    """It is probed by single rows meanwhile, which are answered elsewhere."""
    other, gone = Served(), Served(dies=1000.5, returns=1002.0)
    run = Spread(1400, [other, gone], limits=Limits(concurrency=16)).run()
    assert run.outcomes == ["ok"] * 1400
    refused = [at for at, _, answer, _ in run.answers if answer.fault == "connect"]
    assert 5 <= len(refused) <= 20
    back = [at for at, _ in gone.asked if at >= 1002.0]
    assert back
    assert back[0] <= 1004.0
    assert len(back) >= 0.4 * sum(1 for at, _ in other.asked if at >= back[0])


def test_all_down_is_as_one_server_today():
    """Rows wait and use no attempts; they are given up after the same patience, and the rest is not sent."""
    down = [Served(dies=1000.0) for _ in range(2)]
    run = Spread(100, down, limits=Limits(concurrency=8), retry=Retry(outage_patience=60)).run()
    one = Simulation(
        100, lambda at, key: fault("connect", reached=False), Limits(concurrency=8), Retry(outage_patience=60)
    ).run()
    assert run.scheduler.stopped == one.scheduler.stopped == "outage"
    assert 60 <= run.seconds <= 95
    assert len(run.answers) <= 2.5 * len(one.answers)
    back = [Served(dies=1000.5, returns=1020.0) for _ in range(2)]
    assert Spread(500, back, limits=Limits(concurrency=8)).run().outcomes == ["ok"] * 500


def test_a_server_that_refuses_the_key_is_left():
    """Its rows are answered by the other; where both refuse it, the run stops as with one."""
    refusing = Served(answer=lambda at, key: {**status(401), "seconds": 0.01})
    run = Spread(400, [refusing, Served()], limits=Limits(concurrency=16)).run()
    assert run.outcomes == ["ok"] * 400
    assert len(refusing.asked) <= 16 + 6
    both = [Served(answer=lambda at, key: status(401)) for _ in range(2)]
    run = Spread(400, both, limits=Limits(concurrency=16)).run()
    assert run.scheduler.stopped == "auth"
    assert sum(len(each.asked) for each in both) <= 2 * (16 + 6)
    assert set(run.outcomes) == {"auth", "not_sent"}


def test_a_key_that_is_revoked_at_one_server():
    """In the middle of a run, it leaves that server alone."""
    revoked = Served(answer=lambda at, key: status(401) if at > 1001 else None)
    run = Spread(1000, [revoked, Served()], limits=Limits(concurrency=16)).run()
    assert run.outcomes == ["ok"] * 1000
    assert sum(1 for at, _ in revoked.asked if at > 1001) <= 20 + 16


def test_a_pause_is_that_of_its_server():
    """429 with Retry-After: nothing goes there for so long, and the others serve meanwhile."""
    busy = Served(answer=lambda at, key: status(429, b"retry-after: 3\r\n") if 1000.5 < at < 1001 else None)
    run = Spread(1500, [busy, Served()], limits=Limits(concurrency=16)).run()
    assert run.outcomes == ["ok"] * 1500
    refused_at = next(at for at, _, answer, _ in run.answers if answer.status == 429)
    later = [at for at, _ in busy.asked if at > refused_at + 0.05]
    assert min(later) >= refused_at + 3
    assert run.seconds <= 1.15 * (1500 / 160 - 1)
    hopeless = Served(answer=lambda at, key: status(429, b"retry-after: 86400\r\n"))
    run = Spread(300, [hopeless, Served()], limits=Limits(concurrency=16)).run()
    assert run.outcomes == ["ok"] * 300
    run = Spread(300, [hopeless, hopeless], limits=Limits(concurrency=16)).run()
    assert run.scheduler.stopped == "rate_limited"
    assert run.seconds < 1


def test_a_row_that_fails_at_one_server_goes_to_another():
    """A server that fails all requests, or breaks them off, is left; no row of it is lost."""
    for failing in (status(500), status(503), fault("reset"), fault("timeout_connect", reached=False, seconds=1.0)):
        bad = Served(answer=lambda at, key, failing=failing: failing)
        run = Spread(300, [bad, Served()], limits=Limits(concurrency=16)).run()
        assert run.outcomes == ["ok"] * 300
        assert len(run.answers) <= 300 + 40
        assert run.seconds <= 300 * 0.05 / 8 + 2


def test_what_a_row_is_refused_for_is_its_own():
    """A row that each server refuses ends as it would with one, and the others go on."""

    def answer(at, key):
        return (
            status(400)
            if key % 10 == 0
            else status(403, body=b'{"error": {"message": "no"}}')
            if key % 10 == 1
            else None
        )

    run = Spread(200, [Served(answer=answer), Served(answer=answer)], limits=Limits(concurrency=16)).run()
    assert [run.outcomes[at] for at in range(10)] == ["http_error", run.outcomes[1], *["ok"] * 8]
    assert run.count("ok") == 160


def test_a_model_that_one_server_lacks():
    """Its rows go to the other; those of a model that none knows are not sent any more."""

    def lacking(*names):
        return lambda at, key: status(404, body=UNKNOWN) if model(key) in names else None

    def model(key):
        return ("a", "b", "c")[key % 3]

    servers = [Served(answer=lacking("b", "c")), Served(answer=lacking("c"))]
    run = Spread(
        600,
        servers,
        limits=Limits(concurrency=16),
        model=model,
        bodies=lambda key: b'{"model": "%s"}' % model(key).encode(),
    ).run()
    assert [set(run.outcomes[at::3]) - {"not_sent"} for at in range(3)] == [{"ok"}, {"ok"}, {"http_error"}]
    assert run.count("not_sent") >= 150
    assert "not_sent" not in run.outcomes[0::3] + run.outcomes[1::3]


def test_a_slow_server_gets_as_many_as_it_can_take():
    """Once both have answered: the one that answers sooner gets more calls."""
    fast, slow = Served(slots=100), Served(slots=1, seconds=0.5)
    run = Spread(2000, [fast, slow], limits=Limits(concurrency=16)).run()
    assert run.outcomes == ["ok"] * 2000
    assert len(fast.asked) >= 1980
    assert run.seconds <= 1.1 * 2000 * 0.05 / 16 + 1


def test_a_server_that_was_slow_is_looked_at_again():
    """By one call at a time: one that had to load its model first is used as the others from then on."""
    cold = Served(answer=lambda at, key: {**ok(), "seconds": 1.5} if at < 1001 else None)
    run = Spread(2000, [Served(), cold], limits=Limits(concurrency=16)).run()
    assert run.outcomes == ["ok"] * 2000
    assert sum(at >= 1001 for at, _ in cold.asked) >= 600
    slow = Served(seconds=1.0)
    run = Spread(1600, [Served(), slow], limits=Limits(concurrency=8)).run()
    assert len(slow.asked) <= 4 + run.seconds / 4 + 1


def test_conversations_stay_where_they_began():
    """All turns of a conversation go to one server while both are nearly equally busy."""

    def body(key):
        turns = "".join(f',{{"role": "user", "content": "turn {at}"}}' for at in range(key // 100))
        return f'{{"messages": [{{"role": "user", "content": "conversation {key % 100}"}}{turns}]}}'.encode()

    run = Spread(500, [Served(), Served()], limits=Limits(concurrency=16), bodies=body).run()
    moved = sum(run.sent_to[key] != run.sent_to[key % 100] for key in range(100, 500))
    assert moved <= 0.2 * 400
    assert run.seconds <= 1.12 * 500 / 320 + 0.1


def test_limits_are_those_of_all_servers_together():
    """In flight at a time, requests a minute, and sends in all, also with repeats."""
    run = Spread(200, [Served(), Served()], limits=Limits(concurrency=5)).run()
    assert run.peak == 5
    run = Spread(60, [Served(), Served()], limits=Limits(requests_per_minute=600)).run()
    assert run.seconds >= 5.7
    run = Spread(
        100, [Served(), Served(dies=1000.05)], limits=Limits(max_requests=50, concurrency=16), repeats=0.2
    ).run()
    assert run.scheduler.stopped == "max_requests"
    assert run.scheduler.sent <= 50
    assert sum(run.begun.values()) <= 50
    run = Spread(400, [Served(), Served()], limits=Limits(token_budget=1000, concurrency=16)).run()
    assert run.scheduler.stopped == "token_budget"
    assert run.count("ok") <= 100 + 16


SAYS = b'{"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}]}'
NODE = tn.CreateChatCompletion(model="m")


def says(exchange):
    exchange.send(message(SAYS))


def dies(exchange):
    """End the whole server, as a kill does: its port is closed, and its connections with it."""
    threading.Thread(target=exchange.server.close).start()
    exchange.close()


def table(rows):
    return pd.DataFrame({"prompt": [f"row {at}" for at in range(rows)]})


FAULTS = [
    *(status(500), status(502), status(429), status(429, b"retry-after: 1\r\n"), status(429, b"retry-after: 400\r\n")),
    *(status(401), status(403, body=b'{"error": {"message": "no"}}'), status(404, body=UNKNOWN)),
    *(fault(name, reached=False) for name in ("connect", "dns", "tls")),
]


def failing(chance):
    """Return a server that fails in one way, then in another, dies and may come back."""
    later, *ways = chance.choice([0.2, 1, 3]), chance.choice([None, *FAULTS]), chance.choice([None, *FAULTS])
    dies = chance.choice([math.inf, 1000, 1000.7, 1002])
    answer = lambda at, key: ways[at > 1000 + later] if chance.random() < 0.9 else None  # noqa: E731
    return Served(chance.randint(1, 8), chance.choice([0.01, 0.05]), dies, chance.choice([1004, math.inf]), answer)


@pytest.mark.parametrize("seed", range(12))
def test_what_one_server_would_answer_is_answered(seed):
    """Whatever the others do, and in whichever order: each row has one end, and all requests are counted."""
    chance = random.Random(seed)
    servers = [failing(chance) for _ in range(chance.randint(1, 3))]
    servers.insert(chance.randint(0, len(servers)), Served())
    limits = Limits(concurrency=chance.choice([1, 4, 16]))
    run = Spread(60, servers, seed=seed, limits=limits, retry=Retry(ambiguous=3))
    assert run.run().outcomes == ["ok"] * 60
    assert run.scheduler.sent == sum(run.begun.values())
    assert not run.scheduler.failed_at


def test_who_gets_no_rows_is_said(monkeypatch, capsys):
    """Once it has lasted a second, and at the end; with the server's own words where it has any."""
    run = Spread(600, [Served(), Served(dies=1000.5, returns=1002.0)], limits=Limits(concurrency=16))
    watch = ServerWatch(run.scheduler, ["a:1", "b:2"], 600)
    for at in run.steps():
        run.now = at
        watch.tell("Node", at)
    assert [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()] == [
        "Node: b:2 serves no request: cannot connect to the server; its rows go to the others",
        "Node: b:2 answers again",
    ]
    assert [*watch.notes()] == []
    assert set(watch.served()) == {"a:1", "b:2"}
    run = Spread(60, [Served(), Served(answer=lambda at, key: status(401))], limits=Limits(concurrency=16)).run()
    (note,) = ServerWatch(run.scheduler, ["a:1", "b:2"], 0).notes()
    assert note.startswith("b:2 is left: the server refused the API key")


def test_a_stream_says_which_server_has_answered_a_row(tmp_path):
    """In a column of its batches, and in the log of the command line; nowhere where there is one server."""
    rows, log, quiet = str(tmp_path / "rows.csv"), str(tmp_path / "log.csv"), {"progress": False}
    table(40).to_csv(rows, index=False)
    with fault_server(says) as first, fault_server(says) as second:
        urls = [first.url, second.url]
        with NODE.run_batches(rows, tn.Connection(urls[0], ""), **quiet) as alone:
            assert "server" not in alone.schema.names
        made = NODE.run_batches(rows, tn.Connection(urls, ""), **quiet).read_all()
        out = NODE.run(table(40), tn.Connection(urls, ""), **quiet)
        where = [part for url in urls for part in ("--base-url", url)]
        asked = ["call", "CreateChatCompletion", rows, "--model", "m", "--memory", "300MB", "--no-key", "--no-progress"]
        assert exit_code_of(*asked, *where, "--log", log, "-o", str(tmp_path / "out.csv")) == 0
        whole = [*asked[:5], *where, "--no-key", "--log", str(tmp_path / "whole.csv"), "-o", str(tmp_path / "b.csv")]
        assert exit_code_of(*whole) == 0
    assert [*pd.read_csv(tmp_path / "whole.csv").columns] == [*pd.read_csv(log).columns]
    found = made["server"].to_pylist()
    assert set(found) == set(out.log["server"]) == set(pd.read_csv(log)["server"])
    assert len(set(found)) == 2
    assert None not in found


@pytest.fixture
def two():
    """The addresses of two servers that answer chats and lists of texts."""

    def reaction(exchange):
        asked = orjson.loads(exchange.received.body).get("input")
        each = [{"index": at, "embedding": [1.0, 2.0]} for at in range(len(asked or ()))]
        exchange.send(message(SAYS) if asked is None else message(orjson.dumps({"data": each, "usage": {}})))

    with fault_server(reaction) as first, fault_server(reaction) as second:
        yield [first.url, second.url]


def test_rows_of_packs_have_the_server_that_has_answered_the_pack(two):
    """In memory and in batches."""
    node = tn.CreateEmbedding(model="e", input="{{ prompt }}", pack=4)
    out = node.run(table(24), tn.Connection(two, ""), progress=False)
    made = node.run_batches(pa.table(table(24)), tn.Connection(two, ""), progress=False).read_all()
    for found in (out.log["server"].tolist(), made["server"].to_pylist()):
        assert {url.split("/")[2] for url in two} == set(found)
        assert all(len(set(found[at : at + 4])) == 1 for at in range(0, 24, 4))


def test_a_workflows_log_says_it_in_batches_too(two, tmp_path, monkeypatch, capsys):
    """Of each node that has several; and -v says of each where it is asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_KEY", "k")
    table(20).to_csv("rows.csv", index=False)
    both = f"{{base_url: {two}, api_key_env: NO_KEY}}"
    (tmp_path / "flow.yaml").write_text(
        "nodes:\n"
        f"  - {{id: ask, type: CreateChatCompletion, model: m, prompt: '{{{{ prompt }}}}', connection: {both}}}\n"
        f"  - {{id: pack, type: CreateEmbedding, model: e, input: '{{{{ ask }}}}', pack: 5, connection: {both}}}\n"
        "  - {id: last, type: CreateChatCompletion, model: m, prompt: '{{ ask }}', "
        f"connection: {{base_url: '{two[0]}', api_key_env: NO_KEY}}}}\n"
    )
    found, said = {}, {}
    for way in ([], ["--memory", "300MB"]):
        files = ["--log", f"log{len(way)}.csv", "-o", f"out{len(way)}.csv"]
        assert exit_code_of("run", "flow.yaml", "--table", "rows.csv", "-v", *way, *files) == 0
        log = pd.read_csv(files[1])
        if not way:
            assert set(log["packed"][log["node"] == "pack"]) == {5}
        found[len(way)] = {node: set(part) for node, part in log.groupby("node")["server"]}
        said[len(way)] = sorted(
            line.partition(": ")[2].partition(" with")[0]
            for line in capsys.readouterr().err.splitlines()
            if ": POST " in line
        )
    hosts = {url.split("/")[2] for url in two}
    for way in (0, 2):  # four packs may all go to one of them
        assert found[way]["ask"] == hosts
        assert found[way]["pack"] <= hosts
        assert not found[way]["last"] & hosts
    assert len(said[2]) == 3
    assert said[0] == said[2]


def test_a_mappers_columns_say_it(two, monkeypatch):
    """And the columns that it is known by before; with one server there is no such column."""
    monkeypatch.setenv("NO_KEY", "k")
    connection = tn.Connection(two, api_key_env="NO_KEY")
    mapper = NODE.mapper(connection)
    made = mapper(table(20))
    assert [*mapper.meta.columns] == [*made.columns]
    assert set(made["server"]) == {url.split("/")[2] for url in two}
    assert "server" not in NODE.mapper(tn.Connection(two[0], api_key_env="NO_KEY")).meta


@pytest.mark.parametrize("transport", ["curl", "requests"])
def test_over_real_sockets_one_dies_in_the_middle(transport):
    """Each row is answered, and hardly one is sent twice."""
    with fault_server([says] * 60 + [dies]) as first, fault_server(says) as second:
        connection = tn.Connection([first.url, second.url], transport=transport)
        out = NODE.run(table(300), connection, limits=tn.Limits(concurrency=8), progress=False)
    assert out.summary.ok == 300
    assert len(first.requests) >= 60
    assert len(first.requests) + len(second.requests) <= 300 + 8
