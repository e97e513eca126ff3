"""Check a workflow: what each node would send, as far as that can be known before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

from .. import tables
from ..answers import BESIDE, RowAnswers
from ..bodies.recipe import CONVERSATION
from ..bodies.settings_plan import RowPlan
from ..column_names import OUTPUTS, free_names, known
from ..connection.connection import Connection, GivenConnection, default_connection, given_connection
from ..database_address import database_table
from ..engine.sink import SKIPPED
from ..errors import ColumnError, SettingError, TableError, UsageError, WorkflowError, framed, nearest
from ..nodes import Node
from ..problems import Note, Rejected, Remark
from ..run.check import Check, check_rows, with_key
from ..run.options import Path
from ..run.row_request import Requests
from ..run.rows import Context, PlanInputs, When, decided
from ..tables import TableView
from ..templates.environment import Lacking
from ..templates.template_faults import LITERALLY
from .definition import Definition
from .definition_reader import together
from .inputs import failed, resolved
from .references import columns_read, doubts, faults, no_node, templates, unread_inputs, upstream
from .stream_plan import held
from .table_source import read as read_source

_ANSWERS = "; an earlier node's answer is {{ ID }}, and all that came of it {{ outputs.ID }}"
_KNOWN = "; a workflow has columns, earlier nodes ({{ ID }}) and inputs ({{ inputs.NAME }})"
_FOREIGN = {
    **dict.fromkeys(("tasks", "task", "steps", "nodes", "jobs"), _ANSWERS),
    **dict.fromkeys(("taskrun", "execution", "flow", "trigger", "namespace", "vars", "envs", "secrets"), _KNOWN),
}
"""What workflows of others reach by these names, and what there is here."""
Inputs = Mapping[str, Any]
Connections = Mapping[str, Connection]
"""Where each node's requests go, by the nodes' ids."""

_SAY = "set system or messages there, or put an AddUserMessage between"
_NOT_YET = "the node's requests are made of what earlier nodes make: they are known once that is there"
_UNSENT = "its request was not valid there"
_LATER = "what depends on them can be checked, and shown, only once they are there"


def check(
    workflow: Definition,
    table: Any,
    inputs: Mapping[str, Any] | None,
    connection: GivenConnection | None,
    store: Path | None,
) -> dict[str, Check]:
    """Check a workflow; see `Workflow.check`."""
    connections, values = connections_of(workflow, connection), values_of(workflow, inputs)
    check_output(workflow, file_of(workflow, table))
    view = opened(workflow, table, read=False)
    if view.one_shot:
        raise TableError("the table is a stream, which can be read only once: read it into a table before you check it")
    made = plans(workflow, view, values, connections, store)
    check_content(workflow, view)
    found = checks(workflow, view, values, made, connections)
    first = next(iter(found))
    warnings = *warnings_of(workflow), *held(workflow, len(view)), *found[first].warnings
    found[first] = replace(found[first], warnings=warnings)
    return Checks(found)


class Checks(dict[str, Check]):
    """What was found of each node, by its id; in lines for a person, as each is."""

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {each!r}" for name, each in self.items())


def warnings_of(workflow: Definition) -> Iterator[str]:
    """Return warnings about a workflow's inputs; they stand with the first node's."""
    unread = unread_inputs(workflow._steps, workflow.inputs, workflow._expressions)
    for name, declaration in workflow.inputs.items():
        if name in unread:
            yield Remark(f"inputs.{name}: no node reads it", f"inputs.{name}")
        if declaration.required and declaration.default is not None:
            why = "required has no effect: an input with a default can be left out"
            yield Remark(f"inputs.{name}: {why}", f"inputs.{name}")


def connections_of(workflow: Definition, connection: GivenConnection | None) -> Connections:
    """Return the connections that a run uses: the one that it is given, else each node's own, else the workflow's."""
    given = given_connection(connection, WorkflowError)
    own = {} if given is not None else {name: step.connection for name, step in workflow._as_given}
    shared = given or workflow.connection
    if shared is None:
        shared = Connection() if all(own.get(name) for name, _ in workflow._steps) else default_connection()
    return {name: own.get(name) or shared for name, _ in workflow._steps}


def values_of(workflow: Definition, inputs: Inputs | None) -> dict[str, Any]:
    """Return every input's value for a run, or raise an error with the line of the input's declaration."""
    return resolved(workflow.inputs, inputs, lambda name: workflow._at("inputs", name))


def check_output(workflow: Definition, table: str | None) -> None:
    """Check that the output can be written, beside the table's file that is read; see `Destination.check`."""
    destination: Any = workflow.output
    if destination is not None:
        try:
            destination.check(table)
        except TableError as error:
            raise TableError(f"{workflow._at('output', 'path')}{error}") from None


