"""The tables of a workflow's batches: what a run over the whole table writes, batch by batch."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import accumulate, chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import tables
from ..column_names import free_names
from ..engine.packed_columns import AT_ONCE
from ..engine.sink import NOT_SENT, OK, SKIPPED, SUBMITTED, End, Records, SharedEnd
from ..problems import Problem, Rejected
from ..run.batch_table import SERVER, paid_bodies
from ..run.output import LOG_TYPES, Responses
from ..run.spending import Spending
from ..run.summary import Summary
from ..run.table_run import Handed, end_of_made, output_of
from ..run.windows import END_BYTES, Windows
from .passage import Passage
from .workflow_output import WorkflowOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..answers import Read
    from ..tables import TableView
    from .row_paths import RowPaths
    from .stream_step import StreamStep

_UNMADE = Rejected(Problem("$", "stopped", "not made: the run was stopped before this row"), outcome=NOT_SENT)


class StreamColumns(NamedTuple):
    """The names of a stream's columns: those of the table; of the raw response, and of each node's log, by theirs."""

    table: tuple[str, ...]
    raw: dict[str, str]
    logs: dict[str, dict[str, str]]


class PassageRecords:
    """What became of a batch's rows at every node, and what was `read` of their answers."""

    def __init__(self, steps: Sequence[StreamStep], rows: int) -> None:
        self.left = set(range(rows))
        self.of: list[Any] = [
            Records(rows, step.answers.bodies(rows)) if step.making is None else [_UNMADE] * rows for step in steps
        ]
        self.read: list[list[Read | None]] = [[None] * rows if step.making is None else [] for step in steps]
        self.models = {step.position: [""] * rows for step in steps if step.models_differ}
        # Of each row: its place, models, what was read, and its ends field by field. No object of a row is kept, for
        # the garbage collector would look through them again and again.
        self._pending: list[Any] = []
        self._made = frozenset(step.position for step in steps if step.making is not None)
        self._shown = frozenset(step.position for step in steps if step.shows_body)
        widths = [1 if step.making is not None else len(End._fields) for step in steps]
        *self._at, self._wide = accumulate(widths, initial=2 + len(steps))
        self._shared: dict[int, list[int]] = {step.position: [] for step in steps if step.twins is not None}
        self._filled = 0  # batches of them that are in the columns

    def accept(self, row: int, passage: Passage) -> None:
        """Accept a row that has come to its end at every node."""
        ends = passage.ends
        for position, shared in self._shared.items():
            if type(ends[position]) is SharedEnd:
                shared.append(row)
        for at, known in enumerate(passage.read):
            if at in self._made:
                ends[at] = (ends[at],)
            elif known is not None and at not in self._shown:
                ends[at] = (ends[at][0], b"", *ends[at][2:])  # so many bodies would push all else out of the cache
        self._pending.extend(chain((row, passage.models), passage.read, *ends))  # one step, whoever may raise
        if len(self._pending) >= AT_ONCE * self._wide:
            self._fill()

    def unended(self) -> list[int]:
        """Return the rows that have no end by now."""
        return sorted(self.left.difference(self._pending[:: self._wide]))

    def finish(self, reason: str | None) -> None:
        """Accept nothing more."""
        self._fill()
        for own in self.of:
            if isinstance(own, Records):
                own.finish(reason)
                own.counts = Counter(own.outcome)
        for position, shared in self._shared.items():
            self.of[position].shared = dict(zip(shared, shared, strict=True))

    def _fill(self) -> None:
        """Move rows into the columns: many at once. Where a handler of a signal raises meanwhile, it is done again."""
        pending, wide = self._pending, self._wide
        rows = pending[::wide]
        for position, (own, at) in enumerate(zip(self.of, self._at, strict=True)):
            if not isinstance(own, Records):
                for row, end in zip(rows, pending[at::wide], strict=True):
                    own[row] = end
                continue
            read = self.read[position]
            for row, known in zip(rows, pending[2 + position :: wide], strict=True):
                read[row] = known
            columns = [pending[at + field :: wide] for field in range(len(End._fields))]
            if len(rows) == AT_ONCE:
                own.fill(self._filled, rows, columns)
            else:
                deque(map(own.accept, rows, map(End, *columns)), 0)
        for position, models in self.models.items():
            for row, asked in zip(rows, pending[1::wide], strict=True):
                models[row] = (asked or {}).get(position, "")
        self.left.difference_update(rows)
        self._filled, self._pending = self._filled + 1, []


