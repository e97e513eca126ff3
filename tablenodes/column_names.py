"""Columns whose names mean something else to workflows: told from it by what a plan calls them."""

from __future__ import annotations

INPUTS, OUTPUTS = RESERVED = ("inputs", "outputs")
"""Names that belong to workflows and are never columns: the same in every row, and another in each."""


class ReservedColumn(str):
    """What a plan calls a column with one of the names of `RESERVED`: ``row["outputs"]``, as placeholders reach it.

    Attributes
    ----------
    column : str
        Its own name.
    """

    column: str

    def __new__(cls, column: str) -> ReservedColumn:
        """Make the name for a column."""
        made = super().__new__(cls, f'row["{column}"]')
        made.column = column
        return made


def planned_name(column: str) -> str:
    """Return what a plan calls a column: its own name, or a `ReservedColumn`."""
    return ReservedColumn(column) if column in RESERVED else column


def own_name(name: str) -> str:
    """Return a column's own name, from what a plan calls it."""
    return name.column if isinstance(name, ReservedColumn) else name
