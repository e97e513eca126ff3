"""Streams put together: the body of the plain answer, or no answer; nothing in between."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamed import DONE, TWINS, USAGE, called, chunks_of, said, stream_of

from tablenodes.engine.calls import Answer
from tablenodes.engine.outcomes import OUTCOMES, judge
from tablenodes.engine.outcomes.assembly import Assembly, as_stream, assembled, choices_asked, encoded
from tablenodes.engine.outcomes.sse import EventReader

HEADERS = b"Content-Type: text/event-stream\r\n"


def answer(stream, fault=None):
    return Answer(0, 200, HEADERS, stream, fault)


def document(*events, done=True):
    return assembled(stream_of(events, done=done)).document()


def delta(*deltas, **more):
    """Return the message of one choice that comes in these parts."""
    parts = [{"choices": [{"index": 0, "delta": each} | more]} for each in deltas]
    return document(*parts)["choices"][0]["message"]


def asked(plain):
    return json.dumps({"n": len(plain["choices"])}).encode()


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("name", TWINS)
def test_a_stream_is_put_together_as_its_plain_twin(name, done):
    """All that a plain answer has, and nothing else."""
    plain = TWINS[name]
    verdict = judge(answer(stream_of(chunks_of(plain), done=done)), asked(plain))
    assert verdict.outcome == "ok"
    assert orjson.loads(verdict.body) == plain
    assert verdict[7:10] == tuple(USAGE.values())
    assert verdict.finish_reason == plain["choices"][0]["finish_reason"]


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_stream_that_is_cut_anywhere_is_whole_or_cut(name, every):
    """The very same choices, or stream_truncated; no part for the whole. At every byte around the ends of lines."""
    plain = TWINS[name]
    stream = stream_of(chunks_of(plain), line_end=b"\r\n")
    ends = [place for place, byte in enumerate(stream) if byte == ord("\n")]
    cuts = {*range(0, len(stream) + 1, every), *(place + near for place in ends for near in (-2, -1, 0, 1, 2))}
    outcomes = {"ok": 0, "stream_truncated": 0}
    for cut in cuts:
        verdict = judge(answer(stream[:cut], "truncated" if cut % 2 else None), asked(plain))
        outcomes[verdict.outcome] += 1
        assert verdict.outcome == "stream_truncated" or orjson.loads(verdict.body)["choices"] == plain["choices"]
    assert outcomes["ok"] > 2
    assert outcomes["stream_truncated"] > len(cuts) / 2


@pytest.mark.parametrize(
    ("name", "line_end"), [*((name, b"\r\n") for name in TWINS), ("refusal", b"\r"), ("refusal", b"\n")]
)
def test_a_stream_in_any_two_pieces_says_the_same(name, line_end):
    """Split at every byte, in the middle of a character too."""
    stream = b"\xef\xbb\xbf: hello\n" + stream_of(chunks_of(TWINS[name]), line_end=line_end)
    assembly, whole = Assembly(), EventReader().push(stream)
    for event in whole:
        assembly.add(event)
    assert assembly.done
    assert assembly.document() == TWINS[name]
    for cut in range(len(stream) + 1):
        reader = EventReader()
        assert reader.push(stream[:cut]) + reader.push(stream[cut:]) == whole


def test_each_event_tells_the_text_that_it_adds():
    """Of the first choice alone."""
    for name in ("three choices", "completion"):
        assembly, reader = Assembly(), EventReader()
        told = "".join(map(assembly.add, reader.push(stream_of(chunks_of(TWINS[name])))))
        first = TWINS[name]["choices"][0]
        assert told == (first["message"]["content"] if "message" in first else first["text"])


# --- what servers do ------------------------------------------------------------------------------------------------


def test_what_nobody_knows_is_kept():
    """Texts and lists of a delta grow, objects are filled; beside it the last one counts, and padding is left out."""
    first = {"reasoning_content": "a", "thinking": {"text": "x", "level": 1}, "sources": [1], "odd": None}
    second = {"reasoning_content": "b", "thinking": {"text": "y", "level": 2}, "sources": [2], "odd": None}
    details = [{"reasoning_details": [{"index": 0, "type": "t", "text": text}]} for text in "uv"]
    message = delta(first, second, *details)
    assert message["reasoning_content"] == "ab"
    assert message["thinking"] == {"text": "xy", "level": 2}
    assert message["sources"] == [1, 2]
    assert message["odd"] is None
    assert message["reasoning_details"] == [{"index": 0, "type": "t", "text": "uv"}]
    chunks = [
        {
            "choices": [{"index": 0, "delta": {}, "token_ids": [at], "stop_reason": at}],
            "x_server": at,
            "obfuscation": "x",
        }
        for at in (1, 2)
    ]
    body = document(*chunks)
    assert body["x_server"] == 2
    assert "obfuscation" not in body
    assert body["choices"][0]["token_ids"] == [1, 2]
    assert body["choices"][0]["stop_reason"] == 2


def test_calls_are_told_apart_by_index_and_by_id():
    """Some servers number all calls 0, some none; some repeat the name and the id in each part."""

    def part(**fields):
        return {"tool_calls": [fields]}

    def calls(*parts):
        return [(call.get("id"), call["function"]) for call in delta(*parts)["tool_calls"]]

    expected = [("a", {"name": "f", "arguments": "{}"}), ("b", {"name": "g", "arguments": "[]"})]
    for index in ({"index": 0}, {}):
        parts = [part(id="a", function=called("f", "{"), **index), part(function={"arguments": "}"}, **index)]
        parts += [part(id="b", function=called("g", "["), **index), part(id="b", function=called("g", "]"), **index)]
        assert calls(*parts) == expected
    parts = [part(index=1, id="b", function=called("g", "["))]
    parts += [part(index=0, id="a", function=called("f", "{}")), part(index=1, id="", function={"arguments": "]"})]
    assert calls(*parts) == expected[::-1]


NAMES_OF_CALLS = st.sampled_from(["weather", "now"])
ARGUMENTS = st.dictionaries(
    st.sampled_from("ab"), st.integers() | st.sampled_from(["{", "}{", '"', "é"]) | st.just({"c": {}}), max_size=2
).map(json.dumps)


@st.composite
def told_calls(draw):
    """Return calls, and the parts of them as a server of some kind sends them."""
    calls = draw(st.lists(st.tuples(NAMES_OF_CALLS, ARGUMENTS), min_size=1, max_size=4))
    numbers = draw(st.sampled_from(["own", "text", "zero", "none"]))
    ids = draw(st.sampled_from(["first", "each", "empty", "none"]))
    repeats, announces, wholly = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    chunks = []
    for at, (name, arguments) in enumerate(calls):
        size = len(arguments) if wholly else draw(st.integers(1, len(arguments)))
        pieces = [arguments[start : start + size] for start in range(0, len(arguments), size)]
        for place, piece in enumerate(["", *pieces] if announces else pieces):
            function = {"arguments": piece} | ({"name": name} if place == 0 or repeats else {})
            part = {"function": function} | ({"id": ""} if ids == "empty" else {})
            part |= {"id": f"call_{at}"} if ids == "each" or (ids == "first" and place == 0) else {}
            part |= {"own": {"index": at}, "text": {"index": str(at)}, "zero": {"index": 0}, "none": {}}[numbers]
            chunks.append([part])
    if numbers in ("own", "text") or ids == "each":  # all at once, and by turns
        chunks = draw(st.permutations(chunks)) if wholly and not announces else chunks
    if wholly and not announces and draw(st.booleans()):
        chunks = [[part for chunk in chunks for part in chunk]]
    return calls, chunks


@given(told_calls())
def test_calls_are_put_together_however_a_server_tells_them(told):
    """With numbers of their own, all 0 or none, with ids or without, in pieces or whole, in many chunks or one."""
    calls, chunks = told
    made = delta(*({"tool_calls": parts} for parts in chunks))["tool_calls"]
    put_together = [(call["function"]["name"], call["function"]["arguments"]) for call in made]
    assert sorted(put_together) == sorted(calls)


def test_what_stood_for_arguments_until_they_came_is_none_of_them():
    """Some gateways begin with an empty object."""
    first = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}
    parts = [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in ('{"a"', ":1}")]
    (call,) = delta(first, *parts)["tool_calls"]
    assert call["function"]["arguments"] == '{"a":1}'
    (call,) = delta(first)["tool_calls"]
    assert call["function"]["arguments"] == "{}"


def test_calls_by_turns_are_told_apart_by_their_ids():
    """Under one number."""
    parts = [("a", "weather", '{"x'), ("b", "weather", '{"y'), ("a", None, '":1}'), ("b", None, '":2}')]
    made = delta(*({"tool_calls": [{"index": 0} | called(name, piece, known)]} for known, name, piece in parts))
    assert [call["function"]["arguments"] for call in made["tool_calls"]] == ['{"x":1}', '{"y":2}']


def test_half_a_character_finds_its_other_half():
    """Where a server cuts a surrogate pair into two chunks."""
    stream = b'data: {"choices":[{"index":0,"delta":{"content":"a\\ud83d"}}]}\n\n'
    stream += b'data: {"choices":[{"index":0,"delta":{"content":"\\ude42"},"finish_reason":"stop"}]}\n\n'
    assert orjson.loads(judge(answer(stream)).body)["choices"][0]["message"]["content"] == "a🙂"


def test_a_content_of_parts_is_not_lost():
    """Text and parts of a content by turns."""
    message = delta({"content": [{"type": "thinking"}]}, {"content": "a"}, {"content": [{"type": "x"}]})
    assert message["content"] == [{"type": "thinking"}, {"type": "text", "text": "a"}, {"type": "x"}]
    parts = [[{"type": "thinking", "thinking": [{"type": "text", "text": each}]}] for each in ("2 and ", "2")]
    message = delta(*({"content": part} for part in parts), {"content": "It is "}, {"content": "4."})
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "2 and 2"}]}
    assert message["content"] == [thought, {"type": "text", "text": "It is 4."}]
    message = delta({"content": "a"}, {"content": [{"type": "text", "text": "b"}]}, {"content": "c"})
    assert message["content"] == [{"type": "text", "text": "abc"}]


def test_a_message_in_the_place_of_deltas_is_taken():
    """As some servers send it, whole; beside deltas it says nothing new."""
    whole = {"role": "assistant", "content": "abc"}
    assert document({"choices": [{"index": 0, "message": whole}]})["choices"][0]["message"] == whole
    both = {"choices": [{"index": 0, "delta": {"content": "abc"}, "message": {"content": "ab"}}]}
    assert document(both)["choices"][0]["message"] == whole


def test_an_empty_text_beside_a_call_is_none():
    """A plain answer has null there; without a call, an empty text is a text."""
    call = {"tool_calls": [{"index": 0} | called("f", "{}", "a")]}
    assert delta({"content": ""}, call)["content"] is None
    assert delta({"content": ""})["content"] == ""
    assert delta({})["content"] is None


def test_the_usage_is_the_last_one():
    """Some servers count in each chunk; a null takes nothing back."""
    chunks = [{"choices": [], "usage": usage} for usage in ({"total_tokens": 1}, {"total_tokens": 2}, None)]
    assert document(*chunks)["usage"] == {"total_tokens": 2}


def test_what_is_told_first_counts():
    """Of the id, the model and the time; an empty one does not."""
    chunks = [{"id": "", "model": "", "choices": []}, {"id": "a", "model": "m"}, {"id": "b", "model": "n"}]
    body = document(*chunks)
    assert (body["id"], body["model"], body["object"]) == ("a", "m", "text_completion")


def test_nothing_counts_after_the_end():
    """Neither text nor an error."""
    stream = stream_of(chunks_of(TWINS["text"])) + b'data: {"error": {"message": "x"}}\n\ndata: oops\n\n'
    assert judge(answer(stream)).outcome == "ok"


@pytest.mark.parametrize("last", ["data: [DONE]", "data:[DONE]\n", 'data: {"choices":[{"finish_reason":"stop"}]}'])
def test_a_last_event_without_a_blank_line_counts_if_it_is_whole(last):
    """Servers forget it; half of a chunk is not one."""
    start = stream_of([{"choices": [{"index": 0, "delta": {"content": "a"}}]}], done=False)
    assert judge(answer(start + last.encode())).outcome == "ok"
    assert judge(answer(start + last.strip().encode()[:-1])).outcome == "stream_truncated"


# --- errors ---------------------------------------------------------------------------------------------------------

CHUNK = stream_of([{"choices": [{"index": 0, "delta": {"content": "a"}}]}], done=False)


@pytest.mark.parametrize(
    ("event", "outcome", "kind"),
    [
        ('data: {"error": {"message": "x", "code": 429}}', "in_band_error", "throttled"),
        ('data: {"error": {"message": "x", "code": 400}}', "in_band_error", "final"),
        ('data: {"error": "x"}', "in_band_error", "ambiguous"),
        ('data: {"object": "error", "message": "x", "code": 500}', "in_band_error", "server_error"),
        ('event: error\ndata: {"error": {"code": 503}}', "in_band_error", "server_error"),
        ('event: error\ndata: {"message": "x", "code": 429}', "in_band_error", "throttled"),
        ("event: error\ndata: it broke", "in_band_error", "ambiguous"),
        ("event: error\ndata: {}", "in_band_error", "ambiguous"),
        ("event: error\ndata", "in_band_error", "ambiguous"),
        ("data: {oops}", "stream_error", "ambiguous"),
        ("data: [1]", "stream_error", "ambiguous"),
        ('data: {"choices": 1}', "stream_error", "ambiguous"),
        ('data: {"choices": [1]}', "stream_error", "ambiguous"),
        ("Bad Gateway", "stream_error", "ambiguous"),
        ("data: Bad Gateway", "stream_error", "ambiguous"),
        ("<html><h1>502</h1></html>", "stream_error", "ambiguous"),
        ('{"error": {"message": "x", "code": 429}}', "in_band_error", "throttled"),
        ('error: {"message": "x", "code": 429}', "in_band_error", "throttled"),
        ('data: {"base_resp": {"status_code": 1002, "status_msg": "x"}}', "in_band_error", "ambiguous"),
        ('data: {"code": 500, "msg": "x"}', "in_band_error", "server_error"),
        ('data: {"choices": [], "error_code": 18, "error_msg": "x"}', "in_band_error", "ambiguous"),
        ('data: {"choices": [{"error": {"code": 502, "message": "x"}}]}', "in_band_error", "server_error"),
        ('data: {"choices": [{"finish_reason": "abort"}]}', "in_band_error", "ambiguous"),
        ('data: {"error": {"code": null, "message": ""}, "choices": []}', "ok", None),
        ('data: {"choices": [{"index": "0", "delta": {"content": "x"}}]}', "ok", None),
        ('data: {"choices": [{"index": null, "delta": {"content": "x"}}]}', "ok", None),
        ('data: data: {"choices": []}', "ok", None),
        ("foo: bar", "ok", None),
        ("data: null", "ok", None),
        ('data: {"choices": [{"index": 0, "delta": "a"}]}', "stream_error", "ambiguous"),
        ('data: {"choices": [{"index": 0, "text": 1}]}', "stream_error", "ambiguous"),
        ('data: {"choices": [{"index": 0, "delta": {"content": NaN}}]}', "stream_error", "ambiguous"),
        ("event: ping\ndata: hello", "ok", None),
        ('event: ping\ndata: {"type": "ping"}', "ok", None),
        ("data:", "ok", None),
    ],
)
def test_what_is_wrong_in_a_stream(event, outcome, kind):
    """An error by its own code; what cannot be read; a sign of life is neither. Whatever comes after it."""
    for after in (DONE, b""):
        end = b'data: {"choices": [{"index": 0, "finish_reason": "stop"}]}\n\n' + after
        verdict = judge(answer(CHUNK + event.encode() + b"\n\n" + end))
        assert (verdict.outcome, verdict.kind and verdict.kind.value) == (outcome, kind)


def test_bytes_that_are_no_text_are_an_error():
    """They are not replaced in silence."""
    stream = b'data: {"choices": [{"index": 0, "delta": {"content": "\xff"}, "finish_reason": "stop"}]}\n\n'
    assert judge(answer(stream)).outcome == "stream_error"


def test_a_body_that_cannot_be_written_is_an_error():
    """Nested beyond what JSON's writers go."""
    deep = b"[" * 1000 + b"]" * 1000
    stream = b'data: {"choices": [{"index": 0, "delta": {"x": %s}, "finish_reason": "stop"}]}\n\n' % deep
    assert judge(answer(stream)).outcome in {"ok", "stream_error"}
    objects = b'{"a":' * 900 + b"1" + b"}" * 900
    assert judge(answer(stream.replace(deep, objects))).outcome in {"ok", "stream_error"}


