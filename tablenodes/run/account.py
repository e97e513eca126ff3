"""The account of a run over batches: what its rows have used, and why they failed, summed up batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.sink import Records
from .failures import Failures
from .spending import Spent
from .summary import Met

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..answers import Pricing
    from .spending import Replaced, Spending


class Account:
    """What the rows of one node have used; `replaced` are paid answers that others took the place of."""

    def __init__(self, pricing: Pricing) -> None:
        self.failures, self.spent = Failures(), Spent(0.0) if pricing.is_known else None
        self.replaced: list[Replaced] = []
        self.reused = self.prompt_tokens = self.completion_tokens = 0
        self.met = Met.of(Records(0))

    def taken(self) -> list[Replaced]:
        """Return what was replaced since this was asked last."""
        replaced, self.replaced[:] = [*self.replaced], []
        return replaced

    def add(self, records: Records, spending: Spending, start: int, left_out: Collection[int] = ()) -> None:
        """Add a batch whose first row is at `start`; rows that are left out end later."""
        ends = zip(records.outcome, records.status, records.message, records.reason, records.kind, strict=True)
        self.failures.add(ends, start, left_out)
        self.met = self.met.joined(Met.of(records))
        self.reused += sum(records.reused)
        for name in ("prompt_tokens", "completion_tokens"):
            ends_of = zip(getattr(records, name), records.reused, strict=True)
            own = sum(tokens for tokens, reused in ends_of if tokens and not reused)
            setattr(self, name, getattr(self, name) + own + sum(filter(None, spending.replaced[name])))
        if (spent := spending.spent) is not None:
            self.spent = spent if self.spent is None else self.spent + spent
