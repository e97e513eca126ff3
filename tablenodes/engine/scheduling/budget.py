"""The money of a run: what it has spent, and what the calls in flight may cost at the most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...notices import money

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..calls import Answer
    from ..outcomes.judge import Verdict


class Budget:
    """Lets calls begin while what is spent, and reserved for those in flight, is below a limit in USD.

    So a run ends above it by one request at most. `most` returns the highest price of a request's body; `charged` what
    an answer costs, given the body that was asked, None where nobody knows: then it counts with its highest price.
    `before` was spent in earlier runs. `was_short` is whether calls had to wait for the answers of others.
    """

    __slots__ = (
        *("_before", "_charged", "_largest", "_limit", "_may_grow", "_most", "_reserved", "_sum"),
        *("spent", "was_short"),
    )

    def __init__(
        self,
        limit: float,
        most: Callable[[bytes], float],
        charged: Callable[[Answer, Verdict, bytes], float | None],
        before: float = 0.0,
    ) -> None:
        self._limit, self._most, self._charged, self._before = limit, most, charged, before
        self._reserved: dict[int, float] = {}
        self._sum = self._largest = 0.0
        self.spent = before
        self.was_short = self._may_grow = False

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be sent."""
        return self.spent >= self._limit and not self._may_grow

    def grant(self, limit: float) -> None:
        """Set the limit to what a share has granted so far: more may come."""
        self._limit, self._may_grow = limit, True

    @property
    def held(self) -> float:
        """What the calls in flight may cost at the most."""
        return self._sum

    @property
    def largest(self) -> float:
        """The highest price of a call so far."""
        return self._largest

    @property
    def room(self) -> int:
        """How many calls may begin, if none costs more than those before."""
        left = self._limit - self.spent - self._sum
        if left <= 0:
            self.was_short = self.was_short or bool(self._reserved)
            return 0
        return 1 + int(min(left / self._largest, 1e6)) if self._largest else 1

    def reserve(self, key: int, body: bytes) -> bool:
        """Reserve the highest price of a call that is to begin; return whether it may."""
        if self.spent + self._sum >= self._limit:
            return False
        self._reserved[key] = price = self._most(body)
        self._largest = max(self._largest, price)
        self._sum += price
        return True

    def settle(self, answer: Answer, verdict: Verdict, body: bytes) -> None:
        """Count what an answer costs in the place of what was reserved for it."""
        reserved = self._reserved.pop(answer.key, 0.0)
        cost = self._charged(answer, verdict, body)
        self._sum = self._sum - reserved if self._reserved else 0.0
        self.spent += reserved if cost is None else cost

    def __str__(self) -> str:
        earlier = ", with earlier runs of the journal" if self._before else ""
        return f"{money(self.spent)} of {money(self._limit)}{earlier}"


class Budgets:
    """The money of several connections, each with a limit of its own or none; `line_of` returns the number of a key's.

    Once one is spent, nothing more is sent.
    """

    __slots__ = ("_each", "_line_of")

    def __init__(self, each: Sequence[Budget | None], line_of: Callable[[int], int]) -> None:
        self._each, self._line_of = each, line_of

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be sent."""
        return any(each.is_spent for each in self._each if each is not None)

    @property
    def room(self) -> int:
        """How many calls may begin, whichever connection they go to."""
        return min(each.room for each in self._each if each is not None)

    def reserve(self, key: int, body: bytes) -> bool:
        """Reserve the highest price of a call that is to begin; return whether it may."""
        own = self._each[self._line_of(key)]
        return own is None or own.reserve(key, body)

    def settle(self, answer: Answer, verdict: Verdict, body: bytes) -> None:
        """Count what an answer costs in the place of what was reserved for it."""
        own = self._each[self._line_of(answer.key)]
        if own is not None:
            own.settle(answer, verdict, body)

    def __str__(self) -> str:
        return "; ".join(str(each) for each in self._each if each is not None and each.is_spent)
