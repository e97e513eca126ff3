"""The journal: every answer on disk before its slot is used again, so that nothing paid for is lost or paid twice."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from ...errors import JournalError
from ..ended import Ended
from ..records import OK
from .journal_file import (
    VERSION,
    check_sum,
    check_sum_of_intent,
    closed,
    is_at_rest,
    looked_into,
    make_index,
    make_room,
    opened,
    worded,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..calls import Request

_COLUMNS = "id, digest, occurrence, sends, billed, outcome, kind, status, headers, body, fault, message, latency, crc"
_BY_PLACE = f"SELECT {_COLUMNS} FROM row WHERE id = ?"  # noqa: S608 - constants
_BY_KEY = f"SELECT {_COLUMNS} FROM row WHERE digest = ? AND occurrence = ?"  # noqa: S608
_INTEND = "INSERT OR REPLACE INTO row (id, digest, occurrence, sends, billed, crc) VALUES (?, ?, ?, ?, ?, ?)"
_DONE = """
UPDATE row SET sends = ?, billed = ?, outcome = ?, kind = ?, status = ?, headers = ?, body = ?, fault = ?, message = ?,
latency = ?, crc = ? WHERE id = ?
"""

_TALLY = "SELECT outcome, COUNT(*), SUM(sends) FROM row GROUP BY outcome ORDER BY COUNT(*) DESC, outcome"

_new: Any = tuple.__new__  # a named tuple's own constructor takes three times as long


class Key(NamedTuple):
    """What an answer is found by: the digest of all that was asked, and which of the equal rows it is."""

    digest: bytes
    occurrence: int


class Keys:
    """Gives each row its key.

    Parameters
    ----------
    request : Request
        Its method and address are part of every key; its headers are not, so a key may be rotated.
    scope : str
        The node's id in a workflow.
    """

    def __init__(self, request: Request, scope: str = "") -> None:
        parts = urlsplit(request.url)
        named = [scope, request.method, f"{parts.scheme}://{parts.netloc}", parts.path, parts.query, VERSION]
        self._start = hashlib.sha256(orjson.dumps(named) + b"\n")
        self._seen: dict[bytes, int] = {}

    def key(self, body: bytes) -> Key:
        """Give the key of the next row, in the table's order."""
        hashed = self._start.copy()
        hashed.update(orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS))
        digest = hashed.digest()
        occurrence = self._seen.get(digest, 0)
        self._seen[digest] = occurrence + 1
        key: Key = _new(Key, (digest, occurrence))
        return key


class Line:
    """A row's place in the journal, and what is counted there.

    Attributes
    ----------
    key : Key
        What it is found by.
    place : int
        Its number; 0 until it is first put down.
    sends : int
        Sends that were begun, in all runs.
    billed : bool
        Whether one of them may have been executed without its answer having come.
    """

    __slots__ = ("billed", "key", "place", "sends")

    def __init__(self, key: Key, place: int = 0, sends: int = 0, *, billed: bool = False) -> None:
        self.key = key
        self.place = place
        self.sends = sends
        self.billed = billed


