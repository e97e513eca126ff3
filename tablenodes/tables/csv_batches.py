"""CSV and TSV in batches: the file is cut where a record ends, and each piece is read as a file would be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import pyarrow

from ..errors import ColumnError, TableError
from ..notices import counted, say
from .csv_reader import (
    Shape,
    broken_record,
    converted,
    end_of_records,
    ends_with_feeds,
    has_header,
    has_text,
    mark_returns,
    named,
    shape_of,
    under,
    unmarked,
)
from .text_files import check_encoding

BLOCK = 8 * 2**20
_LONGEST = 2**30 - 1


class CsvBatches:
    """The records of a file, read from a stream of UTF-8 piece by piece; the first piece says what its shape is.

    Every cell is text. `names` are the columns; a `block` is as many bytes as are read at a time.
    """

    def __init__(
        self, stream: IO[bytes], name: str, separators: str, asked: str | None, block: int | None = None
    ) -> None:
        self._stream, self._name, self._block = stream, name, BLOCK if block is None else block
        self._rest, self._lines, self._rows = b"", 0, 0
        self._is_over, self._has_feeds = False, True
        self._read_header()
        content = self._next_block()
        if not content.strip(b"\r\n"):
            raise TableError(f"{name} is empty")
        content, is_marked = mark_returns(content, has_feeds=self._has_feeds)
        self._shape = shape_of(content, name, separators, asked, is_cut=not self._is_over)
        self._body = self._shape._replace(start=0, body=0)
        first = self._piece(content, self._shape)
        try:
            self._first = named(first, self._shape, name, is_marked=is_marked)
        except ColumnError as error:
            raise ColumnError(f"{name}: {error}") from None
        self.names = self._first.column_names

    @property
    def schema(self) -> Any:
        """The columns, all of them text."""
        return self._first.schema

    def __iter__(self) -> Iterator[Any]:
        yield self._first
        while content := self._next_block():
            content, is_marked = mark_returns(content, has_feeds=self._has_feeds)
            yield self._cut_right(self._piece(content, self._body), is_marked=is_marked)
        self._tell_lines()

    def _read_header(self) -> None:
        """Read as far as it takes to know what ends a line."""
        while not self._is_over and not has_header(self._rest):
            self._read()
        self._has_feeds = ends_with_feeds(self._rest)

    def _read(self) -> None:
        more = self._stream.read(self._block)
        self._is_over = not more
        self._rest += more
        if len(self._rest) > _LONGEST:
            raise TableError(f"cannot read {self._name}: a record is longer than {_LONGEST:,} bytes")

    def _next_block(self) -> bytes:
        """Return what is left of the last block and the next one, up to the end of a line."""
        self._read()
        line_end = b"\n" if self._has_feeds else b"\r"
        while not self._is_over and line_end not in self._rest:
            self._read()
        end = len(self._rest) if self._is_over else self._rest.rfind(line_end) + 1
        content, self._rest = self._rest[:end], self._rest[end:]
        return content

    def _piece(self, content: bytes, shape: Shape) -> Any:
        """Return the records of a block; one that does not end in it is kept for the next."""
        good = end_of_records(content, shape)
        if good < len(content):
            if self._is_over or content.count(b'"', good) % 2 == 0:
                check_encoding(content, self._name, good, self._lines)
                raise broken_record(content, shape._replace(good=good), self._name, self._lines)
            content, self._rest = content[:good], unmarked(content[good:]) + self._rest
            if not content[shape.body :]:  # the record goes on in the next block
                self._lines += _line_ends(content)
                more, _ = mark_returns(self._next_block(), has_feeds=self._has_feeds)
                return self._piece(more, self._body)
        try:
            table = converted(content, shape)
        except pyarrow.ArrowInvalid as error:
            check_encoding(content, self._name, None, self._lines)
            raise TableError(f"cannot read {self._name}: a record is too long") from error
        self._lines += _line_ends(content)
        self._rows += table.num_rows
        return table

    def _cut_right(self, table: Any, *, is_marked: bool) -> Any:
        """Return a table under the names of the first one, without columns that were left out at the right."""
        kept = len(self.names)
        if any(map(has_text, table.columns[kept:])):
            raise TableError(f"{self._name}, before line {self._lines + 1}: text in a column that has no name")
        return under(table.select(range(kept)), self.names, is_marked=is_marked)

    def _tell_lines(self) -> None:
        header = 1
        if self._rows < self._lines - header:
            why = "blank lines are skipped, or cells in quotes have line breaks in them"
            say(f"{self._name}: {counted(self._rows, 'row')} from {self._lines - header:,} lines: {why}")


def _line_ends(content: bytes) -> int:
    """Return how many lines end in a text."""
    feeds = content.count(b"\n")
    return feeds + content.count(b"\r") - content.count(b"\r\n") if b"\r" in content else feeds
