"""Answers of the Responses API: read as a chat's are, whatever comes of them, whole or piece by piece."""

from __future__ import annotations

import random

import orjson
import pandas as pd
import pytest
from sentences import wording
from servers import answer, fault_server, message

import tablenodes as tn
from tablenodes.answers import TEXTS, call_table, choice_table, usage_columns
from tablenodes.engine.calls import Answer, tokens_of
from tablenodes.engine.outcomes import OUTCOMES
from tablenodes.engine.outcomes.assembly import as_stream, assembled
from tablenodes.engine.outcomes.judge import judge
from tablenodes.run.cures import cure, set_in_python

TABLE = pd.DataFrame({"review": ["good", "bad"]})
ASK = tn.CreateResponse(model="m", prompt="Read {{ review }}")
USAGE = {
    "input_tokens": 5,
    "input_tokens_details": {"cached_tokens": 3},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 9,
}
CALL = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city": "Rome"}'}


def said(*texts):
    """An item of an output: a message of parts."""
    parts = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"type": "message", "id": "msg", "role": "assistant", "status": "completed", "content": parts}


def response(*output, **more):
    head = {"id": "resp_1", "object": "response", "created_at": 7, "status": "completed", "model": "m"}
    nothing = {"error": None, "incomplete_details": None}
    return {**head, **nothing, "output": [*output], "usage": USAGE, **more}


def cut_by(reason, *output):
    return response(*output, status="incomplete", incomplete_details={"reason": reason})


def connected(server):
    return tn.Connection(server.url, "k" * 20)


REFUSED = {**said(), "content": [{"type": "refusal", "refusal": "I will not"}]}
FAILED = response(status="failed", error={"code": "server_error", "message": "it broke"})
MEANT = {
    "text": (response(said("Hi")), "ok", None, "stop"),
    "call": (response(CALL), "ok", None, "tool_calls"),
    "reasoning before text": (response({"type": "reasoning", "summary": []}, said("Hi")), "ok", None, "stop"),
    "cut": (cut_by("max_output_tokens", said("H")), "ok", "cut", "length"),
    "cut in its reasoning": (cut_by("max_output_tokens", {"type": "reasoning"}), "ok", "cut", "length"),
    "filtered": (cut_by("content_filter", said("H")), "ok", "filtered", "content_filter"),
    "incomplete, nobody says why": (response(said("H"), status="incomplete"), "ok", "cut", "incomplete"),
    "refused": (response(REFUSED), "ok", "refused", "stop"),
    "empty": (response(said("")), "ok", "empty", "stop"),
    "only reasoning": (response({"type": "reasoning"}), "ok", "empty", "stop"),
    "only a search": (response({"type": "web_search_call"}), "ok", "empty", "stop"),
    "failed": (FAILED, "in_band_error", "server_error", None),
    "failed, nobody says why": (response(status="failed"), "in_band_error", "failed", None),
    "cancelled": (response(status="cancelled"), "in_band_error", "cancelled", None),
    "in progress": (response(said("H"), status="in_progress"), "in_band_error", "in_progress", None),
    "queued": (response(status="queued"), "in_band_error", "queued", None),
    "no output": (response(output=None), "in_band_error", "completed", None),
}


def judged(body, **more):
    return judge(Answer(0, 200, b"", body, sends=1, **more), b'{"input":"x"}')


@pytest.mark.parametrize("name", MEANT)
def test_what_an_answer_means_is_read_from_what_it_says(name):
    document, *meant = MEANT[name]
    verdict = judged(orjson.dumps(document))
    assert [verdict.outcome, verdict.reason, verdict.finish_reason] == meant
    assert (verdict.prompt_tokens, verdict.completion_tokens, verdict.total_tokens) == (5, 4, 9)


def test_a_response_that_is_not_finished_is_called_so():
    """It is none that lacks something, and asking again in the same way leads to no other."""
    (said,) = {judged(orjson.dumps(MEANT[name][0])).message for name in ("in progress", "queued")}
    wording(said)


def test_texts_calls_and_usage_have_the_words_of_a_chat():
    """The texts of an answer are one; calls are rows; cached and reasoning tokens are counted."""
    bodies = [response(said("It ", "is "), CALL, said("good")), response(CALL)]
    with fault_server([answer(each) for each in bodies]) as server:
        out = ASK.run(TABLE, connected(server), limits=tn.Limits(concurrency=1), progress=False)
    assert out.text.tolist()[0] == "It is good"
    assert pd.isna(out.text[1])
    assert out.calls[["row", "name", "arguments"]].to_numpy().tolist() == [
        [0, "weather", {"city": "Rome"}],
        [1, "weather", {"city": "Rome"}],
    ]
    assert out.usage.iloc[0].tolist()[:6] == [5, 3, 4, 2, 9, "m"]
    assert list(out.choices["finish_reason"]) == ["tool_calls", "tool_calls"]


