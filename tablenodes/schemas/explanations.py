"""Why a body does not fit its schema: the places and the rules, found by ``jsonschema``."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

import jsonschema_rs
from referencing.exceptions import Unresolvable

from ..errors import nearest
from ..problems import Problem
from . import subschemas
from .branch_validator import branch_validator, extra
from .subschemas import kind
from .wording import Fault, got, message, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .subschemas import Path

MOST_PROBLEMS = 20
"""No more problems than this are told of one body."""

_MOST_VALUES = 10_000
_NAME_LENGTH = 60
_FALSE_BY_ITSELF = ("additionalProperties", "unevaluatedProperties")


class Explainer:
    """Explains bodies that the gate rejected.

    Parameters
    ----------
    document : dict
        The schema.
    gate : jsonschema_rs.Validator
        What decides; it names the fault where `jsonschema` finds none.
    name : str
        The schema's name, for errors.
    """

    def __init__(self, document: dict[str, Any], gate: jsonschema_rs.Validator, name: str) -> None:
        self._document = document
        self._gate = gate
        self._name = name
        self._validator = branch_validator(document)
        self._known = frozenset(_property_names(document))

    def __call__(self, body: Any) -> list[Problem]:
        """Give what is wrong with a rejected body: at least one problem, at most `MOST_PROBLEMS`."""
        faults = self._found(body) or self._found_by_gate(body)
        problems = islice((problem for fault in faults for problem in self._worded(fault)), MOST_PROBLEMS)
        return list(dict.fromkeys(problems)) or [Problem("$", "schema", "does not fit the schema")]

    def _found(self, body: Any) -> list[Fault]:
        """Give the faults that `jsonschema` finds, as far as it gets in a deep body."""
        found: list[Fault] = []
        try:
            for error in islice(self._validator.iter_errors(body), MOST_PROBLEMS):
                rule, limit = error.validator or "false", error.validator_value
                found.append(Fault(tuple(error.path), rule, limit, error.instance, error.schema))
        except Unresolvable as error:
            raise subschemas.bad_reference(self._document, self._name, f"'{error.ref}'") from None
        except (RecursionError, ValueError, OverflowError, re.error):
            pass  # what was found until then is true; the gate knows the rest
        return found

    def _found_by_gate(self, body: Any) -> list[Fault]:
        """Give the first fault that the gate finds, where `jsonschema` finds none."""
        if _is_large(body):
            return []
        try:
            self._gate.validate(body)
        except jsonschema_rs.ValidationError as error:
            path, instance = _followed(body, error.instance_path)
            steps = [str(step) for step in error.schema_path] or [""]
            schema = subschemas.target(self._document, _pointer(steps[:-1]))
            limit = subschemas.target(self._document, _pointer(steps))
            rule = "false" if limit is False and steps[-1] not in _FALSE_BY_ITSELF else steps[-1]
            return [Fault(path, rule, limit, instance, schema)]
        except ValueError:
            pass  # a class that is no JSON, or a depth that the gate cannot show
        return []

    def _worded(self, fault: Fault) -> Iterator[Problem]:
        path, rule, limit, instance, schema = fault
        if rule == "required" and isinstance(limit, list) and isinstance(instance, dict):
            missing = (name for name in limit if name not in instance)
            yield from (Problem(shown((*path, name), self._known), rule, "is required") for name in missing)
        elif rule == "additionalProperties" and isinstance(schema, dict) and isinstance(instance, dict):
            for name in extra(instance, schema):
                meant = nearest(name, schema.get("properties", {})) if len(name) < _NAME_LENGTH else ""
                text = f"is no property that the schema knows{meant}"
                yield Problem(shown((*path, name), self._known), rule, text, kind(instance[name]))
        else:
            yield Problem(shown(path, self._known), rule, message(fault), got(fault))


def _is_large(body: Any) -> bool:
    """Tell whether a body has so many values that the gate would take seconds to say where it fails."""
    waiting, count = [body], 0
    while waiting and count <= _MOST_VALUES:
        value = waiting.pop()
        if isinstance(value, dict | list | tuple):
            count += len(value)
            if count <= _MOST_VALUES:
                waiting.extend(value.values() if isinstance(value, dict) else value)
    return count > _MOST_VALUES


def _followed(body: Any, path: Sequence[str | int]) -> tuple[Path, Any]:
    """Follow the gate's path, which gives a numeric name as a number."""
    real: list[str | int] = []
    for step in path:
        real.append(str(step) if isinstance(body, dict) else step)
        body = body[real[-1]]
    return tuple(real), body


def _pointer(steps: Sequence[str]) -> str:
    return "#" + "".join(f"/{subschemas.escaped(step)}" for step in steps)


def _property_names(schema: Any) -> Iterator[str]:
    for keyword, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if keyword == "properties" and isinstance(value, dict):
            yield from value
        if isinstance(value, dict | list):
            yield from _property_names(value)
