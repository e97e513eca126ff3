"""What the nodes of a workflow refer to, and whether it can be there: inputs, earlier nodes, parts of their answers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from ..answers import ANSWER
from ..bodies.values import ArrayValue, ObjectValue, SpokenValue, TextValue, is_varying
from ..column_names import INPUTS, OUTPUTS, RESERVED
from ..errors import WorkflowError, nearest
from ..nodes import Node
from ..nodes.answer_shapes import CALLS, Shape
from ..run.display import counted
from ..schemas.subschemas import admitted, applied
from ..templates.template import ROW, Template
from ..templates.template_ways import Path, written

NODE_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
KEPT_IDS = (*RESERVED, ROW)
"""What placeholders begin with, so that no node is called so."""
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
"""What well-known servers add to the API's answers; any other name that the API does not know is warned of."""
_ALIKE = 0.8  # a name that is as much like a known one as this is that one, misspelt
_SHOWN = 10
# Where an answer's text is, a chat's, a completion's and a response's; what people call it, and below which parts they
# look for it.
_TEXTS: tuple[Path, ...] = (
    ("choices", 0, "message", "content"),
    ("choices", 0, "text"),
    ("output", 0, "content", 0, "text"),
)
_OF_TEXTS = frozenset({"text", "content", "message", "answer", "reply", "response", "output"})
_BEFORE_TEXTS: tuple[Path, ...] = ((), ("choices", 0), ("choices", 0, "message"), ("output", 0))


_TEXT = {"type": ["string", "null"]}
ENDS: dict[str, Any] = {
    "outcome": {"type": "string"},
    "status": {"type": ["integer", "null"]},
    "error": {"type": ["object", "null"], "properties": dict.fromkeys(("message", "type", "code", "param"), _TEXT)},
}
"""The steps below a node's id that are there of every row, whatever became of it."""
_END_STEPS: frozenset[Path] = frozenset((step,) for step in ENDS)


Whens = Mapping[str, Template]
"""The expressions that decide for which rows nodes run, by the nodes' ids."""
NONE: Whens = MappingProxyType({})


class Doubt(str):
    """What is said of a part of an answer that may be missing: not every row has it, or only a server may add it."""


class Loose(NamedTuple):
    """A reference to something that is not there: its node's position, its place in the settings, what is wrong."""

    node: int
    place: str
    message: str


def check_id(name: object, earlier: Collection[str]) -> None:
    """Raise `WorkflowError` for what cannot be a node's id, so that ``outputs.ID`` always means one node."""
    if not isinstance(name, str) or not NODE_ID.fullmatch(name):
        how = "must be made of at most 64 letters, digits and underscores, no digit first"
        raise WorkflowError(f"id: {how}", place="id")
    if name in KEPT_IDS:
        raise WorkflowError(f"id: {name!r} stands for something else in placeholders: choose another id", place="id")
    if name in earlier:
        raise WorkflowError(f"id: {name!r} is the id of an earlier node", place="id")


def loose(
    nodes: Sequence[tuple[str, Node | None]], inputs: Iterable[str] | None, whens: Whens = NONE
) -> Iterator[Loose]:
    """Return every reference to an input or an earlier node that is not there; None for one that cannot be read."""
    known_inputs, ids = None if inputs is None else tuple(inputs), [name for name, _ in nodes]
    for position, (own, node) in enumerate(nodes):
        yield from _unfollowed(nodes, position)
        for template in _templates(own, node, whens):
            for name in template.upstream or ():
                if name not in ids[:position]:
                    yield Loose(position, template.place, no_node(name, ids, position))
            for name in dict.fromkeys(str(path[0]) for path in template.reached.get(INPUTS, ()) if path):
                if known_inputs is not None and name not in known_inputs:
                    known = f"; there are {', '.join(known_inputs)}" if known_inputs else "; declare it under inputs"
                    hint = nearest(name, known_inputs) or known
                    yield Loose(position, template.place, f"no input {name!r}{hint}")


def unread_inputs(nodes: Sequence[tuple[str, Node]], inputs: Iterable[str], whens: Whens = NONE) -> frozenset[str]:
    """Return the inputs that no node reads, as far as that is known: a name that is worked out may be any."""
    read = (template for name, node in nodes for template in _templates(name, node, whens))
    paths = [path for template in read for path in template.reached.get(INPUTS, ())]
    return frozenset() if () in paths else frozenset(inputs) - {str(path[0]) for path in paths}


