"""Futures in the store: what is asked, what is still to be done, and what came of it."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..engine.journal import KeptAnswer
from ..engine.sink import DOUBT
from ..errors import StoreError
from . import ids, submissions
from .recipe_keys import key_of
from .store_file import StoreFile
from .submissions import Put, Submission, last_turns, move_held

_AT_A_TIME = 500  # numbers or ids in one question
_LATE_AT_A_TIME = 64  # rows that are ended at once because their time is over
_BYTES = 32 * 2**20  # of requests that are read at once
_PUT = "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UNTRIED = -1
"""In place of the time before which nothing is sent: the worker that is at work, or the next one, is to try the rows.

What kept them from being sent stands until it does.
"""
_SALT = "SELECT salt FROM store"
_PENDING = """
SELECT f.number, f.id, f.body, iif(f.deadline < f.submitted, 0, f.deadline), f.crc,
a.first_sent, a.sends, a.billed, a.outcome, a.kind, a.status, a.headers, a.body, a.fault, a.message, a.latency, a.crc
FROM pending p JOIN future f USING (number) LEFT JOIN answer a USING (number)
"""
_PENDING_BETWEEN = """SELECT number, recipe FROM pending
WHERE recipe IN (SELECT number FROM recipe) AND number BETWEEN ? AND ?"""
_PENDING_AMONG = "SELECT number, recipe FROM future JOIN pending USING (number, recipe) WHERE number IN ({})"
_DENSE = 8  # rows that stand so close together are faster read with those between them than one by one
_ASKED = f"INSERT OR IGNORE INTO recipe (digest, recipe, not_before) VALUES (?, ?, {_UNTRIED})"  # noqa: S608
_TRY_AGAIN = f"UPDATE recipe SET not_before = {_UNTRIED} WHERE number = ? AND reason IS NOT NULL AND not_before <= ?"  # noqa: S608
_REOPENED = (
    "UPDATE answer SET finished = NULL, first_sent = 0 WHERE number = :row AND finished IS NOT NULL",
    "UPDATE future SET deadline = :now + abs(deadline - submitted), submitted = :now WHERE number = :row",
    "INSERT OR IGNORE INTO pending SELECT recipe, number FROM future WHERE number = :row",
    f"UPDATE recipe SET not_before = {_UNTRIED} WHERE not_before <= :now AND number ="  # noqa: ISC004, S608
    " (SELECT recipe FROM future WHERE number = :row)",
)
_SENDS = """
SELECT sum(sends) FROM answer JOIN future USING (number) WHERE recipe = :group OR recipe IN (
    SELECT other.number FROM recipe one JOIN recipe other
    ON json_extract(one.recipe, '$.once') = json_extract(other.recipe, '$.once') WHERE one.number = :group)
"""
_ENDED = "number, outcome, kind, status, headers, body, fault, message, latency, sends, billed, crc"
NOTHING_YET = KeptAnswer()
_EXPIRED = "its deadline has passed"
_CANCELLED = "it was cancelled"


@dataclass(eq=False, repr=False, slots=True)
class Future:
    """One pending row: what is asked, and what is known of its sends."""

    number: int
    id: bytes
    body: bytes
    deadline: float  # 0 of one that was cancelled
    first_sent: float = 0.0
    sends: int = 0
    billed: bool = False
    end: KeptAnswer = NOTHING_YET
    final: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether it was sent and nothing came."""
        return self.sends > 0 and self.end.outcome is None

    def give_up(self, why: str) -> None:
        """End the row with what came of its last send; where nothing was sent, say why."""
        self.billed = self.billed or self.in_doubt
        if self.in_doubt:
            self.end = KeptAnswer("in_doubt", message=DOUBT)
        elif self.end.outcome is None:
            self.end = KeptAnswer("not_sent", message=f"not sent: {why}")
        self.final = True

    def expire(self) -> None:
        """End the row because its time is over, or it was cancelled."""
        self.give_up(_EXPIRED if self.deadline else _CANCELLED)


class Answered(NamedTuple):
    """A row that has come to its end, and what it took."""

    end: KeptAnswer
    sends: int
    billed: bool


class Group(NamedTuple):
    """Pending rows that are asked in the same way."""

    number: int
    recipe: str
    is_untried: bool

    @property
    def key(self) -> str:
        """The name of the key that they are sent with."""
        return key_of(self.recipe)


class Waiting(NamedTuple):
    """Why pending rows are not being worked on; the reason is None where nothing keeps them."""

    recipe: str
    reason: str | None
    is_untried: bool


