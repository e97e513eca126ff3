"""The prices of the installed package `genai-prices`, as a price list's document."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

_NAMES = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "written",
    "input_audio_mtok": "audio",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "spoken",
    "requests_kcount": "requests",
}
"""The prices that an answer's own counts are multiplied with, and what we call them."""
_SIGNS = {"starts_with": "^", "ends_with": "$", "contains": "*", "regex": "/", "equals": "="}
_CONTEXTS = ({"service_tier"}, {"processing"})


def installed_prices() -> dict[str, Any]:
    """Return what the installed package knows: what a chat's answers are priced by, and nothing else."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - it is an extra

    providers = [each for each in map(_provider, get_snapshot().providers) if each["models"]]
    today = time.strftime("%Y-%m-%d", time.gmtime())
    days = (
        price["from"]
        for provider in providers
        for model in provider["models"]
        for price in (*model.get("prices", ()), *model.get("tiers", ()))
        if "from" in price
    )
    return {
        "source": f"genai-prices {metadata.version('genai-prices')}",
        "license": "MIT, Copyright (c) Pydantic Services Inc. 2025 to present",
        "date": max((day for day in days if day <= today), default=today),
        "providers": providers,
    }


def _provider(provider: Any) -> dict[str, Any]:
    made = {"id": provider.id, "at": provider.api_pattern}
    if provider.model_match is not None:
        made["is"] = _clause(provider.model_match)
    if provider.fallback_model_providers:
        made["or"] = provider.fallback_model_providers
    if _counts_apart(provider):
        made["apart"] = True
    return made | {"models": [each for each in map(_model, provider.models) if each.get("prices", True)]}


def _counts_apart(provider: Any) -> bool:
    """Check whether the tokens of reasoning are counted beside those of the completion, in a chat's answers."""
    by_flavor = {each.api_flavor: each for each in provider.extractors or ()}
    extractor = by_flavor.get("chat") or by_flavor.get("default")
    if extractor is None:
        return False
    paths = (each.path for each in extractor.mappings if each.dest == "output_tokens")
    return any("reasoning_tokens" in path for path in paths)


def _model(model: Any) -> dict[str, Any]:
    """Return a model, and its prices: in its own ``usd`` where there are no others at another time."""
    made: dict[str, Any] = {"id": model.id} if model.is_match(model.id) else {}
    clause = _clause(model.match)
    if others := [each for each in (clause if isinstance(clause, list) else [clause]) if each != f"={model.id}"]:
        made["is"] = others
    if model.context_window:
        made["most"] = model.context_window
    listed = model.prices if isinstance(model.prices, list) else [model]
    prices = [_priced(each) for each in listed if _NAMES.keys() & vars(each.prices) or not vars(each.prices)]
    made |= prices[0] if len(prices) == 1 else {"prices": prices}
    if tiers := [*_variants(model.price_variants or ())]:
        made["tiers"] = tiers
    return made


def _variants(variants: Any) -> Iterator[dict[str, Any]]:
    for each in variants:
        priced = _priced(each)
        if set(each.when) in _CONTEXTS and priced["usd"]:
            yield {"tier": next(iter(each.when.values())), **priced}


def _priced(each: Any) -> dict[str, Any]:
    """Return prices, and from which day or in which hours they hold."""
    made: dict[str, Any] = {}
    constraint = getattr(each, "constraint", None)
    if (day := getattr(constraint, "start_date", None)) is not None:
        made["from"] = day.isoformat()
    elif constraint is not None:
        made["hours"] = [_utc(constraint.start_time), _utc(constraint.end_time)]
    found: Mapping[str, Any] = vars(each.prices)
    return made | {"usd": {_NAMES[name]: _number(found[name]) for name in _NAMES if found.get(name) is not None}}


def _utc(moment: Any) -> str:
    from genai_prices.types import _utc_timetz  # noqa: PLC0415

    return str(_utc_timetz(moment).strftime("%H:%M:%S"))


def _number(price: Any) -> Any:
    if hasattr(price, "tiers"):
        return [_number(price.base), *([each.start, _number(each.price)] for each in price.tiers)]
    number = float(price)
    return int(number) if number.is_integer() else number


def _clause(clause: Any) -> Any:
    (name, value), *_ = vars(clause).items()
    if name == "or_":
        return [*map(_clause, value)]
    if name == "and_":
        return {"all": [*map(_clause, value)]}
    return f"{_SIGNS[name]}{value}"
