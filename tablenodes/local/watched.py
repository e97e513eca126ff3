"""A transport that notices when the embedded model's server has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.calls import Answer
from ..errors import ModelError

if TYPE_CHECKING:
    from ..engine.calls import Call, Event, Transport
    from .server import LocalServer


class Watched:
    """Carries calls to the embedded model, and stops where the model has ended: nobody else would answer.

    Parameters
    ----------
    inner : Transport
        What carries the bytes.
    server : LocalServer
        The model's server.

    Attributes
    ----------
    capacity : int or None
        That of `inner`.
    """

    def __init__(self, inner: Transport, server: LocalServer) -> None:
        self._inner = inner
        self._server = server
        self.capacity: int | None = getattr(inner, "capacity", None)

    def start(self, call: Call) -> None:
        """Begin a call."""
        self._inner.start(call)

    def cancel(self, key: int) -> None:
        """Drop a call."""
        self._inner.cancel(key)

    def end(self, key: int, fault: str | None = None, message: str = "") -> None:
        """End a call, if the inner transport can: its answer is what came until now."""
        end = getattr(self._inner, "end", None)
        if end is not None:
            end(key, fault, message)

    def wait(self, seconds: float) -> list[Event]:
        """Give the events that came.

        Raises
        ------
        ModelError
            If a call failed because the server has ended.
        """
        events = self._inner.wait(seconds)
        failed = any(isinstance(event, Answer) and event.status is None for event in events)
        if failed and (reason := self._server.ended) is not None:
            raise ModelError(f"the embedded model has ended: {reason}")
        return events

    def close(self) -> None:
        """Drop every call and close every connection."""
        self._inner.close()
