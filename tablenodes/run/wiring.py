"""The engine put together for one endpoint: the same for a run and for the worker of later answers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ..engine.calls import Answer, Call, PlacedBody, Request, Transport
from ..engine.journal import Journal, Keys, PlacedKeys
from ..engine.journal.pack_recorder import PackRecorder
from ..engine.journal.recorder import Recorder
from ..engine.loop import Loop
from ..engine.outcomes.judge import Verdict, judge
from ..engine.packs import Packs
from ..engine.redaction import Redaction
from ..engine.scheduling import Admission, Budget, Scheduler, scheduler_for
from ..engine.sink import Records, Sink, Source, rejected
from ..engine.transports.streams import Streams, Unasked, redacted
from ..errors import EndedError
from ..problems import Rejected
from ..settings import Limits, Timeout

if TYPE_CHECKING:
    from ..connection.endpoint import Endpoint
    from .options import RunOptions
    from .rows import Asking

Packing = Callable[[Sink, Recorder], Any]
OnText = Callable[[int, str], None]
Judge = Callable[[Answer, bytes], Verdict]
Placing = Callable[[PlacedBody], Request]
Calling = Callable[[Any, int], Any]

_new: Any = tuple.__new__  # a named tuple's own constructor takes three times as long


def _never(_: Exception | KeyboardInterrupt) -> None:
    """Do nothing: where no text is told, nothing fails on the way."""


def scheduler_at(
    endpoint: Endpoint,
    options: RunOptions,
    recorder: Recorder,
    journal: Journal | None,
    *,
    at_most_once: bool,
    admission: Admission | None = None,
) -> Scheduler:
    """Return what decides when each row is sent to an endpoint."""
    return scheduler_for(
        endpoint.servers,
        options.limits,
        options.retry,
        random=random.Random().random,  # noqa: S311 - it spreads retries, it hides nothing
        sent_before=0 if journal is None else journal.sends,
        capacity=endpoint.slots,
        answered_before=recorder.has_answers,
        at_most_once=at_most_once,
        admission=admission,
    )


def packing(asking: Asking, usable: Any, records: Any) -> Packing | None:
    """Return what packs a node's rows, where many go in one request; their vectors go straight to what keeps them."""
    if asking.pack is None:
        return None
    bodies: Any = records.body.packed if isinstance(records, Records) else None
    return partial(Packs, most=asking.pack, usable=usable, bodies=bodies)


class Reached(Protocol):
    """What a run talks to: an endpoint, or those of several connections."""

    @property
    def lines(self) -> Sequence[str]:
        """The servers of each connection, for a person."""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What must never be in a result."""

    @property
    def timeout(self) -> Timeout:
        """The timeouts of an attempt."""

    @property
    def idle_of(self) -> Callable[[int], float] | None:
        """What returns how long a call's stream may be without content, where connections differ in that."""

    def transport(
        self,
        limits: Limits,
        may_send: Callable[[int], bool] | None = None,
        *,
        stream: bool = False,
        server_of: Callable[[int], int] | None = None,
    ) -> Transport:
        """Open what carries the bytes."""


