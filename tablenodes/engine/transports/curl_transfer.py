"""One libcurl handle and the call that it carries: what goes in, what comes out, and what libcurl's errors mean."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pycurl

from ..calls import Answer, Call, Chunk, Request, sends_body
from ..outcomes.body_form import Beginning, form_of
from ..outcomes.rules import PROXY_LOGIN, PROXY_REFUSED
from ..response_head import final_head, is_event_stream, tells_its_length
from .curl_lane import Common, Lane, borrowed
from .network_environment import host_of, refused_by, refused_in_its_place

# What libcurl would add of its own where we do not set it.
_UNWANTED = ("Accept", "Content-Type", "Expect")
_new: Any = tuple.__new__  # a named tuple's own constructor takes three times as long
_OK = b"HTTP/1.1 200 "
_LARGE = 2**20
_GO_ON = int(pycurl.PREREQFUNC_OK)
_ABORT = int(pycurl.PREREQFUNC_ABORT)
_CONSTANT_OPTIONS = (
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
    (pycurl.HEADEROPT, pycurl.HEADER_SEPARATE),  # a proxy that only tunnels is not told our headers
    (pycurl.FOLLOWLOCATION, 0),
    (pycurl.NETRC, pycurl.NETRC_IGNORED),
    (pycurl.NOSIGNAL, 1),
    (pycurl.BUFFERSIZE, 2**18),  # of an answer with vectors much comes at once
    (pycurl.TCP_NODELAY, 1),
    (pycurl.TCP_KEEPALIVE, 1),
    (pycurl.ACCEPT_ENCODING, ""),  # all that this libcurl can decode
)
# The codes are libcurl's CURLE_*, as numbers: pycurl names only some of them.
_OPERATION_TIMEDOUT = 28
_RECV_ERROR = 56
_CERTIFICATE = dict.fromkeys((53, 54, 58, 59, 60, 66, 77, 80, 82, 83, 90, 91, 98), "tls")
_ON_THE_WAY = {5: "proxy", 6: "dns", 7: "connect", 97: "proxy", **_CERTIFICATE}

# Before the request was begun to be sent: nothing can have been executed. 35: the TLS handshake broke off.
_BEFORE_SENDING = {**_ON_THE_WAY, _OPERATION_TIMEDOUT: "timeout_connect", **dict.fromkeys((35, 52, 55, 56), "connect")}
_AFTER_SENDING = {
    **_ON_THE_WAY,  # libcurl's own repeat, on a fresh connection, came to nobody
    **dict.fromkeys((1, 8, 100), "protocol"),  # no status line (HTTP/0.9); not HTTP; too long or too many headers
    18: "truncated",
    **dict.fromkeys((23, 61), "bad_encoding"),  # 23: bytes after the end of what was compressed
    **dict.fromkeys((35, 55, 56), "reset"),
    52: "disconnected",
}


def _nothing(_: int) -> object:
    """Return that nothing has come."""
    return None


_UNKNOWN = (-1, _nothing)


class _Unshown(list[bytes]):
    """Header lines, the key among them: tools that print the local variables of a traceback print none of it."""

    def __repr__(self) -> str:
        return "***"


class Options(NamedTuple):
    """libcurl's options for all calls of one request; whether it is encrypted, and the proxy that it goes through."""

    values: tuple[tuple[int, object], ...]
    secure: bool
    proxy: str  # its host; empty without one
    sends_body: bool

    def __repr__(self) -> str:
        return "Options(***)"


def options_of(request: Request, *, proxy: str | None, trusted: str, connect: float) -> Options:
    """Return libcurl's options for a request; `trusted` is a file or folder of CA certificates."""
    folder = os.path.isdir(trusted)
    values = (
        (pycurl.URL, request.url),
        (pycurl.HTTPHEADER, _Unshown(_header_lines(request))),
        (pycurl.USERAGENT, ""),  # pycurl's own; ours is among the headers
        *_method(request),
        # Both are set in any case: libcurl would ask the environment itself.
        (pycurl.PROXY, proxy or ""),
        (pycurl.NOPROXY, ""),
        (pycurl.CAPATH if folder else pycurl.CAINFO, trusted),
        (pycurl.PROXY_CAPATH if folder else pycurl.PROXY_CAINFO, trusted),
        (pycurl.CONNECTTIMEOUT_MS, max(1, round(connect * 1000))),
    )
    return Options(values, request.url.startswith("https:"), host_of(proxy), sends_body(request))


