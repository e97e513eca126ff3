"""The sections of a report, one for each node: words and numbers as the page shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, NamedTuple

from ..engine.scheduling.stops import NOT_SENT_BECAUSE
from ..engine.sink import NOT_FAILED, NOT_SENT, OK
from ..notices import counted, money, printable
from ..run.cures import cure
from ..run.display import duration, place_of
from ..run.failures import Failed
from ..run.panels import given_cells
from ..run.timeline import IN_FLIGHT, RETRIED, SECONDS, WAITING, Timeline
from . import charts
from .echoes import veils_of
from .measures import QUANTILES, Axis, Used, axis_of, bands_of, measures_of

_MESSAGE = 400  # characters of a message at the most
_NAME = 120
_NOTES = 20
_QUANTILES = [f"p{each}" for each in QUANTILES]
_CELL = 1_000
_TEXT = 2_000
_COLUMNS = 12
_ENOUGH = 0.05  # seconds of waiting that are worth a word
_TONES = {OK: "good", "unusable": "warn", "pending": "wait", "submitted": "wait", NOT_SENT: "idle", "skipped": "idle"}
_CAUSES = {
    "throttled": ("warn", "the server asked for fewer requests"),
    "server_error": ("bad", "the server failed"),
    "ambiguous": ("wait", "no answer was seen"),
    "not_executed": ("idle", "nothing reached the server, or it took no request"),
    "unusable": ("calm", "the answer could not be used"),
}
_WAITS = {
    "pause": ("wait", "the server asked to wait"),
    "pace": ("idle", "the pace of the limits, the server or its allowance"),
    "outage": ("bad", "the server served no request, and was probed"),
    "name": ("bad", "the server's name was not found"),
    "retry": ("calm", "only rows that wait for another attempt were left"),
}
"""Why nothing was sent, by the reasons of `engine.scheduling.stops.Wait`: a tone, and words."""


class Chart(NamedTuple):
    """A chart for a wide and for a narrow screen, and what its colours stand for, by what they are in."""

    wide: str
    narrow: str
    legend: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self.wide.encode()) + len(self.narrow.encode())


class Manner(NamedTuple):
    """How a report is written: how a setting is set, how many rows are shown, and how many kinds of failure told."""

    how_set: Callable[[str], str]
    samples: int = 0
    kinds: int = 40


class Part:
    """A node's output as a page has it, which is at this `place` in it."""

    def __init__(self, place: int, name: str, output: Any) -> None:
        self.place, self.name, self.output = place, name, output
        self.measures = measures_of(output._measured())


def section(part: Part, manner: Manner) -> dict[str, Any]:
    """Return what a page says of a node's output."""
    output, summary, latency = part.output, part.output.summary, part.measures.latency
    used = part.measures.used([*summary.outcomes])
    found = output._failures() if summary.failed else []
    made = provenance = output._provenance
    return {
        "name": _bounded(part.name, _NAME),
        "kind": type(output).__name__ if made is None else provenance.kind,
        "began": None if made is None else _moment(provenance.began),
        "versions": "" if made is None else provenance.versions,
        "verdict": verdict(summary),
        "figures": [*_figures(summary, latency)],
        "outcomes": [*_outcomes(summary, used)],
        "used": [*_used(used, summary)],
        "facts": [*_facts(summary, used)],
        "notes": [_bounded(note, _MESSAGE) for note in summary.notes[:_NOTES]],
        "latency": None if latency is None else latency.quantiles,
        "attempts": 0 if latency is None else latency.attempts,
        "failures": [*_failures(found[: manner.kinds], part, manner)],
        "rare": _rare(found[manner.kinds :]),
        "retries": [(cause, count, _CAUSES[cause][1]) for cause, count in summary.retries.items() if count],
        "waits": [*_waits(summary.timeline)],
        "settings": {} if made is None else _settings(provenance.settings, shown=manner.samples > 0),
        "samples": [*_samples(output, manner.samples)],
        "shortened": False,
        "has_times": summary.timeline is not None,
    }


def shortened(section: Mapping[str, Any], most: int, rows: int) -> dict[str, Any]:
    """Return a section with fewer characters of each cell and text, and fewer rows."""

    def cut(pairs: Sequence[tuple[str, str]], longest: int) -> list[tuple[str, str]]:
        return [(name[:_NAME], text if len(text) <= longest else f"{text[:longest]}…") for name, text in pairs]

    groups = [group | {"rows": [*group["rows"][:rows]]} for group in section["samples"] if rows]
    for group in groups:
        group["rows"] = [row | {"cells": cut(row["cells"], most)} for row in group["rows"]]
    settings = {group: cut(own, max(_NAME, most)) for group, own in section["settings"].items()}
    return {**section, "samples": groups, "settings": settings, "shortened": True}


