"""The end of a run in words: the rows that failed, and what their answers have in common."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..engine.outcomes.failure_reasons import is_api_error
from ..engine.records import OK
from . import display

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..connection.endpoint import Endpoint
    from ..engine.calls import Request
    from ..engine.records import Records
    from .summary import Summary

_NOT_FAILED = (OK, "pending")
_NOT_WHOLE = {
    "length": "cut at their token limit",
    "content_filter": "held back by a content filter",
}
_NO_KEY_HERE = (
    "no key was sent: OPENAI_API_KEY goes only to the environment's own base URL; "
    "name it with api_key_env= (--api-key-env)"
)
_NO_KEY = "no key was sent: name one with api_key_env= (--api-key-env)"


def say_failures(
    name: str, summary: Summary, outcomes: Sequence[str], statuses: Sequence[int | None], *, progress: bool | None
) -> None:
    """Say in one line how many rows failed and as what; nothing where none did, or who asked says it himself.

    Parameters
    ----------
    name : str
        The node's.
    summary : Summary
        The run in numbers; its notes are said too.
    outcomes, statuses : sequence of str, sequence of int or None
        What each row ended as, and its HTTP status; statuses may be empty.
    progress : bool or None
        False says nothing.
    """
    failed = {outcome: count for outcome, count in summary.outcomes.items() if outcome not in _NOT_FAILED}
    if progress is False or not failed or display.is_reported_elsewhere():
        return
    seen: dict[str, set[int]] = {outcome: set() for outcome in failed}
    for outcome, status in zip(outcomes, statuses, strict=False):
        if status is not None and outcome in seen:
            seen[outcome].add(status)
    kinds = ", ".join(f"{count:,} {outcome}{_status(seen[outcome])}" for outcome, count in failed.items())
    stopped = f"; stopped: {summary.stopped}" if summary.stopped else ""
    count = sum(failed.values())
    rows = f"{count:,} of {display.counted(summary.rows, 'row')} {'is' if count == 1 else 'are'}"
    display.say(f"{name}: {rows} not ok: {kinds}{stopped}; the output's .failed has them, its .log says why")
    for note in summary.notes:
        display.say(f"{name}: {note}")


def _status(statuses: set[int]) -> str:
    return f" (HTTP {', '.join(map(str, sorted(statuses)))})" if statuses else ""


def notes_on(records: Records, endpoint: Endpoint | None = None, request: Request | None = None) -> Iterator[str]:
    """Say what many rows have in common that a user may not see: a line for each."""
    if endpoint is not None and records.counts["auth"] and not endpoint.sends_key:
        is_elsewhere = os.environ.get("OPENAI_API_KEY") and endpoint.connection.api_key is None
        yield _NO_KEY_HERE if is_elsewhere else _NO_KEY
    if request is not None and records.counts["http_error"] and _is_elsewhere(records):
        yield f"404 for {request.url.partition('?')[0]}, and not from an API: check the base URL"
    for reason, words in _NOT_WHOLE.items():
        if count := records.finish_reason.count(reason):
            were = "answer was" if count == 1 else "answers were"
            yield f"{count:,} {were} {words if count > 1 else words.replace('their', 'its')} (finish_reason {reason})"


def _is_elsewhere(records: Records) -> bool:
    """Tell whether a row ended as a 404 that has nothing of an API's error."""
    found = zip(records.status, records.body, strict=True)
    return any(status == 404 and not is_api_error(body) for status, body in found)
