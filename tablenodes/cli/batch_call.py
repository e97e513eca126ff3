"""``tablenodes call`` and ``run`` over a table that is too long for the memory: it is worked on in batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from ..database_address import DatabaseTable
from ..errors import ColumnError, EndedError, Interrupted, TableError, nearest
from ..notices import counted, say, voiced
from ..run.display import FIRST_ROW, detailed
from ..run.options import HELD_ROWS
from .closing_report import report
from .command_options import Given, option, under
from .complaints import BAD_INPUT, OK, SOME_FAILED, option_for
from .consent import Intended, consented, is_asked
from .presentation import Manner, check_beside, how_to_go_on, write_beside
from .printout import PREVIEW, is_terminal, show_table

if TYPE_CHECKING:
    from ..run.options import RunOptions
    from ..workflow import Workflow

_BYTES = 256 * 2**20
_PACKED = 4  # times as long as its file is a text that was compressed, about
_HOW_LARGE = (
    "Hold at most about this much of the table in memory, such as 400MB: it is read, asked and written in batches. "
    f"Default: so above {HELD_ROWS:,} rows or {_BYTES // 2**20} MB, where the output is a file to which that can be "
    "done."
)
(MEMORY,) = under("Output", option("--memory", "SIZE", _HOW_LARGE))
_BASE = 200 * 2**20
"""Bytes that a run needs whatever its table is: the libraries, and what is in flight."""


def comes_in_batches(workflow: Workflow, given: Given, how: Mapping[str, Any]) -> bool:
    """Check whether a run is to be carried out in batches; raise `click.BadParameter` where it cannot be."""
    why_not, table = _why_whole(workflow, given, how), _table_of(workflow, given)
    if given.memory is not None and why_not:
        raise click.BadParameter(f"the table is worked on as a whole: {why_not}", param_hint="--memory")
    if not why_not:
        return table is not None and (given.memory is not None or _is_large(table))
    if not workflow._alone and table is not None and how["progress"] is not False and _is_large(table):
        say(f"the whole table is held in memory: {why_not}")
    return False


def _table_of(workflow: Workflow, given: Given) -> Any:
    return workflow.table if given.table is None else given.table


def _why_whole(workflow: Workflow, given: Given, how: Mapping[str, Any]) -> str:
    """Return why a run needs the whole table in memory; empty where it does not."""
    from ..tables import STREAMED, is_streamed  # noqa: PLC0415 - loads pandas
    from ..workflow.stream_plan import why_whole  # noqa: PLC0415 - loads the engine

    (_, step), *_ = workflow._as_given
    node, path = step.node, getattr(workflow.output, "path", None)
    if not workflow._alone:
        from ..workflow.workflow_check import connections_of  # noqa: PLC0415

        has_worker = any(node._declared.later for _, node in workflow._steps)
        why = why_whole(workflow, connections_of(workflow, how["connection"]) if has_worker else None)
    else:
        why = "" if hasattr(node, "_in_batches") else "this node sends nothing itself"
        why = why or ("leave --report out" if node._declared.later and getattr(given, "report", None) else "")
    if why:
        return why
    if path is None or not hasattr(workflow.output, "raw"):
        return "--output must be a file"
    if not is_streamed(path):
        return f"write one of {', '.join(STREAMED)}"
    return ""


def _is_large(table: Any) -> bool:
    """Check whether files have more rows, or more bytes, than are worked on at once."""
    from .. import tables  # noqa: PLC0415 - loads pandas

    if isinstance(table, DatabaseTable):
        return False  # nobody knows before it is read
    try:
        first, *others = tables.files_of(os.fspath(table))
    except TableError:
        return False  # it is said when it is read
    packed = _PACKED if first.endswith((".gz", ".xz", ".zst", ".bz2")) else 1
    if others or (os.path.isfile(first) and os.path.getsize(first) * packed > _BYTES):
        return True
    return tables.has_more_rows(first, HELD_ROWS, tables.Reading(**_reading_of(table)))


def _reading_of(table: Any) -> dict[str, str]:
    """Return what is said of how a table's file is read."""
    from ..workflow.table_source import TableSource  # noqa: PLC0415 - loaded where it is used

    return table.options() if isinstance(table, TableSource) else {}


