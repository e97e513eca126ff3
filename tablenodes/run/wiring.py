"""The engine put together for one endpoint: the same for a run and for the worker of later answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..engine.loop import Loop
from ..engine.outcomes.judge import judge
from ..engine.redaction import Redaction
from ..engine.transports.streams import Streams, redacted
from ..errors import EndedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from ..connection.endpoint import Endpoint
    from ..engine.calls import Request, Transport
    from ..engine.journal.keeping import Keeping
    from ..engine.records import Records
    from ..engine.scheduling import Scheduler
    from ..settings import Limits

    OnText = Callable[[int, str], None]


@dataclass(frozen=True)
class Sending:
    """What all rows have in common that are sent together.

    Attributes
    ----------
    endpoint : Endpoint
        Where they go.
    request : Request
        Method, address and headers.
    limits : Limits
        What may be used at most.
    choices : bool
        Whether an answer without choices is none.
    at_most_once : bool
        Whether nothing is repeated that may have been executed.
    exact : bool
        Whether each send must be kept before it is made: then no repeat is allowed that only a transport knows of.
    stream : bool
        Whether any row may ask for a stream.
    total : float or None
        Seconds that one attempt may take; None for the endpoint's.
    on_text : callable or None
        Told the text of each row as it comes.
    """

    endpoint: Endpoint
    request: Request
    limits: Limits
    choices: bool
    at_most_once: bool
    exact: bool
    stream: bool
    total: float | None = None
    on_text: OnText | None = None

    def loop(
        self,
        scheduler: Scheduler,
        keeping: Keeping,
        records: Records,
        stack: ExitStack,
        on_turn: Callable[[], None],
        around: Callable[[Transport], Transport] | None = None,
    ) -> tuple[Loop, Streams | None]:
        """Put a loop together; what it opens is closed by `stack`.

        Parameters
        ----------
        scheduler, keeping, records, on_turn
            As in `Loop`.
        stack : ExitStack
            Closes the transport.
        around : callable, optional
            Puts another transport around the one that carries the bytes.

        Returns
        -------
        Loop, Streams or None
            The loop, and what reads its streams.
        """
        endpoint = self.endpoint

        def once(key: int) -> bool:
            return loop.may_send_once(key)

        def failed(error: Exception | KeyboardInterrupt) -> None:
            if isinstance(error, KeyboardInterrupt):
                loop.interrupt()
            else:
                loop.stop(_ended_by(error))

        transport = endpoint.transport(self.limits, once if self.exact else scheduler.may_send, stream=self.stream)
        stack.callback(transport.close)
        redaction = Redaction(endpoint.secrets)
        streams: Streams | None = None
        if self.stream or self.on_text is not None:
            transport = streams = Streams(transport, endpoint.timeout, redaction, self.on_text, failed)
        loop = Loop(
            self.request,
            transport if around is None else around(transport),
            scheduler,
            records,
            self._judge(streams),
            partial(redacted, redaction=redaction) if streams is None else redaction,
            keeping,
            total=self.total or endpoint.timeout.total,
            grace=self.limits.grace,
            on_turn=on_turn,
        )
        return loop, streams

    def _judge(self, streams: Streams | None) -> Callable[..., Any]:
        return partial(
            judge,
            needs_choices=self.choices,
            at_most_once=self.at_most_once,
            secrets=self.endpoint.secrets,
            wall_clock=time.time,
            read_stream=None if streams is None else streams.read,
        )


def _ended_by(error: Exception) -> EndedError:
    ended = EndedError(f"on_text failed with {type(error).__name__}")
    ended.__cause__ = error
    return ended
