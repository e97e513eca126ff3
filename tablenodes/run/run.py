"""How a node is run over a table: everything is put together here, and nothing is decided."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack, suppress
from functools import partial
from itertools import compress
from operator import not_
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import tables
from ..bodies.recipe import BODY
from ..connection.endpoint import opened
from ..engine.interrupts import is_from_handler
from ..engine.journal import Journal, Keys
from ..engine.journal.recorder import JournalRecorder, Recorder
from ..engine.scheduling import Scheduler
from ..engine.sink import OK, Records
from ..errors import Interrupted, JournalError, TransportError
from . import display
from .check import check_rows, refuse_invalid
from .options import checked
from .output import Responses
from .rows import PlanInputs, conversations_asked, prepared
from .summary import Summary, notes_on, say_failures
from .watch import Watch
from .wiring import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..bodies.body_plan import BodyPlan
    from ..connection.connection import Connection
    from ..connection.endpoint import Endpoint
    from ..engine.calls import Request
    from ..engine.loop import Loop
    from ..engine.sink import Source
    from ..tables import TableView
    from .options import RunOptions
    from .rows import Asking, Context

_WORTH_A_JOURNAL = 100
_NO_USAGE = "the server refused stream_options: streamed rows were asked without, and may have no token counts"


def run(
    asking: Asking, table: Any, connection: Connection | None, context: Context, options: RunOptions
) -> Responses[Any]:
    """Run a node over a table; see `RequestNode.run`."""
    return _Run(asking, tables.view(table), checked(connection), context, options).carry_out()


class _Run:
    def __init__(
        self, asking: Asking, view: TableView, connection: Connection, context: Context, options: RunOptions
    ) -> None:
        self.asking = asking
        self.view = view
        self.connection = connection
        self.context = context
        self.options = options

    def carry_out(self) -> Responses[Any]:
        with ExitStack() as stack:
            endpoint: Endpoint = stack.enter_context(opened(self.connection))
            inputs = PlanInputs(self.context.constants, endpoint.connection, self.options.store)
            plan = self.asking.plan(self.view.columns, inputs)
            self._announce(plan)
            if self.options.on_invalid == "raise":
                refuse_invalid(check_rows(plan, self.view))
            return self._send(plan, endpoint, stack)

    def _announce(self, plan: BodyPlan) -> None:
        if self.options.progress is False:
            return
        if plan.taken:
            display.say(f"{self.asking.name}: columns taken: {', '.join(plan.taken)} (columns=() takes none)")
        for line in plan.passed_over:
            display.say(f"{self.asking.name}: {line}")
        if self.options.journal is None and len(self.view) > _WORTH_A_JOURNAL:
            display.say(
                "no journal: answers are lost if this process ends before the run does; "
                "a journal keeps them (journal= in Python, --journal on the command line)"
            )

    def _send(self, plan: BodyPlan, endpoint: Endpoint, stack: ExitStack) -> Responses[Any]:
        how, limits = self.options, self.options.limits
        at_most_once = how.retry.ambiguous == 0
        request = endpoint.request("POST", self.asking.path)
        journal = self._journal(stack)
        known_as = request._replace(url=endpoint.identity(self.asking.path))
        recorder = self._recorder(journal, known_as, plan, at_most_once=at_most_once)
        scheduler = Scheduler(
            limits,
            how.retry,
            random=random.Random().random,  # noqa: S311 - it spreads retries, it hides nothing
            sent_before=0 if journal is None else journal.sends,
            capacity=endpoint.slots,
        )

        records = Records(len(self.view))
        # A bar would be drawn across a text that someone reads as it comes.
        bar = stack.enter_context(display.Progress(len(self.view), how.progress if how.on_text is None else False))
        name = None if how.progress is False else self.asking.name
        watch = Watch(records, scheduler, bar, endpoint.place, how.retry.outage_patience, name=name)
        engine = Engine(
            endpoint,
            limits,
            scheduler,
            records,
            recorder,
            stack,
            exact=journal is not None and limits.max_requests is not None,
            stream=_may_stream(plan, self.view),
            on_text=how.on_text,
            on_turn=watch,
        )
        loop = engine.loop
        calls = engine.calls(
            prepared(plan, self.view, self.context),
            request,
            None if journal is None else Keys(known_as, self.context.scope),
            choices=self.asking.choices,
            at_most_once=at_most_once,
            total=self.asking.seconds,
        )
        began = time.monotonic()

        def output() -> Responses[Any]:
            bar.close(records.settled, records.counts[OK])
            notes = (*self._notes(engine, endpoint), *notes_on(records, endpoint, request))
            summary = summarise(records, scheduler, time.monotonic() - began, notes)
            return Responses(self.view, records, summary, partial(conversations_asked, plan, self.view, self.context))

        self._carry(loop, recorder.recalled(calls), output)
        made = output()
        self._ended(made, loop, journal)
        say_failures(self.asking.name, made.summary, records.outcome, records.status, progress=how.progress)
        return made

    def _carry(self, loop: Loop, source: Source, output: Callable[[], Responses[Any]]) -> None:
        """Run the loop; whatever error goes through it has what came in its `output`."""
        try:
            loop.run(source)
        except BaseException as error:
            with suppress(Exception):  # what it was in the middle of may not be whole
                loop.abandon()
                error.output = output()  # type: ignore[attr-defined]
            raise

    def _notes(self, engine: Engine, endpoint: Endpoint) -> Iterator[str]:
        if engine.streams is not None and engine.streams.option_refused:
            yield _NO_USAGE
        capacity = engine.loop.capacity
        if endpoint.slots is None and capacity < min(self.options.limits.concurrency, len(self.view)):
            yield f"at most {capacity:,} requests were in flight: the system allows no more open files (ulimit -n)"

    def _journal(self, stack: ExitStack) -> Journal | None:
        if self.options.journal is None:
            return None
        journal = Journal(Path(self.options.journal))
        stack.callback(_close, journal)
        return journal

    def _recorder(self, journal: Journal | None, request: Request, plan: BodyPlan, *, at_most_once: bool) -> Recorder:
        if journal is None:
            return Recorder()
        recorder = JournalRecorder(
            journal,
            resend_doubtful=self.options.on_in_doubt == "resend",
            retry_failed=self.options.retry_failed,
            at_most_once=at_most_once,
        )
        if len(journal) and not self.context.new_journal and self.options.progress is not False:
            reused, sending = recorder.survey(
                prepared(plan, self.view, self.context), Keys(request, self.context.scope)
            )
            if reused + sending:
                known = f"{reused:,} of {reused + sending:,} reused from the journal"
                display.say(f"{self.asking.name}: {known}, sending {sending:,}")
        return recorder

    def _ended(self, output: Responses[Any], loop: Loop, journal: Journal | None) -> None:
        answered = f"{output.summary.ok:,} of {output.summary.rows:,} rows were answered"
        if isinstance(loop.failure, JournalError) and journal is not None:
            unsaved = journal.unsaved()
            kept = f"{output.summary.ok - unsaved:,} of them are in the journal, {unsaved:,} only in the table"
            answered = f"{answered}: {kept}"
        cause = None if loop.failure is None else loop.failure.__cause__
        if isinstance(loop.failure, TransportError) and cause is not None and is_from_handler(cause):
            with suppress(Exception):
                cause.output = output  # type: ignore[attr-defined]
            raise cause
        if loop.failure is not None:
            message = f"{loop.failure}; {answered}"
            raise type(loop.failure)(message, output, output_has="them") from loop.failure.__cause__
        if loop.interrupted:
            raise Interrupted(f"interrupted: {answered}", output, output_has="them")


def _spent(tokens: list[int | None], reused: list[bool]) -> int:
    """Return the tokens of this run; those of reused answers were spent in another."""
    return sum(filter(None, compress(tokens, map(not_, reused))))


def _may_stream(plan: BodyPlan, view: TableView) -> bool:
    """Return whether any row may ask for a streamed answer."""
    if plan.streams is not None:
        return plan.streams
    cells = (cell for (cell,) in view.rows((BODY,)))
    return any(
        '"stream"' in cell if isinstance(cell, str) else isinstance(cell, dict) and "stream" in cell for cell in cells
    )


def _close(journal: Journal) -> None:
    # All that matters was committed at the run's end; without the mark of a clean end the next run looks closer.
    with suppress(JournalError):
        journal.close()


def summarise(records: Records, scheduler: Scheduler, seconds: float, notes: Iterable[str] = ()) -> Summary:
    """Return a run's numbers."""
    outcomes = records.counts.copy()
    outcomes["not_sent"] += len(records) - records.settled
    return Summary.of(
        outcomes,
        requests=scheduler.sent,
        first_try=scheduler.first_try,
        reused=sum(records.reused),
        retries={kind: count for kind, count in scheduler.retries.items() if count},
        prompt_tokens=_spent(records.prompt_tokens, records.reused),
        completion_tokens=_spent(records.completion_tokens, records.reused),
        seconds=seconds,
        seconds_paused=scheduler.seconds_paused,
        stopped=None if outcomes[OK] == len(records) else scheduler.stopped,
        notes=tuple(notes),
    )
