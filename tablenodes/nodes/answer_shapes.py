"""What is known of a node's answers before they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .. import schemas
from ..bodies.values import outline
from ..problems import Rejected

CALLS: Mapping[str, str] = MappingProxyType({"function_call": "functions", "tool_calls": "tools"})
"""For each kind of call in a message: the setting that lists what can be called."""


class Called(NamedTuple):
    """What is known of one kind of call."""

    may_be: bool
    is_set: bool = False  # the node itself lists what can be called
    arguments: dict[str, Any] | None = None  # the schema of what is below ``arguments``; None where anything may be


class Shape(NamedTuple):
    """What is known of an answer: its JSON Schema, and of the calls in its messages, by their kind."""

    document: dict[str, Any]
    calls: Mapping[str, Called] = MappingProxyType({})
    is_open: bool = False  # servers add to it
    choices: int | None = None  # how many at the most; None where that differs by row or is not known
    answer: dict[str, Any] | None = None  # the schema of what ``outputs.ID.answer`` is; None where there is none


def answered(
    operation: str,
    writers: Mapping[str, Callable[[Any], Any]],
    given: Mapping[str, Any],
    may_use: Callable[[str], bool],
    choices: Callable[[int, Mapping[str, Any]], int | None],
) -> Shape | None:
    """Return what is known of an operation's answers; None where there is no schema of them.

    `writers` make what is written the short way. `given` are the node's own properties, parsed; `choices` returns how
    many an answer has, from ``n`` and them.
    """
    schema = schemas.response(operation)
    if schema is None:
        return None
    calls = {kind: _called(listing, writers, given, may_use) for kind, listing in CALLS.items()}
    number = 1 if given.get("n") is None else _whole(given["n"])
    most = choices(number, given) if number is not None and ("n" in given or not may_use("n")) else None
    return Shape(schema.document, calls, is_open=True, choices=most)


def of_any(operations: Iterable[str]) -> Shape:
    """Return what is known of an answer to one of several operations."""
    documents = [schema.document for each in operations if (schema := schemas.response(each)) is not None]
    shared = {name: part for each in reversed(documents) for name, part in each.get("$defs", {}).items()}
    return Shape({"anyOf": documents, "$defs": shared}, is_open=True)


def _whole(value: Any) -> int | None:
    """Return a whole number that is set, perhaps as a text; None for anything else."""
    try:
        return int(value) if isinstance(value, int | str) else None
    except ValueError:
        return None


def _called(
    listing: str, writers: Mapping[str, Callable[[Any], Any]], given: Mapping[str, Any], may_use: Callable[[str], bool]
) -> Called:
    if listing not in given:
        return Called(may_be=may_use(listing))
    if given[listing] in (None, []):
        return Called(may_be=False)
    return Called(may_be=True, is_set=True, arguments=_arguments(listing, writers, given[listing]))


def _arguments(listing: str, writers: Mapping[str, Callable[[Any], Any]], value: Any) -> dict[str, Any] | None:
    """Return the schema of the arguments of functions or tools; None where they differ by row or are not known."""
    try:
        drawn = outline(value)
        items = writers[listing](drawn) if isinstance(drawn, list) and listing in writers else None
    except Rejected:
        return None
    if items is None or not all(isinstance(item, dict) for item in items):
        return None
    functions = [item.get("function", {} if listing == "tools" and "name" not in item else item) for item in items]
    parameters = [each.get("parameters") if isinstance(each, dict) else None for each in functions]
    named = [each.get("properties") if isinstance(each, dict) else None for each in parameters]
    is_known = all(isinstance(each, dict) and each and not any("{{" in name for name in each) for each in named)
    return {"anyOf": parameters} if is_known else None
