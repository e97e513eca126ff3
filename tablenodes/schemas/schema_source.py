"""Schemas by their names: the bundled revisions, files and mappings, each loaded once and made plain JSON Schema."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..bundle import bundled_folder
from ..errors import SchemaError, nearest
from ..problems import Problem
from .schema import SHOWN, Schema
from .subschemas import SubschemaGraph, nesting

DEFAULT_REVISION = "openai-2026-08"  # the bundled revision that is used where none is named
MOST_ALTERNATIVES = 10_000
"""One value is held against at most this many subschemas: a row of a thousand values takes a fraction of a second."""
_LONGEST_WAY = 2_000
_DEEPEST = 254  # what the gate takes
_RESPONSE = ".response.json"


def validate(
    body: Mapping[str, Any],
    operation: str = "create_chat_completion",
    schema: str | os.PathLike[str] | Mapping[str, Any] = DEFAULT_REVISION,
) -> list[Problem]:
    """Check one request body against a schema; nothing is sent.

    Parameters
    ----------
    body : mapping
        The body: plain JSON, or what a request would make plain (dates, NumPy numbers).
    operation : str
        The operation, such as ``create_chat_completion``.
    schema : str, path or mapping
        A bundled revision's name, the path of a JSON Schema file, or a schema. A revision is loaded once
        and kept; a schema of your own is loaded in every call.

    Returns
    -------
    list of Problem
        Each with ``path``, ``rule``, ``message`` and ``got``; empty for a body that fits.

    Raises
    ------
    SchemaError
        If the schema cannot be found, read or used, or has so many alternatives that a row would take seconds.
    """
    return load(schema, operation).problems(body)


def load(schema: str | os.PathLike[str] | Mapping[str, Any], operation: str) -> Schema:
    """Return the schema of an operation's requests: a revision's, a file or a mapping; raise `SchemaError` for none."""
    if isinstance(schema, str) and schema in _index():
        return _bundled(schema, operation)
    if isinstance(schema, Mapping):
        return own_schema("mapping", operation, copied(schema))
    if not isinstance(schema, str | os.PathLike):
        kind = type(schema).__name__
        raise SchemaError(f"schema must be a revision's name, a path or a mapping, not {kind}")
    path = Path(schema).expanduser()
    named = isinstance(schema, str) and path.name == schema and path.suffix != ".json"
    if named and not path.is_file():
        _unknown_revision(str(schema))
    return own_schema(path.name, operation, read_document(path))


@functools.cache
def response(operation: str) -> Schema | None:
    """Return the newest bundled schema of an operation's answers, or None where there is none."""
    request = _index()[DEFAULT_REVISION].get(operation)
    file = request and request.with_suffix(_RESPONSE)
    return _made(f"{DEFAULT_REVISION}, answers", operation, read_document(file)) if file and file.is_file() else None


def revisions() -> tuple[str, ...]:
    """Return the names of the bundled revisions, the oldest first."""
    return tuple(_index())


def operations(revision: str) -> tuple[str, ...]:
    """Return the names of the operations that a bundled revision has a schema for."""
    return tuple(_index()[revision] if revision in _index() else _unknown_revision(revision))


def _unknown_revision(revision: str) -> NoReturn:
    known = " and ".join(revisions())
    hint = nearest(revision, revisions()) or f"; the revisions are {known}, or name a file"
    raise SchemaError(f"no schema revision {revision[:SHOWN]!r}{hint}")


@functools.cache
def _bundled(revision: str, operation: str) -> Schema:
    files = _index()[revision]
    if operation not in files:
        hint = nearest(operation, files) or f"; it has {', '.join(files)}"
        raise SchemaError(f"schema {revision} has no operation {operation[:SHOWN]!r}{hint}")
    return _made(revision, operation, read_document(files[operation]))


