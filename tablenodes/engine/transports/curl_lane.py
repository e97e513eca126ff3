"""One CurlMulti with its timer, the two ways to drive it, and what the kernel knows of its sockets."""

from __future__ import annotations

import contextlib
import math
import select
import selectors
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pycurl

from ..calls import Event

NEVER = math.inf
WIDTH = 256
"""Transfers in a lane. For each call libcurl looks at one connection of its pool after the other, until one is idle."""
NARROW = 128  # transfers up to which it is cheaper to let libcurl look at them all than to be told of each socket
AT_ONCE = 32_768  # bytes of a request that libcurl gives to the kernel without waiting in between, or nearly so
_NEARLY = 0.05  # seconds before the end of a call's time in which it is noted whether something has come
_RESOLVING = 0.005
"""Seconds after which libcurl is asked again while a call has no socket yet: whoever resolves its name has one of
its own, of which we know nothing."""
_MOST_SELECTED = 500  # sockets that one call of select watches: Windows' own bound is 512
_TURN = 0.002  # seconds between two looks at more sockets than that
_REMOVE = 4
_EPOLL_MASKS = (0, 1, 4, 5)
_CHANGES = 2**31 | 0x2000 | 4 | 1  # EPOLLET, EPOLLRDHUP, EPOLLOUT, EPOLLIN
# libcurl's wishes: 1 read, 2 write, 3 both. Its news: 1 readable, 2 writable, 4 error. epoll's: 1, 4, 8 and 16.
_NEWS = tuple((mask & 1) | (2 if mask & 4 else 0) | (4 if mask & 24 else 0) for mask in range(32))
_TCP_INFO = struct.Struct("=44xI4xI72xQ")
"""Of Linux's struct tcp_info: milliseconds since the last data was sent, since it was received, bytes received."""


@dataclass(eq=False, repr=False)
class Common:
    """What all transfers of one transport share."""

    body_bytes: int
    may_send: Callable[[int], bool] | None
    clock: Callable[[], float]
    stream: bool
    events: list[Event] = field(default_factory=list)  # what came and is not fetched yet
    # When that of each stream came, by its call's key, the oldest first.
    last_piece: dict[int, float] = field(default_factory=dict)
    unsent: int = 0  # calls that have begun and have not been sent
    raised: BaseException | None = None  # by `may_send`, to be raised again outside of libcurl
    # For each connection, by its ends, its socket, and what tells whether anything has come on it.
    news: dict[tuple[str, int, str, int], tuple[int, Callable[[int], object]]] = field(default_factory=dict)


class Carried(Protocol):
    """A transfer, as far as its lane looks at it."""

    lane: Lane
    handle: Any
    started: float
    total: float
    secure: bool
    heard: bool


class Lane(ABC):
    """A CurlMulti with `width` handles; `timer` says when to call `run`, 0 for at once.

    `stirred` are the sockets on which something may have come; None where nobody knows. Those of calls whose answer is
    not fetched yet are `busy`. It has `room` for so many handles.
    """

    room = WIDTH

    def __init__(self, readiness: Readiness, by_descriptor: dict[int, Lane], common: Common) -> None:
        self.timer = NEVER
        self.width = 0
        self.stirred: set[int] | None = None
        self.busy: set[int] = set()
        self.multi = multi = pycurl.CurlMulti()
        self.carried: dict[Any, Any] = {}  # the transfers by their handles
        # Bound once: pycurl takes long to find a method of its own.
        self.add, self.remove, self.ended = multi.add_handle, multi.remove_handle, multi.info_read
        self._readiness = readiness
        self._by_descriptor = by_descriptor
        self._common = common
        self._clock = common.clock
        multi.setopt(pycurl.M_PIPELINING, 0)
        multi.setopt(pycurl.M_MAXCONNECTS, self.room + 8)

    @abstractmethod
    def begin(self, handle: pycurl.Curl) -> None:
        """Add a handle; its call begins with the next `run`."""

    @abstractmethod
    def run(self, now: float, in_flight: Iterable[Carried]) -> None:
        """Do what is due: begin calls, end those whose time is over."""

    @abstractmethod
    def ready(self, descriptor: int, news: int, now: float, in_flight: Iterable[Carried]) -> bool:
        """Use a socket that is ready; return whether calls may have come to their ends."""

    def close(self) -> None:
        """Close it, and forget its transfers."""
        self.carried.clear()
        self.multi.close()

    def opened(self, descriptor: int) -> None:  # noqa: B027 - most need not know
        """Note a socket that is about to be connected."""

    def _note_heard(self, now: float, in_flight: Iterable[Carried]) -> None:
        """Note which calls, whose time is nearly over, have had a byte of their answer.

        libcurl tells of no byte before the end of a line, and of no socket after a timeout. In TLS what comes
        may be a part of the handshake, and says nothing.
        """
        for transfer in in_flight:
            if transfer.lane is self and transfer.started + transfer.total <= now + _NEARLY and not transfer.secure:
                transfer.heard = has_received(transfer.handle)


