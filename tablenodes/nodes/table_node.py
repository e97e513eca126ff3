"""The nodes that send nothing: they make columns of their own from a table's rows."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from itertools import repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ..bodies.settings_plan import SettingsPlan
from ..engine.records import NOT_SENT, OK
from ..errors import Interrupted
from ..problems import Problem, Rejected, in_a_line
from .node import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..connection.connection import Connection
    from ..run.options import RunOptions
    from ..run.output import NodeOutput
    from ..run.rows import Context
    from ..tables import TableView


@dataclass(frozen=True, kw_only=True, repr=False)
class TableNode(Node):
    """What is made of every row, without a request.

    Its settings may be constants, texts with ``{{ column }}`` placeholders, or ``tn.col("name")``.
    """

    defaults: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """For settings that are not set, the column that gives them where the table has it."""

    @abstractmethod
    def make(self, rows: Iterable[Any], context: Context, options: RunOptions) -> Iterator[tuple[Any, ...] | Rejected]:
        """Give each row's cells of the columns that the node makes, or why it has none; in the rows' order.

        Parameters
        ----------
        rows : iterable
            What the node's plan makes of each row, such as a dict of its settings; or the `Rejected` that says why it
            cannot.
        context : Context
            What a workflow adds.
        options : RunOptions
            How.
        """

    def instead(self, name: str, view: TableView) -> Iterable[Any]:
        """Give what stands in a column that the node makes, in each row that was rejected."""
        return repeat(None)

    def plan(
        self,
        columns: Sequence[str],
        *,
        constants: Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> SettingsPlan:
        """Give what becomes of a table's rows; see `Node.plan`."""
        return self.planned(self.parsed(), columns, defaults=self.defaults, constants=constants)

    def planned(self, *arguments: Any, **more: Any) -> SettingsPlan:
        """Give the plan of what it is told of a table, as `SettingsPlan` is."""
        return SettingsPlan(*arguments, **more)

    def carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> NodeOutput:
        """Run the node as a part of a workflow; see `Node.carry_out`."""
        from .. import tables  # noqa: PLC0415 - pandas is loaded where it is needed
        from ..run.check import check_rows, refuse_invalid  # noqa: PLC0415

        view = tables.view(table)
        plan = self.plan(view.columns, constants=context.constants)
        if options.on_invalid == "raise":
            refuse_invalid(check_rows(plan, view))
        return made(self, plan, view, context, options)


def made(node: TableNode, plan: SettingsPlan, view: TableView, context: Context, options: RunOptions) -> NodeOutput:
    """Give what a node makes of a table."""
    from ..run import display  # noqa: PLC0415 - loaded where it is needed
    from ..run.end_report import say_failures  # noqa: PLC0415
    from ..run.rows import prepared  # noqa: PLC0415

    began = time.monotonic()
    rows: list[tuple[Any, ...] | Rejected] = []
    interrupted = False
    with display.Progress(len(view), options.progress) as bar:
        ok = 0
        try:
            for cells in node.make(prepared(plan, view, context), context, options):
                rows.append(cells)
                ok += not isinstance(cells, Rejected)
                bar.update(len(rows), ok)
        except KeyboardInterrupt:  # what was made is given, as by a node that sends
            interrupted = True
            rows += [_STOPPED] * (len(view) - len(rows))
        bar.close(len(rows), ok)
    output = _output(node, view, rows, context, time.monotonic() - began)
    if interrupted:
        made = f"{output.summary.ok:,} of {len(view):,} rows were made"
        raise Interrupted(f"interrupted: {made}", output, output_has="them")
    name = context.scope or type(node).__name__
    say_failures(name, output.summary, (), (), progress=options.progress)
    return output


_STOPPED = Rejected(Problem("$", "stopped", "the run was stopped before this row was made"), outcome=NOT_SENT)


def _output(
    node: TableNode, view: TableView, rows: Sequence[tuple[Any, ...] | Rejected], context: Context, seconds: float
) -> NodeOutput:
    """Give the columns that were made, with what became of every row."""
    from ..run.output import NodeOutput  # noqa: PLC0415 - the engine is loaded where it is needed
    from ..run.summary import Summary  # noqa: PLC0415

    outcomes = [cells.outcome if isinstance(cells, Rejected) else OK for cells in rows]
    messages = [
        in_a_line(cells.problem.message, cells.problem.path) if isinstance(cells, Rejected) else None for cells in rows
    ]
    columns = {
        name: [
            instead if isinstance(cells, Rejected) else cells[i]
            for cells, instead in zip(rows, node.instead(name, view), strict=False)
        ]
        for i, name in enumerate(node.makes)
    }
    summary = Summary.of(Counter(outcomes), seconds=seconds)
    return NodeOutput(view, columns, node.makes, outcomes, messages, summary, node.handed_on | context.made)
