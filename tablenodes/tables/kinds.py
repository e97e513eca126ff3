"""Find out what kind of table somebody gave, and say what to do where it is none."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pyarrow

from ..errors import TableError
from .arrow_view import ArrowView
from .views import TableView

VIEWS = [
    ("pandas", "DataFrame", ".pandas_view", "PandasView"),
    ("pyarrow", "Table", ".arrow_view", "ArrowView"),
    ("polars", "DataFrame", ".polars_view", "PolarsView"),
]
"""Each kind of table: its library and class, and the view of it; a library is loaded by whoever has such a table."""
KINDS = "a pandas or Polars DataFrame, a pyarrow Table, or another producer of Arrow data"
_DUCKDB = ("duckdb", "DuckDBPyRelation")
_DATASET = ("datasets", "Dataset")  # of Hugging Face, which has Arrow data and no protocol for it

_NO_TABLES = (
    ("polars", "LazyFrame", "call .collect() on it first"),
    ("polars", "Series", "call .to_frame() on it first"),
    ("pandas", "Series", "call .to_frame() on it first"),
    ("pyarrow", "Array", "make one with pyarrow.table({'name': it})"),
    ("pyarrow", "ChunkedArray", "make one with pyarrow.table({'name': it})"),
    ("datasets", "DatasetDict", "choose one of its splits, such as it['train']"),
    ("datasets", "IterableDataset", "make one with datasets.Dataset.from_list(list(it.take(1000)))"),
    ("builtins", "str", "read it with tablenodes.read_table(path) first"),
    ("pathlib", "PurePath", "read it with tablenodes.read_table(path) first"),
    ("builtins", "list", "make one with pandas.DataFrame(it)"),
    ("builtins", "tuple", "make one with pandas.DataFrame(it)"),
    ("builtins", "dict", "make one with pandas.DataFrame(it)"),
)


def view(table: Any, *, read: bool = True) -> TableView:
    """Return the view of a table."""
    for library, name, home, view_name in VIEWS:
        if _is_from(table, library, name):
            kind: Callable[[Any], TableView] = getattr(import_module(home, __package__), view_name)
            return kind(table)
    if _is_from(table, "tablenodes", "NodeOutput"):
        return view(table.table, read=read)
    if hint := _hint(table):
        name = type(table).__name__
        raise TableError(f"a{'n' if name[0] in 'AEIOUaeiou' else ''} {name} is not a table: {hint}")
    return _producer(table, read=read)


def rowless(like: Any, kind: str) -> TableView:
    """Return the view of a table without rows: with the columns of a data frame or an Arrow schema, or None at all."""
    if kind == "pyarrow":
        if not isinstance(like, pyarrow.Schema | None):
            raise TableError(f"a {type(like).__name__} is no Arrow schema: give the schema of an Arrow table")
        return ArrowView((pyarrow.schema([]) if like is None else like).empty_table())
    import pandas  # noqa: PLC0415 - loaded where it is needed

    return view(pandas.DataFrame() if like is None else like.iloc[:0])


def like_given(made: Any, given: Any) -> Any:
    """Return a table that was made of Arrow as one record batch, where one was given."""
    if not isinstance(given, pyarrow.RecordBatch):
        return made
    batches = made.combine_chunks().to_batches()
    return batches[0] if batches else pyarrow.RecordBatch.from_pylist([], schema=made.schema)


def _is_from(table: Any, library: str, name: str) -> bool:
    return any(base.__name__ == name and base.__module__.partition(".")[0] == library for base in type(table).__mro__)


def _hint(table: Any) -> str:
    """Return what to do with something that is no table; empty for what produces Arrow data."""
    for library, name, hint in _NO_TABLES:
        if _is_from(table, library, name):
            return hint
    if _is_from(table, *_DATASET) or hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__"):
        return ""
    for method in ("to_pandas", "toPandas", "to_arrow", "to_table"):
        if hasattr(table, method):
            return f"call .{method}() on it first"
    return f"give {KINDS}"


def _producer(table: Any, *, read: bool) -> TableView:
    one_shot = _is_used_up(table)
    if one_shot and not read:
        return _Unread(table)
    try:
        found = _read(table)
    except Exception as error:  # of whatever library it is; what it says may hold a cell
        kind = type(table).__name__
        raise TableError(f"cannot read the rows of the {kind}: {type(error).__name__}") from error
    made = ArrowView(found, one_shot=one_shot)
    if not one_shot:
        made.given = table
    return made


def _read(table: Any) -> Any:
    if _is_from(table, *_DUCKDB):  # whose stream, in its versions before 2, is only what an earlier reader left
        return table.to_arrow_table()
    if _is_from(table, *_DATASET):
        return table.with_format("arrow")[:]  # its rows as they are chosen and ordered, labels as their numbers
    if hasattr(table, "__arrow_c_stream__"):
        return pyarrow.RecordBatchReader.from_stream(table).read_all()
    return pyarrow.Table.from_batches([pyarrow.record_batch(table)])


def _is_used_up(table: Any) -> bool:
    """Check whether reading uses it up; where that cannot be known, it is taken to."""
    rereadable = hasattr(table, "__len__") or hasattr(table, "__arrow_c_array__")
    return not rereadable and not _is_from(table, *_DUCKDB)


class _Unread(TableView):
    """A stream that must not be used up."""

    kind = "pyarrow"

    def __init__(self, table: Any) -> None:
        schema = getattr(table, "schema", None)
        super().__init__(table, getattr(schema, "names", ()), one_shot=True)

    def __len__(self) -> int:
        return int(self._refuse())

    def _refuse(self, *_positional: Any, **_named: Any) -> Any:
        kind = type(self.table).__name__
        raise TableError(
            f"a {kind} can be read only once: read it into a table first, with .read_all() or pyarrow.table(it)"
        )

    _column = cell = without = _take = _make = _series = _replacing = _refuse
