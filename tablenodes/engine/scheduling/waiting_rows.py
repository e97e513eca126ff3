"""The rows that wait for their next attempt, in the order in which they are due, each until its own end."""

from __future__ import annotations

import heapq
import math


class Waiting:
    """Rows that wait.

    Attributes
    ----------
    soonest_end : float
        No row's time is over before it; infinite where none waits.
    """

    __slots__ = ("_due", "soonest_end")

    def __init__(self) -> None:
        self._due: list[tuple[float, int, float]] = []
        self.soonest_end = math.inf

    def __len__(self) -> int:
        return len(self._due)

    @property
    def next_due(self) -> float | None:
        """When the first of them is due; None where none waits."""
        return self._due[0][0] if self._due else None

    def add(self, key: int, due: float, ends_at: float) -> None:
        """Have a row wait until it is due; once `ends_at` has come, nothing is sent for it."""
        heapq.heappush(self._due, (due, key, ends_at))
        self.soonest_end = min(self.soonest_end, ends_at)

    def take(self, now: float) -> int | None:
        """Take the row that is due first; None where none is due."""
        if not self._due or self._due[0][0] > now:
            return None
        key = heapq.heappop(self._due)[1]
        if not self._due:
            self.soonest_end = math.inf
        return key

    def take_late(self, now: float) -> list[int]:
        """Take the rows whose time is over; those that were to be sent first come first."""
        late = [key for _, key, ends_at in sorted(self._due) if ends_at <= now]
        self._due = [each for each in self._due if each[2] > now]
        heapq.heapify(self._due)
        self.soonest_end = min((ends_at for _, _, ends_at in self._due), default=math.inf)
        return late

    def take_all(self) -> list[int]:
        """Take every row."""
        return self.take_late(math.inf)
