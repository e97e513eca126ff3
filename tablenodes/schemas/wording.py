"""The words for what is wrong and where: from a schema's rule and its limit, never from the value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container
from typing import Any, NamedTuple

from ..errors import nearest
from ..problems import MESSAGE_LENGTH
from .subschemas import Path, kind

_GOT_LENGTH = 40
_WORD_LENGTH = 60
_WORDS_SHOWN = 12
_MANY_WORDS = 2_000  # among more than these, no nearest one is looked for: a row may be told of it
_PATH_LENGTH = 200
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_NUMBER_NAME = re.compile(r"[0-9]{1,20}")


class Fault(NamedTuple):
    """A keyword (`rule`; ``false`` where a schema allows nothing) and its `limit`, which the `instance` does not meet.

    The instance is never put into words.
    """

    path: Path
    rule: str
    limit: Any
    instance: Any
    schema: Any


_TYPE_WORDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_LIMIT_WORDS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "const": "must be {}",
    "pattern": "must match the pattern {}",
}
_BOUNDS = {"min": "at least", "max": "at most"}
_COUNTED = {"Items": ("item", "items"), "Length": ("character", "characters"), "Properties": ("property", "properties")}
_OTHER_WORDS = {
    "schema": "does not fit the schema",
    "anyOf": "must fit one of the forms that the schema allows",
    "oneOf": "must fit exactly one of the forms that the schema allows",
    "uniqueItems": "must not repeat an item",
    "false": "is not allowed here",
    **dict.fromkeys(("items", "additionalItems", "unevaluatedItems"), "has more items than the schema allows"),
    "not": "must not fit a form that the schema forbids",
    "contains": "lacks an item that the schema requires",
    "unevaluatedProperties": "has a property that is not in the schema",
    "dependentRequired": "lacks a property that another of its properties requires",
}


def message(fault: Fault) -> str:
    """Return what is wrong, such as ``must be at most 2``."""
    return _message(fault.rule, fault.limit, fault.instance)[:MESSAGE_LENGTH]


def _message(rule: str, limit: Any, instance: Any) -> str:
    if rule == "type" and limit:
        return _type_message(limit, instance)
    if rule == "enum" and isinstance(limit, list):
        return _enum_message(limit, instance)
    if rule in _LIMIT_WORDS and (limit is not None or rule == "const"):
        return _LIMIT_WORDS[rule].format(_word(limit))
    if rule[:3] in _BOUNDS and rule[3:] in _COUNTED and limit is not None:
        return f"must have {_BOUNDS[rule[:3]]} {_word(limit)} {_COUNTED[rule[3:]][limit != 1]}"
    return _OTHER_WORDS.get(rule, f"does not meet the schema's rule {rule[:_WORD_LENGTH]}")


def _type_message(limit: Any, instance: Any) -> str:
    types = {limit} if isinstance(limit, str) else set(limit)
    if isinstance(instance, float) and not math.isfinite(instance) and types & {"number", "integer"}:
        return "must be a finite number"
    types -= {"integer"} if "number" in types else set()
    spoken = [words for name, words in _TYPE_WORDS.items() if name in types]
    return "must be " + " or ".join(filter(None, (", ".join(spoken[:-1]), *spoken[-1:])))


def _enum_message(allowed: list[Any], instance: Any) -> str:
    words = [_word(value) for value in allowed[:_WORDS_SHOWN]]
    if len(allowed) == 1:
        return f"must be {words[0]}"
    listed = ", ".join(words)
    more = f", … ({len(allowed)} in all)" if len(allowed) > _WORDS_SHOWN else ""
    return f"must be one of {listed}{more}{_nearest_word(allowed, instance)}"


def _nearest_word(allowed: list[Any], instance: Any) -> str:
    if not isinstance(instance, str) or len(instance) >= _GOT_LENGTH or len(allowed) > _MANY_WORDS:
        return ""
    return nearest(instance, [word for word in allowed if isinstance(word, str) and len(word) <= _WORD_LENGTH])


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WORD_LENGTH else text[: _WORD_LENGTH - 1] + "…"


def got(fault: Fault) -> str:
    """Return the value's type; or the value, if it is a short number, or nearly one of the allowed words."""
    value = fault.instance
    if isinstance(value, int | float) and not isinstance(value, bool):
        short = isinstance(value, float) or value.bit_length() < 4 * _GOT_LENGTH
        text = repr(value) if short else ""
        return text if 0 < len(text) < _GOT_LENGTH else kind(value)
    of_words = fault.rule == "enum" and isinstance(fault.limit, list)
    if of_words and _nearest_word(fault.limit, value) and value.isprintable():
        return str(value)
    return kind(value)[:_GOT_LENGTH]


def shown(path: Path, known: Container[str] = ()) -> str:
    """Return a path as text, ``$.messages[0].role``; ``[*]`` for a name that is neither plain nor `known`."""
    text = "$" + "".join(_step(step, known) for step in path)
    return text if len(text) <= _PATH_LENGTH else text[: _PATH_LENGTH - 1] + "…"


def _step(step: str | int, known: Container[str]) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if _PLAIN_NAME.fullmatch(step):
        return f".{step}"
    if _NUMBER_NAME.fullmatch(step) or (step in known and step.isprintable()):
        return "['{}']".format(step.replace("\\", "\\\\").replace("'", "\\'"))
    return "[*]"
