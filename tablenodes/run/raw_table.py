"""A Raw Response table that was stored, as the output that it was: judged again, with nothing sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from .. import tables
from ..answers import Pricing
from ..bodies.recipe import BODY, CONVERSATION
from ..column_names import known
from ..engine.calls import Answer
from ..engine.outcomes.rules import OUTCOMES
from ..engine.sink import NOT_SENT, OK, UNUSABLE, End, Records, end_of, unanswered
from ..errors import ColumnError, nearest
from ..problems import Unfit
from .output import LOG_TYPES, Responses
from .provenance import Provenance
from .spending import Spending
from .summary import Met, Summary, notes_on

if TYPE_CHECKING:
    from ..answers.row_answers import Usable
    from ..tables import TableView
    from .rows import Asking

RAW = (BODY, "status")
LOGGED = ("outcome", "attempts", "prompt_tokens", "completion_tokens", "total_tokens", "reason", "message")
"""The columns of a log by which a table is known to have them all from one."""
_KINDS: dict[str, Any] = {"text": str, "integer": int, "number": (int, float), "boolean": bool}
_NO_ANSWER = "the table has no answer to this row"


def parse(
    asking: Asking, raw: Any, prices: Mapping[str, Any], check: Callable[[Sequence[str]], None]
) -> Responses[Any]:
    """Return a stored table as the output of a node, see `RequestNode.parse`; its other columns pass `check`."""
    if isinstance(raw, str | os.PathLike):
        raw = tables.read_table(raw)
    view = tables.view(raw).held()
    _check_columns(view.columns)
    logged = _logged(view)
    configuration = view.without((*RAW, *logged))
    check(configuration.columns)
    usable = asking.answers.usable()
    records = Records(len(view))
    for row, end in enumerate(_ends(view, logged, asking, usable)):
        records.accept(row, end)
    records.finish(None)
    tokens = {name: sum(filter(None, getattr(records, name))) for name in ("prompt_tokens", "completion_tokens")}
    notes = (*(() if usable is None else usable.noted()), *notes_on(records.counts, Met.of(records)))
    spending = Spending(records.body, [False] * len(records), Pricing(None, prices))
    summary = Summary.of(records.counts, **tokens, notes=notes, spending=spending)
    asked = partial(_conversations, configuration)
    made: Responses[Any] = Responses(configuration, records, summary, asked, spending, asking.answers)
    made._provenance = Provenance.of(asking)
    return made


def _check_columns(columns: Sequence[str]) -> None:
    missing = [name for name in RAW if name not in columns]
    if not missing:
        return
    if "future_response_id" in columns:
        raise ColumnError("this table has the ids of answers, not the answers: get them with RetrieveResponse")
    lacks = " and ".join(map(repr, missing))
    hint = nearest(missing[0], columns) or known(columns)
    raise ColumnError(f"a table to parse has the columns 'body' and 'status', but this one lacks {lacks}{hint}")


def _logged(view: TableView) -> tuple[str, ...]:
    """Return the columns of the table that are those of a log: all that it may have, or the outcomes alone."""
    names = tuple(name for name in LOG_TYPES if name in view.columns)
    if "outcome" not in names or not all(each in OUTCOMES for (each,) in view.rows(("outcome",))):
        return ()
    return names if {*LOGGED} <= {*names} else ("outcome",)


def _ends(view: TableView, logged: Sequence[str], asking: Asking, usable: Usable | None) -> Iterator[End]:
    """Yield what became of each row: what the table's log says, else what the status and the body mean."""
    for row, (body, status, *log) in enumerate(view.rows((*RAW, *logged))):
        text = _text(view, row, body)
        end = _judged(row, _status(status), text, asking, usable)
        yield _as_logged(end, text, dict(zip(logged, log, strict=True))) if log else end


def _judged(row: int, status: int | None, body: str | None, asking: Asking, usable: Usable | None) -> End:
    if status is None:
        return _unanswered(body)
    answer = Answer(row, status, b"", (body or "").encode(), sends=0)
    verdict = asking.judge(answer, needs_choices=asking.choices, use=usable)
    return end_of(answer, verdict, 0, False, reused=True)._replace(latency=None)


def _unanswered(body: str | None) -> End:
    """Return the end of a row without a status: its body is our error object, which says what became of it."""
    try:
        error = orjson.loads(body or "")["error"]
        outcome, message, code = error["type"], error["message"], error.get("code")
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        outcome = None
    if outcome not in OUTCOMES - {OK, UNUSABLE} or not isinstance(message, str):
        return unanswered(NOT_SENT, _NO_ANSWER)
    reason = code if isinstance(code, str) else None
    return End(outcome, str(body).encode(), message=message, reason=reason)


def _as_logged(end: End, body: str | None, log: dict[str, Any]) -> End:
    """Return an end with what a log says of it; whether a good answer can be used is judged anew."""
    outcome = log.pop("outcome")
    known = {name: value for name, value in log.items() if isinstance(value, _KINDS[LOG_TYPES[name]])}
    if outcome in (OK, UNUSABLE) or end.outcome == outcome:
        kept = known if end.outcome not in (OK, UNUSABLE) else _without(known, ("reason", "message"))
        return end._replace(**kept)
    told = {"reason": None, "message": end.message, **known}
    return end._replace(outcome=outcome, body=(body or "").encode(), **told)


def _without(known: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in known.items() if name not in names}


def _text(view: TableView, row: int, cell: Any) -> str | None:
    """Return a body as text; it may be bytes, or the JSON that it is."""
    if isinstance(cell, Unfit):
        given = view.cell(BODY, row)
        cell = given.decode(errors="replace") if isinstance(given, bytes) else given if isinstance(given, str) else None
    if cell is None or isinstance(cell, str):
        return cell and cell.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return orjson.dumps(cell).decode()


def _status(cell: Any) -> int | None:
    """Return an HTTP status, which a file's reader may have made a text or a float; None for anything else."""
    try:
        number = float(cell) if isinstance(cell, str | int | float) and not isinstance(cell, bool) else 0.0
    except (ValueError, OverflowError):
        return None
    return int(number) if 100 <= number <= 999 and number.is_integer() else None


def _conversations(view: TableView) -> Iterator[str | None]:
    """Return the conversation that each row was asked with, where the table has it."""
    if CONVERSATION in view.columns:
        return (cell if isinstance(cell, str) else None for (cell,) in view.rows((CONVERSATION,)))
    return iter([None] * len(view))
