"""Why rows are not sent, in words."""

from __future__ import annotations

from ...errors import EndedError, TransportError

_NOT_SENT_BECAUSE = {
    "auth": "the server refuses the key, or wants one where none was sent",
    "quota": "the account's quota is spent",
    "rate_limited": "the server asks to wait longer than this run waits; run again later",
    "outage": "the server did not answer anybody; run again later",
    "max_requests": "max_requests is reached",
    "token_budget": "token_budget is spent",
    "interrupted": "the run was interrupted",
    "journal": "the journal failed",
    "transport": "nothing carries requests any more",
    "failure": "the run had to end",
}


def not_sent_because(stopped: str) -> str:
    """Say why a row was not sent, by the reason for which the scheduler has stopped."""
    return f"not sent: {_NOT_SENT_BECAUSE.get(stopped, stopped)}"


def transport_failed(error: BaseException) -> EndedError:
    """Give the error that ends a run, for whatever came out of a transport."""
    if isinstance(error, EndedError):
        return error
    ended = TransportError(f"the transport failed with {type(error).__name__}")
    ended.__cause__ = error
    return ended
