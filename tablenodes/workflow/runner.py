"""Run a workflow: each node over the same table, what is earlier handed to what is later."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from .. import tables
from ..connection.connection import Connection, GivenConnection
from ..connection.endpoint import base_url_of, default_properties, started
from ..errors import EndedError, Interrupted, InvalidRequests, OutputError, TableError, framed
from ..nodes import Node
from ..run.check import Check, refuse_invalid
from ..run.cost_limit import refuse_later, refuse_unpriced
from ..run.display import announce_default, counted, say, so_far
from ..run.last_output import HAS_THEM, remember
from ..run.options import RunOptions, over
from ..run.output import AnyOutput, NodeOutput
from ..run.rows import Context
from ..run.spending import pricing_of
from ..settings import Limits, beneath
from ..tables import TableView
from . import workflow_check
from .definition import Definition
from .destination import refuse_as_journal
from .empty_run import unsendable
from .inputs import answers_to, deciding_of
from .references import doubts
from .workflow_output import WorkflowOutput

if TYPE_CHECKING:
    from ..bodies.body_plan import BodyPlan
    from ..bodies.settings_plan import RowPlan
    from .workflow_check import Connections

Inputs = Mapping[str, Any]
Outputs = Mapping[str, AnyOutput]
Steps = Sequence[tuple[str, Node]]

_AGAIN = "run again to continue from there; nothing is sent twice"


def run(
    workflow: Definition,
    table: Any,
    inputs: Inputs | None,
    connection: GivenConnection | None,
    options: RunOptions,
) -> WorkflowOutput:
    """Run a workflow; see `Workflow.run`."""
    connections = workflow_check.connections_of(workflow, connection)
    if options.progress is not False:
        announce_default(*connections.values())
    values = workflow_check.values_of(workflow, inputs)
    destination: Any = workflow.output
    source = workflow_check.file_of(workflow, table)
    workflow_check.check_output(workflow, source)
    if options.journal is not None:
        refuse_as_journal(options.journal, table=source, output=destination and (destination.path or None))
    view = workflow_check.opened(workflow, table)
    plans = workflow_check.plans(workflow, view, values, connections, options.store)
    workflow_check.check_content(workflow, view)
    if options.progress is not False:
        say_doubts(workflow, view, plans)
    check_prices(workflow, plans, connections, options)
    if options.on_invalid == "raise":
        for name, found in workflow_check.checks(workflow, view, values, plans, connections).items():
            refuse_invalid(found, name)
        options = replace(options, on_invalid="report")
    if destination is not None and (unsent := unsendable(workflow, view, values, plans, connections)) is not None:
        raise empty_handed(workflow, *unsent)
    return _carried_out(workflow, view, values, connections, options, replaced_ids(workflow))


def say_doubts(workflow: Definition, view: TableView, plans: Mapping[str, RowPlan]) -> None:
    """Say what of a workflow was perhaps not meant."""
    for warning in workflow_check.warnings_of(workflow):
        say(warning)
    for each in doubts(workflow._steps, view.columns, workflow._expressions):
        say(f"{workflow._steps[each.node][0]}: {each.place}: {each.message}")
    for name, remark in workflow_check.unadded(workflow, plans):
        say(f"{name}: {remark}")


def check_prices(
    workflow: Definition, plans: Mapping[str, RowPlan], connections: Connections, options: RunOptions
) -> None:
    """Raise `SettingError` where a node's cost cannot be limited, before any node sends anything."""
    for name, node in workflow._steps:
        if not options.send or over(connections[name].profile, options).limits.max_cost is None:
            continue
        pricing = pricing_of(connections[name], base_url_of(connections[name]))
        if node._declared.later:
            refuse_later()
        if plans[name].schema is not None:
            refuse_unpriced([cast("BodyPlan", plans[name]).constant("model")], pricing)


def replaced_ids(workflow: Definition) -> frozenset[bytes]:
    """Return the ids in the file that the output replaces, for the one node that is to keep them; or copy the file."""
    destination: Any = workflow.output
    later = [position for position, (_, node) in enumerate(workflow._steps) if node._declared.later]
    if destination is None or not os.path.exists(destination.path):
        return frozenset()
    from ..later.replaced_file import COLUMN, ids_in, set_aside  # noqa: PLC0415 - loaded where it is used

    if not later and any(COLUMN in node._declared.defaults for _, node in workflow._steps):  # they are in the table
        return frozenset()
    found = ids_in(destination.path)
    if found and later != [0]:  # nothing is refused once another node has sent its rows
        set_aside(destination.path)
        return frozenset()
    return found


