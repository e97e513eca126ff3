"""What the process says to who started it."""

from __future__ import annotations

OK = 0
BAD_INPUT = 1
BAD_USAGE = 2
SOME_FAILED = 3
INTERRUPTED = 130