def check_content(workflow: Definition, view: TableView) -> None:
    """Check that the output can hold the table that the run reads, and that the columns that it names will be there."""
    destination: Any = workflow.output
    check_columns(workflow, view)
    if destination is not None:
        try:
            destination.check_content(view, columns_made(workflow, view))
        except UsageError as error:
            raise framed(error, workflow._at("output", "path")) from error


def check_columns(workflow: Definition, view: TableView, wanted: Iterable[str] | None = None) -> None:
    """Raise `WorkflowError` for a column that is written, by default of the output, and the table will not have."""
    if wanted is None:
        wanted = getattr(workflow.output, "columns", None) or ()
    known = [*view.columns, *columns_made(workflow, view)]
    for name in wanted:
        if name not in known:
            where = workflow._at("output", "columns")
            told = f"no column {name!r}{nearest(name, known)}"
            values = {"option": "columns", "told": told} | ({"before": where} if where else {})
            raise WorkflowError(f"{where}output: {told}", code="option", place="output.columns", values=values)


def columns_made(workflow: Definition, view: TableView) -> dict[str, Any]:
    """Return the columns that the table will have beside those that it has, and their types."""
    made: dict[str, Any] = {}
    for name, node in workflow._steps:
        made |= _written("" if workflow._alone else name, node, (*view.columns, *made))
    return made


def file_of(workflow: Definition, table: Any) -> str | None:
    """Return the path of the table that a run reads; None where it is given a table itself."""
    given = workflow.table if table is None else table
    return os.fspath(given) if isinstance(given, str | os.PathLike) and database_table(given) is None else None


def opened(workflow: Definition, table: Any, *, read: bool = True) -> TableView:
    """Return the view of the table that a run is given or the workflow names; of one row where no node reads any.

    Of a file's index, the levels with a name are columns: nobody sees in a file that it has an index.
    """
    source: Any = workflow.table if table is None else table
    if file_of(workflow, table) is not None or database_table(source) is not None:
        try:
            table = tables.with_named_index(read_source(source))
        except TableError as error:
            raise framed(error, workflow._at("table") if table is None else "") from None
    if table is None:
        _refuse_reading(workflow)
        table = tables.view(tables.frame({"row": [1]}, {"row": "integer"})).make({}, {})
    return tables.view(table, read=read)


def _refuse_reading(workflow: Definition) -> None:
    """Raise `WorkflowError` if a node reads a table that is not there."""
    ids = [name for name, _ in workflow._steps]
    for name, columns in columns_read(workflow._steps, workflow._expressions):
        position = ids.index(name)
        hints = _nearly_read(workflow._steps[position][1], ids[:position])
        column = next(iter(hints), columns[0] if columns else None)
        what = "the row" if column is None else f"column {column!r}"
        where = workflow._at("table") or workflow._place_of(position, "")
        how = f"set table in the workflow, or pass a table to the run{hints.get(column or '', '')}"
        raise WorkflowError(f"{where}no table, and node {name!r} reads {what}: {how}")


def _nearly_read(node: Node, ids: Sequence[str]) -> dict[str, str]:
    """Return the columns that a node reads with the name, nearly, of another thing it could read, each with a hint."""
    written = [(column, template) for template in templates(node) for column in template.columns]
    hints = {column: template.nearly_reserved(column) or nearest(column, ids) for column, template in written}
    return {column: hint for column, hint in hints.items() if hint}


