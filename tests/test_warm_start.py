"""Rows that share a long prefix: one goes first, and the others find it in the server's prompt cache."""

from __future__ import annotations

import json
import threading
import time

import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentences import wording
from servers import answer, echo, fault_server, head, held, message

import tablenodes as tn
from tablenodes.engine import policy
from tablenodes.engine.calls import Answer, Call, Request
from tablenodes.engine.warm_start import WarmStart, parted, warm_start
from tablenodes.errors import SettingError

LONG = "Rate the review by these rules. " * 160
CHAT = tn.CreateChatCompletion(model="m", system=LONG, prompt="{{ word }}")
LATENCY = 0.2
ANSWER = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}'
REQUEST = Request("POST", "http://127.0.0.1:1/v1/chat/completions", ())


def table_of(rows):
    return pd.DataFrame({"word": [str(row) for row in range(rows)]})


class PrefixCache:
    """A server with a prompt cache: it has a prefix once the first answer to a prompt with it has begun."""

    def __init__(self, latency=LATENCY):
        self.known, self.latency, self.came = set(), latency, []

    def __call__(self, exchange):
        self.came.append(time.monotonic())
        prefix = json.dumps(orjson.loads(exchange.received.body)["messages"])[: policy.WARM_BYTES]
        cached = 1024 if prefix in self.known else 0
        exchange.pause(self.latency)
        self.known.add(prefix)
        usage = {"prompt_tokens": 1200, "completion_tokens": 1, "total_tokens": 1201}
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
        choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
        exchange.send(message(json.dumps({"choices": [choice], "usage": usage}).encode()))


def run(cache, rows=100, node=CHAT, **more):
    with fault_server(cache) as server:
        limits = tn.Limits(concurrency=32, **more)
        return node.run(table_of(rows), tn.Connection(server.url, ""), limits=limits, progress=False)


@pytest.mark.timing
def test_the_rest_reads_the_cache_one_latency_later():
    """At least 95 % of the later rows; without it, none of the first wave does. The summary has the share."""
    warm, cold = PrefixCache(), PrefixCache()
    out, other = run(warm), run(cold, warm_up=False)
    assert (out.usage["cached_tokens"].iloc[1:] == 1024).mean() >= 0.95
    assert (other.usage["cached_tokens"] == 0).sum() >= 32
    assert out.summary.cached_tokens == out.usage["cached_tokens"].sum()
    waited = warm.came[1] - warm.came[0]
    assert LATENCY <= waited < 2 * LATENCY
    assert cold.came[31] - cold.came[0] < LATENCY
    assert out.summary.ok == 100
    wording.line(str(out.summary), like="from the cache", share=f"{out.summary.cached_tokens / 120_000:.0%}")


def test_groups_of_rows_have_a_first_one_each():
    """They go together: it takes one latency."""
    cache = PrefixCache()
    node = tn.CreateChatCompletion(model="m", prompt="{{ 'ABC'[row['word'] | int % 3] * 5000 }} {{ word }}")
    out = run(cache, node=node)
    assert (out.usage["cached_tokens"] == 0).sum() == 3
    assert cache.came[2] - cache.came[0] < LATENCY <= cache.came[3] - cache.came[0] < 2 * LATENCY


@pytest.mark.parametrize("first", [answer(b"{}", 400), answer(b"{}", 500), lambda exchange: exchange.reset()])
def test_a_first_row_that_fails_holds_nobody_up(first):
    """The others go at once; whatever comes of it, it is tried again like any other."""
    began = time.monotonic()
    out = run([first, *[echo()] * 200], 20)
    assert out.summary.ok >= 19
    assert time.monotonic() - began < policy.WARM_LONGEST


def test_a_first_row_that_hangs_holds_the_others_up_for_a_while_alone(monkeypatch):
    """They go when the time is over."""
    monkeypatch.setattr(policy, "WARM_LONGEST", 0.3)
    come, came = threading.Event(), []

    def rest(exchange):
        came.append(time.monotonic())
        if len(came) == 19:
            come.set()
        echo()(exchange)

    began = time.monotonic()
    assert run([held(come), *[rest] * 19], 20).summary.ok == 20
    assert 0.3 <= min(came) - began < 2


def test_the_first_piece_of_a_stream_is_enough():
    """The rest does not wait for its end."""
    come, came = threading.Event(), []
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":%b}]}\n\n'

    def react(exchange):
        came.append(time.monotonic())
        if len(came) == 20:
            come.set()
        exchange.send(head(200, {"Content-Type": "text/event-stream", "Connection": "close"}))
        exchange.send(chunk % b"null")
        while len(came) > 1 and not come.is_set():
            exchange.pause(0.005)
        if exchange.received.body == exchange.server.requests[0].body:
            exchange.pause(0.3)
        exchange.send(chunk % b'"stop"' + b"data: [DONE]\n\n")
        exchange.close()

    assert run(react, 20, CHAT.replace(stream=True)).summary.ok == 20
    assert came[1] - came[0] < 0.3


