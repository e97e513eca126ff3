"""The file whose place an output takes: the ids of submitted rows in it, and how they are kept."""

from __future__ import annotations

import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path

from .. import tables
from ..errors import TableError
from ..run.display import say
from ..store import ids

COLUMN = "future_response_id"
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"PK")  # spreadsheets too
_NAMED_WITHIN = 65_536  # bytes at a file's start or end in which its columns are named


def ids_in(path: str) -> frozenset[bytes]:
    """Return the ids of submitted rows in a table's file, of whichever store; none where it is no table."""
    with suppress(TableError, OSError):
        if _may_have_ids(Path(path).expanduser()):
            source, found = tables.batch_source(path), set[bytes | None]()
            names = [name for name in source.view.columns if COLUMN in name]
            for view in source.views():
                found.update(ids.read(cell) for cells in view.rows(names) for cell in cells)
            return frozenset(each for each in found if each is not None)
    return frozenset()


def _may_have_ids(path: Path) -> bool:
    """Check whether a column of ids is named where a file names its columns; nobody knows of one that is packed."""
    with path.open("rb") as file:
        start = file.read(_NAMED_WITHIN)
        file.seek(max(0, path.stat().st_size - _NAMED_WITHIN))
        is_packed = start.startswith(_PACKED)
        return is_packed or COLUMN.encode() in start or COLUMN.encode() in file.read()


def place_beside(path: str) -> tuple[Path, bool]:
    """Return where a file is kept: NAME.before, NAME.before2 and so on; and whether it is there already."""
    place = Path(path).expanduser()
    for number in count(1):
        beside = place.with_name(f"{place.name}.before{number if number > 1 else ''}")
        is_there = beside.is_file() and beside.read_bytes() == place.read_bytes()
        if is_there or not beside.exists():
            return beside, is_there
    raise AssertionError


def set_aside(path: str) -> None:
    """Copy a file to its place beside, unless it is there already."""
    beside = Path(path)
    try:
        beside, is_there = place_beside(path)
        if is_there:
            return
        with beside.open("xb") as copy, Path(path).expanduser().open("rb") as file:
            shutil.copyfileobj(file, copy)
    except OSError as error:
        raise TableError(f"cannot keep {path} as {beside.name}: {error.strerror}; nothing was sent") from None
    say(f"{path}: the earlier file, which has ids of submitted rows, is kept as {beside.name}")