class SocketLane(Lane):
    """Driven socket by socket: what thousands in flight cost depends on those that something has come for."""

    def __init__(self, readiness: Readiness, by_descriptor: dict[int, Lane], common: Common) -> None:
        super().__init__(readiness, by_descriptor, common)
        self._wishes = readiness.wishes
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self._wish)
        self.multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def begin(self, handle: pycurl.Curl) -> None:
        self.add(handle)

    def run(self, now: float, in_flight: Iterable[Carried]) -> None:
        if self.timer:
            self._note_heard(now, in_flight)
        self.timer = NEVER
        self.multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def ready(self, descriptor: int, news: int, now: float, in_flight: Iterable[Carried]) -> bool:
        if 0 < self.timer <= now:
            self._note_heard(now, in_flight)
        self.multi.socket_action(descriptor, news)
        return True

    def _wish(self, wish: int, descriptor: int, _multi: object, _assigned: object) -> None:
        self._wishes[descriptor] = wish
        self._by_descriptor[descriptor] = self

    def _set_timer(self, milliseconds: int) -> None:
        if milliseconds == 0:  # at once, as twice a call
            self.timer = 0.0
        else:
            self.timer = NEVER if milliseconds < 0 else self._clock() + milliseconds / 1000


class PerformLane(Lane):
    """Driven as a whole: libcurl looks at all transfers whenever something has come for any.

    The sockets are watched for changes, from their opening to their end, so that nothing is said to the kernel for
    each exchange. libcurl reads a socket until it is empty, or sets its timer to go on; of a request it gives a part
    at a time and waits for the kernel to say that it takes more, so it must be no longer than `AT_ONCE`.
    """

    room = 32  # libcurl looks at each of them whenever something has come for one

    def __init__(self, readiness: Readiness, by_descriptor: dict[int, Lane], common: Common) -> None:
        super().__init__(readiness, by_descriptor, common)
        self._due = NEVER

    def begin(self, handle: pycurl.Curl) -> None:
        self.add(handle)
        self.timer = 0.0

    def run(self, now: float, in_flight: Iterable[Carried]) -> None:
        if self._due <= now:
            self._note_heard(now, in_flight)
        if self._common.unsent:  # one look at all sockets, in place of one at each that a call is about to be sent over
            self.stirred = self._readiness.stirred()
        self.multi.perform()
        milliseconds = self.multi.timeout()
        if milliseconds == 0:
            self._due = NEVER
            self.timer = 0.0
            return
        self._due = self.timer = NEVER if milliseconds < 0 else self._clock() + milliseconds / 1000
        if self._common.unsent:
            self.timer = min(self._due, self._clock() + _RESOLVING)

    def ready(self, descriptor: int, news: int, now: float, in_flight: Iterable[Carried]) -> bool:
        self.timer = 0.0
        return False

    def opened(self, descriptor: int) -> None:
        self._by_descriptor[descriptor] = self
        self._readiness.watch_changes(descriptor)


