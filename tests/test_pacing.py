"""How fast calls are started: by the pace of the settings, and by the allowances that servers tell."""

from __future__ import annotations

import itertools
import math

import pytest
from scheduler_simulation import Simulation, fault, ok, status

from tablenodes.engine.outcomes.rules import Failure
from tablenodes.engine.response_head import RateLimit
from tablenodes.engine.scheduling.allowance import Allowance, Mark
from tablenodes.engine.scheduling.pace import Pace, Pacing
from tablenodes.settings import Limits


def between(low, high):
    return lambda chance: chance.uniform(low, high)


def most_within(times, seconds):
    """Return the most of `times`, which are in order, that lie within so many seconds."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


class Server:
    """Answers as a server does that limits a rate and tells so, in one of the ways servers know.

    ``bucket`` fills steadily and tells the time until it is full, ``window`` is full again at once and tells when,
    ``next`` fills steadily and tells the time until the next place, ``silent`` fills steadily and tells nothing.
    """

    def __init__(self, way, limit, per_second, subject=b"requests", use=lambda key: 1, names_delay=False):
        self.way, self.limit, self.per_second = way, limit, per_second
        self.subject, self.use, self.names_delay = subject, use, names_delay
        self.left, self.at, self.began = float(limit), None, None
        self.period = limit / per_second

    def __call__(self, now, key):
        self.refill(now)
        units = self.use(key)
        good = self.left >= units
        self.left -= units if good else 0
        headers = b"" if self.way == "silent" else self.told(now)
        if not good:
            wait = max(1, int((units - self.left) / self.per_second * 1000))
            return status(429, headers + (b"retry-after-ms: %d\r\n" % wait if self.names_delay else b""))
        answer = ok(headers)
        if units > 1:
            answer["body"] = answer["body"].replace(b'"total_tokens":10', b'"total_tokens":%d' % units)
        return answer

    def refill(self, now):
        if self.at is None:
            self.at = self.began = now
        if self.way == "window":
            if int((now - self.began) / self.period) > int((self.at - self.began) / self.period):
                self.left = float(self.limit)
        else:
            self.left = min(self.limit, self.left + (now - self.at) * self.per_second)
        self.at = now

    def told(self, now):
        reset = {
            "bucket": (self.limit - self.left) / self.per_second,
            "window": self.period - (now - self.began) % self.period,
            "next": (1 - self.left % 1) / self.per_second,
        }[self.way]
        written = b"%dms" % (reset * 1000) if reset < 1 else b"%dm%.3fs" % divmod(reset, 60)
        names = (b"limit", b"remaining", b"reset")
        values = (b"%d" % self.limit, b"%d" % self.left, written)
        return b"".join(
            b"x-ratelimit-%s-%s: %s\r\n" % (name, self.subject, value)
            for name, value in zip(names, values, strict=True)
        )


def share_refused(run):
    return sum(answer.status == 429 for _, _, answer, _ in run.answers) / len(run.answers)


# What a server tells is kept to.


@pytest.mark.parametrize("seed", [0, *(pytest.param(more, marks=pytest.mark.slow) for more in (1, 2))])
@pytest.mark.parametrize("latency", [(0.005, 0.01), (0.04, 0.06), (0.1, 0.3), (0.3, 0.7)])
@pytest.mark.parametrize("names_delay", [False, True])
def test_a_steady_run_is_hardly_ever_refused(latency, names_delay, seed):
    """40 requests a second, 40 at once, told in the headers: at least 0.9 of it is used, under 4 % are refused."""
    server = Server("bucket", 40, 40.0, names_delay=names_delay)
    run = Simulation(600, server, Limits(concurrency=64), latency=between(*latency), seed=seed).run()
    assert run.count("ok") == 600
    assert 600 / run.seconds >= 0.9 * 40
    assert share_refused(run) < 0.04


@pytest.mark.parametrize(("way", "share"), [("window", 0.9), ("next", 0.95)])
@pytest.mark.parametrize("latency", [(0.005, 0.01), (0.04, 0.06)])
def test_other_ways_of_telling_are_understood(way, share, latency):
    """Whether a server fills up steadily or at once, and whichever reset it means."""
    run = Simulation(1200, Server(way, 40, 40.0), Limits(concurrency=64), latency=between(*latency)).run()
    assert run.count("ok") == 1200
    assert 1200 / run.seconds >= share * 40
    assert share_refused(run) < 0.04


@pytest.mark.parametrize("way", ["bucket", "window"])
def test_an_allowance_of_a_minute_lasts_for_slow_answers(way):
    """500 a minute and answers of seconds, the common case: next to nothing is refused."""
    run = Simulation(3000, Server(way, 500, 500 / 60), latency=between(1, 5)).run()
    assert run.count("ok") == 3000
    assert share_refused(run) < 0.01
    assert run.seconds <= 1.25 * 300


@pytest.mark.parametrize("estimate", [lambda key: 0, lambda key: 1000, lambda key: 4000, lambda key: 250])
def test_tokens_are_paced_however_well_they_are_guessed(estimate):
    """An estimate that is off, or none: what the server counts is what matters."""
    server = Server("bucket", 200_000, 200_000 / 60, b"tokens", lambda key: 500 + key * 7919 % 1000)
    run = Simulation(1000, server, latency=between(0.3, 0.7), tokens=estimate).run()
    assert run.count("ok") == 1000
    assert share_refused(run) < 0.04
    assert run.seconds <= 1.2 * 800_000 / (200_000 / 60)


@pytest.mark.parametrize("names_delay", [False, True])
def test_a_server_that_tells_nothing_is_borne_with(names_delay):
    """Then pauses and a smaller window are all there is; every row still comes through."""
    server = Server("silent", 40, 40.0, names_delay=names_delay)
    run = Simulation(600, server, latency=between(0.04, 0.06)).run()
    assert run.count("ok") == 600
    assert 600 / run.seconds >= 0.85 * 40


def test_a_server_that_stops_telling_sets_free():
    """Its last word would else bind for ever."""
    told = [
        b"x-ratelimit-limit-requests: 1\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 50s\r\n"
    ]
    run = Simulation(500, lambda now, key: ok(told[0] if key < 2 else b""), Limits(concurrency=4)).run()
    assert run.count("ok") == 500
    assert run.seconds < 60


def test_an_allowance_of_one_is_waited_for():
    """One request a period: none is lost, none is refused twice."""
    run = Simulation(10, Server("window", 1, 0.1), Limits(concurrency=4), latency=between(0.01, 0.02)).run()
    assert run.count("ok") == 10
    assert share_refused(run) < 0.5


def test_a_question_that_gets_no_answer_is_asked_again():
    """A call that asks how much is left may fail without a word about it."""
    told = b"x-ratelimit-limit-requests: 9\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1s\r\n"

    def server(now, key):
        if run.begun.total() % 3 == 2:
            return status(500)
        return fault("connect", reached=False) if now % 1 < 0.2 else ok(told)

    run = Simulation(20, server, Limits(concurrency=3))
    run.run()
    assert len(run.done) == 20
    assert run.count("ok") > 15


def test_headers_that_tell_of_no_allowance_change_nothing():
    """A name without a number is no allowance."""
    pacing = Pacing()
    pacing.answered(pacing.started(0.0, 0), b"x-ratelimit-remaining-requests: many\r\n", None, 0, 0.1, kind=None)
    assert not pacing.active


# A pace of our own.


@pytest.mark.parametrize("per_minute", [30.0, 600.0, 3000.0])
def test_requests_keep_their_pace(per_minute):
    """Never more in any minute than asked for and a tenth of a second's burst; and hardly fewer."""
    rows = int(per_minute * 2.5)
    run = Simulation(rows, lambda now, key: ok(), Limits(requests_per_minute=per_minute, concurrency=500)).run()
    times = [start.at for start in run.starts]
    burst = max(1.0, per_minute / 600)
    assert most_within(times, 60 - 1e-6) <= per_minute + burst + 1
    assert most_within(times, 1e-6) <= burst + 1
    assert (rows - burst) / per_minute * 60 <= run.seconds + 1e-3 <= rows / per_minute * 60 + 1


