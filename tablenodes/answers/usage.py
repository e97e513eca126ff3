"""What an answer used: the tokens that the server counted, the model that it names, and what that costs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

import orjson

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
_TEXTS = ("model", "service_tier")
_READ = (*COUNTS, "total_tokens", "created", *_TEXTS)
_NOTHING = (None,) * len(_READ)
_MOST = 2**53
_AT_ONCE = 1000  # bodies that are read together
_NONE: dict[str, Any] = {}


def usage_columns(bodies: Iterable[str | None]) -> dict[str, list[Any]]:
    """Return what each body says that it used, as columns; null where it says nothing.

    They are the columns of `USAGE_TYPES` but the cost, and what a cost depends on besides.
    """
    made = no_usage()
    deque(documents_of(bodies, made), 0)
    return made


def no_usage() -> dict[str, list[Any]]:
    """Return the columns that `usage_columns` does, of no bodies."""
    return {name: [] for name in _READ}


def documents_of(bodies: Iterable[str | None], used: dict[str, list[Any]]) -> Iterator[Any]:
    """Yield the document that each body is, None of what cannot be read; what it used is added to the columns."""
    known: dict[Any, Any] = {}  # nearly all rows have the same: one object for each
    left = iter(bodies)
    is_more = True
    while is_more:
        is_more = False
        flat: list[Any] = []
        for body in islice(left, _AT_ONCE):
            try:
                document = orjson.loads(body)  # type: ignore[arg-type] # None is what it cannot read
            except ValueError:
                document = readable(body)
            is_more = True
            flat += said_of(document)
            yield document  # none is kept: the garbage collector would look through them again and again
        _add(flat, used, known)


def said_columns(said: Iterable[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Return the columns that `usage_columns` does, of what `said_of` returned of each body behind something else."""
    made = no_usage()
    _add([*chain.from_iterable(said)], made, {}, behind=1)
    return made


def _add(flat: Sequence[Any], used: dict[str, list[Any]], known: dict[Any, Any], behind: int = 0) -> None:
    """Add what bodies say, one after another, each behind so many other values, to the columns."""
    wide = behind + len(_READ)
    for at, name in enumerate(_READ, behind):
        used[name].extend(_checked(flat[at::wide], str if name in _TEXTS else int, known))


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


def _checked(values: Sequence[Any], of: type, known: dict[Any, Any]) -> Iterable[Any]:
    """Return values with None for those that are none of a type, and with those that are `known` for their equals."""
    types = {*map(type, values)}
    if types == {type(None)}:
        return values
    if types != {of}:
        values = [value if type(value) is of else None for value in values]
    found = {*values}
    found.discard(None)
    if of is int and (min(found, default=0) < 0 or max(found, default=0) >= _MOST):
        values = [None if value is None or not 0 <= value < _MOST else value for value in values]
    elif len(found) == 1 and types == {of}:
        return repeat(known.setdefault(values[0], values[0]), len(values))
    return map(known.setdefault, values, values)


def said_of(document: Any) -> tuple[Any, ...]:
    """Return what a body says that it used, in the order of `_READ`, whatever it is."""
    if type(document) is not dict:
        return _NOTHING
    found = document.get
    usage = found("usage")
    if type(usage) is not dict:
        usage = _NONE
    elif "input_tokens" in usage:
        usage = counted(usage)
    said = usage.get
    cached = new = heard = reasoning = spoken = None
    if type(read := said("prompt_tokens_details")) is dict:
        cached, new, heard = read.get("cached_tokens"), read.get("cache_write_tokens"), read.get("audio_tokens")
    if type(wrote := said("completion_tokens_details")) is dict:
        reasoning, spoken = wrote.get("reasoning_tokens"), wrote.get("audio_tokens")
    if cached is None:
        cached = said("cached_tokens", said("prompt_cache_hit_tokens"))
    if reasoning is None:
        reasoning = said("reasoning_tokens")
    prompt, completion, total = said("prompt_tokens"), said("completion_tokens"), said("total_tokens")
    created, tier = found("created", found("created_at")), found("service_tier", said("service_tier"))
    return prompt, cached, new, heard, completion, reasoning, spoken, total, created, found("model"), tier
