"""API documents in YAML, which may be long: read by a fast parser, or carefully where parts of them are repeated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..documents.yaml_reader import MOST_BYTES as MOST_CAREFULLY
from ..documents.yaml_reader import parse, text_of
from ..errors import SchemaError, WorkflowError

_MOST_BYTES = 64 * 2**20
_ANCHOR = re.compile(r"(?:^|[:\-?\[{,]|!\S*)[ \t]*&\S", re.MULTILINE)
"""What a part of a document is named by that may be repeated: the fast parser would write out all of it."""
_KEYS = {True: "true", False: "false", None: "null"}


def read(path: Path) -> Any:
    """Return what is in a YAML file, as plain values whose keys are texts; raise `SchemaError` where it is none."""
    try:
        text = text_of(path, path.name, _MOST_BYTES)
        if _ANCHOR.search(text) is None and (found := _read_fast(text)) is not None:
            return found
        if len(text) > MOST_CAREFULLY:
            how = "of more than 1 MiB must have no anchors (&name) and no mistakes; write it as JSON"
            raise SchemaError(f"{path.name}: an API document in YAML {how}")
        return parse(text, path.name).value
    except WorkflowError as error:
        raise SchemaError(str(error)) from None


def _read_fast(text: str) -> Any:
    """Return what is in a text; None where something is wrong with it, for others say better what."""
    import yaml12  # noqa: PLC0415 - loaded where it is used

    try:
        return _plain(yaml12.parse_yaml(text))
    except (ValueError, TypeError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    if type(value) is dict:
        return {key if type(key) is str else _text(key): _plain(each) for key, each in value.items()}
    if type(value) is list:
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError


def _text(key: Any) -> str:
    """Return a key as text: ``200`` of the answers of an operation, for example."""
    if key is None or isinstance(key, bool):
        return _KEYS[key]
    if isinstance(key, int | float):
        return str(key)
    raise TypeError
