"""The operations of an API document: what each can be asked with, or why no node can be made of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from ..schemas.subschemas import admitted, followed
from .components import Components, UnmadeError
from .parameter_styles import STYLES, Parameter, names_in

METHODS = ("get", "put", "post", "delete", "head", "patch", "options", "trace")
_JSON = re.compile(r"application/(json|[\w.+-]+\+json)", re.IGNORECASE | re.ASCII)
_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_IGNORED = frozenset({"accept", "content-type", "authorization"})
"""Headers that a document cannot say: they are the connection's."""
_SENT_BY_NOBODY = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect"})


class Placed:
    """What has a method, a path and parameters."""

    method: str
    path: str
    parameters: tuple[Parameter, ...]
    properties: Collection[str]

    @property
    def place(self) -> str:
        """The method and the path, by which it is known where it has no id."""
        return f"{self.method} {self.path}"

    @property
    def keys(self) -> tuple[str, ...]:
        """What can be set: the parameters, then the properties of the body."""
        return (*(each.key for each in self.parameters), *self.properties)


@dataclass(frozen=True)
class Operation(Placed):
    """One operation as the document has it; `why` says why no node can be made of it, and is empty where one can.

    `body` is the schema of its JSON body, as it stands in the document, None without one; `properties` those of it.
    """

    id: str
    method: str
    path: str
    summary: str = ""
    query: str = ""  # that is always the same
    parameters: tuple[Parameter, ...] = ()
    schemas: Mapping[str, Any] = field(default_factory=dict)  # of the parameters, by their keys
    body: Any = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    is_body_required: bool = False
    media_type: str = "application/json"
    why: str = ""


def operations_of(components: Components) -> Iterator[Operation]:
    """Yield the operations of a document, in its order."""
    paths = components.document.get("paths")
    for path, item in paths.items() if isinstance(paths, dict) else ():
        if not isinstance(item, dict):
            continue
        for method in METHODS:
            if isinstance(item.get(method), dict):
                yield _Reading(components, str(path), method, item).operation()
        if "$ref" in item:
            yield Operation("", "", str(path), why=f"the path is described elsewhere: $ref {str(item['$ref'])[:100]!r}")


