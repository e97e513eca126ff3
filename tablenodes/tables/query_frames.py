"""The rows of a query, as an engine returns them in Arrow, as a data frame: JSON is structured, decimals are exact."""

from __future__ import annotations

import decimal
import json
import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy
import orjson
import pandas
import pyarrow

from .columnar import data_frame

_LONG_NUMBER = re.compile(r"[0-9]{19}")  # orjson rounds integers of more than 64 bits


def query_frame(table: Any, as_json: Collection[str] = ()) -> pandas.DataFrame:
    """Return the rows as a data frame, with the values of JSON texts in columns of JSON, and in those of `as_json`."""
    objects: dict[int, Any] = {}
    names = table.column_names
    for position, field in enumerate(table.schema):
        column = table.column(position)
        kind = getattr(field.type, "extension_name", "")
        if kind == "arrow.json" or field.name in as_json:
            objects[position] = _objects([text and _value(text) for text in _texts(column)])
        elif kind == "arrow.opaque" and "numeric" in str(field.type):
            objects[position] = _objects([text and decimal.Decimal(text) for text in _texts(column)])
        if position in objects:
            table = table.set_column(position, field.name, pyarrow.nulls(len(column)))
    frame = data_frame(table)
    for position, values in objects.items():
        frame.isetitem(position, pandas.Series(values, index=frame.index, dtype=object))  # type: ignore[arg-type]
    frame.columns = pandas.Index(names)
    return frame


def _texts(column: Any) -> list[Any]:
    stored = [chunk.storage if hasattr(chunk, "storage") else chunk for chunk in column.chunks]
    return [text for chunk in stored for text in chunk.to_pylist()]


def _value(text: str) -> Any:
    return json.loads(text) if _LONG_NUMBER.search(text) else orjson.loads(text)


def _objects(values: Sequence[Any]) -> Any:
    return numpy.fromiter(values, dtype=object, count=len(values))
