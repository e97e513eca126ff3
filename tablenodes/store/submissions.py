"""Submissions in the store: which rows have an id already, and what was submitted when, by which node, for what."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..engine.journal import KeptAnswer
from . import ids

_CLEARED = 4
"""Turns of a name in a row that are not there, behind which none is looked for: earlier ones may have been deleted."""
_STATE = "SELECT a.finished, a.outcome, a.kind FROM future LEFT JOIN answer a USING (number) WHERE id = ?"
_HELD = """
SELECT f.number, f.recipe FROM future f JOIN pending p USING (number, recipe) JOIN recipe r ON r.number = f.recipe
WHERE f.id = ? AND f.recipe <> ? AND r.reason IS NOT NULL AND r.not_before >= 0
"""
_LISTED = """
SELECT f.id, s.name, f.submitted, s.node, s.output, CASE WHEN p.number IS NULL THEN a.outcome END
FROM future f LEFT JOIN submission s ON s.number = f.submission LEFT JOIN answer a ON a.number = f.number
LEFT JOIN pending p ON p.number = f.number AND p.recipe = f.recipe
WHERE ?1 IS NULL OR s.name = ?1 ORDER BY f.number
"""
_PUT = """INSERT INTO submission (token, name, node, output, began, digest) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (token) DO UPDATE SET digest = excluded.digest RETURNING number"""


class Submission(NamedTuple):
    """One call of a node that submits rows."""

    token: bytes
    name: str | None
    node: str
    output: str | None  # the file that the ids go to
    began: float
    digest: bytes = b""  # of what all its rows ask


class Listed(NamedTuple):
    """One row that was submitted; the outcome is ``pending`` until it has one."""

    id: str
    submission: str | None
    when: float
    node: str | None
    output: str | None
    outcome: str


def put(database: sqlite3.Connection, submission: Submission) -> int:
    """Put a submission down, or what its rows so far ask; return its number."""
    return int(database.execute(_PUT, submission).fetchone()[0])


def equal(database: sqlite3.Connection, submission: Submission) -> float | None:
    """Return when rows that ask the same were submitted last, before; None if they were not."""
    question = "SELECT max(began) FROM submission WHERE digest = ? AND token <> ?"
    found: float | None = database.execute(question, (submission.digest, submission.token)).fetchone()[0]
    return found


def listed(database: sqlite3.Connection, submission: str | None) -> Iterator[Listed]:
    """Yield the rows of the store, or of a submission, in their order."""
    for future_id, name, when, node, output, outcome in database.execute(_LISTED, (submission,)):
        yield Listed(ids.written(future_id), name, when, node, output, outcome or "pending")


def by_name(database: sqlite3.Connection, names: Sequence[bytes], known: set[bytes]) -> list[bytes]:
    """Return the id of each name, and add those to `known` that are in use: pending, answered, or failed for good."""
    (salt,) = database.execute("SELECT salt FROM store").fetchone()
    made = []
    for name in names:
        turn, finished, end = last_turn(database, salt, name)
        is_known = turn >= 0 and not (finished and end.may_pass)
        made.append(ids.named_id(salt, name, turn if is_known else turn + 1))
        if is_known:
            known.add(made[-1])
    return made


def move_held(database: sqlite3.Connection, known: Iterable[bytes], group: int) -> None:
    """Have rows that wait be asked in another way, where something keeps them: nobody is at work on those."""
    for future_id in known:
        row = database.execute(_HELD, (future_id, group)).fetchone()
        if row is not None:
            number, held = row
            database.execute("UPDATE future SET recipe = ? WHERE number = ?", (group, number))
            database.execute("DELETE FROM pending WHERE recipe = ? AND number = ?", (held, number))
            database.execute("INSERT INTO pending VALUES (?, ?)", (group, number))


def last_turn(database: sqlite3.Connection, salt: bytes, name: bytes) -> tuple[int, bool, KeptAnswer]:
    """Return the last turn of a name that is there, -1 for none; whether it has come to its end, and to which."""
    last, finished, end = -1, False, KeptAnswer()
    turn = 0
    while turn <= last + _CLEARED:
        found = database.execute(_STATE, (ids.named_id(salt, name, turn),)).fetchone()
        if found is not None:
            last, finished, end = turn, found[0] is not None, KeptAnswer(*found[1:])
        turn += 1
    return last, finished, end
