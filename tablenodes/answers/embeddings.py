"""Answers that are vectors: their column, and whether one can be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ..engine.outcomes.answer_json import readable
from ..engine.outcomes.rules import Failure
from ..engine.packed_columns import Column
from ..engine.sink import OK, UNUSABLE
from ..engine.vector_bodies import VectorBodies
from ..vectors import Vectors, embedding_in, vector_of
from .answer_schema import FieldType
from .row_answers import RowAnswers

if TYPE_CHECKING:
    from ..engine.outcomes.judge import Verdict

EMBEDDING = "embedding"
"""What the column of the vectors is called."""


def embedded(node: Any) -> Embeddings:
    """Return how the answers of a node that embeds are read."""
    return Embeddings(into=node.into, size=node.dimensions if isinstance(node.dimensions, int) else None)


@dataclass(frozen=True)
class Embeddings(RowAnswers):
    """How the answers of rows are read that are vectors; `size` is their dimension, None where nobody said it.

    A `size` of 0 makes a column of lists: of a stream, whose type is known before the first vector.
    """

    size: int | None = None
    is_written: ClassVar[bool] = False

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of an answer: it is one value."""
        return (EMBEDDING,)

    @property
    def types(self) -> dict[str, FieldType]:
        """The column of the answers, with its type."""
        return {self.into or EMBEDDING: FieldType("vector", nullable=True, size=self.size)}

    def streamed(self) -> Embeddings:
        """Return them as a table has them whose types are known beforehand."""
        return replace(self, size=self.size or 0)

    def written(self) -> dict[str, Any]:
        """Return the JSON Schema of an answer."""
        return {"type": "array", "items": {"type": "number"}}

    def text(self, choice: Any) -> None:
        """Return None: nobody wrote anything."""

    def text_in(self, body: str | bytes | None) -> None:
        """Return None: nobody wrote anything."""

    def usable(self) -> UsableVectors:
        """Return what judges the answers of one run."""
        return UsableVectors(self.size)

    def bodies(self, rows: int) -> VectorBodies:
        """Return what keeps the bodies of a run's rows."""
        return VectorBodies(rows)

    def columns(self, bodies: Iterable[str | None], outcomes: Iterable[str]) -> dict[str, Any]:
        """Return the vectors as a column."""
        are_ok = [outcome == OK for outcome in outcomes]
        if isinstance(bodies, Column) and isinstance(bodies.packed, VectorBodies):
            return {self.into or EMBEDDING: bodies.packed.vectors(bodies.slots, are_ok)}
        ends = zip(bodies, are_ok, strict=True)
        found = (vector_of(embedding_in(readable(body))) if ok else None for body, ok in ends)
        return {self.into or EMBEDDING: Vectors.of(found)}


@dataclass(eq=False)
class UsableVectors:
    """Judges the answers of a run that are ``ok``: one without a vector of the run's dimension cannot be used.

    Where nobody said the dimension, it is that of the first vector that comes.
    """

    size: int | None = None

    def __call__(self, document: Any, verdict: Verdict) -> Verdict:
        """Return the verdict, or that of an answer that cannot be used."""
        embedding = embedding_in(document)
        return self._judged(embedding, vector_of(embedding), verdict)

    def judged(self, embeddings: Sequence[Any], verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        """Return the verdicts on embeddings as they stand in an answer."""
        return [*map(self._judged, embeddings, map(vector_of, embeddings), verdicts)]

    def _judged(self, embedding: Any, vector: Any, verdict: Verdict) -> Verdict:
        if vector is None:
            reason = "empty" if embedding is None else "does_not_fit"
            form = "the embedding is neither base64 of finite 32-bit floats nor a list of finite numbers"
            return self._unusable(verdict, reason, "the answer has no embedding" if embedding is None else form)
        self.size = self.size or len(vector)
        if len(vector) == self.size:
            return verdict
        told = f"the embedding has {len(vector):,} numbers, where those of this run have {self.size:,}"
        return self._unusable(verdict, "does_not_fit", told)

    def _unusable(self, verdict: Verdict, reason: str, message: str) -> Verdict:
        return verdict._replace(outcome=UNUSABLE, kind=Failure.UNUSABLE, reason=reason, message=message)

    def noted(self) -> Iterator[str]:
        """Yield nothing: there is nothing to be said of vectors."""
        return iter(())
