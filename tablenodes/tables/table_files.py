"""Read a table's file, by its ending."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow
from pyarrow import parquet

from ..database_address import IN_MEMORY, DatabaseTable, database_address
from ..errors import TableError, nearest
from .columnar import read_arrow, read_parquet
from .csv_reader import read_csv
from .formats import SEPARATORS, Format, format_of, path_of
from .json_lines import read_json_lines
from .origin import set_folder

if TYPE_CHECKING:
    import pandas

_LISTED = 1_000
_COUNTED = 16 * 2**20
_PLAIN = (".csv", ".tsv", ".jsonl")  # a text file of more bytes is not read only to be counted


def read_table(path: str | os.PathLike[str], *, query: str | None = None, what: str = "table") -> pandas.DataFrame:
    """Read a table's file, or the rows that a query of a database returns.

    In CSV and TSV every column is text, and every text stays as it is (``NA``, ``None`` and ``007`` too); an empty cell
    is null, a quoted empty one (``""``) an empty text. In a file of one column, a blank line is a null cell;
    in a file of several, it is skipped. A CSV file may be separated by semicolons, tabs or ``|``. Where quotes would
    swallow lines of a tab separated file whose every line has all fields, they are ordinary characters. Empty columns
    without a name at the right are left out, and a carriage return alone is text where lines end otherwise. A line on
    the standard error stream says so, and why there are fewer rows than lines. In JSON lines, NaN, infinity and half
    of a surrogate pair make a row invalid that uses them.

    Parameters
    ----------
    path : str or path
        The file; its ending says what it is: ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``, ``.parquet``, ``.arrow``,
        ``.feather`` or ``.ipc``, the text formats also compressed (``.csv.gz``, ``.bz2``, ``.zst``).
    query : str, optional
        Of a database, whose address (``sqlite:///file.db``, ``duckdb:///file.duckdb``, ``postgresql://host/db``) stands
        in the path's place: what to read of it, in SQL; or ``@file.sql``. The connection can only read.
    what : str
        What the file is called in messages.

    Returns
    -------
    pandas.DataFrame
        One row a record, in the file's order. It and what is made of it know the file's folder, below which the files
        of ``image=`` lie.

    Raises
    ------
    TableError
        If there is no such file, or it cannot be read; names the line where there is one.
    ColumnError
        If two columns have one name.
    """
    if (address := database_address(path)) is not None:
        return _of_database(DatabaseTable(address, query), what)
    place = path_of(path, what)
    if query is not None:
        raise TableError(f"{what} {str(place)!r} is a file: query is for databases", place="query")
    form = format_of(place, what)
    name = f"{what} {str(place)!r}"
    _check_file(place, name)
    try:
        return set_folder(_read(place, form, name), str(place.absolute().parent))
    except MemoryError:
        size = place.stat().st_size
        raise TableError(
            f"{name} ({size:,} bytes) does not fit into memory: read it in parts, or free memory"
        ) from None
    except OSError as error:
        raise TableError(f"cannot read {name}: {error.strerror or 'it is damaged or cut off'}") from error


def count_rows(path: str | os.PathLike[str]) -> int | None:
    """Count the rows of a file; None where that is not cheap, or the file cannot be read."""
    try:
        place = path_of(path, "table")
        form = format_of(place, "table")
        if not place.is_file():
            return None
        if form.name == "parquet":
            return int(parquet.read_metadata(place).num_rows)
        if form.name == "arrow" or place.suffix not in _PLAIN or place.stat().st_size > _COUNTED:
            return None
        with place.open(encoding="utf-8", errors="replace", newline="") as lines:
            if form.name == "jsonl":
                return sum(not line.isspace() for line in lines)
            return max(sum(1 for row in csv.reader(lines) if row) - 1, 0)
    except (OSError, TableError, pyarrow.ArrowException, csv.Error):
        return None


def _of_database(table: DatabaseTable, what: str) -> pandas.DataFrame:
    from .database_reader import read_query  # noqa: PLC0415 - loaded where it is used

    if table.url.path not in ("", IN_MEMORY):
        _check_file(Path(table.url.path), f"{what} {str(table.url)!r}")
    return read_query(table, what=what)


def _check_file(place: Path, name: str) -> None:
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        raise TableError(f"{name}: no such file{_nearest_file(place)}") from None
    except OSError as error:
        raise TableError(f"cannot read {name}: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise TableError(f"{name} is {'a folder' if stat.S_ISDIR(mode) else 'a device'}, not a file")


def _nearest_file(place: Path) -> str:
    try:
        with os.scandir(place.parent) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_LISTED), strict=False)]
    except OSError:
        return f"; the folder {str(place.parent)!r} does not exist either"
    return nearest(place.name, names)


def _read(place: Path, form: Format, name: str) -> pandas.DataFrame:
    if form.name == "parquet":
        return read_parquet(place, name)
    if form.name == "arrow":
        return read_arrow(place, name)
    content = _content(place, form)
    if form.name == "jsonl":
        return read_json_lines(content, name)
    separators = ",;\t|" if form.name == "csv" else SEPARATORS[form.name]
    return read_csv(content, name, separators)


def _content(place: Path, form: Format) -> bytes:
    if form.compression is None:
        return place.read_bytes()
    with pyarrow.input_stream(str(place), compression=form.compression) as stream:
        content: Any = stream.read()
    return bytes(content)
