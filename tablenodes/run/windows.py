"""A sink for a table that comes in batches: each leaves once its rows have ended, in the table's order."""

from __future__ import annotations

import sys
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Protocol

from ..engine.sink import NOT_SENT, Records, SharedEnd, Tally, unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..engine.sink import End
    from ..tables import Spill, TableView

END_BYTES = 200  # bytes that what is known of an end takes besides its body


class Make(Protocol):
    """Makes the table of a batch's rows and of what became of them; `left_out` have not come to an end."""

    def __call__(self, view: TableView, records: Any, start: int, left_out: Collection[int] = ()) -> Any:
        """Return the table of a batch whose first row is at `start`."""

    def patched(self, table: Any, late: dict[int, Any], start: int) -> Any:
        """Return a table with the ends of rows that were left out."""


class _Batch:
    """A batch whose rows have begun: its positions in the whole table, and what became of those that have ended."""

    __slots__ = ("bytes", "late", "left", "number", "packed", "records", "shared", "start", "stop", "view")

    def __init__(self, number: int, start: int, view: TableView, records: Any) -> None:
        self.number, self.start, self.stop = number, start, start + len(view)
        self.view: TableView | None = view
        self.records: Any = records
        self.left, self.bytes = len(view), 0
        self.packed: Any = None
        self.late: dict[int, Any] = {}
        self.shared: set[int] = set()  # rows that have the ends of others

    def finish(self) -> None:
        """End what is known of its rows in memory."""
        self.records.finish(None)
        if self.shared:
            self.records.shared = {row: row for row in self.shared}


class Windows(Tally):
    """Takes the ends of rows in any order, and hands out whole batches in the table's.

    What waits behind a slow row is kept as tables, and beyond so many bytes, the `window`, in a file; from batches of
    which only some rows are still on their way, too. Where that file has reached its `most` bytes, no row begins.
    """

    _records: Callable[[int], Any] = Records  # what keeps the ends of a batch's rows

    def __init__(self, make: Make, spill: Spill, window: int, most: int) -> None:
        super().__init__()
        self._make, self._spill, self._window, self._most = make, spill, window, most
        self._batches: list[_Batch] = []  # that are open, in the table's order
        self._starts: list[int] = []
        self._last: _Batch | None = None
        self._done: dict[int, Any] = {}  # by their number: tables, or where they are in the file
        self._begun = self._handed_out = self._rows = 0
        self._open_bytes = self._done_bytes = 0
        self.shared = self.shared_tokens = 0

    def __len__(self) -> int:
        return self._rows

    @property
    def room(self) -> int:
        """How many rows may have begun and not ended: none more while a batch waits to be handed out.

        Beyond the limit one goes at a time, where none is on its way: the first batch may need it.
        """
        if self.has_news():
            return 0
        return sys.maxsize if self._spill.bytes < self._most else 1

    def begin(self, view: TableView) -> None:
        """Open a batch, whose rows follow those that have begun."""
        self._open(self._begun, self._rows, view)
        self._begun += 1
        self._rows += len(view)

    def _open(self, number: int, start: int, view: TableView) -> None:
        self._last = batch = _Batch(number, start, view, self._records(len(view)))
        at = bisect_right(self._starts, start)
        self._batches.insert(at, batch)
        self._starts.insert(at, start)

    def accept(self, row: int, end: End) -> None:
        """Accept the end of a row."""
        self.counts[end[0]] += 1
        if end[5]:
            self.recalled[end[0]] += 1
        self._put(row, end, len(end[1]) + END_BYTES)

    def _put(self, row: int, end: Any, size: int) -> None:
        """Put the end of a row, of so many bytes, into its batch."""
        batch = self._last
        if batch is None or not batch.start <= row < batch.stop:
            batch = self._batch_of(row)
        if batch.records is None:
            batch.late[row - batch.start] = end
        else:
            batch.records.accept(row - batch.start, end)
        batch.bytes += size
        self._open_bytes += size
        batch.left -= 1
        if not batch.left:
            self._complete(batch)
        elif self._open_bytes > self._window:
            self._pack()

    def share(self, row: int, first: int, known: End) -> None:
        """End a row as another one has ended; without its attempts and tokens."""
        batch = self._batch_of(row)
        batch.shared.add(row - batch.start)
        self.shared += 1
        self.shared_tokens += known.total_tokens or 0
        self.accept(row, SharedEnd.of(known))

    def finish(self, reason: str | None) -> None:
        """End the rows of open batches that never began."""
        end = unanswered(NOT_SENT, reason or "not sent")
        for batch in [*self._batches]:
            if batch.records is not None:
                missing = batch.records.unended()
            else:
                missing = [row for row in batch.packed[1] if row not in batch.late]
            for row in missing:
                self.accept(batch.start + row, end)

    def has_news(self) -> bool:
        """Check whether the next batch is whole."""
        return self._handed_out in self._done

    def take(self) -> Any:
        """Return the table of the next batch."""
        found, size = self._done.pop(self._handed_out)
        self._handed_out += 1
        self._done_bytes -= size
        return found if size else self._spill.take(found)

    def _batch_of(self, row: int) -> _Batch:
        self._last = batch = self._batches[bisect_right(self._starts, row) - 1]
        return batch

    def _complete(self, batch: _Batch) -> None:
        """Make the table of a batch whose rows have all ended."""
        at = bisect_right(self._starts, batch.start) - 1
        del self._batches[at], self._starts[at]
        self._open_bytes -= batch.bytes
        self._last = self._batches[-1] if self._batches else None
        if batch.records is not None and batch.view is not None:
            batch.finish()
            table = self._make(batch.view, batch.records, batch.start)
        else:
            table = self._make.patched(self._spill.take(batch.packed[0]), batch.late, batch.start)
        size = int(table.nbytes) + 1
        if batch.number != self._handed_out and self._done_bytes + size > self._window:
            self._done[batch.number] = self._spill.put(table), 0
        else:
            self._done[batch.number] = table, size
            self._done_bytes += size

    def _pack(self) -> None:
        """Bring to the disk what is known of the rows of an open batch: of the one with most bytes in memory."""
        batch = max(self._batches, key=lambda each: each.bytes)
        if batch.records is None or batch.view is None:
            return
        missing = frozenset(batch.records.unended())
        batch.finish()
        packed = self._make(batch.view, batch.records, batch.start, missing)
        batch.packed, batch.view, batch.records = (self._spill.put(packed), missing), None, None
        self._open_bytes -= batch.bytes
        batch.bytes = 0
