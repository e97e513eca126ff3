"""From a node's settings and a row's cells to a request of the Responses API."""

from __future__ import annotations

from typing import Any

from ..problems import Problem, Rejected
from ..store.commits import is_id
from .body_plan import BodyPlan
from .recipe import CONVERSATION

_NOT_THEIRS = (
    "is the id of a conversation of this package, which no server knows: CreateChatCompletion goes on with it, and "
    "columns=() leaves the column alone"
)


class ResponsePlan(BodyPlan):
    """How rows become requests for responses, which the server does not keep unless somebody says so."""

    def build(self, cells: tuple[Any, ...]) -> dict[str, Any]:
        """Return a row's body, before the gate."""
        body = super().build(cells)
        body.setdefault("store", False)
        if is_id(body.get(CONVERSATION)):
            raise Rejected(Problem(f"$.{CONVERSATION}", CONVERSATION, _NOT_THEIRS))
        return body
