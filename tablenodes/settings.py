"""How a run is carried out: timeouts, limits and retries, as frozen values."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, fields
from typing import Any

from .errors import SettingError

MIB = 2**20


@dataclass(frozen=True)
class Timeout:
    """Seconds that one attempt may take.

    Parameters
    ----------
    connect : float
        Until the connection stands, TLS included.
    total : float
        From the start to the last byte.
    idle : float
        In a stream, from its first byte on: between any two bytes.
    payload_idle : float
        In a stream, from its first byte on: between two events with content.

    Raises
    ------
    SettingError
        If a number is not between 0.001 and 86,400.
    """

    connect: float = 10
    total: float = 600
    idle: float = 60
    payload_idle: float = 300

    def __post_init__(self) -> None:
        for field in fields(self):
            _number(self, field.name, 0.001, 86_400)


@dataclass(frozen=True)
class Limits:
    """What a run may use at most.

    Parameters
    ----------
    concurrency : int
        Requests in flight at a time, 1 to 10,000.
    requests_per_minute, tokens_per_minute : float, optional
        The pace that a run keeps; None for no pace of its own.
    max_requests : int, optional
        Requests that may be sent in all, retries and earlier runs of the same journal among them.
    token_budget : int, optional
        Tokens of this run after which nothing new is sent; those of what is in flight then come on top.
    body_bytes : int
        The longest answer in bytes, decompressed; a longer one is cut there.
    grace : float
        Seconds that requests in flight are given after Ctrl-C.

    Raises
    ------
    SettingError
        If a number is out of its range.
    """

    concurrency: int = 64
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_requests: int | None = None
    token_budget: int | None = None
    body_bytes: int = 64 * MIB
    grace: float = 30

    def __post_init__(self) -> None:
        _number(self, "concurrency", 1, 10_000, whole=True)
        _number(self, "requests_per_minute", 0.001, 1e9, optional=True)
        _number(self, "tokens_per_minute", 0.001, 1e12, optional=True)
        _number(self, "max_requests", 0, 2**53, whole=True, optional=True)
        _number(self, "token_budget", 0, 2**53, whole=True, optional=True)
        _number(self, "body_bytes", 1, 2**40, whole=True)
        _number(self, "grace", 0, 86_400)


@dataclass(frozen=True)
class Retry:
    """How often a row is tried again, by what went wrong.

    Parameters
    ----------
    not_executed : int
        After a failure that reached no server (DNS, connect, a reused connection that was dead).
    throttled : int
        After 429, 529, or 503 with a ``Retry-After``.
    server_error : int
        After 408, 409, 425, 500, 502, 503, 504 and 520 to 524.
    ambiguous : int
        After a failure that the server may have executed and billed (a read timeout, a reset, a cut answer).
        0 means at most once: then server errors are not repeated either.
    max_attempts : int
        Attempts of one row over all kinds of failure.
    row_deadline : float
        Seconds from a row's first attempt to its last. A server that asks everybody to wait longer than that, again
        and again, ends the run.
    max_retry_after : float
        The longest ``Retry-After`` in seconds that is waited for, and the longest until an allowance that is told in
        ``x-ratelimit-*`` headers is renewed, by a server that refuses. What is told to wait longer ends there, and
        nothing more is sent.
    outage_patience : float
        Seconds for which a server that answers nobody is probed before the rest is given up.

    Raises
    ------
    SettingError
        If a number is out of its range.
    """

    not_executed: int = 5
    throttled: int = 10
    server_error: int = 4
    ambiguous: int = 1
    max_attempts: int = 12
    row_deadline: float = 3600
    max_retry_after: float = 300
    outage_patience: float = 600

    def __post_init__(self) -> None:
        for name in ("not_executed", "throttled", "server_error", "ambiguous"):
            _number(self, name, 0, 1000, whole=True)
        _number(self, "max_attempts", 1, 10_000, whole=True)
        for name in ("row_deadline", "max_retry_after", "outage_patience"):
            _number(self, name, 0, 30 * 86_400)


def _number(owner: Any, name: str, low: float, high: float, *, whole: bool = False, optional: bool = False) -> None:
    value = getattr(owner, name)
    if value is None and optional:
        return
    kind_of = numbers.Integral if whole else numbers.Real  # NumPy's numbers are registered there
    fits = isinstance(value, kind_of) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        what = f"{type(owner).__name__}.{name}"
        raise SettingError(f"{what} must be {kind} from {low:,} to {high:,}{', or None' if optional else ''}")
