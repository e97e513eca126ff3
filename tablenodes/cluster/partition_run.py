"""A run over one batch of a table whose parts an engine has: it keeps no output, and says nothing."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engine.journal.journal_folder import FolderRecorder, JournalFolder
from ..engine.scheduling import admission_for
from ..engine.scheduling.leased_rate import LeasedRate, unpaced
from ..engine.sink import NOT_SENT, OK
from ..errors import EndedError, Interrupted
from ..run import display
from ..run.batch_table import BatchTable
from ..run.progress import Progress
from ..run.rows import models_asked
from ..run.run import Run
from .settlement import settlement

if TYPE_CHECKING:
    from contextlib import ExitStack

    from ..engine.journal import Journal
    from ..engine.journal.recorder import Recorder
    from ..engine.scheduling import Scheduler
    from ..run.failures import Failed
    from ..run.options import RunOptions
    from ..run.progress import Bar
    from ..run.watch import Watch
    from ..tables import TableView
    from .share import Share


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
    """One run over a batch; with a share, its limits are those of all processes."""

    def __init__(self, place: Place, share: Share | None, options: RunOptions, **given: Any) -> None:
        self._place = place
        self._lease = None if share is None else LeasedRate(share)
        if self._lease is not None:
            servers = given["endpoint"].servers
            self.admission = admission_for(servers, unpaced(options.limits), options.retry, self._lease)
        super().__init__(options=options, **given)
        self._turn = _Turn(self.watch, self._lease, self.scheduler)
        if self._lease is not None:
            self._lease.join(self.scheduler, self.engine.loop.budget)
            if self.journal is not None:
                settled = partial(settlement, folder=self.journal.path.parent, limits=options.limits)
                self._lease.journal, self._lease.settle = (
                    str(self.journal.path),
                    partial(settled, cost_limit=self.cost_limit),
                )
            self.engine.loop.on_turn = self._turn

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
        finally:
            self._turn.end()
        counts = self.records.counts
        self.bar.close(self.records.settled - counts[NOT_SENT], counts[OK])
        if (failure := loop.failure or self._turn.failure) is not None:
            raise failure
        if loop.interrupted:
            raise Interrupted(f"interrupted: {display.so_far(counts, len(self.view))}")
        models = partial(models_asked, self.plan, self.view, self.context)
        own = beside, self.asking.answers, self.pricing, lambda _: models()
        table = BatchTable(*own, has_servers=self.servers is not None)
        if self.servers is not None:
            table.served = self.servers.served
        table.replaced = loop.replaced
        table.has_report = False
        made = table(beside, self.records, 0)
        return made, Part(dict(counts), table.failures.listed(), [*map(str, self._notes())])


class _Turn:
    """What a run with a share does at each turn: it renews its lease; once it cannot, it sends nothing more.

    It knows nothing of the run, for a circle would keep what the run leaves.
    """

    def __init__(self, watch: Watch, lease: LeasedRate | None, scheduler: Scheduler) -> None:
        self._watch, self._lease, self._scheduler = watch, lease, scheduler
        self.failure: EndedError | None = None

    def __call__(self) -> None:
        self._watch()
        if self._lease is not None and self._scheduler.stopped is None:
            try:
                self._lease.turn(time.monotonic())
            except EndedError as error:
                self.failure = error
                self._scheduler.stop("failure")

    def end(self) -> None:
        """Return what was not used of the lease; if that fails, it counts as used."""
        if self._lease is not None:
            with suppress(EndedError):
                self._lease.leave(time.monotonic())


def _digest(view: TableView, columns: Any, number: int | None) -> str:
    """Return what tells a batch from others: its rows as far as they are used, their labels, its number."""
    digest = blake2b(repr((len(view), number)).encode(), digest_size=8)
    for label in () if view.index is None else view.index:
        digest.update(repr(label).encode("utf-8", "surrogatepass"))
    for cells in view.rows(columns):
        digest.update(repr(cells).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
