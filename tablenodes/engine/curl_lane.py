"""One CurlMulti with its timer: a part of the transfers that are in flight."""

from __future__ import annotations

import contextlib
import math
import socket
import struct
from typing import TYPE_CHECKING, Any

import pycurl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .curl_transfer import Transfer
    from .readiness import Readiness

NEVER = math.inf
WIDTH = 256
"""Transfers in a lane. For each call libcurl looks at one connection of its pool after the other, until one is idle."""

_NEARLY = 0.05
"""Seconds before the end of a call's time in which it is noted whether something has come."""

_TCP_INFO = struct.Struct("=44xI4xI72xQ")
"""Of Linux's struct tcp_info: milliseconds since the last data was sent, since it was received, bytes received."""


class Lane:
    """One CurlMulti, driven by what becomes ready and by its timer.

    Attributes
    ----------
    multi : pycurl.CurlMulti
        libcurl's side.
    timer : float
        When `run` is to be called, if nothing becomes ready before.
    width : int
        How many handles belong to it.
    """

    def __init__(self, readiness: Readiness, by_descriptor: dict[int, Lane], clock: Callable[[], float]) -> None:
        self.timer = NEVER
        self.width = 0
        self.multi = multi = pycurl.CurlMulti()
        self._wishes = readiness.wishes
        self._by_descriptor = by_descriptor
        self._clock = clock
        multi.setopt(pycurl.M_PIPELINING, 0)
        multi.setopt(pycurl.M_MAXCONNECTS, WIDTH + 8)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._wish)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def run(self, now: float, in_flight: Iterable[Transfer]) -> None:
        """Do what is due: begin calls, end those whose time is over."""
        if self.timer:
            self._note_heard(now, in_flight)
        self.timer = NEVER
        self.multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def ready(self, descriptor: int, news: int, now: float, in_flight: Iterable[Transfer]) -> None:
        """Read and write on one socket, and do what is due."""
        if 0 < self.timer <= now:
            self._note_heard(now, in_flight)
        self.multi.socket_action(descriptor, news)

    def _wish(self, wish: int, descriptor: int, _multi: object, _assigned: object) -> None:
        self._wishes[descriptor] = wish
        self._by_descriptor[descriptor] = self

    def _set_timer(self, milliseconds: int) -> None:
        if milliseconds == 0:  # at once, as twice a call
            self.timer = 0.0
        else:
            self.timer = NEVER if milliseconds < 0 else self._clock() + milliseconds / 1000

    def _note_heard(self, now: float, in_flight: Iterable[Transfer]) -> None:
        """Note which calls, whose time is nearly over, have had a byte of their answer.

        libcurl tells of no byte before the end of a line, and of no socket after a timeout. In TLS what comes
        may be a part of the handshake, and says nothing.
        """
        for transfer in in_flight:
            if transfer.lane is self and transfer.started + transfer.total <= now + _NEARLY and not transfer.secure:
                transfer.heard = _has_received(transfer.handle)


@contextlib.contextmanager
def borrowed(descriptor: int) -> Iterator[socket.socket]:
    """Give one of libcurl's sockets as an object, and leave it open."""
    sock = socket.socket(fileno=descriptor)
    try:
        yield sock
    finally:
        sock.detach()


def _has_received(handle: Any) -> bool:
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