def test_an_error_in_the_stream_comes_before_what_broke_it_off():
    """What the server said explains the cut."""
    stream = CHUNK + b'data: {"error": {"code": 429}}\n\n'
    assert judge(answer(stream, "truncated")).outcome == "in_band_error"
    assert judge(answer(CHUNK + b"data: {oops}\n\n", "reset")).outcome == "stream_error"


@pytest.mark.parametrize(
    ("body", "choices"),
    [
        (b"", 1),
        (b"[]", 1),
        (b"{}", 1),
        (b'{"n": 3}', 3),
        (b'{"n": null}', 1),
        (b'{"n": "x", "prompt": "a"}', 1),
        (b'{"n": 2, "prompt": ["a", "b", "c"]}', 6),
        (b'{"prompt": [1, 2]}', 1),
        (b'{"prompt": [[1], [2]]}', 2),
        (b'{"prompt": []}', 1),
    ],
)
def test_how_many_choices_a_request_asks_for(body, choices):
    """So many for each prompt."""
    assert choices_asked(body) == choices


# --- a secret -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("end", ["done", "cut", "error", "malformed"])
def test_a_body_written_as_a_stream_again_is_the_same_answer(name, end):
    """Of the same outcome, with the same body."""
    after = {
        "done": DONE,
        "cut": b"",
        "error": b'data: {"error": {"code": 429}}\n\n',
        "malformed": b"data: x\n\n" + DONE,
    }
    chunks = chunks_of(TWINS[name])
    stream = stream_of(chunks if end == "done" else chunks[:2], done=False) + after[end]
    assembly = assembled(stream)
    again = as_stream(assembly, encoded(assembly.document()))
    before, verdict = judge(answer(stream), b'{"n":3}'), judge(answer(again), b'{"n":3}')
    assert verdict[:4] == before[:4]
    assert verdict.body == before.body


