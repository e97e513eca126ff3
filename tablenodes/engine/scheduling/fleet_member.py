"""One of several servers: what stands before it, and what its refusals and failures mean while others are there."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from .. import policy
from ..outcomes.rules import Failure
from .admission import Admission
from .attempts import Attempts
from .scheduler import Scheduler

if TYPE_CHECKING:
    from ...settings import Limits, Retry
    from ..outcomes.judge import Verdict
    from .attempts import Done
    from .lease import Rate

_OF_A_SERVER = frozenset(("auth", "quota", "setup", "alike", "not_json", "dns", "rate_limited"))
"""Reasons to stop that are one server's: while another one is there, that one alone is left."""
_ASKED_ELSEWHERE = frozenset(("auth", "access", "page", "payment", "quota", "setup", "model"))
"""What a refusal counts against where another server may answer the same row."""
_AT_ONCE = frozenset((Failure.NOT_EXECUTED, Failure.THROTTLED))


class FleetAdmission(Admission):
    """What stands between all rows and their calls, whichever server they go to; `each` is that of one server."""

    __slots__ = ("each",)

    def __init__(self, servers: int, limits: Limits, retry: Retry, learned: Rate | None = None) -> None:
        super().__init__(limits, retry, learned)
        own = replace(limits, requests_per_minute=None, tokens_per_minute=None)
        self.each = [Admission(own, retry) for _ in range(servers)]
        for admission in self.each:
            admission.outage.patience = math.inf  # while another one serves, it is probed for ever
            admission.leaves_early = True

    def opens_at(self, now: float, in_flight: int) -> float | None:
        """Return from when there is room, now or later; None where only an answer makes room."""
        opens = super().opens_at(now, in_flight)
        each = [at for admission in self.each if (at := admission.opens_at(now, 0)) is not None]
        return None if opens is None or not each else max(opens, min(each))


class Company(Protocol):
    """All servers together, as far as one of them asks."""

    admission: FleetAdmission
    failed_at: dict[int, set[int]]

    @property
    def shared(self) -> tuple[Any, ...]:
        """What all servers have in common."""

    @property
    def is_served(self) -> bool:
        """Whether a server is there that has not been left."""

    @property
    def has_sends_left(self) -> bool:
        """Whether a send may be repeated."""

    def has_other(self, member: Member, now: float) -> bool:
        """Check whether another server takes calls now."""

    def serves_beside(self, member: Member, now: float) -> bool:
        """Check whether another server is there that does not ask to wait longer than a run waits."""

    def asks_another(self, member: Member, key: int) -> bool:
        """Note that a server refused a row; return whether another one that is there has not been asked."""

    def stop(self, reason: str, words: str = "") -> None:
        """Send nothing any more."""


