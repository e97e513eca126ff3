"""Every row of a table with every combination of settings: columns that a node's run reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from .. import tables
from ..bodies.recipe import parse_setting
from ..bodies.settings_plan import SettingsPlan
from ..bodies.values import is_varying
from ..errors import ColumnError, SettingError
from ..problems import Rejected
from ..templates.environment import as_text
from .display import counted, say
from .output import T
from .rows import Context, prepared

if TYPE_CHECKING:
    from ..tables import TableView

_TYPES = {str: "text", bool: "boolean", int: "integer", float: "number"}


class _Choice(NamedTuple):
    """One value of a setting: what it is called, and its cell in each row."""

    name: str | None
    cells: Sequence[Any]


def cross(table: T, /, **settings: Mapping[str, Any] | Sequence[Any]) -> T:
    """Return a table with one row for each row and combination of settings, such as prompts and models.

    >>> tn.cross(table, prompt={"short": "Sum up: {{ review }}", "long": "…"}, model=["a", "b"])  # doctest: +SKIP

    Parameters
    ----------
    table : pandas.DataFrame, pyarrow.Table, polars.DataFrame or any other Arrow table
        Its columns are what placeholders read. A row's combinations stand together, and have its index.
    **settings : mapping or sequence
        For each setting its values: a list, or a mapping of names to values, whose names become a column too, such as
        ``prompt_name``. Texts are rendered row by row; a row that lacks what a text reads has a null there.

    Returns
    -------
    table
        The table with a column for each setting, which nodes read by its name.

    Raises
    ------
    UsageError
        If the table has a column of one of these names, or a placeholder reads one that it does not have.
    """
    view = tables.view(table)
    if not settings:
        raise SettingError("cross needs the values of at least one setting, such as model=['a', 'b']")
    choices = {name: _choices(view, name, given) for name, given in settings.items()}
    names = {name: f"{name}_name" for name, given in settings.items() if isinstance(given, Mapping)}
    if taken := [name for name in (*choices, *names.values()) if name in view.columns]:
        raise ColumnError(f"the table already has a column {taken[0]!r}: rename it first")
    if twice := [name for name in names.values() if name in choices]:
        raise SettingError(f"{twice[0]} is set, and is what the names of other values are called", place=twice[0])
    combinations = [*product(*choices.values())]
    rows = [row for row in range(len(view)) for _ in combinations]
    columns: dict[str, list[Any]] = {}
    types: dict[str, str] = {}
    for at, name in enumerate(choices):
        cells = [combination[at].cells[row] for row in range(len(view)) for combination in combinations]
        columns[name], types[name] = _typed(name, cells)
        if name in names:
            labels = [combination[at].name for combination in combinations]
            columns[names[name]], types[names[name]] = labels * len(view), "text"
    made: T = tables.view(view.take(rows)).replacing(columns, types)
    return made


def _choices(view: TableView, name: str, given: Any) -> list[_Choice]:
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence) or not given:
        raise SettingError(f"{name} must be a list of values, or a mapping of names to values", place=name)
    if isinstance(given, Mapping):
        if not all(isinstance(label, str) for label in given):
            raise SettingError(f"{name}: the names of its values must be texts", place=name)
        return [_Choice(label, _cells(view, name, value)) for label, value in given.items()]
    return [_Choice(None, _cells(view, name, value)) for value in given]


def _cells(view: TableView, name: str, value: Any) -> list[Any]:
    """Return the cells of one value; those of a text with placeholders are rendered."""
    parsed = parse_setting(name, value)
    if not is_varying(parsed):
        return [parsed] * len(view)
    made = [*prepared(SettingsPlan({name: parsed}, view.columns), view, Context())]
    if missing := sum(isinstance(cell, Rejected) for cell in made):
        say(f"cross: a text of {name} is null in {counted(missing, 'row')}, where a cell that it reads is empty")
    return [None if isinstance(cell, Rejected) else cell[name] for cell in made]


def _typed(name: str, cells: list[Any]) -> tuple[list[Any], str]:
    """Return cells of one type, with its name: lists and objects are JSON texts."""
    kinds = {*map(type, cells)} - {type(None)}
    if kinds & {list, dict}:
        cells = [orjson.dumps(cell).decode() if isinstance(cell, list | dict) else cell for cell in cells]
        kinds = {*map(type, cells)} - {type(None)}
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) > 1:
        return [None if cell is None else as_text(cell) for cell in cells], "text"
    return cells, _TYPES[kinds.pop()] if kinds else "text"
