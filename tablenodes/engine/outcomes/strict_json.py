"""An answer's JSON, read strictly, also where the fast parser gives up on what JSON allows."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import orjson

from ..policy import DEPTH_BYTES, DEPTH_KEPT

_LONGEST_INTEGER = 400
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_CLOSES = {"]": "[", "}": "{"}


class UnreadableError(ValueError):
    """A body that is not one strict JSON value in UTF-8.

    Attributes
    ----------
    broken : bool
        Whether another answer may well be readable: it is cut, or no JSON at all. False where the server answered as
        a whole, in its own way: another encoding, ``NaN``, or nested beyond what is looked into.
    """

    def __init__(self, message: str, *, broken: bool) -> None:
        super().__init__(message)
        self.broken = broken


def read(body: bytes) -> Any:
    """Give the value that `body` holds.

    Integers of thousands of digits, lone surrogates, numbers beyond a double, a byte order mark and any depth are
    JSON and are read, though the fast parser refuses them; ``NaN`` and ``Infinity`` are not. What is nested deeper
    than the slow parser goes is left out of the value.

    Raises
    ------
    UnreadableError
        If it is anything else.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        cut = error.reason == "unexpected end of data"
        raise UnreadableError("it is not UTF-8", broken=cut) from None
    try:
        return _loads(text)
    except json.JSONDecodeError:
        raise UnreadableError("it is not JSON", broken=True) from None
    except RecursionError:
        return _loads(_shallow(text))


def _loads(text: str) -> Any:
    return json.loads(text, parse_int=_integer, parse_constant=_refuse)


def _integer(digits: str) -> int | float:
    """Read any number of digits: Python refuses, and takes long for, what no reader of ours needs exactly."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _refuse(constant: str) -> NoReturn:
    raise UnreadableError(f"{constant} is not JSON", broken=False)


def _shallow(text: str) -> str:
    """Put null in the place of everything that is nested deeper than `DEPTH_KEPT`."""
    if len(text) > DEPTH_BYTES:
        raise UnreadableError("it is nested too deeply", broken=False)
    pieces: list[str] = []
    opened: list[str] = []
    start = 0
    for match in _BRACKETS.finditer(text):
        bracket = match[0]
        if bracket in "[{":
            opened.append(bracket)
            if len(opened) == DEPTH_KEPT:
                pieces.append(text[start : match.start()])
        elif bracket in _CLOSES:
            if not opened or opened.pop() != _CLOSES[bracket]:
                break
            if len(opened) == DEPTH_KEPT - 1:
                pieces.append("null")
                start = match.end()
    else:
        if not opened:
            return "".join((*pieces, text[start:]))
    raise UnreadableError("it is not JSON", broken=True)