def _unfollowed(nodes: Sequence[tuple[str, Node | None]], position: int) -> Iterator[Loose]:
    """Return every setting that names a node that is not earlier, or has no answers."""
    node, ids = nodes[position][1], [name for name, _ in nodes]
    for place, name in node._follows().items() if node is not None else ():
        if name not in ids[:position]:
            yield Loose(position, place, no_node(name, ids, position))
            continue
        earlier = nodes[ids.index(name)][1]
        if earlier is not None and type(earlier)._declared.makes:
            yield Loose(position, place, f"node {name!r} has no answers of a model to continue from")


def no_node(name: str, ids: Sequence[str], position: int) -> str:
    """Return why a node cannot read the answers of a node of this name."""
    earlier = ids[:position]
    if name == ids[position]:
        return f"node {name!r} cannot read its own answer"
    if name in ids:
        return f"node {name!r} comes later: a node can read only the answers of earlier nodes"
    known = f"; earlier are {', '.join(earlier)}" if earlier else "; it is the first node"
    return f"no earlier node {name!r}{nearest(name, earlier) or known}"


class Reading(NamedTuple):
    """What a node reads of an earlier one: its answer, the rest of its output; which of them it cannot do without."""

    answer: bool = True
    rest: bool = True
    needs_answer: bool = True
    needs_rest: bool = True
    ends: bool = False  # what became of the row: known of each
    instead_of: tuple[str, ...] = ()  # the nodes in whose place it stands: it is needed where these have no answer


def upstream(node: Node, earlier: Sequence[str]) -> dict[str, Reading] | None:
    """Return what a node reads, or may read, of which earlier nodes, in their order; None where it reads none."""
    return reading_of(templates(node), earlier)


def reading_of(texts: Iterable[Template], earlier: Sequence[str]) -> dict[str, Reading] | None:
    """Return what texts read, or may read, of which earlier nodes, in their order; None where they read none."""
    reading = [template for template in texts if OUTPUTS in template.names]
    if not reading:
        return None
    if any(template.upstream is None for template in reading):
        return dict.fromkeys(earlier, Reading(ends=True))
    read = {path for template in reading for path in template.reached[OUTPUTS]}
    unmet = {path for template in reading for path in template.unmet}
    parts = {name: (_parts_of(name, read), _parts_of(name, unmet)) for name in earlier}
    places = [
        (way[0], str(each[0])) for t in reading for way, met in t.instead for each in met if way[1:2] not in _END_STEPS
    ]
    found = {
        name: Reading(*first[:2], *needed[:2], first[2], tuple(other for each, other in places if each == name))
        for name, (first, needed) in parts.items()
    }
    return {name: each for name, each in found.items() if any(each)}


def _parts_of(name: str, ways: Iterable[Path]) -> tuple[bool, bool, bool]:
    """Return whether ways lead to a node's answer, the rest of its output, its end; all where one stops at the node."""
    steps = {path[1:2] for path in ways if path[:1] == (name,)}
    answer, ends = {(ANSWER,)}, _END_STEPS
    return bool(({()} | answer) & steps), bool(steps - answer - ends), bool(steps & (ends | {()}))


def columns_read(nodes: Sequence[tuple[str, Node]], whens: Whens = NONE) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Return each node that must have a table, with the columns that its settings name; none for the whole row."""
    made: set[str] = set()
    for name, node in nodes:
        varying = [value for value in node._parsed().values() if is_varying(value)]
        varying += [TextValue(whens[name])] if name in whens else []
        columns = dict.fromkeys(column for value in varying for column in value.columns())
        read = tuple(column for column in columns if column not in made and column not in RESERVED)
        if read or any(value.whole_row() for value in varying):
            yield name, read
        made |= set(node._declared.makes)


def _templates(name: str, node: Node | None, whens: Whens) -> Iterator[Template]:
    """Return every text with placeholders of a node of a workflow."""
    yield from templates(node)
    if name in whens:
        yield whens[name]


def templates(node: Node | None) -> Iterator[Template]:
    """Return every text with placeholders in a node's settings."""
    for value in node._parsed().values() if node is not None else ():
        yield from templates_in(value)


