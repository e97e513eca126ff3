"""How answers are got out of the store, and waited for."""

from __future__ import annotations

import ast
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from .. import tables
from ..answers import TEXTS, Pricing, RowAnswers, behind_ids
from ..bodies.settings_plan import RowPlan
from ..connection.connection import Connection
from ..engine.interrupts import Interrupts
from ..engine.journal.recorder import is_asked_again
from ..engine.outcomes.judge import judge
from ..engine.sink import OK, PENDING, End, Records, end_of, rejected, unanswered
from ..errors import Interrupted, StoreError
from ..problems import Rejected, Remark
from ..run import display
from ..run.check import check_rows, refuse_invalid
from ..run.display import counted
from ..run.last_output import remember
from ..run.options import RetryFailed, RunOptions
from ..run.output import NodeOutput, Responses
from ..run.progress import Progress
from ..run.rows import Context, PlanInputs, conversation_of, prepared
from ..run.spending import Spending, pricing_of
from ..run.summary import Met, Summary, notes_on, say_failures
from ..store import StoreFile
from ..store.futures import Answered, Futures, Waiting
from ..store.recipe_keys import key_of
from ..tables import TableView
from .lock import WorkerLock, ensure_worker, log_path
from .stored_connection import StoredConnection, present_key, why_no_key
from .worker import leave

_BETWEEN = 0.02  # seconds between two looks at whether the store has changed
_RESTS = 10  # how much longer than a look the pause after it is, however often the store changes
_LOOK_AGAIN = 0.25  # seconds between two looks at whether a worker is running, where the store does not change
_FRUITLESS = 3  # workers that may end before their time, one after the other, without a single answer


class Wanted(NamedTuple):
    """What is wanted of a table of ids: by whom, by which plan of its rows, for how long, read how, and what again."""

    name: str
    plan: Callable[[Sequence[str], PlanInputs], RowPlan]
    wait: float | None  # seconds; None until no more can come
    answers: RowAnswers = TEXTS
    again: RetryFailed = "none"  # which failed rows are sent again


def retrieve(
    wanted: Wanted, table: Any, connection: Connection | None, context: Context, options: RunOptions
) -> Responses[Any]:
    """Return what is known of every row of a table of ids; see `Retrieval`."""
    view = tables.view(table.table if isinstance(table, NodeOutput) else table).held()
    plan = wanted.plan(view.columns, PlanInputs(context.constants, prefix=context.prefix))
    if options.progress is not False:
        for line in plan.passed_over:
            display.say(f"{wanted.name}: {line}")
    if options.on_invalid == "raise":
        refuse_invalid(check_rows(plan, view))
    with StoreFile(options.store) as store:
        retrieval = Retrieval(view, store, connection, plan.columns, wanted)
        return retrieval.carry_out(prepared(plan, view, context), options.progress)


