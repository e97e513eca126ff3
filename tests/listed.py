"""A kind of table as small as can be, for tests: rows of plain values under names. Its view is all that it takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tablenodes.tables.views import Column, TableView


class Listed:
    """Columns of plain values."""

    def __init__(self, columns: Mapping[str, list[Any]]) -> None:
        self.columns = dict(columns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listed) and other.columns == self.columns

    __hash__ = None


class ListedView(TableView):
    """What `tablenodes.tables.views.TableView` asks for, and no more."""

    kind = "listed"

    def __init__(self, table: Listed) -> None:
        super().__init__(table, table.columns)

    def __len__(self) -> int:
        return len(next(iter(self.table.columns.values()), ()))

    def without(self, names: Collection[str]) -> ListedView:
        return ListedView(Listed({name: cells for name, cells in self.table.columns.items() if name not in names}))

    def _column(self, name: str) -> Column:
        cells = self.table.columns[name]
        return Column(lambda start, stop: cells[start:stop])

    def cell(self, name: str, position: int) -> Any:
        return self.table.columns[name][position]

    def _take(self, positions: Any) -> Listed:
        return Listed({name: [cells[each] for each in positions] for name, cells in self.table.columns.items()})

    def _make(self, columns: Mapping[str, Any], nullable: frozenset[str] = frozenset()) -> Listed:
        return Listed({name: self._series(name, column) for name, column in columns.items()})

    def _series(self, name: str, column: Any, *, nullable: bool = False) -> list[Any]:
        return column.to_pylist()

    def _replacing(self, made: Listed, kept: list[str]) -> Listed:
        return Listed({name: self.table.columns[name] for name in kept} | made.columns)
