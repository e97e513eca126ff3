"""What a person reads: a report that lines up, numbers with their units, a table's first rows."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..notices import counted as counted  # noqa: PLC0414
from ..notices import money as money  # noqa: PLC0414
from ..notices import printable as printable  # noqa: PLC0414 - said from here too
from ..notices import say as say  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..bodies.body_plan import BodyPlan
    from ..connection.connection import Connection

_CELL_WIDTH = 40
ALIKE = "no column is used: every row sends the same request"
REPORTED_ELSEWHERE: ContextVar[bool] = ContextVar("reported_elsewhere", default=False)  # whoever called reports the end

DETAILED: ContextVar[bool] = ContextVar("detailed", default=False)  # whether a run says in lines what it does
FIRST_ROW: ContextVar[int] = ContextVar("first_row", default=0)  # which row of a longer table a run's first one is


def announce(name: str, plan: BodyPlan, rows: int = 1) -> None:
    """Print which columns are used as settings, and which are not though one may think so, or of many rows none is."""
    if taken := [name for name in plan.taken if name != "conversation"]:  # it is there to be used
        columns = ", ".join(map(repr, taken))
        several = len(taken) > 1
        used = f"columns {columns} as request settings" if several else f"column {columns} as a request setting"
        say(f"{name}: using the {used} (set columns to [] to use none)")
    for line in plan.passed_over:
        say(f"{name}: {line}")
    if rows > 1 and plan.schema is not None and not plan.columns:
        say(f"{name}: {ALIKE}")


def announce_default(*connections: Connection) -> None:
    """Print where requests go that nobody said, unless it is the environment's own address."""
    for connection in connections:
        profile = connection.profile
        if profile is not None and profile.chosen_by:
            from ..connection.endpoint import shown_base_url  # noqa: PLC0415 - help is shown without the engine

            where = "the embedded model" if connection.local_model else shown_base_url(connection)
            say(f"sending to {where}: profile {profile.name!r}, by {profile.chosen_by}")
            return


@contextlib.contextmanager
def reported_elsewhere() -> Iterator[None]:
    """Keep every run from reporting its end: whoever called it does."""
    before = REPORTED_ELSEWHERE.set(True)
    try:
        yield
    finally:
        REPORTED_ELSEWHERE.reset(before)


@contextlib.contextmanager
def rows_counted_from(first: int) -> Iterator[None]:
    """Have rows be called by their numbers in a longer table, of which a run has those from `first` on."""
    before = FIRST_ROW.set(first)
    try:
        yield
    finally:
        FIRST_ROW.reset(before)


def place_of(row: int) -> int:
    """Return the number by which a row of a run's table is called."""
    return FIRST_ROW.get() + row


@contextlib.contextmanager
def detailed(*, shown: bool) -> Iterator[None]:
    """Have every run say what it does, where that is `shown`."""
    before = DETAILED.set(shown)
    try:
        yield
    finally:
        DETAILED.reset(before)


def by_outcome(outcomes: Mapping[str, int]) -> str:
    """Return ``18 ok, 2 invalid_request``."""
    return ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items()) or "nothing to do"


def so_far(outcomes: Mapping[str, int], rows: int) -> str:
    """Return ``3 of 9 rows are ok, 2 unusable, 4 not_sent``."""
    first = "submitted" if "submitted" in outcomes else "ok"
    others = (f", {count:,} {outcome}" for outcome, count in outcomes.items() if outcome != first)
    return f"{outcomes.get(first, 0):,} of {counted(rows, 'row')} are {first}{''.join(others)}"


def duration(seconds: float) -> str:
    """Return a time span with its unit: ``0.42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def head(table: Any, rows: int = 5) -> str:
    """Return the first rows of any table as text, every column among them, and how many more there are."""
    shown = table.head(rows) if hasattr(table, "head") else table.slice(0, rows)
    if type(shown).__module__.startswith("pandas"):  # it would leave out the answers of a wide table
        text = str(shown.to_string(max_colwidth=_CELL_WIDTH))
    else:
        text = repr(shown)
    return f"{text}\n… and {counted(len(table) - rows, 'more row')}" if len(table) > rows else text
