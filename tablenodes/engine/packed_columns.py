"""Columns of the ends of rows that take little memory: the values as they came, each found by its row's slot."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, chain, repeat
from typing import Any, Protocol

AT_ONCE = 1024  # values that are packed together, a power of 2
NO_SLOT = -1
_END = array("i", [NO_SLOT]).tobytes()
_AS_THEY_ARE = 2**24  # bytes of texts of a run that are not compressed: of a short run all
_PIECE = 2**16  # bytes of texts that are compressed together
_OPEN = 64  # pieces that are open at a time where all texts are read
_SAMPLE = 16  # texts that say whether those of a batch differ
_CODEC = "lz4_raw"  # pyarrow's name: what costs a run least


class Packed(Protocol):
    """Values by their slots, which count them as they came."""

    def put(self, number: int, values: Sequence[Any], rows: Sequence[int]) -> None:
        """Add the values of a batch of `AT_ONCE`, the last of which may be smaller, in place of those from it on.

        They are of these rows of the table.
        """

    def __getitem__(self, slot: int) -> Any: ...

    def at(self, slots: Iterable[int], default: Any) -> Iterator[Any]:
        """Return the values at these slots; `default` where there is none."""

    def before(self, other: Any, batches: int) -> Packed:
        """Return these values, of so many batches, with those of another column of the same kind behind them."""


class Column(Sequence[Any]):
    """The values of one kind by row; of a row without a slot it is `default`."""

    __slots__ = ("default", "packed", "slots")

    def __init__(self, slots: array[int], packed: Packed, default: Any) -> None:
        self.slots, self.packed, self.default = slots, packed, default

    @classmethod
    def of(cls, values: Sequence[Any]) -> Column:
        """Return the column of these values."""
        packed = Values()
        for number, start in enumerate(range(0, len(values), AT_ONCE)):
            packed.put(number, values[start : start + AT_ONCE], ())
        return cls(array("i", range(len(values))), packed, None)

    def __len__(self) -> int:
        return len(self.slots)

    def __getitem__(self, row: Any) -> Any:
        slot = self.slots[row]
        if isinstance(row, slice):
            return Column(slot, self.packed, self.default)
        return self.default if slot == NO_SLOT else self.packed[slot]

    def __iter__(self) -> Iterator[Any]:
        return self.packed.at(self.slots, self.default)

    @property
    def total(self) -> int:
        """The sum of the numbers of a run; None counts as 0."""
        return self.packed.total  # type: ignore[attr-defined,no-any-return] # texts have none


class Values:
    """Values of any kind but long texts: of a batch that are alike, one is kept; numbers without an object each."""

    def __init__(self, batches: list[Sequence[Any]] | None = None) -> None:
        self._batches = batches or []

    def put(self, number: int, values: Sequence[Any], rows: Sequence[int]) -> None:
        """Add a batch of values in place of those from it on."""
        self._batches[number:] = [_packed(values)]

    def __getitem__(self, slot: int) -> Any:
        return self._batches[slot // AT_ONCE][slot % AT_ONCE]

    def at(self, slots: Iterable[int], default: Any) -> Iterator[Any]:
        """Return the values at these slots."""
        if (alike := self._alike()) is not None and type(slots) is array and _END not in slots.tobytes():
            return repeat(alike.value, len(slots))
        flat = [*chain.from_iterable(self._batches), default]  # the last is at `NO_SLOT`
        return map(flat.__getitem__, slots)

    def _alike(self) -> _Same | None:
        """Return a batch whose value is that of all others; None where they differ."""
        first = self._batches[0] if self._batches else None
        if type(first) is not _Same:
            return None
        is_alike = all(type(each) is _Same and each.value == first.value for each in self._batches)
        return first if is_alike else None

    @property
    def total(self) -> int:
        """The sum of all values; None counts as 0."""
        return sum(each.total if type(each) is _Same else sum(filter(None, each)) for each in self._batches)

    def before(self, other: Values, batches: int) -> Values:
        """Return these values with those of another column behind them."""
        whole = [*self._batches]
        if whole and len(whole[-1]) < AT_ONCE:
            whole[-1] = (*whole[-1], *repeat(None, AT_ONCE - len(whole[-1])))
        return Values(whole + other._batches)


class Texts:
    """Texts that come as bytes: many in one piece, which is compressed where a run has many and where it pays."""

    def __init__(self, bytes_before: int = 0) -> None:
        self._firsts: list[int] = []  # of each piece the slot of its first text
        self._pieces: list[tuple[bytes, int, array[int]]] = []  # the bytes; their size once unpacked; the texts' ends
        self._bytes = bytes_before
        self._last: tuple[int, list[str]] | None = None

    def put(self, number: int, values: Sequence[bytes], rows: Sequence[int]) -> None:
        """Add a batch of texts in place of those from it on."""
        first, start, base = number * AT_ONCE, 0, 0
        at = bisect_left(self._firsts, first)
        del self._firsts[at:], self._pieces[at:]
        ends = [*accumulate(map(len, values))]
        while start < len(values):
            stop = max(start + 1, bisect_right(ends, base + _PIECE))
            own = array("Q", [end - base for end in ends[start:stop]]) if base else array("Q", ends[:stop])
            self._pieces.append((*self._shortened(b"".join(values[start:stop])), own))
            self._firsts.append(first + start)
            start, base = stop, ends[stop - 1]

    def _shortened(self, texts: bytes) -> tuple[bytes, int]:
        """Return bytes as they are kept, and how many they were where they are compressed, else 0."""
        self._bytes += len(texts)
        if self._bytes > _AS_THEY_ARE:
            from ..tables.compression import compressed  # noqa: PLC0415 - loads pyarrow

            short = compressed(_CODEC, texts)
            if len(short) < len(texts):
                return short, len(texts)
        return texts, 0

    def _opened(self, number: int) -> list[str]:
        """Return the texts of a piece."""
        content, size, ends = self._pieces[number]
        if size:
            from ..tables.compression import decompressed  # noqa: PLC0415 - loads pyarrow

            content = decompressed(_CODEC, content, size)
        starts = chain((0,), ends)
        if content.isascii():  # as nearly all are: a text is cut out of one, without a decoder for each
            return [*map(content.decode("ascii").__getitem__, map(slice, starts, ends))]
        return [content[start:end].decode("utf-8", "replace") for start, end in zip(starts, ends, strict=False)]

    def __getitem__(self, slot: int) -> str:
        number = bisect_right(self._firsts, slot) - 1
        last = self._last
        if last is None or last[0] != number:  # rows beside each other are mostly in one piece
            self._last = last = number, self._opened(number)
        return last[1][slot - self._firsts[number]]

    def at(self, slots: Iterable[int], default: Any) -> Iterator[Any]:
        """Yield the texts at these slots."""
        opened: dict[int, list[str]] = {}
        texts: list[str] = []
        first = stop = 0
        for slot in slots:
            if first <= slot < stop:
                yield texts[slot - first]
                continue
            if slot == NO_SLOT:
                yield default
                continue
            number = bisect_right(self._firsts, slot) - 1
            texts = opened.pop(number, []) or self._opened(number)
            opened[number] = texts  # the piece that was used last is the last one
            if len(opened) > _OPEN:
                del opened[next(iter(opened))]
            first = self._firsts[number]
            stop = first + len(texts)
            yield texts[slot - first]

    def before(self, other: Texts, batches: int) -> Texts:
        """Return these texts with those of another column behind them."""
        made = Texts(self._bytes + other._bytes)
        made._firsts = [*self._firsts, *(batches * AT_ONCE + first for first in other._firsts)]
        made._pieces = self._pieces + other._pieces
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}


class _Same(Sequence[Any]):
    """One value, so many times."""

    __slots__ = ("_count", "value")

    def __init__(self, value: Any, count: int) -> None:
        self.value, self._count = value, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, _: Any) -> Any:
        return self.value

    def __iter__(self) -> Iterator[Any]:
        return repeat(self.value, self._count)

    @property
    def total(self) -> int:
        """The sum of the values; None counts as 0."""
        return (self.value or 0) * self._count


class _Lines(Sequence[Any]):
    """Texts of one line each, as one text."""

    __slots__ = ("_count", "_joined")

    def __init__(self, joined: str, count: int) -> None:
        self._joined, self._count = joined, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: Any) -> Any:
        return self._joined.split("\n")[at]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._joined.split("\n"))


def _packed(values: Sequence[Any]) -> Sequence[Any]:
    """Return values, which are of one type or None, in a form that takes less memory."""
    first, count = values[0], len(values)
    if values[-1] == first and values.count(first) == count:
        return _Same(first, count)
    types = {*map(type, values)}
    if types in ({float}, {int}):
        with suppress(OverflowError):  # of an integer of more than 64 bits
            return array("d" if type(first) is float else "q", values)
    if not types <= {str, type(None)}:
        return values
    if types == {str} and len({*values[:_SAMPLE]}) == min(count, _SAMPLE):
        joined = "\n".join(values)
        if joined.count("\n") == count - 1:
            return _Lines(joined, count)
    known = {value: value for value in values}
    return tuple(map(known.get, values))
