"""The grammar of ``answer=``: types, lists and mappings, read alike in Python and YAML and at each level.

- A type: a word such as ``text`` or ``integer``; in Python any annotation.
- A list of one type, list or mapping is an array of it; any other list is an enumeration of its constants.
- A mapping is a JSON Schema if all its keys are keywords and one of them says what a value is; else an object of
  fields, whose keys may end with ``?``: those may be null.
- ``@file.json`` or a path: the JSON Schema in that file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import SchemaError, SettingError, nearest
from ..plain import plain
from ..problems import Unfit
from ..schemas.schema_source import copied, own_schema, read_document
from .annotations import TypeReader, is_type
from .answer_schema import AnswerSchema, made_strict
from .schema_references import SINGLE

WORDS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        **{word: {"type": "string"} for word in ("string", "str", "text")},
        **{word: {"type": "integer"} for word in ("integer", "int")},
        **{word: {"type": "number"} for word in ("number", "float")},
        **{word: {"type": "boolean"} for word in ("boolean", "bool")},
        "date": {"type": "string", "format": "date"},
        "datetime": {"type": "string", "format": "date-time"},
    }
)
"""The types in words."""

_JSON_TYPES = frozenset({"string", "number", "integer", "boolean", "null", "array", "object"})
_KEYWORDS = frozenset(
    {
        *("$schema", "$id", "$ref", "$defs", "$anchor", "$comment", "$dynamicRef", "$dynamicAnchor", "definitions"),
        *("type", "enum", "const", "title", "description", "default", "examples", "example", "deprecated", "format"),
        *("readOnly", "writeOnly", "nullable", "discriminator", "propertyOrdering"),
        *("minLength", "maxLength", "pattern", "contentEncoding", "contentMediaType"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("items", "prefixItems", "additionalItems", "unevaluatedItems", "minItems", "maxItems", "uniqueItems"),
        *("contains", "minContains", "maxContains"),
        *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
        *("unevaluatedProperties", "minProperties", "maxProperties", "dependentRequired", "dependentSchemas"),
        *("dependencies", "anyOf", "oneOf", "allOf", "not", "if", "then", "else"),
    }
)
_TELLING = frozenset({"type", "properties", "$ref", "enum", "const", "anyOf", "oneOf", "allOf", "items"})
"""The keywords of which a file's schema has at least one."""
_TEXTS_OF_A_SCHEMA = frozenset({"$schema", "$id", "$ref", "$comment", "const"})
"""The keywords whose value may well be a word that is a type's name, too, as a `format` may be ``date``."""
_WRAPPERS = frozenset({"type", "name", "schema", "json_schema", "strict", "description"})
_MOST_MEMBERS = 100_000
_MOST_WRITTEN = 8
_SHOWN = 40


def read_answer(value: Any, *, folder: str | os.PathLike[str] = "", place: str = "answer") -> AnswerSchema:
    """Return what ``answer=`` says that an answer is, of Python or of YAML.

    Parameters
    ----------
    value : Any
        A type, a list, a mapping, a path, or one of the words and ``@file.json``; an `AnswerSchema` is itself.
    folder : path
        Where a file is looked for.
    place : str
        What an error calls the value.

    Raises
    ------
    SettingError
        If it does not say what an answer is; with ``place``, such as ``answer.people[0].name``, and what to write.
    SchemaError
        If its JSON Schema, or the file of one, cannot be read or used.
    """
    if isinstance(value, AnswerSchema):
        return value
    reader = _Reader(folder)
    try:
        made = reader.read(value, place)
    except RecursionError:
        raise SettingError(f"{place}: nested too deeply", place=place) from None
    definitions = reader.types.definitions
    try:
        return made_strict({**made, "$defs": definitions} if definitions else made, reader.types.remarks)
    except SchemaError as error:
        error.place = place
        raise