def test_tokens_keep_their_pace():
    """What the server counted is what was spent, whatever was guessed."""
    for guess in (0, 2, 10, 40):
        run = Simulation(
            300, lambda now, key: ok(), Limits(tokens_per_minute=1200.0), tokens=lambda key, guess=guess: guess
        ).run()
        assert run.seconds == pytest.approx(150, rel=0.07)


def test_tokens_of_a_refused_call_are_given_back():
    """It was not executed, so it spent nothing."""
    run = Simulation(
        30,
        lambda now, key: status(429, b"retry-after-ms: 1\r\n") if key % 5 == 0 and not run.begun[key] else ok(),
        Limits(tokens_per_minute=600.0, concurrency=1),
        tokens=lambda key: 10,
    )
    run.run()
    assert run.count("ok") == 30
    assert run.seconds == pytest.approx(30, rel=0.1)


def test_a_pace_says_when_it_has_room():
    """And there is room at that very moment."""
    pace = Pace(60.0)
    assert (pace.room(5.0, 1.0), pace.ready_at()) == (1, -math.inf)
    pace.take(5.0, 1.0)
    assert (pace.room(5.5, 1.0), pace.ready_at(), pace.room(6.0, 1.0)) == (0, 6.0, 1)
    assert (Pace(6000.0).room(0.0, 1.0), Pace(6000.0).room(0.0, 4.0)) == (10, 3)


