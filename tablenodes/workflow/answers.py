"""What ``{{ outputs }}`` stands for: the answers of earlier nodes, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from ..engine.outcomes.answer_json import document_of
from ..engine.sink import OK
from ..problems import Problem, Rejected
from ..templates.environment import UnreadArguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..run.output import NodeOutput

UPSTREAM_FAILED = "upstream_failed"


class Answers:
    """The answers of earlier nodes to one row, parsed when the row asks for them."""

    def __init__(self, outputs: Mapping[str, NodeOutput[Any]], ids: Iterable[str]) -> None:
        self._outputs = [(name, outputs[name]) for name in ids]

    def __call__(self, row: int) -> dict[str, Any] | Rejected:
        """Return the answers to a row by node id, or why it cannot be sent."""
        found: dict[str, Any] = {}
        for name, output in self._outputs:
            outcome, body = output._answer_to(row)
            if outcome != OK:
                return failed(name, f"it ended as {outcome}")
            try:
                found[name] = parsed(body)
            except (ValueError, TypeError):
                return failed(name, "it is not readable JSON")
        return found


def failed(name: str, why: str) -> Rejected:
    """Return a row's rejection for want of an earlier answer."""
    problem = Problem(f"outputs.{name}", "upstream", f"node {name!r} has no answer for this row: {why}")
    return Rejected(problem, outcome=UPSTREAM_FAILED)


def parsed(body: str | None) -> Any:
    """Return an answer as placeholders see it: the arguments of its calls are parsed too."""
    answer = document_of(body or "")
    if '"arguments"' in (body or ""):
        for choice in _items(answer, "choices"):
            message = choice.get("message")
            if isinstance(message, dict):
                _parse_arguments(message.get("function_call"))
                for call in _items(message, "tool_calls"):
                    _parse_arguments(call.get("function"))
    return answer


def _items(value: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects of a list, whatever a server has put in its place."""
    found = value.get(name) if isinstance(value, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _parse_arguments(call: Any) -> None:
    if isinstance(call, dict) and isinstance(call.get("arguments"), str):
        try:
            call["arguments"] = orjson.loads(call["arguments"])
        except orjson.JSONDecodeError:
            call["arguments"] = UnreadArguments(call["arguments"])  # the text that it is, and says so
