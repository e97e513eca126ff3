"""The account of a run over batches: what its rows have used, and why they failed, summed up batch by batch."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..engine.sink import OK, Records
from .failures import Failures
from .row_sums import FirstRows, RowSums
from .spending import Spent
from .summary import Met

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ..answers import Pricing
    from ..tables import TableView
    from .failures import RowEnd
    from .spending import Replaced, Spending


class Account:
    """What the rows of one node have used; `replaced` are paid answers that others took the place of."""

    def __init__(self, pricing: Pricing) -> None:
        self.failures, self.spent = Failures(), Spent(0.0) if pricing.is_known else None
        self.sums, self.firsts = RowSums(), FirstRows()
        self.has_report = True  # or nobody asks for the first rows of reasons
        self.replaced: list[Replaced] = []
        self._again = Counter[str]()  # the tokens of answers that were replaced
        self.met = Met.of(Records(0))

    @property
    def reused(self) -> int:
        """How many rows have the answer of an earlier run."""
        return self.sums.total("reused")

    @property
    def prompt_tokens(self) -> int:
        """The tokens of this run's prompts."""
        return self.sums.total("prompt") + self._again["prompt_tokens"]

    @property
    def completion_tokens(self) -> int:
        """The tokens of this run's answers."""
        return self.sums.total("completion") + self._again["completion_tokens"]

    def taken(self) -> list[Replaced]:
        """Return what was replaced since this was asked last."""
        replaced, self.replaced[:] = [*self.replaced], []
        return replaced

    def add(
        self,
        view: TableView,
        records: Records,
        spending: Spending,
        rows: Sequence[int],
        left_out: Collection[int] = (),
    ) -> None:
        """Add rows of a view, which are at these positions of the whole table; those that are left out end later."""
        if {*records.outcome} != {OK}:
            ends = zip(records.outcome, records.status, records.message, records.reason, records.kind, strict=True)
            self.fail(view, ends, rows, left_out)
        self.met = self.met.joined(Met.of(records))
        self.sums.add(records, spending, left_out)
        for name in ("prompt_tokens", "completion_tokens"):
            self._again[name] += sum(filter(None, spending.replaced[name]))
        if (spent := spending.spent) is not None:
            self.spent = spent if self.spent is None else self.spent + spent

    def fail(
        self, view: TableView, ends: Iterable[RowEnd], rows: Sequence[int], left_out: Collection[int] = ()
    ) -> None:
        """Add why rows failed, and keep the first ones; see `add`."""
        for group, at in self.failures.add(ends, rows, left_out).items():
            if self.has_report:
                self.firsts.keep(group, rows[at], view, at)
