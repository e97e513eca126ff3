"""What Windows does otherwise, done here as far as that goes: select, files that are open, modules that are missing.

It has been written from what Python's and Microsoft's documents say. It is no Windows: paths, consoles and processes
stay this system's. ``PYTHONPATH=tests python -m pytest -p windows`` runs the tests in processes that pretend to be one.
"""

from __future__ import annotations

import errno
import importlib
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import types

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
        monkeypatch.delattr(select, name, raising=False)
    monkeypatch.setattr(selectors, "DefaultSelector", Select)
    monkeypatch.delattr(socket, "TCP_INFO", raising=False)


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


_BEFORE = ("click", "numpy", "pandas", "platformdirs", "pyarrow.dataset", "pycurl", "requests", "tqdm.auto")
"""Modules of others that ask for the system when they are loaded, and must not be answered so."""


def pretend(*also: str) -> None:
    """Have this process take itself for one on Windows, for good; what other projects' modules do is left alone."""
    import fcntl

    for name in (*_BEFORE, *also):
        importlib.import_module(name)
    sys.modules["platformdirs"].user_data_path("tablenodes")
    locks = types.ModuleType("msvcrt")
    locks.LK_NBLCK, locks.LK_UNLCK = 2, 0

    def locking(descriptor: int, mode: int, _size: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if mode == locks.LK_NBLCK else fcntl.LOCK_UN)
        except BlockingIOError:
            raise OSError(errno.EACCES, "Permission denied") from None

    locks.locking = locking
    sys.modules["msvcrt"] = locks
    sys.modules |= dict.fromkeys(("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"))
    _leave_out(os, "fork getuid geteuid getgid getegid setsid mkfifo chown statvfs sched_getaffinity pidfd_open waitid")
    _leave_out(os, "O_NOFOLLOW O_CLOEXEC O_DIRECTORY O_PATH O_NONBLOCK")
    _leave_out(select, "epoll poll")
    _leave_out(socket, "AF_UNIX TCP_INFO")
    signal.SIGBREAK = signal.SIGHUP
    _leave_out(signal, "SIGHUP SIGKILL SIGUSR1 SIGUSR2 SIGPIPE pidfd_send_signal")
    selectors.DefaultSelector = Select
    subprocess.DETACHED_PROCESS, subprocess.CREATE_NEW_PROCESS_GROUP = 8, 512
    started = subprocess.Popen.__init__

    def start(self, *arguments, creationflags=0, start_new_session=False, **named):
        if named.get("preexec_fn") or named.get("pass_fds"):
            raise ValueError("preexec_fn and pass_fds are not supported on Windows platforms")
        started(self, *arguments, **named)

    subprocess.Popen.__init__ = start
    for name, place in (("replace", 1), ("rename", 1), ("unlink", 0), ("remove", 0)):
        setattr(os, name, _refusing_open_files(getattr(os, name), place))
    sys.platform = "win32"


def pytest_load_initial_conftests() -> None:
    """Begin to pretend before anything of the tests is read."""
    pretend("duckdb", "hypothesis", "openpyxl", "polars")


def _leave_out(module, names):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)


def _refusing_open_files(act, place):
    """Refuse to delete or replace a file that this very process has open."""

    def checked(*paths, **named):
        for path in paths[: place + 1]:
            path = os.fsdecode(path)
            if not named.get("dir_fd") and os.path.isfile(path) and not os.path.islink(path) and _is_open(path):
                raise _refused(32, "The process cannot access the file because it is being used by another process")
        return act(*paths, **named)

    return checked


def _is_open(path):
    found = os.stat(path)
    for name in os.listdir("/proc/self/fd"):
        try:
            opened = os.stat(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino):
            return True
    return False


def _refused(code: int, words: str) -> OSError:
    error = OSError(errno.EACCES if code == 32 else errno.EINVAL, words)
    error.winerror = code
    return error
