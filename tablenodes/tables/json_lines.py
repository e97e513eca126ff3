"""JSON Lines: a JSON object a line, nested values kept as they are."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy
import orjson
import pandas

from ..errors import ColumnError, TableError
from ..notices import counted, say
from .pandas_view import pandas_array
from .text_files import check_encoding
from .typed_columns import arrow_array
from .views import WrittenNaN, checked_names, is_text

_DIGITS_TO_0 = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
_LONGEST_INTEGER = 4_000  # digits; Python reads hardly more, and no JSON writer would write them back
_TYPES = {str: "text", bool: "boolean", int: "integer", float: "number"}


def read_json_lines(content: bytes, name: str) -> pandas.DataFrame:
    """Read a JSON Lines file: a column is every name that a row has, null where a row has it not.

    A column of only texts, integers, booleans or numbers with a fraction is of that type; others hold the values.
    """
    return frame_of(_objects(content, name), name)


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


def _objects(content: bytes, name: str) -> Iterator[dict[str, Any]]:
    blank = skipped = 0
    for number, line in enumerate(io.BytesIO(content), start=1):
        if line.isspace():
            blank += 1
            continue
        blank, skipped = 0, skipped + (blank if number > blank + 1 else 0)
        try:
            found = parsed(line)
        except ValueError as error:
            if not isinstance(error, json.JSONDecodeError) or error.__cause__ is None:
                check_encoding(content, name)
            raise _broken(line, number, error, name) from None
        except RecursionError:
            raise TableError(f"{name}, line {number}: JSON that is nested too deeply") from None
        if not isinstance(found, dict):
            raise TableError(f"{name}, line {number}: a JSON {kind_of(found)}, but a row must be an object")
        yield found
    if skipped:
        say(f"{name}: {counted(skipped, 'blank line')} between rows skipped")


def parsed(line: bytes) -> Any:
    """Return the value that a text of JSON is; numbers that JSON has not, such as NaN, included."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:  # halves of surrogate pairs, NaN and infinity are for their rows to answer for
        text = line.rstrip(b"\r\n").decode("utf-8", "surrogatepass")
        return json.loads(text, parse_constant=_constant, parse_int=_integer)
    # orjson rounds an integer of more than 64 bits to a float; Python reads it as it is.
    return json.loads(line, parse_int=_integer) if _LONG_NUMBER in line.translate(_DIGITS_TO_0) else found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONGEST_INTEGER else float(digits)


def _constant(name: str) -> float:
    return WrittenNaN() if name == "NaN" else float(name)


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
