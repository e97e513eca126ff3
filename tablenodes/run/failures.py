"""Why rows failed: once for all that failed alike."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..engine.journal.entry import may_pass
from ..engine.sink import OK, SKIPPED, SUBMITTED, UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..engine.outcomes.rules import Failure

_VARYING = re.compile(r"\b(?:req|chatcmpl)[-_]\w+|\b[0-9A-Fa-f][0-9A-Fa-f-]{11,}\b|\d+(?:[.,]\d+)*")
"""What differs from row to row in the same reason: ids of requests, and numbers."""
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


def failures(ends: Iterable[RowEnd]) -> list[Failed]:
    """Return why rows failed, the most first; answers that are no use have a status that says nothing."""
    known: dict[str | None, str] = {}
    found: dict[tuple[str, int | None, str | None, str], list[int]] = {}
    first: list[RowEnd] = []
    for row, end in enumerate(ends):
        outcome, status, message, reason, _ = end
        if outcome in _NOT_FAILED:
            continue
        if message not in known:
            known[message] = alike(message or "")
        key = outcome, None if outcome == UNUSABLE else status, reason, known[message]
        if key in found:
            found[key][2] += 1
        else:
            found[key] = [len(first), row, 1]
            first.append(end)
    made = []
    for (outcome, status, reason, _), (at, row, count) in found.items():
        _, _, message, _, kind = first[at]
        made.append(Failed(outcome, status, reason, count, row, message or "", may_pass(outcome, kind)))
    return sorted(made, key=lambda each: -each.rows)