def plans(
    workflow: Definition, view: TableView, inputs: Inputs, connections: Connections, store: Path | None
) -> dict[str, RowPlan]:
    """Return each node's plan for a table, or raise `UsageError`: the first that does not fit, the others as notes."""
    if workflow._only is not None:
        workflow._only.plan(view.columns, Context(inputs).constants)
    made: dict[str, RowPlan] = {}
    unsure = doubts(workflow._steps, view.columns, workflow._expressions)
    ids = [name for name, _ in workflow._steps]
    columns, unknown, empty, written = view.columns, frozenset[str](), "", dict[str, str]()
    errors: list[UsageError] = [
        workflow._located(fault.node, WorkflowError(f"{fault.place}: {fault.message}", place=fault.place))
        for fault in faults(workflow._steps, workflow.inputs, columns, workflow._expressions)
    ]
    for position, (name, node) in enumerate(workflow._steps):
        reads = upstream(node, ids[:position]) is not None
        prefix = "" if workflow._alone else name
        clashing = _taken(name, node, view.columns, written) if prefix else ()
        errors += [workflow._located(position, error) for error in clashing]
        constants = Context(inputs, (lambda _: {}) if reads else None).constants
        try:
            if (condition := workflow._whens.get(name)) is not None:
                condition.plan(columns, Context(inputs, lambda _: {}).constants)
            inputs_of_plan = PlanInputs(constants, connections[name], store, prefix=prefix, folder=view.folder)
            plan = node._plan(columns, inputs_of_plan)
            plan.note([Remark(f"{each.place}: {each.message}", each.place) for each in unsure if each.node == position])
            made[name] = cast("RowPlan", _LenientPlan(plan, unknown | {OUTPUTS}))
            errors += [workflow._located(position, error) for error in _wrong_settings(plan)]
            if empty and plan.schema is not None and CONVERSATION in plan.columns:
                begun = f"conversation: node {empty!r} starts it without a message, and none is added: {_SAY}"
                errors.append(workflow._located(position, WorkflowError(begun, place="conversation")))
        except UsageError as error:
            errors.append(workflow._located(position, _of_node(error, workflow._steps, position, columns)))
        columns = node._hands_on(columns)
        unknown |= made_by(node, view)
        if CONVERSATION in node._declared.makes:
            empty = name if node._begins_empty() else ""
    if errors:
        raise together(errors)
    for name, remark in unadded(workflow, made):
        made[name].note([remark])
    return made


def unadded(workflow: Definition, plans: Mapping[str, RowPlan]) -> Iterator[tuple[str, Remark]]:
    """Yield the nodes that go on with conversations which earlier nodes have answered, without their answers."""
    asked: set[str] = set()  # nodes that send the conversations as they are now
    answered: list[str] = []  # those that have answers to them
    for position, (name, node) in enumerate(workflow._steps):
        reads, makes = CONVERSATION in plans[name].columns, CONVERSATION in node._declared.makes
        asks = not makes and plans[name].schema is not None and reads
        goes_on = asks or (makes and reads and not getattr(node, "_appends", True))
        left = answered if makes else [each for each in answered if not _branches(workflow, position, each)]
        if goes_on and left and not any(each in answered for each in upstream(node, answered) or ()):
            replied = f"node {left[-1]!r} answers the conversation, and its reply is not added"
            between = f"put a node {{type: AppendReply, continue_from: {left[-1]}}} between them"
            way = f"set continue_from: {left[-1]}" if makes else between
            yield name, Remark(f"{replied}: {way}", "conversation")
        if makes:
            asked, answered = set(), []
        elif asks or node._retrieves(workflow._steps[:position]) in asked:
            asked.add(name)
            answered += [] if node._declared.later else [name]


def _branches(workflow: Definition, position: int, earlier: str) -> bool:
    """Check whether two nodes are to ask one conversation: by a ``when``, or as the first's reply is added later."""
    both = (workflow._steps[position][0], earlier)
    added = (node._follows().values() for _, node in workflow._steps[position:])
    is_branch = any(step.when is not None for name, step in workflow._as_given if name in both)
    return is_branch or any(earlier in each for each in added)


