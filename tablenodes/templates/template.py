"""Placeholders: texts of the author's that are filled in from a row's cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes

from ..column_names import INPUTS, OUTPUTS, RESERVED, known, own_name
from ..errors import ColumnError, TemplateError, nearest
from ..problems import Unfit
from .bounds import OF_TEXTS, Room
from .environment import InputValues, RowCells, UnusableCell, UnusableFound, as_text, environment
from .syntax import code_of, parsed
from .template_faults import LITERALLY, Wording, empty, unread
from .template_ways import Path, chain, compared, found, instead_of, names_in, paths

Cells = tuple[Any, ...]
Render = Callable[[Cells], str]
ROW = "row"  # the name under which a placeholder reaches a column of any name: ``{{ row["any name"] }}``
_PLACEHOLDER = re.compile(r"(\{\{.*?\}\})", re.DOTALL)
_CARRIAGE_RETURN = "\ufdd1"
_KEPT = 20_000  # signs of a text, beyond which what was read of it is not kept


@dataclass(frozen=True)
class Column:
    """A reference to a table's column, made by `col`."""

    name: str

    def __repr__(self) -> str:
        return f"col({self.name!r})"


@dataclass(frozen=True)
class LiteralText:
    """A text without placeholders, made by `literal`."""

    text: str

    def __repr__(self) -> str:
        return f"literal({self.text!r})"


def col(name: str) -> Column:
    """Use a column's cell as a setting's value: as it is, not rendered as text.

    Parameters
    ----------
    name : str
        The column's name.

    Returns
    -------
    Column
        May stand for a whole setting, or anywhere inside one.

    Raises
    ------
    ColumnError
        If `name` is not a text.
    """
    if not isinstance(name, str):
        raise ColumnError(f"col() needs a column's name as text, not {type(name).__name__}")
    return Column(name)


def literal(text: str) -> LiteralText:
    """Send a text as it is, also where it holds ``{{``.

    Parameters
    ----------
    text : str
        The text.
    """
    if not isinstance(text, str):
        raise TemplateError(f"literal() needs a text, not {type(text).__name__}")
    return LiteralText(text)


