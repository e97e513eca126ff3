"""A veil over what a server repeats of a request: its words are shown without those of the row."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple
from urllib.parse import unquote

from .vocabulary import WORDS

VEIL = "[…]"
_QUOTE = 4  # ordinary words in a row that a request has too are taken for a part of it
_PIECE = 5  # characters in a row within a word
_LONGEST = 40  # characters of a word; longer ones are data or an id
_MOST = 2_000  # characters of a message that are looked at
_ESCAPE = r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\U[0-9a-fA-F]{8}|(?:%[0-9a-fA-F]{2})+|&(?:#\w{1,7}|[a-zA-Z]{2,8});"
_IDEOGRAPH = (
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff66-\uff9d"
    r"\U0001f000-\U0001faff\U00020000-\U0003ffff]"
)
_MARK = (
    r"[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0962\u0963"
    r"\u200c\u200d\ufe0f\uff9e\uff9f]"
)
_LETTERS = rf"(?:\w|{_MARK})"
_ESCAPED = re.compile(_ESCAPE)
_WORD = re.compile(rf"(?P<gap>\\[nrtbfv\"'/\\])|{_IDEOGRAPH}{_MARK}*|(?:{_ESCAPE}|(?!{_IDEOGRAPH}){_LETTERS})+")
_PLAIN = re.compile(rf"{_IDEOGRAPH}{_MARK}*|(?:(?!{_IDEOGRAPH}){_LETTERS})+")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"|`([^`]*)`|“([^”]*)”|«([^»]*)»|: ([^:]*)$")
_CLOSED = re.compile(rf"{re.escape(VEIL)}(?:[^\w\[\]…]{{0,3}}{re.escape(VEIL)})+")


class Asked:
    """The words of a row's request: of the texts in its body, and of the cells of the row."""

    def __init__(self, texts: Iterable[str], cells: Iterable[str] = ()) -> None:
        self._texts, self._cells = [*texts], [*cells]

    @cached_property
    def cells(self) -> frozenset[str]:
        """The words of each cell."""
        return frozenset(filter(None, map(_joined, self._cells)))

    @cached_property
    def text(self) -> str:
        """All words, one space between two of them."""
        return "\n".join(f" {_joined(each)} " for each in dict.fromkeys((*self._texts, *self._cells)))

    @cached_property
    def words(self) -> frozenset[str]:
        """The different words."""
        return frozenset(self.text.split())


class _Word(NamedTuple):
    """A word of a message: where it is, and how it reads."""

    start: int
    end: int
    text: str


def veiled(message: str, asked: Asked | None) -> str:
    """Return a message without the words that it may have from the request; of one not known, with `WORDS` alone."""
    message = message[:_MOST]
    words = [*_words(message)]
    hidden = [asked is None and not _is_ordinary(each.text) for each in words]
    for start, end in () if asked is None else _repeated(message, words, asked):
        hidden[start:end] = [True] * (end - start)
    made, shown = [], 0
    for word, is_hidden in zip(words, hidden, strict=True):
        if is_hidden:
            made += [message[shown : word.start], VEIL]
            shown = word.end
    return _CLOSED.sub(VEIL, "".join((*made, message[shown:])))


def _words(message: str) -> Iterator[_Word]:
    for found in _WORD.finditer(message):
        if found["gap"] is None and (text := _joined(_whole(_ESCAPED.sub(_unescaped, found[0])))):
            yield _Word(*found.span(), text)


def _unescaped(escape: re.Match[str]) -> str:
    sign = escape[0]
    if sign[0] == "\\":
        with suppress(ValueError, OverflowError):
            return chr(int(sign[2:], 16))
    return unquote(sign) if sign[0] == "%" else html.unescape(sign)


def _whole(text: str) -> str:
    """Return a text with each pair of surrogates as the sign that it stands for."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _joined(text: str) -> str:
    return " ".join(_PLAIN.findall(unicodedata.normalize("NFKC", text).casefold()))


def _is_ordinary(word: str) -> bool:
    return all(part in WORDS for part in word.replace("_", " ").split())


def _repeated(message: str, words: Sequence[_Word], asked: Asked) -> Iterator[tuple[int, int]]:
    """Yield from which word to which a message repeats what was asked."""
    yield from _runs([each.text for each in words], asked)
    for at, word in enumerate(words):
        if not _is_ordinary(word.text) and _has_part(word.text, asked):
            yield at, at + 1
    for quoted in _QUOTED.finditer(message):
        start, end = quoted.span(quoted.lastindex or 0)
        inside = [at for at, word in enumerate(words) if start <= word.start and word.end <= end]
        if inside and " ".join(words[at].text for at in inside) in asked.cells:
            yield inside[0], inside[-1] + 1


def _runs(words: Sequence[str], asked: Asked) -> Iterator[tuple[int, int]]:
    """Yield the longest runs of words that a request has in a row, unless they are few and ordinary."""
    start = end = 0
    while start < len(words):
        end = max(end, start)
        while end < len(words) and " ".join(words[start : end + 1]) in asked.text:
            end += 1
        run = words[start:end]
        if len(run) >= _QUOTE or (any(not _is_ordinary(each) for each in run) and _tells(run, asked)):
            yield start, end
        start += 1


def _tells(run: Sequence[str], asked: Asked) -> bool:
    """Check whether a run of words is no coincidence: a letter, or two digits, may be in any longer word."""
    short = len(run) == 1 and (len(run[0]) < 2 or (len(run[0]) < 3 and run[0].isdigit()))
    return not short or run[0] in asked.words


def _has_part(word: str, asked: Asked) -> bool:
    """Check whether a word has a part of what was asked in it, or is data."""
    if len(word) > _LONGEST:
        return True
    sizes = range(2, len(word))
    parts = ((start, word[start : start + size]) for size in sizes for start in range(len(word) - size + 1))
    for start, part in parts:
        is_own = part in asked.words and not _is_ordinary(part)
        if is_own and (len(part) >= _QUOTE or (start == 0 and len(word) - len(part) <= 2 and not part.isdigit())):
            return True
        if len(part) == _PIECE and part in asked.text:
            return True
    return False
