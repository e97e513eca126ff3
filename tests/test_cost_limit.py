"""What a run may cost: what is in flight counts with its highest price, and one request at most goes beyond."""

from __future__ import annotations

import heapq
import json
import random
from contextlib import closing
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from sentences import wording
from servers import fault_server, message

import tablenodes as tn
from tablenodes.answers import Pricing
from tablenodes.cli import main
from tablenodes.engine.calls import Answer, Call, Request
from tablenodes.engine.journal import Journal
from tablenodes.engine.journal.recorder import Recorder
from tablenodes.engine.loop import Loop
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.scheduling import Scheduler
from tablenodes.engine.scheduling.budget import Budget
from tablenodes.engine.sink import Records
from tablenodes.errors import SettingError
from tablenodes.run import cost_limit
from tablenodes.run.cost_limit import CostLimit

PRICES = {"m": {"input": 10, "output": 100}}
USUAL = 0.0011  # USD of an answer of `answering`
NODE = tn.CreateChatCompletion(model="m", prompt="{{ word }}", max_tokens=10)
WORDS = pd.DataFrame({"word": [f"w{number}" for number in range(30)]})
TEXTS = json.loads(Path(__file__).with_name("token_counts.json").read_text())


def body(prompt, completion):
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return json.dumps({"model": "m-2026", "choices": [choice], "usage": usage}).encode()


def answering(exchange):
    exchange.send(message(body(10, 10)))


@pytest.fixture
def server():
    with fault_server(answering) as running:
        yield running


def run(server, *, prices=PRICES, node=NODE, journal=None, **limits):
    limits = {"concurrency": 8} | limits
    connection = tn.Connection(server.url, "", prices=prices)
    return node.run(WORDS, connection, limits=tn.Limits(**limits), journal=journal, progress=False)


class Storm:
    """A server in virtual time that refuses, fails, loses answers, and bills what it has executed."""

    capacity = None

    def __init__(self, seed):
        self.chance, self.now, self.events, self.billed, self.dearest, self.peak = random.Random(seed), 0.0, [], 0, 0, 0

    def start(self, call):
        asked = json.loads(call.body)
        usd = (len(asked["messages"][0]["content"]) // 4 * 10 + self.chance.randrange(asked["max_tokens"]) * 100) / 1e6
        kind = self.chance.choices(["ok", "429", "500", "lost"], [70, 15, 10, 5])[0]
        if kind in ("ok", "lost"):
            self.billed, self.dearest = self.billed + usd, max(self.dearest, usd)
        tokens = (0, round(usd * 1e4))
        told = {
            "ok": (200, body(*tokens), None),
            "429": (429, b"{}", None),
            "500": (500, b"{}", None),
            "lost": (None, b"", "timeout_total"),
        }
        status, data, fault = told[kind]
        answer = Answer(call.key, status, b"content-type: application/json\r\n", data, fault)
        heapq.heappush(self.events, (self.now + 0.05 + self.chance.random(), call.key, answer))
        self.peak = max(self.peak, len(self.events))

    def wait(self, seconds):
        until = min(self.now + max(seconds, 1e-6), self.events[0][0] if self.events else self.now + 1e9)
        self.now = until
        came = []
        while self.events and self.events[0][0] <= self.now:
            came.append(heapq.heappop(self.events)[2])
        return came

    def cancel(self, key):
        pass


def stormy(seed, limit):
    storm, records = Storm(seed), Records(1000)
    limits = tn.Limits(max_cost=limit, concurrency=64)
    scheduler = Scheduler(limits, tn.Retry(), random=random.Random(seed).random)
    budget = CostLimit(Pricing("", PRICES), ["m"]).budget(limit, None)
    chance, judged = random.Random(seed), partial(judge, wall_clock=lambda: 0.0)
    loop = Loop(
        storm, scheduler, records, Recorder(), lambda answer: answer, grace=0, clock=lambda: storm.now, budget=budget
    )
    asked = (
        {"model": "m", "max_tokens": chance.choice([20, 100, 400]), "messages": [{"content": "word " * 9}]}
        for _ in range(1000)
    )
    calls = (
        Call(key, Request("POST", "", ()), json.dumps(each).encode(), 60.0, judged) for key, each in enumerate(asked)
    )
    loop.run(calls)
    return storm, scheduler, records


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 20))])
def test_a_storm_costs_no_more_than_it_may(seed):
    """Refusals, errors and lost answers among a thousand rows; many are in flight all the time."""
    limit = 4.0
    storm, scheduler, records = stormy(seed, limit)
    assert scheduler.stopped == "max_cost"
    assert storm.billed <= limit + storm.dearest
    assert storm.billed >= 0.7 * limit
    assert storm.peak >= 32
    assert records.counts["not_sent"] > 0


