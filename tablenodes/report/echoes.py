"""What a server may repeat of the rows that failed, and its words without that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import orjson

from ..engine.sink import NOT_SENT, UNUSABLE
from ..run.failures import Failed
from ..run.panels import given_cells
from .veil import Asked, veiled

_NAMES = ("model", "role", "type", "required", "reasoning_effort", "service_tier", "verbosity")
"""Properties whose texts are names; those of columns are cells, which are looked at too."""


def veils_of(output: Any, found: Sequence[Failed]) -> Iterator[Callable[[str], str]]:
    """Yield for each kind of failure what returns a text without what the first of its rows asked.

    Where nobody knows that, nothing but ordinary words is left of what a server says.
    """
    places = [output._place_of(each.row) for each in found]
    rows = [place for place in places if place is not None]
    known = dict(zip(rows, zip(_bodies_of(output, rows), _cells_of(output, rows), strict=True), strict=True))
    prompts = _prompts_of(output)
    for each, place in zip(found, places, strict=True):
        body, own = (None, []) if place is None else known[place]
        is_of_server = each.status is not None or each.outcome in (UNUSABLE, NOT_SENT)
        is_known = each.outcome != NOT_SENT and body is not None
        sent = _texts(orjson.loads(body)) if is_known and body is not None else ()
        asked = Asked((*prompts, *sent), own) if is_known or (place is not None and not is_of_server) else None
        yield lambda text, asked=asked: veiled(text, asked)  # type: ignore[misc] # mypy infers no default's type


def _bodies_of(output: Any, rows: Sequence[int]) -> Sequence[bytes | None]:
    if rows and output._requested is not None:
        with suppress(Exception):  # what it was made of may be gone by now: a file, a store
            made: Sequence[bytes | None] = output._requested.bodies(rows)
            return made
    return [None] * len(rows)


def _cells_of(output: Any, rows: Sequence[int]) -> list[list[str]]:
    columns = [*given_cells(output._view, rows, output._view.columns)] if rows else []
    return [[str(column[at]) for column in columns if column[at] is not None] for at in range(len(rows))]


def _prompts_of(output: Any) -> list[str]:
    provenance = output._provenance
    return [each.text for each in (provenance.settings.get("Node", ()) if provenance is not None else ()) if each.text]


def _texts(body: Any) -> Iterator[str]:
    """Yield the texts of a body."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, dict):
        for name, value in body.items():
            yield from () if name in _NAMES else _texts(value)
    elif isinstance(body, list):
        for value in body:
            yield from _texts(value)
    elif isinstance(body, int | float) and not isinstance(body, bool):
        yield str(body)
