"""Spreadsheets: .xlsx and .ods, and what older programs wrote, their cells as a person sees them."""

from __future__ import annotations

import datetime
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pandas
import pyarrow

from ..errors import ColumnError, TableError, nearest
from ..notices import counted, say
from ..problems import Remark
from .json_lines import column_array
from .pandas_view import pandas_array
from .typed_columns import arrow_array
from .views import checked_names

if TYPE_CHECKING:
    from types import ModuleType

MISSING = "{} needs the library {}: pip install 'tablenodes[excel]'"
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_WHOLE = 10**15  # beyond which a spreadsheet has no digits of its own
_LISTED = 5
_ERROR = re.compile(rb'<c r="([A-Z]+[0-9]+)"[^>]* t="e"')
_NO_VALUE = re.compile(rb'<c r="([A-Z]+[0-9]+)"[^>]*><f(?:[^>]*/>|[^>]*>[^<]*</f>)(?:<v></v>|<v ?/>)?</c>')


def read_spreadsheet(content: bytes, name: str, sheet: str | None) -> pandas.DataFrame:
    """Read one sheet of a spreadsheet: the first that is shown, or the one of a name; its first row has the names."""
    calamine = _library(name)
    try:
        with calamine.CalamineWorkbook.from_filelike(BytesIO(content)) as book:
            chosen = _chosen(calamine, book, name, sheet)
            found = book.get_sheet_by_name(chosen)
            rows, start, merged = found.to_python(skip_empty_area=True), found.start or (0, 0), found.merged_cell_ranges
    except calamine.PasswordError:
        raise TableError(f"{name} is protected by a password: save it without one") from None
    except calamine.CalamineError as error:
        raise TableError(f"{name} is no spreadsheet that can be read, or is damaged or cut off") from error
    place = f"{name}, sheet {chosen!r}"
    if content.startswith(b"PK"):
        _look_through(content, chosen, place)
    if merged:
        first = _cell(*min(merged)[0])
        say(f"{place}: cells are merged (first {first}): the first of them has the value, the others are empty")
    return _frame(rows, start, place)


def _library(name: str) -> ModuleType:
    try:
        import python_calamine  # noqa: PLC0415 - an extra, loaded where it is used
    except ImportError:
        raise TableError(MISSING.format(name, "python-calamine"), code="no_library") from None
    return python_calamine


def _chosen(calamine: Any, book: Any, name: str, sheet: str | None) -> str:
    """Return the name of the sheet to read; say which others there are where nobody chose."""
    kinds = calamine.SheetTypeEnum, calamine.SheetVisibleEnum
    listed = [each for each in book.sheets_metadata if each.typ == kinds[0].WorkSheet]
    names = [each.name for each in sorted(listed, key=lambda each: each.visible != kinds[1].Visible)]
    shown = ", ".join(map(repr, names[:_LISTED])) + (f" and {len(names) - _LISTED} more" if names[_LISTED:] else "")
    if not names:
        raise TableError(f"{name} has no sheet with cells")
    if sheet is not None and sheet not in names:
        raise TableError(f"{name} has no sheet {sheet!r}{nearest(sheet, names)}; it has {shown}", place="sheet")
    if sheet is None and len(names) > 1:
        told = f"{name} has {len(names)} sheets ({shown}): {names[0]!r} is read; another one is chosen by its name"
        values = {"name": name, "sheets": len(names), "shown": shown, "first": names[0]}
        say(Remark(told, code="several_sheets", values=values))
    return names[0] if sheet is None else sheet


def _look_through(content: bytes, sheet: str, place: str) -> None:
    """Raise `TableError` for formulas that were never computed; say how many cells are errors, which are empty."""
    text = _xml_of(content, sheet)
    if (first := _NO_VALUE.search(text)) is not None:
        how = "open the file in a spreadsheet program and save it there"
        raise TableError(f"{place}: the formula in {first[1].decode()} has no value yet: {how}")
    if errors := _ERROR.findall(text):
        cells = counted(len(errors), "cell")
        say(f"{place}: {cells} with an error such as #N/A (first {errors[0].decode()}): read as empty")


