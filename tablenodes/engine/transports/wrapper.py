"""Transports around another one: the base that they share, and the one around a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..calls import Call, Carrier, Event, Transport


class Wrapper:
    """A transport around another one, to which it passes everything on; a subclass changes what it must."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    @property
    def capacity(self) -> int | None:
        """That of the inner transport."""
        return self._inner.capacity

    def start(self, call: Call) -> None:
        """Begin a call."""
        self._inner.start(call)

    def cancel(self, key: int) -> None:
        """Drop a call."""
        self._inner.cancel(key)

    def end(self, key: int, fault: str | None = None, message: str = "") -> None:
        """End a call with what came of it."""
        self._inner.end(key, fault, message)

    def wait(self, seconds: float) -> list[Event]:
        """Return the events that came."""
        return self._inner.wait(seconds)

    def close(self) -> None:
        """Drop every call and close every connection."""
        self._inner.close()


class Borrowed:
    """A user's own transport, used as it is: it may lack `capacity` and `end`, and only its user closes it."""

    def __init__(self, inner: Carrier) -> None:
        self.start, self.cancel, self.wait = inner.start, inner.cancel, inner.wait
        self._inner = inner

    @property
    def capacity(self) -> int | None:
        """The most calls that it takes at a time, if it says so."""
        return getattr(self._inner, "capacity", None)

    def end(self, key: int, fault: str | None = None, message: str = "") -> None:
        """End a call, if it can; else the call goes on until the server or its time ends it."""
        end = getattr(self._inner, "end", None)
        if end is not None:
            end(key, fault, message)

    def close(self) -> None:
        """Do nothing."""
