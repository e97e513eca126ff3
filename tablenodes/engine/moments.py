"""Moments of a run, one for each row: in whole milliseconds, four bytes each."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence

_NONE = 2**32 - 1  # of a row that has no moment
_LATEST = _NONE - 1  # after 49 days
_THOUSAND = 1000.0


class Moments(Sequence[float | None]):
    """Seconds from a run's first moment, None where a row has none."""

    __slots__ = ("milliseconds",)

    def __init__(self, values: Iterable[float | None] = ()) -> None:
        self.milliseconds = array("I", map(_milliseconds, values))

    @classmethod
    def none(cls, rows: int) -> Moments:
        """Return those of rows that have none."""
        made = cls()
        made.milliseconds = array("I", [_NONE]) * rows
        return made

    def put(self, rows: Iterable[int], values: Iterable[float | None]) -> None:
        """Set the moments of some rows."""
        column = self.milliseconds
        for row, value in zip(rows, values, strict=True):
            try:
                column[row] = _NONE if value is None else int(value * _THOUSAND + 0.5)
            except OverflowError:
                column[row] = _LATEST

    def seconds(self) -> array[float]:
        """Return them as numbers, NaN where a row has none."""
        return array("d", [math.nan if each == _NONE else each / _THOUSAND for each in self.milliseconds])

    def __len__(self) -> int:
        return len(self.milliseconds)

    def __getitem__(self, row: int) -> float | None:  # type: ignore[override] # no part of it is asked for
        found = self.milliseconds[row]
        return None if found == _NONE else found / _THOUSAND

    def __iter__(self) -> Iterator[float | None]:
        return (None if each == _NONE else each / _THOUSAND for each in self.milliseconds)


def _milliseconds(seconds: float | None) -> int:
    return _NONE if seconds is None else min(int(seconds * _THOUSAND + 0.5), _LATEST)
