"""The index of a folder of journals: where each answer is, and which row of a run has taken it.

It is made of the journals, and made again where it is lost. A row of a run is that of a batch (its *owner*) and the
occurrence of its digest there. It takes the answer that the same row of the same batch had, else the next of its digest
that no other row of the run has taken; what other batches are sent in the same run is theirs.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...database_file import FileKind
from ...errors import JournalError
from ..outcomes.rules import Failure
from ..sink import OK, UNUSABLE
from .entry import Key, may_pass

_TABLES = """
CREATE TABLE IF NOT EXISTS file (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, run TEXT NOT NULL, owner TEXT NOT NULL, whole INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS answer (
    digest INTEGER NOT NULL, file INTEGER NOT NULL, place INTEGER NOT NULL, occurrence INTEGER NOT NULL,
    state INTEGER NOT NULL, PRIMARY KEY (digest, file, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claim (
    run TEXT NOT NULL, digest INTEGER NOT NULL, file INTEGER NOT NULL, place INTEGER NOT NULL,
    owner TEXT NOT NULL, occurrence INTEGER NOT NULL, PRIMARY KEY (run, digest, file, place)
) WITHOUT ROWID;
"""
_FOUND = """
SELECT answer.file, answer.place, answer.occurrence, state, file.run, file.owner, claim.owner, claim.occurrence
FROM answer JOIN file ON file.id = answer.file LEFT JOIN claim
ON claim.run = ? AND claim.digest = answer.digest AND claim.file = answer.file AND claim.place = answer.place
WHERE answer.digest = ? ORDER BY answer.file, answer.place
"""
_PUT_FILE = "INSERT OR IGNORE INTO file (name, run, owner, whole) VALUES (?, ?, ?, 0)"
_WAIT = 120.0  # seconds that another process is waited for, which is putting a journal into the index
_CACHE = 65_536  # KiB: digests come in no order, so each may be anywhere in the index
_DOUBT, _PASSING, _SETTLED, _ANSWERED = range(4)  # what is known of a row
_ANEW = "the journal's index cannot be read; delete this file: it is made anew"
_CODES = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)
_KIND = FileKind("journal's index", JournalError, "nothing", dict.fromkeys(_CODES, _ANEW))


class Found(NamedTuple):
    """A row of one of the journals: which file, and which place there; whether it need not be sent again by itself."""

    file: int
    place: int
    settled: bool


class _Answer(NamedTuple):
    file: int
    place: int
    occurrence: int
    state: int
    run: str
    owner: str
    claimed_by: str | None
    claimed_as: int | None


class AnswerIndex:
    """The index of one folder, as one batch of a run looks into it."""

    def __init__(self, path: Path, run: str, owner: str) -> None:
        self._run, self._owner, self._path = run, owner, path
        with _KIND.worded(path):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            # Not WAL: the folder may be one that several machines share. Nor does a loss matter.
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute("PRAGMA journal_mode = TRUNCATE")
            self._database.execute(f"PRAGMA cache_size = -{_CACHE}")
            if self._one("SELECT COUNT(*) FROM sqlite_schema") == 0:
                with self._written():
                    for statement in filter(str.strip, _TABLES.split(";")):
                        self._database.execute(statement)

    def whole(self) -> frozenset[str]:
        """Return the names of the journals of which all is in the index."""
        with _KIND.worded(self._path):
            return frozenset(name for (name,) in self._database.execute("SELECT name FROM file WHERE whole"))

    def add(self, name: str, run: str, owner: str, rows: Iterable[Sequence[Any]], *, whole: bool) -> int:
        """Put the rows of a journal into the index; return the number by which it knows the file."""
        with _KIND.worded(self._path), self._written():
            self._database.execute(_PUT_FILE, (name, run, owner))
            file, known = self._database.execute("SELECT id, whole FROM file WHERE name = ?", (name,)).fetchone()
            if not known:
                made = sorted((_number(row[1]), file, row[0], row[2], _state(row[5], row[6])) for row in rows)
                self._database.executemany("INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?)", made)
                self._database.execute("UPDATE file SET whole = ? WHERE id = ?", (whole, file))
        return int(file)

    def name_of(self, file: int) -> str:
        """Return the name of a journal."""
        with _KIND.worded(self._path):
            return str(self._one("SELECT name FROM file WHERE id = ?", (file,)))

    def has_answers(self) -> bool:
        """Check whether a row was answered."""
        with _KIND.worded(self._path):
            return self._one("SELECT 1 FROM answer WHERE state = ? LIMIT 1", (_ANSWERED,)) is not None

    def taken(self, keys: Iterable[Key]) -> list[Found | None]:
        """Return where the end of each row is that it has from now on, or what is known of it; else None."""
        with _KIND.worded(self._path):
            if self._one("SELECT 1 FROM answer LIMIT 1") is None:
                return [None for _ in keys]
            with self._written():
                known: dict[bytes, _Shelf] = defaultdict(_Shelf)
                return [self._take(key, known[key.digest]) for key in keys]

    def _take(self, key: Key, shelf: _Shelf) -> Found | None:
        number = _number(key.digest)
        if not shelf.is_read:
            shelf.read([_Answer(*row) for row in self._database.execute(_FOUND, (self._run, number))])
            shelf.sort(self._run, self._owner)
        mine = shelf.own.get(key.occurrence)
        if mine is not None and (mine.run == self._run or mine.claimed_by is not None):
            return Found(mine.file, mine.place, settled=True)
        if mine is None:
            mine = next(shelf.free, None)
        if mine is None:
            last = shelf.unsettled.get(key.occurrence)
            return None if last is None else Found(last.file, last.place, settled=False)
        claim = self._run, number, mine.file, mine.place, self._owner, key.occurrence
        self._database.execute("INSERT OR IGNORE INTO claim VALUES (?, ?, ?, ?, ?, ?)", claim)
        return Found(mine.file, mine.place, settled=True)

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        """Have all that is done meanwhile be one change, beside which nobody else makes one."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise

    def _one(self, statement: str, parameters: tuple[Any, ...] = ()) -> Any:
        with closing(self._database.execute(statement, parameters)) as cursor:
            found = cursor.fetchone()
        return None if found is None else found[0]


class _Shelf:
    """The answers of one digest, as far as a batch may take them."""

    def __init__(self) -> None:
        self.is_read = False
        self.own: dict[int, _Answer] = {}  # by the occurrence that they are the batch's own of
        self.unsettled: dict[int, _Answer] = {}
        self.free: Iterator[_Answer] = iter(())
        self._answers: list[_Answer] = []

    def read(self, answers: list[_Answer]) -> None:
        self.is_read, self._answers = True, answers

    def sort(self, run: str, owner: str) -> None:
        """Part them: what is the batch's own, by a claim or because it was sent for it; what nobody has; the rest."""
        settled = [each for each in self._answers if each.state >= _SETTLED]
        claimed = {each.claimed_as: each for each in settled if each.claimed_by == owner}
        unclaimed = [each for each in settled if each.claimed_by is None]
        sent: dict[int, _Answer] = {}
        for each in unclaimed:
            if each.owner == owner:
                sent.setdefault(each.occurrence, each)
        self.own = sent | {at: each for at, each in claimed.items() if at is not None}
        places = {(each.file, each.place) for each in self.own.values()}
        self.free = (each for each in unclaimed if each.run != run and (each.file, each.place) not in places)
        own = (each for each in self._answers if each.state < _SETTLED and each.owner == owner)
        self.unsettled = {each.occurrence: each for each in own}


def _number(digest: bytes) -> int:
    return int.from_bytes(digest[:8], signed=True)


def _state(outcome: str | None, kind: str | None) -> int:
    if outcome is None:
        return _DOUBT
    if outcome in (OK, UNUSABLE):
        return _ANSWERED
    return _PASSING if may_pass(outcome, None if kind is None else Failure(kind)) else _SETTLED
