"""How many calls may start, and when: the window, the server's pauses, its outages and its pace together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .. import policy
from ..outcomes.rules import Failure
from .attempts import MOST_DOUBLINGS
from .learned_rate import LearnedRate
from .pace import Pacing

if TYPE_CHECKING:
    from ...settings import Limits, Retry
    from ..outcomes.judge import Verdict
    from .lease import Rate


class Window:
    """How many calls may be in flight: fewer after an outage, more again with each success.

    `size` is how many there may be now, from 1 to `limit`.
    """

    __slots__ = ("_successes", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = self.size = limit
        self._successes = 0

    def cap(self, limit: int) -> None:
        """Lower the limit for good."""
        self.limit = max(1, min(self.limit, limit))
        self.size = min(self.size, self.limit)

    def widen(self) -> None:
        """Count a success: as many as there are places make one more."""
        self._successes += 1
        if self._successes >= self.size and self.size < self.limit:
            self.size += 1
            self._successes = 0

    def reopen(self) -> None:
        """Start again after an outage."""
        self.size = min(self.size, max(1, int(self.limit * policy.WINDOW_AFTER_OUTAGE)))
        self._successes = 0


class ClosedTime:
    """How long nothing could be sent; what two gates closed together counts once."""

    __slots__ = ("_sum", "_until")

    def __init__(self) -> None:
        self._sum = 0.0
        self._until = -math.inf

    def add(self, since: float, until: float) -> None:
        """Count the time from `since` to `until`; a later call must not begin earlier."""
        self._sum += max(0.0, until - max(since, self._until))
        self._until = max(self._until, until)

    def seconds(self, now: float, shut_since: float) -> float:
        """Return the sum up to now, for a gate that has been shut since `shut_since` too."""
        not_yet = max(0.0, self._until - now)
        return self._sum - not_yet + max(0.0, now - max(shut_since, self._until))


class Outage:
    """The gate before a server that answers nobody: while it is shut, one probe at a time goes through.

    The server is probed for `patience` seconds. `probe` is the key of the row that is probing right now, `next_probe`
    the time from which the next probe may go. `leaps_left` are the probes that come soon after each other: where a
    server answers with errors, it may be that only those rows fail that were sent, and a row from further on tells.
    After them fresh rows, which may all be bad, and rows that wait probe in turns: `owes_retry` says whose turn it is.
    A probe that fails of something new says that something changed: once more probes come soon, of both kinds.
    """

    __slots__ = (
        *(
            "_closed",
            "_failing_since",
            "_failures",
            "_is_changed",
            "_outcomes",
            "_probes",
            "_rows",
            "_threshold",
            "_times",
        ),
        *("_lookups", "is_shut", "leaps_left", "next_probe", "owes_retry", "patience", "probe", "shut_at"),
    )

    def __init__(self, patience: float, closed: ClosedTime) -> None:
        self._closed = closed
        self.patience = patience
        self._rows: set[int] = set()
        self._outcomes: set[str] = set()  # of what failed since the last answer
        self._is_changed = False
        self._times = self._threshold = 1
        self._failing_since = -math.inf
        self._failures = self._probes = self.leaps_left = 0
        self.shut_at = -math.inf
        self.is_shut = self.owes_retry = False
        self.probe: int | None = None
        self.next_probe = -math.inf
        self._lookups: list[float] | None = []  # None once a name was found; else the times of the next look-ups

    def note_name(self, *, found: bool, now: float) -> None:
        """Shut the gate where a name is not found that never was: it is looked up a few times more.

        Once it was found, and is not again, it is the network that is down.
        """
        if found:
            self._lookups = None
        elif self._lookups is not None and not self.is_shut:
            self.is_shut = True
            self.shut_at = now
            self._lookups = [now + seconds for seconds in policy.NAME_TRIES]
            self.leaps_left = 0
            self._plan(now)

    @property
    def is_nameless(self) -> bool:
        """Whether a name was never found, and is looked up again."""
        return self.is_shut and self._lookups is not None

    def failed(self, row: int | None, outcome: str, threshold: int, now: float) -> None:
        """Count a failure that may be an outage's; `threshold` of them without an answer between shut the gate.

        Where the server answered with an error it may be the fault of the `row`, which counts once; None where nobody
        was reached.
        """
        if not self._failures:
            self._failing_since = now
        self._failures += row is None or row not in self._rows
        self._outcomes.add(outcome)
        if row is not None:
            self._rows.add(row)
        self._threshold = threshold * self._times
        if not self.is_shut and self._failures >= self._threshold:
            self.is_shut = True
            self.shut_at = now
            self._probes = 0
            self.leaps_left = policy.LEAPS_AT_ONCE if self._rows else 0
            self._plan(now)

    def room(self, now: float, in_flight: int, room: int) -> int:
        """Return how many of `room` calls may go: if those in flight fail too, no more than it takes to shut the gate.

        That is so for a second after the first failure: what takes longer to fail is none of them.
        """
        if not self._failures or now >= self.doubted_until:
            return room
        return max(0, min(room, self._threshold - self._failures - in_flight))

    @property
    def doubted_until(self) -> float:
        """Until when the calls in flight are taken for failing ones."""
        return self._failing_since + policy.DOUBT

    def begin_probe(self, key: int, *, again: bool) -> None:
        """Note the row that is probing, and whether it was tried before."""
        self.probe = key
        if again and not self._is_changed:
            self.leaps_left = 0
        self.owes_retry = not again and (self._is_changed or not self.leaps_left)

    def probe_failed(self, outcome: str, now: float) -> bool:
        """Plan the next probe; return whether patience has ended instead."""
        self.probe = None
        if outcome not in self._outcomes:
            self._outcomes.add(outcome)
            self._is_changed, self._probes, self.leaps_left = True, 0, policy.LEAPS_AT_ONCE
        over = not self._lookups if self._lookups is not None else now >= self.shut_at + self.patience
        self._plan(now)
        return over

    def answered(self, now: float) -> bool:
        """Record that the server answers; return whether that ended an outage, and it was not the rows that failed."""
        self._rows.clear()
        self._outcomes.clear()
        self._failures = 0
        self._lookups = None
        if not self.is_shut:
            return False
        was_rows = self.leaps_left > 0 and not self._is_changed
        if was_rows:
            self._times = min(policy.MOST_PATIENCE, 2 * self._times)
        self.is_shut = self.owes_retry = self._is_changed = False
        self.probe = None
        self._closed.add(self.shut_at, now)
        return not was_rows

    def seconds_shut(self, now: float) -> float:
        """Return the time for which nothing could be sent up to now, that of a gate that is still shut included."""
        return self._closed.seconds(now, self.shut_at if self.is_shut else now)

    def _plan(self, now: float) -> None:
        """Set the next probe; the last one goes when patience ends."""
        if self._lookups is not None and self.is_shut:
            self.next_probe = self._lookups.pop(0) if self._lookups else now
            return
        if self.leaps_left:
            self.leaps_left -= 1
            delay = policy.BETWEEN_LEAPS
        else:
            delay = min(policy.PROBE_LONGEST, policy.PROBE_FIRST * 2.0 ** min(self._probes, MOST_DOUBLINGS))
            self._probes += 1
        self.next_probe = max(now, min(now + delay, self.shut_at + self.patience))


class Admission:
    """All that stands between a row and its call; it may outlast a run, for what a server said holds for the next too.

    `paused_until` is the end of the longest pause that the server has asked for, `served_at` when it served somebody
    last. `learned` is the rate that a share leases, where several processes have one. `leaves_early` says that another
    server takes the rows of this one: fewer failures shut its gate.
    """

    __slots__ = (
        *(
            "_charged_at",
            "_closed",
            "_hopeless_since",
            "_refuses_since",
            "_retry",
            "learned",
            "leaves_early",
            "outage",
            "pacing",
            "paused_until",
        ),
        *("served_at", "window"),
    )

    def __init__(self, limits: Limits, retry: Retry, learned: Rate | None = None) -> None:
        self._retry = retry
        self._closed = ClosedTime()
        self._hopeless_since = math.inf
        self.window = Window(limits.concurrency)
        self.outage = Outage(retry.outage_patience, self._closed)
        self.pacing = Pacing(limits.requests_per_minute, limits.tokens_per_minute)
        self.learned: Rate = learned or LearnedRate()
        self.leaves_early = False
        self.paused_until = -math.inf
        self.served_at = self._refuses_since = self._charged_at = -math.inf

    # How many, and when.

    def room(self, now: float, in_flight: int) -> int:
        """Return how many calls may start right now."""
        if now < self.paused_until:
            return 0
        room = self.window.size - in_flight
        if self.outage.is_shut:
            waits = self.outage.probe is not None or now < self.outage.next_probe
            room = 0 if waits else min(1, self.window.limit - in_flight)
        elif room > 0:
            room = self.outage.room(now, in_flight, room)
        if self.pacing.active and room > 0:
            room = min(room, self.pacing.room(now))
        if self.learned.active and room > 0:
            room = min(room, self.learned.room(now))
        return max(0, room)

    def opens_at(self, now: float, in_flight: int) -> float | None:
        """Return from when there is room, now or later; None where only an answer makes room."""
        opens = max(now, self.paused_until)
        if self.outage.is_shut:
            if self.outage.probe is not None or in_flight >= self.window.limit:
                return None
            opens = max(opens, self.outage.next_probe)
        elif in_flight >= self.window.size:
            return None
        elif not self.outage.room(now, in_flight, 1):
            opens = max(opens, self.outage.doubted_until)
        return max(opens, self.paced_until(now))

    @property
    def puts_off_until(self) -> float:
        """The time before which no row is sent again, wherever it goes."""
        return -math.inf if self.leaves_early else self.paused_until

    def paced_until(self, now: float) -> float:
        """Return from when the paces let a call start: ours, that of the server's allowances, and the one learned."""
        ready = self.pacing.ready_at(now) if self.pacing.active else now
        return max(ready, self.learned.ready_at(now)) if self.learned.active else ready

    def told_to_wait(self, now: float) -> float:
        """Return the seconds until the server's allowance lets anything pass, if more than a run waits; else 0."""
        seconds = self.pacing.told_wait(now) if self.pacing.active else 0.0
        return seconds if seconds > self._retry.max_retry_after else 0.0

    def seconds_closed(self, now: float) -> float:
        """Return the seconds for which nothing could start, up to now."""
        return self.outage.seconds_shut(now)

    # What answers change.

    def refused(self, call: int, started_at: float, now: float, delay: float | None) -> None:
        """Learn from a call that the server refused; start nothing for as long as it asks to wait."""
        if self._refuses_since == -math.inf:
            self._refuses_since = now
        self.learned.refused(call, started_at, now, delay, self.pacing.history(now))
        if delay is not None and now + delay > self.paused_until:
            self.learned.paused(delay, now + delay - max(now, self.paused_until))
            self.pause(now + delay, now)

    def pause(self, until: float, now: float) -> None:
        """Start nothing until then."""
        if until > max(now, self.paused_until):
            self.paused_until = until
            if not self.outage.is_shut:
                self._closed.add(now, until)

    def failed(self, row: int, verdict: Verdict, failing: int, begun: int, now: float) -> None:
        """Count a failure that may be an outage's, with so many rows failing of those begun; refusals if they last."""
        threshold = max(policy.OUTAGE_FAILURES, self.window.limit)
        if verdict.kind is Failure.THROTTLED:
            if not self.quiet(now, policy.SERVED_NOBODY):
                return
            threshold = 1 if failing >= min(threshold, max(policy.OUTAGE_FAILURES, begun)) else threshold
        reached = None if verdict.kind is Failure.NOT_EXECUTED else row
        if self.leaves_early and reached is None:
            threshold = policy.OUTAGE_FAILURES
        self.outage.failed(reached, verdict.outcome, threshold, now)

    def heeded(self, verdict: Verdict, now: float) -> bytes | None:
        """Return what an answer tells of allowances; nothing where it asks for a delay too, which comes first."""
        refused = verdict.kind is Failure.THROTTLED and verdict.retry_after is not None
        return None if refused and not self.quiet(now, policy.SERVED_LATELY) else verdict.told

    def is_charged(self, started_at: float, now: float) -> bool:
        """Check whether a refusal counts against its row: one of a wave, and only while nobody is served."""
        served = self.served_at > -math.inf and not self.quiet(now, policy.SERVED_LATELY)
        if served or started_at < self._charged_at:
            return False
        self._charged_at = now
        return True

    def quiet(self, now: float, seconds: float) -> bool:
        """Check whether a server that refuses has served nobody for so long."""
        return now - max(self.served_at, self._refuses_since) > seconds

    def note_pause(self, delay: float, started_at: float, now: float) -> bool:
        """Return whether the server asks for a longer pause than a run waits, for a call that started at `started_at`.

        One that outlasts the time of every row is waited for once: if the server asks for such a pause again after it,
        and has served nobody, then each would cost a row. The first such pause is noted: ask once an answer.
        """
        if delay > self._retry.max_retry_after:
            return True
        if delay < self._retry.row_deadline or not delay:  # no delay outlasts nothing, be the deadline 0
            return False
        again = started_at > self._hopeless_since
        self._hopeless_since = min(self._hopeless_since, now)
        return again

    def reopen(self, now: float) -> None:
        """Record that the server answers."""
        self._hopeless_since = math.inf
        if self.outage.answered(now):
            self.window.reopen()
            self._closed.add(now, max(now, self.paused_until))
