"""What the store knows of a row: what is asked, what came, and why nothing comes."""

from __future__ import annotations

from typing import NamedTuple

from ..engine.journal import KeptAnswer
from ..engine.sink import DOUBT

EXPIRED = "the time within which it was to be sent has passed"


class Future:
    """One pending row: what is asked, and what is known of its sends."""

    __slots__ = ("billed", "body", "deadline", "end", "final", "first_sent", "id", "number", "sends")

    def __init__(self, number: int, future_id: bytes, body: bytes, deadline: float) -> None:
        self.number = number
        self.id = future_id
        self.body = body
        self.deadline = deadline
        self.first_sent = 0.0
        self.sends = 0
        self.billed = False
        self.end = KeptAnswer()
        self.final = False

    @property
    def in_doubt(self) -> bool:
        """Whether it was sent and nothing came."""
        return self.sends > 0 and self.end.outcome is None

    def give_up(self, why: str) -> None:
        """End the row with what came of its last send; where nothing was sent, say why."""
        self.billed = self.billed or self.in_doubt
        if self.in_doubt:
            self.end = KeptAnswer("in_doubt", message=DOUBT)
        elif self.end.outcome is None:
            self.end = KeptAnswer("not_sent", message=f"not sent: {why}")
        self.final = True


class Answered(NamedTuple):
    """A row that has come to its end, and what it took."""

    end: KeptAnswer
    sends: int
    billed: bool


class Group(NamedTuple):
    """Pending rows that are asked in the same way."""

    number: int
    recipe: str
    is_untried: bool


class Waiting(NamedTuple):
    """Why pending rows are not being worked on; the reason is None where nothing keeps them."""

    recipe: str
    reason: str | None
    lacks_key: bool
    is_untried: bool
