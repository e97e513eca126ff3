"""A user's own transport: what it raises ends a run in order, instead of going through it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import EndedError, TransportError

if TYPE_CHECKING:
    from .calls import Call, Event, Transport


class Guarded:
    """Puts every error of a transport into an `EndedError`.

    Parameters
    ----------
    inner : Transport
        What carries the bytes.

    Attributes
    ----------
    capacity : int or None
        That of the inner one.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        end = getattr(inner, "end", None)
        if end is not None:  # not every transport has it
            self.end = end

    @property
    def capacity(self) -> int | None:
        """How many calls may be in flight."""
        return getattr(self._inner, "capacity", None)

    def start(self, call: Call) -> None:
        """Begin a call; `EndedError` if it cannot be begun."""
        try:
            self._inner.start(call)
        except Exception as error:
            raise _ended(error) from error

    def wait(self, seconds: float) -> list[Event]:
        """Give the events that came; `EndedError` if there will be none any more."""
        try:
            return self._inner.wait(seconds)
        except Exception as error:
            raise _ended(error) from error

    def cancel(self, key: int) -> None:
        """Drop a call."""
        with suppress(Exception):
            self._inner.cancel(key)

    def close(self) -> None:
        """Leave it open: it is the user's to close."""


def _ended(error: Exception) -> EndedError:
    return (
        error if isinstance(error, EndedError) else TransportError(f"the transport failed with {type(error).__name__}")
    )
