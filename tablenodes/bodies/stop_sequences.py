"""Stop sequences that are written as one text, with commas between them."""

from __future__ import annotations

from typing import Any

import orjson

from ..templates.template import pieces_of

_COMMA = "\ufdd5"  # no character: a comma of the author's, outside of placeholders


def sequences(text: str) -> list[str] | str:
    """Return the texts of a JSON array of texts, else those between commas; a text without a comma as it is."""
    if text.lstrip().startswith("["):
        try:
            found = orjson.loads(text)
        except ValueError:
            found = None
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            return found
    return _parts(text, ",") if "," in text else text


def _parts(text: str, comma: str) -> list[str]:
    return [part.strip(" ") or part for part in text.split(comma) if part]


def separated(stop: Any) -> list[str] | None:
    """Return the sequences that the author of a text put commas between, cells not counted; None for anything else."""
    if not isinstance(stop, str) or "," not in stop or stop.lstrip().startswith("["):
        return None
    pieces = enumerate(pieces_of(stop))
    found = _parts("".join(piece if at % 2 else piece.replace(",", _COMMA) for at, piece in pieces), _COMMA)
    return found if len(found) > 1 else None