class Futures:
    """The futures of one store."""

    def __init__(self, store: StoreFile) -> None:
        self.store = store

    def salt(self) -> bytes:
        """Return the store's salt; makes the store."""
        found = self.salt_there()
        if found is None:
            with self.store.writing() as database:
                found = bytes(database.execute(_SALT).fetchone()[0])
        return found

    def salt_there(self) -> bytes | None:
        """Return the salt of the store that is there; each store has its own."""
        with self.store.reading() as database:
            row = database.execute(_SALT).fetchone()
        return None if row is None else bytes(row[0])

    def submit(
        self,
        recipe: str,
        bodies: Sequence[bytes],
        now: float,
        deadline: float,
        names: Sequence[bytes] | None = None,
        submission: Submission | None = None,
        *,
        keeps: bool = False,
    ) -> Put:
        """Store rows as pending, all of them or none; those whose names are known keep their ids where it `keeps`."""
        digest = hashlib.sha256(recipe.encode()).digest()
        with self.store.writing() as database:
            database.execute(_ASKED, (digest, recipe))
            group = database.execute("SELECT number FROM recipe WHERE digest = ?", (digest,)).fetchone()[0]
            database.execute(_TRY_AGAIN, (group, now))
            before = database.execute("SELECT max(number) FROM future").fetchone()[0] or 0
            made, kept, known = [ids.new_id() for _ in bodies], set[bytes](), 0
            if names is not None:
                made, kept, known = submissions.ids_for(database, names, keeps=keeps)
            move_held(database, kept, group)
            new = [(i, body) for i, body in zip(made, bodies, strict=True) if i not in kept]
            number = None if submission is None else submissions.put(database, submission)
            database.executemany(
                "INSERT INTO future (id, recipe, submitted, deadline, body, crc, submission)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((i, group, now, deadline, body, _body_sum(i, body), number) for i, body in new),
            )
            if number is not None and submission is not None:
                submissions.carry_over(database, number, submission.output, kept)
            database.execute(
                "INSERT INTO pending SELECT recipe, number FROM future WHERE recipe = ? AND number > ?", (group, before)
            )
        return Put([ids.written(each) for each in made], known)

    def pool(self, known: Iterable[bytes]) -> str | None:
        """Return what limits over all rows are counted by, where one of some rows has such limits."""
        with self.store.reading() as database:
            found = (submissions.pool(database, some) for some in _parts(list(known)))
            return next((each for each in found if each is not None), None)

    def ids_of(self, names: Sequence[bytes]) -> set[bytes]:
        """Return the ids that rows of these names have, the last of each."""
        with self.store.reading() as database:
            row = database.execute(_SALT).fetchone()
            if row is None:
                return set()
            ends = zip(names, last_turns(database, row[0], names), strict=True)
            return {ids.named_id(row[0], name, turn) for name, (turn, _, _) in ends if turn >= 0}

    def find(self, wanted: Iterable[bytes]) -> dict[bytes, int]:
        """Return the numbers of the ids that are there."""
        found: dict[bytes, int] = {}
        with self.store.reading() as database:
            for some in _parts(list(wanted)):
                marks = ", ".join("?" * len(some))
                rows = database.execute(f"SELECT id, number FROM future WHERE id IN ({marks})", some)  # noqa: S608
                found.update((bytes(each), number) for each, number in rows)
        return found

    def pending(self, numbers: Iterable[int]) -> dict[int, int]:
        """Return which of some rows have not come to their end, and their groups."""
        wanted, found = sorted(numbers), dict[int, int]()
        if not wanted:
            return found
        with self.store.reading() as database:
            if wanted[-1] - wanted[0] < _DENSE * len(wanted):
                rows = database.execute(_PENDING_BETWEEN, (wanted[0], wanted[-1]))
                among = frozenset(wanted)
                return {number: group for number, group in rows if number in among}
            for some in _parts(wanted):
                found.update(database.execute(_PENDING_AMONG.format(", ".join("?" * len(some))), some))
        return found

    def waiting(self, groups: Iterable[int]) -> dict[int, Waiting]:
        """Return why the rows of groups are not being worked on; groups that are no longer there are left out."""
        question = "SELECT recipe, reason, not_before < 0 FROM recipe WHERE number = ?"
        with self.store.reading() as database:
            rows = [(group, database.execute(question, (group,)).fetchone()) for group in groups]
        return {group: Waiting(row[0], row[1], bool(row[2])) for group, row in rows if row is not None}

    def try_again(self, groups: Iterable[int], now: float) -> None:
        """Have rows tried again that something keeps, but a server's wish that they wait; by a worker at work too."""
        with self.store.writing() as database:
            database.executemany(_TRY_AGAIN, [(each, now) for each in groups])

    def reopen(self, numbers: Iterable[int], now: float) -> None:
        """Have rows that came to their end sent again, in as much time as they had at first; a worker takes them up."""
        rows = [{"row": number, "now": now} for number in numbers]
        with self.store.writing() as database:
            for statement in _REOPENED:
                database.executemany(statement, rows)

    def ended(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes, str, bytes, Answered]]:
        """Return the rows that have come to their end: number, id, recipe, request body, and what came."""
        columns = ", ".join(f"a.{name}" for name in _ENDED.split(", "))
        for some in self._light(list(numbers)):
            marks = ", ".join("?" * len(some))
            with self.store.reading() as database:
                rows = database.execute(
                    f"SELECT {columns}, f.id, f.body, r.recipe FROM answer a JOIN future f USING (number)"  # noqa: S608
                    f" JOIN recipe r ON r.number = f.recipe WHERE a.number IN ({marks}) AND a.finished IS NOT NULL",
                    some,
                ).fetchall()
            for number, *values in rows:
                *end, sends, billed, crc, future_id, body, recipe = values
                answered = Answered(KeptAnswer(*end), sends, bool(billed))
                if not _fits(crc, future_id, number, answered):
                    raise self._damaged()
                yield number, future_id, recipe, body, answered

    def _light(self, numbers: list[int]) -> Iterator[list[int]]:
        """Yield numbers in parts whose requests may be in memory together."""
        for some in _parts(numbers):
            marks = ", ".join("?" * len(some))
            with self.store.reading() as database:
                question = f"SELECT number, length(body) FROM future WHERE number IN ({marks})"  # noqa: S608
                sizes = database.execute(question, some).fetchall()
            part, size = list[int](), 0
            for number, length in sizes:
                if part and size + length > _BYTES:
                    yield part
                    part, size = [], 0
                part.append(number)
                size += length
            if part:
                yield part

    def register(self, token: bytes, pid: int, key: str = "") -> None:
        """Have one worker, and no other, write the answers of the rows of a key."""
        with self.store.writing() as database:
            database.execute("INSERT OR REPLACE INTO worker VALUES (?, ?, ?)", (key, token, pid))

    def begin(self, token: bytes, pid: int, now: float, key: str = "") -> None:
        """Register a worker; what kept the rows of its key from an earlier one is forgotten."""
        self.register(token, pid, key)
        with self.store.writing() as database:
            kept = database.execute(
                f"SELECT number, recipe FROM recipe WHERE (reason IS NOT NULL OR not_before <> {_UNTRIED})"  # noqa: S608
                " AND not_before <= ?",
                (now,),
            )
            found = [(number,) for number, recipe in kept if key_of(recipe) == key]
            database.executemany(
                f"UPDATE recipe SET reason = NULL, not_before = {_UNTRIED} WHERE number = ?",  # noqa: S608
                found,
            )

    def workers(self) -> list[str]:
        """Return the keys for which a worker is at work, or was."""
        with self.store.reading() as database:
            return [key for (key,) in database.execute("SELECT key FROM worker")]

    def is_overtaken(self, token: bytes) -> bool:
        """Check whether another worker has begun, or the store is gone or another one; unknown, it is not so."""
        with suppress(StoreError), self.store.reading() as database:
            return not _is_registered(database, token)
        return False

    def take_up(self, group: int) -> None:
        """Record that the worker is at work on a group, and has the key for it; what kept its rows is forgotten."""
        statement = "UPDATE recipe SET reason = NULL, not_before = max(not_before, 0) WHERE number = ?"
        with self.store.writing() as database:
            database.execute(statement, (group,))

    def groups(self, now: float) -> list[Group]:
        """Return the groups, of all keys, that have pending rows which may be sent now, or must be ended."""
        with self.store.reading() as database:
            rows = database.execute(
                "SELECT number, recipe, not_before < 0 FROM recipe"
                " WHERE EXISTS (SELECT 1 FROM pending p WHERE p.recipe = recipe.number)"
                " AND not_before <= ? ORDER BY number",
                (now,),
            )
            return [Group(number, recipe, bool(is_untried)) for number, recipe, is_untried in rows]

    def take(self, group: int, after: int, most: int) -> list[Future]:
        """Return a group's pending rows behind the number `after`, in the order of submission."""
        where = "p.recipe = ? AND p.number > ? ORDER BY p.number LIMIT ?"
        with self.store.reading() as database:
            rows = database.execute(f"{_PENDING} WHERE {where}", (group, after, most)).fetchall()
        return [self._future(row) for row in rows]

    def is_late(self, group: int, now: float) -> bool:
        """Check whether a group has a pending row whose deadline has passed."""
        question = "SELECT 1 FROM pending p JOIN future f USING (number) WHERE p.recipe = ? AND deadline <= ? LIMIT 1"
        with self.store.reading() as database:
            return database.execute(question, (group, now)).fetchone() is not None

    def expire(self, token: bytes, now: float, group: int) -> None:
        """End the rows of a group whose deadlines have passed."""
        rows: list[Any] = [()]
        where = "f.deadline <= ? AND p.recipe = ? LIMIT ?"
        while rows:
            with self.store.reading() as database:
                rows = database.execute(f"{_PENDING} WHERE {where}", (now, group, _LATE_AT_A_TIME)).fetchall()
            late = [self._future(row) for row in rows]
            for future in late:
                future.expire()
            if late:
                self.put(token, late, now)

    def sends(self, group: int) -> int:
        """Return how many sends were begun for a group's rows, and for others under the same limit, in all."""
        with self.store.reading() as database:
            return int(database.execute(_SENDS, {"group": group}).fetchone()[0] or 0)

    def put(self, token: bytes, rows: Sequence[Future], now: float) -> None:
        """Bring what is known of rows to the disk, in one transaction."""
        with self.store.writing() as database:
            if not _is_registered(database, token):
                raise StoreError(f"{self.store.path}: another worker is running")
            database.executemany(_PUT, [_line(row, now) for row in rows])
            done = [{"row": row.number} for row in rows if row.final]
            if done:
                database.executemany(
                    "DELETE FROM pending WHERE number = :row"
                    " AND recipe = (SELECT recipe FROM future WHERE number = :row)",
                    done,
                )

    def hold(self, group: int, reason: str, *, not_before: float = 0.0) -> None:
        """Record why a group's pending rows are not being worked on."""
        with self.store.writing() as database:
            database.execute(
                "UPDATE recipe SET reason = :reason,"
                " not_before = max(not_before, min(:time, coalesce("
                "(SELECT max(deadline) FROM future JOIN pending USING (number) WHERE pending.recipe = :group), 0)))"
                " WHERE number = :group",
                {"reason": reason, "time": not_before, "group": group},
            )

    def cancelled(self, numbers: Iterable[int]) -> set[int]:
        """Return those of some rows that were cancelled."""
        found = set[int]()
        with self.store.reading() as database:
            for some in _parts(list(numbers)):
                marks = ", ".join("?" * len(some))
                question = f"SELECT number FROM future WHERE deadline < submitted AND number IN ({marks})"  # noqa: S608
                found.update(number for (number,) in database.execute(question, some))
        return found

    def _future(self, row: tuple[object, ...]) -> Future:
        number, future_id, body, deadline, crc, first_sent, sends, billed, *end, end_crc = row
        future = Future(number, future_id, body, deadline)  # type: ignore[arg-type]
        if crc != _body_sum(future.id, future.body):
            raise self._damaged()
        if sends is not None:
            future.first_sent, future.sends, future.billed = first_sent, sends, bool(billed)  # type: ignore[assignment]
            future.end = KeptAnswer(*end)  # type: ignore[arg-type]
            if not _fits(end_crc, future.id, future.number, Answered(future.end, future.sends, future.billed)):
                raise self._damaged()
        return future

    def _damaged(self) -> StoreError:
        return StoreError(f"{self.store.path}: the store is damaged: a row does not match its checksum; keep the file")


