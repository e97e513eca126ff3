"""Other tools' settings for what ``answer=`` says, answered with the line to write."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from typing import Any, Literal

from ..errors import SchemaError, SettingError
from .annotations import is_type
from .answer_grammar import WORDS, is_schema, read_answer, written

Door = Literal["python", "yaml", "command line"]

FOREIGN = (
    *("response_model", "output_schema", "json_schema", "labels", "response_schema", "output_type", "output_format"),
    *("guided_json", "guided_choice", "choices", "classes"),
)
"""What other tools call it."""

_API_FORMATS = ("text", "json_object", "json_schema", "grammar", "python")
_LINES: Mapping[str, str] = {"python": "answer={}", "yaml": "answer: {}", "command line": "--answer {}"}


def foreign_setting(name: str, value: Any, properties: Collection[str] = (), *, door: Door = "python") -> str | None:
    """Return what to say of a setting that means an answer, such as ``response_model=Review``; None for any other.

    Parameters
    ----------
    name, value
        The setting: one of `FOREIGN`, or ``response_format`` or ``schema`` with what only ``answer=`` takes.
    properties : collection of str
        The operation's request properties: a ``schema`` that knows any of them is one of requests.
    door : str
        Where the line is to be written.
    """
    if name in FOREIGN:
        return f"{name} is called answer here: write {_line(_own(value), door)}"
    if name == "response_format" and _is_answer(value):
        return f"response_format is the API's own; for answers as columns write {_line(value, door)}"
    if name == "schema" and _is_of_an_answer(value, properties):
        return f"schema is about the request; answer says what an answer is: write {_line(value, door)}"
    return None


def _own(value: Any) -> Any:
    """Return the schema inside of what other tools wrap it in."""
    for step in ("json_schema", "schema"):
        inside = value.get(step) if isinstance(value, Mapping) else None
        value = inside if isinstance(inside, Mapping) else value
    return value


def _is_answer(value: Any) -> bool:
    if isinstance(value, str) or value is None:
        return value in WORDS and value not in _API_FORMATS
    if isinstance(value, Mapping) and value.get("type") in _API_FORMATS:
        return False
    return _is_readable(value)


def _is_of_an_answer(value: Any, properties: Collection[str]) -> bool:
    if isinstance(value, Mapping) and is_schema(value):
        named = value.get("properties")
        return isinstance(named, Mapping) and bool(named) and not named.keys() & set(properties)
    return not isinstance(value, str) and value is not None and _is_readable(value)


def _is_readable(value: Any) -> bool:
    """Check whether a value says what an answer is."""
    if is_type(value):
        return True
    try:
        read_answer(value)
    except (SettingError, SchemaError):
        return False
    return True


def _line(value: Any, door: Door) -> str:
    if isinstance(value, str) and "," in value and door != "command line":
        value = [label.strip() for label in value.split(",")]
    line = value if isinstance(value, str) and door == "command line" else written(value)
    return _LINES[door].format(shlex.quote(line) if door == "command line" else line)
