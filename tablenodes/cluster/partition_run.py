"""A run over one batch of a table whose parts an engine has: it keeps no output, and says nothing."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engine.journal.journal_folder import FolderRecorder, JournalFolder
from ..engine.sink import NOT_SENT, OK
from ..errors import Interrupted
from ..run import display
from ..run.batch_table import BatchTable
from ..run.progress import Progress
from ..run.rows import models_asked
from ..run.run import Run

if TYPE_CHECKING:
    from contextlib import ExitStack

    from ..engine.journal import Journal
    from ..engine.journal.recorder import Recorder
    from ..run.failures import Failed
    from ..run.progress import Bar
    from ..tables import TableView


class Place(NamedTuple):
    """Where a batch stands: in which run, and as which of its parts, where that is known; `bar` shows its progress."""

    run: str
    number: int | None = None
    bar: Bar | None = None


class Part(NamedTuple):
    """What came of a batch: how many rows ended as what, why some failed, and what else is to be said."""

    outcomes: dict[str, int]
    failures: list[Failed]
    notes: list[str]


class PartitionRun(Run):
    """One run over a batch."""

    def __init__(self, place: Place, *given: Any) -> None:
        self._place = place
        super().__init__(*given)

    def _progress(self) -> Progress:
        return Progress(len(self.view), shown=False, bar=self._place.bar)

    def _says_what_is_known(self) -> bool:
        return False

    def _journal(self, stack: ExitStack) -> Journal | None:
        if self.options.journal is None:
            return None
        owner = _digest(self.view, self.plan.columns, self._place.number)
        self._folder = JournalFolder(Path(self.options.journal), self._place.run, owner, stack)
        return self._folder.own

    def _recorder(self) -> Recorder:
        if self.journal is None:
            return super()._recorder()
        return FolderRecorder(self._folder, at_most_once=self.at_most_once)

    def made(self, beside: TableView) -> tuple[Any, Part]:
        """Send the rows; return what was made of them, to the right of a table with these rows, and how it went."""
        loop, self.watch.began = self.engine.loop, time.monotonic()
        try:
            loop.run(self._calls())
        except BaseException:
            with suppress(Exception):
                loop.abandon()
            raise
        counts = self.records.counts
        self.bar.close(self.records.settled - counts[NOT_SENT], counts[OK])
        if loop.failure is not None:
            raise loop.failure
        if loop.interrupted:
            raise Interrupted(f"interrupted: {display.so_far(counts, len(self.view))}")
        models = partial(models_asked, self.plan, self.view, self.context)
        table = BatchTable(beside, self.asking.answers, self.pricing, lambda _: models())
        table.replaced = loop.replaced
        made = table(beside, self.records, 0)
        return made, Part(dict(counts), table.failures.listed(), [*map(str, self._notes())])


def _digest(view: TableView, columns: Any, number: int | None) -> str:
    """Return what tells a batch from others: its rows as far as they are used, their labels, its number."""
    digest = blake2b(repr((len(view), number)).encode(), digest_size=8)
    for label in () if view.index is None else view.index:
        digest.update(repr(label).encode("utf-8", "surrogatepass"))
    for cells in view.rows(columns):
        digest.update(repr(cells).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
