"""A retrieval over a table of ids that comes in batches: each leaves once its answers are there, in their order."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

from .. import tables
from ..answers import Pricing
from ..engine.interrupts import Interrupts
from ..engine.sink import Records
from ..errors import Interrupted, SettingError
from ..run import display
from ..run.arrow_stream import begun
from ..run.batch_table import BatchTable
from ..run.check import check_rows, refuse_invalid
from ..run.display import counted
from ..run.progress import Progress
from ..run.response_batches import ResponseBatches
from ..run.rows import PlanInputs, prepared
from ..run.spending import Spending
from ..run.summary import Summary, notes_on, say_failures
from ..store import StoreFile
from .pending_answers import PendingAnswers, Wanted
from .retrieval import Retrieved, earlier_blocks

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..bodies.settings_plan import RowPlan
    from ..connection.connection import Connection
    from ..run.options import RunOptions
    from ..run.rows import Context
    from ..tables import BatchSource, TableView

_WHERE = "the columns outcome and message say which"


def retrieve_batches(
    wanted: Wanted,
    source: BatchSource,
    connection: Connection | None,
    context: Context,
    options: RunOptions,
    *,
    check: str | bool,
) -> ResponseBatches:
    """Return what is known of every row of a source, once no more can come; see `RetrieveResponse.run_batches`."""
    plan = wanted.plan(source.view.columns, PlanInputs(context.constants, prefix=context.prefix))
    if options.progress is not False:
        for line in plan.passed_over:
            display.say(f"{wanted.name}: {line}")
    if check == "first":
        _check_all(plan, source, options)
    run = _Stream(wanted, plan, source, connection, context, options)
    return ResponseBatches(run.table.columns, run.table.empty().schema, run.begun(), run.result, _not_kept)


def _not_kept(_: TableView) -> Any:
    """Return None: what was asked is in the store."""


def _check_all(plan: RowPlan, source: BatchSource, options: RunOptions) -> None:
    """Look for rows without a valid id before anything is waited for."""
    if not source.again:
        raise SettingError('check="first" reads the source twice, but this one can be read only once', place="check")
    for view in source.views() if options.on_invalid == "raise" else ():
        refuse_invalid(check_rows(plan, view))


class _Stream:
    """One retrieval over batches."""

    def __init__(
        self,
        wanted: Wanted,
        plan: RowPlan,
        source: BatchSource,
        connection: Connection | None,
        context: Context,
        options: RunOptions,
    ) -> None:
        self._plan, self._source, self._context, self._options = plan, source, context, options
        self._store, self._name, self._how = StoreFile(options.store), wanted.name, wanted
        self._counts, self._rows = Counter[str](), 0
        self._summary: Summary | None = None
        self._answers = PendingAnswers(self._store, connection, wanted)
        earlier = self._looked_ahead(connection)
        self.table = BatchTable(source.view, wanted.answers, Pricing(""), None, in_place_of=earlier)

    def _looked_ahead(self, connection: Connection | None) -> tuple[str, ...]:
        """Have failed rows of all batches sent again; return which columns the answers take the place of.

        These are of an earlier retrieval that says no more; there are none where the source can be read only once.
        """
        wanted, view = self._how, self._source.view
        blocks = earlier_blocks(wanted.answers, view.columns, self._plan.columns)
        if not self._source.again or not (blocks or wanted.again != "none"):
            return ()
        ahead = PendingAnswers(self._store, connection, wanted)
        for view in self._source.views():
            records = Records(len(view))
            ahead.find(prepared(self._plan, view, self._context), records)
            if blocks:
                ahead.read(records)
                records.finish(None)
                blocks = [each for each in blocks if each in self._said_again(view, records)]
        self._answers.send_again = "none"
        return blocks[0] if blocks else ()

    def _said_again(self, view: TableView, records: Records) -> list[tuple[str, ...]]:
        """Return the columns of each earlier retrieval that says no more of some rows than is known now."""
        made = Summary.of(records.counts), lambda: (), Spending((), (), Pricing("")), self._how.answers
        output = Retrieved(view, records, *made, ids=self._plan.columns)
        return [*output.earlier(*output._beside())]

    def begun(self) -> Generator[Any]:
        """Return what waits for the answers and yields the tables of batches, in their order."""
        return begun(self._batches())

    def result(self) -> tuple[Summary, BatchTable] | None:
        """Return the retrieval in numbers, and what was summed up of its rows; None while it goes on."""
        return None if self._summary is None else (self._summary, self.table)

    def _batches(self) -> Generator[Any]:
        began, interrupts, answers = time.monotonic(), Interrupts(), self._answers
        meter, views = self._source.meter, self._source.views()
        how_far = None if meter is None else meter.told
        bar = Progress(self._source.rows, self._options.progress, how_far=how_far)
        try:
            yield None
            with closing(views), bar, interrupts:  # type: ignore[type-var] # what reads is a generator
                for view in views:
                    records = self._read(view, interrupts, bar)
                    if interrupts.level and answers.is_waiting:
                        break
                    table = self._made(view, records)
                    with interrupts.paused():
                        yield tables.batch_of(table)
                    if interrupts.level:
                        break
        finally:
            self._end(time.monotonic() - began)
        if interrupts.level:
            raise Interrupted(f"interrupted: {counted(self._rows, 'row')} retrieved")
        summary: Any = self._summary
        progress = self._options.progress
        say_failures(self._name, summary, self.table.failures.listed, progress=progress, where=_WHERE)

    def _read(self, view: TableView, interrupts: Interrupts, bar: Progress) -> Records:
        """Return what is known of the rows of a batch, once no more can come."""
        records, before = Records(len(view)), self._rows
        self._answers.find(prepared(self._plan, view, self._context), records)
        self._answers.wait(interrupts, lambda ended: bar.update(before + ended, before + ended))
        self._answers.read(records)
        records.finish(None)
        return records

    def _made(self, view: TableView, records: Records) -> Any:
        """Return the table of a batch, which is added up."""
        self.table.price(self._answers.pricing())
        table = self.table(view, records, self._rows)
        self._rows += len(view)
        self._counts.update(records.counts)
        return table

    def _end(self, seconds: float) -> None:
        """Sum it up."""
        made = self.table
        self._store.settle()  # it may be moved from now on, while a worker waits for more to do
        self._store.close()
        self._summary = Summary.of(
            self._counts,
            prompt_tokens=made.prompt_tokens,
            completion_tokens=made.completion_tokens,
            seconds=seconds,
            spending=made.spent,
            notes=(*self._answers.notes(), *notes_on(self._counts, made.met)),
        )
