"""Rows that ask a node the same: the first to come is sent, and the others have its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engine.sink import SharedEnd
from ..engine.twins import Alike, Twin

if TYPE_CHECKING:
    from ..engine.journal import Keys
    from ..engine.journal.kept_ends import KeptEnds
    from ..engine.journal.recorder import Recorder
    from ..engine.sink import End
    from .passage import Passage

_MOST = 20_000  # rows that wait for others, from which on no fresh one begins


class StepTwins(Alike):
    """Knows of one node's rows which ask the same, and the ends that others may share; see `engine.twins`."""

    def __init__(self, keys: Keys, recorder: Recorder, ends: KeptEnds) -> None:
        super().__init__(keys, recorder)
        self._ends = ends
        self._waiting: dict[int, list[Passage]] = {}  # by the rows that they wait for
        self._waits = 0
        self.shared = self.shared_tokens = 0

    def is_full(self) -> bool:
        """Check whether so many rows wait for others that no fresh one is to begin."""
        return self._waits >= _MOST

    def end_of(self, passage: Passage, end: Any) -> End | None:
        """Return the end of a row; None of one that waits for another's."""
        if type(end) is not Twin:
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