class Retrieval:
    """Fetches answers by their ids and waits for those that have not come."""

    def __init__(
        self, view: TableView, store: StoreFile, connection: Connection | None, ids: Collection[str], how: Wanted
    ) -> None:
        self._view = view
        self._how = how
        self._use = how.answers.usable()
        self._ids = ids
        self._store = store
        self._futures = Futures(store)
        self._records = Records(len(view))
        self._asked: list[str | None] = [None] * len(view)
        self._rows_of: dict[int, list[int]] = {}
        self._open: dict[int, int] = {}
        self._salt = self._futures.salt_there()
        self._secrets = (
            {} if connection is None or self._salt is None else StoredConnection(connection, self._salt).secrets
        )
        self._connection, self._servers = connection or Connection(), set[str]()
        self._without_key: dict[str, str | None] = {}
        self._asked_for: dict[int, bytes] = {}
        self._began = time.monotonic()
        self._tried = False
        self._passing = 0
        self._fruitless = Counter[str]()
        self._broken: dict[str, str] = {}

    def carry_out(self, wanted: Iterable[bytes | Rejected], progress: bool | None) -> Retrieved:
        """Return what is known of every row, once no more can come, or after the seconds that are waited."""
        until = math.inf if self._how.wait is None else self._began + self._how.wait
        self._find(wanted)
        self._send_again()
        with Interrupts() as interrupts, Progress(len(self._view), progress) as bar:
            self._wait(until, interrupts, bar)
            interrupted = interrupts.level > 0
        self._fill()
        self._store.settle()  # it may be moved from now on, while a worker waits for more to do
        self._records.finish(None)
        records, seconds = self._records, time.monotonic() - self._began
        tokens = {name: sum(filter(None, getattr(records, name))) for name in ("prompt_tokens", "completion_tokens")}
        spending = Spending(records.body, records.reused, self._pricing())
        notes = (*self._notes(), *notes_on(records.counts, Met.of(records)))
        summary = Summary.of(records.counts, **tokens, seconds=seconds, spending=spending, notes=notes)
        output = Retrieved(
            self._view, records, summary, lambda: self._asked, spending, self._how.answers, ids=self._ids
        )
        remember(output, stopped=interrupted)
        if interrupted:
            pending = output.summary.outcomes.get(PENDING, 0)
            still = f"{pending:,} of {len(self._view):,} rows are pending"
            raise Interrupted(f"interrupted: {still}", output, output_has="the rest, and so has tn.last_output()")
        say_failures(self._how.name, summary, output._failures, progress=progress)
        return output

    def _pricing(self) -> Pricing:
        """Return what the answers cost, where all are of one server."""
        server = next(iter(self._servers)) if len(self._servers) == 1 else ""
        return pricing_of(self._connection, server) if server else Pricing("")

    def _notes(self) -> Iterator[str]:
        if self._use is not None:
            yield from self._use.noted()
        if self._passing:
            them = "it" if self._passing == 1 else "them"
            failed = f"{counted(self._passing, 'row')} failed in a way that may pass"
            told = f'{failed}: a retrieval with retry_failed="transient" sends {them} again'
            yield Remark(told, code="may_pass", values={"failed": failed, "them": them})

    def _find(self, wanted: Iterable[bytes | Rejected]) -> None:
        """Look the ids up; those that are not there have their end."""
        asked: dict[bytes, list[int]] = {}
        for row, each in enumerate(wanted):
            if isinstance(each, Rejected):
                self._records.accept(row, rejected(each))
            else:
                asked.setdefault(each, []).append(row)
        numbers = self._futures.find(asked)
        self._rows_of = {number: asked.pop(each) for each, number in numbers.items()}
        self._asked_for = {number: each for each, number in numbers.items()}
        self._say_unknown(asked.values(), "the store has no such id")
        self._look()

    def _say_unknown(self, found: Iterable[list[int]], missing: str) -> None:
        """End the rows whose ids are not in the store."""
        words = missing if self._store.exists else "the store does not exist, or no longer,"
        unknown = unanswered("unknown_id", f"{words} at {self._store.path}", "$.future_response_id")
        for rows in found:
            for row in rows:
                self._records.accept(row, unknown)

    def _look(self) -> None:
        """See which rows are still pending; none is where another store has taken the place of the first one."""
        if self._rows_of:
            pending = self._futures.pending()
            if self._futures.salt_there() != self._salt:
                pending = {}
            self._open = {number: pending[number] for number in self._rows_of if number in pending}

    def _wait(self, until: float, interrupts: Interrupts, bar: Progress) -> None:
        """Wait until nothing is pending, the time is over, or nothing more can be expected."""
        seen, look_at, rests_until = -1, -math.inf, -math.inf
        while self._open and not interrupts.level:
            now = time.monotonic()
            changes = seen if now < rests_until else self._futures.store.changes()
            if changes != seen or now >= look_at:
                seen, look_at = changes, now + _LOOK_AGAIN
                before = len(self._open)
                self._look()
                if len(self._open) != before:
                    self._fruitless.clear()
                if not self._open or not self._may_come():
                    self._look()
                    return
                rests_until = now + _RESTS * (time.monotonic() - now)
            bar.update(len(self._rows_of) - len(self._open), len(self._rows_of) - len(self._open))
            if now >= until:
                return
            time.sleep(min(_BETWEEN, until - now))

    def _may_come(self) -> bool:
        """Check whether an answer may come; start a worker where nobody is at work."""
        groups = set(self._open.values())
        if not self._tried:  # what kept the rows may be over; the worker that is at work, if one is, tries again
            self._tried = True
            kept = [group for group, each in self._futures.waiting(groups).items() if each.reason is not None]
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

    def _fill(self) -> None:
        """Record every row's end, or why it has none."""
        waiting = self._futures.waiting(set(self._open.values()))
        reasons = {group: self._reason(each) for group, each in waiting.items()}
        for number, group in self._open.items():
            reason = reasons.get(group)
            message = f"not answered yet{': ' if reason else ''}{reason or ''}"
            for row in self._rows_of[number]:
                self._records.accept(row, unanswered(PENDING, message))
        recipes: dict[str, Any] = {}
        gone = set(self._rows_of) - set(self._open)
        for number, recipe, body, answered in self._ended(gone):
            gone.remove(number)
            if recipe not in recipes:
                recipes[recipe] = orjson.loads(recipe)
            conversation, end = conversation_of(body), self._end(recipes[recipe], body, answered)
            once = recipes[recipe]["retry"]["ambiguous"] == 0  # then what may have been executed is never sent again
            if end.outcome != OK and answered.end.may_pass and not (once and answered.billed):
                self._passing += len(self._rows_of[number])
            for row in self._rows_of[number]:
                self._asked[row] = conversation
                self._records.accept(row, end)
        self._servers = {each["connection"].get("base_url", "") for each in recipes.values()}
        self._say_unknown([self._rows_of[number] for number in gone], "the store no longer has this id")

    def _reason(self, waiting: Waiting) -> str | None:
        """Return why rows are not answered yet, if something keeps them."""
        return waiting.reason or self._broken.get(key_of(waiting.recipe))

    def _ended(self, numbers: Iterable[int]) -> Iterator[tuple[int, str, bytes, Answered]]:
        """Yield the rows that have come to their end: number, recipe, request body, and what came."""
        for number, future_id, recipe, body, answered in self._futures.ended(sorted(numbers)):
            if future_id == self._asked_for[number]:  # not of a store that has taken the place of the first one
                yield number, recipe, body, answered

    def _end(self, recipe: dict[str, Any], asked: bytes, answered: Answered) -> End:
        """Return the end of a row; the worker keeps what came, and what it is worth is judged here."""
        end, sends, billed = answered
        if end.status is None and end.fault is None:
            given_up = unanswered(str(end.outcome), end.message)
            return given_up._replace(attempts=sends, maybe_billed=billed)
        answer = end.answer(0, sends)
        at_most_once = recipe["retry"]["ambiguous"] == 0
        verdict = judge(answer, asked, needs_choices=recipe["choices"], at_most_once=at_most_once, use=self._use)
        return end_of(answer, verdict, sends, billed)

    def _send_again(self) -> None:
        """Have the failed rows that are wanted again sent once more."""
        again = self._how.again
        if again == "none":
            return
        found = []
        for number, recipe, body, answered in self._ended(set(self._rows_of) - set(self._open)):
            outcome = self._end(orjson.loads(recipe), body, answered).outcome
            if outcome != OK and is_asked_again(again, outcome, may_pass=answered.end.may_pass):
                found.append(number)
        if found:
            self._futures.reopen(found, time.time())
            self._use = self._how.answers.usable()
            self._look()


