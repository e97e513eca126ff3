"""How requests of a kind are written beyond their properties: short ways, images, what asks for an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..answers import FORMAT, TEXT
from .images import OF_CHAT, OF_MODERATION, OF_RESPONSE, ImageForm
from .simplified_functions import FLAT, WRITTEN_OUT

NAMED_ONLY = frozenset({"n", "best_of", "user", "store", "metadata", "stream", "seed", "stop", "prediction"})
"""Request properties that a table may well use for something else: taken from a column only when named."""


@dataclass(frozen=True)
class RequestForm:
    """The form of a kind of request."""

    aliases: Mapping[str, str] = field(default_factory=dict)  # of properties: columns and settings of another name
    named_only: frozenset[str] = NAMED_ONLY
    images: ImageForm | None = None  # how ``image`` is written, where it is a setting
    writers: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)  # of what may be written the short way
    asked_in: str = FORMAT  # the property that asks for the form of an answer


PLAIN = RequestForm()
CHAT = RequestForm(images=OF_CHAT, writers=WRITTEN_OUT)
RESPONSE = RequestForm(
    aliases={"prompt": "input", "system": "instructions"},
    named_only=NAMED_ONLY | {"text", "reasoning", "include", "moderation", "background"},
    images=OF_RESPONSE,
    writers=FLAT,
    asked_in=TEXT,
)
MODERATION = RequestForm(images=OF_MODERATION)