# One allowance, closely.


def mark(calls, at=0.0):
    return Mark(at, calls, float(calls), 1.0, 1.0)


def seen(remaining, *, limit=10.0, reset=4.0, calls=1, used=1.0, at=0.0, now=0.1):
    allowance = Allowance()
    allowance.observe(RateLimit(remaining, limit, reset), mark(calls, at), float(calls), used, 0.0, now)
    return allowance


def test_what_went_out_since_is_not_there_any_more():
    """The answer tells of the past: calls that were started after it count."""
    allowance = seen(7.0)
    assert allowance.room(0.2, 1.0, 1.0) == 6
    assert allowance.room(0.2, 5.0, 1.0) == 2


def test_calls_on_their_way_may_not_have_been_counted():
    """Sixty calls are sent at once; the first answer knows of few of them."""
    allowance = Allowance()
    allowance.observe(RateLimit(39.0, 40.0, 1.0), mark(60), 60.0, 64.0, 63.0, 0.05)
    assert allowance.room(0.06, 64.0, 1.0) == 0


def test_a_call_on_its_way_is_not_counted_twice():
    """Those that were started since are on their way as well."""
    allowance = Allowance()
    allowance.observe(RateLimit(39.0, 40.0, 1.0), mark(60), 60.0, 64.0, 4.0, 0.05)
    assert allowance.room(0.06, 64.0, 1.0) == 34


def test_news_of_an_older_call_is_old():
    """Answers overtake each other: the call that was started last knows most."""
    allowance = seen(3.0, at=10.0, calls=5, used=5.0, now=10.1)
    allowance.observe(RateLimit(9.0, 10.0, 4.0), mark(1, at=2.0), 1.0, 5.0, 0.0, 10.2)
    assert allowance.room(10.2, 5.0, 1.0) == 2


def test_nothing_left_is_asked_for_once_when_it_is_due():
    """One call goes when the time has passed that was named, and no other until it is answered."""
    allowance = seen(0.0)
    assert (allowance.room(4.0, 1.0, 1.0), allowance.ready_at(0.1, 1.0, 1.0)) == (0, 4.1)
    assert (allowance.room(4.1, 1.0, 1.0), allowance.ready_at(4.1, 1.0, 1.0)) == (1, 4.1)
    assert allowance.take(4.1, 2.0, 1.0)
    assert (allowance.room(99.0, 2.0, 1.0), allowance.ready_at(99.0, 2.0, 1.0)) == (0, math.inf)
    allowance.untold(mark(2), ok=False)
    assert allowance.room(99.0, 2.0, 1.0) == 1


