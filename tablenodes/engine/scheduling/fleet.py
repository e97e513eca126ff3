"""Several servers: which of them a row is sent to, which is left while it fails, and when it is tried again."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any, cast

from .. import policy
from ..outcomes.rules import Failure
from .beginning import asked_of, beginning_of
from .fleet_member import FleetAdmission, Member
from .front import Front
from .scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from ...settings import Limits, Retry
    from ..outcomes.judge import Verdict
    from .admission import Admission
    from .attempts import Done
    from .circuits import Trial
    from .stops import Wait


class _Circuits:
    """The circuits of all servers, as far as whoever chooses fresh rows asks for them."""

    __slots__ = ("_fleet",)

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def misses(self, key: int, model: str) -> bool:
        """Check whether a call need not be sent, for no server knows the model."""
        return all(each.circuits.misses(key, model) for each in self._fleet.members)

    @property
    def suspected_model(self) -> str | None:
        """The model of which the next leap is to find a row; None where it may be any row."""
        leaping = self._fleet.leaping
        return None if leaping is None else leaping.circuits.suspected_model

    @property
    def answered(self) -> bool:
        """Whether any server has answered."""
        return any(each.circuits.answered for each in self._fleet.members)

    def leapt(self, *, found: bool, is_last: bool) -> None:
        """Record that a leap was made."""
        if (leaping := self._fleet.leaping) is not None:
            leaping.circuits.leapt(found=found, is_last=is_last)

    @property
    def trial(self) -> Trial | None:
        """A server's suspicion that does not know yet how many rows are to be looked at."""
        trials = (each.circuits.trial for each in self._fleet.members)
        return next((trial for trial in trials if trial is not None and trial.probes is None), None)

    def take_held(self) -> dict[int, Verdict]:
        """Return none: each server holds its own."""
        return {}


