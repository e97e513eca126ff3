"""What the answers of a run say, as tables: columns, choices, tool calls, usage, and a second output beside it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ..answers import USAGE_TYPES, Embeddings, RowAnswers, call_table, choice_table
from ..answers.moderation import ModerationAnswers, flag_columns, score_columns
from ..engine.outcomes.answer_json import readable
from ..engine.sink import OK, UNUSABLE
from ..errors import UsageError
from .comparison import Comparison, Side, compared
from .row_columns import RowColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..answers.choices import LongTable
    from ..engine.sink import Records
    from ..tables import TableView
    from .spending import Spending
    from .summary import Summary

T = TypeVar("T")  # the kind of the configuration table, which all tables of an output are of


class AnswerTables(Generic[T]):
    """The part of `Responses` that reads answers."""

    _view: TableView
    _records: Records
    _answers: RowAnswers
    _spending: Spending
    summary: Summary

    def texts(self) -> list[str | None]:
        """Return what the model wrote of each row as a list; bodies are parsed only where it is not known yet."""
        records, read = self._records, self._answers.text_in
        known = [None] * len(records) if self._answers.mode == "tool" else [*records.text]
        if None not in known:
            return known
        ends = zip(known, records.body, records.outcome, strict=True)
        return [read(body) if text is None and outcome in (OK, UNUSABLE) else text for text, body, outcome in ends]

    @cached_property
    def _answered(self) -> dict[str, Sequence[Any]]:
        """The answers' columns as plain JSON."""
        answers, outcomes = self._answers, self._records.outcome
        if type(answers) is RowAnswers and answers.schema is None:
            ends = zip(self.texts(), outcomes, strict=True)
            return {**answers.values(text if outcome == OK else None for text, outcome in ends)}
        return {**answers.columns(self._records.body, outcomes)}

    @cached_property
    def answers(self) -> T:
        """The answers' columns alone, typed as ``answer=`` says; null where a row has none."""
        return cast("T", self._view.make(self._answered, self._answers.types))

    @cached_property
    def usage(self) -> T:
        """The tokens of each row's answer, the model that the server names, and what the answer costs in USD.

        Cached and reasoning tokens have their own columns. Null where the server does not say; the cost also where the
        model has no price at this server.
        """
        columns = {**self._spending.columns, "cost": self._spending.cost}
        return cast("T", self._view.make({name: columns[name] for name in USAGE_TYPES}, USAGE_TYPES))

    def _measured(self) -> RowColumns:
        """Return the columns that a report's numbers are computed from; bodies are read only where there is a cost."""
        records, summary = self._records, self.summary
        tokens: dict[str, Sequence[Any]] = {"prompt": records.prompt_tokens, "completion": records.completion_tokens}
        if summary.cached_tokens:
            tokens["cached"] = self._spending.columns["cached_tokens"]
        cost = None if summary.cost is None else self._spending.cost
        timed = records.latency, records.started, records.attempts
        return RowColumns(records.outcome, records.reused, *timed, tokens, cost)

    @cached_property
    def choices(self) -> T:
        """Every choice of the answers: one row each, in the order of the rows, whose index is repeated.

        ``row`` is the position of the row, ``choice`` that of the choice; then come the answer's columns, ``text``,
        ``finish_reason``, and ``reason``: why the choice cannot be used, or what it lacks; null where nothing is wrong.
        Rows that failed otherwise than ``unusable`` have none. A name that the answer has gives these a suffix.
        """
        return self._long(choice_table(self._answers, self._records.body, self._records.outcome))

    @cached_property
    def calls(self) -> T:
        """Every tool call of the answers: one row each, in the order of the rows, whose index is repeated.

        ``row``, ``choice`` and ``call`` are positions; ``name`` is the function's; ``arguments`` are parsed in pandas,
        and JSON texts in other tables. Where they are no JSON object they stay as the model wrote them, and ``reason``
        says why: ``empty``, ``cut``, ``not_json`` or ``does_not_fit``. A custom tool's are the text that it is given.
        """
        objects = self._view.holds_objects
        return self._long(call_table(self._records.body, self._records.outcome, objects=objects))

    @cached_property
    def ids(self) -> Any:
        """The id that the server gave each answer, null where a row has none: a column of the table's own kind.

        An answer that the server keeps is gone on from by it, as ``previous_response_id`` of `CreateResponse`.
        """
        found = zip(self._records.body, self._records.outcome, strict=True)
        documents = (readable(body) if outcome == OK else None for body, outcome in found)
        ids = [document.get("id") if isinstance(document, dict) else None for document in documents]
        return self._view.series("id", [one if isinstance(one, str) else None for one in ids], "text")

    @cached_property
    def flags(self) -> T:
        """Whether each row is flagged: ``flagged``, and one column for each category; null where a row has no answer.

        Of `CreateModeration`; the categories are those that the answers have.
        """
        return self._of_moderation(flag_columns, "boolean")

    @cached_property
    def scores(self) -> T:
        """The score of each row in each category, from 0 to 1; null where a row has no answer.

        Of `CreateModeration`; the categories are those that the answers have.
        """
        return self._of_moderation(score_columns, "number")

    def _of_moderation(self, read: Callable[..., dict[str, list[Any]]], kind: str) -> T:
        if not isinstance(self._answers, ModerationAnswers):
            raise UsageError("flags and scores are those of CreateModeration: these answers have none")
        columns = read(self._records.body, self._records.outcome)
        return cast("T", self._view.make(columns, dict.fromkeys(columns, kind)))

    def _long(self, made: LongTable) -> T:
        return cast("T", self._view.make(made.columns, made.types, made.rows))

    @property
    def answer(self) -> Any:
        """The answers as one column, where an answer is one value; else an error that names the fields."""
        if not self._answers.is_one:
            names = ", ".join(self._answers.types)
            raise UsageError(f"the answers have the fields {names}: use .answers, or .answers[NAME] for one of them")
        (name, kind), *_ = self._answers.types.items()
        return self._view.series(name, self._answered[name], kind)

    @property
    def vectors(self) -> Any:
        """The vectors of an embedding's rows as one column, null where a row has none.

        In pandas each is an array, and ``.vectors.to_numpy()`` is one matrix, with NaN where a row has none; in Arrow
        and Polars they are of a type with a fixed size.
        """
        if not isinstance(self._answers, Embeddings):
            raise UsageError("only an embedding's rows have vectors: .answers has the answers of this node")
        return self.answer

    def compare(self, other: AnswerTables[Any]) -> Comparison[T]:
        """Return this output and another one of the same rows side by side: another prompt's, or another model's.

        Parameters
        ----------
        other : Responses
            Answers to the same rows in the same order, with at least one field of the answers in common.

        Returns
        -------
        Comparison
            How often both agree, of the rows that both have answered, and the rows in which they differ.

        Raises
        ------
        UsageError
            If the rows are not the same: their number, their index or their cells, apart from ``prompt``,
            ``prompt_name`` and ``model``.
        """
        if not isinstance(other, AnswerTables):
            raise UsageError(f"compare needs the output of a run, not a {type(other).__name__}")
        return compared(self._side(), other._side())

    def _side(self) -> Side:
        """Return what this output is in a comparison."""
        named = zip(self._answers.fields, self._answered.items(), self._answers.types.values(), strict=True)
        costs = [cost for cost in self._spending.cost if cost is not None]
        answers = {field: (name, values, of) for field, (name, values), of in named}
        return Side(self._view, self._records.outcome, answers, sum(costs) if costs else None)
