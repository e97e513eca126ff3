"""A submission over a table that comes in batches: each leaves with its ids once these are in the store."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import closing
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import tables
from ..column_names import free_names
from ..engine.interrupts import Interrupts
from ..engine.sink import SKIPPED, SUBMITTED
from ..errors import Interrupted, SettingError, UsageError
from ..problems import Rejected
from ..run.arrow_stream import ArrowStream, begun
from ..run.display import counted
from ..run.failures import Failures
from ..run.progress import Progress
from ..run.rows import prepared
from ..run.stream import check_all
from ..run.summary import Summary, say_failures
from .open_submission import HandedRows, OpenSubmission
from .submission import output_of, prepare

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from ..bodies.body_plan import BodyPlan
    from ..connection.connection import Connection
    from ..run.failures import Failed, RowEnd
    from ..run.options import RunOptions
    from ..run.rows import Asking, Context
    from ..tables import BatchSource, TableView

_LOGGED = ("outcome", "message")


def submit_batches(
    asking: Asking,
    makes: Mapping[str, str],
    source: BatchSource,
    connection: Connection | None,
    context: Context,
    options: RunOptions,
    *,
    check: str | bool,
    logged: bool = False,
) -> SubmissionBatches:
    """Submit the rows of a source; see `AsyncRequestNode.run_batches`. Where it is `logged`, batches have the log."""
    connection, plan, options = prepare(asking, source.view, sys.maxsize, connection, context, options)
    plan = plan if check else plan.unchecked()
    if check == "first":
        check_all(asking, source, plan, connection, context, options)
    submission = OpenSubmission(asking, connection, context, options)
    try:
        submission.begin(_ahead(submission, plan, source, context))
        return SubmissionBatches(_Stream(submission, asking, plan, source, context, options, makes, logged=logged))
    except BaseException:
        submission.close()
        raise


def _ahead(submission: OpenSubmission, plan: BodyPlan, source: BatchSource, context: Context) -> Iterator[bytes]:
    """Yield the bodies of all rows, where they must be known before the first is stored."""
    if not submission.reads_ahead:
        return
    if not source.again:
        what, how = "the limits of a submission without a name", "name the submission"
        if context.replaced:
            what, how = "an output that takes the place of a file with ids", "choose another output"
        told = f"{what}: the source is read twice, but this one can be read only once: {how}"
        raise SettingError(told, place="source")
    for view in source.views():
        yield from (body for body in prepared(plan, view, context) if not isinstance(body, Rejected))


class SubmissionColumns(NamedTuple):
    """The names of a stream's columns: those of the table; those that were made, and the log's, by their own names."""

    table: tuple[str, ...]
    raw: dict[str, str]
    log: dict[str, str]


class SubmissionBatches(ArrowStream):
    """A submission that comes in batches of rows, in the table's order: a stream of Arrow, to be read once.

    Rows are submitted as it is read: those of a batch are in the store when it is handed out, and the worker is at
    work on them while others follow. Closed before its end (``with``), it submits nothing more.

    Attributes
    ----------
    schema : pyarrow.Schema
        The columns and their types, the same in every batch: those of the table that ``run`` returns.
    """

    _provenance = None

    def __init__(self, stream: _Stream) -> None:
        self._stream, self._named, self.schema = stream, stream.columns, stream.schema
        self._batches = stream.begun()

    @property
    def summary(self) -> Summary:
        """The submission in numbers, once it is over."""
        if self._stream.summary is None:
            raise UsageError("the submission is not over: read all batches first, or close it", code="not_over")
        return self._stream.summary

    def _failures(self) -> list[Failed]:
        """Return why rows failed, the most first."""
        return self._stream.failures.listed()

    def _ends(self) -> Iterator[RowEnd]:
        """Yield the end of the first row that was skipped."""
        yield SKIPPED, None, self._stream.skipped, None, None


class _Stream:
    """One submission over batches."""

    def __init__(
        self,
        submission: OpenSubmission,
        asking: Asking,
        plan: BodyPlan,
        source: BatchSource,
        context: Context,
        options: RunOptions,
        makes: Mapping[str, str],
        *,
        logged: bool,
    ) -> None:
        self._submission, self._asking, self._plan, self._source = submission, asking, plan, source
        self._context, self._options, self._makes = context, options, makes
        self._counts, self._rows = Counter[str](), 0
        self.failures = Failures()
        self.skipped: str | None = None
        self.summary: Summary | None = None
        view = source.view
        own = tables.view(output_of(HandedRows(0), view, makes, context).table).columns
        log = {free: name for name, free in free_names(_LOGGED if logged else (), own).items()}
        raw = dict(zip(own[-len(makes) :], makes, strict=True))
        self.columns = SubmissionColumns(tuple(own), raw, log)
        self.schema = self._table(view, HandedRows(0)).schema

    def begun(self) -> Generator[Any]:
        """Return what submits the rows and yields the tables of batches, in their order."""
        return begun(self._batches())

    def _table(self, view: TableView, handed: HandedRows) -> Any:
        """Return the table of a batch, and behind it what a log has."""
        table = output_of(handed, view, self._makes, self._context).table
        if not self.columns.log:
            return table
        own: dict[str, Any] = dict(zip(self.columns.log, (handed.outcomes, handed.errors), strict=True))
        return tables.view(table).replacing(own, dict.fromkeys(own, "text"))

    def _batches(self) -> Generator[Any]:
        began, interrupts = time.monotonic(), Interrupts()
        meter = self._source.meter
        how_far = None if meter is None else meter.told
        bar = Progress(self._source.rows, self._options.progress, how_far=how_far)
        try:
            yield None
            began = time.monotonic()
            views: Any = self._source.views()
            with closing(views), bar, interrupts:
                while not interrupts.level and (view := next(views, None)) is not None:
                    table = self._handed(view)
                    bar.update(self._rows, self._counts[SUBMITTED])
                    with interrupts.paused():
                        yield tables.batch_of(table)
        finally:
            self._end(time.monotonic() - began)
        if interrupts.level:
            raise Interrupted(f"interrupted: {counted(self._counts[SUBMITTED], 'row')} submitted")
        summary: Any = self.summary
        where, progress = "their error_message says why", self._options.progress
        say_failures(self._asking.name, summary, self.failures.listed, progress=progress, where=where)

    def _handed(self, view: TableView) -> Any:
        """Hand the rows of a batch over, and return its table."""
        submission, handed = self._submission, HandedRows(len(view))
        handed.hand(submission, handed.sendable(prepared(self._plan, view, self._context)))
        if submission.failure is not None and self._context.scope and not (self._counts[SUBMITTED] or any(handed.ids)):
            raise submission.failure  # that table is no use
        submission.start_worker(at_end=False)
        ends = zip(handed.outcomes, repeat(None), handed.errors, repeat(None), repeat(None), strict=False)
        self.failures.add(ends, range(self._rows, self._rows + len(view)))
        if self.skipped is None and SKIPPED in handed.outcomes:
            self.skipped = handed.errors[handed.outcomes.index(SKIPPED)]
        self._counts.update(handed.outcomes)
        self._rows += len(view)
        return self._table(view, handed)

    def _end(self, seconds: float) -> None:
        """Sum it up, and see that a worker sends what is in the store."""
        self.summary = Summary.of(self._counts, seconds=seconds)
        self._submission.start_worker()
        self._submission.close()
        self._submission.say_known(self._counts[SUBMITTED])
