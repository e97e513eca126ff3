"""Values typed by the schema: a text where only numbers are allowed becomes a number."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

_REMEMBERED = 1000


class Admitting(Protocol):
    """What is needed of a schema: the JSON types that it admits at a path of a body."""

    def admits(self, path: tuple[str | int, ...]) -> frozenset[str]:
        """Give the names of the JSON types."""


class Typing:
    """Types values that stand at one path of a body, and whatever stands below it.

    A text is parsed as JSON only where the schema admits no string there; a float without a fraction becomes an integer
    where the schema admits integers and no other numbers. Anything else stays as it is, for the schema to judge.

    Parameters
    ----------
    schema : Admitting
        The schema.
    path : tuple of str or int
        Where the values will stand.
    """

    __slots__ = ("_below", "_integer", "_path", "_schema", "_textless", "admitted")

    def __init__(self, schema: Admitting, path: tuple[str | int, ...]) -> None:
        self._schema = schema
        self._path = path
        self._below: dict[str | int, Typing] = {}
        self.admitted = schema.admits(path)
        self._textless = "string" not in self.admitted
        self._integer = "integer" in self.admitted and "number" not in self.admitted

    def below(self, key: str | int) -> Typing:
        """Give the typing of a property, or of all items (any whole number)."""
        if isinstance(key, int):
            key = 0
        known = self._below.get(key)
        if known is None:
            known = Typing(self._schema, (*self._path, key))
            if len(self._below) < _REMEMBERED:  # keys may come from cells, without end
                self._below[key] = known
        return known

    def __call__(self, value: Any) -> Any:
        """Give the value as the schema wants it; the same object where nothing changes."""
        kind = type(value)
        if kind is str:
            if not self._textless:
                return value
            value = _parsed(value)
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

    def looks_like_json(self, value: Any) -> bool:
        """Tell whether a text that stays a text was probably meant as a JSON array."""
        if type(value) is not str or self._textless or "array" not in self.admitted:
            return False
        return value.lstrip()[:1] == "[" and isinstance(_parsed(value), list)


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
