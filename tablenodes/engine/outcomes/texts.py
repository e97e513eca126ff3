"""What stands in an answer: its JSON, and the text of its first choice."""

from __future__ import annotations

from typing import Any

import orjson

from .strict_json import UnreadableError, read


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
        return _with_whole_characters(read(body.encode() if isinstance(body, str) else body))


def _with_whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_with_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {_with_whole_characters(name): _with_whole_characters(item) for name, item in value.items()}
    return value


def first_text(body: str | bytes | None) -> str | None:
    """Give the text of an answer's first choice, or None where it has none."""
    try:
        choice = document_of(body or "")["choices"][0]
        found = choice["message"].get("content") if "message" in choice else choice.get("text")
    except (UnreadableError, LookupError, TypeError, AttributeError):
        return None
    return found if isinstance(found, str) else None
