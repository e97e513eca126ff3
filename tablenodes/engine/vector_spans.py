"""The vectors of an answer, read where they stand in its bytes: no text is made of them."""

from __future__ import annotations

from binascii import Error
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..vectors import NUMBER_BYTES
from .vector_bodies import as_base64

_FIELD = b'"embedding":'
_MARK = 5_406_172_839_400_000_000  # what stands for the first vector: a number that no answer has in its place
_GROUP = 3  # bytes that four characters of base64 stand for


class Spans(NamedTuple):
    """Where the vectors of an answer stand, all of one length, and the answer with a number in the place of each.

    The numbers are in the place of JSON strings, so the two are alike in all else, for what is read is base64.
    """

    body: bytes
    starts: list[int]
    length: int
    skeleton: bytes

    @property
    def size(self) -> int:
        """How many numbers a vector has; 0 where it is none of whole numbers."""
        padding = self.body.count(b"=", self.starts[0] + self.length - 2, self.starts[0] + self.length)
        size, rest = divmod(self.length // 4 * _GROUP - padding, NUMBER_BYTES)
        return 0 if rest or self.length % 4 else size

    def order(self, marks: Sequence[object]) -> list[int] | None:
        """Return which vector stands at each of these marks; None where they are not those of all."""
        numbers = [mark - _MARK if type(mark) is int else -1 for mark in marks]
        return numbers if sorted(numbers) == [*range(len(self.starts))] else None

    def text(self, number: int) -> bytes:
        """Return a vector as it stands there."""
        start = self.starts[number]
        return self.body[start : start + self.length]

    def decoded(self, order: Sequence[int]) -> Iterator[bytes]:
        """Yield the bytes of these vectors; raise `ValueError` at one that is none, or is usually written otherwise."""
        from pybase64 import b64decode  # noqa: PLC0415 - loaded where there are answers

        body, starts, length, size = memoryview(self.body), self.starts, self.length, NUMBER_BYTES * self.size
        rest = size % _GROUP
        for number in order:
            start = starts[number]
            text = body[start : start + length]
            try:
                data = b64decode(text, validate=True)
            except Error as error:
                raise ValueError(str(error)) from None
            if len(data) != size or (rest and as_base64(data[-rest:]) != text[-4:]):
                raise ValueError(text[-4:])
            yield data


def spans_of(body: bytes, count: int) -> Spans | None:
    """Return where the vectors of an answer stand, if they are so many strings of one length; else None."""
    starts: list[int] = []
    pieces: list[bytes] = []
    find, done, length = body.find, 0, 0
    while (at := find(_FIELD, done)) >= 0:
        start = at + len(_FIELD)
        start += body[start : start + 1] == b" "
        if body[start : start + 1] != b'"' or len(starts) == count:
            return None
        start += 1
        length = length or find(b'"', start) - start
        if length <= 0 or body[start + length : start + length + 1] != b'"':
            return None
        pieces += (body[done : start - 1], b"%d" % (_MARK + len(starts)))
        starts.append(start)
        done = start + length + 1
    if len(starts) != count:
        return None
    return Spans(body, starts, length, b"".join((*pieces, body[done:])))