class Transfer:
    """One libcurl handle, and the call that it carries at the moment.

    libcurl keeps most of what is set for the next call: the options of one request are set once.
    """

    call: Call
    key: int  # the call's

    def __init__(self, common: Common, lane: Lane) -> None:
        self.common = common
        self.lane = lane
        self.request: Request | None = None
        self.proxy = ""
        self.secure = self.sends_body = self.is_large = False
        self.total = 0.0
        self.descriptor = -1  # of the connection over which it was sent
        self.stale = self.over_kept = False
        self.opened: list[int] = []
        self.head: list[bytes] = []
        self.pieces: list[bytes] = []
        self.handle = handle = pycurl.Curl()
        self.set = handle.setopt  # bound once: pycurl takes long to find a method of its own
        lane.carried[handle] = self
        for option, value in _CONSTANT_OPTIONS:
            self.set(option, value)
        handle.setopt(pycurl.HEADERFUNCTION, self.head.append)
        handle.setopt(pycurl.WRITEFUNCTION, self.take)
        handle.setopt(pycurl.PREREQFUNCTION, self.may_send)
        handle.setopt(pycurl.SOCKOPTFUNCTION, self.opening)

    def configure(self, request: Request, options: Options) -> None:
        """Set what all calls of one request have in common."""
        self.request = request
        self.proxy = options.proxy
        self.secure = options.secure
        self.sends_body = options.sends_body
        for option, value in options.values:
            self.set(option, value)

    def begin(self, call: Call, now: float) -> None:
        """Carry a call from now on."""
        self.call = call
        self.key, _, body, total, _, _ = call
        self.started = now
        self.sends = 0
        self.common.unsent += 1
        self.refused = False
        self.heard = False
        self.beginning: Beginning | None = Beginning() if self.common.stream else None
        self.room = self.common.body_bytes
        if self.opened:
            self.opened.clear()
        if self.sends_body:
            self.set(pycurl.POSTFIELDS, body)
        self.is_large = len(body) > _LARGE
        if total != self.total:
            self.total = total
            self.set(pycurl.TIMEOUT_MS, max(1, round(total * 1000)))

    def may_send(self, address: str, own_address: str, port: int, own_port: int) -> int:
        """Answer libcurl whether it may send the request over the connection that it has."""
        common, lane, ends = self.common, self.lane, (own_address, own_port, address, port)
        try:
            self.over_kept = not self.opened
            if self.opened:
                descriptor = _bound_to(own_port, self.opened)
                common.news[ends] = descriptor, _news_of(descriptor)
                self.opened.clear()
            else:
                descriptor, news = common.news.get(ends, _UNKNOWN)
                stirred = lane.stirred
                if (stirred is None or descriptor in stirred or descriptor in lane.busy) and news(0):
                    self.stale = True
                    return _ABORT
            if common.may_send is None or common.may_send(self.key):
                common.unsent -= not self.sends
                self.sends += 1
                lane.busy.discard(self.descriptor)
                self.descriptor = descriptor
                lane.busy.add(descriptor)
                return _GO_ON
        except BaseException as error:  # noqa: BLE001 - pycurl would print it and go on; `wait` raises it
            common.raised = error
        self.refused = True
        return _ABORT

    def opening(self, descriptor: int, _purpose: int) -> int:
        """Note a socket that libcurl is about to connect; 0 tells it to go on."""
        self.opened.append(descriptor)
        self.lane.opened(descriptor)
        return 0

    def again(self) -> None:
        """Prepare for the same call over another connection, where it was not sent over a stale one.

        libcurl looks at an idle connection only after a second. What a server sent in between, be it the end or
        an answer that nobody asked for, would be taken for the answer to the next call.
        """
        self.stale = False
        self.head.clear()

    def take(self, piece: bytes) -> int | None:
        """Keep a piece of the body, and tell of it where it is to be told; 0 ends a transfer whose body is too long."""
        if self.beginning is None and piece[:1] != b"{" and not self.pieces and form_of(piece) == "stream":
            self.beginning = Beginning()  # nobody asked for it
        if self.beginning is not None:
            self._tell(piece[: self.room], self.beginning)
        self.room -= len(piece)
        if self.room < 0:
            self.pieces.append(piece[: self.room])
            return 0
        self.pieces.append(piece)
        return None

    def _tell(self, piece: bytes, beginning: Beginning) -> None:
        """Report a piece of a body; begin to wait for the next of an event stream.

        It is one by its first bytes, and by its head where they do not tell.
        """
        common, key = self.common, self.key
        if piece:
            common.events.append(Chunk(key, piece))
        form = beginning.form or beginning.push(piece)
        if form == "stream" or (form in (None, "other") and is_event_stream(final_head(self.head)[0])):
            common.last_piece.pop(key, None)
            common.last_piece[key] = common.clock()
        elif common.last_piece:
            common.last_piece.pop(key, None)

    def answer(self, now: float) -> Answer:
        """Return the answer of a transfer that libcurl calls complete."""
        head = self.head
        # By far the most begin so; libcurl reads a status line more leniently, where it is another.
        ok = head and head[0].startswith(_OK)
        status = 200 if ok else self.handle.getinfo(pycurl.RESPONSE_CODE)
        if status < 200 or not head or self.proxy or head[-1] != b"\r\n" or head.count(b"\r\n") != 1:
            return self.failure(pycurl.E_OK, "", now)
        body = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        headers, elapsed = b"".join(head[1:-1]), now - self.started
        made: Answer = _new(Answer, (self.key, status, headers, body, None, "", self.sends, self.over_kept, elapsed))
        return made

    def failure(self, code: int, words: str, now: float) -> Answer:
        """Return the answer of a transfer that ended in another way than most."""
        getinfo = self.handle.getinfo
        status = getinfo(pycurl.RESPONSE_CODE)
        headers, complete = self.final_head(status)
        in_tunnel = bool(self.proxy) and self.secure
        seen = Circumstances(
            sent=self.sends > 0,
            heard=self.heard or (status > 0 if in_tunnel else bool(self.head)),
            refused=self.refused,
            too_large=self.room < 0,
            complete=complete,
            until_close=complete and not tells_its_length(headers),
            secure=self.secure,
            proxy=self.proxy,
            proxy_status=getinfo(pycurl.HTTP_CONNECTCODE) or (status if self.proxy else 0),
            system_error=getinfo(pycurl.OS_ERRNO),
        )
        fault, words = fault_of(code, words, seen)
        if self.proxy and not self.secure and fault is None:
            fault, words = refused_in_its_place(self.proxy, status, b"".join(self.pieces)) or (fault, words)
        if fault in ("proxy", PROXY_LOGIN, PROXY_REFUSED):  # what came is not the server's
            return Answer(self.key, None, b"", b"", fault, words, self.sends, elapsed=now - self.started)
        return self.ended(fault, words, now)

    def ended(self, fault: str | None, words: str, now: float) -> Answer:
        """Return an answer with what came of it until now."""
        status = self.handle.getinfo(pycurl.RESPONSE_CODE)
        headers, complete = self.final_head(status)
        if not complete and (fault != "bad_encoding" or status < 200):  # which ends it in the middle of its headers
            status = None
        # libcurl repeats a request only where a reused connection was dead.
        reused = self.sends > 0 and (self.refused or self.handle.getinfo(pycurl.NUM_CONNECTS) == 0)
        body, elapsed = b"".join(self.pieces), now - self.started
        return Answer(self.key, status, headers, body, fault, words, self.sends, reused, elapsed)

    def drop(self) -> None:
        """Forget what it carried; its handle is kept for another call."""
        self.common.unsent -= not self.sends
        self.lane.busy.discard(self.descriptor)
        self.head.clear()
        self.pieces.clear()
        if self.is_large:
            self.set(pycurl.POSTFIELDS, b"")

    def final_head(self, status: int) -> tuple[bytes, bool]:
        """Return the final response's header lines, and whether they are all there."""
        headers, complete = final_head(self.head)
        # Without a status of the server's own, what came was interim, or a proxy's.
        return (headers, True) if complete and status >= 200 else (b"", False)