class EpollReadiness:
    """Watches sockets by epoll; `wishes` is what libcurl wants for a socket from now on, in its own numbers.

    libcurl takes a connection's socket out after each exchange and puts it back for the next. Wishes are
    therefore gathered and only what they come to is told to the kernel, once before each wait.
    """

    tells_changes = True

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._states = select.epoll()  # of the sockets that are watched for changes
        self.wishes: dict[int, int] = {}
        self._watched: set[int] = set()

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Return the sockets that are ready and what they are ready for, after `seconds` at the latest."""
        if self.wishes:
            self._apply()
        return [(descriptor, _NEWS[mask & 31]) for descriptor, mask in self._epoll.poll(seconds)]

    def watch_changes(self, descriptor: int) -> None:
        """Have `wait` return a socket once for each change on it, until it is closed."""
        for epoll, mask in ((self._epoll, _CHANGES), (self._states, select.EPOLLIN)):
            try:
                epoll.register(descriptor, mask)
            except FileExistsError:
                epoll.modify(descriptor, mask)

    def stirred(self) -> set[int]:
        """Return the sockets watched for changes on which something has come that nobody has read, be it the end."""
        return {descriptor for descriptor, _ in self._states.poll(0)}

    def close(self) -> None:
        """Stop watching."""
        self._epoll.close()
        self._states.close()

    def _apply(self) -> None:
        epoll, watched = self._epoll, self._watched
        for descriptor, wish in self.wishes.items():
            if wish == _REMOVE:
                if descriptor in watched:
                    watched.discard(descriptor)
                    with contextlib.suppress(OSError):  # already closed, and so already out
                        epoll.unregister(descriptor)
            elif descriptor in watched:
                # Said again even if it is the same wish: the number may by now be another socket's, of which
                # the kernel does not know yet.
                try:
                    epoll.modify(descriptor, _EPOLL_MASKS[wish])
                except FileNotFoundError:
                    epoll.register(descriptor, _EPOLL_MASKS[wish])
            else:
                watched.add(descriptor)
                epoll.register(descriptor, _EPOLL_MASKS[wish])
        self.wishes.clear()


class SelectorReadiness:
    """The same by selectors of the standard library (kqueue, poll, select), which tell of states, not of changes.

    Windows has select alone, which refuses to wait for no socket, or for more than `_MOST_SELECTED`. More are spread
    over several selectors, and those are looked at in turn.
    """

    tells_changes = False

    def __init__(self) -> None:
        self._selectors: list[selectors.BaseSelector] = [selectors.DefaultSelector()]
        self._room = _MOST_SELECTED if isinstance(self._selectors[0], selectors.SelectSelector) else NEVER
        self._watching: dict[int, selectors.BaseSelector] = {}
        self.wishes: dict[int, int] = {}

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        if self.wishes:
            self._apply()
        watching = [each for each in self._selectors if each.get_map()]
        until = time.monotonic() + seconds
        while True:
            turn = seconds if len(watching) == 1 else 0.0
            found = [(key.fd, events) for each in watching for key, events in each.select(turn)]
            left = until - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(left, _TURN) if watching else left)

    def watch_changes(self, descriptor: int) -> None:
        raise NotImplementedError

    def stirred(self) -> set[int]:
        raise NotImplementedError

    def close(self) -> None:
        for each in self._selectors:
            each.close()

    def _apply(self) -> None:
        for descriptor, wish in self.wishes.items():
            if (before := self._watching.pop(descriptor, None)) is not None:
                before.unregister(descriptor)
            if wish != _REMOVE:
                self._watching[descriptor] = found = self._roomy()
                found.register(descriptor, wish)
        self.wishes.clear()

    def _roomy(self) -> selectors.BaseSelector:
        for each in self._selectors:
            if len(each.get_map()) < self._room:
                return each
        self._selectors.append(selectors.DefaultSelector())
        return self._selectors[-1]


Readiness = EpollReadiness | SelectorReadiness


def readiness() -> Readiness:
    """Return the fastest way to watch sockets that this machine has."""
    return EpollReadiness() if hasattr(select, "epoll") else SelectorReadiness()


@contextlib.contextmanager
def borrowed(descriptor: int) -> Iterator[socket.socket]:
    """Yield one of libcurl's sockets as an object, and leave it open."""
    sock = socket.socket(fileno=descriptor)
    try:
        yield sock
    finally:
        sock.detach()


def has_received(handle: Any) -> bool:
    """Whether a byte has come on a handle's connection since its request was sent, as the kernel knows it."""
    descriptor = handle.getinfo(pycurl.ACTIVESOCKET)
    if descriptor < 0 or not hasattr(socket, "TCP_INFO"):
        return False
    with borrowed(descriptor) as sock:
        known = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    if len(known) < _TCP_INFO.size:
        return False
    since_sent, since_received, received = _TCP_INFO.unpack(known)
    is_new = handle.getinfo(pycurl.NUM_CONNECTS) > 0
    return bool(received if is_new else since_received < since_sent)
