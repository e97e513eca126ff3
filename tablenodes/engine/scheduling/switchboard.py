"""Several connections in one run: each has a scheduler of its own, and what is asked of all is asked here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from .. import policy
from .front import Front

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...settings import Limits, Retry
    from ..outcomes.judge import Verdict
    from .attempts import Done
    from .scheduler import Scheduler
    from .stops import Wait


def _never(_: int) -> bool:
    return False


class _Circuits:
    """The circuits of all connections, as far as whoever chooses fresh rows asks for them."""

    __slots__ = ("_board",)
    suspected_model = None

    def __init__(self, board: Switchboard) -> None:
        self._board = board

    @property
    def answered(self) -> bool:
        """Whether any connection has answered."""
        return any(each.has_answers for each in self._board.members)

    def misses(self, key: int, model: str) -> bool:
        """Check whether a call need not be sent, for its server does not know the model."""
        return self._board.member_of(key).circuits.misses(key, model)

    def take_held(self) -> dict[int, Verdict]:
        """Return none: each connection holds its own."""
        return {}


class Switchboard(Front):
    """A front for schedulers, one a connection; `line_of` returns the number of a call's, by its key.

    The requests and tokens of all count together. Where one has stopped, all have. `rooms` are how many calls of each
    may start; whoever hands out fresh calls asks `has_room` for each, and sets `holds`: whether some of a connection
    are held back.
    """

    def __init__(
        self,
        members: Sequence[Scheduler],
        line_of: Callable[[int], int],
        limits: Limits,
        retry: Retry,
        *,
        sent_before: int = 0,
    ) -> None:
        self.members, self.line_of = [*members], line_of
        self.rooms = [0] * len(self.members)
        super().__init__(limits, retry, random=float, sent_before=sent_before)
        self.circuits = cast("Any", _Circuits(self))
        self._placed: dict[int, Scheduler] = {}
        self._in_flight = cast("Any", self._placed)
        self._capacity: float = math.inf
        self.holds: Callable[[int], bool] = _never
        self._heed()

    def member_of(self, key: int) -> Scheduler:
        """Return the scheduler of a call."""
        return self.members[self.line_of(key)]

    def has_room(self, line: int) -> bool:
        """Check whether one more fresh call of a connection may start in this turn, which is counted."""
        if self.stopped is None:
            if self.rooms[line] <= 0:
                return False
            self.rooms[line] -= 1
        return True

    @property
    def is_holding(self) -> bool:  # type: ignore[override]
        return any(map(self.holds, range(len(self.members))))

    @property
    def leap(self) -> int:
        return 0

    def room(self, now: float) -> int:
        self._now = now
        self.rooms = [each.room(now) for each in self.members]
        self._heed()
        self.retries = {kind: sum(each.retries[kind] for each in self.members) for kind in self.retries}
        if self.stopped is not None:
            return 0
        room = min(sum(self.rooms), self._capacity - len(self._placed))
        return max(0, int(room if self._most is None else min(room, self._unreserved())))

    def next_retry(self, now: float, *, fresh: bool = False) -> int | None:
        for line, member in enumerate(self.members):
            if self.rooms[line] > 0 and (key := member.next_retry(now, fresh=fresh)) is not None:
                self.rooms[line] -= 1
                return key
        return None

    def put_back(self, key: int, now: float) -> None:
        self.member_of(key).put_back(key, now)

    def started(self, key: int, now: float, tokens: int = 0, body: bytes = b"") -> float:
        self._placed[key] = member = self.member_of(key)
        return member.started(key, now, tokens, body)

    def may_send(self, key: int) -> bool:
        member = self.member_of(key)
        is_repeat = self._most is not None and member._granted.get(key, 0) > 0  # noqa: SLF001 - as its own
        return not (is_repeat and self._unreserved() < 1) and member.may_send(key)

    def _unreserved(self) -> int:
        self._count()
        return super()._unreserved()

    def answered(self, key: int, verdict: Verdict, sends: int, now: float, model: str | None = None) -> Done | None:
        member = self._placed.pop(key)
        done = member.answered(key, verdict, sends, now, model)
        if (trial := member.circuits.trial) is not None and trial.probes is None:
            trial.probes = policy.PROBES_AT_END_OF_ROWS  # rows wait at other nodes: none is the last one
        self._count()
        self._heed()
        if self.stopped is None:
            self._stop_if_spent()
        return done

    def _heed(self) -> None:
        """Stop all where one has stopped."""
        for each in self.members if self.stopped is None else ():
            if each.stopped is not None:
                self.asked_to_wait = each.asked_to_wait
                self.stop(each.stopped, each.stopped_by)
                return

    def take_ended(self) -> list[Done]:
        return [done for each in self.members for done in each.take_ended()]

    def abandon(self, key: int) -> tuple[int, float | None]:
        self._placed.pop(key, None)
        abandoned = self.member_of(key).abandon(key)
        self._count()
        return abandoned

    def stop(self, reason: str, words: str = "") -> None:
        super().stop(reason, words)
        for each in self.members:
            each.stop(reason, words)

    def finish(self) -> None:
        super().finish()
        self._heed()

    def cap(self, capacity: int) -> None:
        self._capacity = capacity

    def wait_until(self, now: float) -> float | None:
        is_spent = self.stopped is not None or (self._most is not None and self._unreserved() < 1)
        each = [one._waiting.soonest_end if is_spent else one.wait_until(now) for one in self.members]  # noqa: SLF001
        soonest = min((at for at in each if at is not None), default=math.inf)
        return None if soonest == math.inf else soonest

    def give_up_waiting(self, now: float) -> None:
        for line, each in enumerate(self.members):
            if self.stopped is None and (each.waiting or self.holds(line)):
                each.give_up_waiting(now)
        self._heed()

    def wait(self, now: float) -> Wait | None:
        if self.stopped:
            return None
        found = [(line, each.wait(now)) for line, each in enumerate(self.members) if each.in_flight or each.waiting]
        found = found or [(line, each.wait(now)) for line, each in enumerate(self.members)]
        waits = [wait._replace(line=line) for line, wait in found if wait is not None]
        return min(waits, key=lambda each: each.until or 0.0) if waits and len(waits) == len(found) else None

    @property
    def trouble(self) -> tuple[str | None, str]:
        return next((why for each in self.members if (why := each.trouble)[0] is not None), (None, ""))

    @property
    def waiting(self) -> int:
        return sum(each.waiting for each in self.members)

    @property
    def seconds_paused(self) -> float:
        return max(each.seconds_paused for each in self.members)
