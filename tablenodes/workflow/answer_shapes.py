"""What is known of a node's answers before they come."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import schemas
from ..bodies.simplified_functions import WRITTEN_OUT, Unclear
from ..bodies.taken_columns import BODY, NAMED_ONLY
from ..bodies.values import ArrayValue, TextValue, is_varying
from ..nodes import CreateChatCompletion, CreateCompletion, RequestNode, RetrieveResponse
from ..templates.template import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..nodes import Node

    Nodes = Sequence[tuple[str, Node | None]]

CALLS: Mapping[str, str] = MappingProxyType({"function_call": "functions", "tool_calls": "tools"})
"""For each kind of call in a message: the setting that lists what can be called."""
_ID = "future_response_id"


class Called(NamedTuple):
    """What is known of one kind of call.

    Attributes
    ----------
    may_be : bool
        Whether there may be such calls.
    is_set : bool
        Whether the node itself lists what can be called.
    arguments : dict or None
        The schema of what is below ``arguments``; None where anything may be.
    """

    may_be: bool
    is_set: bool = False
    arguments: dict[str, Any] | None = None


class Shape(NamedTuple):
    """What is known of an answer.

    Attributes
    ----------
    document : dict
        A JSON Schema.
    calls : mapping of str to Called
        What is known of the calls in its messages, by their kind.
    is_open : bool
        Whether servers add to it.
    choices : int or None
        How many choices there are at the most; None where that differs by row or is not known.
    """

    document: dict[str, Any]
    calls: Mapping[str, Called] = MappingProxyType({})
    is_open: bool = False
    choices: int | None = None


def shape_of(node: Node | None, earlier: Nodes, columns: Sequence[str] | None = None) -> Shape | None:
    """Give what is known of a node's answers; None for nothing.

    Parameters
    ----------
    node : Node or None
        The node; None for one that cannot be read.
    earlier : sequence of (str, Node or None)
        Those before it.
    columns : sequence of str, optional
        The table's columns, where it is known.
    """
    if node is not None and node.makes:
        return Shape({"type": "object", "properties": {name: {} for name in node.makes}})
    if isinstance(node, RetrieveResponse):
        return _retrieved(node, earlier, columns)
    return _answered(node, columns) if isinstance(node, RequestNode) else None


def _answered(node: RequestNode, columns: Sequence[str] | None) -> Shape | None:
    schema = schemas.response(node.operation)
    calls = {kind: _called(node, listing, columns) for kind, listing in CALLS.items()}
    return Shape(schema.document, calls, is_open=True, choices=_choices(node, columns)) if schema else None


def _choices(node: RequestNode, columns: Sequence[str] | None) -> int | None:
    """Give how many choices are asked for in every row; None where that is not known."""
    given = {**node.parsed(), **dict(node.extra_body or {})}
    number = 1 if given.get("n") is None else _whole(given["n"])
    if number is None or ("n" not in given and _may_be_taken(node, ("n", BODY), columns)):
        return None
    if node.operation != CreateCompletion.operation:
        return number
    prompt = given.get("prompt")
    if isinstance(prompt, list | ArrayValue):  # of texts, each of which has its own; or of one text's tokens
        return number * len(prompt if isinstance(prompt, list) else prompt.items)
    return number if isinstance(prompt, str | TextValue) else None


def _whole(value: Any) -> int | None:
    """Give a whole number that is set, perhaps as a text; None for anything else."""
    try:
        return int(value) if isinstance(value, int | str) else None
    except ValueError:
        return None


def _called(node: RequestNode, listing: str, columns: Sequence[str] | None) -> Called:
    given = {**node.parsed(), **dict(node.extra_body or {})}
    if listing not in given:
        return Called(may_be=_may_be_taken(node, (listing, BODY), columns))
    value = given[listing]
    if value is None or value == []:
        return Called(may_be=False)
    return Called(may_be=True, is_set=True, arguments=_arguments(listing, value))


def _may_be_taken(node: RequestNode, names: Sequence[str], columns: Sequence[str] | None) -> bool:
    """Tell whether a column of the table that is called so may be taken."""
    return any(
        (name not in NAMED_ONLY if node.columns == "auto" else name in node.columns)
        and (columns is None or name in columns)
        for name in names
    )


def _arguments(listing: str, value: Any) -> dict[str, Any] | None:
    """Give the schema of the arguments of functions or tools; None where they differ by row or are not known."""
    if is_varying(value) or not isinstance(value, list):
        return None
    try:
        items = WRITTEN_OUT[listing](value)
    except Unclear:
        return None
    if not all(isinstance(item, dict) for item in items):
        return None
    functions = items if listing == "functions" else [item.get("function", {}) for item in items]
    parameters = [each.get("parameters") if isinstance(each, dict) else None for each in functions]
    is_known = all(isinstance(each, dict) and each.get("properties") for each in parameters)
    return {"anyOf": parameters} if is_known else None


def _retrieved(node: RetrieveResponse, earlier: Nodes, columns: Sequence[str] | None) -> Shape | None:
    """Give what is known of answers that were asked for earlier: by a node of the workflow, or who knows where."""
    name = submitting(node, earlier)
    submitted = dict(earlier)[name] if name is not None else None
    if isinstance(submitted, RequestNode):
        return _answered(submitted, columns)
    kinds = (CreateChatCompletion.operation, CreateCompletion.operation)
    documents = [schema.document for kind in kinds if (schema := schemas.response(kind)) is not None]
    shared: dict[str, Any] = {}
    for document in documents:
        shared = {**document.get("$defs", {}), **shared}
    return Shape({"anyOf": documents, "$defs": shared}, is_open=True)


def is_submitting(node: Node | None) -> bool:
    """Tell whether a node's rows are sent by a worker, and its answers retrieved."""
    return isinstance(node, RequestNode) and _ID in node.makes


def submitting(node: RetrieveResponse, earlier: Nodes) -> str | None:
    """Give the id of the node whose rows are retrieved; None where it is not known.

    Parameters
    ----------
    node : RetrieveResponse
        The node that retrieves.
    earlier : sequence of (str, Node or None)
        Those before it.
    """
    value: Any = node.parsed().get(_ID)
    named = set(value.columns()) if is_varying(value) else {_ID} if value is None else set()
    if named == {OUTPUTS} and isinstance(value, TextValue):
        paths = value.template.reached[OUTPUTS]
        ids = [str(path[0]) for path in paths if path[1:] == (_ID,)] if len(paths) == 1 else []
    elif named == {_ID}:
        ids = [name for name, each in earlier if each is not None and _ID in each.makes][-1:]
    else:
        ids = []
    return ids[0] if ids and is_submitting(dict(earlier).get(ids[0])) else None
