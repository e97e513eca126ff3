"""Answers in the store that may not have come yet: how they are found by their ids, and waited for."""

from __future__ import annotations

import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from ..answers import TEXTS, Pricing, RowAnswers
from ..connection.connection import Connection
from ..engine.journal.recorder import is_asked_again
from ..engine.outcomes.judge import judge
from ..engine.sink import OK, PENDING, End, Records, end_of, rejected, unanswered
from ..errors import StoreError
from ..problems import Rejected, Remark
from ..run.display import counted
from ..run.rows import conversation_of
from ..run.spending import pricing_of
from ..store.futures import Answered, Futures, Waiting
from ..store.recipe_keys import key_of
from .lock import WorkerLock, ensure_worker, log_path
from .stored_connection import StoredConnection, present_key, why_no_key
from .worker import leave

if TYPE_CHECKING:
    from ..bodies.settings_plan import RowPlan
    from ..engine.interrupts import Interrupts
    from ..run.options import RetryFailed
    from ..run.rows import PlanInputs
    from ..store import StoreFile

_BETWEEN = 0.02  # seconds between two looks at whether the store has changed
_RESTS = 10  # how much longer than a look the pause after it is, however often the store changes
_LOOK_AGAIN = 0.25  # seconds between two looks at whether a worker is running, where the store does not change
_PATIENCE = 0.05  # what part of the time that was waited so far the pause after a look is, up to the seconds above
_FRUITLESS = 3  # workers that may end before their time, one after the other, without a single answer


class Wanted(NamedTuple):
    """What is wanted of a table of ids: by whom, by which plan of its rows, for how long, read how, and what again."""

    name: str
    plan: Callable[[Sequence[str], PlanInputs], RowPlan]
    wait: float | None  # seconds; None until no more can come
    answers: RowAnswers = TEXTS
    again: RetryFailed = "none"  # which failed rows are sent again


