"""A journal as of its last commit, whoever is writing to it: looked at, never waited for and never changed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ...errors import JournalError
from . import journal_file
from .journal import Journal

_TRIES = 5
# The copy is made by a process of its own: a process that closes a file gives up every lock that it has on it, and it
# may be this process that is writing. The file comes before its log: pages that were written meanwhile are in the log
# too, and count from there. That holds unless the log is begun anew in between, which its header tells.
_COPY = """
import shutil, sys
def header(path):
    try:
        with open(path, "rb") as log:
            return log.read(32)
    except FileNotFoundError:
        return b""
source, target = sys.argv[1:]
before = header(source + "-wal")
shutil.copyfile(source, target)
if before:
    shutil.copyfile(source + "-wal", target + "-wal")
sys.exit(0 if before == header(source + "-wal") else 3)
"""


@contextmanager
def looked_at(path: Path) -> Iterator[Journal]:
    """Open a journal for reading, also while a run writes to it; raise `JournalError` for a file that is none."""
    if not os.path.lexists(path):
        raise JournalError(f"{path}: no such file")
    if journal_file.is_at_rest(path):
        with closing(Journal(path, looks=True)) as journal:
            yield journal
        return
    journal_file.refuse_other_files(path)
    with tempfile.TemporaryDirectory(prefix="tablenodes-") as folder, closing(_copied(path, Path(folder))) as journal:
        yield journal


def _copied(path: Path, folder: Path) -> Journal:
    """Return a copy of a journal that is written to, as of one moment."""
    failure = f"{path}: the journal is being written to faster than it can be read; try again"
    for number in range(_TRIES):
        target = folder / str(number)
        command = [sys.executable, "-I", "-S", "-c", _COPY, str(path), str(target)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603 - this Python
        if done.returncode not in (0, 3):
            raise JournalError(f"{path}: the journal cannot be copied, to read it while it is written to")
        if done.returncode == 0:
            try:
                return Journal(target)
            except JournalError as error:  # damaged, or caught in the middle of something
                failure = str(error).replace(str(target), str(path))
        for ending in ("", "-wal"):
            (folder / f"{target.name}{ending}").unlink(missing_ok=True)
    raise JournalError(failure)
