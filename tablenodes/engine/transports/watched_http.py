"""urllib3's connections, watched: what is sent and heard on them is counted, and they can be ended from outside."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, cast

from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry
from urllib3.util.ssl_ import create_urllib3_context

from ..response_head import final_head

if TYPE_CHECKING:
    import ssl

    from ..calls import Call

_LONGEST_LINE = 65_536
_LONGEST_HEAD = 307_200
"""Bytes of all header lines together, as much as libcurl takes."""


class SendRefusedError(Exception):
    """A request may not be sent any more: its call was ended while it was connecting."""


class TooLargeError(Exception):
    """A body is longer than its limit."""


class Attempt:
    """One call under way in a thread: what is known of it, and the means to end it.

    Attributes
    ----------
    sends : int
        How often its request was begun to be sent.
    reused : bool
        Whether that was over a connection that had carried an exchange before.
    heard : bool
        Whether some byte of an answer came.
    lines : list of bytes
        Header lines, as they came.
    status, proxy_status : int or None
        The final status of the server; the proxy's answer to CONNECT.
    proxied : bool
        Whether it goes through a proxy that we know of.
    pieces : list of bytes
        What came of the body, decompressed.
    is_stream : bool or None
        Whether its answer is an event stream; None before anything of the body was told of.
    last_piece : float or None
        When the last piece of a stream was told of.
    stalled : bool
        Whether it was ended because no piece came any more.
    expired_at : float or None
        When it was ended from outside.
    connection : urllib3.connection.HTTPConnection or None
        What it goes over, where that is ours.
    """

    def __init__(self, call: Call, started: float, room: int) -> None:
        self.call = call
        self.started = started
        self.sends = 0
        self.reused = False
        self.heard = False
        self.lines: list[bytes] = []
        self.status: int | None = None
        self.proxied = False
        self.proxy_status: int | None = None
        self.pieces: list[bytes] = []
        self.is_stream: bool | None = None
        self.last_piece: float | None = None
        self.stalled = False
        self.expired_at: float | None = None
        self._room = room
        self._lock = threading.Lock()
        self.connection: Any = None
        self._socket: Any = None

    def begin_send(self) -> None:
        """Count a send that is about to begin; `SendRefusedError` if it was ended from outside."""
        if self.expired_at is not None:
            raise SendRefusedError
        self.sends += 1

    def take(self, piece: bytes) -> bytes:
        """Keep a piece of the body, and give as much of it as there was room for."""
        kept = piece[: self._room]
        self._room -= len(kept)
        self.pieces.append(kept)
        return kept

    def own(self, connection: Any, sock: Any = None) -> None:
        """Take a connection over: from now on `expire` ends it, and no attempt that had it before does."""
        with self._lock:
            self.connection, self._socket = connection, sock
        connection.owner = self

    def expire(self, now: float, *, stalled: bool = False) -> None:
        """End it, because it stalled or for another reason: its socket is shut down, and its thread wakes up."""
        self.stalled = stalled
        self.expired_at = now
        with self._lock:
            connection = self.connection
            if connection is None or connection.owner is not self:
                return
            sock = self._socket or connection.sock
        if sock is not None:
            sock = getattr(sock, "socket", sock)  # TLS within TLS has its socket inside
            with contextlib.suppress(OSError):
                # SSLSocket.shutdown would drop the TLS object under the feet of the thread that reads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Current(threading.local):
    """The attempt that the present thread is at."""

    attempt: Attempt


class WatchedAdapter(HTTPAdapter):
    """An adapter that retries nothing, and whose connections report to the thread's attempt.

    All its connections share one TLS context: to read a hundred certificates takes longer than a handshake.
    """

    def __init__(self, current: Current, connections: int, trusted: str) -> None:
        self._current = current
        self._trusted = trusted
        self._made: ssl.SSLContext | None = None
        self._making = threading.Lock()
        super().__init__(pool_maxsize=connections, max_retries=Retry(0, read=False, redirect=0))

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools, of watched connections."""
        super().init_poolmanager(*args, **kwargs)
        _watch(self.poolmanager, self._current)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make a proxy's pools, of watched connections."""
        known = proxy in self.proxy_manager
        if proxy.startswith("https:"):
            kwargs["proxy_ssl_context"] = self._tls
        made = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            _watch(made, self._current)
        return made

    def close(self) -> None:
        """Close the pools: urllib3 would leave that to whoever drops the last reference to them."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - it is no mapping that can be iterated
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        super().close()

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """Give the adapter's TLS context to an encrypted connection."""
        host, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
        return host, {"ssl_context": self._tls} if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: str, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the TLS context knows whom to trust."""

    @property
    def _tls(self) -> ssl.SSLContext:
        """The one context: each other that a thread made would have a pool of connections of its own."""
        with self._making:
            if self._made is None:
                context = create_urllib3_context()
                folder = os.path.isdir(self._trusted)
                context.load_verify_locations(**{"capath" if folder else "cafile": self._trusted})
                self._made = context
            return self._made


def _watch(manager: Any, current: Current) -> None:
    """Have a pool manager make watched connections."""
    response = type("Response", (_WatchedResponse,), {"current": current})
    manager.pool_classes_by_scheme = {
        scheme: type(
            pool.__name__,
            (pool,),
            {
                "ConnectionCls": type(
                    "Connection",
                    (_WatchedConnection, pool.ConnectionCls),
                    {"current": current, "response_class": response},
                )
            },
        )
        for scheme, pool in manager.pool_classes_by_scheme.items()
    }


class _WatchedConnection:
    """What a connection does more: it asks before it sends, and knows whose it is."""

    current: Current
    debuglevel = 0  # whatever http.client's own is set to: it would print the key and the prompt
    owner: Attempt | None = None
    exchanges = 0

    def connect(self) -> None:
        """Connect."""
        self.exchanges = 0
        self.current.attempt.own(self)
        super().connect()  # type: ignore[misc]

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, if it may be sent."""
        connection = cast("Any", self)
        attempt = self.current.attempt
        if connection.sock is None:
            connection.connect()
        attempt.own(self, connection.sock)
        attempt.begin_send()
        attempt.reused = self.exchanges > 0
        self.exchanges += 1
        super().request(*args, **kwargs)  # type: ignore[misc]


