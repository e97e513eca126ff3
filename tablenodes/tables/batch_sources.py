"""Whatever rows can be read from in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pyarrow

from ..database_address import DatabaseTable, database_address
from ..errors import TableError
from . import kinds
from .batch_files import file_source
from .batches import BatchSource, like, table_of
from .database_reader import query_stream
from .formats import Reading

_NO_SOURCE = "batches are read from a path, a table, a stream or dataset of Arrow, or an iterator"


def batch_source(source: Any, query: str | None = None, reading: Reading | None = None) -> BatchSource:
    """Return a source of batches; a table that is in memory is one, too. A database is asked by a query.

    `reading` says how a file is read.
    """
    if isinstance(source, BatchSource):
        return source
    if (asked := _database(source, query)) is not None:
        return _of_query(asked)
    if query is not None:
        raise TableError("query is for databases, and the source is none", place="query")
    if isinstance(source, str | os.PathLike | list | tuple):
        return file_source(source, reading)
    if isinstance(source, bytes | dict) or source is None:
        raise TableError(f"a {type(source).__name__} is no source of batches: {_NO_SOURCE}")
    return _of_stream(source) or _of_table(source)


def _of_stream(source: Any) -> BatchSource | None:
    """Return the source of what is read one batch after another; None of a table."""
    if isinstance(source, pyarrow.RecordBatchReader):
        return _of_reader(source)
    if _is_dataset(source):
        return BatchSource(source.schema, lambda: map(table_of, source.to_batches()), again=True)
    if hasattr(source, "__arrow_c_stream__") and not hasattr(source, "__len__"):
        return _of_reader(pyarrow.RecordBatchReader.from_stream(source))
    return _of_batches(source) if isinstance(source, Iterator) else None


def _of_table(source: Any) -> BatchSource:
    view = kinds.view(source)
    try:
        table = view.table if isinstance(view.table, pyarrow.Table) else pyarrow.table(view.table)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise TableError(
            "the table has a column whose values have no common type: use run, or make them texts"
        ) from error
    return BatchSource(table.schema, lambda: iter((table,)), again=True, rows=table.num_rows, folder=view.folder)


def _database(source: Any, query: str | None) -> DatabaseTable | None:
    """Return the query that a source is; None of any other source."""
    if isinstance(source, DatabaseTable):
        return source
    address = database_address(source)
    return None if address is None else DatabaseTable(address, query)


def _of_query(asked: DatabaseTable) -> BatchSource:
    with query_stream(asked) as (schema, _):
        pass

    def read() -> Iterator[Any]:
        with query_stream(asked) as (_, tables):
            yield from tables

    return BatchSource(schema, read, again=True)


def _is_dataset(source: Any) -> bool:
    """Check whether something is a dataset or scanner of Arrow, whose library takes long to load."""
    return any(base.__module__ == "pyarrow._dataset" for base in type(source).__mro__) and hasattr(source, "to_batches")


def _of_reader(reader: Any) -> BatchSource:
    return BatchSource(reader.schema, lambda: map(table_of, reader))


def _of_batches(batches: Iterator[Any]) -> BatchSource:
    """Return the source of an iterator of batches, whose columns are those of the first one."""
    first = next(batches, None)
    if first is None:
        raise TableError("the iterator has no batch, so nothing is known of its columns")
    schema = table_of(first).schema
    return BatchSource(schema, lambda: (like(table_of(each), schema) for each in chain((first,), batches)))
