"""The chain of a stream's batches: each is known by what is in it and in all before it, whatever became of its rows."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, Any

from .. import tables
from ..column_names import own_name
from ..engine.journal.batch_marks import REJECTED, RowPlaces

if TYPE_CHECKING:
    from ..bodies.body_plan import BodyPlan
    from ..engine.journal.recorder import JournalRecorder
    from ..tables import TableView

_WORTH = 64  # rows of a batch from which a mark costs less than they do


class BatchChain:
    """Makes the fingerprints of batches, and marks in the journal where their rows are.

    Of equal rows each finds its own answer, so a batch is the same only behind the same ones. One whose values changed
    what a run says of its plan has no mark: it is made again, and the run says it again.
    """

    def __init__(self, identity: bytes, plan: BodyPlan, recorder: JournalRecorder) -> None:
        self._hash: Any = hashlib.sha256(identity)
        self._plan, self._journal = plan, recorder.journal
        self._columns = frozenset(map(own_name, plan.columns))
        recorder.places = self._places = RowPlaces()
        self._open: deque[_Link] = deque()  # in the table's order
        self._last = _Link(0, None)
        self._said: frozenset[str] = frozenset()

    def fingerprint(self, view: TableView) -> bytes | None:
        """Return what the next batch is known by; None where that cannot be."""
        self._compare()
        packed = None if self._hash is None else tables.bytes_of(view, self._columns)
        if packed is None:
            self._hash = None
            return None
        self._hash.update(len(packed).to_bytes(8))
        self._hash.update(packed)
        digest: bytes = self._hash.digest()
        return digest

    def begin(self, start: int, rows: int, fingerprint: bytes | None) -> None:
        """Begin a batch, which gets a mark where it has a fingerprint."""
        is_worth = fingerprint is not None and rows >= _WORTH
        if is_worth:
            self._places.begin(start, rows)
        self._last = _Link(start, fingerprint if is_worth else None)
        self._open.append(self._last)

    def leave(self) -> None:
        """Mark the next batch, whose rows have all ended, where all of them are in the journal or were rejected."""
        if not self._open:
            return
        link = self._open.popleft()
        if link is self._last:
            self._compare()
        if link.fingerprint is None:
            return
        places, keys = self._places.end(link.start)
        if link.adds_nothing and 0 not in places and places.count(REJECTED) < len(places):
            self._journal.mark(link.fingerprint, places, keys)

    def _compare(self) -> None:
        """Compare what is said of the plan with what was before the last batch."""
        said = frozenset(map(str, self._plan.noted(alike=True)))
        self._last.adds_nothing = self._last.adds_nothing and said == self._said
        self._said = said


class _Link:
    """A batch that was begun: its first row, and what it is known by, None where it gets no mark."""

    __slots__ = ("adds_nothing", "fingerprint", "start")

    def __init__(self, start: int, fingerprint: bytes | None) -> None:
        self.start, self.fingerprint, self.adds_nothing = start, fingerprint, True
