"""What text files of tables have in common: their encoding, and lines that a message can name."""

from __future__ import annotations

import codecs
import re

from ..errors import TableError
from .encodings import not_utf8, recoded

_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16"}
_MARKS |= {codecs.BOM_UTF16_BE: "utf-16"}


def in_utf8(content: bytes, name: str, encoding: str | None) -> bytes:
    """Return a file's text in UTF-8, without its byte order mark; what is said to be UTF-8 is not checked to be."""
    if encoding not in (None, "utf-8", "utf-8-sig"):
        content = recoded(content, str(encoding), name)
    else:
        check_marks(content, name)
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content.strip(b"\r\n"):
        raise TableError(f"{name} is empty")
    return content


def check_marks(content: bytes, name: str) -> None:
    """Raise `TableError` for a text that begins as one of another encoding."""
    if other := _other(content):
        raise not_utf8(content, 0, None, name, other)


def _other(content: bytes) -> str:
    """Return the encoding that a text begins with: by its mark, or by the NULs among its first letters."""
    marked = next((found for mark, found in _MARKS.items() if content.startswith(mark)), "")
    if marked or b"\0" not in content[:4]:
        return marked
    width = 32 if b"\0\0" in content[:4] else 16
    return f"utf-{width}-{'be' if content.startswith(bytes(1)) else 'le'}"


def check_encoding(content: bytes, name: str, end: int | None = None, before: int = 0) -> None:
    """Raise `TableError`, with the line, for what is not UTF-8 before `end`; so many lines are `before` the text."""
    try:
        content[:end].decode()
    except UnicodeDecodeError as error:
        raise not_utf8(content, error.start, before + line_of(content, error.start), name) from None


def line_of(content: bytes, position: int) -> int:
    """Return the number, from 1 on, of the line that a position is in."""
    return 1 + sum(1 for _ in re.finditer(rb"\r\n?|\n", content[:position]))
