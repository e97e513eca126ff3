"""Which conversation each answer is to: it is looked at where answers are continued from, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from ..problems import Rejected
from ..store.commits import EMPTY, links
from .rows import prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..bodies.body_plan import BodyPlan
    from ..tables import TableView
    from .rows import Context


def asked(plan: BodyPlan, view: TableView, context: Context) -> Iterator[str | None]:
    """Give the id of the conversation that each row of a table is asked with; None where there is none.

    Parameters
    ----------
    plan : BodyPlan
        How rows become bodies.
    view : TableView
        The table.
    context : Context
        What a workflow adds.
    """
    column = plan.conversation_column
    if column is not None:
        return (cell for (cell,) in view.rows((column,)))
    return (None if isinstance(body, Rejected) else asked_with(body) for body in prepared(plan, view, context))


def asked_with(body: bytes) -> str | None:
    """Give the id of the conversation that a body's messages are, however they were given; None if it has none.

    Parameters
    ----------
    body : bytes
        A request that was sent, or can be.
    """
    messages = orjson.loads(body).get("messages")
    return links(EMPTY, messages)[-1].id if messages and isinstance(messages, list) else None
