"""One group of futures at work: the engine over the rows of a store that are asked in the same way."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import orjson

from ..connection.endpoint import Endpoint, opened
from ..engine.calls import Answer, Call, Event
from ..engine.scheduling import Scheduler, admission_for, scheduler_for
from ..engine.sink import Tally
from ..engine.transports.wrapper import Wrapper
from ..errors import JournalError, TablenodesError
from ..run.wiring import Engine
from ..settings import Limits, Retry
from ..store.futures import Futures, Group
from .store_journal import FutureRecorder
from .stored_connection import VERSION, environment_for, restored

_LOOK = 0.05  # seconds between two looks for rows that were submitted after the others had come to their end
_SAVE_FOR = 600.0  # seconds for which a worker tries to save what came while the disk was full
_SPENT = {"max_requests": "max_requests is reached", "token_budget": "token_budget is spent"}
"""Ends of a run after which its rows can never be sent: they have their end too."""
_REASONS = {
    "auth": "the server refuses the key; the next retrieval tries again",
    "quota": "the account's quota is spent; the next retrieval tries again",
    "rate_limited": "the server asks to wait longer than a run does",
    "outage": "the server served no request; the next retrieval tries again",
    "setup": "the server cannot be reached as it was set up; the next retrieval tries again",
    "alike": "no row was answered, and all that were sent were refused alike; the next retrieval tries again",
    "dns": "the server's name was not found; the next retrieval tries again",
}
_TOO_LATE = "the row's deadline has passed"


class Held(NamedTuple):
    """Why the rest of a group stays pending, and for how many seconds nothing may be sent, as the server has asked."""

    reason: str
    seconds: float = 0.0


@dataclass(eq=False, repr=False)
class GroupRun:
    """Sends the pending rows of a group, and those that are submitted meanwhile."""

    futures: Futures
    group: Group
    token: bytes  # the worker's right to write
    idle: float  # seconds to wait for more rows
    stopping: Callable[[], bool]  # whether the worker is to end

    def __post_init__(self) -> None:
        self._recipe: dict[str, Any] = orjson.loads(self.group.recipe)
        self._limits = Limits(**self._recipe["limits"])
        self._retry = Retry(**self._recipe["retry"])
        # A pause holds for the rows of the next round too.
        servers = 1 + len(self._recipe["connection"].get("more_base_urls", ()))
        self._admission = admission_for(servers, self._limits, self._retry)
        # What a kill must not make wrong is counted before it is sent.
        self._is_exact = self._limits.max_requests is not None

    def carry_out(self) -> Held | None:
        """Work until nothing is left, or nothing more can be done; return why the rest stays pending, if it does."""
        if self._recipe["version"] != VERSION:
            return Held("the rows were submitted by another version of tablenodes")
        try:
            connection = restored(self._recipe["connection"], os.environ, self.futures.salt())
            self.futures.take_up(self.group.number)
            environ, path = environment_for(self._recipe["connection"], os.environ), self._recipe["path"]
            with opened(connection, environ, path=path) as endpoint:
                while True:
                    held = self._round(endpoint)
                    if held is not None or not self._wait_for_more():
                        return held
        except TablenodesError as error:
            return Held(str(error))

    def _wait_for_more(self) -> bool:
        """Check whether rows have come meanwhile; while nothing may be sent, no other worker is to begin anew."""
        now = time.monotonic()
        opens = self._admission.opens_at(now, 0) or now
        pause = opens - now if opens - now <= self._retry.max_retry_after else 0.0
        while not self.stopping():
            if self.futures.take(self.group.number, 0, 1):
                return True
            if time.monotonic() >= now + max(self.idle, pause):
                break
            time.sleep(_LOOK)
        return False

    def _round(self, endpoint: Endpoint) -> Held | None:
        """Run the engine once, until nothing is pending or it stops."""
        scheduler: Scheduler = scheduler_for(
            endpoint.servers,
            self._limits,
            self._retry,
            random=random.Random().random,  # noqa: S311 - it spreads retries, it hides nothing
            sent_before=self.futures.sends(self.group.number) if self._is_exact else 0,
            capacity=endpoint.slots,
            seconds_left=lambda row: recorder.seconds_left_of(row),  # noqa: PLW0108 - it is made below
            admission=self._admission,
        )
        recorder = FutureRecorder(self.futures, self.group.number, self.token, scheduler, self._retry)
        with ExitStack() as stack:
            engine = self._engine(endpoint, scheduler, recorder, stack)
            recipe, loop = self._recipe, engine.loop
            request = endpoint.request(recipe["method"], recipe["path"])
            ways = {"choices": recipe["choices"], "at_most_once": recorder.at_most_once, "total": recipe["total"]}
            loop.run(map(engine.calling(request, **ways), recorder, count()))  # no generator: it ends, and goes on
        if scheduler.stopped is None and loop.failure is None:
            recorder.end_unsent()
        elif scheduler.stopped in _SPENT:
            recorder.end_rest(_SPENT[scheduler.stopped])
        self._save(recorder)
        self.futures.store.settle()
        stopped, failure = scheduler.stopped, loop.failure or recorder.failure
        if failure is not None:
            return Held(str(failure))
        if stopped is None or stopped in _SPENT:
            return None
        seconds = max(recorder.asked_to_wait, scheduler.asked_to_wait)
        return Held(_REASONS.get(stopped, f"the worker stopped: {stopped}"), seconds=seconds)

    def _engine(self, endpoint: Endpoint, scheduler: Scheduler, recorder: FutureRecorder, stack: ExitStack) -> Engine:
        """Return the engine put together; what it opens is closed by `stack`."""

        def turn() -> None:
            if scheduler.stopped is None and self.stopping():
                scheduler.stop("interrupted")
            recorder.end_late()

        return Engine(
            endpoint,
            self._limits,
            scheduler,
            Tally(),
            recorder,
            stack,
            exact=self._is_exact,
            stream=self._recipe["stream"],
            on_turn=turn,
            around=partial(Deadlines, seconds_left=recorder.seconds_left_of),
        )

    def _save(self, recorder: FutureRecorder) -> None:
        """Bring what came to the disk; a full one is given time."""
        until = time.monotonic() + _SAVE_FOR
        while recorder.unsaved:
            try:
                recorder.commit()
            except JournalError:
                if self.stopping() or time.monotonic() >= until or self.futures.is_overtaken(self.token):
                    return
                time.sleep(1.0)


@dataclass(eq=False, repr=False)
class Deadlines(Wrapper):
    """A transport that keeps to each row's own deadline, which may have begun to run in an earlier process."""

    seconds_left: Callable[[int], float]
    _late: list[Event] = field(default_factory=list, init=False)

    def start(self, call: Call) -> None:
        left = self.seconds_left(call.key)
        if left <= 0:
            self._late.append(Answer(call.key, None, b"", b"", "timeout_total", _TOO_LATE, sends=0))
        else:
            self.inner.start(call._replace(total=min(call.total, left)))

    def cancel(self, key: int) -> None:
        self._late = [event for event in self._late if event.key != key]
        self.inner.cancel(key)

    def wait(self, seconds: float) -> list[Event]:
        late, self._late = self._late, []
        return late + self.inner.wait(0.0 if late else seconds)
