"""JSON Lines: a JSON object a line, nested values kept as they are."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy
import pandas

from ..errors import ColumnError, TableError
from ..notices import counted, say
from .json_text import parsed
from .pandas_view import pandas_array
from .text_files import check_encoding
from .typed_columns import arrow_array
from .views import checked_names, is_text

_TYPES = {str: "text", bool: "boolean", int: "integer", float: "number"}


def read_json_lines(content: bytes, name: str) -> pandas.DataFrame:
    """Read a JSON Lines file: a column is every name that a row has, null where a row has it not.

    A column of only texts, integers, booleans or numbers with a fraction is of that type; others hold the values.
    """
    return frame_of((row for _, row in numbered_objects(io.BytesIO(content), name)), name)


def frame_of(objects: Iterable[dict[str, Any]], name: str) -> pandas.DataFrame:
    """Return the data frame of JSON objects, each a row."""
    columns: dict[str, list[Any]] = {}
    rows = 0
    for row in objects:
        for key, value in row.items():
            column = columns.get(key)
            if column is None:
                column = columns[key] = [None] * rows
            column.append(value)
        rows += 1
        if len(row) < len(columns):
            for column in columns.values():
                if len(column) < rows:
                    column.append(None)
    if rows == 0:
        raise TableError(f"{name} is empty")
    try:
        checked_names(columns)
    except ColumnError as error:
        raise ColumnError(f"{name}: {error}") from None
    arrays = {key: column_array(column) for key, column in columns.items()}
    return pandas.DataFrame(arrays, index=pandas.RangeIndex(rows), copy=False)


def numbered_objects(lines: Iterable[bytes], name: str, *, tells: bool = True) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects that lines of JSON are, with the numbers of their lines; `tells` of blank lines."""
    blank = skipped = 0
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            blank += 1
            continue
        blank, skipped = 0, skipped + (blank if number > blank + 1 else 0)
        try:
            found = parsed(line)
        except ValueError as error:
            if not isinstance(error, json.JSONDecodeError) or error.__cause__ is None:
                check_encoding(line, name, before=number - 1)
            raise _broken(line, number, error, name) from None
        except RecursionError:
            raise TableError(f"{name}, line {number}: JSON that is nested too deeply") from None
        if not isinstance(found, dict):
            raise TableError(f"{name}, line {number}: a JSON {kind_of(found)}, but a row must be an object")
        yield number, found
    if skipped and tells:
        say(f"{name}: {counted(skipped, 'blank line')} between rows skipped")


def _broken(line: bytes, number: int, error: ValueError, name: str) -> TableError:
    """Return what is wrong with a line that is no JSON."""
    if isinstance(error, UnicodeDecodeError):
        return TableError(f"{name}, line {number}: not UTF-8")
    place = f"line {number}, character {error.colno}" if isinstance(error, json.JSONDecodeError) else f"line {number}"
    whole = "; a file of JSON lines has one object a line, not one array" if line.strip() in (b"[", b"{") else ""
    return TableError(f"{name}, {place}: not valid JSON{whole}")


def kind_of(value: Any) -> str:
    """Return what JSON calls a value."""
    kinds = {list: "array", dict: "object", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def column_array(values: list[Any]) -> Any:
    """Return JSON values as a column: of one type, or of Python's objects."""
    kinds = {*map(type, values)} - {type(None)}
    known = _TYPES.get(kinds.pop()) if len(kinds) == 1 else None
    if known and not (known == "integer" and _is_wide(values)) and not (known == "text" and _has_halves(values)):
        return pandas_array(arrow_array(values, known))
    objects = numpy.fromiter(values, dtype=object, count=len(values))
    return pandas.Series(objects, dtype=object)  # no array of its own: pandas would look for texts in it


def _has_halves(values: list[Any]) -> bool:
    """Check whether a text has half of a surrogate pair, which no column of texts can hold."""
    return not all(value is None or value.isascii() or is_text(value) for value in values)


def _is_wide(values: list[Any]) -> bool:
    return any(value is not None and not -(2**63) <= value < 2**63 for value in values)
