"""Python's types as JSON Schema: annotations, dataclasses, TypedDicts and enumerations; pydantic models by their own.

No library of types is imported: what carries a model's schema or a field's bounds is known by its attributes.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import inspect
import types
import typing
from collections import abc
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import SchemaError, SettingError
from ..plain import plain
from ..problems import Unfit
from ..schemas.schema_source import copied
from .schema_references import inlined

PLAIN: Mapping[Any, dict[str, Any]] = types.MappingProxyType(
    {
        str: {"type": "string"},
        int: {"type": "integer"},
        float: {"type": "number"},
        bool: {"type": "boolean"},
        datetime.date: {"type": "string", "format": "date"},
        datetime.datetime: {"type": "string", "format": "date-time"},
        None: {"type": "null"},
        type(None): {"type": "null"},
    }
)
_LISTS = (list, set, frozenset, abc.Sequence, abc.Iterable, abc.Collection, abc.Set, abc.MutableSequence)
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}
"""What `annotated_types` and pydantic call the bounds of JSON Schema."""
_BOUNDS_OF_LISTS = {"minLength": "minItems", "maxLength": "maxItems"}
_OF_KEYS = ("Required", "NotRequired", "ReadOnly")
"""What a TypedDict's keys may be marked with."""


def is_type(value: Any) -> bool:
    """Check whether a value is an annotation: a class, or one made with `typing`; None is none."""
    return (
        isinstance(value, type | types.UnionType | typing.NewType | typing.TypeVar)
        or get_origin(value) is not None
        or any(value is each for each in (Any, typing.NoReturn, Union, Literal, typing.Optional))
        or type(value).__name__ == "TypeAliasType"
    )


class TypeReader:
    """Reads annotations into JSON Schema; what recurs is in `definitions`, what is not kept in `remarks`."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self.remarks: list[str] = []
        self._open: list[type] = []
        self._names: dict[type, str] = {}

    def read(self, annotation: Any, place: str) -> dict[str, Any]:
        """Return the schema of an annotation; `place` names it in errors."""
        for kind, made in PLAIN.items():
            if annotation is kind:
                return dict(made)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is not None:
            return self._made_of(annotation, origin, arguments, place)
        if isinstance(annotation, typing.NewType):
            return self.read(annotation.__supertype__, place)
        if type(annotation).__name__ == "TypeAliasType":
            return self.read(annotation.__value__, place)
        if not isinstance(annotation, type):
            raise _no_answer(annotation, place)
        return self._class(annotation, place)

    def _made_of(self, annotation: Any, origin: Any, arguments: tuple[Any, ...], place: str) -> dict[str, Any]:
        """Return the schema of an annotation with arguments."""
        if origin is Annotated:
            return self._annotated(arguments[0], arguments[1:], place)
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.read(each, place) for each in arguments]}
        if origin is Literal:
            return {"enum": _constants(arguments, place)}
        if (origin in _LISTS and arguments) or (origin is tuple and arguments[1:] == (...,)):
            return {"type": "array", "items": self.read(arguments[0], f"{place}[0]")}
        if getattr(origin, "_name", "") in _OF_KEYS:
            return self.read(arguments[0], place)
        raise _no_answer(annotation, place)

    def embedded(self, document: Mapping[str, Any], place: str) -> dict[str, Any]:
        """Return a whole JSON Schema as a part of another: its recursions become definitions of the whole."""
        try:
            made = inlined(document)
        except SchemaError as error:
            error.place = place
            raise
        self.remarks.extend(f"the default of {where} is not applied" for where in _defaults(made, place))
        for name, each in made.pop("$defs", {}).items():
            if self.definitions.setdefault(name, each) != each:
                raise SettingError(f"{place}: two recursive schemas are called {name!r}; rename one", place=place)
        return made

    def _class(self, kind: type, place: str) -> dict[str, Any]:
        if callable(own := getattr(kind, "model_json_schema", None)):
            return self._model(kind, own, place)
        if issubclass(kind, enum.Enum):
            return {**_described(kind), "enum": _constants(list(kind), place)}
        if not dataclasses.is_dataclass(kind) and not _is_typed_dict(kind):
            raise _no_answer(kind, place)
        if kind in self._open:
            alike = sum(other.__name__ == kind.__name__ for other in self._names.keys() - {kind})
            name = self._names.setdefault(kind, f"{kind.__name__}_{alike + 1}" if alike else kind.__name__)
            return {"$ref": f"#/$defs/{name}"}
        self._open.append(kind)
        made = self._fields(kind, place)
        self._open.pop()
        if kind in self._names:
            self.definitions[self._names[kind]] = made
            return {"$ref": f"#/$defs/{self._names[kind]}"}
        return made

    def _model(self, kind: type, own: Any, place: str) -> dict[str, Any]:
        try:
            document = own()
        except Exception as error:  # noqa: BLE001 - whatever the library raises, the model has no schema
            reason = str(error).partition("\n")[0][:200]
            raise SettingError(f"{place}: {kind.__name__} has no JSON Schema: {reason}", place=place) from None
        decorators = getattr(kind, "__pydantic_decorators__", None)
        names = ("validators", "field_validators", "root_validators", "model_validators")
        if any(getattr(decorators, name, None) for name in names):
            self.remarks.append(f"the validators of {kind.__name__} are not run: an answer is judged by its schema")
        return self.embedded(copied(document), place)

    def _fields(self, kind: type, place: str) -> dict[str, Any]:
        """Return the schema of a dataclass or a TypedDict."""
        hints = _hints(kind, place)
        named = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else None
        optional = self._with_default(kind, named) if named is not None else _not_required(kind, hints)
        words = {each.name: each.metadata.get("description") for each in named or ()}
        if hasattr(kind, "__post_init__"):
            self.remarks.append(f"__post_init__ of {kind.__name__} is not run: an answer is judged by its schema")
        made: dict[str, Any] = {}
        for name in [each.name for each in named if each.init] if named is not None else hints:
            made[name] = self.read(hints[name], f"{place}.{name}")
            if isinstance(words.get(name), str):
                made[name] = {**made[name], "description": words[name]}
        if not made:
            raise SettingError(f"{place}: {kind.__name__} has no fields", place=place)
        required = [name for name in made if name not in optional]
        return {**_described(kind), "type": "object", "properties": made, "required": required}

    def _with_default(self, kind: type, named: Iterable[dataclasses.Field[Any]]) -> set[str]:
        """Return the fields of a dataclass that have a default."""
        none = dataclasses.MISSING
        found = [each for each in named if each.default is not none or each.default_factory is not none]
        applied = [each.name for each in found if each.default is not None]
        self.remarks.extend(f"the default of {kind.__name__}.{name} is not applied" for name in applied)
        return {each.name for each in found}

    def _annotated(self, annotation: Any, marks: Iterable[Any], place: str) -> dict[str, Any]:
        made = self.read(annotation, place)
        for mark in marks:
            words = (
                mark if isinstance(mark, str) else getattr(mark, "description", getattr(mark, "documentation", None))
            )
            if isinstance(words, str):
                made["description"] = words
            for one in (mark, *(getattr(mark, "metadata", None) or ())):
                made = _bounded(made, one)
        return made


def _defaults(schema: Any, place: str) -> Iterator[str]:
    """Yield the places of the properties below a schema that have a default other than null."""
    for name, each in schema.get("properties", {}).items() if isinstance(schema, Mapping) else ():
        if isinstance(each, Mapping) and each.get("default") is not None:
            yield f"{place}.{name}"
        yield from _defaults(each, f"{place}.{name}")
    if isinstance(schema, Mapping):
        yield from _defaults(schema.get("items"), f"{place}[0]")


def _constants(values: Iterable[Any], place: str) -> list[Any]:
    """Return the constants of an enumeration or a `Literal` as plain JSON."""
    try:
        made = [plain(value) for value in values]
    except Unfit as error:
        raise SettingError(f"{place}: one of the values {error}", place=place) from None
    if not made or any(isinstance(value, list | dict) for value in made):
        raise SettingError(f"{place}: the values must be texts, numbers or booleans", place=place)
    return made


def _bounded(schema: dict[str, Any], mark: Any) -> dict[str, Any]:
    """Return a schema with a bound that an annotation carries; of a union, its only form that is not null has it."""
    bounds = {
        keyword: value
        for name, keyword in _BOUNDS.items()
        if isinstance(value := getattr(mark, name, None), int | float | str) and not callable(value)
    }
    if not bounds or isinstance(mark, str):
        return schema
    if "anyOf" in schema:
        forms = [form if form == {"type": "null"} else _bounded(form, mark) for form in schema["anyOf"]]
        return {**schema, "anyOf": forms}
    if schema.get("type") == "array":
        bounds = {_BOUNDS_OF_LISTS.get(keyword, keyword): value for keyword, value in bounds.items()}
    return {**schema, **bounds}


def _described(kind: type) -> dict[str, Any]:
    """Return a class's own docstring as a description; what `dataclass` writes itself is none."""
    words = kind.__dict__.get("__doc__")
    written = isinstance(words, str) and not words.startswith(f"{kind.__name__}(") and words != "An enumeration."
    return {"description": inspect.cleandoc(words)} if written and words else {}


