"""JSON Lines: a JSON object a line, nested values kept as they are."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy
import orjson
import pandas

from ..errors import TableError
from .pandas_view import pandas_array
from .text_files import check_encoding, without_mark
from .views import arrow_array, checked_names

_DIGITS_TO_0 = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
_TYPES = {str: "text", bool: "boolean", int: "integer", float: "number"}


def read_json_lines(content: bytes, name: str) -> pandas.DataFrame:
    """Read a JSON Lines file: a column is every name that a row has, null where a row has it not.

    A column of only texts, integers, booleans or numbers with a fraction is of that type; others hold the values.
    """
    content = without_mark(content, name)
    columns: dict[str, list[Any]] = {}
    rows = 0
    for row in _objects(content, name):
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
    checked_names(columns)
    arrays = {key: _array(column) for key, column in columns.items()}
    return pandas.DataFrame(arrays, index=pandas.RangeIndex(rows), copy=False)


def _objects(content: bytes, name: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(io.BytesIO(content), start=1):
        if line.isspace():
            continue
        try:
            found = _parsed(line)
        except (ValueError, RecursionError):
            check_encoding(content, name)
            raise TableError(f"{name}, line {number}: not valid JSON") from None
        if not isinstance(found, dict):
            raise TableError(f"{name}, line {number}: a JSON {_kind(found)}, but a row must be an object")
        yield found


def _parsed(line: bytes) -> Any:
    found = orjson.loads(line)
    # orjson rounds an integer of more than 64 bits to a float; Python reads it as it is.
    return json.loads(line) if _LONG_NUMBER in line.translate(_DIGITS_TO_0) else found


def _kind(value: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")


def _array(values: list[Any]) -> Any:
    kinds = {*map(type, values)} - {type(None)}
    known = _TYPES.get(kinds.pop()) if len(kinds) == 1 else None
    if known and not (known == "integer" and _is_wide(values)):
        return pandas_array(arrow_array(values, known))
    objects = numpy.fromiter(values, dtype=object, count=len(values))
    return pandas.Series(objects, dtype=object).array


def _is_wide(values: list[Any]) -> bool:
    return any(value is not None and not -(2**63) <= value < 2**63 for value in values)
