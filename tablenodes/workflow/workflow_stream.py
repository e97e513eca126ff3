"""Run a workflow over a table that comes in batches: a row goes on while others are still waiting, in one loop."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from .. import tables
from ..bodies.recipe import BODY
from ..engine import policy
from ..engine.journal import Keys
from ..engine.scheduling.switchboard import Switchboard
from ..engine.sink import BREATH
from ..engine.warm_start import WarmStart, is_worth_it, parted
from ..errors import SettingError, WorkflowError
from ..run import display
from ..run.check import refuse_invalid
from ..run.cost_limit import refuse_unpriced
from ..run.provenance import Asked, Provenance
from ..run.rows import Requested
from ..run.run import SAMPLED, refuse, say_no_journal
from ..run.server_watch import ServerWatch, together, watched
from ..run.stream import Stream
from ..run.summary import Summary, notes_on, say_failures
from ..run.wiring import Packing, Reached, caller, scheduler_at
from . import workflow_check
from .row_paths import RowPaths
from .runner import check_prices, say_doubts
from .step_packs import StepPacks
from .step_twins import StepTwins
from .stream_gate import StreamGate
from .stream_lines import LineCosts, LineQueue, StreamLines, lines_of
from .stream_plan import StreamPlan, counted_with_worker, why_whole
from .stream_table import PassageWindows, StreamTable
from .workflow_batches import NodeEnd, WorkflowBatches

if TYPE_CHECKING:
    from ..connection.connection import Connection, GivenConnection
    from ..engine.scheduling import Scheduler
    from ..run.options import RunOptions
    from ..tables import BatchSource
    from .definition import Definition
    from .stream_lines import Line
    from .stream_step import StreamStep


def stream(
    workflow: Definition,
    batches: BatchSource,
    inputs: Mapping[str, Any] | None,
    connection: GivenConnection | None,
    options: RunOptions,
    *,
    check: str | bool,
    window: int,
    spill: int,
    raw: bool = False,
    logged: bool = False,
) -> WorkflowBatches:
    """Run a workflow over the batches of a source; see `Workflow.run_batches`."""
    connections = workflow_check.connections_of(workflow, connection)
    _refuse_whole(workflow, options, connections)
    if options.progress is not False:
        display.announce_default(*connections.values())
    values, view = workflow_check.values_of(workflow, inputs), batches.view
    plans = workflow_check.plans(workflow, view, values, connections, options.store)
    if options.progress is not False:
        say_doubts(workflow, view, plans)
    check_prices(workflow, plans, connections, options)
    if check == "first":
        _check_all(workflow, batches, values, connections, options)
    with ExitStack() as stack:
        lines = lines_of(workflow, connections, options, stack)
        plan = StreamPlan(workflow, view, values, lines, options, connections)
        for submission in [step.submission for step in plan.steps if step.submission is not None]:
            stack.callback(submission.close)
            submission.begin()
        for step in plan.steps:
            if step.submission is None:
                _announce(step, options)
            if not check and (step.asking or step.submission) is not None:
                step.plan = step.plan.unchecked()  # type: ignore[attr-defined] # of a node that sends
        if options.progress is not False and options.journal is None and any(step.asking for step in plan.steps):
            say_no_journal()
        run = WorkflowStream(plan, batches, options, stack, (window, spill), raw=raw, logged=logged)
        run.keep_open(stack)
    return WorkflowBatches(run.columns, run.schema, run.begun(), run.result)


def _refuse_whole(workflow: Definition, options: RunOptions, connections: Mapping[str, Connection]) -> None:
    """Raise an error where something needs the whole table."""
    if counted := counted_with_worker(workflow, options.limits, connections):
        raise SettingError(f"{counted}: leave it out, or use run", place="limits")
    if why := why_whole(workflow):
        raise WorkflowError(f"the workflow works on its table as a whole: {why}, or use run", code="whole_table")


def _check_all(
    workflow: Definition, batches: BatchSource, values: Mapping[str, Any], connections: Any, options: RunOptions
) -> None:
    """Look at every row before the first is sent."""
    if not batches.again:
        raise SettingError('check="first" reads the source twice, but this one can be read only once', place="check")
    plans = workflow_check.plans(workflow, batches.view, values, connections, options.store)
    for view in batches.views():
        for name, found in workflow_check.checks(workflow, view, values, plans, connections).items():
            if options.on_invalid == "raise":
                refuse_invalid(found, name)


def _announce(step: StreamStep, options: RunOptions) -> None:
    """Say which columns a node uses; raise `SettingError` for what the server would refuse in every row."""
    plan: Any = step.plan
    if options.progress is not False:
        display.announce(step.name, plan, sys.maxsize if options.duplicates == "send" else 1)
    refuse(plan)


class WorkflowStream(Stream):
    """One run of a workflow over batches."""

    records: PassageWindows
    _made: StreamTable  # type: ignore[assignment] # in the place of one node's

    def __init__(
        self,
        plan: StreamPlan,
        batches: BatchSource,
        options: RunOptions,
        stack: ExitStack,
        sizes: tuple[int, int],
        *,
        raw: bool,
        logged: bool,
    ) -> None:
        self._steps, self._read, self._shown = plan.steps, plan.read, (raw, logged)
        self._sending = [step for step in plan.steps if step.asking is not None]
        self._lines: list[Line] = []
        leading = self._sending or [step for step in plan.steps if step.submission is not None]
        for step in leading:
            if all(step.line is not line for line in self._lines):
                self._lines.append(step.line)
        numbers = [next((at for at, line in enumerate(self._lines) if line is step.line), 0) for step in plan.steps]
        options = options if len(self._lines) > 1 else self._lines[0].options
        self._all = StreamLines(self._lines, numbers, options) if len(self._lines) > 1 else None
        self.counts_sends = any(line.options.limits.max_requests is not None for line in self._lines)
        # What may have been executed is repeated only where that is so of every node.
        first = min(leading, key=lambda step: step.asking is not None and step.asking.may_repeat)
        self._opening: Iterator[Any] = iter(())
        self._ends: dict[str, NodeEnd] | None = None
        asking: Any = first.asking or first.node._asking(first.name)  # type: ignore[attr-defined] # one of the two
        self._is_once = options.duplicates == "once"
        options = replace(options, duplicates="send")  # each node has its own twins
        endpoint = leading[0].line.endpoint
        super().__init__(asking, first.plan, batches, endpoint, first.context, options, stack, *sizes)

    def _sink(self) -> PassageWindows:
        raw, logged = self._shown
        self._made = StreamTable(self.view, self._steps, raw=raw, logged=logged)
        spill = tables.Spill()
        self._stack.callback(spill.close)
        sink = PassageWindows(self._made, self._steps, self._read, spill, *self._bytes)
        self._opening = self._readable()
        self._paths = RowPaths(self._steps, self._open, sink.finished)
        sink.lead(self._paths)
        return sink

    def _open(self) -> bool:
        """Open the next batch of the source; return whether there was one."""
        view = next(self._opening, None)
        if view is not None:
            self.records.begin(view)
            if self._shown[1] and self.servers is not None:
                self.servers.expect(len(self.records) * len(self._steps))
        return view is not None

    @property
    def columns(self) -> Any:
        """What its columns are."""
        return self._made.columns

    @property
    def schema(self) -> Any:
        """The Arrow schema of every batch that comes out."""
        return self._made.schema

    def result(self) -> Any:
        """Return the ends of the nodes; None while the run goes on."""
        return self._ends

    def _may_stream(self) -> bool:
        plans: list[Any] = [step.plan for step in self._sending]
        return any(BODY in plan.columns if plan.streams is None else plan.streams for plan in plans)

    def _packing(self) -> Packing | None:
        packed = [step for step in self._sending if step.asking is not None and step.asking.pack is not None]
        for step in packed:
            step.use()
        return (
            partial(StepPacks, steps=packed, nodes=len(self._steps), may_come=self._paths.may_come) if packed else None
        )

    def _may_warm_up(self) -> bool:
        first = next((step.asking for step in self._sending), None)
        return super()._may_warm_up() and (first is None or first.pack is None)

    def _scheduler(self) -> Scheduler:
        if self._all is None:
            return super()._scheduler()
        made = []
        for line in self._lines:
            often = (step.asking is None or step.asking.may_repeat for step in self._sending if step.line is line)
            once, own = line.options.retry.ambiguous == 0 and not all(often), self._all.own_options(line)
            made.append(scheduler_at(line.endpoint, own, self.recorder, self.journal, at_most_once=once))
        return self._all.scheduler(made, self.journal)

    def _reached(self) -> Reached:
        return self.endpoint if self._all is None else self._all

    def _servers(self) -> ServerWatch | None:
        members = [self.scheduler] if self._all is None else self._all.members
        pairs = zip(members, self._lines, strict=True)
        each = [watched(own, line.endpoint, None) for own, line in pairs]
        for step in self._sending if self._shown[1] else ():
            step.servers = each[self._line_of(step)]
        return together([found for found in each if found is not None])

    def _line_of(self, step: StreamStep) -> int:
        return 0 if self._all is None else self._all.line_of(step.position)

    def _cost_limit(self) -> Any:
        if self._all is None:
            return super()._cost_limit()
        if all(line.options.limits.max_cost is None for line in self._lines):
            return None
        models = [self._models(line) for line in self._lines]
        for line, asked in zip(self._lines, models, strict=True):
            if self.options.send and line.options.limits.max_cost is not None:
                refuse_unpriced(asked, line.pricing)
        return LineCosts(self._lines, models, self._all.line_of)

    def _budget(self) -> Any:
        if isinstance(self.cost_limit, LineCosts):
            return self.cost_limit.budget(self.options.limits.max_cost, self.journal)
        return super()._budget()

    def _models(self, line: Line | None = None) -> Sequence[str | None]:
        found: dict[str | None, None] = {}
        for step in self._sending:
            if line is not None and step.line is not line:
                continue
            plan: Any = step.plan
            if (model := plan.constant("model")) is None:
                why = f"the model of node {step.name!r} differs by row, and what each row asks for is not known before"
                raise SettingError(f"max_cost: {why}: use run", place="max_cost")
            found[model] = None
        return [*found]

    def _calls(self) -> Any:
        """Return the calls of all rows, of which those that need not be sent have their ends."""
        self._paths.recorder, scheduler = self.recorder, self.scheduler
        alike = self.options.limits.stop_after_alike
        self._paths.gate = StreamGate(
            [step.refusals for step in self._sending],
            alike,
            lambda: scheduler.in_flight,
            scheduler.stop,
            self.records.is_full,
        )
        requests: dict[Any, Any] = {}  # nodes of one path have one: a connection is set up anew for another
        for step in self._sending:
            asking: Any = step.asking
            endpoint, retry = step.line.endpoint, step.line.options.retry
            request = endpoint.request(asking.method, asking.path)
            request = requests.setdefault(request, request)
            known_as = request._replace(url=endpoint.identity(asking.path))
            judging = self.engine.judging(
                choices=asking.choices,
                at_most_once=retry.ambiguous == 0 and not asking.may_repeat,
                use=step.use(),
                judged=asking.judge,
            )
            keys = None if self.journal is None else Keys(known_as, step.name)
            placed = endpoint.placing(asking.method) if step.plan.is_placed else None
            seconds = asking.seconds or endpoint.timeout.total
            step.call = caller(request, seconds, step.watched(judging), keys, placed)
            if self._is_once:
                step.twins = StepTwins(Keys(known_as), self.recorder, self._shared_ends())
            if display.DETAILED.get():
                self._say_how(asking, request, endpoint, step.line.options)
        source: Any = self._warmed(self._paths) if self._may_warm_up() else self._paths
        waits = [step.twins.is_full for step in self._sending if step.twins is not None]
        source = self.engine.packed(source)
        if isinstance(scheduler, Switchboard):
            source = LineQueue(source, scheduler, len(self._lines))
            waits.append(source.is_full)
        if waits:
            self._paths.gate.holds = lambda: any(is_full() for is_full in waits)
        return source

    def _warmed(self, source: Any) -> Any:
        """Return the source, with a warm start where many of its first rows share a long prefix."""
        ahead = []
        for item in islice(source, policy.WARM_LOOK):
            ahead.append(item)
            if item[1] is BREATH:
                break
        first, held = parted(ahead, self.endpoint.servers)
        self._paths.put_back(held if is_worth_it(held) else ahead)
        if not is_worth_it(held):
            return source
        scheduler = self.scheduler
        return WarmStart(first, source, self.engine.streams.has_begun, lambda: scheduler.stopped is not None)

    def _sum_up(self, seconds: float) -> None:
        """Sum up what became of each node's rows."""
        ends = {step.name: self._end_of(step, seconds) for step in self._steps}
        self.summary, self._ends = next(iter(ends.values())).summary, ends

    def _end_of(self, step: StreamStep, seconds: float) -> NodeEnd:
        asking, requested = step.asking, None
        if asking is None:
            asked = Asked(step.name, type(step.node).__name__, step.node._shown())
            summary, provenance = Summary.of(step.counts, seconds=seconds), Provenance.of(asked, seconds=seconds)
            step.account.sums.count(step.counts)
        else:
            summary = self._summary_of(step, seconds)
            provenance = Provenance.of(asking, step.line.endpoint.connection, step.line.options, seconds=seconds)
            if step.reads_source:
                plan: Any = step.plan
                requested = partial(Requested, asking, plan, context=step.context)
        return NodeEnd(summary, provenance, step.account, self.view.table.schema, requested, step.skipped)

    def _summary_of(self, step: StreamStep, seconds: float) -> Summary:
        account, asking, endpoint = step.account, step.asking, step.line.endpoint
        request = endpoint.request("POST" if asking is None else asking.method, asking.path if asking else "")
        noted = step.usable.noted() if step.usable is not None else ()
        return Summary.of(
            step.counts,
            requests=step.requests,
            first_try=step.first_try,
            reused=account.reused,
            shared=0 if step.twins is None else step.twins.shared,
            shared_tokens=0 if step.twins is None else step.twins.shared_tokens,
            retries=dict(step.retries),
            prompt_tokens=account.prompt_tokens,
            completion_tokens=account.completion_tokens,
            seconds=seconds,
            timeline=self.watch.timeline(),
            spending=account.spent,
            seconds_paused=self._seconds_paused(step),
            stopped=self._stopped if step.counts["not_sent"] else None,
            notes=(
                *step.plan.noted(alike=True),
                *noted,
                *((SAMPLED,) if step.twins is not None and step.twins.are_sampled and step.answers.is_written else ()),
                *notes_on(step.counts, account.met, endpoint if self.options.send else None, request),
            ),
        )

    def _seconds_paused(self, step: StreamStep) -> float:
        own = self.scheduler if self._all is None else self._all.members[self._line_of(step)]
        return own.seconds_paused

    def _say_failures(self) -> None:
        for name, end in (self._ends or {}).items():
            say_failures(name, end.summary, end._failures, progress=self.options.progress, where=_WHERE)


_WHERE = "the columns outcome and message of each node say which"
