"""Digests that were seen: how often each was, in 11 bytes each."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from struct import Struct

_PARTS = 2048
_FORM = Struct("<HQ")
_BEGIN = _FORM.unpack_from
_STEP = 0x9E3779B97F4A7C15  # odd: what is added to a digest's number for each time that it was seen
_BITS = 2**64 - 1
KEPT = _FORM.size  # bytes that are kept of each digest
_FEW, _MANY = 2**14, 2**19  # of those that came together: what is put in one by one, and what waits at the most


class SeenDigests:
    """Counts how often each digest was added.

    75 bits of each are kept: among ten million digests, the chance that any two are taken for one is 1 in 10^9.
    """

    def __init__(self) -> None:
        self._parts = [array("Q") for _ in range(_PARTS)]  # each sorted
        self._waiting: list[bytes] = []
        self._waits = 0

    def add(self, digest: bytes) -> int:
        """Return how often a digest was added before, and count this time."""
        if self._waiting:
            self._put_in()
        part, number = _BEGIN(digest)
        numbers = self._parts[part % _PARTS]
        at = bisect_left(numbers, number)
        if at == len(numbers) or numbers[at] != number:
            numbers.insert(at, number)
            return 0
        times, number = _times(numbers, number)
        numbers.insert(bisect_left(numbers, number), number)
        return times

    def put(self, starts: bytes) -> None:
        """Add many digests at once, by what `start_of` returns of each."""
        self._waiting.append(starts)
        self._waits += len(starts) // KEPT
        if self._waits >= _MANY:
            self._put_in()

    def _put_in(self) -> None:
        """Put those that wait into their parts."""
        starts, few = b"".join(self._waiting), self._waits < _FEW
        self._waiting.clear()
        self._waits = 0
        if few:
            for part, number in _FORM.iter_unpack(starts):
                numbers = self._parts[part % _PARTS]
                numbers.insert(bisect_left(numbers, number), number)
            return
        import numpy  # noqa: PLC0415 - of a run that goes on where another one ended

        found = numpy.frombuffer(starts, [("part", "<u2"), ("number", "<u8")])
        parts = found["part"] % _PARTS
        order = numpy.argsort(parts, kind="stable")
        sorted_numbers, ends = found["number"][order], numpy.bincount(parts, minlength=_PARTS).cumsum()
        for numbers, more in zip(self._parts, numpy.split(sorted_numbers, ends[:-1]), strict=True):
            numbers.frombytes(more.tobytes())
            numpy.frombuffer(numbers, numpy.uint64).sort()  # in place


def start_of(digest: bytes, times: int) -> bytes:
    """Return what is kept of a digest that was added so often before."""
    part, number = _BEGIN(digest)
    return _FORM.pack(part, (number + times * _STEP) & _BITS)


def _times(numbers: array[int], number: int) -> tuple[int, int]:
    """Return how often a digest was added, and its number for the next time."""

    def is_new(times: int) -> bool:
        wanted = (number + times * _STEP) & _BITS
        at = bisect_left(numbers, wanted)
        return at == len(numbers) or numbers[at] != wanted

    most = 1
    while not is_new(most):
        most *= 2
    times = bisect_left(range(most), True, lo=most // 2, key=is_new)
    return times, (number + times * _STEP) & _BITS
