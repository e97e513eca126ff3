"""Records of a run whose rows nobody knows the number of: their ends are in the store, only counts are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engine.records import Records

if TYPE_CHECKING:
    from ..engine.calls import Answer
    from ..engine.scheduling.attempts import Done
    from ..problems import Rejected


class Tally(Records):
    """Takes every end and keeps none."""

    def __init__(self) -> None:
        super().__init__(0)
        self.attempts = self.maybe_billed = self.reused = _Nowhere()  # type: ignore[assignment]

    def answer(self, answer: Answer, done: Done) -> None:
        """Take an end."""
        self._settle(done.key, done.verdict.outcome)

    def reject(self, row: int, rejected: Rejected) -> None:
        """Take it that a row is not sent."""
        self._settle(row, rejected.outcome)

    def unanswered(self, row: int, outcome: str, message: str) -> None:
        """Take it that a row has no answer."""
        self._settle(row, outcome)

    def _settle(self, row: int, outcome: str) -> None:
        self.counts[outcome] += 1


class _Nowhere:
    """A place a row where nothing is kept."""

    def __setitem__(self, row: int, value: Any) -> None:
        pass
