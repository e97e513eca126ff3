"""Columns of the types of answers: labels, dates, lists and records beside the four plain types."""

from __future__ import annotations

import datetime
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, Protocol

import numpy
import orjson
import pyarrow

from ..vectors import Vectors

PLAIN_TYPES = MappingProxyType(
    {
        "text": pyarrow.large_string(),
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "boolean": pyarrow.bool_(),
    }
)


_CHUNK = 2**13  # values of a packed column that are unpacked at a time
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


class Described(Protocol):
    """What a column's values are, as `answers.FieldType` says it; each may be null."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def members(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def item(self) -> Described | None: ...  # noqa: D102
    @property
    def fields(self) -> tuple[tuple[str, Described], ...]: ...  # noqa: D102
    @property
    def size(self) -> int | None: ...  # noqa: D102


ColumnType = str | Described
"""A plain type's name, or what the values of an answer's column are."""


def arrow_array(values: Iterable[Any], of: ColumnType) -> Any:
    """Return values as an Arrow array of the type of a made column; in chunks where they are many that are packed."""
    if not isinstance(values, list | tuple | array | numpy.ndarray | Vectors):
        parts = iter(values)
        chunks = [_array([*first], of) for first in iter(lambda: [*islice(parts, _CHUNK)], [])]
        return chunks[0] if len(chunks) == 1 else pyarrow.chunked_array(chunks) if chunks else _array([], of)
    return _array(values, of)


def _array(values: Any, of: ColumnType) -> Any:
    return _plain_array(values, of) if isinstance(of, str) else _typed_array(values, of)


def _plain_array(values: Sequence[Any], of: str) -> Any:
    vector = numpy.asarray(values) if isinstance(values, array) else values
    try:
        return pyarrow.array(vector, PLAIN_TYPES[of], from_pandas=True)
    except UnicodeEncodeError:
        return pyarrow.array([text and repaired(text) for text in values], PLAIN_TYPES[of])


def _typed_array(values: Sequence[Any], of: Described) -> Any:
    """Return plain JSON values as an Arrow array of a type, which does not depend on the values."""
    if of.kind == "enum":
        members = pyarrow.array(map(repaired, of.members), PLAIN_TYPES["text"])
        place = {member: at for at, member in enumerate(of.members)}
        codes = pyarrow.array([None if value is None else place[value] for value in values], pyarrow.int32())
        return pyarrow.DictionaryArray.from_arrays(codes, members)
    if of.kind == "vector":
        return _vector_array(values if isinstance(values, Vectors) else _vectors(values), of.size)
    convert = _converter(of)
    converted = values if convert is None else [None if value is None else convert(value) for value in values]
    if of.kind in ("text", "integer", "boolean"):
        return _plain_array(converted, of.kind)
    try:
        return pyarrow.array(converted, _arrow_type(of))
    except UnicodeEncodeError:
        return pyarrow.array(_repaired(converted), _arrow_type(of))


def _vectors(values: Sequence[Any]) -> Vectors:
    return Vectors.of(None if value is None else numpy.asarray(value, numpy.float32) for value in values)


def _vector_array(vectors: Vectors, size: int | None) -> Any:
    """Return vectors as an Arrow array: of one size, which shares the matrix, else of lists."""
    matrix, present = vectors.matrix, vectors.present
    found = matrix.shape[1]
    if (size or found) and size != 0:
        if not found:
            matrix = numpy.full((len(present), size or 0), numpy.nan, numpy.float32)
        valid = None if present.all() else pyarrow.array(present).buffers()[1]
        kind, numbers = pyarrow.list_(pyarrow.float32(), size or found), pyarrow.array(matrix.reshape(-1))
        return pyarrow.FixedSizeListArray.from_buffers(kind, len(present), [valid], children=[numbers])
    ends = numpy.concatenate(([0], numpy.cumsum(present * found))).astype(numpy.int32)
    starts = pyarrow.array(ends, mask=numpy.append(~present, False))
    return pyarrow.ListArray.from_arrays(starts, pyarrow.array(matrix[present].reshape(-1), pyarrow.float32()))


def vector_rows(array: Any) -> tuple[Any, Any]:
    """Return an array of vectors of one size as a matrix, which is not copied, and which of its rows have one."""
    if not pyarrow.types.is_fixed_size_list(array.type):  # no row has one, and nobody said their size
        return numpy.empty((len(array), 0), numpy.float32), numpy.zeros(len(array), bool)
    size, start = array.type.list_size, array.offset
    matrix = array.values.to_numpy(zero_copy_only=False).reshape(-1, size)[start : start + len(array)]
    return matrix, array.is_valid().to_numpy(zero_copy_only=False)


def is_vector(kind: Any) -> bool:
    """Check whether an Arrow type is that of a column of vectors."""
    is_list = pyarrow.types.is_fixed_size_list(kind) or pyarrow.types.is_list(kind)
    return bool(is_list and kind.value_type == pyarrow.float32())


def _arrow_type(of: Described) -> Any:
    """Return the Arrow type of what stands in a list or a record; labels are texts there."""
    if of.kind == "list" and of.item is not None:
        return pyarrow.list_(_arrow_type(of.item))
    if of.kind == "struct":
        return pyarrow.struct([(name, _arrow_type(inside)) for name, inside in of.fields])
    if of.kind == "date":
        return pyarrow.date32()
    if of.kind == "datetime":
        return pyarrow.timestamp("us", "UTC")
    return PLAIN_TYPES.get(of.kind, PLAIN_TYPES["text"])


def _converter(of: Described) -> Callable[[Any], Any] | None:
    """Return what makes Arrow's value of one of JSON's that is not null; None where they are the same."""
    if of.kind == "list" and of.item is not None:
        inside = _converter(of.item)
        return None if inside is None else lambda value: [None if each is None else inside(each) for each in value]
    if of.kind == "struct":
        parts = [(name, convert) for name, each in of.fields if (convert := _converter(each)) is not None]
        return _record(parts) if parts else None
    return _CONVERTERS.get(of.kind)


def _record(parts: list[tuple[str, Callable[[Any], Any]]]) -> Callable[[Any], Any]:
    def convert(value: dict[str, Any]) -> dict[str, Any]:
        changed = {name: make(value[name]) for name, make in parts if value[name] is not None}
        return {**value, **changed}

    return convert


def _microseconds(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text.upper())
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return (moment - _EPOCH) // _MICROSECOND


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "number": float,
    "date": datetime.date.fromisoformat,
    "datetime": _microseconds,
    "json": lambda value: orjson.dumps(value).decode(),
}


def _repaired(value: Any) -> Any:
    """Return a value whose texts hold no half of a surrogate pair."""
    if isinstance(value, str):
        return repaired(value)
    if isinstance(value, list):
        return [*map(_repaired, value)]
    return {name: _repaired(each) for name, each in value.items()} if isinstance(value, dict) else value


def repaired(text: str) -> str:
    """Place U+FFFD for each half of a surrogate pair, which no table library can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
