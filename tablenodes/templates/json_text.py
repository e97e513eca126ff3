"""JSON texts of cells and settings, read without a loss."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from ..plain import plain

_LONG_NUMBER = re.compile(r"[0-9]{19}")


def read(text: str) -> Any:
    """Read a JSON text.

    Parameters
    ----------
    text : str
        Strict JSON.

    Raises
    ------
    orjson.JSONDecodeError
        If it is none.
    Unfit
        If it holds an integer of more than 64 bits, which would be rounded on its way.
    """
    value = orjson.loads(text)
    if _LONG_NUMBER.search(text):
        plain(json.loads(text))
    return value
