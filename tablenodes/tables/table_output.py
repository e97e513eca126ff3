"""Write a table wherever somebody wants it: to a file, or to a table of a database."""

from __future__ import annotations

import os
from typing import Any, Literal

from ..database_address import DatabaseTarget, database_address
from ..errors import TableError
from ..notices import say
from . import writer
from .database_writer import write_rows

IfExists = Literal["fail", "append", "replace"]


def write_table(
    rows: Any,
    path_or_url: str | os.PathLike[str],
    /,
    *,
    table: str | None = None,
    if_exists: IfExists | None = None,
    key: str | None = None,
) -> None:
    """Write a table, such as ``out.table``, to a file, or to a table of a database: all of it, or nothing.

    Parameters
    ----------
    rows : table
        A pandas or Polars DataFrame, a pyarrow Table, or another producer of Arrow data.
    path_or_url : str or path
        The file, whose ending says how it is written, or the address of a database: ``sqlite:///file.db``,
        ``duckdb:///file.duckdb``, ``postgresql://host/db``.
    table : str, optional
        The name of the database's table; what is before a dot is its schema. It is made if it is not there.
    if_exists : {"fail", "append", "replace"}, optional
        What to do with a table that is there. Default: "append" with a key, else "fail".
    key : str, optional
        The column by which rows are known: a row takes the place of the one with the same key that is there.

    Raises
    ------
    TableError
        If it cannot be written: the table is there, or does not fit, or the database says why. Nothing is changed then.
    ColumnError
        If the key is no column, or is null or the same in two rows.
    """
    address = database_address(path_or_url)
    if address is not None:
        write_rows(rows, DatabaseTarget(address, table or "", if_exists, key))
        return
    for name, given in (("table", table), ("if_exists", if_exists), ("key", key)):
        if given is not None:
            raise TableError(f"{os.fspath(path_or_url)!r} is a file: {name} is for databases", place=name)
    for remark in writer.write_table(rows, path_or_url):
        say(f"{os.fspath(path_or_url)}: {remark}")
