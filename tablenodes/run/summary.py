"""A run in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..engine.records import OK
from .display import by_outcome, counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Summary:
    """A run in numbers.

    Attributes
    ----------
    rows : int
        Rows of the table.
    outcomes : dict of str to int
        Rows by outcome, ``ok`` first.
    requests : int
        Sends that were begun.
    first_try : int
        Rows that were ok with a single send of this run.
    reused : int
        Rows whose answer came from the journal.
    retries : dict of str to int
        Sends after the first, by what made them necessary.
    prompt_tokens, completion_tokens : int
        As the server counted them.
    seconds, seconds_paused : float
        From the first to the last moment of the run, and how much of it nothing could be sent.
    stopped : str or None
        Why the run ended early.
    notes : tuple of str
        What was done otherwise than asked, and what the counts do not show, one line each.
    """

    rows: int
    outcomes: Mapping[str, int]
    requests: int = 0
    first_try: int = 0
    reused: int = 0
    retries: Mapping[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    seconds_paused: float = 0.0
    stopped: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, counts: Mapping[str, int], **numbers: Any) -> Summary:
        """Give it for rows that are counted by outcome.

        Parameters
        ----------
        counts : mapping of str to int
            Rows by outcome, in any order.
        **numbers
            The other attributes.
        """
        ordered = sorted(counts.items(), key=lambda each: (each[0] != OK, -each[1]))
        return cls(sum(counts.values()), {outcome: count for outcome, count in ordered if count}, **numbers)

    @property
    def ok(self) -> int:
        """Rows that were answered."""
        return self.outcomes.get(OK, 0)

    @property
    def failed(self) -> int:
        """Rows that were not."""
        return self.rows - self.ok

    def __str__(self) -> str:
        head = f"{counted(self.rows, 'row')} in {duration(self.seconds)}: {by_outcome(self.outcomes)}"
        return "\n".join([head, *(f"  {name:<9}{value}" for name, value in self._details())])

    def _details(self) -> Iterator[tuple[str, str]]:
        """Give what more there is to say of a run in which something was asked: names, and values with their units."""
        if not (self.requests or self.reused or self.stopped):
            return
        rate = f" ({self.requests / self.seconds:,.1f} a second)" if self.seconds > 0 and self.requests else ""
        yield "requests", f"{self.requests:,}{rate}"
        if self.reused:
            yield "reused", f"{counted(self.reused, 'row')} from the journal"
        if retried := ", ".join(f"{count:,} after {why}" for why, count in self.retries.items() if count):
            yield "retries", retried
        if self.seconds_paused >= 0.1:
            yield "paused", duration(self.seconds_paused)
        if self.prompt_tokens or self.completion_tokens:
            yield "tokens", f"{self.prompt_tokens:,} in, {self.completion_tokens:,} out"
        if self.stopped:
            yield "stopped", self.stopped
        for note in self.notes:
            yield "note", note
