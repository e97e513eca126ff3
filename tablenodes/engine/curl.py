"""The libcurl transport: one thread, thousands of requests in flight."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Any

import pycurl

from .calls import Answer, Chunk
from .curl_faults import Circumstances, fault_of
from .environment import certificates, proxy_for, sockets_allowed
from .readiness import readiness
from .response_head import final_head, tells_its_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..settings import Timeout
    from .calls import Call, Event, Request

_LARGE = 2**20
_NEARLY = 0.05
_NEVER = math.inf
# What libcurl or pycurl would add of their own where we do not set it.
_UNWANTED = ("Accept", "Content-Type", "Expect")


class CurlTransport:
    """Carries calls by libcurl, driven by its socket interface in the caller's thread.

    Parameters
    ----------
    timeout : Timeout
        Seconds until a connection stands, and between two pieces of a stream.
    body_bytes : int
        The longest body in bytes, decompressed; of a longer one the first `body_bytes` are kept.
    concurrency : int
        Calls in flight at a time.
    proxy, ca_bundle : str, optional
        A proxy and a file or folder of CA certificates; None for those of the environment.
    may_send : callable, optional
        Asked with a call's key whenever its request is about to be sent, libcurl's own silent repeat on a
        fresh connection among them; False refuses that send.
    clock : callable
        Monotonic seconds.
    stream : bool
        Give every piece of a body as a `Chunk` too, and end a body in which nothing came for `timeout.idle`.

    Attributes
    ----------
    capacity : int
        How many calls may really be in flight: `concurrency`, or fewer where the machine allows fewer sockets.

    Raises
    ------
    ConnectionSettingError
        If the CA certificates that are named do not exist.
    """

    def __init__(
        self,
        *,
        timeout: Timeout,
        body_bytes: int,
        concurrency: int,
        proxy: str | None = None,
        ca_bundle: str | None = None,
        may_send: Callable[[int], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        stream: bool = False,
    ) -> None:
        self.timeout = timeout
        self.body_bytes = body_bytes
        self.may_send = may_send
        self.clock = clock
        self.capacity = sockets_allowed(concurrency)
        self.idle = timeout.idle if stream else None
        self.raised: BaseException | None = None
        self.events: list[Event] = []
        self.last_piece: dict[_Slot, float] = {}
        self._proxy = proxy
        self._certificates = certificates(os.environ, ca_bundle)
        self._connections = concurrency + 8
        self._timer = _NEVER
        self._multi: Any = None
        self._open()

    def start(self, call: Call) -> None:
        """Begin a call; it is sent by the next `wait`."""
        if self._process != os.getpid():
            self._leave_to_parent()
        slot = self._spare.pop() if self._spare else _Slot(self)
        if slot.request is not call.request:
            self._configure(slot, call.request)
        slot.begin(call, self.clock())
        self._in_flight[call.key] = slot
        self._multi.add_handle(slot.handle)

    def cancel(self, key: int) -> None:
        """Drop a call and close its connection."""
        if self._process != os.getpid():
            self._leave_to_parent()
        slot = self._in_flight.get(key)
        if slot is not None:
            self._release(slot)
        if self.events:
            self.events = [event for event in self.events if event.key != key]

    def wait(self, seconds: float) -> list[Event]:
        """Give the events that came, after `seconds` at the latest and as soon as there is one."""
        if self._process != os.getpid():
            self._leave_to_parent()
        now = self.clock()
        until = now + seconds
        looked = False
        while True:
            if self._timer <= now:
                self._timer = _NEVER
                self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._collect(now)
            if self.events or (looked and now >= until):
                break
            soonest = min(until, self._timer, self._idle_end())
            ready = self._readiness.wait(max(0.0, soonest - now))
            looked = True
            now = self.clock()
            if 0 < self._timer <= now:
                self._note_heard(now)
            for descriptor, news in ready:
                if news & 1:
                    self._read_at[descriptor] = now
                self._multi.socket_action(descriptor, news)
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        """Drop every call and close every connection. A second time does nothing."""
        if self._process != os.getpid():
            self._leave_to_parent()
        if self._multi.closed:
            return
        self.events = []
        for slot in [*self._in_flight.values()]:
            self._release(slot)
        for slot in self._spare:
            slot.handle.close()
        self._spare.clear()
        self._multi.close()
        self._readiness.close()

    def _open(self) -> None:
        self._process = os.getpid()
        self._readiness = readiness()
        self._in_flight: dict[int, _Slot] = {}
        self._spare: list[_Slot] = []
        self._read_at: dict[int, float] = {}
        self._timer = _NEVER
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, 0)
        self._multi.setopt(pycurl.M_MAXCONNECTS, self._connections)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._readiness.wish)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def _leave_to_parent(self) -> None:
        """Begin anew in a forked child: the sockets, and what is under way on them, are the parent's.

        The child's copies are kept for as long as the child lives, for closing a handle can write (a TLS farewell)
        to a connection that the parent uses.
        """
        import ctypes  # noqa: PLC0415 - for forked children alone

        ctypes.pythonapi.Py_IncRef(ctypes.py_object((self._multi, self._in_flight, self._spare, self._readiness)))
        self.events = []
        self.last_piece = {}
        self._open()

    def _set_timer(self, milliseconds: int) -> None:
        if milliseconds == 0:  # at once, as twice a call
            self._timer = 0.0
        else:
            self._timer = _NEVER if milliseconds < 0 else self.clock() + milliseconds / 1000

    def _note_heard(self, now: float) -> None:
        """Note which calls, whose time is nearly over, have had a byte of their answer.

        libcurl tells of no byte before the end of a line, and of no socket after a timeout. In TLS what comes
        may be a part of the handshake, and says nothing.
        """
        for slot in self._in_flight.values():
            if slot.started + slot.total <= now + _NEARLY and not slot.secure:
                descriptor = slot.handle.getinfo(pycurl.ACTIVESOCKET)
                slot.heard = self._read_at.get(descriptor, -_NEVER) >= slot.started

    def _collect(self, now: float) -> None:
        """Turn every transfer that has ended into an answer."""
        if self.last_piece:
            self._end_idle(now)
        left = True
        while left:
            left, complete, failed = self._multi.info_read()
            for handle in complete:
                slot = handle.slot
                self.events.append(slot.answer(now))
                self._release(slot)
            for handle, code, words in failed:
                slot = handle.slot
                self.events.append(slot.failure(code, words, now))
                self._release(slot)
        if self.raised is not None:
            error, self.raised = self.raised, None
            raise error

    def _idle_end(self) -> float:
        for moment in self.last_piece.values():
            return moment + self.timeout.idle
        return _NEVER

    def _end_idle(self, now: float) -> None:
        while self._idle_end() <= now:
            slot = next(iter(self.last_piece))
            words = f"nothing came for {self.timeout.idle:g} s in the middle of a stream"
            self.events.append(slot.ended("timeout_idle", words, now))
            self._release(slot)

    def _release(self, slot: _Slot) -> None:
        """Take a slot's transfer out, which closes its connection unless the exchange is complete."""
        self._multi.remove_handle(slot.handle)
        del self._in_flight[slot.call.key]
        self.last_piece.pop(slot, None)
        if len(slot.call.body) > _LARGE:
            slot.handle.setopt(pycurl.POSTFIELDS, b"")
        self._spare.append(slot)

    def _configure(self, slot: _Slot, request: Request) -> None:
        """Set what all calls of one request have in common."""
        handle = slot.handle
        proxy = proxy_for(request.url, os.environ, self._proxy)
        slot.request = request
        slot.proxied = proxy is not None
        slot.secure = request.url.startswith("https:")
        slot.total = 0.0
        handle.setopt(pycurl.URL, request.url)
        handle.setopt(pycurl.HTTPHEADER, _header_lines(request))
        handle.setopt(pycurl.USERAGENT, "")  # pycurl's own; ours is among the headers
        handle.setopt(pycurl.HTTPGET if request.method == "GET" else pycurl.POST, 1)
        # Both are set in any case: libcurl would ask the environment itself.
        handle.setopt(pycurl.PROXY, proxy or "")
        handle.setopt(pycurl.NOPROXY, "")
        folder = os.path.isdir(self._certificates)
        handle.setopt(pycurl.CAPATH if folder else pycurl.CAINFO, self._certificates)
        handle.setopt(pycurl.PROXY_CAPATH if folder else pycurl.PROXY_CAINFO, self._certificates)
        handle.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(self.timeout.connect * 1000)))


