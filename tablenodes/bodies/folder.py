"""A folder below which files may be read that a cell names, and no others."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from ..problems import Unfit

_WALKS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_FILE = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_DIRECTORY"))
_ANOTHER = "image_root chooses another folder"


class Folder:
    """Reads files below a folder: by their paths in it, or by absolute ones.

    A way out of it, by ``..``, a symbolic link or an absolute path, is none, and neither is a device or a pipe. What is
    wrong is raised as an `Unfit` whose text goes on after the name of whatever holds the path, which it never shows.
    """

    def __init__(self, path: str) -> None:
        self._root = os.path.realpath(path)

    def read(self, name: str, most: int) -> bytes:
        """Return a file's bytes, `most` at the most."""
        try:
            descriptor = self._opened(self._parts(name))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise self._none() from None
        except OSError as error:
            raise self._none() if error.errno == errno.ENAMETOOLONG else _unreadable(error) from None
        with open(descriptor, "rb") as file:
            try:
                found = os.fstat(descriptor)
                _check_regular(found)
                data = file.read(most + 1) if found.st_size <= most else b""
            except OSError as error:
                raise _unreadable(error) from None
        if (size := max(len(data), found.st_size)) > most:
            raise Unfit(f"names a file of {size:,} bytes; {fitting(most)}")
        return data

    def _none(self) -> Unfit:
        return Unfit(f"names no file in {self._root}; {_ANOTHER}")

    def _parts(self, name: str) -> Sequence[str]:
        """Return the names on the way from the folder to a file, no link among them."""
        climbs = os.pardir in name.replace("\\", "/").split("/")
        whole = self._root if climbs else os.path.realpath(os.path.join(self._root, name))
        parts = os.path.relpath(whole, self._root).split(os.sep)
        if climbs or parts[0] == os.pardir:
            raise Unfit(f"leads out of {self._root}, below which files are read; {_ANOTHER}")
        return parts

    def _opened(self, parts: Sequence[str]) -> int:
        """Open a file, by a way on which nothing has become a link meanwhile."""
        if not _WALKS:
            path = os.path.join(self._root, *parts)
            _check_regular(os.lstat(path))
            return os.open(path, _FILE)
        folder = os.open(self._root, _FOLDER)
        try:
            for part in parts[:-1]:
                below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = below
            _check_regular(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False))
            return os.open(parts[-1], _FILE, dir_fd=folder)
        finally:
            os.close(folder)


def fitting(most: int) -> str:
    """Return how large a file may be, in words."""
    return f"{max(0, most):,} at most fit into the request (Limits.body_bytes)"


def _check_regular(found: os.stat_result) -> None:
    """Raise `Unfit` for what is no regular file: opening a device may do something, and a pipe never ends."""
    if not stat.S_ISREG(found.st_mode):
        raise Unfit("names a folder, not a file" if stat.S_ISDIR(found.st_mode) else "names what is no regular file")


def _unreadable(error: OSError) -> Unfit:
    return Unfit(f"names a file that cannot be read ({error.strerror})")
