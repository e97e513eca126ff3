"""Signals to the very process that is meant: a number belongs to another one soon after its process was reaped."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator


class Process:
    """A process that runs now, or is not reaped yet; used in a `with` statement, after which it gets no signal.

    Raises
    ------
    ProcessLookupError
        From the beginning and from `send`, when there is none any more.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = open(os.pidfd_open(pid), "rb", buffering=0)  # noqa: SIM115

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def send(self, number: int = getattr(signal, "SIGKILL", 9)) -> None:
        signal.pidfd_send_signal(self._handle.fileno(), number)

    def ends(self, seconds: float) -> bool:
        """Wait for its end, that long at most, and return whether it came."""
        return bool(select.select([self._handle], [], [], seconds)[0])


@contextlib.contextmanager
def killed_in_the_end(pid: int) -> Iterator[Process]:
    """Yield a process that does not outlive what is done with it."""
    with Process(pid) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send()


def status_at_end(child: int) -> int:
    """Wait for a child's end; return its status as `os.waitpid` does, before which the number stays its own."""
    end = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert end is not None
    return end.si_status << 8 if end.si_code == os.CLD_EXITED else end.si_status
