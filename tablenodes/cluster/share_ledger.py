"""The ledger of a share: who has which part of the limits, and how fast the server lets all of them send."""

from __future__ import annotations

import math
import os
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..engine import policy
from ..engine.scheduling.evidence import History
from ..engine.scheduling.learned_rate import LearnedRate
from ..engine.scheduling.lease import UNLIMITED, Amounts, Lease, Refusal, Report, Settled, Unsettled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..settings import Limits

_NOTHING = Amounts()
_MINUTE = 60.0
_ROUNDING = 1e-9
_UNITS = {"max_requests": 8.0, "token_budget": 1.0, "max_cost": 0.0}
"""What is limited in all, as in `Amounts`, and the least that is granted of it."""


@dataclass(eq=False)
class Member:
    """A process, as of its last report; `until` its lease holds, `granted` are the amounts that it may use by it.

    It goes on by the lease before that one until the answer has reached it, which its next report tells: what it had
    by that one is `had_slots` and `had_granted`.

    `journal` is the file of its answers, `dearest` what a call of its costs at the most; `settled_at` is when somebody
    was asked to read that file, `tries` how often that was in vain. `numbers` are those of its sends among all sends,
    by its own; `waiting` are refusals of sends whose turn to be counted has not come.
    """

    seen_at: float = -math.inf
    until: float = -math.inf
    calls: int = 0
    in_flight: int = 0
    slots: float = math.inf
    has_slots: int = 0
    had_slots: int = 0
    pace: float = math.inf
    has_pace: float = 0.0
    used: Amounts = _NOTHING
    granted: Amounts = _NOTHING
    had_granted: Amounts = _NOTHING
    journal: str = ""
    dearest: float = 0.0
    settled_at: float = -math.inf
    tries: int = 0
    numbers: deque[tuple[int, int, float]] = field(default_factory=deque)
    waiting: list[tuple[Refusal, float]] = field(default_factory=list)


