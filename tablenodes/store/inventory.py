"""What is in a store: how many rows ended as what, under which ids, and what is deleted or cancelled of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import ids
from .store_file import StoreFile

_AT_A_TIME = 500  # rows that are listed from one state of the store
_LISTED = """
SELECT f.number, f.id, s.name, f.submitted, s.node, s.output, CASE WHEN p.number IS NULL THEN a.outcome END
FROM future f LEFT JOIN submission s ON s.number = f.submission LEFT JOIN answer a ON a.number = f.number
LEFT JOIN pending p ON p.number = f.number AND p.recipe = f.recipe
WHERE f.number > :after AND (:name IS NULL OR s.name = :name) ORDER BY f.number LIMIT :most
"""
_CANCEL = """
UPDATE future SET deadline = 2 * submitted - deadline
WHERE deadline >= submitted AND number IN (SELECT number FROM pending)"""
_OF = "number IN (SELECT f.number FROM future f JOIN submission s ON s.number = f.submission WHERE s.name = :name)"


class Listed(NamedTuple):
    """One row that was submitted; the outcome is ``pending`` until it has one."""

    id: str
    submission: str | None
    when: float
    node: str | None
    output: str | None
    outcome: str


class Inventory:
    """The rows of one store, all or those of a submission."""

    def __init__(self, store: StoreFile, submission: str | None = None) -> None:
        self._store = store
        self._name = {"name": submission}
        self._of = "1" if submission is None else _OF

    def listed(self) -> Iterator[Listed]:
        """Yield the rows in the order in which they were submitted; whoever reads them slowly keeps nobody waiting."""
        rows: list[Any] = [()]
        after = 0
        while rows:
            with self._store.reading() as database:
                asked = {"after": after, "most": _AT_A_TIME, **self._name}
                rows = database.execute(_LISTED, asked).fetchall()
            for after, future_id, *about, outcome in rows:  # noqa: B007 - where the next part begins
                yield Listed(ids.written(future_id), *about, outcome or "pending")  # type: ignore[call-arg]

    def submissions(self) -> list[str]:
        """Return the names of the submissions that are there."""
        with self._store.reading() as database:
            return [name for (name,) in database.execute("SELECT DISTINCT name FROM submission WHERE name IS NOT NULL")]

    def counts(self) -> dict[str, int]:
        """Return how many rows are pending, and how many ended as what."""
        with self._store.reading() as database:
            pending = f"SELECT count(*) FROM pending WHERE {self._of}"  # noqa: S608
            (waiting,) = database.execute(pending, self._name).fetchone()
            ended = database.execute(
                f"SELECT outcome, count(*) FROM answer WHERE finished IS NOT NULL AND {self._of}"  # noqa: S608
                " GROUP BY outcome ORDER BY outcome <> 'ok', count(*) DESC, outcome",
                self._name,
            ).fetchall()
        return {name: count for name, count in [("pending", waiting), *ended] if count}

    def reasons(self) -> dict[str, int]:
        """Return how many pending rows of the store are not being worked on, by the reason."""
        with self._store.reading() as database:
            return dict(
                database.execute(
                    "SELECT reason, count(*) FROM pending JOIN recipe ON recipe.number = pending.recipe"
                    " WHERE reason IS NOT NULL GROUP BY reason ORDER BY count(*) DESC"
                )
            )

    def cancelled(self) -> int:
        """Return how many pending rows were cancelled, and have not come to their end yet."""
        with self._store.reading() as database:
            ending = "SELECT count(*) FROM pending JOIN future USING (number) WHERE deadline < submitted"
            (count,) = database.execute(ending).fetchone()
        return int(count)

    def clear(self, older_than: float = math.inf) -> int:
        """Delete the rows that ended before a time of the wall clock; return how many."""
        question = f"SELECT number FROM answer WHERE finished < :time AND {self._of}"  # noqa: S608
        with self._store.writing() as database:
            old = [row[0] for row in database.execute(question, {"time": older_than, **self._name})]
            for table in ("future", "answer"):
                database.executemany(f"DELETE FROM {table} WHERE number = ?", [(number,) for number in old])  # noqa: S608
            database.execute("DELETE FROM recipe WHERE number NOT IN (SELECT recipe FROM future)")
            database.execute(
                "DELETE FROM submission WHERE number NOT IN (SELECT submission FROM future WHERE submission > 0)"
            )
        return len(old)

    def cancel(self) -> int:
        """Have the pending rows end, by whoever is or comes to work on them; return how many.

        Their deadlines lie as long before they were submitted as they lay behind that.
        """
        with self._store.writing() as database:
            return database.execute(f"{_CANCEL} AND {self._of}", self._name).rowcount
