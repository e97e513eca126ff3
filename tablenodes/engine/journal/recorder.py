"""Recorders: what is kept beyond the process, and which rows need not be sent again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ...problems import Rejected
from ..calls import Answer, Call, place_of
from ..outcomes.judge import Verdict, is_outlasted
from ..outcomes.rules import Failure
from ..sink import BREATH, NOT_SENT, End, Source, end_of, in_doubt
from .batch_marks import REJECTED, RowPlaces
from .entry import Entry, KeptAnswer, Key, Keys, may_pass
from .finder import Finder
from .journal import Journal, Row
from .seen_digests import start_of

Body = bytes | Rejected
RETRY_FAILED = ("transient", "all", "none")  # which failed rows of an earlier run are sent again, or their outcomes
_NEVER_SENT = KeptAnswer(NOT_SENT, Failure.NOT_EXECUTED.value)
_REFUSED = ("auth", "quota_exhausted", NOT_SENT)
_AT_A_TIME = 1024  # rows whose ends are read at once
_SETTLED = ("http_error", NOT_SENT)
"""Outcomes of refusals that were known only once others were answered, or refused too."""


class Recorder:
    """Keeps nothing: that of a run without a journal. All goes by the keys of calls.

    The loop says `intend` before each send and `record` after each answer, and `commit` once a turn, before it sends
    what was intended; it says nothing where `keeps` is false. `knows` is whether there was an earlier run; `earlier`
    has the sends of earlier runs, and whether one may have been billed, of calls that are sent again; `reused` and
    `doubtful` count the calls so far whose end is that of an earlier run, and those in doubt that are sent again.
    """

    keeps = False
    knows = False

    def __init__(self) -> None:
        self.earlier: dict[int, tuple[int, bool]] = {}
        self.reused = self.doubtful = 0

    def recalled(self, source: Source) -> Source:
        """Return what a source gives, with the ends of earlier runs in the place of calls that need not be sent."""
        return source

    def recall(self, call: Call) -> Call | tuple[int, End]:
        """Return a call that is to be sent, or its end in an earlier run; to be asked in the table's order."""
        return call

    def before(self, call: Call) -> End | None:
        """Return the end that a call had in an earlier run, although it was to be sent again."""
        return None

    def was_refused(self, key: int) -> bool:
        """Check whether a call was refused in an earlier run for what may have been the key's fault, or its own."""
        return False

    def has_answers(self) -> bool:
        """Check whether a row was answered in an earlier run."""
        return False

    def answered_beyond(self, rows: int) -> bool:
        """Check whether there was an earlier run that kept more rows than these, and any was answered."""
        return False

    def intend(self, key: int) -> None:
        """Record that a call is about to be sent."""

    def record(self, answer: Answer, verdict: Verdict) -> None:
        """Record what came of a send."""

    def take_back(self, key: int) -> None:
        """Record that a call was not sent after all: what came of its last send, where there was one, is its end."""

    def forget(self, key: int) -> None:
        """Forget a call that has come to its end."""

    def commit(self) -> None:
        """Bring what was recorded to the disk."""


def is_asked_again(retry_failed: str | Sequence[str], outcome: str | None, *, may_pass: bool) -> bool:
    """Check whether a row that failed so is one of those to send again: one of `RETRY_FAILED`, or outcomes and such."""
    words = (retry_failed,) if isinstance(retry_failed, str) else retry_failed
    return "all" in words or outcome in words or ("transient" in words and may_pass)


