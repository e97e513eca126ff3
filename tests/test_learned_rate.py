"""The pace that is learned: found from refusals alone, kept, and given up where it is no pace that refuses."""

from __future__ import annotations

import statistics

import pytest
from limited_servers import KINDS, at_random, every_tenth, first_tries, limited, simulated
from scheduler_simulation import Simulation, ok, status

from tablenodes.engine.scheduling.evidence import Record, Share, chance_over_limit
from tablenodes.settings import Limits

NOTHING_LEFT = (
    b"x-ratelimit-limit-tokens: 100000\r\nx-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 6m0s\r\n"
)


def between(low, high):
    return lambda chance: chance.uniform(low, high)


def bounds(kind, rate):
    """Return the share of the rate that is served at least, and the share of refusals that is allowed, with 5 more."""
    return 0.85 if kind == "window" else 0.9, 0.1 if kind == "window" or (kind, rate) == ("silent", 5) else 0.05


@pytest.mark.parametrize("rate", [5, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_is_found_and_kept(kind, rate):
    """Half a minute, 64 in flight: nearly all that the server gives, and hardly a refusal once one was known."""
    seen, run = limited(kind, rate, seed=1)
    least, most = bounds(kind, rate)
    assert seen.served >= least * rate * 30
    assert seen.refused <= most * seen.informed + 5
    assert "rate_limited" not in {row.verdict.outcome for row in run.done.values() if row.attempts > 10}


@pytest.mark.parametrize("rate", [5, 40])
@pytest.mark.parametrize("kind", ["silent", "window"])
def test_a_busy_machine_finds_it_too(kind, rate):
    """The first wave is spread over half a second, answers overtake each other, and the client pauses now and then."""
    runs = [limited(kind, rate, seed=seed, busy=0.5)[0] for seed in range(3)]
    least, most = bounds(kind, rate)
    assert statistics.median(seen.served for seen in runs) >= least * rate * 30
    assert min(seen.served for seen in runs) >= 0.7 * rate * 30
    assert statistics.median(seen.refused - most * seen.informed for seen in runs) <= 5


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rate", [5, 40, 400])
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_runs_hold_the_limit(kind, rate):
    """The same for fresh seeds, up to 400 a second; for windows that tell nothing it is the median that is held."""
    runs = [limited(kind, rate, seed=seed)[0] for seed in range(500, 520)]
    least, most = bounds(kind, rate)
    shares, over = [seen.served / rate / 30 for seen in runs], [seen.refused - most * seen.informed for seen in runs]
    pick = (statistics.median, statistics.median) if kind == "window" else (min, max)
    assert pick[0](shares) >= least
    assert pick[1](over) <= 5


@pytest.mark.parametrize(("kind", "depth"), [("silent", 5), ("silent", 400), ("seconds", 5)])
def test_other_buckets_are_drawn_from_without_a_spiral(kind, depth):
    """Shallow or deep: never under half of what it serves at its best over 10 s, but for a bucket that was full."""
    seen, _ = limited(kind, 40, depth=depth, seed=2)
    tens = [sum(seen.served_by_second[start : start + 10]) for start in range(30 - 9)]
    assert min(tens) >= 0.5 * min(max(tens), 400)


def test_a_limit_that_changes_is_found_again():
    """Down from 40 a second to 10, and up to 80."""
    rates = [(15, 40.0), (45, 10.0), (99, 80.0)]
    left, then = [40.0], [1000.0]

    def server(now, key):
        rate = next(rate for until, rate in rates if now - 1000.0 < until)
        left[0], then[0] = min(rate, left[0] + (now - then[0]) * rate), now
        good = left[0] >= 1
        left[0] -= good
        return ok() if good else status(429)

    seen, _ = simulated(server, 60)
    assert sum(seen.refused_by_second[20:45]) <= 0.1 * sum(seen.served_by_second[20:45])
    assert sum(seen.served_by_second[57:60]) >= 0.8 * 80 * 3


@pytest.mark.parametrize(("share", "seconds"), [(0.05, 5), (0.3, 10), (0.67, 30)])
@pytest.mark.parametrize("seed", range(4))
def test_refusals_at_random_slow_nobody_down(share, seconds, seed):
    """200 rows of 50 ms: an overloaded model that turns many away serves no more at a slower pace."""
    run = Simulation(200, at_random(share, seed), latency=between(0.045, 0.055), seed=seed).run()
    assert run.count("ok") == 200
    assert run.seconds <= seconds


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.67])
def test_twenty_runs_bear_with_chance(share):
    """Half a minute: the median of what the slots can do is 0.9 at least, the worst half of it."""
    shares = [
        simulated(at_random(share, seed), 30, seed=seed)[0].served / (64 / 0.05 * 30 * (1 - share))
        for seed in range(500, 520)
    ]
    assert statistics.median(shares) >= 0.9
    assert min(shares) >= 0.5


def test_rows_that_need_three_tries_have_them():
    """The row that was refused most often goes first: else the server serves nobody for long."""
    run = Simulation(40, first_tries(2), Limits(concurrency=16), latency=between(0.045, 0.055)).run()
    assert (run.count("ok"), len(run.starts)) == (40, 120)
    assert run.seconds <= 20


@pytest.mark.parametrize("concurrency", [4, 16, 64])
def test_a_delay_comes_before_what_the_same_answer_says_of_allowances(concurrency):
    """Headers that say that nothing is left for six minutes slow nobody down while others are served."""
    limits = Limits(concurrency=concurrency)
    told, plain = (
        Simulation(200, every_tenth(lines), limits, latency=between(0.045, 0.055)).run()
        for lines in (NOTHING_LEFT, b"")
    )
    assert told.count("ok") == 200
    assert told.seconds <= 1.2 * plain.seconds
    assert max(told.seconds, plain.seconds) <= 36  # each of 22 refusals asks for a second: they are no limit of a rate


def test_nothing_is_learned_while_nothing_is_refused():
    """It costs nothing."""
    run = Simulation(300, lambda now, key: ok()).run()
    assert not run.scheduler.admission.learned.active
    assert run.scheduler.wait(run.now) is None


def test_what_the_server_serves_is_said():
    """While a run waits for its pace, it knows the rate."""
    _, run = limited("silent", 5)
    assert run.scheduler.admission.learned.rate == pytest.approx(5, rel=0.2)


# The evidence.


def test_the_same_share_at_another_pace_is_chance():
    """A limit lets in the same number a second."""
    fast = Share(100, 67, 400.0)
    assert chance_over_limit(fast, Share(30, 20, 100.0)) > 2.3
    assert chance_over_limit(fast, Share(30, 0, 100.0)) < -2.3
    slow = Share(30, 20, 100.0)
    assert chance_over_limit(slow, Share(100, 67, 400.0)) > 2.3
    assert chance_over_limit(slow, Share(100, 92, 400.0)) < -2.3


def test_a_send_without_a_refusal_was_let_in():
    """After a while; a refusal that comes later still counts, as does that of an earlier send."""
    record = Record(9, 0.0)
    for at in (0.0, 0.1, 0.2):
        record.sent(at)
    record.refuse(11, 0.1)
    record.settle(0.1)
    assert (record.settled, record.refused, record.settled_until.send) == (2, 1, 11)
    record.refuse(10, 0.0)
    assert not record.refuse(7, -0.3)
    assert (record.settled, record.refused, record.sends) == (2, 2, 3)