def _is_registered(database: sqlite3.Connection, token: bytes) -> bool:
    """Check whether a worker is still the one of its key."""
    return database.execute("SELECT 1 FROM worker WHERE token = ?", (token,)).fetchone() is not None


def _line(row: Future, now: float) -> tuple[object, ...]:
    crc = _end_sum(row.id, row.number, row.end, row.sends, row.billed)
    finished = now if row.final else None
    return row.number, row.sends, int(row.billed), row.first_sent, *row.end, finished, crc


def _body_sum(future_id: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(future_id))


def _end_sum(future_id: bytes, number: int, end: KeptAnswer, sends: int, billed: bool) -> int:
    outcome, kind, status, headers, body, fault, message, _ = end
    short = f"{number}|{sends}|{int(billed)}|{outcome}|{kind}|{status}|{fault}|{message}".encode()
    return zlib.crc32(body or b"", zlib.crc32(headers or b"", zlib.crc32(short, zlib.crc32(future_id))))


def _fits(crc: object, future_id: bytes, number: int, answered: Answered) -> bool:
    try:
        return crc == _end_sum(future_id, number, *answered)
    except TypeError:  # a text or a number where bytes were, or the other way round
        return False


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _AT_A_TIME):
        yield items[start : start + _AT_A_TIME]
