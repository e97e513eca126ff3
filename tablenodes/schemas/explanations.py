"""Why a body does not fit its schema: the gate is asked place by place, down to the rules that are not met."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any
from urllib.parse import quote

import jsonschema_rs

from ..errors import nearest
from ..problems import Problem
from . import subschemas
from .subschemas import REFERENCES, Path, SubschemaGraph, kind, refuse
from .wording import Fault, got, message, shown

Faults = Iterator[Fault]
MOST_PROBLEMS = 20  # no more problems than this are told of one body
_MOST_QUESTIONS = 200_000
_MOST_STEPS = 2_000
"""The gate is asked this often, and so many subschemas are looked into; alternatives after that are told as a whole."""
_MOST_ERRORS = 20_000
_CANDIDATE_FAULTS = 8
_DISCRIMINATORS = ("role", "type")
_NAME_LENGTH = 60
_PLAIN_RULES = {
    *("type", "enum", "const", "required", "dependentRequired", "uniqueItems", "pattern"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
}
_EXCLUSIVE = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}
"""In draft 4 these are true or false, and belong to the bound."""
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("properties", "patternProperties", "additionalProperties", "propertyNames"), dict),
    **dict.fromkeys(("dependentSchemas", "dependencies"), dict),
    **dict.fromkeys(("items", "prefixItems", "additionalItems", "contains"), (list, tuple)),
}


@functools.lru_cache(maxsize=256)
def _matching(pattern: str) -> Callable[[str], bool]:
    test: Callable[[str], bool] = jsonschema_rs.validator_for({"pattern": pattern}).is_valid
    return test


_PARTS: dict[str, Callable[[Any, Any], Iterable[tuple[Any, Any, Path]]]] = {
    "allOf": lambda given, value: ((each, value, ()) for each in given),
    "properties": lambda given, value: ((given[name], value[name], (name,)) for name in value if name in given),
    "patternProperties": lambda given, value: (
        (given[pattern], value[name], (name,)) for pattern in given for name in filter(_matching(pattern), value)
    ),
    "propertyNames": lambda given, value: ((given, name, ()) for name in value),
    "prefixItems": lambda given, value: (
        (each, item, (i,)) for i, each, item in zip(count(), given, value, strict=False)
    ),
}
"""The subschemas of a keyword, each with what of a value it applies to, and the steps to that."""


class Explainer:
    """Explains the bodies that a schema's gate rejected; threads may share it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._gates = _Gates(document)
        self._known = frozenset(_property_names(document))

    def __call__(self, body: Any, most: int = MOST_PROBLEMS) -> list[Problem]:
        """Return what is wrong with a rejected body: at least one problem, and at `most` so many."""
        found: list[Problem] = []
        with contextlib.suppress(RecursionError):  # what was found until then is true
            for fault in _Descent(self._gates).faults(self._document, body, ()):
                found.extend(islice(self._worded(fault), most - len(found)))
                if len(found) >= most:
                    break
        return list(dict.fromkeys(found)) or [Problem("$", "schema", "does not fit the schema")]

    def _worded(self, fault: Fault) -> Iterator[Problem]:
        path, rule, limit, instance, schema = fault
        if rule == "required":
            yield Problem(shown((*path, *limit), self._known), rule, "is required")
        elif rule == "additionalProperties":
            for name in islice(limit, MOST_PROBLEMS):
                meant = nearest(name, schema.get("properties", {})) if len(name) < _NAME_LENGTH else ""
                text = f"is not a property in the schema{meant}"
                yield Problem(shown((*path, name), self._known), rule, text, kind(instance[name]))
        else:
            yield Problem(shown(path, self._known), rule, message(fault), got(fault))


