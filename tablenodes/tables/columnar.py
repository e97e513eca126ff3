"""Parquet and Arrow files: into a data frame without losing an integer or inventing a null, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO  # noqa: TC003 - beside what is used
from pathlib import Path
from typing import Any

import pandas
import pyarrow
from pyarrow import compute, ipc, types

from ..errors import ColumnError, TableError
from .arrow_cells import PYTHONS_OWN, arrow_column
from .origin import without_origin
from .views import TableView, WrittenNumber, checked_names

_ONE_TYPE = "in such a file all values of a column have one type"
_NOT_TAKEN = (pyarrow.ArrowException, ValueError, TypeError, KeyError, OverflowError)


def read_parquet(file: Path | BytesIO, name: str) -> pandas.DataFrame:
    """Read a Parquet file."""
    from pyarrow import parquet  # noqa: PLC0415 - what it needs takes long to load

    return _read(file, name, "Parquet", lambda source: parquet.ParquetFile(source).read())


def read_arrow(file: Path | BytesIO, name: str) -> pandas.DataFrame:
    """Read an Arrow file: the file format, which Feather is too, or the stream format."""
    return _read(file, name, "Arrow", _from_ipc)


def _from_ipc(source: Any) -> Any:
    start = source.read(6)
    source.seek(0)
    return (ipc.open_file if start == b"ARROW1" else ipc.open_stream)(source).read_all()


def _read(file: Path | BytesIO, name: str, kind: str, read: Callable[[Any], Any]) -> pandas.DataFrame:
    try:
        with _opened(file) as source:
            table = _changed(read(source), stored)
        table.validate(full=True)  # offsets that lead outside, texts that are not UTF-8
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise TableError(f"{name} is not a complete {kind} file, or is damaged") from error
    try:
        return data_frame(table)
    except ColumnError as error:
        raise ColumnError(f"{name}: {error}") from None
    except MemoryError:
        raise
    except _NOT_TAKEN as error:
        raise TableError(f"{name} has a value or a type that pandas cannot read") from error


def data_frame(table: Any) -> pandas.DataFrame:
    """Return an Arrow table as a data frame; `ColumnError`, or one of Arrow's, says that it cannot be one."""
    checked_names(table.column_names)
    return _data_frame(_changed(table, _known))


def _opened(file: Path | BytesIO) -> Any:
    return pyarrow.OSFile(str(file)) if isinstance(file, Path) else pyarrow.BufferReader(file.getbuffer())


def _changed(table: Any, change: Callable[[Any], Any]) -> Any:
    for position, name in enumerate(table.column_names):
        table = table.set_column(position, name, change(table.column(position)))
    return table


def stored(column: Any) -> Any:
    """Return what a column of an extension type stores: a type of somebody's own is never built from a file."""
    kind = column.type
    if not isinstance(kind, pyarrow.BaseExtensionType) or kind.extension_name.startswith(("pandas.", *PYTHONS_OWN)):
        return column
    return pyarrow.chunked_array([chunk.storage for chunk in column.chunks], type=kind.storage_type)


def _known(column: Any) -> Any:
    """Return a column of a type that pandas has no array for as its like."""
    kind = column.type
    if types.is_string_view(kind) or getattr(kind, "extension_name", "") == "arrow.uuid":
        read = arrow_column(column).read
        return pyarrow.chunked_array([pyarrow.array(read(0, len(column)), pyarrow.large_string())])
    if getattr(kind, "extension_name", "") == "arrow.bool8":
        stored = [chunk.storage for chunk in column.chunks]
        return pyarrow.chunked_array(stored, type=kind.storage_type).cast(pyarrow.bool_())
    return column


def _data_frame(table: Any) -> pandas.DataFrame:
    """Keep integers with nulls integers, and nested types Arrow's own, whose null fields are known as such."""
    with_nulls = {field.type for field, column in zip(table.schema, table.columns, strict=True) if column.null_count}

    def dtype(kind: Any) -> Any:
        value = kind.value_type if types.is_dictionary(kind) else kind
        is_fine_time = types.is_time64(kind) and kind.unit == "ns"  # Python's own times end at microseconds
        if types.is_nested(value) or is_fine_time:
            return pandas.ArrowDtype(kind)
        if kind in with_nulls and types.is_boolean(kind):
            return pandas.BooleanDtype()
        if kind in with_nulls and types.is_integer(kind):
            return pandas.api.types.pandas_dtype(str(kind).replace("i", "I").replace("u", "U"))
        return None

    frame: pandas.DataFrame
    try:
        frame = table.to_pandas(types_mapper=dtype)
    except MemoryError:
        raise
    except _NOT_TAKEN:  # perhaps for what the file says of its index and its dtypes, which is not needed
        frame = _signed(table.replace_schema_metadata(None)).to_pandas(types_mapper=dtype)
    return frame