# --- anything -------------------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
NAMES = st.sampled_from(
    ["choices", "delta", "index", "message", "content", "tool_calls", "function", "error", "logprobs", "text", "usage"]
)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=4), max_leaves=20)
CHOICES = st.dictionaries(NAMES, VALUES, max_size=4) | st.fixed_dictionaries(
    {"delta": st.dictionaries(NAMES, VALUES, max_size=4), "finish_reason": st.sampled_from([None, "stop"])}
)
EVENTS = st.builds(
    lambda name, value: name + b"data: " + json.dumps(value).encode() + b"\n\n",
    st.sampled_from([b"", b"", b"", b"event: error\n", b"event: x\n"]),
    VALUES | st.fixed_dictionaries({"choices": st.lists(CHOICES, max_size=3)}),
)


@given(st.lists(EVENTS | st.binary(max_size=20) | st.just(DONE), max_size=8).map(b"".join), st.booleans())
def test_whatever_comes_has_an_outcome(stream, needs_choices):
    """Nothing is raised, and an answer that is ok has a body that is a JSON object."""
    verdict = judge(answer(stream), needs_choices=needs_choices)
    assert verdict.outcome in OUTCOMES
    if verdict.outcome == "ok":
        assert isinstance(json.loads(verdict.body), dict)
        again = judge(answer(as_stream(assembled(stream), verdict.body)), needs_choices=needs_choices)
        assert again.outcome == "ok"


