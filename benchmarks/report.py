"""Words the figures: tables for the terminal and for the documentation page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import figures
from benchmarks.roster import ENVIRONMENTS, JOURNAL, LIMIT, ROSTER, SDK, TABLENODES, Contestant

if TYPE_CHECKING:
    from benchmarks.machine import Machine
    from benchmarks.micro import Micro
    from benchmarks.runner import Outcome

Cells = Sequence[Sequence[str]]
"""A table's rows; the first is its head, the first column is text, the others are numbers."""

HEAD = ("", "rows/s", "CPU ms/row", "x openai SDK", "x libcurl loop", "in flight", "rows", "wrong or missing")


class Report(NamedTuple):
    """Everything that one run of the benchmarks found."""

    machine: Machine
    prompt: Outcome
    slow: Outcome
    micro: Micro


def scenario_cells(outcome: Outcome, contestants: Sequence[Contestant] = ROSTER) -> list[tuple[str, ...]]:
    """Return a scenario's table; a contestant that failed has its reason in the place of figures."""
    rows: list[tuple[str, ...]] = [HEAD]
    for one in contestants:
        measured = figures.of(outcome.rounds, one.name)
        if one.name in outcome.troubles:
            rows.append((one.title, f"failed: {outcome.troubles[one.name]}", *[""] * (len(HEAD) - 2)))
        elif measured:
            rows.append((one.title, *_figures(outcome, one.name, measured)))
    return rows


def _figures(outcome: Outcome, name: str, measured: Sequence[figures.Measurement]) -> Iterable[str]:
    yield f"{figures.median(outcome.rounds, name, lambda one: one.rows_per_second):,.0f}"
    yield f"{figures.median(outcome.rounds, name, lambda one: one.cpu_per_row):.3f}"
    yield _times(figures.ratio(outcome.rounds, name, SDK))
    yield _times(figures.ratio(outcome.rounds, name, LIMIT))
    yield f"{measured[0].concurrency:,}"
    yield " x ".join([f"{measured[0].rows:,}", *[str(len(measured))] * (len(measured) > 1)])
    yield str(sum(one.failures for one in measured))


def _times(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    if ratio < 0.1:
        return f"{ratio:.2g}"
    return f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def promise_cells(prompt: Outcome, slow: Outcome, micro: Micro) -> list[tuple[str, ...]]:
    """Return the table of what tablenodes promises, and what was measured."""
    cpu = figures.median(slow.rounds, TABLENODES, lambda one: one.cpu_per_row * 1000)
    beside_sdk = figures.ratio(prompt.rounds, TABLENODES, SDK)
    beside_limit = figures.ratio(prompt.rounds, TABLENODES, LIMIT)
    with_journal = figures.ratio(prompt.rounds, JOURNAL, TABLENODES)
    journal_beside_sdk = figures.ratio(prompt.rounds, JOURNAL, SDK)
    beside_limit_slow = figures.ratio(slow.rounds, TABLENODES, LIMIT)
    promises = (
        ("rows/s, as a multiple of the openai SDK's", 20, beside_sdk, 1),
        ("rows/s, as a share of the libcurl loop's", 0.35, beside_limit, 2),
        ("rows/s with a journal, as a share of those without", 0.5, with_journal, 2),
        ("rows/s with a journal, as a multiple of the openai SDK's", 12, journal_beside_sdk, 1),
        ("rows/s at 1 s latency, as a share of the libcurl loop's", 0.95, beside_limit_slow, 2),
        ("CPU µs a row at 1 s latency", -200, cpu, 0),
        ("schema gate, µs a valid body", -5, micro.gate_microseconds, 1),
        ("import tablenodes, s", -0.2, micro.import_seconds, 3),
    )  # a bound below zero is one from above
    rows: list[tuple[str, ...]] = [("", "promised", "measured", "kept")]
    for what, bound, measured, digits in promises:
        limit = f"{'at least' if bound > 0 else 'at most'} {abs(bound):g}"
        if measured is None:
            rows.append((what, limit, "-", "-"))
        else:
            kept = measured >= bound if bound > 0 else measured <= -bound
            missed = f"no, missed by {abs(measured - abs(bound)) / abs(bound):.0%}"
            rows.append((what, limit, f"{measured:.{digits}f}", "yes" if kept else missed))
    return rows


def aligned(cells: Cells) -> str:
    """Return a table for a terminal: the first column to the left, the others to the right."""
    # What a failure says may be longer than a figure; it stands last in its row, so it widens no column.
    short = [[cell for cell in row if not cell.startswith("failed")] for row in cells]
    widths = [max((len(row[at]) for row in short if at < len(row)), default=0) for at in range(len(cells[0]))]
    lines = []
    for row in cells:
        rest = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([f"{row[0]:<{widths[0]}}", *rest]).rstrip())
    return "\n".join(lines)


def markdown(cells: Cells, *, figures: bool = True) -> str:
    """Return a table in Markdown, padded so that its source is readable; `figures` stand to the right."""
    pad, edge = (str.rjust, ":") if figures else (str.ljust, "-")
    widths = [max(3, *(len(row[at]) for row in cells)) for at in range(len(cells[0]))]
    head, *rows = [
        [row[0].ljust(widths[0])] + [pad(cell, width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        for row in cells
    ]
    rule = ["-" * widths[0]] + ["-" * (width - 1) + edge for width in widths[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def version_cells(*outcomes: Outcome) -> list[tuple[str, ...]]:
    """Return the table of the releases that everyone ran with."""
    installed: dict[str, dict[str, str]] = {}
    for outcome in outcomes:
        installed |= figures.versions(outcome.rounds)
    rows: list[tuple[str, ...]] = [("", "releases")]
    for one in ROSTER:
        if one.name in installed:
            rows.append((one.title, ", ".join(f"{name} {version}" for name, version in installed[one.name].items())))
        elif one.environment:
            rows.append((one.title, f"not measured ({', '.join(ENVIRONMENTS[one.environment])})"))
    return rows
