"""What is said at the end of a run: the numbers, why rows failed and what to do, and where the table is."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..engine.sink import PENDING
from ..notices import counted, folded, width_of
from ..run.cures import cure
from ..run.display import duration, place_of
from ..run.failures import Failed
from ..run.run import SAMPLED
from .complaints import option_for, worded

if TYPE_CHECKING:
    from ..run.output import NodeOutput
    from ..run.provenance import Provenance

    Outputs = Mapping[str, NodeOutput[Any]]

_KINDS = 5  # kinds of failure that are told, of each node
_REASONS = 3  # why an earlier answer is missing, of each node
_LENGTHS = (
    None,
    170,
    145,
    125,
    110,
    95,
    80,
    65,
    50,
)  # characters of a server's words: so many that all fits on the screen
_NEVER_SENT = ("invalid_request", "upstream_failed", "invalid_id", "unknown_id")
_LIMITS = ("max_cost", "max_requests", "token_budget")
_NOT_SENT, _UPSTREAM = "not_sent", "upstream_failed"


def report(
    outputs: Outputs, places: Sequence[str], *, keeps: bool, has_journal: bool, details: bool = False
) -> list[str]:
    """Return what is said at a run's end, a line each; on a terminal together, as short as its screen needs it.

    `places` say where things are; `keeps` says whether the command could have a journal.
    """
    heads = {name: _head(name if len(outputs) > 1 else "", output, details=details) for name, output in outputs.items()}
    for name in _sampled(outputs)[1:]:
        heads[name] = heads[name].replace(f"\n  {'note':<9}{SAMPLED}", "")  # it is said of the first of them
    found = {
        name: _merged(output._failures()) if output.summary.failed or output.summary.pending else []
        for name, output in outputs.items()
    }
    every = [*chain(*found.values())]
    made = {name: output._provenance for name, output in outputs.items()}
    limit = next((output.summary.stopped for output in outputs.values() if output.summary.stopped in _LIMITS), "")
    again = _again(every, limit, _Whole.of(outputs), has_journal=has_journal) if keeps else []
    is_mixed = bool(again) and has_journal and not limit and not all(each.passes for each in every)
    tail = [*places, *again]
    width, room = width_of(sys.stderr), shutil.get_terminal_size((80, 24)).lines - 2
    is_one = all(output.summary.rows == 1 for output in outputs.values())
    lines: list[str] = []
    for longest in _LENGTHS:
        lines = [*_told(heads, found, made, longest, is_one=is_one, sent_again=is_mixed), *tail]
        if width is None:
            return lines
        if folded("\n".join(lines), width).count("\n") < room:
            break
    return ["\n".join(lines)]  # a person sees at once who says it


def _head(name: str, output: NodeOutput[Any], *, details: bool) -> str:
    """Return a node's summary; with `details`, how long its requests took too."""
    summary = output.summary
    lines = [*_skipped(output), *summary._details(), *(_times(output) if details else ())]
    told = [f"  {what:<9}{worded(value)}" for what, value in lines]
    return "\n".join([f"{name}: {summary._head}" if name else summary._head, *told])


def _sampled(outputs: Outputs) -> list[str]:
    """Return the nodes whose equal rows share an answer that was sampled."""
    return [name for name, output in outputs.items() if SAMPLED in output.summary.notes]


def _skipped(output: NodeOutput[Any]) -> Iterator[tuple[str, str]]:
    """Yield why rows were skipped where all were: of some, the table says it."""
    if 0 < output.summary.rows == output.summary.skipped:
        why = next(message for _, _, message, _, _ in output._ends())
        yield "skipped", f"all, such as row {place_of(0)}: {why}"


