"""Write .xlsx and .ods: a text is always a text, never a formula."""

from __future__ import annotations

import datetime
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from html import escape
from io import TextIOWrapper
from typing import IO, Any

import orjson
from pyarrow import types

from ..errors import TableError
from ..notices import counted
from .spreadsheet_reader import MISSING
from .text_writer import json_rows
from .views import TableView

_ROWS, _COLUMNS = 1_048_576, 16_384
_LONGEST = {"xlsx": 32_767}  # a cell's text, in units of UTF-16
_DIGITS = 10**15  # a spreadsheet keeps no more of a number's
_CONTROL = {  # which no XML holds; .xlsx has a way of its own for most
    "ods": re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]"),
    "xlsx": re.compile("[\ufffe\uffff]"),
}
_FIRST_YEAR = 1900
_DAY, _MOMENT = "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"
Cell = str | int | float | bool | datetime.date | None


def check_spreadsheet(source: TableView, form: str) -> None:
    """Raise `TableError` for a table that a sheet cannot hold."""
    check_library(form)
    if len(source) >= _ROWS or len(source.columns) > _COLUMNS:
        size = f"{len(source):,} rows and {len(source.columns):,} columns"
        raise TableError(f"a sheet of .{form} has at most {_ROWS - 1:,} rows and {_COLUMNS:,} columns, not {size}")
    for position, row in enumerate(json_rows(source)):
        for name, cell in zip(source.columns, row, strict=True):
            text = _text(cell)
            if why := type(text) is str and (_too_long(text, form) or _unwritable(text, form)):
                raise TableError(f"row {position}, column {name!r} has {why}; write .csv or .parquet")


def check_library(form: str) -> None:
    """Raise `TableError` where what writes a format is not installed."""
    if form == "xlsx":
        try:
            import xlsxwriter  # noqa: F401, PLC0415 - an extra, loaded where it is used
        except ImportError:
            raise TableError(MISSING.format("writing .xlsx", "xlsxwriter"), code="no_library") from None


def write_spreadsheet(source: TableView, form: str, handle: IO[bytes], arrow_type: Callable[[str], Any]) -> list[str]:
    """Write a table as a spreadsheet; return what is to be said of texts that it cannot hold as they are."""
    changed: dict[str, list[int]] = {}
    rows = _fitted(source, form, changed, arrow_type)
    (_write_xlsx if form == "xlsx" else _write_ods)(source.columns, rows, handle)
    return [
        f"column {name!r}: {counted(len(where), 'text')} cut at 32,767 characters, or without control characters"
        f" (first in row {where[0]}); write .csv or .parquet to have them whole"
        for name, where in changed.items()
    ]


def _fitted(
    source: TableView, form: str, changed: dict[str, list[int]], arrow_type: Callable[[str], Any]
) -> Iterator[list[Cell]]:
    """Return rows of what a sheet's cells may be; note where a text is another than it was."""
    kinds = map(arrow_type, source.columns)
    days = [types.is_temporal(kind) and getattr(kind, "tz", None) is None for kind in kinds]
    for position, row in enumerate(json_rows(source)):
        made: list[Cell] = []
        for name, cell, is_day in zip(source.columns, row, days, strict=True):
            value: Cell = _day(cell) if is_day and type(cell) is str else _text(cell)
            if type(value) is str and (_too_long(value, form) or _unwritable(value, form)):
                changed.setdefault(name, []).append(position)
                value = _cut(_CONTROL[form].sub("\ufffd", value), form)
            made.append(value)
        yield made


def _text(cell: Any) -> Cell:
    """Return a cell as it is, or as text where a sheet has nothing like it: what is nested, and long numbers."""
    if cell is None or type(cell) in (str, bool, float) or (type(cell) is int and abs(cell) < _DIGITS):
        return cell  # type: ignore[no-any-return]
    return str(cell) if isinstance(cell, str | int) else orjson.dumps(cell).decode()


def _day(text: str) -> Cell:
    """Return the date or the moment that a text of ISO 8601 is, if a spreadsheet knows such."""
    with suppress(ValueError):
        kind = datetime.date if len(text) == len("2026-01-31") else datetime.datetime
        made = kind.fromisoformat(text)
        return made if made.year >= _FIRST_YEAR else text
    return text


