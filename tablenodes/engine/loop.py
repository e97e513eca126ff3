"""The loop: the one place where rows, decisions, bytes and time meet."""

from __future__ import annotations

import math
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import JournalError
from ..problems import Problem, Rejected
from . import policy
from .calls import Answer, Call, model_of
from .interrupts import AT_ONCE, Interrupts, is_from_handler
from .outcomes.judge import Verdict
from .outcomes.rules import Failure
from .records import DOUBT, NOT_SENT
from .scheduling.attempts import Done
from .scheduling.stop_reasons import not_sent_because, transport_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..errors import EndedError
    from .calls import Event, Request, Transport
    from .journal.keeping import Found, Keeping
    from .records import Records
    from .scheduling import Scheduler

_new: Any = tuple.__new__  # a named tuple's own constructor takes three times as long


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
        What an answer means, given the body that was asked.
    redact : callable
        Takes the secrets out of an answer.
    keeping : Keeping
        What is kept beyond this process.
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
    capacity : int
        How many calls the transport carries at a time.
    interrupted : bool
        Whether the run was ended by a signal.
    failure : EndedError or None
        Why the journal failed, or what carries the bytes; what came before is in the records.
    """

    def __init__(
        self,
        request: Request,
        transport: Transport,
        scheduler: Scheduler,
        records: Records,
        judge: Callable[[Answer, bytes], Verdict],
        redact: Callable[[Answer], Answer],
        keeping: Keeping,
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
        self._redact = redact
        self._keeping = keeping
        self._keeps = keeping.keeps
        self._before: dict[int, Found] = {}
        self._total = total
        self._grace = grace
        self._on_turn = on_turn or (lambda: None)
        self._clock = clock
        self._bodies: dict[int, bytes] = {}
        self._last: dict[int, Answer] = {}
        self._tried: dict[int, int] = {}
        self._unsent: set[int] = set()
        self._ahead: int | None = None
        self._leave_at = math.inf
        self._models_matter = False  # bodies are looked into only once the server has refused a model
        self.interrupted = False
        self.failure: EndedError | None = None
        self.capacity: int = transport.capacity or sys.maxsize
        scheduler.cap(self.capacity)

    def run(self, prepared: Iterable[bytes | Rejected]) -> None:
        """Send every row; come back when each has its end, or nothing more can be sent.

        Parameters
        ----------
        prepared : iterable of bytes or Rejected
            Each row's body, or why it has none, in the table's order; taken as there is room.
        """
        rows = enumerate(prepared)
        with Interrupts() as interrupts:
            while not self._leaves(interrupts):
                exhausted, more = self._start(rows)
                self._on_turn()
                if not self._scheduler.in_flight:
                    exhausted = self._look_ahead(rows, exhausted=exhausted)
                if self._ended(exhausted=exhausted):
                    break
                self._settle_all(0.0 if more else self._patience())
                if self._keeps:  # what has come meanwhile, too: a commit costs about the same for many as for few
                    self._settle_all(0.0)
            self._leave(rows, interrupts)

    def _settle_all(self, seconds: float) -> None:
        """Wait for answers and take them in."""
        begun = self._scheduler.begun
        for event in self._events(seconds):
            if type(event) is Answer and event.key in begun:  # a user's transport may give what nobody asked for
                self._settle(event)

    def _events(self, seconds: float) -> list[Event]:
        """Wait for news; where there will be none any more, stop and leave."""
        try:
            return self._transport.wait(seconds)
        except BaseException as error:  # noqa: BLE001 - a user's own transport may raise anything, so may a handler
            self.failure = self.failure or transport_failed(error)
            self._scheduler.stop("transport")
            self._leave_at = -math.inf
            return []

    def stop(self, failure: EndedError) -> None:
        """End the run for a reason from outside: nothing more is sent, what is in flight comes to its end."""
        self.failure = self.failure or failure
        self._scheduler.stop("failure")

    def abandon(self) -> None:
        """Account for the rows where an error went through the loop: it does nothing more."""
        for row in [each for each in self._bodies if each in self._scheduler.begun]:
            self._lose(row)
        self._records.fill_unsettled(NOT_SENT, not_sent_because("failure"))

    def interrupt(self) -> None:
        """End the run as Ctrl-C does: nothing more is sent, what is in flight is given its grace."""
        if not self.interrupted:
            self.interrupted = True
            self._scheduler.stop("interrupted")
            self._leave_at = min(self._leave_at, self._clock() + self._grace)

    def may_send_once(self, key: int) -> bool:
        """Say whether a transport may begin a send, where each must be in the journal before it is made.

        A repeat that only the transport knows of would be lost by a kill; refused, it is sent as an attempt of its own.
        """
        if key not in self._unsent:
            return False
        self._unsent.discard(key)
        return self._scheduler.may_send(key)

    def _start(self, rows: Iterator[tuple[int, bytes | Rejected]]) -> tuple[bool, bool]:
        """Begin calls while there is room: tell whether no fresh row is left, and whether more could be begun."""
        scheduler, now = self._scheduler, self._clock()
        room = scheduler.room(now)
        chosen = self._choose(rows, min(room, policy.AT_A_TURN), now)
        exhausted = len(chosen) < min(room, policy.AT_A_TURN)
        # One commit: the answers whose slots are taken again, and what is about to be sent.
        self._keep(self._keeping.commit)
        if self.failure is not None:
            self._put_back(chosen, now)
        else:
            for row in chosen:
                body = self._bodies[row]
                seconds = scheduler.started(row, now, len(body) // policy.BYTES_PER_TOKEN)
                if self._keeps:
                    self._unsent.add(row)
                total = self._total if self._total < seconds else seconds
                try:
                    self._transport.start(_new(Call, (row, self._request, body, total)))
                except BaseException as error:  # noqa: BLE001 - as in `_events`
                    self._break_off(error, row, chosen, now)
                    break
        for done in scheduler.take_ended():
            self._end(done, self._last[done.key])
        return exhausted, room > policy.AT_A_TURN and not exhausted

    def _break_off(self, error: BaseException, row: int, chosen: list[int], now: float) -> None:
        """Begin no more calls, for a row's cannot be; those that have begun are given the grace of an interrupt."""
        self.failure = self.failure or transport_failed(error)
        self._scheduler.stop("transport")
        self._leave_at = min(self._leave_at, -math.inf if is_from_handler(error) else now + self._grace)
        unsent = [each for each in chosen if each not in self._scheduler.begun]
        for each in unsent:
            before = self._before.get(each)
            last = self._last.get(each) or (before and before.answer) or None
            verdict = None if last is None else self._judge(last, self._bodies[each])
            self._keep(self._keeping.take_back, each, last, verdict)
        self._put_back(unsent, now)
        self._lose(row)
        del self._bodies[row]

    def _look_ahead(self, rows: Iterator[tuple[int, bytes | Rejected]], *, exhausted: bool) -> bool:
        """With nothing in flight, take the next fresh row and tell whether there is none: nobody waits for nothing."""
        if self._scheduler.stopped is None and not exhausted and not self._scheduler.waiting:
            self._ahead = self._next_fresh(rows)
            exhausted = self._ahead is None
        if self._scheduler.waiting or not exhausted:
            self._scheduler.give_up_waiting(self._clock())
        return exhausted

    def _choose(self, rows: Iterator[tuple[int, bytes | Rejected]], most: int, now: float) -> list[int]:
        """Take the rows to send next, those that are tried again first, and put down that they will be sent."""
        retries = self._taken(lambda: self._scheduler.next_retry(now), most)
        return retries + self._taken(lambda: self._next_fresh(rows), most - len(retries))

    def _taken(self, take: Callable[[], int | None], most: int) -> list[int]:
        """Take rows as long as there are any, and put down that they will be sent."""
        taken: list[int] = []
        while len(taken) < most and self.failure is None and (row := take()) is not None:
            taken.append(row)
            if self._keeps:
                self._keep(self._keeping.intend, row)
        return taken

    def _keep(self, act: Callable[..., Any], *arguments: Any) -> Any:
        """Have the journal do something; once it fails, nothing is sent any more."""
        try:
            return act(*arguments)
        except JournalError as error:
            self.failure = self.failure or error
            self._scheduler.stop("journal")
            return None

    def _put_back(self, rows: Iterable[int], now: float) -> None:
        """Leave rows as they were before they were chosen."""
        for row in rows:
            if row in self._last:
                self._scheduler.put_back(row, now)
                continue
            body = self._bodies.pop(row)
            if (before := self._before.pop(row, None)) is not None:
                self._end_as_before(row, body, before)

    def _next_fresh(self, rows: Iterator[tuple[int, bytes | Rejected]]) -> int | None:
        """Take the next row that can be sent; those that cannot be are put down on the way."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        for row, body in rows:
            if isinstance(body, Rejected):
                self._records.reject(row, body)
                continue
            if not self._keeps and not self._models_matter:
                self._bodies[row] = body
                return row
            if (found := self._keep(self._keeping.recall, row, body)) is None:
                return None
            known = found.sends > 0 or found.answer is not None
            missing = self._missing_model(body) if found.again else None
            if found.again and missing is None:
                self._bodies[row] = body
                if known:
                    self._before[row] = found
                return row
            if known:
                self._end_as_before(row, body, found)
            elif missing is not None:
                self._records.reject(row, Rejected(Problem("$.model", "model", missing), outcome=NOT_SENT))
        return None

    def _end_as_before(self, row: int, body: bytes, found: Found) -> None:
        """Give a row the end that it had in an earlier run."""
        if found.answer is None:
            self._doubt(row, found.sends)
        else:
            done = Done(row, self._judge(found.answer, body), found.sends, found.billed)
            self._records.answer(found.answer, done)
            self._records.reused[row] = 1

    def _doubt(self, row: int, sends: int) -> None:
        """Put down that a row was sent and nothing came back."""
        self._records.unanswered(row, "in_doubt", DOUBT)
        self._records.attempts[row] = sends
        self._records.maybe_billed[row] = 1

    def _missing_model(self, body: bytes) -> str | None:
        """Say why a row is not sent whose model the server has refused again and again; None where it is sent."""
        if not self._models_matter or not self._scheduler.is_missing(model_of(body)):
            return None
        return "not sent: the server does not know the model"

    def _settle(self, answer: Answer) -> None:
        """Take an answer in: it is the row's end, or the row will be tried again."""
        row = answer.key
        answer = self._redact(answer)
        try:
            verdict = self._judge(answer, self._bodies[row])
        except Exception as error:  # noqa: BLE001 - the answer is kept, and the others go on
            words = f"an error in this program ({type(error).__name__})"
            verdict = Verdict("internal_error", Failure.FINAL, words, may_have_run=True)
        if self._keeps:
            self._keep(self._keeping.put_down, answer, verdict)
        self._models_matter = self._models_matter or verdict.circuit == "model"
        model = model_of(self._bodies[row]) if self._models_matter else None
        done = self._scheduler.answered(row, verdict, answer.sends, self._clock(), model)
        if done is not None:
            self._end(done, answer)
        else:
            self._last[row] = answer
            self._tried[row] = self._tried.get(row, 0) + answer.sends

    def _end(self, done: Done, answer: Answer) -> None:
        """Put a row's end down and forget what it was asked."""
        row = done.key
        del self._bodies[row]
        if self._tried:
            self._tried.pop(row, None)
            self._last.pop(row, None)
        if self._before and (before := self._before.pop(row, None)) is not None:
            done = done._replace(attempts=done.attempts + before.sends, maybe_billed=done.maybe_billed or before.billed)
        if self._keeps:
            self._keeping.forget(row)
        self._records.answer(answer, done)

    def _ended(self, *, exhausted: bool) -> bool:
        """Tell whether nothing is in flight and nothing more will be."""
        scheduler = self._scheduler
        left = scheduler.in_flight or (scheduler.stopped is None and (scheduler.waiting or not exhausted))
        return not left

    def _leaves(self, interrupts: Interrupts) -> bool:
        """Heed Ctrl-C: stop sending at once; tell whether to leave what is in flight too."""
        if interrupts.level:
            self.interrupt()
        return interrupts.level >= AT_ONCE or self._clock() >= self._leave_at

    def _patience(self) -> float:
        """Give the seconds to wait for an event."""
        now = self._clock()
        if self._ahead is not None and self._scheduler.room(now):
            return 0.0
        change = self._scheduler.wait_until(now)
        return policy.LONGEST_WAIT if change is None else min(policy.LONGEST_WAIT, max(0.0, change - now))

    def _leave(self, rows: Iterator[tuple[int, bytes | Rejected]], interrupts: Interrupts) -> None:
        """Put down the rows that have no end: those in flight are in doubt, the others were not sent."""
        for done in self._scheduler.take_ended():
            self._end(done, self._last[done.key])
        if self._ahead is not None:
            self._put_back([self._ahead], self._clock())
        for row in self._bodies:
            self._lose(row)
        self._bodies.clear()
        self._keep(self._keeping.commit)
        reason = self._scheduler.stopped
        if reason is not None:
            if self._keeping.knows:
                self._look_up(rows, interrupts)
            self._records.fill_unsettled(NOT_SENT, not_sent_because(reason))

    def _lose(self, row: int) -> None:
        """Put down that nobody waits for a row's answer any more."""
        with suppress(Exception):  # a transport may be the user's own
            self._transport.cancel(row)
        before = self._before.get(row)
        sends = self._scheduler.abandon(row)
        self._doubt(row, sends + self._tried.get(row, 0) + (before.sends if before else 0))

    def _look_up(self, rows: Iterator[tuple[int, bytes | Rejected]], interrupts: Interrupts) -> None:
        """Give the rows that the run did not come to the ends that they had in earlier ones, while there is time."""
        began = self._clock()
        for row, body in rows:
            hurries = interrupts.level >= AT_ONCE or (self.interrupted and self._clock() >= self._leave_at)
            if hurries and self._clock() >= began + policy.LOOKED_UP_AT_ONCE:
                break
            if isinstance(body, Rejected):
                self._records.reject(row, body)
                continue
            if (found := self._keep(self._keeping.recall, row, body)) is None:
                break
            if found.sends or found.answer is not None:
                self._end_as_before(row, body, found)