def _times(output: NodeOutput[Any]) -> Iterator[tuple[str, str]]:
    """Yield how long attempts took, and how many rows took several."""
    from .. import tables  # noqa: PLC0415 - loads pandas

    log = tables.view(output.log)
    if "latency" not in log.columns:
        return
    rows = [*log.rows(("latency", "attempts", "reused"))]
    took = sorted((latency, row) for row, (latency, _, reused) in enumerate(rows) if latency is not None and not reused)
    if took:
        seconds = [latency for latency, _ in took]
        middle, most = (seconds[int(share * (len(seconds) - 1))] for share in (0.5, 0.95))
        longest = f"longest {duration(seconds[-1])} (row {place_of(took[-1][1])})"
        yield "attempt", f"{duration(middle)} in the middle, 95 % within {duration(most)}, {longest}"
    if several := [(attempts, -row) for row, (_, attempts, _) in enumerate(rows) if attempts and attempts > 1]:
        attempts, row = max(several)
        yield "attempts", f"{counted(len(several), 'row')} took more than one, row {place_of(-row)} {attempts:,}"


def _told(
    heads: Mapping[str, str],
    found: Mapping[str, Sequence[Failed]],
    made: Mapping[str, Provenance | None],
    longest: int | None,
    *,
    is_one: bool,
    sent_again: bool,
) -> list[str]:
    """Return the summary of each node, and why its rows failed: of one row, not where it is."""
    lines = []
    for name, head in heads.items():
        told, rest = found[name][:_KINDS], found[name][_KINDS:]
        places = ["" if is_one else _place(each, is_first=at == 0) for at, each in enumerate(told)]
        pairs = zip(told, places, strict=True)
        lines += [head, *(_failed(each, place, longest, made[name], sent_again=sent_again) for each, place in pairs)]
        if rest:
            rows = counted(sum(each.rows for each in rest), "more row")
            lines.append(f"{rows} failed in {counted(len(rest), 'other way')}: see the column message")
    return lines


def _place(failed: Failed, *, is_first: bool) -> str:
    return f" (first at row {place_of(failed.row)}{', rows count from 0' if is_first else ''})"


