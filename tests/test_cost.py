"""What answers cost: rate cards multiplied over columns, and null where no price is known."""

from __future__ import annotations

import dataclasses
import json
import pickle
import sys
from datetime import date, time
from decimal import Decimal
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from prices import CASES, COUNTS, LIST
from sentences import wording
from servers import fault_server, message

import tablenodes as tn
from tablenodes.answers import Pricing, costs, price_list, usage_columns
from tablenodes.errors import ConnectionSettingError
from tablenodes.run.spending import Spending
from tablenodes.run.summary import Summary

OPENAI = "https://api.openai.com/v1"
PRICES = {"m": {"input": 2, "cached_input": 0.5, "output": 10}}
WORDS = pd.DataFrame({"word": ["a", "b", "c", "d"]})


def answer(prompt=1000, completion=100, *, model="m", cached=None, **more):
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    return json.dumps({"model": model, "choices": [choice], "usage": usage} | more)


def ran(replies, **settings):
    left = iter(replies)
    with fault_server(lambda exchange: exchange.send(next(left))) as running:
        node = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
        connection = tn.Connection(running.url, "", **settings)
        return node.run(WORDS[: len(replies)], connection, limits=tn.Limits(concurrency=1), progress=False)


def body_of(model, tier, created, counts):
    told = dict(zip(COUNTS, counts, strict=True))
    read = {"cached_tokens": told["cached_tokens"], "cache_write_tokens": told["written_tokens"]}
    read["audio_tokens"] = told["audio_tokens"]
    wrote = {"reasoning_tokens": told["reasoning_tokens"], "audio_tokens": told["spoken_tokens"]}
    usage = {"prompt_tokens": told["prompt_tokens"], "completion_tokens": told["completion_tokens"]}
    usage |= {"prompt_tokens_details": read, "completion_tokens_details": wrote}
    return json.dumps({"model": model, "service_tier": tier, "created": created, "usage": usage})


def test_costs_are_those_of_calc_price():
    """Tiers, caches, audio, flex and batch, dated prices, other providers' models: a thousand random answers."""
    cases = json.loads(CASES.read_text())
    assert len(cases) == 1000
    for url in {case[0] for case in cases}:
        own = [case[1:] for case in cases if case[0] == url]
        found = costs(usage_columns(body_of(*case[:3], case[3:-1]) for case in own), Pricing(url))
        assert found == [None if cost is None else pytest.approx(cost, abs=1e-9) for *_, cost in own]


def test_the_list_is_small_and_says_where_it_is_from():
    """At most 300 kB, dated, with its licence; it is loaded only when somebody asks for a cost."""
    document = json.loads(LIST.read_text())
    assert LIST.stat().st_size <= 300_000
    assert document["source"].startswith("genai-prices ")
    assert document["license"].startswith("MIT")
    assert date.fromisoformat(document["date"]) >= date(2026, 11, 1)


def test_a_run_knows_what_its_answers_cost():
    """The server's own counts, by the prices that are given for the model that was asked for."""
    replies = [message(answer(cached=600).encode()), message(answer(model="m-2026").encode()), message(b"{}", 400)]
    out = ran([*replies, message(answer(prompt=None).encode())], prices=PRICES)
    assert str(out.usage["cost"].dtype) == "Float64"
    expected = [pytest.approx((400 * 2 + 600 * 0.5 + 1000) / 1e6), pytest.approx(0.003), None, None]
    assert [None if pd.isna(each) else each for each in out.usage["cost"]] == expected
    assert out.summary.cost == pytest.approx(0.0051)
    wording(str(out.summary))
    again = pickle.loads(pickle.dumps(out))
    assert again.summary.cost == out.summary.cost
    assert again.usage["cost"].equals(out.usage["cost"])
    assert len(pickle.dumps(out.summary)) < 1000


@pytest.mark.parametrize("stream", [None, True])
def test_an_answer_that_was_asked_for_again_is_paid_for_too(stream):
    """The summary has what the run used; a row's own usage is that of the answer that it has."""
    said = iter(["no json", "no json", "yes", "yes"])
    node = tn.CreateChatCompletion(model="m", prompt="{{ word }}", answer=["yes"], stream=stream)
    connection = dataclasses.replace(tn.testing.canned(lambda _: next(said)), prices=PRICES)
    out = node.run(WORDS[:2], connection, limits=tn.Limits(concurrency=1), retry=tn.Retry(unusable=2), progress=False)
    assert list(out.log["attempts"]) == [3, 1]
    each = out.log["prompt_tokens"][0]
    assert out.summary.prompt_tokens == 4 * each
    assert out.summary.completion_tokens > out.usage["completion_tokens"].sum()
    assert out.summary.cost == pytest.approx((out.summary.prompt_tokens * 2 + out.summary.completion_tokens * 10) / 1e6)
    assert pickle.loads(pickle.dumps(out)).summary.cost == out.summary.cost


