"""The schemas of an API document, as plain JSON Schema: one that is asked for, with those that it reaches beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..schemas.subschemas import REFERENCES, applied, followed

_SAYS_NOTHING = frozenset(
    ("discriminator", "example", "examples", "externalDocs", "xml", "$schema", "$id", "id", "$recursiveAnchor")
)
"""Keywords that bound no value, or would give a part of the document another address."""
_OF_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_VALUES = frozenset({"enum", "const", "default", "required", "type", "description", "title"})
_BOUNDS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
_HERE = "#/components/schemas/"


class UnmadeError(ValueError):
    """Why nothing can be made of a part of a document."""


class Component(NamedTuple):
    """A schema of the document, translated, and the names of those that it refers to."""

    schema: Any
    needs: tuple[str, ...]


class Components:
    """Translates the schemas of one document, each once: none is put in another's place, so they may be recursive."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._known: dict[str, Component] = {}
        self._whole: set[str] = set()  # those that reach nothing that is not there

    def check(self, schema: Any) -> None:
        """Raise `UnmadeError` where a schema reaches another file, or nothing; each component is looked at once."""
        reached: set[str] = set()
        waiting = [*_Translation(self.document).of(schema).needs]
        while waiting:
            name = waiting.pop()
            if name not in reached and name not in self._whole:
                reached.add(name)
                waiting += self._component(name).needs
        self._whole |= reached

    def standing_alone(self, schema: Any) -> dict[str, Any]:
        """Return a schema that needs no other document: what it reaches stands in its ``components``.

        Raises `UnmadeError` where it refers to another file, or to nothing.
        """
        own = _Translation(self.document).of(schema)
        found: dict[str, Any] = {}
        waiting = [*own.needs]
        while waiting:
            name = waiting.pop()
            if name not in found:
                one = self._component(name)
                found[name] = one.schema
                waiting += one.needs
        made = own.schema if isinstance(own.schema, dict) else {"not": {}} if own.schema is False else {}
        return {**made, "components": {"schemas": dict(sorted(found.items()))}} if found else made

    def _component(self, name: str) -> Component:
        if name not in self._known:
            schema = followed(self.document, _pointer(name))
            self._known[name] = _Translation(self.document, name).of(schema)
        return self._known[name]

    def properties(self, schema: Any) -> dict[str, Any]:
        """Return the schema of each property that a request has at its top; those that only answers have are left out.

        Where a schema is a choice of several, those of each of them.
        """
        found: dict[str, Any] = {}
        for one in applied(self.document, schema, unions=True):
            for name, each in _mapping(one.get("properties")).items():
                if not self.is_read_only(each):
                    found.setdefault(name, each)
        return found

    def is_read_only(self, schema: Any) -> bool:
        """Check whether a property is in answers alone."""
        return any(one.get("readOnly") is True for one in applied(self.document, schema))


class _Translation:
    """Translates one schema; `name` is that of the component that it is."""

    def __init__(self, document: Mapping[str, Any], name: str = "") -> None:
        self._document, self._name = document, name
        self._needs: dict[str, None] = {}

    def of(self, schema: Any) -> Component:
        translated = self._translated(schema)
        return Component(translated, tuple(self._needs))

    def _translated(self, schema: Any) -> Any:
        if isinstance(schema, list):
            return [self._translated(each) for each in schema]
        if not isinstance(schema, dict):
            return schema
        made: dict[str, Any] = {}
        for keyword, value in schema.items():
            if keyword in _SAYS_NOTHING or keyword.startswith("x-"):
                continue
            if keyword in REFERENCES:
                made["$ref"] = self._reference(str(value))
            elif keyword in _OF_SCHEMAS and isinstance(value, dict):
                made[keyword] = {name: self._translated(each) for name, each in value.items()}
            else:
                made[keyword] = value if keyword in _VALUES else self._translated(value)
        self._bound(made)
        self._require(made, _mapping(schema.get("properties")))
        return made

    def _bound(self, schema: dict[str, Any]) -> None:
        """Write an exclusive bound as a number: of old it was a word beside the bound."""
        for exclusive, bound in _BOUNDS.items():
            if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and bound in schema:
                schema[exclusive] = schema.pop(bound)

    def _require(self, schema: dict[str, Any], known: Mapping[str, Any]) -> None:
        """Require only what a request may have."""
        required = schema.get("required")
        if isinstance(required, list) and all(isinstance(name, str) for name in required):
            answered = [name for name in required if self._is_read_only(known.get(name))]
            schema["required"] = [name for name in required if name not in answered]
        elif required is not None and not isinstance(required, list):
            del schema["required"]  # a word of another time, beside a property

    def _is_read_only(self, schema: Any) -> bool:
        if not isinstance(schema, dict):
            return False
        reference = schema.get("$ref")
        target = followed(self._document, reference[1:]) if isinstance(reference, str) else None
        return any(isinstance(one, dict) and one.get("readOnly") is True for one in (schema, target))

    def _reference(self, reference: str) -> str:
        if reference == "#" and self._name:
            return f"{_HERE}{self._name}"
        if not reference.startswith("#/"):
            where = "another file" if not reference.startswith("#") else "no place"
            raise UnmadeError(f"$ref {reference[:100]!r} points to {where}: put it into one document first")
        if followed(self._document, reference[1:]) is None:
            raise UnmadeError(f"$ref {reference[:100]!r} points at nothing in the document")
        name = _name(reference)
        self._needs[name] = None
        return f"{_HERE}{name}"


_SIGNS = {"/": ":", ":": "!c", "~": "!t", "%": "!p", "!": "!e"}
_WORDS = {word: sign for sign, word in _SIGNS.items()}


def _name(reference: str) -> str:
    """Return what the schema at a place of the document is called beside others: a component's name, or the place."""
    inside = reference.removeprefix(_HERE)
    if inside != reference and re.fullmatch(r"[\w.-]+", inside):
        return inside
    return re.sub("[/:~%!]", lambda sign: _SIGNS[sign[0]], reference[1:])


def _pointer(name: str) -> str:
    """Return the place in the document of what `_name` has called so."""
    if name.startswith(":"):
        return re.sub("![ctpe]|:", lambda word: _WORDS[word[0]], name)
    return f"/components/schemas/{name}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
