"""Messages that are given as lists: typed and checked by the schema of a chat before they are kept."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from .. import schemas
from ..bodies.schema_types import Typing
from ..problems import Problem, Rejected, Unfit
from ..templates.json_text import read

if TYPE_CHECKING:
    from ..schemas import Schema


class _Rules(NamedTuple):
    schema: Schema
    typing: Typing


@lru_cache(maxsize=1)
def _rules() -> _Rules:
    schema = schemas.load(schemas.DEFAULT_REVISION, "create_chat_completion")
    return _Rules(schema, Typing(schema, ("messages",)))


def message_list(given: Any) -> list[Any]:
    """Return messages, typed and checked as a chat's are; none for a null cell. Raise `Rejected` for any others."""
    if given is None:
        return []
    messages = _rules().typing(given)
    if messages == []:
        return []
    _check(messages, "$.messages", "$.messages")
    return list(messages)


def content_parts(given: Any) -> list[Any]:
    """Return the parts of a user's message, typed and checked; raise `Rejected` for what no chat takes."""
    if isinstance(given, str):
        try:
            given = read(given)
        except (orjson.JSONDecodeError, Unfit):
            given = None
    if not isinstance(given, list):
        raise Rejected(Problem("$.content", "type", "content must be a list of parts, texts and images"))
    parts = _rules().typing.below(0).below("content")(given)
    _check([{"role": "user", "content": parts}], "$.messages[0].content", "$.content")
    return list(parts)


def _check(messages: Any, inside: str, shown: str) -> None:
    """Raise `Rejected` for messages that no chat takes."""
    schema = _rules().schema
    body = {"model": "any", "messages": messages}
    if schema.is_valid(body):
        return
    raise Rejected(
        *(problem._replace(path=problem.path.replace(inside, shown, 1)) for problem in schema.problems(body))
    )
