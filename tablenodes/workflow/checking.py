"""Check a workflow: what each node would send, as far as that can be known before anything is sent."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from .. import schemas, tables
from ..bodies import BodyPlan
from ..connection import Connection
from ..endpoint import default_properties
from ..errors import TableError, UsageError, WorkflowError
from ..nodes.check import check_rows
from ..nodes.run import Context
from ..templates import OUTPUTS
from ..values import Rejected
from .answers import failed
from .inputs import resolved
from .references import upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..engine.records import Rejection
    from ..nodes.check import Check
    from ..tables import TableView
    from .workflow import Workflow


def check(
    workflow: Workflow, table: Any, inputs: Mapping[str, Any] | None, connection: Connection | None
) -> dict[str, Check]:
    """Check a workflow; see `Workflow.check`."""
    connection = connection_of(workflow, connection)
    values = resolved(workflow.inputs, inputs)
    view = opened(workflow, table, read=False)
    if view.one_shot:
        raise TableError("the table is a stream that can be read only once: read it into a table before you check it")
    return checks(workflow, view, plans(workflow, view, values, connection))


def connection_of(workflow: Workflow, connection: Connection | None) -> Connection:
    """Give the connection that a run uses."""
    if connection is not None and not isinstance(connection, Connection):
        raise WorkflowError(f"connection must be a Connection, not {type(connection).__name__}")
    return connection or workflow.connection or Connection()


def file_of(workflow: Workflow, table: Any) -> str | None:
    """Give the path of the table that a run reads; None where it is given a table itself."""
    if table is None:
        return None if workflow.table is None else os.fspath(workflow.table)
    return os.fspath(table) if isinstance(table, str | os.PathLike) else None


def opened(workflow: Workflow, table: Any, *, read: bool = True) -> TableView:
    """Give the view of the table that a run is given, or that the workflow names."""
    path = file_of(workflow, table)
    if path is not None:
        table = tables.read_table(path)
    if table is None:
        raise WorkflowError("no table: name one as table in the workflow, or give one to the run")
    return tables.view(table, read=read)


def plans(
    workflow: Workflow, view: TableView, inputs: Mapping[str, Any], connection: Connection
) -> dict[str, BodyPlan]:
    """Give each node's plan for a table: where settings and columns do not fit together, it is found here.

    Raises
    ------
    UsageError
        For the first node that does not fit; names it, and its line where there is one.
    """
    made: dict[str, BodyPlan] = {}
    for position, (name, node) in enumerate(workflow.steps):
        reads = upstream(node, tuple(made)) is not None
        constants = Context(inputs, _nothing if reads else None).constants
        try:
            schema = schemas.load(node.schema, node.operation)
            made[name] = _Plan(
                node.recipe(), schema, view.columns, defaults=default_properties(connection), constants=constants
            )
        except UsageError as error:
            raise workflow.located(position, error) from None
    return made


def checks(workflow: Workflow, view: TableView, plans: Mapping[str, BodyPlan]) -> dict[str, Check]:
    """Check every node's rows."""
    made: dict[str, Check] = {}
    unsent: dict[str, set[int]] = {}
    for name, node in workflow.steps:
        ids = upstream(node, tuple(made))
        if ids is None:
            made[name] = check_rows(plans[name], view)
        else:
            answered = _AnsweredView(view, ids, {earlier: unsent[earlier] for earlier in ids})
            found = check_rows(plans[name], cast("TableView", answered))
            later = f"it reads the answers of {', '.join(ids)}: what depends on them is checked when they have come"
            made[name] = replace(found, duplicates=0, warnings=(*found.warnings, later))
        unsent[name] = {int(row) for row in made[name].problems["row"]}
    return made


def unsendable(workflow: Workflow, view: TableView, plans: Mapping[str, BodyPlan]) -> tuple[str, Check] | None:
    """Give the first node that could send none of a table's rows, and why; None where there is none.

    No more rows are looked at than up to the first that can be sent.
    """
    for position, (name, node) in enumerate(workflow.steps):
        ids = upstream(node, [earlier for earlier, _ in workflow.steps[:position]])
        rows = (view if ids is None else _AnsweredView(view, ids, {each: set() for each in ids})).rows
        if len(view) and not any(_can_be_sent(plans[name], cells) for cells in rows(plans[name].columns)):
            return name, checks(workflow, view, plans)[name]
    return None


def _can_be_sent(plan: BodyPlan, cells: tuple[Any, ...]) -> bool:
    try:
        plan.encode(cells)
    except Rejected:
        return False
    return True


def _nothing(_row: int) -> dict[str, Any]:
    return {}


class _Unknown(dict[str, Any]):
    """Stands for an answer that has not come: whatever is looked for in it is there, and as unknown."""

    def __missing__(self, key: object) -> _Unknown:
        return self

    def __contains__(self, key: object) -> bool:
        return True

    def get(self, key: object, default: Any = None) -> Any:
        return self


class _AnsweredView:
    """A table's rows with unknown answers beside them, or why there will be none."""

    def __init__(self, view: TableView, ids: Sequence[str], unsent: Mapping[str, set[int]]) -> None:
        self._view = view
        self._ids = ids
        self._unsent = unsent

    def __len__(self) -> int:
        return len(self._view)

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        at = list(columns).index(OUTPUTS)
        unknown = {name: _Unknown() for name in self._ids}
        for row, cells in enumerate(self._view.rows([name for name in columns if name != OUTPUTS])):
            yield (*cells[:at], self._why_not(row) or unknown, *cells[at:])

    def _why_not(self, row: int) -> Rejection | None:
        for name in self._ids:
            if row in self._unsent[name]:
                return failed(name, "it cannot be sent there")
        return None


class _Plan(BodyPlan):
    """A plan that holds nothing against a row for what comes of answers that are not there yet."""

    def encode(self, cells: tuple[Any, ...]) -> bytes:
        if OUTPUTS not in self.columns:
            return super().encode(cells)
        answers = cells[self.columns.index(OUTPUTS)]
        if not isinstance(answers, dict):
            raise Rejected(answers.problem)
        try:
            return super().encode(cells)
        except Rejected as rejected:
            known = [p for p in rejected.problems if OUTPUTS not in (self.column_of(p.path) or "").split(", ")]
            if known:
                raise Rejected(*known) from None
            return b"{}"