class Member(Scheduler):
    """One server's part: its window, gate, pace, pauses and circuits; the rows and what waits are the fleet's.

    `left` is why nothing is sent to it any more, while others are there. `seconds` is what its answers took lately.
    """

    def __init__(self, fleet: Company, number: int, limits: Limits, retry: Retry, **options: Any) -> None:
        own = replace(limits, max_requests=None, token_budget=None)
        super().__init__(own, retry, admission=fleet.admission.each[number], **options)
        self._fleet, self.number = fleet, number
        self._rows, self._waiting, self._granted, self.retries = fleet.shared
        self.left: str | None = None
        self.why = ""
        self.seconds: float | None = None
        self._looks, self._last_at = False, -math.inf
        self._moving: int | None = None  # the row that is asked elsewhere
        self._failure: Verdict | None = None

    def room(self, now: float) -> int:
        return 0 if self.left is not None else super().room(now)

    def lend(self, recoveries: int) -> None:
        """Note how often any server of the fleet has recovered."""
        self._recoveries = recoveries

    @property
    def recoveries(self) -> int:
        """How often this one has recovered, with what it was lent."""
        return self._recoveries

    @property
    def away(self) -> tuple[str, str] | None:
        """Why no rows are sent to it, and in whose words: the reason why it was left, else the last row's outcome."""
        if self.left is not None:
            return self.left, self.why
        failed = self._failure
        return (failed.outcome, failed.message) if failed is not None and self._outage.is_shut else None

    def took(self, seconds: float) -> None:
        """Learn from the time that an answer took; after a look, what was known before is nothing any more."""
        before = seconds if self.seconds is None or self._looks else self.seconds
        self._looks = False
        self.seconds = before + policy.LATENCY_MEMORY * (seconds - before)

    @property
    def expects(self) -> float | None:
        """Seconds that one more call would take, by what it has shown; None where nothing came of it yet."""
        if self._looks:
            return math.inf if self._in_flight else 0.0
        return None if self.seconds is None else self.seconds * (1 + len(self._in_flight))

    def look_again(self, best: float, now: float) -> None:
        """Have one call look whether it is as fast as the `best`, where it was slower, and has had none for a while."""
        if self.seconds is not None and not self._in_flight and self.seconds > policy.STICKINESS * best:
            self._looks = now >= self._last_at + min(policy.LOOK_LONGEST, policy.LOOK_AFTER * self.seconds)

    def started(self, key: int, now: float, tokens: int = 0, body: bytes = b"") -> float:
        self._last_at = now
        return super().started(key, now, tokens, body)

    def _may_repeat(self, key: int, granted: int) -> bool:
        return super()._may_repeat(key, granted) and self._fleet.has_sends_left

    def _failed(self, key: int, row: Attempts, kind: Failure, sends: int, now: float) -> float | None:
        due = super()._failed(key, row, kind, sends, now)
        if kind is Failure.UNUSABLE:
            return due
        self._failure = row.verdict
        self._fleet.failed_at.setdefault(key, set()).add(self.number)
        others = self._fleet.has_other(self, now)
        if others and kind is Failure.AMBIGUOUS:
            self._outage.failed(key, row.verdict.outcome, policy.OUTAGE_FAILURES, now)
        return now if due is not None and others and (kind in _AT_ONCE or self._outage.is_shut) else due

    def _next_attempt(self, row: Attempts, kind: Failure, now: float, *, charged: bool) -> float | None:
        delay = row.verdict.retry_after
        is_long = kind is Failure.THROTTLED and delay is not None and delay > self._retry.max_retry_after
        if is_long and self._fleet.serves_beside(self, now):
            self.admission.pause(now + (delay or 0.0), now)
            return now
        return super()._next_attempt(row, kind, now, charged=charged)

    def _settle(self, key: int, mark: Any, verdict: Verdict, sends: int, now: float, model: str | None) -> Done | None:
        """Bring a row to its end, or keep it for another attempt: what this server alone refuses is asked elsewhere."""
        elsewhere = verdict.kind is Failure.FINAL and verdict.circuit in _ASKED_ELSEWHERE
        if not elsewhere or self.stopped is not None or not self._fleet.asks_another(self, key):
            return super()._settle(key, mark, verdict, sends, now, model)
        row = self._rows.pop(key, None) or Attempts(mark.at, self._ends_at(key, mark.at, now))
        row.add(verdict, sends, mark.at)
        row.kind, self._failing = Failure.NOT_EXECUTED, True
        self.admission.reopen(now)
        self._rows[key] = row
        if (trial := self.circuits.trial) is not None and trial.probes is None:
            trial.probes = 1  # rows are answered elsewhere: no leap to the last one is needed
        self._moving = key
        self._count_refusal(key, verdict, model, now)
        self._moving = None
        self.circuits.held.pop(key, None)
        if key in self._rows:  # else it has its end, for the run was stopped
            due = now if self._fleet.has_other(self, now) else now + policy.PROBE_FIRST
            self._waiting.add(key, due, row)
        return None

    def _release(self, held: dict[int, Verdict]) -> None:
        super()._release({key: verdict for key, verdict in held.items() if key != self._moving})

    def stop(self, reason: str, words: str = "") -> None:
        """Leave this server, where the reason is its own and another one is there; else end the run."""
        if self.stopped is not None or self.left is not None:
            return
        self.left, self.why = reason, words
        if not (reason in _OF_A_SERVER and self._fleet.is_served):
            self._fleet.stop(reason, words)
