"""The head of a response: which of the lines that came are its own, and the values in them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .policy import DELAY_LENGTH, LONGEST_DELAY

_TEXT = re.compile(
    r"text/|[\w.-]+/([\w.-]+\+)?(json|xml|yaml|x-yaml|x-ndjson|jsonl|jsonlines|json-seq|javascript|graphql|sql)\b"
    r"|application/(x-www-form-urlencoded|problem\b)"
)
_BLANK = (b"\r\n", b"\n")
_RATE_LIMIT = re.compile(
    rb"^x-ratelimit-(limit|remaining|reset)-(requests|tokens):[ \t]*([^\r\n]*?)[ \t]*\r?$", re.MULTILINE
)
_COUNT = re.compile(rb"[0-9]{1,18}(?:\.[0-9]{1,9})?")
_DURATION = re.compile(rb"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|us|ns|d|h|m|s)")
_SECONDS = {b"d": 86_400.0, b"h": 3600.0, b"m": 60.0, b"s": 1.0, b"ms": 1e-3, b"us": 1e-6, b"ns": 1e-9}
_NUMBER = re.compile(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|\+?inf(?:inity)?", re.ASCII)


REQUEST_ID_NAMES = (
    *(b"x-request-id", b"request-id", b"apim-request-id", b"x-ms-request-id", b"x-ms-client-request-id"),
    *(b"x-amzn-requestid", b"x-amzn-request-id", b"x-amz-request-id", b"x-goog-request-id", b"x-oai-request-id"),
    *(b"x-litellm-call-id", b"x-generation-id", b"x-openrouter-generation-id", b"cf-aig-log-id", b"nvcf-reqid"),
    *(b"msh-request-id", b"x-dashscope-request-id", b"x-siliconcloud-trace-id", b"x-tt-logid", b"trace-id"),
    *(b"x-ds-trace-id", b"mistral-correlation-id", b"x-debug-trace-id", b"x-portkey-trace-id", b"helicone-id"),
    *(b"x-kong-request-id", b"x-correlation-id", b"x-trace-id", b"x-vercel-id", b"cf-ray"),
)
"""The headers that name an exchange, at OpenAI, at others and at gateways, the best first."""
_OTHER_ID = re.compile(rb"\n(%s):" % b"|".join(REQUEST_ID_NAMES[1:]))


class RateLimit(NamedTuple):
    """One allowance as a server tells it: what remains, the limit, and the seconds until it is full again."""

    remaining: float
    limit: float | None = None
    reset: float | None = None


def final_head(lines: Iterable[bytes]) -> tuple[bytes, bool]:
    """Return the header lines of the last response, and whether its blank line came.

    The lines may be those of interim responses (1xx), of a proxy's answer to CONNECT, of the final response, and of
    a trailer behind its body, each with its end. The status line and the blank line are left out.
    """
    final: list[bytes] = []
    complete = in_head = False
    for line in lines:
        if not in_head and line.startswith(b"HTTP/"):
            final, in_head, complete = [], True, False
        elif in_head and line in _BLANK:
            in_head, complete = False, True
        elif in_head:
            final.append(line)
    return b"".join(final), complete


def tells_its_length(headers: bytes) -> bool:
    """Check whether header lines say where the body ends; else only the connection's end does."""
    names = {line.partition(b":")[0].strip().lower() for line in headers.splitlines()}
    return not names.isdisjoint((b"content-length", b"transfer-encoding"))


def is_event_stream(headers: bytes) -> bool:
    """Check whether header lines announce an event stream."""
    lowered = headers.lower()
    kind = header_in(lowered, lowered, b"\ncontent-type:") or ""
    return kind.partition(";")[0].rstrip() == "text/event-stream"


def is_text(headers: bytes, body: bytes) -> bool:
    """Check whether a body is text in UTF-8: by its kind, which header lines in lower case name, and its bytes."""
    kind = header_in(headers, headers, b"\ncontent-type:") or ""
    if body and kind and not _TEXT.match(kind):
        return False
    try:
        return body.isascii() or bool(body.decode())
    except UnicodeDecodeError:
        return False


def header(headers: bytes, name: bytes) -> str | None:
    """Return the value of the first header `name`, which is written in lower case; None where there is none."""
    return header_in(headers, headers.lower(), b"\n" + name + b":")


def header_in(headers: bytes, lowered: bytes, begin: bytes) -> str | None:
    """Return what `header` does, given the lines in lower case; `begin` is a line feed, the name and a colon."""
    start = lowered.find(begin) + len(begin)
    if start < len(begin):
        if not lowered.startswith(begin[1:]):
            return None
        start = len(begin) - 1
    end = headers.find(b"\n", start)
    return headers[start : end if end >= 0 else None].strip().decode("latin-1")


def request_id(headers: bytes, lowered: bytes) -> str | None:
    """Return the server's or a gateway's name for an exchange, given header lines as they are and in lower case."""
    if (named := header_in(headers, lowered, b"\nx-request-id:")) is not None:
        return named
    if found := _OTHER_ID.findall(b"\n" + lowered):
        return header_in(headers, lowered, b"\n%s:" % min(found, key=REQUEST_ID_NAMES.index))
    return None


def rate_limits(lowered: bytes) -> tuple[RateLimit | None, RateLimit | None] | None:
    """Return the allowances of requests and of tokens in header lines in lower case; None where there are none."""
    found = {(subject, what): value for what, subject, value in _RATE_LIMIT.findall(lowered)}
    requests, tokens = _rate_limit(found, b"requests"), _rate_limit(found, b"tokens")
    return None if requests is None and tokens is None else (requests, tokens)


def _rate_limit(found: dict[tuple[bytes, bytes], bytes], subject: bytes) -> RateLimit | None:
    remaining = _count(found.get((subject, b"remaining"), b""))
    if remaining is None:
        return None
    limit = _count(found.get((subject, b"limit"), b""))
    return RateLimit(remaining, limit, duration(found.get((subject, b"reset"), b"")))


def duration(value: bytes) -> float | None:
    """Return the seconds of ``1s``, ``6m0s``, ``20ms`` or a plain number; None for anything else."""
    if value.endswith(b"ms") and (count := _count(value[:-2])) is not None:  # by far the most common
        return count / 1000
    if (count := _count(value)) is not None:
        return count
    seconds, at = 0.0, 0
    while match := _DURATION.match(value, at):
        seconds += float(match[1]) * _SECONDS[match[2]]
        at = match.end()
    return seconds if 0 < at == len(value) else None


def _count(value: bytes) -> float | None:
    return float(value) if _COUNT.fullmatch(value) else None


def retry_after(headers: bytes, wall_clock: Callable[[], float] | None = None) -> float | None:
    """Return the seconds, from 0 to `LONGEST_DELAY`, that a response asks to wait; None where it asks for nothing.

    ``retry-after-ms`` comes before ``Retry-After`` as seconds, and that before ``Retry-After`` as a date. A date is
    measured against the response's own ``Date``, so that a wrong clock does no harm; `wall_clock` (seconds since 1970)
    is asked only where there is none. What is negative, past or no delay at all counts as nothing.
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
    """Return a finite or infinite number that is not negative; None for anything else."""
    if value is None or not _NUMBER.fullmatch(value := value[:DELAY_LENGTH].lower()):
        return None
    return float(value)


def _timestamp(value: str | None) -> float | None:
    """Return an HTTP date as seconds since 1970; None for anything else."""
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