def drawn(part: Part) -> tuple[Chart | None, Chart | None]:
    """Return the charts of an output, where there is something to draw: its latencies, and its axis of time."""
    latency, summary = part.measures.latency, part.output.summary
    timeline: Timeline | None = summary.timeline
    first = second = None
    if latency is not None and latency.attempts > 1:
        told = ((each, latency.quantiles[each]) for each in _QUANTILES)
        marks = [charts.Mark(value, f"{each} {duration(value)}") for each, value in told]
        drawing = latency.counts, latency.edges, marks
        first = Chart(*charts.histogram(f"l{part.place}", *drawing, logarithmic=latency.logarithmic))
    if timeline is not None and len(timeline):
        second = _timeline(f"t{part.place}", axis_of(timeline, part.measures, summary.seconds), timeline)
    return first, second


def verdict(summary: Any) -> str:
    """Return what became of a run in one sentence."""
    rows, ok = counted(summary.rows, "row"), summary.ok
    took = f" in {duration(summary.seconds)}" if summary.seconds else ""
    if not summary.rows:
        return "The table had no rows."
    done = ok + summary.submitted
    word = "submitted" if summary.submitted and not ok else "answered"
    head = f"All {rows} were {word}{took}" if done == summary.rows else f"{done:,} of {rows} were {word}{took}"
    others = [f"{count:,} {outcome}" for outcome, count in summary.outcomes.items() if outcome not in (OK, "submitted")]
    rest = f"; the others: {', '.join(others[:4])}{', …' if len(others) > 4 else ''}" if others else ""
    stopped = f". It was stopped early: {summary.stopped}" if summary.stopped else ""
    return f"{head}{rest}{stopped}."


def _figures(summary: Any, latency: Any) -> Iterator[tuple[str, str]]:
    yield "answered", f"{summary.ok / summary.rows:.1%}" if summary.rows else "-"
    if summary.failed:
        yield "failed", f"{summary.failed:,}"
    if summary.reused:
        yield "reused from the journal", f"{summary.reused:,}"
    if summary.requests:
        yield "requests", f"{summary.requests:,}"
        if summary.seconds > 0:
            yield "requests a second", f"{summary.requests / summary.seconds:,.1f}"
    if latency is not None:
        yield from ((each, duration(latency.quantiles[each])) for each in _QUANTILES)
    if summary.prompt_tokens or summary.completion_tokens:
        yield "tokens", f"{summary.prompt_tokens + summary.completion_tokens:,}"
    if summary.cost is not None:
        yield "cost", money(summary.cost)


def _outcomes(summary: Any, used: Sequence[Used]) -> Iterator[dict[str, Any]]:
    for each in used:
        share = each.rows / summary.rows if summary.rows else 0
        yield {
            "name": each.outcome,
            "tone": _TONES.get(each.outcome, "bad"),
            "rows": f"{each.rows:,}",
            "share": f"{share:.1%}",
            "width": round(100 * share, 2),
            "reused": f"{each.reused:,}" if each.reused else "",
        }


def _used(used: Sequence[Used], summary: Any) -> Iterator[list[tuple[str, str]]]:
    """Yield what the rows with each outcome used, column by column; nothing where nothing was sent."""
    for each in used:
        if not (each.requests or any(each.tokens.values())):
            continue
        prompt, cached = each.tokens.get("prompt", 0), each.tokens.get("cached", 0)
        yield [
            ("outcome", each.outcome),
            ("rows", f"{each.rows - each.reused:,}"),
            ("requests", f"{each.requests:,}"),
            ("tokens in", f"{prompt:,}"),
            ("of them cached", f"{cached / prompt:.0%}" if cached and prompt else "-"),
            ("tokens out", f"{each.tokens.get('completion', 0):,}"),
            ("cost", "-" if each.cost is None or summary.cost is None else money(each.cost)),
        ]


def _facts(summary: Any, used: Sequence[Used]) -> Iterator[tuple[str, str]]:
    """Yield what was spent for nothing, what a cache saved, and what nobody knows."""
    total = summary.prompt_tokens + summary.completion_tokens
    fine = [each for each in used if each.outcome == OK]
    kept = sum(each.tokens.get("prompt", 0) + each.tokens.get("completion", 0) for each in fine)
    if total and total > kept:
        lost = "" if not summary.cost else f", {money(max(0.0, summary.cost - sum(each.cost or 0 for each in fine)))}"
        yield "wasted", f"{(total - kept) / total:.1%} of the tokens{lost}: for answers that could not be used"
    if summary.cached_tokens and summary.prompt_tokens:
        share = f"{summary.cached_tokens / summary.prompt_tokens:.0%}"
        yield "from the cache", f"{share} of the prompts' tokens ({summary.cached_tokens:,})"
    if summary.shared:
        yield "shared", f"{counted(summary.shared, 'row')} have the answer of an equal row, and were not sent"
    spent = summary._spent
    if spent is not None and spent.unpriced:
        yield "cost", printable(str(spent))[:_MESSAGE]
    elif total and summary.cost is None:
        yield "cost", "not known: no price is known at this server"


