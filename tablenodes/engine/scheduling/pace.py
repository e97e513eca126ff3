"""A pace of our own: so many units a minute."""

from __future__ import annotations

import math

from ..policy import BURST_SECONDS

_MINUTE = 60.0


class Pace:
    """A steady number of units a minute, of which a little may go out at once.

    A call of many units passes as a whole and is made up for by the wait after it.

    Parameters
    ----------
    per_minute : float
        Units a minute.
    """

    __slots__ = ("_burst", "_interval", "_ready")

    def __init__(self, per_minute: float) -> None:
        self._interval = _MINUTE / per_minute
        self._burst = max(0.0, BURST_SECONDS - self._interval)
        self._ready = -math.inf

    def room(self, now: float, cost: float) -> int:
        """Give how many calls of `cost` units may go out now."""
        saved = now - max(self._ready, now - self._burst)
        return 0 if saved < 0 else 1 + int(saved / (self._interval * cost))

    def ready_at(self) -> float:
        """Give the time from which a call may go out."""
        return self._ready

    def take(self, now: float, units: float) -> None:
        """Count units that went out; fewer than 0 gives back what was estimated too high."""
        self._ready = max(self._ready, now - self._burst) + units * self._interval
