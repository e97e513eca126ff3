"""Servers to test against: one that misbehaves as it is told, and a fast one that answers well.

`fault_server` follows a script, one reaction a request, on real sockets in threads of this process. `echo_server` is
a process of its own. Run this file to start one by hand: ``python tests/servers.py --latency 1.0``.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import functools
import hashlib
import itertools
import json
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

LOOPBACK = "127.0.0.1"
LONG = 60.0
"""Seconds that a server that shall do nothing does nothing; it is ended sooner by the end of the server."""


class Received(NamedTuple):
    """A request as the server got it; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    time: float


class Ended(Exception):  # noqa: N818 - a thing that happened
    """The connection is over."""


class Exchange:
    """One request and the connection that it came on, for a reaction to work with."""

    def __init__(self, server: FaultServer, sock: socket.socket, received: Received) -> None:
        self.server = server
        self.sock = sock
        self.received = received
        self._has_sent = False

    def send(self, data: bytes) -> None:
        self._has_sent = self._has_sent or bool(data)
        self.sock.sendall(data)

    def pause(self, seconds: float) -> None:
        """Let time go by, but not beyond the server's end."""
        if self.server.ending.wait(seconds):
            raise Ended

    def close(self) -> None:
        """End the connection by a FIN."""
        raise Ended

    def reset(self) -> None:
        """End the connection by a RST."""
        if self._has_sent:
            self.until_read()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Ended

    def until_read(self) -> None:
        """Wait until the other side has read what was sent to it: a RST takes away what it has not."""
        end = time.monotonic() + 10
        while _unread(self.sock.getpeername()[1], self.sock.getsockname()[1]) and time.monotonic() < end:
            self.pause(0.002)


