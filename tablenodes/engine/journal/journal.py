"""The journal: every answer on disk before its slot is used again, so that nothing paid for is lost or paid twice."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import JournalError
from ..sink import OK, UNUSABLE
from . import batch_marks, journal_file
from .answer_blocks import QUICK, SMALL, Blocks, OpenBlocks, packed, unpacked
from .entry import Entry, KeptAnswer, Key
from .journal_file import row_sum, sum_of_intent, worded
from .seen_digests import KEPT

Row = tuple[Any, ...]
_ROWS = """
SELECT id, digest, occurrence, sends, billed, outcome, kind, status, block, start, crc FROM row
WHERE id BETWEEN ? AND ? ORDER BY id
"""
_STARTS = f"""
SELECT group_concat(hex(substr(digest, 1, {KEPT})), '') FROM row
WHERE id BETWEEN ? AND ? AND outcome = ? AND kind IS NULL AND occurrence = 0
"""  # noqa: S608 - a number
_KEYS = "SELECT digest, occurrence FROM row WHERE id BETWEEN ? AND ? ORDER BY id"
_INTEND = "INSERT OR REPLACE INTO row (id, digest, occurrence, sends, billed, crc) VALUES (?, ?, ?, ?, ?, ?)"
_DONE = """
UPDATE row SET sends = ?, billed = ?, outcome = ?, kind = ?, status = ?, block = ?, start = ?, crc = ? WHERE id = ?
"""
_BLOCK = "SELECT id, codec, size, answers, crc FROM block WHERE id = ?"
_PUT_BLOCK = "INSERT INTO block (id, codec, size, answers, crc) VALUES (?, ?, ?, ?, ?)"
_AT_A_TIME = 1024  # rows that are read at once; their answers are not
_BETWEEN_LOOKS = 0.5  # seconds between two looks whether the file is still there
_ANSWERED = "SELECT 1 FROM row WHERE outcome IN (?, ?) LIMIT 1"
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
        self._failed = False
        self._intents: list[Entry] = []
        self._dones: list[tuple[Entry, Row, bytes]] = []  # with what is known of each by now, and its answer
        self._marks: list[Row] = []  # of batches
        self._blocks = OpenBlocks(self._read_block, partial(journal_file.damaged, path))
        self._codec = QUICK
        self._place = journal_file.place_of(path)
        self._log = Path(f"{path}-wal")
        self._log_place = journal_file.place_of(self._log)
        self._look_at = 0.0
        self.is_lost = False  # whether the file was deleted, moved or replaced
        try:
            for place in {min(1, self.rows), self.rows} - {0}:
                self.entry(*self.read(place, place))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return self._last

    def read(self, first: int, last: int) -> list[Row]:
        """Return the rows of some places, all of them as they are in the file; their answers are not read."""
        with worded(self.path):
            found = self._database.execute(_ROWS, (first, last)).fetchall()
        if len(found) != last - first + 1:
            raise journal_file.damaged(self.path)
        return found

    def at(self, places: Sequence[int]) -> list[Row]:
        """Return the rows of these places, in their order; as few reads as are worth it."""
        first, last = min(places), max(places)
        if last - first >= 2 * len(places):
            return [self.read(place, place)[0] for place in places]
        rows = self.read(first, last)
        return [rows[place - first] for place in places]

    def starts(self, places: range) -> bytes | None:
        """Return the first bytes of all digests of places where each row is ok and unlike others; else None."""
        (found,) = self._execute(_STARTS, (places[0], places[-1], OK)).fetchone()
        return bytes.fromhex(found) if found and len(found) == 2 * KEPT * len(places) else None

    def check(self, row: Row) -> None:
        """Raise `JournalError` for a row that is not as it was written."""
        with suppress(TypeError):  # a text where bytes were
            if row_sum(*row[:-1]) == row[-1]:
                return
        raise journal_file.damaged(self.path)

    def entry(self, row: Row) -> Entry:
        """Return what is known of a row; raise `JournalError` where that is not as it was written."""
        self.check(row)
        place, digest, occurrence, sends, billed, outcome, kind, status, block, start, _ = row
        last = None
        if outcome is not None:
            headers, body, fault, message, latency = unpacked(self._blocks[block], start)
            last = KeptAnswer(outcome, kind, status, headers, body, fault, message, latency)
        return Entry(Key(digest, occurrence), place, sends, billed=bool(billed), last=last)

    def _read_block(self, number: int) -> Any:
        return self._execute(_BLOCK, (number,)).fetchone()

    def mark(self, fingerprint: bytes, places: Sequence[int], keys: int) -> None:
        """Record where the rows of a batch are; `keys` is the check sum over their keys."""
        self._marks.append(batch_marks.mark_of(fingerprint, places, keys))

    def marked(self, fingerprint: bytes) -> Sequence[int] | None:
        """Return where the rows of a batch are; None of one that has no mark, or a damaged one."""
        found = next(self._marks_on_disk("WHERE fingerprint = ?", (fingerprint,)), None)
        return None if found is None else batch_marks.places_of(found)

    def vouched(self) -> Iterator[tuple[range, bytes, Sequence[int]]]:
        """Yield digests and occurrences of places that follow each other, where they are those of a batch's mark."""
        marked = {}
        for *columns, keys, crc in self._marks_on_disk():
            places = batch_marks.places_of((*columns, keys, crc))
            if places and (found := batch_marks.in_a_row(places)):
                marked[found] = keys
        for places in sorted(marked, key=lambda each: each.start):
            keys = self._execute(_KEYS, (places[0], places[-1])).fetchall()
            digests, occurrences = zip(*keys, strict=True) if keys else ((), ())
            if len(keys) == len(places) and batch_marks.sum_of(digests, occurrences) == marked[places]:
                yield places, b"".join(digests), occurrences

    def _marks_on_disk(self, which: str = "", parameters: tuple[Any, ...] = ()) -> Iterator[Row]:
        has_any = self.rows and self._execute(batch_marks.HAS_ANY).fetchone()
        return self._execute(f"{batch_marks.FIND} {which}", parameters) if has_any else iter(())

    def tally(self) -> list[tuple[str | None, int, int]]:
        """Return each outcome (None for in doubt), its rows and the sends that were begun for them; the most first."""
        return self._execute(_TALLY).fetchall()

    def __iter__(self) -> Iterator[Entry]:
        """Yield the rows, in the order in which they were first sent."""
        for row in self.all():
            yield self.entry(row)

    def all(self) -> Iterator[Row]:
        """Yield all rows of the file in that order, without their answers."""
        return self.between(1, self._last_on_disk)

    def between(self, first: int, last: int) -> Iterator[Row]:
        """Yield the rows of some places as `read` returns them, without reading all of them at once."""
        for at in range(first, last + 1, _AT_A_TIME):
            yield from self.read(at, min(at + _AT_A_TIME - 1, last))

    def has_answers(self) -> bool:
        """Check whether a row was answered."""
        return self._execute(_ANSWERED, (OK, UNUSABLE)).fetchone() is not None

    def intend(self, entry: Entry) -> None:
        """Record that a row is about to be sent."""
        if not entry.place:
            self._last += 1
            entry.place = self._last
        entry.sends += 1
        if not entry.rides:
            self.sends += 1
        self._intents.append(entry)

    def done(self, entry: Entry, kept: KeptAnswer, *, billed: bool = False, unforeseen: int = 0) -> None:
        """Record what came of a send; `unforeseen` are sends beyond the one that was intended."""
        if unforeseen:
            self._count(entry, unforeseen)
        entry.billed = entry.billed or billed
        self._dones.append((entry, (entry.sends, int(entry.billed), *kept[:3]), packed(kept)))

    def commit(self) -> None:
        """Bring everything that was recorded to the disk, with one sync.

        Raises `JournalError` if the disk is full or fails. What was intended is then taken back, for nothing of it was
        sent; the answers are kept, and are tried again with the next commit.
        """
        database = self._database
        try:
            self._look_for_the_file()
            if not self._intents and not self._dones and not self._marks:
                return
            with worded(self.path):
                if self._failed:  # what is in the log comes into the file, so that its space can be written again
                    database.execute("PRAGMA wal_checkpoint(RESTART)")
                database.execute("BEGIN IMMEDIATE")
                if self._failed:  # a commit that fails may have been made all the same
                    database.execute("DELETE FROM row WHERE id > ?", (self._last_on_disk,))
                if self._dones:
                    self._put_answers()
                if self._intents:
                    database.executemany(_INTEND, map(_intent, self._intents))
                if self._marks:
                    database.execute(batch_marks.MAKE)
                    database.executemany(batch_marks.PUT, self._marks)
                journal_file.counted(database, self._last, self.sends)
                database.execute("COMMIT")
        except JournalError:
            self._failed = True
            self._take_back()
            raise
        for written in (self._dones, self._intents, self._marks):
            written.clear()
        self._last_on_disk = self._last

    def _put_answers(self) -> None:
        newest = self._execute("SELECT max(id) FROM block").fetchone()[0] or 0
        blocks, rows = Blocks(newest + 1, self._codec), []
        for entry, known, answer in self._dones:
            columns = (*known, *blocks.put(answer))
            rows.append((*columns, row_sum(entry.place, *entry.key, *columns), entry.place))
        blocks.end()
        self._database.executemany(_DONE, rows)
        self._database.executemany(_PUT_BLOCK, [(*block, block.crc) for block in blocks.full])

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
        outcomes = {entry.place: known[2] for entry, known, _ in self._dones}  # of a row sent again, the last one
        return sum(outcome == OK for outcome in outcomes.values())

    def verify(self) -> None:
        """Raise `JournalError` unless all of the file is as it was written, every answer too."""
        for _ in self:
            pass
        if None in map(batch_marks.places_of, self._marks_on_disk()):
            raise journal_file.damaged(self.path)
        if self._execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
            raise journal_file.damaged(self.path)

    def compact(self) -> None:
        """Write all answers anew, in the table's order and as small as they get; a kill leaves a whole journal.

        Answers that others took the place of are gone then.
        """
        older = self._execute("SELECT max(id) FROM block").fetchone()[0] or 0
        self._codec = SMALL
        for number, entry in enumerate(self, 1):
            if entry.last is not None:
                self.done(entry, entry.last)
            if number % _AT_A_TIME == 0:
                self.commit()
        self.commit()
        self._execute("DELETE FROM block WHERE id <= ?", (older,))
        self._execute("VACUUM")

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
        if not entry.rides:
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


def _intent(entry: Entry) -> Row:
    columns = (entry.place, *entry.key, entry.sends, int(entry.billed))
    return *columns, sum_of_intent(*columns)
