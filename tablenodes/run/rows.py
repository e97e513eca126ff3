"""A table's rows on their way into a node: what is made of each, or why nothing can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from ..answers import TEXTS, Embeddings, RowAnswers
from ..column_names import INPUTS, OUTPUTS
from ..engine.calls import model_of
from ..engine.outcomes.judge import REPEATABLE, judge, judge_as_it_came
from ..engine.sink import SKIPPED
from ..errors import SettingError
from ..problems import Problem, Rejected
from ..store.commits import EMPTY, links
from ..templates.bounds import MOST

if TYPE_CHECKING:
    import os

    from ..bodies.body_plan import BodyPlan
    from ..bodies.settings_plan import RowPlan
    from ..connection.connection import Connection
    from ..engine.outcomes.judge import Verdict
    from ..tables import TableView
    from .options import RunOptions
    from .output import NodeOutput

    Upstream = Callable[[int], Mapping[str, Any] | Rejected]


class When(NamedTuple):
    """What decides whether a row is asked: a plan that makes True or False of it, and the answers that this reads."""

    plan: Callable[[Sequence[str], Mapping[str, Any]], RowPlan]
    upstream: Upstream | None = None
    name: str = "when"


@dataclass(frozen=True)
class Context:
    """What a workflow adds to a run."""

    inputs: Mapping[str, Any] | None = None  # what ``{{ inputs }}`` stands for
    upstream: Upstream | None = None  # what ``{{ outputs }}`` stands for in a row, or why the row cannot be sent
    scope: str = ""  # the node's id
    outputs: Mapping[str, NodeOutput[Any]] = field(default_factory=dict)  # of earlier nodes, by their ids
    new_journal: bool = False  # all that is in the journal was put there by earlier nodes of the same run
    appended: frozenset[str] = frozenset()  # the columns of answers that become messages
    folder: str | None = None  # of the table's file
    replaced: frozenset[bytes] = frozenset()  # ids of futures that would be lost with the file that the output replaces
    output: str | None = None  # the output's file
    made: frozenset[str] = frozenset()  # the columns of the table that earlier nodes made, and not the user
    prefix: str = ""  # what the columns of the node's answers are called after in the workflow's table, unless by into=
    when: When | None = None  # which rows are asked; all where it is None

    @property
    def constants(self) -> dict[str, Any]:
        """What is there for placeholders, by name; `OUTPUTS` differs by row."""
        found: dict[str, Any] = {} if self.inputs is None else {INPUTS: dict(self.inputs)}
        if self.upstream is not None:
            found[OUTPUTS] = None
        return found


class Apart(dict[str, Any]):
    """What ``outputs`` is for each part of a row that is made by itself, or why that part cannot be made."""


class PlanInputs(NamedTuple):
    """What a plan of rows is made from, besides a node's settings and the table's columns."""

    constants: Mapping[str, Any] | None = None  # what ``inputs`` and ``outputs`` stand for in placeholders
    connection: Connection | None = None  # whose server may supply properties
    store: str | os.PathLike[str] | None = None  # where conversations are looked up
    body_bytes: int = MOST  # of a request at the most
    prefix: str = ""  # as in `Context`
    folder: str | None = None  # of the table's file, below which images are read; None of a table in memory


@dataclass(frozen=True)
class Asking:
    """What a node asks of every row, as far as a run knows it."""

    name: str  # the node's id in a workflow, else its class
    path: str  # below the base URL
    plan: Callable[[Sequence[str], PlanInputs], BodyPlan]
    choices: bool = True  # an answer without choices is no success
    seconds: float | None = None  # what one attempt may take, where the node has its own
    answers: RowAnswers = TEXTS
    kind: str = ""  # the node's class
    settings: Mapping[str, Any] = field(default_factory=dict)  # the node's own, as they were given
    method: str = "POST"
    as_it_came: bool = False  # an answer is judged by its status alone
    pack: int | None = None  # how many rows go in one request, at the most

    @property
    def judge(self) -> Callable[..., Verdict]:
        """What returns what an answer means."""
        if not self.as_it_came:
            return judge
        return partial(judge_as_it_came, may_repeat=self.may_repeat, has_own_path="{" in self.path)

    def checked(self, options: RunOptions) -> RunOptions:
        """Return the options; raise `SettingError` where somebody wants the texts of answers that have none."""
        if options.on_text is not None and (self.as_it_came or isinstance(self.answers, Embeddings)):
            what = "an operation's answer is kept as it came, and has no text of its own"
            what = what if self.as_it_came else "the answers of this node are vectors, and have no text"
            raise SettingError(f"on_text: {what}", place="on_text")
        return options

    @property
    def may_repeat(self) -> bool:
        """Whether a request may be sent again though it may have been executed."""
        return self.method in REPEATABLE


def prepared(plan: RowPlan, view: TableView, context: Context) -> Iterator[Any]:
    """Yield what each row becomes, or why nothing can be made of it; made as they are asked for."""
    return encoded(plan, _cells(plan, view, context))


def encoded(plan: RowPlan, rows: Iterable[Any]) -> Iterator[Any]:
    """Yield what the cells of each row become, or why nothing can be made of it; of some rows that is known."""
    encode = plan.encode
    for cells in plan.ahead(rows):
        if type(cells) is Rejected:
            yield cells
            continue
        try:
            yield encode(cells)
        except Rejected as rejected:
            kept = rejected.problems if rejected.made is not None else rejected.problems[:1]
            yield Rejected(*kept, outcome=rejected.outcome, made=rejected.made)
        except Exception as error:  # noqa: BLE001 - one bad row never stops the run
            what = f"the row could not be turned into a request ({type(error).__name__})"
            yield Rejected(Problem("$", "internal", what), outcome="internal_error")


def _cells(plan: RowPlan, view: TableView, context: Context) -> Iterator[Any]:
    made = _all_cells(plan, view, context)
    if context.when is None:
        return made
    kept = decided(context.when, view, context)
    return (cells if why is None else why for cells, why in zip(made, kept, strict=True))


def decided(when: When, view: TableView, context: Context) -> Iterator[Rejected | None]:
    """Return None for each row that is asked, else why it is not: what decides is not true, or has no value."""
    deciding = replace(context, upstream=when.upstream, when=None)
    found = prepared(when.plan(view.columns, deciding.constants), view, deciding)
    return (decision(each, when) for each in found)


def decision(found: Any, when: When) -> Rejected | None:
    """Return None for a row that is asked, else why it is not; `found` is what decides."""
    if found is True:
        return None
    if isinstance(found, Rejected):
        return Rejected(*(_of_when(problem, when) for problem in found.problems), outcome=found.outcome)
    return Rejected(Problem("$", "when", f"{when.name} is false in this row"), outcome=SKIPPED)


def _of_when(problem: Problem, when: When) -> Problem:
    """Return why it cannot be decided whether a row is asked, with the name of what decides."""
    is_own = problem.path == "$.when"  # and not an earlier node's
    return problem._replace(path="$", message=f"{when.name}: {problem.message}") if is_own else problem


def _all_cells(plan: RowPlan, view: TableView, context: Context) -> Iterator[Any]:
    upstream = context.upstream
    if OUTPUTS not in plan.columns or upstream is None:
        return view.rows(plan.columns)
    at, others = plan.columns.index(OUTPUTS), view.rows([name for name in plan.columns if name != OUTPUTS])
    found = zip(others, map(upstream, count()), strict=False)
    return (each if isinstance(each, Rejected) else (*cells[:at], each, *cells[at:]) for cells, each in found)


def of_rows(context: Context, rows: Sequence[int]) -> Context:
    """Return the context of a table that is made of these rows of another."""
    upstream, when = context.upstream, context.when
    here = None if upstream is None else lambda row: upstream(rows[row])
    if when is not None and (deciding := when.upstream) is not None:
        when = when._replace(upstream=lambda row: deciding(rows[row]))
    return replace(context, upstream=here, when=when, new_journal=False)


class Requested(NamedTuple):
    """What the bodies of a run's rows are made of."""

    asking: Asking
    plan: BodyPlan
    view: TableView
    context: Context

    def bodies(self, rows: Sequence[int]) -> list[bytes | None]:
        """Return the bodies of these rows' requests, without their images; None for one that cannot be made."""
        context = replace(of_rows(self.context, rows), when=None)
        from .. import tables  # noqa: PLC0415 - lists of nodes load no pandas

        made = prepared(self.plan.without_images(), tables.view(self.view.take(rows)), context)
        return [None if isinstance(body, Rejected) else body for body in made]


def conversations_asked(plan: BodyPlan, view: TableView, context: Context) -> Iterator[str | None]:
    """Return the id of the conversation that each row of a table is asked with; None where there is none."""
    column = plan.conversation_column
    if column is not None:
        return (cell for (cell,) in view.rows((column,)))
    bodies = prepared(plan.without_images(), view, context)
    return (None if isinstance(body, Rejected) else conversation_of(body) for body in bodies)


def models_asked(plan: BodyPlan, view: TableView, context: Context) -> list[str | None]:
    """Return the model that each row of a table asks for; None where there is none."""
    if (model := plan.constant("model")) is not None:
        return [model] * len(view)
    bodies = prepared(plan.without_images(), view, context)
    return [None if isinstance(body, Rejected) else model_of(bytes(body)) for body in bodies]


def conversation_of(body: bytes) -> str | None:
    """Return the id of the conversation that a body's messages are, however they were given; None if it has none."""
    messages = orjson.loads(bytes(body)).get("messages")
    return links(EMPTY, messages)[-1].id if messages and isinstance(messages, list) else None
