"""What sends and refusals show: which sends of a round were let in, and whether a limit or chance explains refusals."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

_ALL_LET_IN = 0.98
"""The share that a server lets in below its limit: sends may bunch on their way."""


class History(NamedTuple):
    """What was sent before the first refusal: sends, seconds since the first, and sends a second lately."""

    sends: int
    seconds: float
    lately: float


class Refusal(NamedTuple):
    """A refused send: its number, when it was sent, and how many refusals there had been, this one included."""

    send: int
    at: float
    refusals: int


class Share(NamedTuple):
    """So many sends, so many of them refused, at so many sends a second."""

    sends: int
    refused: int
    pace: float

    @property
    def let_in(self) -> int:
        """How many were let in."""
        return self.sends - self.refused

    def halved(self) -> Share:
        """Return it with half the weight."""
        return self._replace(sends=self.sends // 2, refused=self.refused // 2)

    def with_more(self, sends: int, refused: int, pace: float) -> Share:
        """Return it with further sends, at their pace."""
        return Share(self.sends + sends, self.refused + refused, pace)


class Round:
    """The sends since a pace was set.

    A send is `settled` once its refusal would have come: if none has, the server has let it in, however long its answer
    takes. `first_refusal` is that of the round; `settled_at` when the last settled send was sent.
    """

    __slots__ = (
        *("_first", "_next", "_refused_early", "_times", "began", "first_refusal", "refused", "settled"),
        "settled_at",
    )

    def __init__(self, first: int) -> None:
        self._first = self._next = first
        self._times: deque[float] = deque()  # when those were sent that are not settled
        self._refused_early: set[int] = set()
        self.settled = self.refused = 0
        self.began: float | None = None
        self.settled_at = 0.0
        self.first_refusal: Refusal | None = None

    def sent(self, now: float) -> None:
        """Record a send."""
        if self.began is None:
            self.began = now
        self._times.append(now)

    def refuse(self, refusal: Refusal) -> None:
        """Record a refusal; that of an earlier send counts as one of this round."""
        if self.first_refusal is None:
            self.first_refusal = refusal
        if refusal.send >= self._next:
            self._refused_early.add(refusal.send)
            return
        self.refused += 1
        self.settled += refusal.send < self._first

    def pause(self, seconds: float) -> None:
        """Leave a pause that the server asked for out of its time."""
        if self.began is not None:
            self.began += seconds

    def settle(self, before: float) -> None:
        """Settle what was sent before then."""
        times = self._times
        while times and times[0] <= before:
            self.settled_at = times.popleft()
            self.settled += 1
            if self._next in self._refused_early:
                self._refused_early.discard(self._next)
                self.refused += 1
            self._next += 1

    def forget_settled(self) -> None:
        """Count from the next send that settles."""
        self._first = self._next
        self.settled = self.refused = 0

    @property
    def first(self) -> int:
        """The number of its first send."""
        return self._first

    @property
    def last_settled(self) -> int:
        """The number of the last send that is settled."""
        return self._next - 1

    @property
    def sends(self) -> int:
        """How many there are."""
        return self.settled + len(self._times)

    @property
    def is_clean(self) -> bool:
        """Whether nothing of it was refused so far."""
        return not self.refused and not self._refused_early

    def seconds(self, now: float) -> float:
        """Return how long it has lasted, without pauses that the server asked for."""
        return 0.0 if self.began is None else max(0.0, now - self.began)


def chance_over_limit(before: Share, after: Share) -> float:
    """Return how much better chance explains the refusals at two paces than a limit does, as a log-likelihood ratio.

    By chance the same share is let in at both paces; by a limit the same number a second is. Below 0, it is a limit.
    """
    same = (before.let_in + after.let_in + 0.5) / (before.sends + after.sends + 1)
    first = min(_ALL_LET_IN, (before.let_in + 0.5) / (before.sends + 1))
    second = min(_ALL_LET_IN, first * before.pace / after.pace)
    by_chance = _log_likelihood(before, same) + _log_likelihood(after, same)
    return by_chance - _log_likelihood(before, first) - _log_likelihood(after, second)


def _log_likelihood(seen: Share, let_in: float) -> float:
    return seen.let_in * math.log(let_in) + seen.refused * math.log(1 - let_in)
