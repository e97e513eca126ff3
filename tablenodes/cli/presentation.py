"""Run a workflow and show what came of it: the first rows, then how it went, and where things are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from shlex import quote
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..errors import EndedError, Interrupted, JournalError, OutputError, TableError
from ..notices import counted, say, voiced
from ..run.display import detailed, place_of
from .complaints import BAD_INPUT, OK, SOME_FAILED, complain, option_for, worded
from .printout import PREVIEW, LiveText, is_terminal, show_table, write_table, write_text_part

if TYPE_CHECKING:
    from ..run.output import NodeOutput
    from ..workflow import Workflow
    from ..workflow.workflow_output import WorkflowOutput


class Manner(NamedTuple):
    """How a command shows a run.

    `is_raw` says that the last node's body and status are shown, and `form` is the format that the standard output was
    asked for; `columns` are those that are written, where not all are; `asked` says that the command line named the
    output, where the table goes then, and otherwise only to a person's eyes; `beside` are the files of the ``log``,
    what became of each row, and the ``report``, where they are asked for; `is_quiet` says that nothing but errors is
    told, `is_detailed` that it is told what a run does.
    """

    is_raw: bool
    form: str | None
    columns: Sequence[str] | None
    asked: bool
    beside: Mapping[str, str | None] = MappingProxyType({})
    is_quiet: bool = False
    is_detailed: bool = False


class Presentation:
    """Runs a workflow, with `given` as the keyword arguments of `Workflow.run`, and shows what came of it.

    `later` says that rows are only submitted, and how the command that gets their answers ends; `keeps` that the
    command may have a journal.
    """

    def __init__(self, manner: Manner, given: dict[str, Any], *, later: str | None = None, keeps: bool = True) -> None:
        self._manner, self._form = manner, manner.form or "csv"
        self._chosen = manner.columns is not None or manner.is_raw
        self._given, self._later, self._keeps = given, later, keeps
        self._shows_part = is_terminal() and not manner.asked and manner.form is None
        self._replaces, self._earlier = False, ""  # whether the output takes a file's place, and what is said of that
        self._is_unwritten = False  # whether a file beside the output could not be written
        self._beside = {what: path for what, path in manner.beside.items() if path is not None}

    def run(self, workflow: Workflow, table: Any, inputs: Mapping[str, Any]) -> int:
        """Run it and return the exit code; a run that is stopped shows what it has first."""
        with voiced(_silent) if self._manner.is_quiet else nullcontext(), detailed(shown=self._manner.is_detailed):
            return self._run(workflow, table, inputs)

    def _run(self, workflow: Workflow, table: Any, inputs: Mapping[str, Any]) -> int:
        check_beside(self._beside, workflow, table, self._given["journal"])
        if workflow.output is None and (self._manner.columns or not self._shows_part):
            table = self._checked(workflow, table)
        self._note_earlier(getattr(workflow.output, "path", ""))
        live = LiveText() if self._given["progress"] is None and _shows_live(workflow, table) else None
        try:
            with live or nullcontext():
                outputs = workflow.run(table, inputs, on_text=live, **self._given)
        except (EndedError, Interrupted) as stopped:
            outputs = cast("WorkflowOutput", stopped.output or {})
            try:
                self._show(workflow, outputs, stopped=stopped)
            except OutputError as unprinted:  # why the run ended is said as well
                complain(str(unprinted), "error")
            raise
        _refuse_empty_handed(workflow, outputs)
        self._show(workflow, outputs)
        if self._is_unwritten:
            return BAD_INPUT
        return SOME_FAILED if any(output.summary.failed for output in outputs.values()) else OK

    def _checked(self, workflow: Workflow, table: Any) -> Any:
        """Read the table that the standard output must hold, and make sure that it can."""
        from ..workflow.destination import check_content, refuse_as_journal  # noqa: PLC0415
        from ..workflow.workflow_check import check_columns, file_of, opened  # noqa: PLC0415 - loads pandas

        if self._given["journal"] is not None:
            refuse_as_journal(self._given["journal"], table=file_of(workflow, table), output=None)
        view = opened(workflow, table)
        check_content(view, self._form, raw=self._manner.is_raw)
        if not self._manner.is_raw:
            check_columns(workflow, view, self._manner.columns)
        return view.table

    def _note_earlier(self, path: str) -> None:
        """Look at the file whose place the output takes, while it is there."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        self._replaces = os.path.exists(path)
        if self._replaces:
            rows = tables.count_rows(path)
            earlier = "an earlier file" if rows is None else f"an earlier file of {counted(rows, 'row')}"
            self._earlier = f", in place of {earlier}"

    def _show(
        self, workflow: Workflow, outputs: WorkflowOutput, *, stopped: EndedError | Interrupted | None = None
    ) -> None:
        """Show the table or its first rows, then how it went and where things are: that is to be seen at the end."""
        from .closing_report import report  # noqa: PLC0415 - loads the engine

        if not outputs:
            return
        is_written = stopped is None or not isinstance(stopped.__cause__, TableError)
        places = self._places(workflow.output, outputs, is_written=is_written)
        try:
            self._put_out(workflow.output, outputs, is_written=is_written)
        finally:
            keeps = self._keeps and stopped is None
            has_journal = self._given["journal"] is not None
            for line in report(outputs, places, keeps=keeps, has_journal=has_journal, details=self._manner.is_detailed):
                say(line)
        last = list(outputs.values())[-1]
        if self._later is not None and last.summary.submitted:
            place = getattr(workflow.output, "path", None)
            ids = "FILE, a file of these ids," if not place else quote(place)
            say(f"tablenodes retrieve {ids}{self._later} gets the answers")
        if stopped is not None and has_journal:
            answered = sum(output.summary.ok + output.summary.submitted for output in outputs.values())
            say(how_to_go_on(stopped, answered, self._given["journal"]))

    def _places(self, destination: Any, outputs: WorkflowOutput, *, is_written: bool) -> list[str]:
        """Write the log and the report, and return where everything is."""
        rows = counted(next(iter(outputs.values())).summary.rows, "row")
        places = []
        if not is_written:
            places.append(f"the table went to the standard output: {rows}")
        elif outputs._written is not None:
            places.append(f"wrote {destination}: {counted(outputs._written, 'row')}{self._earlier}")
        elif destination is not None:
            places.append(f"{destination} was not changed: no row was answered")
        elif self._shows_part:
            places.append("the table was only shown: --output FILE keeps it")
        if (journal := self._given["journal"]) is not None and os.path.exists(journal):
            places.append(f"journal {journal}")
        beside = [f"{what} {path}" for what, path in self._beside.items() if self._write_beside(outputs, what, path)]
        if beside and not places:
            beside[0] = f"wrote the {beside[0]}"
        places += beside
        return ["; ".join(places)] if places else []

    def _write_beside(self, outputs: WorkflowOutput, what: str, path: str) -> bool:
        """Write the log or the report; return whether it could be written."""
        from .. import tables  # noqa: PLC0415 - loads pandas
        from ..report import page  # noqa: PLC0415

        def write() -> None:
            if what == "log":
                tables.write_table(outputs._log, path)
            else:
                page.write(outputs, path, how_set=option_for)

        is_written = write_beside(what, write)
        self._is_unwritten |= not is_written
        return is_written

    def _put_out(self, destination: Any, outputs: WorkflowOutput, *, is_written: bool) -> None:
        """Show the table where it is looked for: whole on the standard output, unless it is in its file."""
        from ..workflow.destination import chosen  # noqa: PLC0415 - loaded where it is used

        table = chosen(outputs, raw=self._manner.is_raw, columns=self._manner.columns)
        if not is_written:  # then it is nowhere else but in a journal, if there is one
            write_text_part(table, self._form, kept=self._where_kept())
        elif destination is not None:
            if (is_terminal() or not self._manner.asked) and not self._manner.is_quiet:
                _show_head(table if self._chosen else outputs._brief())
        elif self._shows_part:
            show_table(table if self._chosen else outputs._brief())
        else:
            write_table(table, self._form, kept=self._where_kept())
        sys.stdout.flush()

    def _where_kept(self) -> str:
        """Return where answers are that nobody has read, or how they are kept."""
        if (journal := self._given["journal"]) is not None:
            return (
                f"the answers are in the journal {journal}: run the same command again, which does not send them again"
            )
        return (
            "with --output FILE or --journal FILE answers are kept" if self._keeps else "--output FILE keeps the table"
        )


