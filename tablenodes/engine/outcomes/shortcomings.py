"""What a complete answer lacks: it is ``ok``, and yet cut, refused, filtered or empty."""

from __future__ import annotations

from typing import Any, NamedTuple

from .finish_reasons import meaning_of

LACKS = {
    "cut": "the answer was cut at its token limit",
    "refused": "the model refused to answer",
    "filtered": "the answer was held back by a content filter",
    "empty": "the answer is empty",
}
"""The reasons of rows that are ``ok`` all the same, and their words."""
_LONGEST = 60
_BESIDE_TEXT = ("tool_calls", "function_call", "audio", "images")
_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking")


class Lack(NamedTuple):
    """What an answer lacks: the log's ``reason`` and its words; both are None where it lacks nothing."""

    reason: str | None = None
    words: str | None = None


NOTHING = Lack()


def is_plain(choice: dict[str, Any]) -> bool:
    """Check, fast, whether a choice has a text and no refusal."""
    message = choice.get("message")
    if type(message) is not dict:
        text = choice.get("text")
        return type(text) is str and text != "" and not text.isspace()
    text = message.get("content")
    return type(text) is str and text != "" and not text.isspace() and not message.get("refusal")


def lack_of(choices: list[dict[str, Any]]) -> Lack | None:
    """Return what an answer of these choices lacks, which is what the first one does; None where one of them failed."""
    lacks = [_lack(choice) for choice in choices]
    return None if None in lacks else lacks[0]


def _lack(choice: dict[str, Any]) -> Lack | None:
    given = choice.get("finish_reason")
    meaning = meaning_of(given)
    holds = is_plain(choice) or _holds(choice)
    if meaning == "failed" or (meaning == "unknown" and not holds):
        return None
    if meaning != "filtered" and _refuses(choice):
        meaning = "refused"
    if meaning in LACKS:
        return _told(meaning)
    if not holds:
        return _told("empty", ": only its reasoning came" if _reasons(choice) else "")
    if meaning == "unknown":
        named = "".join(c for c in str(given)[:_LONGEST] if c.isprintable())
        return Lack(named, f"the answer ended for a reason that is not known (finish_reason {named})")
    return NOTHING


def _told(reason: str, more: str = "") -> Lack:
    return Lack(reason, LACKS[reason] + more)


def _holds(choice: dict[str, Any]) -> bool:
    """Check whether a choice has anything for which it was asked."""
    message = choice.get("message")
    if type(message) is not dict:
        return False
    content = message.get("content")
    if isinstance(content, list):
        texts = (part.get("text", True) if isinstance(part, dict) else part for part in content)
        return any(text.strip() if isinstance(text, str) else text for text in texts)
    return is_plain(choice) or any(message.get(name) for name in _BESIDE_TEXT)


def _refuses(choice: dict[str, Any]) -> bool:
    message = choice.get("message")
    if type(message) is not dict:
        return False
    refusal, content = message.get("refusal"), message.get("content")
    if isinstance(content, list):
        refusal = refusal or any(isinstance(part, dict) and part.get("type") == "refusal" for part in content)
    return bool(refusal and (refusal is True or str(refusal).strip()))


def _reasons(choice: dict[str, Any]) -> bool:
    message = choice.get("message")
    return type(message) is dict and any(message.get(name) for name in _REASONING)
