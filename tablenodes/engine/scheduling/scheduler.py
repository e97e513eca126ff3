"""What to do next: which row is sent when, which is tried again, and when to stop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import policy
from ..outcomes.rules import HEARD, Failure
from .admission import Admission
from .allowance import Mark, Sent
from .attempts import Attempts, Done, Turns, backoff, most_failures, server_delay, throttle
from .circuits import Circuits
from .stops import Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from ...settings import Limits, Retry
    from ..outcomes.judge import Verdict


_OUTAGE_KINDS = frozenset((Failure.NOT_EXECUTED, Failure.THROTTLED, Failure.SERVER_ERROR))  # many in a row: an outage
_REFUSALS = (Failure.FINAL, Failure.UNUSABLE)
_new: Any = tuple.__new__  # a named tuple's own constructor takes three times as long


class Scheduler:
    """Decides for all rows of a run; without input or output, and with no clock or chance of its own.

    A row is fresh, in flight, waiting or done. What is asked at which moment:

    - before calls start: `room`, then for each place `next_retry`, or a fresh row where that returns none: `leap`
      says how many places further on, `circuits` of which model, and is told of it; while it `is_probing`, a fresh row
      before a row that is tried again;
    - as a call starts: `started`; as its transport starts each send: `may_send`;
    - with its answer: `answered`, which returns the row's end, or keeps the row for another attempt;
    - then: `take_ended`, the rows that ended without an answer, or whose answer means something only now;
    - before it sleeps: `wait_until`; with nothing in flight: `give_up_waiting`; at the end: `finish`;
    - for a person who watches: `wait`.

    Each step costs O(log n) at most. Times are seconds of one clock that never goes back.

    `random` returns a number from 0 to 1. With `at_most_once`, by default where ``retry.ambiguous`` is 0, nothing is
    repeated that may have been executed. `sent_before` are the requests that earlier runs have sent, for
    ``limits.max_requests``; `capacity` the most calls in flight that the machine allows; `seconds_left` returns the
    seconds that a row has left, where that may be less than ``retry.row_deadline``. `answered_before` says whether a
    row was answered in an earlier run. `admission` is that of an earlier run, which has ended.
    """

    def __init__(
        self,
        limits: Limits,
        retry: Retry,
        *,
        random: Callable[[], float],
        at_most_once: bool | None = None,
        sent_before: int = 0,
        capacity: int | None = None,
        seconds_left: Callable[[int], float] | None = None,
        answered_before: Callable[[], bool] = bool,
        admission: Admission | None = None,
    ) -> None:
        self._seconds_left = seconds_left
        self._retry, self._random = retry, random
        self._at_most_once = retry.ambiguous == 0 if at_most_once is None else at_most_once
        self._most_failures = most_failures(retry, at_most_once=self._at_most_once)
        self._most = None if limits.max_requests is None else limits.max_requests - sent_before
        self._budget = math.inf if limits.token_budget is None else limits.token_budget
        self._in_flight: dict[int, Sent] = {}
        self._granted: dict[int, int] = {}
        self.repeats, self._may_grow = 0, False  # sends that a transport has repeated; whether `_most` may grow
        self._rows: dict[int, Attempts] = {}  # those that have failed, in flight again or waiting
        self._waiting = Turns(retry.row_deadline)
        self._largest, self._ended = 0.0, list[Done]()  # the tokens of the largest row that was answered
        self.admission = admission or Admission(limits, retry)
        self._window, self._pacing = self.admission.window, self.admission.pacing
        self._learned, self._outage = self.admission.learned, self.admission.outage
        self._now = 0.0
        self.circuits = Circuits(limits.stop_after_alike, answered_before)
        self._failing = True  # until the first success; from then on, whether one has anything to put back
        self._recoveries = self._refusals = 0  # successes after failures; refusals since the last answer
        self.stopped: str | None = None  # why nothing is sent any more: one of `stops.NOT_SENT_BECAUSE`
        self.stopped_by = ""  # the words of the last refusal, where refusals stopped it
        self.asked_to_wait = 0.0  # seconds until the server's allowance is renewed, where that is why it has stopped
        self.sent = self.tokens = self.first_try = 0  # sends that were answered, their tokens, rows ``ok`` with one
        self.retries = {kind.value: 0 for kind in Failure if kind is not Failure.FINAL}  # by the kind of failure before
        if capacity is not None:
            self._window.cap(capacity)
        self._stop_if_spent()

    is_holding = False  # whether fresh calls are held back though others may start

    def room(self, now: float) -> int:
        """Return how many calls may start right now; 0 where it must wait, or has stopped."""
        self._now = now
        if self._rows and now >= self._waiting.soonest_end:
            self._end(self._waiting.pop_late(now))
        if self.stopped is not None:
            return 0
        room = self.admission.room(now, len(self._in_flight))
        if self.circuits.trial is not None:
            room = self.circuits.room(room, self._waiting.next_due, now)
        return room if self._most is None else max(0, min(room, self._unreserved()))

    def next_retry(self, now: float, *, fresh: bool = False) -> int | None:
        """Return the row that is due for its next attempt; None where there is none, or a `fresh` one goes first.

        Ask only if there is room.
        """
        if not self._rows:
            return None
        if fresh and self.is_probing and not (self._outage.owes_retry or self.circuits.asks_waiting):
            return None
        return self._waiting.pop(now, fresh=fresh and not self.is_probing, is_idle=not self._in_flight)

    @property
    def is_probing(self) -> bool:
        """Whether one call at a time goes, to learn whose fault failures are."""
        return self._failing and (self._outage.is_shut or self.circuits.trial is not None)

    @property
    def leap(self) -> int:
        """How many places further on the next fresh row is to be; 0 for the next one."""
        if not self._failing or not (self.is_probing or self.circuits.suspects_rows):
            return 0
        return int(min(policy.LEAP ** (self.circuits.leaps + 1), policy.LONGEST_LEAP))

    def put_back(self, key: int, now: float) -> None:
        """Undo `next_retry` for a row that could not be started after all; once stopped, it ends as it is."""
        self._waiting.add(key, now, self._rows[key])
        if self.stopped is not None:
            self._end(self._waiting.pop_late(math.inf))

    def started(self, key: int, now: float, tokens: int = 0, body: bytes = b"") -> float:
        """Record that a call started, of about `tokens` tokens (0 where nobody knows).

        Returns the seconds that are left for this row, the longest that the call may take.
        """
        self._in_flight[key] = self._pacing.started(now, tokens)
        if self._learned.active:
            self._learned.sent(now)
        if self._failing:
            self._begin_probe(key)
        row = self._rows.get(key) if self._rows else None
        if row is None:
            self._waiting.fresh += 1
            return self._retry.row_deadline
        self.retries[row.kind.value] += 1
        return max(policy.SHORTEST_WAIT, row.ends_at - now)

    def _begin_probe(self, key: int) -> None:
        """Note the row that is probing, where one is to."""
        if self._outage.is_shut:
            self._outage.begin_probe(key, again=key in self._rows)
        if self.circuits.trial is not None:
            self.circuits.trial.probe = key

    def may_send(self, key: int) -> bool:
        """Check whether a transport may start a send; it asks before each one of a call, the first one too.

        A transport that repeats a request by itself is counted so, and stopped where a repeat is not allowed.
        """
        if granted := self._granted.get(key, 0):
            if not self._may_repeat(key, granted):
                return False
            self.repeats += 1
        self._granted[key] = granted + 1
        return True

    def _may_repeat(self, key: int, granted: int) -> bool:
        """Check whether a call of which `granted` sends started may start one more."""
        row = self._rows.get(key)
        tries = granted if row is None else granted + row.tries
        return (
            not self._at_most_once
            and self.stopped is None
            and granted <= self._retry.not_executed
            and tries < self._retry.max_attempts
            and (self._most is None or self._unreserved() > 0)
        )

    def answered(self, key: int, verdict: Verdict, sends: int, now: float, model: str | None = None) -> Done | None:
        """Record what an answer means, after `sends` starts of its request.

        Returns the row's end; None where the row is kept, and comes out of `next_retry` later. `model` is the one that
        was asked, so that a model that the server does not know stops its own rows only.
        """
        at, _, _, _, guess = sent = self._in_flight.pop(key)
        self.sent += sends
        granted = self._granted.pop(key, 0) if self._granted else 0
        if granted > 1 or sends > 1:
            self.repeats -= max(0, granted - 1)
            self.retries[Failure.NOT_EXECUTED.value] += max(0, sends - 1)
        if (tokens := verdict.total_tokens) is not None:
            self.tokens += tokens
        kind = verdict.kind
        if self._pacing.active or verdict.told is not None:
            in_flight, told = len(self._in_flight), self.admission.heeded(verdict, now)
            self._pacing.answered(sent, told, tokens, in_flight, now, kind=kind)
        if self._most is not None or self.tokens >= self._budget:
            self._stop_if_spent()
        if kind is None or kind is Failure.UNUSABLE:  # the server is well: it answered
            self._largest = guess if guess > self._largest else self._largest
            self.admission.served_at = now
            if self._failing:
                self._recovered(key, verdict, model, at, now)
            if self._window.size < self._window.limit:
                self._window.widen()
            if key not in self._rows and (kind is None or not self._retry.unusable):
                self.first_try += kind is None and sends == 1
                return _new(Done, (key, verdict, sends, verdict.may_have_run, at))  # type: ignore[no-any-return]
        return self._settle(key, Mark(*sent), verdict, sends, now, model)

    def _recovered(self, key: int, verdict: Verdict, model: str | None, started_at: float, now: float) -> None:
        """Record a success after failures."""
        self.admission.reopen(now)
        self.circuits.succeeded(key, verdict, model, started_at)
        if self.circuits.held:
            self._release(self.circuits.cleared(started_at))
        self._recoveries += 1
        if verdict.kind is not None:
            self._count_refusal(key, verdict, model, now)
        self._failing, self._refusals = self.circuits.is_counting, 0

    def _settle(self, key: int, mark: Mark, verdict: Verdict, sends: int, now: float, model: str | None) -> Done | None:
        """Bring a row to its end, or keep it for another attempt."""
        row = self._rows.pop(key, None) or Attempts(mark.at, self._ends_at(key, mark.at, now))
        row.add(verdict, sends, mark.at)
        row.call = mark.calls
        due = None if verdict.kind is None else self._failed(key, row, verdict.kind, sends, now)
        if verdict.kind not in (None, Failure.UNUSABLE) and self._is_held(key, row, model, now):
            return None
        if due is None or self.stopped is not None or max(due, self.admission.puts_off_until) >= row.ends_at:
            return row.done(key)
        self._rows[key] = row
        if row.is_too_large(mark.guess, self._largest):
            self._waiting.add_alone(key)
        else:
            self._waiting.add(key, due, row)
        return None

    def _is_held(self, key: int, row: Attempts, model: str | None, now: float) -> bool:
        """Count a refusal; return whether its row has no end yet, for nobody knows whose fault it is."""
        self._rows[key] = row
        held = self._count_refusal(key, row.verdict, model, now)
        if not held:
            del self._rows[key]
        return held

    def _count_refusal(self, key: int, verdict: Verdict, model: str | None, now: float) -> bool:
        """Count what may be a refusal, and stop where it shows that all are; return whether its row is held."""
        circuits = self.circuits
        is_probe = circuits.trial is not None and circuits.trial.probe == key
        held = verdict.kind in _REFUSALS and circuits.refused(key, verdict, model, self._window.limit, now)
        waits = self._waiting.next_due is not None
        if is_probe and (reason := circuits.probed(verdict, model, is_waited_for=waits)) is not None:
            self.stop(reason, circuits.words)
        elif circuits.trial is None and (is_probe or self.stopped is not None):
            self._release(circuits.take_held())
        return held

    def _release(self, held: dict[int, Verdict]) -> None:
        """End rows that were held: it is known by now whose fault it was, or nobody will know."""
        for key, verdict in held.items():
            row = self._rows.pop(key)
            row.verdict = verdict
            self._ended.append(row.done(key))

    def _ends_at(self, key: int, first_at: float, now: float) -> float:
        """Return when a row's time is over that began with its first attempt."""
        ends_at = first_at + self._retry.row_deadline
        return ends_at if self._seconds_left is None else min(ends_at, now + self._seconds_left(key))

    def _failed(self, key: int, row: Attempts, kind: Failure, sends: int, now: float) -> float | None:
        """Learn from a failure; return when the row may go again, None where it may not."""
        if kind is Failure.UNUSABLE:
            return now if row.again(sends, self._most_failures, self._retry.max_attempts) else None
        self._failing = True
        self._refusals += kind is Failure.THROTTLED
        row.kind = kind
        is_probe = self._outage.probe == key and kind in _OUTAGE_KINDS and self._most_failures[kind] > 0
        reconnects = row.verdict.stale_connection and not row.reconnected and not is_probe
        charged = not is_probe  # a probe's failure says something about the server, nothing about its row
        if kind is Failure.THROTTLED:
            row.refusals += 1
            charged &= not self._most_failures[kind] or self.admission.is_charged(row.started_at, now)
        if charged:
            row.count(kind, sends)
        due = self._next_attempt(row, kind, now, charged=charged)
        row.failed_after = self._recoveries if row.failed_after is None else row.failed_after
        # A row that failed before others were answered says nothing of the server any more, unless nobody is reached.
        counts = not reconnects and (kind is Failure.NOT_EXECUTED or row.failed_after == self._recoveries)
        self._watch_server(key, row, now, counts=counts)
        if is_probe:
            return self._outage.next_probe if row.verdict.retry_after is None else due
        if row.is_used_up(self._most_failures, self._retry.max_attempts):
            return None
        if reconnects:
            row.reconnected = True
            return now
        return due

    def _next_attempt(self, row: Attempts, kind: Failure, now: float, *, charged: bool) -> float | None:
        """Return when the server's delay, or ours, lets a row go again; pause all rows where the server asks that.

        None where it would be later than a run waits; if that goes for all rows, the run stops.
        """
        delay = row.verdict.retry_after
        failures = row.failures.get(kind, 1)
        of_all = row.verdict.circuit is None
        if kind is Failure.THROTTLED or (row.verdict.outcome == "rate_limited" and of_all):
            if delay is not None and self.admission.note_pause(delay, row.started_at, now):
                self.stop("rate_limited")
                return None
            self.admission.refused(row.call, row.started_at, now, delay)
            return now + throttle(delay, failures if charged else 0, row.refusals, self._random)
        if delay is None:
            return now + backoff(failures, self._random)
        return now + server_delay(delay, failures, self._random) if delay <= self._retry.max_retry_after else None

    def _watch_server(self, key: int, row: Attempts, now: float, *, counts: bool) -> None:
        """Shut the gate before a server that answers nobody, probe it, open the gate again."""
        outage = self._outage
        outage.note_name(found=row.verdict.circuit != "name", now=now)
        if row.kind is Failure.FINAL or (outage.probe == key and row.verdict.outcome in HEARD):
            self.admission.reopen(now)
            return
        if outage.probe == key and outage.probe_failed(row.verdict.outcome, now):
            self.stop("dns" if outage.is_nameless else "outage")
        if counts and row.kind in _OUTAGE_KINDS:
            begun = len(self._in_flight) + len(self._waiting) + len(self.circuits.held) + 1
            self.admission.failed(key, row.verdict, len(self._rows) + 1, begun, now)

    def take_ended(self) -> list[Done]:
        """Return, once, the rows that have ended without an answer: their time ran out, or the run stopped."""
        ended, self._ended = self._ended, []
        return ended

    def abandon(self, key: int) -> tuple[int, float | None]:
        """Record that nobody waits for a call's answer; return the sends that count, and when its first started."""
        mark, row = self._in_flight.pop(key, None), self._rows.get(key)
        sends = max(1, self._granted.pop(key, 0))
        self.sent += sends
        return sends, row.began_at if row is not None else mark and mark[0]

    def stop(self, reason: str, words: str = "") -> None:
        """Send nothing any more. Rows that wait for a retry end with the verdict that they have."""
        if self.stopped is None:
            self.stopped, self.stopped_by = reason, words
        self._end(self._waiting.pop_late(math.inf))
        self._release(self.circuits.take_held())

    def finish(self) -> None:
        """Record that nothing is left to send: a suspicion that nobody can look into any more is believed."""
        if self.stopped is None and (reason := self.circuits.believe()) is not None:
            self.stop(reason, self.circuits.words)
        self._release(self.circuits.take_held())

    def _end(self, keys: list[int]) -> None:
        """End rows without another attempt, with the verdicts that they have."""
        self._ended += [self._rows.pop(key).done(key) for key in keys]

    def _stop_if_spent(self) -> None:
        if self._most is not None and self.sent >= self._most and not self._may_grow:
            self.stop("max_requests")
        elif self.tokens >= self._budget:
            self.stop("token_budget")

    def grant(self, requests: int) -> None:
        """Set the sends that may be made to those that a share has granted so far: more may come."""
        self._most, self._may_grow = requests, True

    def _unreserved(self) -> int:
        """Return how many sends of `Limits.max_requests` are neither made nor kept for a call in flight."""
        return (self._most or 0) - self.sent - len(self._in_flight) - self.repeats

    def wait_until(self, now: float) -> float | None:
        """Return when something changes by itself; None where only an answer can change it."""
        spent = self.stopped is not None or (self._most is not None and self._unreserved() < 1)
        spent = spent or (self.circuits.trial is not None and self.circuits.trial.probe is not None)
        opens = None if spent else self.admission.opens_at(now, len(self._in_flight))
        due = now if self._waiting.goes_alone() and not self._in_flight else self._waiting.next_due
        changes = due if opens is not None and opens <= now else opens
        soonest = min(self._waiting.soonest_end, math.inf if changes is None else changes)
        return None if soonest == math.inf else soonest

    def give_up_waiting(self, now: float) -> None:
        """Stop where the server refuses, and renews an allowance later than a run waits; ask with nothing in flight.

        One that refuses nobody tells of an allowance that is none of ours, or drips back in: it is asked again.
        """
        seconds = self.admission.told_to_wait(now)
        if not seconds or self.stopped is not None:
            return
        if self._refusals >= policy.REFUSALS:
            self.asked_to_wait = seconds
            self.stop("rate_limited")
        else:
            self._pacing.disregard()

    def cap(self, capacity: int) -> None:
        """Have no more than `capacity` calls in flight, for the machine allows no more."""
        self._window.cap(capacity)

    def wait(self, now: float) -> Wait | None:
        """Return what the run waits for; None while calls go out, or answers to first attempts are on their way."""
        if self.stopped:
            return None
        admission, in_flight = self.admission, len(self._in_flight)
        why = self.trouble
        if self._outage.is_shut:
            return Wait("name" if self._outage.is_nameless else "outage", None, *why)
        if now < admission.paused_until:
            return Wait("pause", admission.paused_until, *why)
        if self._rows and in_flight + self.waiting <= len(self._rows) - len(self.circuits.held):
            return Wait("retry", None, *why)
        ready = now if in_flight else admission.paced_until(now)
        return Wait("pace", ready if ready < math.inf else None, rate=self._learned.rate) if ready > now else None

    @property
    def trouble(self) -> tuple[str | None, str]:
        """How the last row failed that goes again, and why, mostly in the server's words."""
        last = next(reversed(self._rows.values()), None)
        return (None, "") if last is None else (last.verdict.outcome, last.verdict.message)

    @property
    def waiting(self) -> int:
        """Rows that wait for their next attempt."""
        return len(self._waiting)

    @property
    def has_answers(self) -> bool:
        """Whether a row was answered in this run."""
        return self.circuits.answered

    @property
    def in_flight(self) -> int:
        """Calls that have started and are not answered."""
        return len(self._in_flight)

    @property
    def seconds_paused(self) -> float:
        """Seconds for which nothing could be sent, so far."""
        return self.admission.seconds_closed(self._now)

    @property
    def begun(self) -> Container[int]:
        """The rows of the calls in flight."""
        return self._in_flight