def _of_node(error: UsageError, steps: Sequence[tuple[str, Node]], position: int, columns: Sequence[str]) -> UsageError:
    """Return an error about a column that is not there in words that know of nodes: their ids are read like columns."""
    ids, name = [each for each, _ in steps], error.values.get("column")
    if error.code == "no_reply" and steps[1:]:
        chats = [each for each, node in steps[:position] if node._declared.operation and not node._declared.later]
        how = (
            f"set continue_from: {chats[-1]}" if chats else "put a chat node before it, and set continue_from to its id"
        )
        return ColumnError(f"no reply that it could append: {how}", place=error.place)
    if error.code != "no_column" or error.values["is_sure"] or not isinstance(name, str):
        return error
    if name in ids[position:]:
        return WorkflowError(f"{error.place}: {no_node(name, ids, position)}", place=error.place)
    if position == 0 and (name not in _FOREIGN or nearest(name, columns)):
        return error
    earlier = ids[:position]
    hint = (
        _FOREIGN.get(name)
        or nearest(name, [*earlier, *columns])
        or f"{known(columns)}; earlier are {', '.join(earlier)}; {LITERALLY}"
    )
    return ColumnError(f"{error.place}: no column or earlier node {name!r}{hint}", place=error.place)


def _taken(name: str, node: Node, columns: Sequence[str], written: dict[str, str]) -> Iterator[WorkflowError]:
    """Yield what is wrong with a node's columns in the workflow's table; `written` are those of earlier nodes."""
    made = node._answer_columns(name)
    if made and name in columns:
        yield WorkflowError(f"id: the table has a column {name!r} too: choose another id", place="id")
    for column in made:
        if (other := written.setdefault(column, name)) != name:
            both = f"nodes {other!r} and {name!r} both make the column {column!r} of the workflow's table"
            yield WorkflowError(f"{both}: choose another id, or another name with into", place="into")
    written |= dict.fromkeys(ended_beside(name, node), name)


def _written(name: str, node: Node, columns: Sequence[str]) -> dict[str, Any]:
    """Return the columns that the table has of a node beside others, and types; without a name it is the only one."""
    made = node._answer_columns(name) if name or hasattr(node, "_answers") else {}
    found = {**(made or node._declared.makes)}
    beside = free_names(ended_beside(name, node) if name or made else (), (*columns, *found))
    return found | {free: "integer" if own.endswith(BESIDE[0]) else "text" for own, free in beside.items()}


def ended_beside(name: str, node: Node) -> tuple[str, ...]:
    """Return the columns that say what became of a node's rows."""
    answers: RowAnswers | None = getattr(node, "_answers", None) if node._answer_columns(name) else None
    return tuple(f"{name}_{each}" for each in BESIDE[1:]) if answers is None else answers.within(name).made[-3:]


def _wrong_settings(plan: RowPlan) -> Iterator[SettingError]:
    """Return what is wrong with settings that are the same in every row: once, not row by row."""
    for problem in plan.wrong_settings():
        place, got = problem.path.removeprefix("$."), f" (got {problem.got})" if problem.got else ""
        yield SettingError(f"{place}: {problem.message}{got}", place=place)


