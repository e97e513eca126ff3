"""Twins: rows that ask the same, of which one is sent, and the others have its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from .calls import Call
from .first_rows import FirstRows
from .sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .journal import Keys
    from .journal.recorder import Recorder
    from .sink import End, Source


class SharingSink(Sink, Protocol):
    """A sink in which rows can have the ends of others."""

    def share(self, row: int, first: int, known: Any) -> None:
        """End a row as its first twin has ended, of which this is known; without its attempts and tokens."""


class Ends(Protocol):
    """Knows of the ends of rows what others share."""

    def put(self, row: int, end: End) -> Any:
        """Keep the end of a row, and return what `SharingSink.share` is told of it."""

    def get(self, row: int) -> Any:
        """Return what was kept of a row; None where it has no end by now."""


class Outcomes:
    """Knows the outcomes of rows whose ends the sink keeps: a byte a row."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}  # from 1 on
        self._codes = bytearray()

    def put(self, row: int, end: End) -> str:
        """Keep the outcome of a row, and return it."""
        if row >= len(self._codes):
            self._codes.extend(bytes(row + 1 - len(self._codes)))
        outcome = str(end[0])
        self._codes[row] = self._names.setdefault(outcome, len(self._names) + 1)
        return outcome

    def get(self, row: int) -> str | None:
        """Return the outcome of a row."""
        code = self._codes[row] if row < len(self._codes) else 0
        return [*self._names][code - 1] if code else None


class Twin(NamedTuple):
    """Stands in the place of a row's end: that of its first twin is its own."""

    first: int


class Alike:
    """Tells the first of equal calls from the others, which have its end.

    `are_sampled` says whether a row shares an answer that might have been another.
    """

    def __init__(self, keys: Keys, recorder: Recorder) -> None:
        self._keys, self._recorder, self._firsts = keys, recorder, FirstRows()
        self.are_sampled = False

    def told_apart(self, row: int, call: Call, item: Any) -> Any:
        """Return what becomes of a row's call: `item`, or, where that is to be sent, the end of an equal row before."""
        first = self._firsts.first(self._keys.key(call.body, getattr(call.scope, "place", b"")).digest, row)
        if first == row or type(item) is not Call:
            return item
        self._recorder.forget(call.key)
        self.are_sampled = self.are_sampled or _is_sampled(call.body)
        return call.key, Twin(first)


class Twins(Alike):
    """A source after another one, of unlike calls alone, and a sink before another one.

    A row with an answer of its own in the journal keeps that. The journal has the first of equal rows, and no other: so
    a run that sends each finds the first one's answer and asks for the others'. What is kept is 15 bytes for each
    request, and what `ends` keeps.
    """

    def __init__(self, sink: SharingSink, keys: Keys, recorder: Recorder, ends: Ends | None = None) -> None:
        super().__init__(keys, recorder)
        self._sink, self._ends = sink, Outcomes() if ends is None else ends
        self._waiting: dict[int, list[int]] = {}

    def unlike(self, source: Source) -> Iterator[Any]:
        """Yield what a source gives: of equal calls the first, or its end in an earlier run."""
        recall = self._recorder.recall
        for item in source:
            yield self.told_apart(item.key, item, recall(item)) if type(item) is Call else item

    @property
    def room(self) -> int:
        """How many rows may have begun and not ended."""
        return self._sink.room

    def accept(self, row: int, end: End | Twin) -> None:
        """Accept the end of a row, and of those that ask the same."""
        if type(end) is Twin:
            self._follow(row, end.first)
            return
        self._sink.accept(row, end)  # type: ignore[arg-type] # there are but two kinds
        known = self._ends.put(row, end)  # type: ignore[arg-type]
        for follower in self._waiting.pop(row, ()):
            self._sink.share(follower, row, known)

    def _follow(self, row: int, first: int) -> None:
        """End a row as its first twin has ended; have it wait where that has not."""
        known = self._ends.get(first)
        if known is not None:
            self._sink.share(row, first, known)
        else:
            self._waiting.setdefault(first, []).append(row)

    def finish(self, reason: str | None) -> None:
        """End what never began, and with it what waits for it."""
        self._sink.finish(reason)


def _is_sampled(body: bytes) -> bool:
    """Check whether asking again might bring another answer."""
    asked = orjson.loads(body)
    return (asked.get("n") or 1) != 1 or asked.get("temperature") != 0 or asked.get("seed") is None
