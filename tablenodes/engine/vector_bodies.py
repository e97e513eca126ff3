"""The bodies of answers with a vector: kept as the vector and what stands around it, a third less than as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from mmap import mmap
from typing import Any, NamedTuple

import orjson

from ..vectors import Vectors, embedding_in, vector_of
from .packed_columns import AT_ONCE, NO_SLOT

_FIELD = b'"embedding":'
_LONG_RUNS = 8  # rows that are copied together at the least; else one by one
_HEADS = 4096  # that are kept once, however many rows have them


class Around(NamedTuple):
    """What stands around a vector in a body, and what returns how the vector is written."""

    before: bytes
    after: bytes
    written: Callable[[Any], bytes]


class VectorBody(bytes):
    """An answer's body whose vector is known already: the `vector` itself, and what stands `around` its base64."""

    around: Around
    vector: Any

    @classmethod
    def of(cls, around: Around, embedding: str, vector: Any) -> bytes:
        """Return the body of a vector that came as this base64; a plain one where it is usually written otherwise."""
        told = embedding.encode()
        made = cls(b"".join((around.before, told, around.after)))
        if told.endswith(b"=") and as_base64(vector)[-4:] != told[-4:]:
            return bytes(made)
        made.around, made.vector = around, vector
        return made


class _Batch:
    """The bodies of some ends: what stands around each vector, or the whole; the vectors are `rows` of a matrix."""

    __slots__ = ("matrix", "parts", "rows")

    def __init__(self, parts: list[Any], matrix: Any, rows: Any) -> None:
        self.parts, self.matrix, self.rows = parts, matrix, rows


