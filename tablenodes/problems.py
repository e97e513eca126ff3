"""What is wrong with one row: as a value, and in the API's own error shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import orjson

MESSAGE_LENGTH = 500  # an error message is at most this many characters long


class Problem(NamedTuple):
    """One thing that is wrong with a request body.

    Attributes
    ----------
    path : str
        Where: a JSON path such as ``$.messages[0].role``.
    rule : str
        The schema's keyword, such as ``maximum``, or the name of a rule of ours.
    message : str
        What is wrong, worded from the rule and its limit, never from the value.
    got : str
        A type's name, or a number or an enumerated word of under 40 characters; may be empty.
    """

    path: str
    rule: str
    message: str
    got: str = ""


_RULES = (
    "answer",
    "cell",
    "conversation",
    "id",
    "image",
    "internal",
    "json",
    "null",
    "placeholder",
    "stopped",
    "upstream",
)
NAMING_THEIR_PLACE = frozenset({*_RULES, "not_sent", "unknown_id"})
"""The rules and outcomes whose messages name what they are about; others say of their path what is wrong with it."""


def in_a_line(message: str, path: str | None, rules: Iterable[str]) -> str:
    """Return a message that stands alone, with its path unless a rule says that it names its place itself."""
    return message if not path or path == "$" or NAMING_THEIR_PLACE.intersection(rules) else f"{path}: {message}"


class Remark(str):
    """A warning's text that also knows which setting it is about: ``place``, such as ``stop`` or ``inputs.verb``.

    A door that says the same in other words makes them of its ``code`` and its ``values``.
    """

    place: str
    code: str
    values: Mapping[str, Any]

    def __new__(cls, text: str, place: str = "", code: str = "", values: Mapping[str, Any] | None = None) -> Self:
        """Return the text, with its place."""
        made = super().__new__(cls, text)
        made.place, made.code, made.values = place, code, values or {}
        return made


class Note(Remark):
    """A remark on what nobody has to change."""


def remarked(remark: str) -> str:
    """Return a remark with what it is: a warning, unless it is a `Note`."""
    return f"{'note' if isinstance(remark, Note) else 'warning'}: {remark}"


class Unfit(Exception):  # noqa: N818 - it stands for a cell, in its place
    """A value that a row cannot have, of a cell or a placeholder: raised, or kept in the cell's place.

    Its text says why, without the value. In a cell's place, `value` is the cell all the same, for who can use it.
    """

    value: object = None


class Rejected(Exception):  # noqa: N818 - a row that cannot be sent: data, not a failure of ours
    """Why a row cannot be sent, and what it ends as: raised by what makes its body, handed on in the body's place.

    `made` is what could be made of it all the same, of a row that is made piece by piece; else None.
    """

    def __init__(self, *problems: Problem, outcome: str = "invalid_request", made: Any = None) -> None:
        super().__init__(problems[0].message)
        self.problems = problems
        self.outcome = outcome
        self.made = made

    @property
    def problem(self) -> Problem:
        """The first thing that is wrong."""
        return self.problems[0]


def error_body(kind: str, message: str, param: str | None = None, code: str | None = None) -> bytes:
    """Return the API's error object as JSON."""
    message = message if len(message) <= MESSAGE_LENGTH else message[: MESSAGE_LENGTH - 1] + "…"
    error = {"type": kind, "message": message, "param": param, "code": code}
    return orjson.dumps({"error": error})
