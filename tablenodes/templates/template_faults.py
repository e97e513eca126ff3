"""Why a placeholder cannot be read, or has no text in a row, in words that never show a cell."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import nodes

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
from .syntax import parsed
from .template_ways import Path, chain, chains, written

_CALCULATING = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow)
_LONGEST = 60
LITERALLY = 'for braces that are text, use literal("…") (in a file !literal "…"), or {{ "{{" }} for two of them'
_ALLOW = "to allow it"
_OPERATORS = (
    *((re.compile(r"(?<![=!<>])=(?!=)"), "==", "="), (re.compile(r"\bAND\b"), "and", "AND")),
    *((re.compile(r"\bOR\b"), "or", "OR"), (re.compile(r"\bNOT\b"), "not", "NOT")),
    *((re.compile(r"&&"), " and ", "&&"), (re.compile(r"\|\|"), " or ", "||"), (re.compile(r"!(?!=)"), " not ", "!")),
)
"""What other languages write, and what it is here."""
_DATE = 'strftime("%d.%m.%Y")'


class Wording:
    """What can be said of a template's placeholders in a row."""

    __slots__ = ("_chains", "_filters", "_operands", "_shown")

    def __init__(self, tree: nodes.Template, row: str) -> None:
        self._chains = frozenset(chains(tree))
        constants = {str(node.value) for node in tree.find_all(nodes.Const)}
        self._shown = constants | {node.attr for node in tree.find_all(nodes.Getattr)}
        self._filters = tuple(dict.fromkeys(node.name for node in tree.find_all(nodes.Filter)))
        self._operands = tuple(dict.fromkeys(_operands(tree, row)))

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
        if isinstance(error, TypeError):
            for way, column in self._operands:
                if isinstance(_at(variables, way), str):
                    shown = f'row["{column}"]' if column and way[1:] else written(way)
                    what = f"column {column!r}" if column else shown
                    return f"a placeholder compares or calculates with a text: {what} is text; write {shown} | float"
        if (failing := self._failing(error)) is not None:
            return f"the filter {failing!r} cannot use its value in this row ({type(error).__name__})"
        return f"a placeholder failed with {type(error).__name__}"

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


def unread(error: jinja2.TemplateSyntaxError, expressions: Iterable[str]) -> str:
    """Word why a template cannot be read, with another way to write what is probably a column's name."""
    if isinstance(error, jinja2.TemplateAssertionError):
        return _unknown(error, expressions)
    text = str(error.message or "it is not complete").rstrip(".")
    text = text.replace("end of print statement", "}}").replace("'end of template'", "}}")
    for expression in expressions:
        if not _can_be_read(expression) and (how := _other_operators(expression)):
            return f"{text}; {how}"
        if _is_like_a_name(expression) and not _can_be_read(expression):
            return f'{text}; if that is a column, write {{{{ row["{expression}"] }}}}'
    return f"{text}; {LITERALLY}"


def _other_operators(expression: str) -> str:
    """Return how an expression is written here that has the operators of another language; else an empty text."""
    used = [(ours.strip(), theirs) for pattern, ours, theirs in _OPERATORS if pattern.search(expression)]
    for pattern, ours, _ in _OPERATORS:
        expression = pattern.sub(ours, expression)
    return f"write {', '.join(f'{ours} for {theirs}' for ours, theirs in used)}" if _can_be_read(expression) else ""


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
    return is_short and expression[0].isalnum() and not any(mark in expression for mark in "|\"'[]{}~\\")


def _can_be_read(expression: str) -> bool:
    try:
        parsed(f"{{{{ {expression} }}}}")
    except jinja2.TemplateSyntaxError:
        return False
    return True