class _Gates:
    """The gate's verdict by each part of a schema, and what the schema says of its branches."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.graph = SubschemaGraph(document)
        self._document = document
        self._draft = {"$schema": document["$schema"]} if "$schema" in document else {}
        self._address = self.graph.address or "urn:tablenodes:schema"
        self._registry = jsonschema_rs.Registry([(self._address, document)], retriever=refuse)
        self._parts: dict[int, Any] = {}
        self._rules: dict[tuple[int, str], Any] = {}
        self._read: dict[tuple[int, Any], Any] = {}

    def fits(self, schema: Any, value: Any) -> bool:
        """Check whether a value fits one of the document's subschemas; one that stands nowhere in it admits all."""
        if isinstance(schema, bool):
            return schema
        gate = self._part(schema)
        return gate is None or bool(gate.is_valid(value))

    def _part(self, schema: Any) -> Any:
        if id(schema) not in self._parts:
            address = self._address + quote(self.graph.places[id(schema)], safe="#/~")
            self._parts[id(schema)] = self._compiled({"$ref": address})
        return self._parts[id(schema)]

    def meets(self, schema: dict[str, Any], rule: str, value: Any) -> bool:
        """Check whether a value meets one rule that holds no schemas."""
        if (id(schema), rule) not in self._rules:
            exclusive = _EXCLUSIVE.get(rule, "")
            names = [rule, exclusive] if isinstance(schema.get(exclusive), bool) else [rule]
            self._rules[id(schema), rule] = self._compiled({name: schema[name] for name in names})
        gate = self._rules[id(schema), rule]
        return gate is None or bool(gate.is_valid(value))

    def _compiled(self, schema: dict[str, Any]) -> Any:
        options: Any = {"registry": self._registry, "retriever": refuse, "validate_formats": False}
        try:
            return jsonschema_rs.validator_for({**self._draft, **schema}, **options)
        except (ValueError, jsonschema_rs.ReferencingError):  # such a part is not looked into
            return None

    def read(self, read: Callable[[Any, Any, Any], Any], branches: list[Any], step: Any) -> list[Any]:
        """Return what the document says about each branch; the branches are its own parts, so they stay."""
        for branch in branches:
            if (id(branch), step) not in self._read:
                self._read[id(branch), step] = read(self._document, branch, step)
        return [self._read[id(branch), step] for branch in branches]

    def first_fault(self, schema: Any, value: Any, path: Path) -> Fault:
        """Return the gate's own first error, where no rule of ours was seen to be broken."""
        gate = self._part(schema)
        if gate is not None and _size(value) * self.graph.extent()[0] < _MOST_ERRORS:
            try:
                gate.validate(value)
            except jsonschema_rs.ValidationError as error:
                steps, instance = _followed(value, error.instance_path)
                limit = getattr(error.kind, "value", None)
                rule = str((error.schema_path or ["schema"])[-1])
                return Fault((*path, *steps), rule, [limit] if rule == "required" else limit, instance, {})
            except ValueError:
                pass  # too deep for it
        return Fault(path, "schema", None, value, schema)


