"""The nodes that send nothing: they make columns of their own from a table's rows. The simplest is Return."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

from ..bodies.settings_plan import SettingsPlan
from ..errors import SettingError
from ..problems import Rejected
from ..run.rows import Context
from ..templates.environment import as_text
from .node import Declaration, Node
from .reference import documented

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..connection.connection import Connection
    from ..run.options import OnInvalid, RunOptions
    from ..run.output import AnyOutput, NodeOutput, T
    from ..run.rows import PlanInputs
    from ..tables import TableView
    from ..templates.template import Column, LiteralText
    from .answer_shapes import Shape
    from .node import Nodes


@dataclass(frozen=True, kw_only=True, repr=False)
class TableNode(Node):
    """What is made of every row, without a request.

    Its settings may be constants, texts with ``{{ column }}`` placeholders, or ``tn.col("name")``.
    """

    @abstractmethod
    def _make(self, rows: Iterable[Any], context: Context, options: RunOptions) -> Iterator[tuple[Any, ...] | Rejected]:
        """Yield each row's cells, or why it has none; `rows` are what the plan makes of each, or why it cannot."""

    def _instead(self, name: str, view: TableView) -> Iterable[Any]:
        """Return what stands in a column that the node makes, in each row that was rejected."""
        return repeat(None)

    def _plan(self, columns: Sequence[str], inputs: PlanInputs) -> SettingsPlan:
        declared = self._declared
        return SettingsPlan(
            self._parsed(),
            columns,
            defaults=declared.defaults,
            constants=inputs.constants,
            becomes=self._becomes,
            structured=declared.structured,
        )

    def _becomes(self, settings: dict[str, Any]) -> Any:
        """Return what a row becomes; a row that says nothing usable is rejected by a check as by a run."""
        return settings

    def _carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> AnyOutput:
        from ..run.table_run import Making, run_table  # noqa: PLC0415 - pandas is loaded where it is needed

        declared, name = self._declared, context.scope or type(self).__name__
        making = Making(name, declared.makes, declared.handed_on, self._plan, self._make, self._instead)
        return run_table(making, table, context, options)

    def run(
        self,
        table: T,
        *,
        store: str | os.PathLike[str] | None = None,
        on_invalid: OnInvalid = "report",
        progress: bool | None = None,
    ) -> NodeOutput[T]:
        """Make the node's columns for every row.

        Parameters
        ----------
        table, store, on_invalid, progress
            As in `CreateChatCompletion.run`. The store is the file that keeps the messages of conversations; a row that
            cannot be made, since a cell is empty, is reported in its place, or nothing is made.

        Returns
        -------
        NodeOutput
            Unpacks into a table with the columns that were made, and the configuration, the very table that was given.
            ``.table`` is the configuration with those columns; ``conversation`` takes the place of one that it had.

        Raises
        ------
        UsageError, InvalidRequests, StoreError
            If the node and the table do not fit together, a row cannot be made, or the store cannot be used.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - loaded where it is needed

        options = RunOptions.of(store=store, on_invalid=on_invalid, progress=progress)
        return self._carry_out(table, None, Context(), options)


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class Return(TableNode):
    """Render a text for every row.

    The text is the column ``text`` of the output's table. In a workflow, later nodes read it as ``{{ ID }}``, the
    workflow's table has it as a column of that name, and a row whose earlier answer is missing is ``upstream_failed``.

    Parameters
    ----------
    text : str
        A text with ``{{ … }}`` placeholders, or ``tn.col("name")``; in a workflow also ``{{ ID }}``.
    """

    _declared = Declaration(gives="a text", makes={"text": "text"})

    text: str | Column | LiteralText | None = None

    def __post_init__(self) -> None:
        if self.text is None:
            raise SettingError("text is missing: set the text that each row makes")
        super().__post_init__()

    def _answer_columns(self, name: str) -> Mapping[str, Any]:
        return {name: "text"}

    def _answer_shape(self, earlier: Nodes, columns: Sequence[str] | None) -> Shape | None:
        made = super()._answer_shape(earlier, columns)
        return made and made._replace(answer={"type": "string"})

    def _make(
        self, rows: Iterable[dict[str, Any] | Rejected], context: Context, options: RunOptions
    ) -> Iterator[tuple[Any, ...] | Rejected]:
        for row in rows:
            if isinstance(row, Rejected):
                yield row
            else:
                text = row["text"]
                yield (None if text is None else as_text(text),)
