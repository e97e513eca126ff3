"""Addresses of databases, as SQLAlchemy writes them: where a table is read from, and where one is written to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .errors import TableError, among, nearest
from .secret import MASK, Secret

IF_EXISTS = ("fail", "append", "replace")
_ENGINES = {"sqlite": "sqlite", "duckdb": "duckdb", "postgresql": "postgresql", "postgres": "postgresql"}
_OTHERS = ("mysql", "mariadb", "mssql", "oracle", "redshift", "snowflake", "bigquery", "clickhouse")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]*)(?:\+[A-Za-z0-9_]+)?://")  # a driver of SQLAlchemy's is passed over
_SECRET = re.compile(r"(?i)([?&][a-z_]*(?:password|secret|token)=)([^&]*)")
_ALIKE = 0.75  # how near a scheme comes to the name of a database that is meant
IN_MEMORY = ":memory:"
_FORMS = "sqlite:///file.db (sqlite:////folder/file.db from the root on)"


@dataclass(frozen=True)
class DatabaseAddress:
    """Where a database is: its engine, and its file's path, or its server's address, which is never shown whole."""

    engine: str
    shown: str  # without a password
    path: str = ""
    url: Secret = field(default_factory=lambda: Secret(""))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The passwords in the address, as they are written and as they are meant."""
        given = self.url.reveal()
        user = given.partition("://")[2].rpartition("@")[0]
        found = [user.partition(":")[2], *(match[2] for match in _SECRET.finditer(given))]
        return tuple({each for secret in found for each in (secret, unquote(secret)) if each})

    def rooted(self, folder: str) -> DatabaseAddress:
        """Return the address of a file whose path is relative to a folder as an absolute one; others stay."""
        if not self.path or self.path == IN_MEMORY or os.path.isabs(self.path):
            return self
        path = os.path.abspath(os.path.join(folder, self.path))
        return replace(self, path=path, shown=f"{self.engine}:///{path}")

    def __str__(self) -> str:
        return self.shown

    __repr__ = __str__


def database_address(given: object) -> DatabaseAddress | None:
    """Return the address that a text is; None where it is something else, such as a file's path."""
    if isinstance(given, DatabaseAddress):
        return given
    found = _SCHEME.match(given) if isinstance(given, str) else None
    if found is None:
        return None
    name, rest = found[1].lower(), str(given)[found.end() :]
    if (engine := _ENGINES.get(name)) is None:
        _refuse_other(name)
        return None
    return _of_server(engine, rest) if engine == "postgresql" else _of_file(engine, rest)


def _refuse_other(name: str) -> None:
    """Raise `TableError` for a database that cannot be read or written, or whose name is misspelt."""
    meant = get_close_matches(name, (*_ENGINES, *_OTHERS), n=1, cutoff=_ALIKE)
    if meant and meant[0] in _ENGINES:
        raise TableError(f"no database is called {name!r}; did you mean {_ENGINES[meant[0]]}://?")
    if meant:
        raise TableError(f"no {meant[0]} database can be read or written: there are sqlite, duckdb and postgresql")


def _of_file(engine: str, rest: str) -> DatabaseAddress:
    path, options = rest[1:].partition("?")[::2]
    how = f"write it as {_FORMS}".replace("sqlite", engine).replace(".db", ".duckdb" if engine == "duckdb" else ".db")
    if not rest.startswith("/") or not path or "\0" in path:
        raise TableError(f"the address of the {engine} database has no file: {how}")
    if options:
        raise TableError(f"the address of the {engine} database has options, of which none is known: leave out ?…")
    if path == IN_MEMORY and engine == "sqlite":
        raise TableError(f"a {engine} database in memory has no tables: {how}")
    path = os.path.expanduser(path)
    return DatabaseAddress(engine, f"{engine}:///{path}", path)


def _of_server(engine: str, rest: str) -> DatabaseAddress:
    user, at, place = rest.rpartition("@")
    name, colon, password = user.partition(":")
    if colon and re.search(r"[@/?#\[\] ]", password):
        how = "write it percent-encoded (@ as %40, / as %2F), or leave it out and set PGPASSWORD"
        raise TableError(f"the {engine} address has a password with a character that an address cannot have: {how}")
    shown = f"{engine}://{name}{f':{MASK}' if colon else ''}{at}{place}"
    shown = _SECRET.sub(rf"\g<1>{MASK}", shown)
    return DatabaseAddress(engine, shown, url=Secret(f"{engine}://{rest}"))


@dataclass(frozen=True)
class DatabaseTable:
    """The table that a query of a database returns; a text that begins with ``@`` names the file of the query."""

    url: DatabaseAddress
    query: str | None = None

    def rooted(self, folder: str) -> DatabaseTable:
        """Return the table with paths that do not depend on the current directory."""
        query = self.query
        if query is not None and query.startswith("@"):
            query = f"@{os.path.abspath(os.path.join(folder, os.path.expanduser(query[1:])))}"
        return DatabaseTable(self.url.rooted(folder), query)

    def sql(self) -> str | None:
        """Return the query's text."""
        if self.query is None or not self.query.startswith("@"):
            return self.query
        try:
            return Path(self.query[1:]).expanduser().read_text("utf-8")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise TableError(f"query: cannot read {self.query[1:]!r}: {why}", place="query") from None

    def __str__(self) -> str:
        return str(self.url)


@dataclass(frozen=True)
class DatabaseTarget:
    """The table of a database that rows are written to, and what is done where there is one of its name already.

    With a `key`, a column of the rows, each takes the place of the row with the same key; then they are appended by
    default, and otherwise a table that is there is refused.
    """

    url: DatabaseAddress
    table: str
    if_exists: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if self.if_exists is None:
            object.__setattr__(self, "if_exists", "fail" if self.key is None else "append")
        if self.if_exists not in IF_EXISTS:
            hint = nearest(str(self.if_exists), IF_EXISTS)
            raise TableError(f"if_exists must be one of {', '.join(IF_EXISTS)}{hint}", place="if_exists")
        if not isinstance(self.table, str) or not self.table.strip(".") or "\0" in self.table:
            raise TableError(f"{self.url}: name the table to write", place="table", code="no_target_table")
        if self.key is not None and (not isinstance(self.key, str) or not self.key):
            raise TableError("key must be the name of a column", place="key")

    def __str__(self) -> str:
        return f"table {self.table!r} of {self.url}"


def database_table(given: Any) -> DatabaseTable | None:
    """Return the table that an address is, or a mapping with ``url`` and ``query``; None where it is another thing."""
    if given is None or isinstance(given, DatabaseTable):
        return given
    if not isinstance(given, Mapping):
        address = database_address(given)
        return None if address is None else DatabaseTable(address)
    if "url" not in given:
        return None
    known = [each.name for each in fields(DatabaseTable)]
    for key in (str(name) for name in given if name not in known):
        raise TableError(f"table: unknown key {key[:40]!r}{among(key, known)}", place=f"table.{key}")
    address = database_address(given.get("url"))
    if address is None:
        how = "a database's address, such as postgresql://host/db or sqlite:///file.db"
        raise TableError(f"table: url must be {how}", place="table.url")
    if not isinstance(query := given.get("query"), str | None):
        raise TableError("table: query must be a text: a query in SQL, or @file.sql", place="table.query")
    return DatabaseTable(address, query)
