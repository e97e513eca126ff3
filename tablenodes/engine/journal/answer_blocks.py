"""Blocks of answers: many in one value of the file, compressed together, and checked when one of them is read."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

from .entry import KeptAnswer

FULL = 2**15  # bytes of answers, before they are compressed, from which on a block is full
_HELD = 2**22  # bytes of blocks that are held because rows beside each other are in them
_FORM = Struct("<dhIIQ")  # latency; the lengths of fault (-1: none), message, headers and body
QUICK, SMALL = "lz4_raw", "zstd"  # pyarrow's names: what costs a run least, and what is smallest


class Block(NamedTuple):
    """A block as it is in the file; `codec` is empty where it is not compressed."""

    id: int
    codec: str
    size: int
    answers: bytes

    @property
    def crc(self) -> int:
        """The check sum over all of it."""
        return zlib.crc32(self.answers, zlib.crc32(f"{self.id}|{self.codec}|{self.size}".encode()))


def packed(kept: KeptAnswer) -> bytes:
    """Return what a block has of an answer."""
    _, _, _, headers, body, fault, message, latency = kept
    name, words = (fault or "").encode(), message.encode()
    form = _FORM.pack(latency, -1 if fault is None else len(name), len(words), len(headers), len(body))
    return b"".join((form, name, words, headers, body))


def unpacked(block: bytes, start: int) -> tuple[bytes, bytes, str | None, str, float]:
    """Return headers, body, fault, message and latency of the answer that begins at a place in a block."""
    latency, fault, *lengths = _FORM.unpack_from(block, start)
    at = start + _FORM.size
    found = []
    for length in (max(fault, 0), *lengths):
        found.append(block[at : at + length])
        at += length
    name, words, headers, body = found
    return headers, body, None if fault < 0 else name.decode(), words.decode(), latency


class Blocks:
    """Puts answers into blocks that follow each other, the first with the number `begins`."""

    def __init__(self, begins: int, codec: str = QUICK) -> None:
        self._id, self._codec = begins, codec
        self._parts: list[bytes] = []
        self._size = 0
        self.full: list[Block] = []

    def put(self, answer: bytes) -> tuple[int, int]:
        """Return the block that an answer is in, and where it begins there."""
        if self._size + len(answer) > FULL:
            self.end()
        start = self._size
        self._parts.append(answer)
        self._size += len(answer)
        return self._id, start

    def end(self) -> None:
        """End a block."""
        if not self._parts:
            return
        answers = b"".join(self._parts)
        from ...tables.compression import compressed  # noqa: PLC0415 - loads pyarrow

        small = compressed(self._codec, answers)
        is_smaller = len(small) < len(answers)
        form = (self._codec, len(answers), small) if is_smaller else ("", len(answers), answers)
        self.full.append(Block(self._id, *form))
        self._id += 1
        self._parts.clear()
        self._size = 0


class OpenBlocks:
    """Reads blocks, and holds the last few; `read` returns the columns of one, `damaged` what to raise."""

    def __init__(self, read: Callable[[int], Any], damaged: Callable[[], Exception]) -> None:
        self._read, self._damaged = read, damaged
        self._open: dict[int, bytes] = {}
        self._size = 0

    def __getitem__(self, number: int) -> bytes:
        found = self._open.pop(number, None)
        if found is None:
            found = self._opened(number)
            self._size += len(found)
            while self._open and self._size > _HELD:
                self._size -= len(self._open.pop(next(iter(self._open))))
        self._open[number] = found  # the one that was used last is the last one
        return found

    def _opened(self, number: int) -> bytes:
        """Read a block; raise for one that is not as it was written."""
        try:
            *columns, crc = self._read(number)
            block = Block(*columns)
            if crc != block.crc:
                raise self._damaged()
        except TypeError:  # it is not there, or a text where bytes were
            raise self._damaged() from None
        if not block.codec:
            return block.answers
        from ...tables.compression import decompressed  # noqa: PLC0415 - loads pyarrow

        return decompressed(block.codec, block.answers, block.size)
