"""A scheduler in front of others, each of which decides about some of the calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence


class Front(Scheduler):
    """A scheduler in front of others, its `members`, whose sends and tokens count together."""

    members: Sequence[Scheduler]

    def _count(self) -> None:
        """Sum up what the members have sent."""
        self.sent = self.tokens = self.repeats = self.first_try = 0
        for each in self.members:
            self.sent += each.sent
            self.tokens += each.tokens
            self.repeats += each.repeats
            self.first_try += each.first_try

    def finish(self) -> None:
        """End what waits, at each of them."""
        for each in self.members:
            each.finish()

    @property
    def has_answers(self) -> bool:
        """Whether any of them has answered."""
        return bool(self.circuits.answered)