class VectorBodies:
    """Bodies that come as bytes: each is kept as its vector where the two are the same to the byte, else as it is."""

    def __init__(self, batches: list[_Batch] | None = None) -> None:
        self._batches = batches or []
        self._heads: dict[Around, Around] = {}
        self._made: tuple[Any, Vectors] | None = None  # of which slots, and their vectors

    def put(self, number: int, values: Sequence[bytes]) -> None:
        """Add a batch of bodies in place of those from it on."""
        import numpy  # noqa: PLC0415 - loaded where there are answers

        parts: list[Any] = []
        vectors: list[Any] = []
        size = None
        for data in values:
            vector, around = (data.vector, data.around) if type(data) is VectorBody else _taken_apart(data)
            if vector is None or len(vector) != (size := size or len(vector)):
                parts.append(bytes(data))
            else:
                vectors.append(vector)
                parts.append(self._shared(around))
        rows = numpy.cumsum([type(part) is Around for part in parts]) - 1
        self._batches[number:] = [_Batch(parts, _joined(vectors), rows)]

    def _shared(self, around: Around) -> Around:
        """Return what stands around a vector, one object for many rows."""
        return self._heads.setdefault(around, around) if len(self._heads) < _HEADS else around

    def __getitem__(self, slot: int) -> str:
        batch, at = self._batches[slot // AT_ONCE], slot % AT_ONCE
        part = batch.parts[at]
        if type(part) is Around:
            before, after, written = part
            part = before + written(batch.matrix[batch.rows[at]]) + after
        return str(part, "utf-8", "replace")

    def at(self, slots: Iterable[int], default: Any) -> Iterator[Any]:
        """Yield the bodies at these slots, each made anew."""
        return (default if slot == NO_SLOT else self[slot] for slot in slots)

    def before(self, other: VectorBodies, batches: int) -> VectorBodies:
        """Return these bodies with those of another column behind them."""
        return VectorBodies(self._batches[:batches] + other._batches)

    def vectors(self, slots: Sequence[int], are_ok: Sequence[bool]) -> Vectors:
        """Return the vectors at these slots, of the rows that are ok, as a matrix in the rows' order.

        Where it has all vectors of a batch, the batch is a part of it from then on: nothing is held twice.
        """
        import numpy  # noqa: PLC0415 - loaded where there are columns

        if self._made is not None and self._made[0] is slots:
            return self._made[1]
        at, present = numpy.array(slots, numpy.int64), numpy.array(are_ok, bool)
        sizes = {batch.matrix.shape[1] for batch in self._batches if len(batch.matrix)}
        if len(sizes) != 1 or not self._has_all(at[present]):
            texts = zip(are_ok, self.at(slots, None), strict=True)
            return Vectors.of(vector_of(embedding_in(_read(body))) if ok else None for ok, body in texts)
        matrix = numpy.empty((len(at), *sizes), numpy.float32)
        order = numpy.argsort(numpy.where(present, at, -1), kind="stable")[len(at) - int(present.sum()) :]
        matrix[~present] = numpy.nan
        bounds = numpy.searchsorted(at[order], numpy.arange(len(self._batches) + 1) * AT_ONCE)
        for number, batch in enumerate(self._batches):
            self._move(batch, order[bounds[number] : bounds[number + 1]], at, matrix)
        shown = matrix.view()
        shown.flags.writeable = False
        self._made = slots, Vectors(shown, present)
        return self._made[1]

    def _has_all(self, slots: Any) -> bool:
        """Check whether each of these is kept as a vector."""
        return all(type(self._batches[slot // AT_ONCE].parts[slot % AT_ONCE]) is Around for slot in slots.tolist())

    def _move(self, batch: _Batch, rows: Any, at: Any, matrix: Any) -> None:
        """Copy the vectors of a batch to their rows of a matrix; where it has all of them, have the batch use that."""
        import numpy  # noqa: PLC0415 - loaded where there are columns

        places = at[rows] % AT_ONCE
        kept = batch.rows[places]
        ends = [*(numpy.flatnonzero((numpy.diff(rows) != 1) | (numpy.diff(kept) != 1)) + 1).tolist(), len(rows)]
        start = 0
        for end in ends if len(ends) * _LONG_RUNS < len(rows) else ():  # rows that came together stand together
            matrix[rows[start] : rows[start] + end - start] = batch.matrix[kept[start] : kept[start] + end - start]
            start = end
        if start < len(rows):
            matrix[rows] = batch.matrix[kept]
        if len(numpy.unique(places)) == sum(type(part) is Around for part in batch.parts):
            moved = numpy.zeros(len(batch.parts), numpy.int64)
            moved[places] = rows
            batch.matrix, batch.rows = matrix, moved


def _joined(vectors: list[Any]) -> Any:
    """Return vectors as a matrix, whose memory is the system's again as soon as nobody has it."""
    import numpy  # noqa: PLC0415 - loaded where there are answers

    if not vectors:
        return numpy.empty((0, 0), numpy.float32)
    made = numpy.frombuffer(mmap(-1, 4 * len(vectors) * len(vectors[0])), numpy.float32)
    return numpy.concatenate(vectors, out=made).reshape(len(vectors), -1)


def as_base64(vector: Any) -> bytes:
    """Return a vector as base64."""
    from pybase64 import b64encode  # noqa: PLC0415 - loaded where there are answers

    return b64encode(vector)


def _doubles(vector: Any) -> bytes:
    return orjson.dumps(vector.astype(float).tolist())


def _floats(vector: Any) -> bytes:
    return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)


def _read(body: Any) -> Any:
    try:
        return orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        return None


def _taken_apart(data: bytes) -> tuple[Any, Any]:
    """Return the vector of a body, what stands before and after it, and how it is written; None where that fails.

    What is put together again is compared: nothing of a body may get lost.
    """
    start = data.find(_FIELD)
    if start < 0 or data.find(_FIELD, start + 1) >= 0:
        return None, None
    start += len(_FIELD)
    start += data[start : start + 1] == b" "
    is_text = data[start : start + 1] == b'"'
    start += is_text
    end = data.find(b'"' if is_text else b"]", start) + (not is_text)
    told = data[start:end]
    vector = vector_of(told.decode("latin-1") if is_text else _read(told))
    for written in () if vector is None else (as_base64,) if is_text else (_doubles, _floats):
        if written(vector) == told:
            return vector, Around(data[:start], data[end:], written)
    return None, None
