"""What the exceptions of requests and of what lies below it mean, in the words of `Answer.fault`."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import TYPE_CHECKING

import requests
import urllib3.exceptions as below

from ..outcomes.rules import PROXY_LOGIN
from .watched_http import TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .watched_http import Attempt

_Table = tuple[tuple[str, tuple[type[BaseException], ...]], ...]

# In both tables the first line that fits any of the causes decides.
_BEFORE_SENDING: _Table = (
    ("proxy", (below.ProxyError, below.ProxySchemeUnknown, requests.exceptions.ProxyError)),
    ("proxy", (requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema)),
    ("dns", (below.NameResolutionError, socket.gaierror)),
    ("connect", (below.NewConnectionError,)),
    ("tls", (ssl.SSLCertVerificationError,)),
    ("timeout_connect", (below.TimeoutError, TimeoutError, requests.exceptions.ConnectTimeout)),
    ("connect", (below.HTTPError, http.client.HTTPException, ConnectionError, ssl.SSLError)),
)
_AFTER_SENDING: _Table = (
    ("timeout", (below.TimeoutError, TimeoutError, requests.exceptions.Timeout)),
    ("disconnected", (http.client.RemoteDisconnected,)),
    ("truncated", (http.client.IncompleteRead, ssl.SSLEOFError)),
    ("reset", (ConnectionError,)),
    ("bad_encoding", (below.DecodeError, requests.exceptions.ContentDecodingError)),
    ("protocol", (http.client.HTTPException, below.InvalidHeader, requests.exceptions.InvalidHeader)),
    ("truncated", (requests.exceptions.ChunkedEncodingError,)),
    ("reset", (below.HTTPError, requests.exceptions.ConnectionError, OSError)),
)
_NEVER_SENT = (
    *(below.NewConnectionError, below.ConnectTimeoutError, below.ProxyError, ssl.SSLCertVerificationError),
    *(requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError, requests.exceptions.InvalidURL),
    *(requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema),
)


def fault_of(error: BaseException, attempt: Attempt) -> tuple[str, str]:
    """Give the fault's name and the words for it.

    Parameters
    ----------
    error : BaseException
        What broke the exchange.
    attempt : Attempt
        The exchange.
    """
    if isinstance(error, TooLargeError):
        return "too_large", "the answer is longer than the limit for bodies"
    if attempt.expired_at is not None:
        return _out_of_time(attempt)
    if attempt.sends:
        fault, words = _first_fit(error, _AFTER_SENDING)
        return _out_of_time(attempt) if fault == "timeout" else (fault, words)
    if attempt.proxy_status not in (None, 200):
        return proxy_refusal(attempt.proxy_status)
    fault, words = _first_fit(error, _BEFORE_SENDING)
    in_the_tunnel = attempt.proxy_status == 200
    return "proxy" if fault == "connect" and attempt.proxied and not in_the_tunnel else fault, words


def proxy_refusal(status: int | None) -> tuple[str, str]:
    """Give the fault of a proxy that answered in the server's place."""
    if status == 407:
        return PROXY_LOGIN, "the proxy asks for a user name and password (407)"
    return "proxy", f"the proxy refused with status {status}"


def never_sent(error: BaseException) -> bool:
    """Whether the error of a session that is not ours says that the request did not leave."""
    return any(isinstance(each, _NEVER_SENT) for each in _causes(error))


def _out_of_time(attempt: Attempt) -> tuple[str, str]:
    if attempt.stalled:
        return "timeout_idle", "nothing came for too long in the middle of a stream"
    if not attempt.sends:
        return "timeout_connect", "no connection in time"
    if attempt.heard:
        return "timeout_total", "the answer was not complete in time"
    return "timeout_first_byte", "no answer in time"


def let_go(error: BaseException) -> None:
    """Let go of what the frames hold that an error came through.

    urllib3 keeps errors in variables of the frames that they refer to, and Python leaves a socket open whose connection
    was reset before its TLS began: it would stay open until the garbage is collected.
    """
    for each in _causes(error):
        trace = each.__traceback__
        while trace is not None:
            held = trace.tb_frame.f_locals.get("self")
            if isinstance(held, ssl.SSLSocket):
                held.close()
            trace = trace.tb_next
        each.__traceback__ = None


def _first_fit(error: BaseException, table: _Table) -> tuple[str, str]:
    chain = list(_causes(error))
    for fault, kinds in table:
        for each in chain:
            if isinstance(each, kinds):
                return fault, _words(chain, each)
    return "internal_error", type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what caused it, outermost first, wherever its class keeps that."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        inner = [getattr(error, "reason", None), getattr(error, "original_error", None), *error.args]
        inner += [error.__cause__, error.__context__]
        error = next((each for each in inner if isinstance(each, BaseException)), None)


def _words(chain: list[BaseException], deciding: BaseException) -> str:
    """Say what the system or the TLS library says, else only what kind of error it is: no word of the server's."""
    for error in reversed(chain):
        if isinstance(error, ssl.SSLCertVerificationError):
            return str(error.verify_message)
        if isinstance(error, OSError) and error.errno is not None:
            return str(error.strerror).partition(" (_ssl.c")[0]
    return type(deciding).__name__
