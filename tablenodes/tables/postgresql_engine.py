"""PostgreSQL, by ADBC and libpq: whatever libpq knows of passwords and services, it knows here too."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow
from pyarrow import compute

from .database_engine import STAGED, Declared, Engine, missing_driver, quoted
from .query_batches import query_batches
from .query_frames import query_frame
from .staged_columns import Staged, arrow_of

if TYPE_CHECKING:
    from ..database_address import DatabaseAddress

_AS_THEY_ARE = frozenset(
    (
        *("int2", "int4", "int8", "float4", "float8", "numeric", "bool", "text", "varchar", "bpchar", "name", "date"),
        *("time", "timestamp", "timestamptz", "json", "jsonb", "bytea", "uuid"),
    )
)
"""The types that the driver reads as what they are; of others it has bytes, an array's values without its shape."""
_CONNECT = {"connect_timeout": ("PGCONNECT_TIMEOUT", "20"), "fallback_application_name": ("", "tablenodes")}
_DATA_EXCEPTION = "22"
_TYPE_KEY = b"POSTGRESQL:type"
_END = re.compile(r"(?:[\s;]|^[ \t]*--.*$)+\Z", re.MULTILINE)
_NUL = "\0"


def _driver() -> ModuleType:
    try:
        from adbc_driver_postgresql import dbapi  # noqa: PLC0415 - only where it is needed
    except ImportError:
        raise missing_driver("PostgreSQL", "postgresql") from None
    return dbapi  # type: ignore[no-any-return]


class PostgresqlEngine(Engine):
    """A database of a PostgreSQL server."""

    types: ClassVar[Mapping[str, str]] = {
        "integer": "bigint",
        "number": "double precision",
        "boolean": "boolean",
        "text": "text",
        "json": "jsonb",
        "decimal": "numeric",
        "binary": "bytea",
        "date": "date",
        "time": "time",
        "moment": "timestamp",
        "instant": "timestamptz",
    }
    folds_names = False

    def __init__(self, address: DatabaseAddress, *, writes: bool, patience: float) -> None:
        self._connection = _driver().connect(_with_settings(address.url.reveal()))
        self._cursor = self._connection.cursor()
        if writes:
            self.execute(f"set local lock_timeout = '{patience * 1000:.0f}ms'")
        else:
            self.execute("set transaction read only")

    @staticmethod
    def faults() -> tuple[type[BaseException], ...]:
        """Return the errors that the driver raises."""
        return (_driver().Error,)

    @staticmethod
    def words(error: BaseException) -> str:
        """Return what the server says, and its hint; no details, which may hold cells."""
        text = str(error)
        said = re.search(r"(?:ERROR|FATAL):\s+(.*)", text) or re.search(r"\[libpq\] (?:Failed to connect: )?(.*)", text)
        words = (said[1] if said else text).strip()
        if str(getattr(error, "sqlstate", None) or "").startswith(_DATA_EXCEPTION):
            words = re.sub(r': ".*', "", words)  # the value
        hint = re.search(r"HINT:\s+(.*)", text)
        return f"{words} ({hint[1].strip()})" if hint else words

    def read(self, query: str) -> Any:
        """Return the rows of a query; what the driver cannot read is read as JSON or as text."""
        as_json = self._ask(query)
        return query_frame(self._cursor.fetch_arrow_table(), as_json)

    def batches(self, query: str) -> tuple[Any, Iterator[Any]]:
        """Return the schema of a query's rows, and the rows."""
        as_json = self._ask(query)
        return query_batches(self._cursor.fetch_record_batch(), as_json)

    def _ask(self, query: str) -> list[str]:
        """Begin to read a query's rows; return the names of the columns of JSON."""
        query = f"{_END.sub('', query)}\n"  # the driver puts it into brackets
        schema = self._cursor.adbc_execute_schema(query)
        changed = [_readable(field) for field in schema]
        if any(changed):
            told = ", ".join(made or quoted(field.name) for field, made in zip(schema, changed, strict=True))
            query = f"select {told} from (\n{query}) as asked"  # noqa: S608 - it is the user's own
        self._cursor.execute(query)
        return [field.name for field, made in zip(schema, changed, strict=True) if made.startswith("to_json")]

    def names(self) -> list[str]:
        """Return the names of the tables and views that need no schema's name; where there are none, of all others."""
        self.execute(
            "select pg_table_is_visible(c.oid), case when pg_table_is_visible(c.oid) then '' else n.nspname || '.' end"
            " || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind in ('r', 'v', 'm', 'p', 'f') and n.nspname not like 'pg^_%' escape '^'"
            " and n.nspname <> 'information_schema' order by 2"
        )
        found = self._cursor.fetchall()
        return [name for is_seen, name in found if is_seen] or [name for _, name in found]

    def columns(self, table: str) -> list[Declared]:
        """Return the columns of a table."""
        name = self.named(table).replace("'", "''")
        told = "attname::text, format_type(atttypid, atttypmod), attnotnull and not atthasdef and attidentity = ''"
        which = f"attrelid = to_regclass('{name}') and attnum > 0 and not attisdropped"
        self.execute(f"select {told} from pg_attribute where {which} order by attnum")  # noqa: S608 - quoted
        return [Declared(*row) for row in self._cursor.fetchall()]

    def stage(self, columns: Mapping[str, Staged]) -> None:
        """Copy rows into a temporary table."""
        held = {name: _without_nul(each) for name, each in columns.items()}
        self._cursor.adbc_ingest(STAGED, arrow_of(held), mode="create", temporary=True)
        self.execute(f"analyze {STAGED}")  # else the server plans as if there were a few rows

    def execute(self, statement: str) -> None:
        """Execute a statement."""
        self._cursor.execute(statement)

    def commit(self) -> None:
        """Keep what was done."""
        self._connection.commit()

    def close(self) -> None:
        """Close the connection; the server undoes what was not committed."""
        self._cursor.close()
        self._connection.close()

    def lock(self, table: str) -> None:
        """Keep others from writing to a table; they read on."""
        self.execute(f"lock table {self.named(table)} in share row exclusive mode")

    def compared(self, expression: str) -> str:
        """Return an expression as text: not every type can be compared."""
        return f"({expression})::text"


