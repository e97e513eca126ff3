"""What a schema document says about a place in a body, and what OpenAPI's ``nullable`` is in JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from ..errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]

TYPES = frozenset({"string", "number", "integer", "boolean", "null", "array", "object"})

_SHOWN = 200
_UNIONS = ("anyOf", "oneOf")
_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions", "schemas"})
_VALUES = frozenset({"enum", "const", "default", "examples", "example"})
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "example", "deprecated"})
_PLACES = frozenset({"$schema", "$id", "$anchor", "$defs", "definitions", "components"})
_LIMITS_ON_OTHER_TYPES = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern", "format"),
        *(
            "items",
            "prefixItems",
            "contains",
            "minContains",
            "maxContains",
            "minItems",
            "maxItems",
            "uniqueItems",
        ),
        *("properties", "patternProperties", "additionalProperties", "propertyNames", "required"),
        *("minProperties", "maxProperties", "dependentRequired", "dependentSchemas"),
    }
)


def target(document: Any, reference: str) -> Any:
    """Give what a reference inside the document (``#/…``) points at, or None."""
    if not reference.startswith("#"):
        return None
    place = document
    for step in unquote(reference[1:]).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, dict) and key in place:
            place = place[key]
        elif isinstance(place, list) and key.isdecimal() and int(key) < len(place):
            place = place[int(key)]
        else:
            return None
    return place if reference.startswith("#/") or reference == "#" else None


def escaped(step: str) -> str:
    """Give a name as a step of a JSON pointer in a reference."""
    return quote(step.replace("~", "~0").replace("/", "~1"), safe="~")


def applied(document: Any, schema: Any, *, unions: bool = False) -> Iterator[dict[str, Any]]:
    """Give a schema and those that apply to the same value, through ``$ref`` and ``allOf``.

    Parameters
    ----------
    document : JSON value
        The whole document, for its references.
    schema : JSON value
        Where to begin.
    unions : bool
        Whether to go through ``anyOf``, ``oneOf``, ``then`` and ``else`` as well: what may apply.
    """
    seen: set[int] = set()
    waiting = [schema]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, dict) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        more = [target(document, one["$ref"])] if isinstance(one.get("$ref"), str) else []
        more.extend(_listed(one, "allOf"))
        if unions:
            more.extend(branch for union in _UNIONS for branch in _listed(one, union))
            more.extend((one.get("then"), one.get("else")))
        waiting = more + waiting


def _listed(schema: dict[str, Any], keyword: str) -> list[Any]:
    branches = schema.get(keyword)
    return branches if isinstance(branches, list) else []


def properties(document: Any) -> dict[str, Any]:
    """Give the schema of each property that the document knows at its top, in the document's order."""
    found: dict[str, Any] = {}
    for one in applied(document, document, unions=True):
        for name, schema in one.get("properties", {}).items():
            found.setdefault(name, schema)
    return found


def required(document: Any) -> tuple[str, ...]:
    """Give the names that the document requires at its top."""
    names = (name for one in applied(document, document) for name in one.get("required", ()))
    return tuple(dict.fromkeys(names))


def words(document: Any, schema: Any, name: str) -> list[str]:
    """Give the words that a schema allows for one property of an object; empty where it allows any."""
    for one in applied(document, schema):
        for each in applied(document, one.get("properties", {}).get(name)):
            listed = [each["const"]] if "const" in each else each.get("enum", [])
            if listed:
                return [word for word in listed if isinstance(word, str)]
    return []


def admitted(document: Any, schema: Any, path: Path, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """Give the names of the JSON types that a schema admits at a path below it.

    Parameters
    ----------
    document : JSON value
        The whole document, for its references.
    schema : JSON value
        The schema of the value at which the path begins.
    path : tuple of str or int
        The steps down, property names and positions.
    seen : frozenset of str
        References that were followed on the way without a step down; they bound nothing more.

    Returns
    -------
    frozenset of str
        Among `TYPES`; ``number`` comes with ``integer``. Empty where no value can stand there.
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
        found &= admitted(document, target(document, reference), path, seen | {reference})
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
    """Give the JSON type of a value: ``integer`` for 16 and 16.0 alike; Python's name where it is no JSON."""
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return _KINDS.get(type(value), type(value).__name__)


_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    str: "string",
    dict: "object",
    list: "array",
    tuple: "array",
}


def without_nullable(schema: Any) -> Any:
    """Give a schema in which OpenAPI's ``nullable: true`` has become a null type.

    Parameters
    ----------
    schema : JSON value
        A schema, plain or of OpenAPI 3.0; it is not changed.

    Returns
    -------
    JSON value
        With a ``type``, the type and the enum are extended; where that would not let null through, the
        schema is wrapped: ``anyOf: [{type: null}, the schema]``.
    """
    if isinstance(schema, list):
        return [without_nullable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, dict):
            plain[keyword] = {name: without_nullable(each) for name, each in value.items()}
        elif keyword in _VALUES:
            plain[keyword] = value
        elif keyword != "nullable" or not isinstance(value, bool):
            plain[keyword] = without_nullable(value)
    return _with_null(plain) if schema.get("nullable") is True else plain


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    bounding = schema.keys() - _ANNOTATIONS - _PLACES - _LIMITS_ON_OTHER_TYPES
    if "type" in bounding and bounding <= {"type", "enum"}:
        types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        extended = {**schema, "type": [*types, *({"null"} - set(types))]}
        if "enum" in schema:
            extended["enum"] = [*schema["enum"], *([] if None in schema["enum"] else [None])]
        return extended
    outside = {name: value for name, value in schema.items() if name in _ANNOTATIONS | _PLACES}
    inside = {name: value for name, value in schema.items() if name not in outside}
    return {**outside, "anyOf": [{"type": "null"}, inside]} if inside else outside


def bad_reference(document: Any, name: str, reason: str) -> SchemaError:
    """Give the error for a reference that is not followed, naming it.

    Parameters
    ----------
    document : JSON value
        The schema that holds the reference.
    name : str
        The schema's name.
    reason : str
        A validator's words, which quote the reference or where it leads.
    """
    draft = document.get("$schema")
    if isinstance(draft, str) and f"'{draft}'" in reason:
        return SchemaError(f"schema {name}: $schema {draft!r} is no draft of JSON Schema that is known")
    named = [each for each in _references(document) if f"{each.partition('#')[0] or each[1:]}'" in reason]
    if not named:
        return SchemaError(f"schema {name}: a $ref is not followed: {reason[:_SHOWN]}")
    local = named[0].startswith("#")
    fault = "points at nothing in it" if local else "points outside it; only references inside (#/…) are followed"
    return SchemaError(f"schema {name}: $ref {named[0][:_SHOWN]!r} {fault}")


def _references(schema: Any) -> Iterator[str]:
    for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            yield from _references(value)
