"""How a node's requests are put into the store, to be sent by a worker and retrieved later."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .. import tables
from ..bodies.body_plan import BodyPlan
from ..connection.connection import Connection
from ..engine.scheduling.stops import not_sent_because
from ..engine.sink import SUBMITTED
from ..errors import Interrupted
from ..run import display
from ..run.check import check_rows, refuse_invalid
from ..run.cost_limit import refuse_later
from ..run.options import RunOptions, checked, over
from ..run.output import NodeOutput
from ..run.rows import Asking, Context, PlanInputs, prepared
from ..run.summary import Summary, say_failures
from ..tables import TableView
from .open_submission import HandedRows, OpenSubmission

_BYTES = 32 * 2**20  # of bodies that are kept from a first look


def submit(
    asking: Asking,
    makes: Mapping[str, str],
    table: Any,
    connection: Connection | None,
    context: Context,
    options: RunOptions,
) -> NodeOutput[Any]:
    """Store every row and return the ids under which the answers will be found, in columns `makes`."""
    view = tables.view(table).held()
    connection, plan, options = prepare(asking, view, len(view), connection, context, options)
    if options.on_invalid == "raise":
        refuse_invalid(check_rows(plan, view))
    return _carried_out(asking, plan, view, connection, context, options, makes)


def prepare(
    asking: Asking, view: TableView, rows: int, connection: Connection | None, context: Context, options: RunOptions
) -> tuple[Connection, BodyPlan, RunOptions]:
    """Return where rows go, what makes their bodies, and the options; say what is used of the table's columns."""
    given, connection = connection, checked(connection)
    options = over(connection.profile, options)
    folder = context.folder or view.folder
    inputs = PlanInputs(context.constants, connection, options.store, options.limits.body_bytes, folder=folder)
    plan = asking.plan(view.columns, inputs)
    if options.progress is not False:
        if given is None:
            display.announce_default(connection)
        display.announce(asking.name, plan, rows)
    if options.limits.max_cost is not None:
        refuse_later()
    return connection, plan, options


def _carried_out(
    asking: Asking,
    plan: BodyPlan,
    view: TableView,
    connection: Connection,
    context: Context,
    options: RunOptions,
    makes: Mapping[str, str],
) -> NodeOutput[Any]:
    """Store the rows, see that a worker sends them, and return their ids."""
    began, handed, interrupted = time.monotonic(), HandedRows(len(view)), False
    with OpenSubmission(asking, connection, context, options) as submission:
        try:
            _hand_over(submission, handed, plan, view, context)
        except KeyboardInterrupt:  # what was accepted has its ids
            interrupted = True
        try:
            submission.start_worker()
        except KeyboardInterrupt:
            interrupted = True
        if submission.failure is not None and context.scope and not any(handed.ids):
            raise submission.failure  # a workflow cannot use that table
    if interrupted:
        handed.say_why(not_sent_because("interrupted"))
    output = output_of(handed, view, makes, context, time.monotonic() - began)
    submission.say_known(output.summary.submitted)
    if interrupted:
        accepted = f"{output.summary.submitted:,} of {output.summary.rows:,} rows were submitted"
        raise Interrupted(f"interrupted: {accepted}", output, output_has="their ids")
    say_failures(asking.name, output.summary, output._failures, progress=options.progress)
    return output


def _hand_over(
    submission: OpenSubmission, handed: HandedRows, plan: BodyPlan, view: TableView, context: Context
) -> None:
    """Hand all rows over; where it is read ahead, they are made a second time if they are too many to keep."""
    rows: Iterator[tuple[int, bytes]] = handed.sendable(prepared(plan, view, context))
    kept, size = list[tuple[int, bytes]](), 0

    def looked_over() -> Iterator[bytes]:
        nonlocal size
        for row, body in rows:
            size += len(body)
            if size <= _BYTES:
                kept.append((row, body))
            yield body

    if not submission.reads_ahead:
        submission.begin()
        handed.hand(submission, rows)
        return
    ahead = looked_over()
    submission.begin(ahead)
    for _ in ahead:  # where rows keep no ids, nobody has looked
        pass
    handed.hand(submission, kept if size <= _BYTES else handed.sendable(prepared(plan, view, context)))


def output_of(
    handed: HandedRows, view: TableView, makes: Mapping[str, str], context: Context, seconds: float = 0.0
) -> Submitted:
    """Return the output of a node whose rows were handed over."""
    columns = dict(zip(makes, (handed.ids, handed.errors), strict=True))
    summary = Summary.of(Counter(handed.outcomes), seconds=seconds)
    own = handed_on(view.columns, makes) | context.made
    return Submitted(view, columns, makes, handed.outcomes, handed.errors, summary, own)


def handed_on(columns: Collection[str], makes: Mapping[str, str]) -> frozenset[str]:
    """Return which columns that are made take the places of columns of the table."""
    found = next(iter(makes))
    # Where the id is there, the table is one of ours, and what else it says of it is of no use any more.
    return frozenset(makes if found in columns else (found,))


class Submitted(NodeOutput[Any]):
    """The ids of what was submitted; its two branches have them, or the errors, beside the configuration."""

    def _rows(self, *, ok: bool) -> Any:
        rows = [i for i, outcome in enumerate(self._outcomes) if (outcome == SUBMITTED) == ok]
        return tables.view(self.table).take(rows)
