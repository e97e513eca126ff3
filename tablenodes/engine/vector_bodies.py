"""The bodies of answers with a vector: kept as the vector and what stands around it, a third less than as text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from ..vectors import NUMBER_BYTES, Vectors, embedding_in, vector_of
from .packed_columns import AT_ONCE, NO_SLOT

_FIELD = b'"embedding":'
_HEADS = 4096  # that are kept once, however many rows have them


class Around(NamedTuple):
    """What stands around a vector in a body, and what returns how the vector is written.

    It stands for the whole body where the vector is at its row of the run's matrix.
    """

    before: bytes
    after: bytes
    written: Callable[[Any], bytes]


class _Batch(NamedTuple):
    """The bodies of some ends: what stands around each vector, or the whole; of each vector its row of a matrix."""

    parts: list[Any]
    matrix: Any
    rows: Any  # -1 where the whole is kept


class VectorBodies:
    """Bodies that come as bytes: each is kept as its vector where the two are the same to the byte, else as it is.

    The vectors of a run's rows are those of one `matrix`, which is made with the first of them.
    """

    def __init__(self, rows: int = 0, batches: list[_Batch] | None = None) -> None:
        self._count, self._batches = rows, batches or []
        self.matrix: Any = None
        self._bytes: memoryview | None = None
        self._heads: dict[Around, Around] = {}
        self._made: tuple[Any, Vectors] | None = None  # of which slots, and their vectors

    def room(self, size: int) -> memoryview | None:
        """Return the bytes of the matrix, for vectors of this size; None where it has none for them."""
        if self.matrix is None and self._count and size:
            self.matrix = _new_matrix(self._count, size)
            self._bytes = memoryview(self.matrix).cast("B")
        return self._bytes if self.matrix is not None and self.matrix.shape[1] == size else None

    def place(self, rows: Sequence[int], vectors: Iterable[bytes]) -> bool:
        """Write vectors, for which there is room, to these rows of the matrix; return whether all are finite."""
        import numpy  # noqa: PLC0415 - loaded where there are answers

        written, matrix = self._bytes, self.matrix
        size = matrix.itemsize * matrix.shape[1]
        for row, vector in zip(rows, vectors, strict=True):
            start = row * size
            written[start : start + size] = vector  # type: ignore[index] # there is room
        first, last = rows[0], rows[-1] + 1
        placed = matrix[first:last] if last - first == len(rows) else matrix[[*rows]]
        return bool(numpy.isfinite(placed).all())

    def body(self, around: Around, row: int) -> bytes:
        """Return the body of a row whose vector is in the matrix."""
        return _whole(around, self.matrix[row])

    def put(self, number: int, values: Sequence[Any], rows: Sequence[int]) -> None:
        """Add a batch of bodies in place of those from it on, and their vectors to these rows."""
        import numpy  # noqa: PLC0415 - loaded where there are answers

        parts: list[Any] = []
        for data, row in zip(values, rows, strict=True):
            if type(data) is Around:
                parts.append(self._shared(data))
            else:
                vector, around = _taken_apart(data)
                fits = vector is not None and self.room(len(vector)) is not None
                if fits:
                    self.matrix[row] = vector
                parts.append(self._shared(around) if fits else data)
        own = [row if type(part) is Around else -1 for part, row in zip(parts, rows, strict=True)]
        own += [-1] * (AT_ONCE - len(own))
        self._batches[number:] = [_Batch(parts, self.matrix, numpy.array(own, numpy.int64))]

    def _shared(self, around: Around) -> Around:
        """Return what stands around a vector, one object for many rows."""
        return self._heads.setdefault(around, around) if len(self._heads) < _HEADS else around

    def __getitem__(self, slot: int) -> str:
        batch, at = self._batches[slot // AT_ONCE], slot % AT_ONCE
        part = batch.parts[at]
        if type(part) is Around:
            part = _whole(part, batch.matrix[batch.rows[at]])
        return str(part, "utf-8", "replace")

    def at(self, slots: Iterable[int], default: Any) -> Iterator[Any]:
        """Yield the bodies at these slots, each made anew."""
        return (default if slot == NO_SLOT else self[slot] for slot in slots)

    def before(self, other: VectorBodies, batches: int) -> VectorBodies:
        """Return these bodies with those of another column behind them."""
        return VectorBodies(0, self._batches[:batches] + other._batches)

    def vectors(self, slots: Sequence[int], are_ok: Sequence[bool]) -> Vectors:
        """Return the vectors at these slots, of the rows that are ok, as a matrix in the rows' order.

        It is that of the run's where no row of it is another's: nothing is held twice.
        """
        import numpy  # noqa: PLC0415 - loaded where there are columns

        if self._made is not None and self._made[0] is slots:
            return self._made[1]
        at, present = numpy.array(slots, numpy.int64), numpy.array(are_ok, bool)
        places = numpy.concatenate([numpy.empty(0, numpy.int64), *(batch.rows for batch in self._batches)])
        sizes = {batch.matrix.shape[1] for batch in self._batches if batch.matrix is not None}
        if len(sizes) != 1 or (places[at[present]] < 0).any():
            texts = zip(are_ok, self.at(slots, None), strict=True)
            return Vectors.of(vector_of(embedding_in(_read(body))) if ok else None for ok, body in texts)
        matrix = self._in_place(at, present, places)
        if matrix is None:
            matrix = self._moved(at, present, *sizes)
        shown = matrix.view()
        shown.flags.writeable = False
        self._made = slots, Vectors(shown, present)
        return self._made[1]

    def _in_place(self, at: Any, present: Any, places: Any) -> Any:
        """Return the run's matrix with all vectors at their rows; None where it has not all, or others too."""
        import numpy  # noqa: PLC0415 - loaded where there are columns

        matrix = self.matrix
        if matrix is None or len(matrix) != len(at) or any(batch.matrix is not matrix for batch in self._batches):
            return None
        rows = numpy.flatnonzero(present)
        found = places[at[rows]]
        is_free = numpy.ones(len(at), bool)
        is_free[places[places >= 0]] = False
        is_lent = found != rows
        if not (is_free[~present].all() and is_free[rows[is_lent]].all()):
            return None
        if is_lent.any():
            matrix[rows[is_lent]] = matrix[found[is_lent]]
        matrix[~present] = numpy.nan
        return matrix

    def _moved(self, at: Any, present: Any, size: int) -> Any:
        """Return a matrix to which all vectors are copied; batches of which it has all vectors use it from then on."""
        import numpy  # noqa: PLC0415 - loaded where there are columns

        matrix = numpy.full((len(at), size), numpy.nan, "<f4")
        own = numpy.flatnonzero(present)
        own = own[numpy.argsort(at[own], kind="stable")]
        bounds = numpy.searchsorted(at[own], numpy.arange(len(self._batches) + 1) * AT_ONCE)
        for number, (parts, source, kept) in enumerate(self._batches):
            rows = own[bounds[number] : bounds[number + 1]]
            places = at[rows] % AT_ONCE
            if len(rows):
                matrix[rows] = source[kept[places]]
            moved = numpy.full(AT_ONCE, -1, numpy.int64)
            moved[places] = rows
            if (kept >= 0).sum() == (moved >= 0).sum():
                self._batches[number] = _Batch(parts, matrix, moved)
        self.matrix, self._bytes, self._count = None, None, 0
        return matrix

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None, "_bytes": None}


def _whole(around: Around, vector: Any) -> bytes:
    before, after, written = around
    return b"".join((before, written(vector), after))


def _new_matrix(rows: int, size: int) -> Any:
    """Return a matrix that takes memory where something is written to it, and is the system's again once nobody has it.

    numpy's own asks for huge pages, which a virtual machine may have to fetch from its host: that takes four times as
    long as to clear small ones.
    """
    import mmap  # noqa: PLC0415 - where there are vectors alone

    import numpy  # noqa: PLC0415 - and here

    private = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
    memory = mmap.mmap(-1, NUMBER_BYTES * rows * size, **private)
    return numpy.frombuffer(memory, "<f4").reshape(rows, size)


def are_finite(vectors: Iterable[bytes]) -> bool:
    """Check whether all numbers of vectors are finite."""
    import numpy  # noqa: PLC0415 - loaded where there are answers

    return bool(numpy.isfinite(numpy.frombuffer(b"".join(vectors), "<f4")).all())


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
