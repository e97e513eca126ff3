"""What a moderation found: whether an input is flagged, for what, and the scores of each category."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from ..engine.outcomes.answer_json import readable
from ..engine.outcomes.rules import IN_BAND
from ..engine.sink import OK
from .answer_grammar import read_answer
from .answer_judge import AnswerJudge
from .row_answers import RowAnswers, Usable

if TYPE_CHECKING:
    from ..engine.outcomes.judge import Verdict

FLAGGED, FLAGS, SCORES = "flagged", "flags", "scores"
_NO_RESULTS = "the answer has no results of a moderation"


def moderated(node: Any) -> ModerationAnswers:
    """Return how the answers of a node that moderates are read."""
    fields = {FLAGGED: bool, FLAGS: [str], **({SCORES: str} if node.scores else {})}
    return ModerationAnswers(read_answer(fields), into=node.into)


@dataclass(frozen=True)
class ModerationAnswers(RowAnswers):
    """How moderations are read: as whether something is flagged, for what, and perhaps the scores as JSON."""

    is_written: ClassVar[bool] = False

    def usable(self) -> Usable | None:
        """Return what judges the answers of one run."""
        return None if self.schema is None else _Moderated(self, AnswerJudge(self.schema))

    def columns(self, bodies: Iterable[str | None], outcomes: Iterable[str]) -> dict[str, list[Any]]:
        """Return what was found as columns, null where a row has no answer."""
        found = _found(bodies, outcomes)
        return self.values(None if one is None else self._record(*one) for one in found)

    def _record(self, flagged: bool, categories: dict[str, bool], scores: dict[str, float]) -> dict[str, Any]:
        flags = [name for name, is_flagged in categories.items() if is_flagged]
        return {FLAGGED: flagged, FLAGS: flags, SCORES: orjson.dumps(scores).decode()}


class _Moderated(Usable):
    """Judges moderations: one without results is none."""

    def __call__(self, document: Any, verdict: Verdict) -> Verdict:
        if _read(document) is not None:
            return verdict
        return verdict._replace(outcome=IN_BAND.outcome, kind=IN_BAND.kind, message=_NO_RESULTS, may_have_run=True)


_Found = tuple[bool, dict[str, bool], dict[str, float]]


def _read(document: Any) -> _Found | None:
    """Return what an answer says of its input: of several texts, whether any is flagged, and the highest scores."""
    results = document.get("results") if isinstance(document, dict) else None
    if not isinstance(results, list) or not results or not all(isinstance(each, dict) for each in results):
        return None
    flagged, categories, scores = False, dict[str, bool](), dict[str, float]()
    for result in results:
        named, scored = result.get("categories"), result.get("category_scores")
        for name, value in named.items() if isinstance(named, dict) else ():
            categories[name] = categories.get(name, False) or value is True
        for name, score in scored.items() if isinstance(scored, dict) else ():
            if isinstance(score, int | float) and not isinstance(score, bool):
                scores[name] = max(float(score), scores.get(name, 0.0))
        flagged = flagged or result.get(FLAGGED) is True
    return flagged or any(categories.values()), categories, scores


def _found(bodies: Iterable[str | None], outcomes: Iterable[str]) -> Iterator[_Found | None]:
    """Yield what each row's answer says; None of a row that has none."""
    for body, outcome in zip(bodies, outcomes, strict=True):
        yield _read(readable(body)) if outcome == OK else None


def flag_columns(bodies: Iterable[str | None], outcomes: Iterable[str]) -> dict[str, list[Any]]:
    """Return whether each row is flagged, as columns: in all, and for each category that any answer has."""
    found = [*_found(bodies, outcomes)]
    flagged = {FLAGGED: [None if one is None else one[0] for one in found]}
    return flagged | _by_category([None if one is None else one[1] for one in found])


def score_columns(bodies: Iterable[str | None], outcomes: Iterable[str]) -> dict[str, list[Any]]:
    """Return the score of each row in each category that any answer has, as columns."""
    return _by_category([None if one is None else one[2] for one in _found(bodies, outcomes)])


def _by_category(found: list[dict[str, Any] | None]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for one in found for name in one or ())
    return {name: [None if one is None else one.get(name) for one in found] for name in names}
