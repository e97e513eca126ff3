"""Arrow columns as plain cells: the type decides how, so that clean types cost no work per cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy
import pyarrow
from pyarrow import types

from ..plain import plain
from ..problems import Unfit
from .views import Column, attempt

Read = Callable[[Any], list[Any]]
Convert = Callable[[Any], Any]
PYTHONS_OWN = ("arrow.uuid", "arrow.bool8")  # extension types whose values Python sees better than their storage
_UNREADABLE = (pyarrow.ArrowException, ValueError, OverflowError, NotImplementedError)


def arrow_column(cells: Any, *, nan_is_null: bool = False) -> Column:
    """Return the way to read a column."""
    chunked = cells if isinstance(cells, pyarrow.ChunkedArray) else pyarrow.chunked_array([cells])
    convert = arrow_reader(chunked.type, nan_is_null=nan_is_null)

    def read(start: int, stop: int) -> list[Any]:
        part = chunked.slice(start, stop - start)
        try:
            return convert(part)
        except _UNREADABLE:
            return _one_by_one(part, convert)

    def size(start: int, stop: int) -> int:
        return _size(chunked.slice(start, stop - start))

    return Column(read, size, lambda: _is_text_or_number(chunked))


def _is_text_or_number(cells: Any) -> bool:
    kind = _wrapped(cells.type) if types.is_dictionary(cells.type) else cells.type
    if not _is_text(kind):
        return bool(_is_exact(kind) or types.is_floating(kind))
    try:
        cells.validate(full=True)  # texts that are not UTF-8
    except pyarrow.ArrowException:
        return False
    return True


def _size(part: Any) -> int:
    """Return the bytes of a part in about; one that looks into shared buffers would count them whole."""
    if types.is_string_view(part.type):
        return sum(_viewed(chunk) for chunk in part.chunks if len(chunk))
    return 0 if "_view" in str(part.type) else int(part.nbytes)


def _viewed(chunk: Any) -> int:
    views = numpy.frombuffer(chunk.buffers()[1], dtype=numpy.int32)  # four a text, the first of them its length
    return int(views[chunk.offset * 4 : (chunk.offset + len(chunk)) * 4 : 4].sum(dtype=numpy.int64))


def arrow_reader(kind: Any, *, nan_is_null: bool = False) -> Read:
    """Return the function that turns a chunked array of this type into plain cells."""
    if _is_text(kind):
        return _texts
    if _is_exact(kind):
        return _exact
    if types.is_floating(kind):
        return partial(_floats, nan_is_null=nan_is_null)
    if (inner := _wrapped(kind)) and not _is_undecodable(kind):
        return partial(_unwrapped, inner=inner, read=arrow_reader(inner, nan_is_null=nan_is_null))
    if types.is_time64(kind) and kind.unit == "ns":
        return _nanosecond_times
    return partial(_converted, convert=_converter(kind) or plain)


def _wrapped(kind: Any) -> Any:
    """Return the type that a dictionary or an extension type stands for, or None for any other."""
    if types.is_dictionary(kind):
        return kind.value_type
    if isinstance(kind, pyarrow.BaseExtensionType) and kind.extension_name not in PYTHONS_OWN:
        return kind.storage_type
    return None


def _is_undecodable(kind: Any) -> bool:
    """Check whether Arrow has no way to look up this dictionary's values all at once."""
    return bool(types.is_dictionary(kind) and (types.is_nested(kind.value_type) or "_view" in str(kind.value_type)))


def _unwrapped(part: Any, *, inner: Any, read: Read) -> list[Any]:
    if types.is_dictionary(part.type):
        return read(part.cast(inner))
    return read(pyarrow.chunked_array([chunk.storage for chunk in part.chunks], type=inner))


def _is_text(kind: Any) -> Any:
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_exact(kind: Any) -> Any:
    return types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind)


def _texts(part: Any) -> list[Any]:
    found: list[Any] = part.to_numpy().tolist()
    return found


def _exact(part: Any) -> list[Any]:
    found: list[Any] = part.to_pylist()
    return found


def _floats(part: Any, *, nan_is_null: bool) -> list[Any]:
    numbers = widened(part.to_numpy())
    if part.null_count == 0 and numpy.isfinite(numbers).all():
        finite: list[Any] = numbers.tolist()
        return finite
    are_there = part.is_valid().to_numpy().tolist()
    cells = [number if is_there else None for number, is_there in zip(numbers.tolist(), are_there, strict=True)]
    if nan_is_null:
        return [None if cell is None or math.isnan(cell) else attempt(plain, cell) for cell in cells]
    return [attempt(plain, cell) for cell in cells]


