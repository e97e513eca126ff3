"""A node of a workflow whose rows come one after the other: what it makes of them, and what they came to."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..answers import TEXTS, said_of
from ..bodies.recipe import CONVERSATION
from ..engine.calls import model_of
from ..engine.sink import OK, End, SharedEnd
from ..problems import Rejected
from ..run.rows import conversation_of, decision, encoded
from ..run.summary import Summary
from .passage import AnsweredSoFar, CellReader, Passage
from .stream_gate import Refusals

if TYPE_CHECKING:
    from ..answers import RowAnswers
    from ..answers.row_answers import Usable
    from ..bodies.settings_plan import RowPlan
    from ..engine.calls import Answer
    from ..engine.outcomes.judge import Verdict
    from ..nodes import Node
    from ..run.account import Account
    from ..run.options import RunOptions
    from ..run.rows import Asking, Context, When
    from ..run.server_watch import ServerWatch
    from ..run.table_run import Making
    from ..run.wiring import Judge
    from .step_twins import StepTwins
    from .stream_lines import Line
    from .stream_submission import StreamSubmission


TOGETHER = 256  # rows that are worked on together where the store is read or written


class Deciding(NamedTuple):
    """What decides whether a row comes to a node: a plan, what this reads, and the condition."""

    plan: RowPlan
    reader: CellReader
    when: When


class StreamStep:
    """A node on the way of every row.

    `call` makes the call of a body by its key, of a node that sends. Rows wait in `waiting` until it is their turn;
    where it `gathers` some, so many are worked on together: what they need of the store is read or written at once, or
    they go in one request.
    """

    call: Callable[[bytes, int], Any]
    answers: RowAnswers = TEXTS
    shows_body = False  # or nobody looks at a body once the row has come to its end and its answer was read
    line: Line  # where its requests go; any, of a node that sends nothing

    def __init__(
        self,
        position: int,
        name: str,
        node: Node,
        plan: RowPlan,
        reader: CellReader,
        deciding: Deciding | None,
        context: Context,
        options: RunOptions,
        account: Account,
    ) -> None:
        self.position, self.name, self.node, self.plan, self.context = position, name, node, plan, context
        self._reader, self._deciding, self._options = reader, deciding, options
        self.asking: Asking | None = None
        self.making: Making | None = None
        self.submission: StreamSubmission | None = None  # to which its rows are added, where a worker sends them
        self.account = account
        self.reads_source = reader.is_of_source  # alone, and nothing that an earlier node made
        self.models_differ = False  # what a row asks for must be kept: it is paid by that
        self.follows: StreamStep | None = None  # whose answers it adds to conversations
        reads_store = CONVERSATION in node._declared.makes or CONVERSATION in plan.columns or node._declared.later
        self.gathers = TOGETHER if reads_store else 0
        self.packs = False  # whether these go in one request
        self.is_packed = False  # whether the rows that end were in one request
        self.waiting: deque[Passage] = deque()
        self.counts: Counter[str] = Counter()
        self.requests = self.first_try = 0
        self.retries: Counter[str] = Counter()
        self.refusals = Refusals()
        self.usable: Usable | None = None
        self.servers: ServerWatch | None = None  # where it is to be known which of several has answered a row
        self.twins: StepTwins | None = None  # where equal rows are sent once
        self.skipped: str | None = None  # why the first row was skipped
        self._failed: dict[int, list[str]] = {}  # by the keys of calls: what their attempts failed of
        self._document: Any = None  # of the answer that was judged last, and its body
        self._body: bytes | None = None

    def made(self, passages: Sequence[Passage]) -> Iterator[Any]:
        """Yield what the node makes of each row: a body, or cells, or a `Rejected`."""
        found = encoded(self.plan, self._rows(passages))
        if self.making is None:
            return found
        context = self.context
        if self.follows is not None:
            replies: Any = RepliesTo(self.follows, passages)
            context = replace(context, outputs={self.follows.name: replies})
        return self.making.make(found, context, self._options)

    def _rows(self, passages: Sequence[Passage]) -> Iterator[Any]:
        rows = self._reader.rows(passages)
        if self._deciding is None:
            return rows
        plan, reader, when = self._deciding
        found = encoded(plan, reader.rows(passages))
        whys = (decision(each, when) for each in found)
        return (cells if why is None else why for why, cells in zip(whys, rows, strict=True))

    def note_model(self, passage: Passage, body: bytes) -> None:
        """Keep which model a row asks for."""
        passage.models = {**(passage.models or {}), self.position: model_of(body)}

    def use(self) -> Callable[[Any, Verdict], Verdict] | None:
        """Return what judges whether answers can be used; their documents are kept until their ends come."""
        self.usable = usable = self.answers.usable() if self.usable is None else self.usable
        if not self.answers.reads_documents:
            return usable

        def used(document: Any, verdict: Verdict) -> Verdict:
            self._document = document
            return verdict if usable is None else usable(document, verdict)

        return used

    def watched(self, judge: Judge) -> Judge:
        """Return what judges answers, and remembers why attempts failed."""
        failed, refusals = self._failed, self.refusals

        def judged(answer: Answer, asked: bytes, use: Any = None) -> Verdict:
            verdict = judge(answer, asked) if use is None else judge(answer, asked, use=use)  # type: ignore[call-arg]
            if verdict.kind is not None:
                failed.setdefault(answer.key, []).append(verdict.kind.value)
                refusals.refused(answer.key, verdict, lambda: model_of(asked))
                return verdict
            self._body = answer.body if verdict.body is None else verdict.body
            if not refusals.is_answered:
                refusals.answered()
            return verdict

        return judged

    def ended(self, key: int, end: End, passage: Passage) -> None:
        """Count the end of a row, and read its answer, which was just judged: it is not parsed again."""
        outcome = end[0]
        passage.ends[self.position] = end
        self.counts[outcome] += 1
        why = self._failed.pop(key, None) if self._failed else None
        if end[5] or self.is_packed or type(end) is SharedEnd:  # an earlier run's, or of no request of its own
            return
        sends = end[3] - passage.earlier
        self.requests += sends
        if outcome == OK:
            if end[1] is self._body and (document := self._document) is not None:
                value = self.answers.text_of(document) if self.usable is None else self.usable.value
                passage.read[self.position] = (value, *said_of(document))
            if why is None and sends == 1:
                self.first_try += 1
        if why is not None:
            self.retries.update(why if outcome == OK else why[:-1])

    def requested(self, key: int, outcome: str, sends: int) -> None:
        """Count the request of many rows."""
        why = self._failed.pop(key, None)
        self.requests += sends
        if why is not None:
            self.retries.update(why if outcome == OK else why[:-1])
        elif outcome == OK and sends == 1:
            self.first_try += 1

    def asked(self, passages: Sequence[Passage]) -> Iterator[str | None]:
        """Yield the id of the conversation that each row was asked with; None where there is none."""
        plan: Any = self.plan
        rows = self._rows(passages)
        if plan.conversation_column is not None:
            at = plan.columns.index(plan.conversation_column)
            return (None if isinstance(cells, Rejected) else cells[at] for cells in rows)
        bodies = encoded(plan.without_images(), rows)
        return (None if isinstance(body, Rejected) else conversation_of(body) for body in bodies)


class RepliesTo:
    """The answers of a node to some rows, by their places among these; as a run's output has them."""

    def __init__(self, step: StreamStep, passages: Sequence[Passage]) -> None:
        self._step, self._passages = step, passages
        self._answers = AnsweredSoFar(step.position, step.answers)

    def _asked(self) -> Iterator[str | None]:
        return self._step.asked(self._passages)

    def _answer_to(self, place: int) -> tuple[str, str]:
        return self._answers._answer_to(self._passages[place])

    @property
    def summary(self) -> Summary:
        """How many rows they are."""
        return Summary(len(self._passages), {})