ODD = [1, "a", [1], {"a": 1}, [{"index": {}}, {"index": 0}], [{"index": [], "id": {}}], [{"index": "0", "function": 1}]]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_calls_of_any_shape_are_put_together(odd):
    """Whatever a server takes for a call, in a stream that is written anew too."""
    for name in ("tool_calls", "function_call", "content", "role"):
        stream = stream_of([{"choices": [{"delta": {name: odd}, "finish_reason": "stop"}]}] * 2)
        verdict = judge(answer(stream))
        assert verdict.outcome == "ok"
        assert judge(answer(as_stream(assembled(stream), verdict.body))).outcome == "ok"


@given(st.sampled_from([*TWINS]), st.data())
def test_a_damaged_stream_is_never_another_answer_without_a_trace(name, data):
    """Lines left out, doubled or cut: an outcome of the vocabulary, whatever was lost."""
    lines = stream_of(chunks_of(TWINS[name])).splitlines(keepends=True)
    picked = data.draw(st.lists(st.sampled_from(lines), max_size=len(lines)))
    assert judge(answer(b"".join(picked))).outcome in {"ok", "stream_truncated", "stream_error", "in_band_error"}


def test_a_long_stream_takes_time_in_proportion():
    """30,000 chunks of one letter are put together at once, and none is lost."""
    text = "".join(chr(97 + at % 26) for at in range(30_000))
    chunks = [{"choices": [{"index": 0, "delta": {"content": letter}}]} for letter in text]
    body = document(*chunks, {"choices": [{"index": 0, "finish_reason": "stop"}]})
    assert body["choices"][0]["message"]["content"] == text
    assert said(text)["message"]["content"] == text
