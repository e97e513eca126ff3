"""What the scheduler decides for a row, a key, a model and a run."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from scheduler_simulation import Row, Simulation, fault, ok, status

from tablenodes.engine import policy
from tablenodes.engine.calls import Answer
from tablenodes.engine.fresh import Fresh
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.outcomes.rules import Failure
from tablenodes.engine.scheduling import Scheduler
from tablenodes.engine.scheduling.admission import Admission
from tablenodes.engine.scheduling.attempts import Done
from tablenodes.settings import Limits, Retry

NEVER = Retry(row_deadline=30 * 86_400)


def scheduler(retry=None, chance=0.5, **limits):
    return Scheduler(Limits(**limits), retry or Retry(), random=lambda: chance)


def verdict(code=200, headers=b"", body=b'{"choices":[{}],"usage":{"total_tokens":10}}', **more):
    return judge(Answer(0, code, headers + b"content-length: 1\r\n" if code else b"", body if code else b"", **more))


OK = verdict()


def attempt(plan, key, now, answer, *, sends=1, model=None, seconds=0.0):
    plan.started(key, now)
    return plan.answered(key, answer, sends, now + seconds, model)


def failures(rows, server, key=0, **more):
    """Run a table and give when `key` was started, as seconds from the first start."""
    run = Simulation(rows, server, **more).run()
    first = run.starts[0].at
    return run, [start.at - first for start in run.starts if start.key == key]


# Room.


def test_the_window_is_the_concurrency():
    """As many calls as the limit says are in flight, and the machine may allow fewer."""
    plan = scheduler(concurrency=3)
    assert plan.room(0.0) == 3
    plan.started(0, 0.0)
    assert (plan.room(0.0), plan.in_flight) == (2, 1)
    plan.cap(1)
    assert plan.room(0.0) == 0
    assert plan.answered(0, OK, 1, 0.1) == Done(0, OK, 1, False, 0.0)
    assert plan.room(0.1) == 1
    assert Scheduler(Limits(), Retry(), random=float, capacity=7).room(0.0) == 7
    assert Scheduler(Limits(concurrency=3), Retry(), random=float, capacity=0).room(0.0) == 1


def test_a_probe_needs_a_place_too():
    """Where the machine allows fewer calls than are in flight, not even a probe goes."""
    plan = scheduler(concurrency=10)
    for key in range(10):
        plan.started(key, 0.0)
    plan.cap(5)
    for key in range(5):
        plan.answered(key, verdict(503), 1, 0.1)
    assert (plan.room(9.0), plan.wait_until(9.0)) == (0, 3600.0)  # when they are given up
    plan.answered(5, verdict(503), 1, 9.0)
    assert plan.room(9.0) == 1


def test_nothing_changes_by_itself_while_the_window_is_full():
    """Then only an answer can; with a place free and nothing due there is nothing to wait for either."""
    plan = scheduler(concurrency=1)
    assert plan.wait_until(0.0) is None
    plan.started(0, 0.0)
    assert plan.wait_until(0.0) is None


def test_a_call_may_take_what_is_left_of_its_rows_time():
    """The deadline runs from the first start."""
    plan = scheduler(Retry(row_deadline=100))
    assert plan.started(0, 1000.0) == 100
    assert plan.answered(0, verdict(500), 1, 1030.0) is None
    assert plan.started(plan.next_retry(1040.0), 1040.0) == 60


# Retries by kind.


@pytest.mark.parametrize(
    ("answer", "limit"),
    [
        (fault("connect", reached=False), "not_executed"),
        (status(429), "throttled"),
        (status(500), "server_error"),
        (fault("reset"), "ambiguous"),
    ],
)
@pytest.mark.parametrize("most", [0, 1, 3])
def test_each_kind_of_failure_has_its_own_count(answer, limit, most):
    """A row is tried once, and again as often as its kind allows."""
    retry = Retry(**{limit: most})
    if limit != "ambiguous" and most == 0:
        retry = Retry(**{limit: 0}, ambiguous=1)
    run = Simulation(1, lambda now, key: answer, retry=retry).run()
    assert len(run.starts) == 1 + most
    assert run.scheduler.retries[limit] == most
    assert run.outcomes != ["ok"]


def test_kinds_are_counted_apart_and_attempts_together():
    """A row that fails in turns uses up one count at a time, and `max_attempts` ends it."""
    turns = [status(500), fault("connect"), status(429)]

    def server(now, key):
        server.calls += 1
        return turns[server.calls % 3]

    server.calls = 0
    run = Simulation(1, server, retry=Retry(max_attempts=9)).run()
    assert (len(run.starts), run.done[0].attempts) == (9, 9)


def test_a_final_failure_is_sent_once():
    """Nothing would change."""
    run = Simulation(3, lambda now, key: status(400)).run()
    assert (len(run.starts), run.outcomes) == (3, ["http_error"] * 3)


def test_a_row_that_recovers_is_ok_and_counts_its_sends():
    """The numbers tell the first try from the others."""
    run = Simulation(2, lambda now, key: ok() if key or now > 1000.1 else status(500)).run()
    assert run.outcomes == ["ok", "ok"]
    assert (run.done[0].attempts, run.done[1].attempts) == (2, 1)
    assert (run.scheduler.first_try, run.scheduler.sent, run.scheduler.retries["server_error"]) == (1, 3, 1)


def test_the_deadline_ends_a_row_before_a_wait_that_is_too_long():
    """No wait is begun whose end comes too late."""
    run, starts = failures(1, lambda now, key: status(429, b"retry-after: 40\r\n"), retry=Retry(row_deadline=100))
    assert len(starts) == 3
    assert run.seconds < 100


def test_the_deadline_ends_a_row_that_waits_for_others():
    """A row whose time runs out at a gate that others shut comes out as it is."""
    plan = scheduler(Retry(row_deadline=50), concurrency=2)
    plan.started(1, 0.0)
    assert attempt(plan, 0, 0.0, verdict(500)) is None
    assert plan.answered(1, verdict(429, b"retry-after: 60\r\n"), 1, 0.1).verdict.outcome == "rate_limited"
    assert plan.room(60.2) == 1
    assert plan.next_retry(60.2) is None
    assert [done.verdict.outcome for done in plan.take_ended()] == ["http_error"]
    assert plan.take_ended() == []


def test_backoff_doubles_under_full_jitter():
    """Without a word from the server, chance spreads the retries under a doubling limit."""
    _, starts = failures(1, lambda now, key: status(500), latency=lambda chance: 0.0, seed=3)
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert len(gaps) == 4
    for number, gap in enumerate(gaps):
        assert 0.05 <= gap <= 0.5 * 2**number


def test_a_delay_on_a_server_error_is_the_rows_alone():
    """A 500 that names a delay is not sent before it; the others go on."""
    plan = scheduler()
    assert attempt(plan, 0, 0.0, verdict(500, b"retry-after: 7\r\n")) is None
    assert plan.room(0.0) > 0
    assert plan.next_retry(6.9) is None
    assert 7.0 <= plan.wait_until(6.9) <= 8.0
    assert plan.next_retry(8.0) == 0


def test_a_delay_on_a_server_error_that_is_too_long_ends_the_row_alone():
    """It would not be sent earlier, and nobody waits so long."""
    plan = scheduler()
    done = attempt(plan, 0, 0.0, verdict(500, b"retry-after: 301\r\n"))
    assert (done.verdict.outcome, done.verdict.retry_after) == ("http_error", 301.0)
    assert plan.stopped is None


def test_a_dead_connection_is_repeated_at_once_and_once():
    """The second time it waits as any failure that reached nobody."""
    _, starts = failures(1, lambda now, key: fault("reset", reused=True), latency=lambda chance: 0.0)
    assert starts[1] == starts[0]
    assert starts[2] - starts[1] >= 0.05
    assert len(starts) == 6


def test_dead_connections_are_no_outage():
    """After a restart of the server all idle connections are dead, and the server is well."""
    run = Simulation(
        200,
        lambda now, key: fault("reset", reused=True) if run.begun[key] < 1 else ok(),
        limits=Limits(concurrency=8),
    )
    run.run()
    assert run.count("ok") == 200
    assert run.scheduler.seconds_paused == 0


# Throttling.


def test_a_delay_pauses_everybody():
    """Nothing is sent before it has passed, whoever was told; the row itself comes a little later."""
    plan = scheduler()
    assert attempt(plan, 0, 0.0, verdict(429, b"retry-after: 2\r\n")) is None
    assert (plan.room(1.999), plan.wait_until(0.0)) == (0, 2.0)
    assert plan.room(2.0) > 0
    assert plan.next_retry(2.0) is None
    assert plan.wait_until(2.0) == pytest.approx(2.1)
    assert plan.next_retry(2.2) == 0


def test_the_longest_delay_counts():
    """A shorter one that comes later opens nothing."""
    plan = scheduler()
    plan.started(1, 0.0)
    attempt(plan, 0, 0.0, verdict(429, b"retry-after: 5\r\n"))
    plan.answered(1, verdict(429, b"retry-after: 1\r\n"), 1, 0.1)
    assert plan.wait_until(0.1) == 5.0


def test_without_a_delay_one_row_asks_while_the_others_wait():
    """The row itself waits from half a second to one second; a tenth of a second later, another may ask."""
    plan = scheduler(chance=1.0)
    attempt(plan, 0, 0.0, verdict(429))
    room = [plan.room(plan.wait_until(0.0)), plan.room(0.2)]
    assert room == [0, 1]
    assert (plan.next_retry(0.99), plan.next_retry(1.0)) == (None, 0)


def test_a_row_that_nobody_serves_waits_ever_longer():
    """Each time it is throttled without a word, and nobody is served, twice as long, up to a minute."""
    run, starts = failures(1, lambda now, key: status(429), latency=lambda chance: 0.0)
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert len(gaps) == 10
    for number, gap in enumerate(gaps):
        longest = min(60.0, 2.0**number)
        assert longest / 2 <= gap <= longest + 10
    assert run.count("rate_limited") == 1


def test_a_refusal_while_others_are_served_costs_its_row_nothing():
    """Of a wave that is refused it costs one row one of its `throttled`, and only where nobody is served."""
    refused: Counter[int] = Counter()

    def server(now, key):
        refused[key] += 50 <= key < 53
        return status(429) if 0 < refused[key] < 8 else ok()

    run = Simulation(100, server, Limits(concurrency=2), Retry(throttled=3, max_attempts=4)).run()
    assert run.count("ok") == 100
    assert run.begun[50] == 8
    wave = Simulation(4, lambda now, key: status(429) if now < 1000.5 else ok(), Limits(concurrency=4)).run()
    assert sorted(row.attempts for row in wave.done.values())[:2] == [2, 2]
    plan = scheduler(concurrency=4, retry=Retry(throttled=1))
    for key in range(4):
        plan.started(key, 0.0)
    assert [plan.answered(key, verdict(429, b"retry-after: 1\r\n"), 1, 0.1) for key in range(4)] == [None] * 4
    plan.started(0, 2.0)
    assert plan.answered(0, verdict(429), 1, 2.1).attempts == 2
    plan.started(1, 2.2)
    assert plan.answered(1, verdict(429), 1, 2.3) is None


def test_a_delay_that_is_too_long_ends_the_run():
    """It is neither slept through nor cut short: a later run resumes."""
    run = Simulation(50, lambda now, key: status(429, b"retry-after: 86400\r\n"), limits=Limits(concurrency=4)).run()
    assert run.scheduler.stopped == "rate_limited"
    assert run.seconds < 1
    assert (run.count("rate_limited"), run.count("not_sent")) == (4, 46)
    assert run.done[0].verdict.retry_after == 86400.0


def test_a_throttle_that_forbids_a_retry_still_pauses_the_others():
    """The delay was said to everybody."""
    plan = scheduler()
    done = attempt(plan, 0, 0.0, verdict(429, b"retry-after: 3\r\nx-should-retry: false\r\n"))
    assert done.verdict.kind is Failure.FINAL
    assert plan.wait_until(0.0) == 3.0


def test_a_row_that_is_put_off_again_and_again_waits_longer():
    """A server that names the moment of its next free place to everybody uses up no row."""
    _, starts = failures(1, lambda now, key: status(429, b"retry-after-ms: 1\r\n"), latency=lambda chance: 0.0)
    assert len(starts) == 11
    assert starts[-1] > 1


def test_after_an_outage_fewer_go_and_then_more_again():
    """0.7 of the window, and one more for each window of successes."""
    plan = scheduler(concurrency=10)
    for key in range(10):
        attempt(plan, key, 0.0, judge(Answer(0, None, b"", b"", fault="connect")))
    assert plan.room(1.0) == 1
    sizes = []
    for key in range(11, 51):
        attempt(plan, key, 1.0, OK)
        sizes.append(plan.room(1.0))
    assert sizes == [7] * 6 + [8] * 8 + [9] * 9 + [10] * 17


def test_after_a_pause_one_goes_ahead():
    """The others follow once it was not refused for as long as a refusal takes."""
    plan = scheduler(concurrency=10)
    for key in range(5):
        plan.started(key, 0.0)
    for key in range(5):
        plan.answered(key, verdict(429, b"retry-after: 1\r\n"), 1, 0.1)
    assert (plan.room(1.0), plan.room(1.1)) == (0, 1)
    plan.started(9, 1.1)
    assert (plan.room(1.1), plan.wait_until(1.1)) == (0, pytest.approx(1.32, abs=0.05))
    assert plan.room(1.37) == 1


# Circuits.


REFUSAL = b'{"error":{"message":"no"}}'
SPENT = b'{"error":{"code":"insufficient_quota"}}'


@pytest.mark.parametrize(
    ("code", "body", "reason"),
    [(401, b"", "auth"), (403, REFUSAL, "auth"), (402, REFUSAL, "quota"), (429, SPENT, "quota"), (403, SPENT, "quota")],
)
def test_five_refusals_in_a_row_and_a_fresh_row_stop_the_run(code, body, reason):
    """The key is refused for every row: at most one window, the count and the probe are sent."""
    for concurrency in (1, 8, 64):
        run = Simulation(500, lambda now, key: status(code, body=body), limits=Limits(concurrency=concurrency)).run()
        assert run.scheduler.stopped == reason
        assert len(run.starts) <= concurrency + 6
        assert run.count("not_sent") == 500 - len(run.starts)


def test_a_refusal_among_successes_is_the_rows_own():
    """A key that is being rotated fails a row, and the others go on."""
    run = Simulation(100, lambda now, key: status(401) if key % 5 == 0 else ok(), limits=Limits(concurrency=1)).run()
    assert run.scheduler.stopped is None
    assert (run.count("auth"), run.count("ok")) == (20, 80)


def test_a_success_sets_the_count_of_refusals_back():
    """After one it takes twenty in a row, or as many as are in flight, for it was no bad key until then."""
    plan = scheduler(concurrency=4)
    for key in range(60):
        attempt(plan, key, 0.0, OK if key % 20 == 0 else verdict(401))
    assert (plan.stopped, plan.room(0.0)) == (None, 4)
    attempt(plan, 60, 0.0, verdict(401))
    assert (plan.stopped, plan.room(0.0)) == (None, 1)


def test_rows_that_wait_end_with_a_run_that_refusals_stop():
    """With what they have: nothing more is sent."""
    plan = scheduler()
    attempt(plan, 0, 0.0, verdict(500))
    for key in range(1, 7):
        assert plan.stopped is None
        attempt(plan, key, 0.0, verdict(429, body=SPENT))
    assert plan.stopped == "quota"
    ended = {each.key: each.verdict.outcome for each in plan.take_ended()}
    assert ended == {0: "http_error"} | dict.fromkeys(range(1, 7), "quota_exhausted")
    assert (plan.room(9.0), plan.wait_until(9.0), plan.waiting) == (0, None, 0)


def test_a_missing_model_stops_its_own_rows():
    """After five refusals and five leap probes its rows are not sent; those of other models are."""
    missing = b'{"error":{"code":"model_not_found"}}'
    run = Simulation(
        200,
        lambda now, key: ok() if key % 2 else status(404, body=missing),
        model=lambda key: "good" if key % 2 else "gone",
        limits=Limits(concurrency=2),
    ).run()
    assert run.scheduler.stopped is None
    assert run.count("ok") == 100
    assert run.count("http_error") <= 5 + 5 + 1
    assert len(run.blocked) == 100 - run.count("http_error")


@pytest.mark.parametrize("concurrency", [1, 4, 64])
@pytest.mark.parametrize("order", ["first", "middle", "shuffled"])
def test_rows_refused_like_a_missing_model_stop_no_others(order, concurrency):
    """A row may be refused so for what it holds: others of its model are answered, wherever they stand."""
    missing = b'{"error":{"code":"model_not_found"}}'
    bad = {"first": range(300), "middle": range(200, 500), "shuffled": random.Random(3).sample(range(600), 300)}[order]
    run = Simulation(
        600,
        lambda now, key: status(404, body=missing) if key in set(bad) else ok(),
        model=lambda key: "m",
        limits=Limits(concurrency=concurrency),
    ).run()
    assert (run.count("ok"), run.count("http_error")) == (300, 300)


@pytest.mark.parametrize("seed", range(20))
def test_a_leap_for_a_model_finds_its_rows_and_loses_none(seed):
    """Whatever lies between them: each comes out once, and none of another model."""
    chance = random.Random(seed)
    models = [chance.choice("ab") for _ in range(chance.choice((0, 1, 5, 40)))]
    rows = (Row(key, b'{"model": "%s"}' % model.encode()) for key, model in enumerate(models))
    fresh, found, leapt = Fresh(rows, lambda row: row, lambda: 2**30), [], []
    while True:
        if chance.random() < 0.5:
            row, is_last = fresh.leap(chance.choice((1, 4, 16, 64)), "a")
            leapt += [] if row is None else [row.key]
            assert is_last or row is not None
        else:
            row = fresh.next()
            found += [] if row is None else [row.key]
            if row is None:
                break
    assert sorted(found + leapt) == list(range(len(models)))
    assert {models[key] for key in leapt} <= {"a"}


def test_rows_that_go_behind_all_others_are_kept_by_their_bytes():
    """As those are that a leap goes over: beyond so many, a row is sent in its turn."""
    body = bytes(policy.MOST_SKIPPED_BYTES // 4)
    fresh = Fresh((Row(key, body) for key in range(6)), lambda row: row, lambda: 2**30, lambda row: True)
    assert [row.key for row in iter(fresh.next, None)] == [4, 5, 0, 1, 2, 3]


def test_a_model_that_answers_is_not_missing():
    """Only refusals in a row count, and only those of a row that names its model."""
    plan = scheduler()
    missing = verdict(404, body=b'{"error":{"code":"model_not_found"}}')
    for key in range(20):
        attempt(plan, key, 0.0, OK if key % 5 == 4 else missing, model="m")
        attempt(plan, 100 + key, 0.0, missing)
    assert "m" not in plan.circuits.missing_models
    attempt(plan, 20, 0.0, missing, model="other")
    for key in range(21, 26):
        attempt(plan, key, 0.0, OK, model="m")
        attempt(plan, key + 20, 0.0, missing, model="other")
    assert plan.circuits.suspected_model == "other"
    for key in range(50, 54):
        attempt(plan, key, 0.0, OK if key == 50 else missing, model="m" if key == 50 else "other")
    assert "other" not in plan.circuits.missing_models
    attempt(plan, 55, 0.0, missing, model="other")
    assert "other" in plan.circuits.missing_models


# Spending.


@pytest.mark.parametrize("code", [200, 500])
@pytest.mark.parametrize("before", [0, 7, 30])
def test_no_more_requests_than_allowed(code, before):
    """Retries, silent repeats and earlier runs are counted, to the request."""
    run = Simulation(
        50,
        lambda now, key: ok() if code == 200 else status(code),
        limits=Limits(max_requests=20, concurrency=8),
        sent_before=before,
        repeats=0.3,
    ).run()
    assert run.begun.total() == max(0, 20 - before)
    assert run.scheduler.stopped == "max_requests"


def test_requests_that_were_never_begun_are_given_back():
    """A refused connection costs no request."""
    run = Simulation(
        10,
        lambda now, key: fault("connect", reached=False) if now < 1001 else ok(),
        limits=Limits(max_requests=10, concurrency=2),
    ).run()
    assert run.count("ok") == 10


def test_tokens_end_the_run_when_they_are_spent():
    """Nothing new is sent; what is in flight comes to its end."""
    run = Simulation(100, lambda now, key: ok(), limits=Limits(token_budget=95, concurrency=4)).run()
    assert run.scheduler.stopped == "token_budget"
    assert 10 <= run.count("ok") <= 13
    assert run.scheduler.tokens == 10 * run.count("ok")
    assert scheduler(token_budget=0).stopped == "token_budget"


def test_a_transport_repeats_a_request_only_where_that_is_allowed():
    """The first send of a call always may go; another one within the row's limits."""
    plan = scheduler(Retry(not_executed=2, max_attempts=4))
    plan.started(0, 0.0)
    assert [plan.may_send(0) for _ in range(5)] == [True, True, True, False, False]
    assert plan.answered(0, verdict(500, sends=3), 3, 0.1) is None
    assert plan.retries["not_executed"] == 2
    plan.started(plan.next_retry(1.0), 1.0)
    assert [plan.may_send(0), plan.may_send(0)] == [True, False]
    plan.started(1, 1.0)
    assert plan.may_send(1)
    plan.stop("interrupted")
    assert not plan.may_send(1)


