"""What became of each row: one growing set of columns, a place a row."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING

from ..problems import error_body

if TYPE_CHECKING:
    from ..problems import Rejected
    from .calls import Answer
    from .scheduling.attempts import Done

NOT_SENT = "not_sent"
DOUBT = "sent, but no answer was seen; it may have been executed and billed"
OK = "ok"


class Records:
    """The result of every row, by its position.

    Parameters
    ----------
    rows : int
        How many there are.

    Attributes
    ----------
    body, status, outcome, request_id, finish_reason : list
        One place a row; None where there is none. A row that nothing happened to is ``not_sent``.
    attempts : array of unsigned int
        Sends that were begun.
    maybe_billed, reused : bytearray
        Flags, 0 or 1.
    latency : array of float
        Seconds of the last attempt; NaN where nothing was sent.
    retry_after : dict of int to float
        Seconds that the server asked to wait, for the rows where it did.
    prompt_tokens, completion_tokens, total_tokens : list of int or None
        As the server counted them.
    counts : Counter
        Rows that are settled, by outcome.
    """

    def __init__(self, rows: int) -> None:
        self.body: list[str | None] = [None] * rows
        self.status: list[int | None] = [None] * rows
        self.outcome: list[str] = [NOT_SENT] * rows
        self.attempts = array("I", bytes(4 * rows))
        self.maybe_billed = bytearray(rows)
        self.reused = bytearray(rows)
        self.latency = array("d", [float("nan")]) * rows
        self.request_id: list[str | None] = [None] * rows
        self.finish_reason: list[str | None] = [None] * rows
        self.retry_after: dict[int, float] = {}
        self.prompt_tokens: list[int | None] = [None] * rows
        self.completion_tokens: list[int | None] = [None] * rows
        self.total_tokens: list[int | None] = [None] * rows
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.outcome)

    @property
    def settled(self) -> int:
        """How many rows have come to their end."""
        return self.counts.total()

    def reject(self, row: int, rejected: Rejected) -> None:
        """Put down that a row was not sent, and why."""
        problem = rejected.problem
        self.body[row] = error_body(rejected.outcome, problem.message, problem.path)
        self._settle(row, rejected.outcome)

    def answer(self, answer: Answer, done: Done) -> None:
        """Put down the end of a row: the last answer's text as it came, or an error object where none came.

        Of a stream that is ok it is the body that was put together.

        Parameters
        ----------
        answer : Answer
            The row's last one.
        done : Done
            What it means, and what it took.
        """
        row, verdict, self.attempts[row], self.maybe_billed[row] = done
        if answer.status is None:
            self.body[row] = error_body(verdict.outcome, verdict.message)
        else:
            self.body[row] = text(answer.body if verdict.body is None else verdict.body)
            self.status[row] = answer.status
        self.latency[row] = answer.elapsed
        self.request_id[row] = verdict.request_id
        self.finish_reason[row] = verdict.finish_reason
        if verdict.retry_after is not None:
            self.retry_after[row] = verdict.retry_after
        self.prompt_tokens[row] = verdict.prompt_tokens
        self.completion_tokens[row] = verdict.completion_tokens
        self.total_tokens[row] = verdict.total_tokens
        self._settle(row, verdict.outcome)

    def unanswered(self, row: int, outcome: str, message: str) -> None:
        """Put down that a row has no answer, and why."""
        self.body[row] = error_body(outcome, message)
        self._settle(row, outcome)

    def fill_unsettled(self, outcome: str, message: str) -> None:
        """Put down one end for all rows that have none."""
        body = error_body(outcome, message)
        for row, has_body in enumerate(self.body):
            if has_body is None:
                self.body[row] = body
                self._settle(row, outcome)

    def _settle(self, row: int, outcome: str) -> None:
        self.outcome[row] = outcome
        self.counts[outcome] += 1


def text(data: bytes) -> str:
    """Give an answer's bytes as text, U+FFFD for what is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="replace")
