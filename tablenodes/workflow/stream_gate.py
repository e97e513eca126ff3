"""The gate of a workflow's fresh rows: none goes on while a node refuses all rows alike: it would be paid in vain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..engine import policy
from ..engine.outcomes.rules import Failure
from ..engine.scheduling.circuits import reason_of, sign_of

if TYPE_CHECKING:
    from ..engine.outcomes.judge import Verdict

_REFUSALS = (Failure.FINAL, Failure.UNUSABLE)


class Refusals:
    """How a node refuses rows while it has answered none."""

    def __init__(self) -> None:
        self.is_answered = False
        self._alike: dict[str, set[int]] = {}
        self.sign = ""  # the one that most rows were refused with
        self.words = ""

    def answered(self) -> None:
        """Note that a row was answered: what was refused, was refused for itself."""
        self.is_answered = True
        self._alike.clear()

    def refused(self, key: int, verdict: Verdict, model: Callable[[], str]) -> None:
        """Count a refusal."""
        if self.is_answered or verdict.kind not in _REFUSALS:
            return
        sign = sign_of(verdict, model() if verdict.circuit == "model" else None)
        if sign is not None:
            self._alike.setdefault(sign, set()).add(key)
            self.sign, self.words = max(self._alike, key=lambda each: len(self._alike[each])), verdict.message

    @property
    def rows(self) -> int:
        """How many rows were refused alike."""
        return len(self._alike.get(self.sign, ()))


class StreamGate:
    """Decides which fresh row is next: after so many refusals `alike` of one node, some from further on, one at a time.

    If that node refuses these alike too, the run is stopped; `in_flight` says how many calls are under way, `is_full`
    whether what waits behind a slow row has no more room.
    """

    def __init__(
        self,
        refusals: Sequence[Refusals],
        alike: int | None,
        in_flight: Callable[[], int],
        stop: Callable[[str, str], None],
        is_full: Callable[[], bool],
    ) -> None:
        self._refusals = refusals
        self._alike, self._in_flight = alike, in_flight
        self._stop, self._is_full = stop, is_full
        self.holds: Callable[[], bool] = bool  # whether no fresh row is to begin now, for another reason
        self._suspect: Refusals | None = None
        self._met = self._probes = 0

    @property
    def is_narrow(self) -> bool:
        """Whether what has begun is to come as far as it can before any fresh row begins."""
        return self._is_full() or (self._suspect is not None and not self._suspect.is_answered)

    def places(self) -> int | None:
        """Return how many places further on the next fresh row is to be; 0 for the next ones, None for none now."""
        if self.holds() or (self._is_full() and self._in_flight()):
            return None
        if self._alike is None:
            return 0
        if self._suspect is None or self._suspect.is_answered:
            self._suspect = next((each for each in self._refusals if each.rows >= self._alike), None)
            if self._suspect is None:
                return 0
            self._met, self._probes = 0, -1
        if self._in_flight():
            return None
        rows, first = self._suspect.rows, self._probes < 0
        if not first and rows > self._met and self._probes + 1 >= policy.PROBES_ALIKE:
            self._stop(reason_of(self._suspect.sign), self._suspect.words)
            return None
        self._probes += first or rows > self._met  # a row that did not come to the node says nothing of it
        self._met = rows
        return int(min(policy.LEAP ** (self._probes + 1), policy.LONGEST_LEAP))
