"""How fast calls may start: by the pace of the settings, and by the allowances that a server tells."""

from __future__ import annotations

import math

from .. import policy
from ..outcomes.rules import Failure
from ..response_head import rate_limits
from .allowance import UNLIMITED, Allowance, Mark, Sent
from .evidence import History

_MINUTE = 60.0
_UNUSED = frozenset((Failure.NOT_EXECUTED, Failure.THROTTLED))  # failures of calls that used up no allowance


class Pace:
    """A steady number of units a minute, of which a little may go out at once.

    A call of many units passes as a whole and is made up for by the wait after it.
    """

    __slots__ = ("_burst", "_interval", "_ready")

    def __init__(self, per_minute: float) -> None:
        self.change(per_minute)
        self._ready = -math.inf

    def room(self, now: float, cost: float) -> int:
        """Return how many calls of `cost` units may go out now."""
        saved = now - max(self._ready, now - self._burst)
        return 0 if saved < 0 else 1 + int(saved / (self._interval * cost))

    def change(self, per_minute: float) -> None:
        """Go on at another pace."""
        self._interval = _MINUTE / per_minute
        self._burst = max(0.0, policy.BURST_SECONDS - self._interval)

    def ready_at(self) -> float:
        """Return the time from which a call may go out."""
        return self._ready

    def take(self, now: float, units: float) -> None:
        """Count units that went out; fewer than 0 returns what was estimated too high."""
        self._ready = max(self._ready, now - self._burst) + units * self._interval


