"""What a person sees: a bar that moves, a report that lines up, a table's first rows."""

from __future__ import annotations

import contextlib
import html as html_escaping
import os
import sys
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..notices import printable as printable  # noqa: PLC0414 - said from here too
from ..notices import say as say  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..bodies.body_plan import BodyPlan

_DELAY = 1.0
_BETWEEN = 0.1
_REDRAWN = 0.5
_CELL_WIDTH = 40
REPORTED_ELSEWHERE: ContextVar[bool] = ContextVar("reported_elsewhere", default=False)  # whoever called reports the end


def announce(name: str, plan: BodyPlan) -> None:
    """Print which columns are used as settings, and which are not though one may think so."""
    if plan.taken:
        columns = ", ".join(map(repr, plan.taken))
        several = len(plan.taken) > 1
        used = f"columns {columns} as request settings" if several else f"column {columns} as a request setting"
        say(f"{name}: using the {used} (columns=() uses none)")
    for line in plan.passed_over:
        say(f"{name}: {line}")


@contextlib.contextmanager
def reported_elsewhere() -> Iterator[None]:
    """Keep every run from reporting its end: whoever called it does."""
    before = REPORTED_ELSEWHERE.set(True)
    try:
        yield
    finally:
        REPORTED_ELSEWHERE.reset(before)


def in_notebook() -> bool:
    """Return whether a notebook is watching."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and type(ipython.get_ipython()).__name__ == "ZMQInteractiveShell"


class Progress:
    """A bar on the standard error stream, once the work lasts a second; by default in a terminal or a notebook."""

    def __init__(self, rows: int, shown: bool | None = None) -> None:
        if shown is None:
            shown = in_notebook() or _is_seen(sys.stderr)
        self._bar: Any = _bar(rows) if shown and rows else None
        self._next = 0.0
        self._redraw = time.monotonic() + _DELAY

    @property
    def is_shown(self) -> bool:
        """Whether somebody sees it."""
        return self._bar is not None

    def update(self, settled: int, ok: int) -> None:
        """Move the bar, ten times a second at most."""
        if self._bar is not None and (now := time.monotonic()) >= self._next:
            self._next = now + _BETWEEN
            self._set(settled, ok)

    def show(self, settled: int, ok: int, waits_for: str = "") -> None:
        """Move the bar at once, and say beside it what is waited for; its clock goes on where nothing moves."""
        if self._bar is None:
            return
        self._set(settled, ok, waits_for)
        if (now := time.monotonic()) >= self._redraw:
            self._redraw = now + _REDRAWN
            self._bar.refresh()

    def _set(self, settled: int, ok: int, waits_for: str = "") -> None:
        first = f"{printable(waits_for)}, " if waits_for else ""  # a narrow terminal cuts the end
        self._bar.set_postfix_str(f"{first}{ok:,} ok, {settled - ok:,} failed", refresh=False)
        self._bar.update(settled - self._bar.n)

    def close(self, settled: int, ok: int) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._set(settled, ok)
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _bar(rows: int) -> Any:
    options: dict[str, Any] = {"total": rows, "unit": " rows", "delay": _DELAY, "dynamic_ncols": True}
    if in_notebook():
        try:
            import ipywidgets  # noqa: F401, PLC0415 - without it the notebook's bar only warns
            from tqdm.notebook import tqdm as notebook_bar  # noqa: PLC0415 - loaded where it is used

            return notebook_bar(**options)
        except ImportError:
            pass
    from tqdm import tqdm  # noqa: PLC0415 - loaded where it is used

    if _has_no_columns():
        options |= {"dynamic_ncols": False, "ncols": 80, "nrows": 24}
    return tqdm(**options)


def _is_seen(stream: Any) -> bool:
    """Return whether a stream is a terminal; one that is closed or is no file is none."""
    try:
        return bool(stream.isatty())
    except (OSError, ValueError, AttributeError):
        return False


def _has_no_columns() -> bool:
    """Return whether the terminal says that it is 0 columns wide, as some do that do not know."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns == 0
    except (OSError, ValueError, AttributeError):
        return False


def counted(number: int, thing: str) -> str:
    """Return ``1 row`` or ``2,000 rows``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def by_outcome(outcomes: Mapping[str, int]) -> str:
    """Return ``18 ok, 2 invalid_request``."""
    return ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items()) or "nothing to do"


def duration(seconds: float) -> str:
    """Return a time span with its unit: ``0.42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def money(usd: float) -> str:
    """Return an amount of US dollars: ``$12.40``, ``$0.42``, ``$0.00031``."""
    return f"${usd:,.2f}" if usd >= 0.1 or not usd else f"${float(f'{usd:.2g}'):.12f}".rstrip("0").rstrip(".")


def head(table: Any, rows: int = 5) -> str:
    """Return the first rows of any table as text, every column among them."""
    shown = table.head(rows) if hasattr(table, "head") else table.slice(0, rows)
    if type(shown).__module__.startswith("pandas"):  # it would leave out the answers of a wide table
        return str(shown.to_string(max_colwidth=_CELL_WIDTH))
    return repr(shown)


def html(text: str, table: Any, rows: int = 10) -> str:
    """Return a text and a table's first rows as HTML; both are escaped."""
    shown = table.head(rows) if hasattr(table, "head") else table.slice(0, rows)
    if hasattr(shown, "to_pandas") and not hasattr(shown, "_repr_html_"):
        shown = shown.to_pandas()
    return f"<pre>{html_escaping.escape(text)}</pre>{shown._repr_html_()}"
