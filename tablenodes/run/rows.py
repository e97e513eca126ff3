"""A table's rows on their way into a node: what is made of each, or why nothing can be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..problems import Problem, Rejected
from ..templates.template import INPUTS, OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..bodies.settings_plan import RowPlan
    from ..tables import TableView
    from .output import NodeOutput

    Upstream = Callable[[int], Mapping[str, Any] | Rejected]


@dataclass(frozen=True)
class Context:
    """What a workflow adds to a run.

    Attributes
    ----------
    inputs : mapping, optional
        What ``{{ inputs }}`` stands for.
    upstream : callable, optional
        From a row's position to what ``{{ outputs }}`` stands for there, or to why the row cannot be sent.
    scope : str
        The node's id in the workflow; empty outside of one.
    outputs : mapping of str to NodeOutput
        What earlier nodes gave, by their ids.
    new_journal : bool
        Whether all that is in the journal was put there by earlier nodes of the same run.
    made : frozenset of str
        The columns of the table that earlier nodes made, and not the user.
    """

    inputs: Mapping[str, Any] | None = None
    upstream: Upstream | None = None
    scope: str = ""
    outputs: Mapping[str, NodeOutput] = field(default_factory=dict)
    new_journal: bool = False
    made: frozenset[str] = frozenset()

    @property
    def constants(self) -> dict[str, Any]:
        """What is there for placeholders, by name; `OUTPUTS` differs by row."""
        found: dict[str, Any] = {} if self.inputs is None else {INPUTS: dict(self.inputs)}
        if self.upstream is not None:
            found[OUTPUTS] = None
        return found


def prepared(plan: RowPlan, view: TableView, context: Context) -> Iterator[Any]:
    """Give what each row becomes, or its `Rejected`; made as they are asked for.

    Parameters
    ----------
    plan : RowPlan
        How.
    view : TableView
        The table.
    context : Context
        Where the answers of earlier nodes come from.
    """
    encode = plan.encode
    for cells in plan.ahead(_cells(plan, view, context)):
        if type(cells) is Rejected:
            yield cells
            continue
        try:
            yield encode(cells)
        except Rejected as rejected:
            yield Rejected(rejected.problems[0], outcome=rejected.outcome)
        except Exception as error:  # noqa: BLE001 - one bad row never stops the run
            what = f"the row could not be made into a request ({type(error).__name__})"
            yield Rejected(Problem("$", "internal", what), outcome="internal_error")


def _cells(plan: RowPlan, view: TableView, context: Context) -> Iterator[Any]:
    if OUTPUTS not in plan.columns or context.upstream is None:
        yield from view.rows(plan.columns)
        return
    at = plan.columns.index(OUTPUTS)
    upstream = context.upstream
    for row, cells in enumerate(view.rows([name for name in plan.columns if name != OUTPUTS])):
        found = upstream(row)
        yield found if isinstance(found, Rejected) else (*cells[:at], found, *cells[at:])
