"""NodeOutput: what a run gives back."""

from __future__ import annotations

from functools import cached_property, partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, cast

import orjson

from ..answers import BESIDE, TEXTS, RowAnswers
from ..column_names import free_names
from ..engine.sink import NOT_FAILED, OK, SUBMITTED
from ..errors import UsageError
from . import display
from .answer_tables import AnswerTables
from .answer_tables import T as T  # noqa: PLC0414 - from here too
from .failures import failures
from .last_output import remember
from .reportable import Reportable
from .row_columns import RowColumns
from .second_run import is_alike, places_of, spliced
from .spending import SpendingOfBoth

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ..connection.connection import GivenConnection
    from ..engine.sink import Records
    from ..settings import Limits, Retry
    from ..tables import TableView
    from .failures import Failed, RowEnd
    from .options import OnText, Path
    from .provenance import Provenance
    from .spending import Spending
    from .summary import Summary

    Columns = dict[str, Sequence[Any]]

LOG_TYPES = {
    "outcome": "text",
    "attempts": "integer",
    "maybe_billed": "boolean",
    "request_id": "text",
    "started": "number",
    "latency": "number",
    "reused": "boolean",
    "finish_reason": "text",
    "retry_after": "number",
    "prompt_tokens": "integer",
    "completion_tokens": "integer",
    "total_tokens": "integer",
    "reason": "text",
    "message": "text",
}
FURTHER_TYPES = {"packed": "integer", "server": "text"}  # of what a log has of some runs alone

_MADE_OF_THE_REST = frozenset(
    {"result", "table", "text", "log", "answers", "usage", "choices", "calls", "ids", "flags", "scores", "_answered"}
)
_BESIDE = dict(zip(BESIDE, ("integer", "text", "text"), strict=True))


