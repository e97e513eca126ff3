"""How long a server asks us to wait, from its headers."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from ..policy import DELAY_LENGTH, LONGEST_DELAY
from ..response_headers import header

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBER = re.compile(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|\+?inf(?:inity)?", re.ASCII)


def retry_after(headers: bytes, wall_clock: Callable[[], float] | None = None) -> float | None:
    """Give the delay that a response asks for.

    ``retry-after-ms`` (milliseconds) comes before ``Retry-After`` as seconds, and that before ``Retry-After``
    as a date. A date is measured against the response's own ``Date``, so a clock that is wrong does no harm.

    Parameters
    ----------
    headers : bytes
        The response's header lines.
    wall_clock : callable, optional
        Gives the time in seconds since 1970; it is asked only for a date in a response that has no ``Date``.

    Returns
    -------
    float or None
        Seconds, from 0 to `LONGEST_DELAY`; None where there is none, and for one that is negative, past or no
        delay at all. Nothing is raised, whatever the headers hold.
    """
    milliseconds = _number(header(headers, b"retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_DELAY)
    value = header(headers, b"retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return min(seconds, LONGEST_DELAY)
    until = _timestamp(value)
    if until is None:
        return None
    sent = _timestamp(header(headers, b"date"))
    if sent is None and wall_clock is not None:
        sent = wall_clock()
    return min(until - sent, LONGEST_DELAY) if sent is not None and until >= sent else None


def _number(value: str | None) -> float | None:
    """Give a finite or infinite number that is not negative; None for anything else."""
    if value is None or not _NUMBER.fullmatch(value := value[:DELAY_LENGTH].lower()):
        return None
    return float(value)


def _timestamp(value: str | None) -> float | None:
    """Give an HTTP date as seconds since 1970; None for anything else."""
    if value is None or not value[:1].isalpha():
        return None
    import datetime  # noqa: PLC0415 - few servers send dates, and every start of ours would pay for it
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        moment = parsedate_to_datetime(value[:DELAY_LENGTH])
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        seconds = moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None
