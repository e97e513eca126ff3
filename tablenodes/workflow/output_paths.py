"""Whether what a placeholder reads of an earlier node's answer can be there: looked up before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import schemas
from ..errors import nearest
from ..nodes import RequestNode
from ..simplified_functions import Unclear, functions, tools
from ..subschemas import admitted, applied
from ..templates import OUTPUTS
from ..values import is_varying
from .references import Loose, loose, templates

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..nodes import Node
    from ..template_paths import Path

_CALLS = ("function_call", "function")
_EXTENSIONS = frozenset(
    {
        *("reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks", "images", "citations"),
        *("native_finish_reason", "stop_reason", "matched_stop", "token_ids", "prompt_token_ids", "prompt_logprobs"),
        *("provider", "timings", "x_groq", "search_results", "content_filter_results", "prompt_filter_results"),
        *("cost", "cost_details", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "queue_time", "total_time"),
        *("prompt_time", "completion_time", "prompt_eval_count", "is_byok", "kv_transfer_params", "error"),
    }
)
"""What well-known servers add to the API's answers: near to names of the API, and yet meant."""
_SHOWN = 10


class Finding(NamedTuple):
    """A step that leads nowhere.

    Attributes
    ----------
    depth : int
        Its position in the path.
    message : str
        What is wrong.
    sure : bool
        Whether it cannot be there; else a server may add it.
    """

    depth: int
    message: str
    sure: bool


class _Shape(NamedTuple):
    """What is known of an answer.

    Attributes
    ----------
    document : dict
        A JSON Schema.
    arguments : dict or None
        The schema of what is below ``arguments``; None where anything may be.
    open : bool
        Whether there may be more than it says.
    """

    document: dict[str, Any]
    arguments: dict[str, Any] | None = None
    open: bool = False


def faults(nodes: Sequence[tuple[str, Node | None]], inputs: Iterable[str]) -> Iterator[Loose]:
    """Give every reference to an input, an earlier node or a part of its answer that is not there."""
    yield from loose(nodes, inputs)
    yield from (fault for fault, sure in _found(nodes) if sure)


def doubts(nodes: Sequence[tuple[str, Node | None]]) -> Iterator[Loose]:
    """Give every reference to a part of an answer that the API does not know, and a server may add."""
    yield from (fault for fault, sure in _found(nodes) if not sure)


def _found(nodes: Sequence[tuple[str, Node | None]]) -> Iterator[tuple[Loose, bool]]:
    shapes: dict[str, _Shape | None] = {}
    for position, (name, node) in enumerate(nodes):
        for template in templates(node):
            for path in template.reached.get(OUTPUTS, ()):
                shape = shapes.get(str(path[0])) if path else None
                finding = shape and look(shape, path)
                if finding:
                    yield Loose(position, template.place, finding.message), finding.sure
        shapes[name] = shape_of(node)


def shape_of(node: Node | None) -> _Shape | None:
    """Give what is known of a node's answers before they come; None for nothing."""
    if node is not None and node.makes:
        return _Shape({"type": "object", "properties": {name: {} for name in node.makes}})
    if not isinstance(node, RequestNode):
        return None
    schema = schemas.response(node.operation)
    return _Shape(schema.document, _arguments(node), open=True) if schema else None


def _arguments(node: RequestNode) -> dict[str, Any] | None:
    """Give the schema of the arguments of a node's functions, where these are the same in every row."""
    settings = node.parsed()
    try:
        listed = _listed(settings, "functions", functions), _listed(settings, "tools", tools)
    except Unclear:
        return None
    if any(items is None for items in listed):
        return None
    tools_functions = (item.get("function", {}) for item in listed[1] or ())
    parameters = [item.get("parameters") for item in (*(listed[0] or ()), *tools_functions)]
    known = all(isinstance(each, dict) and each.get("properties") for each in parameters)
    return {"anyOf": parameters} if parameters and known else None


def _listed(settings: Mapping[str, Any], name: str, write_out: Any) -> list[dict[str, Any]] | None:
    """Give functions or tools; None where they differ by row, or are no list of mappings."""
    value = settings.get(name, [])
    if is_varying(value) or not isinstance(value, list):
        return None
    made = write_out(value)
    return made if all(isinstance(item, dict) for item in made) else None


def look(shape: _Shape, path: Path) -> Finding | None:
    """Give the first step of a path that leads nowhere; None where none is known to.

    Parameters
    ----------
    shape : _Shape
        What is known of the answer.
    path : tuple of str or int
        The node's id, and the steps below it.
    """
    document, here, is_open = shape.document, [shape.document], shape.open
    for depth, step in enumerate(path[1:], 1):
        below = _below(document, here, step)
        if isinstance(below, str):
            return Finding(depth, f"{_written(path[:depth])} {below}", sure=True)
        if isinstance(below, dict):
            return _missing(path, depth, tuple(below), is_open=is_open)
        if not below:
            return None
        here = below
        if step == "arguments" and path[depth - 1] in _CALLS:
            if shape.arguments is None:
                return None
            document, here, is_open = shape.arguments, [shape.arguments], False
    return None


def _below(document: Any, here: list[Any], step: str | int) -> list[Any] | dict[str, Any] | str:
    """Give the schemas below a step: none where anything may be; or what there is instead; or why there is nothing."""
    layers = [one for schema in here for one in applied(document, schema, unions=True)]
    kinds = frozenset().union(*(admitted(document, schema, ()) for schema in here)) - {"null"}
    if isinstance(step, int):
        if "array" in kinds:
            return [one["items"] for one in layers if isinstance(one.get("items"), dict)]
        return [] if "string" in kinds else "is no list"
    if "object" not in kinds:
        what = "is a list: write [0] for its first item" if "array" in kinds else f"is no object, and has no {step!r}"
        return what if kinds else []
    named: dict[str, list[Any]] = {}
    for one in layers:
        for name, schema in one.get("properties", {}).items():
            named.setdefault(name, []).append(schema)
    if step in named:
        return [schema for schema in named[step] if isinstance(schema, dict)]
    more = [one["additionalProperties"] for one in layers if isinstance(one.get("additionalProperties"), dict)]
    free = any(one.get("additionalProperties") is True or "patternProperties" in one for one in layers)
    return more if more or free or not named else dict(named)


def _missing(path: Path, depth: int, known: tuple[str, ...], *, is_open: bool) -> Finding | None:
    step, where = str(path[depth]), _written(path[:depth])
    hint = nearest(step, known)
    shown = ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
    if is_open and step in _EXTENSIONS:
        return None
    if is_open and not hint:
        return Finding(
            depth,
            f"the API's answers have no {step!r} in {where}, only servers that add it; it has {shown}",
            sure=False,
        )
    return Finding(depth, f"no {step!r} in {where}{hint or f'; it has {shown}'}", sure=True)


def _written(path: Path) -> str:
    """Give a path as it is written in a placeholder."""
    steps = (f"[{s}]" if isinstance(s, int) else f".{s}" if s.isidentifier() else f"[{s!r}]" for s in path)
    return OUTPUTS + "".join(steps)
