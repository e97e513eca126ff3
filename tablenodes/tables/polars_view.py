"""Polars data frames; imported only where one was given, so Polars is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import polars
from pyarrow import types

from ..plain import plain
from .arrow_cells import arrow_column
from .views import Column, TableView, attempt

_WIDE = ("Int128", "UInt128")


class PolarsView(TableView):
    """A `polars.DataFrame`."""

    kind = "polars"

    def __init__(self, table: Any, height: int | None = None) -> None:
        super().__init__(table, table.columns)
        self._rows_given = table.clone()
        self._height = int(table.height) if height is None else height  # of a frame without columns, it is 0

    def __len__(self) -> int:
        return self._height

    def without(self, names: Collection[str]) -> PolarsView:
        """Return the view of the table without some of its columns; it has as many rows, also with no column left."""
        return PolarsView(self._rows_given.drop(names), self._height)

    def _column(self, name: str) -> Column:
        cells = self._rows_given.get_column(name)
        kind = cells.dtype
        if kind == polars.Object or str(kind) in _WIDE:  # which Arrow has no type for
            return Column(lambda start, stop: _objects(cells.slice(start, stop - start).to_list()))
        # Once and as a frame: that copies nothing, where a part of a list column would copy the whole.
        level = (
            polars.CompatLevel.oldest() if kind in (polars.Categorical, polars.Enum) else polars.CompatLevel.newest()
        )
        table = cells.to_frame().to_arrow(compat_level=level)
        return arrow_column(table.column(0))

    def cell(self, name: str, position: int) -> Any:
        """Return one cell as the table's own library does."""
        return self._rows_given.get_column(name)[position]

    def _take(self, positions: Any) -> Any:
        if not self.columns:
            return self._rows_given
        return self._rows_given[polars.Series(positions, dtype=polars.UInt32), :]

    def _make(self, columns: Mapping[str, Any], nullable: frozenset[str] = frozenset()) -> Any:
        return polars.DataFrame([self._series(name, column) for name, column in columns.items()])

    def _series(self, name: str, column: Any, *, nullable: bool = False) -> Any:
        if types.is_dictionary(column.type):
            return polars.Series(name, column.cast(column.type.value_type)).cast(
                polars.Enum(column.dictionary.to_pylist())
            )
        return polars.Series(name, column)

    def _replacing(self, made: Any, kept: list[str]) -> Any:
        return self._rows_given.select(kept).with_columns(made.get_columns()) if kept else made


def _objects(cells: list[Any]) -> list[Any]:
    return [None if cell is None else attempt(plain, cell) for cell in cells]
