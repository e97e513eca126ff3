"""The loop: the one place where rows, decisions, bytes and time meet."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING

import orjson

from ..problems import Problem
from .calls import Answer, Call
from .interrupts import AT_ONCE, Interrupts
from .records import NOT_SENT, Rejection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .calls import Request, Transport
    from .outcomes import Verdict
    from .records import Records
    from .attempts import Done
    from .scheduler import Scheduler

_AT_A_TURN = 64
"""Calls that are begun before answers are looked for again: a wide run begins without a pause for those that came."""
_LONGEST_WAIT = 0.1
"""Seconds after which the loop looks up at the latest: whether it is interrupted, whether the bar must move."""
_BYTES_PER_TOKEN = 4
"""A rough guess, for pacing alone."""
_NOT_SENT_BECAUSE = {
    "auth": "not sent: the server refuses the key",
    "quota": "not sent: the account's quota is spent",
    "rate_limited": "not sent: the server asks to wait longer than this run waits; run again later",
    "outage": "not sent: the server did not answer anybody; run again later",
    "max_requests": "not sent: max_requests is reached",
    "token_budget": "not sent: token_budget is spent",
    "interrupted": "not sent: the run was interrupted",
}


class Loop:
    """Sends the rows of one table and puts every answer into its place.

    Parameters
    ----------
    request : Request
        What all calls have in common.
    transport : Transport
        What carries the bytes.
    scheduler : Scheduler
        What decides.
    records : Records
        Where the results go.
    judge : callable
        What an answer means.
    total : float
        Seconds that one attempt may take.
    grace : float
        Seconds that calls in flight are given after an interrupt.
    on_turn : callable, optional
        Called at each turn, for a bar.
    clock : callable
        Monotonic seconds.

    Attributes
    ----------
    interrupted : bool
        Whether the run was ended by a signal.
    """

    def __init__(
        self,
        request: Request,
        transport: Transport,
        scheduler: Scheduler,
        records: Records,
        judge: Callable[[Answer], Verdict],
        *,
        total: float,
        grace: float,
        on_turn: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request = request
        self._transport = transport
        self._scheduler = scheduler
        self._records = records
        self._judge = judge
        self._total = total
        self._grace = grace
        self._on_turn = on_turn or (lambda: None)
        self._clock = clock
        self._bodies: dict[int, bytes] = {}
        self._last: dict[int, Answer] = {}
        self._leave_at = math.inf
        # Bodies are looked into only once the server has refused a model.
        self._models_matter = False
        self.interrupted = False
        scheduler.cap(getattr(transport, "capacity", None) or sys.maxsize)

    def run(self, prepared: Iterable[bytes | Rejection]) -> None:
        """Send every row; come back when each has its end, or nothing more can be sent.

        Parameters
        ----------
        prepared : iterable of bytes or Rejection
            Each row's body, or why it has none, in the table's order; taken as there is room.
        """
        rows = enumerate(prepared)
        with Interrupts() as interrupts:
            while True:
                exhausted, more = self._start(rows)
                self._on_turn()
                if self._ended(exhausted=exhausted) or self._leaves(interrupts):
                    break
                for event in self._transport.wait(0.0 if more else self._patience()):
                    if type(event) is Answer:
                        self._settle(event)
        self._leave()

    def _start(self, rows: Iterator[tuple[int, bytes | Rejection]]) -> tuple[bool, bool]:
        """Begin calls while there is room: tell whether no fresh row is left, and whether more could be begun."""
        scheduler, now = self._scheduler, self._clock()
        room = scheduler.room(now)
        exhausted = False
        for _ in range(min(room, _AT_A_TURN)):
            row = scheduler.next_retry(now)
            if row is None:
                row = self._next_fresh(rows)
            if row is None:
                exhausted = True
                break
            body = self._bodies[row]
            seconds = scheduler.started(row, now, len(body) // _BYTES_PER_TOKEN)
            self._transport.start(Call(row, self._request, body, min(self._total, seconds)))
        for done in scheduler.take_ended():
            self._end(done)
        return exhausted, room > _AT_A_TURN and not exhausted

    def _next_fresh(self, rows: Iterator[tuple[int, bytes | Rejection]]) -> int | None:
        """Take the next row that can be sent; those that cannot be are put down on the way."""
        for row, body in rows:
            if isinstance(body, bytes) and (missing := self._missing_model(body)) is not None:
                body = Rejection(NOT_SENT, Problem("$.model", "model", missing))  # noqa: PLW2901 - the row's end
            if isinstance(body, bytes):
                self._bodies[row] = body
                return row
            self._records.reject(row, body)
        return None

    def _missing_model(self, body: bytes) -> str | None:
        """Say why a row is not sent whose model the server has refused again and again; None where it is sent."""
        if not self._models_matter or not self._scheduler.is_missing(_model(body)):
            return None
        return "not sent: the server does not know the model"

    def _settle(self, answer: Answer) -> None:
        """Take an answer in: it is the row's end, or the row will be tried again."""
        row = answer.key
        verdict = self._judge(answer)
        self._models_matter = self._models_matter or verdict.circuit == "model"
        model = _model(self._bodies[row]) if self._models_matter else None
        done = self._scheduler.answered(row, verdict, answer.sends, self._clock(), model)
        self._last[row] = answer
        if done is not None:
            self._end(done)

    def _end(self, done: Done) -> None:
        """Put a row's end down and forget what it was asked."""
        row = done.key
        del self._bodies[row]
        self._records.answer(self._last.pop(row), done)

    def _ended(self, *, exhausted: bool) -> bool:
        """Tell whether nothing is in flight and nothing more will be."""
        scheduler = self._scheduler
        if scheduler.in_flight:
            return False
        return scheduler.stopped is not None or (exhausted and not scheduler.waiting)

    def _leaves(self, interrupts: Interrupts) -> bool:
        """Heed Ctrl-C: stop sending at once; tell whether to leave what is in flight too."""
        if not interrupts.level:
            return False
        if not self.interrupted:
            self.interrupted = True
            self._scheduler.stop("interrupted")
            self._leave_at = self._clock() + self._grace
        return interrupts.level >= AT_ONCE or self._clock() >= self._leave_at

    def _patience(self) -> float:
        """Give the seconds to wait for an event."""
        now = self._clock()
        change = self._scheduler.wait_until(now)
        return _LONGEST_WAIT if change is None else min(_LONGEST_WAIT, max(0.0, change - now))

    def _leave(self) -> None:
        """Put down the rows that have no end: those in flight are in doubt, the others were not sent."""
        for done in self._scheduler.take_ended():
            self._end(done)
        for row in self._bodies:
            self._transport.cancel(row)
            self._records.unanswered(row, "in_doubt", "the run ended before the answer came; it may have been executed")
            self._records.attempts[row] += 1
            self._records.maybe_billed[row] = 1
        self._bodies.clear()
        reason = self._scheduler.stopped
        if reason is not None:
            self._records.fill_unsettled(NOT_SENT, _NOT_SENT_BECAUSE.get(reason, f"not sent: {reason}"))


def _model(body: bytes) -> str:
    """Give the model that a body asks for."""
    return str(orjson.loads(body).get("model"))
