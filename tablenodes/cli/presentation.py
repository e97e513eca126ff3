"""Run a workflow and show what came of it: the numbers, why rows failed, and the table where it is looked for."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from ..errors import EndedError, Interrupted, InvalidRequests, JournalError, OutputError, TableError
from ..run.display import counted, say
from .complaints import OK, SOME_FAILED, complain
from .printout import LiveText, is_terminal, show_table, write_table, write_text_part

if TYPE_CHECKING:
    from ..run.output import NodeOutput
    from ..workflow import Workflow
    from ..workflow.workflow_output import WorkflowOutput

_KINDS_EXPLAINED = 5
_NOT_FAILED = ("ok", "skipped", "submitted")


class Presentation:
    """Runs a workflow, with `manner` as the keyword arguments of `Workflow.run`, and shows what came of it.

    `form` is ``table`` or ``raw``; `columns` are those that are written, where not all are; `asked` says that the
    command line named the output, where the table goes then, and otherwise only to a person's eyes; `later` says that
    rows are only submitted, and how the command that gets their answers ends.
    """

    def __init__(
        self,
        form: str,
        jsonl: bool,
        columns: Sequence[str] | None,
        *,
        asked: bool,
        manner: dict[str, Any],
        later: str | None = None,
    ) -> None:
        self._form, self._text = form, "jsonl" if jsonl else "csv"
        self._columns = columns
        self._chosen = columns is not None or form != "table"
        self._asked, self._manner, self._later = asked, manner, later
        self._shows_part = is_terminal() and not asked and not jsonl
        self._replaces, self._earlier = False, ""  # whether the output takes a file's place, and what is said of that

    def run(self, workflow: Workflow, table: Any, inputs: Mapping[str, Any]) -> int:
        """Run it and return the exit code; a run that is stopped shows what it has first."""
        if workflow.output is None and (self._columns or not self._shows_part):
            table = self._checked(workflow, table)
        self._note_earlier(getattr(workflow.output, "path", ""))
        live = LiveText() if _shows_live(workflow, table) and self._manner["progress"] is None else None
        try:
            with live or nullcontext():
                outputs = workflow.run(table, inputs, on_text=live, **self._manner)
        except (EndedError, Interrupted) as stopped:
            outputs = cast("WorkflowOutput", stopped.output or {})
            try:
                self._show(workflow, outputs, written=not isinstance(stopped.__cause__, TableError))
            except OutputError as unprinted:  # why the run ended is said as well
                complain(str(unprinted), "error")
            if self._manner["journal"] is not None and outputs:
                say(_how_to_go_on(stopped, outputs, self._manner["journal"]))
            raise
        _refuse_empty_handed(workflow, outputs)
        self._show(workflow, outputs)
        return SOME_FAILED if any(output.summary.failed for output in outputs.values()) else OK

    def _checked(self, workflow: Workflow, table: Any) -> Any:
        """Read the table that the standard output must hold, and make sure that it can."""
        from ..workflow.destination import check_content, refuse_as_journal  # noqa: PLC0415
        from ..workflow.workflow_check import check_columns, file_of, opened  # noqa: PLC0415 - loads pandas

        if self._manner["journal"] is not None:
            refuse_as_journal(self._manner["journal"], table=file_of(workflow, table), output=None)
        view = opened(workflow, table)
        check_content(view, self._form, self._text)
        if self._form == "table":
            check_columns(workflow, view, self._columns)
        return view.table

    def _note_earlier(self, path: str) -> None:
        """Look at the file whose place the output takes, while it is there."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        self._replaces = os.path.exists(path)
        if self._replaces:
            rows = tables.count_rows(path)
            earlier = "an earlier file" if rows is None else f"an earlier file of {counted(rows, 'row')}"
            self._earlier = f", in place of {earlier}"

    def _show(self, workflow: Workflow, outputs: WorkflowOutput, *, written: bool = True) -> None:
        if not outputs:
            return
        for name, output in outputs.items():
            summary = output.summary
            say(f"{name}: {summary}" if len(outputs) > 1 else str(summary))
            for line in failures(output):
                say(line)
        last = list(outputs.values())[-1]
        self._put_out(workflow.output, outputs, written=written)
        if self._later is not None and last.summary.submitted:
            place = getattr(workflow.output, "path", None)
            ids = "FILE, a file of these ids," if place is None else quote(place)
            say(f"tablenodes retrieve {ids}{self._later} gets the answers")

    def _put_out(self, destination: Any, output: WorkflowOutput, *, written: bool) -> None:
        """Show the table where it is looked for: whole on the standard output, unless it is in its file."""
        from ..workflow.destination import chosen  # noqa: PLC0415 - loaded where it is used

        table, rows = (
            chosen(output, self._form, self._columns),
            counted(next(iter(output.values())).summary.rows, "row"),
        )
        if not written:  # then it is nowhere else but in a journal, if there is one
            write_text_part(table, self._text)
            say(f"the table went to the standard output: {rows}")
        elif destination is not None:
            if output._is_answered or not self._replaces:
                say(f"wrote {destination.path}: {rows}{self._earlier}")
            if is_terminal() or not self._asked:
                _show_head(table if self._chosen else output._brief())
        elif self._shows_part:
            show_table(table if self._chosen else output._brief())
        else:
            write_table(table, self._text)


