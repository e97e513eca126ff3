"""How a node is run over a table that comes in batches: what a run over a table does, with batches on their way."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import tables
from ..bodies.recipe import BODY
from ..connection.endpoint import opened
from ..engine.calls import Call
from ..engine.journal.batch_marks import REJECTED
from ..engine.journal.kept_ends import KeptEnds
from ..engine.scheduling.stops import not_sent_because
from ..engine.sink import BREATH, OK, SKIPPED
from ..errors import EndedError, Interrupted, SettingError
from ..notices import counted
from ..problems import Rejected
from . import display
from .arrow_stream import begun
from .batch_table import BatchTable
from .check import check_rows, refuse_invalid
from .options import checked, over
from .progress import Progress
from .provenance import Provenance
from .response_batches import ResponseBatches
from .row_request import Requests
from .rows import Requested, models_asked, prepared
from .run import Run, planned, refuse, say_no_journal
from .spending import pricing_of
from .summary import Summary, notes_on, say_failures
from .windows import Windows

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from ..connection.connection import Connection
    from ..connection.endpoint import Endpoint
    from ..engine.scheduling import Scheduler
    from ..engine.sink import Source
    from ..tables import BatchSource, TableView
    from .batch_chain import BatchChain
    from .batch_table import BatchColumns
    from .check import Check
    from .late_windows import LateWindows
    from .options import RunOptions
    from .rows import Asking, Context
    from .watch import Watch
    from .wiring import Calling


def stream(
    asking: Asking,
    batches: BatchSource,
    connection: Connection | None,
    options: RunOptions,
    context: Context,
    *,
    check: str | bool,
    window: int,
    spill: int,
) -> ResponseBatches:
    """Run a node over the batches of a source; see `RequestNode.run_batches`."""
    given, connection = connection, checked(connection)
    options = over(connection.profile, options)
    if given is None and options.progress is not False:
        display.announce_default(connection)
    with ExitStack() as stack:
        endpoint = stack.enter_context(opened(connection, path=asking.path, sends=options.send))
        plan = planned(asking, batches.view, endpoint, context, options)
        if options.progress is not False:
            display.announce(asking.name, plan, sys.maxsize if options.duplicates == "send" else 1)
            if options.journal is None:
                say_no_journal()
        refuse(plan)
        plan = plan if check else plan.unchecked()
        if check == "first":
            check_all(asking, batches, plan, endpoint.connection, context, options)
        run = Stream(asking, plan, batches, endpoint, context, options, stack, window, spill)
        run.keep_open(stack)
    requested = partial(Requested, asking, plan, context=context)
    made = ResponseBatches(run.columns, run.schema, run.begun(), run.result, requested)
    made._provenance = Provenance.of(asking, endpoint.connection, options)
    return made


def check_all(
    asking: Asking,
    batches: BatchSource,
    plan: Any,
    connection: Connection,
    context: Context,
    options: RunOptions,
) -> None:
    """Look at every row before the first is sent; say what is wrong, or raise `InvalidRequests` where that is asked."""
    found = _checked(asking, batches, plan, connection, context)
    if found is not None and options.on_invalid == "raise":
        refuse_invalid(found)
    if found is not None and options.progress is not False:
        unfit = counted(found.rows - found.valid, "row")
        display.say(f"{asking.name}: {unfit} cannot be sent; first {next(iter(found.lines(1)))}")


def _checked(asking: Asking, batches: BatchSource, plan: Any, connection: Connection, context: Context) -> Check | None:
    """Return what is wrong with the first rows that cannot be sent, None where none is."""
    if not batches.again:
        raise SettingError('check="first" reads the source twice, but this one can be read only once', place="check")
    rows = unfit = 0
    found: Check | None = None
    for view in batches.views():
        made = prepared(plan, view, context)
        wrong = sum(type(body) is Rejected and body.outcome != SKIPPED for body in made)
        if wrong and found is None:
            found = check_rows(plan, view, Requests.of(plan, view, asking.path, connection))
            found.problems["row"] += rows
        rows, unfit = rows + len(view), unfit + wrong
    return None if found is None else replace(found, rows=rows, valid=rows - unfit, skipped=0)


def _is_stopped(scheduler: Scheduler) -> bool:
    return scheduler.stopped is not None


def _take_turn(watch: Watch, late: LateWindows) -> None:
    """Do what is done at each turn; no method of the run, which its loop must not hold."""
    late.turn()
    watch()


class Stream(Run):
    """One run over batches."""

    def __init__(
        self,
        asking: Asking,
        plan: Any,
        batches: BatchSource,
        endpoint: Endpoint,
        context: Context,
        options: RunOptions,
        stack: ExitStack,
        window: int,
        spill: int,
    ) -> None:
        self._source, self._views = batches, batches.views()
        self._bytes = window, spill
        self._stack, self._is_closed = stack, False
        self._broken: Exception | None = None
        self._late: LateWindows | None = None
        self._chain: BatchChain | None = None
        self.summary: Summary | None = None
        super().__init__(asking, plan, batches.view, endpoint, context, options, stack)
        if self.servers is not None and isinstance(self._made, BatchTable):
            self._made.served = self.servers.served
        if self._late is not None:
            self.engine.loop.on_turn = partial(_take_turn, self.watch, self._late)

    def _sink(self) -> Windows:
        models = partial(models_asked, self.plan)
        pricing = pricing_of(self.endpoint.connection, self.endpoint.base_url)
        own = self.view, self.asking.answers, pricing, lambda view: models(view, self.context)
        self._made = BatchTable(*own, has_servers=self.endpoint.servers > 1)
        spill = tables.Spill()
        self._stack.callback(spill.close)
        if self.options.duplicates == "once":
            return Windows(self._made, spill, *self._bytes)
        self._chain = self._chained()
        if not self.recorder.knows:
            return Windows(self._made, spill, *self._bytes)
        from .late_windows import LateWindows  # noqa: PLC0415 - of a run that goes on where another one ended

        recorder: Any = self.recorder
        is_stopped = partial(_is_stopped, self.scheduler)
        prepare = partial(prepared, self.plan, context=self.context)
        is_at_hand = self._source.again and self._source.rows is not None  # a table, or files that are quickly read
        again = self._source.views() if is_at_hand else None
        self._late = LateWindows(self._made, spill, *self._bytes, recorder, is_stopped, prepare, again)
        return self._late

    def _chained(self) -> BatchChain | None:
        """Return what knows batches by what is in them; None where more than that decides what is asked."""
        recorder: Any = self.recorder
        identity = self.plan.identity() if recorder.keeps else None
        if identity is None or self.context.upstream is not None or self.context.when is not None:
            return None
        from .batch_chain import BatchChain  # noqa: PLC0415 - of a run with a journal

        return BatchChain(self._keys().identity + identity, self.plan, recorder)

    def _shared_ends(self) -> KeptEnds:
        journal = self.options.journal
        ends = KeptEnds(None if journal is None else Path(journal).parent)
        self._stack.callback(ends.close)
        return ends

    def keep_open(self, stack: ExitStack) -> None:
        """Close what the run needs when it has ended, and not before."""
        self._stack = stack.pop_all()

    @property
    def columns(self) -> BatchColumns:
        """What its columns are."""
        return self._made.columns

    def result(self) -> tuple[Summary, BatchTable] | None:
        """Return the run in numbers, and what was summed up of its rows; None while it goes on."""
        return None if self.summary is None else (self.summary, self._made)

    @property
    def schema(self) -> Any:
        """The Arrow schema of every batch that comes out."""
        return self._made.empty().schema

    def _count(self) -> int | None:
        return self._source.rows

    def _progress(self) -> Progress:
        meter = self._source.meter
        return Progress(self._count(), self.options.progress, how_far=None if meter is None else meter.told)

    def _may_stream(self) -> bool:
        return bool(BODY in self.plan.columns if self.plan.streams is None else self.plan.streams)

    def _models(self) -> Sequence[str | None]:
        if (model := self.plan.constant("model")) is not None:
            return [model]
        if not self._source.again:
            why = "the model differs by row, so the source must be one that can be read twice"
            raise SettingError(f"max_cost: {why}", place="max_cost")
        found = (models_asked(self.plan, view, self.context) for view in self._source.views())
        return [*dict.fromkeys(chain.from_iterable(found))]

    def _called(self, call: Calling) -> Source:
        links = self._chain
        for view in self._readable():
            start, fingerprint = len(self.records), None if links is None else links.fingerprint(view)
            known = None if fingerprint is None else self._known(view, fingerprint, start, call)
            if links is not None:
                links.begin(start, len(view), fingerprint if known is None else None)
            if known is None:
                self.records.begin(view)
                if self.servers is not None:
                    self.servers.expect(len(self.records))
                yield from map(call, prepared(self.plan, view, self.context), count(start))
            elif self._late is not None and self._late.put_off(view, *known):
                yield start, BREATH

    def _known(self, view: TableView, mark: bytes, start: int, call: Calling) -> tuple[Call, Sequence[int]] | None:
        """Return where the rows of a batch are in the journal, and the call of one, where all of them are reused."""
        recorder: Any = self.recorder
        if self._late is None or not self._late.may_put_off():
            return None
        places = recorder.journal.marked(mark)
        if places is None or len(places) != len(view):
            return None
        at = next(at for at, place in enumerate(places) if place != REJECTED)
        (made,) = map(call, prepared(self.plan, tables.view(view.take([at])), self.context), (start + at,))
        return (made, places) if isinstance(made, Call) and recorder.passes(made, at, places) else None

    def _recalled(self, calls: Source) -> Source:
        return super()._recalled(calls) if self._late is None else self._late.unfinished(calls)

    def _readable(self) -> Iterator[TableView]:
        """Yield the batches; where the source breaks, what has been read of it comes to its end."""
        try:
            for view in self._views:  # noqa: UP028 - `yield from` would close them with what reads this
                yield view
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised once the rows before it have ended
            self._broken = error
            self.engine.loop.stop(EndedError("the source broke"))

    def begun(self) -> Generator[Any]:
        """Return what sends the rows, and yields the tables of batches whose rows have all ended, in their order."""
        return begun(self._tables())

    def _tables(self) -> Generator[Any]:
        windows, began, turns = self.records, time.monotonic(), None
        try:
            yield None
            self.watch.began = began = time.monotonic()
            self._made.replaced = self.engine.loop.replaced
            has_work = windows.has_news if self._late is None else self._late.has_work
            turns = self.engine.loop.turns(self._calls(), has_work)
            for _ in turns:
                while windows.has_news():
                    yield self._taken()
                if self.scheduler.stopped is not None and not self.scheduler.in_flight:
                    yield from self._rest()
            yield from self._rest()
            if not self._is_over():
                yield from self._not_sent()
            self._end(began)
        except GeneratorExit:
            self._is_closed = True
            if turns is not None:
                turns.close()
            for _ in self._rest():
                pass  # nobody takes it any more, but the summary has it
            self._end(began)
            raise
        except Exception:
            with suppress(Exception):
                self.engine.loop.abandon()
            raise
        finally:
            self._stack.close()

    def _rest(self) -> Iterator[Any]:
        """Yield the batches whose rows have all ended, where the run was ended in time for those that were put off."""
        late, loop = self._late, self.engine.loop
        while True:
            while self.records.has_news():
                yield self._taken()
            if late is None or not late.is_due or loop.clock() >= loop.leave_at:
                break
            late.bring()
        if late is not None and late.failure is not None and loop.failure is None:
            loop.stop(late.failure)

    def _taken(self) -> Any:
        if self._chain is not None:
            self._chain.leave()
        return tables.batch_of(self.records.take())

    def _is_over(self) -> bool:
        """Check whether nothing more of the source is wanted."""
        loop = self.engine.loop
        return loop.interrupted or loop.failure is not None or self.scheduler.stopped is None

    def _not_sent(self) -> Iterator[Any]:
        """Yield the rest of the source, whose rows were not sent because the run was stopped."""
        reason = not_sent_because(str(self.scheduler.stopped), self.scheduler.stopped_by)
        for view in self._views:
            self.records.begin(view)
            self.records.finish(reason)
            while self.records.has_news():
                yield self._taken()

    def _end(self, began: float) -> None:
        """Sum the run up, and raise what ended it early."""
        counts = self.records.counts
        self.bar.close(self.records.settled - counts["not_sent"], counts[OK])
        self._sum_up(time.monotonic() - began)
        if self._broken is not None:
            raise self._broken
        whole, loop = Summary.of(counts), self.engine.loop
        came = display.so_far(whole.outcomes, whole.rows)
        if loop.failure is not None:
            raise type(loop.failure)(f"{loop.failure}; {came}") from loop.failure.__cause__
        if loop.interrupted and not self._is_closed:
            raise Interrupted(f"interrupted: {came}")
        self._say_failures()

    def _say_failures(self) -> None:
        if self.summary is not None:
            say_failures(self.asking.name, self.summary, self._made.failures.listed, progress=self.options.progress)

    @property
    def _stopped(self) -> str | None:
        """Why the run stopped early."""
        counts = self.records.counts
        is_whole = counts[OK] == len(self.records) or not (self.options.send or counts["not_sent"])
        return None if is_whole else self.scheduler.stopped

    def _sum_up(self, seconds: float) -> None:
        scheduler, made = self.scheduler, self._made
        self.summary = Summary.of(
            self.records.counts,
            requests=scheduler.sent,
            first_try=scheduler.first_try,
            reused=made.reused,
            shared=self.records.shared,
            shared_tokens=self.records.shared_tokens,
            retries={kind: count for kind, count in scheduler.retries.items() if count},
            prompt_tokens=made.prompt_tokens,
            completion_tokens=made.completion_tokens,
            seconds=seconds,
            timeline=self.watch.timeline(),
            spending=made.spent,
            seconds_paused=scheduler.seconds_paused,
            stopped=self._stopped,
            notes=(
                *self._notes(),
                *notes_on(self.records.counts, made.met, self._asked_endpoint(), self.request),
            ),
        )
