"""Marks of batches: by what is in a batch, and in all before it, its rows are found without being made again."""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

TABLE = """CREATE TABLE batch (
    fingerprint BLOB PRIMARY KEY, rows INTEGER NOT NULL, first INTEGER NOT NULL, places BLOB NOT NULL,
    keys INTEGER, crc INTEGER NOT NULL
) WITHOUT ROWID"""
MAKE = TABLE.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS")
HAS_ANY = "SELECT 1 FROM sqlite_schema WHERE name = 'batch'"
PUT = "INSERT OR REPLACE INTO batch (fingerprint, rows, first, places, keys, crc) VALUES (?, ?, ?, ?, ?, ?)"
FIND = "SELECT fingerprint, rows, first, places, keys, crc FROM batch"
REJECTED = 2**32 - 1  # the place of a row of which no request can be made
_CODEC = "zstd"


def mark_of(fingerprint: bytes, places: Sequence[int], keys: int | None = None) -> tuple[Any, ...]:
    """Return the columns of a batch whose rows are at these places; those that follow each other take no bytes.

    `keys` is the check sum over the keys of its rows.
    """
    first, packed = places[0], b""
    if REJECTED in places or in_a_row(places) is None:
        import numpy  # noqa: PLC0415 - of rows that were not sent one after the other

        from ...tables.compression import compressed  # noqa: PLC0415 - loads pyarrow

        steps = numpy.diff(numpy.asarray(places, "<u4"), prepend=numpy.asarray([0], "<u4"))
        packed = compressed(_CODEC, steps.tobytes())
    columns = fingerprint, len(places), first, packed, keys
    return *columns, _sum(*columns)


def places_of(mark: Sequence[Any]) -> Sequence[int] | None:
    """Return the places of a batch's rows; None where its mark is not as it was written."""
    *columns, crc = mark
    try:
        if _sum(*columns) != crc:
            return None
    except TypeError:  # a text where bytes were
        return None
    _, rows, first, packed, _ = columns
    if not packed:
        return range(first, first + rows)
    import numpy  # noqa: PLC0415 - as in `mark_of`

    from ...tables.compression import decompressed  # noqa: PLC0415 - loads pyarrow

    steps = numpy.frombuffer(decompressed(_CODEC, packed, 4 * rows), "<u4")
    return array("I", steps.cumsum(dtype=numpy.uint32).tobytes())


def in_a_row(places: Sequence[int]) -> range | None:
    """Return the places of the rows that have one, where those follow each other; else None."""
    if isinstance(places, range):
        return places
    has_one = array("I", (place for place in places if place != REJECTED)) if REJECTED in places else places
    found = range(has_one[0], has_one[0] + len(has_one))
    return found if has_one == array("I", found) else None


def _sum(fingerprint: bytes, rows: int, first: int, packed: bytes, keys: int | None) -> int:
    return zlib.crc32(packed, zlib.crc32(fingerprint, zlib.crc32(f"{rows}|{first}|{keys}".encode())))


class RowPlaces:
    """Where the rows of batches that were begun are in a journal, 0 where that is not known: 4 bytes a row."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._places: list[array[int]] = []
        self._start, self._last = sys.maxsize, array("I")  # of the batch that was used last

    def begin(self, start: int, rows: int) -> None:
        """Begin a batch of so many rows; it stands behind all others."""
        self._starts.append(start)
        self._places.append(array("I", bytes(4 * rows)))

    def put(self, row: int, place: int) -> None:
        """Keep the place of a row."""
        at = row - self._start
        if not 0 <= at < len(self._last):
            number = bisect_right(self._starts, row) - 1
            if number < 0 or row - self._starts[number] >= len(self._places[number]):
                return  # of a batch without a mark
            self._start, self._last = self._starts[number], self._places[number]
            at = row - self._start
        self._last[at] = place

    def end(self, start: int) -> array[int]:
        """Return the places of a batch, and forget them."""
        number = bisect_right(self._starts, start) - 1
        del self._starts[number]
        if self._start == start:
            self._start, self._last = sys.maxsize, array("I")
        return self._places.pop(number)
