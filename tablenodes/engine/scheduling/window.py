"""How many calls may be in flight: fewer after the server asked for a pause, more again with each success."""

from __future__ import annotations

import math

from ..policy import WINDOW_AFTER_PAUSE


class Window:
    """The places for calls in flight.

    Parameters
    ----------
    limit : int
        The most there may be.

    Attributes
    ----------
    limit : int
        The most there may be.
    size : int
        How many there are now, from 1 to `limit`.
    """

    __slots__ = ("_narrowed_at", "_successes", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = self.size = limit
        self._successes = 0
        self._narrowed_at = -math.inf

    def cap(self, limit: int) -> None:
        """Lower the limit for good."""
        self.limit = max(1, min(self.limit, limit))
        self.size = min(self.size, self.limit)

    def widen(self) -> None:
        """Count a success: as many as there are places make one more."""
        self._successes += 1
        if self._successes >= self.size and self.size < self.limit:
            self.size += 1
            self._successes = 0

    def narrow(self, started: float, now: float) -> None:
        """Take places away, for a pause that a call asked for which was `started` since the last narrowing.

        The answers of a whole wave say the same thing: one of them narrows the window.
        """
        if started >= self._narrowed_at:
            self._narrowed_at = now
            self._shrink_to(self.size)

    def reopen(self) -> None:
        """Begin again after an outage."""
        self._shrink_to(self.limit)

    def _shrink_to(self, whole: int) -> None:
        self.size = min(self.size, max(1, int(whole * WINDOW_AFTER_PAUSE)))
        self._successes = 0
