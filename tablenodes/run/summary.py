"""A run in numbers and words: what became of its rows, and what is said of that at its end."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engine.outcomes.server_errors import is_api_error
from ..engine.sink import NOT_FAILED, NOT_SENT, OK, PENDING, SKIPPED, SUBMITTED
from ..problems import Remark
from . import display
from .display import by_outcome, counted, duration
from .spending import Spent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..connection.endpoint import Endpoint
    from ..engine.calls import Request
    from ..engine.sink import Records
    from .failures import Failed
    from .spending import Spending
    from .timeline import Timeline

_REASONS = 3
_LACKING = {"filtered": "held back by a content filter", "refused": "refused by the model", "empty": "empty"}
_CALLS = frozenset(("tool_calls", "function_call"))
_NO_KEY_HERE = Remark(
    "no API key was sent: OPENAI_API_KEY goes only to the environment's own base URL; "
    "for another server, name it with api_key_env=",
    code="no_key_sent_here",
)
_NO_KEY = Remark("no API key was sent: name one with api_key_env=", code="no_key_sent")


@dataclass(frozen=True, repr=False)
class Summary:
    """A run in numbers.

    Attributes
    ----------
    rows : int
        Rows of the table.
    outcomes : dict of str to int
        Rows by outcome, ``ok`` first.
    requests : int
        Sends that were begun.
    first_try : int
        Rows that were ok with a single send of this run.
    reused : int
        Rows whose answer came from the journal.
    shared, shared_tokens : int
        Rows that have the answer of an equal row (``duplicates="once"``), and the tokens that these did not use.
    retries : dict of str to int
        Sends after the first, by what made them necessary.
    prompt_tokens, completion_tokens : int
        As the server counted them, also of answers that could not be used and were asked for again.
    cached_tokens : int
        How many of the prompts' tokens the server read from its cache, which costs less.
    cost : float or None
        USD for the answers of this run; None where no price is known.
    seconds, seconds_paused : float
        From the first to the last moment of the run, and how much of it nothing could be sent.
    stopped : str or None
        Why the run ended early.
    timeline : Timeline or None
        What the run did in each second: ``pd.DataFrame(summary.timeline.table())`` has it as a table. None where
        nothing was sent by it.
    notes : tuple of str
        What was done otherwise than asked, and what the counts do not show, one line each.
    """

    rows: int
    outcomes: Mapping[str, int]
    requests: int = 0
    first_try: int = 0
    reused: int = 0
    retries: Mapping[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    seconds_paused: float = 0.0
    stopped: str | None = None
    notes: tuple[str, ...] = ()
    shared: int = 0
    shared_tokens: int = 0
    spending: Spending | Spent | None = field(default=None, repr=False, compare=False)
    timeline: Timeline | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, counts: Mapping[str, int], **numbers: Any) -> Summary:
        """Return it for rows that are counted by outcome, in any order; `numbers` are the other attributes."""
        ordered = sorted(counts.items(), key=lambda each: (each[0] != OK, -each[1]))
        return cls(sum(counts.values()), {outcome: count for outcome, count in ordered if count}, **numbers)

    def joined(self, other: Summary, outcomes: Mapping[str, int], reused: int, spending: Spending) -> Summary:
        """Return this run and a second one of some of its rows as one: what both used, and what became of the rows."""
        numbers = [each.name for each in fields(self) if isinstance(getattr(self, each.name), int | float)]
        sums = {name: getattr(self, name) + getattr(other, name) for name in numbers}
        retries = Counter(self.retries)
        retries.update(other.retries)
        notes = (*other.notes, *(note for note in self.notes if note not in other.notes))
        made = Summary.of(outcomes)
        own = {"rows": made.rows, "outcomes": made.outcomes, "reused": reused, "retries": dict(retries), "notes": notes}
        first, second = self.timeline, other.timeline
        both = first and second and first.followed(second, self.seconds)
        return Summary(
            **{**sums, **own, "stopped": other.stopped, "spending": spending, "timeline": both or first or second}
        )

    @property
    def cost(self) -> float | None:
        """USD for the answers of this run, reused ones left out; None where no price is known."""
        return None if self._spent is None else self._spent.cost

    @property
    def cached_tokens(self) -> int:
        """How many of ``prompt_tokens`` the server read from its cache, which costs less."""
        return 0 if self._spent is None else self._spent.cached

    @property
    def _spent(self) -> Spent | None:
        spending = self.spending
        return spending if spending is None or isinstance(spending, Spent) else spending.spent

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "spending": self._spent}

    @property
    def ok(self) -> int:
        """Rows that were answered."""
        return self.outcomes.get(OK, 0)

    @property
    def failed(self) -> int:
        """Rows that were not, those that were skipped, only submitted or are pending left out."""
        return sum(count for outcome, count in self.outcomes.items() if outcome not in NOT_FAILED)

    @property
    def skipped(self) -> int:
        """Rows that a workflow's ``when`` left out."""
        return self.outcomes.get(SKIPPED, 0)

    @property
    def submitted(self) -> int:
        """Rows that were handed to a worker, which sends them later."""
        return self.outcomes.get(SUBMITTED, 0)

    @property
    def pending(self) -> int:
        """Rows for which a worker has no answer yet."""
        return self.outcomes.get(PENDING, 0)

    @property
    def _head(self) -> str:
        return f"{counted(self.rows, 'row')} in {duration(self.seconds)}: {by_outcome(self.outcomes)}"

    def __str__(self) -> str:
        return "\n".join([self._head, *(f"  {name:<9}{value}" for name, value in self._details())])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from ..notebook.markup import html  # noqa: PLC0415 - loaded where it is used
        from .panels import summary_panel  # noqa: PLC0415

        return html(summary_panel(self))

    def _details(self) -> Iterator[tuple[str, str]]:
        """Yield what more there is to say where something was asked, or answers were read: names, values, units."""
        rate = f" ({self.requests / self.seconds:,.1f} a second)" if self.seconds > 0 and self.requests else ""
        if self.requests or self.reused or self.stopped:
            yield "requests", f"{self.requests:,}{rate}"
        if self.reused:
            yield "reused", f"{counted(self.reused, 'row')} from the journal"
        if self.shared:
            tokens = f" and {self.shared_tokens:,} tokens" if self.shared_tokens else ""
            yield (
                "shared",
                f"{counted(self.shared, 'row')} from equal rows: {counted(self.shared, 'request')}{tokens} saved",
            )
        if retried := ", ".join(f"{count:,} after {why}" for why, count in self.retries.items() if count):
            yield "retries", retried
        if self.seconds_paused >= 0.1:
            yield "paused", duration(self.seconds_paused)
        if self.prompt_tokens or self.completion_tokens:
            share = self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0
            cached = f" ({share:.0%} of them from the cache)" if share else ""
            yield "tokens", f"{self.prompt_tokens:,} in{cached}, {self.completion_tokens:,} out"
        if self._spent is not None and (self._spent.cost is not None or self._spent.rows):
            yield "cost", str(self._spent)
        if self.stopped:
            yield "stopped", self.stopped
        for note in self.notes:
            yield "note", note


