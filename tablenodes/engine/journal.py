"""The journal: every answer on disk before its slot is used again, so that nothing paid for is lost or paid twice."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import orjson

from ..errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .calls import Request

VERSION = 1
APPLICATION = 0x74626C6E
"""Tells our SQLite files from others (``tbln``)."""

_SCHEMA = """
CREATE TABLE row (
    digest BLOB NOT NULL, occurrence INTEGER NOT NULL,
    sends INTEGER NOT NULL, billed INTEGER NOT NULL DEFAULT 0,
    outcome TEXT, kind TEXT, status INTEGER, headers BLOB, body BLOB, fault TEXT, message TEXT, latency REAL,
    crc INTEGER,
    PRIMARY KEY (digest, occurrence)
) WITHOUT ROWID;
CREATE TABLE run (clean INTEGER NOT NULL);
INSERT INTO run VALUES (1);
"""
_INTEND = """
INSERT INTO row (digest, occurrence, sends) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET sends = sends + excluded.sends, outcome = NULL, body = NULL, headers = NULL, crc = NULL
"""
_DONE = """
UPDATE row SET sends = sends + ?, billed = max(billed, ?), outcome = ?, kind = ?, status = ?, headers = ?, body = ?,
fault = ?, message = ?, latency = ?, crc = ? WHERE digest = ? AND occurrence = ?
"""
_FIND = """
SELECT sends, billed, outcome, kind, status, headers, body, fault, message, latency, crc FROM row
WHERE digest = ? AND occurrence = ?
"""


class Key(NamedTuple):
    """What an answer is found by: the digest of all that was asked, and which of the equal rows it is."""

    digest: bytes
    occurrence: int


class Entry(NamedTuple):
    """What the journal knows of a row.

    Attributes
    ----------
    sends : int
        Sends that were begun, in all runs.
    billed : bool
        Whether a request may have been executed without its answer having come.
    outcome : str or None
        None where it was sent and no answer was put down: in doubt.
    kind : str or None
        The class of its failure; None for ``ok``.
    status : int or None
        The HTTP status.
    headers, body : bytes
        As they came, without a secret.
    fault : str or None
        What broke the exchange.
    message : str
        The transport's words for it.
    latency : float
        Seconds.
    """

    sends: int
    billed: bool
    outcome: str | None
    kind: str | None = None
    status: int | None = None
    headers: bytes = b""
    body: bytes = b""
    fault: str | None = None
    message: str = ""
    latency: float = 0.0

    @property
    def crc(self) -> int:
        """Check sum over what must not change."""
        start = zlib.crc32(repr((self.outcome, self.kind, self.status, self.fault)).encode())
        return zlib.crc32(self.body, zlib.crc32(self.headers, start))


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
        return Key(digest, occurrence)


class Journal:
    """One SQLite file, held by one run at a time.

    Parameters
    ----------
    path : Path
        Made if it is not there, readable by its owner alone.

    Raises
    ------
    JournalError
        If it is held by another run, is no journal, was written by another version, or is damaged. It is never begun
        anew by itself: that would pay for every row again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._worded():
            existed = _prepare(path)
            self._database = sqlite3.connect(path, timeout=0, isolation_level=None)
            try:
                self._open(existed=existed)
            except BaseException:
                self._database.close()
                raise
        self._begun = False
        self.sends: int = self._database.execute("SELECT coalesce(sum(sends), 0) FROM row").fetchone()[0]

    def _open(self, *, existed: bool) -> None:
        run = self._database.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        if existed:
            self._refuse_foreign()
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("BEGIN IMMEDIATE")
        if not run("SELECT 1 FROM sqlite_schema WHERE name = 'row'").fetchone():
            for statement in _SCHEMA.split(";\n"):
                run(statement)
            run(f"PRAGMA application_id = {APPLICATION}")
            run(f"PRAGMA user_version = {VERSION}")
        clean = run("SELECT clean FROM run").fetchone()[0]
        run("UPDATE run SET clean = 0")
        run("COMMIT")
        if not clean:
            found = run("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise JournalError(f"{self.path}: the journal is damaged; keep it, and give another path to start anew")

    def _refuse_foreign(self) -> None:
        application = self._database.execute("PRAGMA application_id").fetchone()[0]
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        tables = self._database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if application != APPLICATION and tables:
            raise JournalError(f"{self.path}: this is no journal of tablenodes; give another path")
        if application == APPLICATION and version != VERSION:
            raise JournalError(
                f"{self.path}: the journal has version {version}, this program reads {VERSION}; give another path"
            )

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM row").fetchone()[0])

    def find(self, key: Key) -> Entry | None:
        """Give what is known of a row, or None.

        Raises
        ------
        JournalError
            If what is there does not match its check sum.
        """
        with self._worded():
            found = self._database.execute(_FIND, key).fetchone()
        if found is None:
            return None
        sends, billed, outcome, *_ = found
        if outcome is None:
            return Entry(sends, bool(billed), None)
        entry = Entry(sends, bool(billed), *found[2:-1])
        if entry.crc != found[-1]:
            raise JournalError(f"{self.path}: an answer in the journal is damaged; keep it, and give another path")
        return entry

    def intend(self, key: Key) -> None:
        """Put down that a request is about to be sent; on disk with the next `commit`."""
        self._begin()
        with self._worded():
            self._database.execute(_INTEND, (*key, 1))
        self.sends += 1

    def done(self, key: Key, entry: Entry, unforeseen: int = 0) -> None:
        """Put down a row's end; on disk with the next `commit`.

        Parameters
        ----------
        key : Key
            The row.
        entry : Entry
            Its end; its ``sends`` are not used.
        unforeseen : int
            Sends beyond the one that was intended.
        """
        self._begin()
        with self._worded():
            self._database.execute(_DONE, (unforeseen, *entry[1:], entry.crc, *key))
        self.sends += unforeseen

    def _begin(self) -> None:
        if not self._begun:
            with self._worded():
                self._database.execute("BEGIN IMMEDIATE")
            self._begun = True

    def commit(self) -> None:
        """Bring everything that was put down to the disk, with one sync.

        Raises
        ------
        JournalError
            If the disk is full or fails.
        """
        if self._begun:
            with self._worded():
                self._database.execute("COMMIT")
            self._begun = False

    def close(self) -> None:
        """Commit, mark the end as a clean one, and let the file go."""
        try:
            self.commit()
            with self._worded():
                self._database.execute("UPDATE run SET clean = 1")
        finally:
            self._database.close()

    @contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            words = _WORDS.get(error.sqlite_errorcode & 0xFF, "the journal cannot be written")
            raise JournalError(f"{self.path}: {words}") from None
        except sqlite3.DatabaseError:
            raise JournalError(
                f"{self.path}: this is no journal, or it is damaged; keep it, and give another path to start anew"
            ) from None
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror or 'cannot be opened'}") from None


_WORDS = {
    sqlite3.SQLITE_BUSY: "the journal is in use by another run; wait for it, or give another path",
    sqlite3.SQLITE_LOCKED: "the journal is in use by another run; wait for it, or give another path",
    sqlite3.SQLITE_FULL: "the disk is full; make room and run again: what is in the journal is not sent again",
    sqlite3.SQLITE_READONLY: "the journal cannot be written: the file or its folder is read-only",
    sqlite3.SQLITE_CANTOPEN: "the journal cannot be opened",
    sqlite3.SQLITE_IOERR: "the disk fails; what was committed before is kept",
}


def _prepare(path: Path) -> bool:
    """Make the file if it is not there, private from its first moment; tell whether it was there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(path, flags, 0o600))
        return False
    if not stat.S_ISREG(found.st_mode):
        raise JournalError(f"{path}: the journal must be an ordinary file, not a link, a folder or a device")
    return found.st_size > 0
