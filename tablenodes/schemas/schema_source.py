"""Schemas by their names: find one, load it once, and hold a body against it."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import SchemaError, nearest
from . import subschemas
from .schema import Schema
from .schema_files import RESPONSE, SHOWN, copied, index, read

if TYPE_CHECKING:
    from ..problems import Problem

DEFAULT_REVISION = "openai-2026-08"
"""The bundled revision that is used where none is named."""


def validate(
    body: Mapping[str, Any],
    operation: str = "create_chat_completion",
    schema: str | os.PathLike[str] | Mapping[str, Any] = DEFAULT_REVISION,
) -> list[Problem]:
    """Hold one request body against a schema; nothing is sent.

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
        If the schema cannot be found, read or used.
    """
    return load(schema, operation).problems(body)


def load(schema: str | os.PathLike[str] | Mapping[str, Any], operation: str) -> Schema:
    """Load the schema of an operation's requests.

    Parameters
    ----------
    schema : str, path or mapping
        A bundled revision's name; or the path of a JSON Schema file, or a schema, for this operation.
        OpenAPI's ``nullable: true`` is understood. Only references inside it are followed.
    operation : str
        The operation, such as ``create_chat_completion``.

    Raises
    ------
    SchemaError
        If the schema cannot be found, read or used.
    """
    if isinstance(schema, str) and schema in index():
        return _bundled(schema, operation)
    if isinstance(schema, Mapping):
        return _tried(_made("mapping", operation, copied(schema)))
    if not isinstance(schema, str | os.PathLike):
        kind = type(schema).__name__
        raise SchemaError(f"schema must be a revision's name, a path or a mapping, not {kind}")
    path = Path(schema).expanduser()
    named = isinstance(schema, str) and path.name == schema and path.suffix != ".json"
    if named and not path.is_file():
        _unknown_revision(str(schema))
    return _tried(_made(path.name, operation, read(path)))


@functools.cache
def response(operation: str) -> Schema | None:
    """Load the newest bundled schema of an operation's answers, or give None where there is none.

    Parameters
    ----------
    operation : str
        The operation, such as ``create_chat_completion``.
    """
    request = index()[DEFAULT_REVISION].get(operation)
    file = request and request.with_suffix(RESPONSE)
    return _made(f"{DEFAULT_REVISION}, answers", operation, read(file)) if file and file.is_file() else None


def _tried(schema: Schema) -> Schema:
    schema.is_valid({})  # builds the validator, which finds what is wrong with the schema
    return schema


def revisions() -> tuple[str, ...]:
    """Give the names of the bundled revisions, the oldest first."""
    return tuple(index())


def operations(revision: str) -> tuple[str, ...]:
    """Give the names of the operations that a bundled revision has a schema for.

    Raises
    ------
    SchemaError
        If there is no such revision.
    """
    return tuple(index()[revision] if revision in index() else _unknown_revision(revision))


def _unknown_revision(revision: str) -> NoReturn:
    known = " and ".join(revisions())
    hint = nearest(revision, revisions()) or f"; there are {known}, or name a file"
    raise SchemaError(f"no schema revision {revision[:SHOWN]!r}{hint}")


@functools.cache
def _bundled(revision: str, operation: str) -> Schema:
    files = index()[revision]
    if operation not in files:
        hint = nearest(operation, files) or f"; it has {', '.join(files)}"
        raise SchemaError(f"schema {revision} has no operation {operation[:SHOWN]!r}{hint}")
    return _made(revision, operation, read(files[operation]))


def _made(name: str, operation: str, document: dict[str, Any]) -> Schema:
    try:
        source = json.dumps(subschemas.without_nullable(document), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise SchemaError(f"schema {name}: cannot be written as JSON ({error})"[:SHOWN]) from None
    return Schema(name, operation, source)
