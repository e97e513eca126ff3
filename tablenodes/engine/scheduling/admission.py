"""How many calls may be begun, and when: the window, a pause, an outage and the pace together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .gates import ClosedTime, Outage
from .pacing import Pacing
from .window import Window

if TYPE_CHECKING:
    from ...settings import Limits, Retry


class Admission:
    """All that stands between a row and its call.

    Parameters
    ----------
    limits : Limits
        What the run may use.
    retry : Retry
        How long servers are waited for.

    Attributes
    ----------
    window : Window
        How many calls may be in flight.
    outage : Outage
        Whether the server answers anybody.
    pacing : Pacing
        How fast calls may be begun.
    paused_until : float
        The end of the longest pause that the server has asked for.
    """

    __slots__ = ("_closed", "_hopeless_since", "_retry", "outage", "pacing", "paused_until", "window")

    def __init__(self, limits: Limits, retry: Retry) -> None:
        self._retry = retry
        self._closed = ClosedTime()
        self._hopeless_since = math.inf
        self.window = Window(limits.concurrency)
        self.outage = Outage(retry.outage_patience, self._closed)
        self.pacing = Pacing(limits.requests_per_minute, limits.tokens_per_minute)
        self.paused_until = -math.inf

    def room(self, now: float, in_flight: int) -> int:
        """Give how many calls may be begun right now."""
        if now < self.paused_until:
            return 0
        room = self.window.size - in_flight
        if self.outage.is_shut:
            waits = self.outage.probe is not None or now < self.outage.next_probe
            room = 0 if waits else min(1, self.window.limit - in_flight)
        if self.pacing.active and room > 0:
            room = min(room, self.pacing.room(now))
        return max(0, room)

    def opens_at(self, now: float, in_flight: int) -> float | None:
        """Give from when there is room, now or later; None where only an answer makes room."""
        opens = max(now, self.paused_until)
        if self.outage.is_shut:
            if self.outage.probe is not None or in_flight >= self.window.limit:
                return None
            opens = max(opens, self.outage.next_probe)
        elif in_flight >= self.window.size:
            return None
        return max(opens, self.pacing.ready_at(now)) if self.pacing.active else opens

    def pause(self, started_at: float, now: float, until: float) -> None:
        """Begin nothing until then, and fewer at a time afterwards."""
        self.window.narrow(started_at, now)
        if until > self.paused_until:
            self.paused_until = until
            if not self.outage.is_shut:
                self._closed.add(now, until)

    def is_too_long(self, delay: float, started_at: float, now: float) -> bool:
        """Tell whether the server asks for a longer pause than a run waits, for a call that was begun at `started_at`.

        One that outlasts the time of every row is waited for once: if the server asks for such a pause again after it,
        and has served nobody, then each further one would cost a row.
        """
        if delay > self._retry.max_retry_after:
            return True
        if delay < self._retry.row_deadline or not delay:
            return False
        again = started_at > self._hopeless_since
        self._hopeless_since = min(self._hopeless_since, now)
        return again

    def told_to_wait(self, now: float) -> float:
        """Give the seconds until the allowance lets anything pass, where they are more than a run waits; else 0."""
        seconds = self.pacing.told_wait(now) if self.pacing.active else 0.0
        return seconds if seconds > self._retry.max_retry_after else 0.0

    def reopen(self, now: float) -> None:
        """Take it that the server answers."""
        self._hopeless_since = math.inf
        if self.outage.answered(now):
            self.window.reopen()
            self._closed.add(now, max(now, self.paused_until))

    def seconds_closed(self, now: float) -> float:
        """Give the seconds for which nothing could be begun, up to now."""
        return self.outage.seconds_shut(now)
