"""What a report says in numbers: computed from whole columns, or from what a stream summed up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy

from ..run.row_columns import RowColumns
from ..run.row_sums import COARSE, DECADES, FINE, LOWEST, SPANS, USED, RowSums
from ..run.timeline import HIGHEST, SECONDS, Timeline

QUANTILES = (50, 95, 99)
_BINS = 48
_BUCKETS = 120  # of time in a chart at the most
_LEAST = 5  # attempts that make a quantile of a bucket


class Latency(NamedTuple):
    """How long the last attempts of rows took: quantiles, and a histogram."""

    attempts: int
    quantiles: Mapping[str, float]
    counts: Any
    edges: Any
    logarithmic: bool


class Used(NamedTuple):
    """What rows with one outcome used in this run; `reused` are those of an earlier one, which used nothing."""

    outcome: str
    rows: int
    reused: int
    requests: int
    tokens: Mapping[str, int]
    cost: float | None


class Axis(NamedTuple):
    """A timeline in few buckets: their edges in seconds, sums and maxima by column, latencies by quantile."""

    edges: Any
    columns: Mapping[str, Any]
    latency: Mapping[str, Any]

    def rate(self, name: str) -> Any:
        """Return a column as a number a second."""
        return self.column(name) / numpy.diff(self.edges)

    def column(self, name: str) -> Any:
        """Return a column; zeros where nothing was counted."""
        return self.columns.get(name, numpy.zeros(len(self.edges) - 1))

    def named(self, prefix: str) -> Iterator[str]:
        """Yield what was counted under names that begin so."""
        return (name.removeprefix(prefix) for name in self.columns if name.startswith(prefix))


class Measures(Protocol):
    """What a report computes of an output's rows."""

    latency: Latency | None

    def used(self, order: Sequence[str]) -> list[Used]:
        """Return what rows used by their outcomes, in this order of them."""

    def over_time(self, edges: Any) -> dict[str, Any]:
        """Return quantiles of how long attempts took by the bucket in which they started; NaN for too few."""


def measures_of(measured: RowColumns | RowSums) -> Measures:
    """Return what is computed of rows that are in memory, or of those that were summed up as they came."""
    return _OfSums(measured) if isinstance(measured, RowSums) else _OfColumns(measured)


class _OfColumns:
    """What is computed of every row."""

    def __init__(self, columns: RowColumns) -> None:
        self._columns = columns
        self._every = _own_seconds(columns)
        seconds = self._every[~numpy.isnan(self._every)]
        self.latency = _latency(seconds) if len(seconds) else None

    def used(self, order: Sequence[str]) -> list[Used]:
        return _used_by(self._columns, order)

    def over_time(self, edges: Any) -> dict[str, Any]:
        return {} if self.latency is None else _latency_over_time(self._columns, self._every, edges)


class _OfSums:
    """What is known of sums: latencies in bins, each as wide as a part of a hundred of what it is."""

    def __init__(self, sums: RowSums) -> None:
        self._sums = sums
        self.latency = self._latency() if sums.attempts else None

    def used(self, order: Sequence[str]) -> list[Used]:
        none = [0] * len(USED)
        found = ((outcome, dict(zip(USED, self._sums.used.get(outcome, none), strict=True))) for outcome in order)
        return [
            Used(
                *(outcome, int(of["rows"]), int(of["reused"]), int(of["requests"])),
                *({name: int(of[name]) for name in ("prompt", "cached", "completion")}, float(of["cost"])),
            )
            for outcome, of in found
        ]

    def _latency(self) -> Latency:
        sums = self._sums
        middles = numpy.clip(_middles(FINE), sums.shortest, sums.longest)
        found = _quantiles(sums.latencies, middles, QUANTILES)
        quantiles = {f"p{each}": float(value) for each, value in zip(QUANTILES, found, strict=True)}
        edges, logarithmic = _edges(sums.shortest, sums.longest)
        counts, _ = numpy.histogram(numpy.clip(middles, edges[0], edges[-1]), edges, weights=sums.latencies)
        more = {"longest": sums.longest, "mean": sums.seconds / sums.attempts}
        return Latency(sums.attempts, quantiles | more, counts, edges, logarithmic)

    def over_time(self, edges: Any) -> dict[str, Any]:
        if len(edges) < 4:
            return {}
        places = numpy.digitize((numpy.arange(SPANS) + 0.5) * self._sums.width, edges[1:-1])
        counts = numpy.zeros((len(edges) - 1, DECADES * COARSE), numpy.int64)
        numpy.add.at(counts, places, self._sums.over_time)
        middles = _middles(COARSE)
        none = (numpy.nan, numpy.nan)
        found = [_quantiles(each, middles, (50, 95)) if each.sum() >= _LEAST else none for each in counts]
        return _lines(found)


def _middles(many: int) -> Any:
    """Return the latencies in the middle of bins, of so many for each power of ten."""
    return 10.0 ** (LOWEST + (numpy.arange(DECADES * many) + 0.5) / many)


def _quantiles(counts: Any, middles: Any, wanted: Sequence[int]) -> Any:
    """Return the latencies below which so many of a hundred are."""
    summed = numpy.cumsum(counts)
    return middles[numpy.searchsorted(summed, numpy.array(wanted) / 100 * summed[-1])]