class Journal:
    """One SQLite file, held by one run at a time.

    What is put down is on the disk with the next `commit`.

    Parameters
    ----------
    path : Path
        Made if it is not there, readable by its owner alone.
    looks : bool
        Whether it is only read: nothing of it is changed, where its last run came to its end.

    Attributes
    ----------
    rows : int
        How many rows it had when it was opened.
    sends : int
        Sends that were begun, in all runs.

    Raises
    ------
    JournalError
        If it is held by another run, is no journal, was written by another version, or is damaged. It is never begun
        anew by itself: that would pay for every row again.
    """

    def __init__(self, path: Path, *, looks: bool = False) -> None:
        self.path = path
        self._looks = looks and is_at_rest(path)
        self._database, self.rows, self.sends = looked_into(path) if self._looks else opened(path)
        self._last = self._last_on_disk = self.rows
        self._indexed = self._failed = False
        self._intents: list[Line] = []
        self._dones: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return self._last

    def at(self, place: int) -> tuple[Line, Ended] | None:
        """Give the row at a place, or None."""
        return _found(self._execute(_BY_PLACE, (place,)).fetchone())

    def find(self, key: Key) -> tuple[Line, Ended] | None:
        """Give the row of a key, or None."""
        if not self._indexed:
            with worded(self.path):
                make_index(self._database)
            self._indexed = True
        return _found(self._execute(_BY_KEY, key).fetchone())

    def tally(self) -> list[tuple[str | None, int, int]]:
        """Give each outcome (None for in doubt), its rows and the sends that were begun for them; the most first."""
        return self._execute(_TALLY).fetchall()

    def __iter__(self) -> Iterator[tuple[Line, Ended]]:
        """Give the rows, in the order in which they were first sent."""
        for place in range(1, len(self) + 1):
            found = self.at(place)
            if found is not None:
                yield found

    def intend(self, line: Line) -> None:
        """Put down that a request is about to be sent."""
        if not line.place:
            self._last += 1
            line.place = self._last
        line.sends += 1
        self.sends += 1
        self._intents.append(line)

    def done(self, line: Line, end: Ended, *, billed: bool = False, unforeseen: int = 0) -> None:
        """Put down what came of a send.

        Parameters
        ----------
        line : Line
            The row.
        end : Ended
            Its end.
        billed : bool
            Whether a request may have been executed without its answer having come.
        unforeseen : int
            Sends beyond the one that was intended.
        """
        self.sends += unforeseen
        line.sends += unforeseen
        line.billed = line.billed or billed
        outcome, kind, status, headers, body, fault, message, _ = end
        counted = line.sends, int(line.billed)
        crc = check_sum(*line.key, *counted, outcome, kind, status, fault, message, headers, body)
        self._dones.append((*counted, *end, crc, line.place))

    def commit(self) -> None:
        """Bring everything that was put down to the disk, with one sync.

        Raises
        ------
        JournalError
            If the disk is full or fails. What was intended is then taken back, for nothing of it was sent; the answers
            are kept, and are tried again with the next commit.
        """
        if not self._intents and not self._dones:
            return
        database = self._database
        try:
            with worded(self.path):
                if self._failed:
                    make_room(database)
                database.execute("BEGIN IMMEDIATE")
                if self._dones:
                    database.executemany(_DONE, self._dones)
                if self._intents:
                    database.executemany(_INTEND, map(_intent, self._intents))
                database.execute("COMMIT")
        except JournalError:
            self._failed = True
            self._take_back()
            raise
        self._dones.clear()
        self._intents.clear()
        self._last_on_disk = self._last

    def unsaved(self) -> int:
        """Give the rows whose answers could not be put into the file; one more try is made."""
        with suppress(JournalError):
            self.commit()
        outcomes = {done[-1]: done[2] for done in self._dones}  # of a row that was sent again, the last one
        return sum(outcome == OK for outcome in outcomes.values())

    def close(self) -> None:
        """Commit, mark the end as a clean one, and let the file go.

        What fails here is not raised: whoever must know commits first.
        """
        with suppress(JournalError):
            self.commit()
        if self._looks:
            self._database.close()
        else:
            closed(self._database)

    def _take_back(self) -> None:
        for line in self._intents:
            line.sends -= 1
            if line.place > self._last_on_disk:
                line.place = 0
        self.sends -= len(self._intents)
        self._last = self._last_on_disk
        self._intents.clear()
        if self._database.in_transaction:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")

    def _execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        with worded(self.path):
            return self._database.execute(statement, parameters)


class Finder:
    """Looks rows up one after the other, in the table's order.

    In an unchanged table each row stands behind the one before, and when all rows of the journal have been found no
    other is looked for: only for what was moved, added or taken out is the index asked.

    Parameters
    ----------
    journal : Journal
        Open.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._next = 1
        self._left = journal.rows

    def find(self, key: Key) -> tuple[Line, Ended] | None:
        """Give what is known of a row, or None."""
        if not self._left:
            return None
        found = self._journal.at(self._next)
        if found is None or found[0].key != key:
            found = self._journal.find(key)
            if found is None:
                return None
        self._left -= 1
        self._next = found[0].place + 1
        return found


def _intent(line: Line) -> tuple[Any, ...]:
    digest, occurrence = line.key
    sends, billed = line.sends, int(line.billed)
    return line.place, digest, occurrence, sends, billed, check_sum_of_intent(digest, occurrence, sends, billed)


def _found(columns: tuple[Any, ...] | None) -> tuple[Line, Ended] | None:
    if columns is None:
        return None
    place, digest, occurrence, sends, billed, *end, _ = columns
    line = Line(Key(digest, occurrence), place, sends, billed=bool(billed))
    return line, Ended() if end[0] is None else Ended(*end)