def _unread(port: int, other: int) -> bool:
    """Check whether bytes wait to be read at a port's connection to another port, both of this machine."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
            _, here, there, _, queues, *_ = line.split()
            if (int(here[-4:], 16), int(there[-4:], 16)) == (port, other):
                return int(queues.partition(":")[2], 16) > 0
    return False


Reaction = Callable[[Exchange], None]
Script = Reaction | Sequence[Reaction]
Headers = Mapping[str, str] | Sequence[tuple[str, str]]


# --- reactions -----------------------------------------------------------------------------------------------------


def head(status: int = 200, headers: Headers = (), reason: str = "X") -> bytes:
    """Return a status line and header lines, with the blank line at their end."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in pairs)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def message(body: bytes, status: int = 200, headers: Headers = ()) -> bytes:
    """Return a whole response with a Content-Length."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.casefold() for name, _ in pairs}
    if "content-type" not in names:
        pairs.insert(0, ("Content-Type", "application/json"))
    return head(status, [*pairs, ("Content-Length", str(len(body)))]) + body


def completion(body: bytes) -> bytes:
    """Return a chat completion whose text is the digest of `body`, the request's body."""
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": digest(body)}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        "results": [{"flagged": False, "categories": {}}],  # of a moderation
    }
    if b'"input":' in body and b'"messages":' not in body:  # an embedding's: of each input its own vector
        asked = json.loads(body)["input"]
        inputs = asked if isinstance(asked, list) and asked and not isinstance(asked[0], int) else [asked]
        items = [{"object": "embedding", "index": i, "embedding": vector(text)} for i, text in enumerate(inputs)]
        answer |= {"data": items, "object": "list", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    return json.dumps(answer).encode()


def vector(text: object) -> list[float]:
    """Return a vector that no other text has."""
    return [byte / 16 for byte in hashlib.sha256(json.dumps(text).encode()).digest()]


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def echo(status: int = 200, headers: Headers = (), delay: float = 0.0) -> Reaction:
    """Answer well: a chat completion with the digest of the request's body."""

    def react(exchange: Exchange) -> None:
        exchange.pause(delay)
        exchange.send(message(completion(exchange.received.body), status, headers))

    return react


def answer(
    body: bytes | str | dict[str, Any] = b"{}", status: int = 200, headers: Headers = (), delay: float = 0.0
) -> Reaction:
    """Answer with this body; a mapping is sent as JSON."""
    content = json.dumps(body) if isinstance(body, dict) else body
    content = content.encode() if isinstance(content, str) else content

    def react(exchange: Exchange) -> None:
        exchange.pause(delay)
        exchange.send(message(content, status, headers))

    return react


def interrupting(reaction: Reaction, at: int = 1, *, times: int = 1) -> Reaction:
    """Have Ctrl-C come to this program with the request of this number, from 1 on, before the reaction to it.

    Where it comes more than once there is a while in between: a busy machine may see two signals as one.
    """
    count = itertools.count(1)

    def react(exchange: Exchange) -> None:
        if next(count) == at:
            for left in reversed(range(times)):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                exchange.pause(0.3 if left else 0.1)
        reaction(exchange)

    return react


def held(until: threading.Event, reaction: Reaction | None = None) -> Reaction:
    """React, well if nothing else is said, when something has happened, or the server ends."""

    def react(exchange: Exchange) -> None:
        while not until.is_set():
            exchange.pause(0.005)
        (reaction or echo())(exchange)

    return react


def redirect(status: int, location: str) -> Reaction:
    return answer(b"{}", status, {"Location": location})


def raw(data: bytes, then: str = "keep") -> Reaction:
    """Send these bytes, then ``keep`` the connection, ``close`` it, ``reset`` it or ``hold`` it in silence."""

    def react(exchange: Exchange) -> None:
        exchange.send(data)
        _end(exchange, then)

    return react


def pieces(data: Sequence[bytes], every: float = 0.0, then: str = "keep") -> Reaction:
    """Send pieces, each in a segment of its own, with `every` seconds in between."""

    def react(exchange: Exchange) -> None:
        for piece in data:
            exchange.send(piece)
            exchange.pause(every)
        _end(exchange, then)

    return react


def endless(first: bytes, piece: bytes, every: float = 0.0) -> Reaction:
    """Send `first`, then `piece` again and again."""

    def react(exchange: Exchange) -> None:
        exchange.send(first)
        while True:
            exchange.send(piece)
            exchange.pause(every)

    return react


def silence() -> Reaction:
    """Answer nothing and keep the connection."""
    return raw(b"", then="hold")


def fin() -> Reaction:
    """Answer nothing and close the connection."""
    return raw(b"", then="close")


def reset() -> Reaction:
    """Answer nothing and reset the connection."""
    return raw(b"", then="reset")


def chunks(*parts: bytes, end: bool = True) -> bytes:
    """Return a chunked body; without `end` it lacks its last chunk."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + (b"0\r\n\r\n" if end else b"")


def each_byte(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def tunnel(port: int) -> Reaction:
    """Do what a proxy does with CONNECT: join the client to a port of this machine, wherever it wanted to go."""

    def react(exchange: Exchange) -> None:
        with socket.create_connection((LOOPBACK, port)) as target:
            exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(target, exchange.sock), daemon=True)
            back.start()
            _pump(exchange.sock, target)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)
            back.join(5)
        raise Ended

    return react


def _end(exchange: Exchange, then: str) -> None:
    if then == "close":
        exchange.close()
    elif then == "reset":
        exchange.reset()
    elif then == "hold":
        exchange.pause(LONG)
        exchange.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


# --- the server that misbehaves ------------------------------------------------------------------------------------


class FaultServer:
    """A server that follows a script, with one thread a connection.

    Attributes
    ----------
    port : int
        The port on 127.0.0.1.
    requests : list of Received
        What it received, in order.
    connections : int
        How many connections it accepted.
    """

    def __init__(
        self, script: Script, *, tls: ssl.SSLContext | None = None, on_connect: Reaction | None = None
    ) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.ending = threading.Event()
        self._script = script
        self._tls = tls
        self._on_connect = on_connect
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server((LOOPBACK, 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def url(self) -> str:
        """The base address, as an API's would be."""
        return f"http{'s' if self._tls else ''}://{LOOPBACK}:{self.port}/v1"

    def close(self) -> None:
        """End every connection and every thread."""
        self.ending.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(5)
        self._listener.close()
        for sock in [*self._sockets]:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self.ending.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, connection: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets.add(sock)
        served = sock
        try:
            if self._on_connect is not None:
                self._on_connect(Exchange(self, sock, Received("", "", {}, b"", connection, time.monotonic())))
            if self._tls is not None:
                served = self._tls.wrap_socket(sock, server_side=True)
                self._sockets.add(served)
            if self.ending.is_set():  # it came too late to be ended by `close`
                raise Ended
            reader = served.makefile("rb")
            with reader:
                while (received := _read_request(reader, connection)) is not None:
                    self._next_reaction(received)(Exchange(self, served, received))
        except (Ended, OSError, ValueError):
            pass
        finally:
            for each in (served, sock):
                self._sockets.discard(each)
                each.close()

    def _next_reaction(self, received: Received) -> Reaction:
        with self._lock:
            number = len(self.requests)
            self.requests.append(received)
        if callable(self._script):
            return self._script
        return self._script[min(number, len(self._script) - 1)]


def _read_request(reader: Any, connection: int) -> Received | None:
    line = reader.readline()
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := reader.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body, connection, time.monotonic())