class StreamTable:
    """Makes the table of each batch, and adds it up in the account of each node that sends.

    With `raw` it has the last node's own columns too, with `logged` those of every node's log.
    """

    def __init__(self, view: TableView, steps: Sequence[StreamStep], *, raw: bool, logged: bool) -> None:
        self._view, self._steps = view, steps
        steps[-1].shows_body = raw
        self._kept: dict[int, TableView] = {}  # by the starts of their batches: rows that are left out of their tables
        outputs = self._outputs(view, PassageRecords(steps, 0))
        table = tables.view(outputs.table)
        last = [*outputs.values()][-1]
        own: dict[str, Any] = {f"raw.{name}": kind for name, kind in last._types.items()} if raw else {}
        types = {**LOG_TYPES, **({SERVER: "text"} if has_servers(steps) else {})}
        logs = {step.name: [*types] for step in (steps if logged else ())}
        own |= {f"log.{step}.{name}": types[name] for step, names in logs.items() for name in names}
        free = free_names(own, table.columns)
        self._own = {free[name]: kind for name, kind in own.items()}
        self.columns = StreamColumns(
            tuple(table.columns),
            {free[f"raw.{name}"]: name for name in (last._types if raw else ())},
            {step: {free[f"log.{step}.{name}"]: name for name in names} for step, names in logs.items()},
        )
        self.schema = self._table(outputs).schema

    def __call__(self, view: TableView, records: PassageRecords, start: int, left_out: Collection[int] = ()) -> Any:
        """Return the table of a batch whose first row is at `start`; rows that are left out end later."""
        if left_out:
            self._kept[start] = tables.view(view.take(sorted(left_out)))
        return self._made_of(view, records, range(start, start + len(view)), left_out)

    def _made_of(
        self, view: TableView, records: PassageRecords, rows: Sequence[int], left_out: Collection[int] = ()
    ) -> Any:
        known: dict[int, Any] = {}
        for step, own in zip(self._steps, records.of, strict=True):
            if step.making is not None:
                ends = (end_of_made(cells) for cells in own)
                step.account.fail(view, ((why, None, told, None, None) for why, told in ends), rows, left_out)
                continue
            models = records.models.get(step.position)
            asked = partial(_models, step, len(view)) if models is None else partial(list, models)
            answered, used = step.answers.with_usage(own.body, own.outcome, records.read[step.position])
            for row in own.shared:  # which have not paid for it
                for values in used.values():
                    values[row] = None
            spending = Spending(paid_bodies(own), own.reused, step.line.pricing, asked, step.account.taken(), used)
            step.account.add(view, own, spending, rows, left_out)
            known[step.position] = {**answered}
            if step.servers is not None:
                served = step.servers.served([row * len(self._steps) + step.position for row in rows])
                own.further = {SERVER: served}
        return self._table(self._outputs(view, records, known))

    def patched(self, table: Any, late: dict[int, Passage], start: int) -> Any:
        """Return the table with the ends of rows that were left out of it."""
        rows, view = sorted(late), self._kept.pop(start)
        records = PassageRecords(self._steps, len(rows))
        for at, row in enumerate(rows):
            records.accept(at, late[row])
        records.finish(None)
        return tables.patched(table, rows, self._made_of(view, records, [start + row for row in rows]))

    def _outputs(
        self, view: TableView, records: PassageRecords, answered: Mapping[int, Any] = MappingProxyType({})
    ) -> WorkflowOutput:
        """Return what a run over these rows alone gives; `answered` are the columns of answers that have been read."""
        outputs = WorkflowOutput(view.table)
        for step, own in zip(self._steps, records.of, strict=True):
            output = self._output(step, tables.view(outputs._base), own)
            if step.position in answered:
                output._answered = answered[step.position]
            outputs._add(step.name, output)
        return outputs

    def _output(self, step: StreamStep, view: TableView, own: Any) -> Any:
        if step.making is not None:
            return output_of(step.making, view, own, step.context)
        spending = Spending((), (), step.line.pricing)
        return Responses(view, own, Summary.of(own.counts), lambda: (), spending, step.answers)

    def _table(self, outputs: WorkflowOutput) -> Any:
        """Return the table that is written, and behind it what else is wanted."""
        if not self._own:
            return outputs.table
        last = [*outputs.values()][-1]
        values = [last._columns[name] for name in self.columns.raw.values()]
        for step, names in self.columns.logs.items():
            log = tables.view(outputs[step].log)
            none = [None] * len(log)
            known = (
                [cell for (cell,) in log.rows((each,))] if each in log.columns else none for each in names.values()
            )
            values += known
        made = dict(zip(self._own, values, strict=True))
        return tables.view(outputs.table).replacing(made, self._own)


def has_servers(steps: Sequence[StreamStep]) -> bool:
    """Check whether rows of a node may go to any of several servers."""
    return any(step.asking is not None and step.line.endpoint.servers > 1 for step in steps)


def _models(step: StreamStep, rows: int) -> list[Any]:
    plan: Any = step.plan
    return [plan.constant("model")] * rows


class PassageWindows(Windows):
    """Hands out whole batches in the table's order, once their rows have come to their ends at every node."""

    paths: RowPaths
    accept: Callable[[int, End], None]  # type: ignore[assignment] # where the end of a call goes: to its row's path

    def __init__(self, make: StreamTable, steps: Sequence[StreamStep], read: Sequence[str], *kept: Any) -> None:
        super().__init__(make, *kept)
        self._records, self._read, self._steps = partial(PassageRecords, steps), read, steps

    def lead(self, paths: RowPaths) -> None:
        """Have rows led by these paths, whose ends of calls come past this sink."""
        self.paths, self.accept = paths, paths.ended
        paths.has_news = self.has_news

    @property
    def room(self) -> int:
        """How many calls may go: rows that have begun go on, whatever waits; none while a batch can be handed out."""
        return 0 if self.has_news() else sys.maxsize

    def is_full(self) -> bool:
        """Check whether no more rows may begin, since too much waits behind a slow one."""
        return self._spill.bytes >= self._most

    def begin(self, view: TableView) -> None:
        """Open a batch, whose rows follow those that have begun."""
        start = len(self)
        super().begin(view)
        self.paths.open(start, view.rows(self._read))

    def finish(self, reason: str | None) -> None:
        """End the rows that have begun, and those of their batch that never began."""
        self.paths.leave(reason)

    def finished(self, passage: Passage) -> None:
        """Accept a row that has come to its end at every node."""
        outcome, size, recalled = OK, END_BYTES, True
        for end in passage.ends:
            if isinstance(end, End):
                own, body, _, _, _, reused = end[:6]
                size += len(body) + END_BYTES
                recalled = recalled and reused
            else:
                own = end.outcome if isinstance(end, Rejected | Handed) else OK
            if own != OK and outcome == OK and own not in (SKIPPED, SUBMITTED):
                outcome = own
        self.counts[outcome] += 1
        if recalled:
            self.recalled[outcome] += 1
        passage.cells = ()
        self._put(passage.row, passage, size)