def _carried_out(
    workflow: Definition,
    view: TableView,
    inputs: Inputs,
    connections: Connections,
    options: RunOptions,
    replaced: frozenset[bytes],
) -> WorkflowOutput:
    """Run the nodes and write what came, however the run ended: no answer is lost."""
    outputs = WorkflowOutput(view.table, alone=workflow._alone)
    try:
        with ExitStack() as stack:
            opened = _opened(workflow, connections, stack) if options.send else connections
            _run_nodes(workflow, inputs, opened, options, outputs, Context(folder=view.folder, replaced=replaced))
    except BaseException as error:
        if isinstance(came := getattr(error, "output", None), NodeOutput):
            outputs._add(workflow._steps[len(outputs)][0], came)
        if outputs:
            remember(outputs, stopped=True)
        unwritten = _unwritten(workflow.output, outputs, options, ended_early=True)
        if isinstance(error, EndedError | KeyboardInterrupt):
            raise _ended(error, outputs, unwritten) from (unwritten or error.__cause__)
        if unwritten:
            error.add_note(str(unwritten))
        if came is not None:
            with suppress(Exception):
                error.output = outputs  # type: ignore[attr-defined]
        raise
    stopped = any(output.summary.stopped for output in outputs.values())
    remember(outputs, stopped=stopped)
    unwritten = _unwritten(workflow.output, outputs, options, ended_early=stopped)
    if unwritten is not None:
        kept = "" if options.journal is None else f"; journal {os.fspath(options.journal)!r} has every answer: {_AGAIN}"
        raise OutputError(f"{unwritten}{kept}", outputs, output_has="what it should contain") from unwritten
    return outputs


def _ended(
    error: EndedError | KeyboardInterrupt, outputs: WorkflowOutput, unwritten: TableError | None
) -> EndedError | Interrupted:
    """Return the error that says why a run ended, with what it had."""
    more = f"; {unwritten}" if unwritten else ""
    if not isinstance(error, KeyboardInterrupt):
        made = framed(error, after=more)
        made.output = outputs
        return made
    if not outputs:
        return Interrupted(f"interrupted before anything was sent{more}", outputs)
    name, summary = [(name, output.summary) for name, output in outputs.items()][-1]
    came = so_far(summary.outcomes, summary.rows)
    return Interrupted(f"interrupted: node {name!r}: {came}{more}", outputs, output_has=HAS_THEM)


def _opened(workflow: Definition, connections: Connections, stack: ExitStack) -> Connections:
    """Return the nodes' connections, opened: each once, with each embedded model, of those that send something."""
    opened: list[tuple[Any, Connection]] = []
    found = {**connections}
    for name, node in workflow._steps:
        path = node._declared.path
        own = connections[name], default_properties(connections[name], path)
        if node._declared.sends:
            if all(own != known for known, _ in opened):
                opened.append((own, stack.enter_context(started(connections[name], path))))
            found[name] = next(made for known, made in opened if known == own)
    return found


def _run_nodes(
    workflow: Definition,
    inputs: Inputs,
    connections: Connections,
    options: RunOptions,
    outputs: WorkflowOutput,
    around: Context,
) -> None:
    """Run one node after another, and add what each returns to `outputs`."""
    journal, path = options.journal, getattr(workflow.output, "path", None)
    is_new = journal is not None and not os.path.exists(journal)
    own, made = frozenset(tables.view(outputs._base).columns), frozenset[str]()
    for name, node in workflow._steps:
        answers = answers_to(node, outputs)
        prefix, when = "" if workflow._alone else name, deciding_of(workflow._whens.get(name), outputs)
        context = Context(inputs, answers, name, outputs, new_journal=is_new, made=made, prefix=prefix, when=when)
        context = replace(context, folder=around.folder, replaced=around.replaced, output=path)
        limits = _limits_of(name, workflow._steps, outputs, connections, options)
        output = node._carry_out(outputs._base, connections[name], context, replace(options, limits=limits))
        outputs._add(name, output)
        made |= frozenset(node._declared.makes) - own


