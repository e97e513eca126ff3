"""Read a table from a database: the rows that a query returns."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow

from ..database_address import DatabaseTable
from ..errors import ColumnError, TableError, UsageError
from .database_engine import Engine, opened
from .views import checked_names

if TYPE_CHECKING:
    import pandas

_LISTED = 20


def read_query(table: DatabaseTable, *, what: str = "table") -> pandas.DataFrame:
    """Return the rows that a query of a database returns; the connection can only read."""
    with _asked(table, what) as (engine, query, name):
        try:
            found: pandas.DataFrame = engine.read(query)
            _check_names(found.columns, name)
        except (pyarrow.ArrowException, OverflowError, ValueError) as error:
            if isinstance(error, (UsageError, *engine.faults())):
                raise
            raise TableError(f"{name} has a value or a type that pandas cannot read") from error
    return found


@contextmanager
def query_stream(table: DatabaseTable, *, what: str = "table") -> Iterator[tuple[Any, Iterator[Any]]]:
    """Open the rows that a query of a database returns: their Arrow schema, and tables that are read one by one."""
    with _asked(table, what) as (engine, query, name):
        schema, batches = engine.batches(query)
        _check_names(schema.names, name)
        yield schema, batches


@contextmanager
def _asked(table: DatabaseTable, what: str) -> Iterator[tuple[Engine, str, str]]:
    """Open a table's database; yield it with the query, and what it is called in messages."""
    query, name = table.sql(), f"{what} {str(table.url)!r}"
    with opened(table.url, name) as engine:
        if query is None or not query.strip():
            raise _no_query(name, engine.names())
        try:
            yield engine, query, name
        except ColumnError as error:
            raise ColumnError(f"{name}: {error}") from None


def _check_names(names: Collection[Any], name: str) -> None:
    """Raise an error where a query returns no columns, or names that cannot be."""
    if not len(names):
        raise TableError(f"{name}: the query returns no columns")
    checked_names(names)


def _no_query(name: str, tables: list[str]) -> TableError:
    shown = ", ".join(tables[:_LISTED]) + (", …" if len(tables) > _LISTED else "")
    there = f"there are the tables {shown}" if tables else "there are no tables in it"
    one = tables[0] if tables else "reviews"
    how = f"such as query='select * from {one}'"  # noqa: S608 - for a person to read
    return TableError(
        f"{name} is a database: say what to read of it with query=, {how}; {there}",
        code="no_query",
        place="query",
        values={"name": name, "table": one, "there": there},
    )
