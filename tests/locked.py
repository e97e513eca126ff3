"""A lock on an open file, for what the processes that run tests have in common; on Windows there is none."""

from __future__ import annotations

from typing import IO, Any

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]


def lock(file: IO[Any]) -> None:
    """Wait for a lock of a file of one's own; it ends when the file is closed."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX)
