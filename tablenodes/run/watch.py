"""A run is watched: its bar moves, and says what is waited for; where there is no bar, a line says it once."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engine.policy import NAME_TRIES
from ..engine.sink import OK
from . import display
from .display import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.scheduling import Scheduler
    from ..engine.scheduling.stops import Wait
    from ..engine.sink import Records
    from .progress import Progress

_BETWEEN = 0.1
_WORTH_A_LINE = 5.0  # seconds of waiting after which a line says for what

# What happened, by the outcomes of rows for which no server was reached.
_TROUBLE = {"connect": "no connection", "timeout_connect": "connecting timed out", "dns": "name not found"}


@dataclass(eq=False, repr=False)
class Watch:
    """Looks at a run at each of its turns: moves the bar, or prints lines in the name of `name` (None: none)."""

    records: Records
    scheduler: Scheduler
    bar: Progress
    place: str
    patience: float  # seconds for which a server that is out is probed
    name: str | None
    grace: float = 0.0  # seconds that what is in flight is given once the run is interrupted
    clock: Callable[[], float] = time.monotonic  # the scheduler's
    _next: float = -math.inf
    _ok: int = 0
    _since: float | None = None
    _said: bool = False
    _said_of_pace: bool = False
    _said_of_end: bool = False

    def __post_init__(self) -> None:
        if self.bar.is_shown:
            self.name = None

    def __call__(self) -> None:
        """Look up, ten times a second at most."""
        now = self.clock()
        if now < self._next:
            return
        self._next = now + _BETWEEN
        wait, ok = self.scheduler.wait(now), self.records.counts[OK]
        if self.scheduler.stopped == "interrupted":
            self._show_finishing(ok)
            return
        self.bar.show(self.records.settled, ok, "" if wait is None else self._in_short(wait, now))
        if wait is None or ok != self._ok:
            self._since, self._said, self._ok = None, False, ok
        if wait is not None:
            self._since = now if self._since is None else self._since
            worth = 0.0 if wait.reason == "name" else _WORTH_A_LINE
            if self.name is not None and not self._said and now - self._since >= worth:
                self._said = True
                self._say(wait, now, now - self._since)

    def _show_finishing(self, ok: int) -> None:
        """Show how many requests a run that was interrupted still waits for, and how to leave at once."""
        left = self.scheduler.in_flight
        self.bar.show(self.records.settled, ok, f"{left:,} finishing, Ctrl-C again to leave" if left else "")
        if self.name is not None and left and not self._said_of_end:
            self._said_of_end = True
            finishing = f"{counted(left, 'request')} in flight {'is' if left == 1 else 'are'} finishing"
            display.say(f"{self.name}: interrupted: {finishing}, for up to {self.grace:g} s; Ctrl-C again to leave")

    def _say(self, wait: Wait, now: float, seconds: float) -> None:
        if wait.reason == "pace" and self._said_of_pace:  # it is so for every row
            return
        self._said_of_pace |= wait.reason == "pace"
        if wait.reason in ("pace", "pause") or (wait.reason == "retry" and wait.outcome not in _TROUBLE):
            words = f"{self._in_short(wait, now)};"
        else:
            patience = {"outage": self.patience, "name": NAME_TRIES[-1]}.get(wait.reason)
            most = "" if patience is None else f" for up to {patience:g} s"
            mistake = "; check the address" if wait.reason == "name" else ""
            how_long = f", for {seconds:.0f} s" if seconds >= 1 else ""
            words = f"{self._trouble(wait, how_long)}{mistake}; retrying{most},"
        display.say(f"{self.name}: {words} Ctrl-C to stop")

    def _in_short(self, wait: Wait, now: float) -> str:
        left = "" if wait.until is None else f" {math.ceil(wait.until - now):,} s"
        if wait.reason == "pause":
            return f"waiting{left} before the next request to {self.place}{_said(wait)}"
        if wait.reason == "pace" and wait.rate is not None:
            return f"pacing: {self.place} serves about {wait.rate:,.{int(wait.rate < 10)}f} requests a second"
        if wait.reason == "pace":
            return f"pacing: waiting{left} before the next request"
        if wait.reason == "retry" and wait.outcome not in _TROUBLE:
            return f"retrying rows that failed{_said(wait)}"
        return f"{self._trouble(wait)}, retrying"

    def _trouble(self, wait: Wait, how_long: str = "") -> str:
        if trouble := _TROUBLE.get(wait.outcome or ""):
            return f"cannot reach {self.place} ({trouble}{how_long})"
        return f"{self.place} serves no request ({wait.outcome or 'no answer'}{how_long}){_said(wait)}"


def _said(wait: Wait) -> str:
    """Return why, as the server says it."""
    return f": {wait.told}" if wait.told else ""
