"""What a notebook shows of runs, checks, estimates and requests: failed rows first, and why they failed, grouped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .. import tables
from ..engine.sink import NOT_FAILED
from ..notebook.markup import COLUMNS, ROWS, Grid, Panel, Reason
from ..problems import NAMING_THEIR_PLACE, Unfit, in_a_line, remarked
from .display import counted, duration, money
from .failures import alike, failures


def summary_panel(summary: Any) -> Panel:
    """Return what is shown of a run in numbers."""
    details = [*summary._details()]
    facts = [each for each in details if each[0] not in ("note", "stopped")]
    stopped = [f"stopped: {summary.stopped}"] if summary.stopped else []
    about = f"in {duration(summary.seconds)}"
    return Panel(counted(summary.rows, "row"), about, summary.outcomes, (), facts, [*stopped, *summary.notes])


def output_panel(output: Any) -> Panel:
    """Return what is shown of an output: its counts, its reasons, and some rows of its table."""
    ends = [outcome for outcome, *_ in output._ends()]
    failed = [row for row, outcome in enumerate(ends) if outcome not in NOT_FAILED]
    made = summary_panel(output.summary)
    grid = _grid(output, failed, len(ends))
    about = f"{made.title} {made.about}"
    return Panel(type(output).__name__, about, made.counts, _reasons(output), made.facts, made.lines, grid=grid)


def outputs_panel(outputs: Mapping[str, Any], name: str) -> Panel:
    """Return what is shown of a workflow's outputs, node by node, and of the last one its rows."""
    parts = []
    for place, (node, output) in enumerate(outputs.items(), 1):
        each = output_panel(output)
        grid = each.grid if place == len(outputs) else None
        parts.append(Panel(node, each.about, each.counts, each.reasons[:3], (), each.lines, grid=grid))
    return Panel(name, counted(len(parts), "node"), parts=parts)


def comparison_panel(changed: Any, answers: int, about: str, facts: Sequence[tuple[str, str]]) -> Panel:
    """Return what is shown of two outputs side by side: how often they agree, and rows in which they do not.

    So many of the last columns are answers, which come first.
    """
    view = tables.view(changed)
    first = len(view.columns) - answers
    order = [*view.columns[first:], *view.columns[:first]]
    positions = [*range(min(len(view), ROWS))]
    name, labels = view.labels(positions)
    cells = [*zip(*given_cells(view, positions, order[:COLUMNS]), strict=True)]
    grid = Grid(order, labels, cells, 0, len(view) - len(positions), name)
    return Panel("Comparison", about, facts=facts, grid=grid)


def check_panel(check: Any) -> Panel:
    """Return what is shown of a check: what is sent, and what cannot be."""
    counts = {"valid": check.valid, "skipped": check.skipped}
    counts["invalid_request"] = check.rows - check.valid - check.skipped
    duplicates = [("duplicates", counted(check.duplicates, "row"))] if check.duplicates else []
    facts = [*check.sources.items(), *duplicates]
    lines = [*map(remarked, check.warnings)]
    texts = [(each.caption(check.prompts), each.text) for each in check.prompts]
    about = f"{check.valid:,} of {counted(check.rows, 'row')} can be {check._done}; nothing was sent"
    counts = {name: count for name, count in counts.items() if count}
    return Panel("Check", about, counts, _problems(check.problems), facts, lines, texts)


def request_panel(request: Any) -> Panel:
    """Return what is shown of one request: as it would be sent, and what is wrong with it."""
    told = (in_a_line(message, path, (rule,)) for path, rule, message, _ in request.problems)
    reasons = [Reason(1, each, "invalid_request") for each in told]
    about = request.place
    return Panel(f"{request.method} {request.url}", about, reasons=reasons, texts=[("", request.shown())])


