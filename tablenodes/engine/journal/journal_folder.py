"""A folder of journals that is one: each attempt of a batch writes its own file, and reads what the others have."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

from ...database_file import IN_USE
from ...errors import JournalError
from ..calls import Call
from ..sink import Source
from . import journal_file
from .answer_index import AnswerIndex, Found
from .entry import Entry, Key
from .journal import Journal
from .recorder import JournalRecorder
from .snapshot import looked_at

ENDING = ".journal"
_INDEX = "answers.index"
_NAME = re.compile(r"([0-9a-f]+)-([0-9a-f]+)-[0-9a-f]+")
_OPEN = 32  # journals that are held open to read from
_TRIES = 3
_AT_A_TIME, _BYTES = 1024, 2**23  # rows that are looked up at once, and what their bodies may be together


class JournalFolder:
    """The journals of a folder, for one attempt of a batch: `own` is written, the others are read.

    `run` names what the batch is a part of, `owner` the batch, the same for each attempt of it, both in hexadecimal
    digits. Whoever else writes at the same moment has a file of its own, so nobody waits. Files are taken as of their
    last commit. One that a killed process left is put in order by who reads it.
    """

    def __init__(self, path: Path, run: str, owner: str, stack: ExitStack) -> None:
        self._path, self._run, self._owner, self._stack = path, run, owner, stack
        with journal_file.worded(path):
            os.makedirs(path, mode=0o700, exist_ok=True)
        self.index = AnswerIndex(path / _INDEX, run, owner)
        stack.callback(self.index.close)
        self._open: dict[int, Journal] = {}
        self._copies: dict[int, Journal] = {}
        stack.callback(self._close)
        self._look_around()
        self.own = Journal(path / f"{run}-{owner}-{secrets.token_hex(4)}{ENDING}")
        stack.callback(self._end)

    def found(self, keys: Iterable[Key]) -> list[Entry | None]:
        """Return what is known of rows, in the table's order; what is to be sent again is a new row of its own file."""
        keys = [*keys]
        taken = self.index.taken(keys)
        known = {found: row for row, found in enumerate(taken) if found is not None}
        entries = {row: self._entry(found, keys[row]) for found, row in sorted(known.items())}  # file by file
        return [entries.get(row) for row in range(len(keys))]

    def _entry(self, found: Found, key: Key) -> Entry | None:
        journal = self._journal(found.file)
        row = None if journal is None else journal.read(found.place, found.place)[0]
        if journal is None or row is None or row[1] != key.digest:  # the index has no more than the beginning of it
            return None
        known = journal.entry(row)
        return Entry(key, 0, known.sends, billed=known.billed, last=known.last)

    def _journal(self, file: int) -> Journal | None:
        """Return a journal to read from."""
        journal = self._copies.get(file) or self._open.pop(file, None)
        if journal is None:
            path = self._path / self.index.name_of(file)
            journal = self._at_rest(path)
            if journal is None:
                return self._copied(path, file)
            if len(self._open) >= _OPEN:
                self._open.pop(next(iter(self._open))).close()
        if file not in self._copies:
            self._open[file] = journal  # the one that was used last is the last one
        return journal

    def _at_rest(self, path: Path) -> Journal | None:
        """Return a journal that nobody writes to, put in order where it was left; else None."""
        for left in reversed(range(_TRIES)):
            try:
                return Journal(path, looks=True)
            except JournalError as error:  # or it was looked at in the moment in which somebody began to write to it
                if error.code == IN_USE:
                    break
                if not left:
                    raise
        return None

    def _copied(self, path: Path, file: int | None = None) -> Journal | None:
        """Return a copy of a journal that somebody writes to, as of its last commit."""
        with suppress(JournalError):  # being written to faster than it can be read: what is in it is not used
            copy = self._stack.enter_context(looked_at(path))
            if file is not None:
                self._copies[file] = copy
            return copy
        return None

    def _look_around(self) -> None:
        """Put into the index what is in the folder and not in it yet, but for what is for other batches of this run."""
        known = self.index.whole()
        for name in sorted(os.listdir(self._path)):
            if name in known or not name.endswith(ENDING):
                continue
            named = _NAME.fullmatch(name.removesuffix(ENDING))
            run, owner = (named[1], named[2]) if named else (name, "")
            if run != self._run or owner == self._owner:
                self._add(name, run, owner)

    def _add(self, name: str, run: str, owner: str) -> None:
        path = self._path / name
        if not os.path.exists(path):  # one in which nothing was written is gone with its end
            return
        journal = self._at_rest(path)
        if journal is not None:
            with closing(journal):
                self.index.add(name, run, owner, journal.all(), whole=len(journal) > 0)
        elif (copy := self._copied(path)) is not None:
            self._copies[self.index.add(name, run, owner, copy.all(), whole=False)] = copy

    def _end(self) -> None:
        """Close the attempt's own file; one in which nothing was written is of no use."""
        with suppress(JournalError):
            self.own.close()
        if not len(self.own):
            with suppress(OSError):
                os.unlink(self.own.path)

    def _close(self) -> None:
        for journal in self._open.values():
            journal.close()


class FolderRecorder(JournalRecorder):
    """Keeps everything in the attempt's own file of a folder, and finds answers in all of its files."""

    def __init__(self, folder: JournalFolder, *, at_most_once: bool) -> None:
        super().__init__(folder.own, at_most_once=at_most_once)
        self._folder = folder

    def recalled(self, source: Source) -> Source:
        """Return what a source gives, with the ends of earlier runs; rows are looked up many at a time."""
        for items in _slices(source):
            calls = [item for item in items if isinstance(item, Call)]
            keys = [call.scope.key(call.body) for call in calls]
            entries = iter(zip(keys, self._folder.found(keys), strict=True))
            for item in items:
                yield self._recalled(item, *next(entries)) if isinstance(item, Call) else item

    def has_answers(self) -> bool:
        """Check whether a row was answered in an earlier run."""
        return super().has_answers() or self._folder.index.has_answers()


def _slices(source: Source) -> Iterator[list[Any]]:
    """Yield what a source gives, as much at a time as is looked up at once."""
    items, size = [], 0
    for item in source:
        items.append(item)
        size += len(item.body) if isinstance(item, Call) else 0
        if len(items) == _AT_A_TIME or size >= _BYTES:
            yield items
            items, size = [], 0
    yield items
