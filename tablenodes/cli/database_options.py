"""What the options say of tables in databases: what is read of one, and which is written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..database_address import DatabaseTable, DatabaseTarget, database_address, database_table
from ..secret import masked_address
from .command_options import Given

if TYPE_CHECKING:
    from ..workflow.database_output import DatabaseOutput


def queried(table: Any, query: str | None, said: Collection[str] = ()) -> DatabaseTable:
    """Return the table that a query returns; `said` are options that are for files alone."""
    found = database_table(table)
    for name in said if found is not None else ():
        option = "--input-format" if name == "format" else f"--{name}"
        raise click.BadParameter("is for files, and the table is a database", param_hint=option)
    if found is None:
        other = f", and {masked_address(table)!r} is none" if isinstance(table, str) and "://" in table else ""
        what = f"is for a database{other}: give its URL as the table, such as postgresql://host/db or sqlite:///file.db"
        raise click.BadParameter(what, param_hint="--query")
    return DatabaseTable(found.url, found.query if query is None else query)


def database_output(given: Given, own: Any, *, raw: bool, columns: Sequence[str] | None) -> DatabaseOutput | None:
    """Return the table of a database that the options, else the workflow's own output, say; None for no database."""
    from ..workflow.database_output import DatabaseOutput  # noqa: PLC0415 - loaded where it is used

    earlier = own.target if given.output is None and isinstance(own, DatabaseOutput) else None
    address = earlier.url if earlier else database_address(given.output)
    told = {"table": given.output_table, "if_exists": given.if_exists, "key": given.key_column}
    if address is None:
        for name, value in told.items():
            if value is not None:
                option = {"table": "--output-table", "if_exists": "--if-exists", "key": "--key-column"}[name]
                is_address = isinstance(given.output, str) and "://" in given.output
                other = f", and {masked_address(given.output)!r} is none" if is_address else ""
                what = f"is for a database{other}: give its URL with --output, such as postgresql://host/db"
                raise click.BadParameter(what, param_hint=option)
        return None
    before = {name: getattr(earlier, name, None) for name in told}
    parts: Any = {name: before[name] if value is None else value for name, value in told.items()}
    if parts["table"] is None:
        raise click.BadParameter("is missing: name the table of the database to write", param_hint="--output-table")
    return DatabaseOutput(DatabaseTarget(address, **parts), raw, None if columns is None else tuple(columns))
