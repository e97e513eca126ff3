"""The messages of answers, as they go back to the API in a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from ..engine.records import OK
from ..plain import plain
from ..problems import Problem, Rejected, Unfit
from ..store.commits import reply

if TYPE_CHECKING:
    from ..run.output import Responses


class Replies:
    """The messages of a node's answers, row by row.

    Parameters
    ----------
    output : Responses
        What the node gave.
    """

    def __init__(self, output: Responses) -> None:
        self._output = output
        self._asked = enumerate(output.asked())

    def __call__(self, row: int) -> dict[str, Any]:
        """Give the message of a row's answer.

        Raises
        ------
        Rejected
            If there is none.
        """
        if row >= self._output.summary.rows:
            raise _none("there is no answer for this row")
        outcome, body = self._output.answer(row)
        if outcome != OK:
            raise _none(f"there is no answer for this row: it ended as {outcome}")
        return said(body)

    def asked(self, row: int) -> str | None:
        """Give the id of the conversation that a row's answer is to; rows are asked for in their order."""
        return next((conversation for at, conversation in self._asked if at == row), None)


def said(body: Any) -> dict[str, Any]:
    """Give the message of an answer's first choice.

    Parameters
    ----------
    body : str, dict or None
        A chat completion, as JSON or read from it.

    Raises
    ------
    Rejected
        If there is none.
    """
    try:
        answer = orjson.loads(body) if isinstance(body, str) else body
        message = plain(reply(answer))
    except (orjson.JSONDecodeError, Unfit):
        raise _none("the answer is no JSON that can be read") from None
    if message is None:
        raise _none("the answer has no message that a conversation could go on from")
    return dict(message)


def _none(why: str) -> Rejected:
    return Rejected(Problem("$.body", "upstream", why), outcome="upstream_failed")
