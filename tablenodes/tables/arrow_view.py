"""Arrow tables, and every other producer of Arrow data once it is read into one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy
import pyarrow

from ..plain import plain
from .arrow_cells import arrow_column
from .json_text import parsed
from .views import Column, TableView, attempt

PARSED = b"tablenodes.json"
"""In the metadata of a field: its texts are JSON, and a cell is the value that its text is."""


class ArrowView(TableView):
    """A `pyarrow.Table`."""

    kind = "pyarrow"

    def __init__(self, table: Any, *, one_shot: bool = False) -> None:
        super().__init__(table, table.column_names, one_shot=one_shot)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def without(self, names: Collection[str]) -> ArrowView:
        """Return the view of the table without some of its columns; it has as many rows, also with no column left."""
        return ArrowView(self.table.drop_columns([*names]))

    def _column(self, name: str) -> Column:
        column = arrow_column(self.table.column(name))
        metadata = self.table.schema.field(name).metadata
        if not metadata or PARSED not in metadata:
            return column

        def read(start: int, stop: int) -> list[Any]:
            texts = column.read(start, stop)
            return [None if text is None else attempt(plain, parsed(text.encode())) for text in texts]

        return Column(read, column.size)

    def cell(self, name: str, position: int) -> Any:
        """Return one cell as the table's own library does."""
        return self.table.column(name)[position].as_py()

    def _take(self, positions: Any) -> Any:
        if (numpy.diff(positions) > 0).all():
            # Unlike take, a filter works chunk by chunk and so never outgrows the offsets of a plain string.
            mask = numpy.zeros(len(self), dtype=bool)
            mask[positions] = True
            return self.table.filter(pyarrow.array(mask))
        return self.table.take(pyarrow.array(positions))

    def _make(self, columns: Mapping[str, Any], nullable: frozenset[str] = frozenset()) -> Any:
        return pyarrow.table(dict(columns))

    def _series(self, name: str, column: Any, *, nullable: bool = False) -> Any:
        return column if isinstance(column, pyarrow.ChunkedArray) else pyarrow.chunked_array([column])

    def _replacing(self, made: Any, kept: list[str]) -> Any:
        table = self.table.select(kept)
        for name in made.column_names if kept else ():
            table = table.append_column(name, made.column(name))
        return table if kept else made
