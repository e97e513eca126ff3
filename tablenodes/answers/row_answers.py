"""The answers of rows: what a model wrote of each, whether it can be used, and its values as columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from ..engine.outcomes.answer_json import UnreadableError, document_of, text_of
from ..engine.outcomes.rules import Failure
from ..engine.outcomes.shortcomings import LACKS
from ..engine.sink import OK, UNUSABLE
from .answer_judge import AnswerJudge
from .answer_schema import FieldType
from .strict_form import ANSWER

if TYPE_CHECKING:
    from ..engine.outcomes.judge import Verdict
    from .answer_request import AnswerMode
    from .answer_schema import AnswerSchema

BESIDE = ("status", "outcome", "message")
"""What stands beside the answers in a table."""
TEXT = FieldType("text", nullable=True)
"""What an answer is where nothing was said of it."""


@dataclass(frozen=True)
class RowAnswers:
    """How the answers of a node's rows are read: without a `schema`, they are texts; `into` names their columns."""

    schema: AnswerSchema | None = None
    mode: AnswerMode = "json_schema"
    into: str | None = None

    @property
    def is_one(self) -> bool:
        """Whether an answer is one value, and so one column."""
        return self.schema is None or self.schema.wrapped

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

    def written(self) -> dict[str, Any]:
        """Return the JSON Schema of an answer, which is read as the same answer again."""
        if self.schema is None:
            return {"type": "string"}
        document = self.schema.document
        if not self.schema.wrapped:
            return document
        return {**document["properties"][ANSWER], **({"$defs": document["$defs"]} if "$defs" in document else {})}

    def text(self, document: Any) -> str | None:
        """Return what the model wrote; the arguments of the tool by which an answer was asked for are that too."""
        if self.schema is not None and self.mode == "tool" and (arguments := _arguments(document)) is not None:
            return arguments
        return text_of(document)

    def text_in(self, body: str | bytes | None) -> str | None:
        """Return what the model wrote of a body; None where it wrote nothing, or nothing can be read."""
        try:
            document = document_of(body or "")
            return text_of(document) if self.schema is None else self.text(document)
        except (UnreadableError, ValueError, RecursionError):
            return None

    def usable(self) -> Usable | None:
        """Return what judges the answers of one run; None where every answer can be used."""
        return None if self.schema is None else Usable(self, AnswerJudge(self.schema))

    def columns(self, bodies: Iterable[str | None], outcomes: Iterable[str]) -> dict[str, list[Any]]:
        """Return the answers as columns of plain JSON, null where a row has none; each body is parsed once."""
        value_of: Callable[[str | None], Any] = self.text_in
        if self.schema is not None:
            judge = AnswerJudge(self.schema)

            def value_of(body: str | None) -> Any:
                text = self.text_in(body)
                return None if text is None else judge(text).value

        ends = zip(bodies, outcomes, strict=True)
        values = [value_of(body) if outcome == OK else None for body, outcome in ends]
        if self.schema is None or self.schema.wrapped:
            return {self.into or ANSWER: values}
        return {
            self.named(name): [None if value is None else value[name] for value in values]
            for name, _ in self.schema.fields
        }


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

    def __call__(self, document: Any, verdict: Verdict) -> Verdict:
        """Return the verdict, or that of an answer that cannot be used."""
        if verdict.reason in LACKS:
            return _unusable(verdict, verdict.reason, verdict.message)
        text = self.answers.text(document)
        if text is None or not text.strip():
            return _without_text(document, verdict)
        _, reason, message, fenced = self.judge(text)
        if not reason:
            self.fenced += fenced
            return verdict
        if reason == "not_json" and _calls(document):
            return _without_text(document, verdict)
        return _unusable(verdict, reason, message)

    def noted(self) -> Iterator[str]:
        """Yield what is to be said of the answers that were judged."""
        if self.fenced:
            were = "answer was" if self.fenced == 1 else "answers were"
            yield f"{self.fenced:,} {were} in a code fence, which was taken off"


def _unusable(verdict: Verdict, reason: str | None, message: str) -> Verdict:
    return verdict._replace(outcome=UNUSABLE, kind=Failure.UNUSABLE, reason=reason, message=message)


def _without_text(document: Any, verdict: Verdict) -> Verdict:
    if _calls(document):
        return _unusable(verdict, "called_tool", "the model called a tool and gave no answer")
    return _unusable(verdict, "empty", LACKS["empty"])


def _message(document: Any) -> dict[str, Any]:
    """Return the message of the first choice; empty where there is none."""
    try:
        message = document["choices"][0]["message"]
    except (LookupError, TypeError):
        return {}
    return message if isinstance(message, dict) else {}


def _calls(document: Any) -> Sequence[Any]:
    """Return the functions that the first choice calls."""
    message = _message(document)
    calls = message.get("tool_calls")
    named = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return [each for each in (*named, message.get("function_call")) if isinstance(each, dict)]


def _arguments(document: Any) -> str | None:
    """Return the arguments of the call that gives the answer, as JSON."""
    for function in _calls(document):
        if function.get("name") == ANSWER:
            given = function.get("arguments")
            return given if isinstance(given, str) or given is None else orjson.dumps(given).decode()
    return None
