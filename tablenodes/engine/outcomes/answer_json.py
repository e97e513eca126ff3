"""An answer's JSON: read strictly, also where the fast parser gives up on what JSON allows, and its first text."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import orjson

from ..policy import DEPTH_BYTES, DEPTH_KEPT
from .response_objects import choices_of

_LONGEST_INTEGER = 400
_FIRST_OF_SEVERAL = range(0xC2, 0xF5)  # the bytes that begin a character of several bytes in UTF-8
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_CLOSES = {"]": "[", "}": "{"}
_DONE_AT_END = re.compile(rb"(?<=[}\s])data:[ \t]*\[DONE\]\s*\Z")
_HALF = rb"\ufffd"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""One of JSON's escapes: a pair that is one character, half of such a pair, or another."""


class UnreadableError(ValueError):
    """A body that is not one strict JSON value in UTF-8.

    `broken` says whether another answer may well be readable: it is cut, or no JSON at all. False where the server
    answered as a whole, in its own way: another encoding, ``NaN``, or nested beyond what is looked into.
    """

    def __init__(self, message: str, *, broken: bool) -> None:
        super().__init__(message)
        self.broken = broken


def read(body: bytes) -> Any:
    """Return the value that `body` holds, or raise `UnreadableError`.

    Integers of thousands of digits, lone surrogates, numbers beyond a double, a byte order mark and any depth are
    JSON and are read, though the fast parser refuses them; ``NaN`` and ``Infinity`` are not. What is nested deeper
    than the slow parser goes is left out of the value.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        text = body.decode().lstrip("\ufeff \t\r\n")
    except UnicodeDecodeError as error:
        raise UnreadableError("it is not UTF-8", broken=_is_cut(error)) from None
    try:
        return _loads(text)
    except json.JSONDecodeError:
        raise UnreadableError("it is not JSON", broken=True) from None
    except RecursionError:
        return _loads(_shallow(text))


def without_done(body: bytes) -> bytes | None:
    """Return a body without the ``data: [DONE]`` at its end, None where there is none."""
    found = _DONE_AT_END.search(body)
    return None if found is None else body[: found.start()]


def document_of(body: str | bytes) -> Any:
    """Return what `read` does of a good answer, with U+FFFD for half a character."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        data = body.encode() if isinstance(body, str) else body
        return read(_ESCAPE.sub(lambda found: _HALF if found[1] else found[0], data))


def readable(body: str | bytes | None) -> Any:
    """Return what `document_of` does; None for what cannot be read, and for no body."""
    try:
        return document_of(body or "")
    except ValueError:  # also of a text with half a character, which is no UTF-8
        return None


def first_text(body: str | bytes | None) -> str | None:
    """Return the text of an answer's first choice, or None where it has none."""
    return text_of(readable(body))


def text_of(document: Any) -> str | None:
    """Return the text of the first choice of an answer, or None where it has none."""
    return text_in(first_choice(document))


def first_choice(document: Any) -> Any:
    """Return the first choice of an answer, or None where it has none."""
    try:
        return document["choices"][0]
    except (LookupError, TypeError):
        return next(iter(choices_of(document) or ()), None)


def text_in(choice: Any) -> str | None:
    """Return the text of a choice, or None where it has none."""
    try:
        found = choice["message"].get("content") if "message" in choice else choice.get("text")
    except (LookupError, TypeError, AttributeError):
        return None
    if isinstance(found, str):
        return found
    return joined(found) if isinstance(found, list) else None


def joined(parts: list[Any]) -> str | None:
    """Return the texts of a content that comes in parts as one, or None where none is a text."""
    texts = [part if isinstance(part, str) else _text_in(part) for part in parts]
    return "".join(text for text in texts if isinstance(text, str)) if any(isinstance(t, str) for t in texts) else None


def _text_in(part: Any) -> Any:
    return part.get("text") if isinstance(part, dict) and part.get("type") in ("text", "output_text") else None


def _is_cut(error: UnicodeDecodeError) -> bool:
    """Check whether bytes that are not UTF-8 would be, were the last character whole."""
    return error.end == len(error.object) and error.object[error.start] in _FIRST_OF_SEVERAL


def _loads(text: str) -> Any:
    return json.loads(text, parse_int=_integer, parse_constant=_refuse)


def _integer(digits: str) -> int | float:
    """Read any number of digits: Python refuses, and takes long for, what no reader of ours needs exactly."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _refuse(constant: str) -> NoReturn:
    raise UnreadableError(f"{constant} is not JSON", broken=False)


def _shallow(text: str) -> str:
    """Replace by null everything that is nested deeper than `DEPTH_KEPT`."""
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
