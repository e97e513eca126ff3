"""What a node makes of a table's rows, before any of them is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..column_names import planned_name
from ..errors import ColumnError, nearest
from ..templates.template import known
from .schema_types import Typing
from .values import CellValue, Row, is_varying

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..schemas import Schema


class RowPlan(Protocol):
    """What a node makes of the rows of one table.

    Attributes
    ----------
    columns : tuple of str
        The columns that are read, in the order in which their cells are given to `encode`.
    sources : mapping of str to str
        Where each setting or property comes from.
    taken : tuple of str
        The columns that are taken because of their names.
    warnings : tuple of str
        What was perhaps not meant, whatever the rows hold.
    schema : Schema or None
        The schema of the bodies; None where nothing is sent.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """Give the columns that are read."""

    @property
    def sources(self) -> Mapping[str, str]:
        """Give where each setting or property comes from."""

    @property
    def taken(self) -> tuple[str, ...]:
        """Give the columns that are taken because of their names."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Give what was perhaps not meant."""

    @property
    def schema(self) -> Schema | None:
        """Give the schema of the bodies; None where nothing is sent."""

    def ahead(self, rows: Iterable[Any]) -> Iterable[Any]:
        """Give the same rows; what they need from elsewhere is read for many at a time."""

    def encode(self, cells: tuple[Any, ...]) -> Any:
        """Give what a row becomes: the bytes of a body, or a node's settings by name.

        Raises
        ------
        Rejected
            If nothing can be made of it.
        """

    def column_of(self, path: str) -> str | None:
        """Give the column or columns that a place was filled from, or None."""

    def looks_like_json(self, body: Mapping[str, Any]) -> set[str]:
        """Give the places of a body whose text was probably meant as a JSON array."""


class _AnyText:
    """A schema that leaves everything as it is."""

    def admits(self, path: tuple[str | int, ...]) -> frozenset[str]:
        """Give the names of the JSON types."""
        return frozenset(("string", "number", "integer", "boolean", "array", "object", "null"))


class SettingsPlan:
    """The settings of a node that sends nothing, row by row; see `RowPlan`.

    Parameters
    ----------
    settings : mapping
        Parsed settings: plain values, and those that depend on the row.
    table : sequence of str
        The table's columns.
    defaults : mapping of str to str
        For settings that are not set, the column that gives them where the table has it.
    constants : mapping, optional
        What ``inputs`` and ``outputs`` stand for in placeholders.

    Raises
    ------
    ColumnError
        If a column that is named is not there.
    """

    schema: Schema | None = None

    def __init__(
        self,
        settings: Mapping[str, Any],
        table: Sequence[str],
        *,
        defaults: Mapping[str, str] | None = None,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
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
        self.warnings: tuple[str, ...] = ()
        self._columns_of = {name: ", ".join(dict.fromkeys(value.columns())) for name, value in varying.items()}
        self.sources = {name: _source(name in settings, self._columns_of.get(name, "")) for name in values}
        row = Row(tuple(table), {name: i for i, name in enumerate(self.columns)}, constants)
        anything = Typing(_AnyText(), ())
        self._constants = {name: value for name, value in values.items() if name not in varying}
        self._gives = [(name, value.bind(row, anything.below(name), f"$.{name}")) for name, value in varying.items()]

    def ahead(self, rows: Iterable[Any]) -> Iterable[Any]:
        """Give the same rows."""
        return rows

    def encode(self, cells: tuple[Any, ...]) -> dict[str, Any]:
        """Give the settings for a row, by name; None for a null cell."""
        return {**self._constants, **{name: give(cells) for name, give in self._gives}}

    def column_of(self, path: str) -> str | None:
        """Give the column or columns that a place was filled from, or None."""
        return self._columns_of.get(path.removeprefix("$.").partition(".")[0].partition("[")[0])

    def looks_like_json(self, body: Mapping[str, Any]) -> set[str]:
        """Give nothing: nothing is sent."""
        return set()


def _source(is_set: bool, columns: str) -> str:
    if is_set:
        return f"setting, with {columns}" if columns else "setting"
    return f"column {columns}"


def needed(column: str, table: Sequence[str]) -> None:
    """Raise `ColumnError` where a table lacks a column that a node cannot do without."""
    if column not in table:
        raise ColumnError(f"no column {column!r}{nearest(column, table) or known(table)}")