def test_the_rest_is_not_sent(server):
    """And says why; what was spent is in the summary."""
    out = run(server, max_cost=10 * USUAL)
    assert out.summary.stopped == "max_cost"
    assert 10 * USUAL <= out.summary.cost <= 11 * USUAL
    assert len(server.requests) == out.summary.ok
    wording(out.log["message"].iloc[-1])


def test_earlier_runs_of_the_journal_count(server, tmp_path):
    """A second run goes on only where more may be spent."""
    journal = tmp_path / "j"
    first = run(server, journal=journal, max_cost=10 * USUAL)
    again = run(server, journal=journal, max_cost=10 * USUAL)
    assert len(server.requests) == first.summary.ok == again.summary.ok
    assert again.summary.cost == 0
    wording(again.log["message"].iloc[-1])
    assert run(server, journal=journal, max_cost=1).summary.ok == len(WORDS)
    assert len(server.requests) == len(WORDS)


def test_without_a_price_nothing_is_sent(server):
    """Neither for a constant model nor for one that some row names."""
    table = WORDS.assign(model=["m"] * 29 + ["other"])
    connection = tn.Connection(server.url, "", prices=PRICES)
    for node, given in ((NODE.replace(model="other"), WORDS), (NODE.replace(model=None), table)):
        with wording.raises(SettingError) as caught:
            node.run(given, connection, limits=tn.Limits(max_cost=1), progress=False)
        assert (caught.value.code, caught.value.place) == ("no_price", "max_cost")
    assert server.requests == []
    assert NODE.replace(model=None).run(table[:5], connection, limits=tn.Limits(max_cost=1)).summary.ok == 5


def test_answers_without_a_limit_go_nearly_one_by_one(server):
    """Each counts as if it were as long as the model allows; a note says what to do."""
    out = run(server, node=NODE.replace(max_tokens=None), max_cost=30)
    assert out.summary.ok == len(WORDS)
    wording(str(out.summary.notes))


@pytest.mark.parametrize("corpus", [name for name in TEXTS if name != "counted"])
def test_the_highest_price_is_no_lower_than_any(corpus):
    """Whatever the text is, and the vocabulary."""
    limit = CostLimit(Pricing("", PRICES), ["m"])
    for text, *counts in TEXTS[corpus]:
        asked = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": text}]}
        actual = (max(counts) * 10 + 50 * 100) / 1e6
        assert limit.most(json.dumps(asked, ensure_ascii=False).encode()) >= actual


def test_a_request_that_is_dearer_than_those_before_waits():
    """What is in flight counts, whatever room there seemed to be."""
    budget = Budget(1.0, lambda body: float(body), lambda *_: 0.0)
    assert [budget.reserve(key, price) for key, price in enumerate([b"0.1", b"0.6", b"0.4", b"0.1"])] == [True] * 3 + [
        False
    ]


def test_the_highest_price_has_all_choices_and_the_models_context():
    """A model that takes more than most may write more."""
    limit = CostLimit(Pricing("https://api.openai.com/v1"), [])

    def most(**more):
        return limit.most(json.dumps({"model": "gpt-4.1", "messages": [], **more}).encode())

    one = most(n=1, max_tokens=1_000_000)
    assert most(n=3, max_tokens=1_000_000) > 2.9 * one
    assert most() >= 0.99 * one


