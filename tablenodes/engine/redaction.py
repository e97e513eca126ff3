"""Keys that a server echoes are masked before anyone sees the answer."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .calls import Answer

MASK = b"***"
_SHORTEST = 6
"""A shorter secret would mask ordinary words."""


class Redaction:
    """Masks secrets in answers, as they are and as they are commonly encoded.

    Parameters
    ----------
    secrets : iterable of bytes
        What must not be seen.
    """

    __slots__ = ("_forms",)

    def __init__(self, secrets: Iterable[bytes]) -> None:
        forms: dict[bytes, None] = {}
        for secret in secrets:
            if len(secret) >= _SHORTEST:
                forms |= dict.fromkeys((secret, quote(secret, safe="").encode(), base64.b64encode(secret).rstrip(b"=")))
        self._forms = tuple(forms)

    def __call__(self, answer: Answer) -> Answer:
        """Give the answer without the secrets; the very same object where it holds none."""
        told = answer.message.encode(errors="replace")
        for form in self._forms:
            if form in answer.body or form in answer.headers or form in told:
                return answer._replace(
                    body=self.mask(answer.body),
                    headers=self.mask(answer.headers),
                    message=self.mask(told).decode(),
                )
        return answer

    def mask(self, data: bytes) -> bytes:
        """Give the bytes without the secrets."""
        for form in self._forms:
            data = data.replace(form, MASK)
        return data