def call_in_batches(
    workflow: Workflow,
    given: Given,
    how: dict[str, Any],
    shown: Manner,
    inputs: Mapping[str, Any],
    *,
    later: str | None,
    keeps: bool,
) -> int:
    """Run the nodes over the table's batches, write what comes of them, and say how it went.

    `later` and `keeps` are as in `Presentation`.
    """
    with voiced(_silent) if shown.is_quiet else nullcontext(), detailed(shown=shown.is_detailed):
        call = (_Call if workflow._alone else _WorkflowCall)(workflow, given, how, shown, inputs)
        call.later, call.keeps = later, keeps
        return call.run()


class _Call:
    """A call in batches."""

    later: str | None = None
    keeps = True

    def __init__(
        self, workflow: Workflow, given: Given, how: dict[str, Any], shown: Manner, inputs: Mapping[str, Any]
    ) -> None:
        self._workflow, self._given, self._how, self._shown = workflow, given, how, shown
        self._table, self._inputs = _table_of(workflow, given), inputs
        self._path = workflow.output.path  # type: ignore[union-attr] # it was checked
        self._beside = {what: path for what, path in shown.beside.items() if path is not None}
        self._log, self._written = self._beside.get("log"), 0
        self._head: Any = None
        self._is_reported = True  # where that is asked for

    def run(self) -> int:
        """Carry it out, and return the exit code."""
        from .. import tables  # noqa: PLC0415 - loads pandas
        from ..workflow.destination import refuse_as_journal  # noqa: PLC0415 - loaded where it is used
        from ..workflow.workflow_check import file_of  # noqa: PLC0415

        table, journal = file_of(self._workflow, self._table), self._how["journal"]
        self._workflow.output.check(table)  # type: ignore[union-attr]
        check_beside(self._beside, self._workflow, self._table, journal)
        if journal is not None:
            refuse_as_journal(journal, table=table, output=self._path)
        if self._given.rows is not None:
            FIRST_ROW.set(self._given.rows.start or 0)  # until the command has ended
        if not self._is_agreed():
            return BAD_INPUT
        self._refuse_empty_handed()
        batches = self._batches()
        try:
            with batches:
                self._write(batches)
        except (EndedError, Interrupted, TableError) as stopped:
            goes_on = None if isinstance(stopped, TableError) or self._how["journal"] is None else stopped
            if self._written:
                self._tell(batches, f"{self._path}{tables.PARTIAL}", keeps=self.keeps and goes_on is None)
            if goes_on is not None:
                answered = sum(end.summary.ok + end.summary.submitted for end in self._ends(batches).values())
                say(how_to_go_on(goes_on, answered, self._how["journal"]))
            raise
        self._tell(batches, self._path, self._without_earlier(), keeps=self.keeps)
        if not self._is_reported:
            return BAD_INPUT
        return SOME_FAILED if any(end.summary.failed for end in self._ends(batches).values()) else OK

    def _without_earlier(self) -> list[str]:
        """Remove what earlier runs left of the files that are whole now; return what is to be said of it."""
        from .. import tables  # noqa: PLC0415 - loads pandas
        from ..workflow.destination import is_same  # noqa: PLC0415
        from ..workflow.workflow_check import file_of  # noqa: PLC0415

        table, removed = file_of(self._workflow, self._table), []
        for path in filter(None, (self._path, self._log)):
            earlier = f"{path}{tables.PARTIAL}"
            if self._given.rows is None and os.path.isfile(earlier) and not (table and is_same(earlier, table)):
                with suppress(OSError):
                    os.unlink(earlier)
                    removed.append(f"removed {earlier}")
        return removed

    def _refuse_empty_handed(self) -> None:
        """Raise `InvalidRequests` where no row can be sent, as a run that is not in batches does."""
        from .. import tables  # noqa: PLC0415 - loads pandas
        from ..workflow.empty_run import unsendable_in  # noqa: PLC0415 - loads the engine
        from ..workflow.runner import empty_handed  # noqa: PLC0415
        from ..workflow.workflow_check import connections_of, values_of  # noqa: PLC0415

        source = tables.batch_source(self._table, None, tables.Reading(**_reading_of(self._table)))
        if not source.again or not self._how["send"]:
            return
        source = source if self._given.rows is None else source.part(self._given.rows)
        made = connections_of(self._workflow, self._how["connection"])
        values = values_of(self._workflow, self._inputs)
        views: Any = source.views()
        with voiced(_silent), closing(views):
            found = unsendable_in(self._workflow, views, values, made, self._how["store"])
        if found is not None:
            raise empty_handed(self._workflow, *found)

    def _ends(self, batches: Any) -> Mapping[str, Any]:
        """Return what became of each node's rows."""
        return {next(name for name, _ in self._workflow._as_given): batches}

    def _write(self, batches: Any) -> None:
        """Write the output and the log, as the batches come."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        columns, names = self._columns(batches)
        schema = tables.schema_of(batches.schema, columns, names)
        with tables.batch_writer(self._path, schema) as write, self._logging(batches) as log:
            for batch in batches:
                part = tables.columns_of_batch(batch, columns, names)
                self._head = part if self._head is None else self._head
                write(part)
                log(batch)
                self._written += batch.num_rows

    def _is_agreed(self) -> bool:
        """Check whether the run may begin: who is asked is told what it is likely to cost, by its first rows."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        run = Intended(self._workflow, None, self._inputs, self._how)
        if not is_asked(run, self._given):
            return True
        source = tables.batch_source(self._table, None, tables.Reading(**_reading_of(self._table)))
        first, times = source.start(self._given.rows)
        return consented(run._replace(table=first), self._given, times)[1]

    def _options(self) -> RunOptions:
        from ..run.options import RunOptions  # noqa: PLC0415 - the engine is loaded where it is needed

        own = {"limits": self._workflow.limits, "retry": self._workflow.retry}
        taken = {name: value for name, value in self._how.items() if name != "connection"}
        return RunOptions.of(**taken, **own)

    def _batches(self) -> Any:
        """Begin the run."""
        from ..run.rows import Context, When  # noqa: PLC0415 - the engine is loaded where it is needed
        from ..workflow.runner import replaced_ids  # noqa: PLC0415

        ((name, step),) = self._workflow._as_given
        how, options, only = self._how, self._options(), self._workflow._only
        when = None if only is None else When(only.plan, name=only.name)
        context = Context(scope=name, when=when, replaced=replaced_ids(self._workflow), output=self._path)
        connection = how["connection"] or step.connection or self._workflow.connection
        node: Any = step.node  # a BatchNode, as was checked
        how_read = {"reading": _reading_of(self._table), "rows": self._given.rows, "logged": self._log is not None}
        return node._in_batches(self._table, connection, options, context, window=self._window(), **how_read)

    def _columns(self, batches: Any) -> tuple[list[str], list[str]]:
        """Return the columns that are written, and what they are called there."""
        named, chosen = batches._named, self._shown.columns
        if self._shown.is_raw:
            return [*named.raw], [*(named.raw.values() if isinstance(named.raw, dict) else named.raw)]
        for name in chosen or ():
            if name not in batches.schema.names:
                raise ColumnError(f"--columns: the table has no column {name!r}{nearest(name, batches.schema.names)}")
        columns = [*(named.table if chosen is None else chosen)]
        return columns, columns

    @contextmanager
    def _logging(self, batches: Any) -> Iterator[Callable[[Any], None]]:
        """Open the log, if one is asked for; the function that is returned adds a batch to it."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        if self._log is None:
            yield _silent
            return
        none = next(self._entries(tables.no_rows(batches.schema), batches._named))
        with tables.batch_writer(self._log, none.schema, what="log") as write:

            def log(batch: Any) -> None:
                for part in self._entries(batch, batches._named):
                    write(part)

            yield log

    def _entries(self, batch: Any, named: Any) -> Iterator[Any]:
        """Yield the parts of the log that a batch is."""
        from .. import tables  # noqa: PLC0415 - loads pandas
        from ..run.batch_table import SERVER  # noqa: PLC0415 - loaded by now
        from ..run.output import LOG_TYPES  # noqa: PLC0415

        names = [*named.log.values()] if isinstance(named.log, dict) else [*LOG_TYPES, SERVER][: len(named.log)]
        part = tables.columns_of_batch(batch, [*named.log], names)
        yield tables.numbered(part, FIRST_ROW.get() + self._written)

    def _window(self) -> int:
        """Return the bytes of finished rows that may wait in memory."""
        from ..nodes.batch_node import size_in_bytes  # noqa: PLC0415 - loaded where it is used

        if self._given.memory is None:
            return 64 * 2**20
        asked = size_in_bytes(self._given.memory, "memory")
        return max(16 * 2**20, (asked - _BASE) // 2)

    def _tell(self, batches: Any, path: str, more: Sequence[str] = (), *, keeps: bool) -> None:
        """Show the first rows, how it went and where things are."""
        ends = self._ends(batches)
        if self._head is not None and (is_terminal() or not self._shown.asked) and not self._shown.is_quiet:
            show_table(self._brief(self._head.slice(0, PREVIEW), ends))
        places = [f"wrote {path}: {counted(self._written, 'row')}", *more]
        if (journal := self._how["journal"]) is not None and os.path.exists(journal):
            places.append(f"journal {journal}")
        if self._log is not None:
            places.append(f"log {self._log}")
        if (page := self._beside.get("report")) is not None and self._write_report(ends, page):
            places.append(f"report {page}")
        for line in report(ends, ["; ".join(places)], keeps=keeps, has_journal=journal is not None):
            say(line)
        if self.later is not None and path == self._path and [*ends.values()][-1].summary.submitted:
            say(f"tablenodes retrieve {quote(path)}{self.later} gets the answers")

    def _brief(self, head: Any, _: Mapping[str, Any]) -> Any:
        """Return the first rows as a person looks at them."""
        return head

    def _write_report(self, outputs: Mapping[str, Any], path: str) -> bool:
        """Write the report; return whether it could be written."""
        from ..report import page  # noqa: PLC0415 - loaded where it is used

        self._is_reported = write_beside("report", lambda: page.write(outputs, path, how_set=option_for))
        return self._is_reported


class _WorkflowCall(_Call):
    """A workflow's run in batches."""

    def _batches(self) -> Any:
        from .. import tables  # noqa: PLC0415 - loads pandas
        from ..later.replaced_file import set_aside  # noqa: PLC0415 - loaded where it is used
        from ..nodes.batch_node import SPILL  # noqa: PLC0415
        from ..workflow.runner import replaced_ids  # noqa: PLC0415 - loaded by now
        from ..workflow.workflow_check import check_content  # noqa: PLC0415
        from ..workflow.workflow_stream import stream  # noqa: PLC0415

        if replaced_ids(self._workflow):
            set_aside(self._path)
        source = tables.batch_source(self._table, None, tables.Reading(**_reading_of(self._table)))
        source = source if self._given.rows is None else source.part(self._given.rows)
        check_content(self._workflow, source.view)
        shown: Any = {"raw": self._shown.is_raw, "logged": self._log is not None}
        how: Any = {"check": "lazy", "window": self._window(), "spill": SPILL}
        connection = self._how["connection"]
        return stream(self._workflow, source, self._inputs, connection, self._options(), **how, **shown)

    def _ends(self, batches: Any) -> Mapping[str, Any]:
        return dict(batches._ended())

    def _entries(self, batch: Any, named: Any) -> Iterator[Any]:
        from .. import tables  # noqa: PLC0415 - loads pandas

        for node, names in named.logs.items():
            part = tables.columns_of_batch(batch, [*names], [*names.values()])
            yield tables.numbered(part, FIRST_ROW.get() + self._written, node)

    def _brief(self, head: Any, ends: Mapping[str, Any]) -> Any:
        """Return the first rows without the columns that say nothing: that all of a node's are ok."""
        from ..workflow.workflow_check import ended_beside  # noqa: PLC0415 - loaded by now

        if self._shown.columns is not None or self._shown.is_raw:
            return head
        whole = [name for name, end in ends.items() if end.summary.ok == end.summary.rows and len(ends) > 1]
        steps = dict(self._workflow._steps)
        idle = {column for name in whole for column in ended_beside(name, steps[name])}
        return head.select([name for name in head.schema.names if name not in idle])


def _silent(_: Any) -> None:
    """Do nothing with it."""
