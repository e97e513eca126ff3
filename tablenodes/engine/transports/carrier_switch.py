"""A transport for several connections, each of which carries its own calls in its own way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..calls import Answer, Call, Event, Transport

_TURN = 0.002  # seconds between two looks at each, where several have calls under way


class CarrierSwitch:
    """A transport that hands each call to its own; `line_of` returns the number of it by the call's key."""

    def __init__(
        self,
        carriers: Sequence[Transport],
        line_of: Callable[[int], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._carriers, self._line_of, self._clock = carriers, line_of, clock
        self._open: list[set[int]] = [set() for _ in carriers]  # the calls that each has under way
        self._raised: Exception | None = None

    @property
    def capacity(self) -> int | None:
        each = [carrier.capacity for carrier in self._carriers]
        return None if None in each else sum(filter(None, each))

    def start(self, call: Call) -> None:
        line = self._line_of(call.key)
        self._open[line].add(call.key)
        self._carriers[line].start(call)

    def cancel(self, key: int) -> None:
        line = self._line_of(key)
        self._open[line].discard(key)
        self._carriers[line].cancel(key)

    def end(self, key: int, fault: str | None = None, message: str = "") -> None:
        self._carriers[self._line_of(key)].end(key, fault, message)

    def wait(self, seconds: float) -> list[Event]:
        if self._raised is not None:
            error, self._raised = self._raised, None
            raise error
        events, until = self._look(0.0), self._clock() + seconds
        busy = sum(map(bool, self._open))
        while not events and (left := until - self._clock()) > 0:
            events = self._look(left if busy < 2 else min(left, _TURN))
        return events

    def _look(self, seconds: float) -> list[Event]:
        """Return what came at any, and wait for it at one that has calls under way."""
        events: list[Event] = []
        waits = next((line for line, calls in enumerate(self._open) if calls), 0)
        for line, carrier in enumerate(self._carriers):
            try:
                found = carrier.wait(seconds if line == waits and not events else 0.0)
            except Exception as error:
                if not events:
                    raise
                self._raised = error  # what others have brought is used before
                break
            self._open[line].difference_update(each.key for each in found if type(each) is Answer)
            events += found
        return events

    def close(self) -> None:
        for carrier in self._carriers:
            carrier.close()
