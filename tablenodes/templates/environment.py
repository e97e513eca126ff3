"""The language of placeholders: Jinja's sandbox, whose every text shows values as JSON and names what is missing."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

import jinja2
import orjson
from jinja2 import pass_environment
from jinja2.filters import do_batch, do_items, do_round, make_attrgetter, sync_do_slice
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import missing

from ..plain import read_json
from ..problems import Unfit
from . import bounds, numerals
from .bounds import Room

ARGUMENTS, COLUMN, DATE, INPUT, NAME, VARIABLE = "arguments", "column", "date", "input", "name", "variable"
LACKING, NULL = "lacking", "null"
"""Kinds of what can be missing; an error of the environment begins with one, then `SEPARATOR` and the name."""
SEPARATOR = "\0"

_DIGITS = 400  # more than any number has
_FEW, _SMALL = 16, 2**10
_EXACT = 2**53  # a whole number with a point is exact up to here

_OF_DATES = frozenset(
    {
        *("year", "month", "day", "hour", "minute", "second", "weekday", "isoweekday", "isocalendar", "date", "time"),
        *("strftime", "isoformat", "timestamp", "to_pydatetime", "day_name", "month_name", "quarter"),
    }
)
"""What a date has in Python, and a text has not."""


class UnreadArguments(str):
    """What a model wrote as the arguments of a call where it is no JSON: a text, in which nothing can be looked up."""

    __slots__ = ()


class RowCells(dict[str, Any]):
    """What ``row`` stands for: a row's cells by column; an `UnusableCell` in place of each that cannot be JSON."""


class InputValues(dict[str, Any]):
    """What ``inputs`` stands for: a workflow's inputs by name."""


class Lacking(dict[str, Any]):
    """What is known of an answer that is not there, or that is `to_come`: whatever else is looked for in it.

    Of one that is not there, all else is null: `place` is how a placeholder reaches it, and `why` says why it is null.
    In one that is to come, all else is there, and as little known.
    """

    __slots__ = ("place", "to_come", "why")

    def __init__(
        self, known: Mapping[str, Any] = MappingProxyType({}), place: str = "", why: str = "", *, to_come: bool = False
    ) -> None:
        super().__init__(known)
        self.place, self.why, self.to_come = place, why, to_come

    def __missing__(self, key: object) -> Lacking | None:
        return self if self.to_come else None

    def __contains__(self, key: object) -> bool:
        return True

    def get(self, key: Any, default: Any = None) -> Any:
        """Return what is known; of what is to come, the same."""
        return self if self.to_come else super().get(key, default)


class UnusableCell:  # no dataclass: those have a JSON form
    """Stands for a cell that cannot be JSON, and says so as soon as anything is made of it: "the cell of …", `why`."""

    __slots__ = ("column", "why")

    def __init__(self, column: str, why: str) -> None:
        self.column = column
        self.why = why

    def fail(self, *_: object) -> NoReturn:
        """Raise `Unfit`."""
        raise Unfit(f"the cell of column {self.column!r} {self.why}")

    __str__ = __bool__ = __len__ = __iter__ = fail


_BELOW: Mapping[type, str] = MappingProxyType({RowCells: COLUMN, InputValues: INPUT})
"""For each mapping of ours: what is missing where it lacks a name."""


class UnusableFound(Exception):  # noqa: N818 - worded by the template, which knows what may be shown
    """A placeholder looked up an `UnusableCell`, its only argument."""


class _Missing(jinja2.StrictUndefined):
    """Something that is not there; what is said of it begins with its kind."""

    __slots__ = ()
    _kind = NAME

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        under = self._undefined_obj
        if isinstance(under, UnreadArguments):
            return ARGUMENTS
        if isinstance(under, str) and self._undefined_name in _OF_DATES:
            return f"{DATE}{SEPARATOR}{self._undefined_name}"
        if type(under) is Lacking:
            return SEPARATOR.join((LACKING, str(self._undefined_name), under.place, under.why))
        kind = VARIABLE if under is missing else _BELOW.get(type(under), self._kind)
        return f"{kind}{SEPARATOR}{self._undefined_name}"

    def __getitem__(self, step: Any) -> Any:
        """Return what would be in an empty cell: as little; there is nothing below a name that is not there."""
        return self if self._undefined_obj is missing else self._fail_with_undefined_error()

    __abs__ = __round__ = __trunc__ = jinja2.StrictUndefined.__str__  # which raises


