"""A table as CSV or JSON Lines: what is read back is what was written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import numpy
import orjson

from ..errors import TableError
from ..problems import Unfit
from .formats import SEPARATORS
from .views import TableView

_LINES = 1_000
_NEEDS_QUOTES = re.compile('[",;|\\t\\r\\n\ufeff]')


def text_pieces(source: TableView, form: str) -> Iterator[str]:
    """Return a table as text, some lines at a time."""
    lines = _json_lines(source) if form == "jsonl" else _csv_lines(source, SEPARATORS[form])
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


def _csv_lines(source: TableView, separator: str) -> Iterator[str]:
    search = _NEEDS_QUOTES.search
    yield separator.join(map(_field, source.columns)) + "\n"
    for row in _rows(source, source.columns):
        yield (
            separator.join([cell if type(cell) is str and cell and not search(cell) else _cell(cell) for cell in row])
            + "\n"
        )


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


def _rows(source: TableView, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Return the rows, with the text of a number that no JSON has (infinity, 40 digits) in its place."""
    for position, row in enumerate(source.rows(columns)):
        if Unfit in map(type, row):
            yield tuple(
                _number(source, name, position, cell) if isinstance(cell, Unfit) else cell
                for name, cell in zip(columns, row, strict=True)
            )
        else:
            yield row


def _number(source: TableView, name: str, position: int, unfit: Unfit) -> str:
    with suppress(ValueError, OverflowError, NotImplementedError):
        cell = source.cell(name, position)
        if isinstance(cell, float | int | Decimal | numpy.number):
            return str(cell)
    raise TableError(
        f"row {position}, column {name!r} {unfit}, which cannot be written as text; "
        "leave the column out, or write .parquet"
    )
