"""Write a table's file: whole, or not at all."""

from __future__ import annotations

import lzma
import os
import re
import stat
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TextIO

import pandas
import pyarrow

from ..disk import new_file
from ..errors import TableError
from .columnar import arrow_type, check_columnar, write_columnar
from .formats import FORMATS, SHEETS, TEXTS, Format, format_of, path_of
from .kinds import view
from .pandas_view import with_named_index
from .spreadsheet_writer import check_library, check_spreadsheet, write_spreadsheet
from .text_writer import check_texts, column_texts, text_pieces
from .views import TableView

_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")


def write_table(table: Any, path: str | os.PathLike[str], *, what: str = "output") -> list[str]:
    """Write a table to a file, by its ending, in one step: after a failure, the old file is still there.

    Return what is to be said of how it was written.
    """
    place = path_of(path, what)
    form = form_of_output(place, what)
    name = f"{what} {str(place)!r}"
    try:
        with new_file(check_target_file(place, name)) as handle:
            return _write(table, form, handle)
    except TableError:
        raise
    except Exception as error:  # whatever a library raises: what a run was answered must not be lost by it
        why = getattr(error, "strerror", None) or type(error).__name__
        raise TableError(f"cannot write {name}: {why}") from error


def check_output(path: str | os.PathLike[str], *, what: str = "output") -> None:
    """Check, before anything is sent, that a table can be written to a file."""
    form_of_output(path_of(path, what), what)
    check_place(path, what)


def check_place(path: str | os.PathLike[str], what: str) -> None:
    """Check, before anything is sent, that a file can be written."""
    place = path_of(path, what)
    name = f"{what} {str(place)!r}"
    try:
        check_target_file(place, name)
    except OSError as error:
        raise TableError(f"cannot write {name}: {error.strerror}") from None


def form_of_output(place: Path, what: str) -> Format:
    """Return the format that a table is written in, by the ending of its file."""
    form = format_of(place, what, writing=True)
    if form.name in SHEETS:
        check_library(form.name)
    return form


def check_writing(table: Any, form: str | os.PathLike[str]) -> None:
    """Check, before anything is sent, that a table can be written; cells are looked at where a type does not tell."""
    name = form if form in FORMATS else format_of(path_of(form, "output"), "output", writing=True).name
    if name in TEXTS:
        check_texts(_source(table))
    elif name in SHEETS:
        check_spreadsheet(_source(table), name)
    else:
        check_columnar(view(table), name, lambda source, column: check_texts(source, (column,)))


def text_part(table: Any) -> tuple[Any, list[str]]:
    """Return a table without the columns that text cannot hold, and the names of those."""
    source = _source(table)
    left_out = [name for name in source.columns if not _can_be_text(source, name)]
    kept = [name for name in source.columns if name not in left_out]
    return source.table[kept] if isinstance(source.table, pandas.DataFrame) else source.table.select(kept), left_out


def _can_be_text(source: TableView, name: str) -> bool:
    try:
        check_texts(source, (name,))
    except TableError:
        return False
    return True


def write_stream(table: Any, stream: TextIO, form: str = "csv") -> list[str]:
    """Write a table to an open stream, such as the standard output; return what is to be said of how."""
    binary: Any = getattr(stream, "buffer", None)
    stream.flush()
    if form not in TEXTS:
        packed = BytesIO()
        remarks = _write(table, Format(form), packed)
        binary.write(packed.getbuffer())
        stream.flush()
        return remarks
    for piece in text_pieces(_source(table), form):
        if binary is None:
            stream.write(piece)
        else:
            binary.write(piece.encode())
    stream.flush()
    return []


def _source(table: Any) -> Any:
    return view(with_named_index(table) if isinstance(table, pandas.DataFrame) else table)


def _write(table: Any, form: Format, handle: IO[bytes]) -> list[str]:
    if form.name in SHEETS:
        source = _source(table)
        return write_spreadsheet(source, form.name, handle, lambda name: arrow_type(source, name))
    if form.name not in TEXTS:
        return write_columnar(view(table), form.name, handle, column_texts)
    pieces = text_pieces(_source(table), form.name)
    if form.compression is None:
        for piece in pieces:
            handle.write(piece.encode())
        return []
    with compressing(handle, form.compression) as packed:
        for piece in pieces:
            packed.write(piece.encode())
    return []


def compressing(handle: IO[bytes], compression: str) -> Any:
    """Return a stream that writes what it is given to another one, compressed."""
    return lzma.open(handle, "wb") if compression == "xz" else pyarrow.CompressedOutputStream(handle, compression)


def check_target_file(place: Path, name: str) -> str:
    """Return the file to replace, behind any symbolic link."""
    if _DEVICE.match(place.name):
        raise TableError(
            f"{name}: {place.name.partition('.')[0]!r} is the name of a device on Windows; choose another name"
        )
    if not place.parent.is_dir():
        raise TableError(f"{name}: no such folder {str(place.parent)!r}; create it first")
    target = os.path.realpath(place)
    with suppress(FileNotFoundError):
        mode = os.stat(target).st_mode
        if not stat.S_ISREG(mode):
            raise TableError(f"{name} is {'a folder' if stat.S_ISDIR(mode) else 'a device'}, not a file")
        if not os.access(target, os.W_OK):
            raise TableError(f"{name} is write-protected")
    folder = os.path.dirname(target)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise TableError(f"{name}: the folder {folder!r} is write-protected")
    return target
