"""How answers are got out of the store by the ids of a table, and put beside these."""

from __future__ import annotations

import ast
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any

import orjson

from .. import tables
from ..answers import RowAnswers, behind_ids
from ..connection.connection import Connection
from ..engine.interrupts import Interrupts
from ..engine.sink import OK, PENDING, Records
from ..errors import Interrupted
from ..run import display
from ..run.check import check_rows, refuse_invalid
from ..run.last_output import remember
from ..run.options import RunOptions
from ..run.output import NodeOutput, Responses
from ..run.progress import Progress
from ..run.rows import Context, PlanInputs, prepared
from ..run.spending import Spending
from ..run.summary import Met, Summary, notes_on, say_failures
from ..store import StoreFile
from .pending_answers import PendingAnswers, Wanted


def retrieve(
    wanted: Wanted, table: Any, connection: Connection | None, context: Context, options: RunOptions
) -> Responses[Any]:
    """Return what is known of every row of a table of ids, once no more can come, or after the seconds of a wait."""
    view = tables.view(table.table if isinstance(table, NodeOutput) else table).held()
    plan = wanted.plan(view.columns, PlanInputs(context.constants, prefix=context.prefix))
    if options.progress is not False:
        for line in plan.passed_over:
            display.say(f"{wanted.name}: {line}")
    if options.on_invalid == "raise":
        refuse_invalid(check_rows(plan, view))
    records, asked = Records(len(view)), list[str | None]([None]) * len(view)
    with StoreFile(options.store) as store:
        began, answers = time.monotonic(), PendingAnswers(store, connection, wanted)
        answers.find(prepared(plan, view, context), records)
        with Interrupts() as interrupts, Progress(len(view), options.progress) as bar:
            answers.wait(interrupts, lambda ended: bar.update(ended, ended))
            interrupted = interrupts.level > 0
        answers.read(records, asked)
        store.settle()  # it may be moved from now on, while a worker waits for more to do
    records.finish(None)
    tokens = {name: sum(filter(None, getattr(records, name))) for name in ("prompt_tokens", "completion_tokens")}
    spending = Spending(records.body, records.reused, answers.pricing())
    notes, seconds = (*answers.notes(), *notes_on(records.counts, Met.of(records))), time.monotonic() - began
    summary = Summary.of(records.counts, **tokens, seconds=seconds, spending=spending, notes=notes)
    output = Retrieved(view, records, summary, lambda: asked, spending, wanted.answers, ids=plan.columns)
    remember(output, stopped=interrupted)
    if interrupted:
        still = f"{output.summary.pending:,} of {len(view):,} rows are pending"
        raise Interrupted(f"interrupted: {still}", output, output_has="the rest, and so has tn.last_output()")
    say_failures(wanted.name, summary, output._failures, progress=options.progress)
    return output


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
        names = next(self.earlier(columns, types), None)
        if names is None:
            return super().table
        kinds = dict(zip(names, types.values(), strict=True))
        return self._view.replacing(dict(zip(names, columns.values(), strict=True)), kinds)

    def _added(self) -> frozenset[str]:
        return frozenset(next(self.earlier(*self._beside()), None) or super()._added())

    def earlier(self, now: Mapping[str, Sequence[Any]], types: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
        """Yield the names of the columns of each earlier retrieval that says no more of the rows than this one."""
        blocks = earlier_blocks(self._answers, self._view.columns, self._ids)
        if not blocks:
            return
        rows = [*tables.view(self._view.make(now, types)).rows([*now])]  # as a table of this kind has them
        yield from (names for names in blocks if all(map(_says_no_more, self._view.rows(names), rows)))


def earlier_blocks(answers: RowAnswers, columns: Sequence[str], ids: Collection[str]) -> list[tuple[str, ...]]:
    """Return the names of the columns of each earlier retrieval in a table, to the right of the ids."""
    return answers.blocks(columns[behind_ids(columns, ids) :])


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