class _Reader:
    """Reads one answer."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.types = TypeReader()
        self._folder = folder

    def read(self, value: Any, place: str) -> dict[str, Any]:
        """Return the JSON Schema of what stands at a place."""
        if isinstance(value, str):
            return self._word(value, place)
        if isinstance(value, os.PathLike):
            return self._file(value, place)
        if isinstance(value, Mapping):
            return self._mapping(value, place)
        if isinstance(value, list | tuple):
            return self._list(value, place)
        if is_type(value):
            return self.types.read(value, place)
        if hasattr(value, "tolist") and getattr(value, "ndim", 1) == 1:  # the labels of a table's column
            return _enumeration(value.tolist(), place)
        way = "for a value that may be null, end its name with ?" if value is None else "for constants write a list"
        raise _wrong(place, f"{_kind(value)} is no type; {way}")

    def _word(self, word: str, place: str) -> dict[str, Any]:
        if word in WORDS:
            return dict(WORDS[word])
        if word.startswith("@"):
            return self._file(word[1:], place)
        raise _wrong(place, f"{word[:_SHOWN]!r} is no type's name{_way(word)}")

    def _file(self, path: str | os.PathLike[str], place: str) -> dict[str, Any]:
        document = read_document(Path(self._folder) / Path(path).expanduser())
        inside = _unwrapped(document)
        if inside or not document.keys() & _TELLING:
            what = "holds no JSON Schema: it has no properties and no type"
            raise _wrong(place, f"{os.fspath(path)} {what}{inside}")
        return self._schema(document, place)

    def _schema(self, document: Mapping[str, Any], place: str) -> dict[str, Any]:
        """Return a JSON Schema of the author's as a part of the answer's."""
        try:
            plain_document = {name: each for name, each in copied(document).items() if name != "$schema"}
            own = own_schema(place, "answer", plain_document)
        except SchemaError as error:
            error.place = place
            raise
        return self.types.embedded(own.document, place)

    # Lists.

    def _list(self, items: list[Any] | tuple[Any, ...], place: str) -> dict[str, Any]:
        if not items:
            raise _wrong(place, 'an empty list; write labels, ["yes", "no"], or the type of a list\'s items, [str]')
        only = items[0] if len(items) == 1 else None
        if isinstance(only, Mapping | list | tuple | os.PathLike) or is_type(only) or _is_word(only):
            return {"type": "array", "items": self.read(only, f"{place}[0]")}
        for at, item in enumerate(items):
            if isinstance(item, Mapping | list | tuple) or is_type(item):
                what = "a type" if is_type(item) else _kind(item)
                ways = '[str] is a list of texts, str | int one of two types, {"name": str, "age": int} an object'
                raise _wrong(f"{place}[{at}]", f"{what} in a list of {len(items)}; {ways}")
        return _enumeration(items, place)

    # Mappings.

    def _mapping(self, value: Mapping[Any, Any], place: str) -> dict[str, Any]:
        if not value:
            raise _wrong(place, 'an empty mapping; name its fields: {"stars": int, "reason": str}')
        for key in value:
            if not isinstance(key, str):
                raise _wrong(place, f"a field's name must be a text, not {_kind(key)}")
        _check_readings(value, place)
        return self._schema(value, place) if is_schema(value) else self._object(value, place)

    def _object(self, value: Mapping[str, Any], place: str) -> dict[str, Any]:
        if hint := _unwrapped(value):
            raise _wrong(place, f"this wraps a JSON Schema{hint}")
        unknown = [key for key in value if key not in _KEYWORDS]
        if unknown and value.get("type") == "object" and isinstance(value.get("properties"), Mapping):
            raise _wrong(place, f"{unknown[0]!r} is no keyword of JSON Schema{nearest(unknown[0], _KEYWORDS)}")
        named: dict[str, Any] = {}
        required = []
        for key, each in value.items():
            name = key.removesuffix("?")
            if not name:
                raise _wrong(place, f"a field without a name ({key!r})")
            if name in named:
                raise _wrong(f"{place}.{name}", "is given twice, with and without a ?")
            named[name] = self.read(each, f"{place}.{name}")
            if name == key:
                required.append(name)
        return {"type": "object", "properties": named, "required": required}


def _way(word: str) -> str:
    """Return what to write for a word that is no type's name."""
    labels = [each.strip() for each in word.split(",")]
    if len(labels) > 1 and all(labels) and not re.search(r"[\[\]{}|]", word):
        return f"; for labels write {written(labels)}"
    if found := re.fullmatch(r"(?i)(?:list|array|sequence|set)\[(.+)\]", word):
        return f"; for a list write [{found[1][:_SHOWN]}]"
    if word in ("list", "array", "object", "dict"):
        return "; for a list write [text], for an object its fields: {name: text, age: integer}"
    if re.search(r"(?i)\|\s*(none|null)|optional", word):
        return "; for a value that may be null, end its name with ?"
    hint = nearest(word, WORDS) or "; the types are text, integer, number, boolean, date, datetime"
    return f" (for one label write {written({'enum': [word]})}){hint}"


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and (value in WORDS or value.startswith("@"))


