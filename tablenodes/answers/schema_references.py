"""A JSON Schema without references: what each leads to stands in its place, except where it leads back to itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import SchemaError
from ..schemas.subschemas import followed

MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
SINGLE = frozenset(
    {
        *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
        *("unevaluatedProperties", "unevaluatedItems", "additionalItems"),
    }
)
"""The keywords that hold schemas: by name, as a list, or one."""

_DEFINITIONS = ("$defs", "definitions")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_MOST_PARTS = 20_000
_SHOWN = 80


def with_parts(
    schema: Mapping[str, Any], changed: Callable[[Any], Any], within: frozenset[str] = MAPS | LISTS | SINGLE
) -> dict[str, Any]:
    """Return a schema in which each schema that it holds, under some keywords, has been changed."""
    made: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword not in within:
            made[keyword] = value
        elif keyword in MAPS and isinstance(value, Mapping):
            made[keyword] = {name: changed(each) for name, each in value.items()}
        elif keyword in LISTS and isinstance(value, list):
            made[keyword] = [changed(each) for each in value]
        elif keyword in SINGLE and isinstance(value, Mapping):
            made[keyword] = changed(value)
        else:
            made[keyword] = value
    return made


def inlined(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document whose references are replaced; those that recur lead to its ``$defs``, which has no others."""
    inliner = _Inliner(document)
    made = inliner.part(document)
    if "#" in inliner.names:
        inliner.definitions[inliner.names["#"]] = made
    while set(made) == {"$ref"}:
        made = inliner.definitions[made["$ref"].rpartition("/")[2]]
    return {**made, "$defs": inliner.definitions} if inliner.definitions else made


class _Inliner:
    """One way through a document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.definitions: dict[str, Any] = {}
        self.names: dict[str, str] = {}  # of the definitions that recur, by their pointers
        self._document = document
        self._open = ["#"]
        self._count = 0

    def part(self, schema: Any) -> Any:
        """Return a part of the document without references."""
        if not isinstance(schema, Mapping):
            return schema
        self._count += 1
        if self._count > _MOST_PARTS:
            raise SchemaError(f"the answer's schema has more than {_MOST_PARTS:,} parts, with references written out")
        rest = {name: value for name, value in schema.items() if name not in (*_DEFINITIONS, "$ref")}
        made = with_parts(rest, self.part)
        if not isinstance(schema.get("$ref"), str):
            return made
        target = self._target(schema["$ref"], by_itself=not made)
        return merged(target, made)

    def _target(self, reference: str, *, by_itself: bool) -> dict[str, Any]:
        if reference in self._open and reference not in self.names:
            self.names[reference] = self._new_name(reference)
        known = self.definitions.get(self.names.get(reference, ""))
        if reference in self._open or known is not None:
            return {"$ref": f"#/$defs/{self.names[reference]}"} if by_itself or known is None else known
        found = self._document if reference == "#" else followed(self._document, reference[1:])
        if not reference.startswith("#") or not isinstance(found, Mapping | bool):
            where = "points at nothing in" if reference.startswith("#") else "points outside of"
            raise SchemaError(f"$ref {reference[:_SHOWN]!r} {where} the answer's schema")
        self._open.append(reference)
        made = self.part(found)
        self._open.pop()
        if reference not in self.names:
            return made if isinstance(made, dict) else {"allOf": [made]}
        self.definitions[self.names[reference]] = made
        return {"$ref": f"#/$defs/{self.names[reference]}"} if by_itself else made

    def _new_name(self, reference: str) -> str:
        base = _UNSAFE.sub("_", reference.rpartition("/")[2].lstrip("#")) or "answer"
        taken = self.names.values()
        return next(name for n in range(1, len(taken) + 2) if (name := base if n == 1 else f"{base}_{n}") not in taken)


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return one schema that says what two say of a value: words of the second win; ``allOf`` where they disagree."""
    made = dict(first)
    for keyword, value in second.items():
        if keyword not in made or keyword in ("description", "title", "default") or made[keyword] == value:
            made[keyword] = value
        elif keyword == "properties" and not any(made[keyword].get(n, each) != each for n, each in value.items()):
            made[keyword] = {**made[keyword], **value}
        elif keyword == "required":
            made[keyword] = list(dict.fromkeys((*made[keyword], *value)))
        else:
            return {"allOf": [dict(first), dict(second)]}
    if "$ref" in made and len(made) > 1:  # a recursion with words of its own: those are left out
        return {"$ref": made["$ref"]} if made.keys() <= {"$ref", "description", "title", "default"} else made
    return made
