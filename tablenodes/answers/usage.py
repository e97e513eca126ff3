"""What an answer used: the tokens that the server counted, the model that it names, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..engine.outcomes.answer_json import readable
from ..engine.outcomes.response_objects import counted
from .answer_schema import FieldType
from .rate_card import COUNTS

if TYPE_CHECKING:
    from .price_list import Pricing
    from .rate_card import RateCard

_INTEGER = FieldType("integer", nullable=True)
_COUNTED = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "total_tokens")
USAGE_TYPES = {
    **dict.fromkeys(_COUNTED, _INTEGER),
    "model": FieldType("text", nullable=True),
    "cost": FieldType("number", nullable=True),
}
"""The columns of what answers used, with their types."""
_READ = (*COUNTS, "total_tokens", "created", "model", "service_tier")
_MOST = 2**53
_AT_ONCE = 1000  # bodies that are read together
_NONE: dict[str, Any] = {}


def usage_columns(bodies: Iterable[str | None]) -> dict[str, list[Any]]:
    """Return what each body says that it used, as columns; null where it says nothing.

    They are the columns of `USAGE_TYPES` but the cost, and what a cost depends on besides.
    """
    made: dict[str, list[Any]] = {name: [] for name in _READ}
    known: dict[Any, Any] = {}  # nearly all rows have the same: one object for each
    left = iter(bodies)
    while used := [*map(_used, islice(left, _AT_ONCE))]:
        for column, values in zip(made.values(), zip(*used, strict=True), strict=True):
            column.extend(map(known.setdefault, values, values))
    return made


def costs(
    columns: Mapping[str, Sequence[Any]], pricing: Pricing, models: Callable[[], Sequence[str | None]] | None = None
) -> list[float | None]:
    """Return what each answer costs in USD; null without a price for its model, or without tokens.

    `models` returns the models that were asked for, which count where the answers name none that has a price.
    """
    import numpy  # noqa: PLC0415 - loaded where there are columns

    asked = [*zip(columns["model"], columns["service_tier"], columns["created"], strict=True)]
    found = {each: pricing.card(*each) for each in set(asked)}
    cards = [found[each] for each in asked]
    if models is not None and any(map(_lacks_a_card, cards, columns["prompt_tokens"])):
        cards = [pricing.card(model) if card is None else card for card, model in zip(cards, models(), strict=True)]
    by_card: dict[int, tuple[RateCard, list[int]]] = {}
    for row, card in enumerate(cards):
        if card is not None:
            by_card.setdefault(id(card), (card, []))[1].append(row)
    counts = {name: numpy.array(columns[name], dtype=float) for name in COUNTS}
    made = numpy.full(len(cards), numpy.nan)
    for card, rows_of in by_card.values():
        made[rows_of] = card.costs({name: values[rows_of] for name, values in counts.items()})
    return [None if math.isnan(cost) else cost for cost in made.tolist()]


def _lacks_a_card(card: RateCard | None, tokens: int | None) -> bool:
    return card is None and tokens is not None


def _used(body: str | None) -> tuple[Any, ...]:
    """Return what a body says, in the order of `_READ`."""
    found = readable(body)
    if type(found) is not dict:
        found = _NONE
    usage = found.get("usage")
    if type(usage) is not dict:
        usage = _NONE
    if "input_tokens" in usage:
        usage = counted(usage)
    read, wrote = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    if type(read) is not dict:
        read = _NONE
    if type(wrote) is not dict:
        wrote = _NONE
    cached, reasoning = read.get("cached_tokens"), wrote.get("reasoning_tokens")
    if cached is None:
        cached = usage.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
    if reasoning is None:
        reasoning = usage.get("reasoning_tokens")
    model, tier = found.get("model"), found.get("service_tier", usage.get("service_tier"))
    counts = (
        usage.get("prompt_tokens"),
        cached,
        read.get("cache_write_tokens"),
        read.get("audio_tokens"),
        usage.get("completion_tokens"),
        reasoning,
        wrote.get("audio_tokens"),
        usage.get("total_tokens"),
        found.get("created", found.get("created_at")),
    )
    # One comparison after the other in place: a call for each takes as long as to parse the body.
    checked = [value if type(value) is int and 0 <= value < _MOST else None for value in counts]
    return *checked, model if type(model) is str else None, tier if type(tier) is str else None
