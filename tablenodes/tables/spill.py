"""Tables that wait on the disk, in a file that nobody else sees."""

from __future__ import annotations

import tempfile
from typing import Any, NamedTuple

import pyarrow
from pyarrow import ipc


class Spilled(NamedTuple):
    """Where a table is in the file."""

    start: int
    length: int


class Spill:
    """A temporary file of tables, each read once; it is opened for the first, and gone when it is closed."""

    def __init__(self) -> None:
        self._file: Any = None
        self._waiting = 0
        self.bytes = 0  # the file's length

    def put(self, table: Any) -> Spilled:
        """Write a table of Arrow."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="tablenodes-")  # noqa: SIM115 - closed in `close`
        with pyarrow.BufferOutputStream() as packed:
            with ipc.new_stream(packed, table.schema) as writer:
                writer.write_table(table)
            written = packed.getvalue()
        place = Spilled(self.bytes, written.size)
        self._file.seek(place.start)
        self._file.write(written)
        self.bytes += place.length
        self._waiting += 1
        return place

    def take(self, place: Spilled) -> Any:
        """Read a table back; once none waits, the file is empty again."""
        self._file.seek(place.start)
        table = ipc.open_stream(self._file.read(place.length)).read_all()
        self._waiting -= 1
        if not self._waiting:
            self._file.truncate(0)
            self.bytes = 0
        return table

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
