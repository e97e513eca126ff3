"""The tables of outcomes: what each status and each fault comes to, and what the user is told."""

from __future__ import annotations

import enum
from typing import NamedTuple

OUTCOMES = frozenset(
    (
        # no request was answered
        *("ok", "not_sent", "in_doubt", "upstream_failed", "pending", "invalid_request", "internal_error"),
        "skipped",  # its node's `when` says so: no failure
        "submitted",  # to a worker: no failure either
        *("invalid_id", "unknown_id"),
        # the network
        *("dns", "connect", "timeout_connect", "tls", "proxy", "reset", "disconnected"),
        *("timeout_first_byte", "timeout_total", "timeout_idle", "truncated", "protocol"),
        # the server
        *("auth", "rate_limited", "quota_exhausted", "http_error", "redirect_refused", "empty_body"),
        *("unusable", "in_band_error", "decode_error", "too_large", "bad_encoding", "stream_truncated", "stream_error"),
    )
)
"""The closed vocabulary: every row ends as one of these."""


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
    UNUSABLE = "unusable"
    """The server answered well, and what the model wrote is no answer of the kind that was asked for."""


class Rule(NamedTuple):
    """What a status or a fault comes to.

    `may_have_run` says whether the server may have executed the request, and billed it; `words` is what the user reads.
    """

    outcome: str
    kind: Failure
    may_have_run: bool
    words: str


_NOT_EXECUTED, _THROTTLED, _SERVER_ERROR, _AMBIGUOUS, _FINAL, _ = Failure


def _server_failed(words: str, *, may_have_run: bool = True) -> Rule:
    return Rule("http_error", _SERVER_ERROR, may_have_run, words)


def _refused(words: str, outcome: str = "http_error") -> Rule:
    return Rule(outcome, _FINAL, False, words)


def _broken(fault: str, kind: Failure, words: str) -> Rule:
    return Rule(fault, kind, True, words)  # may have run if a send of it has started at all


_STATUS_RULES = {
    400: _refused("the server refused the request"),
    401: _refused("the server refused the API key", "auth"),
    402: _refused("the account has no credit", "quota_exhausted"),
    403: _refused("the server refused access", "auth"),
    404: _refused("the server knows no such address or model"),
    407: _refused("the proxy needs a user name and a password", "proxy"),
    408: _server_failed("the server waited too long for the request"),
    409: _server_failed("the server reports a conflict", may_have_run=False),
    413: _refused("the request is too large for the server"),
    422: _refused("the server cannot process the request"),
    425: _server_failed("the server is not ready for the request", may_have_run=False),
    429: Rule("rate_limited", _THROTTLED, False, "the server got too many requests"),
    500: _server_failed("the server failed"),
    502: _server_failed("the gateway got no good answer from the server"),
    503: _server_failed("the server is unavailable"),
    504: _server_failed("the gateway got no answer from the server in time"),
    520: _server_failed("the gateway got an unknown answer from the server"),
    521: _server_failed("the gateway was refused by the server", may_have_run=False),
    522: _server_failed("the gateway waited too long for the server"),
    523: _server_failed("the gateway cannot reach the server", may_have_run=False),
    524: _server_failed("the gateway got no answer from the server in time"),
    529: Rule("http_error", _THROTTLED, False, "the server is overloaded"),
}
_REDIRECT = _refused(
    "the server redirects to another address, which is not followed; check the base URL", "redirect_refused"
)
_OTHER_STATUS = _refused("the server answered with an error")
QUOTA_SPENT = _refused("the account's quota is spent", "quota_exhausted")
_NO_ACCESS = _refused("the server refused access")
_TOO_LARGE = _refused("the request is larger than the account's limit", "rate_limited")

