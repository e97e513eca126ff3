"""A transport that notices when the embedded model's server has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.calls import Answer
from ..engine.transports.wrapper import Wrapper
from ..errors import ModelError

if TYPE_CHECKING:
    from ..engine.calls import Event, Transport
    from .server import LocalServer


class Watched(Wrapper):
    """Carries calls to the embedded model, and stops where the model has ended: nobody else would answer."""

    def __init__(self, inner: Transport, server: LocalServer) -> None:
        super().__init__(inner)
        self._server = server

    def wait(self, seconds: float) -> list[Event]:
        """Return the events that came; `ModelError` if a call failed because the server has ended."""
        events = self._inner.wait(seconds)
        failed = any(isinstance(event, Answer) and event.status is None for event in events)
        if failed and (reason := self._server.ended) is not None:
            raise ModelError(f"the embedded model has ended: {reason}")
        return events
