"""What the exceptions of requests and of what lies below it mean, in the words of `Answer.fault`."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3.exceptions as below

from .network_environment import refused_by

_Table = tuple[tuple[str, tuple[type[BaseException], ...]], ...]
TIMEOUT = "timeout"  # a fault that has another name by what was heard until then

# In both tables the first line that fits any of the causes decides.
_BEFORE_SENDING: _Table = (
    ("proxy", (below.ProxyError, below.ProxySchemeUnknown, requests.exceptions.ProxyError)),
    ("proxy", (requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema)),
    ("dns", (below.NameResolutionError, socket.gaierror)),
    ("connect", (below.NewConnectionError,)),
    ("tls", (ssl.SSLCertVerificationError,)),
    (TIMEOUT, (below.TimeoutError, TimeoutError, requests.exceptions.ConnectTimeout)),
    ("connect", (below.HTTPError, http.client.HTTPException, ConnectionError, ssl.SSLError)),
)
_AFTER_SENDING: _Table = (
    (TIMEOUT, (below.TimeoutError, TimeoutError, requests.exceptions.Timeout)),
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
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b")
"""http.client's own words: there is no other form of the status with which a proxy refuses CONNECT."""


def fault_of(error: BaseException, *, sent: bool, proxy: str) -> tuple[str, str]:
    """Return the fault's name, which may be `TIMEOUT`, and the words for it: no word of the server's is among them."""
    chain = list(_causes(error))
    if sent:
        return _first_fit(chain, _AFTER_SENDING)
    for each in chain:
        if type(each) is OSError and (found := _TUNNEL.match(str(each))):
            return refused_by(proxy, int(found[1]))
    fault, words = _first_fit(chain, _BEFORE_SENDING)
    return "proxy" if fault == "connect" and proxy else fault, words


def never_sent(error: BaseException) -> bool:
    """Check whether the error of a session that is not ours says that the request did not leave."""
    return any(isinstance(each, _NEVER_SENT) for each in _causes(error))


def drop_frames(error: BaseException) -> None:
    """Drop the frames that an error came through: urllib3 keeps errors in their variables, and sockets with them."""
    for each in [*_causes(error)]:
        each.__traceback__ = None


def _first_fit(chain: list[BaseException], table: _Table) -> tuple[str, str]:
    for fault, kinds in table:
        for each in chain:
            if isinstance(each, kinds):
                return fault, _words(chain, each)
    return "internal_error", type(chain[0]).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it, outermost first, wherever its class keeps that."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        inner = [getattr(error, "reason", None), getattr(error, "original_error", None), *error.args]
        inner += [error.__cause__, error.__context__]
        error = next((each for each in inner if isinstance(each, BaseException)), None)


def _words(chain: list[BaseException], deciding: BaseException) -> str:
    """Return what the system or the TLS library says, else only what kind of error it is."""
    for error in reversed(chain):
        if isinstance(error, ssl.SSLCertVerificationError):
            return str(error.verify_message)
        if isinstance(error, OSError) and error.errno is not None:
            return str(error.strerror).partition(" (_ssl.c")[0]
    return type(deciding).__name__
