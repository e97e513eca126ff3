"""The JSON Schema of a workflow's file, by which editors complete and check it: made of what its reader knows."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_args

from ..answers import ANSWER_MODES
from ..connection.connection import LOCAL, Connection
from ..connection.connection_reader import CONNECTION_KINDS, connection_keys
from ..database_address import IF_EXISTS
from ..local import LocalModel
from ..nodes import known_nodes
from ..nodes.reference import described, summary
from ..run.options import DEADLINES
from ..run.options import described as described_options
from ..settings import Limits, Range, Retry, Timeout, choices, ranges
from .definition import WORKFLOW_ID
from .definition_reader import KEYS
from .destination import Destination
from .inputs import DECLARATION, TYPES
from .node_rules import closed, property_ranges, settings_together, types_of
from .references import KEPT_IDS, NODE_ID
from .table_source import TableSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..nodes import Node

Json = dict[str, Any]
_JSON_TYPES = ("string", "number", "integer", "boolean", "array", "object")
_TEXT: Json = {"type": ["string", "null"], "minLength": 1}
_TEXTS: Json = {"type": ["object", "null"], "additionalProperties": {"type": ["string", "number"]}}
_URL: Json = {"type": "string", "pattern": "^(sqlite|duckdb|postgres(ql)?)([+][A-Za-z0-9_]+)?://"}
_ANY_TEXT: Json = {"type": ["string", "null"]}
_NAME = r"^[^0-9!-/:-@\[-^`{-~\s][^!-/:-@\[-^`{-~\s]*$"  # letters of any language, digits, underscores
_BY_KIND: Mapping[str, Json] = {
    "text": _TEXT,
    "path": _TEXT,
    "texts": _TEXTS,
    "boolean": {"type": ["boolean", "null"]},
    "empty": {"enum": ["", None]},
    "addresses": {"type": ["string", "array", "null"], "minLength": 1, "minItems": 1, "items": {"type": "string"}},
}


def file_schema() -> Json:
    """Return the schema: all that can be said of a file without its table, its placeholders and its environment."""
    kinds = known_nodes()
    parts: Json = {
        "id": {"type": ["string", "null"], "pattern": _whole(WORKFLOW_ID.pattern)},
        "description": _TEXT,
        "table": _table(),
        "connection": {"$ref": "#/$defs/connection"},
        "inputs": _inputs(),
        "limits": _settings(Limits),
        "retry": _settings(Retry),
        "submission": _TEXT | {"description": described_options()["submission"].description},
        "store": _TEXT | {"description": described_options()["store"].description},
        "deadline": _number(float, DEADLINES, "null") | {"description": described_options()["deadline"].description},
        "nodes": {"type": "array", "minItems": 1, "items": _nodes(kinds)},
        "output": _output(),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A workflow of tablenodes",
        "type": "object",
        "required": ["nodes"],
        "properties": {name: parts[name] for name in KEYS},
        "additionalProperties": False,
        "$defs": {"connection": _connection(), **{name: _node(kind) for name, kind in kinds.items()}},
    }


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


def _object(properties: Mapping[str, Json], *kinds: str) -> Json:
    return {"type": ["object", *kinds], "properties": dict(properties), "additionalProperties": False}


def _number(kind: type, within: Range, *kinds: str) -> Json:
    made = {"type": ["integer" if kind is int else "number", *kinds], "minimum": within.low, "maximum": within.high}
    return made | ({"description": within.description} if within.description else {})


def _settings(kind: Any, *kinds: str) -> Json:
    """Return the schema of one of the frozen values of settings: its numbers with their ranges, its closed choices."""
    made: Json = {each.name: {} for each in fields(kind)}
    for name, (kind_of, within) in ranges(kind).items():
        number, *optional = get_args(kind_of) or (kind_of,)
        made[name] = _number(number, within, *(["null"] if optional else []))
    made |= {name: {"enum": [*values]} for name, values in choices(kind).items()}
    return _object(made, "null", *kinds)


def _connection() -> Json:
    """Return the schema of a connection: a profile's name, or its settings."""
    made: Json = {name: _BY_KIND[CONNECTION_KINDS.get(name, "text")] for name in connection_keys(Connection)}
    _, within = ranges(Timeout)["total"]
    made["timeout"] = _settings(Timeout, "number") | {"minimum": within.low, "maximum": within.high}
    made["prices"] = {"type": ["object", "null"], "additionalProperties": {"type": "object"}}
    made[LOCAL] = _object({each.name: {} for each in fields(LocalModel)})
    keys = ("api_key", "api_key_env")
    both = {"type": "object", "required": [*keys], "properties": {key: {"type": "string"} for key in keys}}
    alone = {"if": {"type": "object", "required": [LOCAL]}, "then": {"maxProperties": 1}}
    named = {"description": f"The name of a profile, {LOCAL}, or settings.", "examples": [LOCAL], "pattern": "^[^/]+$"}
    return _object(made, "string", "null") | named | {"not": both} | alone


