"""Write a file whole, or not at all: an output, a database, a workflow."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import IO

Path = str | os.PathLike[str]
PATIENCE = 2.0  # seconds that a file which another program has open is waited for
_IN_USE = (5, 32)  # Windows' codes of what another program has open: access denied, sharing violation
_OPEN_ELSEWHERE = "another program has the file open; close it there and run again"
_CAN_LOCK = find_spec("fcntl") is not None  # not on Windows
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


@contextmanager
def new_file(
    target: Path, *, private: bool = False, kept_as: Callable[[], Path | None] | None = None
) -> Iterator[IO[bytes]]:
    """Open a file beside `target` that takes its name when all of it is on the disk; until then only we can read it.

    An earlier file is replaced, and its mode kept; a private one stays ours alone and replaces none. After an error it
    is gone, or kept under the name that `kept_as` returns.
    """
    fresh, descriptor = _begun(target, 0o600 if private else 0o666)
    held = os.dup(descriptor) if _CAN_LOCK else None  # where a file that is open can take another name
    try:
        try:
            mode = stat.S_IMODE(os.stat(target if os.path.exists(target) and not private else fresh).st_mode)
            os.chmod(fresh, 0o600)
            try:
                with open(descriptor, "wb", closefd=False) as handle:  # which a library may close
                    yield handle
            except BaseException:
                if kept_as is not None and (other := kept_as()) is not None:
                    os.chmod(fresh, mode)
                    replace(fresh, other)
                raise
            sync(descriptor)
        finally:
            os.close(descriptor)
        if private:
            _link(fresh, target)
        else:
            os.chmod(fresh, mode)
            replace(fresh, target)
    finally:
        with suppress(FileNotFoundError):
            if held is None or _has_name(held, fresh):
                os.unlink(fresh)
        if held is not None:
            os.close(held)
    sync_folder(os.path.dirname(target) or ".")


def _begun(target: Path, mode: int) -> tuple[str, int]:
    """Return a new file beside `target`, and its descriptor; what a process of ours left there that was killed is gone.

    Its name is that of the target on this machine; where another process writes the same target, any other.
    """
    folder, name = os.path.split(os.fspath(target))
    if _CAN_LOCK:
        digest = hashlib.blake2b(os.fsencode(f"{os.uname().nodename}/{name}"), digest_size=8).hexdigest()
        usual = os.path.join(folder, f".{digest}.part")
        with suppress(FileExistsError):
            return usual, _locked(usual, mode)
    other = os.path.join(folder, f".{secrets.token_hex(8)}.part")
    return other, os.open(other, _NEW, mode)


def _locked(path: str, mode: int) -> int:
    """Return a new file's descriptor, locked while it is open; `FileExistsError` where another process has the file."""
    try:
        descriptor = os.open(path, _NEW, mode)
    except FileExistsError:
        _remove_left(path)
        descriptor = os.open(path, _NEW, mode)
    try:
        is_ours = _is_alone(descriptor, path)
    except BlockingIOError:  # somebody takes it for what was left, and removes it
        is_ours = False
    except OSError:  # a file system without locks: nobody else can lock it either
        is_ours = True
    if not is_ours:
        os.close(descriptor)
        raise FileExistsError(path)
    return descriptor


def _remove_left(path: str) -> None:
    """Remove a file that nobody writes any more, if we may."""
    with suppress(OSError):
        left = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if _is_alone(left, path):
                os.unlink(path)
        finally:
            os.close(left)


def _is_alone(descriptor: int, path: str) -> bool:
    """Lock a file, and check that it still has its name; `OSError` where that cannot be."""
    import fcntl  # noqa: PLC0415 - not on Windows

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return _has_name(descriptor, path)


def _has_name(descriptor: int, path: str) -> bool:
    """Check whether an open file is the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def write_file(path: Path, content: bytes) -> None:
    """Write a file, behind any symbolic link, whole or not at all; a device gets the content as it is."""
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as device:
            device.write(content)
    else:
        with new_file(target) as handle:
            handle.write(content)


def sync(descriptor: int) -> None:
    """Bring a file's content to the disk; on macOS fsync alone leaves it in the memory of the drive."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        os.fsync(descriptor)
        return
    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):  # a file system that knows no such request, of another machine say
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def replace(fresh: Path, target: Path) -> None:
    """Have a file take the name of another; whoever has that one open is waited for a little where it must be closed.

    On Windows that may be a program that looks for viruses, or a spreadsheet: `PermissionError` says so.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            os.replace(fresh, target)
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _IN_USE:
                raise
            if time.monotonic() >= until:
                raise PermissionError(errno.EACCES, _OPEN_ELSEWHERE, target) from None
            time.sleep(0.05)
        else:
            return


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the file system can: a new file's, a replaced one's."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)


def _link(fresh: str, target: Path) -> None:
    """Name a file `target`, unless there is one."""
    try:
        os.link(fresh, target)
    except FileExistsError:
        pass  # another process was first; who may use it is for its lock to say
    except OSError:  # a file system without links
        descriptor = os.open(target, _NEW, 0o600)
        with open(descriptor, "wb") as handle, open(fresh, "rb") as written:
            handle.write(written.read())
            handle.flush()
            sync(descriptor)
