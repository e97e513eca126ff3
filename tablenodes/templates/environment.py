"""The language of placeholders: Jinja's sandbox, whose every text shows values as JSON and names what is missing."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

import jinja2
import orjson
from jinja2 import nodes, pass_environment
from jinja2.filters import do_items, make_attrgetter
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from ..plain import read_json
from ..problems import Unfit

ARGUMENTS, COLUMN, DATE, INPUT, NAME, VARIABLE = "arguments", "column", "date", "input", "name", "variable"
"""Kinds of what can be missing; an error of the environment begins with one, then `SEPARATOR` and the name."""
SEPARATOR = "\0"

OF_TEXTS = (
    *("capitalize", "center", "e", "escape", "forceescape", "indent", "lower", "replace", "striptags", "title"),
    *("trim", "truncate", "upper", "wordcount", "wordwrap", "urlize"),
)
"""Filters that make a text of whatever they are given."""

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

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        under = self._undefined_obj
        if isinstance(under, UnreadArguments):
            return ARGUMENTS
        if isinstance(under, str) and self._undefined_name in _OF_DATES:
            return f"{DATE}{SEPARATOR}{self._undefined_name}"
        kind = VARIABLE if under is missing else _BELOW.get(type(under), NAME)
        return f"{kind}{SEPARATOR}{self._undefined_name}"

    def __getitem__(self, step: Any) -> Any:
        """Return what would be in an empty cell: as little; there is nothing below a name that is not there."""
        return self if self._undefined_obj is missing else self._fail_with_undefined_error()

    __abs__ = __round__ = __trunc__ = jinja2.StrictUndefined.__str__  # which raises


class _Null(_Missing):
    """Something that is there and empty."""

    __slots__ = ()

    def __getitem__(self, step: Any) -> Any:
        return self


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja without statements, comments and globals; items before attributes; null is undefined."""

    intercepted_binops = frozenset("%")

    def __init__(self) -> None:
        super().__init__(
            # Statements and comments cannot be switched off, only be given marks that no one writes.
            block_start_string="\ufdd0%",
            block_end_string="%\ufdd0",
            comment_start_string="\ufdd0#",
            comment_end_string="#\ufdd0",
            undefined=_Missing,
            finalize=as_text,
            keep_trailing_newline=True,
            newline_sequence="\n",
            autoescape=False,
        )
        self.globals.clear()
        self.filters |= {"tojson": _as_json, "string": _string, "join": _join, "format": _format}
        self.filters |= {"strftime": _strftime, "fromjson": _fromjson, "items": _items}
        self.filters |= {name: _of_text(self.filters[name]) for name in OF_TEXTS}
        for unsafe in ("random", "pprint", "xmlattr"):
            self.filters.pop(unsafe, None)

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
            if value.__name__ == "format_map":
                return str(_Formatter(self).vformat(value.__self__, (), *given))
            return str(_Formatter(self).vformat(value.__self__, given, named))

        return formatted

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, str):  # not a remainder: a text with values put into it
            return _format(left, *right) if isinstance(right, tuple) else _format(left, right)
        return super().call_binop(context, operator, left, right)


class _Formatter(SandboxedFormatter):
    """Puts values into ``"{}"`` as placeholders show them."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return format(_formatted(value), format_spec)


class _ShowingJson(NodeTransformer):
    """Has ``a ~ b`` put together what placeholders would show."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - the visitor looks for this name
        self.generic_visit(node)
        given = {"lineno": node.lineno, "environment": node.environment}
        node.nodes = [nodes.Filter(each, "string", [], [], None, None, **given) for each in node.nodes]
        return node


def parsed(source: str) -> nodes.Template:
    """Read a template."""
    tree: nodes.Template = _ShowingJson().visit(environment().parse(source))
    return tree


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """Return the one environment of all templates."""
    return _Environment()


def as_text(value: Any) -> Any:
    """Render a value as a placeholder shows it: text as it is, anything else as JSON."""
    if type(value) is str or isinstance(value, jinja2.Undefined):
        return value
    if isinstance(value, str):
        return str(value)
    return _as_json(value)


def _as_json(value: Any) -> str:
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


def _string(value: Any) -> str:
    return value if isinstance(value, str) else str(as_text(value))  # which raises for what is not there


@pass_environment
def _join(of: jinja2.Environment, value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    items = value if attribute is None else map(make_attrgetter(of, attribute), value)
    return _string(d).join(map(_string, items))


def _format(text: Any, *values: Any, **named: Any) -> str:
    if values and named:
        raise TypeError
    text = _string(text)
    if len(values) == 1 and isinstance(values[0], dict):
        named = dict(values[0])
    made = {name: _formatted(value) for name, value in named.items()} or tuple(map(_formatted, values))
    return str(text % made)


def _strftime(value: Any, pattern: str) -> Any:
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
    return date.strftime(pattern)


def _fromjson(value: Any) -> Any:
    """Read a text as JSON; what is no text is a value already, or missing."""
    if type(value) is UnusableCell:
        value.fail()
    if not isinstance(value, str):
        return value
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


def _formatted(value: Any) -> Any:
    """Leave numbers to be formatted as such."""
    return value if type(value) in (int, float) else _string(value)


def _of_text(convert: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that is given what a placeholder would show."""
    at = 1 if hasattr(convert, "jinja_pass_arg") else 0

    @functools.wraps(convert)
    def converted(*given: Any, **named: Any) -> Any:
        return convert(*given[:at], _string(given[at]), *given[at + 1 :], **named)

    return converted
