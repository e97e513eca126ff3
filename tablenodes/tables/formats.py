"""What a file's ending says about how it is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ..errors import TableError

_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
TEXTS = ("csv", "tsv", "jsonl")
SEPARATORS = {"csv": ",", "tsv": "\t"}


class Format(NamedTuple):
    """How a table's file is written; a text format may be compressed: ``gzip``, ``bz2`` or ``zstd``."""

    name: str
    compression: str | None = None


def path_of(path: str | os.PathLike[str], what: str) -> Path:
    """Return a file's path, with ``~`` for the home folder."""
    if not isinstance(path, str | os.PathLike):
        raise TableError(f"the {what}'s path must be text, not a {type(path).__name__}")
    text = os.fspath(path)
    if not isinstance(text, str) or "\0" in text:
        raise TableError(f"the {what}'s path must be text without a NUL")
    if "://" in text:
        raise TableError(f"{what} {text!r} is an address: download it, then name the file")
    return Path(text).expanduser()


def format_of(path: Path, what: str) -> Format:
    """Return the format that a path's ending stands for."""
    endings = [ending.lower() for ending in path.suffixes]
    compression = _COMPRESSIONS.get(endings.pop()) if endings and endings[-1] in _COMPRESSIONS else None
    name = _FORMATS.get(endings[-1]) if endings else None
    if name is None or (compression and name not in TEXTS):
        raise TableError(
            f"{what} {str(path)!r} must end in one of {', '.join(_FORMATS)}"
            f" (the text formats also with {', '.join(_COMPRESSIONS)})"
        )
    return Format(name, compression)