def test_a_server_may_name_no_limit_and_no_reset():
    """What is left is enough to go by."""
    allowance = Allowance()
    assert allowance.ready_at(0.0, 0.0, 1.0) == 0.0
    allowance.observe(RateLimit(2.0), mark(1), 1.0, 1.0, 0.0, 0.1)
    assert allowance.room(0.2, 1.0, 1.0) == 1
    assert allowance.room(1.1, 3.0, 1.0) == 1


def test_a_refill_that_was_seen_is_counted_on():
    """A place that comes back each second is used when it is there, without being told of."""
    allowance = seen(0.0, calls=1, used=1.0)
    for calls, at in enumerate([1.0, 2.0, 3.0], start=2):
        allowance.observe(RateLimit(0.0, 10.0, 4.0), mark(calls, at), float(calls), float(calls), 0.0, at)
    ready = allowance.ready_at(3.0, 4.0, 1.0)
    assert 4.0 < ready < 5.0
    assert (allowance.room(ready - 0.01, 4.0, 1.0), allowance.room(ready, 4.0, 1.0)) == (0, 1)


def test_refusals_belie_what_was_believed():
    """First that it fills steadily, then that it is full at the reset: in the end only what was told is spent."""
    allowance = refuted()
    assert allowance.ready_at(3.2, 5.0, 1.0) == 7.0
    assert allowance.room(7.1, 5.0, 1.0) >= 1
    allowance.refused(mark(6, 3.1), 1.0, 3.3)
    assert allowance.room(7.1, 6.0, 1.0) >= 1, "a refusal of the same wave says nothing new"
    allowance.refused(mark(7, 7.1), 1.0, 7.2)
    assert (allowance.room(7.2, 7.0, 1.0), allowance.take(7.2, 8.0, 1.0)) == (1, True)
    allowance.refused(mark(8, 7.2), 1.0, 7.3)
    assert allowance.room(7.3, 8.0, 1.0) == 1


def refuted():
    """An allowance of which a refusal showed that it does not fill steadily; five calls went out."""
    allowance = seen(0.0, calls=1, used=1.0)
    for calls, at in enumerate([1.0, 2.0, 3.0], start=2):
        allowance.observe(RateLimit(1.0, 10.0, 4.0), mark(calls, at), float(calls), float(calls), 0.0, at)
    allowance.refused(mark(5, 3.1), 1.0, 3.2)
    return allowance


def test_an_allowance_that_is_full_at_once_is_spread():
    """Evenly and a little faster, so that little is left over when it is renewed."""
    allowance = refuted()
    allowance.observe(RateLimit(8.5, 10.0, 4.0), mark(6, 5.0), 6.0, 6.0, 0.0, 5.0)
    assert allowance.room(5.0, 6.0, 1.0) == 1
    allowance.take(5.0, 7.0, 1.0)
    ready = allowance.ready_at(5.0, 7.0, 1.0)
    assert 5.3 < ready < 5.5
    assert (allowance.room(ready - 0.01, 7.0, 1.0), allowance.room(ready, 7.0, 1.0)) == (0, 1)


def test_an_allowance_that_is_full_at_once_is_full_when_it_says():
    """No question is needed: at the reset the whole of it is there, less what is on its way."""
    allowance = refuted()
    assert allowance.room(7.0, 5.0, 1.0) == 1
    sent = 5
    now = 7.0
    while now < 11.0:
        if allowance.room(now, float(sent), 1.0):
            sent += 1
            allowance.take(now, float(sent), 1.0)
        now = allowance.ready_at(now, float(sent), 1.0)
    assert 5 + 7 <= sent <= 5 + 10


