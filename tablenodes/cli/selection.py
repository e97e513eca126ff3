"""Which rows of which table a command works on."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click

from ..errors import TableError
from ..run.display import FIRST_ROW, counted

if TYPE_CHECKING:
    from ..tables import TableView
    from ..workflow import Workflow

_ROWS = re.compile(r"(\d{1,15})|(\d{0,15}):(\d{0,15})")


class Rows(click.ParamType):  # type: ignore[type-arg, unused-ignore] # generic since click 8.4
    """Rows of a table as Python's slices have them: the first N, or A:B, from row A to before row B."""

    name = "rows"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the slice that a text is."""
        if isinstance(value, slice):
            return value
        found = _ROWS.fullmatch(value.strip())
        if found is None:
            self.fail("must be a number of rows, or A:B for rows A to before B, which count from 0", param, ctx)
        first, start, end = found.groups()
        if end and int(end) < int(start or 0):
            self.fail("has no rows: A:B are the rows A to before B, so B is no less than A", param, ctx)
        return slice(0, int(first)) if first else slice(int(start or 0), int(end) if end else None)


def opened_table(workflow: Workflow, table: Any, journal: str | None = None) -> TableView:
    """Return the view of the table that a command works on, which is not the output or the journal too."""
    from ..workflow.destination import refuse_as_journal  # noqa: PLC0415 - loads pandas
    from ..workflow.workflow_check import check_output, file_of, opened  # noqa: PLC0415

    source = file_of(workflow, table)
    check_output(workflow, source)
    if journal is not None:
        refuse_as_journal(journal, table=source, output=getattr(workflow.output, "path", None))
    return opened(workflow, table)


def table_of(workflow: Workflow, path: Any, rows: slice | None) -> Any:
    """Return what a workflow is run on: a table's path, some of its rows, or what the standard input has.

    Rows keep their numbers in whatever is said of them.
    """
    from ..workflow.table_source import STANDARD_INPUT  # noqa: PLC0415 - loaded where it is used

    source = workflow.table if path is None else path
    is_stream = isinstance(source, str | os.PathLike) and os.fspath(source) == STANDARD_INPUT  # which is read but once
    if rows is None and not is_stream:
        return path
    from .. import tables  # noqa: PLC0415 - loads pandas

    view = opened_table(workflow, path)
    if rows is None:
        return view.table
    wanted = range(*rows.indices(len(view)))
    if rows.start and not wanted:
        raise TableError(f"--rows: the table has {counted(len(view), 'row')}, which count from 0")
    FIRST_ROW.set(rows.start or 0)  # until the command has ended
    return tables.view(view.take(wanted)).table
