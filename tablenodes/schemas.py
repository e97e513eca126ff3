"""The schemas of requests: find one, load it, and hold a body against it."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from . import subschemas
from .errors import SchemaError, nearest
from .plain import plain
from .problems import Problem, Unfit
from .wording import shown

if TYPE_CHECKING:
    import jsonschema_rs

    from .explanations import Explainer

DEFAULT_REVISION = "openai-2026-08"
"""The bundled revision that is used where none is named."""

_RESPONSE = ".response.json"
_SHOWN = 200
_PLAIN_JSON = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


@dataclass(frozen=True)
class Schema:
    """The schema of one operation's requests.

    The validators are built when they are first used, once; a copy and an unpickled one build their own.

    Attributes
    ----------
    name : str
        Where it comes from: a revision, a file's name, or ``mapping``.
    operation : str
        The operation, such as ``create_chat_completion``.
    source : str
        The document as JSON text, ``nullable`` translated.
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
        """Tell whether a body of plain JSON fits: the gate's own method, about 1 µs a call.

        Give it only what can be written as JSON: it may raise ValueError for what cannot, and it recurses
        natively where the schema does. `problems` takes anything.
        """
        verdict: Callable[[Any], bool] = self._gate.is_valid
        return verdict

    def problems(self, body: object) -> list[Problem]:
        """Give what is wrong with a body, at most 20 problems; an empty list for one that fits and can be written.

        Parameters
        ----------
        body : object
            A request's body: a mapping of plain JSON, or of what a request would make plain (dates, NumPy numbers).
        """
        try:
            orjson.dumps(body, option=_PLAIN_JSON)
            fits = self.is_valid(body)
        except (TypeError, ValueError, RecursionError):
            try:
                body = _made_plain(body)
            except Unfit as unfit:
                path, reason = unfit.args
                return [Problem(shown(path, self._properties), "json", f"the value {reason}")]
            fits = self.is_valid(body)
        return [] if fits else self._explain(body)

    def unknown(self, body: Mapping[str, Any]) -> list[str]:
        """Give the names of a body's properties that the schema does not know."""
        return [name for name in body if name not in self._properties]

    def admits(self, path: tuple[str | int, ...]) -> frozenset[str]:
        """Give the names of the JSON types that may stand at a path of the body.

        Parameters
        ----------
        path : tuple of str or int
            Property names and positions, such as ``("messages", 0, "content")``.

        Returns
        -------
        frozenset of str
            Among ``string``, ``number``, ``integer``, ``boolean``, ``null``, ``array`` and ``object``;
            ``integer`` without ``number`` admits no fractions. All of them where the schema says nothing.
        """
        return self._admitted(tuple(path))

    def description(self, name: str) -> str:
        """Give what the schema says about a property, or an empty text."""
        layers = subschemas.applied(self._document, self._properties.get(name))
        return next((one["description"] for one in layers if isinstance(one.get("description"), str)), "")

    @functools.cached_property
    def _document(self) -> dict[str, Any]:
        return self.document

    @functools.cached_property
    def _properties(self) -> dict[str, Any]:
        return subschemas.properties(self._document)

    @functools.cached_property
    def _gate(self) -> jsonschema_rs.Validator:
        return _compiled(self._document, self.name)

    @functools.cached_property
    def _explain(self) -> Explainer:
        from .explanations import Explainer  # noqa: PLC0415 - takes 0.1 s, and only a wrong body needs it

        return Explainer(self._document, self._gate, self.name)

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


def validate(
    body: Mapping[str, Any],
    operation: str = "create_chat_completion",
    schema: str | os.PathLike[str] | Mapping[str, Any] = DEFAULT_REVISION,
) -> list[Problem]:
    """Hold one request body against a schema; nothing is sent.

    Parameters
    ----------
    body : mapping
        The body: plain JSON, or what a request would make plain (dates, NumPy numbers).
    operation : str
        The operation, such as ``create_chat_completion``.
    schema : str, path or mapping
        A bundled revision's name, the path of a JSON Schema file, or a schema. A revision is loaded once
        and kept; a schema of your own is loaded in every call.

    Returns
    -------
    list of Problem
        Each with ``path``, ``rule``, ``message`` and ``got``; empty for a body that fits.

    Raises
    ------
    SchemaError
        If the schema cannot be found, read or used.
    """
    return load(schema, operation).problems(body)


def load(schema: str | os.PathLike[str] | Mapping[str, Any], operation: str) -> Schema:
    """Load the schema of an operation's requests.

    Parameters
    ----------
    schema : str, path or mapping
        A bundled revision's name; or the path of a JSON Schema file, or a schema, for this operation.
        OpenAPI's ``nullable: true`` is understood. Only references inside it are followed.
    operation : str
        The operation, such as ``create_chat_completion``.

    Raises
    ------
    SchemaError
        If the schema cannot be found, read or used.
    """
    if isinstance(schema, str) and schema in _index():
        return _bundled(schema, operation)
    if isinstance(schema, Mapping):
        return _tried(_made("mapping", operation, _copied(schema)))
    if not isinstance(schema, str | os.PathLike):
        kind = type(schema).__name__
        raise SchemaError(f"schema must be a revision's name, a path or a mapping, not {kind}")
    path = Path(schema).expanduser()
    named = isinstance(schema, str) and path.name == schema and path.suffix != ".json"
    if named and not path.is_file():
        _unknown_revision(str(schema))
    return _tried(_made(path.name, operation, _read(path)))


