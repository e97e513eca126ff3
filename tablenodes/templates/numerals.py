"""Numbers and texts in expressions: how one is read from the other, and that the two are never equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.filters import do_float, do_int

if TYPE_CHECKING:
    from jinja2 import nodes

_NUMBERS = frozenset({int, float})
_NONE = object()  # there is no default


class NoNumberError(ValueError):
    """A text, or something else, that is no number was to be read as one, and there is no default."""


class UnlikeError(TypeError):
    """A text was compared with a number: the two are never equal."""


def as_float(value: Any, default: Any = _NONE) -> Any:
    """Read a number; what is none is the default, and without one an error."""
    number = do_float(value, _NONE)  # type: ignore[arg-type]
    if number is _NONE or not math.isfinite(number):
        number = default
    if number is _NONE:
        raise NoNumberError
    return number


def as_int(value: Any, default: Any = _NONE, base: int = 10) -> Any:
    """Read a whole number, or the whole part of one; what is none is the default, and without one an error."""
    number = do_int(value, default, base)
    if number is _NONE:
        raise NoNumberError
    return number


def is_equal(left: Any, right: Any) -> Any:
    """Check whether two values are equal; raise `UnlikeError` for a text and a number."""
    found = left == right
    if not found and (type(left) is not str or type(right) is not str) and _are_unlike(left, right):
        raise UnlikeError
    return found


def is_unequal(left: Any, right: Any) -> bool:
    """Check whether two values differ; raise `UnlikeError` for a text and a number."""
    return not is_equal(left, right)


def is_in(left: Any, right: Any) -> bool:
    """Check whether a value is in a list or text; raise `UnlikeError` where only the other of text and number is."""
    if type(left) in _NUMBERS and isinstance(right, str):
        raise UnlikeError
    found = left in right
    if not found and isinstance(right, list | tuple) and (isinstance(left, str) or type(left) in _NUMBERS):
        if right and type(left) is str and type(right[0]) is str:  # by far the most common
            return False
        is_other = False
        for item in right:
            if isinstance(item, str) if isinstance(left, str) else type(item) in _NUMBERS:
                return False
            is_other = is_other or _are_unlike(left, item)
        if is_other:
            raise UnlikeError
    return found


def _are_unlike(left: Any, right: Any) -> bool:
    return (isinstance(left, str) and type(right) in _NUMBERS) or (isinstance(right, str) and type(left) in _NUMBERS)


def is_reading(name: str, value: Any) -> bool:
    """Check whether a filter, of these two, reads a value as a number."""
    try:
        (as_int if name == "int" else as_float)(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


TESTS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        **dict.fromkeys(("eq", "==", "equalto"), is_equal),
        **dict.fromkeys(("ne", "!="), is_unequal),
        "in": is_in,
    }
)
CHECKED: Mapping[str, str] = MappingProxyType(
    {
        "eq": "environment.is_equal",
        "ne": "not environment.is_equal",
        "in": "environment.is_in",
        "notin": "not environment.is_in",
    }
)
"""What is called for each operator that texts take part in."""


class ComparingCode(CodeGenerator):
    """Has ``==`` and ``in`` compare as here, and ``a < b == c`` as ``a < b and b == c``."""

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802 - the visitor looks for this name
        """Write a comparison."""
        left: nodes.Node = node.expr
        for i, operand in enumerate(node.ops):
            self.write(" and " if i else "(")
            written = CHECKED.get(operand.op)
            self.write("(" if written is None else f"{written}(")
            self.visit(left, frame)
            self.write(", " if written else f" {operators[operand.op]} ")
            self.visit(operand.expr, frame)
            self.write(")")
            left = operand.expr
        self.write(")")
