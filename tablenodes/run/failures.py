"""Why rows failed: once for all that failed alike."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..engine.journal.entry import may_pass
from ..engine.sink import OK, SKIPPED, SUBMITTED, UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ..engine.outcomes.rules import Failure

_VARYING = re.compile(r"\b(?:req|chatcmpl)[-_]\w+|\b[0-9A-Fa-f][0-9A-Fa-f-]{11,}\b|\d+(?:[.,]\d+)*")
"""What differs from row to row in the same reason: ids of requests, and numbers."""
MOST = 10_000
_NOT_FAILED = (OK, SKIPPED, SUBMITTED)  # a row that is pending has a reason to show

RowEnd: TypeAlias = "tuple[str, int | None, str | None, str | None, Failure | None]"
"""A row's outcome, status, message, reason, and the class of its failure."""


class Failed(NamedTuple):
    """Rows that failed alike: as what, with which status and code, how many, the first of them, and why.

    `passes` says whether a later run with the same journal sends such rows again by itself.
    """

    outcome: str
    status: int | None
    reason: str | None
    rows: int
    row: int
    message: str
    passes: bool


def alike(message: str) -> str:
    """Return a message without what differs from row to row."""
    return _VARYING.sub("#", message)


class Failures:
    """Groups the rows that failed by what they failed of, as they come, and keeps the first of each group.

    Beyond `MOST` groups, those of an outcome are one.
    """

    def __init__(self) -> None:
        self._known: dict[str | None, str] = {}
        self._found: dict[tuple[str, int | None, str | None, str], list[int]] = {}
        self._first: list[RowEnd] = []

    def add(
        self, ends: Iterable[RowEnd], rows: Iterable[int] | None = None, without: Collection[int] = ()
    ) -> dict[int, int]:
        """Add rows, which are at these positions; `without` those that have not ended.

        Return which of the ends given are the first of their groups now, by the groups' numbers.
        """
        found, known, firsts = self._found, self._known, {}
        for at, (row, end) in enumerate(zip(count() if rows is None else rows, ends, strict=False)):
            outcome, status, message, reason, _ = end
            if outcome in _NOT_FAILED or at in without:
                continue
            if message not in known:
                if len(known) >= MOST:
                    known.clear()
                known[message] = alike(message or "")
            key = outcome, None if outcome == UNUSABLE else status, reason, known[message]
            if key not in found and len(found) >= MOST:
                key = outcome, None, None, ""
            if (group := found.get(key)) is None:
                firsts[len(self._first)] = at
                found[key] = [len(self._first), row, 1]
                self._first.append(end)
                continue
            if row < group[1]:
                self._first[group[0]], group[1], firsts[group[0]] = end, row, at
            group[2] += 1
        return firsts

    def listed(self) -> list[Failed]:
        """Return why rows failed, the most first; answers that are no use have a status that says nothing."""
        made = []
        for (outcome, status, reason, words), (at, row, rows) in self._found.items():
            _, _, message, _, kind = self._first[at]
            told = message if words else ""
            made.append(Failed(outcome, status, reason, rows, row, told or "", may_pass(outcome, kind)))
        return sorted(made, key=lambda each: -each.rows)


def failures(ends: Iterable[RowEnd]) -> list[Failed]:
    """Return why the rows of a table failed, the most first."""
    made = Failures()
    made.add(ends)
    return made.listed()
