"""A discrete-event world for the scheduler: a server, its latency and its faults, in virtual time.

A server is a function of the time and the row; it gives the fields of an `Answer`, and may add ``seconds`` (how long
the answer takes to come back) and ``reached`` (False: the request was never begun to be sent).
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tablenodes.engine.calls import Answer
from tablenodes.engine.fresh import Fresh
from tablenodes.engine.outcomes.judge import Verdict, judge
from tablenodes.engine.scheduling import Scheduler
from tablenodes.settings import Limits, Retry

OK_BODY = (
    b'{"choices":[{"index":0,"finish_reason":"stop","message":{"content":"yes"}}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}'
)


def ok(headers: bytes = b"") -> dict:
    return {"status": 200, "headers": b"content-length: 9\r\n" + headers, "body": OK_BODY}


def status(code: int, headers: bytes = b"", body: bytes = b"{}") -> dict:
    return {"status": code, "headers": headers, "body": body}


def fault(name: str, **more: object) -> dict:
    return {"status": None, "headers": b"", "body": b"", "fault": name, **more}


Server = Callable[[float, int], dict]


class Start(NamedTuple):
    """One call that was started."""

    at: float
    key: int
    is_probe: bool


class Row(NamedTuple):
    """A fresh row: as much of a call as `Fresh` looks at."""

    key: int
    body: bytes


@dataclass
class Simulation:
    """Runs a whole table against a server; what happened is in its attributes afterwards."""

    rows: int
    server: Server
    limits: Limits = field(default_factory=Limits)
    retry: Retry = field(default_factory=Retry)
    latency: Callable[[random.Random], float] = lambda chance: 0.05
    seed: int = 0
    sent_before: int = 0
    repeats: float = 0.0
    model: Callable[[int], str | None] = lambda key: None
    tokens: Callable[[int], int] = lambda key: 0
    interrupt_at: float | None = None
    longest: float = 1e6
    answered_before: bool = False
    use: Callable[[object, Verdict], Verdict] | None = None
    acts_at: Callable[[float], float] = lambda at: at  # when the client, which may be paused, acts on what happens then

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.scheduler = Scheduler(
            self.limits,
            self.retry,
            random=self.chance.random,
            sent_before=self.sent_before,
            answered_before=lambda: self.answered_before,
        )
        self.now = 1000.0
        self.starts: list[Start] = []
        self.begun: Counter[int] = Counter()
        self.answers: list[tuple[float, int, Answer, Verdict]] = []
        self.done: dict[int, object] = {}
        self.blocked: list[int] = []
        self.peak = 0
        self.idle_turns = 0
        self._events: list[tuple[float, int, str, int, object]] = []
        self._number = 0
        self._verdicts: dict[tuple[object, ...], Verdict] = {}  # the same answer means the same
        rows = (Row(key, self._body(key)) for key in range(self.rows))
        self._fresh = Fresh(rows, self._admit, lambda: 2**30)

    def _body(self, key: int) -> bytes:
        model = self.model(key)
        return (b"" if model is None else b'{"model": "%s"}' % model.encode()).ljust(4 * self.tokens(key))

    def run(self) -> Simulation:
        for at in self.steps():
            self.now = self.acts_at(at)
        return self

    def steps(self) -> Iterator[float]:
        """Run, and yield when something happens next: by then, or a little later, `now` has to be set."""
        began = self.now
        while True:
            if self.interrupt_at is not None and self.now >= began + self.interrupt_at:
                self.scheduler.stop("interrupted")
            self._start_what_may()
            if not self.scheduler.in_flight and self._left():
                self.scheduler.give_up_waiting(self.now)
                self._start_what_may()
            for done in self.scheduler.take_ended():
                self._end(done)
            if not self.scheduler.in_flight and (self.scheduler.stopped or not self._left()):
                break
            yield self._next(began)
            self._happen()
        self.scheduler.finish()
        for done in self.scheduler.take_ended():
            self._end(done)
        self.seconds = self.now - began

    @property
    def outcomes(self) -> list[str]:
        return [self.done[key].verdict.outcome if key in self.done else "not_sent" for key in range(self.rows)]

    def count(self, outcome: str) -> int:
        return self.outcomes.count(outcome)

    def _left(self) -> bool:
        return not self._fresh.is_exhausted or len(self._fresh) > 0 or self.scheduler.waiting > 0

    def _start_what_may(self) -> None:
        """Start calls as the loop does."""
        while (room := self._room()) > 0:
            for _ in range(room):
                key = self._choose()
                if key is None:
                    return
                self._send(key)

    def _room(self) -> int:
        return self.scheduler.room(self.now)

    def _wake(self) -> float | None:
        return self.scheduler.wait_until(self.now)

    def _choose(self) -> int | None:
        scheduler = self.scheduler
        key = scheduler.next_retry(self.now, fresh=True)
        if key is not None:
            return key
        if places := scheduler.leap:
            row, is_last = self._fresh.leap(places, scheduler.circuits.suspected_model)
            scheduler.circuits.leapt(found=row is not None, is_last=is_last)
        else:
            row = self._fresh.next()
        return row.key if row is not None else scheduler.next_retry(self.now)

    def _admit(self, row: Row) -> Row | None:
        if not self.scheduler.circuits.misses(row.key, self.model(row.key)):
            return row
        self.blocked.append(row.key)
        return None

    def _send(self, key: int) -> None:
        assert key not in self.done
        assert self.scheduler.stopped is None
        left = self.scheduler.started(key, self.now, self.tokens(key))
        assert 0 < left <= self.retry.row_deadline
        self.peak = max(self.peak, self.scheduler.in_flight)
        self.starts.append(Start(self.now, key, self.scheduler.admission.outage.probe == key))
        whole = self.latency(self.chance)
        self._event(self.now + whole / 2, "arrives", key, whole / 2)

    def _event(self, at: float, kind: str, key: int, what: object) -> None:
        self._number += 1
        heapq.heappush(self._events, (at, self._number, kind, key, what))

    def _next(self, began: float) -> float:
        wake = self._wake()
        event = self._events[0][0] if self._events else None
        times = [at for at in (wake, event, self._interrupt(began)) if at is not None]
        assert times, "nothing can ever happen again"
        at = max(self.now, min(times))
        self.idle_turns = self.idle_turns + 1 if at == self.now and (event is None or event > self.now) else 0
        assert self.idle_turns < 3, "the scheduler wakes for nothing"
        assert at - began < self.longest, "it takes too long"
        return at

    def _happen(self) -> None:
        while self._events and self._events[0][0] <= self.now:
            at, _, kind, key, what = heapq.heappop(self._events)
            self._arrives(key, what, at) if kind == "arrives" else self._answered(key, what)

    def _interrupt(self, began: float) -> float | None:
        if self.interrupt_at is None or self.scheduler.stopped:
            return None
        return began + self.interrupt_at

    def _arrives(self, key: int, back: float, at: float) -> None:
        fields = dict(self.server(at, key))
        back = fields.pop("seconds", back)
        sends = 0
        if fields.pop("reached", True):
            assert self.scheduler.may_send(key)
            sends = 1
            while self.chance.random() < self.repeats and self.scheduler.may_send(key):
                sends += 1
        self.begun[key] += sends
        answer = Answer(key, fields.pop("status"), fields.pop("headers"), fields.pop("body"), sends=sends, **fields)
        self._event(at + back, "answered", key, answer)

    def _answered(self, key: int, answer: Answer) -> None:
        what = (*answer[1:8], self.retry.ambiguous == 0, self.use)
        if (verdict := self._verdicts.get(what)) is None:
            verdict = self._verdicts[what] = judge(answer, at_most_once=self.retry.ambiguous == 0, use=self.use)
        self.answers.append((self.now, key, answer, verdict))
        done = self.scheduler.answered(key, verdict, answer.sends, self.now, self.model(key))
        if done is not None:
            self._end(done)

    def _end(self, done: object) -> None:
        assert done.key not in self.done
        self.done[done.key] = done
