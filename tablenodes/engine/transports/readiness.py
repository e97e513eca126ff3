"""Which of libcurl's sockets can be read or written: epoll where there is one, else the best selector."""

from __future__ import annotations

import contextlib
import select
import selectors

_REMOVE = 4
_EPOLL_MASKS = (0, 1, 4, 5)
_CHANGES = 2**31 | 0x2000 | 4 | 1
"""EPOLLET, EPOLLRDHUP, EPOLLOUT, EPOLLIN."""
# libcurl's wishes: 1 read, 2 write, 3 both. Its news: 1 readable, 2 writable, 4 error. epoll's: 1, 4, 8 and 16.
_NEWS = tuple((mask & 1) | (2 if mask & 4 else 0) | (4 if mask & 24 else 0) for mask in range(32))


class EpollReadiness:
    """Watches sockets by epoll.

    libcurl takes a connection's socket out after each exchange and puts it back for the next. Wishes are
    therefore gathered and only what they come to is told to the kernel, once before each wait.

    Attributes
    ----------
    wishes : dict of int to int
        What libcurl wants for a socket from now on, in its own numbers; emptied by `wait`.
    tells_changes : bool
        Whether there is `watch_changes`.
    """

    tells_changes = True

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.wishes: dict[int, int] = {}
        self._watched: set[int] = set()

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Give the sockets that are ready and what they are ready for, after `seconds` at the latest."""
        if self.wishes:
            self._apply()
        return [(descriptor, _NEWS[mask & 31]) for descriptor, mask in self._epoll.poll(seconds)]

    def watch_changes(self, descriptor: int) -> None:
        """Tell from now on when something changes on a socket, once for each change, until it is closed."""
        try:
            self._epoll.register(descriptor, _CHANGES)
        except FileExistsError:
            self._epoll.modify(descriptor, _CHANGES)

    def close(self) -> None:
        """Stop watching."""
        self._epoll.close()

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
    """Watches sockets by a selector of the standard library (kqueue, poll, select).

    Attributes
    ----------
    wishes : dict of int to int
        As in `EpollReadiness`.
    tells_changes : bool
        As in `EpollReadiness`.
    """

    tells_changes = False

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.wishes: dict[int, int] = {}

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Give the sockets that are ready and what they are ready for, after `seconds` at the latest."""
        for descriptor, wish in self.wishes.items():
            with contextlib.suppress(KeyError, OSError):
                self._selector.unregister(descriptor)
            if wish != _REMOVE:
                self._selector.register(descriptor, wish)
        self.wishes.clear()
        return [(key.fd, events) for key, events in self._selector.select(seconds)]

    def watch_changes(self, descriptor: int) -> None:
        """Refuse: a selector tells of states, not of changes."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop watching."""
        self._selector.close()


Readiness = EpollReadiness | SelectorReadiness


def readiness() -> Readiness:
    """Give the fastest way that this machine has."""
    return EpollReadiness() if hasattr(select, "epoll") else SelectorReadiness()
