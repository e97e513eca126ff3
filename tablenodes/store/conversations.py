"""Conversations in the store: messages are put there once, and whole chains of them are read for many ids at a time."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import orjson

from ..errors import StoreError
from ..problems import Rejected
from .commits import EMPTY, Link, id_of, is_id, unknown_conversation
from .store_file import StoreFile

ROWS = 500  # rows of a table that are looked up together at most; fewer where their messages are long
_FIRST = 16  # rows that are looked up together before it is known how long their messages are
BYTES = 32 * 2**20  # bytes of messages after which those of earlier rows are forgotten
_ABSENT = 100_000  # ids without a conversation after which the earlier ones are forgotten
_FOUND = "SELECT id, parent, message FROM messages WHERE id IN (SELECT value FROM json_each(?))"
_CHAINS = """WITH RECURSIVE wanted (id) AS (
    SELECT value FROM json_each(?)
    UNION SELECT messages.parent FROM messages JOIN wanted USING (id) WHERE messages.parent IS NOT NULL
) SELECT id, parent, message FROM messages JOIN wanted USING (id)"""
_PUT = """INSERT INTO messages (id, parent, message) VALUES (?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET parent = excluded.parent, message = excluded.message"""
_NOT_THERE = "the store has no such conversation: it was created in another store, or this store file was replaced"
_NO_STORE = "there is no store to read the conversation from: it was deleted, or you mean another one (store)"
_CHANGED = "the store file was changed: its messages do not match this conversation's id"


class Conversations:
    """The conversations of one store; what was read is remembered, since an id always stands for the same messages."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._file = StoreFile(path)
        self._is_held = False
        self._known: dict[str, tuple[str, Any]] = {}
        self._absent: dict[str, tuple[str, str]] = {}
        self._bytes = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the file open inside, where much is read and written."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            self._file.close()

    @contextmanager
    def _opened(self) -> Iterator[StoreFile]:
        try:
            yield self._file
        finally:
            if not self._is_held:
                self._file.close()

    def put(self, links: Collection[Link]) -> None:
        """Store messages; those that are there already are not written again."""
        wanted = {link.id: link for link in links}
        if not wanted:
            return
        with self._opened() as file:
            with file.reading() as database:
                there = {key for key, *rest in database.execute(_FOUND, _json(wanted)) if _is_whole(key, *rest)}
            missing = [link for key, link in wanted.items() if key not in there]
            if missing:
                with file.writing() as database:
                    database.executemany(_PUT, sorted(missing))

    def verify(self, ids: Iterable[str]) -> dict[str, Rejected]:
        """Return those ids to which nothing can be added, with the reasons; only their last messages are read."""
        wanted = {key for key in ids if key != EMPTY}
        wrong = {key: unknown_conversation() for key in wanted if not is_id(key)}
        asked = wanted - wrong.keys()
        if not asked:
            return wrong
        with self._opened() as file, file.reading() as database:
            found = {key: _is_whole(key, *rest) for key, *rest in database.execute(_FOUND, _json(asked))}
            absent = _NOT_THERE if file.exists else _NO_STORE
        for key in asked:
            if not found.get(key):
                reason = ("invalid_id", _CHANGED) if key in found else ("unknown_id", absent)
                wrong[key] = unknown_conversation(*reason)
        return wrong

    def read(self, ids: Iterable[Any]) -> None:
        """Read whole conversations with one query, so that `messages` has them at hand."""
        if self._bytes > BYTES:
            self._known.clear()
            self._bytes = 0
        if len(self._absent) > _ABSENT:
            self._absent.clear()
        asked = {key for key in ids if is_id(key) and key not in self._known and key != EMPTY}
        asked -= self._absent.keys()
        if not asked:
            return
        try:
            with self._opened() as file, file.reading() as database:
                changed = self._remember(database.execute(_CHAINS, _json(asked)))
                absent = _NOT_THERE if file.exists else _NO_STORE
        except StoreError as error:
            self._absent |= dict.fromkeys(asked, ("unknown_id", str(error)))
            return
        for key in asked:
            if (end := self._end(key)) != EMPTY:
                is_new = end == key and end not in changed
                self._absent[key] = ("unknown_id", absent) if is_new else ("invalid_id", _CHANGED)

    def _remember(self, rows: Iterable[tuple[Any, Any, Any]]) -> set[str]:
        """Keep what is as its id says; return the ids of what is not."""
        changed = set()
        for key, parent, message in rows:
            if key in self._known:
                continue
            if _is_whole(key, parent, message):
                self._known[key] = parent, orjson.loads(message)
                self._bytes += len(message)
            else:
                changed.add(key)
        return changed

    def _end(self, key: str) -> str:
        """Return where a chain of messages ends: at the empty conversation, or at one that is not there."""
        while key in self._known:
            key = self._known[key][0]
        return key

    def messages(self, key: str) -> list[Any]:
        """Return the messages of a conversation, the first one first; they are shared and must not be changed."""
        if not is_id(key):
            raise unknown_conversation()
        if key not in self._known and key != EMPTY:
            self.read((key,))
        if key in self._absent:
            raise unknown_conversation(*self._absent[key])
        found = []
        while key != EMPTY:
            key, message = self._known[key]
            found.append(message)
        found.reverse()
        return found

    def ahead(self, rows: Iterable[Any], at: int) -> Iterator[Any]:
        """Return the same rows, read some at a time, whose conversations are then at hand."""
        waiting, most = iter(rows), _FIRST
        while some := list(islice(waiting, most)):
            before = self._bytes
            self.read(cells[at] for cells in some if type(cells) is tuple)
            each = (self._bytes - (before if before <= BYTES else 0)) // len(some) + 1
            most = max(1, min(ROWS, 8 * most, BYTES // each))
            yield from some


def _json(ids: Collection[str]) -> Sequence[str]:
    return (orjson.dumps(list(ids)).decode(),)


def _is_whole(key: str, parent: Any, message: Any) -> bool:
    """Check whether what the file has is what the id stands for."""
    if not isinstance(parent, str) or not isinstance(message, bytes):
        return False
    return id_of(parent, message) == key
