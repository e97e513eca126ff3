"""Whether what a placeholder reads of an earlier node's answer can be there: looked up before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import nearest
from ..nodes.answer_shapes import CALLS
from ..run.display import counted
from ..schemas.subschemas import admitted, applied
from ..templates.template import OUTPUTS
from .references import Loose, loose, templates

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..nodes import Node
    from ..nodes.answer_shapes import Shape
    from ..templates.paths import Path

_EXTENSIONS = frozenset(
    {
        *("reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks", "images", "citations"),
        *("native_finish_reason", "stop_reason", "matched_stop", "token_ids", "prompt_token_ids", "prompt_logprobs"),
        *("provider", "timings", "x_groq", "search_results", "content_filter_results", "prompt_filter_results"),
        *("cost", "cost_details", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "queue_time", "total_time"),
        *("prompt_time", "completion_time", "prompt_eval_count", "is_byok", "kv_transfer_params", "error"),
        *("provider_specific_fields", "extra_content", "executed_tools", "usage_breakdown", "related_questions"),
        *("time_info", "meta_info", "hidden_states", "perf_metrics", "raw_output", "estimated_cost", "cached_tokens"),
        *("num_search_queries", "num_sources_used", "cost_in_usd_ticks", "citation_tokens", "search_context_size"),
        *("cache_creation_input_tokens", "cache_read_input_tokens", "context", "content_filter_offsets"),
        *("content_filter_result", "__verbose"),
    }
)
"""What well-known servers add to the API's answers; any other name that the API does not know is a mistake."""
_SHOWN = 10
_TEXTS: tuple[Path, ...] = (("choices", 0, "message", "content"), ("choices", 0, "text"))
"""Where an answer's text is: a chat's, and a completion's."""
_OF_TEXTS = frozenset({"text", "content", "message", "answer", "reply", "response", "output"})
"""What people call it."""
_BEFORE_TEXTS: tuple[Path, ...] = ((), ("choices", 0), ("choices", 0, "message"))
"""Below which of its parts they look for it."""


class Finding(NamedTuple):
    """A step that leads nowhere.

    Attributes
    ----------
    depth : int
        Its position in the path.
    message : str
        What is wrong.
    """

    depth: int
    message: str


def faults(
    nodes: Sequence[tuple[str, Node | None]], inputs: Iterable[str] | None, columns: Sequence[str] | None = None
) -> Iterator[Loose]:
    """Give every reference to an input, an earlier node or a part of its answer that is not there.

    Parameters
    ----------
    nodes : sequence of (str, Node or None)
        The nodes by their ids; None for one that cannot be read.
    inputs : iterable of str or None
        The names of the workflow's inputs; None for inputs that cannot be read.
    columns : sequence of str, optional
        The table's columns, where it is known: they may set what a node does not.
    """
    yield from loose(nodes, inputs)
    shapes: dict[str, Shape | None] = {}
    for position, (name, node) in enumerate(nodes):
        for template in templates(node):
            for path in template.reached.get(OUTPUTS, ()):
                shape = shapes.get(str(path[0])) if path else None
                finding = shape and (look(shape, path) or _unasked(shape, path))
                if finding:
                    yield Loose(position, template.place, finding.message)
        shapes[name] = None if node is None else node._answer_shape(nodes[:position], columns)


def look(shape: Shape, path: Path) -> Finding | None:
    """Give the first step of a path that leads nowhere; None where none is known to.

    Parameters
    ----------
    shape : Shape
        What is known of the answer.
    path : tuple of str or int
        The node's id, and the steps below it.
    """
    document, here, is_open = shape.document, [shape.document], shape.is_open
    for depth, step in enumerate(path[1:], 1):
        below = _below(document, here, step)
        if isinstance(below, str):
            return Finding(depth, f"{_written(path[:depth])} {below}")
        if isinstance(below, dict):
            return _missing(shape, path, depth, tuple(below), is_open=is_open)
        if is_open and depth > 1 and path[depth - 1] in CALLS and (uncalled := _uncalled(shape, path[:depth])):
            return uncalled
        if not below:
            return None
        here = below
        if is_open and step == "arguments":
            called = shape.calls.get("function_call" if path[depth - 1] == "function_call" else "tool_calls")
            if called is None or called.arguments is None:
                return None
            document, here, is_open = called.arguments, [called.arguments], False
    return None


def _unasked(shape: Shape, path: Path) -> Finding | None:
    """Give a choice that cannot be there, since its node asks for fewer."""
    most = shape.choices
    if most is None or len(path) < 3 or path[1] != "choices":
        return None
    step = path[2]
    if not isinstance(step, int) or -most <= step < most:
        return None
    where = _written(path[:2])
    return Finding(2, f"no [{step}] in {where}: its node asks for {counted(most, 'choice')}; n says how many")


def _uncalled(shape: Shape, path: Path) -> Finding | None:
    """Give a call that cannot be there, since its node has no functions that could be called."""
    name, where = str(path[-1]), _written(path[:-1])
    called = shape.calls.get(name)
    if called is None or called.may_be:
        return None
    others = [f"; it has {CALLS[other]}, whose calls are {where}.{other}" for other in _set_beside(shape, name)]
    return Finding(len(path), f"no {name!r} in {where}: its node has no {CALLS[name]}{''.join(others)}")


def _set_beside(shape: Shape, name: str) -> list[str]:
    return [other for other, called in shape.calls.items() if other != name and called.is_set]


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


def _missing(shape: Shape, path: Path, depth: int, known: tuple[str, ...], *, is_open: bool) -> Finding | None:
    step, where = str(path[depth]), _written(path[:depth])
    if is_open and step in _EXTENSIONS:
        return None
    if is_open and step in _OF_TEXTS and path[1:depth] in _BEFORE_TEXTS:
        for way in _TEXTS:
            if _leads_on(shape, way):
                return Finding(depth, f"no {step!r} in {where}; write {_written((path[0], *way))}")
    shown = f"; it has {', '.join(known[:_SHOWN])}{', …' if len(known) > _SHOWN else ''}"
    unchecked = f"; what only your server adds is read with .get({step!r})" if is_open else ""
    return Finding(depth, f"no {step!r} in {where}{nearest(step, known) or shown + unchecked}")


def _leads_on(shape: Shape, way: Path) -> bool:
    """Tell whether every step of a way is known to be there."""
    here: Any = [shape.document]
    for step in way:
        here = _below(shape.document, here, step)
        if not isinstance(here, list) or not here:
            return False
    return True


def _written(path: Path) -> str:
    """Give a path as it is written in a placeholder."""
    steps = (f"[{s}]" if isinstance(s, int) else f".{s}" if s.isidentifier() else f"[{s!r}]" for s in path)
    return OUTPUTS + "".join(steps)
