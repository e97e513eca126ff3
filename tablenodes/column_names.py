"""The names of a table's columns in what is said, and those that mean something else to workflows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

# Names that belong to workflows and are never columns: the same in every row, and another in each.
INPUTS, OUTPUTS = RESERVED = ("inputs", "outputs")


class ReservedColumn(str):
    """What a plan calls a column with one of the names of `RESERVED`: ``row["outputs"]``, as placeholders reach it."""

    column: str  # its own name

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


_FILLERS = "\u115f\u1160"
"""Letters that nobody sees, and what others of their kind are normalized to."""


def plainly(name: str) -> str:
    """Return a name without what is easily written in another way: case, width, gaps, and marks that nobody sees."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(sign for sign in folded if sign.isalnum() and sign not in _FILLERS)


def known(columns: Sequence[str]) -> str:
    """Return ``"; the table has a, b, c"``, at most ten names."""
    return f"; the table has {', '.join(columns[:10]) if columns else 'no columns'}{', …' if len(columns) > 10 else ''}"


def free_names(wanted: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """Return each wanted name one that is not taken: itself, or itself with ``_2``, ``_3`` and so on."""
    wanted = list(wanted)
    free, used = {}, {*taken}
    for name in wanted:
        found, number = name, 1
        while found in used or (number > 1 and found in wanted):
            number += 1
            found = f"{name}_{number}"
        used.add(found)
        free[name] = found
    return free
