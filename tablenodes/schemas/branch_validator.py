"""A validator whose errors are those of the branch that is meant: jsonschema's, with some keywords of our own."""

from __future__ import annotations

import functools
from itertools import islice
from typing import TYPE_CHECKING, Any

import jsonschema_rs
from jsonschema import validators
from jsonschema.exceptions import ValidationError
from referencing import Registry

from . import subschemas
from .subschemas import kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Errors = Iterator[ValidationError]

_CANDIDATE_ERRORS = 8
_DISCRIMINATORS = ("role", "type")


def branch_validator(document: dict[str, Any]) -> Any:
    """Give a validator of jsonschema's kind, for `iter_errors`.

    Of ``anyOf`` and ``oneOf`` it goes down the branch that the value's type chooses, or its ``role`` or ``type``, or
    that fits best. The gate skips what is valid, so a million items take about a second, and tests all patterns,
    in its dialect and within its bound on time. Nothing outside the document is opened.

    Parameters
    ----------
    document : dict
        The schema.

    Raises
    ------
    referencing.exceptions.Unresolvable
        By `iter_errors`, where a reference leads outside the document.
    """
    draft = validators.validator_for(document, default=validators.Draft202012Validator)
    checker = draft.TYPE_CHECKER.redefine("array", lambda _, value: isinstance(value, list | tuple))
    # jsonschema falls back to its own class wherever a schema names its draft
    schema = {keyword: value for keyword, value in document.items() if keyword != "$schema"}
    keywords = _Keywords(schema, document.get("$schema"), draft.VALIDATORS).checks()
    known = {keyword: check for keyword, check in keywords.items() if keyword in draft.VALIDATORS}
    extended: Any = validators.extend(draft, known, type_checker=checker)  # type: ignore[no-untyped-call]
    return extended(schema, registry=Registry(retrieve=_refuse))  # type: ignore[call-arg]


