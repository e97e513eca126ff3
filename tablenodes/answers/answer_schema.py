"""What an answer is: the strict schema that is sent, and its fields with their types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from .strict_form import strict

Kind = Literal["text", "integer", "number", "boolean", "enum", "date", "datetime", "list", "struct", "json", "vector"]


@dataclass(frozen=True)
class FieldType:
    """What a field's values are; each may be null as well if it is `nullable`.

    Parameters
    ----------
    kind : str
        ``text``; ``integer`` of 64 bits; ``number``; ``boolean``; ``enum`` of texts, which are its `members`; ``date``
        and ``datetime``, ISO 8601 texts, of which one without an offset is meant as UTC; ``list`` of `item`; ``struct``
        of `fields`; ``json``, any JSON value: a union, an object or a list whose inside is not said, a recursion;
        ``vector`` of 32-bit floats, of `size` numbers (None: as many as the values have; 0: as a list of any length).
    """

    kind: Kind
    nullable: bool = False
    members: tuple[str, ...] = ()
    item: FieldType | None = None
    fields: tuple[Field, ...] = ()
    size: int | None = None


class Field(NamedTuple):
    """A field of an answer, which becomes a column, or of a struct."""

    name: str
    type: FieldType


@dataclass(frozen=True)
class AnswerSchema:
    """What an answer is: equal where the same bytes are sent.

    Parameters
    ----------
    source : str
        The strict JSON Schema as JSON text, its properties in the author's order.
    wrapped : bool
        Whether the answer is one value, no object: it is asked for as ``{"answer": …}``.
    fields : tuple of Field
        What becomes a column each, in the author's order; one called ``answer`` where it is `wrapped`.
    remarks : tuple of str
        What the author wrote and is not kept: a model's own validators, defaults.
    """

    source: str
    wrapped: bool
    fields: tuple[Field, ...]
    remarks: tuple[str, ...] = field(default=(), compare=False)

    @property
    def document(self) -> dict[str, Any]:
        """The schema as a dict: a new one each time."""
        document: dict[str, Any] = json.loads(self.source)
        return document


def made_strict(document: Mapping[str, Any], remarks: Iterable[str] = ()) -> AnswerSchema:
    """Return what is sent for a JSON Schema; raise `SchemaError` where that cannot be."""
    made, wrapped = strict(document)
    whole = type_of(made)
    source = json.dumps(made, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return AnswerSchema(source, wrapped, whole.fields, tuple(dict.fromkeys(remarks)))


_SCALARS: Mapping[str, Kind] = {"integer": "integer", "number": "number", "boolean": "boolean", "string": "text"}
_FORMATS: Mapping[str, Kind] = {"date": "date", "date-time": "datetime"}


def type_of(schema: Mapping[str, Any]) -> FieldType:
    """Return what the values are of a schema in strict form."""
    if "anyOf" in schema:
        branches = [branch for branch in schema["anyOf"] if branch != {"type": "null"}]
        nullable = len(branches) < len(schema["anyOf"])
        return _or_null(type_of(branches[0])) if len(branches) == 1 else FieldType("json", nullable)
    types = schema.get("type")
    if isinstance(types, list):
        rest = [name for name in types if name != "null"]
        one = "number" if set(rest) == {"integer", "number"} else rest[0] if len(rest) == 1 else None
        made = type_of({**schema, "type": one}) if one else FieldType("json")
        return _or_null(made) if "null" in types else made
    if "enum" in schema:
        return _enum_type(schema["enum"])
    return _type_of_one(schema, types)


def _type_of_one(schema: Mapping[str, Any], name: Any) -> FieldType:
    if name == "array" and "prefixItems" not in schema and isinstance(schema.get("items"), dict):
        return FieldType("list", item=type_of(schema["items"]))
    if name == "object" and schema.get("properties") and schema.get("additionalProperties") is False:
        fields = [Field(each, type_of(inside)) for each, inside in schema["properties"].items()]
        return FieldType("struct", fields=tuple(fields))
    if name == "null":
        return FieldType("json", nullable=True)
    kind = _SCALARS.get(name, "json") if isinstance(name, str) else "json"
    return FieldType(_FORMATS.get(schema.get("format", ""), kind) if kind == "text" else kind)


def _or_null(made: FieldType) -> FieldType:
    return FieldType(made.kind, True, made.members, made.item, made.fields)


def _enum_type(members: list[Any]) -> FieldType:
    nullable = None in members
    rest = [member for member in members if member is not None]
    kinds = set(map(type, rest))
    if kinds == {str}:
        return FieldType("enum", nullable, tuple(rest))
    if kinds == {bool}:
        return FieldType("boolean", nullable)
    if kinds and kinds <= {int, float}:
        return FieldType("integer" if all(float(each).is_integer() for each in rest) else "number", nullable)
    return FieldType("json", nullable)
