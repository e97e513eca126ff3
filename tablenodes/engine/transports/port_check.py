"""A transport that looks closer where a server was never heard: for a wrong scheme, or a name that does not exist."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from urllib.parse import urlsplit

from ...secret import Veiled
from ..calls import Answer, Call, Event, Transport
from ..outcomes.rules import NAME_LATER, SPEAKS_HTTP, SPEAKS_TLS
from .network_environment import proxy_for
from .wrapper import Wrapper

_PATIENCE = 0.7  # seconds that nobody is connected after which a handshake is taken for one that nobody answers
_STEP = 0.4  # seconds for each step of the check
_SUSPECT = {"https": ("connect", "timeout_connect"), "http": ("disconnected", "protocol", "reset")}
_ROWS_WITHOUT_TLS = 3  # that fail before a port without TLS is asked: a server may hang up for many reasons
_HINT = "if the server expects TLS, write https://"
_HANDSHAKE_OR_ALERT = (b"\x16\x03", b"\x15\x03")


@dataclass(eq=False, repr=False)
class PortCheck(Wrapper):
    """A transport of ours that is watched until the first answer with a status; then it costs nothing any more.

    A wrong scheme fails in many ways, and some servers just wait. Where a first failure may be that, or nobody gets
    through to https, it is asked once what the port speaks: by the begin of a handshake, without the key.
    """

    inner: Transport
    proxy: str | None
    _: KW_ONLY
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._calls: dict[int, Call] = {}
        self._since: float | None = None
        self._failed: set[int] = set()
        self._known: tuple[str, str] | None = None
        self._asked = ""  # the place whose port was asked
        self._checked = False
        self._look_up_at = -math.inf
        self._is_unknown = True

    def start(self, call: Call) -> None:
        self._calls[call.key] = call
        self._since = self.clock() if self._since is None else self._since
        self.inner.start(call)

    def cancel(self, key: int) -> None:
        self._calls.pop(key, None)
        self.inner.cancel(key)

    def wait(self, seconds: float) -> list[Event]:
        events = self.inner.wait(seconds)
        for at, event in enumerate(events):
            if not isinstance(event, Answer):
                continue
            if event.status is not None:
                self._retire()
                break
            call = self._calls.pop(event.key, None)
            if call is not None and event.fault == "dns" and self._may_be_found(call):
                events[at] = event._replace(fault=NAME_LATER)
            elif call is not None and event.fault in _SUSPECT[urlsplit(call.request.url).scheme]:
                events[at] = self._explained(call, event)
        if self._calls and (self._known is not None or self._is_stuck()):
            self._end_all()
        return events

    def _may_be_found(self, call: Call) -> bool:
        """Check whether it is the look-up of a name that failed, not the name that does not exist."""
        now = self.clock()
        if now >= self._look_up_at:
            self._look_up_at = now + 1.0
            self._is_unknown = True
            try:
                socket.getaddrinfo(urlsplit(call.request.url).hostname, None)
            except socket.gaierror as error:
                self._is_unknown = error.errno != socket.EAI_AGAIN
            except (OSError, UnicodeError):
                pass
        return not self._is_unknown

    def _retire(self) -> None:
        """Hand everything on from now on: the scheme is right."""
        self._checked = True
        self._calls.clear()
        for name in ("start", "cancel", "wait"):
            setattr(self, name, getattr(self.inner, name))

    def _is_stuck(self) -> bool:
        """Check whether it takes remarkably long to get through to https, and nothing is known of the port."""
        if self._checked or self._since is None or self.clock() < self._since + _PATIENCE:
            return False
        first = next(iter(self._calls.values()))
        return first.request.url.startswith("https:") and bool(getattr(self.inner, "is_connecting", False))

    def _end_all(self) -> None:
        """End the calls under way where the port speaks no TLS; their answers come out of the next wait."""
        call = next(iter(self._calls.values()))
        if (found := self._mistake(call)) is not None:
            for key in [key for key, each in self._calls.items() if _place(each) == self._asked]:
                self.inner.end(key, *found)

    def _explained(self, call: Call, answer: Answer) -> Answer:
        """Return the answer with the mistake for a fault, where there is one, or with what it may be."""
        self._failed.add(call.key)
        is_plain = call.request.url.startswith("http:")
        if is_plain and len(self._failed) < _ROWS_WITHOUT_TLS:
            return answer._replace(message=f"{answer.message}; {_HINT}" if answer.message else _HINT)
        found = self._mistake(call)
        if found is None:
            return answer
        return answer._replace(headers=b"", body=b"", fault=found[0], message=found[1])

    def _mistake(self, call: Call) -> tuple[str, str] | None:
        """Return the fault of a wrong scheme, and the words for it; the port is asked once."""
        if not self._checked:
            self._checked, self._asked = True, _place(call)
            parts = urlsplit(call.request.url)
            host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
            if proxy_for(call.request.url, Veiled(os.environ), self.proxy) is None:
                self._known = _wrong_scheme(parts.scheme, host, port)
        return self._known if _place(call) == self._asked else None


def _place(call: Call) -> str:
    parts = urlsplit(call.request.url)
    return f"{parts.scheme}://{parts.netloc}"


def _wrong_scheme(scheme: str, host: str, port: int) -> tuple[str, str] | None:
    heard = _heard(host, port)
    if scheme == "https" and heard.startswith(b"HTTP/"):
        return SPEAKS_HTTP, f"{host}:{port} speaks plain http; write http:// instead of https://"
    if scheme == "http" and heard.startswith(_HANDSHAKE_OR_ALERT):
        return SPEAKS_TLS, f"{host}:{port} speaks TLS; write https:// instead of http://"
    return None


def _heard(host: str, port: int) -> bytes:
    """Return the first bytes that a port answers to the begin of a TLS handshake, or to its end; empty for none."""
    import ssl  # noqa: PLC0415 - loaded where a port is looked at

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(incoming, outgoing, server_hostname=host)
    with contextlib.suppress(ssl.SSLWantReadError):
        handshake.do_handshake()
    with contextlib.suppress(OSError), socket.create_connection((host, port), _STEP) as sock:
        sock.sendall(outgoing.read())
        with contextlib.suppress(TimeoutError):
            return sock.recv(16)
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(16)
    return b""
