"""The loop: the one place where calls, decisions, bytes and time meet."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

from ..errors import EndedError, JournalError
from . import policy
from .calls import Answer, Call, Event, Transport, model_of, tokens_of
from .fresh import Fresh
from .interrupts import AT_ONCE, Interrupts, is_from_handler
from .journal.recorder import Recorder
from .outcomes.judge import Verdict, is_outlasted
from .outcomes.rules import Failure
from .scheduling import Budget, Scheduler
from .scheduling.attempts import Done
from .scheduling.stops import not_sent_because, transport_failed, unsettled
from .sink import NOT_SENT, End, Sink, Source, end_of, in_doubt, unanswered


class _Tried(NamedTuple):
    """What came of a call that is tried again: its answer, its sends so far, and what the answer means.

    `is_kept` says whether later ones brought less than this answer, which was paid.
    """

    answer: Answer
    sends: int
    verdict: Verdict
    is_kept: bool


@dataclass(eq=False, repr=False)
class Loop:
    """Sends calls, and hands the end of each to a sink.

    `failure` is why the journal or the transport failed, `interrupted` whether a signal ended the run; what came before
    is in the sink all the same. `grace` is in seconds; on the clock, `began` is the run's first moment, and `leave_at`
    when it leaves whatever is in flight.
    """

    transport: Transport
    scheduler: Scheduler
    sink: Sink
    recorder: Recorder
    redact: Callable[[Answer], Answer]
    _: KW_ONLY
    grace: float
    on_turn: Callable[[], None] | None = None
    budget: Budget | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._keeps = self.recorder.keeps
        self._calls: dict[int, Call] = {}  # those that have begun, or will at once, and have no end
        self._failed: dict[int, _Tried] = {}
        self.replaced: list[tuple[bytes, str, int]] = []  # paid answers that others took the place of; models, keys
        self._unsent: set[int] = set()
        self._fresh: Fresh
        self.leave_at = math.inf
        self._models_matter = False  # bodies are looked into only once the server has refused a model
        self.interrupted = False
        self.began = -math.inf  # the run's first moment
        self.failure: EndedError | None = None
        self.capacity: int = self.transport.capacity or sys.maxsize
        self.scheduler.cap(self.capacity)
        self._stop_if_spent()

    def run(self, source: Source) -> None:
        """Send every call; return when each has its end, or nothing more can be sent.

        The source is asked as there is room, and may have more after it had nothing, while something is on its way.
        """
        for _ in self.turns(source, lambda: False):
            pass

    def turns(self, source: Source, has_news: Callable[[], bool]) -> Generator[None]:
        """Do what `run` does, and yield as often as there is news to be taken out of the sink.

        Meanwhile nothing is sent or read, and signals are not ours. Once closed, it sends nothing more, and returns
        when what is in flight has come to its end, or its grace is over.
        """
        self._fresh = Fresh(source, self._admit, self._room, self._postpones if self.recorder.knows else None)
        self.began = self.clock()
        try:
            with Interrupts() as interrupts:
                while not self._leaves(interrupts):
                    more = self._start()
                    if self.on_turn is not None:
                        self.on_turn()
                    if not self.scheduler.in_flight:
                        self._look_ahead()
                    if self._ended():
                        break
                    self._settle_all(0.0 if more or has_news() else self._patience())
                    if self._keeps:  # what has come meanwhile, too: a commit costs about the same for many as for few
                        self._settle_all(0.0)
                    if has_news():
                        self._keep(self.recorder.commit)  # what is handed out has been kept
                        try:
                            with interrupts.paused():
                                yield
                        except GeneratorExit:
                            self.interrupt()
                            has_news = bool  # nobody takes any more
                for _ in self._leave(source, interrupts):
                    if has_news():
                        yield
        finally:
            del self._fresh  # it holds methods of this loop, and nothing of a run may be kept by a circle

    def stop(self, failure: EndedError) -> None:
        """End the run for a reason from outside: nothing more is sent, what is in flight comes to its end."""
        self._fail(failure, "failure")

    def abandon(self) -> None:
        """Account for all calls where an error went through the loop: it does nothing more."""
        for key in [key for key in self._calls if key in self.scheduler.begun]:
            self._lose(key)
        self.sink.finish(not_sent_because("failure"))

    def interrupt(self) -> None:
        """End the run as Ctrl-C does: nothing more is sent, what is in flight is given its grace."""
        if not self.interrupted:
            self.interrupted = True
            self.scheduler.stop("interrupted")
            self.leave_at = min(self.leave_at, self.clock() + self.grace)

    def may_send_once(self, key: int) -> bool:
        """Check whether a transport may begin a send, where each must be in the journal before it is made.

        A repeat that only the transport knows of would be lost by a kill; refused, it is sent as an attempt of its own.
        """
        if key not in self._unsent:
            return False
        self._unsent.discard(key)
        return self.scheduler.may_send(key)

    def _start(self) -> bool:
        """Begin calls while there is room; return whether more could be begun."""
        scheduler, now = self.scheduler, self.clock()
        room = scheduler.room(now)
        if self.budget is not None:
            room = min(room, self.budget.room)
        chosen = self._choose(min(room, policy.AT_A_TURN), now)
        if self.budget is not None:
            chosen = self._afforded(chosen, self.budget, now)
        if self._keeps:
            if self.failure is None:
                for call in chosen:
                    self.recorder.intend(call.key)
            # One commit: the answers whose slots are taken again, and what is about to be sent.
            self._keep(self.recorder.commit)
        if self.failure is None:
            self._begin(chosen, now)
        else:
            self._put_back(chosen, now)
        self._end_without_answer()
        return room > policy.AT_A_TURN and not self._fresh.is_exhausted and self._room() > 0

    def _afforded(self, chosen: list[Call], budget: Budget, now: float) -> list[Call]:
        """Return the calls for which there is money; the others are as they were before they were chosen."""
        count = 0
        while count < len(chosen) and budget.reserve(chosen[count].key, chosen[count].body):
            count += 1
        for call in reversed(chosen[count:]):
            if call.key in self._failed:
                self.scheduler.put_back(call.key, now)
            else:
                del self._calls[call.key]
                self._fresh.put_back(call)
        return chosen[:count]

    def _stop_if_spent(self) -> None:
        if self.budget is not None and self.budget.is_spent:
            self.scheduler.stop("max_cost", str(self.budget))

    def _choose(self, most: int, now: float) -> list[Call]:
        """Return the calls to begin next: those that are tried again, and fresh ones; probes are mostly fresh."""
        chosen: list[Call] = []
        scheduler, calls = self.scheduler, self._calls
        while len(chosen) < most and (key := scheduler.next_retry(now, fresh=True)) is not None:
            chosen.append(calls[key])
        self._take_fresh(most, chosen)
        while len(chosen) < most and (key := scheduler.next_retry(now)) is not None:
            chosen.append(calls[key])
        return chosen

    def _take_fresh(self, most: int, chosen: list[Call]) -> None:
        """Add fresh calls to those that are chosen; rows that are not sent end on the way."""
        calls, fresh, places, circuits = self._calls, self._fresh, self.scheduler.leap, self.scheduler.circuits
        try:
            if not places:
                fresh.take(most, chosen, calls, as_they_are=not self._models_matter)
            while places and len(chosen) < most:
                call, is_last = fresh.leap(places, circuits.suspected_model)
                circuits.leapt(found=call is not None, is_last=is_last)
                places = min(places * policy.LEAP, policy.LONGEST_LEAP)
                if call is None:
                    break
                calls[call.key] = call
                chosen.append(call)
        except JournalError as error:
            self._fail(error, "journal")

    def _room(self) -> int:
        """Return how many more calls may come out of the source."""
        return min(policy.PULLED_AT_ONCE, self.sink.room - len(self._calls) - len(self._fresh))

    def _admit(self, item: Any) -> Call | None:
        """Return the call that an item of the source is; None where its row needs none, and has its end."""
        if not isinstance(item, Call):
            self.sink.accept(*item)
        elif self._models_matter and self.scheduler.circuits.misses(item.key, model_of(item.body)):
            missing = unanswered(NOT_SENT, "not sent: the server does not know the model", "$.model")
            self.sink.accept(item.key, self.recorder.before(item) or missing)
        else:
            return item
        return None

    def _postpones(self, call: Call) -> bool:
        """Check whether a call goes behind all others: an earlier run saw it refused, and nobody was answered since."""
        return not self.scheduler.has_answers and self.recorder.was_refused(call.key)

    def _begin(self, chosen: list[Call], now: float) -> None:
        """Begin calls, all of which are in the journal by now, if there is one."""
        started, start, keeps = self.scheduler.started, self.transport.start, self._keeps
        per_token, most = policy.BYTES_PER_TOKEN, policy.MAY_HAVE_IMAGES
        for call in chosen:
            key, _, body, total, _, _ = call
            size = len(body)
            seconds = started(key, now, size // per_token if size < most else tokens_of(body), body)
            if keeps:
                self._unsent.add(key)
            try:
                start(call if total <= seconds else call._replace(total=seconds))
            except BaseException as error:  # noqa: BLE001 - as in `_events`
                self._break_off(error, key, chosen, now)
                break

    def _break_off(self, error: BaseException, key: int, chosen: list[Call], now: float) -> None:
        """Begin no more calls, for one cannot be; those that have begun are given the grace of an interrupt."""
        self._fail(transport_failed(error), "transport")
        self.leave_at = min(self.leave_at, -math.inf if is_from_handler(error) else now + self.grace)
        unsent = [call for call in chosen if call.key not in self.scheduler.begun]
        for call in unsent:
            self._keep(self.recorder.take_back, call.key)
        self._put_back(unsent, now)
        self._lose(key)
        del self._calls[key]

    def _put_back(self, calls: Iterable[Call], now: float) -> None:
        """Leave calls as they were before they were chosen."""
        for call in calls:
            if call.key in self._failed:
                self.scheduler.put_back(call.key, now)
                continue
            del self._calls[call.key]
            if (before := self.recorder.before(call)) is not None:
                self.sink.accept(call.key, before)

    def _look_ahead(self) -> None:
        """Look for a fresh call while nothing is in flight: where there is none, nobody waits for nothing."""
        scheduler, fresh = self.scheduler, self._fresh
        if scheduler.stopped is None and self._goes_on and not fresh and not scheduler.waiting:
            try:
                found = fresh.next()
            except JournalError as error:
                self._fail(error, "journal")
            else:
                if found is not None:
                    fresh.put_back(found)
        if scheduler.waiting or self._goes_on:
            scheduler.give_up_waiting(self.clock())

    @property
    def _goes_on(self) -> bool:
        """Whether there may be more fresh calls."""
        return not self._fresh.is_exhausted or len(self._fresh) > 0 or self.scheduler.is_holding

    # What came of it.

    def _settle_all(self, seconds: float) -> None:
        """Wait for answers and use them."""
        begun = self.scheduler.begun
        for event in self._events(seconds):
            if type(event) is Answer and event[0] in begun:  # a user's transport may give what nobody asked for
                self._settle(event)

    def _events(self, seconds: float) -> list[Event]:
        """Wait for news; where there will be none any more, stop and leave."""
        try:
            return self.transport.wait(seconds)
        except BaseException as error:  # noqa: BLE001 - a user's own transport may raise anything, so may a handler
            self._fail(transport_failed(error), "transport")
            self.leave_at = -math.inf
            return []

    def _settle(self, answer: Answer) -> None:
        """Use an answer: it is its call's end, or the call will be tried again."""
        key = answer[0]
        call = self._calls[key]
        answer = self.redact(answer)
        _, _, body, _, judge, _ = call
        try:
            verdict = judge(answer, body)
        except Exception as error:  # noqa: BLE001 - the answer is kept, and the others go on
            words = f"an error in tablenodes ({type(error).__name__})"
            verdict = Verdict("internal_error", Failure.FINAL, words, may_have_run=True)
        if self.budget is not None:
            self.budget.settle(answer, verdict, body)
            self._stop_if_spent()
        meant, kept = verdict, False
        if self._failed and (tried := self._failed.get(key)) is not None:
            if kept := is_outlasted(answer, verdict, tried.answer, tried.verdict.outcome):
                answer, meant = tried.answer._replace(sends=answer.sends), tried.verdict
            else:
                self._replace(tried, call)
                answer = answer.after(*tried.answer[1:4])
        if verdict.circuit == "model":
            self._models_matter = True
        model = model_of(body) if self._models_matter else None
        done = self.scheduler.answered(key, verdict, answer.sends, self.clock(), model)
        if self._keeps:
            held = done is None and meant.kind is Failure.FINAL
            self._keep(self.recorder.record, answer, unsettled(meant) if held else meant)
        if done is not None:
            self._end(done._replace(verdict=meant) if kept else done, answer)
        else:
            self._failed[key] = _Tried(answer, self._sends(key) + answer.sends, meant, kept)

    def _replace(self, tried: _Tried, call: Call) -> None:
        """Remember what was paid for an answer that another one takes the place of."""
        if tried.verdict.kind is Failure.UNUSABLE:
            body = tried.answer.body if tried.verdict.body is None else tried.verdict.body
            self.replaced.append((body, model_of(call.body), call.key))

    def _end(self, done: Done, answer: Answer) -> None:
        """Hand the end of a call to the sink, and forget the call."""
        key, verdict, attempts, billed, began_at = done
        del self._calls[key]
        if self._failed:
            self._failed.pop(key, None)
        if self._keeps:
            if (earlier := self.recorder.earlier.get(key)) is not None:
                attempts, billed = attempts + earlier[0], billed or earlier[1]
            self.recorder.forget(key)
        self.sink.accept(key, end_of(answer, verdict, attempts, billed, False, began_at - self.began))

    def _end_without_answer(self) -> None:
        """End the calls that the scheduler has given up while they waited, or whose fault is known by now."""
        for done in self.scheduler.take_ended():
            answer, _, verdict, is_kept = self._failed[done.key]
            if is_kept:
                done = done._replace(verdict=verdict)  # noqa: PLW2901 - of the answer that was paid
            if self._keeps and done.verdict.kind is Failure.FINAL:
                self._keep(self.recorder.record, answer._replace(sends=1), done.verdict)
            self._end(done, answer)

    def _lose(self, key: int) -> None:
        """End a call for whose answer nobody waits any more."""
        with suppress(Exception):  # a transport may be the user's own
            self.transport.cancel(key)
        earlier, _ = self.recorder.earlier.get(key, (0, False))
        sends, began_at = self.scheduler.abandon(key)
        end = in_doubt(sends + self._sends(key) + earlier)
        self.sink.accept(key, end if began_at is None else end._replace(started=began_at - self.began))

    def _sends(self, key: int) -> int:
        """Return the sends of a call's attempts that have been answered."""
        return self._failed[key].sends if key in self._failed else 0

    def _fail(self, failure: EndedError, reason: str) -> None:
        self.failure = self.failure or failure
        self.scheduler.stop(reason)

    def _keep(self, act: Callable[..., Any], *arguments: Any) -> None:
        """Have the recorder do something; once it fails, nothing is sent any more."""
        try:
            act(*arguments)
        except JournalError as error:
            self._fail(error, "journal")

    def _ended(self) -> bool:
        """Check whether nothing is in flight and nothing more will be."""
        scheduler = self.scheduler
        left = scheduler.in_flight or (scheduler.stopped is None and (scheduler.waiting or self._goes_on))
        return not left

    def _leaves(self, interrupts: Interrupts) -> bool:
        """Heed Ctrl-C: stop sending at once; return whether to leave what is in flight too."""
        if interrupts.level:
            self.interrupt()
        if interrupts.level >= AT_ONCE:
            self.leave_at = -math.inf
        return self.clock() >= self.leave_at

    def _patience(self) -> float:
        """Return the seconds to wait for an event."""
        now = self.clock()
        if self._fresh and self.scheduler.room(now) and not self.scheduler.in_flight:
            return 0.0
        has_money = self.budget is None or self.budget.room > 0
        change = self.scheduler.wait_until(now) if has_money else None
        return policy.LONGEST_WAIT if change is None else min(policy.LONGEST_WAIT, max(0.0, change - now))

    def _leave(self, source: Source, interrupts: Interrupts) -> Iterator[None]:
        """End all that has no end: calls in flight are in doubt, the others were not sent; yield after each row."""
        self.scheduler.finish()
        self._end_without_answer()
        for call in self._fresh:
            if (before := self.recorder.before(call)) is not None:
                self.sink.accept(call.key, before)
        for key in self._calls:
            self._lose(key)
        self._calls.clear()
        self._keep(self.recorder.commit)
        reason = self.scheduler.stopped
        why = None if reason is None else not_sent_because(reason, self.scheduler.stopped_by)
        if why is not None and self.recorder.knows:
            yield from self._look_up(source, interrupts, unanswered(NOT_SENT, why))
        self.sink.finish(why)

    def _look_up(self, source: Source, interrupts: Interrupts, not_sent: End) -> Iterator[None]:
        """Use the ends of earlier runs for rows that the run did not come to, while there is time."""
        began = self.clock()
        try:
            for item in source:
                hurries = interrupts.level >= AT_ONCE or (self.interrupted and self.clock() >= self.leave_at)
                if hurries and self.clock() >= began + policy.LOOKED_UP_AT_ONCE:
                    break
                if not isinstance(item, Call):
                    self.sink.accept(*item)
                else:
                    self.sink.accept(item.key, self.recorder.before(item) or not_sent)
                    self.recorder.forget(item.key)
                yield
        except JournalError as error:
            self._fail(error, "journal")
