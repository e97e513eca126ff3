"""Two outputs of the same rows side by side: how often their answers agree, and where they do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from ..column_names import free_names
from ..engine.sink import OK
from ..errors import UsageError
from ..problems import Unfit
from .display import counted, money

if TYPE_CHECKING:
    from ..tables import TableView

T = TypeVar("T")
_OF_A_COMBINATION = frozenset({"prompt", "prompt_name", "model"})
"""Columns that differ where the same rows are asked in two ways."""
_SAME_ROWS = "compare outputs of the same rows, in the same order"


class Side(NamedTuple):
    """One of two outputs: its rows, their outcomes, its answers' columns by their fields, and what they cost."""

    view: TableView
    outcomes: Sequence[str]
    answers: Mapping[str, tuple[str, Sequence[Any], Any]]  # by field: the column's name, values and type
    cost: float | None


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Generic[T]):
    """Two outputs of the same rows, side by side.

    Attributes
    ----------
    rows : int
        Rows of the table.
    answered : int
        Rows that both outputs have an answer to: `agreement` is about these.
    agreement : Series or dict
        For each column of the answers, the share of rows in which both say the same, 0 to 1; None where `answered` is
        0. A Series where the table is a pandas one.
    changed : table
        The rows in which they differ, also where only one has an answer: the configuration's columns, then of each
        column of the answers both values side by side, ``stars`` and ``stars_other``.
    cost : dict of str to float or None
        What the answers cost (USD), ``this`` and ``other``; None where no price is known.
    """

    rows: int
    answered: int
    agreement: Any
    changed: T
    cost: Mapping[str, float | None]

    def _about(self) -> str:
        differing = len(cast("Any", self.changed))
        differ = "differs" if differing == 1 else "differ"
        return f"{counted(self.rows, 'row')}, {self.answered:,} answered by both, {differing:,} {differ}"

    def _facts(self) -> Iterator[tuple[str, str]]:
        """Yield how often both agree in each column, and what each cost where that is known."""
        for name, share in self.agreement.items():
            yield name, f"{share:.1%} agree" if self.answered else "-"
        if any(cost is not None for cost in self.cost.values()):
            costs = ((name, "unknown" if cost is None else money(cost)) for name, cost in self.cost.items())
            yield "cost", ", ".join(f"{name} {cost}" for name, cost in costs)

    def __repr__(self) -> str:
        facts = [*self._facts()]
        width = max(len(name) for name, _ in facts)
        return "\n".join([f"Comparison: {self._about()}", *(f"  {name:<{width}}  {each}" for name, each in facts)])

    def _repr_html_(self) -> str:
        from ..notebook.markup import html  # noqa: PLC0415 - loaded where it is used
        from .panels import comparison_panel  # noqa: PLC0415

        return html(comparison_panel(self.changed, 2 * len(self.agreement), self._about(), [*self._facts()]))


def compared(this: Side, other: Side) -> Comparison[Any]:
    """Return two outputs side by side; raise `UsageError` where they are not of the same rows."""
    _check_same_rows(this.view, other.view)
    fields = [name for name in this.answers if name in other.answers]
    if not fields:
        mine, theirs = (", ".join(side.answers) for side in (this, other))
        raise UsageError(f"the answers have no field in common: this output has {mine}, the other {theirs}")
    both = [at for at, pair in enumerate(zip(this.outcomes, other.outcomes, strict=True)) if pair == (OK, OK)]
    equal = {
        name: [a == b for a, b in zip(this.answers[name][1], other.answers[name][1], strict=True)] for name in fields
    }
    shares = {this.answers[name][0]: _share(equal[name], both) for name in fields}
    differing = [at for at, same in enumerate(zip(*equal.values(), strict=True)) if not all(same)]
    changed = _side_by_side(this, other, fields, differing)
    agreement = this.view.labelled("agreement", shares)
    return Comparison(len(this.view), len(both), agreement, changed, {"this": this.cost, "other": other.cost})


def _share(equal: Sequence[bool], rows: Sequence[int]) -> float | None:
    return sum(equal[at] for at in rows) / len(rows) if rows else None


def _side_by_side(this: Side, other: Side, fields: Sequence[str], rows: Sequence[int]) -> Any:
    """Return the rows' configuration, with the values of both for each field."""
    from ..tables import view  # noqa: PLC0415 - pandas is loaded where there is a table

    wanted = [f"{this.answers[name][0]}{end}" for name in fields for end in ("", "_other")]
    names = iter(free_names(wanted, this.view.columns).values())
    columns, types = {}, {}
    for field in fields:
        for _, values, of in (this.answers[field], other.answers[field]):
            name = next(names)
            columns[name], types[name] = [values[row] for row in rows], of
    return view(this.view.take(rows)).replacing(columns, types)


def _check_same_rows(this: TableView, other: TableView) -> None:
    if len(this) != len(other):
        raise UsageError(f"this output has {counted(len(this), 'row')}, the other {len(other):,}: {_SAME_ROWS}")
    if this.given is other.given:
        return
    if this.index is not None and other.index is not None and not this.index.equals(other.index):
        raise UsageError(f"the two outputs have different indexes: {_SAME_ROWS}")
    shared = [name for name in this.columns if name in other.columns and name not in _OF_A_COMBINATION]
    for row, (mine, theirs) in enumerate(zip(this.rows(shared), other.rows(shared), strict=True)):
        if mine != theirs:
            for name, a, b in zip(shared, mine, theirs, strict=True):
                if a != b and not isinstance(a, Unfit):
                    raise UsageError(f"row {row} differs in the column {name!r}: {_SAME_ROWS}")
