"""Read a table's file, by its ending, or the standard input."""

from __future__ import annotations

import csv
import lzma
import os
import re
import stat
import sys
from codecs import BOM_UTF8
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow

from ..database_address import IN_MEMORY, DatabaseTable, database_address
from ..errors import TableError, nearest
from ..notices import say
from .columnar import read_arrow, read_parquet
from .csv_reader import read_csv
from .formats import SEPARATORS, SHEETS, Format, Reading, check_is_text, format_of, other_format, path_of
from .json_array import read_json
from .json_lines import read_json_lines
from .origin import set_folder
from .spreadsheet_reader import read_spreadsheet
from .text_files import in_utf8

if TYPE_CHECKING:
    import pandas

STANDARD_INPUT = "-"
_LOOKED_AT = 4_096  # bytes by which JSON is known
_LISTED = 1_000
_COUNTED = 16 * 2**20
_PLAIN = (".csv", ".tsv", ".jsonl")  # a text file of more bytes is not read only to be counted


def read_table(
    path: str | os.PathLike[str],
    *,
    encoding: str | None = None,
    separator: str | None = None,
    query: str | None = None,
    sheet: str | None = None,
    format: str | None = None,  # noqa: A002 - as everywhere
    what: str = "table",
) -> pandas.DataFrame:
    """Read a table's file, the standard input, or the rows that a query of a database returns.

    In CSV and TSV every column is text, and every text stays as it is (``NA``, ``None`` and ``007`` too); an empty cell
    is null, a quoted empty one (``""``) an empty text. In a file of one column, a blank line is a null cell;
    in a file of several, it is skipped. A CSV file may be separated by semicolons, tabs or ``|``. Where quotes would
    swallow lines of a tab separated file whose every line has all fields, they are ordinary characters. Empty columns
    without a name at the right are left out, and a carriage return alone is text where lines end otherwise. A line on
    the standard error stream says so, and why there are fewer rows than lines. In JSON, NaN, infinity and half
    of a surrogate pair make a row invalid that uses them.

    Of a spreadsheet (``pip install 'tablenodes[excel]'``), one sheet is read, whose first row has the names. Texts stay
    texts, whole numbers have no ``.0``, dates are dates, a formula is its value, an empty cell null. Of merged cells
    only the first has the value. Rows and columns that are empty are left out.

    Parameters
    ----------
    path : str or path
        The file; its ending says what it is: ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``, ``.json`` (an array of
        objects), ``.parquet``, ``.arrow``, ``.feather``, ``.ipc``, ``.xlsx``, ``.ods``, ``.xlsm`` or ``.xls``, the text
        formats also compressed (``.csv.gz``, ``.bz2``, ``.zst``, ``.xz``). ``-`` is the standard input, which is CSV
        unless `format` says otherwise.
    encoding : str, optional
        The encoding of a text file, such as ``cp1252``, ``utf-16`` or ``shift_jis``. Default: UTF-8; of another one the
        error names which it seems to be.
    separator : str, optional
        The character between the cells of CSV and TSV. Default: the one that makes columns of the file.
    sheet : str, optional
        The name of the sheet of a spreadsheet. Default: the first that is shown; where there are several, a line says
        which it is and what the others are called.
    format : str, optional
        What the file is, whatever its name: an ending without its dot, such as ``jsonl`` or ``csv.gz``.
    query : str, optional
        Of a database, whose address (``sqlite:///file.db``, ``duckdb:///file.duckdb``, ``postgresql://host/db``) stands
        in the path's place: what to read of it, in SQL; or ``@file.sql``. The connection can only read.
    what : str
        What the file is called in messages.

    Returns
    -------
    pandas.DataFrame
        One row a record, in the file's order. It and what is made of it know the file's folder, below which the files
        of ``image=`` lie; of the standard input, it is the current folder.

    Raises
    ------
    TableError
        If there is no such file, or it cannot be read; names the line where there is one.
    ColumnError
        If two columns have one name.
    """
    reading = Reading(format, encoding, separator, sheet).checked()
    if (address := database_address(path)) is not None:
        reading.refuse_all(str(address))
        return _of_database(DatabaseTable(address, query), what)
    if query is not None:
        raise TableError(f"{what} {str(path_of(path, what))!r} is a file: query is for databases", place="query")
    if path == STANDARD_INPUT:
        return set_folder(_of_standard_input(reading), os.getcwd())
    place = path_of(path, what)
    form = reading.format_of(place, what)
    name = f"{what} {str(place)!r}"
    check_file(place, name)
    try:
        return set_folder(_read(place, form, reading, name), str(place.absolute().parent))
    except MemoryError:
        size = place.stat().st_size
        raise TableError(
            f"{name} ({size:,} bytes) does not fit into memory: read it in parts, or free memory"
        ) from None
    except OSError as error:
        raise TableError(f"cannot read {name}: {error.strerror or 'it is damaged or cut off'}") from error