def _nanosecond_times(part: Any) -> list[Any]:
    return [None if time is None else _time(time) for time in part.cast(pyarrow.int64()).to_pylist()]


def _time(nanoseconds: int) -> str:
    """Write a time of day as ISO 8601; Python's own times end at microseconds."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if not fraction:
        return clock
    return f"{clock}.{fraction:09}" if fraction % 1000 else f"{clock}.{fraction // 1000:06}"


def _converted(part: Any, *, convert: Convert) -> list[Any]:
    return [None if cell is None else attempt(convert, cell) for cell in part.to_pylist()]


def _one_by_one(part: Any, convert: Read) -> list[Any]:
    """Convert cell by cell, after one of them spoilt the whole part."""
    cells: list[Any] = []
    for position in range(len(part)):
        try:
            cells += convert(part.slice(position, 1))
        except _UNREADABLE:
            cells.append(Unfit(f"holds a {str(part.type)[:60]} that cannot be read"))
    return cells


def _converter(kind: Any) -> Convert | None:
    """Return the function that makes a cell of a nested type plain, or None where it is so already."""
    if types.is_struct(kind):
        fields = {field.name: _converter(field.type) for field in kind}
        return partial(_struct, fields=fields) if any(fields.values()) else _clean_struct
    if types.is_map(kind):
        return partial(_map, convert=_converter(kind.item_type))
    if _is_list(kind):
        return _of_lists(kind.value_type)
    if inner := kind.value_type if types.is_run_end_encoded(kind) else _wrapped(kind):
        return _converter(inner)
    if _is_text(kind) or _is_exact(kind):
        return None
    return partial(_narrow, width=kind.to_pandas_dtype()) if _is_narrow(kind) else plain


def _of_lists(kind: Any) -> Convert | None:
    if _is_narrow(kind):
        return partial(_narrow_list, width=kind.to_pandas_dtype())
    convert = _converter(kind)
    return convert and partial(_list, convert=convert)


def _is_narrow(kind: Any) -> bool:
    return bool(types.is_float16(kind) or types.is_float32(kind))


def _is_list(kind: Any) -> bool:
    checks = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    return any(getattr(types, check)(kind) for check in checks)


def _struct(cell: dict[str, Any], *, fields: dict[str, Convert | None]) -> dict[str, Any]:
    """Leave a struct's null fields out: every struct of a column has all fields, of its own or not."""
    return {
        name: convert(value) if (convert := fields[name]) else value
        for name, value in cell.items()
        if value is not None
    }


def _clean_struct(cell: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in cell.items() if value is not None}


def _map(cell: list[tuple[Any, Any]], *, convert: Convert | None) -> Any:
    pairs = [(key, value if value is None or convert is None else convert(value)) for key, value in cell]
    made = dict(pairs)
    if len(made) < len(pairs):
        raise Unfit("holds two keys that are the same text")
    return plain(made)


def _list(cell: list[Any], *, convert: Convert) -> list[Any]:
    return [None if value is None else convert(value) for value in cell]


def _narrow(cell: float, *, width: Any) -> Any:
    return plain(width(cell))


def _narrow_list(cell: list[Any], *, width: Any) -> list[Any]:
    """Convert a list of floats of fewer than 64 bits all at once: there may be thousands, as in an embedding."""
    if None in cell:
        return [None if value is None else _narrow(value, width=width) for value in cell]
    made: list[Any] = plain(widened(numpy.array(cell, dtype=width)).tolist())
    return made


def widened(numbers: Any) -> Any:
    """Return floats of 16 and 32 bits as the shortest decimals: 0.7 where widening alone says 0.699999988079071."""
    width = numbers.dtype.itemsize
    if width >= 8:
        return numbers
    wide = numbers.astype(numpy.float64)
    if width == 4:  # by way of Arrow, which writes the shortest decimals nine times as fast as NumPy
        native = pyarrow.array(numbers.astype(numpy.float32, copy=False))
        short = native.cast(pyarrow.string()).cast(pyarrow.float64()).to_numpy()
    else:
        short = numbers.astype(str).astype(numpy.float64)
    return numpy.where(wide == numpy.trunc(wide), wide, short)
