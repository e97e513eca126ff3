"""What Windows does otherwise, done here as far as that goes: select, files that are open, modules that are missing.

It has been written from what Python's and Microsoft's documents say. It is no Windows: paths, consoles and processes
stay this system's.
"""

from __future__ import annotations

import errno
import os
import select
import selectors
import socket

_poll = getattr(select, "poll", None)
MOST = 512
"""Sockets that one call of select takes: the FD_SETSIZE with which Python is built there."""


class Select(selectors.SelectSelector):
    """Python's selector on Windows: it refuses no sockets, more than `MOST` of them and one that is closed."""

    def _select(self, readers, writers, _, timeout=None):
        if not readers and not writers:
            raise _refused(10022, "An invalid argument was supplied")
        if max(len(readers), len(writers)) > MOST:
            raise ValueError("too many file descriptors in select()")
        poll = _poll()
        for descriptor in {*readers, *writers}:
            poll.register(
                descriptor, select.POLLIN * (descriptor in readers) | select.POLLOUT * (descriptor in writers)
            )
        ready = poll.poll(None if timeout is None else timeout * 1000)
        if any(news & select.POLLNVAL for _, news in ready):
            raise _refused(10038, "An operation was attempted on something that is not a socket")
        failed = select.POLLERR | select.POLLHUP
        return (
            [each for each, news in ready if each in readers and news & (select.POLLIN | failed)],
            [each for each, news in ready if each in writers and news & (select.POLLOUT | failed)],
            [],
        )


def select_alone(monkeypatch) -> None:
    """Have no other way to wait for sockets than select, with the bounds that it has on Windows."""
    for name in ("epoll", "poll"):
        monkeypatch.delattr(select, name)
    monkeypatch.setattr(selectors, "DefaultSelector", Select)
    monkeypatch.delattr(socket, "TCP_INFO")


class Opened:
    """In the place of `os.replace`: another program has the file open the first `times`."""

    def __init__(self, times):
        self.left = times
        self._replace = os.replace

    def __call__(self, source, target):
        self.left -= 1
        if self.left >= 0:
            raise _refused(32, "The process cannot access the file because it is being used by another process")
        self._replace(source, target)


def _refused(code: int, words: str) -> OSError:
    error = OSError(errno.EACCES if code == 32 else errno.EINVAL, words)
    error.winerror = code
    return error
