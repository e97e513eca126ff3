"""Whatever fails when: what holds for every schedule of faults."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scheduler_simulation import Simulation, fault, ok, status

from tablenodes.engine.outcomes.rules import Failure
from tablenodes.settings import Limits, Retry

QUOTA = b'{"error":{"code":"insufficient_quota"}}'
ANSWERS = {
    "ok": ok(),
    "told": ok(
        b"x-ratelimit-limit-requests: 9\r\nx-ratelimit-remaining-requests: 1\r\nx-ratelimit-reset-requests: 3s\r\n"
    ),
    "slow": ok() | {"seconds": 45.0},
    "refused": fault("connect", reached=False),
    "dead": fault("reset", reused=True),
    "reset": fault("reset"),
    "silent": fault("timeout_first_byte", seconds=30.0),
    "empty": ok() | {"body": b""},
    "400": status(400),
    "401": status(401),
    "404": status(404, body=b'{"error":{"code":"model_not_found"}}'),
    "429": status(429),
    "429 soon": status(429, b"retry-after-ms: 20\r\n"),
    "429 later": status(429, b"retry-after: 7\r\n"),
    "429 told": status(429, b"x-ratelimit-remaining-requests: 0\r\n"),
    "429 tomorrow": status(429, b"retry-after: 86400\r\n"),
    "quota": status(429, body=QUOTA),
    "500": status(500),
    "500 later": status(500, b"retry-after: 3\r\n"),
    "503": status(503),
    "503 later": status(503, b"retry-after: 2\r\n"),
}
NAMES = sorted(ANSWERS)


@st.composite
def schedules(draw):
    """A table, its limits, and a server that changes its mood now and then."""
    seed = draw(st.integers(0, 2**32))
    chance = random.Random(seed)
    moods = draw(st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), min_size=1, max_size=4))
    changes = sorted(chance.uniform(0, 120) for _ in moods)
    healthy = draw(st.sampled_from([0.0, 0.5, 0.9]))

    def server(now, key):
        mood = moods[sum(now - 1000 > change for change in changes) % len(moods)]
        return ANSWERS["ok" if chance.random() < healthy else chance.choice(mood)]

    limits = Limits(
        concurrency=draw(st.sampled_from([1, 2, 5, 16])),
        max_requests=draw(st.none() | st.integers(0, 80)),
        token_budget=draw(st.none() | st.integers(0, 400)),
        requests_per_minute=draw(st.none() | st.sampled_from([60.0, 3000.0])),
        tokens_per_minute=draw(st.none() | st.sampled_from([600.0, 30_000.0])),
    )
    retry = Retry(
        not_executed=draw(st.integers(0, 5)),
        throttled=draw(st.integers(0, 5)),
        server_error=draw(st.integers(0, 4)),
        ambiguous=draw(st.integers(0, 2)),
        max_attempts=draw(st.integers(1, 12)),
        row_deadline=draw(st.sampled_from([5.0, 100.0, 3600.0])),
        outage_patience=draw(st.sampled_from([0.0, 20.0, 600.0])),
    )
    return Simulation(
        draw(st.integers(0, 40)),
        server,
        limits,
        retry,
        latency=lambda chance: chance.uniform(0.001, 0.3),
        seed=seed,
        sent_before=draw(st.integers(0, 5)),
        repeats=draw(st.sampled_from([0.0, 0.2])),
        model=lambda key: f"m{key % 2}",
        tokens=draw(st.sampled_from([lambda key: 0, lambda key: 10])),
        interrupt_at=draw(st.none() | st.floats(0, 30)),
    )


def check_every_rule(run):
    """Hold one finished run to all that is promised."""
    limits, retry, scheduler = run.limits, run.retry, run.scheduler
    started = {start.key for start in run.starts}
    assert set(run.done) == started, "every row that was begun has its end, and no other has one"
    if not scheduler.stopped:
        assert len(started) + len(run.blocked) == run.rows, "without a stop, every row was begun"
    assert run.peak <= limits.concurrency
    for key, done in run.done.items():
        assert done.attempts == run.begun[key], "attempts are the sends that the transport began"
        assert done.maybe_billed == any(v.may_have_run for _, k, _, v in run.answers if k == key)
    assert scheduler.sent == run.begun.total()
    if limits.max_requests is not None:
        assert run.begun.total() + run.sent_before <= max(limits.max_requests, run.sent_before)
    assert 0 <= scheduler.seconds_paused <= run.seconds + 1e-6
    check_counts(run, retry)
    check_delays(run, retry)


def check_counts(run, retry):
    """No row is tried more often than its kinds of failure allow; of a wave of refusals one row pays."""
    at_most_once = retry.ambiguous == 0
    most = {
        Failure.NOT_EXECUTED: retry.not_executed,
        Failure.THROTTLED: retry.throttled,
        Failure.SERVER_ERROR: 0 if at_most_once else retry.server_error,
        Failure.AMBIGUOUS: retry.ambiguous,
        Failure.FINAL: 0,
    }
    probes = {(start.key, number) for number, start in zip(numbers(run), run.starts, strict=True) if start.is_probe}
    counts: dict[tuple[int, Failure], int] = {}
    seen: dict[int, int] = {}
    for _, key, _, verdict in run.answers:
        seen[key] = seen.get(key, 0) + 1
        if verdict.kind is not None and (key, seen[key]) not in probes:
            counts[key, verdict.kind] = counts.get((key, verdict.kind), 0) + 1
    for (_, kind), count in counts.items():
        assert count <= 1 + most[kind] or (kind is Failure.THROTTLED and most[kind])
    if not probes and not any(kind is Failure.THROTTLED for _, kind in counts):
        assert all(count <= retry.max_attempts for count in run.begun.values())
    if at_most_once:
        assert all(sum(v.may_have_run for _, k, _, v in run.answers if k == key) <= 1 for key in run.done)


def numbers(run):
    """Return, for each start, which start of its row it is."""
    seen: dict[int, int] = {}
    for start in run.starts:
        seen[start.key] = seen.get(start.key, 0) + 1
        yield seen[start.key]


def check_delays(run, retry):
    """No row is sent before a delay that the server asked for has passed."""
    for at, key, _, verdict in run.answers:
        delay = verdict.retry_after
        if delay is None:
            continue
        everybody = verdict.kind is Failure.THROTTLED or verdict.outcome == "rate_limited"
        early = [start for start in run.starts if at < start.at < at + delay and (everybody or start.key == key)]
        assert not early
        if everybody and delay > retry.max_retry_after:
            assert run.scheduler.stopped


@given(schedules())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_every_schedule_keeps_every_promise(run):
    """Rows out are rows in, nothing is sent too early, too often or beyond a limit, and it ends."""
    check_every_rule(run.run())


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(schedules())
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_ten_thousand_schedules_keep_every_promise(run):
    """The same, for the claim."""
    check_every_rule(run.run())