PROXY_LOGIN, PROXY_REFUSED = "proxy_login", "proxy_refused"
"""The faults of a proxy that answers CONNECT with 407 or another status that would come again."""
SPEAKS_HTTP, SPEAKS_TLS = "speaks_http", "speaks_tls"
"""The faults of a scheme that is not that of the port."""
NAME_LATER = "dns_later"
"""The fault of a name that could not be looked up now; `dns` is that of one that does not exist."""
OPTION_REFUSED = "option_refused"
"""The fault by which whoever added an option to a request says that the server refused it; it is no row's end."""
FAULT_RULES = {
    rule.outcome: rule
    for rule in (
        _broken("dns", _NOT_EXECUTED, "the server's name was not found"),
        _broken("connect", _NOT_EXECUTED, "cannot connect to the server"),
        _broken("timeout_connect", _NOT_EXECUTED, "connecting to the server timed out"),
        _broken("tls", _FINAL, "the server's certificate was not accepted"),
        _broken("proxy", _NOT_EXECUTED, "no connection through the proxy"),
        _broken("reset", _AMBIGUOUS, "the connection was reset before the answer was complete"),
        _broken("disconnected", _AMBIGUOUS, "the server closed the connection without an answer"),
        _broken("timeout_first_byte", _AMBIGUOUS, "no answer in time"),
        _broken("timeout_total", _AMBIGUOUS, "the answer was not complete in time"),
        _broken("timeout_idle", _AMBIGUOUS, "the answer stopped coming"),
        _broken("truncated", _AMBIGUOUS, "the answer was cut off"),
        _broken("protocol", _AMBIGUOUS, "the answer was not valid HTTP"),
        _broken("too_large", _FINAL, "the answer is longer than Limits.body_bytes"),
        _broken("bad_encoding", _FINAL, "the answer's content encoding cannot be decoded"),
        _broken("stream_truncated", _AMBIGUOUS, "the stream ended before the answer was complete"),
        _broken("stream_error", _AMBIGUOUS, "the stream could not be read"),
        _broken("internal_error", _FINAL, "an error in tablenodes"),
    )
} | {
    PROXY_LOGIN: _STATUS_RULES[407],
    PROXY_REFUSED: _broken("proxy", _FINAL, "the proxy refused the connection"),
    SPEAKS_HTTP: _broken("tls", _FINAL, "the address begins wrong"),
    SPEAKS_TLS: _broken("protocol", _FINAL, "the address begins wrong"),
    NAME_LATER: _broken("dns", _NOT_EXECUTED, "the server's name could not be looked up"),
}
CIRCUIT_OF_FAULT = dict.fromkeys(("tls", PROXY_LOGIN, PROXY_REFUSED, SPEAKS_HTTP, SPEAKS_TLS), "setup") | {
    "dns": "name"
}
"""What faults count against beyond their row: ``setup`` would be the same for all, ``name`` may never be found."""
CUTS = frozenset(("truncated", "reset", "disconnected"))
"""Faults that end a stream in the middle."""
HEARD = frozenset(("empty_body", "in_band_error", "decode_error", "truncated", "stream_truncated", "stream_error"))
"""Outcomes of answers that could not be used: the server that sent them is there."""
OPTION_RULE = Rule("http_error", _NOT_EXECUTED, False, "the server refused stream_options; retrying without it")

EMPTY_BODY = Rule("empty_body", _AMBIGUOUS, True, "the answer is empty")
IN_BAND = Rule("in_band_error", _AMBIGUOUS, True, "the answer has an error instead of a result")
NO_CHOICES = IN_BAND._replace(words="the answer has no choices")
UNDERWAY = IN_BAND._replace(words="the response is not finished; ask for it without `background`")
FAILED_CHOICE = IN_BAND._replace(words="the model ended with an error")
UNREADABLE = Rule("decode_error", _AMBIGUOUS, True, "the answer cannot be read as JSON")
NOT_AN_OBJECT = UNREADABLE._replace(words="the answer is not a JSON object")

REFUSED_FOR_GOOD = frozenset((401, 402, 403))
"""Statuses that ``x-should-retry: true`` does not make worth repeating."""


def rule_of_status(status: int, delay: float | None) -> Rule:
    """Return the rule of a status that is not good; `delay` is the server's (seconds), and makes a 503 a throttle."""
    rule = _STATUS_RULES.get(status, _REDIRECT if 300 <= status < 400 else _OTHER_STATUS)
    return rule._replace(kind=_THROTTLED, may_have_run=False) if status == 503 and delay is not None else rule


def rule_of_circuit(circuit: str | None, status: int, rule: Rule) -> Rule:
    """Return the rule of a refusal by what it counts against; `rule` is that of its status."""
    if circuit == "quota":
        return QUOTA_SPENT
    if circuit == "auth":
        return _STATUS_RULES[401]
    if circuit == "page" or (status == 403 and circuit == "row"):
        return _NO_ACCESS
    return _TOO_LARGE if status == 429 and circuit == "row" else rule
