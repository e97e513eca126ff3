"""A journal as a table: every request that it knows, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import tables
from ..engine.journal.journal_folder import ENDING
from ..engine.journal.snapshot import looked_at
from ..engine.outcomes.judge import judge, judge_as_it_came
from ..engine.sink import OK, End, end_of, in_doubt, unanswered

if TYPE_CHECKING:
    from ..engine.journal.entry import Entry

_ROWS = 2_000  # that are held as Python's values at a time
_TYPES = {
    "request": "text",
    "body": "text",
    "status": "integer",
    "outcome": "text",
    "attempts": "integer",
    "prompt_tokens": "integer",
    "completion_tokens": "integer",
    "total_tokens": "integer",
    "reason": "text",
    "message": "text",
}


def read_journal(path: str | os.PathLike[str]) -> Any:
    """Read a journal as a table: one row a request, in the order in which they were first sent.

    A journal that a run is writing to is read as of its last commit, at once; nothing of it is changed.

    Parameters
    ----------
    path : str or path
        The journal's file, or a folder of journals, as a node's `mapper` has one.

    Returns
    -------
    pandas.DataFrame
        ``request`` (the digest of all that was asked, the same for equal requests), ``body`` and ``status`` as in a Raw
        Response table, ``outcome``, ``attempts``, ``prompt_tokens``, ``completion_tokens``, ``total_tokens``,
        ``reason`` and ``message`` as in ``.log``. ``node.parse`` makes an output of it.

    Raises
    ------
    JournalError
        If there is no such file, or it is no journal, of another version, or damaged.
    """
    return tables.long_frame(_batches(_entries(Path(path))), _TYPES)


def _entries(path: Path) -> Iterator[Entry]:
    """Yield the rows of a journal, or of each of a folder's."""
    for each in sorted(path.glob(f"*{ENDING}")) or (path,):  # of a file there are none
        with looked_at(each) as journal:
            yield from journal


def _batches(entries: Iterator[Entry]) -> Iterator[dict[str, list[Any]]]:
    """Yield the rows of many entries at a time, as columns."""
    while some := [*islice(entries, _ROWS)]:
        ends = [_end(entry) for entry in some]
        made = {name: [getattr(end, name) for end in ends] for name in _TYPES if name not in ("request", "body")}
        bodies = [end.body.decode("utf-8", "replace") for end in ends]
        yield {"request": [entry.key.digest.hex() for entry in some], "body": bodies, **made}


def _end(entry: Entry) -> End:
    """Return what came of a request; what it ended as was decided by the run, which knew more than is kept."""
    last = entry.last
    if last is None:
        return in_doubt(entry.sends)
    outcome = str(last.outcome)
    if last.status is None and last.fault is None:
        return unanswered(outcome, last.message)._replace(attempts=entry.sends, maybe_billed=entry.billed)
    answer = last.answer(0, entry.sends)
    verdict = judge(answer, needs_choices=True)
    if outcome == OK and verdict.outcome != OK:
        verdict = judge(answer, needs_choices=False)
        verdict = verdict if verdict.outcome == OK else judge_as_it_came(answer)
    return end_of(answer, verdict._replace(outcome=outcome), entry.sends, entry.billed, reused=True)
