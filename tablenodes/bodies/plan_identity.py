"""What decides bodies besides the cells of their rows: where it is equal, equal cells make equal bodies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from .._version import __version__
from ..templates.template import Column, LiteralText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .recipe import Recipe

_AS_THEY_ARE = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


def identity_of(recipe: Recipe, table: Sequence[str], *others: Any) -> bytes | None:
    """Return the digest of a recipe, of the table's columns and of what else matters; None where it has no JSON.

    It holds for this version of the package alone.
    """
    own = [recipe.settings, recipe.columns, recipe.shortcuts, recipe.extra_body, recipe.answer, recipe.holds_requests]
    try:
        whole = orjson.dumps([__version__, own, table, others], default=_plain, option=_AS_THEY_ARE)
    except TypeError:
        return None
    return hashlib.sha256(whole).digest()


def _plain(value: Any) -> Any:
    """Return a value as plain JSON that no plain value is."""
    if isinstance(value, Column | LiteralText):
        return {"": type(value).__name__, "is": repr(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError
