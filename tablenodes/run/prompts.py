"""What a request says to the model, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import orjson

from .display import counted, place_of, printable

_KEPT = 3_000  # characters


class RowPrompt(NamedTuple):
    """What one row says to the model: its position, the text (of a very long one the beginning), and its length."""

    row: int
    text: str
    length: int

    @classmethod
    def of(cls, row: int, body: Mapping[str, Any]) -> Self:
        """Return a request's prompt."""
        text = prompt_text(body)
        return cls(row, text[:_KEPT], len(text))

    def caption(self, prompts: Sequence[RowPrompt]) -> str:
        """Return which of a check's prompts it is."""
        kinds = ("first prompt", "longest prompt") if len(prompts) > 1 else ("first and longest prompt",)
        kind = kinds[prompts.index(self)]
        return f"{kind} (row {place_of(self.row):,}, {counted(self.length, 'character')})"

    def line(self, most: int) -> str:
        """Return it in one line of at most so many characters."""
        words = printable(" ".join(self.text[: 4 * most].split()))
        return words if len(words) <= most and len(self.text) == self.length else f"{words[: most - 1]}…"


def prompt_text(body: Mapping[str, Any]) -> str:
    """Return the text that a request has: of several messages each with its role."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        return _text(body.get("prompt", body.get("input", messages)))
    if len(messages) == 1:
        return _text(messages[0].get("content"))
    return "\n".join(f"{each.get('role')}: {_text(each.get('content'))}" for each in messages)


def _text(content: Any) -> str:
    """Return a message's text; other parts by their type, and what is no text as JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return " ".join(_parts(content))
    return "" if content is None else orjson.dumps(content).decode()


def _parts(content: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for part in content:
        text = part.get("text")
        yield text if isinstance(text, str) else f"[{part.get('type')}]"
