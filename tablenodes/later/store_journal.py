"""The store as a run's journal: pending rows come out of it, and what becomes of them goes into it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from ..engine.calls import Answer
from ..engine.journal import KeptAnswer
from ..engine.journal.recorder import Recorder
from ..engine.outcomes.judge import Verdict
from ..engine.outcomes.rules import Failure
from ..engine.scheduling import Scheduler
from ..errors import JournalError, StoreError
from ..settings import Retry
from ..store.futures import Future, Futures

_AT_A_TIME = 64  # rows that are read at once; their bodies are in memory then
_BETWEEN = 0.1  # seconds between two looks for rows that were submitted meanwhile
_BETWEEN_ENDS = 0.5  # seconds between two looks for rows that wait to be sent and whose time is over
_NO_MODEL = "the server does not know the model"


@dataclass(eq=False, repr=False)
class FutureRecorder(Recorder):
    """Records one group of futures in the store, and is an iterator over the bodies of its rows.

    It ends where nothing is pending, and goes on when something is again.
    """

    keeps = True

    futures: Futures
    group: int
    token: bytes  # the worker's right to write
    scheduler: Scheduler  # once it has stopped, a row that could be tried again stays pending
    retry: Retry
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        super().__init__()
        self.at_most_once = self.retry.ambiguous == 0
        self._ready: deque[Future] = deque()
        self._after = 0
        self._look_at = self._end_at = float("-inf")
        self._seen = self._seen_cancelled = -1
        self._given = 0
        self._row_of: dict[int, Future] = {}
        self._changed: dict[int, Future] = {}
        self._intended: dict[int, KeptAnswer] = {}
        self._failed = False
        self.failure: StoreError | None = None  # why the store could not be read
        self.asked_to_wait = 0.0  # the most seconds that the server asked to wait

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._ready:
            self._refill()
        if not self._ready:
            raise StopIteration
        future = self._ready.popleft()
        self._row_of[self._given] = future
        self._given += 1
        return future.body

    def _refill(self) -> None:
        """Read pending rows, if there may be some that were not there at the last look."""
        now = self.clock()
        if now < self._look_at:
            return
        self._look_at = now + _BETWEEN
        try:
            seen = self.futures.store.changes()
            if seen == self._seen:
                return
            rows = self.futures.take(self.group, self._after, _AT_A_TIME)
        except StoreError as error:  # the loop takes it for the end of the rows, and ends
            self.failure = self.failure or error
            return
        if len(rows) < _AT_A_TIME:
            self._seen = seen
        else:
            self._look_at = now
        for future in rows:
            self._after = future.number
            if not self._is_over(future):
                self._ready.append(future)

    def end_late(self) -> None:
        """End the rows that wait for their first send and whose time is over; called often, it looks now and then."""
        now = self.clock()
        if now < self._end_at:
            return
        self._end_at = now + _BETWEEN_ENDS
        self._look_for_cancelled()
        for future in self._row_of.values():
            if not (future.sends or future.final):
                self._is_over(future)
        read = -1 if self._ready else self._after
        self._ready = deque([future for future in self._ready if not self._is_over(future)])
        while not self._ready and read != self._after:  # those behind them may be late too
            read = self._after
            self._refill()

    def _look_for_cancelled(self) -> None:
        """Have the rows that were cancelled meanwhile be late."""
        with suppress(StoreError):
            seen = self.futures.store.changes()
            if seen == self._seen_cancelled:
                return
            held = {future.number: future for future in (*self._row_of.values(), *self._ready)}
            for number in self.futures.cancelled(held):
                held[number].deadline = 0.0
            self._seen_cancelled = seen

    def _is_over(self, future: Future) -> bool:
        """Check whether nothing may be sent for a row any more; then that is its end."""
        future.billed = future.billed or future.in_doubt
        if self.seconds_left(future) > 0 and not (self.at_most_once and future.billed):
            return False
        future.expire()
        self._changed[future.number] = future
        return True

    def seconds_left(self, future: Future) -> float:
        """Return the seconds in which a row may still be sent, by the wall clock: no restart extends them."""
        deadline = future.deadline
        if future.first_sent:
            deadline = min(deadline, future.first_sent + self.retry.row_deadline)
        return deadline - self.wall_clock()

    def seconds_left_of(self, row: int) -> float:
        """Return the seconds in which a row of the run may still be sent."""
        return self.seconds_left(self._row_of[row])

    def intend(self, row: int) -> None:
        future = self._row_of[row]
        if future.final:  # its time was over before its turn came; the transport refuses it
            return
        self._intended[row] = future.end
        future.sends += 1
        future.first_sent = future.first_sent or self.wall_clock()
        future.end = KeptAnswer()
        self._changed[future.number] = future

    def record(self, answer: Answer, verdict: Verdict) -> None:
        future = self._row_of[answer.key]
        if future.final:
            return
        future.sends += answer.sends - 1
        future.billed = future.billed or verdict.may_have_run
        future.end = KeptAnswer.of(answer, verdict)
        if verdict.outcome == "rate_limited" and verdict.retry_after is not None:
            self.asked_to_wait = max(self.asked_to_wait, verdict.retry_after)
        self._changed[future.number] = future

    def forget(self, row: int) -> None:
        future = self._row_of.pop(row)
        if future.final:
            return
        if self.scheduler.stopped is None or future.end.kind in (None, Failure.FINAL.value):
            future.final = True
            self._changed[future.number] = future

    def end_unsent(self) -> None:
        """End the rows that the run took and did not send, because the server does not know their model."""
        for future in self._row_of.values():
            self._give_up(future, _NO_MODEL)

    def end_rest(self, why: str) -> None:
        """End all rows that are still pending, which can never be sent; what cannot be read stays pending."""
        waiting = list(self._row_of.values())
        with suppress(StoreError):
            while rows := self.futures.take(self.group, self._after, _AT_A_TIME):
                waiting += rows
                self._after = rows[-1].number
        for future in (*self._ready, *waiting):
            self._give_up(future, why)
        self._ready.clear()

    def _give_up(self, future: Future, why: str) -> None:
        future.give_up(why)
        self._changed[future.number] = future

    @property
    def unsaved(self) -> bool:
        """Whether something is not on the disk."""
        return bool(self._changed)

    def commit(self) -> None:
        if not self._changed:
            return
        try:
            if self._failed:
                self.futures.store.make_room()
            self.futures.put(self.token, list(self._changed.values()), self.wall_clock())
        except StoreError as error:
            self._failed = True
            self._take_back()  # nothing of it was sent; what came is tried again with the next commit
            raise JournalError(str(error)) from None
        self._changed.clear()
        self._intended.clear()

    def _take_back(self) -> None:
        for row, end in self._intended.items():
            future = self._row_of[row]
            future.sends -= 1
            future.end = end
            if not future.sends:
                future.first_sent = 0.0
                del self._changed[future.number]
        self._intended.clear()
