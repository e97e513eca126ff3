"""The price list: which rate card holds for a model of a provider, at a time and in a service tier.

The list in this folder is made of `genai-prices`, by ``python tests/prices.py``; where a newer version of that package
is installed, its prices are used.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from .rate_card import RateCard, Tiered, given_cards

_DATED = re.compile(r"(-)(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_FILE = Path(__file__).with_name("price_list.json")


class Provider(NamedTuple):
    """A provider: what its address looks like, which of the models are its own, and whose it offers besides."""

    id: str
    address: str
    named: Any
    others: tuple[str, ...]
    apart: bool
    models: Sequence[Mapping[str, Any]]


class Prices(NamedTuple):
    """The providers, in the order in which they are asked; where the prices are from, and of which day they are."""

    source: str
    date: str
    providers: tuple[Provider, ...]

    def provider(self, base_url: str | None, model: str) -> Provider | None:
        """Return the provider at an address; where there is none, the one whose model it is."""
        if base_url is not None:
            return next((each for each in self.providers if re.match(each.address, base_url)), None)
        return next((each for each in self.providers if each.named and matches(each.named, model)), None)

    def model(self, provider: Provider, name: str) -> tuple[Mapping[str, Any], bool, bool] | None:
        """Return a provider's model, whether it is its own, and whether reasoning is counted apart; None for none."""
        for each in dict.fromkeys((name.lower(), _DATED.sub(r"\1\2-\3-\4", name.lower()))):
            for owner in (provider, *(other for other in self.providers if other.id in provider.others)):
                for found in owner.models:
                    if found.get("id", "").lower() == each or matches(found.get("is", ()), each):
                        return found, owner is provider, provider.apart
        return None


def matches(clause: Any, name: str) -> bool:
    """Check whether a clause of the list names a model.

    A text is after ``=`` its name, ``^`` how it begins, ``$`` how it ends, ``*`` what it contains, ``/`` a pattern; a
    list is any of its clauses, ``{"all": […]}`` all of them.
    """
    if isinstance(clause, list | tuple):
        return any(matches(each, name) for each in clause)
    if isinstance(clause, dict):
        return all(matches(each, name) for each in clause["all"])
    kind, rest = clause[:1], clause[1:].lower()
    if kind == "/":
        return re.search(clause[1:], name) is not None
    if kind == "^":
        return name.startswith(rest)
    if kind == "$":
        return name.endswith(rest)
    return rest in name if kind == "*" else rest == name


@lru_cache(maxsize=1)
def listed_prices() -> Prices:
    """Return the list of the newer data: the package's own, or that of an installed `genai-prices`."""
    document = orjson.loads(_FILE.read_bytes())
    ours, installed = _version(document["source"]), _version(_installed())
    if ours < installed < (ours[0], ours[1] + 1):
        from .installed_prices import installed_prices  # noqa: PLC0415 - it takes a second to load

        document = installed_prices()
    providers = (
        Provider(
            each["id"], each["at"], each.get("is"), tuple(each.get("or", ())), each.get("apart", False), each["models"]
        )
        for each in document["providers"]
    )
    return Prices(document["source"], document["date"], tuple(providers))


def _installed() -> str:
    from importlib import metadata  # noqa: PLC0415 - loaded where there are prices

    try:
        return metadata.version("genai-prices")
    except metadata.PackageNotFoundError:
        return ""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


@dataclass(frozen=True)
class Pricing:
    """What the answers of one server cost: by the prices `given` for it, else by the price list.

    Without a `base_url` the provider is the one whose model it is.
    """

    base_url: str | None = None
    given: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @cached_property
    def _given(self) -> dict[str, RateCard]:
        return given_cards(self.given)

    @cached_property
    def _provider(self) -> Provider | None:
        return None if self.base_url is None else listed_prices().provider(self.base_url, "")

    @cached_property
    def _models(self) -> dict[str, tuple[Mapping[str, Any], bool, bool] | None]:
        return {}

    @cached_property
    def _found(self) -> dict[Any, RateCard | None]:
        return {}

    @property
    def is_known(self) -> bool:
        """Whether there are prices for this server."""
        return bool(self.given) or self.base_url is None or self._provider is not None

    def is_like(self, other: Pricing) -> bool:
        """Check whether the price list has the same prices for another server."""
        return self._provider == other._provider

    def names(self) -> list[str]:
        """Return the models that have a price at this server, as far as the lists name them."""
        owner = self._provider
        listed = [] if owner is None else [str(each["id"]) for each in owner.models if "id" in each]
        return [*self.given, *listed]

    def card(self, model: str | None, tier: str | None = None, created: float | None = None) -> RateCard | None:
        """Return the rate card of a model, in a service tier, for an answer of that time (by default now).

        Equal cards are one object; None where there is no price.
        """
        if not model:
            return None
        if model in self._given:
            return self._given[model]
        if not self.is_known:
            return None
        key = (model, tier, created)
        if key not in self._found:
            self._found[key] = self._listed(model, tier, time.time() if created is None else created)
        return self._found[key]

    def _listed(self, name: str, tier: str | None, at: float) -> RateCard | None:
        if name not in self._models:
            prices = listed_prices()
            provider = self._provider or prices.provider(self.base_url, name.lower())
            self._models[name] = None if provider is None else prices.model(provider, name)
        if (found := self._models[name]) is None:
            return None
        model, is_own, apart = found
        chosen = _chosen(model, tier if is_own else None, at)
        key = (id(model), *chosen)
        if key not in self._found:
            self._found[key] = _card(model, chosen, apart=apart)
        return self._found[key]


def _chosen(model: Mapping[str, Any], tier: str | None, at: float) -> tuple[int, ...]:
    """Return which of a model's prices hold at a time, and which of its variants, by their places."""
    at_all = [place for place, each in enumerate(model.get("prices", ())) if _holds(each, at)]
    held = (n for n, each in enumerate(model.get("tiers", ())) if each["tier"] == tier and _holds(each, at))
    return (at_all[-1] if at_all else 0, *held)


def _holds(price: Mapping[str, Any], at: float) -> bool:
    """Check whether a price holds at a time: from its first day on, in its hours of UTC."""
    day, now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)).split()
    begin, end = price.get("hours", ("00:00:00", "24:00:00"))
    in_hours = now >= begin or now < end if end < begin else begin <= now < end
    return bool(in_hours and day >= price.get("from", ""))


def _card(model: Mapping[str, Any], chosen: tuple[int, ...], *, apart: bool) -> RateCard:
    prices: dict[str, Any] = {}
    for place in chosen[1:]:
        prices = {**model["tiers"][place]["usd"], **prices}
    prices = {**model.get("prices", (model,))[chosen[0]]["usd"], **prices}
    return RateCard({name: _price(price) for name, price in prices.items()}, model.get("most"), apart)


def _price(price: Any) -> float | Tiered:
    if not isinstance(price, list):
        return float(price)
    return Tiered(float(price[0]), tuple((start, float(above)) for start, above in price[1:]))