@dataclass(eq=False, repr=False)
class JournalRecorder(Recorder):
    """Keeps everything in a journal.

    `resend_doubtful`: rows in doubt are sent again. `retry_failed`: which failed rows are, of `RETRY_FAILED` or by
    their outcomes. `at_most_once`: nothing is that may have been executed.
    """

    keeps = True

    journal: Journal
    _: KW_ONLY
    resend_doubtful: bool = True
    retry_failed: str | Sequence[str] = "transient"
    at_most_once: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self._finder = Finder(self.journal)
        self.places: RowPlaces | None = None  # learns where rows are that have come to their ends
        self._entries: dict[int, Entry] = {}
        self.knows = self.journal.rows > 0

    def recalled(self, source: Source) -> Source:
        for item in source:
            yield self.recall(item) if isinstance(item, Call) else self.passed(item)

    def passed(self, item: Any) -> Any:
        """Return the end of a row of which no request can be made, as it is."""
        if self.places is not None and item[1] is not BREATH:
            self.places.put(item[0], REJECTED)
        return item

    def recall(self, call: Call) -> Call | tuple[int, End]:
        key = call.scope.key(call.body)
        return self._recalled(call, key, self._finder.find(key))

    def _recalled(self, call: Call, key: Key, entry: Entry | None) -> Call | tuple[int, End]:
        """Return a call that is to be sent, or its end in an earlier run, of which the entry is what is known."""
        if entry is None:
            self._entries[call.key] = Entry(key)
            return call
        again = self._again(entry)
        entry.billed = entry.billed or entry.last is None
        if not again:
            self.reused += 1
            if self.places is not None:
                self.places.put(call.key, entry.place, entry.key)
            return call.key, _end(call, entry)
        self.doubtful += entry.last is None
        self._entries[call.key] = entry
        self.earlier[call.key] = entry.sends, entry.billed
        return call

    def looked_up(self, call: Call) -> tuple[Key, Row | None]:
        """Return the key of a call, and the journal's row of it, unchecked; to be asked in the table's order."""
        key = call.scope.key(call.body)
        return key, self._finder.row(key)

    def reuses(self, row: Row) -> bool:
        """Check whether the end in the journal is used again, whatever its answer is; count it then."""
        outcome, kind = row[5:7]
        if outcome is not None and kind is not None:
            self.journal.check(row)
        again = self._is_again(outcome, kind, bool(row[4]))
        self.reused += not again
        return not again

    def passes(self, call: Call, at: int, places: Sequence[int]) -> bool:
        """Check whether all rows at these places are reused, of which one is that of this call; count them then."""
        if self.journal.read(places[at], places[at])[0][1] != call.scope.digest(call.body):
            return False
        rows = places if REJECTED not in places else [place for place in places if place != REJECTED]
        starts = self.journal.starts(rows) if isinstance(rows, range) else None
        starts = self._starts(rows) if starts is None else starts
        if starts is None:
            return False
        call.scope.pass_by(starts)
        self._finder.pass_by(rows)
        self.reused += len(rows)
        return True

    def _starts(self, places: Sequence[int]) -> bytes | None:
        """Return what is kept of the digests at some places whose rows are all reused; None where one is not."""
        found, reused = bytearray(), self.reused
        for at in range(0, len(places), _AT_A_TIME):
            for row in self.journal.at(places[at : at + _AT_A_TIME]):
                if not self.reuses(row):
                    self.reused = reused
                    return None
                found += start_of(row[1], row[2])
        self.reused = reused
        return bytes(found)

    def recalled_as(self, call: Call, key: Key, row: Row | None) -> Call | tuple[int, End]:
        """Do what `recall` does for a call that was looked up."""
        return self._recalled(call, key, None if row is None else self.journal.entry(row))

    def ends(self, call: Call, rows: Sequence[int], places: Sequence[int]) -> Iterator[tuple[int, End]]:
        """Yield the ends in the journal of some rows of a table, at these places; their calls are as this one is."""
        for at in range(0, len(places), _AT_A_TIME):
            here = slice(at, at + _AT_A_TIME)
            for number, row in zip(rows[here], self.journal.at(places[here]), strict=True):
                entry = self.journal.entry(row)
                entry.billed = entry.billed or entry.last is None
                yield number, _end(call, entry)

    def before(self, call: Call) -> End | None:
        return _end(call, self._entries[call.key]) if call.key in self.earlier else None

    def was_refused(self, key: int) -> bool:
        """Check whether a call was refused in an earlier run for what may have been the key's fault, or its own."""
        last = self._entries[key].last
        return last is not None and last.outcome in _REFUSED

    def has_answers(self) -> bool:
        """Check whether a row was answered in an earlier run."""
        return self.journal.has_answers()

    def answered_beyond(self, rows: int) -> bool:
        return self.journal.rows > rows and self.has_answers()

    def _again(self, entry: Entry) -> bool:
        """Check whether a row is to be sent that was sent before."""
        last = entry.last
        return self._is_again(last and last.outcome, last and last.kind, entry.billed)

    def _is_again(self, outcome: str | None, kind: str | None, billed: bool) -> bool:
        if outcome is None:
            return self.resend_doubtful
        if kind is None or (self.at_most_once and billed):
            return False
        return is_asked_again(self.retry_failed, outcome, may_pass=may_pass(outcome, Failure(kind)))

    def surveyed(self, prepared: Iterable[Body], keys: Keys) -> Iterator[tuple[Body, Key | None, Entry | None]]:
        """Yield each row with its key, None where it is rejected, and its end in an earlier run that is used again."""
        for body in prepared:
            key = keys.key(bytes(body), place_of(body)) if isinstance(body, bytes) else None
            entry = None if key is None else self._finder.find(key)
            yield body, key, None if entry is None or self._again(entry) else entry

    def intend(self, key: int, *, rides: bool = False) -> None:
        entry = self._entries[key]
        entry.rides = rides
        self.journal.intend(entry)

    def record(self, answer: Answer, verdict: Verdict) -> None:
        entry = self._entries[answer.key]
        last = entry.last
        if last is None or not is_outlasted(answer, verdict, last, last.outcome):
            answer = answer if last is None else answer.after(last.status, last.headers, last.body)
            entry.last = last = KeptAnswer.of(answer, verdict)
        self.journal.done(entry, last, billed=verdict.may_have_run, unforeseen=answer.sends - 1)

    def take_back(self, key: int) -> None:
        entry = self._entries[key]
        self.journal.done(entry, entry.last or _NEVER_SENT, unforeseen=-1)

    def forget(self, key: int) -> None:
        entry = self._entries.pop(key, None)
        self.earlier.pop(key, None)
        if self.places is not None and entry is not None:
            self.places.put(key, entry.place, entry.key)

    def commit(self) -> None:
        self.journal.commit()


def _end(call: Call, entry: Entry) -> End:
    """Return the end that a row had in an earlier run."""
    if entry.last is None:
        return in_doubt(entry.sends)
    answer = entry.last.answer(call.key, entry.sends)
    verdict = call.judge(answer, call.body)
    if entry.last.outcome in _SETTLED and answer.status is not None:
        verdict = verdict._replace(outcome=entry.last.outcome)
    return end_of(answer, verdict, entry.sends, entry.billed, reused=True)
