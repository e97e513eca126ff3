"""The rate, and the rest, that a share leases to this process: in the place of the rate that it would learn alone."""

from __future__ import annotations

import math
import secrets
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from .. import policy
from .allowance import UNLIMITED
from .lease import Amounts, Lease, Refusal, Report, Settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...settings import Limits
    from .budget import Budget
    from .evidence import History
    from .lease import Lender, Unsettled
    from .scheduler import Scheduler


def unpaced(limits: Limits) -> Limits:
    """Return the limits of a process that has no pace by itself, for it is leased one."""
    return replace(limits, requests_per_minute=None, tokens_per_minute=None)


class Asked(Protocol):
    """A lease that was asked for; `result` waits for it, and raises what went wrong."""

    def done(self) -> bool:
        """Check whether it has come."""

    def result(self) -> Lease:
        """Return it."""


class Asking:
    """Asks a share beside the loop, one thing after the other: an answer that is slow holds nobody up."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "tablenodes-lease")

    def __call__(self, renew: Callable[[Report], Lease], report: Report) -> Asked:
        """Ask; an answer that is there at once is waited for."""
        asked = self._thread.submit(renew, report)
        wait([asked], policy.LEASE_AT_ONCE)
        return asked


class LeasedRate:
    """Starts calls as a lease allows it, reports what came of them, and renews the lease.

    The scheduler asks it as it asks a `LearnedRate`. `turn` renews the lease where it is time, and takes it once it has
    come: to be called at each turn of a loop, and `leave` at its end. Until then the old lease holds; one that has run
    out allows nothing. Times are those of the scheduler.
    """

    def __init__(
        self, lender: Lender, asking: Callable[[Callable[[Report], Lease], Report], Asked] | None = None
    ) -> None:
        self.active = True
        self._lender, self._asking = lender, asking or Asking()
        self._asked: Asked | None = None  # the next lease, which has not come
        self._lease = Lease()
        self._name = secrets.token_hex(8)
        self.renews_at = self._until = self._began = self._next_at = -math.inf
        self._is_stale = True  # what the lease says holds no more: the server has refused something
        self._left: int | None = 0
        self._calls = self._since = self._peak = 0
        self._sends: list[tuple[int, float]] = []
        self._refusals: list[tuple[int, float, float, float | None]] = []
        self._renewals, self._counted_at = policy.LEASES_AT_ONCE, -math.inf  # how many renewals may come at once
        self._served_at = -math.inf
        self._scheduler: Scheduler
        self._budget: Budget | None = None
        self._settled: Settled | None = None
        self.journal = ""  # the file that has what is sent, and what came of it
        self.settle: Callable[[Unsettled], Amounts | None] = _nothing_known

    def join(self, scheduler: Scheduler, budget: Budget | None) -> None:
        """Use the shared limits for a run's requests, tokens and money."""
        self._scheduler, self._budget = scheduler, budget
        if self._lender.limits.max_requests is not None:
            scheduler.grant(0)
        if budget is not None:
            budget.grant(0.0)

    @property
    def rate(self) -> float | None:
        """Sends a second that the server serves to all, where it limits them and that is known."""
        return self._lease.rate

    # Asked.

    def room(self, now: float) -> int:
        """Return how many calls may start now."""
        room = self._places(now)
        if room <= 0 or now < self._next_at:
            return 0
        slack = min(now - self._next_at, policy.LEASE_SLACK)
        return room if self._lease.pace == math.inf else min(room, 1 + int(slack * self._lease.pace))

    def ready_at(self, now: float) -> float:
        """Return the time from which a call may start, or the lease is renewed."""
        if self._places(now) > 0:
            return max(now, min(self._next_at, max(self.renews_at, now + policy.SHORTEST_WAIT)))
        return max(now + policy.SHORTEST_WAIT, self.renews_at)

    def _places(self, now: float) -> int:
        """Return how many calls the lease has room for, but for their pace."""
        lease = self._lease
        if self._is_stale or now >= self._until or self._scheduler.tokens >= lease.granted.tokens:
            return 0
        most = UNLIMITED if self._left is None else self._left
        return min(most, lease.slots - self._scheduler.in_flight)

    # Told.

    def sent(self, now: float) -> None:
        """Record a call that starts."""
        lease = self._lease
        self._calls += 1
        self._since += 1
        self._peak = max(self._peak, self._scheduler.in_flight)
        if lease.pace < math.inf:
            self._next_at = max(self._next_at, now - policy.LEASE_SLACK) + 1 / lease.pace
        if self._left is not None:
            self._left -= 1
        if lease.itemized:
            self._sends.append((self._calls, now))

    def refused(self, send: int, at: float, now: float, asked: float | None, history: History) -> None:
        """Record a refusal; the share hears of it at once, as far as it may be asked so often."""
        self._refusals.append((send, at, now, asked))
        if self._renewals_left(now) >= 1:
            self._is_stale, self.renews_at = True, now

    def paused(self, seconds: float, longer: float) -> None:
        """Record that the server asked to wait: the share learns it from the refusal."""

    # Renewed.

    def turn(self, now: float) -> None:
        """Ask for the next lease, if it is time, and use it if it has come."""
        if now < self.renews_at:
            return
        if self._asked is None:
            self._renewals = self._renewals_left(now) - 1
            self._asked, self._counted_at = self._asking(self._lender.renew, self._report(now)), now
        if not self._asked.done():
            self.renews_at = now + policy.LEASE_LOOKED
            return
        lease, self._asked = self._asked.result(), None
        self._use(lease, self._counted_at, now)
        unsettled = lease.unsettled
        self._settled = None if unsettled is None else Settled(unsettled.member, self.settle(unsettled))

    def leave(self, now: float) -> None:
        """Return what was not used, once a lease that was asked for has come, or will not."""
        if self._asked is not None:
            self._began = self._counted_at
            with suppress(Exception):  # `turn` has raised it, or nobody needs the lease any more
                self._asked.result()
        if self._began > -math.inf:
            self._asking(self._lender.renew, self._report(now)._replace(leaves=True)).result()

    def _renewals_left(self, now: float) -> float:
        """Return how many renewals may come at once by now."""
        saved = (now - self._counted_at) * policy.LEASES_A_SECOND
        return min(policy.LEASES_AT_ONCE, self._renewals + saved)

    def _report(self, now: float) -> Report:
        scheduler, budget = self._scheduler, self._budget
        in_flight = scheduler.in_flight
        slots, pace = self._wanted(now)
        most = min(max(slots, 1.0), self._lender.limits.concurrency)
        in_a_lease = max(most, 2.0 * self._since) if self._began > -math.inf else 4 * most
        served = scheduler.admission.served_at
        report = Report(
            self._name,
            self._calls,
            tuple((call, now - at) for call, at in self._sends),
            tuple(Refusal(call, now - at, now - known, asked) for call, at, known, asked in self._refusals),
            in_flight,
            slots,
            pace,
            Amounts(scheduler.sent, scheduler.tokens, 0.0 if budget is None else budget.spent),
            Amounts(in_flight + scheduler.repeats, 0.0, 0.0 if budget is None else budget.held),
            Amounts(
                in_a_lease,
                in_a_lease * scheduler.admission.pacing.tokens,
                math.inf if budget is None or not budget.largest else in_a_lease * budget.largest,
            ),
            served > self._served_at,
            journal=self.journal,
            dearest=0.0 if budget is None else budget.largest,
            settled=self._settled,
        )
        self._served_at = served
        self._sends, self._refusals, self._since, self._peak = [], [], 0, in_flight
        return report

    def _wanted(self, now: float) -> tuple[float, float]:
        """Return the calls that it would have in flight, and those that it would begin in a second: by what it used."""
        lease, seconds = self._lease, now - self._began
        if seconds == math.inf:
            return math.inf, math.inf
        slots = math.inf if self._peak >= lease.slots else policy.LEASE_MORE * self._peak + 2
        pace = self._since / max(seconds, policy.SHORTEST_WAIT)
        is_used = self._since + 1 >= policy.LEASE_USED * lease.pace * seconds or lease.most is not None
        return slots, math.inf if is_used else policy.LEASE_MORE * pace + 2

    def _use(self, lease: Lease, asked_at: float, now: float) -> None:
        """Go on by a new lease: for as long as if it had been granted when it was asked for."""
        scheduler, admission = self._scheduler, self._scheduler.admission
        self._lease, self._began, self._until = lease, asked_at, asked_at + lease.seconds
        saved = max(0.0, 1 - self._renewals) / policy.LEASES_A_SECOND
        self._is_stale = self._is_stale and len(self._refusals) > 0  # which the share has not heard of yet
        self.renews_at = asked_at + (saved if self._is_stale else max(lease.renew, saved))
        self._left = None if lease.most is None else lease.most - self._since
        soonest = now + lease.wait
        self._next_at = max(soonest, min(self._next_at, now + 1 / lease.pace if lease.pace else math.inf))
        admission.pause(now + lease.pause, now)
        admission.served_at = self._served_at = max(admission.served_at, now - lease.served)
        if lease.tokens_per_minute is not None:
            admission.pacing.change_tokens(lease.tokens_per_minute)
        if lease.granted.requests < math.inf:
            scheduler.grant(int(lease.granted.requests))
        if self._budget is not None:
            self._budget.grant(lease.granted.dollars)
        if lease.spent is not None:
            scheduler.stop(lease.spent)


def _nothing_known(_: Unsettled) -> Amounts | None:
    """Return what nobody knows who keeps no journal."""
    return None
