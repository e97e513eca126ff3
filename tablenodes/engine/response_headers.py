"""Values out of a response's header lines, without making a mapping of all of them."""

from __future__ import annotations

import re
from typing import NamedTuple

_RATE_LIMIT = re.compile(
    rb"^x-ratelimit-(limit|remaining|reset)-(requests|tokens):[ \t]*([^\r\n]*?)[ \t]*\r?$", re.MULTILINE
)
_COUNT = re.compile(rb"[0-9]{1,18}(?:\.[0-9]{1,9})?")
_DURATION = re.compile(rb"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|us|ns|d|h|m|s)")
_SECONDS = {b"d": 86_400.0, b"h": 3600.0, b"m": 60.0, b"s": 1.0, b"ms": 1e-3, b"us": 1e-6, b"ns": 1e-9}


class RateLimit(NamedTuple):
    """One allowance, as a server tells it.

    Attributes
    ----------
    remaining : float
        What is left of it.
    limit : float or None
        What it is when it is full.
    reset : float or None
        Seconds until it is full again.
    """

    remaining: float
    limit: float | None = None
    reset: float | None = None


class RateLimits(NamedTuple):
    """The allowances of ``x-ratelimit-*`` headers: requests and tokens, each None where it is not told."""

    requests: RateLimit | None
    tokens: RateLimit | None


def header(headers: bytes, name: bytes) -> str | None:
    """Give the value of the first header `name`, which is written in lower case; None where there is none."""
    return header_in(headers, headers.lower(), b"\n" + name + b":")


def header_in(headers: bytes, lowered: bytes, begin: bytes) -> str | None:
    """Do as `header` does, where the lower case of the lines is at hand; `begin` is a line feed, the name, a colon."""
    start = lowered.find(begin) + len(begin)
    if start < len(begin):
        if not lowered.startswith(begin[1:]):
            return None
        start = len(begin) - 1
    end = headers.find(b"\n", start)
    return headers[start : end if end >= 0 else None].strip().decode("latin-1")


def rate_limits(lowered: bytes) -> RateLimits | None:
    """Give the allowances that header lines, in lower case, tell of; None where they tell of none."""
    found = {(subject, what): value for what, subject, value in _RATE_LIMIT.findall(lowered)}
    requests, tokens = _rate_limit(found, b"requests"), _rate_limit(found, b"tokens")
    return None if requests is None and tokens is None else RateLimits(requests, tokens)


def duration(value: bytes) -> float | None:
    """Give the seconds of ``1s``, ``6m0s``, ``20ms`` or a plain number; None for anything else."""
    if value.endswith(b"ms") and (count := _count(value[:-2])) is not None:  # by far the most common
        return count / 1000
    if (count := _count(value)) is not None:
        return count
    seconds, at = 0.0, 0
    while match := _DURATION.match(value, at):
        seconds += float(match[1]) * _SECONDS[match[2]]
        at = match.end()
    return seconds if 0 < at == len(value) else None


def _rate_limit(found: dict[tuple[bytes, bytes], bytes], subject: bytes) -> RateLimit | None:
    remaining = _count(found.get((subject, b"remaining"), b""))
    if remaining is None:
        return None
    limit = _count(found.get((subject, b"limit"), b""))
    return RateLimit(remaining, limit, duration(found.get((subject, b"reset"), b"")))


def _count(value: bytes) -> float | None:
    return float(value) if _COUNT.fullmatch(value) else None
