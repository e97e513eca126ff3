"""A second run of some rows: which rows of the first one they are, and both runs as one."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .display import counted

if TYPE_CHECKING:
    from ..tables import TableView

_NAME_THEM = "name its rows with rows= (their positions in the first run's table, from 0)"


def places_of(view: TableView, failed: Sequence[int], again: TableView, rows: Iterable[int] | None) -> Sequence[int]:
    """Return the positions of the rows that were asked again: the failed ones, in their order, or those of `rows`."""
    if rows is not None:
        return _named(rows, len(view), len(again))
    if len(again) != len(failed):
        counts = f"the second run has {counted(len(again), 'row')}, and .failed has {len(failed):,}"
        raise UsageError(f"{counts}: run .failed as it is, or {_NAME_THEM}", code="other_rows", place="again")
    if not view.has_in_order(failed, again):
        what = (
            "the second run's rows are not those of .failed in their order (were they sorted, filtered or renumbered?)"
        )
        raise UsageError(f"{what}: run .failed as it is, or {_NAME_THEM}", code="other_rows", place="again")
    return failed


def _named(rows: Iterable[int], size: int, count: int) -> list[int]:
    try:
        places = [operator.index(row) for row in rows]
    except TypeError:
        raise UsageError("rows must be positions, whole numbers from 0", code="rows", place="rows") from None
    if len(places) != count:
        told = f"rows has {counted(len(places), 'position')}, and the second run has {counted(count, 'row')}"
        raise UsageError(told, code="rows", place="rows")
    if len(set(places)) != count or not all(0 <= place < size for place in places):
        raise UsageError(
            f"rows must be {count:,} different positions from 0 to {size - 1:,}", code="rows", place="rows"
        )
    return places


def is_alike(first: Any, second: Any) -> bool:
    """Check whether both runs asked the same of their rows, as far as is known."""
    return first is not None and second is not None and first.asking is second.asking


def spliced(first: Iterable[Any], second: Iterable[Any], places: Sequence[int]) -> Iterator[Any]:
    """Return the values of the first run with those of the second in their places."""
    made = [*first]
    for place, value in zip(places, second, strict=True):
        made[place] = value
    return iter(made)
