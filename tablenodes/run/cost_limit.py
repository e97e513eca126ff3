"""The limit of what a run may cost: what its requests cost at the most, its answers did, and the journal's have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from ..answers import Pricing, answer_limit, answers_asked, costs, limit_names, prompt_bound, usage_columns
from ..engine.calls import model_of
from ..engine.scheduling.budget import Budget
from ..errors import SettingError

if TYPE_CHECKING:
    from ..engine.calls import Answer
    from ..engine.journal import Journal
    from ..engine.outcomes.judge import Verdict

_CONTEXT = 131_072  # tokens that a model of which nothing is known takes at the most
_AT_A_TIME = 1024  # answers of a journal that are in memory together


class CostLimit:
    """What requests and answers of a server cost, where they ask some `models`.

    `is_wide`: a request did not say how long its answer, which costs something, may be.
    """

    def __init__(self, pricing: Pricing, models: Iterable[str | None]) -> None:
        self._pricing, self._models = pricing, [*dict.fromkeys(filter(None, models))]
        self.is_wide = False

    def budget(self, limit: float, journal: Journal | None) -> Budget:
        """Return the budget of a run; what the journal's earlier runs have spent counts too."""
        return Budget(limit, self.most, self.charged, 0.0 if journal is None else self.spent(journal))

    def noted(self, budget: Budget, path: str) -> Iterator[str]:
        """Yield how more of the requests to a path can be sent at a time, where their limit kept them waiting."""
        if budget.was_short and self.is_wide:
            yield (
                "max_cost kept requests waiting: each counts as if its answer were as long as the model allows; "
                f"set {limit_names(path)[-1]}, so that more are sent at a time"
            )

    def most(self, data: bytes) -> float:
        """Return what a request costs at the most: by the bytes of its body, and the tokens that it may be answered."""
        body = orjson.loads(data)
        tier = body.get("service_tier")
        card = self._pricing.card(str(body.get("model")), tier if isinstance(tier, str) else None)
        if card is None:  # no row asks such a model: see `refuse_unpriced`
            return 0.0
        limit = answer_limit(body)
        self.is_wide = self.is_wide or (limit is None and card.most(0, 1) > 0)
        most = (card.context or _CONTEXT) if limit is None else limit
        return card.most(prompt_bound(body, len(data)), answers_asked(body) * most)

    def charged(self, answer: Answer, verdict: Verdict, asked: bytes) -> float | None:
        """Return what an answer costs; None where it is lost, or does not say. An error of the server costs nothing."""
        if answer.status is None:
            return None if verdict.may_have_run else 0.0
        if not 200 <= answer.status < 300:
            return 0.0
        body = answer.body if verdict.body is None else verdict.body
        return costs(_used([body]), self._pricing, lambda: [model_of(asked)])[0]

    def spent(self, journal: Journal, dearest_call: float = 0.0) -> float:
        """Return what a journal's runs have spent; a send whose answer was lost counts as the dearest one.

        Where an answer names no model that has a price, it is taken for that of the dearest one.
        """
        cards = ((name, self._pricing.card(name)) for name in self._models)
        by_price = sorted((card.most(1, 1), name) for name, card in cards if card is not None)
        dearest = by_price[-1][1] if by_price else None
        spent, most, lost, rows = 0.0, dearest_call, 0, iter(journal)
        while entries := [*islice(rows, _AT_A_TIME)]:
            lost += sum(entry.last is None or entry.billed for entry in entries)
            answers = [entry.last.body for entry in entries if entry.last is not None and entry.last.status == 200]
            known = [cost for cost in self._costs(answers, dearest) if cost is not None]
            spent, most = spent + sum(known), max(most, *known, 0.0)
        return spent + lost * most

    def _costs(self, answers: list[bytes], model: str | None) -> Iterable[float | None]:
        return costs(_used(answers), self._pricing, lambda: [model] * len(answers))


def _used(answers: Iterable[bytes]) -> Any:
    return usage_columns([body.decode("utf-8", "replace") for body in answers])


def refuse_later() -> None:
    """Raise `SettingError` where a worker sends the requests of a run whose cost is limited."""
    raise SettingError(
        "max_cost: a worker sends the requests of this node, and counts no money: use max_requests or token_budget",
        code="later",
        place="max_cost",
    )


def refuse_unpriced(models: Iterable[str | None], pricing: Pricing) -> None:
    """Raise `SettingError` for a model without a price, where the run's cost is limited."""
    for model in dict.fromkeys(models):
        if model is not None and pricing.card(model) is None:
            raise SettingError(
                f"max_cost: no price is known for {model} at this server: give prices= to the connection, or leave "
                "max_cost out; nothing was sent",
                code="no_price",
                place="max_cost",
                values={"model": model},
            )