class NodeOutput(Reportable, Generic[T]):
    """What became of every row: the columns that a node made, beside the configuration.

    Unpacks into its two ports: ``result, configuration = node.run(table)``. All tables are of the same kind as the
    configuration, with its rows, its order and its index.

    Attributes
    ----------
    configuration : table
        The very table that was given.
    summary : Summary
        The run in numbers.
    """

    _reads: Sequence[str] = ()  # the columns that requests are made of
    _provenance: Provenance | None = None  # which node made it, and how
    _requested: Any = None  # what makes the bodies of its rows, in a run of its own
    _fields = False  # the columns are the fields of one answer

    def __init__(
        self,
        view: TableView,
        columns: Mapping[str, Sequence[Any]],
        types: Mapping[str, str],
        outcomes: Sequence[str],
        messages: Sequence[str | None],
        summary: Summary,
        handed_on: Collection[str] = (),
        without: Collection[str] = (),
    ) -> None:
        self._view, self._columns, self._types, self._handed_on = view, columns, dict(types), handed_on
        self._outcomes, self._messages, self._without = outcomes, messages, without
        self.configuration: T = view.given
        self.summary = summary

    @cached_property
    def result(self) -> T:
        """The columns that the node made."""
        return cast("T", self._view.make(self._columns, self._types))

    @cached_property
    def table(self) -> T:
        """The configuration with the columns that the node made to its right; a clash of names gets a suffix.

        Those that later nodes read by their names, such as ``conversation``, take the places of what they were made of;
        the columns of an answer that became a message are left out.
        """
        own = [name for name in self._columns if name not in self._handed_on]
        names = dict(zip(self._columns, self._columns, strict=True)) | free_names(own, self._view.columns)
        columns = {names[name]: values for name, values in self._columns.items()}
        types = {names[name]: kind for name, kind in self._types.items()}
        return cast("T", self._view.replacing(columns, types, self._without))

    @cached_property
    def text(self) -> Any:
        """The text of each row, null where it has none: a column of the table's own kind."""
        return self._view.series("text", self.texts(), "text")

    def texts(self) -> list[str | None]:
        """Return the text of each row as a list."""
        return list(self._columns.get("text", [None] * len(self._view)))

    @cached_property
    def log(self) -> T:
        """One row an input row: ``outcome``, and a ``message`` where it is not ok."""
        columns = {"outcome": self._outcomes, "message": self._messages}
        return cast("T", self._view.make(columns, dict.fromkeys(columns, "text")))

    @property
    def succeeded(self) -> T:
        """The rows that are ok, with new conversation or future ids, ready for the next node."""
        return self._rows(ok=True)

    @property
    def failed(self) -> T:
        """The configuration's rows that are not ok, runnable as they are; skipped and pending ones have not failed."""
        return self._rows(ok=False)

    def _rows(self, *, ok: bool) -> T:
        from ..tables import view  # noqa: PLC0415 - pandas is loaded where there is a table

        rows = self._places(ok=ok)
        has_new = ok and any(name in self._handed_on for name in self._columns)
        return cast("T", (view(self.table) if has_new else self._view).take(rows))

    def _places(self, *, ok: bool) -> list[int]:
        """Return the positions of the rows that are ok, or of those that have failed."""
        wanted = (outcome in (OK, SUBMITTED) if ok else outcome not in NOT_FAILED for outcome in self._outcomes)
        return [row for row, is_wanted in enumerate(wanted) if is_wanted]

    def _reported(self) -> Mapping[str, NodeOutput[Any]]:
        return {type(self).__name__ if self._provenance is None else self._provenance.node: self}

    def _measured(self) -> RowColumns:
        return RowColumns(self._outcomes)

    def _ends(self) -> Iterator[RowEnd]:
        """Return each row's outcome, status, message, reason and class of failure."""
        return zip(self._outcomes, repeat(None), self._messages, repeat(None), repeat(None), strict=False)

    def _failures(self) -> list[Failed]:
        """Return why rows failed, the most first."""
        return failures(self._ends())

    def _beside(self, prefix: str = "", taken: Collection[str] | None = None) -> tuple[Columns, dict[str, Any]]:
        """Return the columns of the answers, as a workflow's table has them, and their types; none without answers."""
        if self._fields:
            names = {name: f"{prefix}_{name}" if prefix else name for name in self._columns}
            own = {names[name]: values for name, values in self._columns.items()}
            return own, dict.fromkeys(own, "text")
        made = self._columns.get("text")
        return ({}, {}) if made is None else ({prefix: made}, {prefix: "text"})

    def _ended_beside(self, prefix: str, taken: Collection[str]) -> Columns:
        """Return what a workflow's table says of the rows' ends, where that does not stand beside the answers."""
        named = free_names((f"{prefix}_{name}" for name in BESIDE[1:]), taken)
        return dict(zip(named.values(), (self._outcomes, self._messages), strict=True))

    def _answer_at(self, row: int) -> Any:
        """Return a row's answer: a text, a label, or a record of its fields; None where it has none."""
        if self._fields:
            fields = {name: values[row] for name, values in self._columns.items()}
            return fields if self._outcomes[row] == OK else None
        made = self._columns.get("text")
        return None if made is None else made[row]

    def _end_of(self, row: int) -> tuple[str, int | None, str | None]:
        """Return a row's outcome, its status, and why it is not ok."""
        return self._outcomes[row], None, self._messages[row]

    def _answer_to(self, row: int) -> tuple[str, str | None]:
        """Return a row's outcome and what it holds as JSON text, by its position, without making a table."""
        made = {name: values[row] for name, values in self._columns.items()}
        return self._outcomes[row], orjson.dumps(made).decode()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _MADE_OF_THE_REST}

    def __iter__(self) -> Iterator[T]:
        yield self.result
        yield self.configuration

    def __repr__(self) -> str:
        return f"NodeOutput: {self.summary}\n{display.head(self.table)}"

    def _repr_html_(self) -> str:
        from ..notebook.markup import html  # noqa: PLC0415 - loaded where it is used
        from .panels import output_panel  # noqa: PLC0415

        return html(output_panel(self))

    def _cells(self, positions: Sequence[int]) -> dict[str, Sequence[Any]]:
        """Return the cells of some rows in the columns that take the places of the configuration's, if named alike."""
        own = free_names((name for name in self._columns if name not in self._handed_on), self._view.columns)
        made = {own.get(name, name): [values[row] for row in positions] for name, values in self._columns.items()}
        return made | _ends_of(positions, self._outcomes, self._messages)


def _ends_of(
    positions: Sequence[int], outcomes: Sequence[str], messages: Sequence[str | None], names: Sequence[str] = BESIDE[1:]
) -> dict[str, Sequence[Any]]:
    """Return what is shown of the ends of some rows: where all are ok, nothing."""
    ends = [(outcomes[row], messages[row]) for row in positions]
    if all(outcome in (OK, SUBMITTED) for outcome, _ in ends):
        return {}
    return dict(zip(names, ([*each] for each in zip(*ends, strict=True)), strict=True))


AnyOutput: TypeAlias = NodeOutput[Any]


