"""Lines for a person on the standard error stream: what happens beside what is returned."""

from __future__ import annotations

import contextlib
import sys
from io import StringIO
from typing import TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Write one line for a person to the standard error stream."""
    with contextlib.suppress(OSError, ValueError):  # what cannot be said decides nothing
        print(f"tablenodes: {printable(text)}", file=stream or sys.stderr or StringIO())


def printable(text: str) -> str:
    """Escape what could move a terminal's cursor or fake a line: control characters but no line break."""
    return "".join(c if c in "\n\t" or (c.isprintable()) else f"\\x{ord(c):02x}" for c in text)


def counted(number: int, thing: str) -> str:
    """Return ``1 row`` or ``2,000 rows``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def money(usd: float) -> str:
    """Return an amount of US dollars: ``$12.40``, ``$0.42``, ``$0.00031``."""
    return f"${usd:,.2f}" if usd >= 0.1 or not usd else f"${float(f'{usd:.2g}'):.12f}".rstrip("0").rstrip(".")
