"""What is known of each row of an output, as columns from which a report is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class RowColumns(NamedTuple):
    """The columns; one that nobody knows is None."""

    outcome: Sequence[str]
    reused: Sequence[bool] | None = None
    latency: Sequence[float | None] | None = None
    started: Sequence[float | None] | None = None
    attempts: Sequence[int] | None = None
    tokens: Mapping[str, Sequence[int | None]] = {}
    cost: Sequence[float | None] | None = None
