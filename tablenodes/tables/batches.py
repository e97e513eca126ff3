"""Sources of tables that come in batches: what is read of them is what one batch needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pyarrow
from pyarrow import types

from ..errors import TableError
from ..notices import counted
from . import kinds
from .arrow_view import ArrowView

BATCH_ROWS = 8_192
BATCH_BYTES = 8 * 2**20


class Meter:
    """How many bytes of files have been read, of how many in `total`."""

    def __init__(self, total: int) -> None:
        self.total, self._before, self._size = total, 0, 0
        self._file: Any = None

    def begin(self, file: Any = None, size: int = 0) -> None:
        """Begin with a file of this size, after others; without one, with the first again."""
        self._before = 0 if file is None else self._before
        self._file, self._size = file, size

    def end(self) -> None:
        """Count the file that was begun as read."""
        self._before, self._file = self._before + self._size, None

    @property
    def done(self) -> int:
        """The bytes that have been read."""
        return self._before + (0 if self._file is None else int(self._file.tell()))

    def told(self) -> str:
        """Return how far it is, in words."""
        done = min(self.done, self.total)
        return f"{done / 1e6:,.1f} of {self.total / 1e6:,.1f} MB read ({done / max(1, self.total):.0%})"


@dataclass(frozen=True, eq=False, repr=False)
class BatchSource:
    """A table in batches: its Arrow schema, and what reads it, as often as it is called where it can be read `again`.

    `rows` is how many there are, None where that is not known; `folder` that of the files; `meter` knows how much of
    files that are texts has been read.
    """

    schema: Any
    read: Callable[[], Iterator[Any]]
    again: bool = False
    rows: int | None = None
    folder: str | None = None
    meter: Meter | None = None

    def start(self, rows: slice | None = None) -> tuple[Any, float]:
        """Return the first rows, and how many times as many there are in all, or of these `rows`, about."""
        with closing(self.read()) as tables:  # type: ignore[type-var] # what reads is a generator
            first = next(tables, self.schema.empty_table())
            whole = self.rows
            if whole is None:
                done = 0 if self.meter is None else self.meter.done
                whole = first.num_rows * self.meter.total // done if self.meter is not None and done else first.num_rows
        return first, (whole if rows is None else len(range(*rows.indices(whole)))) / max(1, first.num_rows)

    @property
    def view(self) -> ArrowView:
        """A table of its columns without rows."""
        return self._view(self.schema.empty_table())

    def views(self) -> Iterator[ArrowView]:
        """Yield the batches, cut to what is worked on at a time."""
        for table in self.read():
            start = 0
            while start < table.num_rows:
                part = table.slice(start, BATCH_ROWS)
                while part.nbytes > BATCH_BYTES and part.num_rows > 1:
                    part = part.slice(0, part.num_rows // 2)
                start += part.num_rows
                yield self._view(part)

    def part(self, rows: slice) -> BatchSource:
        """Return the source of some of its rows, from its start on, or from one row to before another."""
        start, stop = rows.start or 0, rows.stop
        known = None if self.rows is None else len(range(*rows.indices(self.rows)))

        def read() -> Iterator[Any]:
            at = 0
            for table in self.read():
                first, last = max(0, start - at), table.num_rows if stop is None else min(table.num_rows, stop - at)
                at += table.num_rows
                if first < last:
                    yield table.slice(first, last - first)
                if stop is not None and at >= stop:
                    return
            if start and at <= start:
                raise TableError(f"--rows: the table has {counted(at, 'row')}, which count from 0")

        return replace(self, read=read, rows=known)

    def _view(self, table: Any) -> ArrowView:
        kinds_of = [_taken(field.type) for field in table.schema]
        if kinds_of != table.schema.types:
            pairs = zip(table.schema, kinds_of, strict=True)
            table = table.cast(pyarrow.schema([field.with_type(kind) for field, kind in pairs]))
        view = ArrowView(table)
        view.folder = self.folder
        return view


def _taken(kind: Any) -> Any:
    """Return a type, with types that Arrow can take rows of in place of its views of texts, which Polars has."""
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return pyarrow.large_string() if types.is_string_view(kind) else pyarrow.large_binary()
    if types.is_struct(kind):
        return pyarrow.struct([field.with_type(_taken(field.type)) for field in kind])
    if types.is_list(kind) or types.is_large_list(kind):
        return (pyarrow.list_ if types.is_list(kind) else pyarrow.large_list)(_taken(kind.value_type))
    return kind


def table_of(batch: Any) -> Any:
    """Return a batch as a table of Arrow."""
    if isinstance(batch, pyarrow.Table):
        return batch
    if isinstance(batch, pyarrow.RecordBatch):
        return pyarrow.Table.from_batches([batch])
    table = kinds.view(batch).table
    return table if isinstance(table, pyarrow.Table) else pyarrow.table(table)


def like(table: Any, schema: Any, name: str = "a batch") -> Any:
    """Return a table with the columns and types of the first batch, or of the first file."""
    if table.schema.equals(schema):
        return table
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise TableError(f"{name} has no column {missing[0]!r}, which the first one has")
    more = [name for name in table.column_names if name not in schema.names]
    if more:
        raise TableError(f"{name} has a column {more[0]!r}, which the first one has not")
    made = table.select(schema.names)
    for at, field in enumerate(schema):
        if made.column(at).type != field.type:
            try:
                made = made.set_column(at, field, made.column(at).cast(field.type))
            except pyarrow.ArrowException:
                kind, first = made.column(at).type, field.type
                raise TableError(f"column {field.name!r} is {kind} in {name}, and {first} in the first one") from None
    return made.cast(schema)


def batch_of(table: Any) -> Any:
    """Return a table of Arrow as one batch."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else no_rows(table.schema)


