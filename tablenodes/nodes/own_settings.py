"""The settings that say something about a node itself: what is kept of each, or an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import schemas
from ..bodies.recipe import EXTRA
from ..errors import SettingError
from ..settings import Timeout
from ..templates.template import Column
from .answer_columns import CHECKS as OF_ANSWERS
from .node import own_copy

PACK = "pack"
MOST_ROWS = 2048  # that go in one request: more, OpenAI does not take


def _checked_seconds(value: Any) -> float | None:
    """Return a timeout as the number that it is; it may be written as a text."""
    if value is None:
        return None
    try:
        seconds = float(value) if isinstance(value, str) else value
        return float(Timeout(total=seconds).total)
    except ValueError:  # what Timeout raises is one too
        filled_in = isinstance(value, Column) or (isinstance(value, str) and "{{" in value)
        clause = "; it is the same for every row, and placeholders are not filled in" if filled_in else ""
        words = f"must be a number of seconds from 0.001 to 86,400{clause}"
        raise SettingError(f"client_timeout {words}", place="client_timeout") from None


def _checked_folder(value: Any) -> str | None:
    """Return the path of a folder as a text."""
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
    if not path or "{{" in path:
        raise SettingError("image_root must be the path of a folder, the same for every row", place="image_root")
    return str(path)


def _checked_extra(value: Any) -> Any:
    """Return a setting's value as the node's own, where it is a mapping."""
    if value is not None and not isinstance(value, Mapping):
        clause = ", whose values may be columns" if isinstance(value, Column) else f", not {type(value).__name__}"
        raise SettingError(f"extra_body must be a mapping{clause}", place=EXTRA)
    return own_copy(value, EXTRA)


def _checked_columns(columns: Any) -> Any:
    if isinstance(columns, str) and columns == "auto":
        return columns
    if isinstance(columns, str | Mapping) or not isinstance(columns, Iterable):
        raise SettingError('columns must be "auto" or a list of column names', place="columns")
    names = tuple(columns)
    if not all(isinstance(name, str) for name in names):
        raise SettingError("columns must be a list of column names as texts", place="columns")
    return names


def checked_pack(value: Any) -> int | None:
    """Return how many rows go in one request, which may be written as a text; None where that is one."""
    if value is None:
        return None
    value = int(value) if isinstance(value, str) and value.isdecimal() and value.isascii() else value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_ROWS:
        raise SettingError(f"pack must be a whole number of rows from 1 to {MOST_ROWS:,}", place=PACK)
    return value if value > 1 else None


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    **OF_ANSWERS,
    "client_timeout": _checked_seconds,
    "columns": _checked_columns,
    EXTRA: _checked_extra,
    "image_root": _checked_folder,
    "schema": lambda value: schemas.copied(value) if isinstance(value, Mapping) else value,
}
"""By the settings that say something about the node itself: what is kept of one, or an error."""
