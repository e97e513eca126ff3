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
from ..notices import counted, say
from .text_files import check_encoding, line_of
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


class Shape(NamedTuple):
    """A file as one separator cuts it; the header's fields are as written, and none where it is broken."""

    separator: bytes
    start: int
    names: list[bytes]
    body: int
    good: int
    quotes: bool = True  # whether a quote at a field's beginning is no part of its text


def read_csv(content: bytes, name: str, separators: str, asked: str | None = None) -> pandas.DataFrame:
    """Read the text of a CSV file, every cell as text; one separator of several is found, unless one is asked for."""
    content, is_marked = mark_returns(content)
    shape = shape_of(content, name, separators, asked)
    try:
        table = converted(content, shape)
        lines = _lines(content, shape)
        if table.num_rows < lines and (ordinary := _with_ordinary_quotes(content, shape)):
            shape, table = ordinary, converted(content, ordinary)
        table = named(table, shape, name, is_marked=is_marked)
    except ColumnError as error:
        raise ColumnError(f"{name}: {error}") from None
    except pyarrow.ArrowInvalid as error:
        check_encoding(content, name)
        raise TableError(f"cannot read {name}: a record is longer than {_BLOCK:,} bytes") from error
    _tell_lines(content, shape, table.num_rows, lines, name)
    frame: pandas.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    return frame


def shape_of(content: bytes, name: str, separators: str, asked: str | None, *, is_cut: bool = False) -> Shape:
    """Return the shape of a text; raise `TableError` for a record that breaks it. The last one may be cut off."""
    said = _SAID.match(content)
    if said and asked and said[2] != asked.encode():
        say(f"{name}: its first line says that {said[2].decode()!r} is the separator; {asked!r} is used")
    if said and asked:
        shape = _cut(content, asked.encode(), said.end())
    else:
        shape = _shape(content, asked or separators, is_cut=is_cut)
    if shape.names == [b""]:
        raise TableError(f"{name} is empty")
    if not _is_whole(content, shape, is_cut=is_cut):
        shape = _with_ordinary_quotes(content, shape) or shape
    if not _is_whole(content, shape, is_cut=is_cut):
        check_encoding(content, name, shape.good)
        raise broken_record(content, shape, name)
    check_encoding(content, name, shape.body)
    return shape


def _is_whole(content: bytes, shape: Shape, *, is_cut: bool) -> bool:
    """Check whether a shape has all records of a text, or all but the last, which is cut off within quotes."""
    return shape.good == len(content) or (is_cut and bool(shape.names) and content.count(b'"', shape.good) % 2 == 1)


def mark_returns(content: bytes, *, has_feeds: bool = False) -> tuple[bytes, bool]:
    """Return a text in which `_RETURN` stands for each carriage return that ends no line, and whether there is any.

    Lines end with line feeds if the header does, or it is known that the file `has_feeds`.
    """
    mark = _RETURN.encode()
    if b"\r" not in content or content.count(b"\r") == content.count(b"\r\n") or mark in content:
        return content, False
    if not has_feeds and not ends_with_feeds(content):  # they end the lines, as they did on old systems
        return content, False
    return _LONE_RETURN.sub(mark, content), True


def unmarked(content: bytes) -> bytes:
    """Return a text as it was before `mark_returns`."""
    return content.replace(_RETURN.encode(), b"\r")


def has_header(content: bytes) -> bool:
    """Check whether a text has its first line, and the beginning of another."""
    header = _HEADER.match(content)
    return header is not None and header.end() < len(content)


def ends_with_feeds(content: bytes) -> bool:
    """Check whether the first line of a text ends with a line feed."""
    header = _HEADER.match(content)
    return header is not None and b"\n" in header[1]


def named(table: pyarrow.Table, shape: Shape, name: str, *, is_marked: bool) -> pyarrow.Table:
    """Return a table under its names, without columns that spreadsheets leave at the right: no name and no text."""
    names = [_text(field, shape) for field in shape.names]
    kept = len(names)
    while kept > 1 and not shape.names[kept - 1] and not has_text(table.column(kept - 1)):
        kept -= 1
    if kept < len(names):
        which = f"{len(names) - kept} empty columns" if len(names) - kept > 1 else "an empty column"
        say(f"{name}: {which} without a name at the right left out")
        names, table = names[:kept], table.select(range(kept))
    return under(table, names, is_marked=is_marked)


def under(table: pyarrow.Table, names: list[str], *, is_marked: bool) -> pyarrow.Table:
    """Return a table under these names, and with the carriage returns that are marked in it."""
    if is_marked:
        names = [each.replace(_RETURN, "\r") for each in names]
        columns = [compute.replace_substring(column, _RETURN, "\r") for column in table.columns]
        return pyarrow.table(columns, names=list(checked_names(names)))
    return table.rename_columns(list(checked_names(names)))


def has_text(column: Any) -> bool:
    """Check whether a column has a text that is not empty."""
    return bool(compute.max(compute.binary_length(column)).as_py())


