"""Schemas that nothing satisfies: they would make the engine take all memory, and end it."""

from __future__ import annotations

import re
from typing import Any

BOUNDS = (
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("minimum", "maximum"),
)
_REPETITION = re.compile(r"\{(\d{1,9}),(\d{1,9})\}")


def contradiction(schema: Any) -> str:
    """Return which lower bound of a schema exceeds its upper bound; else an empty text."""
    if isinstance(schema, list):
        return next(filter(None, map(contradiction, schema)), "")
    if not isinstance(schema, dict):
        return ""
    for low, high in BOUNDS:
        if _number(schema.get(low)) and _number(schema.get(high)) and schema[low] > schema[high]:
            return f"{low} is greater than {high}"
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        for found in _REPETITION.finditer(pattern):
            if int(found[1]) > int(found[2]):
                return "a repetition in a pattern has a lower bound greater than its upper bound"
    return contradiction(list(schema.values()))


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