def test_a_request_says_what_was_set_in_the_newer_form():
    """Nothing is kept by the server unless that is set; functions are flat; an answer's form is that of the text."""
    functions = [{"name": "f", "description": "d", "parameters": [{"name": "x", "type": "string"}]}]
    node = ASK.replace(system="Be brief", tools=functions, tool_choice="f", answer=["yes", "no"])
    body = node.check(TABLE).request(0).body
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    form = body["text"]["format"]
    assert (body["input"], body["instructions"], body["store"]) == ("Read good", "Be brief", False)
    assert body["tools"] == [
        {"type": "function", "strict": False, "name": "f", "description": "d", "parameters": schema}
    ]
    assert body["tool_choice"] == {"type": "function", "name": "f"}
    assert (form["type"], form["name"], form["strict"]) == ("json_schema", "answer", True)
    assert ASK.replace(store=True).check(TABLE).request(0).body["store"] is True


def test_columns_set_what_they_are_called_as():
    """``prompt`` and ``system`` are short for input and instructions; ``text`` is somebody's text."""
    table = pd.DataFrame({"prompt": ["p"], "system": ["s"], "text": ["t"], "previous_response_id": ["resp_0"]})
    body = tn.CreateResponse(model="m").check(table).request(0).body
    assert body == {
        "model": "m",
        "input": "p",
        "instructions": "s",
        "previous_response_id": "resp_0",
        "store": False,
    }
    read = tn.CreateResponse(model="m", prompt="{{ system }}: {{ prompt }}").check(table).request(0).body
    assert read["input"] == "s: p"
    assert "instructions" not in read


def test_images_stand_beside_the_text():
    body = ASK.replace(image="https://a.b/c.png").check(TABLE).request(0).body
    image = {"type": "input_image", "image_url": "https://a.b/c.png", "detail": "auto"}
    assert body["input"] == [{"role": "user", "content": [{"type": "input_text", "text": "Read good"}, image]}]


WRONG = {
    "prompt and input": {"input": "x"},
    "system and instructions": {"system": "s", "instructions": "i"},
    "answer and text": {"answer": int, "text": {"verbosity": "low"}},
    "a chat's messages": {"messages": []},
    "a chat's limit": {"max_tokens": 5},
    "a chat's format": {"response_format": {"type": "json_object"}},
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_that_contradict_each_other_or_are_a_chats_are_answered_with_the_way(name):
    with pytest.raises(tn.errors.SettingError) as error:
        tn.CreateResponse(**{"model": "m", "prompt": "p", **WRONG[name]})
    wording(str(error.value))


@pytest.mark.parametrize("settings", [{"background": True}, {"conversation": f"conv_{'a' * 40}"}])
def test_what_is_not_done_is_said_before_anything_is_sent(settings):
    """Answers that come later by the server's own way, and conversations that no server knows."""
    check = ASK.replace(**settings).check(TABLE)
    assert check.valid == 0
    wording(str(check.problems["message"].iloc[0]))


# --- streams ---------------------------------------------------------------------------------------------------------


def event(name, **data):
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name, **data}))


