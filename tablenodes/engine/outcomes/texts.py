"""What stands in an answer: its JSON, and the text of its first choice."""

from __future__ import annotations

import re
from typing import Any

import orjson

from .strict_json import UnreadableError, read

_HALF = rb"\ufffd"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""One of JSON's escapes: a pair that is one character, half of such a pair, or another."""


def document_of(body: str | bytes) -> Any:
    """Give the JSON value that a good answer holds, whatever JSON allows in it; U+FFFD for half a character.

    Raises
    ------
    UnreadableError
        If it is none.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        data = body.encode() if isinstance(body, str) else body
        return read(_ESCAPE.sub(lambda found: _HALF if found[1] else found[0], data))


def first_text(body: str | bytes | None) -> str | None:
    """Give the text of an answer's first choice, or None where it has none."""
    try:
        choice = document_of(body or "")["choices"][0]
        found = choice["message"].get("content") if "message" in choice else choice.get("text")
    except (UnreadableError, LookupError, TypeError, AttributeError):
        return None
    if isinstance(found, str):
        return found
    return joined(found) if isinstance(found, list) else None


def joined(parts: list[Any]) -> str | None:
    """Give the texts of a content that comes in parts as one, or None where none is a text."""
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str)) if any(isinstance(t, str) for t in texts) else None
