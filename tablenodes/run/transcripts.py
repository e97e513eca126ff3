"""Transcripts: the conversations of a table read back, one row a message."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from .. import tables
from ..bodies.recipe import CONVERSATION
from ..bodies.settings_plan import needed
from ..problems import Rejected
from ..store.commits import NO_ID, is_id
from ..store.conversations import Conversations
from .output import NodeOutput

_TYPES = {
    "row": "integer",
    "position": "integer",
    **dict.fromkeys(("role", "content", "other", "problem"), "text"),
}
_PROMINENT = ("role", "content")


def transcript(table: Any, store: str | os.PathLike[str] | None = None) -> Any:
    """Return every message of a table's conversations: one row each, in their order.

    Parameters
    ----------
    table : NodeOutput, WorkflowOutput or table
        With the id of a conversation in each row's column ``conversation``.
    store : path, optional
        The file that keeps the messages. Default: ``TABLENODES_STORE`` of the environment, else one in the user's data
        folder.

    Returns
    -------
    table
        Of the same kind, the index of each row repeated: ``row`` (its position), ``position`` (the message's, from 0),
        ``role``, ``content`` (text; parts as JSON), ``other`` (what else the message has, such as its calls, as JSON),
        ``problem``. A row without a conversation has no message; one whose conversation cannot be read has one row, in
        which ``problem`` says why.

    Raises
    ------
    ColumnError
        If the table has no column ``conversation``.
    """
    given: Any = table
    if isinstance(table, NodeOutput | Mapping):  # a workflow's outputs are a mapping
        given = given.table
    view = tables.view(given).held()
    needed(CONVERSATION, view.columns)
    conversations = Conversations(store)
    with conversations.held():
        rows = conversations.ahead(view.rows((CONVERSATION,)), 0)
        lines = [line for row, (cell,) in enumerate(rows) for line in _lines(row, cell, conversations)]
    columns = {name: [line[at] for line in lines] for at, name in enumerate(_TYPES)}
    return view.make(columns, _TYPES, columns["row"])


def _lines(row: int, cell: Any, conversations: Conversations) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of each message of a row's conversation."""
    if cell is None or cell == "":
        return
    if not is_id(cell):
        yield row, None, None, None, None, NO_ID
        return
    try:
        messages = conversations.messages(cell)
    except Rejected as rejected:
        yield row, None, None, None, None, rejected.problem.message
        return
    for position, message in enumerate(messages):
        other = {name: value for name, value in message.items() if name not in _PROMINENT}
        yield row, position, message.get("role"), _text(message.get("content")), _text(other or None), None


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
