"""The subschemas of a document: what they say about a place in a body, and the graph that they make."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import unquote, urljoin

Path = tuple[str | int, ...]
OTHER_TYPES = MappingProxyType(
    {
        **dict.fromkeys(("float", "double", "decimal", "numeric"), "number"),
        **dict.fromkeys(("int", "long", "int64", "bigint"), "integer"),
        **dict.fromkeys(("str", "text", "select", "enum"), "string"),
        **dict.fromkeys(("bool", "truth"), "boolean"),
        **dict.fromkeys(("list", "tuple", "multiselect"), "array"),
        **dict.fromkeys(("dict", "map", "mapping", "json", "struct"), "object"),
    }
)
"""What other tools and languages call JSON's types."""
TYPES = frozenset({"string", "number", "integer", "boolean", "null", "array", "object"})
_UNIONS = ("anyOf", "oneOf")
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies"})
_APPLIES_TO = {
    **dict.fromkeys((*REFERENCES, "not", "if", "then", "else", "allOf", "anyOf", "oneOf"), 0),
    **dict.fromkeys(("dependentSchemas", "dependencies"), 0),
    **dict.fromkeys(("properties", "additionalProperties", "propertyNames"), 1),
    **dict.fromkeys(("patternProperties", "unevaluatedProperties"), 2),
    **dict.fromkeys(("items", "prefixItems", "additionalItems"), 3),
    **dict.fromkeys(("contains", "unevaluatedItems"), 4),
}
"""The keywords that hold schemas, by what these apply to: the value, one property or each, one item or each."""
_ANCHORS = ("$anchor", "$dynamicAnchor")


