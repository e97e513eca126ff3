"""Settings given as texts, typed by the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from .. import schemas
from ..errors import SettingError
from ..nodes.node import check_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..nodes import Node


def typed(kind: type[Node], given: Mapping[str, str]) -> dict[str, Any]:
    """Give a node's settings from texts.

    A text that looks like a JSON array or object is read as one where the schema admits one. Any other text stays as it
    is: where no text is admitted, it is typed when a body is built, placeholders filled in.

    Parameters
    ----------
    kind : type of Node
        The node.
    given : mapping of str to str
        The texts by the settings' names.

    Raises
    ------
    SettingError
        If there is no such setting, or it must be JSON and is not.
    SchemaError
        If the schema that is named cannot be used.
    """
    check_names(kind, given)
    if not kind._declared.operation:
        return dict(given)
    schema = schemas.load(given.get("schema", schemas.DEFAULT_REVISION), kind._declared.operation)
    made: dict[str, Any] = {}
    for name, text in given.items():
        if name == "columns":
            made[name] = _columns(text)
        elif name == "extra_body":
            made[name] = _json(name, text)
        elif name == "schema" or (kind._declared.shortcuts and name in ("prompt", "system")):
            made[name] = text
        else:
            made[name] = _typed(name, text, schema.admits((name,)))
    return made


def _typed(name: str, text: str, admitted: frozenset[str]) -> Any:
    start = text.lstrip()[:2]
    looks = "array" if start[:1] == "[" else "object" if start[:1] == "{" and start != "{{" else ""
    if looks not in admitted:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text if "string" in admitted else _json(name, text)


def _json(name: str, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise SettingError(f"{name}: is not JSON, at character {error.pos + 1}: {error.msg}"[:200]) from None


def _columns(text: str) -> Any:
    """Give names: ``auto``, a JSON list, or names with commas between."""
    if text.lstrip().startswith("["):
        return _json("columns", text)
    return text if text == "auto" else [name.strip() for name in text.split(",") if name.strip()]
