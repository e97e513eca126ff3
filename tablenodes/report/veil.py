"""A veil over what a server repeats of a request: its words are shown without the cells of the row."""

from __future__ import annotations

import re
from collections.abc import Iterable

VEIL = "[…]"
_SHORTEST = 3  # characters of a cell that is looked for; fewer say nothing
_WINDOW = 16  # so many characters in a row that a text has too are taken for a part of it


def veiled(words: str, texts: Iterable[str]) -> str:
    """Return words without what they repeat of texts, in capitals or not; of a longer text, be it a part."""
    lowered = words.lower()
    if len(lowered) != len(words):  # few letters are longer so
        lowered = words
    hidden = bytearray(len(words))
    for text in texts:
        for start, end in _repeated(lowered, text.lower()):
            hidden[start:end] = b"\1" * (end - start)
    pieces = (words[each.start() : each.end()] if each[0][0] == 0 else VEIL for each in _RUNS.finditer(bytes(hidden)))
    return "".join(pieces)


_RUNS = re.compile(rb"\x00+|\x01+")


def _repeated(words: str, text: str) -> Iterable[tuple[int, int]]:
    """Return where words repeat a text."""
    if len(text) < _SHORTEST:
        return []
    if len(text) < _WINDOW:
        return [each.span() for each in re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", words)]
    starts = range(len(words) - _WINDOW + 1)
    return [(at, at + _WINDOW) for at in starts if words[at : at + _WINDOW] in text]
