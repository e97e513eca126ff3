"""What a node makes of a table's rows, before any of them is looked at."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..column_names import known, planned_name
from ..errors import ColumnError, nearest
from .schema_types import Typing
from .values import CellValue, Row, is_varying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..problems import Problem
    from ..schemas import Schema


class RowPlan:
    """What becomes of the rows of one table: the base of every plan, of a node that sends nothing as it stands."""

    columns: tuple[str, ...] = ()
    """The columns that are read, in the order in which their cells are given to `encode`."""
    sources: Mapping[str, str] = MappingProxyType({})
    """Where each setting or property comes from."""
    taken: tuple[str, ...] = ()
    """The columns that are used because of their names."""
    warnings: tuple[str, ...] = ()
    """What was perhaps not meant, whatever the rows hold."""
    passed_over: tuple[str, ...] = ()
    """Those of the warnings that a run says too."""
    schema: Schema | None = None
    """The schema of the bodies; None where nothing is sent."""

    def ahead(self, rows: Iterable[Any]) -> Iterable[Any]:
        """Return the same rows; what they need from elsewhere is read for many at a time."""
        return rows

    def encode(self, cells: tuple[Any, ...]) -> Any:
        """Return what a row becomes, such as the bytes of a body; raise `Rejected` if nothing can be made of it."""
        raise NotImplementedError

    def column_of(self, path: str) -> str | None:
        """Return the column or columns that a place was filled from, or None."""
        raise NotImplementedError

    def looks_like_json(self, body: Mapping[str, Any]) -> set[str]:
        """Return the places of a body whose text was probably meant as a JSON array."""
        return set()

    def wrong_settings(self) -> list[Problem]:
        """Return what is wrong with settings that are the same in every row."""
        return []


class _AnyText:
    """A schema that leaves everything as it is."""

    def admits(self, path: tuple[str | int, ...]) -> frozenset[str]:
        """Return the names of the JSON types."""
        return frozenset(("string", "number", "integer", "boolean", "array", "object", "null"))


class SettingsPlan(RowPlan):
    """The settings of a node that sends nothing, row by row: plain values, and those that depend on the row.

    `defaults` names, for settings that are not set, the column that gives them where the table has it; `constants` is
    what ``inputs`` and ``outputs`` stand for; `becomes` makes of a row's settings what the row becomes.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        table: Sequence[str],
        *,
        defaults: Mapping[str, str] | None = None,
        constants: Mapping[str, Any] | None = None,
        becomes: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self._becomes = becomes
        constants = constants or {}
        values = dict(settings)
        for name, column in (defaults or {}).items():
            if name not in values and column in table:
                values[name] = CellValue(column, name)
        varying = {name: value for name, value in values.items() if is_varying(value)}
        for value in varying.values():
            value.check(table, tuple(constants))
        whole = any(value.whole_row() for value in varying.values())
        read = dict.fromkeys(map(planned_name, table)) if whole else {}
        self.columns = tuple(read | dict.fromkeys(name for value in varying.values() for name in value.columns()))
        self.taken = tuple(c for n, c in (defaults or {}).items() if n not in settings and c in table)
        self._columns_of = {name: ", ".join(dict.fromkeys(value.columns())) for name, value in varying.items()}
        self.sources = {name: _source(name in settings, self._columns_of.get(name, "")) for name in values}
        row = Row(tuple(table), {name: i for i, name in enumerate(self.columns)}, constants)
        anything = Typing(_AnyText(), ())
        self._constants = {name: value for name, value in values.items() if name not in varying}
        self._gives = [(name, value.bind(row, anything.below(name), f"$.{name}")) for name, value in varying.items()]

    def encode(self, cells: tuple[Any, ...]) -> Any:
        """Return what a row's settings become; a setting of a null cell is None."""
        settings = {**self._constants, **{name: give(cells) for name, give in self._gives}}
        return settings if self._becomes is None else self._becomes(settings)

    def column_of(self, path: str) -> str | None:
        """Return the column or columns that a place was filled from, or None."""
        return self._columns_of.get(path.removeprefix("$.").partition(".")[0].partition("[")[0])


def _source(is_set: bool, columns: str) -> str:
    if is_set:
        return f"setting, with {columns}" if columns else "setting"
    return f"column {columns}"


def needed(column: str, table: Sequence[str]) -> None:
    """Raise `ColumnError` where a table lacks a column that a node cannot do without."""
    if column not in table:
        raise ColumnError(f"no column {column!r}{nearest(column, table) or known(table)}")
