"""Rate cards: what one model's tokens cost, and what answers cost by them, whole columns at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import ConnectionSettingError, nearest

_MILLION = 1e6
_THOUSAND = 1e3
_MOST_USD = 1e9  # for a million tokens; nothing costs more
_OF_INPUT = {"cached": "cached_tokens", "written": "written_tokens", "audio": "audio_tokens"}
_OF_OUTPUT = {"reasoning": "reasoning_tokens", "spoken": "spoken_tokens"}
COUNTS = ("prompt_tokens", *_OF_INPUT.values(), "completion_tokens", *_OF_OUTPUT.values())
"""The counts of tokens that a cost is made of. The prompt's tokens have those that were read from a cache, written to
one, or are audio among them; the completion's those of reasoning, and those that are audio."""
GIVEN = {"input": "input", "cached_input": "cached", "output": "output"}
"""The names of prices that a user gives, in USD per million tokens, and what they are on a rate card."""


class Tiered(NamedTuple):
    """A price that depends on the tokens of the prompt: `steps` are (more than so many, price), the least first."""

    base: float
    steps: tuple[tuple[int, float], ...]

    def highest(self, prompt_tokens: float) -> float:
        """Return the highest price of a prompt that has so many tokens at the most."""
        return max(self.base, *(price for start, price in self.steps if prompt_tokens > start), 0.0)

    def of(self, prompt_tokens: Any) -> Any:
        """Return the price by row."""
        import numpy  # noqa: PLC0415 - loaded where there are columns

        found = numpy.full(len(prompt_tokens), self.base)
        for start, price in self.steps:
            found[prompt_tokens > start] = price
        return found


class RateCard(NamedTuple):
    """What a model costs at a time, in USD: prices of a million tokens by what they are, and of a thousand requests.

    What has no price of its own costs what it is a part of. `context` is how many tokens the model takes at the most,
    `apart` whether its server counts the tokens of reasoning beside those of the completion.
    """

    prices: Mapping[str, float | Tiered]
    context: int | None = None
    apart: bool = False

    def costs(self, counts: Mapping[str, Any]) -> Any:
        """Return what rows cost, of their counts as columns; NaN where that is not known."""
        import numpy  # noqa: PLC0415 - loaded where there are columns

        prompt, completion = counts["prompt_tokens"], numpy.nan_to_num(counts["completion_tokens"])
        if self.apart:
            completion = completion + numpy.nan_to_num(counts["reasoning_tokens"])
        total = numpy.where(numpy.isnan(prompt), numpy.nan, self._price("requests") / _THOUSAND)
        for whole, amount, parts in (("input", prompt, _OF_INPUT), ("output", completion, _OF_OUTPUT)):
            left = amount
            for part, column in parts.items():
                if part in self.prices:
                    count = numpy.nan_to_num(counts[column])
                    left = left - count
                    total = total + count * self._of(part, prompt) / _MILLION
            if whole in self.prices:
                total = total + numpy.where(left < 0, numpy.nan, left) * self._of(whole, prompt) / _MILLION
        if "audio" in self.prices and "cached" in self.prices:  # nobody says how much of the audio was cached
            both = (numpy.nan_to_num(counts["audio_tokens"]) > 0) & (numpy.nan_to_num(counts["cached_tokens"]) > 0)
            total[both] = numpy.nan
        return total

    def most(self, input_tokens: float, output_tokens: float) -> float:
        """Return what a request costs at the most that has so many tokens."""
        into = max(self._price(name, input_tokens) for name in ("input", "written", "audio") if self._counts(name))
        out = max(self._price(name, input_tokens) for name in ("output", *_OF_OUTPUT) if self._counts(name))
        return (input_tokens * into + output_tokens * out) / _MILLION + self._price("requests") / _THOUSAND

    def _counts(self, name: str) -> bool:
        return name in self.prices or name in ("input", "output")

    def _price(self, name: str, prompt_tokens: float = 0.0) -> float:
        price = self.prices.get(name, 0.0)
        return price.highest(prompt_tokens) if isinstance(price, Tiered) else price

    def _of(self, name: str, prompt_tokens: Any) -> Any:
        price = self.prices.get(name, 0.0)
        return price.of(prompt_tokens) if isinstance(price, Tiered) else price


def given_cards(prices: Any) -> dict[str, RateCard]:
    """Return the rate cards by model that a user gives: ``{"my-model": {"input": 0.15, "output": 0.60}}``.

    Raises `ConnectionSettingError` for what is none.
    """
    if not isinstance(prices, Mapping):
        raise ConnectionSettingError(f"prices must be a mapping of models to prices, not {type(prices).__name__}")
    return {_model(model): RateCard(_prices(model, each)) for model, each in prices.items()}


def _model(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ConnectionSettingError("prices: a model's name must be a text", place="prices")
    return name


def _prices(model: str, given: Any) -> dict[str, float | Tiered]:
    like = '{"input": 0.15, "cached_input": 0.075, "output": 0.60}, in USD per million tokens'
    if not isinstance(given, Mapping) or not {"input", "output"} <= given.keys():
        raise ConnectionSettingError(f"prices of {model}: write them as {like}", place="prices")
    for name, price in given.items():
        if name not in GIVEN:
            hint = nearest(name, GIVEN) if isinstance(name, str) else ""
            raise ConnectionSettingError(f"prices of {model}: no price {str(name)[:40]!r}{hint}", place="prices")
        fits = isinstance(price, int | float) and not isinstance(price, bool) and 0 <= price <= _MOST_USD
        if not fits:
            raise ConnectionSettingError(f"prices of {model}: {name} must be a number of USD from 0", place="prices")
    return {GIVEN[name]: float(price) for name, price in given.items()}