WHOLE = response({"type": "reasoning", "id": "r", "summary": []}, said("Good ", "morning"), CALL)
BEGUN = [
    event("response.created", response=response(status="in_progress", usage=None)),
    event("response.output_item.added", output_index=0, item={"type": "reasoning", "id": "r", "summary": []}),
    event("response.reasoning_summary_text.delta", output_index=0, summary_index=0, delta="Hm"),
    event("response.output_item.added", output_index=1, item={**said(), "status": "in_progress"}),
    event("response.output_text.delta", output_index=1, content_index=0, delta="Go"),
    event("response.output_text.delta", output_index=1, content_index=0, delta="od "),
    event("response.output_text.delta", output_index=1, content_index=1, delta="morning"),
    event("response.function_call_arguments.delta", output_index=2, delta='{"city": '),
    event("response.function_call_arguments.delta", output_index=2, delta='"Rome"}'),
]
ENDS = {
    "completed": (event("response.completed", response=WHOLE), "ok", None),
    "completed, and done": (event("response.completed", response=WHOLE) + b"data: [DONE]\n\n", "ok", None),
    "incomplete": (event("response.incomplete", response={**WHOLE, **cut_by("max_output_tokens")}), "ok", "cut"),
    "failed": (event("response.failed", response=FAILED), "in_band_error", "server_error"),
    "an error": (event("error", code="rate_limit_exceeded", message="slow"), "in_band_error", "rate_limit_exceeded"),
    "an error without a name": (b'data: {"type":"error","code":"c","message":"m"}\n\n', "in_band_error", "c"),
    "nothing": (b"", "stream_truncated", None),
    "done alone": (b"data: [DONE]\n\n", "stream_truncated", None),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_stream_is_whole_once_its_last_event_has_come(name):
    end, *meant = ENDS[name]
    verdict = judged(b"".join(BEGUN) + end)
    assert [verdict.outcome, verdict.reason] == meant


def test_a_stream_comes_to_the_body_that_would_have_come_at_once():
    whole = b"".join(BEGUN) + ENDS["completed"][0]
    assert orjson.loads(judged(whole).body) == WHOLE
    again = as_stream(assembled(whole), orjson.dumps(WHOLE))
    assert orjson.loads(judged(again).body) == WHOLE


def test_a_stream_whose_last_event_has_no_output_is_put_together_of_the_others():
    """Some gateways leave it out."""
    verdict = judged(b"".join(BEGUN) + event("response.completed", response={**WHOLE, "output": []}))
    output = orjson.loads(verdict.body)["output"]
    assert [part["text"] for part in output[1]["content"]] == ["Good ", "morning"]
    assert output[2]["arguments"] == CALL["arguments"]
    assert output[0]["summary"][0]["text"] == "Hm"


def test_a_stream_that_is_cut_anywhere_is_never_whole():
    whole = b"".join(BEGUN) + ENDS["completed"][0]
    outcomes = {judged(whole[:at], fault="disconnected").outcome for at in range(1, len(whole) - 3)}
    assert outcomes == {"stream_truncated"}


def test_the_text_of_a_stream_is_told_as_it_comes_and_its_request_asks_for_no_option():
    """Deltas that were left out are told at the end; the tokens are there without ``stream_options``."""
    told = []

    def react(exchange):
        exchange.send(message(b"".join(BEGUN[:5]) + ENDS["completed"][0], 200, {"Content-Type": "text/event-stream"}))

    with fault_server(react) as server:
        node = ASK.replace(stream=True)
        out = node.run(TABLE[:1], connected(server), progress=False, on_text=lambda row, text: told.append(text))
        (asked,) = server.requests
    assert "".join(told) == "Good morning"
    assert b"stream_options" not in asked.body
    assert orjson.loads(out.result["body"][0]) == WHOLE
    assert out.usage["total_tokens"][0] == 9


def test_odd_events_break_nothing():
    """Places that are no numbers, or far away, and parts that are none: nothing is kept for them."""
    odd = [
        event("response.output_text.delta", output_index="x", content_index=10**12, delta="a"),
        event("response.output_text.delta", output_index=10**12, content_index=-5, delta="b"),
        event("response.output_item.added", output_index=3, item={"type": "message", "content": "text"}),
        event("response.output_text.delta", output_index=3, delta="c"),
        event("response.output_text.delta", delta=["no text"]),
        event("response.nobody.knows", delta="d"),
    ]
    verdict = judged(b"".join(odd) + event("response.completed", response=response(said("ok"))))
    assert verdict.outcome == "ok"


# --- at other doors --------------------------------------------------------------------------------------------------


def test_a_workflow_knows_what_is_in_an_answer_and_chains_by_its_id():
    """A wrong step is named before anything is sent."""
    second = ASK.replace(prompt="More", previous_response_id="{{ outputs.first.id }}", store=True)
    flow = tn.Workflow({"first": ASK.replace(store=True), "second": second}, connection=tn.testing.canned("Hi"))
    assert all(found.valid == 2 for found in flow.check(TABLE).values())
    out = flow.run(TABLE, progress=False)
    assert list(out.table["second"]) == ["Hi", "Hi"]
    for step in ("output[0].content[0].text", "answer", "usage.input_tokens"):
        tn.Workflow({"first": ASK, "say": tn.Return(text=f"{{{{ outputs.first.{step} }}}}")}).check(TABLE)
    with pytest.raises(tn.errors.WorkflowError) as error:
        tn.Workflow({"first": ASK, "say": tn.Return(text="{{ outputs.first.text_ }}")}).check(TABLE)
    wording(str(error.value))


@pytest.mark.parametrize("mode", ["json_schema", "json_object", "tool"])
@pytest.mark.parametrize("stream", [None, True])
def test_canned_answers_have_the_form_that_a_request_asks_for(mode, stream):
    node = ASK.replace(answer={"stars": int}, answer_mode=mode, stream=stream)
    out = node.run(TABLE, tn.testing.canned({"stars": 4}), progress=False)
    assert list(out.answers["stars"]) == [4, 4]
    assert node.parse(out.result).answers.equals(out.answers)


def test_an_estimate_counts_the_prompt_and_the_form_of_the_answer():
    plain, formed = (node.estimate(TABLE) for node in (ASK, ASK.replace(answer=["yes", "no"], system="Be brief")))
    assert formed.input_tokens.likely > plain.input_tokens.likely
    assert formed.output_tokens.high < plain.output_tokens.high
    assert ASK.replace(max_output_tokens=16).estimate(TABLE).output_tokens.high == 32


def test_the_limit_of_an_answer_is_called_as_its_node_calls_it():
    """In an estimate, in a run's notes, and in what to do about answers that were cut."""
    prices = {"m": {"input": 1, "output": 1}}
    dear = tn.Limits(max_cost=0.02)
    out = ASK.run(pd.concat([TABLE] * 4), tn.testing.canned("Hi", prices=prices), limits=dear, progress=False)
    cut = ASK.replace(answer=int).run(TABLE, tn.testing.canned((200, cut_by("max_output_tokens"))), progress=False)
    cures = [cure(each, set_in_python, cut._provenance) for each in cut._failures()]
    told = [*ASK.estimate(TABLE).assumptions, *out.summary.notes, *cures]
    assert sum("max_output_tokens" in each for each in told) == 3
    assert not any("max_tokens" in each or "max_completion" in each for each in told)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_comes_has_an_outcome(seed):
    """A body or an event with odd values anywhere; all that reads answers takes it."""
    some = random.Random(seed)
    odd = [None, True, -1, "x", "", [], {}, [1], {"a": 1}, "response.completed"]

    def changed(value):
        if some.random() < 0.08:
            return some.choice(odd)
        if isinstance(value, dict):
            return {name: changed(each) for name, each in value.items() if some.random() > 0.03}
        return [changed(each) for each in value] if isinstance(value, list) else value

    events = [orjson.loads(each.split(b"data: ")[1]) for each in (*BEGUN, ENDS["completed"][0])]
    stream = b"".join(b"data: %b\n\n" % orjson.dumps(changed(each)) for each in events)
    for body in (stream, orjson.dumps(changed(WHOLE))):
        verdict = judged(body)
        assert verdict.outcome in OUTCOMES
        kept = (verdict.body or body).decode()
        assert TEXTS.text_in(kept) is None or call_table([kept], ["ok"], objects=True)
        assert choice_table(TEXTS, [kept], ["ok"])
        assert usage_columns([kept])


@pytest.mark.parametrize(
    "node",
    [ASK.replace(tools=[{"name": "f", "parameters": []}]), tn.CreateModeration(input="x")],
    ids=["tools", "moderation"],
)
def test_what_the_embedded_model_cannot_do_is_said_before_anything_is_sent(node):
    """It calls tools in a chat alone, and serves three endpoints."""
    with pytest.raises(tn.errors.SettingError) as error:
        node.check(TABLE, tn.Connection.local())
    wording(str(error.value))


def test_an_image_is_counted_as_one():
    """Whatever its base64 is."""
    url = f"data:image/png;base64,{'A' * 400_000}"
    node = ASK.replace(input=[{"role": "user", "content": [{"type": "input_image", "image_url": url}]}], prompt=None)
    assert tokens_of(orjson.dumps(node.check(TABLE).request(0).body)) < 2_000
    assert node.estimate(TABLE).input_tokens.high < 20_000


def test_a_kept_answer_is_read_as_what_it_is(tmp_path):
    """By its journal, and by another kind of node."""
    node = tn.CreateResponse(model="m", prompt="x", answer={"stars": int})
    out = node.run(TABLE, tn.testing.canned({"stars": 2}), journal=tmp_path / "j", progress=False)
    assert list(out.ids) == ["resp_canned"] * 2
    raw = tn.read_journal(tmp_path / "j")
    assert list(raw["total_tokens"]) == list(out.usage["total_tokens"])
    assert list(tn.CreateChatCompletion(answer={"stars": int}).parse(out.result).answers["stars"]) == [2, 2]
