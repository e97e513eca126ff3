"""A schema: whether a body fits it, why not, and what its places admit."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ..errors import SchemaError
from ..plain import plain
from ..problems import Problem, Unfit
from . import subschemas
from .subschemas import SubschemaGraph, refuse
from .wording import shown

if TYPE_CHECKING:
    import jsonschema_rs

    from .explanations import Explainer

SHOWN = 200  # letters of a name or a reason that a message quotes
_PLAIN_JSON = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


@dataclass(frozen=True)
class Schema:
    """The schema of one operation's requests; `name` is a revision, a file's name or ``mapping``, `source` JSON text.

    The validators are built when they are first used, once; a copy and an unpickled one build their own.
    """

    name: str
    operation: str
    source: str

    def __repr__(self) -> str:
        return f"Schema({self.name!r}, {self.operation!r})"

    def __getstate__(self) -> dict[str, str]:
        return {"name": self.name, "operation": self.operation, "source": self.source}

    @property
    def document(self) -> dict[str, Any]:
        """The schema as a dict: a new one each time."""
        document: dict[str, Any] = json.loads(self.source)
        return document

    @functools.cached_property
    def properties(self) -> tuple[str, ...]:
        """The names of the properties that a request may have, as far as the schema knows, in its order."""
        return tuple(self._properties)

    @functools.cached_property
    def required(self) -> tuple[str, ...]:
        """The names of the properties that a request must have."""
        return subschemas.required(self._document)

    @functools.cached_property
    def is_valid(self) -> Callable[[Any], bool]:
        """Check whether a body of plain JSON fits, in about 1 µs; ValueError is possible for what cannot be JSON."""
        verdict: Callable[[Any], bool] = _compiled(self._document, self.name).is_valid
        return verdict

    def problems(self, body: object, most: int = 20) -> list[Problem]:
        """Return what is wrong with a body of any values, at most so much; none if it fits and can be written."""
        try:
            written = orjson.dumps(body, option=_PLAIN_JSON)
            fits = self.is_valid(body)
            if fits and b"null" in written:  # which may stand for a number that JSON has not
                plain(body)
        except (TypeError, ValueError, RecursionError, Unfit):
            try:
                body = _made_plain(body)
            except Unfit as unfit:
                path, reason = unfit.args
                return [Problem(shown(path, self._properties), "json", f"the value {reason}")]
            fits = self.is_valid(body)
        return [] if fits else self._explain(body, most)

    def admits(self, path: tuple[str | int, ...]) -> frozenset[str]:
        """Return the names of the JSON types that may stand at a path such as ``("messages", 0, "content")``.

        ``integer`` without ``number`` admits no fractions; all types are named where the schema says nothing.
        """
        return self._admitted(tuple(path))

    def description(self, name: str) -> str:
        """Return what the schema says about a property, or an empty text."""
        layers = subschemas.applied(self._document, self._properties.get(name))
        return next((one["description"] for one in layers if isinstance(one.get("description"), str)), "")

    @functools.cached_property
    def _document(self) -> dict[str, Any]:
        return self.document

    @functools.cached_property
    def _properties(self) -> dict[str, Any]:
        return subschemas.properties(self._document)

    @functools.cached_property
    def _explain(self) -> Explainer:
        from .explanations import Explainer  # noqa: PLC0415 - takes 0.1 s, and only a wrong body needs it

        return Explainer(self._document)

    @functools.cached_property
    def _admitted(self) -> Callable[[tuple[str | int, ...]], frozenset[str]]:
        document = self._document

        @functools.lru_cache(maxsize=1024)
        def admitted(path: tuple[str | int, ...]) -> frozenset[str]:
            try:
                return subschemas.admitted(document, document, path) or subschemas.TYPES
            except RecursionError:  # a schema that holds itself, and a path that follows it for ever
                return subschemas.TYPES

        return admitted


def _made_plain(body: object) -> Any:
    path: tuple[str | int, ...] = ()
    try:
        if isinstance(body, Mapping):
            for name, value in body.items():
                path = (name,) if isinstance(name, str) else ()
                plain(value)
            path = ()
        return plain(body)
    except Unfit as unfit:
        raise Unfit(path, str(unfit)) from None


def _compiled(document: dict[str, Any], name: str) -> jsonschema_rs.Validator:
    import jsonschema_rs  # noqa: PLC0415 - 50 ms that only a used schema costs

    try:
        return jsonschema_rs.validator_for(document, retriever=refuse, validate_formats=False)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        if isinstance(getattr(error, "kind", None), jsonschema_rs.ValidationErrorKind.Referencing):
            raise SchemaError(f"schema {name}: {_bad_reference(document)}") from None
        place = "/".join(("", *map(str, getattr(error, "instance_path", ()))))
        reason = str(error).partition("\n")[0]
        raise SchemaError(f"schema {name}: not a JSON Schema{place and ', at ' + place}: {reason[:SHOWN]}") from None


def _bad_reference(document: dict[str, Any]) -> str:
    reference = SubschemaGraph(document).unresolved()
    if reference is None:  # all that is left to be looked up is the draft
        return f"$schema {document.get('$schema')!r} is not a known draft of JSON Schema"
    if reference.startswith("#"):
        return f"$ref {reference[:SHOWN]!r} points at nothing in the schema"
    return f"$ref {reference[:SHOWN]!r} points outside the schema; only references inside it (#/…) are followed"