def test_at_most_once_repeats_nothing_that_may_have_run():
    """Neither by a transport nor by the scheduler; what was refused before its execution is tried again."""
    retry = Retry(ambiguous=0)
    plan = scheduler(retry)
    plan.started(0, 0.0)
    assert [plan.may_send(0), plan.may_send(0)] == [True, False]
    for answer in (status(500), status(503), fault("reset"), fault("reset", reused=True), ok() | {"body": b""}):
        run = Simulation(1, lambda now, key, answer=answer: answer, retry=retry).run()
        assert len(run.starts) == 1
    assert len(Simulation(1, lambda now, key: status(429), retry=retry).run().starts) == 11
    assert len(Simulation(1, lambda now, key: fault("connect", reached=False), retry=retry).run().starts) == 6


def test_what_may_be_billed_is_said():
    """An attempt whose answer was lost may be billed, also where a later one is ok."""
    run = Simulation(2, lambda now, key: ok() if key or now > 1000.1 else fault("reset")).run()
    assert [run.done[key].maybe_billed for key in (0, 1)] == [True, False]


# Stopping.


def test_a_stop_sends_nothing_more_and_loses_nothing():
    """Rows that wait come out as they are; calls in flight come to their end and are not repeated."""
    run = Simulation(100, lambda now, key: status(500), interrupt_at=0.07, limits=Limits(concurrency=4)).run()
    assert run.scheduler.stopped == "interrupted"
    assert all(start.at <= 1000.07 for start in run.starts)
    assert run.count("http_error") + run.count("not_sent") == 100