def applied(document: Any, schema: Any, *, unions: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a schema and those that apply to the same value; with `unions` also those that may, as ``anyOf`` says."""
    seen: set[int] = set()
    waiting = [schema]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, dict) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        more = [_target(document, one["$ref"])] if isinstance(one.get("$ref"), str) else []
        more.extend(_listed(one, "allOf"))
        if unions:
            more.extend(branch for union in _UNIONS for branch in _listed(one, union))
            more.extend((one.get("then"), one.get("else")))
        waiting = more + waiting


def _target(document: Any, reference: str) -> Any:
    return followed(document, reference[1:]) if reference == "#" or reference.startswith("#/") else None


def _listed(schema: dict[str, Any], keyword: str) -> list[Any]:
    branches = schema.get(keyword)
    return branches if isinstance(branches, list) else []


def properties(document: Any) -> dict[str, Any]:
    """Return the schema of each property that the document knows at its top, in the document's order."""
    found: dict[str, Any] = {}
    for one in applied(document, document, unions=True):
        for name, schema in one.get("properties", {}).items():
            found.setdefault(name, schema)
    return found


def required(document: Any) -> tuple[str, ...]:
    """Return the names that the document requires at its top."""
    names = (name for one in applied(document, document) for name in one.get("required", ()))
    return tuple(dict.fromkeys(names))


def words(document: Any, schema: Any, name: str) -> list[str]:
    """Return the words that a schema allows for one property of an object; empty where it allows any."""
    for one in applied(document, schema):
        for each in applied(document, one.get("properties", {}).get(name)):
            listed = [each["const"]] if "const" in each else each.get("enum", [])
            if listed:
                return [word for word in listed if isinstance(word, str)]
    return []


def admitted(document: Any, schema: Any, path: Path, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return which of `TYPES` a schema admits at a path below it, none where no value can stand.

    ``number`` comes with ``integer``. References in `seen` were followed on the way here: they bound nothing more.
    """
    if not isinstance(schema, dict):
        return frozenset() if schema is False else TYPES
    found = _admitted_here(schema)
    if path:
        container = "object" if isinstance(path[0], str) else "array"
        fits = container in found
        found = admitted(document, _below(schema, path[0]), path[1:]) if fits else frozenset()
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        found &= admitted(document, _target(document, reference), path, seen | {reference})
    for branch in _listed(schema, "allOf"):
        found &= admitted(document, branch, path, seen)
    for union in _UNIONS:
        if union in schema:
            branches = _listed(schema, union)
            found &= frozenset().union(*(admitted(document, branch, path, seen) for branch in branches))
    return found


def _admitted_here(schema: dict[str, Any]) -> frozenset[str]:
    types = schema.get("type", TYPES)
    found = frozenset({types} if isinstance(types, str) else types)
    if "number" in found:
        found |= {"integer"}
    if "const" in schema:
        found &= {kind(schema["const"])}
    if isinstance(schema.get("enum"), list):
        found &= {kind(value) for value in schema["enum"]}
    return found


def _below(schema: dict[str, Any], step: str | int) -> Any:
    if isinstance(step, str):
        named = schema.get("properties", {})
        if step in named or "patternProperties" in schema:
            return named.get(step, True)
        return schema.get("additionalProperties", True)
    items = schema.get("items", True)
    first = items if isinstance(items, list) else schema.get("prefixItems", [])
    if step < len(first):
        return first[step]
    return schema.get("additionalItems", True) if isinstance(items, list) else items


def kind(value: Any) -> str:
    """Return the JSON type of a value: ``integer`` for 16 and 16.0 alike; Python's name where it is no JSON."""
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return _KINDS.get(type(value), type(value).__name__)


_KINDS: dict[type, str] = {type(None): "null", bool: "boolean", int: "integer", str: "string", dict: "object"}
_KINDS |= {list: "array", tuple: "array"}


class SubschemaGraph:
    """The subschemas of one document, by the identity of the dicts that they are."""

    def __init__(self, document: dict[str, Any]) -> None:
        draft = document.get("$schema")
        self.ignores_siblings = isinstance(draft, str) and any(old in draft for old in ("-04/", "-06/", "-07/"))
        self.places: dict[int, str] = {}
        self._name = "id" if isinstance(draft, str) and "draft-04" in draft else "$id"
        self._document = document
        self._bases: dict[int, str] = {}
        self._anchored: dict[str, Any] = {"": document}
        self._place(document)
        self.address = self._bases[id(document)]

    def _place(self, document: dict[str, Any]) -> None:
        """Record the pointer and the base address of every dict, and every address that the document gives."""
        waiting: list[tuple[Any, str, str]] = [(document, "#", "")]
        while waiting:
            value, pointer, base = waiting.pop()
            if isinstance(value, dict):
                base = self._base_within(value, base)
                self.places[id(value)], self._bases[id(value)] = pointer, base
            for step, each in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(each, dict | list):
                    escaped = str(step).replace("~", "~0").replace("/", "~1")
                    waiting.append((each, f"{pointer}/{escaped}", base))

    def _base_within(self, schema: dict[str, Any], base: str) -> str:
        """Record the addresses that a schema gives itself, as `target` looks them up; return the base of its parts."""
        own = schema.get(self._name)
        if isinstance(own, str):
            address = (base + own if own.startswith("#") else urljoin(base, own)).rstrip("#")
            self._anchored.setdefault(address, schema)
            base = base if own.startswith("#") else address
        for keyword in _ANCHORS:
            if isinstance(schema.get(keyword), str):
                self._anchored.setdefault(f"{base}#{schema[keyword]}", schema)
        return base

    def target(self, schema: dict[str, Any], keyword: str) -> Any:
        """Return the subschema to which a reference of `schema` leads, or None where it leads outside or nowhere."""
        reference = schema.get(keyword)
        if not isinstance(reference, str):
            return None
        address, _, fragment = reference.partition("#")
        base = self._bases[id(schema)]
        address = urljoin(base, address) if address else base
        if fragment and not fragment.startswith("/"):
            return self._anchored.get(f"{address}#{fragment}")
        return followed(self._anchored.get(address), fragment)

    def unresolved(self) -> str | None:
        """Return the first reference that leads nowhere in the document, in the document's order."""
        waiting: list[Any] = [self._document]
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                for keyword in REFERENCES:
                    if isinstance(value.get(keyword), str) and self.target(value, keyword) is None:
                        return str(value[keyword])
            inside = value.values() if isinstance(value, dict) else value
            waiting.extend(reversed([each for each in inside if isinstance(each, dict | list)]))
        return None

    def extent(self) -> tuple[int, int]:
        """Return how many subschemas one value may be held against at once, and how long the longest way down is.

        A reference that leads back to where it came from counts as one: the gate remembers what it met there.
        """
        known: dict[int, tuple[int, int]] = {}
        waiting = [self._opened(self._document, known)]
        while waiting:
            schema, groups, inside = waiting[-1]
            new = next((each for each in inside if id(each) not in known), None)
            if new is not None:
                waiting.append(self._opened(new, known))
                continue
            waiting.pop()
            counts = [[known[id(each)] for each in group] for group in groups]
            here, one_name, names, one_item, items = ([count for count, _ in group] for group in counts)
            below = max(max(one_name, default=0) + sum(names), max(one_item, default=0) + sum(items))
            longest = max((length for group in counts for _, length in group), default=0)
            known[id(schema)] = 1 + sum(here) + below, 1 + longest
        return known[id(self._document)]

    def _opened(self, schema: dict[str, Any], known: dict[int, tuple[int, int]]) -> tuple[Any, Any, Any]:
        known[id(schema)] = 1, 1
        groups = self._groups(schema)
        return schema, groups, itertools.chain.from_iterable(groups)

    def _groups(self, schema: dict[str, Any]) -> tuple[list[dict[str, Any]], ...]:
        """Return what applies to the value itself; to a property, one of them or each; and the same for an item."""
        groups: tuple[list[dict[str, Any]], ...] = ([], [], [], [], [])
        for keyword, given in schema.items():
            if keyword in _APPLIES_TO:
                value = self.target(schema, keyword) if keyword in REFERENCES else given
                inside = value.values() if keyword in _MAPS and isinstance(value, dict) else value
                group = groups[_APPLIES_TO[keyword]]
                if isinstance(inside, dict):
                    group.append(inside)
                elif not isinstance(inside, bool | str | int | float | None):
                    group.extend(each for each in inside if isinstance(each, dict))
        return groups


def refuse(address: str) -> NoReturn:
    """Refuse to look up a reference that leads outside of the document."""
    raise ValueError(f"{address} is outside the schema")


def followed(place: Any, fragment: str) -> Any:
    """Return what a JSON pointer, as a reference's fragment writes it, leads to, or None."""
    for step in unquote(fragment).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, dict) and key in place:
            place = place[key]
        elif isinstance(place, list) and key.isdecimal() and int(key) < len(place):
            place = place[int(key)]
        else:
            return None
    return place


def nesting(value: Any) -> int:
    """Return how deep lists and objects are nested."""
    depth, layer = 0, [value]
    while layer := [each for each in layer if isinstance(each, dict | list)]:
        depth += 1
        layer = [each for one in layer for each in (one.values() if isinstance(one, dict) else one)]
    return depth