def _with_ordinary_quotes(content: bytes, shape: Shape) -> Shape | None:
    """Return the shape of a file whose quotes are ordinary characters, as in data sets; None where they are not.

    Where quotes break a tab separated file, or swallow lines of it, each line may have all fields as it stands.
    """
    header = re.compile(rb"([^\r\n]*+)(?:\r\n|\n|\r|)").match(content, shape.start)
    fields = header[1].split(b"\t") if header else []
    if header is None or shape.separator != b"\t" or any(field.startswith(b'"') for field in fields):
        return None
    if len(fields) == 1 and shape.good == len(content):
        return None
    if b'"' not in content or _end(_lines_of(len(fields)), content, header.end()) < len(content):
        return None
    return Shape(b"\t", shape.start, fields, header.end(), len(content), quotes=False)


def _lines_of(fields: int) -> re.Pattern[bytes]:
    """Return the pattern of all lines of so many fields with tabs between, whose quotes are ordinary characters."""
    field = rb"[^\t\r\n]*+"
    line = field + rb"(?:\t" + field + rb"){" + str(fields - 1).encode() + rb"}" + _END
    return re.compile(rb"(?:" + line + rb"|[\r\n])*+")


def _lines(content: bytes, shape: Shape) -> int:
    """Return the number of lines after the header, without blank ones at the end."""
    start, end = shape.body, len(content)
    while end > start and content[end - 1] in b"\r\n":
        end -= 1
    lines = content.count(b"\n", start, end) + (end > start)
    if b"\r" in content:
        lines += content.count(b"\r", start, end) - content.count(b"\r\n", start, end)
    return lines


def _tell_lines(content: bytes, shape: Shape, rows: int, lines: int, name: str) -> None:
    """Say how a file was read that has fewer rows than lines, or ordinary quotes."""
    if not shape.quotes:
        fields = f"{len(shape.names)} fields" if len(shape.names) > 1 else "1 field"
        say(f"{name}: quotes are read as ordinary characters: each line has {fields} as it stands")
    if rows >= lines:
        return
    before = rb"(?:\A|[\r\n" + re.escape(shape.separator) + rb"])"
    swallowed = re.compile(before + rb'"(?:[^"\r\n]|"")*+[\r\n]').search(content, max(shape.body - 1, 0))
    why = "blank lines are skipped"
    if swallowed is not None and shape.quotes:
        why = f"cells in quotes have line breaks in them, first in line {line_of(content, swallowed.end() - 1)}"
    say(f"{name}: {counted(rows, 'row')} from {lines:,} lines: {why}")


def _shape(content: bytes, separators: str, *, is_cut: bool = False) -> Shape:
    """Return the first shape that makes several columns of the whole file, else the one with the longest header."""
    if said := _SAID.match(content):
        return _cut(content, said[2], said.end())
    shapes: list[Shape] = []
    for separator in separators:
        if shapes and shapes[0].names and separator.encode() not in content[: shapes[0].body]:
            continue  # it would make one column of the file, as the first did
        shape = _cut(content, separator.encode())
        if len(shape.names) > 1 and _is_whole(content, shape, is_cut=is_cut):
            return shape
        shapes.append(shape)
    return max(shapes, key=lambda shape: max(len(shape.names), 1))


def _cut(content: bytes, separator: bytes, start: int = 0) -> Shape:
    start = _end(_BLANK, content, start)
    try:
        names, body = _record(content, start, separator)
    except _Broken:
        return Shape(separator, start, [], start, start)
    good = _end(_records(separator, len(names)), content, body)
    if len(names) > 1 and good < len(content) and not content[body:good].strip(b"\r\n"):
        with suppress(_Broken):
            first, _ = _record(content, good, separator)
            if not any(first[len(names) :]):  # empty fields at the right that the header lacks
                wide = [*names, *first[len(names) :]]
                if _end(_records(separator, len(wide)), content, body) == len(content):
                    return Shape(separator, start, wide, body, len(content))
    return Shape(separator, start, names, body, good)


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


def _text(field: bytes, shape: Shape) -> str:
    return (field[1:-1].replace(b'""', b'"') if shape.quotes and field.startswith(b'"') else field).decode()


def end_of_records(content: bytes, shape: Shape) -> int:
    """Return where the records of a text end that have a shape."""
    if shape.quotes:
        return _end(_records(shape.separator, len(shape.names)), content, shape.body)
    return _end(_lines_of(len(shape.names)), content, shape.body)


def broken_record(content: bytes, shape: Shape, name: str, before: int = 0) -> TableError:
    """Return what is wrong with the record at which the grammar ended; so many lines are `before` the text."""
    try:
        found, _ = _record(content, shape.good, shape.separator)
    except _Broken as broken:
        return TableError(f"{name}, line {before + line_of(content, broken.position)}: {broken}")
    fields = "1 field" if len(found) == 1 else f"{len(found)} fields"
    return TableError(
        f"{name}, line {before + line_of(content, shape.good)}: {fields} where the header has {len(shape.names)};"
        f" a text that holds {shape.separator.decode()!r} must be in quotes"
    )


def converted(content: bytes, shape: Shape) -> pyarrow.Table:
    """Return the table, its columns called by their numbers."""
    names = list(map(str, range(len(shape.names))))
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
