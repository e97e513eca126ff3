"""What a process and a share tell each other, a few times a second: what was used, and what may be used next."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...settings import Limits
    from .evidence import History


class Amounts(NamedTuple):
    """What is limited in all: requests, tokens, and USD."""

    requests: float = 0.0
    tokens: float = 0.0
    dollars: float = 0.0

    def plus(self, other: Amounts) -> Amounts:
        """Return both together."""
        return Amounts(*(a + b for a, b in zip(self, other, strict=True)))


UNLIMITED = Amounts(math.inf, math.inf, math.inf)


class Refusal(NamedTuple):
    """A request that the server refused for its rate.

    `call` is its number among the process's own; `sent` and `known` are how many seconds ago that was, `asked` the
    seconds that the server asked to wait then.
    """

    call: int
    sent: float
    known: float
    asked: float | None


class Unsettled(NamedTuple):
    """A process whose lease has run out: its journal has what it used, each call `dearest` USD at the most."""

    member: str
    journal: str
    dearest: float


class Settled(NamedTuple):
    """What such a process has used by its journal; None where that cannot be read, or is still held."""

    member: str
    used: Amounts | None


class Report(NamedTuple):
    """What a process says of itself as it asks for its next lease.

    `calls` is how many it has begun in all; `sends` are the numbers of those begun since its last report, and how many
    seconds ago, where the share asked for them. `slots` are the calls that it would have in flight, `pace` the calls
    that it would begin in a second (infinite for both: as many as it may). `used` counts from its beginning on, `held`
    is kept for what is in flight, `wants` what it could use until it asks again. `served` says whether the server has
    served it since. `journal` is the file that has its sends and their answers, `dearest` what a call of its costs at
    the most; `settled` is what it read of somebody else's.
    """

    member: str
    calls: int = 0
    sends: tuple[tuple[int, float], ...] = ()
    refusals: tuple[Refusal, ...] = ()
    in_flight: int = 0
    slots: float = math.inf
    pace: float = math.inf
    used: Amounts = Amounts()
    held: Amounts = Amounts()
    wants: Amounts = Amounts()
    served: bool = False
    leaves: bool = False
    journal: str = ""
    dearest: float = 0.0
    settled: Settled | None = None


class Lease(NamedTuple):
    """What a process may use until it asks again, in `renew` seconds, or the lease has run out, in `seconds`.

    `pace` are calls a second from `wait` seconds on, `most` the calls in all where that is not None, `slots` those in
    flight. `granted` counts from the process's beginning on, as `Report.used` does. All are to `pause` for so long;
    `served` is how many seconds ago the server served anybody. `itemized`: it wants to know of each send. `spent` is
    why nothing more will be granted; `rate` what the server serves, where that is known. `unsettled` is whose journal
    it is to read.
    """

    seconds: float = 0.0
    renew: float = 0.0
    pace: float = math.inf
    wait: float = 0.0
    most: int | None = None
    slots: int = 0
    tokens_per_minute: float | None = None
    granted: Amounts = UNLIMITED
    pause: float = 0.0
    served: float = math.inf
    itemized: bool = False
    spent: str | None = None
    rate: float | None = None
    unsettled: Unsettled | None = None


class Lender(Protocol):
    """What several processes share: it grants each of them a part of its limits."""

    @property
    def limits(self) -> Limits:
        """The limits of all together."""

    @property
    def renew(self) -> Callable[[Report], Lease]:
        """What returns the next lease of a process, for what it reports."""


class Rate(Protocol):
    """A pace of calls that is found or granted, and is not asked or told anything before it is `active`."""

    active: bool

    @property
    def rate(self) -> float | None:
        """Calls a second that the server serves, where it limits them and that is known."""

    def room(self, now: float) -> int:
        """Return how many calls may start now."""

    def ready_at(self, now: float) -> float:
        """Return the time from which a call may start."""

    def sent(self, now: float) -> None:
        """Record a call that starts."""

    def refused(self, send: int, at: float, now: float, asked: float | None, history: History) -> None:
        """Record the refusal of the call of a number, that began at a time."""

    def paused(self, seconds: float, longer: float) -> None:
        """Record that nothing is sent for so long, which is so much longer than it was known to be."""
