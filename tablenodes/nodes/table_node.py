"""The nodes that send nothing: they make columns of their own from a table's rows."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ..engine.records import OK, Rejection
from ..plans import SettingsPlan
from .node import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..connection import Connection
    from ..output import NodeOutput
    from ..tables import TableView
    from .rows import Context


@dataclass(frozen=True, kw_only=True, repr=False)
class TableNode(Node):
    """What is made of every row, without a request.

    Its settings may be constants, texts with ``{{ column }}`` placeholders, or ``tn.col("name")``.
    """

    defaults: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """For settings that are not set, the column that gives them where the table has it."""

    @abstractmethod
    def make(
        self, rows: Iterable[dict[str, Any] | Rejection], context: Context, manner: Mapping[str, Any]
    ) -> Iterator[tuple[Any, ...] | Rejection]:
        """Give each row's cells of the columns that the node makes, or why it has none; in the rows' order.

        Parameters
        ----------
        rows : iterable of dict or Rejection
            Each row's settings by name, None for a null cell; or why it has none.
        context : Context
            What a workflow adds.
        manner : mapping
            The keyword arguments of the run.
        """

    def plan(
        self,
        columns: Sequence[str],
        *,
        constants: Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> SettingsPlan:
        """Give what becomes of a table's rows; see `Node.plan`."""
        return SettingsPlan(self.parsed(), columns, defaults=self.defaults, constants=constants)

    def carry_out(
        self, table: Any, connection: Connection | None, context: Context, manner: Mapping[str, Any]
    ) -> NodeOutput:
        """Run the node as a part of a workflow; see `Node.carry_out`."""
        from .. import tables  # noqa: PLC0415 - pandas is loaded where it is needed
        from .check import check_rows, refuse_invalid  # noqa: PLC0415

        view = tables.view(table)
        plan = self.plan(view.columns, constants=context.constants)
        if manner.get("on_invalid") == "raise":
            refuse_invalid(check_rows(plan, view))
        return made(self, plan, view, context, manner)


def made(
    node: TableNode, plan: SettingsPlan, view: TableView, context: Context, manner: Mapping[str, Any]
) -> NodeOutput:
    """Give what a node makes of a table."""
    from .. import display  # noqa: PLC0415 - loaded where it is needed
    from ..output import NodeOutput  # noqa: PLC0415 - the engine is loaded where it is needed
    from ..summary import Summary  # noqa: PLC0415
    from .rows import prepared  # noqa: PLC0415

    began = time.monotonic()
    columns: dict[str, list[Any]] = {name: [] for name in node.makes}
    outcomes: list[str] = []
    messages: list[str | None] = []
    with display.Progress(len(view), manner.get("progress")) as bar:
        ok = 0
        for cells in node.make(prepared(plan, view, context), context, manner):
            failed = isinstance(cells, Rejection)
            ok += not failed
            outcomes.append(cells.outcome if isinstance(cells, Rejection) else OK)
            messages.append(cells.problem.message if isinstance(cells, Rejection) else None)
            for i, values in enumerate(columns.values()):
                values.append(None if failed else cells[i])
            bar.update(len(outcomes), ok)
        bar.close(len(outcomes), ok)
    counts = Counter(outcomes)
    ordered = {OK: counts.pop(OK, 0)} | dict(counts.most_common())
    summary = Summary(
        rows=len(view),
        outcomes={name: count for name, count in ordered.items() if count},
        seconds=time.monotonic() - began,
    )
    return NodeOutput(view, columns, node.makes, outcomes, messages, summary)
