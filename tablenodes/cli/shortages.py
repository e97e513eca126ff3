"""Errors of a machine that has too little of something: one line each, since there is no mistake to look for."""

from __future__ import annotations

import errno

_LONGEST = 200
_ERRNO = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)


def shortage(error: BaseException) -> str | None:
    """Give what the machine lacks, in one line; None where an error is about something else."""
    if isinstance(error, MemoryError):
        return "there is not enough memory; give the process more of it, or less of the table (--rows)"
    first = str(error).strip().partition("\n")[0][:_LONGEST]
    if isinstance(error, ImportError):
        return f"a library cannot be loaded, for want of memory or because it is not installed right: {first}"
    is_thread = isinstance(error, RuntimeError) and "can't start new thread" in first
    is_arrow = type(error).__module__.partition(".")[0] == "pyarrow" and "thread" in first
    if is_thread or is_arrow or (isinstance(error, OSError) and error.errno in _ERRNO):
        return f"the machine gives this process no more memory, threads or files: {first}"
    return None
