"""The strict form of a JSON Schema: one way of writing for what means the same, and what strict modes ask for.

Every object that says its fields is closed, each of its properties is required, and what was optional or has a default
may be null. References are replaced, ``allOf`` is merged, ``oneOf`` of forms that exclude each other is ``anyOf``.
What strict modes forbid beyond that stays: it says something about the answer, and `lint` finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import SchemaError
from ..schemas.schema_source import without_nullable
from .schema_references import inlined, merged, with_parts

ANSWER = "answer"
"""The name of an answer's schema, and of the only field of one that is no object: it is wrapped in one."""

NULL = {"type": "null"}
SCALARS = frozenset({"string", "integer", "number", "boolean"})

_SAYS_NOTHING = frozenset(
    {
        *("title", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "xml", "externalDocs"),
        *("$schema", "$id", "$anchor", "$comment", "$vocabulary", "propertyOrdering"),
    }
)
"""The keywords that say nothing about a value; a server may refuse them."""

_PARTS = frozenset({"properties", "items", "prefixItems", "additionalProperties", "anyOf"})
"""Where values of the answer stand; conditions are not answers, and stay as they are."""

_BESIDE = frozenset({"patternProperties", "allOf", "oneOf", "anyOf", "if", "dependentSchemas"})
"""What may say more about an object's fields: an object with one of them is not closed."""

_ORDER = ("type", "description", "enum", "format", "properties", "required", "additionalProperties", "items", "anyOf")