class Template:
    """A text with placeholders, read once; `place` is where it stands, for messages: ``messages[0].content``.

    It uses `names`, in the order of the alphabet, `ROW` not among them; of the table the `columns`, or any of them with
    `whole_row`; the answers of the nodes in `upstream`, None where it may be any; and `reached` has the ways that it
    goes down from each of `RESERVED`. A text `is_whole` if it shows one value whole: no part of a cell is put beside
    another text; `filtered_last` is the last filter where it is one placeholder. `unmet` are the ways down from
    ``outputs`` behind which there is no ``default(…)``, and `instead` those that are in one: with each, the ways whose
    place it takes; `compared` those that are compared with a text, and the text.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    whole_row: bool
    upstream: tuple[str, ...] | None
    reached: Mapping[str, tuple[Path, ...]]
    unmet: tuple[Path, ...]
    instead: tuple[tuple[Path, tuple[Path, ...]], ...]
    compared: tuple[tuple[Path, str], ...]

    def __init__(self, source: str, place: str, *, is_bare: bool = False) -> None:
        self.source = source
        self.place = place
        try:
            tree = _parse(source)
            used = {node.name for node in tree.find_all(nodes.Name)}
            # Made here, not at the first row: filters are looked up as the code is made.
            self._code = code_of(_parse(source))
        except jinja2.TemplateSyntaxError as error:
            where = f" (line {error.lineno})" if "\n" in source else ""
            said = unread(error, _expressions(source), is_bare=is_bare)
            what = "the expression" if is_bare else "a placeholder"
            raise TemplateError(f"{place}: {what} cannot be read{where}: {said}", place=place) from None
        self._through_row, self.whole_row = names_in(tree, ROW)
        upstream, any_node = names_in(tree, OUTPUTS)
        self.upstream = tuple(sorted(upstream)) if not any_node else None
        if "self" in used:  # the one name that Jinja keeps for itself
            raise TemplateError(
                f"{place}: a placeholder cannot be called self; write {{{{ row['self'] }}}} for that column",
                place=place,
            )
        self.names = tuple(sorted(used - {ROW}))
        self.columns = tuple(sorted(set(self.names) - set(RESERVED) | self._through_row))
        self._uses_row = ROW in used
        self._parts = _plain_parts(tree)
        outputs = [node for each in tree.body for node in each.iter_child_nodes()]
        only = [node for node in outputs if not (isinstance(node, nodes.TemplateData) and node.data.isspace())]
        self.is_whole = len(only) == 1 and _is_whole(only[0])
        self.filtered_last = only[0].name if len(only) == 1 and isinstance(only[0], nodes.Filter) else None
        self._wording = Wording(tree, ROW)
        self.reached = {name: paths(tree, name) for name in RESERVED if name in used}
        self.unmet = tuple(dict.fromkeys(found(tree, OUTPUTS, unmet=True))) if OUTPUTS in used else ()
        self.instead = tuple(instead_of(tree, OUTPUTS)) if OUTPUTS in used else ()
        self.compared = tuple(compared(tree, OUTPUTS)) if OUTPUTS in used else ()

    def check(self, columns: Sequence[str], workflow: Sequence[str] = ()) -> None:
        """Raise `ColumnError` for a placeholder that names no column; `workflow` says which of `RESERVED` are there."""
        for name in self.names:
            if name in RESERVED and name not in workflow:
                hint = f'; write {{{{ row["{name}"] }}}} for that column' if name in columns else ""
                message = f"{self.place}: {{{{ {name} }}}} exists only inside a workflow{hint}"
                raise ColumnError(message, place=self.place)
        for name in self.columns:
            if name not in columns:
                of_workflow = self.nearly_reserved(name) if workflow else ""
                sure = self._meant(name, columns) or of_workflow
                hint = sure or nearest(name, columns) or f"{known(columns)}; {LITERALLY}"
                values = {"column": name, "is_sure": bool(sure)}
                message = f"{self.place}: no column {name!r}{hint}"
                raise ColumnError(message, code="no_column", place=self.place, values=values)

    def nearly_reserved(self, name: str) -> str:
        """Return a hint where a column's name is nearly one of `RESERVED`, and something is looked up below it."""
        below = re.compile(rf"\b{re.escape(name)}\s*[.\[]")
        return nearest(name, RESERVED) if any(map(below.search, _expressions(self.source))) else ""

    def _meant(self, name: str, columns: Sequence[str]) -> str:
        """Return a hint where a name is a part of a column's that stands in a placeholder as it is: ``unit-price``."""
        for expression in _expressions(self.source):
            for column in sorted(columns, key=len, reverse=True):
                if column in expression and name in re.findall(r"\w+", column) and name != column:
                    return f'; write {{{{ row["{column}"] }}}} for column {column!r}'
        return ""

    def bind(self, position: Mapping[str, int], constants: Mapping[str, Any], room: Room | None = None) -> Render:
        """Return a function from a row's cells to the text; it raises `Unfit` for a null cell or an unusable one.

        All texts of a row share a `room`, by default each has its own; what does not fit into it is never made.
        """
        if room is None:
            return _beginning(own := Room(), self.bind(position, constants, own))
        parts, reserved = self._parts, set(self.names) & set(RESERVED)
        if parts is None or reserved - {OUTPUTS} or (reserved and OUTPUTS not in position):
            return self._general(position, constants, room)
        if reserved:
            ways = [p if isinstance(p, str) else (position[str(p[0])], p[1:]) for p in parts]
            return _reader(ways, room.large, self._general(position, constants, room))
        return _joiner([p if isinstance(p, str) else position[str(p[0])] for p in parts], position, room)

    def _general(self, position: Mapping[str, int], constants: Mapping[str, Any], room: Room) -> Render:
        compiled = jinja2.Template.from_code(environment().within(room), self._code, {})
        direct = [(name, position[name]) for name in self.names if name in position]
        through_row = self._row(position)
        shared = {name: constants[name] for name in self.names if name in constants}
        if INPUTS in shared:
            shared[INPUTS] = InputValues(shared[INPUTS])
        uses_row, wording = self._uses_row, self._wording

        def render(cells: Cells) -> str:
            variables = dict(shared)
            for name, index in direct:
                if (value := cells[index]) is not None:
                    variables[name] = _fit(value, name)
            if uses_row:
                variables[ROW] = RowCells(
                    {
                        name: value if type(value := cells[index]) is not Unfit else UnusableCell(name, str(value))
                        for name, index in through_row
                    }
                )
            try:
                return compiled.render(variables)
            except jinja2.UndefinedError as error:
                raise Unfit(wording.missing(error)) from None
            except UnusableFound as found:
                raise Unfit(wording.unusable(*found.args)) from None
            except Unfit:
                raise
            except Exception as error:  # noqa: BLE001 - whatever the author's expression raises for this row
                raise Unfit(wording.failed(error, variables)) from None

        return render

    def _row(self, position: Mapping[str, int]) -> list[tuple[str, int]]:
        """Return what ``row`` has to have in it: each column's name, and where its cell stands."""
        cells = [(own_name(name), index) for name, index in position.items() if name != OUTPUTS]
        return [(name, index) for name, index in cells if self.whole_row or name in self._through_row]


def template_of(source: str, place: str, *, is_bare: bool = False) -> Template:
    """Return the template of a text; what was read lately is kept, as a node's settings are asked for many times.

    It `is_bare` if it is one expression, around which nobody has to write braces.
    """
    read = _read if len(source) <= _KEPT else Template
    return read(source, place, is_bare=is_bare) if is_bare else read(source, place)


_read = lru_cache(maxsize=512)(Template)


def _parse(source: str) -> nodes.Template:
    # The lexer turns every line break into LF; the author's own are sent, so CR travels under another mark.
    pieces = _PLACEHOLDER.split(source)
    pieces[::2] = [piece.replace("\r", _CARRIAGE_RETURN) for piece in pieces[::2]]
    tree = parsed("".join(pieces))
    for node in tree.find_all(nodes.TemplateData):
        node.data = node.data.replace(_CARRIAGE_RETURN, "\r")
    return tree


