"""A run is watched: its bar moves, and says what is waited for; where there is no bar, a line says it once."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engine.sink import OK
from . import display

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.scheduling import Scheduler
    from ..engine.scheduling.scheduler import Wait
    from ..engine.sink import Records

_BETWEEN = 0.1
_WORTH_A_LINE = 5.0  # seconds of waiting after which a line says for what

_NOWHERE = ("connect", "timeout_connect", "dns")  # outcomes of rows for which nobody was reached


@dataclass(eq=False, repr=False)
class Watch:
    """Looks at a run at each of its turns: moves the bar, or prints lines in the name of `name` (None: none)."""

    records: Records
    scheduler: Scheduler
    bar: display.Progress
    place: str
    patience: float  # seconds for which a server that is out is probed
    name: str | None
    clock: Callable[[], float] = time.monotonic  # the scheduler's
    _next: float = -math.inf
    _ok: int = 0
    _since: float | None = None
    _said: bool = False
    _said_of_pace: bool = False

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
        self.bar.show(self.records.settled, ok, "" if wait is None else self._in_short(wait, now))
        if wait is None or ok != self._ok:
            self._since, self._said, self._ok = None, False, ok
        if wait is not None:
            self._since = now if self._since is None else self._since
            if self.name is not None and not self._said and now - self._since >= _WORTH_A_LINE:
                self._said = True
                self._say(wait, now, now - self._since)

    def _say(self, wait: Wait, now: float, seconds: float) -> None:
        if wait.reason == "pace":  # it is so for every row
            if not self._said_of_pace:
                display.say(f"{self.name}: {self._in_short(wait, now)} (Ctrl-C ends)")
            self._said_of_pace = True
        elif wait.reason == "pause" or (wait.reason == "retry" and wait.outcome not in _NOWHERE):
            display.say(f"{self.name}: {self._in_short(wait, now)} (Ctrl-C ends)")
        else:
            most = f" for up to {self.patience:g} s" if wait.reason == "outage" else ""
            trouble = self._trouble(wait.outcome)
            display.say(f"{self.name}: {trouble} since {seconds:.0f} s; trying again{most} (Ctrl-C ends)")

    def _in_short(self, wait: Wait, now: float) -> str:
        left = "" if wait.until is None else f" {math.ceil(wait.until - now):,} s"
        if wait.reason == "pause":
            return f"waiting before the next request to {self.place}{left}"
        if wait.reason == "pace":
            return f"pacing: the next request has to wait{left}"
        if wait.reason == "retry" and wait.outcome not in _NOWHERE:
            return "rows that failed are asked again"
        return f"{self._trouble(wait.outcome)}, trying again"

    def _trouble(self, outcome: str | None) -> str:
        if outcome in ("connect", "timeout_connect"):
            return f"no connection to {self.place}"
        if outcome == "dns":
            return f"the name of {self.place} is not found"
        return f"{self.place} answers nobody"
