"""The answers of rows: what a model wrote of each, whether it can be used, and its values as columns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from ..engine.outcomes.answer_json import first_choice, readable, text_in
from ..engine.outcomes.rules import Failure
from ..engine.outcomes.shortcomings import LACKS
from ..engine.sink import OK, UNUSABLE
from .answer_judge import AnswerJudge
from .answer_judge import Verdict as Judged
from .answer_schema import FieldType
from .strict_form import ANSWER
from .usage import documents_of, no_usage, said_columns, said_of, usage_columns

if TYPE_CHECKING:
    from ..engine.outcomes.judge import Verdict
    from .answer_request import AnswerMode
    from .answer_schema import AnswerSchema

BESIDE = ("status", "outcome", "message")
"""What stands beside the answers in a table."""
TEXT = FieldType("text", nullable=True)
"""What an answer is where nothing was said of it."""


Read = tuple[Any, ...]
"""What was read of a body: the value of its answer, then what `usage.said_of` returned."""


@dataclass(frozen=True)
class RowAnswers:
    """How the answers of a node's rows are read: without a `schema`, they are texts; `into` names their columns."""

    schema: AnswerSchema | None = None
    mode: AnswerMode = "json_schema"
    into: str | None = None
    is_whole: bool = False  # an answer is the body itself, whatever it is
    is_written: ClassVar[bool] = True  # by a model, which may write another one when it is asked again

    @property
    def is_one(self) -> bool:
        """Whether an answer is one value, and so one column."""
        return self.schema is None or self.schema.wrapped

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of an answer, whatever their columns are called; ``answer`` where it is one value."""
        fields = () if self.schema is None or self.schema.wrapped else self.schema.fields
        return tuple(name for name, _ in fields) or (ANSWER,)

    @property
    def types(self) -> dict[str, FieldType]:
        """The columns of the answers, with their types."""
        if self.schema is None or self.schema.wrapped:
            return {self.into or ANSWER: TEXT if self.schema is None else self.schema.fields[0].type}
        return {self.named(name): kind for name, kind in self.schema.fields}

    def named(self, name: str) -> str:
        """Return what a column that stands beside the answers is called, such as ``status``."""
        return f"{self.into}_{name}" if self.into else name

    def within(self, prefix: str) -> RowAnswers:
        """Return them as a workflow's table has them: called after their node, unless `into` names them."""
        return self if self.into or not prefix else replace(self, into=prefix)

    @property
    def made(self) -> tuple[str, ...]:
        """The columns that a table has beside the configuration: those of the answers, and what stands beside them."""
        return (*self.types, *map(self.named, BESIDE))

    def blocks(self, columns: Sequence[str]) -> list[tuple[str, ...]]:
        """Return all adjacent columns that have the names that these answers make, perhaps with a suffix."""
        made = self.made
        beside = [tuple(columns[at : at + len(made)]) for at in range(len(columns) - len(made) + 1)]
        return [
            names
            for names in beside
            if all(re.fullmatch(rf"{re.escape(own)}(_[0-9]+)?", name) for own, name in zip(made, names, strict=True))
        ]

    def streamed(self) -> RowAnswers:
        """Return them as a table has them whose types are known before the first answer."""
        return self

    def bodies(self, rows: int) -> Any:
        """Return what keeps the bodies of a run's rows, where it is more than texts."""
        return None

    def written(self) -> dict[str, Any]:
        """Return the JSON Schema of an answer, which is read as the same answer again."""
        if self.schema is None:
            return {"type": "string"}
        document = self.schema.document
        if not self.schema.wrapped:
            return document
        return {**document["properties"][ANSWER], **({"$defs": document["$defs"]} if "$defs" in document else {})}

    def text(self, choice: Any) -> str | None:
        """Return what the model wrote; the arguments of the tool by which an answer was asked for are that too."""
        if self.schema is not None and self.mode == "tool" and (arguments := _arguments(choice)) is not None:
            return arguments
        return text_in(choice)

    def text_in(self, body: str | bytes | None) -> str | None:
        """Return what the model wrote of a body; None where it wrote nothing, or nothing can be read."""
        if self.is_whole:
            return body.decode("utf-8", "replace") if isinstance(body, bytes) else body
        return self.text_of(readable(body))

    def text_of(self, document: Any) -> str | None:
        """Return what the model wrote of a body's document; None where it wrote nothing."""
        try:
            found = document["choices"][0]["message"]["content"]  # where nearly every text is
        except (LookupError, TypeError):
            found = None
        return found if type(found) is str and self.mode != "tool" else self.text(first_choice(document))

    def usable(self) -> Any:
        """Return what judges the answers of one run; None where every answer can be used."""
        return None if self.schema is None else Usable(self, AnswerJudge(self.schema))

    def reader(self) -> Callable[[str | bytes | None], Any]:
        """Return what reads the value of an answer out of a body; None where it has none."""
        return self._reader(self.text_in)

    def _reader(self, text_of: Callable[[Any], str | None]) -> Callable[[Any], Any]:
        if self.schema is None:
            return text_of
        judge = AnswerJudge(self.schema)

        def value_of(whole: Any) -> Any:
            text = text_of(whole)
            return None if text is None else judge(text).value

        return value_of

    def columns(self, bodies: Iterable[str | None], outcomes: Iterable[str]) -> dict[str, list[Any]]:
        """Return the answers as columns of plain JSON, null where a row has none; each body is parsed once."""
        value_of = self.reader()
        ends = zip(bodies, outcomes, strict=True)
        return self.values(value_of(body) if outcome == OK else None for body, outcome in ends)

    @property
    def reads_documents(self) -> bool:
        """Whether a value is read out of a body's document, as nearly all are."""
        return type(self) is RowAnswers and not self.is_whole

    def with_usage(
        self, bodies: Sequence[str | None], outcomes: Sequence[str], read: Sequence[Read | None] = ()
    ) -> tuple[Mapping[str, Sequence[Any]], dict[str, list[Any]]]:
        """Return what `columns` does, and what `usage_columns` does; where both read a body, it is parsed once.

        Bodies are not parsed whose contents are among those that were `read` before.
        """
        if not self.reads_documents:
            return self.columns(bodies, outcomes), usage_columns(bodies)
        if any(read):
            whole = [*self._all_read(bodies, outcomes, read)] if None in read else [*filter(None, read)]
            return self.values(each[0] for each in whole), said_columns(whole)
        used, value_of = no_usage(), self._reader(self.text_of)
        ends = zip(documents_of(bodies, used), outcomes, strict=True)
        return self.values(value_of(document) if outcome == OK else None for document, outcome in ends), used

    def _all_read(
        self, bodies: Sequence[str | None], outcomes: Sequence[str], read: Sequence[Read | None]
    ) -> Iterator[Read]:
        """Yield what is read of each body; those that were not read yet are."""
        value_of = self._reader(self.text_of)
        for body, outcome, known in zip(bodies, outcomes, read, strict=True):
            if known is not None:
                yield known
                continue
            document = readable(body)
            yield value_of(document) if outcome == OK else None, *said_of(document)

    def values(self, values: Iterable[Any]) -> dict[str, list[Any]]:
        """Return the columns of these values of answers, each of which is None where there is none."""
        if self.schema is None or self.schema.wrapped:
            return {self.into or ANSWER: [*values]}
        made: list[tuple[str, list[Any]]] = [(name, []) for name, _ in self.schema.fields]
        for value in values:  # none of which is kept: the garbage collector would look through them again and again
            for name, column in made:
                column.append(None if value is None else value[name])
        return {self.named(name): column for name, column in made}