class _Slot:
    """One libcurl handle, and the call that it carries at the moment."""

    __slots__ = (
        "call",
        "handle",
        "head",
        "heard",
        "owner",
        "pieces",
        "proxied",
        "refused",
        "request",
        "room",
        "secure",
        "sends",
        "started",
        "total",
    )

    def __init__(self, owner: CurlTransport) -> None:
        self.owner = owner
        self.request: Request | None = None
        self.proxied = False
        self.secure = False
        self.total = 0.0
        self.head: list[bytes] = []
        self.pieces: list[bytes] = []
        self.handle = handle = pycurl.Curl()
        handle.slot = self
        for option, value in _CONSTANT_OPTIONS:
            handle.setopt(option, value)
        handle.setopt(pycurl.HEADERFUNCTION, self.head.append)
        handle.setopt(pycurl.WRITEFUNCTION, self.take if owner.idle is None else self.take_and_tell)
        handle.setopt(pycurl.PREREQFUNCTION, self.may_send)

    def begin(self, call: Call, now: float) -> None:
        """Take a call on."""
        self.call = call
        self.started = now
        self.sends = 0
        self.refused = False
        self.heard = False
        self.room = self.owner.body_bytes
        self.head.clear()
        self.pieces.clear()
        if call.request.method != "GET":
            self.handle.setopt(pycurl.POSTFIELDS, call.body)
        if call.total != self.total:
            self.total = call.total
            self.handle.setopt(pycurl.TIMEOUT_MS, max(1, round(call.total * 1000)))

    def may_send(self, _address: str, _own_address: str, _port: int, _own_port: int) -> int:
        """Say to libcurl whether it may send the request over the connection that it has."""
        ask = self.owner.may_send
        try:
            if ask is None or ask(self.call.key):
                self.sends += 1
                return int(pycurl.PREREQFUNC_OK)
        except BaseException as error:  # noqa: BLE001 - pycurl would print it and go on; `wait` raises it
            self.owner.raised = error
        self.refused = True
        return int(pycurl.PREREQFUNC_ABORT)

    def take(self, piece: bytes) -> int | None:
        """Keep a piece of the body; 0 ends a transfer whose body is too long."""
        self.pieces.append(piece)
        self.room -= len(piece)
        return None if self.room >= 0 else 0

    def take_and_tell(self, piece: bytes) -> int | None:
        """Keep a piece of a streamed body, tell of it, and begin to wait for the next."""
        owner = self.owner
        allowed = piece[: self.room]
        if allowed:
            owner.events.append(Chunk(self.call.key, allowed))
        owner.last_piece.pop(self, None)
        owner.last_piece[self] = owner.clock()
        return self.take(piece)

    def answer(self, now: float) -> Answer:
        """Give the answer of a transfer that libcurl calls complete."""
        handle, head = self.handle, self.head
        status = handle.getinfo(pycurl.RESPONSE_CODE)
        if status < 200 or not head or self.proxied or head[-1] != b"\r\n" or head.count(b"\r\n") != 1:
            return self.failure(pycurl.E_OK, "", now)
        pieces = self.pieces
        return Answer(
            self.call.key,
            status,
            b"".join(head[1:-1]),
            pieces[0] if len(pieces) == 1 else b"".join(pieces),
            None,
            "",
            self.sends,
            handle.getinfo(pycurl.NUM_CONNECTS) == 0,
            now - self.started,
        )

    def failure(self, code: int, words: str, now: float) -> Answer:
        """Give the answer of a transfer that ended in another way than most."""
        getinfo = self.handle.getinfo
        status = getinfo(pycurl.RESPONSE_CODE)
        headers, complete = self.final_head(status)
        in_tunnel = self.proxied and self.secure
        seen = Circumstances(
            sent=self.sends > 0,
            heard=self.heard or (status > 0 if in_tunnel else bool(self.head)),
            refused=self.refused,
            too_large=self.room < 0,
            complete=complete,
            until_close=complete and not tells_its_length(headers),
            secure=self.secure,
            proxied=self.proxied,
            proxy_status=getinfo(pycurl.HTTP_CONNECTCODE) or (status if self.proxied else 0),
            system_error=getinfo(pycurl.OS_ERRNO),
        )
        fault, words = fault_of(code, words, seen)
        if fault == "proxy":  # what came is not the server's
            return Answer(self.call.key, None, b"", b"", fault, words, self.sends, elapsed=now - self.started)
        return self.ended(fault, words, now)

    def ended(self, fault: str | None, words: str, now: float) -> Answer:
        """Give an answer with what came of it until now."""
        status = self.handle.getinfo(pycurl.RESPONSE_CODE)
        headers, complete = self.final_head(status)
        return Answer(
            self.call.key,
            # An encoding that cannot be decoded ends a transfer in the middle of its headers.
            status if complete or (fault == "bad_encoding" and status >= 200) else None,
            headers,
            b"".join(self.pieces)[: self.owner.body_bytes],
            fault,
            words,
            self.sends,
            # libcurl repeats a request only where a reused connection was dead.
            self.sends > 0 and (self.refused or self.handle.getinfo(pycurl.NUM_CONNECTS) == 0),
            now - self.started,
        )

    def final_head(self, status: int) -> tuple[bytes, bool]:
        """Give the final response's header lines, and whether they are all there."""
        headers, complete = final_head(self.head)
        # Without a status of the server's own, what came was interim, or a proxy's.
        return (headers, True) if complete and status >= 200 else (b"", False)


_CONSTANT_OPTIONS = (
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
    (pycurl.HEADEROPT, pycurl.HEADER_SEPARATE),  # a proxy that only tunnels is not told our headers
    (pycurl.FOLLOWLOCATION, 0),
    (pycurl.NETRC, pycurl.NETRC_IGNORED),
    (pycurl.NOSIGNAL, 1),
    (pycurl.TCP_NODELAY, 1),
    (pycurl.TCP_KEEPALIVE, 1),
    (pycurl.ACCEPT_ENCODING, ""),  # all that this libcurl can decode
)


def _header_lines(request: Request) -> list[bytes]:
    present = {name.casefold() for name, _ in request.headers}
    ours = [f"{name}: {value}".encode("latin-1") if value else f"{name};".encode() for name, value in request.headers]
    return ours + [f"{name}:".encode() for name in _UNWANTED if name.casefold() not in present]