def _show_head(table: Any) -> None:
    """Show the first rows of a table that is in its file; that they cannot be shown is no error."""
    try:
        show_table(table)
        sys.stdout.flush()
    except OutputError as error:
        say(f"cannot show its first rows: {error}")


def _how_to_go_on(stopped: EndedError | Interrupted, outputs: Mapping[str, NodeOutput[Any]], journal: str) -> str:
    """Return what the same command does after a run that ended early; no more than is in the journal is promised."""
    again = "run the same command again to continue"
    if not any(output.summary.ok or output.summary.submitted for output in outputs.values()):
        return again
    if isinstance(stopped, JournalError):
        return f"{again}: what is in the journal is not sent again"
    return f"{again}: what was answered is in the journal {journal} and is not sent again"


def _refuse_empty_handed(workflow: Workflow, outputs: Mapping[str, NodeOutput[Any]]) -> None:
    """Raise `InvalidRequests` where no node had a row that could be sent: that is no table to print."""
    counts = [output.summary.outcomes for output in outputs.values()]
    unsent = [each.get("invalid_request", 0) + each.get("upstream_failed", 0) for each in counts]
    rows = [output.summary.rows for output in outputs.values()]
    if any(rows) and unsent == rows:
        name, output = next(iter(outputs.items()))
        first = first_failures(output)[0]
        none = f"none of the {counted(rows[0], 'row')} can be sent; nothing was sent or written"
        why = f"first row {first.row} (rows count from 0): {first.why}"
        raise InvalidRequests(f"{located(workflow, 0, first.path)}node {name!r}: {none}; {why}")


def located(workflow: Workflow, position: int, path: str) -> str:
    """Return the file and the line of what a problem's path was made of."""
    return workflow._place_of(position, path.removeprefix("$."))


def _shows_live(workflow: Workflow, table: Any) -> bool:
    """Check whether a text is shown as it comes: it is streamed, of one row, and a person is there to see it."""
    if not sys.stderr.isatty() or not any(getattr(node, "stream", None) for _, node in workflow._steps):
        return False
    from ..workflow.workflow_check import opened  # noqa: PLC0415 - loaded where it is used

    return len(opened(workflow, table)) == 1


_Kind: TypeAlias = tuple[str, int | None, str | None]


class Failed(NamedTuple):
    """The first row that failed in a way: how many did, which it is, at which part of its request, and why."""

    outcome: str
    status: int | None
    rows: int
    row: int
    path: str
    why: str


def failures(output: NodeOutput[Any]) -> list[str]:
    """Return one line for each kind of failure: how many rows, why, and which is the first."""
    found = enumerate(first_failures(output))
    return [f"{_failed(each)} (first at row {each.row}{'' if i else ', rows count from 0'})" for i, each in found]


def _failed(first: Failed) -> str:
    rows, one = counted(first.rows, "row"), first.rows == 1
    if first.outcome == "pending":
        return f"{rows} {'is' if one else 'are'} pending: {first.why.replace('not answered yet: ', '')}"
    if first.outcome == "not_sent":
        return f"{rows} {'was' if one else 'were'} not sent: {first.why.replace('not sent: ', '')}"
    how = first.outcome if first.status is None else f"HTTP {first.status}"
    return f"{rows} failed with {how}: {first.why}"


def first_failures(output: NodeOutput[Any]) -> list[Failed]:
    """Return the first row of each kind of failure, with its message, in the server's words where it has some."""
    if not output.summary.failed:
        return []
    ends = [*output._ends()]
    kinds = Counter(_kind(*end) for end in ends if end[0] not in _NOT_FAILED)
    first: dict[_Kind, Failed] = {}
    for row, end in enumerate(ends):
        kind = _kind(*end)
        if kind in kinds and kind not in first:
            _, status, message = end
            path = "" if status is not None else _place(output._answer_to(row)[1])
            first[kind] = Failed(*kind[:2], kinds[kind], row, path, message or f"HTTP {status}")
            if len(first) == min(len(kinds), _KINDS_EXPLAINED):
                break
    return [*first.values()]


def _kind(outcome: str, status: int | None, message: str | None = None) -> _Kind:
    """Return what rows fail alike in: answers that are no use have a status that says nothing, but a reason each."""
    if outcome == "unusable":
        return outcome, None, message
    return outcome, status if status is not None and status >= 300 else None, None


def _place(body: str | None) -> str:
    """Return what part of the request a row is about that was not sent, if it says so."""
    import orjson  # noqa: PLC0415 - loaded where it is used

    try:
        return orjson.loads(body or "")["error"].get("param") or ""
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
