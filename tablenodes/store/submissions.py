"""Submissions in the store: which rows have an id already, and what their limits are counted by."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..engine.journal import KeptAnswer
from . import ids

_CLEARED = 4
"""Turns of a name in a row that are not there, behind which none is looked for: earlier ones may have been deleted."""
_TOGETHER = 500  # ids in one question
_STATE = "SELECT id, a.finished, a.outcome, a.kind FROM future LEFT JOIN answer a USING (number) WHERE id IN ({})"
_HELD = """
SELECT f.number, f.recipe FROM future f JOIN pending p USING (number, recipe) JOIN recipe r ON r.number = f.recipe
WHERE f.id = ? AND f.recipe <> ? AND r.reason IS NOT NULL AND r.not_before >= 0
"""
_PUT = """INSERT INTO submission (token, name, node, output, began, digest) VALUES (?, ?, ?, ?, ?, x'')
ON CONFLICT (token) DO UPDATE SET began = excluded.began RETURNING number"""
_OF_ANOTHER_FILE = """UPDATE future SET submission = ?1 WHERE id = ?2 AND submission IN (
    SELECT number FROM submission WHERE number = future.submission AND output IS NOT ?3)"""
_POOL = """SELECT json_extract(r.recipe, '$.once') FROM future f JOIN recipe r ON r.number = f.recipe
WHERE f.id IN ({}) AND json_extract(r.recipe, '$.once') IS NOT NULL ORDER BY f.number DESC LIMIT 1"""


class Submission(NamedTuple):
    """One call of a node that submits rows."""

    token: bytes
    name: str | None
    node: str
    output: str | None  # the file that the ids go to
    began: float


class Put(NamedTuple):
    """The ids of rows that were put down, and how many of them were submitted before."""

    ids: list[str]
    known: int


def put(database: sqlite3.Connection, submission: Submission) -> int:
    """Put a submission down, unless it is; return its number."""
    return int(database.execute(_PUT, submission).fetchone()[0])


def carry_over(database: sqlite3.Connection, number: int, output: str | None, known: Iterable[bytes]) -> None:
    """Count rows that were submitted before among a submission by which their ids go to another file."""
    if output is not None:
        database.executemany(_OF_ANOTHER_FILE, [(number, each, output) for each in known])


def pool(database: sqlite3.Connection, some: Sequence[bytes]) -> str | None:
    """Return what limits over all rows are counted by, for the last of some rows that has such limits."""
    found = database.execute(_POOL.format(", ".join("?" * len(some))), some).fetchone()
    return None if found is None else str(found[0])


def ids_for(
    database: sqlite3.Connection, names: Sequence[bytes], *, keeps: bool
) -> tuple[list[bytes], set[bytes], int]:
    """Return the id of each name, those that rows keep, and how many of the names were submitted before.

    Where it `keeps`, a row that is pending, answered, or failed for good has its id still. Else each id is new, the
    name's first where that is free.
    """
    salt = bytes(database.execute("SELECT salt FROM store").fetchone()[0])
    made, kept, known = list[bytes](), set[bytes](), 0
    for name, (turn, finished, end) in zip(names, last_turns(database, salt, names, looks_on=keeps), strict=True):
        is_kept = keeps and turn >= 0 and not (finished and end.may_pass)
        is_named = keeps or turn < 0
        made.append(ids.named_id(salt, name, turn if is_kept else turn + 1) if is_named else ids.new_id())
        if is_kept:
            kept.add(made[-1])
        known += is_kept or not is_named
    return made, kept, known


def move_held(database: sqlite3.Connection, known: Iterable[bytes], group: int) -> None:
    """Have rows that wait be asked in another way, where something keeps them: nobody is at work on those."""
    for future_id in known:
        row = database.execute(_HELD, (future_id, group)).fetchone()
        if row is not None:
            number, held = row
            database.execute("UPDATE future SET recipe = ? WHERE number = ?", (group, number))
            database.execute("DELETE FROM pending WHERE recipe = ? AND number = ?", (held, number))
            database.execute("INSERT INTO pending VALUES (?, ?)", (group, number))


def last_turns(
    database: sqlite3.Connection, salt: bytes, names: Sequence[bytes], *, looks_on: bool = True
) -> list[tuple[int, bool, KeptAnswer]]:
    """Return the last turn of each name that is there, -1 for none; whether it has come to its end, and to which.

    Unless it `looks_on`, only the first one is looked for.
    """
    ends, turn = [(-1, False, KeptAnswer())] * len(names), 0
    looked_for: Sequence[int] = range(len(names))
    while looked_for:
        of = {ids.named_id(salt, names[at], turn): at for at in looked_for}
        wanted = sorted(of)  # neighbours are on the same pages
        for some in (wanted[start : start + _TOGETHER] for start in range(0, len(wanted), _TOGETHER)):
            rows = database.execute(_STATE.format(", ".join("?" * len(some))), some)
            for future_id, finished, *end in rows:
                ends[of[future_id]] = turn, finished is not None, KeptAnswer(*end)
        turn += 1
        looked_for = [at for at in looked_for if turn <= (ends[at][0] + _CLEARED if looks_on else 0)]
    return ends
