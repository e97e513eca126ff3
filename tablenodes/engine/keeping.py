"""What a run keeps beyond its process: which rows need not be sent again, and what is put down when."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .calls import Answer
from .journal import Entry
from .outcome_rules import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .journal import Journal, Key, Keys
    from .outcomes import Verdict
    from .records import Rejection

_KEPT_HEADERS = re.compile(
    rb"^(?:content-type|date|retry-after(?:-ms)?|x-should-retry|[\w-]*request-id|x-ratelimit-[\w-]+|openai-[\w-]+)"
    rb":[^\r\n]*\r?\n?",
    re.IGNORECASE | re.MULTILINE,
)
"""What an answer is judged by, and found again by; a cookie is neither."""

RETRY_FAILED = ("transient", "all", "none")
"""Which failed rows of an earlier run are sent again."""


class Found(NamedTuple):
    """What is to be done with a row, by what is known of it.

    Attributes
    ----------
    answer : Answer or None
        The answer to reuse; None where the row is to be sent or is in doubt.
    in_doubt : bool
        Whether it was sent, nothing came back, and it is not to be sent again.
    sends : int
        Sends of earlier runs.
    billed : bool
        Whether an earlier send may have been executed without its answer being delivered.
    """

    answer: Answer | None = None
    in_doubt: bool = False
    sends: int = 0
    billed: bool = False


_NOTHING = Found()


class Keeping:
    """Keeps nothing: a run without a journal.

    The loop asks `recall` before a row's first send, says `intend` before each send and `put_down` after each answer,
    and calls `commit` once a turn, before it sends what was intended.
    """

    def recall(self, row: int, body: bytes) -> Found:
        """Tell what is known of a row; called once a row, in the table's order."""
        return _NOTHING

    def intend(self, row: int) -> None:
        """Put down that a row is about to be sent."""

    def put_down(self, answer: Answer, verdict: Verdict) -> None:
        """Put down what came of a send."""

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
        self._journal = journal
        self._keys = keys
        self._resend_doubtful = resend_doubtful
        self._retry_failed = retry_failed
        self._at_most_once = at_most_once
        self._key_of: dict[int, Key] = {}

    def recall(self, row: int, body: bytes) -> Found:
        """Tell what is known of a row."""
        key = self._keys.key(body)
        entry = self._journal.find(key)
        if entry is not None and (found := self._final(row, entry)) is not None:
            return found
        self._key_of[row] = key
        if entry is None:
            return _NOTHING
        return Found(sends=entry.sends, billed=entry.billed or entry.outcome is None)

    def _final(self, row: int, entry: Entry) -> Found | None:
        """Give what ends a row without a send; None where it is to be sent."""
        if entry.outcome is None:
            return None if self._resend_doubtful else Found(in_doubt=True, sends=entry.sends, billed=True)
        if entry.kind is not None and self._again(entry):
            return None
        answer = Answer(
            row, entry.status, entry.headers, entry.body, entry.fault, entry.message, entry.sends, False, entry.latency
        )
        return Found(answer, sends=entry.sends, billed=entry.billed)

    def _again(self, entry: Entry) -> bool:
        if self._at_most_once and entry.billed:
            return False
        if self._retry_failed == "transient":
            return entry.kind != Failure.FINAL.value or entry.outcome in _ANOTHER_DAY
        return self._retry_failed == "all"

    def survey(self, prepared: Iterable[bytes | Rejection], keys: Keys) -> tuple[int, int]:
        """Count the rows that need not be sent, and those that will be; `keys` must be new ones."""
        reused = sending = 0
        for body in prepared:
            if isinstance(body, bytes):
                entry = self._journal.find(keys.key(body))
                ends = entry is not None and self._final(0, entry) is not None
                reused += ends
                sending += not ends
        return reused, sending

    def intend(self, row: int) -> None:
        """Put down that a row is about to be sent."""
        self._journal.intend(self._key_of[row])

    def put_down(self, answer: Answer, verdict: Verdict) -> None:
        """Put down what came of a send."""
        kind = None if verdict.kind is None else verdict.kind.value
        entry = Entry(
            answer.sends,
            verdict.may_have_run,
            verdict.outcome,
            kind,
            answer.status,
            b"".join(_KEPT_HEADERS.findall(answer.headers)),
            answer.body,
            answer.fault,
            answer.message,
            answer.elapsed,
        )
        self._journal.done(self._key_of[answer.key], entry, answer.sends - 1)

    def forget(self, row: int) -> None:
        """Take it that a row has come to its end."""
        self._key_of.pop(row, None)

    def commit(self) -> None:
        """Bring what was put down to the disk."""
        self._journal.commit()


_ANOTHER_DAY = frozenset({"auth", "quota_exhausted", "rate_limited"})
"""Final for a run, but not for the row: another key, a paid bill or a later hour mends them."""
