"""Destination: the file that a run's table goes to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import JournalError, TableError, WorkflowError, nearest

if TYPE_CHECKING:
    from ..run.output import NodeOutput
    from ..tables import TableView

FORMATS = ("table", "raw")


@dataclass(frozen=True)
class Destination:
    """Where the last node's table goes.

    Parameters
    ----------
    path : str
        A file, relative to the current directory when it runs; its ending says what is written.
    format : {"table", "raw"}
        ``table``: the configuration with text, status and outcome beside it; ``raw``: body and status.

    Raises
    ------
    WorkflowError
        If one of them is something else.
    """

    path: str
    format: str = "table"

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike) or not os.fspath(self.path):
            raise WorkflowError(f"output: path must be a file's path, not {_kind(self.path)}", place="output.path")
        object.__setattr__(self, "path", os.fspath(self.path))
        if self.format not in FORMATS:
            hint = nearest(self.format, FORMATS) if isinstance(self.format, str) else ""
            raise WorkflowError(f"output: format must be one of {' and '.join(FORMATS)}{hint}", place="output.format")

    def check(self, table: str | None = None) -> None:
        """Make sure, before anything is sent, that the table can be written.

        Parameters
        ----------
        table : str, optional
            The file of the table that is read, which is never written over.

        Raises
        ------
        TableError
            If it cannot be written, or is that file.
        """
        from .. import tables  # noqa: PLC0415 - loads pandas

        if table is not None and _same(self.path, table):
            raise TableError(f"output {self.path!r} is the table that is read: name another file")
        tables.check_output(self.path)

    def check_content(self, view: TableView) -> None:
        """Make sure, before anything is sent, that the file can hold what the table that is read holds.

        Parameters
        ----------
        view : TableView
            The table that is read.

        Raises
        ------
        TableError
            If it cannot.
        """
        check_content(view, self.format, self.path)

    def keeps_earlier(self, output: NodeOutput[Any]) -> bool:
        """Tell whether an earlier file stays as it is: an output without one answer does not take its place."""
        return bool(output.summary.rows) and not output.summary.ok and os.path.exists(self.path)

    def write(self, output: NodeOutput[Any]) -> None:
        """Write a node's table, or say that an earlier one is kept.

        Raises
        ------
        TableError
            If it cannot be written.
        """
        from .. import tables  # noqa: PLC0415 - loads pandas
        from ..run import display  # noqa: PLC0415 - loads pandas

        if self.keeps_earlier(output):
            display.say(f"{self.path} is left as it was: no row has been answered")
            return
        for name in tables.write_table(chosen(output, self.format), self.path):
            display.say(
                f"{self.path}: column {name!r} is written as text: a column of such a file has one type for all values"
            )


def chosen(output: NodeOutput[Any], form: str) -> Any:
    """Give the one of a run's tables that a format means."""
    return output.result if form == "raw" else output.table


def check_content(view: TableView, form: str, to: str) -> None:
    """Make sure, before anything is sent, that a run's table can be written.

    Parameters
    ----------
    view : TableView
        The table that is read.
    form : {"table", "raw"}
        What is written.
    to : str
        A file, or ``csv`` or ``jsonl`` for the standard output.

    Raises
    ------
    TableError
        If it cannot.
    """
    from .. import tables  # noqa: PLC0415 - loads pandas

    try:
        tables.check_writing(view.make({}, {}) if form == "raw" else view.table, to)
    except TableError as error:
        raise TableError(f"{error}; nothing was sent") from error


def destination(value: Any) -> Destination | None:
    """Give a destination from a path, or from a mapping with ``path`` and ``format``; None stays None.

    Raises
    ------
    WorkflowError
        If it is none of them.
    """
    if value is None or isinstance(value, Destination):
        return value
    if isinstance(value, Mapping):
        unknown = [name for name in value if name not in ("path", "format")]
        if unknown:
            key = str(unknown[0])
            hint = nearest(key, ("path", "format"))
            raise WorkflowError(f"output: unknown key {key[:40]!r}{hint}", place=f"output.{key}")
        if "path" not in value:
            raise WorkflowError("output: path is missing", place="output")
        return Destination(**value)
    return Destination(value)


def refuse_as_journal(journal: str | os.PathLike[str], *, table: str | None, output: str | None) -> None:
    """Raise `JournalError` for a journal that is the table or the output as well.

    Parameters
    ----------
    journal : path
        Where the answers are kept.
    table, output : str, optional
        The other files.
    """
    if not isinstance(journal, str | os.PathLike):
        return  # the run itself words that
    for path, what in ((table, "the table that is read"), (output, "the output")):
        if path is not None and _same(os.fspath(journal), path):
            raise JournalError(f"journal {os.fspath(journal)!r} is {what}: name another file")


def _same(one: str, other: str) -> bool:
    paths = [Path(each).expanduser() for each in (one, other)]
    try:
        return paths[0].samefile(paths[1])
    except OSError:
        return os.path.abspath(paths[0]) == os.path.abspath(paths[1])


def _kind(value: object) -> str:
    return "nothing" if value in (None, "") else type(value).__name__
