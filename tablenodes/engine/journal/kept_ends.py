"""Ends of rows that equal rows may have later: in a temporary file, with about 10 bytes a row in memory."""

from __future__ import annotations

import tempfile
from array import array
from pathlib import Path
from struct import Struct
from typing import Any

import orjson

from ...errors import EndedError
from ..outcomes.rules import Failure
from ..sink import SHARED, End
from .answer_blocks import FULL, Blocks, OpenBlocks

_NAMES = [name for name in (*SHARED, "total_tokens") if name != "body"]
_KIND = _NAMES.index("kind")
_START = FULL.bit_length()  # bits of where an answer begins in its block
_END = Struct("<II")  # the lengths of what is known of an end, and of its body
_BLOCK = Struct("<10sIII")  # codec, bytes before and after they are compressed, check sum


class KeptEnds:
    """Keeps what rows may share of the ends of others, by their positions; `folder` is where its file is."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._places = array("Q")  # of each row, from 1 on: its block and where it begins there
        self._blocks, self._begins = Blocks(0), array("Q")
        self._open = OpenBlocks(self._read, lambda: EndedError("the temporary file of equal rows' answers is damaged"))
        self._file: Any = None

    def put(self, row: int, end: End) -> End:
        """Keep the end of a row, and return what is shared of it."""
        known = orjson.dumps([_of(getattr(end, name)) for name in _NAMES])
        block, start = self._blocks.put(_END.pack(len(known), len(end.body)) + known + end.body)
        if row >= len(self._places):
            self._places.frombytes(bytes(8 * (row + 1 - len(self._places))))
        self._places[row] = (block << _START | start) + 1
        if self._blocks.full:
            self._write()
        return end

    def get(self, row: int) -> End | None:
        """Return what is kept of the end of a row; None where it has none by now."""
        place = self._places[row] - 1 if row < len(self._places) else -1
        if place < 0:
            return None
        if place >> _START >= len(self._begins):
            self._blocks.end()
            self._write()
        block, start = self._open[place >> _START], place & (1 << _START) - 1
        length, size = _END.unpack_from(block, start)
        start += _END.size
        known = orjson.loads(block[start : start + length])
        known[_KIND] = None if known[_KIND] is None else Failure(known[_KIND])
        start += length
        return End(body=block[start : start + size], **dict(zip(_NAMES, known, strict=True)))

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()

    def _write(self) -> None:
        """Write the blocks that are full."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="tablenodes-", dir=self._folder)  # noqa: SIM115 - see `close`
        self._file.seek(0, 2)
        for block in self._blocks.full:
            self._begins.append(self._file.tell())
            self._file.write(_BLOCK.pack(block.codec.encode(), block.size, len(block.answers), block.crc))
            self._file.write(block.answers)
        self._blocks.full.clear()

    def _read(self, number: int) -> tuple[Any, ...]:
        """Return the columns of a block."""
        self._file.seek(self._begins[number])
        codec, size, length, crc = _BLOCK.unpack(self._file.read(_BLOCK.size))
        return number, codec.rstrip(b"\0").decode(), size, self._file.read(length), crc


def _of(value: Any) -> Any:
    """Return a value as JSON has it."""
    return value.encode(errors="replace").decode() if isinstance(value, str) and not value.isascii() else value
