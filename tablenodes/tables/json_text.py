"""JSON as it is found in tables: with numbers that JSON has not, and of any length."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

from .views import WrittenNumber

_DIGITS_TO_0 = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
_LONGEST_INTEGER = 4_000  # digits; Python reads hardly more, and no JSON writer would write them back


def parsed(line: bytes) -> Any:
    """Return the value that a text of JSON is; numbers that JSON has not, such as NaN, included."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:  # halves of surrogate pairs, NaN and infinity are for their rows to answer for
        text = line.rstrip(b"\r\n").decode("utf-8", "surrogatepass")
        return json.loads(text, parse_constant=WrittenNumber, parse_float=_number, parse_int=_integer)
    # orjson rounds an integer of more than 64 bits to a float; Python reads it as it is.
    return json.loads(line, parse_int=_integer) if _LONG_NUMBER in line.translate(_DIGITS_TO_0) else found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONGEST_INTEGER else float(digits)


def _number(digits: str) -> float:
    found = float(digits)
    return WrittenNumber(found) if math.isinf(found) else found
