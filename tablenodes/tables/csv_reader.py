"""CSV and TSV: a grammar finds the line that breaks it, Arrow converts what does not.

Arrow's own reader names a broken record by its text, which a message must not hold, and takes text after a
closing quote without a word. So one regular expression goes over the file first, at some 80 MB a second.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow
from pyarrow import compute, csv

from ..errors import ColumnError, TableError
from ..notices import say
from .text_files import check_encoding, line_of, without_mark
from .views import checked_names

if TYPE_CHECKING:
    import pandas

_END = rb"(?:\r\n|\n|\r|\Z)"
_BLANK = re.compile(rb"[\r\n]*+")
_SAID = re.compile(rb"(\"?)sep=([,;|:\t])\1" + _END, re.IGNORECASE)
"""The line before the header with which spreadsheets say what their separator is."""
_BLOCK = 2**30
_RETURN = "\ufdd5"
"""No character: it stands for a carriage return that ends no line, where lines end otherwise."""
_LONE_RETURN = re.compile(rb"\r(?!\r*\n)")
_HEADER = re.compile(rb'[\r\n]*+(?:"[^"]*+"|[^"\r\n]++)*+"?([\r\n]++)')
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
    quotes: bool = True  # whether a quote at a field's beginning is no part of its text


def read_csv(content: bytes, name: str, separators: str) -> pandas.DataFrame:
    """Read a CSV file, every cell as text."""
    content = _with_returns_marked(without_mark(content, name))
    shape = _shape(content, separators)
    if shape.separator == b"\t" and (ordinary := _with_ordinary_quotes(content, shape)):
        shape = ordinary
        fields = f"{len(shape.names)} fields" if len(shape.names) > 1 else "1 field"
        say(f"{name}: quotes are read as ordinary characters: each line has {fields} as it stands")
    if shape.names == [b""]:
        raise TableError(f"{name} is empty")
    if shape.good < len(content):
        check_encoding(content[: shape.good], name)
        raise _complaint(content, shape, name)
    check_encoding(content[: shape.body], name)
    try:
        table = _table(content, shape, name)
    except ColumnError as error:
        raise ColumnError(f"{name}: {error}") from None
    except pyarrow.ArrowInvalid as error:
        check_encoding(content, name)
        raise TableError(f"cannot read {name}: a record is longer than {_BLOCK:,} bytes") from error
    _tell_lines(content, shape, table.num_rows, name)
    frame: pandas.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    return frame


def _with_returns_marked(content: bytes) -> bytes:
    """Return a text in which `_RETURN` stands for each carriage return that ends no line, as inside of a cell."""
    returns = content.count(b"\r")
    if not returns or returns == content.count(b"\r\n") or _RETURN.encode() in content:
        return content
    header = _HEADER.match(content)
    ends_in_it = header is None or b"\n" not in header[1]  # lines, as they did on old systems
    return content if ends_in_it else _LONE_RETURN.sub(_RETURN.encode(), content)


def _table(content: bytes, shape: _Shape, name: str) -> pyarrow.Table:
    """Return the table, without columns at the right that have no name and no text, as spreadsheets leave them."""
    given = [_text(field, shape).replace(_RETURN, "\r") for field in shape.names]
    named = len(given)
    while named > 1 and not shape.names[named - 1]:
        named -= 1
    unnamed = tuple(f"\ufdd6{number}" for number in range(named, len(given)))
    table = _converted(content, shape, (*checked_names(given[:named]), *unnamed))
    if unnamed and not any(_has_text(table.column(column)) for column in unnamed):
        which = f"{len(unnamed)} empty columns" if len(unnamed) > 1 else "an empty column"
        say(f"{name}: {which} without a name at the right left out")
        table = table.drop_columns(list(unnamed))
    elif unnamed:
        table = table.rename_columns(checked_names(given))
    if _RETURN.encode() in content:
        columns = [compute.replace_substring(column, _RETURN, "\r") for column in table.columns]
        table = pyarrow.table(columns, names=table.column_names)
    return table


def _has_text(column: Any) -> bool:
    return bool(compute.max(compute.binary_length(column)).as_py())


def _with_ordinary_quotes(content: bytes, shape: _Shape) -> _Shape | None:
    """Return the shape of a file whose quotes are ordinary characters, as in data sets; None where they are not.

    They are if the file could not be read otherwise, or lines would become one cell, while each line has all fields.
    """
    header = re.compile(rb"[^\r\n]*+").match(content, _end(_BLANK, content, 0))
    fields = header[0].split(b"\t") if header else []
    if header is None or b'"' not in content or any(field.startswith(b'"') for field in fields):
        return None
    broken = shape.good < len(content)
    if not broken and (len(fields) == 1 or not _first_break(content, shape)):
        return None
    field = rb"[^\t\r\n]*+"
    line = field + rb"(?:\t" + field + rb"){" + str(len(fields) - 1).encode() + rb"}(?:\r\n|\n|\r|\Z)"
    lines = re.compile(rb"(?:" + line + rb"|[\r\n])*+")
    body = header.end() + len(re.compile(rb"\r\n|\n|\r|").match(content, header.end())[0])  # type: ignore[index]
    if _end(lines, content, body) < len(content):
        return None
    return _Shape(b"\t", fields, body, len(content), quotes=False)


def _first_break(content: bytes, shape: _Shape) -> int | None:
    """Return the position of the first line break inside of quotes."""
    if not shape.quotes or b'"' not in content:
        return None
    before = rb"(?:\A|[\r\n" + re.escape(shape.separator) + rb"])"
    found = re.compile(before + rb'"(?:[^"\r\n]|"")*+[\r\n]').search(content, max(shape.body - 1, 0))
    return found.end() - 1 if found else None


def _tell_lines(content: bytes, shape: _Shape, rows: int, name: str) -> None:
    """Say why there are fewer rows than lines."""
    rest = content[shape.body :].strip(b"\r\n")
    lines = rest.count(b"\n") + rest.count(b"\r") - rest.count(b"\r\n") + bool(rest)
    if rows >= lines:
        return
    at = _first_break(content, shape)
    why = "blank lines are skipped"
    if at is not None:
        why = f"cells in quotes have line breaks in them, first in line {line_of(content, at)}"
    say(f"{name}: {rows:,} {'row' if rows == 1 else 'rows'} from {lines:,} lines: {why}")


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
    good = _end(_records(separator, len(names)), content, body)
    if len(names) > 1 and good < len(content) and not content[body:good].strip(b"\r\n"):
        with suppress(_Broken):
            first, _ = _record(content, good, separator)
            if not any(first[len(names) :]):  # empty fields at the right that the header lacks
                wide = [*names, *first[len(names) :]]
                if _end(_records(separator, len(wide)), content, body) == len(content):
                    return _Shape(separator, wide, body, len(content))
    return _Shape(separator, names, body, good)


def _records(separator: bytes, fields: int) -> re.Pattern[bytes]:
    """Return the pattern of all records of so many fields."""
    field = _field(separator)
    record = field + rb"(?:" + re.escape(separator) + field + rb"){" + str(fields - 1).encode() + rb"}" + _END
    blank = rb"|[\r\n]" if fields > 1 else b""
    return re.compile(rb"(?:" + record + blank + rb")*+")


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


def _text(field: bytes, shape: _Shape) -> str:
    return (field[1:-1].replace(b'""', b'"') if shape.quotes and field.startswith(b'"') else field).decode()


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
            delimiter=shape.separator.decode(),
            quote_char='"' if shape.quotes else False,
            newlines_in_values=shape.quotes,
            ignore_empty_lines=several,
        ),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pyarrow.large_string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
