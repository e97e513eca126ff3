"""WorkflowOutput: what a run of a workflow gives back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from ..answers import BESIDE
from ..run import display
from ..run.output import FURTHER_TYPES, LOG_TYPES, NodeOutput, Responses
from ..run.reportable import Reportable


class WorkflowOutput(Reportable, Mapping[str, NodeOutput[Any]]):
    """What became of every row, by node and in one table.

    A mapping of the nodes' ids, in their order, to their outputs: ``output["ask"]`` is a `Responses` for a node
    that asks, with its own ``.table``, ``.log`` and ``.failed``; ``output.table`` has the columns of all of them.
    """

    def __init__(self, table: Any, *, alone: bool = False) -> None:
        self._base, self._alone = table, alone
        self._outputs: dict[str, NodeOutput[Any]] = {}
        self._written: int | None = None  # how many rows the destination has of it
        self._renamed: set[str] = set()  # columns that later nodes find, and the table has under their node's name

    def _add(self, name: str, output: NodeOutput[Any]) -> None:
        """Add what the next node gave; later nodes find the columns in the table that it made."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        self._outputs[name] = output
        if not isinstance(output, Responses) and not output._fields:
            before, self._base = self._base, output.table
            if output._beside(name)[0]:
                self._renamed |= {*tables.view(self._base).columns} - {*tables.view(before).columns}

    @cached_property
    def table(self) -> Any:
        """The configuration with the columns of every node to its right.

        An answer's column is called as its node, ``ask``; the fields of one are ``ask_stars``; ``into`` takes the id's
        place. Beside them are ``ask_outcome`` and ``ask_message``, which is null where the row is ok, of every node,
        and ``ask_status`` of each that sends. ``conversation`` and the ids of answers that come later stand there as
        the last node left them.
        """
        return self._made[0]

    @cached_property
    def _made(self) -> tuple[Any, tuple[str, ...]]:
        """The table, and the columns of it that say nothing: that all rows of one of several nodes are ok."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        if self._alone and self._outputs:
            return [*self.values()][-1].table, ()
        view = tables.view(self._base)
        own = [name for name in view.columns if name not in self._renamed]
        columns: dict[str, Any] = {}
        types: dict[str, Any] = {}
        idle: list[str] = []
        for name, output in self.items():
            made, kinds = output._beside(name, (*own, *columns))
            ends = output._ended_beside(name, (*own, *columns, *made))
            columns |= made | ends
            types |= kinds | dict.fromkeys(ends, "text")
            if output.summary.ok == output.summary.rows:
                idle += ends or ([*made][-len(BESIDE) :] if isinstance(output, Responses) and len(self) > 1 else ())
        return view.replacing(columns, types, self._renamed), tuple(idle)

    def _reported(self) -> Mapping[str, NodeOutput[Any]]:
        return self

    def _brief(self) -> Any:
        """Return the table as a person looks at it: without the columns that say nothing."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        table, idle = self._made
        view = tables.view(table)
        return view.select([name for name in view.columns if name not in idle]) if idle else table

    @property
    def _log(self) -> Any:
        """One row for each row of each node: which row, and what became of it; of several nodes, which one."""
        from .. import tables  # noqa: PLC0415 - loads pandas

        first = display.FIRST_ROW.get()
        if self._alone and self._outputs:
            log = tables.view([*self.values()][-1].log)
            cells = zip(*log.rows(log.columns), strict=True) if len(log) else ([] for _ in log.columns)
            own = dict(zip(log.columns, map(list, cells), strict=True))
            kinds = {"row": "integer", **LOG_TYPES, **FURTHER_TYPES}
            rows = range(first, first + len(log))
            return tables.frame({"row": [*rows], **own}, {name: kinds[name] for name in ("row", *own)})
        logs = {name: tables.view(output.log) for name, output in self.items()}
        further = [each for each in FURTHER_TYPES if any(each in log.columns for log in logs.values())]
        types = {**LOG_TYPES, **{each: FURTHER_TYPES[each] for each in further}}
        columns: dict[str, list[Any]] = {name: [] for name in ("node", "row", *types)}
        for name, log in logs.items():
            count = len(log)
            columns["node"] += [name] * count
            columns["row"] += range(first, first + count)
            for each in types:
                known = each in log.columns
                columns[each] += (cell for (cell,) in log.rows((each,))) if known else [None] * count
        return tables.frame(columns, {"node": "text", "row": "integer", **types})

    @property
    def _is_answered(self) -> bool:
        """Whether a row has an answer, or there is no row."""
        outputs = [output for output in self.values() if output._beside("answer", ())[0]] or [*self.values()]
        return any(output.summary.ok or output.summary.submitted or not output.summary.rows for output in outputs)

    def __getitem__(self, name: str) -> NodeOutput[Any]:
        return self._outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("table", "_made")}

    def __repr__(self) -> str:
        lines = [f"{name}: {output.summary}" for name, output in self.items()]
        return "\n".join(["WorkflowOutput:", *lines, display.head(self._brief())])

    def _repr_html_(self) -> str:
        from ..notebook.markup import html  # noqa: PLC0415 - loaded where it is used
        from ..run.panels import outputs_panel  # noqa: PLC0415

        return html(outputs_panel(self, type(self).__name__))
