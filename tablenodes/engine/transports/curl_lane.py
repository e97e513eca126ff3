"""One CurlMulti with its timer: a part of the transfers that are in flight, and the two ways to drive it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import pycurl

from .sockets import has_received

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .curl_common import Common
    from .readiness import Readiness

NEVER = math.inf
WIDTH = 256
"""Transfers in a lane. For each call libcurl looks at one connection of its pool after the other, until one is idle."""

_NEARLY = 0.05
"""Seconds before the end of a call's time in which it is noted whether something has come."""

NARROW = 128
"""Transfers up to which it is cheaper to let libcurl look at them all than to be told of each socket."""

AT_ONCE = 32_768
"""Bytes of a request that libcurl gives to the kernel without waiting in between, or nearly so."""

_RESOLVING = 0.005
"""Seconds after which libcurl is asked again while a call has no socket yet: whoever resolves its name has one of
its own, of which we know nothing."""


class Carried(Protocol):
    """A transfer, as far as its lane looks at it."""

    lane: Lane
    handle: Any
    started: float
    total: float
    secure: bool
    heard: bool


class Lane(ABC):
    """One CurlMulti.

    Attributes
    ----------
    multi : pycurl.CurlMulti
        libcurl's side.
    timer : float
        When `run` is to be called; 0 for at once.
    width : int
        How many handles belong to it.
    """

    def __init__(self, readiness: Readiness, by_descriptor: dict[int, Lane], common: Common) -> None:
        self.timer = NEVER
        self.width = 0
        self.multi = multi = pycurl.CurlMulti()
        self._readiness = readiness
        self._by_descriptor = by_descriptor
        self._common = common
        self._clock = common.clock
        multi.setopt(pycurl.M_PIPELINING, 0)
        multi.setopt(pycurl.M_MAXCONNECTS, WIDTH + 8)

    @abstractmethod
    def begin(self, handle: pycurl.Curl) -> None:
        """Take a handle in; its call begins with the next `run`."""

    @abstractmethod
    def run(self, now: float, in_flight: Iterable[Carried]) -> None:
        """Do what is due: begin calls, end those whose time is over."""

    @abstractmethod
    def ready(self, descriptor: int, news: int, now: float, in_flight: Iterable[Carried]) -> bool:
        """Take in that a socket is ready; tell whether calls may have come to their ends."""

    def opened(self, descriptor: int) -> None:  # noqa: B027 - most need not know
        """Take note of a socket that is about to be connected."""

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
        """Take a handle in; libcurl sets the timer."""
        self.multi.add_handle(handle)

    def run(self, now: float, in_flight: Iterable[Carried]) -> None:
        """Do what is due: begin calls, end those whose time is over."""
        if self.timer:
            self._note_heard(now, in_flight)
        self.timer = NEVER
        self.multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def ready(self, descriptor: int, news: int, now: float, in_flight: Iterable[Carried]) -> bool:
        """Read and write on one socket, and do what is due."""
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

    def __init__(self, readiness: Readiness, by_descriptor: dict[int, Lane], common: Common) -> None:
        super().__init__(readiness, by_descriptor, common)
        self._due = NEVER

    def begin(self, handle: pycurl.Curl) -> None:
        """Take a handle in."""
        self.multi.add_handle(handle)
        self.timer = 0.0

    def run(self, now: float, in_flight: Iterable[Carried]) -> None:
        """Let every transfer go on as far as it can."""
        if self._due <= now:
            self._note_heard(now, in_flight)
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
        """Take in that something has changed."""
        self.timer = 0.0
        return False

    def opened(self, descriptor: int) -> None:
        """Watch a socket that is about to be connected."""
        self._by_descriptor[descriptor] = self
        self._readiness.watch_changes(descriptor)
