"""The gates that all rows share: a pause that the server asked for, and an outage of the server."""

from __future__ import annotations

import math

from .backoff import probe_delay


class ClosedTime:
    """How long nothing could be sent; what two gates closed together counts once."""

    __slots__ = ("_sum", "_until")

    def __init__(self) -> None:
        self._sum = 0.0
        self._until = -math.inf

    def add(self, since: float, until: float) -> None:
        """Count the time from `since` to `until`; a later call must not begin earlier."""
        self._sum += max(0.0, until - max(since, self._until))
        self._until = max(self._until, until)

    def seconds(self, now: float, shut_since: float) -> float:
        """Give the sum up to now, for a gate that has been shut since `shut_since` too."""
        not_yet = max(0.0, self._until - now)
        return self._sum - not_yet + max(0.0, now - max(shut_since, self._until))


class Outage:
    """The gate before a server that answers nobody: while it is shut, one probe at a time goes through.

    Parameters
    ----------
    patience : float
        Seconds for which the server is probed.
    closed : ClosedTime
        Where the time is counted that the gate was shut.

    Attributes
    ----------
    is_shut : bool
        Whether only probes go through.
    probe : int or None
        The key of the row that is probing right now.
    next_probe : float
        When the next probe may go.
    """

    __slots__ = ("_closed", "_failures", "_patience", "_probes", "_shut_at", "is_shut", "next_probe", "probe")

    def __init__(self, patience: float, closed: ClosedTime) -> None:
        self._closed = closed
        self._patience = patience
        self._failures = self._probes = 0
        self._shut_at = -math.inf
        self.is_shut = False
        self.probe: int | None = None
        self.next_probe = -math.inf

    def failed(self, threshold: int, now: float) -> None:
        """Count a failure that may be an outage's; `threshold` of them in a row shut the gate."""
        self._failures += 1
        if not self.is_shut and self._failures >= threshold:
            self.is_shut = True
            self._shut_at = now
            self._probes = 0
            self._plan(now)

    def probe_failed(self, now: float) -> bool:
        """Plan the next probe; give whether patience has ended instead."""
        self.probe = None
        self._probes += 1
        self._plan(now)
        return now >= self._shut_at + self._patience

    def answered(self, now: float) -> bool:
        """Take it that the server answers; give whether that opened the gate."""
        self._failures = 0
        if not self.is_shut:
            return False
        self.is_shut = False
        self.probe = None
        self._closed.add(self._shut_at, now)
        return True

    def seconds_shut(self, now: float) -> float:
        """Give the time for which nothing could be sent up to now, that of a gate that is still shut included."""
        return self._closed.seconds(now, self._shut_at if self.is_shut else now)

    def _plan(self, now: float) -> None:
        """Set the next probe; the last one goes when patience ends."""
        self.next_probe = max(now, min(now + probe_delay(self._probes), self._shut_at + self._patience))
