"""How a workflow's nodes become steps, through which rows go one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import tables
from ..column_names import free_names
from ..engine.sink import Records
from ..problems import Remark
from ..run.account import Account
from ..run.options import HELD_ROWS
from ..run.output import Responses
from ..run.rows import Asking, Context, PlanInputs
from ..run.run import planned
from ..run.spending import Spending
from ..run.summary import Summary
from ..run.table_run import output_of
from .inputs import answers_to, deciding_of
from .passage import AnsweredSoFar, CellReader, MadeSoFar
from .stream_step import Deciding, StreamStep
from .workflow_output import WorkflowOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connection.connection import Connection
    from ..nodes import Node
    from ..run.options import RunOptions
    from ..settings import Limits
    from ..tables import TableView
    from .definition import Definition
    from .stream_lines import Line
    from .stream_submission import StreamSubmission

    Found = str | tuple[MadeSoFar, int]
    """Where a column's cells are: in a column of the source, or in what an earlier node made."""


def why_whole(workflow: Definition, connections: Mapping[str, Connection] | None = None) -> str:
    """Return what of a workflow needs the whole table in memory, and what to do; empty where nothing does.

    Limits of profiles are a part of it where the nodes' `connections` are known.
    """
    kinds = {name: node._row_by_row(name) for name, node in workflow._steps if not node._declared.later}
    if whole := next((name for name, kind in kinds.items() if kind is None), None):
        return f"node {whole!r} waits for a worker's answers; make it a workflow of its own"
    if counted := counted_with_worker(workflow, workflow.limits, connections):
        return f"{counted}; leave it out"
    asking = {name: kind for name, kind in kinds.items() if isinstance(kind, Asking)}
    return "" if asking or len(kinds) < len(workflow._steps) else "none of its nodes sends anything"


def counted_with_worker(
    workflow: Definition, limits: Limits | None, connections: Mapping[str, Connection] | None = None
) -> str:
    """Return which limit a worker's requests count for too, and why a run of the whole table alone can count them.

    A profile's limit is that of all nodes of the profile: a worker counts it where it sends for no other one.
    """
    later = [name for name, node in workflow._steps if node._declared.later]
    sending = [name for name, node in workflow._steps if node._declared.later or node._declared.sends]
    profiles = {name: made.profile for name, made in (connections or {}).items()}
    for name in later:
        profile = profiles.get(name)
        is_shared = profile is not None and sum(profiles.get(each) == profile for each in sending) > 1
        for counted in ("max_requests", "token_budget"):
            for whose in (limits, profile.limits if profile is not None and is_shared else None):
                if getattr(whose, counted, None) is not None:
                    return f"{counted} counts what a worker sends for node {name!r} only over a whole table"
    return ""


def held(workflow: Definition, rows: int) -> Iterator[Remark]:
    """Yield what has a long table held in memory as a whole, and what to do."""
    if rows > HELD_ROWS and not workflow._alone and (why := why_whole(workflow)):
        yield Remark(f"a table of more than {HELD_ROWS:,} rows is held in memory as a whole: {why}", "table")


class StreamPlan:
    """The steps of a workflow for tables of the columns of a view, and which columns of the source they `read`."""

    def __init__(
        self,
        workflow: Definition,
        view: TableView,
        inputs: Mapping[str, Any],
        lines: Mapping[str, Line],
        options: RunOptions,
        connections: Mapping[str, Connection],
    ) -> None:
        self._connections = connections
        self._workflow, self._view, self._inputs = workflow, view, inputs
        self._lines, self._options = lines, options
        self._read: dict[str, int] = {}
        self._found: dict[str, Found] = {name: name for name in view.columns}
        self._so_far: dict[str, Any] = {}
        self._outputs = WorkflowOutput(view.table)
        self._made = frozenset[str]()
        self.steps: list[StreamStep] = []
        for name, node in workflow._steps:
            self._add(name, node)

    @property
    def read(self) -> tuple[str, ...]:
        """The columns of the source that are read."""
        return tuple(self._read)

    def _add(self, name: str, node: Node) -> None:
        view = tables.view(self._outputs._base)
        answers, folder = answers_to(node, self._so_far), self._view.folder
        context = Context(self._inputs, answers, name, prefix=name, folder=folder, made=self._made)
        kind: Any = self._submission(node, view, context) if node._declared.later else node._row_by_row(name)
        line = self._lines.get(name) or next(iter(self._lines.values()))
        asking, making = (kind, None) if isinstance(kind, Asking) else (None, kind)
        if node._declared.later:
            making, plan = kind.making, kind.plan
        elif making is not None:
            plan = making.plan(view.columns, PlanInputs(context.constants, None, self._options.store))
        else:
            plan = planned(kind, view, line.endpoint, context, line.options)
        deciding, account = self._deciding(name, view.columns, context), Account(line.pricing)
        reader, position = self._reader(plan.columns, answers), len(self.steps)
        step = StreamStep(position, name, node, plan, reader, deciding, context, self._options, account)
        step.line = line
        step.asking, step.making = asking, making
        step.submission = kind if node._declared.later else None
        step.packs = asking is not None and asking.pack is not None
        step.gathers = max(step.gathers, (asking.pack or 0) if asking is not None else 0)
        if asking is not None:
            step.answers = asking.answers.streamed()
        step.models_differ = asking is not None and line.pricing.is_known and plan.constant("model") is None
        followed = [*node._follows().values()]
        step.follows = next((each for each in self.steps if each.name in followed), None)
        self.steps.append(step)
        self._hand_on(step, view)

    def _submission(self, node: Node, view: TableView, context: Context) -> StreamSubmission:
        from .stream_submission import StreamSubmission  # noqa: PLC0415 - loaded where it is used

        return StreamSubmission(node, self._connections[context.scope], view, context, self._options)

    def _reader(self, columns: Sequence[str], upstream: Callable[[Any], Any] | None) -> CellReader:
        places = {name: self._place(self._found[name]) for name in columns if name in self._found}
        return CellReader(columns, places, upstream)

    def _place(self, found: Found) -> Any:
        return self._read.setdefault(found, len(self._read)) if isinstance(found, str) else found

    def _deciding(self, name: str, columns: Sequence[str], context: Context) -> Deciding | None:
        """Return what decides whether a row comes to a node."""
        when = deciding_of(self._workflow._whens.get(name), self._so_far)
        if when is None:
            return None
        plan = when.plan(columns, replace(context, upstream=when.upstream).constants)
        return Deciding(plan, self._reader(plan.columns, when.upstream), when)

    def _hand_on(self, step: StreamStep, view: TableView) -> None:
        """Note what later nodes find of a node: its answers, or the columns that it made."""
        making, node = step.making, step.node
        if making is None:
            self._so_far[step.name] = AnsweredSoFar(step.position, step.answers)
            records, spending = Records(0), Spending((), (), step.line.pricing)
            output: Any = Responses(view, records, Summary(0, {}), lambda: (), spending, step.answers)
        else:
            before = {name: self._place(self._found[name]) for name in making.makes if name in self._found}
            self._so_far[step.name] = so_far = MadeSoFar(step.position, making, before)
            output = output_of(making, view, (), step.context)
            if not making.fields:
                own = [name for name in making.makes if name not in making.handed_on]
                named = free_names(own, view.columns)
                for at, name in enumerate(making.makes):
                    self._found[named.get(name, name)] = so_far, at
            self._made |= frozenset(node._declared.makes) - frozenset(self._view.columns)
        self._outputs._add(step.name, output)
