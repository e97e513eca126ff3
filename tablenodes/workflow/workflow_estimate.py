"""Estimate a workflow: what each node would send, use and cost, what earlier answers add to later prompts among it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from ..answers import Spread, prompt_guesses, prompt_of
from ..bodies.recipe import CONVERSATION
from ..errors import TableError
from ..problems import Rejected
from ..run.estimate import Estimate, estimated
from ..run.rows import Context, prepared
from ..store.commits import EMPTY
from ..templates.environment import as_text
from .references import reading_of, upstream
from .workflow_check import AnsweredView, connections_of, left_out, made_by, opened, plans, values_of

if TYPE_CHECKING:
    from ..bodies.settings_plan import RowPlan
    from ..connection.connection import GivenConnection
    from ..nodes import Node
    from ..run.options import RunOptions
    from ..tables import TableView
    from .definition import Definition

_NONE = Spread(0, 0, 0)
_COUNTS = ("rows", "invalid", "duplicates", "reused", "to_send", "skipped")
_MEASURED = 10_000  # rows by which the texts of a node that sends nothing are measured


class WorkflowEstimate(dict[str, Estimate]):
    """What a run of a workflow would send, use, cost and take: an `Estimate` for each node that sends, by its id."""

    @property
    def total(self) -> Estimate:
        """All nodes together, which run one after another; the cost is None where that of a node is not known."""
        each = [*self.values()]
        rows, invalid, repeated, reused, to_send, skipped = (sum(getattr(one, n) for one in each) for n in _COUNTS)
        costs = [one.cost for one in each]
        known = None if None in costs else _sum(*(cost for cost in costs if cost is not None))
        into, out = _sum(*(one.input_tokens for one in each)), _sum(*(one.output_tokens for one in each))
        seconds, said = _sum(*(one.seconds for one in each)), ("one node runs after the other",)
        counts = rows, invalid, repeated, reused, to_send
        return Estimate(*counts, into, out, known, seconds, said, skipped=skipped)

    def __repr__(self) -> str:
        lines = [f"{name}: {each!r}" for name, each in self.items()]
        return "\n".join([*lines, *([f"in all: {self.total!r}"] if len(self) > 1 else [])]) or "no node sends anything"

    def _repr_html_(self) -> str:
        from ..notebook.markup import Panel, html  # noqa: PLC0415 - loaded where somebody looks
        from ..run.panels import estimate_panel  # noqa: PLC0415

        named = {**self, **({"in all": self.total} if len(self) > 1 else {})}
        return html(Panel("Estimate", parts=[estimate_panel(each, name) for name, each in named.items()]))


def estimate(
    workflow: Definition,
    table: Any,
    inputs: Mapping[str, Any] | None,
    connection: GivenConnection | None,
    options: RunOptions,
) -> WorkflowEstimate:
    """Estimate a workflow; see `Workflow.estimate`."""
    connections, values = connections_of(workflow, connection), values_of(workflow, inputs)
    view = opened(workflow, table, read=False)
    if view.one_shot:
        raise TableError("the table is a stream, which can be read only once: read it into a table first")
    made, unknown = plans(workflow, view, values, connections, options.store), frozenset[str]()
    found, growth = WorkflowEstimate(), _Growth()
    for position, (name, node) in enumerate(workflow._steps):
        earlier, plan = workflow._steps[:position], made[name]
        ids = upstream(node, [each for each, _ in earlier])
        before = growth.before(node, ids or (), plan, unknown)
        left = left_out(workflow, name, view, values, unknown)
        if plan.schema is None:
            growth.add(node, name, node._retrieves(earlier), before, _Texts(plan, view, ids or (), unknown, left))
        else:
            reads = ids is not None or not unknown.isdisjoint(plan.columns)
            answered = AnsweredView(view, ids or (), unknown, left) if reads or left else view
            condition = workflow._whens.get(name)
            decided = condition and reading_of([condition.template], [each for each, _ in earlier])
            found[name] = estimated(
                prepared(plan, cast("TableView", answered), Context()),
                connections[name],
                options.limits,
                node._declared.path,
                journal=None if node._declared.later else options.journal,
                scope=name,
                earlier=before if reads else None,
                may_skip=bool(decided),
                method=node._declared.method,
                writes=node._declared.writes,
                pack=node._pack,
            )
            sent = found[name].to_send
            growth.answers[name] = Spread(*(each / sent for each in found[name].output_tokens)) if sent else _NONE
        unknown |= made_by(node, view)
    return found


class _Growth:
    """How many tokens the answers to a row have, and its conversation, as far as nodes have come."""

    def __init__(self) -> None:
        self.answers: dict[str, Spread] = {}
        self._said = _NONE

    def before(self, node: Node, ids: Any, plan: RowPlan, unknown: frozenset[str]) -> Spread:
        """Return what earlier nodes add to each prompt of a node, or to each text."""
        said = CONVERSATION in plan.columns and CONVERSATION in unknown and plan.schema is not None
        return _sum(*(self.answers.get(each, _NONE) for each in ids), *([self._said] if said else []))

    def add(self, node: Node, name: str, retrieved: str | None, before: Spread, texts: _Texts) -> None:
        """Add what a node that sends nothing makes: texts, a longer conversation, the answers that it retrieves."""
        if retrieved is not None:
            self.answers[name] = self.answers.get(retrieved, _NONE)
        elif CONVERSATION in node._declared.makes:
            begun = self._said if CONVERSATION in texts.plan.columns else _NONE
            replies = (self.answers.get(each, _NONE) for each in node._follows().values())
            self._said = _sum(begun, before, texts.tokens(), *replies)
        else:
            self.answers[name] = _sum(before, texts.tokens())


class _Texts:
    """The texts that a node which sends nothing makes of a table's rows."""

    def __init__(
        self, plan: RowPlan, view: TableView, ids: Any, unknown: frozenset[str], left: Mapping[int, Rejected]
    ) -> None:
        self.plan = plan
        self._view = AnsweredView(view, ids, unknown, left, {CONVERSATION: EMPTY})

    def tokens(self) -> Spread:
        """Return the tokens of a row's texts, on average."""
        rows = prepared(self.plan, cast("TableView", self._view), Context())
        prompts = [prompt_of({"messages": [*_messages(made)]}) for made in islice(rows, _MEASURED)]
        return Spread(*map(float, prompt_guesses(prompts).mean(axis=0))) if prompts else _NONE


def _messages(made: Any) -> Iterator[Any]:
    """Yield what a row became as messages: those of a conversation, or its texts as one each."""
    if isinstance(made, tuple):
        yield from made.messages  # type: ignore[attr-defined]
    elif isinstance(made, dict):
        values = (item for each in made.values() for item in (each.values() if isinstance(each, dict) else (each,)))
        yield from ({"content": as_text(each)} for each in values if each is not None)


def _sum(*spreads: Spread) -> Spread:
    return Spread(*map(sum, zip(_NONE, *spreads, strict=True)))
