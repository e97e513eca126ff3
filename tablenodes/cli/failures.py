"""Why rows failed: a line for each kind, with its first row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..run.output import NodeOutput

_OUTCOMES_EXPLAINED = 5


class Failed(NamedTuple):
    """The first row that failed in a way: which it is, at which part of its request, and why."""

    outcome: str
    row: int
    path: str
    why: str


def failures(output: NodeOutput[Any]) -> list[str]:
    """Give one line for each kind of failure: how many rows, which is the first, and why."""
    counts = output.summary.outcomes
    return [
        f"{counts[each.outcome]:,} {each.outcome}, first row {each.row}"
        f"{'' if number else ' (rows count from 0)'}: {each.why}"
        for number, each in enumerate(first_failures(output))
    ]


def first_failures(output: NodeOutput[Any]) -> list[Failed]:
    """Give the first row of each kind of failure.

    Words of ours say why; of a server's answer only its status and the code or type of its error are shown, since its
    message may repeat what it was sent.
    """
    if not output.summary.failed:
        return []
    from .. import tables  # noqa: PLC0415 - loads pandas
    from ..problems import error_body  # noqa: PLC0415 - loaded where it is used
    from ..run.output import Responses  # noqa: PLC0415 - loaded where it is used

    log = tables.view(output.log)
    outcomes = (outcome for (outcome,) in log.rows(("outcome",)))
    answers: Iterable[tuple[Any, Any]]
    if not isinstance(output, Responses):  # else the words of a message may be the server's
        answers = ((error_body("", message or "").decode(), None) for (message,) in log.rows(("message",)))
    else:
        answers = tables.view(output.result).rows(("body", "status"))
    counts = {outcome: count for outcome, count in output.summary.outcomes.items() if outcome != "ok"}
    first: dict[str, Failed] = {}
    for row, (outcome, (body, status)) in enumerate(zip(outcomes, answers, strict=True)):
        if outcome in counts and outcome not in first:
            first[outcome] = Failed(outcome, row, *_why(outcome, body, status))
        if len(first) == min(len(counts), _OUTCOMES_EXPLAINED):
            break
    return [*first.values()]


def _why(outcome: str, body: Any, status: Any) -> tuple[str, str]:
    """Give what part of the request a failure is about, if one, and the words for it."""
    import orjson  # noqa: PLC0415 - loaded where it is used

    from ..engine.outcomes.rules import own_words  # noqa: PLC0415

    try:
        error = orjson.loads(body)["error"]
        if status is None:
            path = error.get("param") or ""
            return path, f"{path}: {error['message']}" if path else error["message"]
        words = [error.get("code"), error.get("type")]
    except (ValueError, LookupError, TypeError, AttributeError):
        words = []
    named = [word for word in words if isinstance(word, str) and word.isidentifier() and len(word) <= 60]
    if not named and (ours := own_words(outcome, status)):
        return "", f"HTTP {status}: {ours}"
    return "", ", ".join([f"HTTP {status}", *named[:1]])
