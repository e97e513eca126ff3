"""How the parts of a value that comes bit by bit become the value: texts and lists grow, objects are filled."""

from __future__ import annotations

from typing import Any

_DEEPEST = 16
"""Objects nested deeper than this are not filled: the last one counts."""
_REPEATED = frozenset(("id", "type", "role", "object", "format", "index"))
"""Texts that name something: a part repeats them, it does not lengthen them."""


class Text(list[str]):
    """A text that grows; its pieces are joined once, at the end."""


class Items(list[Any]):
    """A list whose items come bit by bit, each part with the item's ``index``.

    A part with an ``id`` of its own begins a new item, for some servers number all calls 0, or none.

    Attributes
    ----------
    in_parts : bool
        Whether any item came so; the others are as they came.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_parts = False
        self._by_index: dict[int | None, dict[str, Any]] = {}

    def take(self, part: dict[str, Any], depth: int) -> None:
        """Take a part of an item in."""
        self.in_parts = True
        number = part.get("index")
        index = number if type(number) is int else None
        item = self._by_index.get(index)
        known, identity = None if item is None else item.get("id"), part.get("id")
        if item is None or (known and identity and known != identity):
            item = {}
            self.append(item)
            self._by_index[index] = item
        self._by_index[None] = item  # parts without a number go on with the last
        merge(item, part, depth)


def merge(target: dict[str, Any], part: dict[str, Any], depth: int = 0) -> None:
    """Fill an object with a part of it.

    Texts and lists grow, objects are filled, anything else is replaced; null changes nothing.

    Parameters
    ----------
    target : dict
        What came so far, in `Text`, `Items` and objects of its own.
    part : dict
        What comes; nothing of it is changed later on.
    depth : int
        How deep the object is nested.
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
            merge(known, value, depth + 1)
        else:
            target[name] = value


def settled(value: Any, depth: int = 0) -> Any:
    """Give a merged value as plain JSON."""
    if type(value) is Text:
        return "".join(value)
    if type(value) is dict and depth <= _DEEPEST:
        return {name: settled(item, depth + 1) for name, item in value.items()}
    if type(value) is Items:
        return [settled(item, depth + 1) for item in value] if value.in_parts else [*value]
    return value


def _lengthen(target: dict[str, Any], name: str, value: str) -> None:
    known = target.get(name)
    if name in _REPEATED:
        if value or known is None:
            target[name] = value
    elif type(known) is Text:
        if name != "name" or "".join(known) != value:  # some servers repeat a function's name
            known.append(value)
    elif type(known) is Items:
        known.append(value)
    else:
        target[name] = Text((value,))


def _extend(target: dict[str, Any], name: str, value: list[Any], depth: int) -> None:
    known = target.get(name)
    if type(known) is not Items:
        items = target[name] = Items()
        if type(known) is Text:
            items.append("".join(known))
        known = items
    for item in value:
        in_parts = type(item) is dict and (type(item.get("index")) is int or name == "tool_calls")
        if in_parts and depth < _DEEPEST:
            known.take(item, depth + 1)
        else:
            known.append(item)
