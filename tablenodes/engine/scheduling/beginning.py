"""What a prompt begins with: requests whose prompts begin alike go to one server, which has that in its cache."""

from __future__ import annotations

from typing import Any

import orjson

from .. import policy


def asked_of(body: bytes) -> dict[str, Any]:
    """Return what a request asks for; nothing of one that is no object."""
    try:
        asked = orjson.loads(body)
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}


def beginning_of(asked: dict[str, Any]) -> bytes:
    """Return what a request's prompt begins with, the same for all turns of a conversation.

    That is its ``prompt_cache_key`` where it has one; else what comes before the first message that is the user's, and
    the beginning of that one.
    """
    if (key := asked.get("prompt_cache_key")) is not None:
        return orjson.dumps(key)
    prompt = asked.get("messages", asked.get("input", asked.get("prompt")))
    if isinstance(prompt, list):
        first = next((at for at, each in enumerate(prompt) if _is_of_user(each)), len(prompt))
        prompt = prompt[: first + 1]
    return orjson.dumps(prompt)[: policy.BEGINNING]


def _is_of_user(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "user"
