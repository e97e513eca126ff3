"""The columns of any table as what a database takes: of a few kinds, each in an Arrow type of its own."""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
import pandas
import pyarrow
from pyarrow import compute, types

from ..problems import Unfit
from .arrow_cells import PYTHONS_OWN
from .pandas_view import with_named_index
from .text_writer import column_texts
from .views import TableView

TEXT = pyarrow.large_string()
_LARGEST = 2**63 - 1
_KINDS = {
    "boolean": pyarrow.bool_(),
    "integer": pyarrow.int64(),
    "number": pyarrow.float64(),
    "text": TEXT,
    "binary": pyarrow.large_binary(),
    "date": pyarrow.date32(),
    "time": pyarrow.time64("us"),
    "moment": pyarrow.timestamp("us"),
    "instant": pyarrow.timestamp("us", "UTC"),
}
"""The Arrow types of kinds; all others (``json``, ``decimal``) are held as texts."""


class Staged(NamedTuple):
    """A column that is about to be written: what its values are, and the Arrow array of them."""

    kind: str
    column: Any

    def digits(self) -> tuple[int, int]:
        """Return how many digits decimals have, at most, before and behind the point."""
        parts = [each.lstrip("-").partition(".")[::2] for each in self.cells() if each is not None]
        return max((len(whole) for whole, _ in parts), default=1), max((len(rest) for _, rest in parts), default=0)

    def cells(self) -> list[Any]:
        """Return the values as Python's."""
        found: list[Any] = self.column.to_pylist()
        return found


def staged(source: TableView) -> dict[str, Staged]:
    """Return a table's columns as a database takes them."""
    return {name: _staged(source, name) for name in source.columns}


def as_written(table: Any) -> Any:
    """Return a table with its index, where that has a name, as columns."""
    return with_named_index(table) if isinstance(table, pandas.DataFrame) else table


def arrow_of(columns: Mapping[str, Staged]) -> Any:
    """Return staged columns as one Arrow table."""
    return pyarrow.table({name: each.column for name, each in columns.items()})


def _staged(source: TableView, name: str) -> Staged:
    table = source.table
    if source.kind == "pandas":
        if table[name].dtype == object:
            return _of_objects(source, name)
        column = pyarrow.Table.from_pandas(table[[name]], preserve_index=False).column(0)
    elif source.kind == "polars":
        if str(table[name].dtype) == "Object":
            return _texts(source, name)
        column = table.select([name]).to_arrow().column(0)
    else:
        column = table.column(name)
    return _of_arrow(source, name, column)


def _of_objects(source: TableView, name: str) -> Staged:
    """Return a column of objects: of one type that databases have, or of lists and mappings, or of texts."""
    cells = [None if pandas.api.types.is_scalar(each) and pandas.isna(each) else each for each in source.table[name]]
    kinds = {*map(type, cells)} - {type(None)}
    if any(issubclass(each, dict | list | tuple) or hasattr(each, "__array__") for each in kinds):
        return _json(source, name)
    if kinds == {decimal.Decimal}:
        return Staged("decimal", pyarrow.array([None if each is None else format(each, "f") for each in cells], TEXT))
    if len(kinds) < 2:
        try:
            return _of_arrow(source, name, pyarrow.chunked_array([pyarrow.array(cells)]))
        except (pyarrow.ArrowException, OverflowError, ValueError, TypeError):  # half a character, 70 bits
            pass
    return _texts(source, name)


def _of_arrow(source: TableView, name: str, column: Any) -> Staged:  # noqa: PLR0911 - a line for each kind of type
    kind = column.type
    if types.is_dictionary(kind) and not types.is_nested(kind.value_type):
        return _of_arrow(source, name, column.cast(kind.value_type))
    if types.is_nested(kind):
        return _json(source, name)
    if isinstance(kind, pyarrow.BaseExtensionType):
        if kind.extension_name in PYTHONS_OWN:
            return _texts(source, name)
        storage = [chunk.storage for chunk in column.chunks]
        return _of_arrow(source, name, pyarrow.chunked_array(storage, type=kind.storage_type))
    if types.is_decimal(kind) or (types.is_uint64(kind) and (compute.max(column).as_py() or 0) > _LARGEST):
        return Staged("decimal", column.cast(TEXT))
    if types.is_float16(kind) or types.is_float32(kind):  # by way of the shortest decimals
        cells = [None if isinstance(cell, Unfit) else cell for (cell,) in source.rows((name,))]
        return Staged("number", pyarrow.array(cells, pyarrow.float64()))
    if types.is_timestamp(kind):
        of = "instant" if kind.tz else "moment"
        return Staged(of, column.cast(_KINDS[of], safe=False))
    found = next((of for check, of in _CHECKS if check(kind)), None)
    return _texts(source, name) if found is None else Staged(found, column.cast(_KINDS[found], safe=False))


_CHECKS = (
    (types.is_boolean, "boolean"),
    (types.is_integer, "integer"),
    (types.is_floating, "number"),
    (types.is_null, "text"),
    (types.is_string, "text"),
    (types.is_large_string, "text"),
    (types.is_string_view, "text"),
    (types.is_binary, "binary"),
    (types.is_large_binary, "binary"),
    (types.is_fixed_size_binary, "binary"),
    (types.is_date, "date"),
    (types.is_time, "time"),
)


def _texts(source: TableView, name: str) -> Staged:
    return Staged("text", pyarrow.array(column_texts(source, name), TEXT))


def _json(source: TableView, name: str) -> Staged:
    """Return a column of lists, mappings and others as JSON; a text among them has its quotes."""
    both = zip(column_texts(source, name), source.rows((name,)), strict=True)
    texts = [orjson.dumps(cell).decode() if isinstance(cell, str) else text for text, (cell,) in both]
    return Staged("json", pyarrow.array(texts, TEXT))
