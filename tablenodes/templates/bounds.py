"""How much an expression may make: known before it is made, so that one cell takes neither the memory nor the time."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import jinja2
from jinja2 import pass_context

from ..problems import Unfit

MOST = 64 * 2**20
"""Characters that are shown in a row, unless a run says otherwise."""
LARGE = 2**16
_ITEMS = 2**20  # of a list that an expression makes
_BITS = 2**14  # of a whole number: JSON has 64, and Python writes 4,300 digits
_LEAST = 2**24  # characters that an expression may have in hand, also where hardly any may be shown
_TIMES = 8  # as much may be made on the way to what is shown
STEP, _ITEM = 2**9, 2**7  # what a filter or test counts for, and an item that it looks at
_SCALARS = frozenset({int, float, bool, type(None)})
_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_CONVERSION = re.compile(r"%(?:\(([^)]*)\))?[#0 +-]*(\*|[0-9]*)(?:\.(\*|[0-9]*))?")
_NUMBER = re.compile(r"[0-9]+")


class TooLarge(Unfit):
    """What an expression would make does not fit into a request, or not into the time for one."""


class Room:
    """What is left for the texts of one row; it begins anew with each."""

    __slots__ = ("_inside", "_left", "_most", "_shown", "large", "used")

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._inside = max(most, _LEAST)
        self.large = min(LARGE, most)  # characters from which on a cell is counted: an author's own texts are short
        self.begin()

    def begin(self) -> None:
        """Have all of it again; where it is not `used`, it is all there."""
        self._shown, self._left, self.used = 0, _TIMES * self._inside, False

    def show(self, characters: int) -> None:
        """Count characters that are a part of the request."""
        self.used = True
        self._shown += characters
        if self._shown > self._most:
            raise TooLarge("the row's texts are longer than a request may be (Limits.body_bytes)")

    def check(self, size: int) -> None:
        """Check that a text of so many characters can be made."""
        if size > self._inside:
            raise TooLarge("a placeholder would make a text that is longer than a request may be (Limits.body_bytes)")

    def take(self, size: int) -> None:
        """Count the characters of a text that is about to be made."""
        self.check(size)
        self.work(size)

    def work(self, steps: int) -> None:
        """Count what takes time."""
        self.used = True
        self._left -= steps
        if self._left < 0:
            raise TooLarge("a placeholder takes too long in this row")

    def step(self, value: Any, *more: Any) -> None:
        """Count a filter, a test or a method of a value; whatever else it is given may become a text."""
        steps = STEP
        if isinstance(value, str):
            steps += len(value)
        elif isinstance(value, list | tuple | dict):
            steps += len(value) * _ITEM
        for each in more:
            if isinstance(each, str):
                steps += len(each)
            elif isinstance(each, list | tuple | dict):
                self.weigh(each)
        self.work(steps)

    def items(self, count: int) -> None:
        """Count the items of a list that is about to be made."""
        if count > _ITEMS:
            raise TooLarge("a placeholder would make a list that is too long")
        self.work(count * _ITEM)

    def some(self, values: Iterable[Any]) -> list[Any]:
        """Return the items of any values, if they are not too many, and their texts not too long together."""
        found, total = [], 0
        for value in islice(values, _ITEMS + 1):
            if isinstance(value, str):
                total += len(value)
                if total > self._inside:
                    self.check(total)
            found.append(value)
        self.items(len(found))
        return found

    def weigh(self, value: Any) -> None:
        """Count a value that is about to be written as JSON."""
        kinds = set(map(type, value)) if type(value) is list else None
        if kinds == {str}:
            self.take(sum(map(len, value)) + 3 * len(value))
        elif kinds is not None and kinds <= _SCALARS:
            self.take(4 * len(value))
        else:
            self.take(_weight(value, self._inside))

    def joined(self, separator: str, texts: Iterable[str]) -> str:
        """Join texts; nothing is held of more than can be made."""
        found: list[str] = []
        total, width = 0, _width(separator)
        for text in texts:
            total += len(text) + len(separator)
            width = max(width, _width(text))
            if len(found) > _ITEMS or total * width > self._inside:
                break
            found.append(text)
        self.take(total * width)
        self.items(len(found))
        return separator.join(found)


def _weight(value: Any, most: int) -> int:
    """Return about how many characters a value has as JSON; counting ends beyond `most`."""
    total, rest = 0, [value]
    while rest and total <= most:
        item = rest.pop()
        if isinstance(item, str):
            total += len(item) + 2
        elif isinstance(item, dict):
            total += 2 + sum(len(key) + 4 for key in item if isinstance(key, str))
            rest += item.values()
        elif isinstance(item, list | tuple):
            kinds = set(map(type, item))
            total += 2 + 4 * len(item) + (sum(map(len, item)) if kinds == {str} else 0)
            rest += () if kinds == {str} or kinds <= _SCALARS else item
        else:
            total += 8
    return total


def check_operation(room: Room, operator: str, left: Any, right: Any) -> None:
    """Check that an operator's result can be made."""
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length(), right.bit_length()
        grown = sum(bits) if operator == "*" else bits[0] * right if operator == "**" and bits[0] > 1 else 0
        if max(*bits, grown) > _BITS:
            raise TooLarge("a placeholder calculates with a number that is too large")
    elif operator == "*":
        for values, times in ((left, right), (right, left)):
            if isinstance(values, list | tuple) and isinstance(times, int):
                room.items(len(values) * max(times, 0))
            elif isinstance(values, str | bytes) and isinstance(times, int):
                room.take(_width(values) * len(values) * max(times, 0))
    elif operator == "+" and isinstance(left, list | tuple) and isinstance(right, list | tuple):
        room.items(len(left) + len(right))
    elif operator == "+" and isinstance(left, str | bytes) and isinstance(right, str | bytes):
        room.take(max(_width(left), _width(right)) * (len(left) + len(right)))