def checks(
    workflow: Definition, view: TableView, inputs: Inputs, plans: Mapping[str, RowPlan], connections: Connections
) -> dict[str, Check]:
    """Check every node's rows."""
    made: dict[str, Check] = {}
    unsent: dict[str, dict[int, str]] = {}  # by node: the rows of which it is known that they have no answer
    unknown, spoken = frozenset[str](), ""
    for name, node in workflow._steps:
        ids = upstream(node, tuple(made))
        needed = [each for each, reading in (ids or {}).items() if reading.needs_answer or reading.needs_rest]
        before = [*node._follows().values(), *([spoken] if spoken and CONVERSATION in plans[name].columns else ())]
        rows = ((row, each, outcome) for each in (*reversed(needed), *before) for row, outcome in unsent[each].items())
        lost: dict[int, Rejected] = {row: failed(each, _UNSENT, outcome) for row, each, outcome in rows}
        lost |= left_out(workflow, name, view, inputs, unknown)
        if ids is None and not lost and unknown.isdisjoint(plans[name].columns):
            requests = Requests.of(plans[name], view, node._declared.path, connections[name])
            made[name] = check_rows(plans[name], view, requests)
        else:
            seen = cast("TableView", AnsweredView(view, ids or (), unknown, lost))
            found = check_rows(plans[name], seen, _NOT_YET)
            later = Note(f"it reads the answers of {', '.join(ids or ())}: {_LATER}")
            found = replace(found, warnings=(*found.warnings, later)) if ids else found
            is_whole = ids is None and unknown.isdisjoint(plans[name].columns)
            made[name] = replace(found, duplicates=0, prompts=found.prompts if is_whole else ())
        made[name] = with_key(made[name], node._declared.path, connections[name])
        skipped = {row: SKIPPED for row, why in lost.items() if why.outcome == SKIPPED}
        unsent[name] = {**{int(row): "invalid_request" for row in made[name].problems["row"]}, **skipped}
        spoken = name if CONVERSATION in node._declared.makes else spoken
        unknown |= made_by(node, view)
    return made


def left_out(
    workflow: Definition, name: str, view: TableView, inputs: Inputs, unknown: frozenset[str]
) -> dict[int, Rejected]:
    """Return the rows for which a node does not run, by its ``when``, and why; none where earlier answers decide."""
    condition = workflow._whens.get(name)
    if condition is None or OUTPUTS in condition.template.names or not unknown.isdisjoint(condition.template.columns):
        return {}
    kept = decided(When(condition.plan, name=condition.name), view, Context(inputs))
    return {row: why for row, why in enumerate(kept) if why is not None}


def made_by(node: Node, view: TableView) -> frozenset[str]:
    """Return the columns that a node makes, whose cells are not known before it has run."""
    return frozenset(node._declared.makes) - (frozenset(view.columns) - node._declared.handed_on)


class AnsweredView:
    """A table's rows with unknown answers beside them, or why there will be none; what nodes make is unknown too."""

    def __init__(
        self,
        view: TableView,
        ids: Iterable[str],
        made: frozenset[str],
        lost: Mapping[int, Rejected],
        stand_ins: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._view = view
        self._stand_ins: dict[str, Any] = {OUTPUTS: {name: Lacking(to_come=True) for name in ids}}
        self._stand_ins |= {**dict.fromkeys(made, Lacking(to_come=True)), **stand_ins}
        self._lost = lost

    def __len__(self) -> int:
        return len(self._view)

    def labels(self, positions: Sequence[int]) -> tuple[str, Sequence[Any]]:
        """Return the labels of rows, as the table has them."""
        return self._view.labels(positions)

    def rows(self, columns: Sequence[str]) -> Iterator[Any]:
        """Yield each row's cells, or why it has none."""
        known = [name for name in columns if name not in self._stand_ins]
        for row, cells in enumerate(self._view.rows(known)):
            rest = iter(cells)
            if row in self._lost:
                yield self._lost[row]
            else:
                yield tuple(self._stand_ins[name] if name in self._stand_ins else next(rest) for name in columns)


class _LenientPlan:
    """A plan that holds nothing against a row for what comes of answers that are not there yet."""

    def __init__(self, plan: RowPlan, unknown: frozenset[str]) -> None:
        self._plan = plan
        self._unknown = unknown

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plan, name)

    def encode(self, cells: Any) -> Any:
        if isinstance(cells, Rejected):
            raise cells
        try:
            return self._plan.encode(cells)
        except Rejected as rejected:
            columns = [(self._plan.column_of(problem.path) or "").split(", ") for problem in rejected.problems]
            known = [p for p, read in zip(rejected.problems, columns, strict=True) if self._unknown.isdisjoint(read)]
            if known:
                raise Rejected(*known, outcome=rejected.outcome) from None
            return self._plan.outline()