class Retrieved(Responses[Any]):
    """Answers by their ids, and the table that had the ids."""

    _by_hand = 'RetrieveResponse(answer=…).run(out.failed, retry_failed="all")'

    def __init__(self, *made: Any, ids: Collection[str]) -> None:
        super().__init__(*made)
        self._ids = tuple(ids)

    @cached_property
    def table(self) -> Any:
        """The configuration with the answers, ``status``, ``outcome`` and ``message`` to its right, or with a suffix.

        They take the places of those of an earlier retrieval, to the right of the ids, where these say nothing more.
        """
        columns, types = self._beside()
        names = self._earlier(columns, types)
        if names is None:
            return super().table
        kinds = dict(zip(names, types.values(), strict=True))
        return self._view.replacing(dict(zip(names, columns.values(), strict=True)), kinds)

    def _added(self) -> frozenset[str]:
        return frozenset(self._earlier(*self._beside()) or super()._added())

    def _earlier(self, now: Mapping[str, Sequence[Any]], types: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Return the names of the columns of an earlier retrieval, None where there are none or they say more."""
        columns = self._view.columns
        blocks = self._answers.blocks(columns[behind_ids(columns, self._ids) :])
        if not blocks:
            return None
        rows = [*tables.view(self._view.make(now, types)).rows([*now])]  # as a table of this kind has them
        return next((names for names in blocks if all(map(_says_no_more, self._view.rows(names), rows))), None)


def _says_no_more(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Check whether what a table says of a row is what is known now, or that nothing was known."""
    *answer, status, outcome, message = before
    if outcome == PENDING:
        return all(each is None for each in (*answer, status))
    same = all(map(_is_same, before[:-2], now[:-2]))
    return same and (message is None) == (outcome == OK) and outcome == now[-2]


def _is_same(cell: Any, now: Any) -> bool:
    """Check whether a cell is null or what is known now; a file's reader may have taken a text for something else."""
    if cell is None or cell == now:
        return True
    return now is not None and _as_value(cell) == _as_value(now)


def _as_value(cell: Any) -> Any:
    """Return what a cell says, whether it is a value or the text of one, as JSON or as pandas writes it."""
    for read in (orjson.loads, datetime.fromisoformat, ast.literal_eval) if isinstance(cell, str) else ():
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return read(cell)
    return cell
