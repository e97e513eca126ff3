"""How a node is run over a table: everything is put together here, and nothing is decided."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import tables
from ..bodies.recipe import BODY
from ..column_names import own_name
from ..connection.endpoint import opened
from ..engine.interrupts import is_from_handler
from ..engine.journal import Journal, Keys, KeysAmong
from ..engine.journal.recorder import JournalRecorder, Recorder
from ..engine.scheduling import Admission, Budget
from ..engine.sink import NOT_SENT, OK, Records
from ..engine.twins import Outcomes, Twins
from ..engine.warm_start import warm_start
from ..errors import Interrupted, JournalError, SettingError, TransportError
from ..problems import Remark
from . import display
from .announcement import announced
from .check import check_rows, refuse_invalid
from .cost_limit import CostLimit, refuse_unpriced
from .display import counted
from .last_output import HAS_THEM, remember
from .options import checked, over
from .output import Responses
from .progress import Progress
from .provenance import Provenance
from .row_request import Requests
from .rows import PlanInputs, Requested, conversations_asked, models_asked, of_rows, prepared
from .server_watch import ServerWatch, seen, watched
from .spending import Spending, pricing_of, spent_in
from .summary import Met, Summary, notes_on, say_failures
from .watch import Watch
from .wiring import Engine, Packing, Reached, packing, scheduler_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..bodies.body_plan import BodyPlan
    from ..connection.connection import Connection
    from ..connection.endpoint import Endpoint
    from ..engine.calls import Request
    from ..engine.loop import Loop
    from ..engine.scheduling import Scheduler
    from ..engine.sink import Source
    from ..tables import TableView
    from .options import RunOptions
    from .rows import Asking, Context
    from .wiring import Calling

_WORTH_A_JOURNAL = 100
_LOST = "if this process ends before the run does, the answers are lost"
SAMPLED = "equal rows were sent once and share the answer: each might have another (n, no temperature of 0 or no seed)"
_ELSEWHERE = (
    "the environment names another server than in the first run, and its rows go to no other unasked: pass connection="
)
_NO_USAGE = "the server refused stream_options: streamed rows were sent without it and may have no token counts"


@dataclass(frozen=True, repr=False)
class Again:
    """Asks rows of a run again, as the run did; `place` is the address by which a journal knows its server."""

    asking: Asking
    view: TableView
    place: str
    connection: Connection
    context: Context
    options: RunOptions

    def __call__(self, rows: Sequence[int], connection: Connection | None, given: Mapping[str, Any]) -> Responses[Any]:
        """Return what became of the rows at these positions; `given` are options in the place of the run's own."""
        own = {"on_text": None, "on_invalid": "report", "retry_failed": "all", "send": True}
        changed = {name: value for name, value in given.items() if value is not None}
        if (told := given.get("on_text")) is not None:
            changed["on_text"] = lambda row, text: told(rows[row], text)
        options, context = replace(self.options, **{**own, **changed}), of_rows(self.context, rows)
        part = _Part(self, rows, None if connection is not None else self.place)
        return run(self.asking, self.view.take(rows), connection or self._connection(), context, options, part)

    def _connection(self) -> Connection:
        """Return the run's own connection; an embedded model that has ended since is started again."""
        own = self.connection
        has_ended = own.server is not None and own.server.ended is not None
        return replace(own, base_url=None, api_key=None) if has_ended else own


class _Part(NamedTuple):
    """What a run is a part of: rows of an earlier one, asked at the same place, where that is not None."""

    whole: Again
    rows: Sequence[int]
    place: str | None


def run(
    asking: Asking,
    table: Any,
    connection: Connection | None,
    context: Context,
    options: RunOptions,
    part: _Part | None = None,
) -> Responses[Any]:
    """Run a node over a table; see `RequestNode.run`."""
    view, given, connection = tables.view(table).held(), connection, checked(connection)
    options = over(connection.profile, asking.checked(options))
    if given is None and options.progress is not False:
        display.announce_default(connection)
    with ExitStack() as stack:
        endpoint = stack.enter_context(opened(connection, path=asking.path, sends=options.send))
        if part is not None and part.place not in (None, endpoint.identity(asking.path)):
            raise SettingError(_ELSEWHERE, code="another_server", place="connection")
        plan = planned(asking, view, endpoint, context, options)
        if options.progress is not False:
            display.announce(asking.name, plan, len(view) if options.duplicates == "send" else 1)
            if options.journal is None and len(view) > _WORTH_A_JOURNAL:
                say_no_journal()
        refuse(plan)
        if options.on_invalid == "raise":
            refuse_invalid(check_rows(plan, view, Requests.of(plan, view, asking.path, endpoint.connection)))
        return Run(asking, plan, view, endpoint, context, options, stack, part).carry_out()


