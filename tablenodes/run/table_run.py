"""A run of a node that sends nothing: the columns that it makes of a table's rows."""

from __future__ import annotations

import time
from collections import Counter
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import tables
from ..engine.sink import NOT_SENT, OK, SKIPPED
from ..errors import Interrupted
from ..problems import Problem, Rejected, in_a_line
from . import display
from .check import check_rows, refuse_invalid
from .last_output import HAS_THEM, remember
from .output import NodeOutput
from .progress import Progress
from .rows import PlanInputs, prepared
from .summary import Summary, say_failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..bodies.settings_plan import RowPlan
    from ..tables import TableView
    from .options import RunOptions
    from .rows import Context

    Made = tuple[Any, ...] | Rejected

_STOPPED = Rejected(Problem("$", "stopped", "not made: the run was stopped before this row"), outcome=NOT_SENT)


class Handed(NamedTuple):
    """The cells of a row that was handed to a worker, or could not be: its id, or why it has none; and its outcome."""

    id: str | None
    error: str | None
    outcome: str


class Making(NamedTuple):
    """What a node makes of every row."""

    name: str
    makes: Mapping[str, str]
    handed_on: frozenset[str]  # the columns that later nodes read by their names
    plan: Callable[[Sequence[str], PlanInputs], RowPlan]
    make: Callable[[Iterable[Any], Context, RunOptions], Iterator[Made]]  # in the rows' order
    instead: Callable[[Any], Any]  # what stands in a column of a row that was rejected, for the cell that was there
    fields: bool = False  # the columns are the fields of one answer
    later: bool = False  # rows are handed to a worker: what is made of each is `Handed`


def run_table(making: Making, table: Any, context: Context, options: RunOptions) -> NodeOutput[Any]:
    """Return what a node makes of a table."""
    view = tables.view(table).held()
    plan = making.plan(view.columns, PlanInputs(context.constants, None, options.store))
    if options.progress is not False:
        for line in plan.passed_over:
            display.say(f"{making.name}: {line}")
    if options.on_invalid == "raise":
        refuse_invalid(check_rows(plan, view))
    began = time.monotonic()
    rows, interrupted = _made(making, prepared(plan, view, context), len(view), context, options)
    output = output_of(making, view, rows, context, time.monotonic() - began)
    remember(output, stopped=interrupted)
    if interrupted:
        made = f"interrupted: {output.summary.ok:,} of {len(view):,} rows were made"
        raise Interrupted(made, output, output_has=HAS_THEM)
    say_failures(making.name, output.summary, output._failures, progress=options.progress)
    return output


def _made(
    making: Making, wanted: Iterable[Any], count: int, context: Context, options: RunOptions
) -> tuple[list[Made], bool]:
    """Return what was made of each row, and whether it was interrupted: then the rest is not made."""
    rows: list[Made] = []
    ok, interrupted = 0, False
    with Progress(count, options.progress) as bar:
        try:
            for cells in making.make(wanted, context, options):
                rows.append(cells)
                ok += not isinstance(cells, Rejected)
                bar.update(len(rows), ok)
        except KeyboardInterrupt:
            interrupted = True
            rows += [_STOPPED] * (count - len(rows))
        bar.close(len(rows), ok)
    return rows, interrupted


def output_of(
    making: Making, view: TableView, rows: Sequence[Made], context: Context, seconds: float = 0.0
) -> NodeOutput[Any]:
    """Return the output of a node that made these of a table's rows."""
    ends = [end_of_made(cells) for cells in rows]
    outcomes, messages = [outcome for outcome, _ in ends], [message for _, message in ends]
    columns = {}
    for i, name in enumerate(making.makes):
        before = (cell for (cell,) in view.rows((name,))) if name in view.columns else repeat(None)
        columns[name] = [cell_of(making, i, cells, each) for cells, each in zip(rows, before, strict=False)]
    summary = Summary.of(Counter(outcomes), seconds=seconds)
    output: NodeOutput[Any] = NodeOutput(
        view, columns, making.makes, outcomes, messages, summary, making.handed_on | context.made, context.appended
    )
    output._fields = making.fields
    return output


def end_of_made(cells: Made) -> tuple[str, str | None]:
    """Return a row's outcome, and why it is not ok."""
    if not isinstance(cells, Rejected):
        return (cells.outcome, cells.error) if type(cells) is Handed else (OK, None)
    problem = cells.problem
    return cells.outcome, in_a_line(problem.message, problem.path, {problem.rule})


def cell_of(making: Making, at: int, cells: Made, before: Any) -> Any:
    """Return what stands in a column that is made, in a row where the table has `before`; None without the column."""
    if not isinstance(cells, Rejected):
        return cells[at]
    if cells.made is not None:
        return cells.made[at]
    if cells.outcome == SKIPPED:  # a row that is skipped keeps what is handed on
        return before if [*making.makes][at] in making.handed_on else None
    return making.instead(before)
