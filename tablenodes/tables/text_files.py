"""What text files of tables have in common: their encoding, and lines that a message can name."""

from __future__ import annotations

import codecs
import re

from ..errors import TableError

_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_SAVE = "save it as UTF-8, or convert it: iconv -f {} -t UTF-8 OLD > NEW"


def without_mark(content: bytes, name: str) -> bytes:
    """Return a file's text without its byte order mark."""
    if content.startswith(_OTHER_ENCODINGS):
        width = 32 if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) else 16
        raise TableError(f"{name} is in UTF-{width}: {_SAVE.format(f'UTF-{width}')}")
    if content.startswith(b"PK\x03\x04"):
        raise TableError(f"{name} is a spreadsheet or an archive, not text: save it as CSV, in UTF-8")
    if b"\0" in content[:4]:  # the first letters of UTF-16 without a mark
        encoding = _unmarked(content[:4])
        raise TableError(f"{name} is not text, or is in {encoding}: {_SAVE.format(encoding)}")
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content.strip(b"\r\n"):
        raise TableError(f"{name} is empty")
    return content


def _unmarked(start: bytes) -> str:
    """Return the name of the encoding without a mark in which a text of ASCII begins so."""
    width = 32 if b"\0\0" in start else 16
    return f"UTF-{width}{'BE' if start.startswith(bytes(1)) else 'LE'}"


def check_encoding(content: bytes, name: str) -> None:
    """Raise `TableError`, with the line, for what is not UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = line_of(content, error.start)
        why = f"not UTF-8 (perhaps Latin-1 or Windows-1252); {_SAVE.format('WINDOWS-1252')}"
        raise TableError(f"{name}, line {line}: {why}") from None


def line_of(content: bytes, position: int) -> int:
    """Return the number, from 1 on, of the line that a position is in."""
    return 1 + sum(1 for _ in re.finditer(rb"\r\n?|\n", content[:position]))
