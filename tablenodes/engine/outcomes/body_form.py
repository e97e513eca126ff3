"""The form of a body, told by its first bytes: servers put any content type, or none, beside any of them."""

from __future__ import annotations

import re
from typing import Literal

Form = Literal["stream", "json", "page", "other"]

BLANK = b"\xef\xbb\xbf \t\r\n"
"""The bytes that may stand before a body: those of a byte order mark, and blank ones."""
_BLANK = rb"(?:\xef\xbb\xbf|\s)*"
_BEGINS = re.compile(_BLANK + rb"(?:(?P<stream>:|(?:data|event|id|retry)(?=[:\r\n]))|(?P<json>[{\[])|(?P<page><))")
_MAY_BEGIN = re.compile(_BLANK + rb"(?:\xef\xbb?|d(?:a(?:ta?)?)?|e(?:v(?:e(?:nt?)?)?)?|id?|r(?:e(?:t(?:ry?)?)?)?)?\Z")
"""Nothing yet, or the beginning of a byte order mark or of a field of an event stream."""


def form_of(body: bytes) -> Form | None:
    """Return the form of a body, of which the end may be missing; None where too little of it is there to tell."""
    found = _BEGINS.match(body)
    if found is not None:
        return found.lastgroup  # type: ignore[return-value]
    return None if _MAY_BEGIN.match(body) else "other"


class Beginning:
    """The beginning of a body that comes piece by piece, kept until it tells the form."""

    __slots__ = ("_held", "form")

    def __init__(self) -> None:
        self.form: Form | None = None
        self._held = b""

    def push(self, piece: bytes) -> Form | None:
        """Add a piece and return the form, if it is known by now."""
        if self.form is None:
            self._held = (self._held + piece).lstrip()
            self.form = form_of(self._held)
        return self.form