class Engine:
    """A loop for one endpoint, or several, and what makes its calls; rows of several nodes may be among them.

    `exact` has each send recorded before it is made: no repeat is allowed that only a transport knows of. `stream` says
    that a row may ask for a stream; `on_text` is told each row's text as it comes; `around` puts another transport
    around the one that carries the bytes. `pack` makes what packs many rows into one request.
    """

    def __init__(
        self,
        endpoint: Reached,
        limits: Limits,
        scheduler: Scheduler,
        sink: Sink,
        recorder: Recorder,
        stack: ExitStack,
        *,
        exact: bool,
        stream: bool,
        on_text: OnText | None = None,
        on_turn: Callable[[], None] | None = None,
        around: Callable[[Transport], Transport] | None = None,
        budget: Budget | None = None,
        pack: Packing | None = None,
    ) -> None:
        self._endpoint = endpoint
        transport = endpoint.transport(
            limits,
            self._may_send_once if exact else scheduler.may_send,
            stream=stream,
            server_of=getattr(scheduler, "server_of", None),
        )
        stack.callback(transport.close)
        redaction = Redaction(endpoint.secrets)
        asked = stream or on_text is not None
        stop = self._stop if on_text is not None else _never  # a circle would keep what a run leaves
        self.streams = (Streams if asked else Unasked)(
            transport, endpoint.timeout, redaction, on_text, stop, endpoint.idle_of
        )
        transport = self.streams
        self._packs = None if pack is None else pack(sink, recorder)
        self.loop = Loop(
            transport if around is None else around(transport),
            scheduler,
            sink if self._packs is None else self._packs,
            recorder if self._packs is None else PackRecorder(recorder, self._packs),
            redaction.masked if asked else lambda answer: redacted(answer, redaction),
            grace=limits.grace,
            on_turn=on_turn,
            budget=budget,
        )

    def packed(self, source: Source) -> Source:
        """Return what a source gives, with its calls packed where they are."""
        return source if self._packs is None else self._packs.packed(source)

    def pack_sizes(self, rows: int) -> list[int | None] | None:
        """Return of each row with how many it was sent, None where it went alone; None where none is packed."""
        return None if self._packs is None else self._packs.sizes(rows)

    def calling(
        self,
        request: Request,
        scope: Keys | None = None,
        *,
        choices: bool,
        at_most_once: bool,
        total: float | None = None,
        use: Callable[[Any, Verdict], Verdict] | None = None,
        judged: Callable[..., Verdict] = judge,
        placed: Placing | None = None,
    ) -> Calling:
        """Return what makes the call of a row of one node, of its body and its key, or the end of one that has none.

        Without `choices`, an answer needs none; `at_most_once` repeats nothing that may have been executed; `use`
        returns the verdict of an answer that is ``ok``, or why it cannot be used; `judged` returns what an answer
        means. `placed` returns the request of a row that has a place of its own, and is None where none has.
        """
        judging = self.judging(choices=choices, at_most_once=at_most_once, use=use, judged=judged)
        return caller(request, total or self._endpoint.timeout.total, judging, scope, placed)

    def judging(
        self,
        *,
        choices: bool,
        at_most_once: bool,
        use: Callable[[Any, Verdict], Verdict] | None = None,
        judged: Callable[..., Verdict] = judge,
    ) -> Judge:
        """Return what judges the answers of one node's rows; see `calling`."""
        secrets, read_stream, wall_clock = self._endpoint.secrets, self.streams.read, time.time

        def judging(answer: Answer, asked: bytes, use: Any = use) -> Verdict:  # a partial makes a dict for each row
            return judged(
                answer,
                asked,
                needs_choices=choices,
                at_most_once=at_most_once,
                secrets=secrets,
                wall_clock=wall_clock,
                read_stream=read_stream,
                use=use,
            )

        return judging

    def _may_send_once(self, key: int) -> bool:
        return self.loop.may_send_once(key)

    def _stop(self, error: Exception | KeyboardInterrupt) -> None:
        """End the run because of what `on_text` raised."""
        if isinstance(error, KeyboardInterrupt):
            self.loop.interrupt()
            return
        ended = EndedError(f"on_text raised {type(error).__name__}")
        ended.__cause__ = error
        self.loop.stop(ended)


def caller(request: Request, seconds: float, judging: Judge, scope: Keys | None, placed: Placing | None) -> Calling:
    """Return what makes the call of a body by its key, or the end of a row that has none."""

    def call(body: bytes | Rejected, key: int) -> Any:
        if isinstance(body, Rejected):
            return key, rejected(body)
        return _new(Call, (key, request, body, seconds, judging, scope))

    def call_elsewhere(body: PlacedBody | Rejected, key: int) -> Any:
        if isinstance(body, Rejected) or placed is None:
            return call(body, key)
        given = bytes(body), seconds, judging, PlacedKeys(scope, body.place)
        return _new(Call, (key, placed(body), *given))

    return call if placed is None else call_elsewhere
