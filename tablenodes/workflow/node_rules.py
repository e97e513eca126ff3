"""What a kind of node takes of its settings, asked of the node itself and of the schema of its requests."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

from .. import schemas
from ..bodies.recipe import SHORTCUTS
from ..errors import UsageError
from ..nodes.node import own_names, property_of, setting_names
from ..schemas.subschemas import applied, properties

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..nodes import Node

Json = dict[str, Any]
_PLACEHOLDER = "{{ x }}"
_SAMPLES: Sequence[tuple[str, Any]] = (
    *(("string", each) for each in ("x", "1", "auto")),
    *(("number", 1), ("boolean", True), ("array", ["x"]), ("object", {"x": 1})),
)
_FREE = ("schema", "answer", "answer_mode")  # what they may be has other rules
_MOST = 5  # settings of which every choice is tried


def types_of(kind: Any, name: str) -> list[str]:
    """Return the JSON types of a setting that says something about the node itself; none where any will do."""
    if name not in own_names(kind) or name in _FREE:
        return []
    beside = dict.fromkeys(next(iter(_least(_accepted(kind))), ()), _PLACEHOLDER)
    found = {of for of, value in _SAMPLES if _takes(kind, {**beside, name: value})}
    return sorted(found)


def settings_together(kind: Any) -> list[Json]:
    """Return which settings a node needs, and which exclude each other."""
    accepted = _accepted(kind)
    needed = [{"required": sorted(each)} for each in _least(accepted) if each]
    able = sorted(frozenset().union(*accepted)) if accepted else []
    apart = [pair for pair in combinations(able, 2) if not any({*pair} <= each for each in accepted)]
    is_set = {"not": {"type": "null"}}
    rules = [{"not": {"required": [*pair], "properties": dict.fromkeys(pair, is_set)}} for pair in apart]
    return [*([{"anyOf": needed} if len(needed) > 1 else needed[0]] if needed else []), *rules]


@lru_cache(maxsize=32)
def _accepted(kind: Any) -> list[frozenset[str]]:
    """Return the choices of a node's settings with which one can be made, of those that may exclude each other."""
    names = setting_names(kind)
    tried = names if len(names) <= _MOST else [name for name in (*SHORTCUTS, "messages") if name in names]
    if len(names) > _MOST and not kind._declared.shortcuts:
        return []
    mappings = {each.name for each in fields(kind) if str(each.type).startswith("Mapping")}
    samples = {name: {"x": "x"} if name in mappings else _PLACEHOLDER for name in tried}
    sets = (frozenset(each) for count in range(len(tried) + 1) for each in combinations(tried, count))
    return [each for each in sets if _takes(kind, {name: samples[name] for name in each})]


def _least(accepted: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    return [each for each in accepted if not any(other < each for other in accepted)]


def _takes(kind: type[Node], settings: Json) -> bool:
    try:
        kind(**settings)
    except UsageError:
        return False
    return True


def property_ranges(kind: type[Node]) -> Json:
    """Return the least and the most of each number, and the most items of each list, among a request's properties."""
    made = {}
    for name, layers in _layers(kind):
        found = {word: one[word] for one in layers for word in ("minimum", "maximum", "maxItems") if word in one}
        if found:
            made[name] = found
    return made


def closed(kind: type[Node]) -> Json:
    """Return the words of each request property that is one of a few, beside texts with placeholders."""
    made = {}
    for name, layers in _layers(kind):
        words = [word for one in layers for word in one.get("enum", ())]
        if words and all(one.get("type") in ("string", ["string", "null"], None) for one in layers):
            made[name] = {"anyOf": [{"enum": [*dict.fromkeys((*words, None))]}, {"pattern": r"\{\{"}]}
    return made


def _layers(kind: type[Node]) -> Iterator[tuple[str, list[Json]]]:
    if not kind._declared.operation:
        return
    document = schemas.load(schemas.DEFAULT_REVISION, kind._declared.operation).document
    known = properties(document)
    for name in setting_names(kind):
        if (found := property_of(kind, name)) in known and name not in SHORTCUTS and name not in own_names(kind):
            yield name, list(applied(document, known[found], unions=True))