def _xml_of(content: bytes, sheet: str) -> bytes:
    """Return what an .xlsx file says of a sheet; nothing where it is of another kind."""
    with zipfile.ZipFile(BytesIO(content)) as packed:
        try:
            book = ElementTree.fromstring(packed.read("xl/workbook.xml"))  # noqa: S314
            sheets = book.iter(f"{_MAIN}sheet")
            relations = ElementTree.fromstring(packed.read("xl/_rels/workbook.xml.rels"))  # noqa: S314
            wanted = next(each.get(f"{_RELATION}id") for each in sheets if each.get("name") == sheet)
            target = next(each.get("Target", "") for each in relations if each.get("Id") == wanted)
            return packed.read(f"xl/{target.removeprefix('/xl/')}")
        except (KeyError, StopIteration, ElementTree.ParseError):
            return b""


def _frame(rows: list[list[Any]], start: tuple[int, int], place: str) -> pandas.DataFrame:
    """Return the data frame of a sheet's rows, without empty ones, and without empty columns that have no name."""
    while rows and _is_empty(rows[-1]):
        rows.pop()
    if not rows:
        raise TableError(f"{place} is empty")
    width = len(rows[0]) - sum(1 for _ in takewhile(_is_empty, _from_right(rows)))
    header = [_text(cell) for cell in rows[0][:width]]
    unnamed = [_cell(start[0], start[1] + at) for at, each in enumerate(header) if not each]
    if len(unnamed) > 1:
        which = ", ".join(unnamed[:_LISTED])
        raise ColumnError(f"{place}: columns have no name, in {which}: the first row must name them")
    try:
        checked_names(header)
    except ColumnError as error:
        raise ColumnError(f"{place}: {error}") from None
    kept = [row for row in rows[1:] if not _is_empty(row)]
    if len(kept) < len(rows) - 1:
        say(f"{place}: {counted(len(rows) - 1 - len(kept), 'empty row')} skipped")
    columns = zip(*kept, strict=True) if kept else [()] * width
    made = {each: _column(cells) for each, cells in zip(header, columns, strict=False)}
    return pandas.DataFrame(made, index=pandas.RangeIndex(len(kept)), copy=False)


def _is_empty(cells: Iterable[Any]) -> bool:
    return all(cell == "" for cell in cells)


def _from_right(rows: list[list[Any]]) -> Iterator[Iterator[Any]]:
    """Return the columns, the last one first."""
    return ((row[at] for row in rows) for at in range(len(rows[0]) - 1, -1, -1))


def _cell(row: int, column: int) -> str:
    """Return what a cell is called, of its place from 0 on."""
    letters = ""
    column += 1
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{row + 1}"


def _column(cells: tuple[Any, ...]) -> Any:
    """Return a column: texts, whole numbers, numbers, truth values, dates or moments; mixed ones as they are."""
    kinds = {*map(type, cells)}
    if kinds <= {str}:
        return pandas_array(arrow_array([cell or None for cell in cells], "text"))
    if kinds <= {str, datetime.date, datetime.datetime} and not any(cell for cell in cells if type(cell) is str):
        moments = [cell or None for cell in cells]
        if datetime.datetime not in kinds:
            return pandas_array(pyarrow.array(moments, pyarrow.date32()))
        return pyarrow.array(map(_moment, moments), pyarrow.timestamp("us")).to_numpy(zero_copy_only=False)
    values = [_PLAIN[type(cell)](cell) if type(cell) in _PLAIN else cell for cell in cells]
    return column_array(values)


def _moment(day: Any) -> Any:
    is_day = day is not None and type(day) is not datetime.datetime
    return datetime.datetime.combine(day, datetime.time()) if is_day else day


def _number(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) < _WHOLE else number


def _duration(length: datetime.timedelta) -> str:
    """Return ``26:30:00``, as a spreadsheet shows hours that are summed up."""
    seconds = round(length.total_seconds())
    minutes, hours = abs(seconds) // 60, abs(seconds) // 3600
    return f"{'-' if seconds < 0 else ''}{hours}:{minutes % 60:02d}:{abs(seconds) % 60:02d}"


def _text(cell: Any) -> str:
    value = _PLAIN[type(cell)](cell) if type(cell) in _PLAIN else cell
    return "" if value is None else str(value)


_PLAIN: dict[type, Callable[[Any], Any]] = {
    str: lambda text: text or None,
    float: _number,
    datetime.date: datetime.date.isoformat,
    datetime.datetime: datetime.datetime.isoformat,
    datetime.time: datetime.time.isoformat,
    datetime.timedelta: _duration,
}
"""How a cell stands in a column that is not of one kind."""
