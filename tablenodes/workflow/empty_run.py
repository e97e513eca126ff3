"""A run that could send none of a table's rows: it would only take the place of an earlier output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..problems import Rejected
from .references import upstream
from .workflow_check import AnsweredView, checks, made_by, plans

if TYPE_CHECKING:
    from ..bodies.settings_plan import RowPlan
    from ..run.check import Check
    from ..tables import TableView
    from .definition import Definition
    from .workflow_check import Connections, Inputs


def unsendable(
    workflow: Definition, view: TableView, inputs: Inputs, plans: Mapping[str, RowPlan], connections: Connections
) -> tuple[str, Check] | None:
    """Return the first node that could send none of a table's rows, and why; None where there is none."""
    name = next(_idle(workflow, view, plans), None) if len(view) else None
    return None if name is None else (name, checks(workflow, view, inputs, plans, connections)[name])


def unsendable_in(
    workflow: Definition, views: Iterable[TableView], inputs: Inputs, connections: Connections, store: Any
) -> tuple[str, Check] | None:
    """Return the same of a table in batches; mostly the first row shows that there is none."""
    first: TableView | None = None
    idle, rows = [name for name, _ in workflow._steps], 0
    for view in views:
        first, rows = first or view, rows + len(view)
        made = plans(workflow, view, inputs, connections, store)
        found = {*_idle(workflow, view, made)}
        idle = [name for name in idle if name in found]
        if not idle:
            return None
    if first is None:
        return None
    made = plans(workflow, first, inputs, connections, store)
    return idle[0], replace(checks(workflow, first, inputs, made, connections)[idle[0]], rows=rows)


def _idle(workflow: Definition, view: TableView, plans: Mapping[str, RowPlan]) -> Iterator[str]:
    """Yield the nodes that could send none of a table's rows."""
    unknown = frozenset[str]()
    for position, (name, node) in enumerate(workflow._steps):
        ids = upstream(node, [earlier for earlier, _ in workflow._steps[:position]]) or ()
        rows = AnsweredView(view, ids, unknown, {}).rows
        able = (_can_be_sent(plans[name], cells) for cells in rows(plans[name].columns))
        if name not in workflow._whens and not any(able):
            yield name
        unknown |= made_by(node, view)


def _can_be_sent(plan: RowPlan, cells: tuple[Any, ...]) -> bool:
    try:
        plan.encode(cells)
    except Rejected:
        return False
    return True