def _width(text: str | bytes) -> int:
    """Return half of the bytes that one character may take in memory, at the least 1."""
    return 1 if isinstance(text, bytes) or text.isascii() else 2


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _count(text: str, signs: str) -> int:
    return sum(map(text.count, signs))


def _padded(text: str, width: Any = 80, *_: Any) -> int:
    return _width(text) * max(len(text), _number(width))


def _indented(text: str, width: Any = 4, first: Any = False, blank: Any = False) -> int:
    return len(text) + (1 + _count(text, _BREAKS)) * (len(width) if isinstance(width, str) else _number(width))


def _cut(text: str, length: Any = 255, killwords: Any = False, end: Any = "...", leeway: Any = None) -> int:
    return len(text) + (len(end) if isinstance(end, str) else 0)


def _wrapped(
    text: str,
    width: Any = 79,
    break_long_words: Any = True,
    wrapstring: Any = None,
    break_on_hyphens: Any = True,
) -> int:
    breaks = _count(text, _BREAKS)
    words = breaks + _count(text, " \t-")
    if words > _ITEMS:
        return MOST * _TIMES  # lists of words take more than the text
    longest = max(map(len, text.split()), default=0)
    lines = 1 + breaks + 2 * len(text) // max(_number(width), 1)
    again = longest * longest // max(_number(width), 1) // 2**4  # a long word is copied with each line
    return len(text) + lines * (len(wrapstring) if isinstance(wrapstring, str) else 1) + again


def _linked(text: str, *given: Any, **named: Any) -> int:
    more = sum(len(each) for each in (*given, *named.values()) if isinstance(each, str))
    return 2 * len(text) + (1 + _count(text, _BREAKS + " \t")) * (64 + more)


def _escaped(text: str) -> int:
    return len(text) + 4 * _count(text, "&<>\"'")


def _stripped(text: str) -> int:
    return len(text) + text.count("<!--") * len(text) // 2**6  # some versions copy the text with each comment


def replaced(text: str, old: str, new: str, count: Any = -1) -> int:
    """Return how long a text becomes where another stands in the place of each `old`."""
    times = text.count(old)
    return _width(text + new[:1]) * (len(text) + (min(times, count) if _number(count) > 0 else times) * len(new))


def _translated(text: str, table: Any = None, *_: Any) -> int:
    values = table.values() if isinstance(table, dict) else table if isinstance(table, list | tuple) else ()
    return len(text) * max((len(value) for value in values if isinstance(value, str)), default=1)


def _split(text: str, separator: Any = None, *_: Any) -> int:
    is_given = isinstance(separator, str) and separator != ""
    return len(text) + _ITEM * (text.count(separator) if is_given else _count(text, _BREAKS + " \t"))