def check_beside(beside: Mapping[str, str], workflow: Workflow, table: Any, journal: Any) -> None:
    """Raise an error where the log or the report cannot be written, or is another file of the run."""
    if not beside:
        return
    from .. import tables  # noqa: PLC0415 - loads pandas
    from ..workflow.destination import is_same  # noqa: PLC0415
    from ..workflow.workflow_check import file_of  # noqa: PLC0415

    if "log" in beside:
        tables.check_output(beside["log"], what="log")
    if "report" in beside:
        from ..report.page import check_file  # noqa: PLC0415

        check_file(beside["report"])
    others = {
        "the table that the run reads": file_of(workflow, table),
        "the output": getattr(workflow.output, "path", None),
        "the journal": journal,
    }
    for name, own in beside.items():
        for what, path in others.items():
            if path is not None and is_same(own, os.fspath(path)):
                raise TableError(f"{name} {own!r} is {what}: choose another file")
        others["the log"] = own


def write_beside(what: str, write: Callable[[], None]) -> bool:
    """Write the log or the report; return whether it could be written, and complain where it could not."""
    try:
        write()
    except TableError as error:
        complain(worded(error), "error")
    except Exception as error:  # noqa: BLE001 - whatever a library raises: the table is not lost by it
        complain(f"the {what} could not be made ({type(error).__name__})", "error")
    else:
        return True
    return False


