"""Write a file whole, or not at all: an output, a database, a workflow."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

Path = str | os.PathLike[str]
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


@contextmanager
def new_file(target: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Open a file beside `target` that takes its name when all of it is on the disk; until then only we can read it.

    An earlier file is replaced, and its mode kept; a private one stays ours alone and replaces none.
    """
    folder = os.path.dirname(target) or "."
    fresh = os.path.join(folder, f".{secrets.token_hex(8)}.part")
    descriptor = os.open(fresh, _NEW, 0o600 if private else 0o666)
    try:
        try:
            mode = stat.S_IMODE(os.stat(target if os.path.exists(target) and not private else fresh).st_mode)
            os.chmod(fresh, 0o600)
            with open(descriptor, "wb", closefd=False) as handle:  # which a library may close
                yield handle
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if private:
            _link(fresh, target)
        else:
            os.chmod(fresh, mode)
            os.replace(fresh, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(fresh)
    sync_folder(folder)


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


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the file system can: a new file's, a replaced one's."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
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
            os.fsync(descriptor)