def estimate_panel(estimate: Any, title: str = "Estimate") -> Panel:
    """Return what is shown of an estimate: each range as low, likely and high."""
    counts = {"to send": estimate.to_send, "reused": estimate.reused, "skipped": estimate.skipped}
    counts["invalid_request"] = estimate.invalid
    ranges = {
        "input tokens": (estimate.input_tokens, "{:,.0f}".format),
        "output tokens": (estimate.output_tokens, "{:,.0f}".format),
        **({} if estimate.cost is None else {"cost": (estimate.cost, money)}),
        "time": (estimate.seconds, duration),
    }
    numbers = [[form(each) for each in given] for given, form in ranges.values()]
    grid = Grid(("low", "likely", "high"), [*ranges], numbers, label="")
    repeated = f", {estimate.duplicates:,} repeated" if estimate.duplicates else ""
    about = f"{counted(estimate.rows, 'row')}{repeated}; nothing was sent"
    shown = {name: count for name, count in counts.items() if count}
    return Panel(title, about, shown, lines=[*estimate.problems, *estimate.assumptions], grid=grid)


def _problems(problems: Any) -> list[Reason]:
    """Return a check's problems, once for all rows that have the same one."""
    columns = (problems[name].tolist() for name in ("row", "column", "path", "rule", "message", "got"))
    found: dict[tuple[str, ...], list[Any]] = {}
    for row, column, path, rule, message, got in zip(*columns, strict=True):
        told = in_a_line(message, path, (rule,)) + (f" (got {got})" if isinstance(got, str) and got else "")
        where = f"column {column}: " if isinstance(column, str) and rule not in NAMING_THEIR_PLACE else ""
        found.setdefault((alike(told), where), [told, row, 0])[2] += 1
    made = [
        Reason(count, where + told, first=row if isinstance(row, int) else None)
        for (_, where), (told, row, count) in found.items()
    ]
    return sorted(made, key=lambda each: -each.count)


def _reasons(output: Any) -> list[Reason]:
    """Return why rows failed, once for all that failed alike, the most first."""
    found = failures(output._ends())
    return [Reason(each.rows, _told(each.status, each.message), each.outcome, each.row) for each in found]


def _told(status: int | None, message: str | None) -> str:
    return ": ".join(filter(None, (f"HTTP {status}" if status is not None else "", message)))


def _grid(output: Any, failed: Sequence[int], rows: int) -> Grid:
    """Return the rows that are looked at first, with the columns that are: what is read, then what was answered."""
    view, positions = output._view, _positions(failed, rows)
    name, labels = view.labels(positions)
    made = output._cells(positions)
    reads = [column for column in output._reads if column in view.columns and column not in made]
    own = [*reads, *(column for column in view.columns if column not in reads and column not in made)]
    given = dict(zip(own, given_cells(view, positions, own[:COLUMNS]), strict=False))
    order = [*reads, *made, *own[len(reads) :]]
    cells = [made[column] if column in made else given[column] for column in order[:COLUMNS]]
    shown = sum(position in {*failed[:ROWS]} for position in positions)
    return Grid(order, labels, [*zip(*cells, strict=True)], shown, rows - len(positions), name)


def _positions(failed: Sequence[int], rows: int) -> list[int]:
    """Return the rows to show: of both kinds where there are both, the failed ones first."""
    few, others = failed[: ROWS // 2], set(failed)
    fine = [row for row, _ in zip((row for row in range(rows) if row not in others), range(ROWS), strict=False)]
    shown = failed[: max(len(few), ROWS - len(fine))]
    return [*shown, *fine[: ROWS - len(shown)]]


def given_cells(view: Any, positions: Sequence[int], columns: Sequence[str]) -> Iterator[list[Any]]:
    """Yield the cells of some rows of a table, column by column."""
    part = tables.view(view.take(positions))
    for column in columns:
        cells: Iterable[Any] = (cell for (cell,) in part.rows((column,)))
        yield [_as_it_is(part, column, at) if isinstance(cell, Unfit) else cell for at, cell in enumerate(cells)]


def _as_it_is(view: Any, column: str, position: int) -> str:
    """Return a cell that is no JSON as its own library writes it."""
    try:
        return str(view.cell(column, position))
    except Exception:  # noqa: BLE001 - whatever a foreign class raises: the cell is shown, not used
        return "?"
