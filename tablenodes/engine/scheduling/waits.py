"""What a run waits for that is no answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .admission import Admission
    from .attempts import Attempts


class Wait(NamedTuple):
    """What a run waits for.

    Attributes
    ----------
    reason : str
        ``outage``: the server answers nobody, and is probed; ``pause``: it asks all to wait; ``pace``: a request a
        while is what the settings or the server allow; ``retry``: all that is left is tried again.
    until : float or None
        When it is over, on the scheduler's clock; None where nobody knows.
    outcome : str or None
        How the last row failed that is tried again.
    """

    reason: str
    until: float | None = None
    outcome: str | None = None


def wait_of(admission: Admission, tried: dict[int, Attempts], waiting: int, in_flight: int, now: float) -> Wait | None:
    """Give what is waited for; None where calls go out, or answers to first attempts are on their way.

    Parameters
    ----------
    admission : Admission
        What may be begun.
    tried : dict of int to Attempts
        The rows that have failed and are tried again, the one that failed last at its end.
    waiting, in_flight : int
        How many of them wait; calls that have begun.
    now : float
        The time.
    """
    last = next(reversed(tried.values()), None)
    outcome = None if last is None else last.verdict.outcome
    if admission.outage.is_shut:
        return Wait("outage", None, outcome)
    if now < admission.paused_until:
        return Wait("pause", admission.paused_until, outcome)
    if tried and in_flight + waiting <= len(tried):
        return Wait("retry", None, outcome)
    if not in_flight and admission.pacing.active:
        ready = admission.pacing.ready_at(now)
        return Wait("pace", ready if ready < math.inf else None) if ready > now else None
    return None
