"""``tablenodes run``, ``check`` and ``call``: build a workflow, run it, show what came."""

from __future__ import annotations

import os
import re
import sys
from contextlib import nullcontext
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..run.display import counted
from . import shared_options as options
from .exit_codes import BAD_INPUT, OK, SOME_FAILED
from .failures import failures, first_failures
from .printout import LiveText, complain, is_terminal, show, show_table, write_table, write_text_part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..connection.connection import Connection
    from ..errors import EndedError
    from ..run.output import NodeOutput
    from ..run.summary import Summary
    from ..settings import Limits
    from ..workflow import Workflow


Node = Annotated[str, typer.Argument(metavar="NODE", help="The node's name: tablenodes nodes lists them.")]
Source = Annotated[str, typer.Argument(metavar="TABLE", help="The configuration table: .csv, .jsonl, .parquet, …")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="NAME=VALUE", help="One of the node's settings: tablenodes nodes NODE lists them."
    ),
]
Model = Annotated[str | None, typer.Option("--model", help="Short for --set model=…")]
Prompt = Annotated[str | None, typer.Option("--prompt", help="Short for --set prompt=…, such as 'Sum up: {{ text }}'")]
System = Annotated[str | None, typer.Option("--system", help="Short for --set system=…")]

_WORD = re.compile(r"(?<=.)(?=[A-Z])")
"""Where a word begins in a node's name; its id is written with underscores, and answers are found by it again."""


def run(
    file: options.File,
    *,
    table: options.Table = None,
    rows: options.Rows = None,
    output: options.Output = None,
    form: options.Form = None,
    jsonl: options.Lines = False,
    inputs: options.Inputs = None,
    journal: options.Journal = None,
    no_journal: options.NoJournal = False,
    retry_failed: options.RetryFailed = "transient",
    in_doubt: options.InDoubt = "resend",
    store: options.Store = None,
    concurrency: options.Concurrency = None,
    max_requests: options.MaxRequests = None,
    base_url: options.BaseUrl = None,
    api_key_env: options.KeyVariable = None,
    no_key: options.NoKey = False,
    local: options.Local = False,
    no_progress: options.Quiet = False,
) -> None:
    """Run a workflow and write its table.

    The paths in the file are relative to the file; the output is relative to the current directory. The first rows of
    the file's own output are shown too; those of --output only in a terminal.
    """
    from ..workflow import Workflow  # noqa: PLC0415 - loaded where it is used

    given = options.pairs(inputs, "--input")
    workflow = Workflow.load(file)
    workflow = workflow.replace(
        connection=options.connected(workflow.connection, base_url, api_key_env, local, no_key),
        limits=options.limited(workflow.limits, concurrency, max_requests),
    )
    workflow, form = options.destined(workflow, output, form, jsonl)
    manner = options.manner(workflow, journal, no_journal, retry_failed, in_doubt, store, no_progress)
    shown = Showing(form, jsonl, asked=output is not None, manner=manner)
    raise typer.Exit(shown.run(workflow, table, rows, _inputs(workflow, given)))


def check(
    file: options.File,
    *,
    table: options.Table = None,
    rows: options.Rows = None,
    inputs: options.Inputs = None,
    store: options.Store = None,
    local: options.Local = False,
) -> None:
    """Say what a workflow would send, what cannot be, and why; nothing is sent."""
    from ..workflow import Workflow  # noqa: PLC0415 - loaded where it is used

    given = options.pairs(inputs, "--input")
    workflow = Workflow.load(file)
    workflow = workflow.replace(connection=options.connected(workflow.connection, None, None, local))
    found = workflow.check(_opened(workflow, table, rows), _inputs(workflow, given), store=store)
    for position, (name, each) in enumerate(found.items()):
        show(f"{name}: {each.described(partial(_where, workflow, position))}")
    if any(len(each.problems) for each in found.values()):
        show("rows count from 0")
    raise typer.Exit(OK if all(each.valid == each.rows for each in found.values()) else BAD_INPUT)


def _where(workflow: Workflow, position: int, path: str) -> str:
    """Give the file and the line of what a problem's path was made of."""
    return workflow.where(position, path.removeprefix("$."))


def call(
    node: Node,
    table: Source,
    *,
    settings: Settings = None,
    model: Model = None,
    prompt: Prompt = None,
    system: System = None,
    rows: options.Rows = None,
    output: options.Output = None,
    form: options.Form = None,
    jsonl: options.Lines = False,
    journal: options.Journal = None,
    no_journal: options.NoJournal = False,
    retry_failed: options.RetryFailed = "transient",
    in_doubt: options.InDoubt = "resend",
    store: options.Store = None,
    concurrency: options.Concurrency = None,
    max_requests: options.MaxRequests = None,
    base_url: options.BaseUrl = None,
    api_key_env: options.KeyVariable = None,
    no_key: options.NoKey = False,
    local: options.Local = False,
    no_progress: options.Quiet = False,
) -> None:
    """Run one node over a table.

    The table goes to --output, and its first rows are shown in a terminal. Without --output, these are shown in a
    terminal, and all of it goes into a pipe as CSV. With --set stream=true, the text of a table's only row is shown in
    a terminal as it arrives.
    """
    workflow = one_node(
        node,
        settings,
        {"model": model, "prompt": prompt, "system": system},
        connection=options.connected(None, base_url, api_key_env, local, no_key),
        limits=options.limited(None, concurrency, max_requests),
    )
    workflow, form = options.destined(workflow, output, form, jsonl)
    manner = options.manner(workflow, journal, no_journal, retry_failed, in_doubt, store, no_progress)
    shown = Showing(form, jsonl, asked=output is not None, manner=manner)
    raise typer.Exit(shown.run(workflow, table, rows, {}))