def test_a_server_of_nobody_known_has_no_costs():
    """Neither on this machine nor at an unknown address: null, and nothing is said of it."""
    out = ran([message(answer(model="gpt-4o").encode())])
    assert out.usage["cost"].isna().all()
    assert out.summary.cost is None
    assert "cost" not in str(out.summary)
    for url in ("", "https://llm.example/v1"):
        assert costs(usage_columns([answer(model="gpt-4o")]), Pricing(url)) == [None]
    assert costs(usage_columns([answer(model="gpt-4o")]), Pricing()) == [pytest.approx(0.0035)]


@pytest.mark.parametrize("models", [["nobodys", "nobodys"], ["gpt-4o", "nobodys"], ["gpt-4o", "gpt-4o"], []])
def test_a_report_says_what_was_spent(models):
    """Or that nobody knows, and what to do; answers of earlier runs cost nothing now."""
    bodies = [answer(model=model) for model in models] + [answer(model="gpt-4o"), None]
    spending = Spending(bodies, [False] * len(models) + [True, False], Pricing(OPENAI))
    summary = Summary.of({"ok": len(bodies)}, requests=len(models), reused=1, spending=spending)
    assert summary.cost == (None if models[:1] == ["nobodys"] else pytest.approx(0.0035 * models.count("gpt-4o")))
    wording(str(summary))


@pytest.mark.parametrize(
    "prices",
    [
        3,
        {"m": 1.5},
        {"m": {"input": 1}},
        {"m": {"input": 1, "output": -1}},
        {"m": {"input": 1, "outputs": 2, "output": 2}},
        {1: {"input": 1, "output": 1}},
    ],
)
def test_prices_that_are_none_are_refused(prices):
    """When they are given, with how they are written."""
    with wording.raises(ConnectionSettingError):
        tn.Connection("http://127.0.0.1:1/v1", prices=prices)


def test_a_workflow_keeps_prices(tmp_path):
    """As they were written."""
    node = tn.CreateChatCompletion(model="m", prompt="x")
    tn.Workflow({"ask": node}, connection=tn.Connection("http://127.0.0.1:1/v1", prices=PRICES)).save(tmp_path / "w")
    assert tn.Workflow.load(tmp_path / "w").connection.prices == PRICES


class Model(SimpleNamespace):
    def is_match(self, name):
        return name == self.match.equals


def test_newer_prices_of_an_installed_package_are_used(monkeypatch):
    """And older ones, or those of another make, are not."""
    tiered = SimpleNamespace(base=Decimal(3), tiers=[SimpleNamespace(start=10, price=Decimal(6))])
    off_peak = SimpleNamespace(start_time=time(23), end_time=time(5))
    dear = SimpleNamespace(constraint=None, prices=SimpleNamespace(input_mtok=tiered, output_mtok=Decimal("0.5")))
    cheap = SimpleNamespace(constraint=off_peak, prices=SimpleNamespace(input_mtok=Decimal(1), audio_hours=Decimal(1)))
    since = SimpleNamespace(start_date=date(2026, 2, 3))
    flex = SimpleNamespace(
        when={"service_tier": "flex"}, constraint=since, prices=SimpleNamespace(input_mtok=Decimal(2))
    )
    equals = SimpleNamespace(equals="own")
    model = Model(id="own", match=equals, context_window=100, prices=[dear, cheap], price_variants=[flex])
    provider = SimpleNamespace(
        id="p",
        api_pattern="https://p",
        model_match=None,
        fallback_model_providers=None,
        extractors=None,
        models=[model],
    )
    package = ModuleType("genai_prices.data_snapshot")
    package.get_snapshot = lambda: SimpleNamespace(providers=[provider])
    types = ModuleType("genai_prices.types")
    types._utc_timetz = lambda moment: moment
    modules = {"genai_prices": ModuleType("genai_prices"), "genai_prices.data_snapshot": package}
    for name, module in {**modules, "genai_prices.types": types}.items():
        monkeypatch.setitem(sys.modules, name, module)
    cost = {}
    for version in ("0.1.9", "0.2.99", "0.3.0"):
        monkeypatch.setattr("importlib.metadata.version", lambda name, version=version: version)
        price_list.listed_prices.cache_clear()
        pricing = Pricing("https://p/v1")
        noon, night, spring = 1_767_614_400, 1_767_657_600 - 900, 1_774_958_400
        bodies = [
            answer(11, 2, model="own", created=at, service_tier=tier)
            for at, tier in [(noon, None), (night, None), (noon, "flex"), (spring, "flex")]
        ]
        cost[version] = costs(usage_columns(bodies), pricing)
    price_list.listed_prices.cache_clear()
    assert cost["0.1.9"] == cost["0.3.0"] == [None] * 4
    usd = [11 * 6 + 1, 11 * 1, 11 * 6 + 1, 11 * 2 + 1]
    assert cost["0.2.99"] == [pytest.approx(each / 1e6) for each in usd]