class Ledger:
    """Leases parts of limits to its members; without a clock, it is told the time.

    The rate is learned from what all members send and the server refuses: a change of the pace counts from the moment
    on from which every member knows it. A member whose lease has run out is no member any more until it reports again;
    what it was granted counts as used, until another one has read in its journal what it really used.
    """

    def __init__(self, left: Amounts = _NOTHING) -> None:
        self._members: dict[str, Member] = {}
        self._left = left  # used by those that have left
        self._learned = LearnedRate(8, telling=2, least=20)
        self._sends: list[tuple[float, int, str]] = []  # not counted yet: when, which of its own, whose
        self._counts: deque[tuple[float, int]] = deque()  # sends of late, in all
        self._calls, self._began = 0, math.inf
        self._round = 0
        self._owed: set[str] = set()  # those that do not know the present pace
        self._known_at = -math.inf  # when all knew it
        self._ahead: str | None = None  # who may send the one that goes alone
        self._paused_until = self._served_at = self._opens_at = self._now = -math.inf

    def renew(self, report: Report, limits: Limits, now: float) -> Lease:
        """Return a member's next lease, for what it reports."""
        self._now = now = max(now, self._now)
        self._drop_late(now)
        member = self._members.setdefault(report.member, Member())
        self._note(member, report, now)
        if report.settled is not None:
            self._settle(report.settled, now)
        self._learn(member, report, now)
        if report.leaves:
            self._forget(report.member)
            self._left = self._left.plus(report.used).plus(report.held)
            del self._members[report.member]
            return Lease()
        return self._lease(report, member, limits, now)

    def at(self, now: float) -> Ledger:
        """Return the ledger to go on with: after a new start of the machine, and its clock, without its members."""
        if now >= self._now - policy.LEASE_LONGEST:
            return self
        used = self._left
        for member in self._members.values():
            used = used.plus(_kept(member))
        return Ledger(used)

    def _live(self, now: float) -> dict[str, Member]:
        return {name: member for name, member in self._members.items() if now < member.until}

    def _drop_late(self, now: float) -> None:
        """Wait for nobody whose lease has run out."""
        for name, member in self._members.items():
            if member.until <= now and member.has_slots:
                member.has_slots, member.has_pace = 0, 0.0
                self._forget(name)

    def _forget(self, name: str) -> None:
        self._owed.discard(name)
        self._ahead = None if self._ahead == name else self._ahead

    def _note(self, member: Member, report: Report, now: float) -> None:
        """Note what a member says of itself."""
        count, member.calls = report.calls - member.calls, report.calls
        self._calls += count
        if count:
            self._began = min(self._began, now)
            self._counts.append((now, count))
        member.seen_at, member.until = now, now + policy.LEASE_LONGEST
        member.in_flight, member.slots, member.pace = report.in_flight, report.slots, report.pace
        member.used, member.journal, member.dearest = report.used, report.journal, report.dearest
        self._served_at = now if report.served else self._served_at

    def _settle(self, settled: Settled, now: float) -> None:
        """Count what a member that is gone has used by its journal, in the place of what it was granted."""
        member = self._members.get(settled.member)
        if member is None or now < member.until:
            return
        if settled.used is None:
            member.tries += 1
            return
        kept = _kept(member)
        told = (granted if used == math.inf else used for used, granted in zip(settled.used, kept, strict=True))
        self._left = self._left.plus(Amounts(*map(max, member.used, told)))
        self._forget(settled.member)
        del self._members[settled.member]

    def _unsettled(self, journal: str, limits: Limits, now: float) -> Unsettled | None:
        """Return whose journal the one who writes this one is to read: of the same folder, each in its turn."""
        if journal and any(getattr(limits, name) is not None for name in _UNITS):
            for name, member in self._members.items():
                pause = policy.LEASE_LONGEST if member.tries < policy.SETTLED_SOON else policy.SETTLED_LATE
                if (
                    now >= member.until
                    and now >= member.settled_at + pause
                    and _are_neighbours(member.journal, journal)
                ):
                    member.settled_at = now
                    return Unsettled(name, member.journal, member.dearest)
        return None

    # The rate.

    def _learn(self, member: Member, report: Report, now: float) -> None:
        """Learn from sends and refusals, in the order of the sends."""
        learned = self._learned
        self._sends += [(now - ago, call, report.member) for call, ago in report.sends]
        member.waiting += [(refusal, now) for refusal in report.refusals]
        if report.refusals and not learned.active:
            self._owed = set(self._live(now))
        if self._ahead == report.member:
            self._ahead = None
        self._count_sends(now)
        for name, each in self._members.items():
            later = {call for _, call, whose in self._sends if whose == name}
            told, each.waiting = each.waiting, [it for it in each.waiting if it[0].call in later]
            self._refuse(each, (it for it in told if it[0].call not in later), now)

    def _count_sends(self, now: float) -> None:
        """Count the sends up to the moment of which all members have told."""
        told = min((member.seen_at for member in self._live(now).values()), default=now)
        ready = sorted(each for each in self._sends if each[0] <= told)
        self._sends = [each for each in self._sends if each[0] > told]
        learned = self._learned
        for at, call, name in ready:
            if not learned.active or name not in self._members:
                continue
            learned.sent(at)
            numbers = self._members[name].numbers
            numbers.append((call, learned.record.last, at))
            while numbers[0][2] < now - policy.LEASE_FOR_GOOD:
                numbers.popleft()
            if self._owed or at < self._known_at:
                learned.record.begin(learned.record.last + 1)  # it went at an earlier pace

    def _refuse(self, member: Member, refusals: Iterable[tuple[Refusal, float]], now: float) -> None:
        """Learn from refusals."""
        numbers = {call: number for call, number, _ in member.numbers}
        for (call, sent, known, asked), told in refusals:
            at, history = told - sent, self._history(told)
            number = numbers.get(call, max(1, int(history.sends - history.lately * sent)))
            self._learned.refused(number, at, max(now, at + sent - known + policy.LEASE_LAG), asked, history)
            until = -math.inf if asked is None else told - known + asked
            if asked is not None and until > max(now, self._paused_until):
                self._learned.paused(asked, until - max(now, self._paused_until))
                self._paused_until = until
                if asked >= policy.DEAR_DELAY:  # to hear of one that went alone would take as long again
                    self._learned.alone_for = None

    def _history(self, now: float) -> History:
        """Return what was sent until now."""
        while self._counts and self._counts[0][0] < now - 2 * policy.LEASE_RENEWED:
            self._counts.popleft()
        lately = sum(count for _, count in self._counts) / (2 * policy.LEASE_RENEWED)
        return History(self._calls, now - min(now, self._began), lately)

    def _paced(self, name: str, now: float) -> tuple[float, float, int | None]:
        """Return the pace of all, the seconds until it begins, and how many calls a member may begin at most."""
        learned = self._learned
        if not learned.active:
            return math.inf, 0.0, None
        before = learned.pace
        if not self._owed:
            learned.room(now)  # it judges
            if learned.rounds != self._round:
                self._round, self._owed = learned.rounds, set(self._live(now))
        if learned.pace < before:  # places that are empty fill a little, for calls of several processes bunch
            self._opens_at = now + policy.LEASE_SILENT / learned.pace
        self._tell(name, now)
        wait = max(learned.ready_at(now), self._opens_at) - now
        if learned.wave is not None:
            return learned.pace, wait, 0
        if learned.alone_for is None:
            return learned.pace, wait, None
        if self._owed or self._ahead not in (None, name):
            return learned.pace, wait, 0
        self._ahead = name
        return learned.pace, wait, 1

    def _tell(self, name: str, now: float) -> None:
        """Note that a member knows the present pace."""
        if name in self._owed:
            self._owed.discard(name)
            if not self._owed:
                self._known_at = now
                self._learned.record.begin(self._learned.record.last + 1)

    # The parts.

    def _lease(self, report: Report, member: Member, limits: Limits, now: float) -> Lease:
        pace, wait, most = self._paced(report.member, now)
        live = [*self._live(now).values()]
        others = [each for each in live if each is not member]
        part, tokens = self._part_of_pace(pace, member, others, limits)
        member.has_pace, most = (part, most) if part > 0 else (0.0, 0)
        member.had_slots, member.had_granted = member.has_slots, member.granted
        member.has_slots = self._slots(member, others, limits.concurrency)
        member.granted, spent = self._amounts(report, member, limits, len(live))
        return Lease(
            policy.LEASE_LONGEST,
            policy.LEASE_RENEWED if most != 0 else min(policy.LEASE_RENEWED, max(wait, policy.LEASE_SOON)),
            part or math.inf,
            max(0.0, wait),
            most,
            member.has_slots,
            tokens,
            member.granted,
            max(0.0, self._paused_until - now),
            now - self._served_at,
            self._learned.active,
            spent,
            self._learned.rate,
            self._unsettled(report.journal, limits, now),
        )

    def _part_of_pace(
        self, learned: float, member: Member, others: list[Member], limits: Limits
    ) -> tuple[float, float | None]:
        """Return a member's part of the pace of all, and its tokens a minute; one that is new takes what is free."""
        per_minute = limits.requests_per_minute
        pace = learned if per_minute is None else min(learned, per_minute / _MINUTE)
        tokens = limits.tokens_per_minute
        if pace == math.inf:
            return pace, None if tokens is None else tokens / (len(others) + 1)
        part = fair(pace, member.pace, [each.pace for each in others])
        tokens = None if tokens is None else tokens * part / pace
        if not member.has_slots:
            part = min(part, max(0.0, pace - sum(min(pace, each.has_pace) for each in others)))
        return part, tokens

    def _slots(self, member: Member, others: list[Member], most: int) -> int:
        """Return how many calls a member may have in flight: as many as are fair, and not in flight elsewhere."""
        part = int(fair(most, member.slots, [each.slots for each in others]) + _ROUNDING)
        taken = sum(max(each.has_slots, each.had_slots, each.in_flight) for each in others)
        return max(0, min(part, most - taken))

    def _amounts(self, report: Report, member: Member, limits: Limits, live: int) -> tuple[Amounts, str | None]:
        """Return what a member may have used in all by its next report, and which limit is used up for good."""
        others = [each for each in self._members.values() if each is not member]
        granted, spent = [*UNLIMITED], None
        for at, (name, unit) in enumerate(_UNITS.items()):
            if (limit := getattr(limits, name)) is None:
                continue
            used, held = report.used[at], report.held[at]
            left = limit - self._left[at] - used - sum(_kept(each)[at] for each in others)
            part = max(left / live, min(left, unit), held)
            granted[at] = used + max(0.0, min(max(report.wants[at], held), part, left))
            gone = sum((each.used if self._may_return(each, report) else _kept(each))[at] for each in others)
            if self._left[at] + gone + used >= limit:
                spent = spent or name
        whole = granted[0] if granted[0] == math.inf else math.floor(granted[0])
        return Amounts(whole, *granted[1:]), spent

    def _may_return(self, member: Member, report: Report) -> bool:
        """Check whether a part of what a member was granted may still come back to another one."""
        is_read = member.tries < policy.SETTLED_SOON and _are_neighbours(member.journal, report.journal)
        return member.until > self._now or is_read


def _kept(member: Member) -> Amounts:
    """Return what counts as used by a member: as much as it may have used by now, by any lease that it has."""
    return Amounts(*map(max, member.used, member.granted, member.had_granted))


def _are_neighbours(one: str, other: str) -> bool:
    """Check whether two journals are in the same folder."""
    return bool(one) and os.path.dirname(one) == os.path.dirname(other)


def fair(total: float, wanted: float, others: Iterable[float]) -> float:
    """Return somebody's part of a total: all have as much, but for those who want less, and what is over is shared."""
    wishes = sorted([wanted, *others])
    left, count = total, len(wishes)
    for number, wish in enumerate(wishes):
        part = left / (count - number)
        if wish >= part:
            return part if wanted >= part else wanted
        left -= wish
    return wanted + left / count
