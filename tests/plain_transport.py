"""A transport as small as can be, for tests: http.client, and a thread and a connection for each call."""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tablenodes.engine.calls import Answer, Call, Chunk, Event
from tablenodes.engine.transports.network_environment import certificates


class Exchange:
    """One call: what came of it, and its connection."""

    def __init__(self, call: Call, connection: http.client.HTTPConnection) -> None:
        self.call, self.connection, self.began = call, connection, time.monotonic()
        self.status, self.headers, self.body, self.sends, self.is_late = None, b"", b"", 0, False

    def answer(self, fault: str | None = None, words: str = "") -> Answer:
        seconds = time.monotonic() - self.began
        return Answer(self.call.key, self.status, self.headers, self.body, fault, words, self.sends, elapsed=seconds)

    def stop(self, *, is_late: bool = False) -> None:
        self.is_late = is_late
        if (sock := self.connection.sock) is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class PlainTransport:
    """What `tablenodes.engine.calls.Transport` asks for, and no more."""

    def __init__(
        self,
        *,
        timeout: Any,
        body_bytes: int,
        concurrency: int,
        proxy: str | None = None,
        ca_bundle: str | None = None,
        may_send: Callable[[int], bool] | None = None,
        stream: bool = False,
    ) -> None:
        self.capacity = concurrency
        self._timeout, self._limit, self._stream = timeout, body_bytes, stream
        self._may_send = may_send or (lambda key: True)
        self._trusted = certificates(os.environ, ca_bundle)
        self._running: dict[int, Exchange] = {}
        self._events: queue.SimpleQueue[tuple[Exchange, Event]] = queue.SimpleQueue()

    def start(self, call: Call) -> None:
        parts = urlsplit(call.request.url)
        seconds = min(self._timeout.connect, call.total)
        if parts.scheme == "https":
            tls = ssl.create_default_context(cafile=self._trusted)
            connection: Any = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=seconds, context=tls)
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
        exchange = Exchange(call, connection)
        if not self._may_send(call.key):
            self._running[call.key] = exchange
            self._events.put((exchange, exchange.answer("disconnected", "sending it was refused")))
            return
        self._running[call.key] = exchange
        threading.Thread(target=self._carry, args=(exchange,), daemon=True).start()

    def cancel(self, key: int) -> None:
        if (exchange := self._running.pop(key, None)) is not None:
            exchange.stop()

    def end(self, key: int, fault: str | None = None, message: str = "") -> None:
        if (exchange := self._running.get(key)) is not None:
            self._events.put((exchange, exchange.answer(fault, message)))
            exchange.stop()

    def wait(self, seconds: float) -> list[Event]:
        until = time.monotonic() + seconds
        while True:
            try:
                exchange, event = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return []
            if self._running.get(event.key) is exchange:
                if isinstance(event, Answer):
                    del self._running[event.key]
                return [event]

    def close(self) -> None:
        for key in [*self._running]:
            self.cancel(key)

    def _carry(self, exchange: Exchange) -> None:
        watchdog = threading.Timer(exchange.call.total, exchange.stop, kwargs={"is_late": True})
        watchdog.start()
        try:
            fault, words = self._exchange(exchange), ""
        except ssl.SSLCertVerificationError:
            fault, words = "tls", "the certificate was not accepted"
        except (OSError, http.client.HTTPException) as error:
            fault, words = self._fault_of(error, exchange), type(error).__name__
        finally:
            watchdog.cancel()
            exchange.connection.close()
        self._events.put((exchange, exchange.answer(fault, words)))

    def _exchange(self, exchange: Exchange) -> str | None:
        call, connection = exchange.call, exchange.connection
        parts = urlsplit(call.request.url)
        connection.connect()
        connection.sock.settimeout(None)
        exchange.sends = 1
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        body = None if call.request.method == "GET" else call.body
        connection.request(call.request.method, target, body, dict(call.request.headers))
        response = connection.getresponse()
        if exchange.is_late:
            raise TimeoutError
        exchange.headers = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in response.getheaders())
        exchange.status = response.status
        while piece := response.read1(65_536):
            kept = piece[: self._limit - len(exchange.body)]
            exchange.body += kept
            if self._stream:
                self._events.put((exchange, Chunk(call.key, kept)))
            if len(kept) < len(piece):
                return "too_large"
        if exchange.is_late:
            raise TimeoutError
        return "truncated" if response.length else None

    @staticmethod
    def _fault_of(error: Exception, exchange: Exchange) -> str:
        if not exchange.sends:
            return "timeout_connect" if isinstance(error, TimeoutError) else "connect"
        if exchange.is_late:
            return "timeout_total" if exchange.status else "timeout_first_byte"
        if isinstance(error, http.client.RemoteDisconnected):
            return "disconnected"
        if isinstance(error, http.client.IncompleteRead):
            return "truncated"
        return "reset" if isinstance(error, OSError) else "protocol"
