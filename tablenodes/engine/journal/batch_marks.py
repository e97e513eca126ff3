"""Marks of batches: by what is in a batch, and in all before it, its rows are found without being made again."""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

TABLE = """CREATE TABLE batch (
    fingerprint BLOB PRIMARY KEY, rows INTEGER NOT NULL, first INTEGER NOT NULL, places BLOB NOT NULL,
    keys INTEGER NOT NULL, crc INTEGER NOT NULL
) WITHOUT ROWID"""
MAKE = TABLE.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS")
HAS_ANY = "SELECT 1 FROM sqlite_schema WHERE name = 'batch'"
PUT = "INSERT OR REPLACE INTO batch (fingerprint, rows, first, places, keys, crc) VALUES (?, ?, ?, ?, ?, ?)"
FIND = "SELECT fingerprint, rows, first, places, keys, crc FROM batch"
REJECTED = 2**32 - 1  # the place of a row of which no request can be made
_CODEC = "zstd"


def mark_of(fingerprint: bytes, places: Sequence[int], keys: int) -> tuple[Any, ...]:
    """Return the columns of a batch whose rows are at these places; those that follow each other take no bytes.

    `keys` is the check sum over the keys of its rows.
    """
    first, packed = places[0], b""
    if REJECTED in places or in_a_row(places) is None:
        import numpy  # noqa: PLC0415 - as in `in_a_row`

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
    import numpy  # noqa: PLC0415 - as in `in_a_row`

    from ...tables.compression import decompressed  # noqa: PLC0415 - loads pyarrow

    steps = numpy.frombuffer(decompressed(_CODEC, packed, 4 * rows), "<u4")
    return array("I", steps.cumsum(dtype=numpy.uint32).tobytes())


def in_a_row(places: Sequence[int]) -> range | None:
    """Return the places of the rows that have one, where those follow each other; else None."""
    if isinstance(places, range):
        return places
    import numpy  # noqa: PLC0415 - loaded with tables

    all_of_them = numpy.asarray(places, numpy.uint32)
    has_one = all_of_them[all_of_them != REJECTED]
    first = int(has_one[0])
    return range(first, first + len(has_one)) if (numpy.diff(has_one) == 1).all() else None


def sum_of(digests: Iterable[bytes], occurrences: Iterable[int]) -> int:
    """Return the check sum over keys, in whatever order."""
    return sum(map(zlib.crc32, digests)) + sum(occurrences)


def _sum(fingerprint: bytes, rows: int, first: int, packed: bytes, keys: int) -> int:
    return zlib.crc32(packed, zlib.crc32(fingerprint, zlib.crc32(f"{rows}|{first}|{keys}".encode())))


class RowPlaces:
    """Where the rows of batches that were begun are in a journal, 0 where that is not known: 4 bytes a row."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._batches: list[_Batch] = []
        self._start, self._last = sys.maxsize, _Batch(0)  # of the batch that was used last

    def begin(self, start: int, rows: int) -> None:
        """Begin a batch of so many rows; it stands behind all others."""
        self._starts.append(start)
        self._batches.append(_Batch(rows))

    def put(self, row: int, place: int, key: tuple[bytes, int] = (b"", 0)) -> None:
        """Keep the place of a row, and sum up its key."""
        at = row - self._start
        last = self._last
        if not 0 <= at < len(last.places):
            number = bisect_right(self._starts, row) - 1
            if number < 0 or row - self._starts[number] >= len(self._batches[number].places):
                return  # of a batch without a mark
            self._start, self._last = self._starts[number], self._batches[number]
            at, last = row - self._start, self._last
        last.places[at] = place
        last.keys += zlib.crc32(key[0]) + key[1]

    def end(self, start: int) -> tuple[array[int], int]:
        """Return the places of a batch and the sum of its keys, and forget them."""
        number = bisect_right(self._starts, start) - 1
        del self._starts[number]
        if self._start == start:
            self._start, self._last = sys.maxsize, _Batch(0)
        ended = self._batches.pop(number)
        return ended.places, ended.keys


class _Batch:
    __slots__ = ("keys", "places")

    def __init__(self, rows: int) -> None:
        self.places, self.keys = array("I", bytes(4 * rows)), 0
