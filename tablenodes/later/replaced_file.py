"""The file whose place an output takes: the ids in it that a store knows, and how they are kept."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path

from .. import tables
from ..errors import StoreError, TableError
from ..run.display import say
from ..store import StoreFile, ids
from ..store.futures import Futures

COLUMN = "future_response_id"
_NAMED_WITHIN = 65_536  # bytes at a file's start or end in which its columns are named


def known_ids(path: str, store: str | os.PathLike[str] | None) -> frozenset[bytes]:
    """Return the ids of futures in a table's file that a store knows; none where it is no table."""
    found: set[bytes | None] = set()
    with suppress(TableError, OSError):
        if not _may_have_ids(Path(path).expanduser()):
            return frozenset()
        view = tables.view(tables.read_table(path))
        names = [name for name in view.columns if COLUMN in name]
        found = {ids.read(cell) for cells in view.rows(names) for cell in cells}
    wanted = [each for each in found if each is not None]
    if not wanted:
        return frozenset()
    with suppress(StoreError), StoreFile(store) as file:  # one that cannot be read knows none
        return frozenset(Futures(file).find(wanted))
    return frozenset()


def _may_have_ids(path: Path) -> bool:
    """Check whether a column of ids is named where a file names its columns; nobody knows of one that is packed."""
    with path.open("rb") as file:
        start = file.read(_NAMED_WITHIN)
        file.seek(max(0, path.stat().st_size - _NAMED_WITHIN))
        is_packed = start.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))
        return is_packed or COLUMN.encode() in start or COLUMN.encode() in file.read()


def set_aside(path: str) -> None:
    """Copy a file to NAME.before, or where another one is there, to NAME.before2 and so on."""
    place = Path(path).expanduser()
    for number in count(1):
        beside = place.with_name(f"{place.name}.before{number if number > 1 else ''}")
        try:
            with beside.open("xb") as copy, place.open("rb") as file:
                shutil.copyfileobj(file, copy)
        except FileExistsError:
            if beside.is_file() and beside.read_bytes() == place.read_bytes():
                return
        except OSError as error:
            raise TableError(f"cannot keep {path} as {beside.name}: {error.strerror}; nothing was sent") from None
        else:
            say(f"{path}: the earlier file, which has ids of submitted rows, is kept as {beside.name}")
            return