def planned(asking: Asking, view: TableView, endpoint: Endpoint, context: Context, options: RunOptions) -> BodyPlan:
    """Return how the rows of a table become the requests of a run."""
    inputs = PlanInputs(
        context.constants,
        endpoint.connection,
        options.store,
        options.limits.body_bytes,
        context.prefix,
        context.folder or view.folder,
    )
    return asking.plan(view.columns, inputs)


def refuse(plan: BodyPlan) -> None:
    """Raise `SettingError` for what the server would refuse in every row."""
    for problem in plan.refused:
        raise SettingError(f"{problem.path}: {problem.message}; nothing was sent", place=problem.path)


def say_no_journal() -> None:
    """Say that the answers are in memory alone."""
    display.say(Remark(f"no journal: {_LOST}; keep them with journal=", code="no_journal"))


class Run:
    """One run over a table: all that it is made of; what it opens is closed by `stack`."""

    _shared_ends: Any = Outcomes  # makes what knows of rows that have ended what equal rows share
    counts_sends = False  # for another reason than its own `Limits.max_requests`
    admission: Admission | None = None  # what stands between the rows and their calls, where it is not the run's own

    def __init__(
        self,
        asking: Asking,
        plan: BodyPlan,
        view: TableView,
        endpoint: Endpoint,
        context: Context,
        options: RunOptions,
        stack: ExitStack,
        part: _Part | None = None,
    ) -> None:
        self.asking, self.plan, self.view, self.endpoint = asking, plan, view, endpoint
        self.context, self.options, self.part = context, options, part
        self.at_most_once = options.retry.ambiguous == 0 and not asking.may_repeat
        self.request = endpoint.request(asking.method, asking.path)
        self.pricing = pricing_of(endpoint.connection, endpoint.base_url)
        self.cost_limit = self._cost_limit()
        self.journal = self._journal(stack)
        self.known_as = self.request._replace(url=endpoint.identity(asking.path))
        self.recorder = self._recorder()
        self.scheduler = self._scheduler()
        if not options.send:
            self.scheduler.stop("journal_only")
        self.records, self.usable = self._sink(), asking.answers.usable()
        self.twins = self._twins() if options.duplicates == "once" else None
        self.bar = stack.enter_context(self._progress())
        self.engine = self._engine(stack)

    def _twins(self) -> Twins:
        return Twins(self.records, Keys(self.known_as), self.recorder, self._shared_ends())

    def _packing(self) -> Packing | None:
        return packing(self.asking, self.usable, self.records)

    def _scheduler(self) -> Scheduler:
        """Return what decides when each row is sent."""
        how: Any = {"at_most_once": self.at_most_once, "admission": self.admission}
        return scheduler_at(self.endpoint, self.options, self.recorder, self.journal, **how)

    def _reached(self) -> Reached:
        """Return what opens what carries the bytes."""
        return self.endpoint

    def _servers(self) -> ServerWatch | None:
        """Return what looks at the servers, where there are several."""
        return watched(self.scheduler, self.endpoint, self._count())

    def _sink(self) -> Any:
        """Return where the ends of the rows go."""
        return Records(len(self.view), self.asking.answers.bodies(len(self.view)))

    def _count(self) -> int | None:
        """Return the number of rows, where it is known."""
        return len(self.view)

    def _progress(self) -> Progress:
        """Return what shows how far the run is: a bar would be drawn across a text that someone reads as it comes."""
        return Progress(self._count(), self.options.progress if self.options.on_text is None else False)

    def _says_what_is_known(self) -> bool:
        """Check whether to say beforehand which rows the journal has."""
        return not self.context.new_journal and self.options.progress is not False

    def _may_stream(self) -> bool:
        """Check whether a row may ask for a stream."""
        if self.plan.streams is not None:
            return self.plan.streams
        cells = (cell for (cell,) in self.view.rows((BODY,)))
        return any(
            '"stream"' in cell if isinstance(cell, str) else isinstance(cell, dict) and "stream" in cell
            for cell in cells
        )

    def _models(self) -> Sequence[str | None]:
        """Return the models that are asked for."""
        return models_asked(self.plan, self.view, self.context)

    def _journal(self, stack: ExitStack) -> Journal | None:
        if self.options.journal is None:
            return None
        path = Path(self.options.journal)
        if not self.options.send and not path.exists():
            raise JournalError(f"{path}: no such journal, so there are no answers in it")
        journal = Journal(path)
        stack.callback(_close, journal)
        return journal

    def _recorder(self) -> Recorder:
        if (journal := self.journal) is None:
            return Recorder()
        return JournalRecorder(
            journal,
            resend_doubtful=self.options.on_in_doubt == "resend",
            retry_failed=self.options.retry_failed,
            at_most_once=self.at_most_once,
        )

    def _keys(self) -> Keys:
        """Return what makes the keys by which a journal knows the rows."""
        if self.part is None:
            return Keys(self.known_as, self.context.scope)
        whole, rows = self.part.whole, self.part.rows
        bodies = (body if isinstance(body, bytes) else None for body in prepared(self.plan, whole.view, whole.context))
        return KeysAmong(self.known_as, self.context.scope, bodies, rows)

    def _engine(self, stack: ExitStack) -> Engine:
        limits, patience, reached = self.options.limits, self.options.retry.outage_patience, self._reached()
        name, places = None if self.options.progress is False else self.asking.name, reached.lines
        self.servers = self._servers()
        self.watch = Watch(self.records, self.scheduler, self.bar, places, patience, name, self.servers, limits.grace)
        return Engine(
            reached,
            limits,
            self.scheduler,
            self.records if self.twins is None else self.twins,
            self.recorder,
            stack,
            exact=self.journal is not None and (self.counts_sends or limits.max_requests is not None),
            stream=self._may_stream(),
            on_text=self.options.on_text,
            budget=self._budget(),
            on_turn=self.watch,
            pack=seen(self._packing(), self.servers),
        )

    def _cost_limit(self) -> CostLimit | None:
        if self.options.limits.max_cost is None:
            return None
        models = self._models()
        if self.options.send:
            refuse_unpriced(models, self.pricing)
        return CostLimit(self.pricing, models)

    def _budget(self) -> Budget | None:
        limit, by = self.options.limits.max_cost, self.cost_limit
        return None if limit is None or by is None else by.budget(limit, self.journal)

    def _called(self, call: Calling) -> Source:
        """Return the calls of all rows, made as they are asked for."""
        return map(call, prepared(self.plan, self.view, self.context), count())

    def _calls(self) -> Source:
        """Return the calls of all rows, of which those that need not be sent have their ends."""
        call = self.engine.calling(
            self.request,
            None if self.journal is None else self._keys(),
            choices=self.asking.choices,
            at_most_once=self.at_most_once,
            total=self.asking.seconds,
            use=self.usable,
            judged=self.asking.judge,
            placed=self.endpoint.placing(self.asking.method) if self.plan.is_placed else None,
        )
        if display.DETAILED.get():
            self._say_how(self.asking, self.request, self.endpoint, self.options)
        source = self._recalled(self._called(call)) if self.twins is None else self.twins.unlike(self._called(call))
        if self.recorder.knows and self._says_what_is_known():
            others = sum(each.summary.rows for each in self.context.outputs.values())
            name, sends = self.asking.name, self.options.send
            source = announced(source, self.recorder, name, self.engine.loop.sink, sends=sends, others=others)
        return self._warmed(source) if self._may_warm_up() else self.engine.packed(source)

    def _recalled(self, calls: Source) -> Source:
        return self.recorder.recalled(calls)

    def carry_out(self) -> Responses[Any]:
        """Send the rows, and return what became of them."""
        loop, self.watch.began = self.engine.loop, time.monotonic()
        try:
            loop.run(self._calls())
        except BaseException as error:  # whatever it is has what came in its `output`
            with suppress(Exception):  # what it was in the middle of may not be whole
                loop.abandon()
                error.output = made = self._output()  # type: ignore[attr-defined]
                remember(made, stopped=True)
            raise
        made = self._output()
        remember(made, stopped=made.summary.stopped is not None or loop.failure is not None or loop.interrupted)
        self._raise_if_ended(made, loop, self.journal)
        say_failures(self.asking.name, made.summary, made._failures, progress=self.options.progress)
        return made

    def _say_how(self, asking: Asking, request: Request, endpoint: Endpoint, options: RunOptions) -> None:
        """Say where rows are sent, how many at a time, and what is kept."""
        limits, key = options.limits, "a" if endpoint.sends_key else "no"
        most = f"up to {min(limits.concurrency, self.engine.loop.capacity):,} at a time"
        kept = "no journal" if options.journal is None else f"journal {options.journal}"
        seconds = asking.seconds or endpoint.timeout.total
        where = f"{request.method} {request.url.partition('?')[0]} with {key} key"
        display.say(f"{asking.name}: {where}, {most}, {seconds:g} s for each attempt, {kept}")

    def _may_warm_up(self) -> bool:
        """Check whether one row may go before the others; the embedded model has a cache for each of its slots."""
        limits = self.options.limits
        return limits.warm_up == "auto" and limits.concurrency > 1 and not (self.endpoint.slots or self.asking.pack)

    def _warmed(self, source: Source) -> Source:
        scheduler, servers = self.scheduler, self.endpoint.servers
        return warm_start(source, self.engine.streams.has_begun, lambda: scheduler.stopped is not None, servers)

    def _output(self) -> Responses[Any]:
        self.bar.close(self.records.settled - self.records.counts[NOT_SENT], self.records.counts[OK])
        asked = partial(conversations_asked, self.plan, self.view, self.context)
        models = partial(models_asked, self.plan, self.view, self.context)
        further = {"packed": self.engine.pack_sizes(len(self.view)), "server": self.servers and self.servers.served()}
        self.records.further = {name: column for name, column in further.items() if column is not None}
        replaced = self.engine.loop.replaced
        spending = Spending(self.records.own_bodies, self.records.reused, self.pricing, models, replaced)
        summary = self._summary(time.monotonic() - self.watch.began, spending)
        own, reads = self.endpoint.connection, [*map(own_name, self.plan.columns)]
        again = Again(self.asking, self.view, self.known_as.url, own, self.context, self.options)
        given = self.view, self.records, summary, asked, spending, self.asking.answers, again, reads
        made: Responses[Any] = Responses(*given)
        made._requested = Requested(self.asking, self.plan, self.view, self.context)
        made._provenance = Provenance.of(self.asking, own, self.options, seconds=summary.seconds)
        return made

    def _summary(self, seconds: float, spending: Spending) -> Summary:
        records, scheduler, outcomes = self.records, self.scheduler, self.records.counts.copy()
        outcomes["not_sent"] += len(records) - records.settled
        is_whole = outcomes[OK] == len(records) or not (self.options.send or outcomes["not_sent"])
        return Summary.of(
            outcomes,
            requests=scheduler.sent,
            first_try=scheduler.first_try,
            reused=records.recalled.total(),
            shared=len(records.shared),
            shared_tokens=sum(records.total_tokens[first] or 0 for first in records.shared.values()),
            retries={kind: count for kind, count in scheduler.retries.items() if count},
            prompt_tokens=spent_in(records.prompt_tokens, records, spending.replaced["prompt_tokens"]),
            completion_tokens=spent_in(records.completion_tokens, records, spending.replaced["completion_tokens"]),
            seconds=seconds,
            timeline=self.watch.timeline(),
            spending=spending,
            seconds_paused=scheduler.seconds_paused,
            stopped=None if is_whole else scheduler.stopped,
            notes=(
                *self._notes(),
                *notes_on(records.counts, Met.of(records), self.endpoint if self.options.send else None, self.request),
            ),
        )

    def _asked_endpoint(self) -> Endpoint | None:
        return self.endpoint if self.options.send else None

    def _notes(self) -> Iterator[str]:
        yield from self.plan.noted(alike=True)
        if (count := str(self.asking.settings.get("n") or "")).isdecimal() and int(count) > 1:
            told = f"each row asks, and pays, for {int(count):,} answers, and the table has the first"
            yield Remark(f"{told}: .choices has all", code="choices", values={"told": told})
        if self.twins is not None and self.twins.are_sampled and self.asking.answers.is_written:
            yield SAMPLED
        if self.usable is not None:
            yield from self.usable.noted()
        if self.servers is not None:
            yield from self.servers.notes()
        budget = self.engine.loop.budget
        if budget is not None and self.cost_limit is not None:
            yield from self.cost_limit.noted(budget, self.asking.path)
        streams, capacity = self.engine.streams, self.engine.loop.capacity
        if streams.option_refused:
            yield _NO_USAGE
        elif streams.uncounted:
            yield f"{counted(streams.uncounted, 'streamed answer')} came without token counts"
        if self.endpoint.slots is None and capacity < min(self.options.limits.concurrency, len(self.view)):
            yield f"only {capacity:,} requests were in flight: the system allows no more open files (ulimit -n)"

    def _raise_if_ended(self, output: Responses[Any], loop: Loop, journal: Journal | None) -> None:
        """Raise what ended the run early, if anything, with its output; a signal handler's error as it was raised."""
        answered = f"{output.summary.ok:,} of {output.summary.rows:,} rows were answered"
        if isinstance(loop.failure, JournalError) and journal is not None and not journal.is_lost:
            unsaved = journal.unsaved()
            answered += f": {output.summary.ok - unsaved:,} of them are in the journal, {unsaved:,} only in the table"
        cause = None if loop.failure is None else loop.failure.__cause__
        if isinstance(loop.failure, TransportError) and cause is not None and is_from_handler(cause):
            with suppress(Exception):
                cause.output = output  # type: ignore[attr-defined]
            raise cause
        if loop.failure is not None:
            raise type(loop.failure)(f"{loop.failure}; {answered}", output, output_has="them") from cause
        if loop.interrupted:
            came = display.so_far(output.summary.outcomes, output.summary.rows)
            raise Interrupted(f"interrupted: {came}", output, output_has=HAS_THEM)


def _close(journal: Journal) -> None:
    with suppress(JournalError):  # what matters is committed; without the mark of a clean end the next run looks closer
        journal.close()
