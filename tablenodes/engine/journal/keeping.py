"""What a run keeps beyond its process: which rows need not be sent again, and what is put down when."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..ended import Ended
from ..outcomes.rules import Failure
from .journal import Finder, Line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...problems import Rejected
    from ..calls import Answer
    from ..outcomes.judge import Verdict
    from .journal import Journal, Keys


class Found(NamedTuple):
    """What is known of a row from earlier runs, and whether that is its end.

    Attributes
    ----------
    sends : int
        Sends of earlier runs.
    again : bool
        Whether it is to be sent; what follows is its end only if it is not.
    answer : Answer or None
        What came of the last send; None where nothing did.
    billed : bool
        Whether an earlier send may have been executed without its answer being delivered.
    """

    sends: int = 0
    again: bool = True
    answer: Answer | None = None
    billed: bool = False


_NOTHING = Found()


class Keeping:
    """Keeps nothing: a run without a journal.

    The loop asks `recall` before a row's first send, says `intend` before each send and `put_down` after each answer,
    and calls `commit` once a turn, before it sends what was intended.

    Attributes
    ----------
    keeps : bool
        Whether it keeps anything at all; where it does not, it need not be asked or told.
    knows : bool
        Whether anything is known from earlier runs.
    """

    keeps = False
    knows = False

    def recall(self, row: int, body: bytes) -> Found:
        """Tell what is known of a row; called once a row, in the table's order."""
        return _NOTHING

    def intend(self, row: int) -> None:
        """Put down that a row is about to be sent."""

    def put_down(self, answer: Answer, verdict: Verdict) -> None:
        """Put down what came of a send."""

    def take_back(self, row: int, answer: Answer | None, verdict: Verdict | None) -> None:
        """Put down that a row was not sent after all; what came of its last send, where there was one, is its end."""

    def forget(self, row: int) -> None:
        """Take it that a row has come to its end."""

    def commit(self) -> None:
        """Bring what was put down to the disk."""


class JournalKeeping(Keeping):
    """Keeps everything in a journal.

    Parameters
    ----------
    journal : Journal
        Open.
    keys : Keys
        Gives each row its key.
    resend_doubtful : bool
        Whether rows in doubt are sent again.
    retry_failed : {"transient", "all", "none"}
        Which failed rows are sent again.
    at_most_once : bool
        Whether nothing is sent again that may have been executed.
    """

    def __init__(
        self,
        journal: Journal,
        keys: Keys,
        *,
        resend_doubtful: bool = True,
        retry_failed: str = "transient",
        at_most_once: bool = False,
    ) -> None:
        self.keeps = True
        self._journal = journal
        self._keys = keys
        self._resend_doubtful = resend_doubtful
        self._retry_failed = retry_failed
        self._at_most_once = at_most_once
        self._finder = Finder(journal)
        self._line_of: dict[int, Line] = {}
        self.knows = journal.rows > 0

    def recall(self, row: int, body: bytes) -> Found:
        """Tell what is known of a row."""
        key = self._keys.key(body)
        found = self._finder.find(key)
        if found is None:
            self._line_of[row] = Line(key)
            return _NOTHING
        line, end = found
        again = self._again(line, end)
        line.billed = line.billed or end.outcome is None
        if again:
            self._line_of[row] = line
        answer = None if end.outcome is None else end.answer(row, line.sends)
        return Found(line.sends, again, answer, line.billed)

    def _again(self, line: Line, end: Ended) -> bool:
        """Tell whether a row is to be sent that was sent before."""
        if end.outcome is None:
            return self._resend_doubtful
        if end.kind is None or (self._at_most_once and line.billed):
            return False
        if self._retry_failed == "transient":
            return end.may_pass
        return self._retry_failed == "all"

    def survey(self, prepared: Iterable[bytes | Rejected], keys: Keys) -> tuple[int, int]:
        """Count the rows that need not be sent, and those that will be; `keys` must be new ones."""
        finder = Finder(self._journal)
        reused = sending = 0
        for body in prepared:
            if isinstance(body, bytes):
                found = finder.find(keys.key(body))
                again = found is None or self._again(*found)
                reused += not again
                sending += again
        return reused, sending

    def intend(self, row: int) -> None:
        """Put down that a row is about to be sent."""
        self._journal.intend(self._line_of[row])

    def put_down(self, answer: Answer, verdict: Verdict) -> None:
        """Put down what came of a send."""
        end = Ended.of(answer, verdict)
        self._journal.done(self._line_of[answer.key], end, billed=verdict.may_have_run, unforeseen=answer.sends - 1)

    def take_back(self, row: int, answer: Answer | None, verdict: Verdict | None) -> None:
        """Put down that a row was not sent after all."""
        end = Ended("not_sent", Failure.NOT_EXECUTED.value) if answer is None else Ended.of(answer, verdict)  # type: ignore[arg-type]
        self._journal.done(self._line_of[row], end, unforeseen=-1)

    def forget(self, row: int) -> None:
        """Take it that a row has come to its end."""
        self._line_of.pop(row, None)

    def commit(self) -> None:
        """Bring what was put down to the disk."""
        self._journal.commit()
