"""Measurements, and what is computed from them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Round = Mapping[str, "Measurement"]
"""What was measured one after the other, by the contestants' names."""


@dataclass(frozen=True)
class Measurement:
    """One contestant's work, done once.

    Attributes
    ----------
    seconds : float
        The work itself, imports and set-up not counted.
    cpu_seconds : float
        CPU time of the contestant's process in it, over all threads.
    rows : int
        Rows that were asked.
    failures : int
        Rows without the right answer.
    concurrency : int
        Requests that were in flight at a time.
    versions : mapping
        Python's and the packages' versions.
    """

    seconds: float
    cpu_seconds: float
    rows: int
    failures: int
    concurrency: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows_per_second(self) -> float:
        """Rows with the right answer, a second."""
        return (self.rows - self.failures) / self.seconds

    @property
    def cpu_per_row(self) -> float:
        """CPU milliseconds a row."""
        return self.cpu_seconds / self.rows * 1000


def of(rounds: Sequence[Round], name: str) -> list[Measurement]:
    """Return the measurements of one contestant."""
    return [one[name] for one in rounds if name in one]


def median(rounds: Sequence[Round], name: str, figure: Callable[[Measurement], float]) -> float | None:
    """Return the median of a contestant's figure, or None if it was never measured."""
    figures = [figure(measurement) for measurement in of(rounds, name)]
    return statistics.median(figures) if figures else None


def ratio(rounds: Sequence[Round], name: str, base: str) -> float | None:
    """Give how many times faster than `base` a contestant is: the median of the ratios within each round.

    What disturbs the machine for a while disturbs both within a round, so it leaves their ratio alone.
    """
    ratios = [one[name].rows_per_second / one[base].rows_per_second for one in rounds if {name, base} <= one.keys()]
    return statistics.median(ratios) if ratios else None


def versions(rounds: Sequence[Round]) -> dict[str, dict[str, str]]:
    """Return the versions that each contestant ran with."""
    return {name: dict(measurement.versions) for one in rounds for name, measurement in one.items()}