def behind_ids(columns: Sequence[str], ids: Collection[str]) -> int:
    """Return behind how many columns of a table the ids stand that answers were retrieved by; all without any."""
    return max((columns.index(name) + 1 for name in ids if name in columns), default=len(columns))


TEXTS = RowAnswers()
"""How answers are read of which nothing was said."""


@dataclass(eq=False)
class Usable:
    """Judges the answers of a run that are ``ok``: one that is not whole, or does not fit, cannot be used."""

    answers: RowAnswers
    judge: AnswerJudge
    fenced: int = 0  # answers that stood in a code fence
    value: Any = None  # of the last answer that can be used

    def __call__(self, document: Any, verdict: Verdict) -> Verdict:
        """Return the verdict, or that of an answer that cannot be used."""
        choice = first_choice(document)
        value, reason, message, fenced = self.read(choice, self.answers.text(choice), verdict.reason)
        if not reason:
            self.fenced, self.value = self.fenced + fenced, value
            return verdict
        message = message or verdict.message
        return verdict._replace(outcome=UNUSABLE, kind=Failure.UNUSABLE, reason=reason, message=message)

    def read(self, choice: Any, text: str | None, lack: str | None) -> Judged:
        """Return the value of a choice's text, or why it is none; `lack` is what it lacks as an answer of any kind."""
        if lack in LACKS:
            return Judged(None, str(lack))
        if text is None or not text.strip():
            return _without_text(choice)
        judged = self.judge(text)
        return _without_text(choice) if judged.reason == "not_json" and any(calls_in(choice)) else judged

    def noted(self) -> Iterator[str]:
        """Yield what is to be said of the answers that were judged."""
        if self.fenced:
            were = "answer was" if self.fenced == 1 else "answers were"
            yield f"{self.fenced:,} {were} in a code fence, which was taken off"


def _without_text(choice: Any) -> Judged:
    if any(calls_in(choice)):
        return Judged(None, "called_tool", "the model called a tool and gave no answer")
    return Judged(None, "empty", LACKS["empty"])


def calls_in(choice: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the calls of a choice and their kinds, function or custom; a legacy ``function_call`` is the last."""
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        for kind in ("function", "custom") if isinstance(call, dict) else ():
            if isinstance(call.get(kind), dict):
                yield kind, call[kind]
    if isinstance(message.get("function_call"), dict):
        yield "function", message["function_call"]


def _arguments(choice: Any) -> str | None:
    """Return the arguments of the call that gives the answer, as JSON."""
    for kind, function in calls_in(choice):
        if kind == "function" and function.get("name") == ANSWER:
            given = function.get("arguments")
            return given if isinstance(given, str) or given is None else written(given)
    return None


def written(value: Any) -> str | None:
    """Return a value that was read from JSON as JSON again; None where that cannot be."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers of more than 64 bits, or nested deeper than orjson goes
        with suppress(ValueError, RecursionError):
            return json.dumps(value)
    return None
