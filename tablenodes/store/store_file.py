"""The store's file: where it is, how it is opened, and one transaction at a time."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Self

from ..database_file import FileKind, empty_database, have_commits_synced
from ..errors import StoreError

VERSION = 2
VARIABLE = "TABLENODES_STORE"  # the environment variable that names a store
BUSY = 5.0  # seconds that a transaction waits for another process's; each of ours is no longer than a commit
_SETTLES = 20  # times that the log is tried to be brought into the file
_MUCH = 4  # what part of the file must be free for it to be written anew without it: one of so many
_TABLES = """
-- Futures: what is asked, what is still to be done, what came of it.
CREATE TABLE recipe (
    number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, recipe TEXT NOT NULL,
    reason TEXT, not_before REAL NOT NULL DEFAULT 0
);
CREATE TABLE future (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, recipe INTEGER NOT NULL,
    submitted REAL NOT NULL, deadline REAL NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE pending (recipe INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (recipe, number)) WITHOUT ROWID;
CREATE TABLE answer (
    number INTEGER PRIMARY KEY, sends INTEGER NOT NULL, billed INTEGER NOT NULL, first_sent REAL NOT NULL,
    outcome TEXT, kind TEXT, status INTEGER, headers BLOB, body BLOB, fault TEXT, message TEXT,
    latency REAL, finished REAL, crc INTEGER NOT NULL
);
-- Conversations: a message and the one before it.
CREATE TABLE messages (id TEXT PRIMARY KEY, parent TEXT, message BLOB NOT NULL) WITHOUT ROWID;
-- The store itself, one row: its salt.
CREATE TABLE store (salt BLOB NOT NULL);
"""
_SINCE_1 = """
-- The workers, one a key: each may write the answers of its rows.
CREATE TABLE worker (key TEXT PRIMARY KEY, token BLOB NOT NULL, pid INTEGER NOT NULL) WITHOUT ROWID;
-- Submissions: when, under which name, by which node, for which file; the digest is no longer used.
CREATE TABLE submission (
    number INTEGER PRIMARY KEY, token BLOB NOT NULL UNIQUE, name TEXT, node TEXT NOT NULL, output TEXT,
    began REAL NOT NULL, digest BLOB NOT NULL
);
ALTER TABLE future ADD COLUMN submission INTEGER;
"""
_TABLES += _SINCE_1
_WORDS = {
    sqlite3.SQLITE_BUSY: f"other processes used the store for {BUSY:g} s; try again",
    sqlite3.SQLITE_FULL: "the store's disk is full; free some space and try again",
    sqlite3.SQLITE_IOERR: "the store's disk has failed; what was written before is kept",
    sqlite3.SQLITE_TOOBIG: "a text is too long for a store",
}
_KIND = FileKind("store", StoreError, "futures and conversations", _WORDS)


def store_path(path: str | os.PathLike[str] | None = None) -> Path:
    """Return where a store is: the path that is given, else ``TABLENODES_STORE``, else the user's data folder."""
    if path is None:
        named = os.environ.get(VARIABLE)
        if named:
            return Path(named).absolute()
        import platformdirs  # noqa: PLC0415 - loaded where it is used

        return platformdirs.user_data_path("tablenodes", appauthor=False) / "store.sqlite"
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise StoreError(f"store must be a path, not {type(path).__name__}" if path else "store: the path is empty")
    return Path(path).absolute()


class StoreFile:
    """One SQLite file that processes share; readable by its owner alone.

    It is made by the first transaction that writes. One that is not there reads as an empty one. An object may be used
    by one thread at a time, in whichever process.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, must_exist: bool = False) -> None:
        self.path = store_path(path)
        self._must_exist = must_exist
        self._is_default = path is None and not os.environ.get(VARIABLE)
        self._database: sqlite3.Connection | None = None
        self._opened_as: tuple[int, int, int, int] | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a file."""
        with _KIND.worded(self.path):
            return os.path.lexists(self.path)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield the database for one transaction, on the disk at the block's end; an exception takes it back."""
        if not self.exists:
            if self._must_exist:
                raise StoreError(f"{self.path}: the store is gone")
            self._make()
        database = self._open()
        with _KIND.worded_sql(self.path):
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                _take_back(database)
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Return the database for reading; all of the block sees one and the same state."""
        database = self._open_if_there()
        if database is None:
            with closing(sqlite3.connect(":memory:", isolation_level=None)) as empty:
                empty.executescript(_TABLES)
                yield empty
            return
        with _KIND.worded_sql(self.path):
            database.execute("BEGIN")
            try:
                yield database
            finally:
                _take_back(database)

    def changes(self) -> int:
        """Return a number that differs once another process has committed something; 0 where there is no file."""
        database = self._open_if_there()
        if database is None:
            return 0
        with _KIND.worded_sql(self.path):
            return int(database.execute("PRAGMA data_version").fetchone()[0])

    def make_room(self) -> None:
        """Bring what is in the log into the file, so that a full disk's log can be written again."""
        database = self._open()
        with _KIND.worded_sql(self.path):
            database.execute("PRAGMA wal_checkpoint(RESTART)")

    def settle(self) -> None:
        """Bring what is in the log into the file, so that it may be moved without it; nobody has to wait for that."""
        with suppress(sqlite3.Error, StoreError):
            database = self._open()
            for _ in range(_SETTLES):
                busy, written, moved = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if not busy and written == moved:
                    return
                time.sleep(0.01)  # until whoever reads an earlier state has done so

    def give_back(self) -> None:
        """Shrink the file where much of it was deleted and nobody else uses it; else do nothing."""
        database = self._open()
        with suppress(sqlite3.Error):
            pages, free = (database.execute(f"PRAGMA {key}").fetchone()[0] for key in ("page_count", "freelist_count"))
            if free * _MUCH > pages:
                database.execute("PRAGMA busy_timeout = 0")
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with suppress(sqlite3.Error):
            database.execute(f"PRAGMA busy_timeout = {BUSY * 1000:.0f}")

    def close(self) -> None:
        """Let the file go; the next transaction opens it again."""
        database, self._database = self._database, None
        if database is not None and self._opened_as is not None and self._opened_as[0] == os.getpid():
            database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _make(self) -> None:
        salt = secrets.token_hex(16)
        first = f"INSERT INTO store (salt) VALUES (x'{salt}')"  # noqa: S608 - hexadecimal digits of ours
        with _KIND.worded(self.path):
            if self._is_default:
                self.path.parent.parent.mkdir(parents=True, exist_ok=True)
                self.path.parent.mkdir(mode=0o700, exist_ok=True)
            _KIND.make(self.path, empty_database(VERSION, _TABLES + first))

    def _open_if_there(self) -> sqlite3.Connection | None:
        """Return the open file; None where there is none, or it is taken away while it is opened."""
        while self.exists:
            try:
                return self._open()
            except (StoreError, sqlite3.Error):
                if self.exists:
                    raise
        return None

    def _open(self) -> sqlite3.Connection:
        """Return the open file; reopen it after a fork, in another thread, or where another file is in its place."""
        with _KIND.worded(self.path):
            found = os.lstat(self.path)
            opened_as = (os.getpid(), threading.get_ident(), found.st_dev, found.st_ino)
            if self._database is not None and self._opened_as == opened_as:
                return self._database
            _KIND.refuse_other_files(self.path)
            if hasattr(os, "geteuid") and os.geteuid() not in (0, found.st_uid):  # an administrator may use all
                raise StoreError(
                    f"{self.path}: the store belongs to another user, whose rows would be sent with your keys; "
                    "choose another path"
                )
            self.close()
            # Closed in another thread than it was opened in, if that one ended meanwhile.
            there = f"{self.path.as_uri()}?mode=rw"  # one that was taken away is not made anew
            database = sqlite3.connect(there, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False)
            try:
                _look_at(database, self.path)
            except BaseException:
                database.close()
                raise
            self._database, self._opened_as = database, opened_as
            return database


def _take_back(database: sqlite3.Connection) -> None:
    if database.in_transaction:
        database.execute("ROLLBACK")


def _look_at(database: sqlite3.Connection, path: Path) -> None:
    """Check that the file is a store that this program reads, and have every commit reach the disk."""
    run = database.execute
    found = run("PRAGMA user_version").fetchone()[0]
    _KIND.check(database, path, 1 if found == 1 else VERSION)
    if not run("SELECT 1 FROM sqlite_schema WHERE name = 'store'").fetchone():
        raise StoreError(f"{path}: this is a journal, not a store; choose another path")
    if run("PRAGMA journal_mode").fetchone()[0] != "wal":
        run("PRAGMA journal_mode = WAL")
    have_commits_synced(database)
    run("PRAGMA cache_size = -16384")
    if found == 1:
        _upgrade(database)


def _upgrade(database: sqlite3.Connection) -> None:
    """Add what a store of the first version lacks, unless another process has just done so."""
    database.execute("BEGIN IMMEDIATE")
    try:
        if database.execute("PRAGMA user_version").fetchone()[0] == 1:
            for statement in _SINCE_1.split(";\n"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    except BaseException:
        _take_back(database)
        raise
