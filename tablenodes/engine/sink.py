"""Sinks: where the end of each row goes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from ..problems import Rejected, error_body, in_a_line
from .calls import Answer, Call
from .moments import Moments
from .outcomes.judge import Verdict
from .outcomes.rules import Failure

Source = Iterator[Call | tuple[int, "End"]]
NOT_SENT = "not_sent"
DOUBT = "sent, but no answer was seen; the server may have executed and billed it"
OK = "ok"
UNUSABLE = "unusable"
SKIPPED = "skipped"
SUBMITTED = "submitted"  # to a worker, which sends it later
PENDING = "pending"  # with a worker, which has no answer yet
NOT_FAILED = (OK, SKIPPED, SUBMITTED, PENDING)
_AT_ONCE = 1024  # ends that are made into columns together
_new: Any = tuple.__new__  # a named tuple's own constructor takes three times as long


class End(NamedTuple):
    """What became of a row.

    The body is what the server sent, of a stream what was put together; the API's error object where nothing came.
    `attempts` are sends in all runs, `maybe_billed` whether one may have been executed without its answer being
    delivered, `reused` whether it is the end of an earlier run, `latency` the seconds of the last attempt, `started`
    those from the run's first moment until the row was first sent; the others are as in `Verdict`.
    """

    outcome: str
    body: bytes
    status: int | None = None
    attempts: int = 0
    maybe_billed: bool = False
    reused: bool = False
    latency: float | None = None
    request_id: str | None = None
    finish_reason: str | None = None
    retry_after: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reason: str | None = None
    message: str | None = None
    kind: Failure | None = None
    started: float | None = None


_DEFAULTS = End._field_defaults
_SHARED = ("outcome", "body", "status", "request_id", "finish_reason", "retry_after", "reason", "message", "kind")
"""What a row has of another one's end: nothing was sent for it, and nothing spent."""


def end_of(
    answer: Answer,
    verdict: Verdict,
    attempts: int,
    maybe_billed: bool,
    reused: bool = False,
    started: float | None = None,
) -> End:
    """Return the end of a row by its last answer, whatever that means."""
    outcome, kind, message, _, wait, request_id, finish_reason, prompt, completion, total, _, _, _, body, why = verdict
    _, status, _, given, _, _, _, _, latency = answer
    if status is None:
        body = error_body(outcome, message)
    elif body is None:
        body = given
    # fmt: off
    end: End = _new(End, (
        outcome, body, status, attempts, maybe_billed, reused, latency,
        request_id, finish_reason, wait, prompt, completion, total, why, message or None, kind, started,
    ))
    # fmt: on
    return end


def unanswered(outcome: str, message: str, path: str | None = None) -> End:
    """Return the end of a row that has no answer, and why."""
    return End(outcome, error_body(outcome, message, path), message=in_a_line(message, path, {outcome}))


def rejected(why: Rejected) -> End:
    """Return the end of a row that cannot be sent."""
    path, rule, message, _ = why.problem
    told = in_a_line(message, path, {why.outcome, rule})
    return End(why.outcome, error_body(why.outcome, message, path, rule), reason=rule, message=told)


def in_doubt(sends: int) -> End:
    """Return the end of a row that was sent without an answer being seen."""
    return unanswered("in_doubt", DOUBT)._replace(attempts=sends, maybe_billed=True)


class Sink(Protocol):
    """Takes the end of each row, by its key: in a table its position. The loop writes to it and to nothing else."""

    @property
    def room(self) -> int:
        """How many rows may have begun and not ended, asked before each; what a stopped run looks up is more."""

    def accept(self, row: int, end: End) -> None:
        """Accept the end of a row; each row ends once."""

    def finish(self, reason: str | None) -> None:
        """End what never began: nothing is accepted any more. `reason` says why, None where all came to their ends."""


