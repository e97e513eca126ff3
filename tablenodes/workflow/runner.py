"""Run a workflow: each node over the same table, what is earlier handed to what is later."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from .. import tables
from ..errors import EndedError, Interrupted, InvalidRequests, OutputError, TableError, framed
from ..run.check import refuse_invalid
from ..run.display import counted
from ..run.output import NodeOutput
from ..run.rows import Context
from . import workflow_check
from .answers import Answers
from .destination import refuse_as_journal
from .references import upstream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..connection.connection import Connection
    from ..nodes import Node
    from ..run.check import Check
    from ..run.options import RunOptions
    from ..settings import Limits
    from .definition import Definition

_PENDING = "pending"


def run(
    workflow: Definition,
    table: Any,
    inputs: Mapping[str, Any] | None,
    connection: Connection | None,
    options: RunOptions,
) -> dict[str, NodeOutput[Any]]:
    """Run a workflow; see `Workflow.run`."""
    connection = workflow_check.connection_of(workflow, connection)
    values = workflow_check.values_of(workflow, inputs)
    destination: Any = workflow.output
    source = workflow_check.file_of(workflow, table)
    workflow_check.check_output(workflow, source)
    if options.journal is not None:
        refuse_as_journal(options.journal, table=source, output=destination and destination.path)
    view = workflow_check.opened(workflow, table)
    plans = workflow_check.plans(workflow, view, values, connection, options.store)
    workflow_check.check_content(workflow, view)
    if options.on_invalid == "raise":
        for name, found in workflow_check.checks(workflow, view, plans).items():
            refuse_invalid(found, name)
        options = replace(options, on_invalid="report")
    if destination is not None:
        _refuse_empty_handed(workflow, workflow_check.unsendable(workflow, view, plans))
    return _carried_out(workflow, view.table, values, connection, options)


def _carried_out(
    workflow: Definition,
    table: Any,
    inputs: Mapping[str, Any],
    connection: Connection,
    options: RunOptions,
) -> dict[str, NodeOutput[Any]]:
    """Run the nodes and write what came, however the run ended: no answer is lost."""
    outputs: dict[str, NodeOutput[Any]] = {}
    try:
        sends = any(node._declared.sends for _, node in workflow.steps)
        with connection if sends else nullcontext(connection) as opened:
            _run_nodes(workflow, table, inputs, opened, options, outputs)
    except BaseException as error:
        if isinstance(came := getattr(error, "output", None), NodeOutput):
            outputs[workflow.steps[len(outputs)][0]] = came
        unwritten = _unwritten(workflow.output, outputs)
        if isinstance(error, EndedError | KeyboardInterrupt):
            raise _ended(error, outputs, unwritten) from (unwritten or error.__cause__)
        if unwritten:
            error.add_note(str(unwritten))
        if came is not None:
            with suppress(Exception):
                error.output = outputs  # type: ignore[attr-defined]
        raise
    unwritten = _unwritten(workflow.output, outputs)
    if unwritten is not None:
        message = f"{unwritten}{_kept(options)}"
        raise OutputError(message, outputs, output_has="what it should contain") from unwritten
    return outputs


def _ended(error: BaseException, outputs: dict[str, NodeOutput[Any]], unwritten: TableError | None) -> EndedError:
    """Return the error that says why a run ended, with what it had."""
    more = f"; {unwritten}" if unwritten else ""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(f"{_interrupted(outputs)}{more}", outputs)
    made = framed(cast("EndedError", error), after=more)
    made.output = outputs
    return made


def _run_nodes(
    workflow: Definition,
    table: Any,
    inputs: Mapping[str, Any],
    connection: Connection,
    options: RunOptions,
    outputs: dict[str, NodeOutput[Any]],
) -> None:
    """Run one node after another, and add what each returns to `outputs`."""
    journal = options.journal
    is_new = journal is not None and not os.path.exists(journal)
    own, made = frozenset(tables.view(table).columns), frozenset[str]()
    for name, node in workflow.steps:
        ids = upstream(node, tuple(outputs))
        answers = None if ids is None else Answers(outputs, ids)
        context = Context(inputs, answers, name, outputs, new_journal=is_new, made=made)
        limits = _limits_left(options.limits, workflow.steps, outputs, journal=journal is not None)
        outputs[name] = node._carry_out(table, connection, context, replace(options, limits=limits))
        if node._declared.makes:
            table = outputs[name].table
            made |= frozenset(node._declared.makes) - own


def _limits_left(
    limits: Limits,
    steps: Sequence[tuple[str, Node]],
    outputs: Mapping[str, NodeOutput[Any]],
    *,
    journal: bool,
) -> Limits:
    """Return the limits for the next node: what earlier ones have sent and used counts, since it is one run.

    With a journal, its requests and a worker's are counted where they are sent, and each is told of the other's alone.
    """
    if not outputs:
        return limits
    if limits.max_requests is not None:
        is_later = steps[len(outputs)][1]._declared.later
        sent = 0
        if is_later or not journal:
            sent += sum(_sent(output, reused=journal) for output in outputs.values())
        if not (is_later and journal):
            submitted = [name for name, node in steps[: len(outputs)] if node._declared.later]
            sent += sum(_sent_later(name, steps, outputs) for name in submitted)
        limits = replace(limits, max_requests=max(0, limits.max_requests - sent))
    if limits.token_budget is not None:
        used = sum(map(_tokens, outputs.values()))
        limits = replace(limits, token_budget=max(0, limits.token_budget - used))
    return limits


def _sent(output: NodeOutput[Any], *, reused: bool) -> int:
    """Return how many requests a node has sent itself; with `reused`, also those for the answers that it reused."""
    sent = output.summary.requests
    return max(sent, _attempts(output)) if reused and output.summary.reused else sent


def _sent_later(name: str, steps: Sequence[tuple[str, Node]], outputs: Mapping[str, NodeOutput[Any]]) -> int:
    """Return how many requests a worker has sent for a node's rows; one for each of which no more is known."""
    known = [
        _attempts(outputs[other]) + outputs[other].summary.outcomes.get(_PENDING, 0)
        for position, (other, node) in enumerate(steps[: len(outputs)])
        if node._retrieves(steps[:position]) == name
    ]
    return max(known, default=outputs[name].summary.ok)


