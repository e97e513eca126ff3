"""A plain new session, whose connections know whose call they carry, so that it can be ended from outside."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import threading
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from ..calls import Call
from ..outcomes.body_form import Beginning
from .network_environment import refused_in_its_place

THREADS = "tablenodes-requests"  # the name of the threads that carry calls


class SendRefusedError(Exception):
    """A request may not be sent any more: its call was ended while it was connecting."""


@dataclass(eq=False, repr=False)
class Attempt:
    """One call under way in a thread: what is known of it, and the means to end it; `room` is for its body."""

    call: Call
    started: float
    room: int
    sends: int = 0
    reused: bool = False  # known of our own session alone, as `proxy` is
    proxy: str = ""  # its host
    status: int | None = None  # of the server; None before its response has come
    headers: bytes = b""
    pieces: list[bytes] = field(default_factory=list)  # of the body, decompressed
    beginning: Beginning = field(default_factory=Beginning)
    last_piece: float | None = None  # when that of a stream was reported
    expired_at: float | None = None  # when it was ended from outside
    _stalled: bool = False
    _connection: Any = None
    _response: requests.Response | None = None

    def begin_send(self) -> None:
        """Count a send that is about to begin; `SendRefusedError` if it was ended from outside."""
        if self.expired_at is not None:
            raise SendRefusedError
        self.sends += 1

    def check_in_time(self) -> None:
        """Raise TimeoutError if it was ended from outside: its socket is shut down, and what came may look whole."""
        if self.expired_at is not None:
            raise TimeoutError

    def respond(self, response: requests.Response) -> None:
        """Keep the head of the response."""
        found = getattr(response.raw, "headers", None) or response.headers  # requests' own joins equal names
        self.headers = b"".join(f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in found.items())
        self.status = response.status_code
        self._response = response

    def take(self, piece: bytes) -> bytes:
        """Keep a piece of the body, and return as much of it as there was room for."""
        kept = piece[: self.room]
        self.room -= len(kept)
        self.pieces.append(kept)
        return kept

    def own(self, connection: Any) -> None:
        """Have `expire` end this connection from now on; no attempt that had it before does so any more."""
        with connection.lock:
            self._connection = connection
            connection.owner = self

    def let_go(self) -> None:
        """Forget what carried it: the next call has it now."""
        connection, self._connection, self._response = self._connection, None, None
        if connection is not None:
            with connection.lock:
                if connection.owner is self:
                    connection.owner = None

    def expire(self, now: float, *, stalled: bool = False) -> None:
        """End it, because its stream stalled or for another reason: its thread wakes up, where it can be woken."""
        self._stalled = stalled
        self.expired_at = now  # before its socket is shut down, after `_stalled`: the thread that wakes up reads both
        with contextlib.suppress(Exception):
            if (connection := self._connection) is not None:
                with connection.lock:
                    if connection.owner is self and (found := connection.handshaking or connection.sock) is not None:
                        sock = getattr(found, "socket", found)  # TLS within TLS has it inside
                        # SSLSocket.shutdown would drop the TLS object under the feet of the thread that reads.
                        socket.socket.shutdown(sock, socket.SHUT_RDWR)
            elif self._response is not None:  # of a session of the user's, whose adapters may be any
                self._response.raw.shutdown()

    def refused_in_its_place(self) -> tuple[str | None, str]:
        """Return the fault of a proxy that refused in the server's place, of whom nothing is left then; else None."""
        refused = refused_in_its_place(self.proxy, self.status or 0, b"".join(self.pieces))
        if refused is None:
            return None, ""
        self.status, self.headers, self.pieces = None, b"", []
        return refused

    @property
    def out_of_time(self) -> tuple[str, str]:
        """The fault of a call whose time is over, and the words for it."""
        if self._stalled:
            return "timeout_idle", "nothing arrived for too long in the middle of a stream"
        if not self.sends:
            return "timeout_connect", "connecting timed out"
        if self.status is not None:
            return "timeout_total", "the answer was not complete in time"
        return "timeout_first_byte", "no answer in time"


class Current(threading.local):
    """The attempt that the present thread is at."""

    attempt: Attempt


def new_session(current: Current, connections: int, trusted: str) -> requests.Session:
    """Make a session that retries nothing, keeps no cookie and asks no environment; `trusted` is a file or folder."""
    session = _Session()
    session.trust_env = False  # no netrc; proxies and certificates are those of `network_environment`
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    adapter = _Adapter(current, connections, trusted)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


class _Session(requests.Session):
    """A session that does not look where a redirect leads, for which it would read the whole body at once."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return that there is no redirect."""


class _Adapter(HTTPAdapter):
    """An adapter with one TLS context: to read a hundred certificates takes longer than a handshake."""

    def __init__(self, current: Current, connections: int, trusted: str) -> None:
        self._owned = {"current": current, "lock": threading.Lock()}
        self._trusted = trusted
        self._made: ssl.SSLContext | None = None
        self._making = threading.Lock()
        super().__init__(pool_maxsize=connections, max_retries=Retry(0, read=False, redirect=0))

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return a pool of connections that know their attempt."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if not issubclass(pool.ConnectionCls, _OwnedConnection):
            pool.ConnectionCls = type("Connection", (_OwnedConnection, pool.ConnectionCls), self._owned)
        return pool

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """Use the TLS context for encrypted connections."""
        host, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
        return host, {"ssl_context": self._tls} if host["scheme"] == "https" else {}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Use the TLS context for an encrypted proxy too."""
        if proxy.startswith("https:"):
            kwargs["proxy_ssl_context"] = self._tls
        return super().proxy_manager_for(proxy, **kwargs)

    def cert_verify(self, conn: Any, url: str, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the TLS context knows whom to trust, and always verifies."""

    @property
    def _tls(self) -> ssl.SSLContext:
        """The one context: each other that a thread made would have a pool of connections of its own."""
        with self._making:
            if self._made is None:
                self._made = _context(self._trusted)
            return self._made


def _context(trusted: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies, and reads no SSLKEYLOGFILE
    made.load_verify_locations(**{"capath" if os.path.isdir(trusted) else "cafile": trusted})
    return made


class _OwnedConnection:
    """What a connection does more: it counts its sends, and knows whose call it carries."""

    current: Current
    lock: threading.Lock
    owner: Attempt | None = None
    handshaking: socket.socket | None = None  # the same connection, while a handshake has taken it out of `sock`
    exchanges = 0
    debuglevel = 0  # whatever http.client's own is set to: it would print the key and the prompt

    def connect(self) -> None:
        """Connect."""
        self.exchanges = 0
        self.current.attempt.own(self)
        try:
            super().connect()  # type: ignore[misc]
        finally:
            with self.lock:
                handshaking, self.handshaking = self.handshaking, None
            if handshaking is not None:
                handshaking.close()

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        self.handshaking = made.dup()
        return made

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, unless its call was ended meanwhile."""
        if self.sock is None:  # type: ignore[attr-defined]
            self.connect()
        attempt = self.current.attempt
        attempt.own(self)
        attempt.begin_send()
        attempt.reused = self.exchanges > 0
        self.exchanges += 1
        super().request(*args, **kwargs)  # type: ignore[misc]


# urllib3 would log what came in the place of a header: a server may repeat the key.
logging.getLogger("urllib3.connection").addFilter(lambda record: threading.current_thread().name != THREADS)
