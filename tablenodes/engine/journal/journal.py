"""The journal: every answer on disk before its slot is used again, so that nothing paid for is lost or paid twice."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import JournalError
from ..sink import OK
from . import journal_file
from .entry import Entry, KeptAnswer, Key
from .journal_file import check_sum, check_sum_of_intent, worded

_COLUMNS = "id, digest, occurrence, sends, billed, outcome, kind, status, headers, body, fault, message, latency, crc"
_BY_PLACE = f"SELECT {_COLUMNS} FROM row WHERE id = ?"  # noqa: S608 - constants
_BY_KEY = f"SELECT {_COLUMNS} FROM row WHERE digest = ? AND occurrence = ?"  # noqa: S608
_INTEND = "INSERT OR REPLACE INTO row (id, digest, occurrence, sends, billed, crc) VALUES (?, ?, ?, ?, ?, ?)"
_DONE = """
UPDATE row SET sends = ?, billed = ?, outcome = ?, kind = ?, status = ?, headers = ?, body = ?, fault = ?, message = ?,
latency = ?, crc = ? WHERE id = ?
"""
_BETWEEN_LOOKS = 0.5  # seconds between two looks whether the file is still there
_TALLY = "SELECT outcome, COUNT(*), SUM(sends) FROM row GROUP BY outcome ORDER BY COUNT(*) DESC, outcome"


class Journal:
    """One SQLite file, held by one run at a time; what is recorded is on the disk with the next `commit`.

    `looks` opens it for reading alone, where its last run came to its end. `rows` is how many it had when it was
    opened, `sends` the requests of all runs; one for several rows counts once.

    Raises `JournalError` if it is held by another run, is no journal or of another version, or is damaged. It is never
    begun anew by itself: that would pay for every row again.
    """

    def __init__(self, path: Path, *, looks: bool = False) -> None:
        self.path = path
        self._looks = looks and journal_file.is_at_rest(path)
        found = journal_file.looked_into(path) if self._looks else journal_file.opened(path)
        self._database, self.rows, self.sends = found
        self._last = self._last_on_disk = self.rows
        self._indexed = self._failed = False
        self._intents: list[Entry] = []
        self._dones: list[tuple[Any, ...]] = []
        self._shared = 0
        self._place = journal_file.place_of(path)
        self._log = Path(f"{path}-wal")
        self._log_place = journal_file.place_of(self._log)
        self._look_at = 0.0
        self.is_lost = False  # whether the file was deleted, moved or replaced

    def __len__(self) -> int:
        return self._last

    def at(self, place: int) -> Entry | None:
        """Return the row at a place, or None."""
        return _found(self._execute(_BY_PLACE, (place,)).fetchone())

    def find(self, key: Key) -> Entry | None:
        """Return the row of a key, or None."""
        if not self._indexed:
            with worded(self.path):
                journal_file.make_index(self._database)
            self._indexed = True
        return _found(self._execute(_BY_KEY, key).fetchone())

    def tally(self) -> list[tuple[str | None, int, int]]:
        """Return each outcome (None for in doubt), its rows and the sends that were begun for them; the most first."""
        return self._execute(_TALLY).fetchall()

    def __iter__(self) -> Iterator[Entry]:
        """Yield the rows, in the order in which they were first sent."""
        yield from filter(None, map(self.at, range(1, len(self) + 1)))

    def intend(self, entry: Entry) -> None:
        """Record that a row is about to be sent."""
        if not entry.place:
            self._last += 1
            entry.place = self._last
        entry.sends += 1
        if entry.rides:
            self._shared += 1
        else:
            self.sends += 1
        self._intents.append(entry)

    def done(self, entry: Entry, kept: KeptAnswer, *, billed: bool = False, unforeseen: int = 0) -> None:
        """Record what came of a send; `unforeseen` are sends beyond the one that was intended."""
        if unforeseen:
            self._count(entry, unforeseen)
        entry.billed = entry.billed or billed
        outcome, kind, status, headers, body, fault, message, _ = kept
        counted = entry.sends, int(entry.billed)
        crc = check_sum(*entry.key, *counted, outcome, kind, status, fault, message, headers, body)
        self._dones.append((*counted, *kept, crc, entry.place))

    def commit(self) -> None:
        """Bring everything that was recorded to the disk, with one sync.

        Raises `JournalError` if the disk is full or fails. What was intended is then taken back, for nothing of it was
        sent; the answers are kept, and are tried again with the next commit.
        """
        database = self._database
        try:
            self._look_for_the_file()
            if not self._intents and not self._dones:
                return
            with worded(self.path):
                if self._failed:  # what is in the log comes into the file, so that its space can be written again
                    database.execute("PRAGMA wal_checkpoint(RESTART)")
                database.execute("BEGIN IMMEDIATE")
                if self._dones:
                    database.executemany(_DONE, self._dones)
                if self._intents:
                    database.executemany(_INTEND, map(_intent, self._intents))
                if self._shared:
                    journal_file.count_shared(database, self._shared)
                database.execute("COMMIT")
        except JournalError:
            self._failed = True
            self._take_back()
            raise
        self._dones.clear()
        self._intents.clear()
        self._shared = 0
        self._last_on_disk = self._last

    def _look_for_the_file(self) -> None:
        """Raise `JournalError` where the file that is written has its name no more: nobody would find it again."""
        now = time.monotonic()
        if self.is_lost or now >= self._look_at:
            self._look_at = now + _BETWEEN_LOOKS
            self.is_lost = self.is_lost or journal_file.place_of(self.path) != self._place
            if not self.is_lost and journal_file.place_of(self._log) != self._log_place is not None:
                self._log_place = None  # said once: SQLite holds it, and brings what is in it into the file
                raise JournalError(
                    f"{self._log}: this part of the journal was deleted, moved or replaced while the run wrote to it; "
                    "run again to go on: what was answered is kept"
                )
        if self.is_lost:
            raise JournalError(
                f"{self.path}: the journal was deleted, moved or replaced while the run was writing to it; "
                "save the output's table, and put the journal back, or choose another path, before you run again"
            )

    def unsaved(self) -> int:
        """Return how many rows have answers that could not be put into the file; one more try is made."""
        with suppress(JournalError):
            self.commit()
        outcomes = {done[-1]: done[2] for done in self._dones}  # of a row that was sent again, the last one
        return sum(outcome == OK for outcome in outcomes.values())

    def close(self) -> None:
        """Commit, mark the end as a clean one, and let the file go; whoever must know what fails commits first."""
        with suppress(JournalError):
            self.commit()
        if self._looks:
            self._database.close()
        else:
            journal_file.closed(self._database)

    def _count(self, entry: Entry, sends: int) -> None:
        entry.sends += sends
        if entry.rides:
            self._shared += sends
        else:
            self.sends += sends

    def _take_back(self) -> None:
        for entry in self._intents:
            self._count(entry, -1)
            if entry.place > self._last_on_disk:
                entry.place = 0
        self._last = self._last_on_disk
        self._intents.clear()
        if self._database.in_transaction:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")

    def _execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        with worded(self.path):
            return self._database.execute(statement, parameters)


class Finder:
    """Finds rows one after the other, in the table's order.

    In an unchanged table each stands behind the one before, and once all of the journal's are found no other is looked
    for: only for what was moved, added or removed is the index asked.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._next = 1
        self._left = journal.rows

    def find(self, key: Key) -> Entry | None:
        """Return the row of a key, or None."""
        if not self._left:
            return None
        found = self._journal.at(self._next)
        if found is None or found.key != key:
            found = self._journal.find(key)
            if found is None:
                return None
        self._left -= 1
        self._next = found.place + 1
        return found


def _intent(entry: Entry) -> tuple[Any, ...]:
    digest, occurrence = entry.key
    sends, billed = entry.sends, int(entry.billed)
    return entry.place, digest, occurrence, sends, billed, check_sum_of_intent(digest, occurrence, sends, billed)


def _found(columns: tuple[Any, ...] | None) -> Entry | None:
    if columns is None:
        return None
    place, digest, occurrence, sends, billed, *kept, _ = columns
    last = None if kept[0] is None else KeptAnswer(*kept)
    return Entry(Key(digest, occurrence), place, sends, billed=bool(billed), last=last)