def templates_in(value: Any) -> Iterator[Template]:
    """Return every text with placeholders in a setting's value."""
    if isinstance(value, TextValue):
        yield value.template
    elif isinstance(value, SpokenValue):
        yield from templates_in(value.system)
        yield from templates_in(value.prompt)
    elif isinstance(value, ObjectValue | ArrayValue):
        for item in value.items.values() if isinstance(value, ObjectValue) else value.items:
            yield from templates_in(item)


def faults(
    nodes: Sequence[tuple[str, Node | None]],
    inputs: Iterable[str] | None,
    columns: Sequence[str] | None = None,
    whens: Whens = NONE,
) -> Iterator[Loose]:
    """Return every reference to an input, an earlier node, a part of its answer or an id that is not there."""
    yield from loose(nodes, inputs, whens)
    yield from _replaced_ids(nodes)
    yield from (each for each in _lost(nodes, columns, whens) if not isinstance(each.message, Doubt))


def _replaced_ids(nodes: Sequence[tuple[str, Node | None]]) -> Iterator[Loose]:
    """Return every node whose ids of answers that come later take the place of others, which nobody has retrieved."""
    retrieved = {node._retrieves(nodes[:position]) for position, (_, node) in enumerate(nodes) if node is not None}
    later = [(position, name) for position, (name, node) in enumerate(nodes) if node and node._declared.later]
    for (_, first), (position, _) in pairwise(later):
        if first not in retrieved:
            lost = f"these ids would take the place of those of node {first!r}, which would be in no table"
            yield Loose(position, "type", f"{lost}: retrieve those too (RetrieveResponse), or submit in two workflows")


def doubts(nodes: Sequence[tuple[str, Node]], columns: Sequence[str] | None, whens: Whens) -> list[Loose]:
    """Return every reference to a part of an answer that may be missing in a row."""
    return [each for each in _lost(nodes, columns, whens) if isinstance(each.message, Doubt)]


def _lost(nodes: Sequence[tuple[str, Node | None]], columns: Sequence[str] | None, whens: Whens) -> Iterator[Loose]:
    """Return every reference to a part of an earlier answer that is not known to be there."""
    shapes: dict[str, Shape | None] = {}
    for position, (name, node) in enumerate(nodes):
        for template in _templates(name, node, whens):
            for path in template.reached.get(OUTPUTS, ()):
                shape = shapes.get(str(path[0])) if path else None
                message = shape and (_nowhere(shape, path) or _unasked(shape, path))
                if message and path[1:2] == (ANSWER,) and path[2:3] in _END_STEPS:
                    message = f"no {path[2]!r} in {path[0]}; write {_written((path[0], path[2]))}"
                if message:
                    yield Loose(position, template.place, message)
            told = (
                *_never(template),
                *(_null_at_times(template, whens.get(name)) if template is not whens.get(name) else ()),
            )
            yield from (Loose(position, template.place, each) for each in told)
        shapes[name] = None if node is None else node._answer_shape(nodes[:position], columns)


def _nowhere(shape: Shape, path: Path) -> str | None:
    """Return what is wrong with the first step of a path that leads nowhere; None where none is known to."""
    document, here, is_open, first = shape.document, [shape.document], shape.is_open, 1
    if path[1:2] == (ANSWER,) and shape.answer is not None:
        document, here, is_open, first = shape.answer, [shape.answer], False, 2
    elif path[1:2] and path[1] in ENDS:
        document, here, is_open = {}, [{"type": "object", "properties": ENDS}], False
    for depth, step in enumerate(path[first:], first):
        below = _below(document, here, step)
        if isinstance(below, str):
            return f"{_written(path[:depth])} {below}"
        if isinstance(below, dict):
            beside = () if depth > 1 else (*ENDS, *(() if shape.answer is None else (ANSWER,)))
            return _missing(shape, path, depth, (*below, *beside), is_open=is_open)
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


def _unasked(shape: Shape, path: Path) -> str | None:
    """Return what is wrong with a choice that cannot be there, since its node asks for fewer."""
    most, step = shape.choices, path[2] if len(path) > 2 and path[1] == "choices" else None
    if most is None or not isinstance(step, int) or -most <= step < most:
        return None
    return f"no [{step}] in {_written(path[:2])}: its node asks for {counted(most, 'choice')}; set more with n"


