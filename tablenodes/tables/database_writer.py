"""Write a table to a database in one transaction: all of its rows, or none."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..database_address import IN_MEMORY, DatabaseTarget
from ..errors import ColumnError, TableError, TablenodesError, nearest
from .database_engine import STAGED, Declared, Engine, opened, quoted
from .kinds import view
from .staged_columns import Staged, as_written, staged
from .views import TableView

_CHECKED_WITHIN = 10  # seconds for which a check waits for whoever else writes to the table
_WRITTEN_WITHIN = 120


def write_rows(table: Any, target: DatabaseTarget) -> None:
    """Write a table's rows to a table of a database; after a failure, that is as it was."""
    try:
        source = view(as_written(table))
        check_key(source, target)
        _carry_out(target, staged(source), keeps=True)
    except TablenodesError:
        raise
    except Exception as error:  # whatever a library raises: what a run was answered must not be lost by it
        raise TableError(f"cannot write {target}: {type(error).__name__}") from error


def check_target(table: Any, target: DatabaseTarget) -> None:
    """Check that rows like these can be written: it is done, with none of them, and undone."""
    source = view(as_written(table))
    _carry_out(target, staged(view(source.take([]))), keeps=False)


def check_key(source: TableView, target: DatabaseTarget) -> None:
    """Raise `ColumnError` unless every row has a key of its own."""
    key = target.key
    if key is None:
        return
    if key not in source.columns:
        raise _wrong_key(f"the table has no column {key!r}{nearest(key, source.columns)}")
    seen: dict[Any, int] = {}
    for row, (cell,) in enumerate(source.rows((key,))):
        if cell is None:
            raise _wrong_key(f"column {key!r} is null in row {row} (rows count from 0)")
        known = seen.setdefault(cell if isinstance(cell, str | int | float) else repr(cell), row)
        if known != row:
            same = f"column {key!r} is the same in rows {known} and {row} (rows count from 0)"
            raise _wrong_key(f"{same}: every row needs a key of its own")


def _wrong_key(told: str) -> ColumnError:
    return ColumnError(f"key: {told}", code="option", place="key", values={"option": "key_column", "told": told})


def _carry_out(target: DatabaseTarget, rows: Mapping[str, Staged], *, keeps: bool) -> None:
    """Write rows in one transaction; what is not to be kept is undone, and no file is made for it."""
    address = target.url
    if address.path:
        _check_file(target)
        if not keeps and not os.path.exists(address.path):
            address = replace(address, path=IN_MEMORY)
    patience = _WRITTEN_WITHIN if keeps else _CHECKED_WITHIN
    with opened(address, str(target), writes=True, patience=patience) as engine:
        for statement in _statements(engine, target, rows):
            engine.execute(statement)
        if keeps:
            engine.commit()


def _check_file(target: DatabaseTarget) -> None:
    """Raise `TableError` for a database's file that cannot be written."""
    path, folder = target.url.path, os.path.dirname(os.path.abspath(target.url.path))
    if not os.path.isdir(folder):
        raise TableError(f"{target}: no such folder {folder!r}; create it first")
    if os.path.isdir(path):
        raise TableError(f"{target}: {path!r} is a folder, not a file")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise TableError(f"{target}: the file is write-protected")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise TableError(f"{target}: the folder {folder!r} is write-protected")


def _statements(engine: Engine, target: DatabaseTarget, rows: Mapping[str, Staged]) -> list[str]:
    """Hold the rows, and return what makes the table if need be, and writes them to it."""
    there = engine.columns(target.table)
    if there and target.if_exists == "fail":
        how = "append to it or replace it (if_exists), or name a key, by which its rows are updated"
        code, values = "target_exists", {"target": str(target)}
        raise TableError(f"{target} is there already: {how}", place="if_exists", code=code, values=values)
    if there and target.if_exists == "append":
        fold = str.casefold if engine.folds_names else str
        types = {fold(each.name): each.type for each in there}
        _check_columns(there, rows, target, fold)
        if target.key is not None:
            engine.lock(target.table)  # whoever adds the same keys meanwhile would have them twice
        engine.stage(rows)
        return _into(engine, target, {name: types[fold(name)] for name in rows})
    engine.stage(rows)
    name, kinds = engine.named(target.table), {name: engine.type_of(each) for name, each in rows.items()}
    key = f", primary key ({quoted(target.key)})" if target.key and engine.makes_key else ""
    made = f"create table {name} ({', '.join(f'{quoted(each)} {kind}' for each, kind in kinds.items())}{key})"
    return [*([f"drop table {name}"] if there else []), made, _insert(engine, target, kinds)]


def _check_columns(
    there: Sequence[Declared], rows: Collection[str], target: DatabaseTarget, fold: Callable[[str], str]
) -> None:
    """Raise `TableError` where the table lacks a column of the rows, or needs one that these lack."""
    names = [each.name for each in there]
    if missing := [name for name in rows if fold(name) not in map(fold, names)]:
        hint = nearest(missing[0], names)
        told = f"{target} has no column {missing[0]!r}: add it there, or choose the columns to write{hint}"
        values = {"target": str(target), "column": missing[0], "hint": hint}
        raise TableError(told, place="columns", code="target_lacks", values=values)
    own = {*map(fold, rows)}
    if lacking := [each.name for each in there if each.is_required and fold(each.name) not in own]:
        raise TableError(f"{target} needs a value in column {lacking[0]!r}, which the rows do not have")


def _into(engine: Engine, target: DatabaseTarget, types: Mapping[str, str]) -> list[str]:
    """Return what adds the rows to the table; with a key, what differs from earlier rows takes their place."""
    key = target.key
    if key is None:
        return [_insert(engine, target, types)]
    same = f"t.{quoted(key)} = {engine.cast(f's.{quoted(key)}', types[key])}"
    fresh = f" left join {engine.named(target.table)} as t on {same} where t.{quoted(key)} is null"
    values = {name: engine.cast(f"s.{quoted(name)}", kind) for name, kind in types.items() if name != key}
    if not values:
        return [_insert(engine, target, types, fresh)]
    changes = ", ".join(f"{quoted(name)} = {value}" for name, value in values.items())
    differs = " or ".join(
        f"{engine.compared(f't.{quoted(name)}')} {engine.differs} {engine.compared(value)}"
        for name, value in values.items()
    )
    rows = f"{engine.named(target.table)} as t set {changes} from {STAGED} as s where {same} and ({differs})"
    return [f"update {rows}", _insert(engine, target, types, fresh)]


def _insert(engine: Engine, target: DatabaseTarget, types: Mapping[str, str], more: str = "") -> str:
    names = ", ".join(map(quoted, types))
    values = ", ".join(engine.cast(f"s.{quoted(name)}", kind) for name, kind in types.items())
    return f"insert into {engine.named(target.table)} ({names}) select {values} from {STAGED} as s{more}"  # noqa: S608
