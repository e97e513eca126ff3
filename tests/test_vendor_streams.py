"""Streams of many servers, cut and split anywhere: whole or not ok, and never another text."""

from __future__ import annotations

import json

import pytest
from vendor_streams import DONE, TEXT, VENDORS, WORDS, chunk

from tablenodes.engine.calls import Answer
from tablenodes.engine.outcomes.answer_json import first_text
from tablenodes.engine.outcomes.assembly import Assembly
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.outcomes.sse import EventReader

SAMPLED = [37, pytest.param(1, marks=pytest.mark.slow)]
"""Every so manieth byte; all of them take a minute."""


def judged(body, fault=None):
    return judge(Answer(0, 200, b"Content-Type: text/plain\r\n", body, fault), b'{"stream":true}')


def says(stream, body):
    """Check that a body says all that a stream does."""
    message = json.loads(body)["choices"][0]["message"]
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or ()]
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    return (first_text(body), reasoning, tuple(calls)) == (stream.text, stream.reasoning, stream.calls)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_whole_stream_is_put_together(vendor):
    """Its text, its reasoning apart from it, and its calls, each for itself."""
    stream = VENDORS[vendor]
    verdict = judged(stream.body)
    assert (verdict.outcome, verdict.reason) == ("ok", None)
    assert says(stream, verdict.body)


def test_tokens_are_found_wherever_they_are_counted():
    """Also on a choice, and among what is a server's own."""
    counted = [vendor for vendor, stream in VENDORS.items() if judged(stream.body).total_tokens == 21]
    assert {"openai", "vllm", "moonshot", "groq", "zhipu"} <= set(counted)


def test_an_end_in_every_chunk_is_one_only_where_the_server_ended_the_body():
    """More came after each but the last."""
    chunks = b"".join(chunk({"content": word}, "stop").encode() for word in WORDS)
    framed = Answer(0, 200, b"Transfer-Encoding: chunked\r\n", chunks)
    assert first_text(judge(framed).body) == TEXT
    for cut in (framed._replace(headers=b""), framed._replace(fault="truncated"), framed._replace(fault="reset")):
        assert judge(cut).outcome == "stream_truncated"
    assert judge(framed._replace(headers=b"", body=chunks + DONE.encode())).outcome == "ok"


@pytest.mark.parametrize("step", SAMPLED)
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_stream_that_is_cut_is_whole_or_not_ok(vendor, step):
    """Whoever ends it, and whatever the last byte is."""
    stream = VENDORS[vendor]
    outcomes = {"ok": 0, "stream_truncated": 0}
    for cut in {*range(0, len(stream.body), step), *range(len(stream.body) - 40, len(stream.body) + 1)}:
        verdict = judged(stream.body[:cut], "truncated" if cut % 2 else None)
        expected = "stream_truncated" if stream.body[:cut].strip() else "empty_body"
        if expected == "empty_body" and verdict.outcome in (expected, "truncated"):
            continue
        outcomes[verdict.outcome] += 1
        assert verdict.outcome == expected or says(stream, verdict.body)
    assert min(outcomes.values()) > 2


@pytest.mark.parametrize("step", SAMPLED)
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_stream_that_is_split_says_the_same(vendor, step):
    """In two pieces, also in the middle of a character; the text that is told as it comes is the text."""
    stream = VENDORS[vendor]
    whole = judged(stream.body).body
    for cut in range(0, len(stream.body) + 1, step):
        assembly, reader = Assembly(), EventReader()
        told = ""
        for piece in (stream.body[:cut], stream.body[cut:]):
            told += "".join(map(assembly.add, reader.push(piece)))
        assembly.add_unended(reader.finish())
        assert assembly.is_whole()
        assert assembly.document() == json.loads(whole)
        assert told == (stream.text or "")