def _limits_of(name: str, steps: Steps, outputs: Outputs, connections: Connections, options: RunOptions) -> Limits:
    """Return the limits for the next node: what is left of the run's, and of its profile's to nodes of that profile."""
    has_journal, profile = options.journal is not None, connections[name].profile
    limits = _limits_left(options.limits, steps, outputs, journal=has_journal)
    if profile is None or profile.limits is None:
        return limits
    alike = [each for each, _ in steps if connections[each].profile == profile]
    own_steps = [(each, node) for each, node in steps if each in alike]
    own_outputs = {each: outputs[each] for each in outputs if each in alike}
    return beneath(limits, _limits_left(profile.limits, own_steps, own_outputs, journal=has_journal))


def _limits_left(limits: Limits, steps: Steps, outputs: Outputs, *, journal: bool) -> Limits:
    """Return the limits for the next node: what earlier ones have sent and used counts, since it is one run.

    With a journal, its requests and a worker's are counted where they are sent, and each is told of the other's alone.
    """
    if not outputs:
        return limits
    if limits.max_requests is not None:
        is_later = steps[len(outputs)][1]._declared.later
        sent = 0
        if is_later or not journal:
            for output in outputs.values():  # with a journal, also the requests for answers that were reused
                again = _attempts(output) if journal and output.summary.reused else 0
                sent += max(output.summary.requests, again)
        if not (is_later and journal):
            submitted = [name for name, node in steps[: len(outputs)] if node._declared.later]
            sent += sum(_sent_later(name, steps, outputs) for name in submitted)
        limits = replace(limits, max_requests=max(0, limits.max_requests - sent))
    if limits.token_budget is not None:
        used = sum(map(_tokens, outputs.values()))
        limits = replace(limits, token_budget=max(0, limits.token_budget - used))
    if limits.max_cost is not None and not journal:  # a journal knows what the earlier ones cost
        spent = sum(output.summary.cost or 0.0 for output in outputs.values())
        limits = replace(limits, max_cost=max(0.0, limits.max_cost - spent))
    return limits


def _sent_later(name: str, steps: Steps, outputs: Outputs) -> int:
    """Return how many requests a worker has sent for a node's rows; one for each of which no more is known."""
    known = [
        _attempts(outputs[other]) + outputs[other].summary.outcomes.get("pending", 0)
        for position, (other, node) in enumerate(steps[: len(outputs)])
        if node._retrieves(steps[:position]) == name
    ]
    return max(known, default=outputs[name].summary.submitted)


def _attempts(output: AnyOutput) -> int:
    log = tables.view(output.log)
    return sum(int(attempts) for (attempts,) in log.rows(("attempts",))) if "attempts" in log.columns else 0


def _tokens(output: AnyOutput) -> int:
    """Return the tokens of the answers that this run was sent, those from the journal aside."""
    log = tables.view(output.log)
    if "total_tokens" not in log.columns:
        return 0
    rows = log.rows(("total_tokens", "reused"))
    return sum(int(tokens) for tokens, reused in rows if tokens is not None and not reused)


def empty_handed(workflow: Definition, name: str, check: Check) -> InvalidRequests:
    """Return the error that keeps an earlier output from being replaced by one without a single answer."""
    path, rule = (str(next(iter(check.problems[name]))) for name in ("path", "rule"))
    none = f"none of the {counted(check.rows, 'row')} can be {check._done}; nothing was {check._done} or written"
    return none_sendable(workflow, name, path, rule, f"{none}; first {check.first()}", check)


def none_sendable(
    workflow: Definition, name: str, path: str, rule: str, why: str, check: Check | None = None
) -> InvalidRequests:
    """Return the error for a node no row of which can be sent; a property that all lack is among its values."""
    position = [each for each, _ in workflow._steps].index(name)
    where, place = workflow._place_of(position, path.removeprefix("$.")), path.removeprefix("$.")
    is_lacking = rule == "required" and place.isidentifier()
    lacking = "prompt" if place == "messages" and workflow._steps[position][1]._declared.shortcuts else place
    values = {"where": where, "node": name, "kind": type(workflow._steps[position][1]).__name__, "lacking": lacking}
    code = "lacking" if is_lacking else "none_sendable"
    return InvalidRequests(f"{where}node {name!r}: {why}", check, code=code, values=values)


def _unwritten(
    destination: Any, outputs: WorkflowOutput, options: RunOptions, *, ended_early: bool
) -> TableError | None:
    """Write the table; return what went wrong, None where nothing did."""
    if destination is not None and outputs:
        try:
            is_kept = options.journal is not None
            outputs._written = destination.write(outputs, ended_early=ended_early, is_kept=is_kept)
        except TableError as error:
            return error
    return None
