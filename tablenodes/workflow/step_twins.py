"""Rows that ask a node the same: the first to come is sent, and the others have its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..engine.calls import Call
from ..engine.first_rows import FirstRows
from ..engine.sink import SharedEnd
from ..engine.twins import is_sampled

if TYPE_CHECKING:
    from ..engine.journal import Keys
    from ..engine.journal.kept_ends import KeptEnds
    from ..engine.journal.recorder import Recorder
    from ..engine.sink import End
    from .passage import Passage

_MOST = 20_000  # rows that wait for others, from which on no fresh one begins


class _Twin(NamedTuple):
    """Stands in the place of a row's end: that of its first twin is its own."""

    first: int


class StepTwins:
    """Knows of one node's rows which ask the same, and the ends that others may share; see `engine.twins`."""

    def __init__(self, keys: Keys, ends: KeptEnds) -> None:
        self._keys, self._ends, self._firsts = keys, ends, FirstRows()
        self._waiting: dict[int, list[Passage]] = {}  # by the rows that they wait for
        self._waits = 0
        self.shared = self.shared_tokens = 0
        self.are_sampled = False

    def is_full(self) -> bool:
        """Check whether so many rows wait for others that no fresh one is to begin."""
        return self._waits >= _MOST

    def told_apart(self, row: int, call: Call, item: Any, recorder: Recorder) -> Any:
        """Return what becomes of a row's call, which is its `item` unless an earlier row asked the same."""
        first = self._firsts.first(self._keys.key(call.body, getattr(call.scope, "place", b"")).digest, row)
        if first == row or type(item) is not Call:
            return item
        recorder.forget(call.key)
        self.are_sampled = self.are_sampled or is_sampled(call.body)
        return call.key, _Twin(first)

    def end_of(self, passage: Passage, end: Any) -> End | None:
        """Return the end of a row; None of one that waits for another's."""
        if type(end) is not _Twin:
            return end  # type: ignore[no-any-return] # there are but two kinds
        known = self._ends.get(end.first)
        if known is not None:
            return self.of_another(known)
        self._waiting.setdefault(end.first, []).append(passage)
        self._waits += 1
        return None

    def of_another(self, known: End) -> SharedEnd:
        """Return the end of another row as it is shared."""
        self.shared += 1
        self.shared_tokens += known.total_tokens or 0
        return SharedEnd.of(known)

    def followers(self, row: int, end: End) -> list[Passage]:
        """Keep the end of a row, and return the rows that have waited for it."""
        if type(end) is SharedEnd:
            return []
        self._ends.put(row, end)
        found = self._waiting.pop(row, [])
        self._waits -= len(found)
        return found
