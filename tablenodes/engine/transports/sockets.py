"""libcurl's sockets, as the kernel knows them."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

import pycurl

if TYPE_CHECKING:
    from collections.abc import Iterator

_TCP_INFO = struct.Struct("=44xI4xI72xQ")
"""Of Linux's struct tcp_info: milliseconds since the last data was sent, since it was received, bytes received."""


@contextlib.contextmanager
def borrowed(descriptor: int) -> Iterator[socket.socket]:
    """Give one of libcurl's sockets as an object, and leave it open."""
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
