"""Why a body does not fit its schema: the places and the rules, found by ``jsonschema``."""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

import jsonschema_rs
from referencing.exceptions import Unresolvable

from . import subschemas
from .branch_validator import branch_validator, extra
from .errors import nearest
from .problems import Problem
from .subschemas import Path, kind
from .wording import Fault, got, message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_PROBLEMS = 20
"""No more problems than this are told of one body."""

LEVELS = 250
"""A body may be nested this deep; what writes and reads JSON ends a little later."""

_MOST_VALUES = 10_000
_DIGITS = 4300
_BITS = math.ceil(_DIGITS * math.log2(10))
_PATH_LENGTH = 200
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_NUMBER_NAME = re.compile(r"[0-9]{1,20}")
_SURROGATE = re.compile("[\ud800-\udfff]")


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
        problems = dict.fromkeys(problem for fault in faults for problem in self._worded(fault))
        return list(islice(problems, MOST_PROBLEMS)) or [Problem("$", "schema", "does not fit the schema")]

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
            rule = "false" if limit is False and not isinstance(schema, dict) else steps[-1]
            return [Fault(path, rule, limit, instance, schema)]
        except ValueError:
            pass  # a class that is no JSON, or a depth that the gate cannot show
        return []

    def _worded(self, fault: Fault) -> Iterator[Problem]:
        path, rule, limit, instance, schema = fault
        if rule == "required" and isinstance(limit, list) and isinstance(instance, dict):
            missing = (name for name in limit if name not in instance)
            yield from (Problem(self._shown((*path, name)), rule, "is required") for name in missing)
        elif rule == "additionalProperties" and isinstance(schema, dict) and isinstance(instance, dict):
            for name in extra(instance, schema):
                text = "is no property that the schema knows" + nearest(name, schema.get("properties", {}))
                yield Problem(self._shown((*path, name)), rule, text, kind(instance[name]))
        else:
            yield Problem(self._shown(path), rule, message(fault), got(fault))

    def _shown(self, path: Path) -> str:
        """Give a path as text; ``[*]`` stands for a name that may be somebody's text."""
        shown = "$" + "".join(self._step(step) for step in path)
        return shown if len(shown) <= _PATH_LENGTH else shown[: _PATH_LENGTH - 1] + "…"

    def _step(self, step: str | int) -> str:
        if isinstance(step, int):
            return f"[{step}]"
        if _PLAIN_NAME.fullmatch(step):
            return f".{step}"
        if _NUMBER_NAME.fullmatch(step) or (step in self._known and step.isprintable()):
            return "['{}']".format(step.replace("\\", "\\\\").replace("'", "\\'"))
        return "[*]"


def unwritable(body: object) -> Problem | None:
    """Give the first value that JSON cannot hold: another class, a key, a number or a depth.

    None where all is well; whole numbers of up to 4,300 digits are.
    """
    properties = body.items() if isinstance(body, dict) and not _unfit(body) else [("", body)]
    for name, value in properties:
        fault, culprit = _first_unfit(value)
        if fault:
            path = f"$.{name}" if _PLAIN_NAME.fullmatch(name) else "$"
            return Problem(path, "json", fault, type(culprit).__name__[:40])
    return None


def _first_unfit(value: object) -> tuple[str, object]:
    waiting = [(0, value)]
    while waiting:
        depth, one = waiting.pop()
        fault = _unfit(one) or (f"is nested more than {LEVELS} levels deep" if depth > LEVELS else "")
        if fault:
            return fault, one
        if isinstance(one, dict | list | tuple):
            waiting.extend((depth + 1, item) for item in (one.values() if isinstance(one, dict) else one))
    return "", None


def _unfit(value: object) -> str:
    if isinstance(value, dict):
        return "" if all(type(key) is str for key in value) else "has a key that is not text"
    if type(value) is str:
        lone = not value.isascii() and _SURROGATE.search(value)
        return "has a lone surrogate, half of a character" if lone else ""
    if type(value) is float:
        return "" if math.isfinite(value) else "must be a finite number"
    if type(value) is int:
        return "" if value.bit_length() <= _BITS else f"has more than {_DIGITS:,} digits"
    plain = value is None or type(value) in (list, tuple, bool)
    return "" if plain else "must be plain JSON: text, a number, true, false, null, a list or an object"


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
