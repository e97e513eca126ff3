"""CSV and TSV: a grammar finds the line that breaks it, Arrow converts what does not.

Arrow's own reader names a broken record by its text, which a message must not hold, and takes text after a
closing quote without a word. So one regular expression goes over the file first, at some 80 MB a second.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pyarrow
from pyarrow import csv

from ..errors import ColumnError, TableError
from .text_files import check_encoding, line_of, without_mark
from .views import checked_names

if TYPE_CHECKING:
    import pandas

_END = rb"(?:\r\n|\n|\r|\Z)"
_BLANK = re.compile(rb"[\r\n]*+")
_SAID = re.compile(rb"(\"?)sep=([,;|:\t])\1" + _END, re.IGNORECASE)
"""The line before the header with which spreadsheets say what their separator is."""
_BLOCK = 2**30
_WORTH_THREADS = 2**20  # bytes; a process that ends while threads of Arrow still start would end with an abort


class _Broken(Exception):  # noqa: N818 - a record that the grammar does not have
    """Where a record breaks the grammar, and how."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(why)
        self.position = position


class _Shape(NamedTuple):
    """A file as one separator cuts it; the header's fields are as written, and none where it is broken."""

    separator: bytes
    names: list[bytes]
    body: int
    good: int


def read_csv(content: bytes, name: str, separators: str) -> pandas.DataFrame:
    """Read a CSV file, every cell as text."""
    content = without_mark(content, name)
    shape = _shape(content, separators)
    if shape.names == [b""]:
        raise TableError(f"{name} is empty")
    if shape.good < len(content):
        check_encoding(content[: shape.good], name)
        raise _complaint(content, shape, name)
    check_encoding(content[: shape.body], name)
    try:
        names = checked_names(_text(field) for field in shape.names)
        table = _converted(content, shape, names)
    except ColumnError as error:
        raise ColumnError(f"{name}: {error}") from None
    except pyarrow.ArrowInvalid as error:
        check_encoding(content, name)
        raise TableError(f"cannot read {name}: a record is longer than {_BLOCK:,} bytes") from error
    frame: pandas.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    return frame


def _shape(content: bytes, separators: str) -> _Shape:
    """Return the first shape that makes several columns of the whole file, else the one with the longest header."""
    if said := _SAID.match(content):
        return _cut(content, said[2], said.end())
    shapes: list[_Shape] = []
    for separator in separators:
        if shapes and shapes[0].names and separator.encode() not in content[: shapes[0].body]:
            continue  # it would make one column of the file, as the first did
        shape = _cut(content, separator.encode())
        if shape.good == len(content) and len(shape.names) > 1:
            return shape
        shapes.append(shape)
    return max(shapes, key=lambda shape: max(len(shape.names), 1))


def _cut(content: bytes, separator: bytes, start: int = 0) -> _Shape:
    start = _end(_BLANK, content, start)
    try:
        names, body = _record(content, start, separator)
    except _Broken:
        return _Shape(separator, [], start, start)
    field = _field(separator)
    record = field + rb"(?:" + re.escape(separator) + field + rb"){" + str(len(names) - 1).encode() + rb"}" + _END
    blank = rb"|[\r\n]" if len(names) > 1 else b""
    records = re.compile(rb"(?:" + record + blank + rb")*+")
    return _Shape(separator, names, body, _end(records, content, body))


def _end(pattern: re.Pattern[bytes], content: bytes, start: int) -> int:
    """Return where a pattern that matches everywhere, if only nothing, ends."""
    match = pattern.match(content, start)
    return match.end() if match else start


def _field(separator: bytes) -> bytes:
    separator = re.escape(separator)
    return rb'(?:"[^"]*+(?:""[^"]*+)*+"|(?:[^"\r\n' + separator + rb"][^\r\n" + separator + rb"]*+)?+)"


def _record(content: bytes, start: int, separator: bytes) -> tuple[list[bytes], int]:
    """Return the fields of the record at `start` as they are written, and where the next one begins."""
    field = re.compile(_field(separator))
    fields: list[bytes] = []
    end = start - 1
    while not fields or content[end : end + 1] == separator:
        start, end = end + 1, _end(field, content, end + 1)
        fields.append(content[start:end])
    following = content[end : end + 1]
    if following == b'"' and start == end:
        raise _Broken(end, "an opening quote is never closed")
    if following and following not in b"\r\n":
        raise _Broken(end, "text after a closing quote (a quote inside quotes is written twice)")
    return fields, end + (2 if content[end : end + 2] == b"\r\n" else len(following))


def _text(field: bytes) -> str:
    return (field[1:-1].replace(b'""', b'"') if field.startswith(b'"') else field).decode()


def _complaint(content: bytes, shape: _Shape, name: str) -> TableError:
    """Return what is wrong with the record at which the grammar ended."""
    try:
        found, _ = _record(content, shape.good, shape.separator)
    except _Broken as broken:
        return TableError(f"{name}, line {line_of(content, broken.position)}: {broken}")
    fields = "1 field" if len(found) == 1 else f"{len(found)} fields"
    return TableError(
        f"{name}, line {line_of(content, shape.good)}: {fields} where the header has {len(shape.names)};"
        f" a text that holds {shape.separator.decode()!r} must be in quotes"
    )


def _converted(content: bytes, shape: _Shape, names: tuple[str, ...]) -> pyarrow.Table:
    several = len(names) > 1
    rest = _end(_BLANK, content, shape.body) if several else shape.body
    if rest == len(content):
        return pyarrow.table({name: pyarrow.array([], pyarrow.large_string()) for name in names})
    return csv.read_csv(
        pyarrow.BufferReader(pyarrow.py_buffer(content).slice(rest)),
        read_options=csv.ReadOptions(
            use_threads=len(content) > _WORTH_THREADS, column_names=names, block_size=min(len(content) + 1, _BLOCK)
        ),
        parse_options=csv.ParseOptions(
            delimiter=shape.separator.decode(), newlines_in_values=True, ignore_empty_lines=several
        ),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pyarrow.large_string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