class Responses(AnswerTables[T], NodeOutput[T]):
    """The Raw Response table and the configuration that it answers, with what became of every row.

    The columns of ``.result`` are ``body`` (text), what the server sent or an error object, and ``status`` (nullable
    integer), the HTTP status. ``.text`` is what the model wrote of each row, in the first choice; null where it wrote
    nothing or the row failed.
    """

    _by_hand = "node.run(out.failed, connection)"  # what asks failed rows again

    def __init__(
        self,
        view: TableView,
        records: Records,
        summary: Summary,
        asked: Callable[[], Iterable[str | None]],
        spending: Spending,
        answers: RowAnswers = TEXTS,
        again: Callable[..., Responses[Any]] | None = None,
        reads: Sequence[str] = (),
    ) -> None:
        columns: dict[str, Sequence[Any]] = {"body": records.body, "status": records.status}
        super().__init__(view, columns, {"body": "text", "status": "integer"}, records.outcome, (), summary)
        self._records = records
        self._asked, self._spending, self._answers, self._again = asked, spending, answers, again
        self._reads = reads

    def __getstate__(self) -> dict[str, Any]:
        # How bodies are made stays where it is, and so does the connection; what was asked travels.
        return super().__getstate__() | {"_asked": partial(iter, [*self._asked()]), "_again": None, "_requested": None}

    @cached_property
    def table(self) -> T:
        """The configuration with the answers, ``status``, ``outcome`` and ``message`` (null where ok) to its right.

        Where a name of the last three is taken, theirs gets a suffix.
        """
        columns, types = self._beside()
        return cast("T", self._view.replacing(columns, types))

    def _beside(self, prefix: str = "", taken: Collection[str] | None = None) -> tuple[Columns, dict[str, Any]]:
        """Return the columns of the table that are not the configuration's, and their types.

        A workflow gives what their names begin with, unless ``into`` names them, and the names that are taken.
        """
        answers, taken = self._answers.within(prefix), self._view.columns if taken is None else taken
        own = free_names(answers.types, taken)
        types: dict[str, Any] = {own[name]: kind for name, kind in answers.types.items()}
        named = {name: answers.named(name) for name in _BESIDE}
        free = free_names(named.values(), {*taken, *types})
        types |= {free[named[name]]: kind for name, kind in _BESIDE.items()}
        ends = (*self._answered.values(), self._records.status, self._records.outcome, [*self._told()])
        return dict(zip(types, ends, strict=True)), types

    def _ended_beside(self, prefix: str, taken: Collection[str]) -> Columns:
        return {}

    def _answer_at(self, row: int) -> Any:
        if self._answers.is_one:
            return next(iter(self._answered.values()))[row]
        if self._records.outcome[row] != OK:
            return None
        return {name: values[row] for name, values in zip(self._answers.fields, self._answered.values(), strict=True)}

    def _added(self) -> frozenset[str]:
        """Return the names of the columns that the table has beside the configuration."""
        return frozenset(self._beside()[0])

    def _told(self) -> Iterator[str | None]:
        """Return why each row is not ok."""
        ends = zip(self._records.outcome, self._records.message, strict=True)
        return (None if outcome == OK else message for outcome, message in ends)

    @cached_property
    def log(self) -> T:
        """One row an input row: outcome, attempts, request_id, latency (s), reused, tokens, reason, message, and more.

        ``started`` is when the row was first sent, in seconds from the run's first moment; null where nothing was.
        ``message`` says why a row is not ok: the server's own words, which may repeat what the server was sent, else
        ours; ``reason`` is the server's code for it, or the rule that a row broke which was not sent. Of a row that is
        ok both say what its answer lacks (``cut``, ``refused``, ``filtered``, ``empty``). ``packed``: rows a request;
        ``server``: of several, where the last answer is from.
        """
        columns = {name: getattr(self._records, name) for name in LOG_TYPES} | self._records.further
        return cast("T", self._view.make(columns, {**LOG_TYPES, **FURTHER_TYPES}))

    def _cells(self, positions: Sequence[int]) -> dict[str, Sequence[Any]]:
        records, own = self._records, free_names(self._answers.types, self._view.columns)
        ends = [(records.body[row], records.outcome[row]) for row in positions]
        answers = self._answers.columns((body for body, _ in ends), (outcome for _, outcome in ends))
        made = {own[name]: answers[name] for name in own}
        taken = free_names(map(self._answers.named, BESIDE[1:]), (*self._view.columns, *made))
        return made | _ends_of(positions, records.outcome, records.message, [*taken.values()])

    def _ends(self) -> Iterator[RowEnd]:
        records = self._records
        return zip(records.outcome, records.status, records.message, records.reason, records.kind, strict=True)

    def _end_of(self, row: int) -> tuple[str, int | None, str | None]:
        return self._outcomes[row], self._records.status[row], self._records.message[row]

    def _answer_to(self, row: int) -> tuple[str, str | None]:
        """Return a row's outcome and body, by its position, without making a table."""
        return self._records.outcome[row], self._records.body[row]

    def updated(self, again: Responses[Any], *, rows: Iterable[int] | None = None) -> Responses[T]:
        """Return a new output with the answers of a second run in the places of the first ones.

        ``out = out.updated(node.run(out.failed, connection))`` has one table again.

        Parameters
        ----------
        again : Responses
            The output of a second run of ``.failed``, with as many rows in the same order: of a pandas table with its
            index, of any other with its cells; other columns and settings may differ.
        rows : sequence of int, optional
            Which rows of this output the second run's are, by their positions from 0. Needed where the table was
            sorted, filtered or changed, or is of other rows than those that failed.

        Returns
        -------
        Responses
            ``.log`` has of each row what its last run says; ``.summary`` counts what both runs used.

        Raises
        ------
        UsageError
            If the second run's rows may be others, or it asked for another ``answer=``.
        """
        if not isinstance(again, Responses):
            what = f"updated() needs the output of a second run, not a {type(again).__name__}"
            raise UsageError(f"{what}: use out.updated(node.run(out.failed, connection))", place="again")
        mine, theirs = self._answers, again._answers
        if (mine.schema, mine.mode) != (theirs.schema, theirs.mode):
            raise UsageError(
                "the second run asked for another answer= than the first, so their columns do not fit together",
                code="other_answer",
                place="again",
            )
        return self._updated(again, places_of(self._view, self._places(ok=False), again._view, rows))

    def _updated(self, again: Responses[Any], places: Sequence[int]) -> Responses[T]:
        """Return the output with the ends of a second run of the rows at these places."""
        made = object.__new__(type(self))
        made.__dict__.update(NodeOutput.__getstate__(self))
        made._records = records = self._records.updated(again._records, places)
        made._columns, made._outcomes = {"body": records.body, "status": records.status}, records.outcome
        made._spending = spending = SpendingOfBoth(self._spending, again._spending, places)
        made.summary = self.summary.joined(again.summary, records.counts, sum(records.reused), spending)
        first, second = self._asked, again._asked
        made._asked = lambda: spliced(first(), second(), places)
        made._requested = self._requested if is_alike(self._requested, again._requested) else None
        return made

    def retry_failed(
        self,
        connection: GivenConnection | None = None,
        *,
        limits: Limits | None = None,
        retry: Retry | None = None,
        journal: Path | None = None,
        progress: bool | None = None,
        on_text: OnText | None = None,
    ) -> Responses[T]:
        """Ask every row of ``.failed`` again, and return a new output with the answers in their places.

        Every one is asked, as with ``retry_failed="all"``, by the same node. What is not given here is as in the run
        itself: its connection, limits, retries and journal. Where all rows are ok, nothing is sent.

        Parameters
        ----------
        connection, limits, retry, journal, progress
            As in `CreateChatCompletion.run`. Give a connection where the environment names another server by now.
        on_text : callable, optional
            As there; it is called with positions in this output.

        Raises
        ------
        UsageError
            If the output was pickled or came from a worker: it has no connection then. Run the node on ``.failed``,
            and use `updated`.
        Interrupted
            If the second run was stopped; ``.output`` has both runs as one.
        """
        if self._again is None:
            raise UsageError(
                "this output was stored, copied or retrieved, so it does not know how its rows were asked: "
                f"use out.updated({self._by_hand})",
                code="no_connection",
            )
        places = self._places(ok=False)
        if not places:
            return self
        given = {"limits": limits, "retry": retry, "journal": journal, "progress": progress, "on_text": on_text}
        try:
            made = self._updated(self._again(places, connection, given), places)
        except BaseException as error:
            if isinstance(came := getattr(error, "output", None), Responses):
                error.output = self._updated(came, places)  # type: ignore[attr-defined]
                remember(error.output, stopped=True)  # type: ignore[attr-defined]
            raise
        remember(made, stopped=made.summary.stopped is not None)
        return made

    def _rows(self, *, ok: bool) -> T:
        if not ok:
            return super()._rows(ok=False)
        from ..tables import view  # noqa: PLC0415 - pandas is loaded where there is a table

        rows = self._places(ok=True)
        own = {name: self._answers.types[name] for name in self._answered}
        return cast("T", view(self._view.replacing(self._answered, own)).take(rows))
