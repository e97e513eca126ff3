"""What is known of a row that failed at least once, and of one that has come to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..outcomes.rules import Failure

if TYPE_CHECKING:
    from ...settings import Retry
    from ..outcomes.judge import Verdict


def most_failures(retry: Retry, *, at_most_once: bool) -> dict[Failure, int]:
    """Give how often a row is tried again after each kind of failure."""
    return {
        Failure.NOT_EXECUTED: retry.not_executed,
        Failure.THROTTLED: retry.throttled,
        Failure.SERVER_ERROR: 0 if at_most_once else retry.server_error,
        Failure.AMBIGUOUS: 0 if at_most_once else retry.ambiguous,
        Failure.FINAL: 0,
    }


class Done(NamedTuple):
    """A row that has come to its end.

    Attributes
    ----------
    key : int
        The row.
    verdict : Verdict
        What its last answer meant.
    attempts : int
        Sends that were begun for it.
    maybe_billed : bool
        Whether any of them may have been executed without its answer being delivered.
    """

    key: int
    verdict: Verdict
    attempts: int
    maybe_billed: bool


class Attempts:
    """The attempts of a row that has failed.

    Attributes
    ----------
    first_at, started_at : float
        When the first and the last of them began.
    ends_at : float
        When the row's time is over: nothing is sent for it any more.
    tries : int
        Attempts that count against `Retry.max_attempts`.
    failures : dict of Failure to int
        Those that count against the limits of their kinds.
    reconnected : bool
        Whether the row had its immediate repeat after a dead connection.
    verdict : Verdict
        What the last answer meant.
    kind : Failure
        What kind of failure that was.
    """

    __slots__ = (
        "_maybe_billed",
        "_sends",
        "ends_at",
        "failures",
        "first_at",
        "kind",
        "reconnected",
        "started_at",
        "tries",
        "verdict",
    )

    verdict: Verdict
    kind: Failure

    def __init__(self, first_at: float, ends_at: float) -> None:
        self.first_at = self.started_at = first_at
        self.ends_at = ends_at
        self.tries = self._sends = 0
        self.failures: dict[Failure, int] = {}
        self.reconnected = self._maybe_billed = False

    def add(self, verdict: Verdict, sends: int, started_at: float) -> None:
        """Take the end of one attempt in."""
        self.verdict = verdict
        self.started_at = started_at
        self._sends += sends
        self._maybe_billed = self._maybe_billed or verdict.may_have_run

    def count(self, kind: Failure, sends: int) -> None:
        """Count the last attempt against the row; what a transport repeated by itself counts as well."""
        self.tries += max(1, sends)
        self.failures[kind] = self.failures.get(kind, 0) + 1

    def done(self, key: int) -> Done:
        """End the row with what the last answer meant."""
        return Done(key, self.verdict, self._sends, self._maybe_billed)