def test_the_first_reason_to_stop_stays():
    """What comes later did not stop it."""
    plan = scheduler()
    plan.stop("journal")
    plan.stop("interrupted")
    assert plan.stopped == "journal"


def test_a_row_that_could_not_be_started_waits_on_or_ends():
    """It is due at once; after a stop it ends with the verdict that it has."""
    plan = scheduler(chance=0.0)
    attempt(plan, 0, 0.0, verdict(500))
    assert plan.next_retry(1.0) == 0
    plan.put_back(0, 1.0)
    assert plan.next_retry(1.0) == 0
    plan.stop("journal")
    plan.put_back(0, 1.0)
    assert [done.key for done in plan.take_ended()] == [0]


def test_a_pause_that_outlasts_every_row_is_waited_for_once():
    """Each further one would cost a row and bring none to a good end."""
    impatient = Retry(row_deadline=3)
    run = Simulation(
        40, lambda now, key: status(429, b"retry-after: 20\r\n"), limits=Limits(concurrency=1), retry=impatient
    ).run()
    assert (run.scheduler.stopped, len(run.starts)) == ("rate_limited", 2)
    assert (run.count("rate_limited"), run.count("not_sent")) == (2, 38)
    assert run.seconds < 21


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_server_that_serves_again_after_such_a_pause_is_asked_on(concurrency):
    """However often it pauses; and a row whose calls overlapped with the first refusal is no second one."""
    turns = []

    def server(now, key):
        turns.append(now)
        return status(429, b"retry-after: 20\r\n") if now - 1000.0 < 1 or 30 < now - 1000.0 < 31 else ok()

    run = Simulation(
        40, server, limits=Limits(concurrency=concurrency), retry=Retry(row_deadline=3), latency=lambda chance: 0.9
    ).run()
    assert run.scheduler.stopped is None
    assert run.count("ok") >= 40 - 2 * concurrency