def _silent(_: str) -> None:
    """Have nothing said."""


def _show_head(table: Any) -> None:
    """Show the first rows of a table that is in its file; that they cannot be shown is no error."""
    try:
        show_table(table, PREVIEW)
        sys.stdout.flush()
    except OutputError as error:
        say(f"cannot show its first rows: {error}")


def how_to_go_on(stopped: EndedError | Interrupted, answered: int, journal: str) -> str:
    """Return what the same command does after a run that ended early; no more than is in the journal is promised."""
    again = "run the same command again to continue"
    if not answered:
        return again
    if not os.path.exists(journal):  # a submission keeps what it has in the store
        return f"{again}: what was submitted is not submitted again"
    if isinstance(stopped, JournalError):
        return f"{again}: what is in the journal is not sent again"
    return f"{again}: what was answered is in the journal {journal} and is not sent again"


def _refuse_empty_handed(workflow: Workflow, outputs: Mapping[str, NodeOutput[Any]]) -> None:
    """Raise `InvalidRequests` where no node had a row that could be sent: that is no table to print."""
    counts = [output.summary.outcomes for output in outputs.values()]
    unsent = [each.get("invalid_request", 0) + each.get("upstream_failed", 0) for each in counts]
    rows = [output.summary.rows for output in outputs.values()]
    if any(rows) and unsent == rows:
        from ..workflow.runner import none_sendable  # noqa: PLC0415

        name, output = next(iter(outputs.items()))
        first = min(output._failures(), key=lambda each: each.row)
        none = f"none of the {counted(rows[0], 'row')} can be sent; nothing was sent or written"
        why = f"{none}; first row {place_of(first.row)} (rows count from 0): {first.message}"
        raise none_sendable(workflow, name, *_place(output._answer_to(first.row)[1]), why)


def located(workflow: Workflow, position: int, path: str) -> str:
    """Return the file and the line of what a problem's path was made of."""
    return workflow._place_of(position, path.removeprefix("$."))


def _shows_live(workflow: Workflow, table: Any) -> bool:
    """Check whether a text is shown as it comes: it is streamed, of one row, and a person is there to see it."""
    if not sys.stderr.isatty() or not any(getattr(node, "stream", None) for _, node in workflow._steps):
        return False
    from ..workflow.workflow_check import opened  # noqa: PLC0415 - loaded where it is used

    return len(opened(workflow, table)) == 1


def _place(body: str | None) -> tuple[str, str]:
    """Return what part of the request a row is about that was not sent, and the rule that it broke, if it says so."""
    import orjson  # noqa: PLC0415 - loaded where it is used

    try:
        error = orjson.loads(body or "")["error"]
        return error.get("param") or "", error.get("code") or ""
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", ""