@contextlib.contextmanager
def fault_server(
    script: Script, *, tls: ssl.SSLContext | None = None, on_connect: Reaction | None = None
) -> Iterator[FaultServer]:
    """Serve on a free port of 127.0.0.1 while the context lasts.

    Parameters
    ----------
    script : reaction or sequence of reactions
        What to do with each request, in the order in which they come over all connections; the last reaction is for
        all further requests too. A reaction is a function of an `Exchange`.
    tls : ssl.SSLContext, optional
        Speak TLS, with this context.
    on_connect : reaction, optional
        What to do with a new connection, before TLS.
    """
    server = FaultServer(script, tls=tls, on_connect=on_connect)
    try:
        yield server
    finally:
        server.close()


# --- ports and certificates ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """Return a port that refuses connections."""
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        yield sock.getsockname()[1]


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Return a port on which connections are neither accepted nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        for _ in range(4):  # fills the backlog, after which the kernel drops what comes
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def certificate(folder: Path, host: str, name: str = "server") -> Path:
    """Make a self-signed certificate for a host name or address, its key in the same file, and give its path."""
    made = folder / f"{name}.pem"
    kind = "IP" if host.replace(".", "").isdigit() else "DNS"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={kind}:{host}"]
    command += ["-keyout", str(folder / f"{name}.key"), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made


def server_context(folder: Path, host: str = LOOPBACK, name: str = "server") -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context, and the certificate that a client must trust to accept it."""
    made = certificate(folder, host, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, made.with_suffix(".key"))
    return context, made


# --- the server that answers well and fast -------------------------------------------------------------------------


class _EchoProtocol(asyncio.Protocol):
    """Answers each request on a connection with a chat completion that holds the digest of its body."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            lines = self._buffer[:end].lower()
            _, found, rest = lines.partition(b"content-length:")
            length = int(rest.split(b"\r\n", 1)[0]) if found else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._answer, body)
            else:
                self._answer(body)

    def _answer(self, body: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(message(completion(body)))


async def _serve_echo(latency: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _EchoProtocol(latency), LOOPBACK, 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The starter holds the other end of the standard input: its end is ours.
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    server.close()


@contextlib.contextmanager
def echo_server(latency: float = 0.0) -> Iterator[str]:
    """Serve chat completions from a process of its own; give the base address.

    The text of each answer is the `digest` of the request's body. `latency` is in seconds. The process is kept for the
    next test that asks for such a server.
    """
    yield f"http://{LOOPBACK}:{_echo_port(latency)}/v1"


@functools.cache
def _echo_port(latency: float) -> int:
    command = [sys.executable, __file__, "--latency", str(latency)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None

    def end() -> None:
        process.terminate()
        process.communicate()

    atexit.register(end)
    return int(process.stdout.readline())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_echo(parser.parse_args().latency))