class Tally:
    """A sink that counts ends, by outcome, and keeps none."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.recalled: Counter[str] = Counter()  # rows among them that have the end of an earlier run

    @property
    def room(self) -> int:
        """How many rows may have begun and not ended."""
        return sys.maxsize

    @property
    def settled(self) -> int:
        """How many rows have come to their end."""
        return self.counts.total()

    def accept(self, row: int, end: End) -> None:
        self.counts[end[0]] += 1

    def finish(self, reason: str | None) -> None:
        """Do nothing: nobody knows how many rows have not begun."""


class Records(Tally):
    """A sink in memory: the ends of a table's rows by position, as columns that are whole once it is finished."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._rows: list[int] = []
        self._ends: list[End] = []
        self.shared: dict[int, int] = {}  # rows that have the end of another one: which one's
        self.outcome: list[str] = [NOT_SENT] * rows
        self.body: list[Any] = [None] * rows  # text, once it is finished
        self.status: list[int | None] = [None] * rows
        self.attempts: list[int] = [0] * rows
        self.maybe_billed: list[bool] = [False] * rows
        self.reused: list[bool] = [False] * rows
        self.latency: list[float | None] = [None] * rows
        self.request_id: list[str | None] = [None] * rows
        self.finish_reason: list[str | None] = [None] * rows
        self.retry_after: list[float | None] = [None] * rows
        self.prompt_tokens: list[int | None] = [None] * rows
        self.completion_tokens: list[int | None] = [None] * rows
        self.total_tokens: list[int | None] = [None] * rows
        self.reason: list[str | None] = [None] * rows
        self.message: list[str | None] = [None] * rows
        self.kind: list[Failure | None] = [None] * rows
        self.started = Moments.none(rows)

    def __len__(self) -> int:
        return len(self.outcome)

    def accept(self, row: int, end: End) -> None:
        self._rows.append(row)
        self._ends.append(end)
        self.counts[end[0]] += 1
        if end[5]:
            self.recalled[end[0]] += 1
        if len(self._ends) == _AT_ONCE:
            self._fill()

    def share(self, row: int, first: int, outcome: str) -> None:
        """End a row as another one has ended, with this outcome; without its attempts and tokens."""
        self.shared[row] = first
        self.counts[outcome] += 1

    def finish(self, reason: str | None) -> None:
        self._fill()
        for name in _SHARED if self.shared else ():
            column = getattr(self, name)
            for row, first in self.shared.items():
                column[row] = column[first]
        end = unanswered(NOT_SENT, reason or "not sent")
        for row, body in enumerate(self.body):
            if body is None:
                self.accept(row, end)
        self._fill()

    def unended(self) -> list[int]:
        """Return the rows that have no end by now."""
        self._fill()
        return [row for row, body in enumerate(self.body) if body is None]

    def updated(self, other: Records, rows: Sequence[int]) -> Records:
        """Return these ends with those of other ones, which are finished too, at the rows of a table that they are of.

        What may have been billed before may still have been.
        """
        made = Records(0)
        for name in End._fields:
            column = [*getattr(self, name)]
            for row, value in zip(rows, getattr(other, name), strict=True):
                column[row] = value or column[row] if name == "maybe_billed" else value
            setattr(made, name, Moments(column) if name == "started" else column)
        asked = frozenset(rows)
        made.shared = {row: first for row, first in self.shared.items() if row not in asked}
        made.counts.update(made.outcome)
        return made

    def _fill(self) -> None:
        """Move the ends that were kept into the columns: many at once, so that no row keeps its tuple for long."""
        if not self._ends:
            return
        made = dict(zip(End._fields, zip(*self._ends, strict=True), strict=True))
        made["body"] = tuple([body.decode("utf-8", "replace") for body in made["body"]])
        self.started.put(self._rows, made.pop("started"))
        for name, values in made.items():
            default = _DEFAULTS.get(name, made)
            if values[0] is default and values.count(default) == len(values):
                continue  # as the column has it already
            column = getattr(self, name)
            for row, value in zip(self._rows, values, strict=True):
                column[row] = value
        self._rows.clear()
        self._ends.clear()