def _bound_to(port: int, descriptors: list[int]) -> int:
    """Return the one of these sockets that has this port here; the others lost the race for the connection."""
    for descriptor in descriptors[1:]:
        with contextlib.suppress(OSError), borrowed(descriptor) as sock:
            if sock.getsockname()[1] == port:
                return descriptor
    return descriptors[0]


def _news_of(descriptor: int) -> Callable[[int], object]:
    """Return a function that waits for so many seconds, 0 for none, until something comes, be it the end."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return poll.poll
    return lambda seconds: select.select((descriptor,), (), (), seconds)[0]


def _method(request: Request) -> Iterator[tuple[int, object]]:
    """Yield the options of a request's method, which undo those of another one's."""
    method, sends = request.method, sends_body(request)
    yield pycurl.NOBODY, int(method == "HEAD")
    if sends or method in ("POST", "PUT", "PATCH"):  # which say by a length that they have none
        yield pycurl.POST, 1
        yield pycurl.POSTFIELDS, b""
    elif method != "HEAD":
        yield pycurl.HTTPGET, 1
    yield pycurl.CUSTOMREQUEST, None if method in ("GET", "HEAD", "POST") else method


def _header_lines(request: Request) -> list[bytes]:
    present = {name.casefold() for name, _ in request.headers}
    ours = [f"{name}: {value}".encode("latin-1") if value else f"{name};".encode() for name, value in request.headers]
    return ours + [f"{name}:".encode() for name in _UNWANTED if name.casefold() not in present]


class Circumstances(NamedTuple):
    """What was known of a transfer when it ended."""

    sent: bool  # the request was begun to be sent
    heard: bool  # some byte of an answer came
    refused: bool  # a send was forbidden
    too_large: bool  # it was ended because of its length
    complete: bool  # the final response's headers came whole
    until_close: bool  # only the connection's end can be the body's end
    secure: bool
    proxy: str  # its host; empty without one
    proxy_status: int  # what the proxy answered to CONNECT, or in the server's place; 0 for nothing
    system_error: int  # the operating system's number, 0 for none


def fault_of(code: int, words: str, seen: Circumstances) -> tuple[str | None, str]:
    """Return the fault's name and the words for it; `code` and `words` are libcurl's."""
    if seen.too_large:
        return "too_large", "the answer is longer than the limit for bodies"
    if seen.refused:
        return "disconnected", "sending it again was refused" if seen.sent else "sending it was refused"
    if code == 0 and seen.proxy_status != 407:
        return (None, "") if seen.complete else ("truncated", "the connection ended in the middle of the headers")
    fault = _after_sending(code, seen) if seen.sent else _before_sending(code, seen)
    if seen.proxy_status == 407 or (fault == "proxy" and seen.proxy_status):
        return refused_by(seen.proxy, seen.proxy_status)
    if fault == "truncated" and seen.until_close:
        return None, ""  # an end without TLS's farewell, where no length tells better
    return fault, words or f"libcurl error {code}"


def _before_sending(code: int, seen: Circumstances) -> str:
    fault = _BEFORE_SENDING.get(code, "internal_error")
    in_the_tunnel = 200 <= seen.proxy_status < 300
    return "proxy" if fault == "connect" and seen.proxy and not in_the_tunnel else fault


def _after_sending(code: int, seen: Circumstances) -> str:
    if code == _OPERATION_TIMEDOUT:
        return "timeout_total" if seen.heard else "timeout_first_byte"
    if code == _RECV_ERROR and not seen.system_error:
        # Nothing went wrong below HTTP, or the other side left a TLS connection without a farewell.
        if not seen.heard:
            return "disconnected"
        return "truncated" if seen.secure else "protocol"
    return _AFTER_SENDING.get(code, "internal_error")
