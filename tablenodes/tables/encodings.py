"""The encoding of a text that is not UTF-8: read where it is named, and named, never guessed, where it is not."""

from __future__ import annotations

import codecs
import encodings.aliases
import re

from ..errors import TableError, nearest

_SAMPLE = 65_536
_LIKELY = 0.5  # of the mean weight of the characters that are not ASCII
_KNOWN, _POSSIBLE, _UNLIKELY = 1.0, 0.5, 0.1
_TITLES = {
    "cp1252": "Windows-1252, of Western Europe",
    "cp1250": "Windows-1250, of Central Europe",
    "cp1251": "Windows-1251, Cyrillic",
    "cp932": "Shift-JIS, Japanese",
    "gb18030": "GB18030, Chinese",
    "big5": "Big5, Chinese",
    "euc_kr": "EUC-KR, Korean",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16 without its mark",
    "utf-16-be": "UTF-16 without its mark",
    "utf-32": "UTF-32",
    "utf-32-le": "UTF-32 without its mark",
    "utf-32-be": "UTF-32 without its mark",
}
_LETTERS = {  # that are frequent in the languages which have an encoding
    "cp1252": "äöüßÄÖÜéèêëàâçñáíóúïîôûùœæøåÆØÅãõÉÈÀÇÑÁÍÓÚ¿¡–—‘’“”„…€°§£«»•²³",
    "cp1250": "ąćęłńóśźżĄĆĘŁŃÓŚŹŻáčďéěíňřšťúůýžÁČĎÉĚÍŇŘŠŤÚŮÝŽöőüűÖŐÜŰäôâăîşţ–„”“’",
    "cp1251": "абвгдежзийклмнопрстуфхцчшщъыьэюяіїєё",
    "cp932": "".join(map(chr, range(0x3041, 0x30FF))) + "。、「」",
    "gb18030": "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过好很用，。",
    "big5": "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過好很用，。",
    "euc_kr": "이다는을가에의지고하은로기사리어자도아요를서해시인한그나라대일정보주좋있습니",
}
_POSSIBLE_LETTERS = {
    "cp1251": re.compile("[А-ЯЁІЇЄ№«»–—]"),
    "cp932": re.compile("[\u3000-\u303f\u4e00-\u9fff\uff01-\uff5e]"),
    "gb18030": re.compile("[\u3000-\u303f\u4e00-\u9fff\uff01-\uff5e]"),
    "big5": re.compile("[\u3000-\u303f\u4e00-\u9fff\uff01-\uff5e]"),
    "euc_kr": re.compile("[\uac00-\ud7a3]"),
}
_WORD = re.compile(r"[A-Za-z]")
_FOREIGN = re.compile(r"[^\x00-\x7f]")


def checked_encoding(name: str) -> str:
    """Return the codec of a text's encoding; raise `TableError` for a name that no encoding has."""
    try:
        "".encode(name)  # which the codecs that are for no text refuse
        return codecs.lookup(name).name
    except (LookupError, ValueError, TypeError):
        known = [*_TITLES, *encodings.aliases.aliases]
        hint = nearest(str(name), known)
        raise TableError(f"no encoding is called {str(name)[:40]!r}{hint}", place="encoding") from None


def recoded(content: bytes, encoding: str, name: str) -> bytes:
    """Return a text of an encoding in UTF-8, without its byte order mark."""
    try:
        return content.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeError as error:
        before = content[: getattr(error, "start", 0)].decode(encoding, "replace")
        line = 1 + before.replace("\r\n", "\n").replace("\r", "\n").count("\n")
        raise TableError(f"{name}, line {line}: not {encoding}") from None


def not_utf8(content: bytes, position: int, line: int | None, name: str, encoding: str = "") -> TableError:
    """Return what is to be said of a text that is not UTF-8 from a position on, with the encoding to ask for."""
    place = f"{name}, line {line}" if line else name
    if not (encoding := encoding or _likely(content, position)):
        return TableError(
            f'{place}: not UTF-8; name its encoding, such as encoding="cp1252"',
            code="encoding_unknown",
            values={"place": place},
        )
    return TableError(
        f'{place}: not UTF-8 but {_TITLES[encoding]}, as it seems; to read it as such, add encoding="{encoding}"',
        code="encoding",
        values={"place": place, "title": _TITLES[encoding], "encoding": encoding},
    )


def _likely(content: bytes, position: int) -> str:
    """Return the encoding in which a text most looks like one; empty where it does in none."""
    start = max(content.rfind(b"\n", 0, position), position - _SAMPLE, 0)
    sample = content[start : start + _SAMPLE]
    if end := sample.rfind(b"\n"):
        sample = sample[:end] if end > position - start else sample
    found = {encoding: _weight(sample, encoding) for encoding in _LETTERS}
    best = max(found, key=lambda encoding: found[encoding])
    return best if found[best] >= _LIKELY else ""


def _weight(sample: bytes, encoding: str) -> float:
    """Return how likely, from 0 to 1, a text is one of an encoding: by its characters that are not ASCII."""
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return 0
    letters, possible = frozenset(_LETTERS[encoding]), _POSSIBLE_LETTERS.get(encoding)
    total = count = 0.0
    for match in _FOREIGN.finditer(text):
        letter, at = match[0], match.start()
        weight = _KNOWN if letter in letters else _POSSIBLE if possible and possible.match(letter) else _UNLIKELY
        if letter.isalpha():
            beside = text[max(at - 1, 0) : at] + text[at + 1 : at + 2]
            if _WORD.search(beside) if possible else len(_FOREIGN.findall(beside)) == len("ab"):
                weight = 0  # of another script in the midst of a word, or three letters of Latin in a row with accents
        total, count = total + weight, count + 1
    return total / count if count else 0