def _attempts(output: NodeOutput[Any]) -> int:
    log = tables.view(output.log)
    return sum(int(attempts) for (attempts,) in log.rows(("attempts",))) if "attempts" in log.columns else 0


def _tokens(output: NodeOutput[Any]) -> int:
    """Return the tokens of the answers that this run was sent, those from the journal aside."""
    log = tables.view(output.log)
    if "total_tokens" not in log.columns:
        return 0
    rows = log.rows(("total_tokens", "reused"))
    return sum(int(tokens) for tokens, reused in rows if tokens is not None and not reused)


def _refuse_empty_handed(workflow: Definition, found: tuple[str, Check] | None) -> None:
    """Keep an earlier output from being replaced by one without a single answer."""
    if found is not None:
        name, check = found
        position = [each for each, _ in workflow.steps].index(name)
        where = workflow.where(position, str(next(iter(check.problems["path"]))).removeprefix("$."))
        raise InvalidRequests(
            f"{where}node {name!r}: none of the {counted(check.rows, 'row')} can be sent; nothing was sent or written;"
            f" first {check.first()}",
            check,
        )


def _unwritten(destination: Any, outputs: Mapping[str, NodeOutput[Any]]) -> TableError | None:
    """Write the last node's table; return what went wrong, None where nothing did."""
    if destination is not None and outputs:
        try:
            destination.write(list(outputs.values())[-1])
        except TableError as error:
            return error
    return None


def _kept(options: RunOptions) -> str:
    """Return where the answers are that could not be written, as the end of a message."""
    if options.journal is None:
        return ""
    return (
        f"; journal {os.fspath(options.journal)!r} has every answer:"
        " run again to continue from there; nothing is sent twice"
    )


def _interrupted(outputs: Mapping[str, NodeOutput[Any]]) -> str:
    if not outputs:
        return "interrupted before anything was sent"
    name, last = list(outputs.items())[-1]
    return f"interrupted: node {name!r} has {last.summary.ok:,} of {last.summary.rows:,} rows answered"
