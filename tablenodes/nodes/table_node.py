"""The nodes that send nothing: they make columns of their own from a table's rows. The simplest is Return."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..bodies.settings_plan import SettingsPlan
from ..bodies.values import TOO_LARGE, is_varying
from ..engine.sink import SKIPPED
from ..errors import SettingError
from ..problems import Rejected
from ..run.rows import Apart, Context
from ..templates.environment import as_text
from .node import Declaration, Node
from .reference import documented

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from ..connection.connection import Connection
    from ..run.options import OnInvalid, RunOptions
    from ..run.output import AnyOutput, NodeOutput, T
    from ..run.rows import PlanInputs
    from ..run.table_run import Making
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

    def _instead(self, before: Any) -> Any:
        """Return what stands in a column that the node makes, in a row that was rejected: the cell there, or None."""
        return None

    def _row_by_row(self, scope: str) -> Making:
        from ..run.table_run import Making  # noqa: PLC0415 - pandas is loaded where it is needed

        declared, makes, name = self._declared, self._makes(), scope or type(self).__name__
        fields = makes != declared.makes
        return Making(name, makes, declared.handed_on, self._plan, self._make, self._instead, fields)

    def _plan(self, columns: Sequence[str], inputs: PlanInputs) -> SettingsPlan:
        declared = self._declared
        return SettingsPlan(
            self._parsed(),
            columns,
            defaults=self._defaults(columns),
            constants=inputs.constants,
            becomes=self._becomes,
            structured=declared.structured,
        )

    def _defaults(self, columns: Sequence[str]) -> Mapping[str, str]:
        """Return the columns that give the settings that are not set."""
        return self._declared.defaults

    def _makes(self) -> Mapping[str, str]:
        """Return the columns that it makes, and their types; where its settings name them, they are fields."""
        return self._declared.makes

    def _becomes(self, settings: dict[str, Any]) -> Any:
        """Return what a row becomes; a row that says nothing usable is rejected by a check as by a run."""
        return settings

    def _carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> AnyOutput:
        from ..run.provenance import Asked, Provenance  # noqa: PLC0415 - loaded where it is needed
        from ..run.table_run import run_table  # noqa: PLC0415 - pandas is loaded where it is needed

        making = self._row_by_row(context.scope)
        output = run_table(making, table, context, options)
        asked = Asked(making.name, type(self).__name__, self._shown())
        output._provenance = Provenance.of(asked, seconds=output.summary.seconds)
        return output

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
    """Render a text for every row, or several.

    The text is the column ``text`` of the output's table; fields are columns of their own names. In a workflow, later
    nodes read them as ``{{ ID }}`` and ``{{ ID.NAME }}``, the workflow's table has them as ``ID`` and ``ID_NAME``, and
    a row whose earlier answer is missing is ``upstream_failed``.

    Parameters
    ----------
    text : str
        A text with ``{{ … }}`` placeholders, or ``tn.col("name")``; in a workflow also ``{{ ID }}``.
    fields : mapping of str to str, optional
        In place of `text`: names, and for each a text of its own. Where one cannot be made in a row, it is null there,
        the row's ``message`` names it, and the others are as they are.
    """

    _declared = Declaration(gives="a text", makes={"text": "text"})

    text: str | Column | LiteralText | None = None
    fields: Mapping[str, str | Column | LiteralText] | None = None

    def __post_init__(self) -> None:
        if self.fields is not None:
            _check_fields(self.fields, self.text)
            # The columns are its own: later nodes read them below its id, and take none for a setting of theirs.
            object.__setattr__(self, "_declared", replace(self._declared, makes={}))
        elif self.text is None:
            raise SettingError("text is missing: set the text that each row makes, or fields for several columns")
        super().__post_init__()

    def _pieces(self) -> Mapping[str, Any]:
        if self.fields is None:
            return {}
        parsed = self._parsed()["fields"]
        return dict(parsed.items if is_varying(parsed) else parsed)

    def _plan(self, columns: Sequence[str], inputs: PlanInputs) -> SettingsPlan:
        if self.fields is None:
            return super()._plan(columns, inputs)
        return _PiecewisePlan(self._pieces(), self._parsed(), columns, constants=inputs.constants)

    def _makes(self) -> Mapping[str, str]:
        return self._declared.makes if self.fields is None else dict.fromkeys(self.fields, "text")

    def _answer_columns(self, name: str) -> Mapping[str, Any]:
        return {name: "text"} if self.fields is None else {f"{name}_{each}": "text" for each in self.fields}

    def _answer_shape(self, earlier: Nodes, columns: Sequence[str] | None) -> Shape | None:
        from .answer_shapes import Shape  # noqa: PLC0415 - loaded where it is needed

        made = {"type": "object", "properties": {name: {"type": ["string", "null"]} for name in self._makes()}}
        return Shape(made, answer={"type": "string"} if self.fields is None else made)

    def _make(
        self, rows: Iterable[dict[str, Any] | Rejected], context: Context, options: RunOptions
    ) -> Iterator[tuple[Any, ...] | Rejected]:
        names = tuple(self._makes())
        for row in rows:
            if not isinstance(row, Rejected):
                yield _cells(row if self.fields is None else row["fields"], names)
            elif row.made is None:
                yield row
            else:
                told: dict[str, list[str]] = {}
                for problem in row.problems:
                    told.setdefault(problem.message, []).append(problem.path.removeprefix("$."))
                message = "; ".join(f"{', '.join(places)}: {why}" for why, places in told.items())
                first = row.problem._replace(message=message)
                yield Rejected(first, outcome=row.outcome, made=_cells(row.made, names))


def _cells(made: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    cells = (made.get(name) for name in names)
    return tuple(None if cell is None else as_text(cell) for cell in cells)


class _PiecewisePlan(SettingsPlan):
    """The fields of every row; where one cannot be made, each of the others is all the same."""

    def __init__(self, pieces: Mapping[str, Any], settings: Mapping[str, Any], *given: Any, **named: Any) -> None:
        super().__init__(settings, *given, **named)
        plans = {name: SettingsPlan({name: value}, *given, **named) for name, value in pieces.items()}
        self._pieces = [(name, plan, [*map(self.columns.index, plan.columns)]) for name, plan in plans.items()]

    def column_of(self, path: str) -> str | None:
        """Return the columns that a field was made of."""
        found = (plan for name, plan, _ in self._pieces if path == f"$.fields.{name}")
        return next((plan.column_of(f"$.{name}") for plan in found for name in plan.sources), super().column_of(path))

    def encode(self, cells: tuple[Any, ...]) -> Any:
        """Return what a row's fields become; what is raised has those that could be made."""
        if not any(type(cell) is Apart for cell in cells):
            try:
                return super().encode(cells)
            except Rejected as rejected:
                if rejected.outcome == TOO_LARGE:
                    raise
        made: dict[str, Any] = {}
        lost: dict[str, Rejected] = {}
        for name, plan, places in self._pieces:
            try:
                made |= plan.encode(tuple(_own(cells[at], name) for at in places))
            except Rejected as why:
                lost[name] = why
        if not lost:
            return {"fields": made}
        problems = [why.problem._replace(path=f"$.fields.{name}") for name, why in lost.items()]
        outcome = max((why.outcome for why in lost.values()), key=lambda each: each != SKIPPED)
        raise Rejected(*problems, outcome=outcome, made=made)


def _own(cell: Any, name: str) -> Any:
    """Return what a cell is for a field: what earlier nodes answered, as far as that field reads it."""
    found = cell[name] if type(cell) is Apart else cell
    if isinstance(found, Rejected):
        raise found
    return found


def _check_fields(fields: Any, text: Any) -> None:
    """Raise `SettingError` for fields that cannot be columns."""
    if text is not None:
        raise SettingError("a row makes either a text or fields: set text or fields, not both", place="fields")
    if not isinstance(fields, Mapping) or not fields:
        what = "is empty" if isinstance(fields, Mapping) else f"must be a mapping, not {type(fields).__name__}"
        raise SettingError(
            f'fields {what}: write names and texts, such as {{"topic": "{{{{ ask.topic }}}}"}}', place="fields"
        )
    for name, value in fields.items():
        if not isinstance(name, str) or not name.isidentifier():
            how = "a field's name must be made of letters, digits and underscores"
            raise SettingError(f"fields: {how}", place="fields")
        if isinstance(value, Mapping | list | tuple) or value is None:
            raise SettingError(f"fields.{name}: must be a text, not {type(value).__name__}", place=f"fields.{name}")
