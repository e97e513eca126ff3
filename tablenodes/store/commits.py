"""Conversations as values: an id stands for a message and the conversation before it, as a commit does."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from ..problems import Problem, Rejected

_VERSION = b"tablenodes conversation 1\n"
_ID = re.compile(r"conv_[0-9a-f]{40}", re.ASCII)
_KEYS = (
    *("role", "id", "index", "type", "name", "content", "text", "refusal", "image_url", "url", "detail"),
    *("tool_calls", "function_call", "function", "arguments", "tool_call_id"),
)
_ORDER = {name: place for place, name in enumerate(_KEYS)}
"""The order in which the API writes a message's keys; others follow by the alphabet."""
NO_ID = 'not a conversation\'s id: "conv_" and 40 digits of 0-9 and a-f, as a node returned it'
NO_CONVERSATION = "the row has no conversation: the step before made none, or the cell is empty"
NO_MESSAGE = "the conversation has no message yet: add one with AddUserMessage"
_TAKEN_BACK = ("content", "refusal", "tool_calls", "function_call", "name")


def unknown_conversation(outcome: str = "invalid_id", message: str = NO_ID) -> Rejected:
    """Return why an id stands for no conversation that can be read."""
    return Rejected(Problem("$.conversation", "conversation", message), outcome=outcome)


class Link(NamedTuple):
    """A conversation's last message as JSON in its one form, and where it goes on from."""

    id: str
    parent: str
    message: bytes


def written(message: Any) -> bytes:
    """Return a message as JSON in its one form, which is the same however its keys are ordered."""
    return orjson.dumps(_ordered(message))


def _ordered(value: Any) -> Any:
    if type(value) is dict:
        if len(value) == 2 and "role" in value and type(value.get("content")) is str:  # by far the most common
            return {"role": value["role"], "content": value["content"]}
        keys = sorted(value, key=lambda key: (_ORDER.get(key, len(_ORDER)), key))
        return {key: _ordered(value[key]) for key in keys}
    return [_ordered(item) for item in value] if type(value) is list else value


def id_of(parent: str, message: bytes) -> str:
    """Return the id of a conversation: of nothing else than its messages, so that the same ones have the same id."""
    digest = hashlib.sha256(b"%b%b\n%b" % (_VERSION, parent.encode(), message))
    return "conv_" + digest.hexdigest()[:40]


EMPTY = id_of("", b"")  # the conversation without a message; it is in no store


def is_id(value: object) -> bool:
    """Check whether something has the form of a conversation's id."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def links(parent: str, messages: Iterable[Any]) -> list[Link]:
    """Return the links that some messages add to a conversation, in their order."""
    made = []
    for message in messages:
        data = written(message)
        made.append(Link(id_of(parent, data), parent, data))
        parent = made[-1].id
    return made


def reply(answer: Any) -> dict[str, Any] | None:
    """Return an answer's first message as the API takes it back, without what no request has; None if there is none."""
    try:
        message = answer["choices"][0]["message"]
        found = {name: message.get(name) for name in _TAKEN_BACK}
    except (LookupError, TypeError, AttributeError):
        return None
    audio = message.get("audio")
    if isinstance(audio, dict) and isinstance(audio.get("id"), str):
        found["audio"] = {"id": audio["id"]}
    said = {name: value for name, value in found.items() if value is not None and value != []}
    return {"role": "assistant", "content": None, **said} if said.keys() - {"name"} else None
