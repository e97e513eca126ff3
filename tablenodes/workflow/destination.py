"""Destination: the file that a run's table goes to."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import JournalError, TableError, WorkflowError, among, nearest
from ..problems import Remark
from ..run.display import say
from .table_source import PATHS

if TYPE_CHECKING:
    from ..tables import TableView
    from .workflow_output import WorkflowOutput

_ENDING = "the ending of the path decides the format; write raw: true for the last node's body and status"


@dataclass(frozen=True)
class Destination:
    """Where the table goes: a file, relative to the current directory when it runs, and what is written.

    It is the configuration with every node's columns beside it, or those of its `columns` alone, in this order;
    `raw`, it is the last node's body and status.
    """

    path: str
    raw: bool = False
    columns: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike) or not os.fspath(self.path):
            kind = "nothing" if self.path in (None, "") else type(self.path).__name__
            raise WorkflowError(f"output: path must be a file's path, not {kind}", place="output.path")
        object.__setattr__(self, "path", os.fspath(self.path))
        if not isinstance(self.raw, bool):
            raise WorkflowError("output: raw must be true or false", place="output.raw")
        if self.columns is not None:
            object.__setattr__(self, "columns", checked_columns(self.columns, raw=self.raw))

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """What it is called in a drawing."""
        return os.path.basename(self.path)

    @property
    def journal(self) -> str:
        """The journal's path, unless another is given."""
        return f"{self.path}.journal"

    def check(self, table: str | None = None) -> None:
        """Raise `TableError` if the table cannot be written, or its file is the table that the run reads."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        if table is not None and is_same(self.path, table):
            what = "is the table" if is_same(table, self.path) else "is one of the files"
            raise TableError(f"output {self.path!r} {what} that the run reads: choose another file")
        tables.check_output(self.path)

    def check_content(self, view: TableView, _columns: Mapping[str, Any]) -> None:
        """Raise `TableError` if the file cannot hold the table that the run reads."""
        try:
            check_content(view, self.path, raw=self.raw)
        except TableError as error:
            raise TableError(f"output {self.path!r}: {error}") from error

    def write(self, output: WorkflowOutput, *, ended_early: bool = False, is_kept: bool = False) -> int | None:
        """Write a run's table and return how many rows; without an answer, it does not take an earlier file's place."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        if not output._is_answered and os.path.exists(self.path):
            say(Remark(f"{self.path} was not changed: no row was answered", code="unchanged"))
            return None
        for remark in tables.write_table(chosen(output, raw=self.raw, columns=self.columns), self.path):
            say(f"{self.path}: {remark}")
        return next(iter(output.values())).summary.rows


def chosen(output: WorkflowOutput, *, raw: bool, columns: Sequence[str] | None = None) -> Any:
    """Return the table of a run that is written, or those of its columns that are there: a run may end early."""
    from .. import tables  # noqa: PLC0415 - loads pandas

    if raw:
        return [*output.values()][-1].result
    if columns is None:
        return output.table
    view = tables.view(output.table)
    return view.select([name for name in columns if name in view.columns])


def checked_columns(columns: Any, *, raw: bool) -> tuple[str, ...]:
    """Return the columns that an output names, or raise `WorkflowError`."""
    names = () if isinstance(columns, str) or not isinstance(columns, Sequence) else tuple(columns)
    if not names or any(not isinstance(name, str) or not name for name in names):
        raise WorkflowError("output: columns must be a list of the table's columns", place="output.columns")
    if twice := next((name for at, name in enumerate(names) if name in names[:at]), None):
        raise WorkflowError(f"output: columns has {twice!r} twice", place="output.columns")
    if raw:
        raise WorkflowError("output: a raw table has its own columns: leave columns out", place="output.columns")
    return names


def check_content(view: TableView, to: str, *, raw: bool) -> None:
    """Raise `TableError` if a run's table cannot be written to a file, or in a format that is named."""
    from .. import tables  # noqa: PLC0415 - loads pandas

    try:
        tables.check_writing(view.make({}, {}) if raw else view.table, to)
    except TableError as error:
        raise TableError(f"{error}; nothing was sent") from error


def destination(value: Any) -> Destination | None:
    """Return a destination from a path, or from a mapping of its parts; None stays None."""
    if value is None or isinstance(value, Destination):
        return value
    if not isinstance(value, Mapping):
        return Destination(value)
    known = [each.name for each in fields(Destination)]
    for key in (str(name) for name in value if name not in known):
        hint = f": {_ENDING}" if key == "format" else nearest(key, known, PATHS) or among(key, known)
        raise WorkflowError(f"output: unknown key {key[:40]!r}{hint}", place=f"output.{key}")
    if "path" not in value:
        raise WorkflowError("output: path is missing", place="output")
    return Destination(**value)


def refuse_as_journal(journal: str | os.PathLike[str], *, table: str | None, output: str | None) -> None:
    """Raise `JournalError` for a journal that is the table or the output as well."""
    if not isinstance(journal, str | os.PathLike):
        return  # the run itself words that
    for path, what in ((table, "the table that the run reads"), (output, "the output")):
        if path is not None and is_same(os.fspath(journal), path):
            raise JournalError(f"journal {os.fspath(journal)!r} is {what}: choose another file")


def is_same(one: str, other: str) -> bool:
    """Check whether two paths are those of one file; of a pattern, whether it is, or will be, one of its files."""
    if glob.has_magic(other) and not os.path.exists(other):
        folder, name = os.path.split(os.path.abspath(other))
        own, called = os.path.split(os.path.abspath(one))
        return (own == folder and fnmatch.fnmatchcase(called, name)) or any(
            is_same(one, each) for each in glob.iglob(other, recursive=True)
        )
    paths = [Path(each).expanduser() for each in (one, other)]
    try:
        return paths[0].samefile(paths[1])
    except OSError:
        return os.path.abspath(paths[0]) == os.path.abspath(paths[1])
