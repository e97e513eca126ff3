"""Tables that are written in batches: their file takes its name when all of it is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import pyarrow
from pyarrow import ipc, types

from ..disk import new_file
from ..errors import TableError
from .arrow_view import ArrowView
from .batches import no_rows
from .formats import PARTIAL, Format, path_of
from .text_writer import text_pieces
from .writer import check_target_file, compressing, form_of_output

STREAMED = ("csv", "tsv", "jsonl", "parquet", "arrow")
_GROUP_ROWS = 65_536
_GROUP_BYTES = 32 * 2**20
_INSTEAD = "leave the column out, or write .parquet"
Write = Callable[[Any], None]


@contextmanager
def batch_writer(path: str | os.PathLike[str], schema: Any, *, what: str = "output") -> Iterator[Write]:
    """Open a table's file for batches; the function that is returned writes one.

    After an error in between, what was written is a whole file called ``PATH.partial``, and an earlier file of the name
    is as it was; of nothing there is no file.
    """
    place = path_of(path, what)
    form = check_streamed(path, what=what)
    name = f"{what} {str(place)!r}"
    target, is_empty = check_target_file(place, name), True
    try:
        with (
            new_file(target, kept_as=lambda: None if is_empty else f"{target}{PARTIAL}") as handle,
            ExitStack() as stack,
        ):
            writer = (
                _columnar(form, schema, handle) if form.name in ("parquet", "arrow") else _Texts(form, schema, handle)
            )
            stack.callback(writer.close)

            def write(batch: Any) -> None:
                nonlocal is_empty
                writer.write(batch)
                is_empty = False

            yield write
    except (pyarrow.ArrowException, OSError) as error:
        raise TableError(f"cannot write {name}: {getattr(error, 'strerror', None) or type(error).__name__}") from error


def is_streamed(path: str | os.PathLike[str]) -> bool:
    """Check whether a file is of a format that can be written in batches."""
    try:
        check_streamed(path)
    except TableError:
        return False
    return True


def check_streamed(path: str | os.PathLike[str], *, what: str = "output") -> Format:
    """Return the format of a file that is written in batches; raise `TableError` for one that cannot be."""
    place = path_of(path, what)
    form = form_of_output(place, what)
    if form.name not in STREAMED:
        raise TableError(
            f"{what} {str(place)!r}: .{form.name} is written whole, and the table comes in batches: "
            f"choose one of {', '.join(STREAMED)}"
        )
    return form


def _is_of_bytes(kind: Any) -> bool:
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


class _Texts:
    """Writes CSV, TSV or JSON lines, compressed where the ending says so."""

    def __init__(self, form: Format, schema: Any, handle: IO[bytes]) -> None:
        for name in (each.name for each in schema if _is_of_bytes(each.type)):
            raise TableError(f"column {name!r} holds bytes, which cannot be written as text; {_INSTEAD}")
        self._form, self._schema, self._is_first = form, schema, True
        self._handle: Any = handle if form.compression is None else compressing(handle, form.compression)
        self._close = None if form.compression is None else self._handle.close

    def write(self, batch: Any) -> None:
        source = ArrowView(pyarrow.Table.from_batches([batch]))
        header = "quoted" if self._is_first and self._form.name == "tsv" else "fitting" if self._is_first else "none"
        self._is_first = False
        for piece in text_pieces(source, self._form.name, header):  # type: ignore[arg-type]
            self._handle.write(piece.encode())

    def close(self) -> None:
        if self._is_first:
            self.write(no_rows(self._schema))
        if self._close is not None:
            self._close()


class _Groups:
    """Writes batches as groups of rows that are worth one: as many rows, or as many bytes."""

    def __init__(self, write: Write, close: Callable[[], None], schema: Any) -> None:
        self._write, self._close, self._schema = write, close, schema
        self._batches: list[Any] = []
        self._rows = self._bytes = 0

    def write(self, batch: Any) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._write(pyarrow.Table.from_batches(self._batches, self._schema))
        self._batches, self._rows, self._bytes = [], 0, 0

    def close(self) -> None:
        if self._batches:
            self._flush()
        self._close()


def _columnar(form: Format, schema: Any, handle: IO[bytes]) -> _Groups:
    if form.name == "arrow":
        file = ipc.new_file(handle, schema)
        return _Groups(file.write_table, file.close, schema)
    from pyarrow import parquet  # noqa: PLC0415 - what it needs takes long to load

    written = parquet.ParquetWriter(handle, schema)
    return _Groups(lambda table: written.write_table(table, row_group_size=table.num_rows), written.close, schema)
