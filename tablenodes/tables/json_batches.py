"""JSON lines in batches: the types of the columns are known before the first one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import pyarrow

from ..errors import ColumnError, TableError
from .arrow_view import PARSED
from .json_lines import numbered_objects
from .typed_columns import PLAIN_TYPES, arrow_array
from .views import checked_names, is_text

ROWS = 8_192
_KINDS = {str: "text", bool: "boolean", int: "integer", float: "number"}
_JSON = "json"
"""Of a column of nested values, or of several types: its cells are kept as JSON, and read as what they are."""


class JsonTypes:
    """The types of the columns, as the rows that were looked at say them."""

    def __init__(self) -> None:
        self._kinds: dict[str, str | None] = {}

    def look_at(self, row: dict[str, Any]) -> None:
        """Learn from a row."""
        for name, value in row.items():
            before = self._kinds.setdefault(name, None)
            if value is None or before == _JSON:
                continue
            kind = kind_of_cell(value)
            if kind != before:
                self._kinds[name] = kind if before is None else _JSON

    def schema(self, name: str, unknown: str = "text") -> Any:
        """Return the Arrow schema of the columns, all of which may be null; a column of nulls alone is `unknown`."""
        if not self._kinds:
            raise TableError(f"{name} is empty")
        try:
            checked_names(self._kinds)
        except ColumnError as error:
            raise ColumnError(f"{name}: {error}") from None
        return pyarrow.schema([_field(column, kind or unknown) for column, kind in self._kinds.items()])


def kind_of_cell(value: Any) -> str:
    """Return the kind of column that a value fits into."""
    kind = _KINDS.get(type(value), _JSON)
    if (kind == "integer" and not -(2**63) <= value < 2**63) or (kind == "text" and not _is_plain(value)):
        return _JSON
    return kind


def _is_plain(text: str) -> bool:
    return text.isascii() or is_text(text)


def _field(name: str, kind: str) -> Any:
    if kind == _JSON:
        return pyarrow.field(name, PLAIN_TYPES["text"], metadata={PARSED: b""})
    return pyarrow.field(name, PLAIN_TYPES[kind])


class JsonBatches:
    """The rows of a file of JSON lines; what the first pass over it found says the types, else the first batch."""

    def __init__(self, lines: Iterable[bytes], name: str, types: JsonTypes | None = None) -> None:
        self._name = name
        self._rows = numbered_objects(lines, name)
        self._first: list[tuple[int, dict[str, Any]]] = []
        unknown = "text" if types is not None else _JSON  # whatever comes later fits
        if types is None:
            types = JsonTypes()
            for number, row in self._rows:
                types.look_at(row)
                self._first.append((number, row))
                if len(self._first) == ROWS:
                    break
        self.schema = types.schema(name, unknown)
        self._kinds = {
            field.name: _JSON if field.metadata else next(k for k, of in PLAIN_TYPES.items() if of == field.type)
            for field in self.schema
        }

    def __iter__(self) -> Iterator[Any]:
        batch: list[dict[str, Any]] = []
        for number, row in chain(self._first, self._rows):
            self._check(number, row)
            batch.append(row)
            if len(batch) == ROWS:
                yield self._table(batch)
                batch = []
        if batch:
            yield self._table(batch)

    def _check(self, number: int, row: dict[str, Any]) -> None:
        """Raise `TableError` for a row that has a column, or a value, that does not fit."""
        for column, value in row.items():
            kind = self._kinds.get(column)
            if kind is None:
                raise TableError(f"{self._name}, line {number}: a column {column!r} that the rows before have not")
            if value is not None and kind != _JSON and not _fits(value, kind):
                found = kind_of_cell(value)
                raise TableError(f"{self._name}, line {number}: {column!r} is {found}, and {kind} in the rows before")

    def _table(self, batch: list[dict[str, Any]]) -> Any:
        made = []
        for name, kind in self._kinds.items():
            values = [row.get(name) for row in batch]
            if kind == _JSON:
                values = [None if value is None else json.dumps(value) for value in values]
            elif kind == "number":
                values = [None if value is None else float(value) for value in values]
            made.append(arrow_array(values, "text" if kind == _JSON else kind))
        return pyarrow.Table.from_arrays(made, schema=self.schema)


def _fits(value: Any, kind: str) -> bool:
    """Check whether a value can be one of a column's kind, with nothing lost."""
    found = kind_of_cell(value)
    return found == kind or (kind == "number" and found == "integer" and int(float(value)) == value)
