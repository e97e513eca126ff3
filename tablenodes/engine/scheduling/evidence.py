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


class Mark(NamedTuple):
    """A point in the order of the sends: the last one before it, when that was sent, how many were refused by then."""

    send: int
    at: float
    refused: int

    def let_in_since(self, earlier: Mark) -> tuple[int, float]:
        """Return the sends that were let in from an earlier point to this one, and the seconds between them."""
        return max(0, self.send - earlier.send - (self.refused - earlier.refused)), self.at - earlier.at

    def one_more(self) -> Mark:
        """Return it with one more refused: the refusal of an earlier send has come late."""
        return self._replace(refused=self.refused + 1)


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


class Record:
    """What became of the sends, in their order, and of those of this round: of the ones since a pace was set.

    A send is `settled` once its refusal would have come: if none has, the server has let it in, however long its answer
    takes. Refusals may come in any order, and late: each counts for the send that it is about. `first` is the number of
    the round's first send, `began` when it was sent; `settled` and `refused` are counts of the round, `first_refusal`
    is the first of them.
    """

    def __init__(self, sends: int, now: float) -> None:
        self._send, self._at, self._refused = sends, now, 0  # of the last settled send, as in `Mark`
        self._times: deque[float] = deque()  # when those were sent that are not settled
        self._early: set[int] = set()  # those of them that are known to be refused
        self._was_refused = False  # the last settled send
        self._news_from = sends + 1
        self.begin()

    def begin(self, news_from: int | None = None) -> None:
        """Begin a round; refusals of sends before `news_from` say nothing about it: by default as in the last round."""
        self.settle(math.inf)
        self.first = self._send + 1
        self._news_from = self._news_from if news_from is None else news_from
        self.settled = self.refused = self._changes = 0
        self.began: float | None = None
        self.first_refusal: Mark | None = None

    def sent(self, now: float) -> None:
        """Record a send."""
        if self.began is None:
            self.began = now
        self._times.append(now)

    def refuse(self, send: int, at: float) -> bool:
        """Record the refusal of a send; return whether it is news for this round."""
        if send > self._send:
            self._early.add(send)
            return True
        self._refused += 1
        if self.first_refusal is not None and send < self.first_refusal.send:
            self.first_refusal = self.first_refusal.one_more()
        if send < self._news_from:
            return False
        self.refused += 1
        self.settled += send < self.first
        self.first_refusal = self.first_refusal or Mark(send, at, self._refused)
        return True

    def pause(self, seconds: float) -> None:
        """Leave a pause that the server asked for out of the round's time."""
        if self.began is not None:
            self.began += seconds

    def settle(self, before: float) -> None:
        """Settle what was sent before then."""
        times, early = self._times, self._early
        while times and times[0] <= before:
            self._at = times.popleft()
            self._send += 1
            is_refused = self._send in early
            self._changes += is_refused is not self._was_refused and self.settled > 0
            self._was_refused = is_refused
            self.settled += 1
            if is_refused:
                early.discard(self._send)
                self._refused += 1
                self.refused += 1
                self.first_refusal = self.first_refusal or self.settled_until

    def forget_settled(self) -> None:
        """Count from the next send that settles."""
        self.first = self._send + 1
        self.settled = self.refused = self._changes = 0

    @property
    def settled_until(self) -> Mark:
        """The last settled send."""
        return Mark(self._send, self._at, self._refused)

    @property
    def last(self) -> int:
        """The number of the last send."""
        return self._send + len(self._times)

    @property
    def sends(self) -> int:
        """How many there are in this round."""
        return self.settled + len(self._times)

    @property
    def is_in_one_piece(self) -> bool:
        """Whether all sends up to one were let in and the others, some, refused; or the other way round."""
        return self._changes == 1 and self.refused > 1

    @property
    def is_clean(self) -> bool:
        """Whether nothing of this round was refused so far."""
        return not self.refused and not self._early

    def seconds(self, now: float) -> float:
        """Return how long the round has lasted, without pauses that the server asked for."""
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
