"""A transport that keeps to each row's own deadline, which may have begun to run in an earlier process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.calls import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.calls import Call, Event, Transport

_WORDS = "the time within which the row was to be answered has passed"


class Deadlines:
    """A transport around another one.

    Parameters
    ----------
    inner : Transport
        What carries the bytes.
    seconds_left : callable
        From a row to the seconds in which it may still be sent.
    """

    def __init__(self, inner: Transport, seconds_left: Callable[[int], float]) -> None:
        self._inner = inner
        self._seconds_left = seconds_left
        self._late: list[Event] = []

    @property
    def capacity(self) -> int | None:
        """The most calls that the inner transport takes at a time, if it says so."""
        return getattr(self._inner, "capacity", None)

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
        """Give what came."""
        late, self._late = self._late, []
        return late + self._inner.wait(0.0 if late else seconds)

    def close(self) -> None:
        """Drop every call and close every connection."""
        self._inner.close()