class Pacing:
    """All that slows the starting of calls down; where it is not `active`, `room` and `ready_at` need not be asked."""

    __slots__ = (
        *("_allowances", "_before", "_began", "_calls", "_counted", "_guessed", "_ignores", "_lately", "_lately_since"),
        "_mean",
        *("_read_from", "_request_pace", "_token_pace", "_tokens", "active"),
    )

    def __init__(self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None) -> None:
        self._request_pace = Pace(requests_per_minute) if requests_per_minute else None
        self._token_pace = Pace(tokens_per_minute) if tokens_per_minute else None
        self._allowances: tuple[Allowance, Allowance] | None = None
        self.active = bool(requests_per_minute or tokens_per_minute)
        self._calls = self._read_from = self._lately = self._before = 0
        self._lately_since = -math.inf
        self._began = 0.0
        self._ignores = False
        self._tokens = 0.0
        self._mean = policy.TOKENS_GUESS
        self._counted = self._guessed = policy.TOKENS_GUESS

    @property
    def tokens(self) -> float:
        """The tokens of a call, as far as they are known."""
        return self._mean

    def change_tokens(self, per_minute: float) -> None:
        """Go on at another pace of tokens."""
        if self._token_pace is None:
            self._token_pace, self.active = Pace(per_minute), True
        self._token_pace.change(per_minute)

    def room(self, now: float) -> int:
        """Return how many calls may start now."""
        room = UNLIMITED
        if self._request_pace is not None:
            room = self._request_pace.room(now, 1.0)
        if self._token_pace is not None:
            room = min(room, self._token_pace.room(now, self._mean))
        if self._allowances is not None:
            requests, tokens = self._allowances
            room = min(room, requests.room(now, self._calls, 1.0), tokens.room(now, self._tokens, self._mean))
        return room

    def ready_at(self, now: float) -> float:
        """Return the time from which a call may start, as far as it is known."""
        ready = now
        for pace in (self._request_pace, self._token_pace):
            if pace is not None:
                ready = max(ready, pace.ready_at())
        if self._allowances is not None:
            requests, tokens = self._allowances
            ready = max(ready, requests.ready_at(now, self._calls, 1.0), tokens.ready_at(now, self._tokens, self._mean))
        return ready

    def told_wait(self, now: float) -> float:
        """Return the seconds until the allowances that the server tells let a call pass, as far as that is known."""
        if self._allowances is None:
            return 0.0
        requests, tokens = self._allowances
        ready = max(requests.ready_at(now, self._calls, 1.0), tokens.ready_at(now, self._tokens, self._mean))
        return ready - now

    def history(self, now: float) -> History:
        """Return what was sent until now."""
        lately = self._lately + self._before
        seconds = min(now - self._began, now - self._lately_since + policy.ON_THE_WAY)
        return History(self._calls, now - self._began, lately / max(seconds, policy.SHORTEST_WAIT))

    def disregard(self) -> None:
        """Ignore what the server tells of allowances, until it refuses a call with it."""
        self._ignores = True
        for allowance in self._allowances or ():
            allowance.disregard()

    def started(self, now: float, tokens: float) -> Sent:
        """Count a call of about `tokens` tokens, 0 where nobody knows; `answered` needs the mark that is returned."""
        guess = tokens or policy.TOKENS_GUESS
        cost = guess * self._counted / self._guessed
        if now - self._lately_since >= policy.ON_THE_WAY:
            self._began = self._began if self._calls else now
            self._before = self._lately if now - self._lately_since < 2 * policy.ON_THE_WAY else 0
            self._lately, self._lately_since = 0, now
        self._lately += 1
        self._calls += 1
        self._tokens += cost
        if self.active:
            self._mean += policy.TOKENS_MEMORY * (cost - self._mean)
            if self._request_pace is not None:
                self._request_pace.take(now, 1.0)
            if self._token_pace is not None:
                self._token_pace.take(now, cost)
            if self._allowances is not None:
                requests, token_allowance = self._allowances
                asks = requests.take(now, self._calls, 1.0)
                if token_allowance.take(now, self._tokens, cost) or asks:
                    self._read_from = 0
        return now, self._calls, self._tokens, cost, guess

    def answered(
        self, sent: Sent, told: bytes | None, tokens: int | None, in_flight: int, now: float, *, kind: Failure | None
    ) -> None:
        """Learn from the answer to a call; `sent` is its mark.

        `told` are the header lines in lower case, where they tell of allowances; `tokens` are those that the server
        counted, `in_flight` the calls that are not answered yet; `kind` is None where the answer is no failure.
        """
        mark = Mark(*sent)
        if tokens:
            kept = 1 - policy.TOKENS_MEMORY
            self._counted = kept * self._counted + tokens
            self._guessed = kept * self._guessed + mark.guess
        unused = kind in _UNUSED
        if self._token_pace is not None and (tokens is not None or unused):
            self._token_pace.take(now, ((tokens or 0) if not unused else 0) - mark.cost)
        if told is not None and (unused or mark.calls >= self._read_from):
            self._told(mark, told, in_flight, now, kind)
        elif told is None and self._allowances is not None:
            for allowance, units in zip(self._allowances, (1.0, mark.cost), strict=True):
                allowance.untold(mark, ok=kind in (None, Failure.UNUSABLE))
                if unused:
                    allowance.unused(mark, units)

    def _told(self, mark: Mark, lines: bytes, in_flight: int, now: float, kind: Failure | None) -> None:
        limits = rate_limits(lines)
        self._ignores = self._ignores and kind is not Failure.THROTTLED
        if limits is None or self._ignores:
            return
        if self._allowances is None:
            self._allowances = (Allowance(), Allowance())
            self.active = True
        on_the_way = min(in_flight, self._lately + self._before)
        plenty = float(UNLIMITED)
        counts = ((mark.calls, self._calls, 1.0), (mark.tokens, self._tokens, mark.cost))
        for allowance, told, (then, by_now, units) in zip(self._allowances, limits, counts, strict=True):
            if told is not None:
                if kind is Failure.THROTTLED:
                    allowance.refused(mark, units, now)
                allowance.observe(told, mark, then, by_now, on_the_way * units, now)
                plenty = min(plenty, told.remaining / units)
        self._read_from = mark.calls + int(plenty * policy.ALLOWANCE_UNREAD)
