"""The file whose place an output takes: the ids in it that a store knows, and how they are kept."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path

from .. import tables
from ..errors import TableError
from ..run.display import say
from ..store import StoreFile, ids
from ..store.futures import Futures

_COLUMN = "future_response_id"


def known_ids(path: str, store: str | os.PathLike[str] | None) -> frozenset[bytes]:
    """Return the ids of futures in a table's file that a store knows; none where it is no table."""
    found: set[bytes | None] = set()
    with suppress(TableError):
        view = tables.view(tables.read_table(path))
        names = [name for name in view.columns if _COLUMN in name]
        found = {ids.read(cell) for cells in view.rows(names) for cell in cells}
    wanted = [each for each in found if each is not None]
    if not wanted:
        return frozenset()
    with StoreFile(store) as file:
        return frozenset(Futures(file).find(wanted))


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
