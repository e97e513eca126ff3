"""What a retrieval gives, in place of what an earlier one put into the same table."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..run.output import Responses

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from ..engine.sink import Records
    from ..run.summary import Summary
    from ..tables import TableView

PENDING = "pending"
_MADE = ("text", "status", "outcome")


class Retrieved(Responses[Any]):
    """Answers by their ids, and the table that had the ids."""

    def __init__(
        self,
        view: TableView,
        records: Records,
        summary: Summary,
        asked: Callable[[], Iterable[str | None]],
        ids: Collection[str],
    ) -> None:
        super().__init__(view, records, summary, asked)
        self._ids = tuple(ids)

    @cached_property
    def table(self) -> Any:
        """The configuration with ``text``, ``status`` and ``outcome`` to its right; a clash of names gets a suffix.

        They take the places of those of an earlier retrieval, to the right of the ids, where these say nothing more.
        """
        names = self._earlier()
        if names is None:
            return super().table
        made = (self.texts(), self._records.status, self._records.outcome)
        types = ("text", "integer", "text")
        return self._view.replacing(dict(zip(names, made, strict=True)), dict(zip(names, types, strict=True)))

    def _earlier(self) -> tuple[str, ...] | None:
        """Return the names of the columns of an earlier retrieval, None where there are none or they say more."""
        columns = self._view.columns
        behind = max((columns.index(name) + 1 for name in self._ids if name in columns), default=len(columns))
        now = [*zip(self.texts(), self._records.status, self._records.outcome, strict=True)]
        for names in _candidates(columns[behind:]):
            if all(map(_says_no_more, self._view.rows(names), now)):
                return names
        return None


def _candidates(columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Yield every three adjacent columns that have the names of a retrieval's own."""
    beside = [tuple(columns[at : at + len(_MADE)]) for at in range(len(columns) - len(_MADE) + 1)]
    return [
        names
        for names in beside
        if all(re.fullmatch(rf"{own}(_[0-9]+)?", name) for own, name in zip(_MADE, names, strict=True))
    ]


def _says_no_more(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Check whether what a table says of a row is what is known now, or that nothing was known."""
    text, status, outcome = before
    if outcome == PENDING:
        return text is None and status is None
    return outcome == now[2] and _is_same(text, now[0]) and _is_same(status, now[1])


def _is_same(cell: Any, now: str | int | None) -> bool:
    """Check whether a cell is null or what is known now; a file's reader may have taken a text for a number."""
    if cell is None or cell == now:
        return True
    try:
        return isinstance(cell, str | int | float) and now is not None and float(cell) == float(now)
    except ValueError:
        return False
