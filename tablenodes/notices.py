"""Lines for a person on the standard error stream: what happens beside what is returned."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from io import StringIO
from typing import TextIO

from .secret import without_passwords

VOICE: ContextVar[Callable[[str], str | None]] = ContextVar("voice", default=str)
"""What a door makes of each notice: words of its own, or None where it is not to be said."""
_INDENT = " " * 4  # what the further lines of a long one begin with…
_BESIDE = " " * 11  # … and those of a detail, which has its name before it
_WORD = re.compile(" *[^ ]+")


def say(text: str, stream: TextIO | None = None) -> None:
    """Write one line for a person to the standard error stream; a long one is folded where a terminal ends."""
    said = VOICE.get()(text)
    if said is not None:
        put(f"tablenodes: {printable(without_passwords(said))}", stream)


@contextlib.contextmanager
def voiced(voice: Callable[[str], str | None]) -> Iterator[None]:
    """Have a door say notices in its own words while the context lasts."""
    before = VOICE.set(voice)
    try:
        yield
    finally:
        VOICE.reset(before)


def put(text: str, stream: TextIO | None = None) -> None:
    """Write lines to the standard error stream."""
    stream = stream or sys.stderr or StringIO()
    with contextlib.suppress(OSError, ValueError):  # what cannot be said decides nothing
        print(folded(text, width_of(stream)), file=stream)


def width_of(stream: TextIO) -> int | None:
    """Return how many characters fit in a line of a terminal; None where a stream is none."""
    try:
        if not stream.isatty():
            return None
        return int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return None


def folded(text: str, width: int | None) -> str:
    """Return lines folded between words; those that go on are indented, and paths and addresses stay whole."""
    if width is None:
        return text
    return "\n".join(line for each in text.split("\n") for line in _folded(each, max(width, 20)))


def _folded(line: str, width: int) -> list[str]:
    """Return one line as several that are no wider, but for a word that is."""
    if len(line) <= width and line.isascii():
        return [line]
    indent = _BESIDE if line.startswith("  ") else _INDENT
    lines = [""]
    for word in _WORD.findall(line):
        if lines[-1].strip() and columns_of(lines[-1] + word) > width:
            lines.append(indent)
            word = word.lstrip(" ")  # noqa: PLW2901
        lines[-1] += word
    return lines


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    import wcwidth  # noqa: PLC0415 - loaded where it is used

    return wcwidth.width(text)


def printable(text: str) -> str:
    """Escape what could move a terminal's cursor or fake a line: control characters but no line break."""
    return "".join(c if c in "\n\t" or (c.isprintable()) else f"\\x{ord(c):02x}" for c in text)


def counted(number: int, thing: str) -> str:
    """Return ``1 row`` or ``2,000 rows``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def money(usd: float) -> str:
    """Return an amount of US dollars: ``$12.40``, ``$0.42``, ``$0.00031``."""
    return f"${usd:,.2f}" if usd >= 0.1 or not usd else f"${float(f'{usd:.2g}'):.12f}".rstrip("0").rstrip(".")
