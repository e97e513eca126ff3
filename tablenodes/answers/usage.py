"""What an answer used: the tokens that the server counted, and the model that it names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..engine.outcomes.answer_json import UnreadableError, document_of
from .answer_schema import FieldType

_INTEGER = FieldType("integer", nullable=True)
_PLACES = {
    "prompt_tokens": ("prompt_tokens",),
    "cached_tokens": ("prompt_tokens_details", "cached_tokens"),
    "completion_tokens": ("completion_tokens",),
    "reasoning_tokens": ("completion_tokens_details", "reasoning_tokens"),
    "total_tokens": ("total_tokens",),
}
USAGE_TYPES = {**dict.fromkeys(_PLACES, _INTEGER), "model": FieldType("text", nullable=True)}
"""The columns of what answers used, with their types."""
_MOST = 2**53


def usage_columns(bodies: Iterable[str | None]) -> dict[str, list[Any]]:
    """Return what each body says that it used, as columns; null where it says nothing."""
    made: dict[str, list[Any]] = {name: [] for name in USAGE_TYPES}
    for body in bodies:
        document = _document(body)
        for name, place in _PLACES.items():
            made[name].append(_count(document.get("usage"), place))
        model = document.get("model")
        made["model"].append(model if isinstance(model, str) else None)
    return made


def _document(body: str | None) -> dict[str, Any]:
    try:
        found = document_of(body or "")
    except (UnreadableError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _count(value: Any, place: tuple[str, ...]) -> int | None:
    for name in place:
        value = value.get(name) if isinstance(value, dict) else None
    return value if type(value) is int and 0 <= value < _MOST else None
