"""Values typed by the schema: a text where only numbers are allowed becomes a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from ..plain import read_json
from ..problems import Unfit
from ..schemas.subschemas import Path

_REMEMBERED = 1000
_BOOLEANS = {"true": True, "false": False}
_EXACT = 2**53  # from it on, a number with a point may not be the whole number that was written
_EVERYTHING = 7  # JSON has so many types: a place that admits them all is one that the schema does not know


class Typing:
    """Types values that stand at one path of a body, and what stands below it; `admits` names a path's JSON types.

    A text is parsed as JSON only where the schema admits no string there; a float without a fraction becomes an integer
    where the schema admits integers and no other numbers. Anything else stays as it is, for the schema to judge.
    """

    __slots__ = ("_admits", "_below", "_boolean", "_integer", "_path", "_textless", "admitted")

    def __init__(self, admits: Callable[[Path], frozenset[str]], path: Path = ()) -> None:
        self._admits = admits
        self._path = path
        self._below: dict[str | int, Typing] = {}
        self.admitted = admits(path)
        self._textless = "string" not in self.admitted
        self._boolean = "boolean" in self.admitted
        self._integer = "integer" in self.admitted and "number" not in self.admitted

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
                return value
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

    def suspects(self, value: Any) -> Iterator[str]:
        """Yield the places of texts that stay texts and were probably meant as JSON arrays: ``messages.content``."""
        if type(value) is dict:
            for key, item in value.items():
                yield from self.below(key).suspects(item)
        elif type(value) is list:
            for item in value:
                yield from self.below(0).suspects(item)
        elif type(value) is str and value.lstrip()[:1] == "[":
            takes_both = "array" in self.admitted and not self._textless and len(self.admitted) < _EVERYTHING
            if takes_both and isinstance(_parsed(value), list):
                yield ".".join(str(step) for step in self._path if step != 0)


def _parsed(text: str) -> Any:
    try:
        return read_json(text)
    except (orjson.JSONDecodeError, Unfit):
        return text