def pieces_of(source: str) -> list[str]:
    """Return a text's own pieces and the placeholders between them, one after the other."""
    pieces = [""]
    for _, kind, text in environment().lex(source):
        if kind == "variable_begin":
            pieces.append("")
        pieces[-1] += text
        if kind == "variable_end":
            pieces.append("")
    return pieces


def inner(placeholder: str) -> str:
    """Return what stands between the braces of a placeholder."""
    return placeholder[2:-2].strip("-+ \t\r\n")


_OF_PARTS = frozenset({"join", "format", "replace", "urlencode", "strftime", "filesizeformat", *OF_TEXTS}) - {"trim"}
"""Filters whose text may have a cell's beside another."""

_WHOLE_METHODS = frozenset({"get", "strip", "lstrip", "rstrip"})


def _is_whole(node: nodes.Node | None) -> bool:
    """Check whether the text of an expression is one value's: a cell's, an item's, or JSON made of either."""
    if isinstance(node, nodes.CondExpr):
        return _is_whole(node.expr1) and _is_whole(node.expr2)
    if isinstance(node, nodes.Filter):
        if node.name in ("default", "d"):
            return _is_whole(node.node) and all(map(_is_whole, node.args))
        return node.name == "tojson" or (node.name not in _OF_PARTS and _is_whole(node.node))
    if isinstance(node, nodes.Call):
        return isinstance(node.node, nodes.Getattr) and node.node.attr in _WHOLE_METHODS
    if isinstance(node, nodes.And | nodes.Or):
        return _is_whole(node.left) and _is_whole(node.right)
    whole = (nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.List, nodes.Dict, nodes.Tuple)
    return node is None or isinstance(node, (*whole, nodes.Compare, nodes.Test, nodes.Not))


def _expressions(source: str) -> list[str]:
    """Return what stands between the braces of each placeholder."""
    return [inner(piece) for piece in _PLACEHOLDER.split(source)[1::2]]


def _beginning(room: Room, render: Render) -> Render:
    def begun(cells: Cells) -> str:
        room.begin()
        return render(cells)

    return begun


def _fit(value: Any, name: str) -> Any:
    if type(value) is Unfit:
        raise Unfit(f"the cell of column {name!r} {value}")
    return value


def _joiner(parts: list[str | int], position: Mapping[str, int], room: Room) -> Render:
    """Join texts and bare names without Jinja: the common case, the same result, about ten times faster."""
    names, large = {index: name for name, index in position.items()}, room.large

    def slow(cells: Cells) -> str:
        texts = []
        for part in parts:
            if type(part) is str:
                texts.append(part)
                continue
            value = cells[part]  # type: ignore[index]
            is_short = type(value) is str and len(value) <= large
            texts.append(value if is_short else _shown(value, names[part], room))  # type: ignore[index]
        return "".join(texts)

    indexes = [part for part in parts if type(part) is int]
    if len(indexes) != 1:
        return slow
    # One placeholder is by far the most common: one concatenation.
    only = indexes[0]
    at = parts.index(only)
    before, after = "".join(map(str, parts[:at])), "".join(map(str, parts[at + 1 :]))

    def fast(cells: Cells) -> str:
        value = cells[only]
        if type(value) is str:
            if len(value) > large:
                room.show(len(value))
            return before + value + after
        return slow(cells)

    return fast


def _reader(parts: Sequence[str | tuple[int, Path]], large: int, general: Render) -> Render:
    """Join texts, bare names and what is read of answers; it is the `general` case where one is no short text."""
    pattern = "".join(part.replace("%", "%%") if isinstance(part, str) else "%s" for part in parts)
    read = [part for part in parts if not isinstance(part, str)]

    def joined(cells: Cells) -> str:
        texts = []
        for at, path in read:
            value = cells[at]
            for step in path:
                value = value.get(step) if type(value) is dict else None
            if type(value) is not str or len(value) > large:
                return general(cells)
            texts.append(value)
        return pattern % tuple(texts)

    return joined


def _shown(value: Any, name: str, room: Room) -> str:
    """Return what a placeholder shows of a cell."""
    if value is None:
        raise Unfit(empty(name, name))
    if isinstance(value, list | dict):
        room.weigh(value)
    text = str(as_text(_fit(value, name)))
    if len(text) > room.large:
        room.show(len(text))
    return text


def _plain_parts(tree: nodes.Template) -> list[str | Path] | None:
    """Return the texts and, as ways, bare names and what is read of answers; None where there is more than these."""
    parts: list[str | Path] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                parts.append(node.data)
            elif isinstance(node, nodes.Name) and node.name not in (ROW, OUTPUTS):
                parts.append((node.name,))
            elif isinstance(node, nodes.Getattr) and chain(node)[:1] == (OUTPUTS,):
                parts.append(chain(node))
            else:
                return None
    return parts
