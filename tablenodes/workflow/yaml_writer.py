"""Write plain values as YAML that reads back as the same, laid out for people."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from ..templates.template import Column, LiteralText
from .yaml_reader import is_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_BARE = re.compile(r"[A-Za-z_/.](?:[\w ,./()+-]*[\w./)])?", re.ASCII)
_BLOCK_LINE = re.compile(r"\S(?:.*\S)?|")
_INDENT = "  "


def write(value: Mapping[str, Any]) -> str:
    """Give a mapping as YAML text, its keys in their order."""
    return "\n".join(_mapping(value, "")) + "\n"


def _mapping(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(f"{indent}{_scalar(str(key))}:", item, indent)


def _sequence(value: Sequence[Any], indent: str) -> Iterator[str]:
    for item in value:
        if isinstance(item, dict) and item:
            first, *rest = _mapping(item, indent + _INDENT)
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield from _entry(f"{indent}-", item, indent)


def _entry(start: str, item: Any, indent: str) -> Iterator[str]:
    """Give the lines of a key or a dash and what belongs to it."""
    inside = indent + _INDENT
    if isinstance(item, dict) and item:
        yield start
        yield from _mapping(item, inside)
    elif isinstance(item, list | tuple) and item:
        yield start
        yield from _sequence(item, inside)
    elif isinstance(item, str) and _is_block(item):
        yield f"{start} |" if item.endswith("\n") else f"{start} |-"
        yield from (f"{inside}{line}" if line else "" for line in item.removesuffix("\n").split("\n"))
    else:
        yield f"{start} {_scalar(item)}"


def _is_block(text: str) -> bool:
    """Tell whether a text of several lines can stand as it is."""
    lines = text.removesuffix("\n").split("\n")
    plain = all(line.isprintable() and _BLOCK_LINE.fullmatch(line) for line in lines)
    return len(lines) > 1 and plain and bool(lines[0] and lines[-1])


def _scalar(value: Any) -> str:
    if isinstance(value, Column):
        return f"!col {_quoted(value.name)}"
    if isinstance(value, LiteralText):
        return f"!literal {_quoted(value.text)}"
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) and is_text(value) else _quoted(value)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return json.dumps(value)


def _quoted(text: str) -> str:
    # YAML reads JSON's texts, but not two escapes that together mean one character.
    escaped = (
        c if c.isprintable() else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
        for c in json.dumps(text, ensure_ascii=False)
    )
    return "".join(escaped)
