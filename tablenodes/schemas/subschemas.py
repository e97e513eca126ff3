"""What a schema document says about a place in a body: its properties, words and types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .subschema_graph import followed

Path = tuple[str | int, ...]
TYPES = frozenset({"string", "number", "integer", "boolean", "null", "array", "object"})
_UNIONS = ("anyOf", "oneOf")


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