def say_failures(
    name: str,
    summary: Summary,
    failures: Callable[[], Sequence[Failed]],
    *,
    progress: bool | None,
    where: str = "the output's .failed has the rows, .log has the reasons",
) -> None:
    """Print one line on how many rows failed, as what and why; nothing where none did, or whoever asked reports it."""
    failed = {outcome: count for outcome, count in summary.outcomes.items() if outcome not in NOT_FAILED}
    if progress is False or not failed or display.REPORTED_ELSEWHERE.get():
        return
    found = failures()
    why = (f"{count:,} {outcome}{_why(outcome, found, summary)}" for outcome, count in failed.items())
    rows = f"{sum(failed.values()):,} of {counted(summary.rows, 'row')} failed: {'; '.join(why)}"
    stopped = f"; stopped: {summary.stopped}" if summary.stopped else ""
    display.say(f"{name}: {rows}{stopped}; {where}")
    for note in summary.notes:
        display.say(f"{name}: {note}")


def _why(outcome: str, found: Sequence[Failed], summary: Summary) -> str:
    """Return the statuses that rows of an outcome failed with and why, in brackets: each reason with its rows."""
    own = [each for each in found if each.outcome == outcome]
    statuses = sorted({each.status for each in own if each.status is not None})
    status = f"HTTP {', '.join(map(str, statuses))}" if statuses else ""
    told = [each for each in own if each.message and not (outcome == NOT_SENT and summary.stopped)]
    reasons = [each.message if len(told) == 1 else f"{each.rows:,}: {each.message}" for each in told[:_REASONS]]
    rest = [counted(len(told) - _REASONS, "more reason")] if len(told) > _REASONS else []
    made = ": ".join(filter(None, (status, "; ".join([*reasons, *rest]))))
    return f" ({made})" if made else ""


class Met(NamedTuple):
    """What many rows may have in common: answers that lack something, by what; pages that are no API's errors."""

    lacks: Counter[str]
    found_elsewhere: bool = False
    calling: int = 0  # rows whose answer calls a tool

    @classmethod
    def of(cls, records: Records) -> Met:
        """Return what the rows of a table have in common."""
        told = ((reason, outcome) for reason, outcome in zip(records.reason, records.outcome, strict=True) if reason)
        lacks = Counter(reason for reason, outcome in told if outcome == OK)
        ends = zip(records.status, records.body, strict=True) if records.counts["http_error"] else ()
        calling = 0
        if not _CALLS.isdisjoint(records.finish_reason):
            reasons = zip(records.finish_reason, records.outcome, strict=True)
            calling = sum(reason in _CALLS and outcome == OK for reason, outcome in reasons)
        return cls(lacks, any(status == 404 and not is_api_error(body) for status, body in ends), calling)

    def joined(self, other: Met) -> Met:
        """Return what the rows of both have in common."""
        found_elsewhere = self.found_elsewhere or other.found_elsewhere
        return Met(self.lacks + other.lacks, found_elsewhere, self.calling + other.calling)


def notes_on(
    counts: Mapping[str, int], met: Met, endpoint: Endpoint | None = None, request: Request | None = None
) -> Iterator[str]:
    """Yield a line for each thing that many rows have in common and that a user may not see."""
    if endpoint is not None and counts.get("auth") and not endpoint.sends_key:
        is_elsewhere = os.environ.get("OPENAI_API_KEY") and endpoint.connection.api_key is None
        yield _NO_KEY_HERE if is_elsewhere else _NO_KEY
    if request is not None and met.found_elsewhere:
        yield f"HTTP 404 for {request.url.partition('?')[0]}, not from an API: check the base URL"
    for reason, count in sorted(met.lacks.items()):
        were, its = ("was", "its") if count == 1 else ("were", "their")
        lacking = f"cut at {its} token limit" if reason == "cut" else _LACKING.get(reason)
        unknown = f"ended for a reason that is not known (finish_reason {reason})"
        yield f"{counted(count, 'answer')} {f'{were} {lacking}' if lacking else unknown}"
    if met.calling:
        told = f"{counted(met.calling, 'answer')} {'calls a tool' if met.calling == 1 else 'call tools'}"
        yield Remark(f"{told}: .calls has the calls", code="calls", values={"told": told})
