"""DatabaseOutput: the table of a database that a run's table goes to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from ..database_address import DatabaseTarget, database_address
from ..engine.sink import NOT_SENT
from ..errors import ColumnError, TableError, WorkflowError, among
from ..problems import Remark
from ..run.display import say
from .destination import Destination, checked_columns, chosen, destination

if TYPE_CHECKING:
    from ..tables import TableView
    from .workflow_output import WorkflowOutput

_RAW = {"body": "text", "status": "integer"}


@dataclass(frozen=True)
class DatabaseOutput:
    """Where the table goes: a table of a database, and what is written, as a `Destination` has it."""

    path: ClassVar[str] = ""  # it is no file

    target: DatabaseTarget
    raw: bool = False
    columns: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.columns is not None:
            object.__setattr__(self, "columns", checked_columns(self.columns, raw=self.raw))
        wanted = () if self.raw else self.columns
        if self.target.key is not None and wanted is not None and self.target.key not in wanted:
            raise WorkflowError(f"output: the key {self.target.key!r} is not written", place="output.key")

    def __str__(self) -> str:
        return str(self.target)

    @property
    def name(self) -> str:
        """What it is called in a drawing."""
        return self.target.table

    @property
    def journal(self) -> str:
        """The journal's path, unless another is given: beside the database's file, else in the current directory."""
        name = re.sub(r"[^\w.-]", "_", self.target.table)
        return f"{self.target.url.path}.{name}.journal" if self.target.url.path else f"{name}.journal"

    def check(self, table: str | None = None) -> None:
        """Do nothing: `check_content` looks at the database, once."""

    def check_content(self, view: TableView, columns: Mapping[str, Any]) -> None:
        """Raise `UsageError` if the table cannot be written; `columns` are those to be made, and their types."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        tables.check_key(view, self.target)
        none = tables.view(view.take([]))
        made = _RAW if self.raw else columns
        table = none.make({}, {}) if self.raw else none.table
        rows = tables.view(tables.view(table).replacing(dict.fromkeys(made, ()), made))
        tables.check_target(rows.table if self.columns is None else rows.select(self.columns), self.target)

    def write(self, output: WorkflowOutput, *, ended_early: bool = False, is_kept: bool = False) -> int | None:
        """Write a run's table and return how many rows, or say why it is not written.

        Of a run that ended early and has a journal, rows are written only where the run that goes on replaces them or
        updates them by a key; those that were not sent are left to that.
        """
        from .. import tables  # noqa: PLC0415 - loads pandas

        if not output._is_answered:
            say(Remark(f"{self} was not changed: no row was answered", code="unchanged"))
            return None
        if ended_early and is_kept and self.target.key is None and self.target.if_exists != "replace":
            say(f"{self} was not written: the run is not complete, and without a key a later one cannot update it")
            return None
        table = chosen(output, raw=self.raw, columns=self.columns)
        if self.target.key is not None:
            ends = [*output.values()][-1]._ends()
            rows = [row for row, (outcome, *_) in enumerate(ends) if outcome != NOT_SENT]
            table = tables.view(table).take(rows)
        try:
            tables.write_rows(table, self.target)
        except ColumnError as error:
            raise TableError(str(error), code=error.code, values=error.values) from error
        return len(tables.view(table))


def output_of(value: Any) -> Destination | DatabaseOutput | None:
    """Return where the table goes, of a path, or of a mapping with ``path`` or ``url``; None stays None."""
    return value if isinstance(value, DatabaseOutput) else _of_database(value) or destination(value)


def _of_database(value: Any) -> DatabaseOutput | None:
    if not isinstance(value, Mapping):
        if (address := database_address(value)) is None:
            return None
        how = f"write it as {{url: {address}, table: NAME}}"
        raise WorkflowError(f"output: {address} is a database, and needs the name of a table: {how}", place="output")
    if "url" not in value:
        return None
    of_target, own = ([each.name for each in fields(kind)] for kind in (DatabaseTarget, DatabaseOutput))
    known = [*of_target, *own[1:]]
    for key in (str(name) for name in value if name not in known):
        raise WorkflowError(f"output: unknown key {key[:40]!r}{among(key, known)}", place=f"output.{key}")
    try:
        address = database_address(value["url"])
        given = {name: each for name, each in value.items() if name in of_target}
        target = DatabaseTarget(**{"table": "", **given, "url": address})
    except TableError as error:
        raise WorkflowError(f"output: {error}", place=f"output.{error.place}", code=error.code) from None
    if address is None:
        what = "url must be a database's address, such as postgresql://host/db or sqlite:///file.db"
        raise WorkflowError(f"output: {what}", place="output.url")
    return DatabaseOutput(target, **{name: each for name, each in value.items() if name in own})
