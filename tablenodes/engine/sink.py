"""Sinks: where the end of each row goes."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from typing import Any, NamedTuple, Protocol, cast

from ..problems import Rejected, error_body, in_a_line
from .calls import Answer, Call
from .outcomes.judge import Verdict
from .outcomes.rules import Failure
from .packed_columns import AT_ONCE, NO_SLOT, Column, Packed, Texts, Values

Source = Iterator[Call | tuple[int, "End"]]
NOT_SENT = "not_sent"
DOUBT = "sent, but no answer was seen; the server may have executed and billed it"
OK = "ok"
UNUSABLE = "unusable"
SKIPPED = "skipped"
SUBMITTED = "submitted"  # to a worker, which sends it later
PENDING = "pending"  # with a worker, which has no answer yet
NOT_FAILED = (OK, SKIPPED, SUBMITTED, PENDING)
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
    text: str | None = None


BREATH = End("", b"")  # of no row: there is no room until the loop has taken a turn
_UNENDED = {**End._field_defaults, "outcome": NOT_SENT, "body": None}
SHARED = (
    *("outcome", "body", "text", "status", "request_id"),
    *("finish_reason", "retry_after", "reason", "message", "kind"),
)
"""What a row has of another one's end: nothing was sent for it, and nothing spent."""


class SharedEnd(End):
    """The end of a row that has what another one's end may share."""

    __slots__ = ()

    @classmethod
    def of(cls, end: End) -> SharedEnd:
        """Return what a row has of an end, without its attempts and tokens."""
        return cls(**{name: getattr(end, name) for name in SHARED})


def end_of(
    answer: Answer,
    verdict: Verdict,
    attempts: int,
    maybe_billed: bool,
    reused: bool = False,
    started: float | None = None,
) -> End:
    """Return the end of a row by its last answer, whatever that means."""
    outcome, kind, message, _, wait, request, finish, prompt, completion, total, _, _, _, body, why, text = verdict
    _, status, _, given, _, _, _, _, latency = answer
    if status is None:
        body = error_body(outcome, message)
    elif body is None:
        body = given
    # fmt: off
    end: End = _new(End, (
        outcome, body, status, attempts, maybe_billed, reused, latency,
        request, finish, wait, prompt, completion, total, why, message or None, kind, started, text,
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

    outcome: Column
    body: Column  # text
    status: Column
    attempts: Column
    maybe_billed: Column
    reused: Column
    latency: Column
    request_id: Column
    finish_reason: Column
    retry_after: Column
    prompt_tokens: Column
    completion_tokens: Column
    total_tokens: Column
    reason: Column
    message: Column
    kind: Column
    started: Column
    text: Column

    def __init__(self, rows: int, bodies: Packed | None = None) -> None:
        super().__init__()
        self._pending: dict[int, End] = {}  # one step adds to it, whoever may raise in between
        self._batches = 0  # of ends that are in the columns
        self._slots = array("i", [NO_SLOT]) * rows
        self.further: dict[str, Sequence[Any]] = {}  # what a log has of some runs alone: `packed`, `server`
        self.shared: dict[int, int] = {}  # rows that have the end of another one: which one's
        for name in End._fields:
            packed = (bodies or Texts()) if name == "body" else Values()
            setattr(self, name, Column(self._slots, packed, _UNENDED.get(name)))

    def __len__(self) -> int:
        return len(self._slots)

    def accept(self, row: int, end: End) -> None:
        self._pending[row] = end
        self.counts[end[0]] += 1
        if end[5]:
            self.recalled[end[0]] += 1
        if len(self._pending) >= AT_ONCE:
            self._fill()

    def share(self, row: int, first: int, outcome: str) -> None:
        """End a row as another one has ended, with this outcome; without its attempts and tokens."""
        self.shared[row] = first
        self.counts[outcome] += 1

    def finish(self, reason: str | None) -> None:
        end = unanswered(NOT_SENT, reason or "not sent")
        for row in self.unended():
            self.accept(row, end)
        while self._pending:
            self._fill()
        if not self.shared:
            return
        lent = self._slots[:]
        for row, first in self.shared.items():
            lent[row] = lent[first]
        for name in SHARED:
            getattr(self, name).slots = lent

    def unended(self) -> list[int]:
        """Return the rows that have no end by now."""
        pending, shared = self._pending, self.shared
        without = (row for row, slot in enumerate(self._slots) if slot == NO_SLOT)
        return [row for row in without if row not in pending and row not in shared]

    def updated(self, other: Records, rows: Sequence[int]) -> Records:
        """Return these ends with those of other ones, which are finished too, at the rows of a table that they are of.

        What may have been billed before may still have been.
        """
        made, are_shared = Records(0), bool(self.shared or other.shared)
        own = self._spliced(other, rows, "started")
        lent = self._spliced(other, rows, "body") if are_shared else own
        for name in End._fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            packed = mine.packed.before(theirs.packed, self._batches)
            setattr(made, name, Column(lent if name in SHARED else own, packed, mine.default))
        billed = [*self.maybe_billed]
        for row, value in zip(rows, other.maybe_billed, strict=True):
            billed[row] = value or billed[row]
        made.maybe_billed = Column.of(billed)
        made._slots, made._batches = own, self._batches + other._batches
        for name in self.further | other.further:
            made.further[name] = both = [*self.further.get(name, repeat(None, len(self)))]
            for row, value in zip(rows, other.further.get(name, repeat(None, len(rows))), strict=True):
                both[row] = value
        asked = frozenset(rows)
        made.shared = {row: first for row, first in self.shared.items() if row not in asked}
        made.counts.update(made.outcome)
        return made

    def _spliced(self, other: Records, rows: Sequence[int], name: str) -> array[int]:
        """Return the slots of a column with those of a second run in the places of its rows."""
        slots, behind = getattr(self, name).slots[:], self._batches * AT_ONCE
        for row, slot in zip(rows, getattr(other, name).slots, strict=True):
            slots[row] = slot if slot == NO_SLOT else behind + slot
        return cast("array[int]", slots)

    @property
    def own_bodies(self) -> Column:
        """The bodies that were paid for: not those of rows that share another one's."""
        return Column(self.started.slots, self.body.packed, None)

    def _fill(self) -> None:
        """Move the ends that were kept into the columns: a batch at once, so that no row keeps its tuple for long.

        A handler of a signal may raise in the middle of it: then the same is done once more.
        """
        rows = [*islice(self._pending, AT_ONCE)]
        self._put(self._batches, rows, zip(*map(self._pending.__getitem__, rows), strict=True))
        left = dict(islice(self._pending.items(), AT_ONCE, None))
        self._batches, self._pending = self._batches + 1, left

    def fill(self, number: int, rows: Sequence[int], columns: Iterable[Sequence[Any]]) -> None:
        """Accept a batch of `AT_ONCE` ends, the `number`th one, as columns; whoever has collected them counts them."""
        self._put(number, rows, columns)
        self._batches = number + 1

    def _put(self, number: int, rows: Sequence[int], columns: Iterable[Sequence[Any]]) -> None:
        for name, values in zip(End._fields, columns, strict=True):
            getattr(self, name).packed.put(number, values, rows)
        slots = self._slots
        for slot, row in enumerate(rows, number * AT_ONCE):
            slots[row] = slot
