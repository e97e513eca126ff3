"""A table as CSV, JSON Lines or JSON: what is read back is what was written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Literal

import numpy
import orjson

from ..errors import TableError
from ..problems import Unfit
from .formats import SEPARATORS
from .typed_columns import repaired
from .views import TableView

Header = Literal["fitting", "quoted", "none"]
"""The line of names: as the rows need it, as rows that are not known may need it, or left out."""
_LINES = 1_000
_NEEDS_QUOTES = re.compile('[",;|\\t\\r\\n\ufeff]')


def text_pieces(source: TableView, form: str, header: Header = "fitting") -> Iterator[str]:
    """Return a table as text, some lines at a time; of CSV and TSV, the header says how quotes are meant."""
    lines = _csv_lines(source, SEPARATORS[form], header) if form in SEPARATORS else _json_lines(source)
    if form == "json":
        lines = _as_array(lines)
    gathered = []
    for line in lines:
        gathered.append(line)
        if len(gathered) == _LINES:
            yield "".join(gathered)
            gathered.clear()
    yield "".join(gathered)


def check_texts(source: TableView, columns: Sequence[str] | None = None) -> None:
    """Check, as `text_pieces` does, that columns can be written as text."""
    for name in source.columns if columns is None else columns:
        if not source.is_text_or_number(name):
            for _ in _rows(source, (name,)):
                pass


def column_texts(source: TableView, name: str) -> list[str | None]:
    """Return one column as texts: a text as it is, anything nested as JSON, null as None."""
    return [_text(cell) for (cell,) in _rows(source, (name,))]


def _csv_lines(source: TableView, separator: str, header: Header) -> Iterator[str]:
    search = _NEEDS_QUOTES.search
    names = list(map(_field, source.columns))
    has_quotes = header == "quoted" or (header == "fitting" and separator == "\t" and _has_lines_with_tabs(source))
    if separator == "\t" and has_quotes and not names[0].startswith('"'):
        names[0] = f'"{names[0]}"'  # says to readers that quotes are no ordinary characters here
    if header != "none":
        yield separator.join(names) + "\n"
    for row in _rows(source, source.columns):
        yield (
            separator.join([cell if type(cell) is str and cell and not search(cell) else _cell(cell) for cell in row])
            + "\n"
        )


def _has_lines_with_tabs(source: TableView) -> bool:
    """Check whether a cell has a tab as well as a line break: its lines could be taken for records."""
    texts = (cell for row in _rows(source, source.columns) for cell in row if type(cell) is str and "\t" in cell)
    return any("\n" in text or "\r" in text for text in texts)


def _cell(cell: Any) -> str:
    return str(cell) if type(cell) is int or type(cell) is float else _field(_text(cell))


def _field(text: str | None) -> str:
    """Write a field so that null (nothing) and an empty text (two quotes) differ."""
    if text is None:
        return ""
    return text if text and not _NEEDS_QUOTES.search(text) else '"' + text.replace('"', '""') + '"'


def _text(cell: Any) -> str | None:
    return cell if cell is None or isinstance(cell, str) else orjson.dumps(cell).decode()


def _json_lines(source: TableView) -> Iterator[str]:
    for row in _rows(source, source.columns):
        yield orjson.dumps(dict(zip(source.columns, row, strict=True))).decode() + "\n"


def json_rows(source: TableView) -> Iterator[tuple[Any, ...]]:
    """Return a table's rows as plain JSON cells, as they are written."""
    return _rows(source, source.columns)


def _as_array(lines: Iterator[str]) -> Iterator[str]:
    """Return lines of JSON as those of one array: an object a line, too."""
    before = "["
    for line in lines:
        yield f"{before}\n{line[:-1]}"
        before = ","
    yield "\n]\n" if before == "," else "[]\n"


def _rows(source: TableView, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Return the rows, with a text in the place of what no JSON has: a number (infinity, 40 digits), half a character.

    A run that was given such a cell ends its row as invalid, and still writes its table.
    """
    for position, row in enumerate(source.rows(columns)):
        if Unfit in map(type, row):
            yield tuple(
                _instead(source, name, position, cell) if isinstance(cell, Unfit) else cell
                for name, cell in zip(columns, row, strict=True)
            )
        else:
            yield row


def _instead(source: TableView, name: str, position: int, unfit: Unfit) -> str:
    with suppress(ValueError, OverflowError, NotImplementedError, TypeError, RecursionError):
        cell = source.cell(name, position)
        if isinstance(cell, float | int | Decimal | numpy.number):
            return str(cell)
        if isinstance(cell, str):
            return repaired(cell)
        if isinstance(cell, list | dict):
            return json.dumps(cell)
    raise TableError(
        f"row {position}, column {name!r} {unfit}, which cannot be written as text; "
        "leave the column out, or write .parquet"
    )
