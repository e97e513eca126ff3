"""The finder: which row of a journal is that of a request, asked in the table's order."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from .entry import Entry, Key
from .journal import Journal, Row

_MOST_AHEAD = 256
_NEAR = 2048  # a row so near to the last one is read with others around it: those of several nodes go side by side
_AROUND, _KEPT = 64, 32  # with so many, and so many such reads are kept
_STEP = 0x9E3779B1
_BITS = 2**32 - 1


class Finder:
    """Finds rows one after the other, in the table's order.

    In an unchanged table each stands behind the one before, and once all of the journal's are found no other is looked
    for: only for what was moved, added or removed are all of them read, without their answers.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._next = 1
        self._left = journal.rows
        self._ahead: list[Row] = []  # the rows from `_first` on
        self._first = 1
        self._around: dict[int, list[Row]] = {}
        self._places: _Places | None = None

    def find(self, key: Key) -> Entry | None:
        """Return what is known of a key's row, or None."""
        row = self.row(key)
        return None if row is None else self._journal.entry(row)

    def row(self, key: Key) -> Row | None:
        """Return the row of a key, unchecked, or None; its answer is not read."""
        if not self._left:
            return None
        row = self._row_in_turn()
        if row is None or row[1:3] != key:
            row = self._row_of(key)
            if row is None:
                return None
        self._left -= 1
        self._next = row[0] + 1
        return row

    def pass_by(self, places: Sequence[int]) -> None:
        """Take rows as found, without a look at them."""
        self._left -= len(places)
        self._next = places[-1] + 1

    def _row_in_turn(self) -> Row | None:
        """Return the row behind the one that was found last; the longer rows are found so, the more are read ahead."""
        at = self._next - self._first
        if not 0 <= at < len(self._ahead):
            if (kept := self._around.get(self._next // _AROUND)) and self._next % _AROUND < len(kept):
                return kept[self._next % _AROUND]
            most = min(2 * len(self._ahead), _MOST_AHEAD) if at == len(self._ahead) else 0
            last = min(self._next + most, self._journal.rows)
            self._first, self._ahead, at = self._next, self._journal.read(self._next, last), 0
        return self._ahead[at] if self._ahead else None

    def _row_of(self, key: Key) -> Row | None:
        if self._places is None:
            self._places = _Places(self._journal)
        rows = map(self._row_at, self._places.of(key))
        return next((row for row in rows if row[1:3] == key), None)

    def _row_at(self, place: int) -> Row:
        """Return the row of a place; of one that is near, those around it are read too."""
        number, at = divmod(place, _AROUND)
        kept = self._around.get(number)
        if kept is None:
            if abs(place - self._next) > _NEAR:
                return self._journal.read(place, place)[0]
            first = number * _AROUND
            kept = self._journal.read(max(first, 1), min(first + _AROUND - 1, self._journal.rows))
            kept = kept if first else [kept[0], *kept]  # places count from 1
            if len(self._around) >= _KEPT:
                del self._around[next(iter(self._around))]
            self._around[number] = kept
        return kept[at]


class _Places:
    """Where each of a journal's rows may be, by 32 bits of its key: 8 bytes a row.

    Keys that the mark of a batch vouches for are read together; each other row is checked.
    """

    def __init__(self, journal: Journal) -> None:
        import numpy  # noqa: PLC0415 - loaded where a table was changed

        self._sorted, after = array("Q"), 1
        for places, digests, occurrences in journal.vouched():
            if places.start < after:
                continue
            self._add(journal, after, places.start - 1)
            starts = numpy.frombuffer(digests, ">u4").reshape(len(places), -1)[:, 0]
            starts = starts + numpy.asarray(occurrences, numpy.uint64) * numpy.uint64(_STEP)
            numbers = starts << numpy.uint64(32) | numpy.asarray(places, numpy.uint64)
            self._sorted.frombytes(numbers.tobytes())
            after = places.stop
        self._add(journal, after, journal.rows)
        numpy.frombuffer(self._sorted, numpy.uint64).sort()  # in place

    def _add(self, journal: Journal, first: int, last: int) -> None:
        for row in journal.between(first, last):
            journal.check(row)
            self._sorted.append(_start(row[1], row[2]) << 32 | row[0])

    def of(self, key: Key) -> Iterator[int]:
        """Yield the places where a key may be."""
        start = _start(*key)
        at = bisect_left(self._sorted, start << 32)
        while at < len(self._sorted) and self._sorted[at] >> 32 == start:
            yield self._sorted[at] & _BITS
            at += 1


def _start(digest: bytes, occurrence: int) -> int:
    """Return 32 bits of a key; equal rows differ in them."""
    return int.from_bytes(digest[:4]) + occurrence * _STEP & _BITS