def strict(document: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a schema in strict form, and whether it is wrapped: ``{"answer": …}`` for what is no object."""
    try:
        whole = inlined(without_nullable(dict(document)))
        definitions = {name: _tidy(each) for name, each in whole.pop("$defs", {}).items()}
        made = _tidy(whole)
    except RecursionError:
        raise SchemaError("the answer's schema is nested too deeply") from None
    wrapped = made.get("type") != "object"
    if wrapped:
        made = _closed({"type": "object", "properties": {ANSWER: made}}, {ANSWER})
    elif not made.get("properties"):
        raise SchemaError("the answer's schema is an object without fields: name them in its properties")
    return {**made, "$defs": definitions} if definitions else made, wrapped


def _tidy(schema: Any) -> dict[str, Any]:
    """Return a part in strict form."""
    if not isinstance(schema, Mapping):
        return {} if schema else {"not": {}}
    whole = _without_all_of(schema)
    optional = _optional(whole)
    made = {name: value for name, value in whole.items() if name not in _SAYS_NOTHING and not name.startswith("x-")}
    made = with_parts(_with_any_of(made), _tidy, _PARTS)
    made = _with_enum(made)
    if "properties" in made or "items" in made:
        made.setdefault("type", "object" if "properties" in made else "array")
    is_open = made.get("additionalProperties") not in (None, True, False, {})
    if made.get("properties") and not is_open and not _BESIDE & made.keys():
        made = _closed(made, made["properties"].keys() - optional)
    elif made.get("additionalProperties") is True:
        del made["additionalProperties"]
    return _ordered(_with_null_last(made))


def _optional(schema: Mapping[str, Any]) -> frozenset[str]:
    """Return the properties that an object may lack, or that have a default."""
    named, required = schema.get("properties", {}), schema.get("required", ())
    with_default = {name for name, each in named.items() if isinstance(each, Mapping) and "default" in each}
    return frozenset(with_default | (named.keys() - set(required)))


def _closed(schema: dict[str, Any], required: set[str]) -> dict[str, Any]:
    named = {name: each if name in required else or_null(each) for name, each in schema["properties"].items()}
    return _ordered({**schema, "properties": named, "required": list(named), "additionalProperties": False})


def _without_all_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with what its ``allOf`` says as its own, where that says nothing else."""
    made = dict(schema)
    while "allOf" in made:
        branches = made.pop("allOf")
        together: dict[str, Any] = made
        for branch in branches:
            together = merged(_without_all_of(branch), together) if isinstance(branch, Mapping) else {"allOf": branches}
            if "allOf" in together:
                return dict(schema)
        made = together
    return made


def _with_any_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose ``oneOf`` is ``anyOf`` where at most one of its forms can fit; no discriminator."""
    forms = schema.get("oneOf")
    told_apart = "discriminator" in schema
    made = {name: value for name, value in schema.items() if name != "discriminator"}
    if isinstance(forms, list) and "anyOf" not in schema:
        types = [form.get("type") if isinstance(form, Mapping) else None for form in forms]
        plain = all(isinstance(name, str) for name in types) and not {"integer", "number"} <= set(map(str, types))
        if told_apart or (plain and len(set(types)) == len(types)):
            made["anyOf"] = made.pop("oneOf")
    return made


def _with_enum(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with a single constant as an ``enum`` of one, and the type of what is listed."""
    made = dict(schema)
    if "const" in made and not isinstance(made["const"], list | Mapping) and "enum" not in made:
        made["enum"] = [made.pop("const")]
    members = made.get("enum")
    if isinstance(members, list):
        members = [int(each) if isinstance(each, float) and each.is_integer() else each for each in members]
        types = list(dict.fromkeys(map(_json_type, members)))
        types = [name for name in types if name != "integer" or "number" not in types]
        made = {"type": types[0] if len(types) == 1 else types, **made, "enum": members}
    return made


def _json_type(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def _with_null_last(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with unions in one way of writing: null is their last, and types alone are a list of types."""
    types = schema.get("type")
    if isinstance(types, list):
        rest = [name for name in dict.fromkeys(types) if name != "null"]
        made = {**schema, "type": rest[0] if len(rest) == 1 else rest or "null"}
        if "null" not in types or not rest:
            return made
        if "enum" in made:
            made["enum"] = [member for member in made["enum"] if member is not None]
        return or_null(made)
    if set(schema) - {"description"} == {"anyOf"}:
        return _with_branches(schema)
    return schema


def _with_branches(schema: dict[str, Any]) -> dict[str, Any]:
    branches: list[dict[str, Any]] = []
    for branch in schema["anyOf"]:
        branches.extend(branch["anyOf"] if set(branch) == {"anyOf"} else _split(branch))
    rest = [branch for at, branch in enumerate(branches) if branch != NULL and branch not in branches[:at]]
    words = {name: schema[name] for name in ("description",) if name in schema}
    if len(rest) > 1 and all(set(branch) == {"type"} and branch["type"] in SCALARS for branch in rest):
        made: dict[str, Any] = {"type": [branch["type"] for branch in rest], **words}
    elif len(rest) == 1:
        made = {**rest[0], **words}
    elif rest:
        made = {"anyOf": rest, **words}
    else:
        return {**NULL, **words}
    return or_null(made) if NULL in branches else made


def _split(branch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the branches that a list of types is, inside of an ``anyOf``."""
    if set(branch) == {"type"} and isinstance(branch["type"], list):
        return [{"type": name} for name in branch["type"]]
    return [branch]


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema in strict form that admits null too."""
    types = schema.get("type")
    if not schema or types == "null" or NULL in schema.get("anyOf", ()):
        return schema
    names = types if isinstance(types, list) else [types]
    if "enum" not in schema and set(names) <= SCALARS | {"null"}:
        return _ordered({**schema, "type": [*(name for name in names if name != "null"), "null"]})
    if set(schema) - {"description"} == {"anyOf"}:
        return _ordered({**schema, "anyOf": [*schema["anyOf"], NULL]})
    words = {name: schema[name] for name in ("description",) if name in schema}
    return _ordered({**words, "anyOf": [_ordered({name: schema[name] for name in schema if name not in words}), NULL]})


def _ordered(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its keywords in one order; the properties stay in theirs."""
    first = [name for name in _ORDER if name in schema]
    return {name: schema[name] for name in (*first, *sorted(schema.keys() - set(first)))}