def _of_standard_input(reading: Reading) -> pandas.DataFrame:
    name = "the standard input"
    form = reading.format_of(Path("-.csv"), name)
    if sys.stdin is None:
        raise TableError(f"{name} is closed")
    if sys.stdin.isatty():
        say(f"reading {form.name} from {name}; end it with Ctrl-D")
    try:
        content = getattr(sys.stdin, "buffer", sys.stdin).read()
        content = content.encode() if isinstance(content, str) else content
        if reading.format is None:
            _refuse_json(content, name)
        return _read(BytesIO(content), form, reading, name)
    except OSError as error:
        raise TableError(f"cannot read {name}: {error.strerror or 'it is damaged or cut off'}") from error


def _refuse_json(content: bytes, name: str) -> None:
    """Raise `TableError` for JSON where nobody said that it is: no header of CSV begins as an object or an array."""
    start = content[:_LOOKED_AT].removeprefix(BOM_UTF8).lstrip()
    if re.match(rb"\[\s*(\{|\]|\Z)", start):
        raise other_format(name, "JSON", "json")
    if re.match(rb'\{\s*("|\}|\Z)', start):
        raise other_format(name, "JSON lines", "jsonl")


def count_rows(path: str | os.PathLike[str]) -> int | None:
    """Count the rows of a file; None where that is not cheap, or the file cannot be read."""
    try:
        place = path_of(path, "table")
        form = format_of(place, "table")
        if not place.is_file():
            return None
        if form.name == "parquet":
            from pyarrow import parquet  # noqa: PLC0415 - what it needs takes long to load

            return int(parquet.read_metadata(place).num_rows)
        if form.name in ("arrow", *SHEETS) or place.suffix not in _PLAIN or place.stat().st_size > _COUNTED:
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
        check_file(Path(table.url.path), f"{what} {str(table.url)!r}")
    return read_query(table, what=what)


def check_file(place: Path, name: str) -> None:
    """Raise `TableError` where there is no such file."""
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


def _read(source: Path | BytesIO, form: Format, reading: Reading, name: str) -> pandas.DataFrame:
    if form.name == "parquet":
        return read_parquet(source, name)
    if form.name == "arrow":
        return read_arrow(source, name)
    content = _content(source, form)
    if form.name in SHEETS:
        return read_spreadsheet(content, name, reading.sheet)
    check_is_text(content, form, name)
    content = in_utf8(content, name, reading.encoding)
    if form.name == "jsonl":
        return read_json_lines(content, name)
    if form.name == "json":
        return read_json(content, name)
    separators = ",;\t|" if form.name == "csv" else SEPARATORS[form.name]
    return read_csv(content, name, separators, reading.separator)


def _content(source: Path | BytesIO, form: Format) -> bytes:
    packed = source.read_bytes() if isinstance(source, Path) else source.getvalue()
    if form.compression is None:
        return packed
    if form.compression == "xz":
        try:
            return lzma.decompress(packed)
        except lzma.LZMAError:
            raise OSError from None  # damaged, or cut off
    with pyarrow.input_stream(pyarrow.py_buffer(packed), compression=form.compression) as stream:
        content: Any = stream.read()
    return bytes(content)
