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
_FRESH = (evidence.Record(0, 0.0), learned_rate.LearnedRate(), share_ledger.Ledger(), share_ledger.Member())
_FIELDS: dict[Any, Any] = {type(each): vars(each).keys() for each in _FRESH}
"""What each has that is no tuple; what another version of this program has written may have other fields."""
_SEVERAL: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": tuple, "set": set, "deque": deque}


class OtherVersionError(ValueError):
    """A text that another version of this program has written."""


def written(ledger: share_ledger.Ledger) -> str:
    """Return a ledger as text."""
    return json.dumps(_plain(ledger))


def read(text: str) -> share_ledger.Ledger:
    """Return the ledger that a text is; raise `OtherVersionError`, or an error of any kind for what is no ledger."""
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
    return [kind.__name__, *([name, _plain(each)] for name, each in vars(value).items())]


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
        _check(len(parts) == len(kind._fields))
        return tuple.__new__(kind, map(_made, parts))
    made = object.__new__(kind)
    for attribute, each in parts:
        object.__setattr__(made, attribute, _made(each))
    _check(vars(made).keys() == _FIELDS[kind])
    return made


def _check(is_ours: bool) -> None:
    """Raise for what has other parts than this version's."""
    if not is_ours:
        raise OtherVersionError