class _Descent:
    """One way down into a body: of alternatives it takes the one that is meant, or that fits best."""

    def __init__(self, gates: _Gates) -> None:
        self._gates = gates
        self._asked = self._steps = 0
        self._open: set[tuple[int, Path]] = set()
        self._looks: dict[str, Callable[[dict[str, Any], str, Any, Path], Faults]] = {
            **dict.fromkeys(REFERENCES, self._reference),
            **dict.fromkeys(("anyOf", "oneOf"), self._union),
            **dict.fromkeys(("dependentSchemas", "dependencies"), self._dependent),
            **dict.fromkeys(("items", "additionalItems"), self._items),
            **dict.fromkeys(_PARTS, self._parts),
            "not": self._not,
            "if": self._if,
            "additionalProperties": self._more_properties,
            "contains": self._contains,
        }

    def faults(self, schema: Any, value: Any, path: Path) -> Faults:
        """Yield what is wrong with a value that a subschema rejects: at least one fault."""
        if schema is False:
            yield Fault(path, "false", schema, value, schema)
            return
        self._steps += 1
        here = id(schema), path
        self._open.add(here)
        try:
            found = False
            for fault in self._found(schema, value, path):
                found = True
                yield fault
            if not found:
                yield self._gates.first_fault(schema, value, path)
        finally:
            self._open.discard(here)

    def _found(self, schema: dict[str, Any], value: Any, path: Path) -> Faults:
        alone = "$ref" in schema and self._gates.graph.ignores_siblings
        for keyword in ("$ref",) if alone else schema:
            if keyword in _PLAIN_RULES:
                if not self._gates.meets(schema, keyword, value):
                    limits = [schema[keyword]]
                    if keyword == "required":
                        limits = [[name] for name in schema[keyword] if name not in value]
                    yield from (Fault(path, keyword, limit, value, schema) for limit in limits)
            elif keyword in self._looks and isinstance(value, _KINDS.get(keyword, object)):
                yield from self._looks[keyword](schema, keyword, value, path)

    def _fits(self, schema: Any, value: Any) -> bool:
        self._asked += 1
        return self._gates.fits(schema, value)

    def _at(self, schema: Any, value: Any, path: Path) -> Faults:
        if not self._fits(schema, value) and (id(schema), path) not in self._open:
            yield from self.faults(schema, value, path)

    def _reference(self, schema: dict[str, Any], keyword: str, value: Any, path: Path) -> Faults:
        target = self._gates.graph.target(schema, keyword)
        return self._at(True if target is None else target, value, path)

    def _parts(self, schema: dict[str, Any], keyword: str, value: Any, path: Path) -> Faults:
        for each, part, steps in _PARTS[keyword](schema[keyword], value):
            yield from self._at(each, part, (*path, *steps))

    def _not(self, schema: dict[str, Any], keyword: str, value: Any, path: Path) -> Faults:
        if self._fits(schema[keyword], value):
            yield Fault(path, keyword, schema[keyword], value, schema)

    def _if(self, schema: dict[str, Any], keyword: str, value: Any, path: Path) -> Faults:
        return self._at(schema.get("then" if self._fits(schema[keyword], value) else "else", True), value, path)

    def _union(self, schema: dict[str, Any], keyword: str, value: Any, path: Path) -> Faults:
        branches = schema[keyword]
        fitting = sum(self._fits(branch, value) for branch in branches)
        if fitting > 1 and keyword == "oneOf":
            yield Fault(path, keyword, None, value, schema)
        if fitting:
            return
        types = self._gates.read(subschemas.admitted, branches, ())
        meant = [branch for branch, names in zip(branches, types, strict=True) if kind(value) in names]
        if not meant:
            yield Fault(path, "type", sorted(frozenset().union(*types)), value, schema)
            return
        for name in _discriminators(schema) if isinstance(value, dict) else ():
            chosen = self._chosen(meant, name, value, path)
            if isinstance(chosen, Fault):
                yield chosen
                return
            meant = chosen
        yield from (
            self.faults(meant[0], value, path)
            if len(meant) == 1
            else self._closest(meant, value, path) or [Fault(path, keyword, None, value, schema)]
        )

    def _chosen(self, branches: list[Any], name: str, value: dict[str, Any], path: Path) -> list[Any] | Fault:
        """Return the branches that the property `name` chooses, or what is wrong with it."""
        spoken = self._gates.read(subschemas.words, branches, name)
        if len(branches) == 1 or not all(spoken):
            return branches
        if name not in value:
            return Fault(path, "required", [name], value, {})
        chosen = [branch for branch, words in zip(branches, spoken, strict=True) if value[name] in words]
        every = list(dict.fromkeys(word for words in spoken for word in words))
        return chosen or Fault((*path, name), "enum", every, value[name], {})

    def _closest(self, branches: list[Any], value: Any, path: Path) -> list[Fault]:
        """Return the faults of the branch that fits down to the deepest place, with the fewest, of type above all."""
        tried: list[list[Fault]] = []
        for branch in branches:
            if self._asked < _MOST_QUESTIONS and self._steps < _MOST_STEPS:
                tried.append(list(islice(self.faults(branch, value, path), _CANDIDATE_FAULTS)))
        return max(tried, key=_closeness, default=[])

    def _more_properties(self, schema: dict[str, Any], keyword: str, value: dict[str, Any], path: Path) -> Faults:
        names = _extra(value, schema)
        if schema[keyword] is False and names:
            yield Fault(path, keyword, names, value, schema)
        elif schema[keyword] is not False:
            for name in names:
                yield from self._at(schema[keyword], value[name], (*path, name))

    def _dependent(self, schema: dict[str, Any], keyword: str, value: dict[str, Any], path: Path) -> Faults:
        for name, needed in schema[keyword].items():
            if name in value and not isinstance(needed, list):
                yield from self._at(needed, value, path)
            elif name in value and not all(other in value for other in needed):
                yield Fault(path, keyword, needed, value, schema)

    def _items(self, schema: dict[str, Any], keyword: str, value: Sequence[Any], path: Path) -> Faults:
        items, first = schema[keyword], schema.get("items" if keyword == "additionalItems" else "prefixItems", [])
        if isinstance(items, list):
            yield from self._parts({"prefixItems": items}, "prefixItems", value, path)
        elif isinstance(first, list) and len(value) > len(first):
            if items is False:
                yield Fault(path, keyword, items, value, schema)
            else:
                for position in range(len(first), len(value)):
                    yield from self._at(items, value[position], (*path, position))

    def _contains(self, schema: dict[str, Any], keyword: str, value: Sequence[Any], path: Path) -> Faults:
        found = sum(self._fits(schema[keyword], item) for item in value)
        for rule, limit in (("minContains", schema.get("minContains", 1)), ("maxContains", schema.get("maxContains"))):
            if limit is not None and (found < limit if rule == "minContains" else found > limit):
                yield Fault(path, keyword if rule not in schema else rule, limit, value, schema)


