"""A ledger as text: what a file keeps of it, and nothing of it can be code."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

from ..engine.scheduling import evidence, learned_rate, lease
from . import share_ledger

_CLASSES = {
    each.__name__: each
    for each in (
        evidence.History,
        evidence.Mark,
        evidence.Record,
        evidence.Share,
        learned_rate.LearnedRate,
        learned_rate.Phase,
        learned_rate.Wave,
        lease.Amounts,
        lease.Refusal,
        share_ledger.Ledger,
        share_ledger.Member,
    )
}
"""What a ledger is made of: nothing else is made of a text."""
_SEVERAL: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": tuple, "set": set, "deque": deque}


def written(ledger: share_ledger.Ledger) -> str:
    """Return a ledger as text."""
    return json.dumps(_plain(ledger))


def read(text: str) -> share_ledger.Ledger:
    """Return the ledger that a text is; raise an error of any kind for one that is none."""
    made = _made(json.loads(text))
    if not isinstance(made, share_ledger.Ledger):
        raise TypeError(type(made).__name__)
    return made


def _plain(value: Any) -> Any:
    """Return a value as JSON: a name and its parts, but for what JSON has by itself."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind.__name__ in _SEVERAL and kind is not dict:
        return [kind.__name__, *map(_plain, value)]
    if kind is dict:
        return ["dict", *([_plain(key), _plain(each)] for key, each in value.items())]
    if _CLASSES.get(kind.__name__) is not kind:
        raise TypeError(kind.__name__)
    if isinstance(value, Enum):
        return [kind.__name__, value.name]
    if isinstance(value, tuple):
        return [kind.__name__, *map(_plain, value)]
    return [kind.__name__, *([name, _plain(each)] for name, each in _state(value).items())]


def _state(value: Any) -> dict[str, Any]:
    slots = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
    return {name: getattr(value, name) for name in slots} | getattr(value, "__dict__", {})


def _made(plain: Any) -> Any:
    if not isinstance(plain, list):
        return plain
    name, *parts = plain
    if name in _SEVERAL:
        return _SEVERAL[name](map(_made, parts))
    if name == "dict":
        return {_made(key): _made(each) for key, each in parts}
    kind: Any = _CLASSES[name]
    if issubclass(kind, Enum):
        return kind[parts[0]]
    if issubclass(kind, tuple):
        return tuple.__new__(kind, map(_made, parts))
    made = object.__new__(kind)
    for attribute, each in parts:
        object.__setattr__(made, attribute, _made(each))
    return made