def _signed(table: Any) -> Any:
    """Return a table whose dictionaries are read by signed numbers: older releases of pyarrow give pandas no others."""
    for position, field in enumerate(table.schema):
        if types.is_dictionary(field.type) and types.is_unsigned_integer(field.type.index_type):
            parts = [
                pyarrow.DictionaryArray.from_arrays(each.indices.cast(pyarrow.int64()), each.dictionary)
                for each in table.column(position).chunks
            ]
            kind = pyarrow.dictionary(pyarrow.int64(), field.type.value_type)
            table = table.set_column(position, field.name, pyarrow.chunked_array(parts, type=kind))
    return table


def write_columnar(
    source: TableView, form: str, handle: Any, text: Callable[[TableView, str], list[str | None]]
) -> list[str]:
    """Write a table as Parquet, or in Arrow's file format; return what is to be said of how."""
    as_text = [name for name in source.columns if not _holds(source.table, name, form)]
    table = _arrow_table(source, as_text, text)
    if form == "parquet":
        from pyarrow import parquet  # noqa: PLC0415 - what it needs takes long to load

        parquet.write_table(table, handle)
    else:
        with ipc.new_file(handle, table.schema) as writer:
            writer.write_table(table)
    return [f"column {name!r} is written as text: {_ONE_TYPE}" for name in as_text]


def check_columnar(source: TableView, form: str, check: Callable[[TableView, str], None]) -> None:
    """Check that a table can be written as Parquet, or in Arrow's file format."""
    for name in source.columns:
        if not _holds(source.table, name, form):
            check(source, name)
    if isinstance(source.table, pandas.DataFrame):
        try:
            _to_arrow(source.table[[]])
        except _NOT_TAKEN as error:
            raise TableError("the table's index cannot be written: remove it (pandas: reset_index)") from error


def _arrow_table(source: TableView, as_text: list[str], text: Callable[[TableView, str], list[str | None]]) -> Any:
    table = source.table
    for name in as_text:
        made = source.series(name, text(source, name), "text")
        if source.kind == "pyarrow":
            table = table.set_column(source.columns.index(name), name, made)
        elif source.kind == "polars":
            table = table.with_columns(made)
        else:
            table = table.assign(**{name: made})
    return _to_arrow(table)


def _to_arrow(table: Any) -> Any:
    if isinstance(table, pandas.DataFrame):
        return _readable(_with_vectors(pyarrow.Table.from_pandas(without_origin(table))))
    return table if isinstance(table, pyarrow.Table) else table.to_arrow()


def _with_vectors(table: Any) -> Any:
    """Return a table whose lists of 32-bit floats are vectors where all have one length, as embeddings do."""
    for position, field in enumerate(table.schema):
        if types.is_list(field.type) and types.is_float32(field.type.value_type):
            column = table.column(position)
            sizes = compute.unique(compute.list_value_length(column).drop_null())
            if len(sizes) == 1 and sizes[0].as_py():
                made = column.cast(pyarrow.list_(pyarrow.float32(), sizes[0].as_py()))
                table = table.set_column(position, field.name, made)
    return table


def _readable(table: Any) -> Any:
    """Return a table that pandas can read back: it cannot read the names of some Arrow types, such as lists."""
    described = json.loads(table.schema.metadata[b"pandas"])
    for column in described["columns"]:
        if not _is_known(str(column["numpy_type"])):
            column["numpy_type"] = "object"
    return table.replace_schema_metadata({**table.schema.metadata, b"pandas": json.dumps(described).encode()})


def _is_known(dtype: str) -> bool:
    try:
        pandas.api.types.pandas_dtype(dtype)
    except (TypeError, ValueError, NotImplementedError):
        return False
    return True


def arrow_type(source: TableView, name: str) -> Any:
    """Return the Arrow type of a column; null where it has none."""
    table = source.table
    try:
        column = table.select([name]) if isinstance(table, pyarrow.Table) else table[[name]]
        return _to_arrow(column[:0]).schema.field(name).type
    except _NOT_TAKEN:
        return pyarrow.null()


def _holds(table: Any, name: str, form: str) -> bool:
    """Check whether the format can hold a column: it is tried on its first row."""
    kind = str(getattr(table[name], "dtype", ""))
    if kind == "Object":
        return False  # of Polars' objects Arrow would get the addresses
    if kind == "object" and WrittenNumber in map(type, table[name]):
        return False  # NaN would become null
    try:
        column = _to_arrow(table.select([name]) if isinstance(table, pyarrow.Table) else table[[name]])
        with pyarrow.BufferOutputStream() as nowhere:
            if form == "parquet":
                from pyarrow import parquet  # noqa: PLC0415 - what it needs takes long to load

                parquet.write_table(column.slice(0, 1), nowhere)
            else:
                ipc.new_file(nowhere, column.schema).close()
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError):
        return False
    return True
