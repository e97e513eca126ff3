"""Progress: a bar that moves, in a terminal or a notebook, and one line once the work is over, however it ended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from .display import DETAILED, REPORTED_ELSEWHERE, counted, duration, printable, say

_DELAY = 1.0
_BETWEEN = 0.1
_REDRAWN = 0.5


class Bar(Protocol):
    """What is drawn: it may be left out until the work has lasted a second."""

    def draw(self, settled: int, ok: int, waits_for: str) -> None:
        """Draw how many rows have ended, and what is waited for."""

    def refresh(self) -> None:
        """Draw it again, so that its clock goes on."""

    def end(self, line: str) -> None:
        """Put a line in its place."""


class Progress:
    """A bar on the standard error stream, once the work lasts a second; by default in a terminal or a notebook.

    At the end a line stands in its place, also where the work was interrupted or failed. `how_far` returns what is said
    of a table whose rows are not counted.
    """

    def __init__(
        self,
        rows: int | None,
        shown: bool | None = None,
        bar: Bar | None = None,
        how_far: Callable[[], str] | None = None,
    ) -> None:
        if shown is None:
            shown = not DETAILED.get() and (in_notebook() or _is_seen(sys.stderr))
        self._rows, self._last, self._how_far = rows, (0, 0), how_far
        self._bar = bar if bar is not None else _bar(rows) if shown and rows != 0 else None
        self._began, self._next = time.monotonic(), 0.0
        self._redraw = self._began + _DELAY

    @property
    def is_shown(self) -> bool:
        """Whether somebody sees it."""
        return self._bar is not None

    def update(self, settled: int, ok: int) -> None:
        """Move the bar, ten times a second at most."""
        if self._bar is not None and (now := time.monotonic()) >= self._next:
            self._next = now + _BETWEEN
            self._draw(settled, ok)

    def show(self, settled: int, ok: int, waits_for: str = "") -> None:
        """Move the bar at once, and say beside it what is waited for; its clock goes on where nothing moves."""
        if self._bar is None:
            return
        self._draw(settled, ok, waits_for)
        if (now := time.monotonic()) >= self._redraw:
            self._redraw = now + _REDRAWN
            self._bar.refresh()

    def _draw(self, settled: int, ok: int, waits_for: str = "") -> None:
        self._last = settled, ok
        if self._bar is not None:
            far = "" if self._how_far is None else self._how_far()
            self._bar.draw(settled, ok, ", ".join(filter(None, (waits_for, far))))

    def close(self, settled: int, ok: int) -> None:
        """Put a line in the bar's place."""
        self._last = settled, ok
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.end(self._line())

    def _line(self) -> str:
        settled, ok = self._last
        whole = counted(settled if self._rows is None else self._rows, "row")
        rows = whole if self._rows in (None, settled) else f"ended after {settled:,} of {whole}"
        return f"{rows} in {duration(time.monotonic() - self._began)}: {ok:,} ok, {settled - ok:,} failed"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close(*self._last)


class _TerminalBar:
    """A bar in a terminal, by tqdm."""

    def __init__(self, rows: int | None) -> None:
        from tqdm import tqdm  # noqa: PLC0415 - loaded where it is used

        wide: dict[str, Any] = {"dynamic_ncols": True}
        if _has_no_columns():
            wide = {"ncols": 80, "nrows": 24}
        self._bar = tqdm(total=rows, unit=" rows", delay=_DELAY, leave=False, **wide)

    def draw(self, settled: int, ok: int, waits_for: str) -> None:
        first = f"{printable(waits_for)}, " if waits_for else ""  # a narrow terminal cuts the end
        self._bar.set_postfix_str(f"{first}{ok:,} ok, {settled - ok:,} failed", refresh=False)
        self._bar.update(settled - self._bar.n)

    def refresh(self) -> None:
        self._bar.refresh()

    def end(self, line: str) -> None:
        seen = self._bar.last_print_t >= self._bar.start_t + _DELAY
        self._bar.close()
        if seen and not REPORTED_ELSEWHERE.get():
            say(line)


class _NotebookBar:
    """A bar in a notebook's output, which stays there as a line of text: no widget, so that exported pages have it."""

    def __init__(self, rows: int | None) -> None:
        self._rows, self._began = rows, time.monotonic()
        self._state: tuple[int, int, str] = (0, 0, "")
        self._next = self._began + _DELAY
        self._display: Any = None

    def draw(self, settled: int, ok: int, waits_for: str) -> None:
        self._state = settled, ok, waits_for
        self.refresh()

    def refresh(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _REDRAWN
        from ..notebook.markup import live  # noqa: PLC0415 - loaded where it is used

        settled, ok, waits_for = self._state
        of = counted(settled, "row") if self._rows is None else f"{settled:,} of {counted(self._rows, 'row')}"
        text = f"{of}: {ok:,} ok, {settled - ok:,} failed"
        counts = {"ok": ok, "failed": settled - ok}
        rest = [self._time_left(settled, now), waits_for]
        told = ", ".join(filter(None, (text, *rest)))
        self._put(told, live(counts, 0 if self._rows is None else self._rows - settled, told))

    def _time_left(self, settled: int, now: float) -> str:
        passed = now - self._began
        if not settled:
            return ""
        if self._rows is None:
            return f"{settled / passed:,.0f} rows a second"
        return f"about {duration(passed / settled * (self._rows - settled))} left"

    def end(self, line: str) -> None:
        if self._display is not None:
            self._put(line, "")

    def _put(self, text: str, html: str) -> None:
        from IPython.display import display  # noqa: PLC0415 - a notebook has it

        made = {"text/plain": text} | ({"text/html": html} if html else {})
        if self._display is None:
            self._display = display(made, raw=True, display_id=True)
        else:
            self._display.update(made, raw=True)


def in_notebook() -> bool:
    """Return whether a notebook is watching."""
    ipython = sys.modules.get("IPython")
    kinds = () if ipython is None else type(ipython.get_ipython()).__mro__
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in kinds)


def _bar(rows: int | None) -> Bar:
    return _NotebookBar(rows) if in_notebook() else _TerminalBar(rows)


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