class Fleet(Front):
    """A scheduler for several servers that answer alike.

    A call goes to the server that would answer it soonest, by the time that its answers take and the calls that it has.
    Where others are nearly as good, rows whose prompts begin alike go to the same one, which has that in its cache. A
    server that fails is left, and tried again with single rows; what failed there is sent elsewhere. Only what all
    servers refuse is a row's end, and where all are down it is as with one.
    """

    admission: FleetAdmission

    def __init__(
        self, servers: int, limits: Limits, retry: Retry, *, admission: Admission | None = None, **options: Any
    ) -> None:
        self.members: list[Member] = []
        if not isinstance(admission, FleetAdmission):
            admission = FleetAdmission(servers, limits, retry)
        super().__init__(limits, retry, admission=admission, **options)
        options = {**options, "sent_before": 0, "at_most_once": self._at_most_once}
        self.members += [Member(self, number, limits, retry, **options) for number in range(servers)]
        self.circuits = cast("Any", _Circuits(self))
        self._placed: dict[int, tuple[Member, Any]] = {}
        self._in_flight = cast("Any", self._placed)
        self.failed_at: dict[int, set[int]] = {}  # by row, the servers that it has failed at
        self._asked: dict[int, set[int]] = {}
        self._rooms = [0] * servers
        self._front: Member | None = None
        self.served_by = bytearray()  # by row, as many as are asked for: one more than the number of its last server
        self.rows_of: Callable[[int], Iterable[int]] = lambda key: ()  # of a call whose key is below 0

    @property
    def shared(self) -> tuple[Any, ...]:
        """What all servers have in common: the rows that have failed, what waits, sends, and their kinds."""
        return self._rows, self._waiting, self._granted, self.retries

    @property
    def away(self) -> dict[int, tuple[str, str]]:
        """The servers that get no rows now but single ones, by number: the reason or the last outcome, and words."""
        return {each.number: why for each in self.members if (why := each.away) is not None}

    # Where a call goes.

    def server_of(self, key: int) -> int:
        """Return the number of the server that a call in flight goes to."""
        return self._placed[key][0].number

    def started(self, key: int, now: float, tokens: int = 0, body: bytes = b"") -> float:
        member = self._choose(key, body, now)
        self._rooms[member.number] -= 1
        self._placed[key] = member, self._pacing.started(now, tokens)
        if self._learned.active:
            self._learned.sent(now)
        return member.started(key, now, tokens)

    def _choose(self, key: int, body: bytes, now: float) -> Member:
        """Return the server for a call."""
        able = [each for each in self.members if self._rooms[each.number] > 0] or self.members
        if len(able) > 1 and (refused := self._asked.get(key)) is not None:
            able = [each for each in able if each.number not in refused] or able
        if len(able) > 1 and (failed := self.failed_at.get(key)) is not None:
            able = [each for each in able if each.number not in failed] or able
        if len(able) == 1:
            return able[0]
        asked = asked_of(body)
        model = asked.get("model")
        able = [each for each in able if model not in each.circuits.missing_models] or able
        known = [each.seconds for each in able if each.seconds is not None]
        guess = min(known, default=1.0)
        for each in able:
            each.look_again(guess, now)
        told = [(each, each.expects) for each in able]
        load = {each: guess * (1 + each.in_flight) if time is None else time for each, time in told}
        beginning = beginning_of(asked)
        home = max(able, key=lambda each: hashlib.blake2b(beginning, salt=b"%d" % each.number).digest())
        best = min(able, key=load.__getitem__)
        return home if load[home] <= policy.STICKINESS * load[best] else best

    def has_other(self, member: Member, now: float) -> bool:
        """Check whether another server takes calls now."""
        return any(each is not member and not each.is_probing and each.room(now) > 0 for each in self.members)

    def serves_beside(self, member: Member, now: float) -> bool:
        """Check whether another server is there that does not ask to wait longer than a run waits."""
        return any(each is not member and each.left is None and not self._rests(each, now) for each in self.members)

    def _rests(self, member: Member, now: float) -> bool:
        return member.admission.paused_until > now + self._retry.max_retry_after

    def asks_another(self, member: Member, key: int) -> bool:
        """Note that a server refused a row; return whether another one that is there has not been asked."""
        asked = self._asked.setdefault(key, set())
        asked.add(member.number)
        return any(each.left is None and each.number not in asked for each in self.members)

    @property
    def is_served(self) -> bool:
        """Whether a server is there that has not been left."""
        return any(each.left is None for each in self.members)

    # How many calls may start, and which rows.

    def room(self, now: float) -> int:
        self._now = now
        self._rooms = [each.room(now) for each in self.members]
        if self.stopped is None and self._is_given_up(now):
            self.stop("outage")
        if self.stopped is not None:
            return 0
        able = [each for each in self.members if self._rooms[each.number] > 0]
        self._front = able[0] if able and all(each.is_probing for each in able) else None
        room = min(sum(self._rooms), self.admission.room(now, len(self._placed)))
        return room if self._most is None else max(0, min(room, self._unreserved()))

    def _is_given_up(self, now: float) -> bool:
        """Check whether all servers have been down for as long as one would be probed."""
        until = self._given_up_at(now)
        return until is not None and now >= until

    def _given_up_at(self, now: float) -> float | None:
        """Return until when servers are probed that are all down; None while one is not."""
        there = [each for each in self.members if each.left is None and not self._rests(each, now)]
        gates = [each.admission.outage for each in there]
        if not gates or not all(gate.is_shut for gate in gates):
            return None
        return max(gate.shut_at for gate in gates) + self._retry.outage_patience

    @property
    def is_probing(self) -> bool:
        return self._front is not None

    @property
    def leaping(self) -> Member | None:
        """The server for whose sake a fresh row from further on is sent next."""
        if self._front is not None or self.circuits.answered:
            return self._front
        return next((each for each in self.members if self._rooms[each.number] > 0 and each.leap), None)

    @property
    def leap(self) -> int:
        leaping = self.leaping
        return 0 if leaping is None else leaping.leap

    def next_retry(self, now: float, *, fresh: bool = False) -> int | None:
        if fresh and (front := self._front) is not None:
            if not (front.admission.outage.owes_retry or front.circuits.asks_waiting):
                return None
            fresh = False
        return self._waiting.pop(now, fresh=fresh, is_idle=not self._placed) if self._rows else None

    def may_send(self, key: int) -> bool:
        return self._placed[key][0].may_send(key)

    @property
    def has_sends_left(self) -> bool:
        """Whether a send may be repeated."""
        return self._most is None or self._unreserved() > 0

    def _unreserved(self) -> int:
        self._count()
        return super()._unreserved()

    # What came of it.

    def answered(self, key: int, verdict: Verdict, sends: int, now: float, model: str | None = None) -> Done | None:
        member, mark = self._placed.pop(key)
        kind = verdict.kind
        if self._pacing.active:
            self._pacing.answered(mark, None, verdict.total_tokens, len(self._placed), now, kind=kind)
        if kind is None or kind is Failure.UNUSABLE:
            self.admission.served_at = now
            member.left = None
            member.took(now - mark[0])
        if 0 <= key < len(self.served_by):
            self.served_by[key] = member.number + 1
        elif key < 0 and self.served_by:
            for row in self.rows_of(key):
                self.served_by[row] = member.number + 1
        done = member.answered(key, verdict, sends, now, model)
        self._note(key, member)
        if self.stopped is None:
            self._stop_if_spent()
        if done is not None:
            self._forget(key)
        return done

    def _note(self, key: int, member: Member) -> None:
        """Note what an answer has changed for all servers."""
        self._count()
        if member.recoveries != self._recoveries:
            self._recoveries = member.recoveries
            for each in self.members:
                each.lend(self._recoveries)

    def _forget(self, key: int) -> None:
        self.failed_at.pop(key, None)
        self._asked.pop(key, None)

    def take_ended(self) -> list[Done]:
        ended = super().take_ended()
        ended += [done for each in self.members for done in each.take_ended()]
        for done in ended:
            self._forget(done.key)
        return ended

    def abandon(self, key: int) -> tuple[int, float | None]:
        member, _ = self._placed.pop(key)
        abandoned = member.abandon(key)
        self._count()
        return abandoned

    def stop(self, reason: str, words: str = "") -> None:
        super().stop(reason, words)
        for each in self.members:
            Scheduler.stop(each, reason, words)

    def cap(self, capacity: int) -> None:
        super().cap(capacity)
        for each in self.members:
            each.cap(capacity)

    # How long it waits.

    def wait_until(self, now: float) -> float | None:
        soonest = self._waiting.soonest_end
        opens = self.admission.opens_at(now, len(self._placed))
        if opens is not None and self.stopped is None and self.has_sends_left:
            each = [opens] if opens > now else [each.wait_until(now) for each in self.members if each.left is None]
            soonest = min([soonest, *(at for at in (*each, self._given_up_at(now)) if at is not None)])
        return None if soonest == math.inf else soonest

    def give_up_waiting(self, now: float) -> None:
        """Stop where all servers ask to wait longer than a run waits; ask with nothing in flight."""
        if self.stopped is not None:
            return
        there = [each for each in self.members if each.left is None]
        opens = [each.admission.opens_at(now, 0) for each in there]
        if any(at is None or at <= now + self._retry.max_retry_after for at in opens):
            return
        paused = [each for each in there if self._rests(each, now)]
        for each in there:
            each.give_up_waiting(now)
        if paused and len(paused) == len(there) and self.stopped is None:
            self.asked_to_wait = min(each.admission.paused_until for each in paused) - now
            self.stop("rate_limited")

    def wait(self, now: float) -> Wait | None:
        if self.stopped:
            return None
        waits = [each.wait(now) for each in self.members if each.left is None]
        if any(each is None for each in waits):
            return None
        return min((each for each in waits if each is not None), key=lambda each: each.until or 0.0, default=None)

    @property
    def seconds_paused(self) -> float:
        return min(each.seconds_paused for each in self.members)

    @property
    def begun(self) -> Container[int]:
        return self._placed
