"""Values typed by the schema: a text where only numbers are allowed becomes a number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import orjson

from ..plain import read_json
from ..problems import Unfit
from ..schemas.subschemas import TYPES, Path

_REMEMBERED = 1000
_BOOLEANS = {"true": True, "false": False}
_EXACT = 2**53  # from it on, a number with a point may not be the whole number that was written
ALSO_JSON: Mapping[Path, Any] = MappingProxyType({("stop",): list, ("tool_choice",): dict, ("function_call",): dict})
"""Where a text may stand, and a text that is JSON of this kind as a whole is hardly meant as one."""
READ_AS_JSON, LOOKS_LIKE_JSON, BROKEN_JSON = "read as JSON", "looks like JSON", "begins like JSON"
PYTHON = "a Python list or dict, not JSON: write it with json.dumps"
STRUCTURES = frozenset({"array", "object", "null"})
_AS_PYTHON_WRITES = re.compile(r"\s*[\[{][\s\[{(]*+'")
_BEGINS_LIKE_JSON = re.compile(r'\s*[\[{]\s*"')
_OPENING = ("[", "{")
_EVERYTHING = 7  # JSON has so many types: a place that admits them all is one that the schema does not know


class Typing:
    """Types values that stand at one path of a body, and what stands below it; `admits` names a path's JSON types.

    A text is parsed as JSON where the schema admits no string there, and in `ALSO_JSON` as a whole list or object; a
    float without a fraction becomes an integer where the schema admits integers and no other numbers. Anything else
    stays as it is, for the schema to judge.
    """

    __slots__ = ("_admits", "_also", "_below", "_boolean", "_integer", "_path", "_textless", "admitted", "met")

    def __init__(self, admits: Callable[[Path], frozenset[str]], path: Path = ()) -> None:
        self._admits = admits
        self._path = path
        self._below: dict[str | int, Typing] = {}
        self.admitted = admits(path)
        self._textless = "string" not in self.admitted
        self._also = ALSO_JSON.get(path, list if self._takes_both() else None)
        self._boolean = "boolean" in self.admitted
        self.met = ""  # `READ_AS_JSON` or `LOOKS_LIKE_JSON`, where a text may stand too
        self._integer = "integer" in self.admitted and "number" not in self.admitted

    @classmethod
    def of_anything(cls) -> Typing:
        """Return the typing of a place of which nothing is known: every value stays as it is."""
        return cls(lambda path: TYPES)

    @property
    def reads_texts(self) -> bool:
        """Whether a text may become something else here."""
        return self._textless or self._path in ALSO_JSON

    @property
    def may_be_json(self) -> bool:
        """Whether a text here may be JSON that was not meant as a text."""
        return self._also is not None

    @property
    def is_open(self) -> bool:
        """Whether the schema says nothing of this place."""
        return len(self.admitted) >= _EVERYTHING

    def scalar(self, text: str) -> Any:
        """Return what a text is here that cells are only parts of: it never becomes a list or an object."""
        value = self._parsed(text) if self._textless or self.is_open else text
        return text if value is None or isinstance(value, list | dict | str) else self(value)

    def below(self, key: str | int) -> Typing:
        """Return the typing of a property, or of all items (any whole number)."""
        if isinstance(key, int):
            key = 0
        known = self._below.get(key)
        if known is None:
            known = Typing(self._admits, (*self._path, key))
            if len(self._below) < _REMEMBERED:  # keys may come from cells, without end
                self._below[key] = known
        return known

    def __call__(self, value: Any) -> Any:
        """Return the value as the schema wants it; the same object where nothing changes."""
        kind = type(value)
        if kind is str:
            if not self._textless:
                return value if self._also is None or value.lstrip()[:1] not in _OPENING else self._whole(value)
            value = self._parsed(value)
            kind = type(value)
        if kind is float:
            return int(value) if self._integer and value.is_integer() else value
        if kind is dict:
            return self._object(value)
        if kind is list:
            return self._array(value)
        return value

    def _object(self, value: dict[str, Any]) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        for key, item in value.items():
            new = self.below(key)(item)
            if new is not item:
                changed[key] = new
        return {**value, **changed} if changed else value

    def _array(self, value: list[Any]) -> list[Any]:
        items = self.below(0)
        new = [items(item) for item in value]
        return new if any(a is not b for a, b in zip(new, value, strict=True)) else value

    def _parsed(self, text: str) -> Any:
        if self._boolean and text.casefold() in _BOOLEANS:  # as spreadsheets and pandas write them
            return _BOOLEANS[text.casefold()]
        value = _parsed(text)
        rounded = self._integer and type(value) is float and abs(value) >= _EXACT
        return text if rounded else value

    def _whole(self, text: str) -> Any:
        """Return the list of texts, or the object, that a text is as a whole where such is meant; else the text."""
        if self.met == LOOKS_LIKE_JSON:
            return text
        value = _parsed(text)
        if value is text and self._path in ALSO_JSON and _AS_PYTHON_WRITES.match(text):
            self.met = PYTHON
        elif self._path in ALSO_JSON and type(value) is not self._also and _BEGINS_LIKE_JSON.match(text):
            self.met = BROKEN_JSON
        if type(value) is not self._also or not value:
            return text
        if self._path not in ALSO_JSON:
            self.met = LOOKS_LIKE_JSON
            return text
        if ("array" if self._also is list else "object") not in self.admitted:
            return text
        if self._also is list and set(map(type, value)) != {str}:
            return text
        self.met = READ_AS_JSON
        return value

    def noted(self) -> Iterator[tuple[str, str]]:
        """Yield what was met here and below, and where: ``messages.content``."""
        if self.met:
            yield ".".join(str(step) for step in self._path if step != 0), self.met
        for below in self._below.values():
            yield from below.noted()

    def suspects(self, value: Any) -> Iterator[str]:
        """Yield the places of texts that stay texts and were probably meant as JSON arrays: ``messages.content``."""
        if type(value) is dict:
            for key, item in value.items():
                yield from self.below(key).suspects(item)
        elif type(value) is list:
            for item in value:
                yield from self.below(0).suspects(item)
        elif (
            type(value) is str and value.lstrip()[:1] == "[" and self._takes_both() and isinstance(_parsed(value), list)
        ):
            yield ".".join(str(step) for step in self._path if step != 0)

    def _takes_both(self) -> bool:
        """Check whether the schema says that a text as well as an array may stand here."""
        return "array" in self.admitted and not self._textless and not self.is_open


def not_json(text: str) -> str:
    """Return what a text is that was to be JSON, in words; empty where it is JSON."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, character {error.colno}"
        return PYTHON if _AS_PYTHON_WRITES.match(text) else f"not JSON ({where})"
    return ""


def _parsed(text: str) -> Any:
    try:
        return read_json(text)
    except (orjson.JSONDecodeError, Unfit):
        return text