def test_no_delay_at_all_outlasts_no_row():
    """Also where rows have no time for a second attempt."""
    admission = Admission(Limits(), Retry(row_deadline=0))
    assert not any(admission.note_pause(0.0, at, at + 1) for at in (1.0, 3.0, 5.0))
    assert [admission.note_pause(1.0, at, at + 1) for at in (1.0, 3.0, 5.0)] == [False, True, True]


def test_a_row_with_less_time_than_the_others_ends_with_its_last_answer():
    """At its own deadline, also where it waits for something else than its retry."""
    left = {0: 2.0, 1: 900.0}
    plan = Scheduler(Limits(concurrency=2), Retry(), random=lambda: 0.5, seconds_left=left.__getitem__)
    plan.started(0, 0.0)
    plan.started(1, 0.0)
    assert plan.answered(0, verdict(503), 1, 0.1) is None
    assert plan.answered(1, verdict(429, b"retry-after: 12\r\n"), 1, 0.2) is None
    assert plan.wait_until(0.2) == 2.1
    assert plan.room(2.0) == 0
    assert plan.take_ended() == []
    assert plan.room(2.1) == 0
    assert [(done.key, done.verdict.outcome) for done in plan.take_ended()] == [(0, "http_error")]
    assert plan.waiting == 1


def test_a_row_whose_pause_outlasts_its_own_time_ends_at_once():
    """There is nothing to wait for."""
    plan = Scheduler(Limits(), Retry(), random=lambda: 0.5, seconds_left=lambda row: 2.0)
    done = attempt(plan, 0, 0.0, verdict(429, b"retry-after: 12\r\n"))
    assert done.verdict.outcome == "rate_limited"
