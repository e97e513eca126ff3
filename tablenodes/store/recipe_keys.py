"""Which key the rows of a recipe are sent with: by a name that tells nothing of it, and is the same each time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson


@lru_cache(maxsize=256)
def key_of(recipe: str) -> str:
    """Return the name of all that is secret in a recipe's connection; empty where nothing is."""
    connection = orjson.loads(recipe).get("connection", {})
    names = sorted({*_names(connection)})
    if not names and not connection.get("is_keyed"):
        return ""
    # The same key has two names where one was given and one was found: whoever has the one may lack the other.
    what = [names, *(connection.get(name) for name in ("found_key", "api_key_env", "base_url"))]
    return hashlib.sha256(orjson.dumps(what)).hexdigest()[:16]


def _names(connection: dict[str, Any]) -> Iterator[str]:
    """Yield the names that stand for secrets."""
    if connection.get("found_key"):
        yield connection["found_key"]
    values = [connection.get("api_key"), connection.get("proxy")]
    for part in ("headers", "query"):
        values += (connection.get(part) or {}).values()
    yield from (value["variable"] for value in values if isinstance(value, dict))
