"""Why a placeholder cannot be read, or has no text in a row, in words that never show a cell."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jinja2
from jinja2 import nodes
from jinja2.compiler import operators

from ..errors import nearest
from .environment import (
    ARGUMENTS,
    COLUMN,
    DATE,
    INPUT,
    LACKING,
    NAME,
    NULL,
    SEPARATOR,
    VARIABLE,
    UnusableCell,
    environment,
)
from .numerals import CHECKED, NoNumberError, UnlikeError, is_equal, is_in, is_reading
from .syntax import parsed
from .template_ways import Path, chain, chains, written

_CALCULATING = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow)
_LONGEST = 60
BRACES = 'for two braces that are text, write {{ "{{" }}'
LITERALLY = 'for braces that are text, use literal("…") (in a file !literal "…"), or {{ "{{" }} for two of them'
_ALLOW = "to allow it"
_OPERATORS = (
    *((re.compile(r"(?<![=!<>])=(?!=)"), "==", "="), (re.compile(r"\bAND\b"), "and", "AND")),
    *((re.compile(r"\bOR\b"), "or", "OR"), (re.compile(r"\bNOT\b"), "not", "NOT")),
    *(
        (re.compile(r"<>"), "!=", "<>"),
        (re.compile(r"&&"), " and ", "&&"),
        (re.compile(r"\|\|"), " or ", "||"),
        (re.compile(r"!(?!=)"), " not ", "!"),
    ),
)
"""What other languages write, and what it is here."""
_LIKE = re.compile(r"""([\w.]+(?:\[[^]]*\])?)\s+(not\s+)?i?like\s+(['"])%?([^%'"]+)%?\3""", re.IGNORECASE)
_DATE = 'strftime("%d.%m.%Y")'


class Wording:
    """What can be said of a template's placeholders in a row."""

    __slots__ = ("_chains", "_filters", "_operands", "_pairs", "_readings", "_shown")

    def __init__(self, tree: nodes.Template, row: str) -> None:
        self._chains = frozenset(chains(tree))
        constants = {str(node.value) for node in tree.find_all(nodes.Const)}
        self._shown = constants | {node.attr for node in tree.find_all(nodes.Getattr)}
        self._filters = tuple(dict.fromkeys(node.name for node in tree.find_all(nodes.Filter)))
        self._operands = tuple(dict.fromkeys(_operands(tree, row)))
        self._pairs, self._readings = tuple(_pairs(tree, row)), tuple(_readings(tree, row))

    def missing(self, error: jinja2.UndefinedError) -> str:
        """Word what is not there."""
        kind, _, name = str(error.message or "").partition(SEPARATOR)
        if kind == VARIABLE or (kind == COLUMN and name in self._shown):
            return empty(name, name if kind == VARIABLE else f'row["{name}"]')
        if kind == INPUT and name in self._shown:
            return (
                f"input {name!r} has no value: set it with inputs={{{name!r}: …}} or --input {name}=…,"
                f' or write {{{{ inputs.{name} | default("…") }}}} {_ALLOW}'
            )
        if kind == DATE:
            return f"a placeholder uses {name!r} of a date, but the date is a text here: write {{{{ … | {_DATE} }}}}"
        whole, what = self._lost(kind, name)
        return f'{what}; write {{{{ {whole} | default("…") }}}} {_ALLOW}'

    def _lost(self, kind: str, name: str) -> tuple[str, str]:
        """Return what stands before a ``default(…)`` that meets what is not there, and what is said of it."""
        if kind == LACKING:
            name, place, why = name.split(SEPARATOR)
            whole = f"{place}.{name}" if name in self._shown else place
            return whole, f"{whole} is null in this row: {why}"
        if kind == ARGUMENTS:
            return "…", "the arguments of the call are not JSON in this row"
        is_shown = kind in (NAME, NULL) and name in self._shown and len(name) <= _LONGEST
        if whole := self._whole(name) if is_shown else "":
            return whole, f"{whole} is {'null' if kind == NULL else 'not there'} in this row"
        return "…", f"a placeholder has {f'nothing called {name!r}' if is_shown else 'no value'} in this row"

    def _whole(self, name: str) -> str:
        """Return the way to something of this name, where the author has written it once; else an empty text."""
        found = [each for each in self._chains if str(each[-1]) == name]
        whole = written(found[0]) if len(found) == 1 else ""
        return whole if len(whole) <= 2 * _LONGEST else ""

    def unusable(self, cell: UnusableCell) -> str:
        """Word that a cell was looked up which cannot be JSON."""
        which = f"the cell of column {cell.column!r}" if cell.column in self._shown else "a cell that it looks up"
        return f"{which} {cell.why}"

    def failed(self, error: Exception, variables: Mapping[str, Any]) -> str:
        """Word what an expression failed with; a text in a calculation is known by the name of its column."""
        if isinstance(error, UnlikeError):
            return next((pair.unlike(variables) for pair in self._pairs if pair.is_unlike(variables)), _UNLIKE)
        if isinstance(error, NoNumberError):
            return self._no_number(variables)
        if isinstance(error, TypeError):
            for way, column in self._operands:
                if isinstance(_at(variables, way), str):
                    shown = f'row["{column}"]' if column and way[1:] else written(way)
                    what = f"column {column!r}" if column else shown
                    return f"a text is used as a number: {what} is text; write {shown} | float"
        if (failing := self._failing(error)) is not None:
            return f"the filter {failing!r} cannot use its value in this row ({type(error).__name__})"
        return f"a placeholder failed with {type(error).__name__}"

    def _no_number(self, variables: Mapping[str, Any]) -> str:
        """Word that what a filter was to read as a number is none."""
        what, shown, filtered = "what the filter float or int reads", "…", "float"
        for name, side in self._readings:
            if side.way and (found := side.of(variables)) is not None and not is_reading(name, found):
                what, shown, filtered = side.subject, side.written, name
                break
        commas = f"{shown} | replace('.', '') | replace(',', '.') | {filtered}"
        return (
            f"{what} is no number in this row; write {commas} for decimal commas, or {shown} | {filtered}(0) to use 0"
        )

    def _failing(self, error: Exception) -> str | None:
        """Return the filter in which an error came up, where that is known."""
        known = {_code_of(environment().filters[name]): name for name in self._filters}
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code not in known:
            trace = trace.tb_next
        return known[trace.tb_frame.f_code] if trace is not None else None


def _code_of(function: Any) -> Any:
    return getattr(inspect.unwrap(function), "__code__", None)


_OF_ANYTHING = frozenset({"eq", "ne", "in", "notin"})  # comparisons that texts take part in as well


def _at(variables: Mapping[str, Any], way: Path) -> Any:
    """Return what a way leads to; None where there is nothing."""
    found: Any = variables
    for step in way:
        try:
            found = found[step]
        except (LookupError, TypeError):
            return None
    return found


class _Side:
    """What is compared, or read as a number: a way down from a name, or what the author wrote there."""

    __slots__ = ("column", "constant", "way", "written")

    def __init__(self, node: nodes.Node, row: str) -> None:
        is_name = isinstance(node, nodes.Name) and node.name != row
        self.way: Path = (node.name,) if isinstance(node, nodes.Name) and is_name else chain(node)
        is_cell = self.way[:1] == (row,) and len(self.way) == 2
        self.column = str(self.way[-1]) if is_name or is_cell else None
        self.constant = None if self.way else _constant(node)
        shown = written(self.way) if self.way else _literal(self.constant)
        self.written = f'row["{self.column}"]' if is_cell else shown

    @property
    def subject(self) -> str:
        """What it is called in a sentence."""
        return f"column {self.column!r}" if self.column else self.written

    def of(self, variables: Mapping[str, Any]) -> Any:
        """Return what it is in a row; None where that is not known."""
        return _at(variables, self.way) if self.way else self.constant


class _Pair(NamedTuple):
    """Two sides that are compared; where one is a way down from a name, that is the first of ``==``."""

    left: _Side
    op: str
    right: _Side

    def is_unlike(self, variables: Mapping[str, Any]) -> bool:
        """Check whether they are a text and a number in a row."""
        try:
            (is_equal if self.op in ("eq", "ne") else is_in)(self.left.of(variables), self.right.of(variables))
        except UnlikeError:
            return True
        except (jinja2.UndefinedError, TypeError):
            pass
        return False

    def unlike(self, variables: Mapping[str, Any]) -> str:
        """Word that they are, with what to write instead."""
        left, operator, right = self.left.written, operators[self.op].strip(), self.right
        is_text = isinstance(self.left.of(variables), str)
        ways = []
        if is_text and self.left.way:
            numbers = right.constant if isinstance(right.constant, list | tuple) else [right.constant]
            if (quoted := _literal(right.constant, quoted=True)).strip("[…]"):
                ways.append(f"{left} {operator} {quoted}")
            whole = all(type(number) is int for number in numbers)
            ways.append(f"{left} | {'int' if whole else 'float'} {operator} {right.written}")
        elif self.left.way:
            ways.append(f"{left} | string {operator} {right.written}")
        elif not is_text:
            ways.append(f"{_literal(self.left.constant, quoted=True)} {operator} {right.written}")
        side = self.left if self.left.way else right
        what = "text" if isinstance(side.of(variables), str) else "a number" if side is self.left else "a list"
        return (
            f"a text is compared with a number: {side.subject} is {what}; write {', or '.join(ways)}"
            if ways
            else _UNLIKE
        )


_UNLIKE = "a text is compared with a number, which is never equal; write both as texts, or … | float to read the text"


def _constant(node: nodes.Node) -> Any:
    """Return what stands in an expression as it is; None where that is worked out."""
    try:
        return node.as_const() if isinstance(node, nodes.Const | nodes.List | nodes.Tuple | nodes.Neg) else None
    except nodes.Impossible:
        return None


def _literal(value: Any, *, quoted: bool = False) -> str:
    """Return how a constant is written, with its numbers as texts if they are to be `quoted`."""
    if isinstance(value, list | tuple):
        items = ", ".join(_literal(item, quoted=quoted) for item in value)
        return f"[{items}]" if len(items) <= _LONGEST else "[…]"
    is_text = isinstance(value, str) or (quoted and type(value) in (int, float))
    shown = repr(str(value)) if is_text else "…" if value is None else str(value).lower()
    return shown if len(shown) <= _LONGEST else "…"


def _pairs(tree: nodes.Template, row: str) -> Iterator[_Pair]:
    """Yield what is compared with what, of comparisons that texts take part in."""
    for node in tree.find_all(nodes.Compare):
        left: nodes.Node = node.expr
        for operand in node.ops:
            sides = _Side(left, row), _Side(operand.expr, row)
            if operand.op in CHECKED:
                turned = operand.op in ("eq", "ne") and not sides[0].way
                yield _Pair(sides[turned], operand.op, sides[not turned])
            left = operand.expr


def _readings(tree: nodes.Template, row: str) -> Iterator[tuple[str, _Side]]:
    """Yield what is read as a number where there is no default, each with the filter's name."""
    for node in tree.find_all(nodes.Filter):
        keys = {argument.key for argument in node.kwargs}
        if node.name in ("float", "int") and node.node is not None and not node.args and "default" not in keys:
            yield node.name, _Side(node.node, row)


def _operands(tree: nodes.Template, row: str) -> Iterator[tuple[Path, str | None]]:
    """Yield the ways to what is compared or calculated with, each with the column that it is; None for another."""
    for node in tree.find_all((nodes.Compare, nodes.Operand, nodes.UnaryExpr, nodes.Filter, *_CALCULATING)):
        if isinstance(node, nodes.Filter) and node.name not in ("abs", "round"):
            continue
        if isinstance(node, nodes.Compare) and all(each.op in _OF_ANYTHING for each in node.ops):
            continue
        if isinstance(node, nodes.Operand) and node.op in _OF_ANYTHING:
            continue
        for side in node.iter_child_nodes():
            if isinstance(side, nodes.Name) and side.name != row:
                yield (side.name,), side.name
            elif way := chain(side):
                yield way, str(way[1]) if way[0] == row and way[2:] == () else None


def empty(column: str, written: str) -> str:
    """Word that a column's cell is empty, and how a placeholder that is written so may allow it."""
    return f'the cell of column {column!r} is empty; write {{{{ {written} | default("…") }}}} {_ALLOW}'


def unread(error: jinja2.TemplateSyntaxError, expressions: Iterable[str], *, is_bare: bool = False) -> str:
    """Word why a template cannot be read, with another way to write what is probably a column's name.

    If it `is_bare`, nobody has written the braces: the whole is one expression.
    """
    if isinstance(error, jinja2.TemplateAssertionError):
        return _unknown(error, expressions)
    text = str(error.message or "it is not complete").rstrip(".")
    end = "the end" if is_bare else "}}"
    text = text.replace("end of print statement", "}}").replace("'end of template'", end)
    if is_bare:
        text = text.replace("unexpected '}}'", "it is not complete").replace("token '}}'", end).replace("'}}'", end)
    for expression in expressions:
        if not _can_be_read(expression) and (how := _other_operators(expression)):
            return f"{text}; {how}"
        if _is_like_a_name(expression) and not _can_be_read(expression):
            column = f'row["{expression}"]'
            return f"{text}; if that is a column, write {column if is_bare else f'{{{{ {column} }}}}'}"
    return text if is_bare else f"{text}; {LITERALLY}"


def _other_operators(expression: str) -> str:
    """Return how an expression is written here that has the operators of another language; else an empty text."""
    ways = [f"{_held(like)} for {like[0]}" for like in _LIKE.finditer(expression)]
    expression = _LIKE.sub(_held, expression)
    for pattern, ours, theirs in _OPERATORS:
        if pattern.search(expression):
            ways.append(f"{ours.strip()} for {theirs}")
            expression = pattern.sub(ours, expression)
    return f"write {', '.join(ways)}" if _can_be_read(expression) else ""


def _held(like: re.Match[str]) -> str:
    """Return how it is asked whether a text holds another."""
    whole, negated, quote, held = like.groups()
    return f"{quote}{held}{quote} {'not ' if negated else ''}in {whole}"


def _unknown(error: jinja2.TemplateAssertionError, expressions: Iterable[str]) -> str:
    """Word which filter or test there is none of, with the nearest name."""
    for kind, what, known in (
        (nodes.Filter, "filter", environment().filters),
        (nodes.Test, "test", environment().tests),
    ):
        for expression in filter(_can_be_read, expressions):
            for node in parsed(f"{{{{ {expression} }}}}").find_all(kind):
                if node.name not in known:
                    return f"there is no {what} {node.name!r}{nearest(node.name, known)}"
    return str(error.message).rstrip(".")


def _is_like_a_name(expression: str) -> bool:
    is_short = 0 < len(expression) <= _LONGEST and "\n" not in expression
    return is_short and expression[0].isalnum() and not any(mark in expression for mark in "|\"'[]{}~\\=<>")


def _can_be_read(expression: str) -> bool:
    try:
        parsed(f"{{{{ {expression} }}}}")
    except jinja2.TemplateSyntaxError:
        return False
    return True
