"""The JSON Schema of a workflow's file, by which editors complete and check it: made of the nodes that there are."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..connection.connection import LOCAL
from ..nodes import known_nodes
from ..nodes.reference import described, summary
from ..run.options import described as described_options
from ..settings import Limits, Retry
from .definition_reader import CONNECTION, KEYS
from .inputs import DECLARATION, TYPES
from .table_source import TableSource

if TYPE_CHECKING:
    from ..nodes import Node

Json = dict[str, Any]
_JSON_TYPES = ("string", "number", "integer", "boolean", "array", "object")
_TEXT: Json = {"type": ["string", "null"]}


def file_schema() -> Json:
    """Return the schema. What a setting's value may be is checked where the file is read, with its placeholders."""
    kinds = known_nodes()
    named: Json = {"type": "string", "description": f"The name of a profile, or {LOCAL}.", "examples": [LOCAL]}
    connection = {"anyOf": [named, _object([*CONNECTION, LOCAL])]}
    declared: Json = _object(DECLARATION) | {"required": ["type"]}
    declared["properties"]["type"] = {"enum": list(TYPES)}
    is_declared = {"type": "object", "required": ["type"]}
    output = _object(["path", "raw", "columns"]) | {"required": ["path"]}
    output["properties"] |= {
        "raw": {"type": "boolean"},
        "columns": {"type": "array", "items": {"type": "string"}},
    }
    table = _object(each.name for each in fields(TableSource)) | {"required": ["path"]}
    parts: Json = {
        "id": _TEXT,
        "description": _TEXT,
        "table": {"anyOf": [_TEXT, table], "description": "The configuration table's file."},
        "connection": connection,
        "inputs": {"type": ["object", "null"], "additionalProperties": {"if": is_declared, "then": declared}},
        "limits": _object([each.name for each in fields(Limits)]),
        "retry": _object([each.name for each in fields(Retry)]),
        "submission": _TEXT | {"description": described_options()["submission"].description},
        "store": _TEXT | {"description": described_options()["store"].description},
        "deadline": {"type": ["number", "null"], "description": described_options()["deadline"].description},
        "nodes": {"type": "array", "minItems": 1, "items": _nodes(kinds)},
        "output": {"anyOf": [_TEXT, output]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A workflow of tablenodes",
        "type": "object",
        "required": ["nodes"],
        "properties": {name: parts[name] for name in KEYS},
        "additionalProperties": False,
        "$defs": {"connection": connection, **{name: _node(kind) for name, kind in kinds.items()}},
    }


def _object(names: Any) -> Json:
    return {"type": ["object", "null"], "properties": {name: {} for name in names}, "additionalProperties": False}


def _nodes(kinds: dict[str, type[Node]]) -> Json:
    """Return the schema of any node: by its type, its own settings."""
    choices = [{"const": name, "description": summary(kind)} for name, kind in kinds.items()]
    by_type = [
        {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": {"$ref": f"#/$defs/{name}"}}
        for name in kinds
    ]
    named = {"id": {"type": "string"}, "type": {"anyOf": choices}}
    return {"type": "object", "required": ["id", "type"], "properties": named, "allOf": by_type}


def _node(kind: type[Node]) -> Json:
    settings: Json = {"id": {}, "type": {}, "description": _TEXT, "when": {"type": ["string", "boolean", "null"]}}
    settings["connection"] = {"$ref": "#/$defs/connection"}
    for name, words, text, limits, is_property in described(kind):
        settings[name] = {"description": f"{text} [{limits}]" if limits else text}
        types = [word for word in words.split(" or ") if word in _JSON_TYPES] if is_property else []
        if types:  # a text may hold a placeholder, or be written as JSON
            settings[name]["type"] = [*dict.fromkeys((*types, "string", "null"))]
    return {"properties": settings, "additionalProperties": False}
