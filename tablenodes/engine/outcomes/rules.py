"""The tables of outcomes: what each status, fault and error code comes to."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .server_errors import ServerError


class Failure(enum.Enum):
    """The kinds of failure, by what may be done about them; the values are the names in `Retry`."""

    NOT_EXECUTED = "not_executed"
    """The request reached no server: it may be repeated."""
    THROTTLED = "throttled"
    """The server asks everybody to slow down: it may be repeated after a shared pause."""
    SERVER_ERROR = "server_error"
    """The server failed: it may be repeated, though it may have been executed."""
    AMBIGUOUS = "ambiguous"
    """The request may have been executed and billed, and its answer is lost."""
    FINAL = "final"
    """It would fail again."""


class Rule(NamedTuple):
    """What a status or a fault comes to.

    Attributes
    ----------
    outcome : str
        The outcome of a row that ends so.
    kind : Failure
        What may be done about it.
    may_have_run : bool
        Whether the server may have executed the request, and billed it.
    words : str
        What the user is told.
    """

    outcome: str
    kind: Failure
    may_have_run: bool
    words: str


_A, _R, _S, _B, _C = Failure


def _server_failed(words: str, *, may_have_run: bool = True) -> Rule:
    return Rule("http_error", _S, may_have_run, words)


def _refused(words: str, outcome: str = "http_error") -> Rule:
    return Rule(outcome, _C, False, words)


def _broken(fault: str, kind: Failure, words: str) -> Rule:
    return Rule(fault, kind, True, words)  # may have run if it was begun to be sent at all


_STATUS_RULES = {
    400: _refused("the server refused the request"),
    401: _refused("the server refused the key", "auth"),
    402: _refused("the account has no credit", "quota_exhausted"),
    403: _refused("the server refused access", "auth"),
    404: _refused("the server knows no such address or model"),
    407: _refused("the proxy wants a user name and a password", "proxy"),
    408: _server_failed("the server waited too long for the request"),
    409: _server_failed("the server reports a conflict", may_have_run=False),
    413: _refused("the request is too large for the server"),
    422: _refused("the server cannot process the request"),
    425: _server_failed("the server is not ready for the request", may_have_run=False),
    429: Rule("rate_limited", _R, False, "too many requests for the server"),
    500: _server_failed("the server failed"),
    502: _server_failed("the gateway got no good answer from the server"),
    503: _server_failed("the server is unavailable"),
    504: _server_failed("the gateway got no answer from the server in time"),
    520: _server_failed("the gateway got a strange answer from the server"),
    521: _server_failed("the gateway was refused by the server", may_have_run=False),
    522: _server_failed("the gateway waited too long for the server"),
    523: _server_failed("the gateway does not reach the server", may_have_run=False),
    524: _server_failed("the gateway got no answer from the server in time"),
    529: Rule("http_error", _R, False, "the server is overloaded"),
}
_REDIRECT = _refused(
    "the server sends elsewhere, and redirects are not followed; check the base URL", "redirect_refused"
)
_OTHER_STATUS = _refused("the server answered with a failure")

FAULT_RULES = {
    rule.outcome: rule
    for rule in (
        _broken("dns", _A, "the server's name was not found"),
        _broken("connect", _A, "no connection to the server"),
        _broken("timeout_connect", _A, "no connection to the server in time"),
        _broken("tls", _C, "the server's certificate was not accepted"),
        _broken("proxy", _A, "the proxy gave no connection"),
        _broken("reset", _B, "the connection was reset before the answer was whole"),
        _broken("disconnected", _B, "the server closed the connection without an answer"),
        _broken("timeout_first_byte", _B, "no answer in time"),
        _broken("timeout_total", _B, "the answer was not whole in time"),
        _broken("timeout_idle", _B, "the answer stopped coming"),
        _broken("truncated", _B, "the answer was cut off"),
        _broken("protocol", _B, "the answer was not HTTP as it should be"),
        _broken("too_large", _C, "the answer is longer than Limits.body_bytes"),
        _broken("bad_encoding", _C, "the answer's content encoding cannot be read"),
        _broken("stream_truncated", _B, "the stream ended before the answer did"),
        _broken("stream_error", _B, "the stream could not be read"),
        _broken("internal_error", _C, "an error in this program"),
    )
}
REFUSED_BY_PROXY = _STATUS_RULES[407]
CUTS = frozenset(("truncated", "reset", "disconnected"))
"""Faults that end a stream in the middle."""
OPTION_REFUSED = Rule("option_refused", _A, False, "the server refused stream_options; it is asked without them")
"""Not a row's end: its outcome is the fault by which whoever added the option says that the server refused it."""

EMPTY_BODY = Rule("empty_body", _B, True, "the answer is empty")
IN_BAND = Rule("in_band_error", _B, True, "the answer carries an error in the place of a result")
NO_CHOICES = IN_BAND._replace(words="the answer has no choices")
QUOTA_SPENT = _refused("the account's quota is spent", "quota_exhausted")
FAILED_CHOICE = IN_BAND._replace(words="the model ended with an error")
NOT_AN_OBJECT = Rule("decode_error", _B, True, "the answer is not a JSON object")

REFUSED_FOR_GOOD = frozenset((401, 402, 403))
"""Statuses that ``x-should-retry: true`` does not make worth repeating."""
_QUOTA_WORDS = frozenset(
    ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "access_terminated")
)
"""Error codes and types that say that no request of this key will succeed until somebody pays."""
_STATUS_OF_WORD = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "too_many_requests": 429,
    "RESOURCE_EXHAUSTED": 429,
    "overloaded_error": 529,
    "overloaded": 529,
    "server_error": 500,
    "api_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "INTERNAL": 500,
    "service_unavailable": 503,
    "UNAVAILABLE": 503,
    "timeout": 504,
    "DEADLINE_EXCEEDED": 504,
    "invalid_request_error": 400,
    "INVALID_ARGUMENT": 400,
    "content_filter": 400,
    "context_length_exceeded": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "UNAUTHENTICATED": 401,
    "permission_error": 403,
    "PERMISSION_DENIED": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "NOT_FOUND": 404,
}
"""Machine-readable words of errors that come under a status of 200, as the statuses that they stand for."""
_CIRCUITS = {401: "auth", 402: "payment", 403: "auth"}


def rule_of_status(status: int, delay: float | None) -> Rule:
    """Give the rule of a status that is not good; `delay` is the server's, and makes a 503 a throttle."""
    rule = _STATUS_RULES.get(status, _REDIRECT if 300 <= status < 400 else _OTHER_STATUS)
    return rule._replace(kind=_R, may_have_run=False) if status == 503 and delay is not None else rule


def status_of(error: ServerError) -> int:
    """Give the status that an error under a good status stands for; 200 where nobody can tell."""
    if error.words & _QUOTA_WORDS:
        return 402
    if error.number is not None:
        return error.number
    return max((_STATUS_OF_WORD[word] for word in error.words if word in _STATUS_OF_WORD), default=200)


def circuit(status: int, error: ServerError) -> str | None:
    """Say what a failure counts against beyond its row; None for nothing."""
    if 400 <= status < 500 and error.words & _QUOTA_WORDS:
        return "quota"
    if status == 404 and ("model_not_found" in error.words or error.param == "model"):
        return "model"
    return _CIRCUITS.get(status)