def _uncalled(shape: Shape, path: Path) -> str | None:
    """Return what is wrong with a call that cannot be there, since its node has no functions that could be called."""
    name, where = str(path[-1]), _written(path[:-1])
    called = shape.calls.get(name)
    if called is None or called.may_be:
        return None
    beside = [other for other, call in shape.calls.items() if other != name and call.is_set]
    others = [f"; it has {CALLS[other]}, whose calls are {where}.{other}" for other in beside]
    return f"no {name!r} in {where}: its node has no {CALLS[name]}{''.join(others)}"


def _never(template: Template) -> Iterator[str]:
    """Return what is wrong with each text that an outcome is compared with, and that no outcome is."""
    for path, text in template.compared:
        if path[1:] == ("outcome",):
            from ..engine.outcomes.rules import OUTCOMES  # noqa: PLC0415 - loaded where it is needed

            if text not in OUTCOMES:
                kinds = "; it is 'ok', 'skipped' or what went wrong, such as 'http_error'"
                yield f"{_written(path)} is never {text[:40]!r}{nearest(text, OUTCOMES) or kinds}"


def _null_at_times(template: Template, when: Template | None) -> Iterator[Doubt]:
    """Return what is said of the parts of an end that not every row has, and that nothing stands in for."""
    asked = {path[:1] for path in when.reached.get(OUTPUTS, ())} if when is not None else ()
    for path in template.unmet:
        why = "no server answered" if path[1:] == ("status",) else "the row is ok" if path[1:2] == ("error",) else ""
        if why and path[:1] not in asked and path[1:] != ("error",):
            fails = "such a row fails, unless default(…) meets that, or a when leaves it out"
            yield Doubt(f"{_written(path)} is null where {why}: {fails}")


def _below(document: Any, here: list[Any], step: str | int) -> list[Any] | dict[str, Any] | str:
    """Return the schemas below a step (none: anything may be there), what there is instead, or why there is nothing."""
    layers = [one for schema in here for one in applied(document, schema, unions=True)]
    kinds = frozenset().union(*(admitted(document, schema, ()) for schema in here)) - {"null"}
    if isinstance(step, int):
        if "array" in kinds:
            return [one["items"] for one in layers if isinstance(one.get("items"), dict)]
        return [] if "string" in kinds else "is not a list"
    if "array" in kinds and "object" not in kinds:
        return "is a list: write [0] for its first item"
    if "object" not in kinds:
        return f"is not an object, so it has no {step!r}" if kinds else []
    named: dict[str, list[Any]] = {}
    for one in layers:
        for name, schema in one.get("properties", {}).items():
            named.setdefault(name, []).append(schema)
    if step in named:
        return [schema for schema in named[step] if isinstance(schema, dict)]
    more = [one["additionalProperties"] for one in layers if isinstance(one.get("additionalProperties"), dict)]
    free = any(one.get("additionalProperties") is True or "patternProperties" in one for one in layers)
    return more if more or free or not named else dict(named)


def _missing(shape: Shape, path: Path, depth: int, known: tuple[str, ...], *, is_open: bool) -> str | None:
    step, where = str(path[depth]), _written(path[:depth])
    if is_open and step in _EXTENSIONS:
        return None
    ways = _TEXTS if is_open and step in _OF_TEXTS and path[1:depth] in _BEFORE_TEXTS else ()
    if (way := next((each for each in ways if _leads_on(shape, each)), None)) is not None:
        return f"no {step!r} in {where}; write {_written((path[0], *way))}"
    if is_open and path[1:] == ("body",):
        return f"no 'body' in {where}: {where} is the whole of it"
    shown = f"; it has {', '.join(known[:_SHOWN])}{', …' if len(known) > _SHOWN else ''}"
    if is_open and not difflib.get_close_matches(step, known, n=1, cutoff=_ALIKE):
        fails = "a row whose answer lacks it fails, unless default(…) meets that"
        return Doubt(f"the API has no {step!r} in {where}, only a server may add it: {fails}")
    return f"no {step!r} in {where}{nearest(step, known) or shown}"


def _leads_on(shape: Shape, way: Path) -> bool:
    """Check whether every step of a way is known to be there."""
    here: Any = [shape.document]
    for step in way:
        here = _below(shape.document, here, step) if isinstance(here, list) and here else None
    return isinstance(here, list) and bool(here)


def _written(path: Path) -> str:
    """Return a path as it is written in a placeholder."""
    return written((OUTPUTS, *path))