def _discriminators(schema: dict[str, Any]) -> tuple[str, ...]:
    named = schema.get("discriminator")
    name = named.get("propertyName") if isinstance(named, dict) else None
    return tuple(dict.fromkeys((*((name,) if isinstance(name, str) else ()), *_DISCRIMINATORS)))


def _closeness(faults: list[Fault]) -> tuple[int, int, int]:
    deepest = max(len(fault.path) for fault in faults)
    return deepest, -sum(fault.rule == "type" for fault in faults), -len(faults)


def _extra(instance: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """Return the names in an object that neither ``properties`` nor ``patternProperties`` of a schema cover."""
    named = schema.get("properties", {})
    patterns = [_matching(pattern) for pattern in schema.get("patternProperties", {})]
    return [name for name in instance if name not in named and not any(fits(name) for fits in patterns)]


def _size(value: Any) -> int:
    """Return how many values there are in a value, up to somewhat more than the gate could go through in a second."""
    waiting, count = [value], 1
    while waiting and count < _MOST_ERRORS:
        inside = waiting.pop()
        if isinstance(inside, str):
            count += len(inside) // 1000
        elif isinstance(inside, dict | list | tuple):
            count += len(inside)
            waiting.extend(inside.values() if isinstance(inside, dict) else inside)
    return count


def _followed(body: Any, path: Sequence[str | int]) -> tuple[Path, Any]:
    """Follow the gate's path, which gives a numeric name as a number."""
    real: list[str | int] = []
    for step in path:
        real.append(str(step) if isinstance(body, dict) else step)
        body = body[real[-1]]
    return tuple(real), body


def _property_names(schema: Any) -> Iterator[str]:
    for keyword, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if keyword == "properties" and isinstance(value, dict):
            yield from value
        if isinstance(value, dict | list):
            yield from _property_names(value)