def is_schema(value: Mapping[str, Any]) -> bool:
    """Check whether a mapping is a JSON Schema."""
    if any(is_type(each) for each in value.values()):
        return False
    if not all(key in _KEYWORDS or key.startswith("x-") for key in value):
        return False
    if "type" in value:
        listed = value["type"] if isinstance(value["type"], list | tuple) else [value["type"]]
        return bool(listed) and all(isinstance(name, str) and name in _JSON_TYPES for name in listed)
    return (
        isinstance(value.get("$ref"), str)
        or isinstance(value.get("properties"), Mapping)
        or isinstance(value.get("enum"), list | tuple)
        or "const" in value
        or any(_are_schemas(value.get(name)) for name in ("anyOf", "oneOf", "allOf"))
    )


def _are_schemas(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _check_readings(value: Mapping[str, Any], place: str) -> None:
    """Raise where `type` is a JSON type's name and another key, too, has a type's name as its value."""
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _JSON_TYPES:
        return
    others = {key: each for key, each in value.items() if key != "type" and (key, each) != ("format", "date")}
    also = [key for key, each in others.items() if key not in _TEXTS_OF_A_SCHEMA and _is_word(each)]
    if not also:
        return
    fields = {**value, "type": {"type": kind}}
    written_out = {key: dict(WORDS[value[key]]) for key in also if key in SINGLE and value[key] in WORDS}
    rest = {key: each for key, each in value.items() if key not in also} | written_out
    worded = [key for key in also if key in _KEYWORDS and key not in written_out]
    with_words = f", with other words for {' and '.join(map(repr, worded))}" if worded else ""
    raise SettingError(
        f"{place}: can be read in two ways; as an object of fields write {written(fields)}; "
        f"as a JSON Schema write {written(rest)}{with_words}",
        code="answer_readings",
        place=place,
    )


def _unwrapped(value: Mapping[str, Any]) -> str:
    """Return where the schema is inside of a mapping that wraps one, as `response_format` does."""
    if value.keys() <= _WRAPPERS:
        for path in (("json_schema", "schema"), ("schema",)):
            inside: Any = value
            for step in path:
                inside = inside.get(step) if isinstance(inside, Mapping) else None
            if isinstance(inside, Mapping) and inside.keys() & {"type", "properties", "$ref", "anyOf"}:
                return f"; give what is under {'.'.join(path)} alone"
    return ""


def _enumeration(items: list[Any] | tuple[Any, ...], place: str) -> dict[str, Any]:
    """Return the schema of one of some constants."""
    try:
        members = [plain(item) for item in items]
    except Unfit as error:
        raise _wrong(place, f"one of the values {error}") from None
    if not 0 < len(members) <= _MOST_MEMBERS:
        raise _wrong(place, f"a list of {len(members):,} values")
    kinds = {_kind(member) for member in members if member is not None}
    if len(kinds) != 1 or any(isinstance(member, list | dict) for member in members):
        spoken = " and ".join(sorted(kinds)) or "null alone"
        raise _wrong(place, f'a list of {spoken}; labels are all texts or all numbers: ["a", "1"] or [1, 2]')
    if len(set(members)) < len(members):
        twice = next(member for at, member in enumerate(members) if member in members[:at])
        raise _wrong(place, f"{written(twice)} stands twice in the list")
    if any(type(member) is int and not -(2**63) <= member < 2**63 for member in members):
        raise _wrong(place, "a whole number of more than 64 bits")
    return {"enum": members}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds = {int: "a number", float: "a number", str: "a text", list: "a list", tuple: "a list", dict: "a mapping"}
    return kinds.get(type(value), f"a value of type {type(value).__name__}")


def written(value: Any) -> str:
    """Return a value as Python and YAML both read it, with its first entries where there are many."""
    if isinstance(value, Mapping):
        pairs = [f"{_quoted(str(key))}: {written(each)}" for key, each in islice(value.items(), _MOST_WRITTEN)]
        return "{" + ", ".join((*pairs, *("…" for _ in range(len(value) > _MOST_WRITTEN)))) + "}"
    if isinstance(value, list | tuple):
        items = [written(each) for each in value[:_MOST_WRITTEN]]
        return "[" + ", ".join((*items, *("…" for _ in range(len(value) > _MOST_WRITTEN)))) + "]"
    if isinstance(value, str):
        return _quoted(value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…")
    name = getattr(value, "__name__", None)
    return name if isinstance(value, type) and name else str(value)[:_SHOWN]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _wrong(place: str, message: str) -> SettingError:
    return SettingError(f"{place}: {message}", code="answer", place=place)
