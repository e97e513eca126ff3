"""Read a table from a database: the rows that a query returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow

from ..database_address import DatabaseTable
from ..errors import ColumnError, TableError
from .database_engine import opened
from .views import checked_names

if TYPE_CHECKING:
    import pandas

_LISTED = 20


def read_query(table: DatabaseTable, *, what: str = "table") -> pandas.DataFrame:
    """Return the rows that a query of a database returns; the connection can only read."""
    address, query = table.url, table.sql()
    name = f"{what} {str(address)!r}"
    with opened(address, name) as engine:
        if query is None or not query.strip():
            raise _no_query(name, engine.names())
        try:
            found: pandas.DataFrame = engine.read(query)
            checked_names(found.columns)
        except ColumnError as error:
            raise ColumnError(f"{name}: {error}") from None
        except (pyarrow.ArrowException, OverflowError, ValueError) as error:
            if isinstance(error, engine.faults()):
                raise
            raise TableError(f"{name} has a value or a type that pandas cannot read") from error
    if not len(found.columns):
        raise TableError(f"{name}: the query returns no columns")
    return found


@contextmanager
def query_stream(table: DatabaseTable, *, what: str = "table") -> Iterator[tuple[Any, Iterator[Any]]]:
    """Open the rows that a query of a database returns: their Arrow schema, and tables that are read one by one."""
    address, query = table.url, table.sql()
    name = f"{what} {str(address)!r}"
    with opened(address, name) as engine:
        if query is None or not query.strip():
            raise _no_query(name, engine.names())
        try:
            schema, batches = engine.batches(query)
            checked_names(schema.names)
        except ColumnError as error:
            raise ColumnError(f"{name}: {error}") from None
        if not schema.names:
            raise TableError(f"{name}: the query returns no columns")
        yield schema, batches


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