def _inputs() -> Json:
    """Return the schema of the inputs: a mapping with a type, or with the keys of a declaration alone, is one."""
    types = {"type": {"enum": [*TYPES, None]}, "required": {"type": ["boolean", "null"]}, "description": _ANY_TEXT}
    declared = _object({name: types.get(name, {}) for name in DECLARATION})
    declared["allOf"] = [
        {
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": {"properties": {"default": {"type": [*dict.fromkeys((name, "string", "null"))]}}},
        }
        for name in TYPES
    ]
    bare = {"minProperties": 1, "propertyNames": {"enum": [*DECLARATION]}}
    is_declared = {"type": "object", "anyOf": [{"required": ["type"]}, bare]}
    each = {"if": is_declared, "then": declared}
    return {"type": ["object", "null"], "propertyNames": {"pattern": _NAME}, "additionalProperties": each}


def _table() -> Json:
    """Return the schema of the table: a file's path, or that with how it is read."""
    known = {each.name: _ANY_TEXT for each in fields(TableSource)} | {"path": {"type": "string", "minLength": 1}}
    file = _object(known, "string", "null") | {"minLength": 1, "required": ["path"]}
    asked = _object({"url": _URL, "query": {"type": "string", "minLength": 1}}) | {"required": ["url", "query"]}
    return _of_database(asked, file) | {"description": "The configuration table: a file, or a database's query."}


def _output() -> Json:
    text = {"type": "string", "minLength": 1}
    columns = {"type": ["array", "null"], "minItems": 1, "uniqueItems": True, "items": text}
    known: Json = {"path": text, "raw": {"type": "boolean"}, "columns": columns}
    made = _object({each.name: known.get(each.name, {}) for each in fields(Destination)}, "string", "null")
    chosen = {"type": "object", "required": ["columns"], "properties": {"columns": {"type": "array"}}}
    only_table = {"if": chosen, "then": {"properties": {"raw": {"const": False}}}}
    file = made | {"required": ["path"], "minLength": 1} | only_table
    where: Json = {"url": _URL, "table": text, "if_exists": {"enum": [*IF_EXISTS, None]}, "key": _TEXT}
    target = _object({**where, "raw": known["raw"], "columns": columns}) | {"required": ["url", "table"]} | only_table
    return _of_database(target, file)


def _of_database(database: Json, file: Json) -> Json:
    """Return the schema of what is a table of a database where it has a URL, and else a file."""
    return {"if": {"type": "object", "required": ["url"]}, "then": database, "else": file}


def _nodes(kinds: dict[str, type[Node]]) -> Json:
    """Return the schema of any node: by its type, its own settings."""
    by_name = [{"const": name, "description": summary(kind)} for name, kind in kinds.items()]
    by_type = [
        {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": {"$ref": f"#/$defs/{name}"}}
        for name in kinds
    ]
    own = {"type": "string", "pattern": _whole(NODE_ID.pattern), "not": {"enum": [*KEPT_IDS]}}
    of_document = {"pattern": "^openapi:.+#.+", "description": "An operation of an OpenAPI document: openapi:FILE#ID."}
    named = {"id": own, "type": {"anyOf": [*by_name, of_document]}}
    return {"type": "object", "required": ["id", "type"], "properties": named, "allOf": by_type}


def _node(kind: type[Node]) -> Json:
    made: Json = {"id": {}, "type": {}, "description": _ANY_TEXT, "connection": {"$ref": "#/$defs/connection"}}
    made["when"] = {"type": ["string", "boolean", "null"], "minLength": 1}
    for name, words, text, limits, is_property in described(kind):
        made[name] = {"description": f"{text} [{limits}]" if limits else text}
        types = [word for word in words.split(" or ") if word in _JSON_TYPES] if is_property else types_of(kind, name)
        if types:  # a property may be a text with a placeholder, or be written as JSON
            made[name]["type"] = [*dict.fromkeys((*types, *(["string"] if is_property else []), "null"))]
    if "answer_mode" in made:
        made["answer_mode"] |= {"enum": [*ANSWER_MODES, None]}
    if "client_timeout" in made:
        _, within = ranges(Timeout)["total"]
        made["client_timeout"] |= {"minimum": within.low, "maximum": within.high}
    if "continue_from" in made:
        made["continue_from"] |= {"pattern": _whole(NODE_ID.pattern)}
    schema = {"properties": made, "additionalProperties": False}
    if rules := settings_together(kind):
        schema["allOf"] = rules
    if known := {**property_ranges(kind), **closed(kind)}:  # those of the bundled schema, where the node names no other
        schema |= {"if": {"not": {"required": ["schema"]}}, "then": {"properties": known}}
    return schema
