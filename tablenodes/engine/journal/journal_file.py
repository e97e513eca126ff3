"""The journal's file: made whole or not at all, and looked into before a word of it is believed."""

from __future__ import annotations

import os
import sqlite3
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ...database_file import DAMAGED, FileKind, empty_database, have_commits_synced
from ...errors import JournalError
from . import batch_marks

VERSION = 2
_TABLES = {
    "row": """CREATE TABLE row (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL, occurrence INTEGER NOT NULL,
    sends INTEGER NOT NULL, billed INTEGER NOT NULL,
    outcome TEXT, kind TEXT, status INTEGER, block INTEGER, start INTEGER, crc INTEGER NOT NULL
)""",
    "block": """CREATE TABLE block (
    id INTEGER PRIMARY KEY, codec TEXT NOT NULL, size INTEGER NOT NULL, answers BLOB NOT NULL, crc INTEGER NOT NULL
)""",
    "run": """CREATE TABLE run (
    clean INTEGER NOT NULL, rows INTEGER NOT NULL, sends INTEGER NOT NULL, crc INTEGER NOT NULL
)""",
}
"""Rows and blocks are only ever put at the end: what a commit writes lies together, however many there are.

`run` has how many rows there are, and how many requests they took: nobody has to count them.
"""
_WITH_BATCHES = _TABLES | {"batch": batch_marks.TABLE}  # made with the first mark
_WORDS = {
    sqlite3.SQLITE_BUSY: "another run is using the journal; wait for it, or choose another path",
    sqlite3.SQLITE_FULL: "the disk is full; free some space and run again: what is in the journal is not sent again",
    sqlite3.SQLITE_IOERR: "the disk has failed; what was written before is kept",
    sqlite3.SQLITE_TOOBIG: "an answer is too long for a journal; lower Limits.body_bytes",
}
_KIND = FileKind("journal", JournalError, "answers", _WORDS)
worded = _KIND.worded
_HEADER = 32
_FRAME = 24
_BITS = 0xFFFFFFFF
_FIRST = f"INSERT INTO run VALUES (1, 0, 0, {zlib.crc32(b'0|0')})"  # noqa: S608 - a number


def opened(path: Path) -> tuple[sqlite3.Connection, int, int]:
    """Open a journal's file alone, or make it; return it, how many rows are in it, and the requests that they took."""
    with worded(path):
        if not os.path.lexists(path):
            _KIND.make(path, empty_database(VERSION, ";".join((*_TABLES.values(), _FIRST))))
        log = _log_at(f"{path}-wal")
        _KIND.refuse_other_files(path)
        database = _connected(os.path.abspath(path))
        try:
            found = _look_through(database, path, log)
        except BaseException:
            database.close()
            raise
        try:  # in the file itself, so that a later run misses what is not in it yet
            _mark(database, clean=False)
            database.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except BaseException:
            closed(database)
            raise
    return database, *found


def _connected(place: str, *, uri: bool = False) -> sqlite3.Connection:
    """Return a connection that one run uses, in whichever thread its batches are read."""
    return sqlite3.connect(place, timeout=0, isolation_level=None, uri=uri, check_same_thread=False)


