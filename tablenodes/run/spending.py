"""What a run's answers used and cost: read from their bodies, once and only when somebody asks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, compress
from operator import not_
from typing import TYPE_CHECKING, Any

from .. import addresses
from ..answers import Pricing, costs, usage_columns
from ..connection.endpoint import base_url_of
from ..notices import VOICE, money
from ..problems import Remark
from .second_run import spliced

if TYPE_CHECKING:
    from ..connection.connection import Connection
    from ..engine.packed_columns import Column
    from ..engine.sink import Records

_CACHED = re.compile(r'cache[a-z_]*"\s*:\s*[1-9]')  # as all counts of tokens are called that were read from a cache
_LOOKED_AT = 100
Models = Callable[[], Sequence[str | None]]
Replaced = tuple[bytes, str, int]
"""A paid answer that another one took the place of: its body, the model that was asked, and the call's key."""


def pricing_of(connection: Connection, base_url: str) -> Pricing:
    """Return what answers of a server cost; on this machine, or of servers that differ, only what the user says."""
    prices = connection.prices or {}
    here = Pricing("" if connection.local_model is not None else _priced_at(base_url), prices)
    others = (base_url_of(replace(connection, base_url=each)) for each in connection.base_urls[1:])
    return here if all(here.is_like(Pricing(_priced_at(each), prices)) for each in others) else Pricing("", prices)


def _priced_at(base_url: str) -> str:
    """Return the address by which a server's prices are found; on this machine there are none."""
    return "" if addresses.is_loopback(addresses.origin(base_url)[1]) else base_url


@dataclass(frozen=True)
class Spent:
    """What this run spent, in USD; None where nobody knows.

    `rows` are those whose answers have tokens, `unpriced` are those of them that have no price, by model. `cached` are
    the tokens of prompts that the server read from its cache.
    """

    cost: float | None = None
    rows: int = 0
    unpriced: tuple[tuple[str, int], ...] = ()
    cached: int = 0

    def __str__(self) -> str:
        without = sum(count for _, count in self.unpriced)
        if self.cost is None:
            names = ", ".join(name for name, _ in self.unpriced[:3])
            told = f"unknown: no price for {names}; set prices in the connection"
            return str(VOICE.get()(Remark(told, code="unpriced", values={"what": "unknown", "names": names})))
        left = f" ({without:,} of {self.rows:,} rows without a price)" if without else ""
        return f"{money(self.cost)}{left}"

    def __add__(self, other: Spent) -> Spent:
        """Return what two runs spent together."""
        known = [each.cost for each in (self, other) if each.cost is not None]
        unpriced = Counter(dict(self.unpriced)) + Counter(dict(other.unpriced))
        cost, rows, cached = sum(known) if known else None, self.rows + other.rows, self.cached + other.cached
        return Spent(cost, rows, tuple(unpriced.most_common()), cached)


class Spending:
    """What the answers of a run used and cost, by row; `models` returns the models that were asked.

    `replaced` are answers that were paid for and that another one took the place of; `used` is what the bodies say that
    they used, where they have been read.
    """

    def __init__(
        self,
        bodies: Sequence[str | None],
        reused: Sequence[bool],
        pricing: Pricing,
        models: Models | None = None,
        replaced: Sequence[Replaced] = (),
        used: dict[str, list[Any]] | None = None,
    ) -> None:
        self._bodies, self._reused, self._pricing, self._models = bodies, reused, pricing, models
        self._replaced, self._used = replaced, used

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_models": None, "columns": self.columns, "cost": self.cost}

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """What each answer used."""
        return usage_columns(self._bodies) if self._used is None else self._used

    @cached_property
    def cost(self) -> list[float | None]:
        """What each answer costs in USD; None where that is not known."""
        if not self._pricing.is_known:
            return [None] * len(self._bodies)
        return costs(self.columns, self._pricing, self._models)

    @cached_property
    def replaced(self) -> dict[str, list[Any]]:
        """What the answers used that another one took the place of."""
        return usage_columns(body.decode("utf-8", "replace") for body, _, _ in self._replaced)

    @cached_property
    def spent(self) -> Spent | None:
        """What this run spent, the answers of earlier runs left out; None where nothing is priced at the server."""
        cached = self._cached
        if not self._pricing.is_known:
            return Spent(cached=cached) if cached else None
        ends = zip(self.columns["prompt_tokens"], self.columns["model"], self.cost, self._reused, strict=True)
        rows = [(model, cost) for tokens, model, cost, reused in ends if tokens is not None and not reused]
        if self._replaced:
            again = costs(self.replaced, self._pricing, lambda: [model for _, model, _ in self._replaced])
            rows += zip(self.replaced["model"], again, strict=True)
        known = [cost for _, cost in rows if cost is not None]
        unpriced = Counter(model or "a model without a name" for model, cost in rows if cost is None)
        total = sum(known) if known or not rows else None
        return Spent(total, len(rows), tuple(unpriced.most_common()), cached)

    @property
    def _cached(self) -> int:
        """The tokens of prompts that were read from a cache, in this run; bodies are read only where they may tell."""
        may_tell = self._used is not None or self._pricing.is_known
        if not may_tell and not any(map(_CACHED.search, filter(None, self._bodies[:_LOOKED_AT]))):
            return 0
        ends = zip(self.columns["cached_tokens"], self._reused, strict=True)
        own = (tokens for tokens, reused in ends if not reused)
        return sum(filter(None, chain(own, self.replaced["cached_tokens"])))


class SpendingOfBoth(Spending):
    """What the answers of a run used and cost, with those of a second run in their places; both runs have spent."""

    def __init__(self, first: Spending, second: Spending, places: Sequence[int]) -> None:
        self._both = first, second, places

    def __getstate__(self) -> dict[str, Any]:
        return {"columns": self.columns, "cost": self.cost, "spent": self.spent}

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """What each row's last answer used."""
        first, second, places = self._both
        return {name: [*spliced(values, second.columns[name], places)] for name, values in first.columns.items()}

    @cached_property
    def cost(self) -> list[float | None]:
        """What each row's last answer costs."""
        first, second, places = self._both
        return [*spliced(first.cost, second.cost, places)]

    @cached_property
    def spent(self) -> Spent | None:
        """What both runs spent."""
        first, second = (each.spent for each in self._both[:2])
        return first + second if first is not None and second is not None else first or second


def spent_in(tokens: Column, records: Records, replaced: list[int | None]) -> int:
    """Return the tokens of this run; those of reused answers were spent in another."""
    own = compress(tokens, map(not_, records.reused)) if records.recalled else (tokens.total,)
    return sum(filter(None, chain(own, replaced)))
