"""A transport that keeps to each row's own deadline, which may have begun to run in an earlier process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.calls import Answer
from ..engine.transports.wrapper import Wrapper

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.calls import Call, Event, Transport

_WORDS = "the time within which the row was to be answered has passed"


class Deadlines(Wrapper):
    """Asks before each call for how many seconds its row may still be sent."""

    def __init__(self, inner: Transport, seconds_left: Callable[[int], float]) -> None:
        super().__init__(inner)
        self._seconds_left = seconds_left
        self._late: list[Event] = []

    def start(self, call: Call) -> None:
        """Begin a call, unless it is too late; it may take no longer than the row has left."""
        left = self._seconds_left(call.key)
        if left <= 0:
            self._late.append(Answer(call.key, None, b"", b"", "timeout_total", _WORDS, sends=0))
        else:
            self._inner.start(call._replace(total=min(call.total, left)))

    def cancel(self, key: int) -> None:
        """Drop a call."""
        self._late = [event for event in self._late if event.key != key]
        self._inner.cancel(key)

    def wait(self, seconds: float) -> list[Event]:
        """Return the events that came."""
        late, self._late = self._late, []
        return late + self._inner.wait(0.0 if late else seconds)