def joined(batches: Iterable[Any], schema: Any) -> Any:
    """Return batches as one table."""
    return pyarrow.Table.from_batches(batches, schema)


def stream_of(batches: Iterable[Any], schema: Any, requested: Any) -> Any:
    """Return batches as a stream of Arrow for another library."""
    return pyarrow.RecordBatchReader.from_batches(schema, batches).__arrow_c_stream__(requested)


def patched(table: Any, rows: list[int], made: Any) -> Any:
    """Return a table with those rows of it replaced by the rows of another one, in their order."""
    places = list(range(table.num_rows))
    for at, row in enumerate(rows):
        places[row] = table.num_rows + at
    return pyarrow.concat_tables((table, made.cast(table.schema))).take(pyarrow.array(places, pyarrow.int64()))


def schema_of(schema: Any, columns: Sequence[str], names: Sequence[str] | None = None) -> Any:
    """Return the schema of some columns, under other names if those are given."""
    named = zip(columns, columns if names is None else names, strict=True)
    return pyarrow.schema([schema.field(column).with_name(name) for column, name in named])


def columns_of_batch(batch: Any, columns: Sequence[str], names: Sequence[str] | None = None) -> Any:
    """Return some columns of a record batch, under other names if those are given."""
    schema = schema_of(batch.schema, columns, names)
    return pyarrow.RecordBatch.from_arrays([batch.column(name) for name in columns], schema=schema)


def no_rows(schema: Any) -> Any:
    """Return a record batch without rows."""
    return pyarrow.RecordBatch.from_pylist([], schema=schema)


def numbered(batch: Any, first: int, node: str = "") -> Any:
    """Return a record batch with the positions of its rows, counted from `first`, as its first column ``row``.

    With a `node`, the column ``node`` goes before, with its name.
    """
    rows = pyarrow.array(range(first, first + batch.num_rows), pyarrow.int64())
    own = {"node": pyarrow.array([node] * batch.num_rows, pyarrow.string())} if node else {}
    names = [*own, "row", *batch.schema.names]
    return pyarrow.RecordBatch.from_arrays([*own.values(), rows, *batch.columns], names)
