"""Windows of a run that goes on where another one ended: what that has finished makes way for what is to be sent."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from itertools import chain, compress, islice
from typing import TYPE_CHECKING, Any

from .. import tables
from ..engine import policy
from ..engine.calls import Call
from ..engine.journal.batch_marks import REJECTED
from ..engine.outcomes.assembly import choices_asked
from ..engine.sink import BREATH, rejected
from ..errors import JournalError, TableError
from .windows import Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..engine.journal.journal import Row
    from ..engine.journal.recorder import JournalRecorder
    from ..engine.sink import End, Source
    from ..tables import Spill, TableView
    from .windows import Make

_AT_A_TURN = 256  # rows that come to their ends between two looks at what is in flight
_MEANWHILE = 64  # while what is to be sent is looked for
_BATCHES = 16  # that are put off by their marks between two turns


class LateBatch:
    """A batch whose rows all have ends of an earlier run, as far as it was looked at: their places in the journal."""

    __slots__ = ("call", "check", "choices", "kept", "number", "places", "start", "view")

    def __init__(self, number: int, start: int, view: TableView) -> None:
        self.number, self.start = number, start
        self.view: TableView | None = view
        self.places: Sequence[int] = array("I")
        self.call: Call | None = None  # as all of its rows are judged
        self.choices = 0
        self.kept: Any = None  # where its configuration is in the file, unless it is read again
        self.check: int | None = None  # of all that it held at the first reading

    def is_like(self, call: Call) -> bool:
        """Check whether the answer of a row is judged as the others are."""
        body = call.body
        choices = choices_asked(body) if b'"n"' in body or b'"prompt"' in body else 1
        if self.call is None:
            self.call, self.choices = call._replace(body=b'{"n":%d}' % choices), choices
        return choices == self.choices


class LateWindows(Windows):
    """Windows that put off batches of which an earlier run has finished every row.

    Their configuration waits in the file, or in a source that is read `again`, and their answers in the journal, until
    they are the next to be handed out: then some of their rows end at each turn of the loop, while rows are sent.
    """

    def __init__(
        self,
        make: Make,
        spill: Spill,
        window: int,
        most: int,
        recorder: JournalRecorder,
        is_stopped: Callable[[], bool],
        prepare: Callable[[TableView], Iterator[Any]],
        again: Iterator[TableView] | None,
    ) -> None:
        super().__init__(make, spill, window, most)
        self._recorder, self._is_stopped, self._prepare = recorder, is_stopped, prepare
        self._again, self._read = again, 0  # the batches of the source once more, and how many were read so
        self.undecided: LateBatch | None = None  # the one whose rows are looked up
        self._late: deque[LateBatch] = deque()
        self._coming: Iterator[tuple[int, End]] | None = None  # the ends of the batch whose turn it is
        self._left = 0  # how many of them
        self._looked_up = self._breath = 0
        self._has_looked_up_all = False
        self.failure: JournalError | None = None

    @property
    def room(self) -> int:
        """How many rows may have begun and not ended: beyond the limit, none before what was put off has left."""
        is_full = self._spill.bytes >= self._most and self.is_due
        return 0 if is_full or self._breath > 1 else super().room

    def begin(self, view: TableView) -> None:
        """Begin a batch, of which it is not known yet whether anything is to be sent."""
        if self.may_put_off():
            self.undecided = self._next(view)
        else:
            super().begin(view)

    def may_put_off(self) -> bool:
        """Check whether one more batch may be put off."""
        return not self._is_stopped() and self._spill.bytes < self._most

    def put_off(self, view: TableView, call: Call, places: Sequence[int]) -> bool:
        """Put off a batch whose rows are at these places, and their calls as this one is; return as `unfinished` does.

        Rows that are rejected have no place.
        """
        late = self._next(view)
        late.is_like(call)
        late.places = places
        self._looked_up += policy.PULLED_AT_ONCE // _BATCHES
        return self._waits(late, view)

    def _next(self, view: TableView) -> LateBatch:
        late = LateBatch(self._begun, self._rows, view)
        self._begun += 1
        self._rows += len(view)
        return late

    def accept(self, row: int, end: End) -> None:
        """Accept the end of a row."""
        if end is BREATH:
            self._breath, self._looked_up = 2, 0
        else:
            super().accept(row, end)

    def finish(self, reason: str | None) -> None:
        """End the rows of open batches that never began."""
        if self.undecided is not None:
            self._open_undecided()
        if self._coming is not None:
            self.bring(sys.maxsize)
        super().finish(reason)

    def turn(self) -> None:
        """Bring some of the rows that were put off to their ends; the source may go on."""
        self._breath = max(0, self._breath - 1)
        if self.is_due:
            seeks = self._breath and not self._has_looked_up_all
            self.bring(sys.maxsize if not self._handed_out else _MEANWHILE if seeks else _AT_A_TURN)

    def has_work(self) -> bool:
        """Check whether there is something to do before anything more comes."""
        return self._breath > 0 or self.has_news() or self.is_due

    @property
    def is_due(self) -> bool:
        """Whether the next batch to be handed out was put off."""
        is_next = self._coming is not None or (bool(self._late) and self._late[0].number == self._handed_out)
        return is_next and self.failure is None

    def bring(self, most: int = _AT_A_TURN) -> None:
        """Bring so many rows of the next batch to the ends that an earlier run has of them."""
        try:
            if self._coming is None:
                self._coming = self._opened(self._late.popleft())
            for row, end in islice(self._coming, most):
                self._left -= 1
                super().accept(row, end)
        except JournalError as error:
            self.failure, self._left = error, 0
        if not self._left:
            self._coming = None

    def unfinished(self, calls: Source) -> Iterator[Any]:
        """Yield what calls of the whole table give, but for the rows of batches that are put off."""
        recorder = self._recorder
        for item in calls:
            late = self.undecided
            if late is None:
                yield recorder.recall(item) if isinstance(item, Call) else recorder.passed(item)
            elif not isinstance(item, Call):
                yield from self._decided(late, recorder.passed(item))
            else:
                key, row = recorder.looked_up(item)
                if row is None or not late.is_like(item) or not recorder.reuses(row):
                    yield from self._decided(late, recorder.recalled_as(item, key, row))
                elif self._has_put_off(late, item.key, row):
                    yield late.start, BREATH
            if self.failure is not None:
                raise self.failure
        self._has_looked_up_all = True
        while self._coming is not None or self._late:
            if self.failure is not None or self._is_stopped():
                return
            yield 0, BREATH

    def _has_put_off(self, late: LateBatch, key: int, row: Row) -> bool:
        """Add a row to those that end later; return whether the loop is to take a turn now."""
        late.places.append(row[0])  # type: ignore[attr-defined] # an array by now
        if self._recorder.places is not None:
            self._recorder.places.put(key, row[0], row[1:3])
        self._looked_up += 1
        if late.view is None or len(late.places) < len(late.view):
            return False
        in_a_row = range(late.places[0], late.places[0] + len(late.places))
        late.places = in_a_row if late.places == array("I", in_a_row) else late.places
        self.undecided = None
        return self._waits(late, late.view)

    def _waits(self, late: LateBatch, view: TableView) -> bool:
        """Have a batch wait for its turn; return whether the loop is to take one now."""
        late.check = None if self._again is None else tables.check_of(view)
        late.kept, late.view = self._spill.put(view.table) if late.check is None else None, None
        self._late.append(late)
        return not self._handed_out or self._looked_up >= policy.PULLED_AT_ONCE

    def _decided(self, late: LateBatch, item: Any) -> Iterator[Any]:
        """Yield what is known of a batch that has a row which is not put off, up to that row's own item."""
        self._open_undecided()
        if late.call is not None:
            rows = range(late.start, late.start + len(late.places))
            yield from self._recorder.ends(late.call, rows, late.places)
        yield item

    def _open_undecided(self) -> None:
        late, self.undecided = self.undecided, None
        if late is not None and late.view is not None:
            self._open(late.number, late.start, late.view)

    def _opened(self, late: LateBatch) -> Iterator[tuple[int, End]]:
        """Open a batch that was put off, and return the ends of its rows."""
        view = self._view_of(late)
        self._open(late.number, late.start, view)
        self._left = len(late.places)
        if late.call is None:
            return iter(())
        rows: Sequence[int] = range(late.start, late.start + len(view))
        if isinstance(late.places, range) or REJECTED not in late.places:
            return self._recorder.ends(late.call, rows, late.places)
        has_end = [place != REJECTED for place in late.places]
        known = self._recorder.ends(late.call, [*compress(rows, has_end)], [*compress(late.places, has_end)])
        return chain(known, self._rejected(view, late.start, [at for at, each in enumerate(has_end) if not each]))

    def _view_of(self, late: LateBatch) -> TableView:
        """Return the configuration of a batch that was put off."""
        if self._again is None or late.kept is not None:
            return tables.view(self._spill.take(late.kept))
        view = next(islice(self._again, late.number - self._read, None), None)
        self._read = late.number + 1
        if view is None or len(view) != len(late.places) or tables.check_of(view) != late.check:
            why = "rows or values of the table were changed while it was read"
            raise TableError(f"{why}; run again: what was answered is kept")
        return view

    def _rejected(self, view: TableView, start: int, rows: Sequence[int]) -> Iterator[tuple[int, End]]:
        """Yield the ends of a batch's rows that are rejected, which are made again to say why."""
        for at, why in zip(rows, self._prepare(tables.view(view.take(rows))), strict=True):
            yield start + at, rejected(why)
