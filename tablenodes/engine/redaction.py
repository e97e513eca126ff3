"""The masks of secrets: a key that a server echoes is masked before anyone sees the answer."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

from .calls import Answer

MASK = b"***"
_BACKSLASH = 92
_COPIED = 2**15  # bytes of a body
_SHORTEST = 6  # a shorter secret would mask ordinary words


class Redaction:
    """Masks secrets in answers, as they are and as they are commonly encoded."""

    __slots__ = ("_forms", "_pattern")

    def __init__(self, secrets: Iterable[bytes]) -> None:
        forms: dict[bytes, None] = {}
        for secret in secrets:
            if len(secret) >= _SHORTEST:
                forms |= dict.fromkeys((secret, quote(secret, safe="").encode(), base64.b64encode(secret).rstrip(b"=")))
        self._forms = tuple(sorted(forms, key=len, reverse=True))  # one secret may begin with another
        self._pattern: re.Pattern[bytes] | None = None

    def masked(self, answer: Answer) -> Answer:
        """Return the answer without the secrets; the very same object where it holds none."""
        if not self._forms:
            return answer
        _, _, headers, body, _, words, _, _, _ = answer
        told = words.encode(errors="replace") if words else b""
        # One search in place of two, as copying is cheap; what is found across the seam alone is not masked.
        both, rest = (headers + body, told) if len(body) < _COPIED else (body, headers + told)
        for form in self._forms:  # bytes `in` bytes takes three times as long: it makes an error, and drops it
            if both.find(form) >= 0 or (rest and rest.find(form) >= 0):
                break
        else:
            if not (_BACKSLASH in body and _may_be_escaped(body) and self._escaped().search(body)):
                return answer
        return answer._replace(body=self.mask(body), headers=self.mask(headers), message=self.mask(told).decode())

    def __bool__(self) -> bool:
        return bool(self._forms)

    def live(self) -> LiveMask:
        """Return a mask for a text that comes in pieces."""
        return LiveMask(tuple(form.decode("latin-1") for form in self._forms))

    def mask(self, data: bytes) -> bytes:
        """Return the bytes without the secrets, also where JSON's escapes stand for some of their characters."""
        for form in self._forms:
            data = data.replace(form, MASK)
        return self._escaped().sub(MASK, data) if _may_be_escaped(data) else data

    def _escaped(self) -> re.Pattern[bytes]:
        """Return the pattern of a secret in JSON; compiled once it is needed."""
        if self._pattern is None:
            self._pattern = re.compile(b"|".join(map(_escaped, self._forms)) or b"(?!)")
        return self._pattern


def _may_be_escaped(data: bytes) -> bool:
    r"""Check whether a character of ASCII may be written as ``\u00…``, or a slash as ``\/``."""
    return _BACKSLASH in data and (b"\\u00" in data or b"\\/" in data)


def _escaped(form: bytes) -> bytes:
    """Return the pattern of a text in JSON, each character as it is or as an escape of it."""
    return b"".join(
        b"(?:%s|\\\\u00(?i:%02x)%s)" % (re.escape(bytes((code,))), code, rb"|\\/" if code == ord("/") else b"")
        for code in form
    )


class LiveMask:
    """Masks secrets in a text that comes in pieces: the end of a piece in which one may begin is held back.

    Half a character, of which the next piece has the other half, is held back too. `forms` are the secrets.
    """

    __slots__ = ("_forms", "_held", "_longest")

    def __init__(self, forms: tuple[str, ...]) -> None:
        self._forms = forms
        self._longest = max(map(len, forms), default=0)
        self._held = ""

    def push(self, text: str) -> str:
        """Add a piece and return what may be shown."""
        text = self._held + text
        if not text.isascii():  # a first half at the end may yet become a character
            last = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
            text = _joined(text[: len(text) - len(last)]) + last
        for form in self._forms:
            text = text.replace(form, MASK.decode())
        kept = len(text) - self._doubtful(text)
        self._held = text[kept:]
        return text[:kept]

    def rest(self) -> str:
        """Return what was held back, at the end of the text."""
        text, self._held = self._held, ""
        return text if text.isascii() else _joined(text)

    def _doubtful(self, text: str) -> int:
        """Return the length of the end that is to be held back."""
        found = 1 if "\ud800" <= text[-1:] <= "\udbff" else 0
        tail = text[-self._longest :] if self._longest else ""
        for form in self._forms:
            at = tail.find(form[0])
            while at >= 0:
                if form.startswith(tail[at:]):
                    found = max(found, len(tail) - at)
                    break
                at = tail.find(form[0], at + 1)
        return found


def _joined(text: str) -> str:
    """Join halves of characters; one that stands alone becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
