"""A server that is down, slow or strict: how many requests it gets, and how soon it is asked again."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from scheduler_simulation import Simulation, fault, ok, status

from tablenodes.engine.calls import Answer
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.scheduling import Scheduler
from tablenodes.settings import Limits, Retry

ROWS = 1000
BEGAN = 1000.0
"""The virtual time at which every run begins."""


def jittery(chance):
    return chance.uniform(0.02, 0.08)


def busiest_second(times):
    """Return the most of `times` that lie within one second."""
    times = sorted(times)
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("concurrency", [5, 16, 64, 256])
@pytest.mark.parametrize(
    "answer", [status(503), status(429), status(529), fault("connect")], ids=["503", "429", "529", "-"]
)
def test_a_server_that_is_down_is_not_stormed(answer, concurrency):
    """Two windows of requests, then one probe at a time; the rest costs nothing and can be resumed."""
    run = Simulation(ROWS, lambda now, key: answer, Limits(concurrency=concurrency), latency=jittery).run()
    probes = sum(start.is_probe for start in run.starts)
    assert len(run.starts) <= 2 * concurrency + 5 + probes
    assert probes <= 40
    assert busiest_second(start.at for start in run.starts[concurrency:]) <= concurrency
    assert run.scheduler.stopped == "outage"
    assert run.count("not_sent") >= ROWS - 2 * concurrency - 5 - probes
    assert 600 <= run.seconds <= 645
    assert run.scheduler.seconds_paused == pytest.approx(600, abs=15)


@pytest.mark.parametrize("rows", [1, 3, 5, 20, 63])
@pytest.mark.parametrize("code", [429, 529])
def test_few_rows_that_are_throttled_for_ever_end_too(rows, code):
    """Half a minute without an answer, and the patience for an outage: no longer than many rows take."""
    run = Simulation(rows, lambda now, key: status(code), latency=jittery).run()
    assert run.seconds <= 645
    assert len(run.starts) <= 2 * 64 + 5
    assert run.count("rate_limited" if code == 429 else "http_error") == rows


@pytest.mark.parametrize("concurrency", [2, 5, 9])
def test_only_failures_in_a_row_are_an_outage(concurrency):
    """A success in between starts the count again, also after an outage; the last one shuts the gate."""
    threshold = max(5, concurrency)
    plan = Scheduler(Limits(concurrency=concurrency), Retry(), random=lambda: 0.5)
    good, bad = judge(Answer(0, 200, b"", b'{"choices":[{}]}')), judge(Answer(0, None, b"", b"", "connect"))

    def shuts_after(failures, since, now):
        for key in range(since, since + failures):
            plan.started(key, now)
            plan.answered(key, bad, 1, now)
        return plan.room(now) == 0

    for turn, now in enumerate((0.0, 100.0)):
        assert not shuts_after(threshold - 1, 100 * turn, now)
        plan.started(99, now)
        plan.answered(99, good, 1, now)
        assert not shuts_after(threshold - 1, 100 * turn + 20, now)
        assert shuts_after(1, 100 * turn + 40, now)
        assert plan.room(now + 1) == 1
        plan.started(98, now + 1)
        plan.answered(98, good, 1, now + 1)


def test_probes_come_alone_and_ever_more_rarely():
    """One at a time, at 1, 2, 4, 8, 16 and then 30 seconds; the row cannot be at fault where nobody is reached."""
    run = Simulation(ROWS, lambda now, key: fault("connect"), retry=Retry(outage_patience=120)).run()
    probes = [start.at for start in run.starts if start.is_probe]
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    assert gaps == pytest.approx([2.05, 4.05, 8.05, 16.05, 30.05, 30.05, 28.7], abs=0.1)


def test_a_name_that_never_was_is_looked_up_three_times_more():
    """At 2, 10 and 30 seconds; once it was found, its loss is an outage, as is a look-up that fails."""
    run = Simulation(ROWS, lambda now, key: fault("dns", reached=False), Limits(concurrency=4)).run()
    assert (run.scheduler.stopped, set(run.outcomes)) == ("dns", {"dns", "not_sent"})
    probes = [start.at - BEGAN for start in run.starts if start.is_probe]
    assert probes == pytest.approx([2, 10, 30], abs=0.2)
    assert len(run.starts) == 4 + 3
    for answers in ({0: ok()}, {0: status(500)}, {}):
        name = "dns" if answers else "dns_later"
        run = Simulation(
            3 * ROWS,
            lambda now, key, answers=answers, name=name: answers.get(key) or fault(name, reached=False),
            Limits(concurrency=1),
            Retry(outage_patience=100),
        ).run()
        assert run.scheduler.stopped == "outage"


def test_probes_of_a_server_that_answers_with_errors_leap_at_once():
    """It may be the rows: fourteen from ever further on, up to the last and then between, before they become rare."""
    run = Simulation(ROWS, lambda now, key: status(503), Limits(concurrency=5), Retry(outage_patience=30)).run()
    probes = [start for start in run.starts if start.is_probe]
    gaps = [later.at - earlier.at for earlier, later in pairwise(probes)]
    assert gaps == pytest.approx([0.25] * 13 + [1.05, 2.05, 4.05, 8.05, 11.4], abs=0.2)
    fresh = 1 + max(start.key for start in run.starts if not start.is_probe)
    assert [probe.key - fresh for probe in probes[:4]] == [3, 16, 65, 258]
    assert ROWS - 1 in [probe.key for probe in probes]


def test_a_probe_costs_its_row_nothing():
    """A row that probed through an outage longer than its retries still succeeds."""
    run = Simulation(
        10,
        lambda now, key: status(503) if now < BEGAN + 300 else ok(),
        Limits(concurrency=5),
        Retry(server_error=2, outage_patience=600),
    ).run()
    assert run.count("ok") == 10
    assert max(run.begun.values()) > 1 + 2


@pytest.mark.parametrize("down", [fault("connect"), status(503)], ids=["refused", "503"])
@pytest.mark.parametrize("seed", range(3))
def test_an_outage_of_a_minute_loses_no_row(down, seed):
    """All rows succeed, few extra requests are made, and work is resumed soon after the recovery."""
    began, ended = BEGAN + 3, BEGAN + 63
    run = Simulation(
        ROWS,
        lambda now, key: down if began <= now < ended else ok(),
        latency=lambda chance: chance.uniform(0.4, 0.6),
        seed=seed,
    ).run()
    assert run.count("ok") == ROWS
    assert run.begun.total() <= 1.15 * ROWS
    assert min(at for at, _, answer, _ in run.answers if at >= ended and answer.status == 200) <= ended + 35


def test_a_server_that_comes_back_gets_fewer_at_first():
    """0.7 of the window, not all at once."""
    run = Simulation(400, lambda now, key: status(503) if now < BEGAN + 5 else ok(), Limits(concurrency=10)).run()
    first_success = min(at for at, _, answer, _ in run.answers if answer.status == 200)
    assert sum(start.at == first_success for start in run.starts) == 7


def test_a_refusal_shows_that_the_server_is_back():
    """A status of 400 is an answer: the gate opens, though that row is lost."""
    run = Simulation(60, lambda now, key: status(503) if now < BEGAN + 5 else status(413), Limits(concurrency=5)).run()
    assert run.scheduler.stopped is None
    assert run.count("http_error") == 60
    assert run.seconds < 20


def test_a_probe_whose_answer_is_lost_counts_against_its_row():
    """It may have been executed: the probing goes on with other rows."""
    run = Simulation(
        30,
        lambda now, key: status(503) if now < BEGAN + 1 else fault("reset"),
        Limits(concurrency=5),
        Retry(outage_patience=60),
    ).run()
    assert run.scheduler.stopped == "outage"
    assert max(sum(v.outcome == "reset" for _, k, _, v in run.answers if k == key) for key in run.done) <= 2


def test_a_dead_connection_of_a_probe_is_a_failed_probe():
    """There is always a next one."""
    run = Simulation(
        30,
        lambda now, key: status(503) if now < BEGAN + 1 else fault("reset", reused=True) if now < BEGAN + 20 else ok(),
        Limits(concurrency=5),
    ).run()
    assert run.count("ok") == 30


def test_a_probe_waits_for_the_delay_of_its_own_answer():
    """A server that is out and names a delay is not asked earlier."""
    run = Simulation(
        30,
        lambda now, key: status(500, b"retry-after: 20\r\n") if now < BEGAN + 50 else ok(),
        Limits(concurrency=5),
    ).run()
    for at, key, _, verdict in run.answers:
        if verdict.retry_after is not None:
            assert not [start for start in run.starts if start.key == key and at < start.at < at + 20]


def test_calls_that_hang_keep_the_probe_within_the_window():
    """A probe needs a place, too."""
    run = Simulation(
        40,
        lambda now, key: (ok() | {"seconds": 90.0}) if key < 4 else status(503) if now < BEGAN + 30 else ok(),
        Limits(concurrency=5),
    ).run()
    assert run.peak <= 5
    assert run.count("ok") == 40


@pytest.mark.parametrize("most", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_delay_is_never_cut_short_and_hardly_exceeded(most):
    """Thousands of throttles: none is followed too early, and one in a hundred by more than a tenth and a second."""
    late = []
    early = throttles = 0
    seed = 0
    while throttles < most:
        chance = random.Random(seed)

        def server(now, key, chance=chance):
            if chance.random() < 0.2:
                return status(429, b"retry-after: %.3f\r\n" % chance.choice([0.2, 1, 3, 20]))
            return ok()

        run = Simulation(300, server, Limits(concurrency=8), Retry(throttled=50, max_attempts=99), jittery, seed).run()
        waiting = {}
        opens = 0.0
        events = [(at, 0, key, verdict.retry_after) for at, key, _, verdict in run.answers]
        for at, is_start, key, delay in sorted(
            events + [(s.at, 1, s.key, None) for s in run.starts], key=lambda e: e[:3]
        ):
            if is_start:
                early += at < opens - 1e-6
                if key in waiting:
                    asked, wait = waiting.pop(key)
                    # what others were told meanwhile is no lateness
                    late.append(max(0.0, at - max(asked + wait, opens)) - 0.1 * wait)
            elif delay is not None:
                waiting[key] = (at, delay)
                opens = max(opens, at + delay)
                throttles += 1
        seed += 1
    assert early == 0
    assert sorted(late)[int(0.99 * len(late))] <= 1.0
