"""The file of a share: a SQLite database that the processes of one machine lease from, a transaction a lease."""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..database_file import DAMAGED, FileKind, empty_database
from ..errors import SettingError, StoreError
from . import ledger_text
from .share_ledger import Ledger

if TYPE_CHECKING:
    from ..engine.scheduling.lease import Lease, Report
    from ..settings import Limits

_VERSION = 1
_BUSY = 5.0  # seconds that a lease waits for those of other processes
_TABLES = "CREATE TABLE share (limits TEXT NOT NULL, ledger TEXT)"
_KIND = FileKind(
    "share",
    StoreError,
    "what was used",
    {sqlite3.SQLITE_BUSY: f"other processes used the share for {_BUSY:g} s; try again"},
)


class ShareFile:
    """Keeps a ledger of limits; any process that knows its path may lease from it.

    A file whose path nobody gave goes with the object that made it.
    """

    def __init__(self, limits: Limits, path: str | os.PathLike[str] | None) -> None:
        new = Path(tempfile.gettempdir(), f"tablenodes-share-{secrets.token_hex(8)}.sqlite")
        self._open_at(new if path is None else Path(path).absolute(), limits)
        if not self._path.exists():
            with _KIND.worded(self._path), suppress(FileExistsError):
                _KIND.make(self._path, empty_database(_VERSION, _TABLES))
        if path is None:
            weakref.finalize(self, _remove, self._path, os.getpid())
        with self._transaction() as database:
            database.execute("INSERT INTO share SELECT ?, NULL WHERE NOT EXISTS (SELECT 1 FROM share)", (repr(limits),))
            kept = database.execute("SELECT limits FROM share").fetchone()[0]
        if kept != repr(limits):
            how = "give the same ones, or another path"
            raise SettingError(
                f"{self._path}: the share has other limits ({_differing(kept, repr(limits))}); {how}",
                code="other_limits",
                place="limits",
            )

    def renew(self, report: Report) -> Lease:
        """Return a process's next lease, for what it reports."""
        with self._transaction() as database:
            kept = database.execute("SELECT ledger FROM share").fetchone()[0]
            now = time.monotonic()
            ledger = Ledger() if kept is None else _read(kept, self._path).at(now)
            lease = ledger.renew(report, self._limits, now)
            database.execute("UPDATE share SET ledger = ?", (ledger_text.written(ledger),))
        return lease

    def _open_at(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._database: sqlite3.Connection | None = None
        self._opened_by = -1
        self._lock = threading.Lock()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file for this process alone; what was written in it is there for all, or nothing is."""
        with self._lock, _KIND.worded(self._path):
            if self._opened_by != os.getpid() or self._database is None:  # no connection goes into a child
                self._database, self._opened_by = self._connect(), os.getpid()
            database = self._database
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
                raise

    def _connect(self) -> sqlite3.Connection:
        """Open the file; what a lease says has no need to outlast the machine's power."""
        if not self._path.exists():
            raise StoreError(
                f"{self._path}: no such file on {socket.gethostname()}: a share in a file is one machine's, and goes "
                "with the program that made it; for workers on other machines, Share(limits, client)",
                code="no_share",
            )
        _KIND.refuse_other_files(self._path)
        database = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw", timeout=_BUSY, isolation_level=None, check_same_thread=False, uri=True
        )
        _KIND.check(database, self._path, _VERSION)
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA journal_mode = WAL")
        return database

    def __reduce__(self) -> tuple[Callable[..., ShareFile], tuple[Path, Limits]]:
        return _restored, (self._path, self._limits)


def _restored(path: Path, limits: Limits) -> ShareFile:
    made = ShareFile.__new__(ShareFile)
    made._open_at(path, limits)  # noqa: SLF001 - it is ours
    return made


def _differing(kept: str, given: str) -> str:
    """Return which limits of a share are others than those that are given."""
    texts = [text.removeprefix("Limits(").removesuffix(")").split(", ") for text in (kept, given)]
    return ", ".join(
        f"{one}, not {other.partition('=')[2]}" for one, other in zip(*texts, strict=False) if one != other
    )


def _read(kept: str, path: Path) -> Ledger:
    try:
        return ledger_text.read(kept)
    except ledger_text.OtherVersionError:
        told = "the share was written by another version of tablenodes; choose another path"
        raise StoreError(f"{path}: {told}") from None
    except Exception:  # noqa: BLE001 - a text that is no ledger may raise anything
        raise StoreError(f"{path}: the share {DAMAGED}") from None


def _remove(path: Path, owner: int) -> None:
    """Remove a file that this process has made."""
    if os.getpid() == owner:
        for ending in ("", "-wal", "-shm"):
            with suppress(OSError):
                os.unlink(f"{path}{ending}")