@pytest.mark.parametrize("lost", [False, True])
def test_what_a_journal_cannot_say_counts_as_the_dearest(tmp_path, monkeypatch, lost):
    """An answer of no model that has a price, and a send whose answer was lost, however few are read at a time."""
    monkeypatch.setattr(cost_limit, "_AT_A_TIME", 1)
    prices = PRICES | {"k": {"input": 20, "output": 200}}
    replies = iter([lambda exchange: exchange.send(message(body(10, 10))), lambda exchange: exchange.reset()])
    with fault_server(lambda exchange: next(replies)(exchange)) as running:
        rows, retry = WORDS[: 1 + lost], tn.Retry(ambiguous=0)
        how = {"limits": tn.Limits(concurrency=1), "retry": retry, "progress": False}
        NODE.run(rows, tn.Connection(running.url, "", prices=prices), journal=tmp_path / "j", **how)
    with closing(Journal(tmp_path / "j", looks=True)) as journal:
        spent = CostLimit(Pricing("", prices), ["k", "m"]).budget(1, journal).spent
    assert spent == pytest.approx((1 + lost) * 2 * USUAL)


def test_doors_take_the_limit(server, tmp_path, capsys):
    """The command line, and YAML; over all nodes of a workflow."""
    connection = tn.Connection(server.url, "", prices=PRICES)
    limits = tn.Limits(max_cost=9.5 * USUAL, concurrency=1)
    flow = tn.Workflow({"ask": NODE, "again": NODE, "more": NODE}, connection=connection, limits=limits)
    WORDS[:8].to_csv(tmp_path / "t.csv", index=False)
    flow.save(tmp_path / "w.yaml")
    assert tn.Workflow.load(tmp_path / "w.yaml").limits == limits
    for more, sent in (((), 10), (("--max-cost", str(4 * USUAL)), 4)):
        server.requests.clear()
        with pytest.raises(SystemExit):
            main(["run", str(tmp_path / "w.yaml"), "-t", str(tmp_path / "t.csv"), "--no-journal", *more])
        assert len(server.requests) in (sent, sent + 1)
    capsys.readouterr()


def test_a_worker_counts_no_money(server, tmp_path):
    """So it is refused, in a workflow too before anything is sent."""
    connection, limits = tn.Connection(server.url, "", prices=PRICES), tn.Limits(max_cost=1)
    later = tn.CreateChatCompletionAsync(model="m", prompt="{{ word }}")
    with wording.raises(SettingError):
        later.run(WORDS, connection, limits=limits, store=tmp_path / "s")
    with wording.raises(SettingError):
        tn.Workflow({"ask": NODE, "later": later}, connection=connection, limits=limits).run(
            WORDS, store=tmp_path / "s"
        )
    with wording.raises(SettingError):
        other = NODE.replace(model="other")
        tn.Workflow({"ask": NODE, "other": other}, connection=connection, limits=limits).run(WORDS)
    assert server.requests == []


def test_an_answer_is_counted_once():
    """One that cannot be used, and stays the row's while asking again fails."""
    replies = iter([message(body(10, 10)), message(b"{}", 400), *[message(body(10, 10))] * 4])
    with fault_server(lambda exchange: exchange.send(next(replies))) as running:
        node, retry = NODE.replace(answer=["yes", "no"]), tn.Retry(unusable=1)
        limits = tn.Limits(max_cost=1.5 * USUAL, concurrency=1)
        connection = tn.Connection(running.url, "", prices=PRICES)
        out = node.run(WORDS[:3], connection, limits=limits, retry=retry, progress=False)
        assert len(running.requests) == 3
    assert [*out.log["outcome"]] == ["unusable", "unusable", "not_sent"]
