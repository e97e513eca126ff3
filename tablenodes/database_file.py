"""A SQLite file of ours: made whole or not at all, private from its first moment, and what goes wrong in one line."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .disk import new_file
from .errors import EndedError

APPLICATION = 0x74626C6E  # tells our SQLite files from others (``tbln``)
IN_USE = "in_use"  # the code of an error: another process, or another run in this one, holds the file
DAMAGED = "is damaged; keep it, and choose another path to start again"
_OF_DAMAGE = (
    *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH),
    *(sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_EMPTY, sqlite3.SQLITE_RANGE),
)
_SAME = {sqlite3.SQLITE_LOCKED: sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PERM: sqlite3.SQLITE_READONLY}
_WORDS = {
    sqlite3.SQLITE_READONLY: "the {} cannot be written: the file or its folder is read-only",
    sqlite3.SQLITE_CANTOPEN: "cannot open the {}; its folder may be read-only",
    sqlite3.SQLITE_NOTADB: "not a tablenodes {}",
    **dict.fromkeys(_OF_DAMAGE, f"the {{}} {DAMAGED}"),
}


@dataclass(frozen=True)
class FileKind:
    """What is said and raised of one kind of our files."""

    noun: str  # such as ``journal``
    error: type[EndedError]
    holds: str  # what would be lost with it, such as ``answers``
    words: Mapping[int, str]  # what SQLite's error codes mean for it, beside `_WORDS`

    def _words(self, code: int) -> str:
        code = _SAME.get(code, code)
        unknown = f"the {{}} cannot be used (SQLite error {code}); try again"
        return self.words.get(code) or _WORDS.get(code, unknown).format(self.noun)

    @contextmanager
    def worded(self, path: Path) -> Iterator[None]:
        """Turn what SQLite and the system say into an error of one line."""
        try:
            with self.worded_sql(path):
                yield
        except OSError as error:
            raise self.error(f"{path}: the {self.noun} cannot be used: {error.strerror or 'unknown'}") from None
        except ValueError:
            raise self.error(f"the {self.noun}'s path contains a character that paths cannot have") from None

    @contextmanager
    def worded_sql(self, path: Path) -> Iterator[None]:
        """Turn what SQLite says into an error of one line; whatever else is raised passes."""
        try:
            yield
        except sqlite3.Error as error:
            # A text that is none any more has no code.
            unnumbered = sqlite3.SQLITE_CORRUPT if isinstance(error, sqlite3.OperationalError) else 0
            code = getattr(error, "sqlite_errorcode", unnumbered) & 0xFF
            held = IN_USE if code == sqlite3.SQLITE_BUSY else ""
            raise self.error(f"{path}: {self._words(code)}", code=held) from None
        except OverflowError:
            raise self.error(f"{path}: {self._words(sqlite3.SQLITE_TOOBIG)}") from None

    def make(self, path: Path, content: bytes) -> None:
        """Make a file with this content, private from its first moment, and where the file system has links, whole."""
        if not path.parent.is_dir():
            raise self.error(f"{path}: no such folder {str(path.parent)!r}; create it first")
        for ending in ("-wal", "-journal"):
            # Looked for in this order: a process that has just made the file has its part of it beside it.
            if os.path.lexists(f"{path}{ending}") and not os.path.lexists(path):
                part = f"a part of it, {path.name}{ending}, is there and may have {self.holds}"
                how = f"put the {self.noun} back beside it, or choose another path"
                raise self.error(f"{path}: the {self.noun} is gone, but {part}; {how}")
        with new_file(path, private=True) as handle:
            handle.write(content)

    def refuse_other_files(self, path: Path, *, written: bool = True) -> None:
        """Raise for what is there and cannot be a file of this kind: a link, an empty file, a read-only one."""
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            raise self.error(f"{path}: the {self.noun} must be an ordinary file, not a link, a folder or a device")
        if not found.st_size:
            raise self.error(f"{path}: the file is empty, so it is not a {self.noun}; delete it if nothing was in it")
        if written and not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise self.error(f"{path}: {self._words(sqlite3.SQLITE_READONLY)}")

    def check(self, database: sqlite3.Connection, path: Path, version: int) -> None:
        """Raise for a file that is not ours, or of another version than this program reads."""
        if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise self.error(f"{path}: not a tablenodes {self.noun}")
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found != version:
            raise self.error(
                f"{path}: the {self.noun} has version {found}, but this program reads {version}; choose another path"
            )


def have_commits_synced(database: sqlite3.Connection) -> None:
    """Have each commit reach the disk before it counts as done; macOS has a way of its own for that (F_FULLFSYNC)."""
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA fullfsync = ON")


def empty_database(version: int, statements: str) -> bytes:
    """Return the bytes of a file with these tables and nothing else in it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript(statements)
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {version}")
        return bytes(database.serialize())
