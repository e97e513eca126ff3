"""The attempts of rows: how often each may be tried, how long it waits for the next one, and the rows that wait."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, NamedTuple

from .. import policy
from ..outcomes.rules import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...settings import Retry
    from ..outcomes.judge import Verdict

MOST_DOUBLINGS = 30  # beyond it, every wait is at its limit anyway


_QUEUE_OF = {Failure.SERVER_ERROR: 1, Failure.AMBIGUOUS: 2}


class Done(NamedTuple):
    """A row that has come to its end: what its last answer meant, and the sends that were started for it.

    `maybe_billed` says whether any of them may have been executed without its answer being delivered, `began_at` when
    the first of them started.
    """

    key: int
    verdict: Verdict
    attempts: int
    maybe_billed: bool
    began_at: float


class Attempts:
    """The attempts of a row that has failed.

    `began_at` and `started_at` are when the first and the last of them started, `ends_at` when the row's time is over:
    nothing is sent for it then.
    `tries` count against `Retry.max_attempts`, `failures` against the limits of their kinds. `verdict` and `kind` are
    what the last answer meant, `call` its number among all calls, `refusals` how often the server refused it;
    `reconnected` says that the row had its immediate repeat after a dead connection; `failed_after` how often the
    server had recovered when it failed first.
    """

    __slots__ = (
        *("_maybe_billed", "_sends", "began_at", "call", "ends_at", "failed_after", "failures", "kind"),
        *("reconnected", "refusals", "started_at", "tries", "verdict"),
    )

    verdict: Verdict
    kind: Failure

    def __init__(self, began_at: float, ends_at: float) -> None:
        self.began_at, self.ends_at = began_at, ends_at
        self.failed_after: int | None = None
        self.started_at = -math.inf
        self.tries = self._sends = self.refusals = self.call = 0
        self.failures: dict[Failure, int] = {}
        self.reconnected = self._maybe_billed = False

    def add(self, verdict: Verdict, sends: int, started_at: float) -> None:
        """Record the end of one attempt."""
        self.verdict = verdict
        self.started_at = started_at
        self._sends += sends
        self._maybe_billed = self._maybe_billed or verdict.may_have_run

    def count(self, kind: Failure, sends: int) -> None:
        """Count the last attempt against the row; what a transport repeated by itself counts as well."""
        self.tries += max(1, sends)
        self.failures[kind] = self.failures.get(kind, 0) + 1

    def again(self, sends: int, most_failures: dict[Failure, int], max_attempts: int) -> bool:
        """Count an answer that could not be used; return whether the row may be asked again."""
        self.kind = Failure.UNUSABLE
        self.count(self.kind, sends)
        return not self.is_used_up(most_failures, max_attempts)

    def is_used_up(self, most_failures: dict[Failure, int], max_attempts: int) -> bool:
        """Check whether the row may not be tried again after its last failure."""
        return self.failures.get(self.kind, 0) > most_failures[self.kind] or self.tries >= max_attempts

    def is_too_large(self, tokens: float, largest: float) -> bool:
        """Check whether a row waits for the end: larger than all that were answered, it was throttled among them."""
        return self.kind is Failure.THROTTLED and self.refusals >= policy.THROTTLED_ALONE and tokens > largest > 0

    def done(self, key: int) -> Done:
        """Return the row's end, with what the last answer meant."""
        return Done(key, self.verdict, self._sends, self._maybe_billed, self.began_at)


class Waiting:
    """The rows that wait, in the order in which they are due, each until its own end.

    Of those that are due, the one goes first that was refused most often: a server that refuses each row a few times
    serves nobody else. `soonest_end`: no row's time is over before it; infinite where none waits.
    """

    __slots__ = ("_due", "_ready", "soonest_end")

    def __init__(self) -> None:
        self._due: list[tuple[float, int, float, int]] = []  # when, the row, its end, its refusals
        self._ready: list[tuple[int, float, int, float]] = []  # those that are due: refusals below 0 come first
        self.soonest_end = math.inf

    def __len__(self) -> int:
        return len(self._due) + len(self._ready)

    @property
    def next_due(self) -> float | None:
        """When the first of them is due; None where none waits."""
        if self._ready:
            return self._ready[0][1]
        return self._due[0][0] if self._due else None

    def add(self, key: int, due: float, ends_at: float, refusals: int = 0) -> None:
        """Have a row wait until it is due; once `ends_at` has come, nothing is sent for it."""
        heapq.heappush(self._due, (due, key, ends_at, refusals))
        self.soonest_end = min(self.soonest_end, ends_at)

    def pop(self, now: float) -> int | None:
        """Remove and return the row whose turn it is; None where none is due."""
        while self._due and self._due[0][0] <= now:
            due, key, ends_at, refusals = heapq.heappop(self._due)
            heapq.heappush(self._ready, (-refusals, due, key, ends_at))
        if not self._ready:
            return None
        key = heapq.heappop(self._ready)[2]
        if not len(self):
            self.soonest_end = math.inf
        return key

    def pop_late(self, now: float) -> list[int]:
        """Remove and return the rows whose time is over; those that were to be sent first come first."""
        rows = [(due, key, ends_at, -first) for first, due, key, ends_at in sorted(self._ready)] + sorted(self._due)
        late = [key for _, key, ends_at, _ in rows if ends_at <= now]
        self._due, self._ready = [each for each in rows if each[2] > now], []
        heapq.heapify(self._due)
        self.soonest_end = min((ends_at for _, _, ends_at, _ in self._due), default=math.inf)
        return late


