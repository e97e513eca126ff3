"""The texts of ``--answer`` on a command line, as a value of the grammar."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import SettingError
from .answer_grammar import WORDS

_FIELD = re.compile(r"\s*([^=,@\[\]{}]+?)\s*=(.*)", re.DOTALL)
_WHOLE_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?")

OPTION = "--answer"


def read_answer_texts(texts: Sequence[str], read_yaml: Callable[[str], Any]) -> Any:
    """Return what the texts of ``--answer`` say, as a value for `read_answer`.

    One text is the whole answer: ``yes,no``, ``bool``, ``@schema.json``. Texts such as ``stars=int`` are its fields.

    Parameters
    ----------
    texts : sequence of str
        The option's texts, in their order.
    read_yaml : callable
        Reads a text that begins with ``[`` or ``{``.

    Raises
    ------
    SettingError
        If the texts do not go together.
    """
    found = [_FIELD.fullmatch(text) for text in texts]
    if not any(found):
        if len(texts) > 1:
            raise _wrong(f"{OPTION} is given {len(texts)} times; give each field a name: {OPTION} stars=int")
        return _value(texts[0], read_yaml)
    made: dict[str, Any] = {}
    for text, field in zip(texts, found, strict=True):
        if field is None:
            raise _wrong(
                f"{OPTION} {text[:40]!r}: has no name beside answers that have; write {OPTION} NAME={text[:40]}"
            )
        name, value = field[1], field[2]
        if name in made:
            raise _wrong(f"{OPTION}: the field {name[:40]!r} is given twice")
        made[name] = _value(value, read_yaml)
    return made


def _value(text: str, read_yaml: Callable[[str], Any]) -> Any:
    """Return what one text stands for."""
    text = text.strip()
    if text.startswith(("[", "{")):
        return read_yaml(text)
    if text.startswith("@") or text in WORDS or "," not in text:
        return text
    labels = [each.strip() for each in text.split(",")]
    if "" in labels:
        raise _wrong(f"{OPTION}: a label is empty in {text[:60]!r}; write labels as yes,no")
    if all(_WHOLE_NUMBER.fullmatch(each) for each in labels):
        return [int(each) for each in labels]
    return [float(each) for each in labels] if all(_NUMBER.fullmatch(each) for each in labels) else labels


def _wrong(message: str) -> SettingError:
    return SettingError(message, code="answer", place="answer")