def own_schema(name: str, operation: str, document: dict[str, Any]) -> Schema:
    """Return a schema that a user brings, or say why it cannot be used."""
    if nesting(document) > _DEEPEST:
        raise SchemaError(f"schema {name}: nested too deeply")
    schema = _made(name, operation, document)
    alternatives, longest = SubschemaGraph(schema.document).extent()
    if alternatives > MOST_ALTERNATIVES:
        raise SchemaError(
            f"schema {name}: one value would be checked against more than {MOST_ALTERNATIVES:,} subschemas "
            "(anyOf, oneOf, allOf and $ref multiply); use fewer alternatives"
        )
    if longest > _LONGEST_WAY:
        raise SchemaError(f"schema {name}: more than {_LONGEST_WAY:,} subschemas lead one to the next")
    schema.is_valid({})  # builds the validator, which finds what else is wrong with the schema
    return schema


def _made(name: str, operation: str, document: dict[str, Any]) -> Schema:
    try:
        source = json.dumps(without_nullable(document), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError):
        raise SchemaError(f"schema {name}: has a value that JSON does not know, such as NaN or a set") from None
    return Schema(name, operation, source)


@functools.cache
def _index() -> Mapping[str, Mapping[str, Path]]:
    """Return the bundled schemas of requests: their files by operation, by revision, the oldest first."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(bundled_folder("schemas").glob("*/*.json")):
        if not file.name.endswith(_RESPONSE):
            found.setdefault(file.parent.name, {})[file.stem] = file
    return found


def read_document(path: Path, what: str = "schema ") -> dict[str, Any]:
    """Return the JSON object in a file; raise `SchemaError` where there is none, and say `what` is wrong."""
    if path.exists() and not path.is_file():
        raise SchemaError(f"{what}{path}: not a file; name one JSON Schema file")
    try:
        document = json.loads(path.read_text("utf-8-sig"), parse_constant=_no_constant)
    except FileNotFoundError:
        raise SchemaError(f"{what}{path}: no such file") from None
    except OSError as error:
        raise SchemaError(f"{what}{path}: cannot read it ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise SchemaError(f"{what}{path}: not UTF-8 text, at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise SchemaError(f"{what}{path}: not JSON, {where}: {error.msg}") from None
    except RecursionError:
        raise SchemaError(f"{what}{path}: nested too deeply") from None
    except ValueError as error:
        raise SchemaError(f"{what}{path}: not JSON ({error})"[:SHOWN]) from None
    if not isinstance(document, dict):
        raise SchemaError(f"{what}{path}: must be a JSON object")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def copied(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as plain dicts and lists of its own."""

    def copy(value: Any) -> Any:
        if isinstance(value, Mapping):
            if not all(isinstance(name, str) for name in value):
                raise SchemaError("schema mapping: has a key that is not text")
            return {name: copy(each) for name, each in value.items()}
        return [copy(each) for each in value] if isinstance(value, list | tuple) else value

    try:
        plain: dict[str, Any] = copy(schema)
    except RecursionError:
        raise SchemaError("schema mapping: nested too deeply") from None
    return plain


_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions", "schemas"})
_VALUES = frozenset({"enum", "const", "default", "examples", "example"})
_OUTSIDE = {
    *("title", "description", "default", "examples", "example", "deprecated"),
    *("$schema", "$id", "$anchor", "$defs", "definitions", "components"),
}
_LIMITS_ON_OTHER_TYPES = {
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "format"),
    *("items", "prefixItems", "contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems"),
    *("properties", "patternProperties", "additionalProperties", "propertyNames", "required"),
    *("minProperties", "maxProperties", "dependentRequired", "dependentSchemas"),
}


def without_nullable(schema: Any) -> Any:
    """Return a schema in which OpenAPI's ``nullable: true`` has become a null type; the one given is not changed."""
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
    """Extend the type and the enum; where that would not let null through, wrap it: ``anyOf: [{type: null}, …]``."""
    bounding = schema.keys() - _OUTSIDE - _LIMITS_ON_OTHER_TYPES
    if "type" in bounding and bounding <= {"type", "enum"}:
        types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        extended = {**schema, "type": [*types, *({"null"} - set(types))]}
        if "enum" in schema:
            extended["enum"] = [*schema["enum"], *([] if None in schema["enum"] else [None])]
        return extended
    outside = {name: value for name, value in schema.items() if name in _OUTSIDE}
    inside = {name: value for name, value in schema.items() if name not in outside}
    return {**outside, "anyOf": [{"type": "null"}, inside]} if inside else outside