class Turns:
    """The rows that wait for another attempt, and whose turn it is.

    What reached nobody, and what was throttled, goes before fresh rows. What failed on the server may be the row's own
    fault: of these one goes for every few fresh rows. A row whose answer was lost may be lost again, and for long: it
    goes once no fresh row is there. Nobody waits so for more than a quarter of a row's time, or three. A row that
    waits alone goes once nothing else is left. `fresh` counts the fresh rows since one went that failed on the server.
    """

    __slots__ = ("_alone", "_first", "_longest", "_queues", "_shared", "fresh")

    def __init__(self, row_deadline: float) -> None:
        self._longest = row_deadline / 4
        self._queues = self._first, self._shared, _ = Waiting(), Waiting(), Waiting()
        self._alone: dict[int, None] = {}
        self.fresh = 0

    def __len__(self) -> int:
        return sum(map(len, self._queues)) + len(self._alone)

    @property
    def next_due(self) -> float | None:
        """When the first of them is due; None where none is before something else happens."""
        return min((due for queue in self._queues if (due := queue.next_due) is not None), default=None)

    @property
    def soonest_end(self) -> float:
        """The time before which no row's time is over; infinite where none waits."""
        return min(queue.soonest_end for queue in self._queues)

    def add(self, key: int, due: float, row: Attempts) -> None:
        """Have a row wait until it is due."""
        self._queues[_QUEUE_OF.get(row.kind, 0)].add(key, due, row.ends_at, row.refusals)

    def add_alone(self, key: int) -> None:
        """Have a row wait until nothing else is left."""
        self._alone[key] = None

    def pop(self, now: float, *, fresh: bool, is_idle: bool) -> int | None:
        """Remove and return the row whose turn it is; None where there is none, or a `fresh` row goes first."""
        key = self._first.pop(now)
        for queue in self._queues[1:]:
            if key is None and queue and (not fresh or self._goes_first(queue, now)):
                key = queue.pop(now)
                if key is not None:
                    self.fresh = 0
        if key is None and self._alone and is_idle and not fresh and not any(self._queues):
            key = next(iter(self._alone))
            del self._alone[key]
        return key

    def _goes_first(self, queue: Waiting, now: float) -> bool:
        is_shared = queue is self._shared
        is_old = (queue.next_due or now) < now - (self._longest if is_shared else 3 * self._longest)
        return is_old or len(queue) > policy.MOST_BEHIND or (is_shared and self.fresh >= policy.RETRY_SHARE)

    def pop_late(self, now: float) -> list[int]:
        """Remove and return the rows whose time is over."""
        late = [key for queue in self._queues for key in queue.pop_late(now)]
        if now == math.inf:
            late += self._alone
            self._alone.clear()
        return late

    def goes_alone(self) -> bool:
        """Check whether nothing else is left than rows that wait alone."""
        return bool(self._alone) and not any(self._queues)


def most_failures(retry: Retry, *, at_most_once: bool) -> dict[Failure, int]:
    """Return how often a row is tried again after each kind of failure."""
    return {
        Failure.NOT_EXECUTED: retry.not_executed,
        Failure.THROTTLED: retry.throttled,
        Failure.SERVER_ERROR: 0 if at_most_once else retry.server_error,
        Failure.AMBIGUOUS: 0 if at_most_once else retry.ambiguous,
        Failure.FINAL: 0,
        Failure.UNUSABLE: retry.unusable,
    }


def backoff(failures: int, random: Callable[[], float]) -> float:
    """Return the seconds to wait after a row's `failures`-th failure: full jitter under a limit that doubles."""
    limit = min(policy.BACKOFF_LONGEST, policy.BACKOFF_FIRST * 2.0 ** min(failures - 1, MOST_DOUBLINGS))
    return max(policy.BACKOFF_FLOOR, random() * limit)


def throttle(delay: float | None, failures: int, refusals: int, random: Callable[[], float]) -> float:
    """Return the seconds that a row waits after its `refusals`-th refusal; `delay` are those that the server asked for.

    `failures` are the refusals that count against it, for nobody was served; 0 where others are: it goes again soon.
    """
    if not failures:
        soon = min(policy.AGAIN_LONGEST, policy.BACKOFF_FLOOR * 2.0 ** min(refusals - 1, MOST_DOUBLINGS))
        return soon if delay is None else delay
    if delay is not None:
        return server_delay(delay, failures, random)
    limit = min(policy.THROTTLED_LONGEST, policy.THROTTLED_FIRST * 2.0 ** min(failures - 1, MOST_DOUBLINGS))
    return limit * (policy.THROTTLED_SPREAD + (1 - policy.THROTTLED_SPREAD) * random())


def server_delay(seconds: float, failures: int, random: Callable[[], float]) -> float:
    """Return the seconds to wait where the server asked for `seconds`: never fewer, and a little chance on top.

    A row that is put off again and again by a moment waits a little longer each time, so that it is not used up by a
    server that names the moment of its next free place to everybody.
    """
    jitter = random() * min(policy.JITTER_LONGEST, policy.JITTER_SHARE * seconds)
    again = min(policy.JITTER_LONGEST, backoff(failures - 1, random)) if failures > 1 else policy.BACKOFF_FLOOR
    return max(seconds + jitter, again)
