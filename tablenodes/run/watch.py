"""A run is watched: its bar moves, and says what is waited for; where there is no bar, a line says it once."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engine.policy import NAME_TRIES
from ..engine.sink import NOT_SENT, OK, SKIPPED
from . import display
from .display import counted
from .failures import alike
from .timeline import RETRIED, Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..engine.scheduling import Scheduler
    from ..engine.scheduling.stops import Wait
    from ..engine.sink import Records
    from .progress import Progress
    from .server_watch import ServerWatch
    from .timeline import Timeline

_BETWEEN = 0.1
_OFTEN, _SELDOM = 1.0, 10.0  # seconds between two lines of details, where there is news and where there is none
_SAME = 0.1  # the share by which a pace that is told again must differ
_WORTH_A_LINE = 5.0  # seconds of waiting after which a line says for what

# What happened, by the outcomes of rows for which no server was reached.
_TROUBLE = {"connect": "no connection", "timeout_connect": "connecting timed out", "dns": "name not found"}


@dataclass(eq=False, repr=False)
class Watch:
    """Looks at a run at each of its turns: moves the bar, or prints lines in the name of `name` (None: none)."""

    records: Records
    scheduler: Scheduler
    bar: Progress
    places: Sequence[str]  # of the connections
    patience: float  # seconds for which a server that is out is probed
    name: str | None
    servers: ServerWatch | None = None
    grace: float = 0.0  # seconds that what is in flight is given once the run is interrupted
    began: float = 0.0  # the run's first moment on the clock
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
        self._details = Details(self) if self.name is not None and display.DETAILED.get() else None
        self._recording = Recording()

    def __call__(self) -> None:
        """Look up, ten times a second, and where a bucket of the timeline ends."""
        now, recording = self.clock(), self._recording
        if (in_flight := self.scheduler.in_flight) > recording.highest:
            recording.highest = in_flight
        if now < self._next:
            return
        if self.servers is not None:
            self.servers.tell(self.name, now)
        wait, ok = self.scheduler.wait(now), self.records.counts[OK]
        recording.look(now - self.began, self._counts(), self.scheduler.waiting, "" if wait is None else wait.reason)
        self._next = min(now + _BETWEEN, self.began + recording.until)
        if self.scheduler.stopped == "interrupted":
            self._show_finishing(ok)
            return
        self.bar.show(self.records.settled, ok, "" if wait is None else self.in_short(wait, now))
        if self._details is not None:
            self._details.tell(now, wait)
            return
        if wait is None or ok != self._ok:
            self._since, self._said, self._ok = None, False, ok
        if wait is not None:
            self._since = now if self._since is None else self._since
            worth = 0.0 if wait.reason == "name" else _WORTH_A_LINE
            if self.name is not None and not self._said and now - self._since >= worth:
                self._said = True
                self._say(wait, now, now - self._since)

    def timeline(self) -> Timeline:
        """Return what the run did over time, up to now."""
        self._recording.look(self.clock() - self.began, self._counts(), self.scheduler.waiting, "")
        return self._recording.timeline

    def _counts(self) -> dict[str, float]:
        """Return what the run has done in all: rows that ended in it, and requests that began."""
        records, scheduler = self.records, self.scheduler
        ok, others = records.counts[OK] - records.recalled[OK], (OK, SKIPPED, NOT_SENT)
        failed = sum(count - records.recalled[name] for name, count in records.counts.items() if name not in others)
        retried = {RETRIED + cause: count for cause, count in scheduler.retries.items()}
        return {"ok": ok, "failed": failed, "sent": scheduler.sent + scheduler.in_flight, **retried}

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
            words = f"{self.in_short(wait, now)};"
        else:
            patience = {"outage": self.patience, "name": NAME_TRIES[-1]}.get(wait.reason)
            most = "" if patience is None else f" for up to {patience:g} s"
            mistake = "; check the address" if wait.reason == "name" else ""
            how_long = f", for {seconds:.0f} s" if seconds >= 1 else ""
            words = f"{self._trouble(wait, how_long)}{mistake}; retrying{most},"
        display.say(f"{self.name}: {words} Ctrl-C to stop")

    def in_short(self, wait: Wait, now: float) -> str:
        """Return what is waited for, and for how long."""
        place = self.places[wait.line]
        left = "" if wait.until is None else f" {math.ceil(wait.until - now):,} s"
        if wait.reason == "pause":
            return f"waiting{left} before the next request to {place}{_said(wait)}"
        if wait.reason == "pace" and wait.rate is not None:
            return f"pacing: {place} serves about {wait.rate:,.{int(wait.rate < 10)}f} requests a second"
        if wait.reason == "pace":
            return f"pacing: waiting{left} before the next request"
        if wait.reason == "retry" and wait.outcome not in _TROUBLE:
            return f"retrying rows that failed{_said(wait)}"
        return f"{self._trouble(wait)}, retrying"

    def _trouble(self, wait: Wait, how_long: str = "") -> str:
        place = self.places[wait.line]
        if trouble := _TROUBLE.get(wait.outcome or ""):
            return f"cannot reach {place} ({trouble}{how_long})"
        return f"{place} serves no request ({wait.outcome or 'no answer'}{how_long}){_said(wait)}"


class Details:
    """Says in lines how a run goes: when rows are tried again, why, and what is waited for; else every ten seconds."""

    def __init__(self, watch: Watch) -> None:
        self._watch, self._began = watch, watch.clock()
        self._retries: Counter[str] = Counter()
        self._why, self._told, self._waits, self._sent, self._rate = "", "", "", 0, 0.0
        self._at, self._next, self._idle = self._began, self._began, self._began + _SELDOM

    def tell(self, now: float, wait: Wait | None) -> None:
        """Say what is new, once a second at most."""
        retried = Counter(self._watch.scheduler.retries) - self._retries
        outcome, why = self._watch.scheduler.trouble
        self._why = why or outcome or self._why
        waits = "" if wait is None or wait.reason == "retry" else wait.reason
        if now < self._next or not (retried or waits != self._waits or now >= self._idle):
            return
        self._retries += retried
        waited = self._watch.in_short(wait, now) if wait is not None and waits else ""
        parts = [self._so_far(now), self._again(retried), waited or self._pace()]
        self._at, self._next, self._idle, self._waits = now, now + _OFTEN, now + _SELDOM, waits
        display.say(f"{self._watch.name}: {'; '.join(filter(None, parts))}")

    def _so_far(self, now: float) -> str:
        """Return how far the run is, and how fast it was since the last line."""
        records, scheduler = self._watch.records, self._watch.scheduler
        sent, self._sent = scheduler.sent - self._sent, scheduler.sent
        rate = f", {sent / (now - self._at):,.1f} requests a second" if now > self._at else ""
        rows = f"{records.settled:,} of {counted(len(records), 'row')}, {records.counts[OK]:,} ok"
        return f"after {display.duration(now - self._began)}: {rows}, {scheduler.in_flight:,} in flight{rate}"

    def _pace(self) -> str:
        """Return the pace that the run has learned, where it is new."""
        rate = self._watch.scheduler.admission.learned.rate
        if rate is None or abs(rate - self._rate) < _SAME * rate:
            return ""
        self._rate = rate
        return f"the server serves about {rate:,.1f} requests a second"

    def _again(self, retried: Counter[str]) -> str:
        """Return how many requests were sent again after what, and the server's words where they are new."""
        kinds = ", ".join(f"{count:,} after {kind}" for kind, count in retried.items())
        is_new = kinds and alike(self._why) != self._told
        if is_new:
            self._told = alike(self._why)
        return kinds and f"sent again: {kinds}{f' ({self._why})' if is_new else ''}"


def _said(wait: Wait) -> str:
    """Return why, as the server says it."""
    return f": {wait.told}" if wait.told else ""
