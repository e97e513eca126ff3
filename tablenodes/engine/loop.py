"""The loop: the one place where rows, decisions, bytes and time meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .calls import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .calls import Request, Transport
    from .outcomes import Verdict
    from .records import Records
    from .scheduler import Scheduler

_AT_A_TURN = 64
"""Calls that are begun before answers are looked for again: a wide run begins without a pause for those that came."""
_LONGEST_WAIT = 0.1
"""Seconds after which the loop looks up at the latest: whether it is interrupted, whether the bar must move."""


class Loop:
    """Sends the rows of one table and puts every answer into its place.

    Parameters
    ----------
    request : Request
        What all calls have in common.
    transport : Transport
        What carries the bytes.
    scheduler : Scheduler
        What decides.
    records : Records
        Where the results go.
    judge : callable
        What an answer means.
    total : float
        Seconds that one attempt may take.
    grace : float
        Seconds that calls in flight are given after an interrupt.
    on_turn : callable, optional
        Called at each turn, for a bar.
    """

    def __init__(
        self,
        request: Request,
        transport: Transport,
        scheduler: Scheduler,
        records: Records,
        judge: Callable[[Answer], Verdict],
        *,
        total: float,
        grace: float,
        on_turn: Callable[[], None] | None = None,
    ) -> None:
        self._request = request
        self._transport = transport
        self._scheduler = scheduler
        self._records = records
        self._judge = judge
        self._total = total
        self._grace = grace
        self._on_turn = on_turn
        self._bodies: dict[int, bytes] = {}
        self._flying: set[int] = set()
        self._exhausted = False
        self.interrupted = False
