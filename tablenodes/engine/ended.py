"""What is kept on disk of a send that has come to its end, and the answer that is made of it again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from .calls import Answer
from .outcomes.rules import Failure

if TYPE_CHECKING:
    from .outcomes.judge import Verdict

_KEPT_HEADERS = re.compile(
    rb"\n((?:content-(?:type|length)|transfer-encoding|date|retry-after(?:-ms)?|(?:x-|apim-)?request-id"
    rb"|x-(?:should-retry|ratelimit-[\w-]+)|openai-[\w-]+):[^\r\n]*\r?)",
    re.IGNORECASE,
)
"""What an answer is judged by, and found again by; a cookie is neither."""

_ANOTHER_TIME = frozenset({"auth", "quota_exhausted", "rate_limited", "not_sent", "in_doubt"})
"""Final for a run, but not for the row: another key, a paid bill or a later hour mends them."""

_new: Any = tuple.__new__  # a named tuple's own constructor takes three times as long


class Ended(NamedTuple):
    """What came of a send; without an `outcome`, nothing has yet.

    Attributes
    ----------
    outcome : str or None
        What it meant.
    kind : str or None
        The class of its failure; None for ``ok``.
    status : int or None
        The HTTP status.
    headers, body : bytes
        As they came, without a secret.
    fault : str or None
        What broke the exchange.
    message : str
        The transport's words for it; where nothing was answered, those for the user.
    latency : float
        Seconds.
    """

    outcome: str | None = None
    kind: str | None = None
    status: int | None = None
    headers: bytes = b""
    body: bytes = b""
    fault: str | None = None
    message: str = ""
    latency: float = 0.0

    @classmethod
    def of(cls, answer: Answer, verdict: Verdict) -> Ended:
        """Give what is kept of an answer.

        Parameters
        ----------
        answer : Answer
            Without a secret.
        verdict : Verdict
            What it means.
        """
        message = answer.message
        made: Ended = _new(
            cls,
            (
                verdict.outcome,
                None if verdict.kind is None else verdict.kind.value,
                answer.status,
                b"\n".join(_KEPT_HEADERS.findall(b"\n" + answer.headers)),
                answer.body,
                answer.fault,
                message if message.isascii() else message.encode(errors="replace").decode(),
                answer.elapsed,
            ),
        )
        return made

    @property
    def may_pass(self) -> bool:
        """Whether it is a failure that may well be none another time."""
        if self.outcome in _ANOTHER_TIME:
            return True
        return self.kind is not None and self.kind != Failure.FINAL.value

    def answer(self, key: int, sends: int) -> Answer:
        """Give the answer again, as that of a call.

        Parameters
        ----------
        key : int
            The call's.
        sends : int
            Sends that were begun for it.
        """
        _, _, status, headers, body, fault, message, latency = self
        return Answer(key, status, headers, body, fault, message, sends, elapsed=latency)
