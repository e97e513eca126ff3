"""Values that come bit by bit: texts and lists grow, objects are filled, and calls are told apart."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson

Place = TypeVar("Place", bound=int | None)
_DEEPEST = 16  # objects nested deeper than this are not filled: the last one counts
_REPEATED = frozenset(("id", "type", "role", "object", "format", "index"))
"""Texts that name something: a part repeats them, it does not lengthen them."""
_PARTED = frozenset(("content", "thinking"))  # lists of such parts
_GROWING_PARTS = frozenset(("text", "output_text", "thinking", "reasoning", "refusal"))
"""The types of a content's parts that come bit by bit, where the next one is of the same type."""


class Text(list[str]):
    """A text that grows; its pieces are joined once, at the end."""


class _Items(list[Any]):
    """A list that grows; items with an ``index`` come bit by bit, each part with the item's.

    A part with an ``id`` of its own begins a new item, for some servers number all items 0, or none. `in_parts` says
    whether any item came so; the others are as they came.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_parts = False
        self._by_index: dict[int | None, dict[str, Any]] = {}

    def add(self, part: dict[str, Any], place: int | None, depth: int) -> None:
        """Add a part of an item; `place` is where it stands among several, which counts if it has no number."""
        self.in_parts = True
        index = number_of(part.get("index"), place)
        item = self._item(part, index)
        if item is None:
            self.append(item := {})
        self._by_index[index] = self._by_index[None] = item  # parts without a number go on with the last
        fill(item, part, depth)

    def _item(self, part: dict[str, Any], index: int | None) -> dict[str, Any] | None:
        """Return the item that a part belongs to, None where it begins one."""
        item = self._by_index.get(index)
        known, identity = None if item is None else item.get("id"), part.get("id")
        return None if known and identity and known != identity else item


class _Calls(_Items):
    """The calls of tools: what a part belongs to is read from its id, its number, its place and the arguments so far.

    Arguments that are whole cannot be gone on with: what comes then begins another call.
    """

    def __init__(self) -> None:
        super().__init__()
        self._by_id: dict[str, dict[str, Any]] = {}
        self._doubtful: dict[str, Any] | None = None  # begun by a name alone, which may only have been repeated

    def add(self, part: dict[str, Any], place: int | None, depth: int) -> None:
        super().add(part, place, depth)
        if (identity := part.get("id")) and type(identity) is str:
            self._by_id[identity] = self._by_index[None]

    def settle(self) -> None:
        """Drop a call of which nothing came but the name of the one before it."""
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is not None and not _arguments(doubtful):
            self[:] = [call for call in self if call is not doubtful]

    def _item(self, part: dict[str, Any], index: int | None) -> dict[str, Any] | None:
        identity, name = part.get("id"), _named(part)
        if type(identity) is str and identity in self._by_id:
            return self._by_id[identity]
        item = self._by_index.get(index)
        if item is None:
            last = self._by_index.get(None)
            return None if identity or name or last is None or _is_whole(last) else last
        if _is_whole(item):
            return self._after_whole(item, part)
        if item.get("id") and identity and name:  # some servers make up a new id for each part
            repeats = name == _named(item) and bool(_arguments(item)) and _arguments(part)[:1] not in ("{", "[")
            return item if repeats else None
        return item

    def _after_whole(self, item: dict[str, Any], part: dict[str, Any]) -> dict[str, Any] | None:
        """Return the item that a part belongs to which comes after a call has all its arguments."""
        identity, name = part.get("id"), _named(part)
        if item.get("id") and identity:
            return None
        if _arguments(part).strip():
            if name or identity or _arguments(item).strip() != "{}":
                return None
            _function(item)["arguments"] = Text()  # what stood there until they came
        elif name:
            self.settle()
            self._doubtful = {}
            self.append(self._doubtful)
            return self._doubtful
        return item


def _function(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    return function if type(function) is dict else {}


def _named(call: dict[str, Any]) -> str:
    name = _function(call).get("name")
    return "".join(name) if isinstance(name, str | Text) else ""


def _arguments(call: dict[str, Any]) -> str:
    """Return the arguments of a call as far as they have come; of those that are no text, that there are any."""
    found = _function(call).get("arguments")
    return "".join(found) if isinstance(found, str | Text) else "{}" if found else ""


def _is_whole(call: dict[str, Any]) -> bool:
    """Check whether a call has all its arguments: a JSON object or list that has its end."""
    found = _function(call).get("arguments")
    if type(found) is not Text:
        return bool(found)
    last = next((piece for piece in reversed(found) if piece.strip()), "").rstrip()
    if not last.endswith(("}", "]")):
        return False
    try:
        return isinstance(orjson.loads("".join(found)), dict | list)
    except orjson.JSONDecodeError:
        return False


def number_of(value: Any, place: Place) -> int | Place:
    """Return the number that a server writes as one or as a text; `place` where it gives none."""
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and len(value) < 10 and value.isascii() and value.isdigit() else place


def fill(target: dict[str, Any], part: dict[str, Any], depth: int = 0) -> None:
    """Fill an object with a part of it: anything that is no text, list or object replaces, null changes nothing.

    `target` holds values that grow and objects of its own; nothing of `part` is changed later on.
    """
    for name, value in part.items():
        kind = type(value)
        if value is None:
            target.setdefault(name, None)
        elif kind is str:
            _lengthen(target, name, value)
        elif kind is list:
            _extend(target, name, value, depth)
        elif kind is dict and depth < _DEEPEST:
            known = target.get(name)
            if type(known) is not dict:
                known = target[name] = {}
            fill(known, value, depth + 1)
        else:
            target[name] = value


def _lengthen(target: dict[str, Any], name: str, value: str) -> None:
    known = target.get(name)
    if name in _REPEATED:
        if value or known is None:
            target[name] = value
    elif type(known) is Text:
        if name != "name" or "".join(known) != value:  # some servers repeat a function's name
            known.append(value)
    elif isinstance(known, _Items):
        if name != "content":
            known.append(value)
        elif value:
            _extend(target, name, [{"type": "text", "text": value}], 0)
    else:
        target[name] = Text((value,))


def _extend(target: dict[str, Any], name: str, value: list[Any], depth: int) -> None:
    known = target.get(name)
    if not isinstance(known, _Items):
        items: _Items = _Calls() if name == "tool_calls" else _Items()
        target[name] = items
        if type(known) is Text and any(known):
            items.append({"type": "text", "text": known} if name == "content" else "".join(known))
            items.in_parts = name == "content"
        known = items
    several = len(value) > 1
    for place, item in enumerate(value):
        if type(item) is not dict or depth >= _DEEPEST:
            known.append(item)
        elif name == "tool_calls" or number_of(item.get("index"), None) is not None:
            known.add(item, place if several and name == "tool_calls" else None, depth + 1)
        elif name in _PARTED and item.get("type") in _GROWING_PARTS:
            known.in_parts = True
            last = known[-1] if known else None
            if (
                type(last) is not dict
                or last.get("type") != item["type"]
                or number_of(last.get("index"), None) is not None
            ):
                known.append(last := {})
            fill(last, item, depth + 1)
        else:
            known.append(item)


def settled(value: Any, depth: int = 0) -> Any:
    """Return a value that has come as plain JSON."""
    if type(value) is Text:
        return "".join(value)
    if type(value) is dict and depth <= _DEEPEST:
        return {name: settled(item, depth + 1) for name, item in value.items()}
    if isinstance(value, _Items):
        if isinstance(value, _Calls):
            value.settle()
        return [settled(item, depth + 1) for item in value] if value.in_parts else [*value]
    return value
