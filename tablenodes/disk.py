"""What the disk is asked for beyond a file's own bytes."""

from __future__ import annotations

import os
from contextlib import suppress


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Put a folder's names on the disk, where the file system can: a new file's, a replaced one's."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
