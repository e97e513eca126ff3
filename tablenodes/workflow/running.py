"""Run a workflow: each node over the same table, what is earlier handed to what is later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import Interrupted, InvalidRequests
from ..nodes.run import Context
from ..nodes.run import run as run_node
from . import checking
from .answers import Answers
from .inputs import resolved
from .references import upstream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..connection import Connection
    from ..nodes import Node
    from ..nodes.check import Check
    from ..output import NodeOutput
    from .destination import Destination
    from .workflow import Workflow


def run(
    workflow: Workflow,
    table: Any,
    inputs: Mapping[str, Any] | None,
    connection: Connection | None,
    manner: dict[str, Any],
) -> dict[str, NodeOutput]:
    """Run a workflow; see `Workflow.run`.

    Parameters
    ----------
    workflow, table, inputs, connection
        As there.
    manner : dict
        The keyword arguments of `Node.run`.
    """
    connection = checking.connection_of(workflow, connection)
    values = resolved(workflow.inputs, inputs)
    destination: Any = workflow.output
    if destination is not None:
        destination.check(checking.file_of(workflow, table))
    view = checking.opened(workflow, table)
    plans = checking.plans(workflow, view, values, connection)
    if manner.get("on_invalid") == "raise":
        _refuse_invalid(checking.checks(workflow, view, plans))
        manner = {**manner, "on_invalid": "report"}
    outputs: dict[str, NodeOutput] = {}
    try:
        with connection as opened:
            for name, node in workflow.steps:
                context = Context(values, _answers(node, outputs), name)
                outputs[name] = run_node(node, view.table, opened, context=context, **manner)
    except KeyboardInterrupt as stopped:
        if isinstance(stopped, Interrupted):
            outputs[name] = stopped.output
        _write(destination, outputs)
        raise Interrupted(_interrupted(outputs), outputs) from None
    except BaseException:
        _write(destination, outputs)  # what earlier nodes were answered is not lost
        raise
    _write(destination, outputs)
    return outputs


def _answers(node: Node, outputs: Mapping[str, NodeOutput]) -> Answers | None:
    ids = upstream(node, tuple(outputs))
    return None if ids is None else Answers(outputs, ids)


def _refuse_invalid(checks: Mapping[str, Check]) -> None:
    for name, found in checks.items():
        if found.valid < found.rows:
            first = next(iter(found.lines(1)))
            count = f"{found.rows - found.valid:,} of {found.rows:,} rows"
            raise InvalidRequests(f"node {name!r}: {count} cannot be sent, nothing was sent; first {first}", found)


def _write(destination: Destination | None, outputs: Mapping[str, NodeOutput]) -> None:
    if destination is not None and outputs:
        destination.write(list(outputs.values())[-1])


def _interrupted(outputs: Mapping[str, NodeOutput]) -> str:
    if not outputs:
        return "interrupted before anything was sent"
    name, last = list(outputs.items())[-1]
    return f"interrupted: node {name!r} has {last.summary.ok:,} of {last.summary.rows:,} rows answered"
