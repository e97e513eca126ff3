"""TableSource: the file that a run's table is read from, and what is said of how it is written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..database_address import DatabaseTable, database_table
from ..errors import WorkflowError, among, nearest

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class TableSource:
    """A file, or ``-`` for the standard input, with what `read_table` is told of it; it stands wherever a path does."""

    path: str
    format: str | None = None
    encoding: str | None = None
    separator: str | None = None
    sheet: str | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "path" and not value:
                raise WorkflowError("table: path is missing", place="table")
            if value is not None and not isinstance(value, str):
                wrong = f"table: {each.name} must be text, not {type(value).__name__}"
                raise WorkflowError(wrong, place=f"table.{each.name}")

    def __fspath__(self) -> str:
        return self.path

    def options(self) -> dict[str, str]:
        """Return what is said beside the path, by the names that `read_table` has for it."""
        return {name: value for name, value in asdict(self).items() if name != "path" and value is not None}


PATHS = dict.fromkeys(("file", "filename", "file_name", "filepath", "file_path"), "path")
"""What others call the path of a file."""
Source = str | TableSource | DatabaseTable


def table_source(value: Any, folder: str | None = None) -> Source | None:
    """Return where a table is read, of a path, which is taken from a folder, or a URL, or a mapping with one of them.

    None stays.
    """
    if value is None:
        return None
    if (asked := database_table(value)) is not None:
        return asked.rooted(folder or ".")
    made = _of_mapping(value) if isinstance(value, Mapping) else value
    if not isinstance(made, str | os.PathLike) or not os.fspath(made):
        raise WorkflowError("table must be the path of a file; pass a table itself to run() or check()")
    path = str(os.fspath(made))
    if path != STANDARD_INPUT:
        path = os.path.abspath(os.path.join(folder or "", os.path.expanduser(path)))
    return replace(made, path=path) if isinstance(made, TableSource) and made.options() else path


def _of_mapping(value: Mapping[str, Any]) -> TableSource:
    known = [each.name for each in fields(TableSource)]
    for key in (str(name) for name in value if name not in known):
        hint = nearest(key, known, PATHS) or among(key, known)
        raise WorkflowError(f"table: unknown key {key[:40]!r}{hint}", place=f"table.{key}")
    return TableSource(**{"path": "", **value})


def called(source: Any) -> str:
    """Return what a table is called in a drawing: its file, or its database without a password."""
    return str(source) if isinstance(source, DatabaseTable) else os.path.basename(os.fspath(source))


def read(source: Any) -> Any:
    """Return the data frame that is read from where a table is, of a pattern from all of its files."""
    from .. import tables  # noqa: PLC0415 - loads pandas

    if (asked := database_table(source)) is not None:
        return tables.read_table(asked.url, query=asked.query)  # type: ignore[arg-type]
    options = source.options() if isinstance(source, TableSource) else {}
    return tables.read_files(os.fspath(source), tables.Reading(**options))