def place_of(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at a path from another one that takes its name; None where there is none."""
    with suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino
    return None


def is_at_rest(path: Path) -> bool:
    """Check whether all of a journal is in its file: beside one that a run holds, or left open, is a part of it."""
    return os.path.lexists(path) and not os.path.lexists(f"{path}-wal")


def looked_into(path: Path) -> tuple[sqlite3.Connection, int, int]:
    """Open a journal that is at rest for reading alone, also where it cannot be written; return it as `opened` does."""
    with worded(path):
        _KIND.refuse_other_files(path, written=False)
        with open(path, "rb") as handle:  # of a file that it takes for immutable, SQLite does not say it
            wrote_a_log = handle.read(19)[18:] == b"\x02"
        place = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        database = _connected(place, uri=True)
        try:
            return database, *_look_through(database, path, _Log(), wrote_a_log)
        except BaseException:
            database.close()
            raise


def refuse_other_files(path: Path) -> None:
    """Raise `JournalError` for what is there and cannot be a journal that is read."""
    with worded(path):
        _KIND.refuse_other_files(path, written=False)


def closed(database: sqlite3.Connection) -> None:
    """Mark the end as a clean one and let the file go; whatever fails here, nothing that was committed is lost."""
    try:
        _mark(database, clean=True)
    except sqlite3.Error:  # on a full disk there is room again once SQLite has taken its log away
        with suppress(sqlite3.Error):
            place = database.execute("PRAGMA database_list").fetchone()[2]
            database.close()
            database = _connected(place)
            _mark(database, clean=True)
    database.close()


def counted(database: sqlite3.Connection, rows: int, sends: int) -> None:
    """Record how many rows and requests there are, as a part of the open transaction."""
    database.execute("UPDATE run SET rows = ?, sends = ?, crc = ?", (rows, sends, _sum_of_counts(rows, sends)))


def row_sum(
    place: int, digest: bytes, occurrence: int, sends: int, billed: int,
    outcome: str | None, kind: str | None, status: int | None, block: int | None, start: int | None
) -> int:  # fmt: skip
    """Return the check sum over a row's columns."""
    short = f"{place}|{occurrence}|{sends}|{billed}|{outcome}|{kind}|{status}|{block}|{start}"
    return zlib.crc32(short.encode(), zlib.crc32(digest))


def sum_of_intent(place: int, digest: bytes, occurrence: int, sends: int, billed: int) -> int:
    """Return the check sum over a row that has no end: that of `row_sum`, in half the time."""
    short = b"%d|%d|%d|%d|None|None|None|None|None" % (place, occurrence, sends, billed)
    return zlib.crc32(short, zlib.crc32(digest))


def damaged(path: Path) -> JournalError:
    """Return what is raised for a journal of which something is lost or changed."""
    return JournalError(f"{path}: the journal {DAMAGED}")


def _look_through(database: sqlite3.Connection, path: Path, log: _Log, wrote_a_log: bool = False) -> tuple[int, int]:
    """Check that the file is a journal that is whole by its own word; return how many rows and requests it has."""
    run = database.execute
    run("PRAGMA locking_mode = EXCLUSIVE")
    _KIND.check(database, path, VERSION)
    wrote_a_log |= run("PRAGMA journal_mode").fetchone() == ("wal",)  # read by SQLite: to close the file ends its locks
    run("PRAGMA journal_mode = WAL")
    have_commits_synced(database)
    # What SQLite finds good of the log comes into the file.
    if log.is_lost(read=int(run("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])):
        raise damaged(path)
    pages, size = (run(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    schema = dict(run("SELECT name, sql FROM sqlite_schema"))
    if "store" in schema:
        raise JournalError(f"{path}: this is a store, not a journal; choose another path")
    is_ours = schema in (_TABLES, _WITH_BATCHES) and pages * size <= os.path.getsize(path)
    marks = run("SELECT clean, rows, sends, crc FROM run").fetchall() if is_ours else []
    if len(marks) != 1 or marks[0][0] not in (0, 1) or marks[0][3] != _sum_of_counts(*marks[0][1:3]):
        raise damaged(path)
    is_clean, rows, sends, _ = marks[0]
    if rows != (run("SELECT max(id) FROM row").fetchone()[0] or 0):
        raise damaged(path)
    if not is_clean and wrote_a_log and not log.size:
        raise JournalError(
            f"{path}: the last run was cut short, and {path.name}-wal, a part of the journal, is gone; "
            "put it back beside it, or choose another path to start again"
        )
    return rows, sends


def _sum_of_counts(rows: int, sends: int) -> int:
    return zlib.crc32(f"{rows}|{sends}".encode())


def _mark(database: sqlite3.Connection, *, clean: bool) -> None:
    database.execute("UPDATE run SET clean = ?", (clean,))


# SQLite reads the log beside a journal that was not closed up to the first frame that does not fit its check sum, and
# takes the rest for a commit that a crash cut off. That is right for the last commit; where others stand behind that
# frame, answers would be lost unseen. The format is SQLite's: https://www.sqlite.org/walformat.html


class _Log(NamedTuple):
    """What is in a log by its own word: bytes, whether the header fits, and the numbers of frames that commit."""

    size: int = 0
    whole: bool = True
    commits: tuple[int, ...] = ()

    def is_lost(self, read: int) -> bool:
        """Check whether confirmed commits are lost, if SQLite reads the frames up to number `read`."""
        return not self.whole or sum(number > read for number in self.commits) > 1


def _log_at(path: str) -> _Log:
    """Return what is in the log at a path; one that is not there is empty."""
    try:
        with open(path, "rb") as handle:
            header = handle.read(_HEADER)
            size = handle.seek(0, 2)
            if len(header) < _HEADER:
                return _Log(size)
            page, salts = int.from_bytes(header[8:12]), header[16:24]
            if not _fits(header) or not page:
                return _Log(size, whole=False)
            commits = []
            for number, start in enumerate(range(_HEADER, size, _FRAME + page), 1):
                handle.seek(start)
                frame = handle.read(_FRAME)
                if frame[8:16] == salts and any(frame[4:8]):
                    commits.append(number)
            return _Log(size, True, tuple(commits))
    except FileNotFoundError:
        return _Log()


def _fits(header: bytes) -> bool:
    """Check a header's sum, as the format describes it."""
    one = other = 0
    for first, second in struct.iter_unpack(">II" if header[3] & 1 else "<II", header[:24]):
        one = (one + first + other) & _BITS
        other = (other + second + one) & _BITS
    return struct.pack(">II", one, other) == header[24:]