class PendingAnswers:
    """The rows of a table of ids, or of one batch after the other; each is looked up, waited for and read.

    All are waited for until one time; `send_again` says which failed rows are sent again.
    """

    def __init__(self, store: StoreFile, connection: Connection | None, how: Wanted) -> None:
        self._store, self._how, self.send_again = store, how, how.again
        self._use = how.answers.usable()
        self._futures = Futures(store)
        self._rows_of: dict[int, list[int]] = {}
        self._open: dict[int, int] = {}
        self._asked_for: dict[int, bytes] = {}
        self._salt = self._futures.salt_there()
        self._secrets = (
            {} if connection is None or self._salt is None else StoredConnection(connection, self._salt).secrets
        )
        self._connection, self._servers = connection or Connection(), set[str]()
        self._without_key: dict[str, str | None] = {}
        self._until = math.inf if how.wait is None else time.monotonic() + how.wait
        self._tried, self._sent_again = set[int](), set[int]()
        self._passing = 0
        self._fruitless = Counter[str]()
        self._broken: dict[str, str] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether rows of the last table have no answer yet."""
        return bool(self._open)

    def pricing(self) -> Pricing:
        """Return what the answers that were read last cost, where all are of one server."""
        server = next(iter(self._servers)) if len(self._servers) == 1 else ""
        return pricing_of(self._connection, server) if server else Pricing("")

    def notes(self) -> Iterator[str]:
        """Yield what is to be said of all rows that were read."""
        if self._use is not None:
            yield from self._use.noted()
        if self._passing:
            them = "it" if self._passing == 1 else "them"
            failed = f"{counted(self._passing, 'row')} failed in a way that may pass"
            told = f'{failed}: a retrieval with retry_failed="transient" sends {them} again'
            yield Remark(told, code="may_pass", values={"failed": failed, "them": them})

    def find(self, wanted: Iterable[bytes | Rejected], records: Records) -> None:
        """Look the ids of a table up, and have failed rows sent again; ids that are not there have their end."""
        asked: dict[bytes, list[int]] = {}
        for row, each in enumerate(wanted):
            if isinstance(each, Rejected):
                records.accept(row, rejected(each))
            else:
                asked.setdefault(each, []).append(row)
        numbers = self._futures.find(asked)
        self._rows_of = {number: asked.pop(each) for each, number in numbers.items()}
        self._asked_for = {number: each for each, number in numbers.items()}
        self._say_unknown(asked.values(), "the store has no such id", records)
        self._open = self._pending(self._rows_of)
        self._send_again()

    def _say_unknown(self, found: Iterable[list[int]], missing: str, records: Records) -> None:
        """End the rows whose ids are not in the store."""
        words = missing if self._store.exists else "the store does not exist, or no longer,"
        unknown = unanswered("unknown_id", f"{words} at {self._store.path}", "$.future_response_id")
        for rows in found:
            for row in rows:
                records.accept(row, unknown)

    def _pending(self, numbers: Iterable[int]) -> dict[int, int]:
        """Return which rows are still pending; none is where another store has taken the place of the first one."""
        pending = self._futures.pending(numbers)
        return {} if pending and self._futures.salt_there() != self._salt else pending

    def _send_again(self) -> None:
        """Have the failed rows that are wanted again sent once more."""
        again, use = self.send_again, self._how.answers.usable()
        if again == "none":
            return
        found = []
        for number, recipe, body, answered in self._ended(self._rows_of.keys() - self._open - self._sent_again):
            outcome = self._end(orjson.loads(recipe), body, answered, use).outcome
            if outcome != OK and is_asked_again(again, outcome, may_pass=answered.end.may_pass):
                found.append(number)
        if found:
            self._futures.reopen(found, time.time())
            self._sent_again.update(found)
            self._open = self._pending(self._rows_of)

    def wait(self, interrupts: Interrupts, moved: Callable[[int], None]) -> None:
        """Wait until nothing is pending, the time is over, or nothing more can be expected.

        `moved` is told how many rows have come to their end.
        """
        seen, look_at, rests_until, began = -1, -math.inf, -math.inf, time.monotonic()
        while self._open and not interrupts.level:
            now = time.monotonic()
            changes = seen if now < rests_until else self._futures.store.changes()
            if changes != seen or now >= look_at:
                seen, look_at = changes, now + _LOOK_AGAIN
                before = len(self._open)
                self._open = self._pending(self._open)
                if len(self._open) != before:
                    self._fruitless.clear()
                if not self._open or not self._may_come():
                    self._open = self._pending(self._open)
                    return
                pause = max(_RESTS * (time.monotonic() - now), min(_LOOK_AGAIN, _PATIENCE * (now - began)))
                rests_until = now + pause
            moved(len(self._rows_of) - len(self._open))
            if now >= self._until:
                return
            time.sleep(min(_BETWEEN, self._until - now))
        moved(len(self._rows_of) - len(self._open))

    def _may_come(self) -> bool:
        """Check whether an answer may come; start a worker where nobody is at work."""
        groups = set(self._open.values())
        if untried := groups - self._tried:  # what kept the rows may be over; the worker at work, if any, tries again
            self._tried |= untried
            kept = [group for group, each in self._futures.waiting(untried).items() if each.reason is not None]
            if kept:
                self._futures.try_again(kept, time.time())
        of_key = defaultdict[str, list[Waiting]](list)
        for each in self._futures.waiting(groups).values():
            of_key[key_of(each.recipe)].append(each)
        return True in [self._is_worked_on(key, waiting) for key, waiting in of_key.items()]

    def _is_worked_on(self, key: str, waiting: Sequence[Waiting]) -> bool:
        """Check whether rows of a key may still be answered; start a worker where nobody has them."""
        if not any(each.reason is None or each.is_untried for each in waiting):
            return False
        if WorkerLock(self._store.path, key).is_held():
            return True
        if key not in self._without_key:
            connection = orjson.loads(waiting[0].recipe)["connection"]
            environ = {**os.environ, **self._secrets_for(waiting[0])}
            self._without_key[key] = why_no_key(connection, environ, self._salt or b"")
        if (reason := self._without_key[key]) is not None:
            leave(self._futures, key, reason)
            return False
        return self._start(key, waiting)

    def _secrets_for(self, waiting: Waiting) -> dict[str, str]:
        """Return the keys that rows may be sent with: that of the connection, else what the environment has by now."""
        return present_key(orjson.loads(waiting.recipe)["connection"], os.environ) | self._secrets

    def _start(self, key: str, waiting: Iterable[Waiting]) -> bool:
        """Start a worker, unless several have ended before their time; return whether there is hope."""
        if self._fruitless[key] == _FRUITLESS:
            self._broken[key] = f"the worker keeps ending early; see {log_path(self._store.path, key)}"
            return False
        try:
            secrets = {name: value for each in waiting for name, value in self._secrets_for(each).items()}
            self._fruitless[key] += ensure_worker(self._store.path, key, secrets)
        except StoreError as error:
            self._broken[key] = str(error)
            return False
        return True

    def read(self, records: Records, asked: list[str | None] | None = None) -> None:
        """Record every row's end, or why it has none; `asked` gets the ids of the conversations that were asked."""
        self._say_pending(self._open, records)
        recipes: dict[str, Any] = {}
        gone = self._rows_of.keys() - self._open
        for number, recipe, body, answered in self._ended(gone):
            gone.remove(number)
            if recipe not in recipes:
                recipes[recipe] = orjson.loads(recipe)
            end = self._end(recipes[recipe], body, answered, self._use)
            once = recipes[recipe]["retry"]["ambiguous"] == 0  # then what may have been executed is never sent again
            if end.outcome != OK and answered.end.may_pass and not (once and answered.billed):
                self._passing += len(self._rows_of[number])
            conversation = None if asked is None else conversation_of(body)
            for row in self._rows_of[number]:
                if asked is not None:
                    asked[row] = conversation
                records.accept(row, end)
        self._servers = {each["connection"].get("base_url", "") for each in recipes.values()}
        again = self._pending(gone)  # somebody else has had them sent again
        self._say_pending(again, records)
        missing = [self._rows_of[number] for number in gone - again.keys()]
        self._say_unknown(missing, "the store no longer has this id", records)

    def _say_pending(self, pending: dict[int, int], records: Records) -> None:
        """Record why rows have no answer yet."""
        waiting = self._futures.waiting(set(pending.values()))
        reasons = {group: each.reason or self._broken.get(key_of(each.recipe)) for group, each in waiting.items()}
        for number, group in pending.items():
            reason = reasons.get(group)
            message = f"not answered yet{': ' if reason else ''}{reason or ''}"
            for row in self._rows_of[number]:
                records.accept(row, unanswered(PENDING, message))

    def _ended(self, numbers: Iterable[int]) -> Iterator[tuple[int, str, bytes, Answered]]:
        """Yield the rows that have come to their end: number, recipe, request body, and what came."""
        for number, future_id, recipe, body, answered in self._futures.ended(sorted(numbers)):
            if future_id == self._asked_for[number]:  # not of a store that has taken the place of the first one
                yield number, recipe, body, answered

    def _end(self, recipe: dict[str, Any], asked: bytes, answered: Answered, use: Any) -> End:
        """Return the end of a row; the worker keeps what came, and what it is worth is judged here."""
        end, sends, billed = answered
        if end.status is None and end.fault is None:
            given_up = unanswered(str(end.outcome), end.message)
            return given_up._replace(attempts=sends, maybe_billed=billed)
        answer = end.answer(0, sends)
        at_most_once = recipe["retry"]["ambiguous"] == 0
        verdict = judge(answer, asked, needs_choices=recipe["choices"], at_most_once=at_most_once, use=use)
        return end_of(answer, verdict, sends, billed)