def _too_long(text: str, form: str) -> str:
    longest = _LONGEST.get(form)
    if longest is None or 2 * len(text) <= longest or len(text.encode("utf-16-le")) <= 2 * longest:
        return ""
    return f"a text of more than {longest:,} characters, which no cell of .{form} holds"


def _unwritable(text: str, form: str) -> str:
    return f"a control character, which .{form} cannot hold" if _CONTROL[form].search(text) else ""


def _cut(text: str, form: str) -> str:
    longest = _LONGEST.get(form)
    return text if longest is None else text.encode("utf-16-le")[: 2 * longest].decode("utf-16-le", "ignore")


class _Exact(float):
    """A number that is written with all its digits: up to 17, of which the library would write 16."""

    def __format__(self, _: str) -> str:
        return repr(float(self)).upper()


def _write_xlsx(names: tuple[str, ...], rows: Iterator[list[Cell]], handle: IO[bytes]) -> None:
    import xlsxwriter  # noqa: PLC0415 - an extra, loaded where it is used

    with xlsxwriter.Workbook(handle, {"constant_memory": True}) as book:
        sheet, formats = book.add_worksheet(), [book.add_format({"num_format": each}) for each in (_DAY, _MOMENT)]
        sheet.freeze_panes(1, 0)
        for at, name in enumerate(names):
            sheet.write_string(0, at, _cut(name, "xlsx"))
        for position, row in enumerate(rows, start=1):
            for at, cell in enumerate(row):
                if type(cell) is str:
                    sheet.write_string(position, at, cell)
                elif type(cell) is bool:
                    sheet.write_boolean(position, at, cell)
                elif isinstance(cell, datetime.date):
                    sheet.write_datetime(position, at, cell, formats[isinstance(cell, datetime.datetime)])
                elif cell is not None:
                    sheet.write_number(position, at, _Exact(cell) if type(cell) is float else cell)


_SPACES = re.compile(r"^ | (?= )| $|\t")
_NAMESPACES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
)
_ODS = "application/vnd.oasis.opendocument.spreadsheet"
_MANIFEST = f"""<?xml version="1.0" encoding="UTF-8"?>
<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" manifest:version="1.2">
<manifest:file-entry manifest:full-path="/" manifest:media-type="{_ODS}"/>
<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>
</manifest:manifest>
"""


def _write_ods(names: tuple[str, ...], rows: Iterator[list[Cell]], handle: IO[bytes]) -> None:
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("mimetype", _ODS, zipfile.ZIP_STORED)
        packed.writestr("META-INF/manifest.xml", _MANIFEST)
        with packed.open("content.xml", "w", force_zip64=True) as file, TextIOWrapper(file, "utf-8") as text:
            text.write(f'<?xml version="1.0" encoding="UTF-8"?>\n<office:document-content {_NAMESPACES}')
            text.write(' office:version="1.2"><office:body><office:spreadsheet><table:table table:name="Sheet1">')
            text.write(f'<table:table-column table:number-columns-repeated="{len(names)}"/>')
            text.write(_ods_row([_CONTROL["ods"].sub("\ufffd", name) for name in names]))
            text.writelines(map(_ods_row, rows))
            text.write("</table:table></office:spreadsheet></office:body></office:document-content>")


def _ods_row(row: list[Any]) -> str:
    return f"<table:table-row>{''.join(map(_ods_cell, row))}</table:table-row>"


def _ods_cell(cell: Cell) -> str:
    if cell is None:
        return "<table:table-cell/>"
    if isinstance(cell, str):
        lines = "".join(f"<text:p>{_SPACES.sub(_ods_space, escape(line))}</text:p>" for line in cell.split("\n"))
        return f'<table:table-cell office:value-type="string">{lines}</table:table-cell>'
    if isinstance(cell, bool):
        kind, value, shown = "boolean", f'boolean-value="{str(cell).lower()}"', str(cell).upper()
    elif isinstance(cell, datetime.date):
        kind, value, shown = "date", f'date-value="{cell.isoformat()}"', cell.isoformat()
    else:
        kind, value, shown = "float", f'value="{cell!r}"', repr(cell)
    return f'<table:table-cell office:value-type="{kind}" office:{value}><text:p>{shown}</text:p></table:table-cell>'


def _ods_space(match: re.Match[str]) -> str:
    return "<text:tab/>" if match[0] == "\t" else "<text:s/>"
