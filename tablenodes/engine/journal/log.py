"""The log beside a journal that was not closed: whether SQLite can still read every commit that is in it.

SQLite reads a log up to the first frame that does not fit its check sum, and takes the rest for a commit that a crash
cut off. That is right for the last commit; where others stand behind that frame, answers would be lost unseen.
The format is SQLite's: https://www.sqlite.org/walformat.html
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_HEADER = 32
_FRAME = 24
_BITS = 0xFFFFFFFF


class Log(NamedTuple):
    """What is in a log, by its own word.

    Attributes
    ----------
    size : int
        Bytes.
    whole : bool
        Whether its header fits its check sum.
    commits : tuple of int
        The numbers of the frames, from 1, that end a commit.
    """

    size: int = 0
    whole: bool = True
    commits: tuple[int, ...] = ()

    def is_lost(self, read: int) -> bool:
        """Tell whether commits are lost that had been confirmed, if SQLite reads the frames up to number `read`."""
        return not self.whole or sum(number > read for number in self.commits) > 1


def log_at(path: str) -> Log:
    """Look into the log at a path; one that is not there is empty."""
    try:
        with open(path, "rb") as handle:
            header = handle.read(_HEADER)
            size = handle.seek(0, 2)
            if len(header) < _HEADER:
                return Log(size)
            page, salts = int.from_bytes(header[8:12]), header[16:24]
            if not _fits(header) or not page:
                return Log(size, whole=False)
            commits = []
            for number, start in enumerate(range(_HEADER, size, _FRAME + page), 1):
                handle.seek(start)
                frame = handle.read(_FRAME)
                if frame[8:16] == salts and any(frame[4:8]):
                    commits.append(number)
            return Log(size, True, tuple(commits))
    except FileNotFoundError:
        return Log()


def _fits(header: bytes) -> bool:
    """Check a header's sum, as the format describes it."""
    one = other = 0
    for first, second in struct.iter_unpack(">II" if header[3] & 1 else "<II", header[:24]):
        one = (one + first + other) & _BITS
        other = (other + second + one) & _BITS
    return struct.pack(">II", one, other) == header[24:]