def _latency(seconds: Any) -> Latency:
    found = numpy.percentile(seconds, QUANTILES)
    quantiles = {f"p{each}": float(value) for each, value in zip(QUANTILES, found, strict=True)}
    edges, logarithmic = _edges(float(seconds.min()), float(seconds.max()))
    counts, _ = numpy.histogram(numpy.clip(seconds, edges[0], edges[-1]), edges)
    longest = {"longest": float(seconds.max()), "mean": float(seconds.mean())}
    return Latency(len(seconds), quantiles | longest, counts, edges, logarithmic)


def _edges(shortest: float, longest: float) -> tuple[Any, bool]:
    """Return the edges of a histogram, and whether they are those of powers."""
    low, high = max(shortest, 1e-4), max(longest, 2e-4)
    if high > 8 * low:
        return numpy.geomspace(low, high, _BINS + 1), True
    return numpy.linspace(low, max(high, 1.05 * low), _BINS + 1), False


def _used_by(columns: RowColumns, order: Sequence[str]) -> list[Used]:
    """Return what rows used by their outcomes, in this order of them."""
    place = {outcome: at for at, outcome in enumerate(order)}
    codes = numpy.fromiter(map(place.__getitem__, columns.outcome), numpy.int32, len(columns.outcome))
    own = numpy.ones(len(codes), bool) if columns.reused is None else ~_array(columns.reused, bool)
    rows, fresh = _sums(codes, len(order)), _sums(codes[own], len(order))
    requests = _added(columns.attempts, codes, own, len(order))
    tokens = {name: _added(values, codes, own, len(order)) for name, values in columns.tokens.items()}
    cost = _added(columns.cost, codes, own, len(order))
    known = columns.cost is not None
    return [
        Used(
            *(outcome, int(rows[at]), int(rows[at] - fresh[at]), int(requests[at])),
            *({name: int(sums[at]) for name, sums in tokens.items()}, float(cost[at]) if known else None),
        )
        for at, outcome in enumerate(order)
    ]


def _sums(codes: Any, many: int, weights: Any = None) -> Any:
    return numpy.bincount(codes, weights, minlength=many)


def _added(values: Sequence[Any] | None, codes: Any, own: Any, many: int) -> Any:
    """Return the sums of a column by code, of the rows of this run; what is null counts as 0."""
    if values is None:
        return numpy.zeros(many)
    return _sums(codes[own], many, numpy.nan_to_num(_array(values))[own])


def axis_of(timeline: Timeline, measures: Measures, seconds: float) -> Axis:
    """Return a timeline, of so many `seconds`, in few enough buckets for a chart; latencies are of rows sent once.

    They are left out where there was a second run, for each has a first moment of its own.
    """
    size = max(len(timeline), 1)
    step = -(-size // _BUCKETS)
    edges = numpy.arange(0, size + step, step, dtype=float) * timeline.width
    if edges[-1] > seconds > edges[-2]:
        edges[-1] = seconds  # the last bucket ends with the run: what it counts is no less a second for that
    made = {}
    for name, column in timeline.columns.items():
        whole = numpy.zeros((len(edges) - 1) * step)
        whole[: len(column)] = numpy.frombuffer(column, dtype=float)
        parts = whole.reshape(-1, step)
        made[name] = parts.max(axis=1) if name in HIGHEST else parts.sum(axis=1)
    return Axis(edges, made, {} if timeline.second_runs else measures.over_time(edges))


def _latency_over_time(columns: RowColumns, seconds: Any, edges: Any) -> dict[str, Any]:
    if columns.started is None or columns.attempts is None or len(edges) < 4:
        return {}
    started = _array(columns.started)
    kept = ~numpy.isnan(seconds) & (started < edges[-1]) & (_array(columns.attempts) == 1)
    seconds, bucket = seconds[kept], numpy.digitize(started[kept], edges[1:-1]).astype(numpy.int16)
    order = numpy.argsort(bucket, kind="stable")
    parts = numpy.split(seconds[order], numpy.searchsorted(bucket[order], numpy.arange(1, len(edges) - 1)))
    found = [numpy.percentile(each, (50, 95)) if len(each) >= _LEAST else (numpy.nan, numpy.nan) for each in parts]
    return _lines(found)


def _lines(found: Sequence[Any]) -> dict[str, Any]:
    middle, most = numpy.array(found, dtype=float).T
    return {} if numpy.isnan(middle).all() else {"p50": middle, "p95": most}


def _own_seconds(columns: RowColumns) -> Any:
    """Return the seconds of last attempts, NaN where there was none in this run."""
    if columns.latency is None:
        return numpy.full(len(columns.outcome), numpy.nan)
    seconds = _array(columns.latency)
    if columns.reused is not None:
        seconds[_array(columns.reused, bool)] = numpy.nan
    return seconds


def _array(values: Sequence[Any], kind: Any = float) -> Any:
    """Return a column as an array; what is null is NaN."""
    return numpy.array([*values], kind)


def bands_of(axis: Axis) -> Iterator[tuple[float, float, str]]:
    """Yield the buckets in which mostly nothing was sent, neighbours as one, and why."""
    widths = numpy.diff(axis.edges)
    for reason in axis.named(SECONDS):
        shut = axis.column(SECONDS + reason) >= widths / 2
        turns = numpy.flatnonzero(numpy.diff(numpy.concatenate(([False], shut, [False]))))
        for start, end in zip(turns[::2], turns[1::2], strict=True):
            yield float(axis.edges[start]), float(axis.edges[end]), reason