def _failures(found: Sequence[Failed], part: Part, manner: Manner) -> Iterator[dict[str, str]]:
    """Yield why rows failed, once for all that failed alike: in the server's words, without what they repeat."""
    veils = veils_of(part.output, found) if not manner.samples else repeat(str)
    for each, hidden in zip(found, veils, strict=False):
        told, stopped = each.message.removeprefix("not answered yet: "), part.output.summary.stopped
        if each.outcome == NOT_SENT:  # whose words another row was refused with
            told = NOT_SENT_BECAUSE.get(stopped, "") or told.removeprefix("not sent: ")
        yield {
            "outcome": each.outcome if each.status is None else f"{each.outcome}, HTTP {each.status}",
            "tone": _TONES.get(each.outcome, "bad"),
            "reason": _bounded(hidden(each.reason or ""), _NAME),
            "message": _bounded(hidden(told), _MESSAGE),
            "rows": f"{each.rows:,}",
            "first": f"{place_of(each.row):,}",
            "cure": cure(each, manner.how_set, part.output._provenance),
            "again": "a run with the same journal sends them again" if each.passes else "",
        }


def _rare(found: Sequence[Failed]) -> str:
    """Return how many rows failed otherwise than the page tells; empty where none did."""
    rows, kinds = counted(sum(each.rows for each in found), "row"), counted(len(found), "more kind")
    return f"… and {kinds} of failure, {rows}: the log has each" if found else ""


def _waits(timeline: Timeline | None) -> Iterator[tuple[str, str, str]]:
    for name, column in (timeline.columns if timeline is not None else {}).items():
        if name.startswith(SECONDS) and sum(column) >= _ENOUGH:
            reason = name.removeprefix(SECONDS)
            yield reason, duration(sum(column)), _WAITS.get(reason, ("", reason))[1]


def _settings(settings: Mapping[str, Any], *, shown: bool) -> dict[str, list[tuple[str, str]]]:
    """Return the settings by their group; of a prompt its text where that is `shown`."""
    return {
        group: [
            (
                _bounded(each.name, _NAME),
                printable(each.text[:_TEXT]) if shown and each.text else _bounded(each.value, _MESSAGE),
            )
            for each in own
        ]
        for group, own in settings.items()
        if own
    }


def _samples(output: Any, most: int) -> Iterator[dict[str, Any]]:
    """Yield the first rows that failed and the first that are ok, with their cells."""
    ends = [outcome for outcome, *_ in output._ends()] if most else []
    for title, wanted in (("failed", False), ("ok", True)):
        rows = (row for row, end in enumerate(ends) if (end == OK if wanted else end not in NOT_FAILED))
        positions = [row for row, _ in zip(rows, range(most), strict=False)]
        if positions:
            own, made = output._view.columns[:_COLUMNS], output._cells(positions)
            cells = dict(zip(own, given_cells(output._view, positions, own), strict=True)) | dict(made)
            yield {"title": title, "rows": [*_sampled(positions, cells)]}


def _sampled(positions: Sequence[int], cells: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for at, row in enumerate(positions):
        named = ((_bounded(str(name), _NAME), values[at]) for name, values in cells.items())
        own = [(name, "null" if cell is None else _bounded(str(cell), _CELL)) for name, cell in named]
        yield {"row": f"{place_of(row):,}", "cells": own}


def _timeline(name: str, axis: Axis, timeline: Timeline) -> Chart:
    """Return the chart of what a run did, one lane for each kind of thing."""
    causes = [cause for cause in _CAUSES if RETRIED + cause in axis.columns]
    given = [
        charts.Lane(
            "rows that ended, a second",
            {each: (axis.rate(each), tone) for each, tone in (("ok", "good"), ("failed", "bad"))},
        ),
        charts.Lane("requests sent, a second", {"sent": (axis.rate("sent"), "calm")}),
        charts.Lane("requests in flight at the most", {IN_FLIGHT: (axis.column(IN_FLIGHT), "calm")}),
    ]
    if axis.latency:
        tones = {"p50": "calm", "p95": "warn"}
        series = {each: (values, tones[each]) for each, values in axis.latency.items()}
        given.append(charts.Lane("seconds an attempt took, by its start", series, stacked=False))
    if causes:
        series = {each: (axis.rate(RETRIED + each), _CAUSES[each][0]) for each in causes}
        given.append(charts.Lane("requests sent again, a second", series))
    if axis.column(WAITING).any():
        given.append(charts.Lane("rows that wait for another attempt", {WAITING: (axis.column(WAITING), "idle")}))
    bands = [charts.Band(start, end, _WAITS[reason][0]) for start, end, reason in bands_of(axis) if reason in _WAITS]
    waits = [(f"{_WAITS[each][0]} band", each) for each in axis.named(SECONDS) if each in _WAITS]
    legend = [
        ("rows that ended", [("good", "ok"), ("bad", "failed")]),
        ("seconds an attempt took", [("calm", "p50"), ("warn", "p95")] if axis.latency else []),
        ("sent again", [(_CAUSES[each][0], each) for each in causes]),
        ("nothing sent, in all charts", waits),
    ]
    marks = [charts.Mark(second, "second run") for second in timeline.second_runs]
    return Chart(*charts.lanes(name, given, axis.edges, bands, marks), [each for each in legend if each[1]])


def _bounded(text: str, most: int) -> str:
    """Return a text without what could hide a part of it, with a mark where it is cut."""
    told = printable(" ".join(text[: most + 1].split()))
    return told if len(text) <= most else f"{told[:most]}…"


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