def one_node(
    name: str,
    settings: list[str] | None,
    short: Mapping[str, str | None],
    *,
    connection: Connection | None,
    limits: Limits | None,
) -> Workflow:
    """Give a workflow of one node.

    Parameters
    ----------
    name : str
        The node's.
    settings : list of str
        What ``--set`` was given.
    short : mapping of str to str or None
        What options of their own were given, by the settings that they are short for.
    connection, limits
        The workflow's.
    """
    from ..nodes import find_node  # noqa: PLC0415 - loaded where it is used
    from ..workflow import Workflow  # noqa: PLC0415
    from .typed_settings import typed  # noqa: PLC0415

    given = options.pairs(settings, "--set")
    for setting, value in short.items():
        if value is not None and setting in given:
            raise typer.BadParameter(f"{setting} is given twice", param_hint=f"--{setting}")
        if value is not None:
            given[setting] = value
    kind = find_node(name)
    node = kind(**typed(kind, given))
    return Workflow({_WORD.sub("_", kind.__name__).lower(): node}, connection=connection, limits=limits)


class Showing:
    """Runs a workflow and shows what came of it.

    Parameters
    ----------
    form : str
        ``table`` or ``raw``.
    jsonl : bool
        Whether the standard output gets JSON lines in place of CSV.
    asked : bool
        Whether the output was named on the command line, so that it goes there alone but for a person's eyes.
    manner : dict
        Keyword arguments of `Workflow.run`.
    later : bool
        Whether rows are only submitted, and their answers retrieved later.
    """

    def __init__(self, form: str, jsonl: bool, *, asked: bool, manner: dict[str, Any], later: bool = False) -> None:
        self._later = later
        self._form = form
        self._jsonl = jsonl
        self._asked = asked
        self._manner = manner
        self._text = "jsonl" if jsonl else "csv"
        self._shows_part = is_terminal() and not asked and not jsonl
        self._replaces = False
        self._earlier = ""

    def run(self, workflow: Workflow, table: str | None, rows: int | None, inputs: Mapping[str, Any]) -> int:
        """Run it and give the exit code; a run that is stopped shows what it has first."""
        from ..errors import EndedError, OutputError, TableError  # noqa: PLC0415
        from ..run import display  # noqa: PLC0415 - loaded where it is used

        opened = _opened(workflow, table, rows)
        if workflow.output is None and not self._shows_part:
            opened = self._checked(workflow, opened)
        self._note_earlier(getattr(workflow.output, "path", ""))
        live = LiveText() if _shows_live(workflow, opened) and self._manner["progress"] is None else None
        try:
            with live or nullcontext():
                outputs = workflow.run(opened, inputs, on_text=live, **self._manner)
        except EndedError as stopped:
            outputs = stopped.output or {}
            try:
                self._show(workflow, outputs, written=not isinstance(stopped.__cause__, TableError))
            except OutputError as unprinted:  # why the run ended is said as well
                complain(str(unprinted), "error")
            if self._manner["journal"] is not None and outputs:
                display.say(_how_to_go_on(stopped, outputs, self._manner["journal"]))
            raise
        _refuse_empty_handed(workflow, outputs)
        self._show(workflow, outputs)
        return SOME_FAILED if any(output.summary.failed for output in outputs.values()) else OK

    def _checked(self, workflow: Workflow, table: Any) -> Any:
        """Read the table that the standard output is to hold, and make sure that it can."""
        from ..workflow.destination import check_content, refuse_as_journal  # noqa: PLC0415
        from ..workflow.workflow_check import file_of, opened  # noqa: PLC0415 - loads pandas

        if self._manner["journal"] is not None:
            refuse_as_journal(self._manner["journal"], table=file_of(workflow, table), output=None)
        view = opened(workflow, table)
        check_content(view, self._form, self._text)
        return view.table

    def _note_earlier(self, path: str) -> None:
        """Look at the file whose place the output takes, while it is there."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        self._replaces = os.path.exists(path)
        if self._replaces:
            rows = tables.count_rows(path)
            earlier = "an earlier file" if rows is None else f"an earlier file of {counted(rows, 'row')}"
            self._earlier = f", in place of {earlier}"

    def _show(self, workflow: Workflow, outputs: Mapping[str, NodeOutput[Any]], *, written: bool = True) -> None:
        from ..run import display  # noqa: PLC0415 - loaded where it is used

        if not outputs:
            return
        for name, output in outputs.items():
            summary = _submitted(output.summary) if self._later else output.summary
            display.say(f"{name}: {summary}" if len(outputs) > 1 else str(summary))
            for line in failures(output):
                display.say(line)
        last = list(outputs.values())[-1]
        self._put_out(workflow.output, last, written=written)
        if self._later and last.summary.ok:
            place = getattr(workflow.output, "path", None)
            ids = "FILE, a file of these ids," if place is None else quote(place)
            display.say(f"tablenodes retrieve {ids} gets the answers")

    def _put_out(self, destination: Any, output: NodeOutput[Any], *, written: bool) -> None:
        """Put the table where it is looked for: on the standard output whole, unless it is in its file."""
        from ..run import display  # noqa: PLC0415 - loaded where it is used
        from ..workflow.destination import chosen  # noqa: PLC0415

        table, rows = chosen(output, self._form), counted(output.summary.rows, "row")
        if not written:  # then it is nowhere else but in a journal, if there is one
            write_text_part(table, self._text)
            display.say(f"the table went to the standard output: {rows}")
        elif destination is not None:
            if output.summary.ok or not self._replaces:
                display.say(f"wrote {destination.path}: {rows}{self._earlier}")
            if is_terminal() or not self._asked:
                _show_head(table)
        elif self._shows_part:
            show_table(table)
        else:
            write_table(table, self._text)


def _show_head(table: Any) -> None:
    """Show the first rows of a table that is in its file: that this cannot be done changes nothing of that."""
    from ..errors import OutputError  # noqa: PLC0415
    from ..run import display  # noqa: PLC0415 - loaded where it is used

    try:
        show_table(table)
        sys.stdout.flush()
    except OutputError as error:
        display.say(f"its first rows are not shown: {error}")


def _submitted(summary: Summary) -> Summary:
    """Give the numbers of rows that nobody has answered yet, and that are not called ok."""
    from dataclasses import replace  # noqa: PLC0415 - loaded where it is used

    outcomes = {"submitted" if outcome == "ok" else outcome: rows for outcome, rows in summary.outcomes.items()}
    return replace(summary, outcomes=outcomes)


def _how_to_go_on(stopped: EndedError, outputs: Mapping[str, NodeOutput[Any]], journal: str) -> str:
    """Say what the same command does after a run that ended early, and promise no more than is in the journal."""
    from ..errors import JournalError  # noqa: PLC0415 - loaded where it is used

    again = "run the same command again to go on"
    if not any(output.summary.ok for output in outputs.values()):
        return again
    if isinstance(stopped, JournalError):
        return f"{again}: what is in the journal is not sent again"
    return f"{again}: what was answered is not sent again, it is in the journal {journal}"


def _refuse_empty_handed(workflow: Workflow, outputs: Mapping[str, NodeOutput[Any]]) -> None:
    """Raise `InvalidRequests` where no node had a row that could be sent: that is no table to print."""
    from ..errors import InvalidRequests  # noqa: PLC0415 - loaded where it is used

    unsent = [output.summary.outcomes.get("invalid_request", 0) for output in outputs.values()]
    upstream = [output.summary.outcomes.get("upstream_failed", 0) for output in outputs.values()]
    rows = [output.summary.rows for output in outputs.values()]
    if any(rows) and [sum(both) for both in zip(unsent, upstream, strict=True)] == rows:
        name, output = next(iter(outputs.items()))
        first = first_failures(output)[0]
        raise InvalidRequests(
            f"{_where(workflow, 0, first.path)}node {name!r}: no row can be sent, of {rows[0]:,}; nothing was sent and"
            f" nothing was written; first row {first.row} (rows count from 0): {first.why}"
        )


def _shows_live(workflow: Workflow, table: Any) -> bool:
    """Tell whether a text is shown as it comes: where it is streamed, of one row, and a person is there to see it."""
    if not sys.stderr.isatty() or not any(getattr(node, "stream", None) for _, node in workflow.steps):
        return False
    from ..workflow.workflow_check import opened  # noqa: PLC0415 - loaded where it is used

    return len(opened(workflow, table)) == 1


def _opened(workflow: Workflow, path: str | None, rows: int | None) -> Any:
    """Give what a workflow is run on: a table's path, or its first rows."""
    if rows is None:
        return path
    from .. import tables  # noqa: PLC0415 - loads pandas
    from ..workflow.workflow_check import check_output, file_of, opened  # noqa: PLC0415

    check_output(workflow, file_of(workflow, path))
    view = opened(workflow, path)
    return tables.view(view.take(range(min(rows, len(view))))).table


def _inputs(workflow: Workflow, given: Mapping[str, str]) -> dict[str, Any]:
    from ..workflow.inputs import check_names  # noqa: PLC0415 - loaded where it is used

    check_names(workflow.inputs, given)
    return {name: workflow.inputs[name].read(text) for name, text in given.items()}