def _hints(kind: type, place: str) -> dict[str, Any]:
    try:
        return get_type_hints(kind, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        what = f"names {error.name!r}" if getattr(error, "name", None) else "has an annotation"  # type: ignore[union-attr]
        way = "which cannot be resolved; define it at the top level of its module"
        raise SettingError(f"{place}: {kind.__name__} {what}, {way}", place=place) from None


def _is_typed_dict(kind: type) -> bool:
    """Check whether a class is a TypedDict, of `typing` or of a package that has it for older Pythons."""
    return issubclass(kind, dict) and hasattr(kind, "__required_keys__") and hasattr(kind, "__total__")


def _not_required(kind: Any, hints: Mapping[str, Any]) -> set[str]:
    """Return the optional keys of a TypedDict, also where its annotations are texts."""
    said = {name: getattr(get_origin(hint), "_name", "") for name, hint in hints.items()}
    optional = {name for name in hints if name not in kind.__required_keys__ and said[name] != "Required"}
    return optional | {name for name in hints if said[name] == "NotRequired"}


_WAYS = {
    "list": "say of what: list[str]",
    "tuple": "write list[str], or a dataclass with a field for each of its items",
    "set": "say of what: list[str]",
    "dict": 'name its fields: {"name": str, "price": float}, a dataclass or a TypedDict',
}
_TYPES = "str, int, float, bool, date, datetime, Literal[…], an Enum, list[…], a dataclass, a TypedDict"


def _no_answer(annotation: Any, place: str) -> SettingError:
    name = str(getattr(annotation, "__name__", None) or annotation)
    way = _WAYS.get(name.lower(), f"use {_TYPES} or a pydantic model")
    return SettingError(f"{place}: the type {name[:60]} does not say what an answer is; {way}", place=place)