def _failed(failed: Failed, place: str, longest: int | None, made: Provenance | None, *, sent_again: bool) -> str:
    """Return how many rows failed, of what, which is the first of them, and what to do."""
    why = failed.message or ("" if failed.status is None else f"HTTP {failed.status}")
    if longest is not None and len(why) > longest:
        why = _shortened(why, longest if failed.status is None else longest // 3, longest)
    why = why.removeprefix("not sent: ").removeprefix("not answered yet: ")
    line = f"{_how(failed)}{why and f': {why}'}{place}"
    otherwise = "run the same command again" if failed.passes and sent_again else ""
    fix = cure(failed, option_for, made) or otherwise
    return f"{line}\n  to do    {fix}" if fix else line


def _shortened(why: str, begin: int, longest: int) -> str:
    """Return the begin of a reason, and the end too where more is left: servers mostly say at last what to do."""
    start, end = why[:begin], why[2 - longest + begin :] if begin + 2 < longest else ""
    return f"{start.rpartition(' ')[0] or start} … {end.partition(' ')[2] or end}".rstrip()


def _merged(found: Sequence[Failed]) -> list[Failed]:
    """Return what rows failed of, those together whose earlier answer is missing: why it is, is said of the earlier."""
    waiting = [each for each in found if each.outcome == _UPSTREAM]
    if len(waiting) < 2:
        return [*found]
    first = min(waiting, key=lambda each: each.row)
    heads = {each.message.rpartition(": ")[0] for each in waiting}
    start = len(f"{heads.pop()}: ") if len(heads) == 1 and "" not in heads else 0
    told = [f"{each.message[start:]} ({counted(each.rows, 'row')})" for each in waiting[:_REASONS]]
    rest = sum(each.rows for each in waiting[_REASONS:])
    why = f"{first.message[:start]}{'; '.join(told)}{f'; {rest:,} for other reasons' if rest else ''}"
    together = first._replace(rows=sum(each.rows for each in waiting), message=why)
    return [*(each for each in found if each.outcome != _UPSTREAM), together]


def _how(failed: Failed) -> str:
    rows, one = counted(failed.rows, "row"), failed.rows == 1
    if failed.outcome == PENDING:
        return f"{rows} {'is' if one else 'are'} pending"
    if failed.outcome == _NOT_SENT:
        return f"{rows} {'was' if one else 'were'} not sent"
    if failed.outcome == "invalid_request":
        return f"{rows} cannot be sent"
    if failed.outcome == "unusable":
        return f"{rows} {'has' if one else 'have'} no usable answer"
    is_error = failed.status is not None and failed.status >= 300
    return f"{rows} failed with {f'HTTP {failed.status}' if is_error else failed.outcome}"


class _Whole(NamedTuple):
    """What a run is of: how many rows, where a single node's table says how they ended, whether it has several."""

    rows: int
    outcome: str
    is_of_several: bool

    @classmethod
    def of(cls, outputs: Outputs) -> _Whole:
        answers = [getattr(output, "_answers", None) for output in outputs.values()]
        name = answers[0].named("outcome") if len(answers) == 1 and answers[0] is not None else ""
        rows = sum(output.summary.rows - output.summary.skipped for output in outputs.values())
        return cls(rows, name, len(outputs) > 1)


def _again(found: Sequence[Failed], limit: str, whole: _Whole, *, has_journal: bool) -> list[str]:
    """Return what the same command does about the rows that failed; `limit` is the one that was reached, if any."""
    sent = [each for each in found if each.outcome not in _NEVER_SENT]
    rows, passing = sum(each.rows for each in sent), sum(each.rows for each in sent if each.passes)
    raised = f"raise {option_for(limit)} to continue" if limit else ""
    if not rows and found and has_journal:
        return ["correct them and run the same command again: what was answered is not sent again"]
    if not rows:
        return []
    if not has_journal:
        again = "no journal was kept: the same command sends every row again; with --output or --journal, only these"
        return [raised, again] if raised else [again]
    if limit == "token_budget":  # each run has its own
        raised = f"run the same command again to continue, or raise {option_for(limit)} to go further at once"
    return [_sent_again(sent, rows, passing, raised, whole)]


def _sent_again(sent: Sequence[Failed], rows: int, passing: int, raised: str, whole: _Whole) -> str:
    """Return which rows are sent again from a journal, by the same command or with a limit `raised`."""
    if passing == rows:
        again = "run the same command again to send what failed again, and nothing else"
        return f"{raised}: what was answered is not sent again" if raised else again
    kept = {each.outcome for each in sent if not each.passes}
    unchanged = f"--retry-failed {next(iter(kept)) if len(kept) == 1 else 'all'}"
    them = "they or the settings" if rows == whole.rows else "they"
    changed = f"once {them} change, or with {unchanged}{_otherwise_set(rows, kept, whole)}"
    if not passing:
        return f"the same command sends these rows again {changed}"
    nodes, is_mixed = " of all nodes" if whole.is_of_several else "", any(each.outcome == _NOT_SENT for each in sent)
    them = f"rows{nodes} that failed or were not sent" if is_mixed else f"failed rows{nodes}"
    some, anew = f"{passing:,} of the {rows:,} {them}", "" if is_mixed else " again"
    head = f"{raised}: {some} are sent then" if raised else f"run the same command again to send {some}{anew}"
    return f"{head}; the others {changed}"


def _otherwise_set(rows: int, kept: Collection[str], whole: _Whole) -> str:
    """Return what another setting costs, and how only the rows that failed are asked with it."""
    if rows == whole.rows:
        return ""
    if whole.is_of_several:
        return "; with another setting a node sends, and pays for, all rows again"
    told = f"; with another setting it sends, and pays for, all {whole.rows:,} rows again"
    context = click.get_current_context(silent=True)
    if not whole.outcome or context is None or not option_for("into").startswith("--into"):
        return told
    if (path := context.params.get("output")) is None or "://" in path or path == "-":
        return told
    which = " or ".join(f"{whole.outcome} == '{each}'" for each in sorted(kept))
    return f'{told}: to ask only these so, read {quote(path)} with --where "{which}" and --into NAME'
