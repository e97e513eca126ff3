"""Ctrl-C, SIGTERM and SIGHUP as a number that the loop looks at, never as an exception in the middle of something."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

HANGUP: int | None = getattr(signal, "SIGHUP", getattr(signal, "SIGBREAK", None))
"""What a process gets whose terminal is lost, such as that of a remote session; on Windows, whose window is closed."""
AT_ONCE = 2  # from this level on the run leaves without waiting for what is in flight


def is_from_handler(error: BaseException) -> bool:
    """Check whether a signal's handler raised an error, in the middle of whatever was going on."""
    if not isinstance(error, Exception):
        return True
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = {getattr(getattr(each, "__func__", each), "__code__", None) for each in handlers} - {None}
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code not in codes:
        trace = trace.tb_next
    return trace is not None


class Interrupts:
    """While it is entered, signals only count: Ctrl-C one level, SIGTERM and SIGHUP all levels at once.

    Outside the main thread, where Python delivers no signals, it does nothing. `level` is 0: go on; 1: send nothing
    new, let what is in flight come to its end; `AT_ONCE` or more: leave.
    """

    def __init__(self) -> None:
        self.level = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        """Handle the signals until the exit."""
        if threading.current_thread() is threading.main_thread():
            # A shell has a process in the background ignore Ctrl-C; what is no handler of Python's cannot be put back.
            if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
                self._take(signal.SIGINT, 1)
            for number in (signal.SIGTERM, HANGUP):
                if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
                    self._take(number, AT_ONCE)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have signals do what they did before, while somebody else's code runs."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def _take(self, number: int, levels: int) -> None:
        def count(signum: int, frame: FrameType | None) -> None:
            self.level += levels

        self._before[number] = signal.signal(number, count)
