"""What is left of a server's allowance, by what its answers tell."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, NamedTuple

from .. import policy

if TYPE_CHECKING:
    from ..response_head import RateLimit

UNLIMITED = 1_000_000_000  # more calls than anybody starts

_ROUNDING = 1e-6


class Mark(NamedTuple):
    """Where the counts stood when a call started, the call itself included: calls, and their tokens as estimated.

    `cost` are this call's tokens among them, `guess` is what the loop guessed them to be.
    """

    at: float
    calls: int
    tokens: float
    cost: float
    guess: float


Sent = tuple[float, int, float, float, float]
"""What a `Mark` has, in a plain tuple: that of every call is made, and hardly one is needed."""


class _Trust(enum.IntEnum):
    """What is believed about the way an allowance is refilled; each refusal that belies it lowers it by one."""

    CONFIRMED = 0
    """Nothing: only what an answer has told is spent."""
    AT_RESET = 1
    """It is full again when the time has passed that the server names."""
    STEADILY = 2
    """It fills by and by, as fast as it was seen to."""


class Allowance:
    """One allowance: requests, or tokens."""

    __slots__ = (
        *("_asking", "_limit", "_lowered_at", "_measured", "_next", "_order", "_period", "_refilled", "_remaining"),
        *("_reset_at", "_seen_at", "_trust", "_unknown", "_used_then"),
    )

    def __init__(self) -> None:
        self._trust = _Trust.STEADILY
        self._lowered_at = -math.inf
        self._remaining = self._limit = math.inf
        self._used_then = self._unknown = 0.0
        self._order = -1
        self._seen_at = self._reset_at = self._next = -math.inf
        self._period = policy.RESET_UNKNOWN
        self._refilled = self._measured = 0.0
        self._asking = False

    def room(self, now: float, used: float, cost: float) -> int:
        """Return how many calls of `cost` units may go out now, when `used` units have gone out in all."""
        credit = self._credit(now, used, cost)
        if credit >= UNLIMITED:
            return UNLIMITED
        calls = int(credit / cost + _ROUNDING)
        if calls < 1:
            return int(now >= self._reset_at and not self._asking)
        if self._trust is not _Trust.AT_RESET:
            return calls
        if now < self._next:
            return 0
        return min(calls, 1 + int(min(now - self._next, policy.BURST_SECONDS) / self._gap(now, credit, cost)))

    def ready_at(self, now: float, used: float, cost: float) -> float:
        """Return the time from which `room` lets a call of `cost` units out; `inf` where only an answer can tell."""
        credit = self._credit(now, used, cost)
        if credit >= cost * (1 - _ROUNDING):
            return max(now, self._next) if self._trust is _Trust.AT_RESET else now
        asks = math.inf if self._asking else self._reset_at
        if now >= asks:
            return now
        refill = self._refill()
        by_refill = now + (cost - credit) / refill if refill > 0 else math.inf
        return max(min(asks, by_refill), now + policy.SHORTEST_WAIT)

    def take(self, now: float, used: float, cost: float) -> bool:
        """Count a call of `cost` units that goes out, when `used` units have gone out in all, these among them.

        Return whether it is to ask how much is left: then its answer has to be read.
        """
        if self._remaining == math.inf:
            return False
        if now >= self._reset_at:
            self._asking = True
        if self._trust is _Trust.AT_RESET:
            credit = max(cost, self._credit(now, used, cost))
            self._next = max(self._next, now - policy.BURST_SECONDS) + self._gap(now, credit, cost)
        return self._asking

    def observe(
        self, told: RateLimit, mark: Mark, used_then: float, used: float, on_the_way: float, now: float
    ) -> None:
        """Learn from what an answer says, whose call started at `mark`.

        `used_then` and `used` are the units that had gone out then, and that have gone out by now; `on_the_way` those
        of calls of which the server may not know yet, those started earlier among them: on their way, calls overtake
        each other.
        """
        self._asking = False
        if mark.at < self._seen_at - policy.ON_THE_WAY:
            return  # the news of an older call
        if self._remaining < math.inf:
            self._measure(told.remaining - self._remaining + used_then - self._used_then, mark.at - self._seen_at)
        self._remaining, self._order, self._used_then = told.remaining, mark.calls, used_then
        self._unknown = max(0.0, on_the_way - (used - used_then))
        self._limit = math.inf if told.limit is None else told.limit
        reset = policy.RESET_UNKNOWN if told.reset is None else max(told.reset, policy.SHORTEST_WAIT)
        self._period = max(self._period, reset) if self._reset_at > -math.inf else reset
        self._reset_at = now + reset
        self._seen_at = mark.at

    def refused(self, mark: Mark, units: float, now: float) -> None:
        """Record that the server refused a call: it used up nothing, and what was believed is wrong."""
        self.unused(mark, units)
        known = self._trust is _Trust.AT_RESET or self._refill_is_known()
        if known and mark.at >= self._lowered_at:
            self._lowered_at = now
            steadily = self._trust is _Trust.STEADILY
            self._trust = _Trust.AT_RESET if steadily and self._may_reset() else _Trust.CONFIRMED

    def unused(self, mark: Mark, units: float) -> None:
        """Record that a call used up nothing: it was refused, or reached nobody."""
        self._asking = False
        if mark.calls > self._order:
            self._used_then += units
        else:
            self._refilled -= units  # it was counted as used, and so as refilled, between two answers

    def untold(self, mark: Mark, *, ok: bool) -> None:
        """Record that an answer told nothing; where it is a good one, the server no longer tells."""
        self._asking = False
        if ok and mark.calls > self._order:
            self._remaining = math.inf

    def disregard(self) -> None:
        """Forget what was told."""
        self._asking = False
        self._remaining = math.inf

    def _credit(self, now: float, used: float, cost: float) -> float:
        """Return the units that may be spent: what was told, without what went out since, with what is believed."""
        if self._remaining == math.inf:
            return math.inf
        left = self._remaining
        if self._trust is _Trust.AT_RESET and now >= self._reset_at:
            left = self._limit
        left += self._refill() * (now - self._seen_at) - (used - self._used_then) - self._unknown
        return min(self._limit, left) - min(cost, self._limit * policy.ALLOWANCE_KEPT)

    def _gap(self, now: float, credit: float, cost: float) -> float:
        """Return the seconds between calls that spread a credit over the time until it is renewed."""
        left = self._reset_at - now if now < self._reset_at else self._period
        return max(_ROUNDING, left * cost / (credit * policy.SPREAD_HASTE))

    def _refill(self) -> float:
        """Return the units a second that may be counted on."""
        if self._trust is not _Trust.STEADILY or not self._refill_is_known():
            return 0.0
        return policy.REFILL_TRUST * max(0.0, self._refilled) / self._measured

    def _refill_is_known(self) -> bool:
        return self._measured >= policy.REFILL_MEASURED_FROM

    def _may_reset(self) -> bool:
        """Whether all can be back at the time that the server names: not if far less has come back in that time."""
        seen = self._refilled * self._period / self._measured
        return self._measured < 2 * self._period or seen >= self._limit / 2

    def _measure(self, refilled: float, seconds: float) -> None:
        self._refilled += refilled
        self._measured += seconds
        if self._measured > policy.REFILL_MEMORY:
            self._refilled /= 2
            self._measured /= 2
