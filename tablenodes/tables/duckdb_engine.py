"""DuckDB databases: a file, or with ``:memory:`` none, so that a query reads files of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from ..database_address import IN_MEMORY
from .batches import BATCH_ROWS
from .database_engine import STAGED, Declared, Engine, missing_driver, quoted
from .query_batches import query_batches
from .query_frames import query_frame
from .staged_columns import Staged, arrow_of

if TYPE_CHECKING:
    from ..database_address import DatabaseAddress

_DIGITS = 38  # that its decimals have
_AS_TEXT = ("INTERVAL", "BIT", "TIME WITH TIME ZONE", "UHUGEINT", "UNION", "BIGNUM", "VARINT")
"""Types for which there is no column in Arrow that holds all of their values, or none in a data frame."""


def _driver() -> ModuleType:
    try:
        import duckdb  # noqa: PLC0415 - only where it is needed
    except ImportError:
        raise missing_driver("DuckDB", "duckdb") from None
    return duckdb  # type: ignore[no-any-return]


class DuckdbEngine(Engine):
    """A DuckDB file."""

    types: ClassVar[Mapping[str, str]] = {
        "integer": "bigint",
        "number": "double",
        "boolean": "boolean",
        "text": "varchar",
        "json": "json",
        "decimal": "varchar",
        "binary": "blob",
        "date": "date",
        "time": "time",
        "moment": "timestamp",
        "instant": "timestamptz",
    }
    makes_key = False  # its updates of rows with a primary key may be refused within one transaction

    def __init__(self, address: DatabaseAddress, *, writes: bool, patience: float) -> None:
        self._database = _driver().connect(address.path, read_only=not writes and address.path != IN_MEMORY)
        self._database.execute("set TimeZone = 'UTC'")
        if writes:
            self._database.execute("begin transaction")

    @staticmethod
    def faults() -> tuple[type[BaseException], ...]:
        """Return the errors that the library raises."""
        return (_driver().Error,)

    @staticmethod
    def words(error: BaseException) -> str:
        """Return the first paragraph of what DuckDB says; where a value cannot be converted, without it."""
        said = str(error).partition("\n\n")[0].partition("\nLINE ")[0]
        return re.sub(r"'[^']*'", "'…'", said) if said.startswith("Conversion Error") else said

    def read(self, query: str) -> Any:
        """Return the rows of a query; what Arrow has no type for is read as text."""
        found, as_json = self._asked(query)
        return query_frame(found.to_arrow_table(), as_json)

    def batches(self, query: str) -> tuple[Any, Iterator[Any]]:
        """Return the schema of a query's rows, and the rows."""
        found, as_json = self._asked(query)
        return query_batches(found.to_arrow_reader(BATCH_ROWS), as_json)

    def _asked(self, query: str) -> tuple[Any, list[str]]:
        """Return what a query returns, as it can be read, and the names of its columns of JSON."""
        found = self._database.sql(query)
        if found is None:
            raise _driver().InvalidInputException("the query returns no rows")
        kinds = {name: str(kind) for name, kind in zip(found.columns, found.types, strict=True)}
        if len(kinds) == len(found.columns) and any(kind.startswith(_AS_TEXT) for kind in kinds.values()):
            found = found.project(", ".join(map(_readable, kinds, kinds.values())))
        return found, [name for name, kind in kinds.items() if kind == "JSON"]

    def names(self) -> list[str]:
        """Return the names of the tables and views."""
        found = self._database.execute(
            "select case when table_schema = current_schema() then '' else table_schema || '.' end || table_name"
            " from information_schema.tables where table_catalog = current_catalog() order by 1"
        )
        return [name for (name,) in found.fetchall()]

    def columns(self, table: str) -> list[Declared]:
        """Return the columns of a table."""
        schema, _, name = table.rpartition(".")
        found = self._database.execute(
            "select column_name, data_type, is_nullable = 'NO' and column_default is null"
            " from information_schema.columns where table_catalog = current_catalog()"
            " and lower(table_schema) = lower(coalesce(nullif(?, ''), current_schema()))"
            " and lower(table_name) = lower(?) order by ordinal_position",
            [schema, name],
        )
        return [Declared(*row) for row in found.fetchall()]

    def stage(self, columns: Mapping[str, Staged]) -> None:
        """Hold rows where they are."""
        self._database.register(STAGED, arrow_of(columns))

    def type_of(self, column: Staged) -> str:
        """Return the type in SQL of a new table's column; decimals have as many digits as they need."""
        if column.kind != "decimal":
            return super().type_of(column)
        whole, rest = column.digits()
        return f"decimal(38, {rest})" if whole + rest <= _DIGITS else self.types["decimal"]


ENGINE = DuckdbEngine


def _readable(name: str, kind: str) -> str:
    column = quoted(name)
    return f"{column}::varchar as {column}" if kind.startswith(_AS_TEXT) else column