OF_TEXTS = (
    *("capitalize", "center", "e", "escape", "forceescape", "indent", "lower", "replace", "striptags", "title"),
    *("trim", "truncate", "upper", "wordcount", "wordwrap", "urlize"),
)
"""Filters that make a text of whatever they are given."""
_OF_LISTS = frozenset(
    {
        *("batch", "dictsort", "groupby", "list", "map", "max", "min", "reject", "rejectattr", "select", "selectattr"),
        *("slice", "sort", "sum", "unique"),
    }
)
"""Filters that look at each item, or at each character of a text."""
_HOLDING = frozenset({"batch", "groupby", "sort", "unique"})
FILTERS: Mapping[str, Callable[..., int]] = {
    "center": _padded,
    "indent": _indented,
    "truncate": _cut,
    "wordwrap": _wrapped,
    "urlize": _linked,
    "e": _escaped,
    "escape": _escaped,
    "forceescape": _escaped,
    "striptags": _stripped,
}
"""How long the texts of some filters become at the most; those of others hardly change."""

SLOW = frozenset({"title", "wordcount", "wordwrap", "urlize", "striptags"})
"""Filters that look at texts word by word."""

METHODS: Mapping[str, Callable[..., int]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded),
    "expandtabs": lambda text, tabsize=8: len(text) + text.count("\t") * _number(tabsize),
    "replace": replaced,
    "translate": _translated,
    "to_bytes": lambda number, length=1, *_, **__: _number(length),
    "encode": lambda text, *_, **__: 4 * len(text),
    **dict.fromkeys(("split", "rsplit", "splitlines"), _split),
    "strftime": lambda date, pattern="": 64 * len(pattern),
}
"""How large the results of some methods become at the most."""


def formatted(pattern: str, values: tuple[Any, ...] | Mapping[str, Any]) -> int:
    """Return how long a text becomes at the most with values in the places of ``%s`` and the like."""
    named = values if isinstance(values, Mapping) else {}
    found = tuple(values.values()) if isinstance(values, Mapping) else values
    longest = max((value for value in found if isinstance(value, int)), default=0)
    total = len(pattern) + sum(_shown(value) for value in found)
    for name, *numbers in _CONVERSION.findall(pattern):
        total += _shown(named[name]) if name in named else 0
        total += sum(longest if number == "*" else int(number[:18] or 0) for number in numbers)
    return total


def _shown(value: Any) -> int:
    return len(value) if isinstance(value, str) else 400  # digits of the largest float


def specified(value: Any, spec: str) -> int:
    """Return how long a value becomes at the most in the form that a format's specification says."""
    return _shown(value) + sum(int(number[:18]) for number in _NUMBER.findall(spec))


def counted(name: str, convert: Callable[..., Any], shown: Callable[[Any, Any], str]) -> Callable[..., Any]:
    """Return a filter or a test that counts what it makes and looks at; one of texts has what would be shown."""
    passed = getattr(getattr(convert, "jinja_pass_arg", None), "name", None)
    is_text, is_special = name in OF_TEXTS, name in _OF_LISTS or name in FILTERS or name in SLOW

    @pass_context
    @functools.wraps(convert)
    def looking(context: jinja2.runtime.Context, value: Any, *given: Any, **named: Any) -> Any:
        of: Any = context.environment
        room = of.room
        if is_text and type(value) is not str:
            value = shown(of, value)
        if given or named or type(value) is not str or len(value) > room.large:
            room.step(value, *given, *named.values())
        else:
            room.work(STEP)
        if is_special:
            value = _looked_at(room, name, value, given, named)
        if passed is None:
            return convert(value, *given, **named)
        first = of if passed == "environment" else context if passed == "context" else context.eval_ctx
        return convert(first, value, *given, **named)

    return looking


def _looked_at(room: Room, name: str, value: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """Return what a filter is given, if what it makes of that and looks at is not too much."""
    if name in _OF_LISTS and isinstance(value, str):
        room.items(4 * len(value))  # a letter becomes an object of its own
    elif name in _HOLDING and isinstance(value, Iterator):
        return room.some(value)
    if name in SLOW:
        room.work(16 * len(value))
    if name in FILTERS:
        with suppress(TypeError):  # of which the filter says more
            room.take(FILTERS[name](value, *given, **named))
    return value