@pytest.mark.parametrize(
    ("node", "more", "rows"),
    [
        (CHAT, {"warm_up": False}, 20),
        (CHAT, {}, policy.WARM_ROWS - 1),
        (CHAT.replace(system="Be brief."), {}, 20),
        (CHAT.replace(system=None, prompt="{{ word }} " + LONG), {}, 20),
    ],
    ids=["not wished", "few rows", "a short prefix", "no common prefix"],
)
def test_where_it_can_gain_nothing_all_go_at_once(node, more, rows):
    """Nobody waits: the first wave has come before one row of it is answered."""
    come, came, together = threading.Event(), [], []

    def react(exchange):
        came.append(exchange)
        if len(came) == min(rows, 32):
            come.set()
        together.append(come.wait(20))
        answer(ANSWER)(exchange)

    run(react, rows, node, **more)
    assert all(together)


@pytest.mark.parametrize("streams", [False, True])
def test_each_of_several_servers_is_warmed(streams):
    """As each has a cache of its own, one row goes to each before the others."""
    caches = PrefixCache(0.1), PrefixCache(0.1)
    with fault_server(caches[0]) as one, fault_server(caches[1]) as other:
        connection, more = (
            tn.Connection([one.url, other.url], ""),
            {"limits": tn.Limits(concurrency=8), "progress": False},
        )
        if streams:
            CHAT.run_batches(table_of(30), connection, **more).read_all()
        else:
            CHAT.run(table_of(30), connection, **more)
    for each in caches:
        first, second, *_ = each.came
        assert second - first >= 0.1
    assert sum(len(each.came) for each in caches) == 30


def calls_of(letters):
    bodies = [orjson.dumps({"model": "m", "messages": [letter * 5000, n]}) for n, letter in enumerate(letters)]
    return [Call(key, REQUEST, body, 60.0, lambda *_: "judged") for key, body in enumerate(bodies)]


@given(st.text("abc.", max_size=40))
def test_every_row_comes_once_and_the_first_of_each_prefix_before_the_rest(letters):
    """Whatever else is among them; while the rest is held back, the source has nothing more for now."""
    items = [
        (call.key, "an end") if letter == "." else call for call, letter in zip(calls_of(letters), letters, strict=True)
    ]
    first, rest = parted(items)
    assert sorted(item[0] for item in first + rest) == [*range(len(letters))]
    assert [letters[item[0]] for item in first if letters[item[0]] != "."] == [*dict.fromkeys(letters.replace(".", ""))]
    begun = set()
    source = warm_start(iter(items), begun.__contains__, lambda: False)
    came = [*source]
    if isinstance(source, WarmStart):
        assert len(came) < len(items)
        begun.update(range(len(letters)))
        came += [*source]
    assert sorted(item[0] for item in came) == [*range(len(letters))]


def test_a_prefix_is_all_that_a_server_puts_before_the_answer():
    """The model and its tools too, of a plain completion the prompt; what is no prompt is none."""

    def first_of(*bodies):
        calls = [Call(key, REQUEST, orjson.dumps(body), 60.0, lambda *_: None) for key, body in enumerate(bodies)]
        return [call.key for call in parted(calls)[0]]

    long = "x" * 5000
    asked = [{"model": model, "messages": [long]} for model in "abab"]
    assert first_of(*asked) == [0, 1]
    assert first_of(*({**each, "tools": [tool]} for each in asked[::2] for tool in "ab")) == [0, 1]
    assert first_of(*({"prompt": letter * 5000} for letter in "abab")) == [0, 1]
    assert first_of(*({"messages": ["x"], "user": long} for _ in range(3))) == [0, 1, 2]


def test_rows_that_have_their_ends_do_not_hide_those_that_are_sent():
    """A journal may have the first ones."""
    items = [*((at, "an end") for at in range(policy.WARM_LOOK)), *calls_of("a" * policy.WARM_LOOK)]
    assert isinstance(warm_start(iter(items), lambda key: False, lambda: False), WarmStart)


@pytest.mark.parametrize("why", ["its first answer", "the end of the run", "its time"])
def test_what_opens_the_way(why):
    """An answer, good or bad; and a run that sends nothing more looks at all rows."""
    now, ended = [0.0], []
    first, *rest = calls_of("a" * 10)
    source = WarmStart([first], iter(rest), lambda key: False, lambda: bool(ended), lambda: now[0])
    (call,) = [*source]
    assert [*source] == []
    if why == "its first answer":
        assert call.judge(Answer(0, None, b"", b"", "connect"), b"") == "judged"
    elif why == "its time":
        now[0] = policy.WARM_LONGEST
    else:
        ended.append(True)
    assert [*source] == rest


def test_an_error_of_the_source_comes_where_it_would_have():
    """After the rows before it."""

    def source():
        yield from calls_of("aa")
        raise ZeroDivisionError

    found = warm_start(source(), lambda key: False, lambda: False)
    assert [next(found).key, next(found).key] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)


@pytest.mark.parametrize("wrong", ["always", None, True, 3], ids=str)
def test_warm_up_is_auto_or_not_at_all(wrong):
    """Anything else is refused."""
    with wording.raises(SettingError):
        tn.Limits(warm_up=wrong)
