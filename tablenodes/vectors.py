"""Vectors: a column of them as one matrix, and how the JSON of an embedding is read."""

from __future__ import annotations

from binascii import Error
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

NUMBER_BYTES = 4
_NUMBERS = frozenset((int, float))


class Vectors(Sequence[Any]):
    """A column of vectors of one dimension, of 32-bit floats, as lists; None where a row has none.

    `matrix` has a row for each, NaN where there is none; `present` says where there is one.
    """

    def __init__(self, matrix: Any, present: Any) -> None:
        self.matrix, self.present = matrix, present

    @classmethod
    def of(cls, found: Iterable[Any]) -> Vectors:
        """Return the column of these arrays, None where there is none; one of another dimension is none."""
        import numpy  # noqa: PLC0415 - loaded where there are columns

        arrays = [*found]
        size = next((len(each) for each in arrays if each is not None), 0)
        matrix = numpy.full((len(arrays), size), numpy.nan, numpy.float32)
        present = numpy.array([each is not None and len(each) == size for each in arrays], bool)
        for row in numpy.flatnonzero(present):
            matrix[row] = arrays[row]
        return cls(matrix, present)

    def __len__(self) -> int:
        return len(self.present)

    @overload
    def __getitem__(self, row: int) -> Any: ...
    @overload
    def __getitem__(self, row: slice) -> list[Any]: ...
    def __getitem__(self, row: int | slice) -> Any:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        return self.matrix[row].tolist() if self.present[row] else None

    def __iter__(self) -> Iterator[Any]:
        return map(self.__getitem__, range(len(self)))


def vector_of(value: Any) -> Any:
    """Return an embedding, base64 or a list of numbers, as an array of 32-bit floats; None for anything else.

    A number that is not finite is none of a vector's.
    """
    import numpy  # noqa: PLC0415 - loaded where there are answers
    from pybase64 import b64decode  # noqa: PLC0415 - and here

    if type(value) is str:
        try:
            data = b64decode(value, validate=True)
        except (Error, ValueError):
            return None
        made = numpy.frombuffer(data, "<f4") if data and len(data) % NUMBER_BYTES == 0 else None
    elif type(value) is list and value and _NUMBERS.issuperset(map(type, value)):
        with numpy.errstate(over="ignore"):
            made = numpy.array(value, numpy.float64).astype("<f4")
    else:
        return None
    return made if made is not None and numpy.isfinite(made).all() else None


def embedding_in(document: Any) -> Any:
    """Return the embedding of an answer's first input, as it stands in its JSON; None where there is none."""
    data = document.get("data") if type(document) is dict else None
    items = [each for each in data if type(each) is dict] if type(data) is list else []
    if len(items) > 1:
        items = [each for each in items if each.get("index") == 0]
    return items[0].get("embedding") if items else None