class _Reading:
    """Reads one operation."""

    def __init__(self, components: Components, path: str, method: str, item: Mapping[str, Any]) -> None:
        self._components, self._item, self._given = components, item, item[method]
        self._path, _, query = path.partition("?")
        self._query = urlencode(parse_qsl(query, keep_blank_values=True))
        self._method = method.upper()

    def operation(self) -> Operation:
        """Return the operation, or with it why it is none."""
        given, known_as = self._given, str(self._given.get("operationId") or "")
        summary = str(given.get("summary") or given.get("description") or "").strip().partition("\n")[0]
        begun = Operation(known_as, self._method, self._path, summary, self._query)
        try:
            return self._whole(begun)
        except UnmadeError as error:
            why = str(error)
        except RecursionError:
            why = "its schemas are nested too deeply"
        return Operation(known_as, self._method, self._path, summary, self._query, why=why)

    def _whole(self, begun: Operation) -> Operation:
        if not self._path.startswith("/") or not {".", ".."}.isdisjoint(map(unquote, self._path.split("/"))):
            raise UnmadeError("the path must begin with a slash, and '.' and '..' are no parts of it")
        found = [*self._parameters()]
        media_type, body, is_required = self._body()
        properties = {} if body is None else self._components.properties(body)
        count = Counter([*(each["name"] for each in found), *properties])
        made = [_parameter(each, several=count[each["name"]] > 1) for each in found]
        described = {each.name for each in made if each.where == "path"}
        for name in names_in(self._path):
            if name not in described:
                raise UnmadeError(f"no parameter describes {{{name[:60]}}} of the path")
        schemas = {one.key: _described(each) for one, each in zip(made, found, strict=True)}
        for schema in (*schemas.values(), body):
            self._components.check(schema)
        known = begun.id, begun.method, begun.path, begun.summary, begun.query
        return Operation(*known, tuple(made), schemas, body, properties, is_required, media_type)

    def _parameters(self) -> Iterator[dict[str, Any]]:
        """Yield the parameters that a request may have: an operation's own go before those of its path."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for each in (*_listed(self._item.get("parameters")), *_listed(self._given.get("parameters"))):
            one = self._resolved(each, "a parameter")
            name, where = one.get("name"), one.get("in")
            if not isinstance(name, str) or not name:
                raise UnmadeError("a parameter has no name")
            found[name, str(where)] = one
        for (name, where), one in found.items():
            if where == "header" and name.casefold() in _IGNORED:
                continue
            if where == "cookie" and one.get("required") is not True:
                continue
            if where not in STYLES:
                raise UnmadeError(f"parameter {name[:60]!r} is a {where[:20]}")
            if where == "header" and (name.casefold() in _SENT_BY_NOBODY or not _HEADER.fullmatch(name)):
                raise UnmadeError(f"parameter {name[:60]!r} is a header that cannot be set")
            yield one

    def _body(self) -> tuple[str, Any, bool]:
        """Return the media type and the schema of the JSON body, and whether there must be one."""
        given = self._given.get("requestBody")
        if given is None:
            return "", None, False
        if self._method in ("GET", "HEAD", "TRACE"):
            raise UnmadeError(f"a {self._method} request has no body, and the document describes one")
        request = self._resolved(given, "the body")
        content = request.get("content")
        kinds: Mapping[str, Any] = content if isinstance(content, dict) else {}
        of_json = [kind for kind in kinds if _JSON.fullmatch(kind.partition(";")[0].strip())]
        if not of_json:
            raise UnmadeError(f"the body is not JSON: {', '.join(map(str, kinds))[:100] or 'no media type'}")
        media = kinds[of_json[0]]
        schema: Any = media.get("schema", {}) if isinstance(media, dict) else {}
        try:
            kinds_of_value = admitted(self._components.document, schema, ())
        except (TypeError, AttributeError):
            raise UnmadeError("the schema of the body names no types as JSON Schema does") from None
        if "object" not in kinds_of_value:
            raise UnmadeError("the body is not an object")
        media_type = of_json[0].partition(";")[0].strip().lower()
        return media_type, schema, request.get("required") is True

    def _resolved(self, value: Any, what: str) -> dict[str, Any]:
        """Return what stands in a place of the document, or where its reference leads to."""
        for _ in range(10):
            if not isinstance(value, dict):
                break
            reference = value.get("$ref")
            if not isinstance(reference, str):
                return value
            if not reference.startswith("#/"):
                raise UnmadeError(f"$ref {reference[:100]!r} points to another file: put it into one document first")
            value = followed(self._components.document, reference[1:])
        raise UnmadeError(f"{what} is described nowhere in the document")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _described(given: Mapping[str, Any]) -> Any:
    """Return a parameter's schema, with what the document says of the parameter."""
    schema, words = _schema_of(given), given.get("description")
    return {**schema, "description": words} if isinstance(schema, dict) and isinstance(words, str) else schema


def _schema_of(given: Mapping[str, Any]) -> Any:
    """Return a parameter's schema, which a media type may stand around."""
    content = given.get("content")
    if isinstance(content, dict):
        media: Any = next(iter(content.values()), {})
        return media.get("schema", {}) if isinstance(media, dict) else {}
    return given.get("schema", {})


def _parameter(given: Mapping[str, Any], *, several: bool) -> Parameter:
    """Return a parameter, called after its place too where something else has `several` times the same name."""
    name, where = given["name"], given["in"]
    style = given.get("style", STYLES[where][0])
    content = given.get("content")
    kinds = [*content] if isinstance(content, dict) else []
    if kinds and not _JSON.fullmatch(str(kinds[0])):
        raise UnmadeError(f"parameter {name[:60]!r} is written as {str(kinds[0])[:60]}")
    if style not in STYLES[where]:
        raise UnmadeError(f"parameter {name[:60]!r} has the style {str(style)[:20]!r}")
    explode = given.get("explode", style == "form")
    key, required = f"{name}__{where}" if several else name, where == "path" or given.get("required") is True
    return Parameter(key, name, where, style, explode is True, required, bool(kinds))
