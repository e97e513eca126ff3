"""The loss of the terminal, of which a process is told more than once."""

from __future__ import annotations

import signal
from contextlib import suppress

from ..engine.interrupts import HANGUP


class HangUp:
    """A handler: the first time is SIGTERM, and from then on nothing, so that what came can be written."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, *_: object) -> None:
        """Take note of the signal."""
        if not self._told:
            self._told = True
            signal.raise_signal(signal.SIGTERM)

    def take_over(self) -> None:
        """Handle the signal, unless it is ignored, as under ``nohup``, or somebody else does."""
        if HANGUP is not None and signal.getsignal(HANGUP) is signal.SIG_DFL:
            with suppress(ValueError):  # not in the main thread
                signal.signal(HANGUP, self)