class _WatchedResponse(http.client.HTTPResponse):
    """A response that keeps its header lines, passes over every 1xx, and drops a connection on which more came."""

    current: Current

    def begin(self) -> None:
        """Read the head."""
        attempt = self.current.attempt
        stream = self.fp
        self.fp = cast("Any", _HeadLines(stream, attempt))
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = stream
        if not final_head(attempt.lines)[1]:
            raise http.client.IncompleteRead(b"")
        attempt.status = self.status
        # urllib3 would log what is no header in the server's own words, and a server may repeat the key.
        self.msg.defects.clear()
        self.msg.set_payload("")

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not isinstance(self.fp, _HeadLines):
                self.current.attempt.proxy_status = status
            if not 100 < status < 200:  # http.client passes over 100 itself, and over no other
                return version, status, reason
            while self.fp.readline(_LONGEST_LINE + 1) not in (b"\r\n", b"\n", b""):
                pass

    def _close_conn(self) -> None:
        connection = self.current.attempt.connection
        polluted = isinstance(self.fp, io.BufferedReader) and _has_more(self.fp, connection.sock)
        super()._close_conn()  # type: ignore[misc]
        if polluted:
            connection.close()


class _HeadLines:
    """A response's stream while its head is read: it keeps the lines."""

    def __init__(self, stream: Any, attempt: Attempt) -> None:
        self._stream = stream
        self._attempt = attempt
        self._room = _LONGEST_HEAD

    def readline(self, limit: int) -> bytes:
        """Read a line."""
        line: bytes = self._stream.readline(limit)
        self._room -= len(line)
        if self._room < 0:
            raise http.client.LineTooLong("all header lines together")
        if line:
            self._attempt.heard = True
            self._attempt.lines.append(line)
        return line

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


def _has_more(stream: io.BufferedReader, sock: Any) -> bool:
    """Whether something came behind the end of a response, on a connection that is to be kept."""
    if sock is None:
        return False
    seconds = sock.gettimeout()
    sock.setblocking(False)
    try:
        return bool(stream.peek(1))
    except OSError:  # TLS says so where nothing came
        return False
    finally:
        sock.settimeout(seconds)
