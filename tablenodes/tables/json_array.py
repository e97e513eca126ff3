"""JSON: a file of one array, whose objects are the rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import TableError
from .formats import other_format
from .json_lines import frame_of, kind_of
from .json_text import parsed
from .text_files import check_encoding

if TYPE_CHECKING:
    import pandas

_BLANK = " \t\r\n"


def read_json(content: bytes, name: str) -> pandas.DataFrame:
    """Read a JSON file, as JSON lines are read: a column is every name that an object has."""
    try:
        found = parsed(content)
    except json.JSONDecodeError as error:
        check_encoding(content, name)
        if _is_object(content.partition(b"\n")[0]):
            raise other_format(name, "JSON lines", "jsonl", ": it has one object a line") from None
        place = f"line {error.lineno}, character {error.colno}"
        raise TableError(f"{name}, {place}: not valid JSON{_after(error)}") from None
    except UnicodeDecodeError:
        check_encoding(content, name)
        raise
    except RecursionError:
        raise TableError(f"{name}: JSON that is nested too deeply") from None
    if not isinstance(found, list):
        raise TableError(f"{name} is a JSON {kind_of(found)}, but a table is an array of objects{_within(found)}")
    return frame_of(_rows(found, content, name), name)


def _after(error: json.JSONDecodeError) -> str:
    """Return a hint where a text ends early, as a download that was cut does."""
    return "; the file ends there" if not error.doc[error.pos :].strip() else ""


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parsed(line), dict)
    except (ValueError, RecursionError):
        return False


def _within(found: Any) -> str:
    """Return how to get at the array that an object has in it."""
    values = found if isinstance(found, dict) else {}
    for key, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return f"; take out what its {key[:40]!r} has: jq '.[{json.dumps(key[:40])}]' OLD > NEW"
    return ""


def _rows(found: list[Any], content: bytes, name: str) -> Iterator[dict[str, Any]]:
    for position, row in enumerate(found):
        if not isinstance(row, dict):
            line = _line_of_row(content.decode("utf-8", "surrogatepass"), position)
            raise TableError(f"{name}, line {line}: a JSON {kind_of(row)}, but a row must be an object")
        yield row


def _line_of_row(text: str, wanted: int) -> int:
    """Return the line in which one of an array's values begins."""
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    for position in range(wanted + 1):
        while text[at] in f"{_BLANK},":
            at += 1
        if position < wanted:
            _, at = decoder.raw_decode(text, at)
    return text.count("\n", 0, at) + 1
