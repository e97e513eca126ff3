"""Digests that were seen: how often each was, in 11 bytes each."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from struct import Struct

_PARTS = 2048
_BEGIN = Struct("<HQ").unpack_from
_STEP = 0x9E3779B97F4A7C15  # odd: what is added to a digest's number for each time that it was seen
_BITS = 2**64 - 1


class SeenDigests:
    """Counts how often each digest was added.

    75 bits of each are kept: among ten million digests, the chance that any two are taken for one is 1 in 10^9.
    """

    def __init__(self) -> None:
        self._parts = [array("Q") for _ in range(_PARTS)]  # each sorted

    def add(self, digest: bytes) -> int:
        """Return how often a digest was added before, and count this time."""
        part, number = _BEGIN(digest)
        numbers = self._parts[part % _PARTS]
        at = bisect_left(numbers, number)
        if at == len(numbers) or numbers[at] != number:
            numbers.insert(at, number)
            return 0
        times, number = _times(numbers, number)
        numbers.insert(bisect_left(numbers, number), number)
        return times


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