def extra(instance: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """Give the names in an object that neither ``properties`` nor ``patternProperties`` of a schema cover."""
    named = schema.get("properties", {})
    patterns = [_matching(pattern) for pattern in schema.get("patternProperties", {})]
    return [name for name in instance if name not in named and not any(fits(name) for fits in patterns)]


def _refuse(address: str) -> Any:
    raise LookupError(address)


@functools.lru_cache(maxsize=256)
def _matching(pattern: str) -> Callable[[str], bool]:
    test: Callable[[str], bool] = jsonschema_rs.validator_for({"pattern": pattern}).is_valid
    return test


class _Keywords:
    """The keywords of our own; each is called with a validator, the keyword's value, the instance, the schema."""

    def __init__(self, document: dict[str, Any], draft: str | None, theirs: Any) -> None:
        self._document = document
        self._theirs = theirs
        self._gates = _Gates(document, draft)
        self._known: dict[tuple[int, Any], Any] = {}

    def checks(self) -> dict[str, Callable[[Any, Any, Any, Any], Errors]]:
        return {
            "anyOf": self._any_of,
            "oneOf": self._one_of,
            "properties": self._properties,
            "items": self._items,
            "pattern": self._pattern,
            "patternProperties": self._pattern_properties,
            "additionalProperties": self._additional_properties,
            "uniqueItems": self._unique_items,
        }

    def _any_of(self, validator: Any, branches: Any, instance: Any, schema: Any) -> Errors:
        if not any(self._gates.fits(validator, branch, instance) for branch in branches):
            yield from self._meant(validator, branches, instance, schema)

    def _one_of(self, validator: Any, branches: Any, instance: Any, schema: Any) -> Errors:
        fitting = sum(self._gates.fits(validator, branch, instance) for branch in branches)
        if not fitting:
            yield from self._meant(validator, branches, instance, schema)
        elif fitting > 1:
            yield ValidationError("")

    def _meant(self, validator: Any, branches: Any, instance: Any, schema: Any) -> Errors:
        types = self._read(subschemas.admitted, branches, ())
        meant = [branch for branch, names in zip(branches, types, strict=True) if kind(instance) in names]
        if not meant:
            yield ValidationError("", validator="type", validator_value=sorted(frozenset().union(*types)))
            return
        if isinstance(instance, dict):
            for name in dict.fromkeys((*_named_discriminator(schema), *_DISCRIMINATORS)):
                chosen = self._chosen(meant, name, instance)
                if isinstance(chosen, ValidationError):
                    yield chosen
                    return
                meant = chosen
        yield from validator.descend(instance, meant[0]) if len(meant) == 1 else _closest(validator, meant, instance)

    def _chosen(self, branches: list[Any], name: str, instance: dict[str, Any]) -> list[Any] | ValidationError:
        """Give the branches that the property `name` chooses, or what is wrong with it."""
        spoken = self._read(subschemas.words, branches, name)
        if len(branches) == 1 or not all(spoken):
            return branches
        if name not in instance:
            return ValidationError("", validator="required", validator_value=[name])
        value = instance[name]
        chosen = [branch for branch, words in zip(branches, spoken, strict=True) if value in words]
        every = list(dict.fromkeys(word for words in spoken for word in words))
        error = ValidationError("", path=[name], validator="enum", validator_value=every, instance=value)
        return chosen or error

    def _read(self, read: Callable[[Any, Any, Any], Any], branches: list[Any], step: Any) -> list[Any]:
        """Give what the document says about each branch; the branches are its own parts, so they stay."""
        for branch in branches:
            if (id(branch), step) not in self._known:
                self._known[id(branch), step] = read(self._document, branch, step)
        return [self._known[id(branch), step] for branch in branches]

    def _properties(self, validator: Any, properties: Any, instance: Any, _schema: Any) -> Errors:
        for name in instance if isinstance(instance, dict) else ():
            if name in properties and not self._gates.fits(validator, properties[name], instance[name]):
                yield from _down(validator, instance[name], properties[name], name)

    def _items(self, validator: Any, items: Any, instance: Any, schema: Any) -> Errors:
        if not isinstance(items, dict) or "prefixItems" in schema:
            yield from self._theirs["items"](validator, items, instance, schema) or ()
        elif isinstance(instance, list | tuple):
            for index, item in enumerate(instance):
                if not self._gates.fits(validator, items, item):
                    yield from _down(validator, item, items, index)

    def _pattern(self, _validator: Any, pattern: str, instance: Any, _schema: Any) -> Errors:
        if isinstance(instance, str) and not _matching(pattern)(instance):
            yield ValidationError("")

    def _pattern_properties(self, validator: Any, patterns: Any, instance: Any, _schema: Any) -> Errors:
        for pattern, schema in patterns.items() if isinstance(instance, dict) else ():
            for name in filter(_matching(pattern), instance):
                yield from _down(validator, instance[name], schema, name)

    def _additional_properties(self, validator: Any, more: Any, instance: Any, schema: Any) -> Errors:
        names = extra(instance, schema) if isinstance(instance, dict) else []
        if isinstance(more, dict):
            for name in names:
                if not self._gates.fits(validator, more, instance[name]):
                    yield from _down(validator, instance[name], more, name)
        elif names and not more:
            yield ValidationError("")

    def _unique_items(self, _validator: Any, unique: Any, instance: Any, _schema: Any) -> Errors:
        if unique and isinstance(instance, list | tuple) and not _unique(instance):
            yield ValidationError("")


def _down(validator: Any, instance: Any, schema: Any, step: str | int) -> Errors:
    """Go one step down; a schema that allows nothing fails at that step, which jsonschema leaves out."""
    if schema is False:
        yield ValidationError("", path=[step], validator="false", instance=instance)
    else:
        yield from validator.descend(instance, schema, path=step)


def _unique(items: Any) -> bool:
    return bool(jsonschema_rs.is_valid({"uniqueItems": True}, items))


def _named_discriminator(schema: Any) -> tuple[str, ...]:
    discriminator = schema.get("discriminator")
    name = discriminator.get("propertyName") if isinstance(discriminator, dict) else None
    return (name,) if isinstance(name, str) else ()


def _closest(validator: Any, branches: list[Any], instance: Any) -> list[ValidationError]:
    """Give the errors of the branch that fits down to the deepest place, with the fewest errors, of type above all."""
    tried = [list(islice(validator.descend(instance, branch), _CANDIDATE_ERRORS)) for branch in branches]
    return max(tried, key=_closeness)


def _closeness(errors: list[ValidationError]) -> tuple[int, int, int]:
    deepest = max((len(error.path) for error in errors), default=0)
    return deepest, -sum(error.validator == "type" for error in errors), -len(errors)


class _Gates:
    """The gate's verdict by any part of a schema: a thousand times faster than going down to see."""

    def __init__(self, document: dict[str, Any], draft: str | None) -> None:
        address = document.get("$id", "urn:tablenodes:schema")
        whole = {**document, "$id": address}
        self._base = {"definitions": {"whole": whole}, **({"$schema": draft} if draft else {})}
        self._address = address.rstrip("#")
        self._pointers = dict(_pointers(document))
        self._tests: dict[int, Callable[[Any], bool] | None] = {}

    def fits(self, validator: Any, schema: Any, instance: Any) -> bool:
        """Tell whether a value fits one of the document's subschemas, as the gate sees it."""
        place = id(schema)
        if place not in self._tests:
            self._tests[place] = self._compiled(place)
        test = self._tests[place]
        try:
            if test is not None:
                return test(instance)
        except ValueError:  # a class that the gate does not know, or too deep
            pass
        return bool(validator.evolve(schema=schema).is_valid(instance))

    def _compiled(self, place: int) -> Callable[[Any], bool] | None:
        if place not in self._pointers:
            return None
        part = {**self._base, "$ref": f"{self._address}#{self._pointers[place]}"}
        try:
            gate = jsonschema_rs.validator_for(part, retriever=_refuse, validate_formats=False)
        except ValueError:  # an old draft, or a document with addresses of its own inside
            return None
        test: Callable[[Any], bool] = gate.is_valid
        return test


def _pointers(schema: Any, pointer: str = "") -> Iterator[tuple[int, str]]:
    if isinstance(schema, dict):
        yield id(schema), pointer
    for step, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if isinstance(value, dict | list):
            yield from _pointers(value, f"{pointer}/{subschemas.escaped(str(step))}")
