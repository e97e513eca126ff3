"""SQLite databases, by the standard library: a column holds values of any type, and these stay what they are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

import numpy
import pandas
import pyarrow

from ..database_address import IN_MEMORY
from .arrow_view import PARSED
from .batches import BATCH_ROWS
from .database_engine import STAGED, Declared, Engine, quoted
from .pandas_view import pandas_array
from .typed_columns import arrow_array

if TYPE_CHECKING:
    from ..database_address import DatabaseAddress
    from .staged_columns import Staged

_DIGITS = 15  # that every float keeps
_ROWS = 10_000
_EXACT = 2**53  # integers up to here are floats of the same value
_ARROW = {
    "text": pyarrow.large_string(),
    "integer": pyarrow.int64(),
    "real": pyarrow.float64(),
    "blob": pyarrow.large_binary(),
}
_TYPES = {str: "text", int: "integer", float: "number"}


class SqliteEngine(Engine):
    """A SQLite file."""

    types: ClassVar[Mapping[str, str]] = {
        "integer": "INTEGER",
        "number": "REAL",
        "boolean": "BOOLEAN",
        "text": "TEXT",
        "json": "TEXT",
        "decimal": "TEXT",
        "binary": "BLOB",
        "date": "DATE",
        "time": "TIME",
        "moment": "TIMESTAMP",
        "instant": "TIMESTAMP",
    }
    differs = "is not"

    def __init__(self, address: DatabaseAddress, *, writes: bool, patience: float) -> None:
        place = address.path
        if place != IN_MEMORY:
            place = f"file:{quote(Path(place).absolute().as_posix())}?mode={'rwc' if writes else 'ro'}"
        how: dict[str, Any] = {"uri": True, "isolation_level": None, "check_same_thread": False}
        self._database = sqlite3.connect(place, timeout=patience, **how)
        if writes:
            self._database.execute("begin immediate")

    @staticmethod
    def faults() -> tuple[type[BaseException], ...]:
        """Return the errors that the library raises."""
        return (sqlite3.Error, sqlite3.Warning, OverflowError)

    @staticmethod
    def words(error: BaseException) -> str:
        """Return what SQLite says."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            return "not a SQLite database"
        return str(error)

    def read(self, query: str) -> Any:
        """Return the rows of a query; values of one type are a column of that type, others are objects."""
        cursor = self._database.execute(query)
        names = [each[0] for each in cursor.description or ()]
        columns: list[list[Any]] = [[] for _ in names]
        while rows := cursor.fetchmany(_ROWS):
            for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
                column.extend(cells)
        made = pandas.DataFrame({at: _array(column) for at, column in enumerate(columns)}, copy=False)
        made.columns = pandas.Index(names)
        return made

    def batches(self, query: str) -> tuple[Any, Iterator[Any]]:
        """Return the schema of a query's rows, by a first look at the types of all values, and the rows."""
        cursor = self._database.execute(query)
        names = [each[0] for each in cursor.description or ()]
        schema = pyarrow.schema(
            [_field(name, kinds) for name, kinds in zip(names, self._kinds(query, names), strict=True)]
        )
        return schema, _batches(cursor, schema)

    def _kinds(self, query: str, names: list[str]) -> list[set[str]]:
        """Return the types that the values of each column have, but null."""
        told = ", ".join(f"group_concat(distinct typeof({quoted(name)}))" for name in names)
        found = self._database.execute(f"select {told} from (\n{query.rstrip().rstrip(';')}\n)").fetchone()  # noqa: S608 - it is the user's own
        return [{*(kinds or "").split(",")} - {"null", ""} for kinds in found]

    def names(self) -> list[str]:
        """Return the names of the tables and views."""
        found = self._database.execute(
            "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite^_%' escape '^'"
            " order by name"
        )
        return [name for (name,) in found]

    def columns(self, table: str) -> list[Declared]:
        """Return the columns of a table; an integer key of its own numbers its rows."""
        found = self._database.execute(f"pragma table_info({quoted(table)})").fetchall()
        return [
            Declared(name, kind, bool(required and default is None and not key))
            for _, name, kind, required, default, key in found
        ]

    def stage(self, columns: Mapping[str, Staged]) -> None:
        """Hold rows in a temporary table, which has their types."""
        told = ", ".join(f"{quoted(name)} {self.type_of(each)}" for name, each in columns.items())
        self._database.execute(f"create temp table {STAGED} ({told})")
        marks = ", ".join("?" * len(columns))
        rows = zip(*(_values(each) for each in columns.values()), strict=True)
        self._database.executemany(f"insert into {STAGED} values ({marks})", rows)  # noqa: S608 - no text of others

    def type_of(self, column: Staged) -> str:
        """Return the type of a new table's column: decimals that a float does not keep are texts."""
        is_kept = column.kind == "decimal" and sum(column.digits()) <= _DIGITS
        return "NUMERIC" if is_kept else super().type_of(column)

    def named(self, table: str) -> str:
        """Return a table's name as SQL has it: a dot is a character like others."""
        return f"main.{quoted(table)}"

    def cast(self, expression: str, kind: str) -> str:
        """Return the expression: a column has no type that it keeps."""
        return expression


ENGINE = SqliteEngine


def _field(name: str, kinds: set[str]) -> Any:
    """Return the field of a column whose values have these types: of several, its cells are JSON."""
    if len(kinds) > 1:
        return pyarrow.field(name, pyarrow.large_string(), metadata={PARSED: b""})
    return pyarrow.field(name, _ARROW[kinds.pop()] if kinds else pyarrow.large_string())


def _batches(cursor: sqlite3.Cursor, schema: Any) -> Iterator[Any]:
    while rows := cursor.fetchmany(BATCH_ROWS):
        columns = [
            [None if cell is None else _json(cell) for cell in cells] if field.metadata else cells
            for field, cells in zip(schema, zip(*rows, strict=True), strict=True)
        ]
        arrays = [pyarrow.array(cells, field.type) for field, cells in zip(schema, columns, strict=True)]
        yield pyarrow.Table.from_arrays(arrays, schema=schema)


def _json(cell: Any) -> str:
    return json.dumps(cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell)


def _array(values: list[Any]) -> Any:
    kinds = {*map(type, values)} - {type(None)}
    if kinds == {int, float} and all(-_EXACT <= each <= _EXACT for each in values if type(each) is int):
        kinds = {float}
    if len(kinds) == 1 and (known := _TYPES.get(kinds.pop())) is not None:
        return pandas_array(arrow_array(values, known))
    objects = numpy.fromiter(values, dtype=object, count=len(values))
    return pandas.Series(objects, dtype=object)


def _values(column: Staged) -> Any:
    """Return a column's cells as SQLite has them: it has no times, and no numbers of more digits than floats have."""
    if column.kind in ("date", "time", "moment", "instant"):
        return [None if each is None else each.isoformat(*_SEPARATED.get(column.kind, ())) for each in column.cells()]
    return column.cells()


_SEPARATED = {"moment": (" ",), "instant": (" ",)}