class _Null(_Missing):
    """Something that is there and empty."""

    __slots__ = ()
    _kind = NULL

    def __getitem__(self, step: Any) -> Any:
        return self


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja without statements, comments and globals; items before attributes; null is undefined."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    code_generator_class = numerals.ComparingCode
    is_equal, is_in = staticmethod(numerals.is_equal), staticmethod(numerals.is_in)
    room: Room

    def __init__(self) -> None:
        self.room = Room()
        super().__init__(
            # Statements and comments cannot be switched off, only be given marks that no one writes.
            block_start_string="\ufdd0%",
            block_end_string="%\ufdd0",
            comment_start_string="\ufdd0#",
            comment_end_string="#\ufdd0",
            undefined=_Missing,
            finalize=_finalize,
            keep_trailing_newline=True,
            newline_sequence="\n",
            autoescape=False,
        )
        self.globals.clear()
        self.filters |= {"tojson": _as_json, "string": _string, "join": _join, "format": _format}
        self.filters |= {"strftime": _strftime, "fromjson": _fromjson, "items": _items, "replace": _replace}
        self.filters |= {"list": _list, "batch": _batch, "slice": _slice, "sum": _sum, "round": _round}
        self.filters |= {"float": numerals.as_float, "int": numerals.as_int}
        self.filters |= {"urlencode": _urlencode(self.filters["urlencode"])}
        for unsafe in ("random", "pprint", "xmlattr"):
            self.filters.pop(unsafe, None)
        self.filters = {name: bounds.counted(name, convert, _string) for name, convert in self.filters.items()}
        tests: Mapping[str, Any] = {**self.tests, **numerals.TESTS, "none": _is_none}
        self.tests = {name: bounds.counted("", test, _string) for name, test in tests.items()}

    def within(self, room: Room) -> jinja2.Environment:
        """Return the environment of a template whose texts share this room."""
        made = self.overlay()
        made.room = room
        return made

    def getitem(self, obj: Any, argument: Any) -> Any:
        value = super().getitem(obj, argument)
        if type(value) is UnusableCell:
            raise UnusableFound(value)
        if value is None:
            return _Null(obj=obj, name=str(argument))
        # A method is no item either: the key may stand in a cell that happens to be called like one.
        is_method = callable(value) and not isinstance(value, _Missing)
        return self.undefined(obj=obj, name=str(argument)) if is_method else value

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict):
            if obj.get(attribute) is not None:
                return self.getitem(obj, attribute)
            if attribute in obj:
                return _Null(obj=obj, name=attribute)
        if isinstance(obj, _Missing):
            return obj[attribute]
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is None:
            return None

        def formatted(*given: Any, **named: Any) -> str:
            self.room.step(value.__self__, *given, *named.values())
            if value.__name__ == "format_map":
                return str(_Formatter(self).vformat(value.__self__, (), *given))
            return str(_Formatter(self).vformat(value.__self__, given, named))

        return formatted

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):  # not a remainder: a text with values put into it
            return _format(self, left, *right) if isinstance(right, tuple) else _format(self, left, right)
        if not (type(left) is int and type(right) is int and -_SMALL < left < _SMALL and -_SMALL < right < _SMALL):
            bounds.check_operation(self.room, operator, left, right)
        return self.binop_table[operator](left, right)

    def call(__self, __context: jinja2.runtime.Context, __function: Any, *given: Any, **named: Any) -> Any:  # noqa: N805 - as Jinja's
        owner, name = getattr(__function, "__self__", None), getattr(__function, "__name__", "")
        if owner is not None:
            given = __self._counted(owner, name, given, named)
        return super().call(__context, __function, *given, **named)

    def _counted(self, owner: Any, name: str, given: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what a method is given, if its result can be made."""
        self.room.step(owner, *given, *named.values())
        if name == "join" and isinstance(owner, str) and given:
            items = self.room.some(given[0])
            self.room.joined(owner, [item for item in items if isinstance(item, str)])
            return (items,)
        with suppress(TypeError):  # of which the method says more
            if name in bounds.METHODS:
                self.room.take(bounds.METHODS[name](owner, *given, **named))
        return given


class _Formatter(SandboxedFormatter):
    """Puts values into ``"{}"`` as placeholders show them."""

    def __init__(self, environment: _Environment) -> None:
        super().__init__(environment)
        self._room, self._made = environment.room, 0

    def format_field(self, value: Any, format_spec: str) -> str:
        shown = _formatted(self._room, value)
        self._made += bounds.specified(shown, format_spec)
        self._room.check(self._made)
        return format(shown, format_spec)


def _is_none(value: Any) -> bool:
    """Check whether a value is null, or not there: what a ``default(…)`` meets."""
    return value is None or isinstance(value, jinja2.Undefined)


@lru_cache(maxsize=1)
def environment() -> _Environment:
    """Return the one environment of all templates."""
    return _Environment()


def as_text(value: Any) -> Any:
    """Render a value as a placeholder shows it: text as it is, anything else as JSON."""
    if type(value) is str or isinstance(value, jinja2.Undefined):
        return value
    if isinstance(value, str):
        return str(value)
    if type(value) is float and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))  # a column of whole numbers, some of which are missing
    return _json_of(value)


@pass_environment
def _finalize(of: _Environment, value: Any) -> Any:
    text = value if type(value) is str or isinstance(value, jinja2.Undefined) else _string(of, value)
    if type(text) is str and len(text) > of.room.large:
        of.room.show(len(text))
    return text


@pass_environment
def _as_json(of: _Environment, value: Any) -> str:
    of.room.weigh(value)
    return _json_of(value)


def _json_of(value: Any) -> str:
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises, and says which
    try:
        return orjson.dumps(value, _no_json).decode()
    except TypeError as error:
        if isinstance(error.__cause__, Unfit):
            raise error.__cause__ from None
        raise Unfit("a placeholder returns something that is not a text, number, list or struct") from None


def _no_json(value: Any) -> NoReturn:
    if type(value) is UnusableCell:
        value.fail()
    raise TypeError


@pass_environment
def _string(of: _Environment, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | dict):
        of.room.weigh(value)
    return str(as_text(value))  # which raises for what is not there


@pass_environment
def _join(of: _Environment, value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    items = value if attribute is None else map(make_attrgetter(of, attribute), value)
    if type(items) is list and len(items) < _FEW:
        texts = [item if type(item) is str else _string(of, item) for item in items]
        if sum(map(len, texts)) < of.room.large and type(d) is str and len(d) < _FEW:
            return d.join(texts)
    return of.room.joined(_string(of, d), (_string(of, item) for item in items))


@pass_environment
def _format(of: _Environment, text: Any, *values: Any, **named: Any) -> str:
    if values and named:
        raise TypeError
    text = _string(of, text)
    if len(values) == 1 and isinstance(values[0], dict):
        named = dict(values[0])
    made: Any = {name: _formatted(of.room, value) for name, value in named.items()}
    made = made or tuple(_formatted(of.room, value) for value in values)
    of.room.take(bounds.formatted(text, made))
    return str(text % made)


@pass_environment
def _replace(of: _Environment, value: Any, old: Any, new: Any, count: int | None = None) -> str:
    """Replace one text by another in a third, each as a placeholder would show it."""
    text, old, new = _string(of, value), _string(of, old), _string(of, new)
    of.room.take(bounds.replaced(text, old, new, count))
    return text.replace(old, new, -1 if count is None else count)


@pass_environment
def _list(of: _Environment, value: Any) -> list[Any]:
    return of.room.some(value)


@pass_environment
def _batch(of: _Environment, value: Any, linecount: int, fill_with: Any = None) -> Any:
    of.room.items(linecount)
    return do_batch(value, linecount, fill_with)


@pass_environment
def _slice(of: _Environment, value: Any, slices: int, fill_with: Any = None) -> Any:
    of.room.items(slices)
    return sync_do_slice(of.room.some(value), slices, fill_with)


@pass_environment
def _sum(of: _Environment, value: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    if isinstance(start, str):
        raise TypeError
    total = start
    for item in value if attribute is None else map(make_attrgetter(of, attribute), value):
        bounds.check_operation(of.room, "+", total, item)
        total = total + item
    return total


def _round(value: Any, precision: int = 0, method: Any = "common") -> Any:
    return do_round(value, max(-_DIGITS, min(precision, _DIGITS)), method)


def _urlencode(convert: Callable[[Any], str]) -> Callable[..., str]:
    @functools.wraps(convert)
    def converted(of: _Environment, value: Any) -> str:
        of.room.take(12 * len(value)) if isinstance(value, str) else of.room.weigh(value)
        return convert(value)

    return pass_environment(converted)


@pass_environment
def _strftime(of: _Environment, value: Any, pattern: str) -> Any:
    """Write a date as a pattern says; what is missing stays so, for a default that comes after it."""
    if isinstance(value, jinja2.Undefined):
        return value
    if type(value) is UnusableCell:
        value.fail()
    try:
        date = datetime.datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
    except ValueError:
        date = None
    if not isinstance(date, datetime.date):
        raise Unfit("the filter strftime needs an ISO 8601 date, such as 2026-01-31")
    of.room.take(bounds.METHODS["strftime"](date, pattern))
    return date.strftime(pattern)


@pass_environment
def _fromjson(of: _Environment, value: Any) -> Any:
    """Read a text as JSON; what is no text is a value already, or missing."""
    if type(value) is UnusableCell:
        value.fail()
    if not isinstance(value, str):
        return value
    of.room.take(len(value) + 16 * sum(map(value.count, ",[{")))
    try:
        found = read_json(value)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, character {error.colno}"
        raise Unfit(f"the filter fromjson needs a JSON text, and this text is not JSON ({where})") from None
    except Unfit as error:
        raise Unfit(f"the filter fromjson got a text that {error}") from None
    return _Null(obj=found, name="null") if found is None else found


def _items(value: Any) -> Any:
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises, and says which
    return do_items(value)


class _Whole(float):
    """A whole number with a point, which is shown without it."""

    def __str__(self) -> str:
        return str(as_text(float(self)))


def _formatted(room: Room, value: Any) -> Any:
    """Leave numbers to be formatted as such."""
    if type(value) is float:
        return _Whole(value) if value.is_integer() else value
    if type(value) is int:
        return value
    if isinstance(value, list | tuple | dict):
        room.weigh(value)
    return value if isinstance(value, str) else str(as_text(value))