ENGINE = PostgresqlEngine


def _with_settings(url: str) -> str:
    """Return an address with what keeps a connection from waiting for ever, unless that is said elsewhere."""
    more = [f"{name}={value}" for name, (variable, value) in _CONNECT.items() if not _says(url, name, variable)]
    return f"{url}{'&' if '?' in url else '?'}{'&'.join(more)}" if more else url


def _says(url: str, name: str, variable: str) -> bool:
    return f"{name}=" in url or bool(variable and os.environ.get(variable))


def _readable(field: Any) -> str:
    """Return the expression that reads a column whose type the driver does not read as it is; empty for others."""
    kind = (field.metadata or {}).get(_TYPE_KEY, b"").decode()
    if kind in _AS_THEY_ARE:
        return ""
    name = quoted(field.name)
    if kind.startswith("_") or pyarrow.types.is_nested(field.type):
        return f"to_json({name}) as {name}"
    return f"{name}::text as {name}"


def _without_nul(each: Staged) -> Staged:
    """Return a column whose texts have U+FFFD in the place of NUL, which the server takes in no text."""
    if not pyarrow.types.is_large_string(each.column.type):
        return each
    if each.kind == "json":
        escaped = compute.match_substring(each.column, "\\u0000")
        if compute.any(escaped).as_py():
            return Staged(each.kind, pyarrow.array(map(_json_without_nul, each.cells()), each.column.type))
        return each
    if not compute.any(compute.match_substring(each.column, _NUL)).as_py():
        return each
    return Staged(each.kind, compute.replace_substring(each.column, _NUL, "\ufffd"))


def _json_without_nul(text: str | None) -> str | None:
    return text and json.dumps(_cleaned(json.loads(text)), ensure_ascii=False)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(_NUL, "\ufffd")
    if isinstance(value, list):
        return [*map(_cleaned, value)]
    return {_cleaned(name): _cleaned(each) for name, each in value.items()} if isinstance(value, dict) else value