@functools.cache
def response(operation: str) -> Schema | None:
    """Load the newest bundled schema of an operation's answers, or give None where there is none.

    Parameters
    ----------
    operation : str
        The operation, such as ``create_chat_completion``.
    """
    request = _index()[DEFAULT_REVISION].get(operation)
    file = request and request.with_suffix(_RESPONSE)
    return _made(f"{DEFAULT_REVISION}, answers", operation, _read(file)) if file and file.is_file() else None


def _tried(schema: Schema) -> Schema:
    schema.is_valid({})  # builds the validator, which finds what is wrong with the schema
    return schema


def revisions() -> tuple[str, ...]:
    """Give the names of the bundled revisions, the oldest first."""
    return tuple(_index())


def operations(revision: str) -> tuple[str, ...]:
    """Give the names of the operations that a bundled revision has a schema for.

    Raises
    ------
    SchemaError
        If there is no such revision.
    """
    return tuple(_index()[revision] if revision in _index() else _unknown_revision(revision))


def _unknown_revision(revision: str) -> NoReturn:
    known = " and ".join(revisions())
    hint = nearest(revision, revisions()) or f"; there are {known}, or name a file"
    raise SchemaError(f"no schema revision {revision[:_SHOWN]!r}{hint}")


@functools.cache
def _index() -> Mapping[str, Mapping[str, Path]]:
    folders = sorted(path for path in _bundled_folder(Path(__file__).parent).iterdir() if path.is_dir())
    return {folder.name: {file.stem: file for file in _requests(folder)} for folder in folders}


def _requests(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.json")) if not file.name.endswith(_RESPONSE)]


def _bundled_folder(package: Path) -> Path:
    """Give the folder of the bundled schemas: inside an installed package, else in the source beside it."""
    source = package.parent
    for folder, marker in ((package / "_schemas", package), (source / "schemas", source / "pyproject.toml")):
        if folder.is_dir() and marker.exists():
            return folder
    raise SchemaError("the bundled schemas are missing: install tablenodes again")


@functools.cache
def _bundled(revision: str, operation: str) -> Schema:
    files = _index()[revision]
    if operation not in files:
        hint = nearest(operation, files) or f"; it has {', '.join(files)}"
        raise SchemaError(f"schema {revision} has no operation {operation[:_SHOWN]!r}{hint}")
    return _made(revision, operation, _read(files[operation]))


def _made(name: str, operation: str, document: dict[str, Any]) -> Schema:
    try:
        source = json.dumps(subschemas.without_nullable(document), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise SchemaError(f"schema {name}: cannot be written as JSON ({error})"[:_SHOWN]) from None
    return Schema(name, operation, source)


def _read(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise SchemaError(f"schema {path}: not a file; name one JSON Schema file")
    try:
        document = json.loads(path.read_text("utf-8-sig"), parse_constant=_no_constant)
    except FileNotFoundError:
        raise SchemaError(f"schema {path}: no such file") from None
    except OSError as error:
        raise SchemaError(f"schema {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise SchemaError(f"schema {path}: not UTF-8 text, at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise SchemaError(f"schema {path}: not JSON, {where}: {error.msg}") from None
    except RecursionError:
        raise SchemaError(f"schema {path}: nested too deeply") from None
    except ValueError as error:
        raise SchemaError(f"schema {path}: not JSON ({error})"[:_SHOWN]) from None
    if not isinstance(document, dict):
        raise SchemaError(f"schema {path}: must be a JSON object")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _copied(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Give a mapping as plain dicts and lists of its own."""

    def copy(value: Any) -> Any:
        if isinstance(value, Mapping):
            if not all(isinstance(name, str) for name in value):
                raise SchemaError("schema mapping: has a key that is not text")
            return {name: copy(each) for name, each in value.items()}
        return [copy(each) for each in value] if isinstance(value, list | tuple) else value

    try:
        copied: dict[str, Any] = copy(schema)
    except RecursionError:
        raise SchemaError("schema mapping: nested too deeply") from None
    return copied


def _compiled(document: dict[str, Any], name: str) -> jsonschema_rs.Validator:
    import jsonschema_rs  # noqa: PLC0415 - 50 ms that only a used schema costs

    try:
        return jsonschema_rs.validator_for(document, retriever=_refuse, validate_formats=False)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        if isinstance(getattr(error, "kind", None), jsonschema_rs.ValidationErrorKind.Referencing):
            raise subschemas.bad_reference(document, name, reason) from None
        place = "/".join(("", *map(str, getattr(error, "instance_path", ()))))
        raise SchemaError(f"schema {name}: not a JSON Schema{place and ', at ' + place}: {reason[:_SHOWN]}") from None


def _refuse(address: str) -> NoReturn:
    raise ValueError(f"{address} is outside the schema")
