"""The process's own streams: what is printed arrives whole or is an error, and words to a person decide nothing."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import OutputError


class Outlet(io.RawIOBase):
    """What lies under a standard stream; it fails once at most, so that the interpreter has nothing left to write."""

    def __init__(self, under: Any, *, needed: bool) -> None:
        self._under = under
        self._needed = needed

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._under is None:
            raise io.UnsupportedOperation("fileno")
        return int(self._under.fileno())

    def isatty(self) -> bool:
        return self._under is not None and bool(self._under.isatty())

    def write(self, data: Any) -> int:
        """Write some of the bytes, and return how many; raise `OutputError` for the first that cannot be written."""
        needed, whole = self._needed, memoryview(data).nbytes
        if self._under is None:
            self._needed = False
            if needed:
                raise OutputError("the standard output is closed")
            return whole
        try:
            while (written := self._under.write(data)) is None:  # one that does not wait by itself
                select.select([], [self._under], [])
        except OSError as error:
            self._under, self._needed = None, False
            if needed and isinstance(error, BrokenPipeError):
                raise
            if needed:
                raise OutputError(f"cannot write to the standard output: {error.strerror}") from None
            return whole
        return int(written)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Let the standard streams write all that they are given, or raise an error that says why they cannot.

    An unbuffered stream (``PYTHONUNBUFFERED``, ``python -u``) takes as much of a text as there is room for, and is
    silent about the rest. On the standard error stream a failure is passed over. Streams that are not the process's
    own, such as a test's, are only kept from failing at a character that their encoding does not have.
    """
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__:
        _occupy()
    sys.stdout = _opened(sys.stdout, needed=True) if sys.stdout is sys.__stdout__ else _forgiving(sys.stdout)
    sys.stderr = _opened(sys.stderr, needed=False) if sys.stderr is sys.__stderr__ else _forgiving(sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OutputError, OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = before


def _occupy() -> None:
    """Occupy descriptors that were closed: else the next file that is opened would be a standard stream."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest that is free


def _opened(stream: Any, *, needed: bool) -> Any:
    if stream is None:
        return _text(None, needed, "utf-8", at_once=False)
    binary = getattr(stream, "buffer", None)
    if binary is None:  # replaced by something that is no file
        return stream
    with suppress(OSError, ValueError):
        stream.flush()
    at_once = bool(stream.line_buffering or stream.write_through)
    return _text(getattr(binary, "raw", binary), needed, stream.encoding, at_once=at_once)


def _text(under: Any, needed: bool, encoding: str, *, at_once: bool) -> io.TextIOWrapper:
    buffered = io.BufferedWriter(Outlet(under, needed=needed))
    return io.TextIOWrapper(buffered, encoding, "backslashreplace", line_buffering=at_once or not needed)


def _forgiving(stream: Any) -> Any:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
