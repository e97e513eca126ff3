"""What is known of the rows of a stream, summed up as they come: as little for ten million rows as for ten."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import tables

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ..engine.sink import Records
    from ..tables import TableView
    from .spending import Spending

LOWEST, DECADES = -4, 9  # powers of ten, in seconds, between which latencies are told apart
FINE, COARSE = 400, 50  # bins of a power of ten: in all, and by the time at which an attempt started
SPANS = 960  # of time; from then on each has twice the seconds
USED = ("rows", "reused", "requests", "prompt", "cached", "completion", "cost")
_FIRSTS, _BYTES = 1_000, 8 * 2**20  # rows that are kept, and bytes that they may have together


class RowSums:
    """The rows by their outcomes, and how long their last attempts took: in bins, also by when they started.

    `used` has the sums of `USED` by outcome, of this run alone but for the first; `latencies` and `over_time` count
    attempts, the latter those of rows that were sent once, by spans of `width` seconds.
    """

    def __init__(self) -> None:
        import numpy  # noqa: PLC0415 - loaded where there are columns

        self.used: dict[str, Any] = {}
        self.latencies = numpy.zeros(DECADES * FINE, numpy.int64)
        self.over_time = numpy.zeros((SPANS, DECADES * COARSE), numpy.int32)
        self.width, self.attempts, self.seconds = 1.0, 0, 0.0
        self.shortest, self.longest = math.inf, 0.0

    def total(self, name: str) -> int:
        """Return a sum over all outcomes."""
        return int(sum(sums[USED.index(name)] for sums in self.used.values()))

    def count(self, outcomes: Mapping[str, int]) -> None:
        """Count the rows of a node that sends nothing."""
        self.used = {outcome: [rows, *[0] * (len(USED) - 1)] for outcome, rows in outcomes.items()}

    def add(self, records: Records, spending: Spending, left_out: Collection[int] = ()) -> None:
        """Add the rows of a batch; those that are left out have not ended."""
        import numpy  # noqa: PLC0415 - loaded where there are columns

        kept = numpy.ones(len(records), bool)
        kept[[*left_out]] = False
        own = kept & ~numpy.array([*records.reused], bool)
        sent = numpy.array([*records.attempts], float)
        tokens = (records.prompt_tokens, spending.columns["cached_tokens"], records.completion_tokens, spending.cost)
        columns = numpy.stack([kept, kept & ~own, sent * own, *(_numbers(values) * own for values in tokens)])
        outcomes = [*records.outcome]
        found = numpy.array(outcomes, object)
        for outcome in {*outcomes}:
            of_it = columns if outcomes.count(outcome) == len(outcomes) else columns[:, found == outcome]
            if of_it[0].any():
                self.used[outcome] = self.used.get(outcome, 0) + of_it.sum(axis=1)
        seconds = numpy.array([*records.latency], float)
        timed = own & ~numpy.isnan(seconds)
        if timed.any():
            self._time(seconds, timed, numpy.array([*records.started], float), sent)

    def _time(self, seconds: Any, timed: Any, started: Any, sent: Any) -> None:
        """Add how long attempts took."""
        import numpy  # noqa: PLC0415 - loaded where there are columns

        found = seconds[timed]
        self.latencies += numpy.bincount(_bins(found, FINE), minlength=len(self.latencies))
        self.attempts, self.seconds = self.attempts + len(found), self.seconds + float(found.sum())
        self.shortest, self.longest = min(self.shortest, float(found.min())), max(self.longest, float(found.max()))
        once = timed & (sent == 1) & ~numpy.isnan(started)
        if not once.any():
            return
        moments = started[once]
        while moments.max() >= SPANS * self.width:
            self.width *= 2
            self.over_time[: SPANS // 2] = self.over_time[::2] + self.over_time[1::2]
            self.over_time[SPANS // 2 :] = 0
        places = (moments / self.width).astype(int) * (DECADES * COARSE) + _bins(seconds[once], COARSE)
        numpy.add.at(self.over_time.ravel(), places, numpy.int32(1))  # of its own type: 30 times as fast


def _numbers(values: Iterable[Any]) -> Any:
    """Return numbers as an array, with 0 for None."""
    import numpy  # noqa: PLC0415 - loaded where there are columns

    found = [*values]
    if found.count(None) == len(found):
        return numpy.zeros(len(found))
    return numpy.nan_to_num(numpy.array(found, float))


def _bins(seconds: Any, many: int) -> Any:
    """Return the bins that latencies are in, of so many for each power of ten."""
    import numpy  # noqa: PLC0415 - loaded where there are columns

    places = (numpy.log10(numpy.maximum(seconds, 10.0**LOWEST)) - LOWEST) * many
    return numpy.clip(places.astype(int), 0, DECADES * many - 1)


class FirstRows:
    """The first rows of reasons for which rows failed, as far as they are few and short, by the reasons' numbers."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[int, Any]] = {}
        self._bytes = 0

    def keep(self, group: int, row: int, view: TableView, at: int) -> None:
        """Keep the first row of a group of failures: the position that it has, and where it is in a view."""
        if group in self._kept:
            self._bytes -= self._kept.pop(group)[1].nbytes
        found = tables.batch_of(view.take([at]))
        if len(self._kept) < _FIRSTS and self._bytes + found.nbytes <= _BYTES:
            self._kept[group] = row, found
            self._bytes += found.nbytes

    @property
    def places(self) -> dict[int, int]:
        """Where rows are in their view, by their positions in the whole table."""
        return {row: at for at, (row, _) in enumerate(self._kept.values())}

    def view(self, schema: Any) -> TableView:
        """Return a view of the rows."""
        return tables.view(tables.joined((batch for _, batch in self._kept.values()), schema))
