"""What a file's ending says about how it is written, and what a reader may be told of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ..errors import TableError, nearest
from ..secret import masked_address
from .encodings import checked_encoding

_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".xlsx": "xlsx",
    ".ods": "ods",
    ".xlsm": "xls",
    ".xls": "xls",
}
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".xz": "xz"}
PARTIAL = ".partial"
"""What is behind the ending of a file that was not written to its end."""
FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "arrow", "xlsx", "ods")
SHEETS = ("xlsx", "ods", "xls")
"""Spreadsheets; what older programs wrote, and what has macros, is only read."""
_DATABASES = {".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".duckdb": "duckdb"}
TEXTS = ("csv", "tsv", "jsonl", "json")
SEPARATORS = {"csv": ",", "tsv": "\t"}
_TAB = ("\\t", "tab")
_BEGINNINGS = {  # of what is no text
    b"PAR1": ("Parquet", "parquet"),
    b"ARROW1": ("Arrow", "arrow"),
    b"\xff\xff\xff\xff": ("an Arrow stream", "arrow"),
    b"\xd0\xcf\x11\xe0": ("an old spreadsheet", "xls"),
}
_PACKED = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zst", b"\xfd7zXZ\0": "xz"}


class Format(NamedTuple):
    """How a table's file is written; a text format may be compressed: ``gzip``, ``bz2``, ``zstd`` or ``xz``."""

    name: str
    compression: str | None = None


class Reading(NamedTuple):
    """What is said of a file that is read; None is what the file says, or its ending."""

    format: str | None = None
    encoding: str | None = None
    separator: str | None = None
    sheet: str | None = None

    def checked(self) -> Reading:
        """Return it with the names that Python has; raise `TableError` for what cannot be."""
        encoding = None if self.encoding is None else checked_encoding(self.encoding)
        separator = "\t" if self.separator in _TAB else self.separator
        if separator is not None and (len(separator) != 1 or not separator.isascii() or separator in '"\r\n\0'):
            raise TableError("separator must be one ASCII character, such as ';', or tab", place="separator")
        if self.format is not None and _named(f"x.{self.format}") is None:
            raise TableError(f"no format is called {self.format[:40]!r}{nearest(self.format, FORMATS)}", place="format")
        return self._replace(encoding=encoding, separator=separator)

    def refuse_all(self, where: str) -> None:
        """Raise `TableError` for whatever is said of a table that is in no file."""
        for name in (each for each, value in self._asdict().items() if value is not None):
            raise TableError(f"{name}: only for files, but the table is in {where}", place=name)

    def format_of(self, path: Path, what: str) -> Format:
        """Return the format of a file, to which all that is said fits."""
        found = _named(f"x.{self.format}") or _ended(path, what)
        for name, formats in (("encoding", TEXTS), ("separator", tuple(SEPARATORS)), ("sheet", SHEETS)):
            if getattr(self, name) is not None and found.name not in formats:
                told = f"only for {', '.join(formats)}, but {str(path)!r} is {found.name}"
                raise TableError(f"{name}: {told}", code="option", place=name, values={"option": name, "told": told})
        return found


def _ended(path: Path, what: str) -> Format:
    try:
        return format_of(path, what)
    except TableError as error:
        how = '; or say what it is, such as format="csv"'
        raise TableError(f"{error}{how}", code="no_ending", values={"ending": str(error)}) from None


def path_of(path: str | os.PathLike[str], what: str) -> Path:
    """Return a file's path, with ``~`` for the home folder."""
    if not isinstance(path, str | os.PathLike):
        raise TableError(f"the {what}'s path must be text, not a {type(path).__name__}")
    text = os.fspath(path)
    if not isinstance(text, str) or "\0" in text:
        raise TableError(f"the {what}'s path must be text without a NUL")
    if "://" in text:
        how = "download it, then name the file" if what == "table" else "name a file"
        raise TableError(f"{what} {masked_address(text)!r} is an address: {how}")
    return Path(text).expanduser()


def format_of(path: Path, what: str, *, writing: bool = False) -> Format:
    """Return the format that a path's ending stands for; `TableError` if there is none, or it cannot be written."""
    found = _named(path.name if writing else path.name.removesuffix(PARTIAL))
    if found is None and (engine := _DATABASES.get(path.suffix.lower())) is not None:
        raise TableError(f"{what} {str(path)!r} may be a database: write it as {engine}:///{path}")
    if found is None:
        known = [ending for ending, name in _FORMATS.items() if not writing or name in FORMATS]
        endings = f"{', '.join(known)} (the text formats also with {', '.join(_COMPRESSIONS)})"
        raise TableError(f"{what} {str(path)!r} must end in one of {endings}")
    if writing and found.name not in FORMATS:
        raise TableError(f"{what} {str(path)!r}: {path.suffix} is read, but not written: choose .xlsx")
    return found


def _named(name: str) -> Format | None:
    endings = [ending.lower() for ending in Path(name).suffixes]
    compression = _COMPRESSIONS.get(endings.pop()) if endings and endings[-1] in _COMPRESSIONS else None
    found = _FORMATS.get(endings[-1]) if endings else None
    return None if found is None or (compression and found not in TEXTS) else Format(found, compression)


def other_format(name: str, title: str, form: str, why: str = "") -> TableError:
    """Return what is to be said of a file of another format than it was taken for."""
    return TableError(
        f'{name} is {title}{why}; to read it as such, add format="{form}"',
        code="input_format",
        values={"place": name, "title": title, "form": form, "why": why},
    )


def check_is_text(content: bytes, form: Format, name: str) -> None:
    """Raise `TableError` for what is no text, by how it begins."""
    for start, (title, found) in _BEGINNINGS.items():
        if content.startswith(start):
            raise other_format(name, title, found)
    if content.startswith(b"PK\x03\x04"):
        sheet = "ods" if b"opendocument.spreadsheet" in content[:200] else "xlsx"
        raise other_format(name, f"a spreadsheet (.{sheet}), or an archive", sheet)
    for start, ending in _PACKED.items():
        if content.startswith(start):
            raise other_format(name, f"compressed ({ending})", f"{form.name}.{ending}")
