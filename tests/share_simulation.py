"""Several processes that share limits, against one server, in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from limited_servers import BEGAN
from scheduler_simulation import Simulation

from tablenodes.cluster.share_ledger import Ledger
from tablenodes.engine.calls import Answer
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.scheduling import Admission, Budget, Scheduler
from tablenodes.engine.scheduling.leased_rate import LeasedRate, unpaced
from tablenodes.settings import Limits

if TYPE_CHECKING:
    from tablenodes.engine.scheduling.lease import Amounts, Lease, Report, Unsettled


@dataclass
class Lender:
    """A share in virtual time, which counts what it is asked."""

    limits: Limits = field(default_factory=Limits)
    now: float = BEGAN
    ledger: Ledger = field(default_factory=Ledger)
    renewals: int = 0

    def renew(self, report: Report) -> Lease:
        self.renewals += 1
        return self.ledger.renew(report, self.limits, self.now)


class Asked(NamedTuple):
    """A lease that comes at a time."""

    lease: Lease
    worker: Worker
    at: float

    def done(self) -> bool:
        return self.worker.now >= self.at

    def result(self) -> Lease:
        return self.lease


@dataclass
class Worker(Simulation):
    """A process that shares limits; it begins `after` seconds, each request costs `price`, a lease comes `late`.

    It writes a `journal`, and knows by `settle` what others had used by theirs.
    """

    lender: Lender = field(default_factory=Lender)
    after: float = 0.0
    price: float = 0.0
    late: float = 0.0
    journal: str = ""
    settle: Callable[[Unsettled], Amounts | None] = lambda _: None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.now += self.after
        self.lease = LeasedRate(self.lender, lambda renew, report: Asked(renew(report), self, self.now + self.late))
        self.lease.journal, self.lease.settle = self.journal, self.settle
        admission = Admission(unpaced(self.lender.limits), self.retry, self.lease)
        self.scheduler = Scheduler(self.lender.limits, self.retry, random=self.chance.random, admission=admission)
        self.budget = None
        if self.lender.limits.max_cost is not None:
            self.budget = Budget(0.0, lambda body: self.price, lambda answer, verdict, body: self.price)
        self.lease.join(self.scheduler, self.budget)

    def _start_what_may(self) -> None:
        self.lender.now = max(self.lender.now, self.now)
        self.lease.turn(self.now)
        super()._start_what_may()

    def _room(self) -> int:
        room = super()._room()
        if self.budget is None:
            return room
        return min(room, self.budget.spent + self.budget.held < self.budget._limit)  # one after the other

    def _wake(self) -> float:
        wake = super()._wake()
        return self.lease.renews_at if wake is None else min(wake, self.lease.renews_at)

    def _send(self, key: int) -> None:
        assert self.budget is None or self.budget.reserve(key, b"")
        super()._send(key)

    def _answered(self, key: int, answer: Answer) -> None:
        if self.budget is not None:
            self.budget.settle(answer, judge(answer), b"")
        super()._answered(key, answer)

    def steps(self) -> Iterator[float]:
        yield self.now
        yield from super().steps()
        self.lender.now = max(self.lender.now, self.now)
        self.lease.leave(self.now)


def together(workers: list[Worker], killed: dict[int, float] | None = None) -> None:
    """Run all, each thing in its turn; a worker that is `killed` does nothing more from a moment on."""
    turns = []
    for number, worker in enumerate(workers):
        steps = worker.steps()
        heapq.heappush(turns, (next(steps), number, steps))
    while turns:
        at, number, steps = heapq.heappop(turns)
        if at >= BEGAN + (killed or {}).get(number, 1e9):
            continue
        worker = workers[number]
        if (acts_at := worker.acts_at(at)) > at:
            heapq.heappush(turns, (acts_at, number, steps))
            continue
        worker.now = max(worker.now, at)
        if (then := next(steps, None)) is not None:
            heapq.heappush(turns, (then, number, steps))
