"""An operation as its nodes know it: plain values, which can be pickled and compared, and the schemas made of them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from ..engine.calls import PlacedBody
from ..problems import Problem
from ..schemas.schema_source import own_schema
from .operations import Placed
from .parameter_styles import Parameter, as_in_address, headers_of, path_of, query_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..schemas import Schema
    from .components import Components
    from .operations import Operation

_NUMBERS = frozenset({"integer", "number", "boolean"})
_WITH_BODIES = ("POST", "PUT", "PATCH")
_CLOSED = ("additionalProperties", "unevaluatedProperties", "maxProperties", "propertyNames")


@dataclass(frozen=True)
class AskedOperation(Placed):
    """An operation that a node asks; its schemas are JSON texts, that of the body is empty where there is none."""

    name: str
    document: str
    known_as: str
    method: str
    path: str
    query: str
    summary: str
    parameters: tuple[Parameter, ...]
    parameter_schemas: str
    body_schema: str
    properties: tuple[str, ...]
    is_body_required: bool
    media_type: str

    @classmethod
    def of(cls, operation: Operation, components: Components, document: str, known_as: str) -> AskedOperation:
        """Return an operation of a document, with the schemas that it needs."""
        given = {"properties": dict(operation.schemas), "type": "object"}
        given["required"] = [each.key for each in operation.parameters if each.required]
        body = "" if operation.body is None else json.dumps(components.standing_alone(operation.body))
        return cls(
            name=_class_name(operation.id or operation.place),
            document=document,
            known_as=known_as,
            method=operation.method,
            path=operation.path,
            query=operation.query,
            summary=operation.summary,
            parameters=operation.parameters,
            parameter_schemas=json.dumps(components.standing_alone(given)),
            body_schema=body,
            properties=tuple(operation.properties),
            is_body_required=operation.is_body_required,
            media_type=operation.media_type,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return AskedOperation, tuple(getattr(self, each.name) for each in fields(self))

    @property
    def is_plain(self) -> bool:
        """Whether all rows go to one place, with a JSON body, as those of a declared node do."""
        is_address = as_in_address(self.path) == self.path
        goes = is_address and self.method == "POST" and self.media_type == "application/json"
        return goes and bool(self.body_schema) and not self.parameters and not self.query

    @cached_property
    def of_parameters(self) -> Schema:
        """The schema of the parameters, by their keys."""
        return own_schema(self.document, self.place, json.loads(self.parameter_schemas))

    @cached_property
    def of_body(self) -> Schema:
        """The schema of the body."""
        document = json.loads(self.body_schema) if self.body_schema else {"type": "object"}
        return own_schema(self.document, self.place, document)

    @cached_property
    def schema(self) -> Schema:
        """The schema of all that can be set, by which values are typed and described."""
        return self.with_body(self.of_body)

    def with_body(self, body: Schema) -> Schema:
        """Return the schema of the parameters and of a body; `of_parameters` and `body` are the gate of each."""
        if not self.parameters:
            return body
        document, own = body.document, json.loads(self.parameter_schemas)
        components = {**_taken_out(own), **_taken_out(document)}
        if self.body_schema:
            own["allOf"] = [_opened(document, components, frozenset())]
        return own_schema(body.name, self.place, {**own, "components": {"schemas": components}})

    def parted(self, whole: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the parameters, and the body, of all that is set in a row.

        A parameter that is a text may be given as a number: a text is what is sent of either.
        """
        values, body = {}, dict(whole)
        for key in self._keys_of_parameters.intersection(whole):
            value = body.pop(key)
            is_number = isinstance(value, int | float) and key in self._texts
            values[key] = orjson.dumps(_whole_number(value)).decode() if is_number else value
        return values, body

    @cached_property
    def _keys_of_parameters(self) -> frozenset[str]:
        return frozenset(each.key for each in self.parameters)

    @cached_property
    def _texts(self) -> frozenset[str]:
        """The parameters that may be texts and no numbers."""
        admitted = {key: self.of_parameters.admits((key,)) for key in self._keys_of_parameters}
        return frozenset(key for key, kinds in admitted.items() if "string" in kinds and kinds.isdisjoint(_NUMBERS))

    def placed(self, values: Mapping[str, Any], body: Mapping[str, Any], written: Callable[[Any], bytes]) -> PlacedBody:
        """Return what a row sends, and where; raise `Rejected` for a value that cannot stand in its place."""
        path = path_of(self.path, self.parameters, values)
        query = "&".join(filter(None, (self.query, query_of(self.parameters, values))))
        headers = headers_of(self.parameters, values)
        has_body = bool(self.body_schema) and bool(body or self.is_body_required or self.method in _WITH_BODIES)
        return PlacedBody(written(body), path, query, headers, self.media_type if has_body else "")

    def no_body(self, body: Mapping[str, Any]) -> list[Problem]:
        """Return what is wrong with properties of a body where there is none."""
        message = f"the operation has no body: it is asked with {', '.join(self.keys) or 'nothing'}"
        return [Problem(f"$.{name}", "parameter", message) for name in body]


def _whole_number(value: float) -> float:
    """Return a number without a fraction that is none: 1 for 1.0, as a column with empty cells has it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _taken_out(document: dict[str, Any]) -> dict[str, Any]:
    """Remove the components from a schema, and return them."""
    found: dict[str, Any] = document.pop("components", {}).get("schemas", {})
    return found


def _opened(schema: Any, components: Mapping[str, Any], seen: frozenset[str]) -> Any:
    """Return a schema of a body that may also have other properties at its top."""
    if not isinstance(schema, dict):
        return True
    name = str(schema.get("$ref", "")).removeprefix("#/components/schemas/")
    made = {keyword: value for keyword, value in schema.items() if keyword not in _CLOSED}
    for keyword in ("allOf", "anyOf", "oneOf"):
        if isinstance(made.get(keyword), list):
            made[keyword] = [_opened(each, components, seen) for each in made[keyword]]
    if name in components and name not in seen:
        del made["$ref"]
        made["allOf"] = [*made.get("allOf", ()), _opened(components[name], components, seen | {name})]
    return made


def _class_name(known_as: str) -> str:
    """Return a name in the form of a class's."""
    words = re.findall(r"[A-Za-z0-9]+", known_as)
    name = "".join(word[:1].upper() + (word[1:].lower() if word.isupper() else word[1:]) for word in words)
    return name if name[:1].isalpha() else f"Operation{name}"