def test_a_reset_that_is_far_too_soon_is_none_of_all():
    """A server may name the time of its next place: then only what it told is spent."""
    allowance = seen(0.0, calls=1, used=1.0, reset=0.1)
    for calls, at in enumerate([1.0, 2.0, 3.0], start=2):
        allowance.observe(RateLimit(0.0, 10.0, 0.1), mark(calls, at), float(calls), float(calls), 0.0, at)
    allowance.refused(mark(5, 3.1), 1.0, 3.2)
    assert allowance.room(4.0, 5.0, 1.0) == 1
    assert allowance.take(4.0, 6.0, 1.0)
    assert allowance.room(9.0, 6.0, 1.0) == 0


def test_failures_that_reached_nobody_use_nothing():
    """A refused connection leaves the allowance as it is."""
    pacing = Pacing()
    told = b"x-ratelimit-limit-requests: 10\r\nx-ratelimit-remaining-requests: 5\r\nx-ratelimit-reset-requests: 9s\r\n"
    pacing.answered(pacing.started(0.0, 0), told, None, 0, 0.1, kind=None)
    room = pacing.room(0.1)
    for _ in range(3):
        pacing.answered(pacing.started(0.2, 0), None, None, 0, 0.3, kind=Failure.NOT_EXECUTED)
    assert pacing.room(0.3) == room
    lost = pacing.started(0.4, 0)
    pacing.answered(pacing.started(0.4, 0), told, None, 1, 0.5, kind=None)
    pacing.answered(lost, None, None, 0, 0.6, kind=Failure.NOT_EXECUTED)
    assert pacing.room(0.6) == 3


@pytest.mark.parametrize("subject", ["requests", "tokens"])
def test_an_allowance_that_is_renewed_too_late_stops_the_run(subject):
    """Nobody waits in silence for longer than for a delay of the server's; but it must refuse five in a row."""
    told = b"x-ratelimit-remaining-%b: 0\r\nx-ratelimit-reset-%b: 301s\r\n" % ((subject.encode(),) * 2)
    answers = itertools.chain([ok(told), ok(told)], itertools.repeat(status(429, told)))
    run = Simulation(9, lambda now, key: next(answers), limits=Limits(concurrency=2)).run()
    assert (run.scheduler.stopped, run.count("ok")) == ("rate_limited", 2)
    assert run.count("rate_limited") + run.count("not_sent") == 7
    assert run.seconds < 10
    assert 7 <= len(run.starts) < 10
    assert 299 < run.scheduler.asked_to_wait <= 301


@pytest.mark.parametrize("subject", ["requests", "tokens"])
def test_a_server_that_refuses_nobody_is_not_given_up(subject):
    """Whatever it says of an allowance."""
    told = b"x-ratelimit-remaining-%b: 0\r\nx-ratelimit-reset-%b: 301s\r\n" % ((subject.encode(),) * 2)
    run = Simulation(9, lambda now, key: ok(told), limits=Limits(concurrency=2)).run()
    assert (run.scheduler.stopped, run.count("ok")) == (None, 9)
    assert run.seconds < 5


def test_an_allowance_that_is_renewed_in_time_is_waited_for():
    """And a run that has no row left has not been stopped by one that is not."""
    told = b"x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: %ds\r\n"
    run = Simulation(4, lambda now, key: ok(told % 299), limits=Limits(concurrency=2)).run()
    assert (run.scheduler.stopped, run.count("ok")) == (None, 4)
    run = Simulation(2, lambda now, key: ok(told % 3000), limits=Limits(concurrency=2)).run()
    assert (run.scheduler.stopped, run.count("ok")) == (None, 2)


def test_a_bucket_that_is_full_much_later_is_drawn_from_as_it_fills():
    """The time that it names is that of the whole; what comes back before it was seen to."""
    run = Simulation(1100, Server("bucket", 1000, 2.0), limits=Limits(concurrency=16)).run()
    assert run.scheduler.stopped is None
    assert run.count("ok") == 1100
    assert run.seconds < 100
