"""Conversations that grow row by row: messages are checked, and in the store before their ids are returned."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from .. import schemas
from ..bodies.recipe import CONVERSATION
from ..bodies.schema_types import Typing
from ..engine.sink import OK, SKIPPED
from ..plain import plain, read_json
from ..problems import Problem, Rejected, Unfit
from ..schemas import Schema
from ..store.commits import Link, is_id, links, reply
from ..store.conversations import Conversations
from ..templates.environment import as_text
from .output import Responses

_ROWS = 2_000  # rows whose messages are put into the store together at most
_BYTES = 32 * 2**20  # fewer rows are put there together where their messages are longer than this
_ANOTHER = "the answer belongs to another conversation than this row's"
_USE = "use the same rows that the chat node ran on, in the same order"


class Said(NamedTuple):
    """What a row's settings say: the conversation that it has, and the messages that come next."""

    conversation: str
    messages: list[Any]


@lru_cache(maxsize=1)
def _rules() -> tuple[Schema, Typing]:
    schema = schemas.load(schemas.DEFAULT_REVISION, "create_chat_completion")
    return schema, Typing(schema.admits, ("messages",))


def message_list(given: Any) -> list[Any]:
    """Return messages, typed and checked as a chat's are; none for a null cell. Raise `Rejected` for any others."""
    messages = [] if given is None else _rules()[1](given)
    if messages != []:
        _check(messages, "$.messages", "$.messages")
    return list(messages)


def content_parts(given: Any) -> list[Any]:
    """Return the parts of a user's message, typed and checked; raise `Rejected` for what no chat takes."""
    if isinstance(given, str):
        try:
            given = read_json(given)
        except (orjson.JSONDecodeError, Unfit):
            given = None
    if not isinstance(given, list):
        raise Rejected(Problem("$.content", "type", "must be a list of parts, texts and images"))
    parts = _rules()[1].below(0).below("content")(given)
    _check([{"role": "user", "content": parts}], "$.messages[0].content", "$.content")
    return list(parts)


def _check(messages: Any, inside: str, shown: str) -> None:
    """Raise `Rejected` for messages that no chat takes."""
    schema, body = _rules()[0], {"model": "any", "messages": messages}
    if not schema.is_valid(body):
        found = schema.problems(body)
        raise Rejected(*(problem._replace(path=problem.path.replace(inside, shown, 1)) for problem in found))


class Replies:
    """The messages of a node's answers, row by row."""

    def __init__(self, output: Responses[Any]) -> None:
        self._output = output
        self._asked = enumerate(output._asked())

    def __call__(self, row: int) -> dict[str, Any]:
        """Return the message of a row's answer; raise `Rejected` if there is none."""
        if row >= self._output.summary.rows:
            raise _none("there is no answer for this row")
        outcome, body = self._output._answer_to(row)
        _refuse_failed(outcome)
        return message_of(body)

    def asked(self, row: int) -> str | None:
        """Return the id of the conversation that a row's answer is to; rows are asked for in their order."""
        return next((conversation for at, conversation in self._asked if at == row), None)


def message_of(body: Any) -> dict[str, Any]:
    """Return the message of a completion's first choice, given as JSON or read; raise `Rejected` if there is none."""
    try:
        answer = orjson.loads(body) if isinstance(body, str) else body
        message = plain(reply(answer))
    except (orjson.JSONDecodeError, Unfit):
        raise _none("the answer is not readable JSON") from None
    if message is None:
        raise _none("the answer has no message to continue the conversation from")
    return dict(message)


def spoken(text: Any, outcome: Any = None) -> dict[str, Any]:
    """Return the message of an answer of which a table has the text and the outcome; raise `Rejected` for none."""
    if outcome is not None:
        _refuse_failed(str(outcome))
    if text is None:
        raise _none("there is no text of an answer in this row; one that is a call or a refusal needs its body")
    return {"role": "assistant", "content": as_text(text)}


def _refuse_failed(outcome: str) -> None:
    """Raise `Rejected` for a row without an answer."""
    if outcome != OK:
        raise _none(f"there is no answer for this row: it ended as {outcome}", outcome)


def _none(why: str, outcome: str = "") -> Rejected:
    return Rejected(Problem("$.body", "upstream", why), outcome=SKIPPED if outcome == SKIPPED else "upstream_failed")


def grow(
    rows: Iterable[Said | Rejected], replies: Replies | None, store: str | os.PathLike[str] | None
) -> Iterator[tuple[str] | Rejected]:
    """Yield the id of each row's longer conversation, or why it has none; answers are added before what is said."""
    conversations = Conversations(store)
    with conversations.held():
        for some in _together(_grown(position, said, replies) for position, said in enumerate(rows)):
            yield from _kept(some, conversations)


class _Growth(NamedTuple):
    """A row's conversation, and what is added to it."""

    parent: str
    added: list[Link]


def _grown(position: int, said: Said | Rejected, replies: Replies | None) -> _Growth | Rejected:
    if isinstance(said, Rejected):
        return said
    parent, messages = said
    try:
        if replies is not None:
            messages = _continued(parent, [replies(position), *messages], replies.asked(position))
    except Rejected as rejected:
        return Rejected(rejected.problems[0], outcome=rejected.outcome)
    return _Growth(parent, links(parent, messages))


def _continued(conversation: str, added: list[Any], asked: str | None) -> list[Any]:
    """Return what an answer to `asked` adds: nothing where it was added before; raise `Rejected` for another's."""
    if conversation == asked:
        return added
    if is_id(asked) and links(str(asked), added)[-1].id == conversation:
        return []
    raise Rejected(Problem(f"$.{CONVERSATION}", "conversation", f"{_ANOTHER}: {_USE}"))


def _together(rows: Iterable[_Growth | Rejected]) -> Iterator[list[_Growth | Rejected]]:
    some: list[_Growth | Rejected] = []
    size = 0
    for row in rows:
        some.append(row)
        size += sum(len(link.message) for link in row.added) if isinstance(row, _Growth) else 0
        if len(some) == _ROWS or size > _BYTES:
            yield some
            some, size = [], 0
    yield some


def _kept(some: Sequence[_Growth | Rejected], conversations: Conversations) -> Iterator[tuple[str] | Rejected]:
    """Store what is added, then yield the conversations' ids."""
    growing = [grown for grown in some if isinstance(grown, _Growth)]
    wrong = conversations.verify(grown.parent for grown in growing)
    conversations.put([link for grown in growing if grown.parent not in wrong for link in grown.added])
    for grown in some:
        if isinstance(grown, Rejected):
            yield grown
        elif grown.parent in wrong:
            yield wrong[grown.parent]
        else:
            yield (grown.added[-1].id if grown.added else grown.parent,)
