"""What the command line prints: words to the standard error stream, tables to the standard output."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from ..errors import OutputError
from ..notices import columns_of, counted, printable, say

ROWS_SHOWN = 25
PREVIEW = 5  # rows that are shown of a table that is in its file
_WIDTH_ELSEWHERE = 120
_GAP = "  "
_LEAST = 8


@contextlib.contextmanager
def quiet_pipe(lost: str = "") -> Iterator[None]:
    """Ignore that whoever reads the standard output stops reading (``| head``); raise an error where much is `lost`."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):  # what is still buffered goes nowhere: else Python complains
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        if lost:
            raise OutputError(f"the standard output was closed before {lost}") from None


def is_terminal() -> bool:
    """Check whether a person sees the standard output."""
    return sys.stdout.isatty()


def show(line: str = "") -> None:
    """Write one line to the standard output, without what could move a terminal's cursor."""
    print(printable(line))


def sized(size: int) -> str:
    """Return a number of bytes with its unit."""
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{-(-size // 1000):,} kB"


class LiveText:
    """Shows a text on the standard error stream as it comes. An empty text says that it starts anew."""

    def __init__(self) -> None:
        self._ends_line = True

    def __call__(self, row: int, text: str) -> None:
        """Show a piece."""
        if not text:
            text = "[interrupted; retrying]\n" if self._ends_line else "\n[interrupted; retrying]\n"
        self._ends_line = text.endswith("\n")
        sys.stderr.write(printable(text))
        sys.stderr.flush()

    def __enter__(self) -> LiveText:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ends_line:
            print(file=sys.stderr)


def write_table(table: Any, form: str, *, kept: str = "") -> None:
    """Write a whole table to the standard output, or raise `OutputError` that names the file where it is instead.

    Where a reader that stops reading would lose rows, `kept` says where they are, or how they would be.
    """
    from .. import tables  # noqa: PLC0415 - loads pandas

    lost = f"all {counted(len(tables.view(table)), 'row')} were written; {kept}" if kept else ""
    with quiet_pipe(lost):
        try:
            for remark in tables.write_stream(table, sys.stdout, form):
                say(f"the standard output: {remark}")
        except OutputError as error:
            place = _saved(table, form)
            where = f"the whole table is in {place}" if place else "no other file could be written: the table is lost"
            raise OutputError(f"{error}; {where}") from None


def _saved(table: Any, form: str) -> str | None:
    """Write a table to a private file, here or in the system's folder for such files; return its path."""
    from .. import tables  # noqa: PLC0415
    from ..disk import sync  # noqa: PLC0415

    for folder in (os.getcwd, tempfile.gettempdir):
        place = None
        try:
            descriptor, place = tempfile.mkstemp(f".{form}", "tablenodes-unwritten-", folder())
            with open(descriptor, "w", encoding="utf-8", newline="") as handle:
                tables.write_stream(table, handle, form)
                sync(descriptor)
        except OSError:
            if place is not None:
                with contextlib.suppress(OSError):
                    os.unlink(place)
        else:
            return place
    return None


def write_text_part(table: Any, form: str, *, kept: str) -> None:
    """Write to the standard output what text can hold of a table that could not be written elsewhere."""
    from .. import tables  # noqa: PLC0415 - loads pandas

    part, left_out = tables.text_part(table)
    for name in left_out:
        say(f"column {name!r} is not printed: its values cannot be written as text")
    write_table(part, form, kept=kept)


def show_table(table: Any, rows: int = ROWS_SHOWN) -> None:
    """Show a table's first rows aligned, each in one line, as wide as the terminal."""
    from .. import tables  # noqa: PLC0415 - loads pandas

    view = tables.view(table)
    shown = [[cell_text(cell) for cell in row] for row in islice(view.rows(view.columns), rows)]
    numbers = [_is_number(column) for column in zip(*shown, strict=True)]
    for line in aligned([[cell_text(name) for name in view.columns], *shown], right=numbers, width=terminal_width()):
        print(line)
    if len(view) > rows:
        print(f"… and {counted(len(view) - rows, 'more row')}")


def cell_text(cell: Any) -> str:
    """Return a cell as one line that is safe to show."""
    import orjson  # noqa: PLC0415 - loaded where it is used

    if cell is None:
        return ""
    if not isinstance(cell, str):
        try:
            cell = orjson.dumps(cell).decode()
        except TypeError:  # a cell that cannot be JSON
            cell = "?"
    return printable(cell[:1000]).replace("\n", "⏎").replace("\t", " ")


def terminal_width() -> int:
    """Return how many characters fit in a line."""
    return shutil.get_terminal_size((_WIDTH_ELSEWHERE, 24)).columns if is_terminal() else _WIDTH_ELSEWHERE


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[bool] = (), width: int | None = None) -> Iterator[str]:
    """Return rows, at least one, as aligned lines, those that are `right` by their ends, the widest cut to `width`.

    Of the first row's names, the middle is cut: many begin alike, such as all columns of a node.
    """
    widths = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    while width is not None and widths and sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        widest = max(widths)
        if widest <= _LEAST:
            break
        widths[widths.index(widest)] = widest - 1
    for number, row in enumerate(rows):
        texts = row if number else [_without_middle(text, widths[at]) for at, text in enumerate(row)]
        cells = [_fit(text, widths[at], bool(right and right[at])) for at, text in enumerate(texts)]
        yield _GAP.join(cells).rstrip()


def _without_middle(text: str, width: int) -> str:
    end = width // 2
    return f"{text[: width - 1 - end]}…{text[-end:]}" if text.isascii() and len(text) > width else text


def _fit(text: str, width: int, right: bool) -> str:
    if columns_of(text) > width and text.isascii():
        text = f"{text[: width - 1]}…"
    elif columns_of(text) > width:
        import wcwidth  # noqa: PLC0415 - loaded where it is used

        text = f"{wcwidth.clip(text, 0, width - 1)}…"
    blanks = " " * (width - columns_of(text))
    return blanks + text if right else text + blanks


def _is_number(texts: Sequence[str]) -> bool:
    filled = [text for text in texts if text]
    return bool(filled) and all(text.lstrip("-").replace(".", "", 1).isdigit() for text in filled)
