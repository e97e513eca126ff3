"""Functions and tools of the embedded model: what its server is asked, and what comes back."""

from __future__ import annotations

import json
import sys

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import wording

import tablenodes as tn
from tablenodes.engine.calls import Answer, Call, Chunk, Request
from tablenodes.engine.outcomes.assembly import assembled
from tablenodes.local import FunctionCalls
from tablenodes.local.function_requests import BUDGET, contradiction, examples, plainly

REQUEST = Request("POST", "http://127.0.0.1:1/v1/chat/completions", ())
QUESTION = {"role": "user", "content": "What is the weather in Paris?"}
WEATHER = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ALARM = {"name": "set_alarm", "parameters": {"type": "object", "properties": {"hour": {"type": "integer"}}}}
TOOLS = [{"type": "function", "function": WEATHER}, {"type": "function", "function": ALARM}]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


class Scripted:
    """A transport that keeps what is begun, and returns the events that it is told to."""

    capacity = None

    def __init__(self):
        self.sent = []
        self.events = []
        self.cancelled = []
        self.closed = False

    def start(self, call):
        self.sent.append(call)

    def cancel(self, key):
        self.cancelled.append(key)

    def wait(self, seconds):
        events, self.events = self.events, []
        return events

    def close(self):
        self.closed = True


def body_of(**properties):
    return json.dumps({"model": "m", "messages": [QUESTION], **properties}).encode()


def completion(*texts, identity="chatcmpl-abc"):
    choices = [
        {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        for i, text in enumerate(texts)
    ]
    return json.dumps({"id": identity, "object": "chat.completion", "choices": choices}).encode()


def asked(**properties):
    """Return the request that the server gets."""
    body, _ = plainly(body_of(**properties))
    return json.loads(body)


def schema_asked(**properties):
    return asked(**properties)["response_format"]["json_schema"]["schema"]


def names_asked(**properties):
    return [variant["properties"]["name"]["const"] for variant in schema_asked(**properties)["anyOf"]]


def exchange(body, *answers, key=0):
    """Send one body through, have the server give events, and return what comes out."""
    inner = Scripted()
    transport = FunctionCalls(inner)
    transport.start(Call(key, REQUEST, body, 60.0))
    inner.events = list(answers)
    return transport.wait(0)


def message_from(text, **properties):
    [answer] = exchange(body_of(**properties), Answer(0, 200, b"", completion(text)))
    [choice] = json.loads(answer.body)["choices"]
    return choice["message"], choice["finish_reason"]


CALL_TEXT = '{"name": "get_weather", "arguments": {"city": "Paris"}}'


# What the server is asked


@pytest.mark.parametrize("stream", [{}, {"stream": True}])
def test_requests_without_functions_pass_untouched(stream):
    """The very same call goes on, and its answer comes back as it is."""
    inner = Scripted()
    transport = FunctionCalls(inner)
    call = Call(3, REQUEST, body_of(temperature=0, **stream), 60.0)
    transport.start(call)
    inner.events = [Chunk(3, b"data"), Answer(3, 200, b"", completion(CALL_TEXT))]
    expected = list(inner.events)
    assert inner.sent[0] is call
    assert transport.wait(0) == expected


def test_a_prompt_that_speaks_of_tools_passes_untouched():
    """Only a request's properties count, not its words."""
    body = json.dumps({"messages": [{"role": "user", "content": 'what is "tools" and "function"?'}]}).encode()
    assert plainly(body)[0] is body


def test_a_request_with_a_sound_schema_of_its_own_passes_untouched():
    """A response_format is looked into, and left as it is."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 1}}}
    body = body_of(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert plainly(body)[0] is body


def test_tools_become_a_schema_with_one_variant_each():
    """The answer must be a name and its arguments."""
    request = asked(tools=TOOLS)
    schema = request["response_format"]["json_schema"]["schema"]
    variants = [(v["properties"]["name"]["const"], v["properties"]["arguments"]["$ref"]) for v in schema["anyOf"]]
    assert variants == [("get_weather", "#/$defs/0"), ("set_alarm", "#/$defs/1")]
    assert schema["$defs"] == {"0": WEATHER["parameters"], "1": ALARM["parameters"]}


@pytest.mark.parametrize(
    "offer",
    [
        {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": True},
        {"functions": [WEATHER, ALARM], "function_call": "auto"},
    ],
    ids=["tools", "functions"],
)
def test_nothing_of_the_offer_is_left(offer):
    """The server, which would ignore it, does not get it."""
    request = asked(**offer)
    assert set(request) == {"model", "messages", "response_format"}
    assert names_asked(**offer) == ["get_weather", "set_alarm"]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"tool_choice": "auto"}, ["get_weather", "set_alarm"]),
        ({"tool_choice": "required"}, ["get_weather", "set_alarm"]),
        ({"tool_choice": None}, ["get_weather", "set_alarm"]),
        ({"tool_choice": {"type": "function", "function": {"name": "set_alarm"}}}, ["set_alarm"]),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "required",
                        "tools": [{"type": "function", "function": {"name": "get_weather"}}],
                    },
                }
            },
            ["get_weather"],
        ),
    ],
    ids=["auto", "required", "null", "named", "allowed"],
)
def test_the_choice_says_which_tools_may_be_called(choice, names):
    """tool_choice in each of its forms."""
    assert names_asked(tools=TOOLS, **choice) == names


def test_a_named_function_is_the_only_one():
    """function_call in its older form."""
    assert names_asked(functions=[WEATHER, ALARM], function_call={"name": "get_weather"}) == ["get_weather"]


@pytest.mark.parametrize(
    "offer", [{"tools": TOOLS, "tool_choice": "none"}, {"functions": [WEATHER], "function_call": "none"}]
)
def test_none_asks_for_words(offer):
    """The functions are dropped, and nothing else is changed."""
    assert asked(**offer) == json.loads(body_of())


def test_an_empty_list_of_tools_asks_for_words():
    """There is nothing to call."""
    assert asked(tools=[]) == json.loads(body_of())


def test_a_stream_of_a_call_is_asked_for_in_one_piece():
    """A call is of no use before it is whole."""
    request = asked(tools=TOOLS, stream=True, stream_options={"include_usage": True})
    assert "stream" not in request
    assert "stream_options" not in request


def test_a_stream_of_words_stays_a_stream():
    """Without a call to come, stream is the request's own."""
    assert asked(tools=TOOLS, tool_choice="none", stream=True)["stream"] is True


def test_a_function_without_parameters_takes_none():
    """Its arguments are an empty object."""
    assert schema_asked(functions=[{"name": "ping"}])["$defs"] == {"0": {"type": "object", "properties": {}}}


def test_references_inside_parameters_keep_their_meaning():
    """A schema that moves takes its own references with it."""
    parameters = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/kind"}, "b": {"items": [{"$ref": "#"}]}},
        "$defs": {"kind": {"enum": ["x"]}},
    }
    moved = schema_asked(functions=[ALARM, {"name": "f", "parameters": parameters}])["$defs"]["1"]
    assert moved["properties"] == {"a": {"$ref": "#/$defs/1/$defs/kind"}, "b": {"items": [{"$ref": "#/$defs/1"}]}}


@pytest.mark.parametrize(
    ("offer", "reference"),
    [
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nope"}}}, "#/functions/nope"),
        ({"functions": [WEATHER], "function_call": {"name": "nope"}}, "#/functions/nope"),
        ({"tools": [{"type": "custom", "custom": {"name": "shell"}}]}, "#/tools/custom"),
    ],
    ids=["tool", "function", "custom"],
)
def test_what_cannot_be_served_becomes_the_servers_own_error(offer, reference):
    """A reference that leads nowhere is refused with its name."""
    assert schema_asked(**offer) == {"$ref": reference}


@pytest.mark.parametrize(
    "schema",
    [
        {"minLength": 5, "maxLength": 2},
        {"items": {"minItems": 5, "maxItems": 2}},
        {"anyOf": [{}, {"minimum": 1.5, "maximum": 1}]},
        {"minProperties": 1, "maxProperties": 0},
        {"pattern": "^a{2,3}b{5,2}$"},
        {"minLength": 2, "maxLength": 2, "pattern": "^a{2,3}$"},
        {"properties": {"minLength": {"type": "integer"}, "maxLength": {"minLength": 1}}},
    ],
)
def test_bounds_that_contradict_each_other_are_found(schema):
    """The engine would take all memory there is over them."""
    wording(contradiction(schema))


def test_a_schema_that_nothing_satisfies_becomes_the_servers_own_error():
    """Whether it is the request's own or a function's."""
    impossible = {"type": "string", "minLength": 5, "maxLength": 2}
    own = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array", "items": impossible}}}
    function = {"name": "f", "parameters": {"type": "object", "properties": {"a": impossible}}}
    expected = {"$ref": "#/minLength is greater than maxLength"}
    assert schema_asked(response_format=own) == expected
    assert schema_asked(functions=[function]) == expected


def test_examples_come_after_the_system_message_and_before_the_conversation():
    """The author's instructions stay first, the question stays last."""
    system = {"role": "system", "content": "Be kind."}
    request = json.loads(plainly(body_of(messages=[system, QUESTION], tools=TOOLS))[0])
    roles = [message["role"] for message in request["messages"]]
    assert roles == ["system", *["user", "assistant"] * 4, "user"]
    assert (request["messages"][0], request["messages"][-1]) == (system, QUESTION)


def test_every_example_is_a_call_that_its_words_ask_for():
    """Each function is shown twice, with values that stand in the words before them, and differ."""
    parameters = {
        "type": "object",
        "properties": {
            "word": {"type": "string"},
            "unit": {"enum": ["C", "F"]},
            "count": {"type": ["null", "integer"]},
            "loud": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "number"}},
            "extra": {"type": "object"},
            "nothing": {"type": "null"},
            "any": True,
        },
    }
    turns = examples(({"name": "do_it", "parameters": parameters},))
    calls = [json.loads(turn["content"])["arguments"] for turn in turns[1::2]]
    assert turns[0]["content"].startswith("do it: word the red one, unit C, count 230, loud true, tags [4]")
    assert [call["unit"] for call in calls] == ["C", "F"]
    assert [call["loud"] for call in calls] == [True, False]
    assert calls[0]["extra"] == {}
    assert calls[0]["nothing"] is None
    assert calls[0]["word"] != calls[1]["word"]


def test_many_functions_get_fewer_examples():
    """The examples leave room for the request and its answer."""
    one = ({"name": "f", "description": "x" * 300},)
    assert len(examples(one * 5)) == 20
    assert len(examples(one * 10)) == 20
    assert examples(one * 20) == []
    assert sum(len(turn["content"]) for turn in examples(one * 10)) <= BUDGET


def test_calls_and_results_of_tools_are_said_in_words():
    """The model knows two roles; it is told in words what was called and what it gave."""
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris","d":2}'}}
    parts = [{"type": "text", "text": "12 degrees"}, {"type": "text", "text": "rain"}]
    conversation = [
        QUESTION,
        {"role": "assistant", "content": "One moment.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": parts},
    ]
    assert asked(messages=conversation)["messages"] == [
        QUESTION,
        {"role": "assistant", "content": "One moment.\nCalling get_weather with city Paris, d 2."},
        {"role": "user", "content": "The answer of get_weather is: 12 degrees\nrain"},
    ]


def test_calls_and_results_of_functions_are_said_in_words():
    """The older form; arguments that are no JSON are left out."""
    conversation = [
        QUESTION,
        {"role": "assistant", "content": None, "function_call": {"name": "ping", "arguments": "{oops"}},
        {"role": "function", "name": "ping", "content": None},
    ]
    assert asked(messages=conversation)["messages"][1:] == [
        {"role": "assistant", "content": "Calling ping."},
        {"role": "user", "content": "The answer of ping is: "},
    ]


def test_auto_answers_a_result_in_words():
    """Left alone, the model would call the same function for ever."""
    conversation = [QUESTION, {"role": "tool", "tool_call_id": "c1", "content": "rain"}]
    assert "response_format" not in asked(messages=conversation, tools=TOOLS)
    assert "response_format" in asked(messages=conversation, tools=TOOLS, tool_choice="required")


@pytest.mark.parametrize("legacy", [False, True])
def test_what_is_sent_is_itself_a_valid_request(legacy):
    """Nothing that the schema of the API would refuse is made up."""
    offer = {"functions": [WEATHER, ALARM]} if legacy else {"tools": TOOLS}
    assert tn.validate(asked(**offer)) == []


@settings(max_examples=30)
@given(JSON, JSON, JSON, st.sampled_from(["tools", "functions"]))
def test_a_request_of_any_shape_is_the_servers_to_judge(messages, offer, choice, name):
    """A body that is not the API's reaches the server; it never stops the run."""
    inner = Scripted()
    body = json.dumps({"messages": messages, name: offer, "tool_choice": choice, "function_call": choice}).encode()
    FunctionCalls(inner).start(Call(0, REQUEST, body, 60.0))
    assert len(inner.sent) == 1


@pytest.mark.parametrize("tools", ["x", [1], [{"type": "function", "function": "x"}], [{"type": "function"}]])
def test_tools_of_a_wrong_shape_are_sent_or_refused_and_never_raise(tools):
    """What only a schema of the user's own lets pass."""
    inner = Scripted()
    FunctionCalls(inner).start(Call(0, REQUEST, body_of(tools=tools), 60.0))
    assert len(inner.sent) == 1


# What comes back


def test_a_call_comes_back_as_a_tool_call():
    """The API's own shape: an id, a type, and arguments as text."""
    assert message_from(CALL_TEXT, tools=TOOLS) == (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_abc_0",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
                }
            ],
        },
        "tool_calls",
    )


def test_a_call_of_a_function_comes_back_in_the_older_shape():
    """functions are answered with function_call."""
    assert message_from(CALL_TEXT, functions=[WEATHER]) == (
        {
            "role": "assistant",
            "content": None,
            "function_call": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
        },
        "function_call",
    )


def test_every_choice_has_its_own_call():
    """With n above 1, ids differ."""
    [answer] = exchange(body_of(tools=TOOLS, n=2), Answer(0, 200, b"", completion(CALL_TEXT, CALL_TEXT)))
    calls = [choice["message"]["tool_calls"][0]["id"] for choice in json.loads(answer.body)["choices"]]
    assert calls == ["call_abc_0", "call_abc_1"]


@given(JSON)
def test_arguments_are_what_the_model_said(arguments):
    """Parsing their text gives them back, whatever they are."""
    message, _ = message_from(json.dumps({"name": "get_weather", "arguments": arguments}), tools=TOOLS)
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == arguments


@pytest.mark.parametrize(
    "body",
    [
        completion('{"name": "get_weather", "argum'),
        completion('{"name": "get_weather"}'),
        completion('{"name": "launch_rocket", "arguments": {}}'),
        completion("[]"),
        completion(None),
        b"",
        b"not JSON",
        b"[1]",
        b'{"choices": {}}',
        b'{"choices": [null, {"message": "x"}, {}]}',
    ],
)
def test_an_answer_that_is_no_call_stays_as_it_is(body):
    """A cut answer is a text; anything else is for the engine to judge."""
    [answer] = exchange(body_of(tools=TOOLS), Answer(0, 200, b"", body))
    assert answer.body is body


@pytest.mark.parametrize(
    "answer",
    [Answer(0, 400, b"", completion(CALL_TEXT)), Answer(0, 200, b"", completion(CALL_TEXT), fault="truncated")],
    ids=["status", "fault"],
)
def test_an_error_stays_as_it_is(answer):
    """Only a whole answer holds a call."""
    assert exchange(body_of(tools=TOOLS), answer) == [answer]


def test_each_answer_gets_the_shape_that_its_own_request_asked_for():
    """Calls in flight at the same time do not mix."""
    inner = Scripted()
    transport = FunctionCalls(inner)
    for key, body in enumerate([body_of(tools=TOOLS), body_of(functions=[WEATHER]), body_of()]):
        transport.start(Call(key, REQUEST, body, 60.0))
    inner.events = [Chunk(2, b"x"), *(Answer(key, 200, b"", completion(CALL_TEXT)) for key in (2, 1, 0))]
    events = transport.wait(0)
    shapes = {event.key: set(json.loads(event.body)["choices"][0]["message"]) for event in events[1:]}
    assert shapes == {
        0: {"role", "content", "tool_calls"},
        1: {"role", "content", "function_call"},
        2: {"role", "content"},
    }
    assert events[0] == Chunk(2, b"x")


def test_a_row_that_is_sent_again_is_told_again():
    """Every attempt is a request of its own."""
    inner = Scripted()
    transport = FunctionCalls(inner)
    call = Call(0, REQUEST, body_of(tools=TOOLS), 60.0)
    for status in (500, 200):
        transport.start(call)
        inner.events = [Answer(0, status, b"", completion(CALL_TEXT))]
        [answer] = transport.wait(0)
    assert inner.sent[0] == inner.sent[1]
    assert b"tool_calls" in answer.body


def test_a_cancelled_call_leaves_nothing_behind():
    """Another request of the same row is judged by itself."""
    inner = Scripted()
    transport = FunctionCalls(inner)
    transport.start(Call(0, REQUEST, body_of(tools=TOOLS), 60.0))
    transport.cancel(0)
    transport.start(Call(0, REQUEST, body_of(), 60.0))
    inner.events = [Answer(0, 200, b"", completion(CALL_TEXT))]
    [answer] = transport.wait(0)
    assert inner.cancelled == [0]
    assert answer.body == completion(CALL_TEXT)


def test_closing_closes_the_transport_inside():
    """And its capacity is the one inside."""
    inner = Scripted()
    transport = FunctionCalls(inner)
    assert transport.capacity is None
    inner.capacity = 7
    transport.close()
    assert (inner.closed, transport.capacity) == (True, 7)


def test_a_request_without_functions_costs_next_to_nothing():
    """A few byte searches: nothing is called for it, so nothing is parsed, and the very same body goes on."""
    body = body_of(messages=[{"role": "user", "content": "x" * 1000}])
    called = []

    def profile(frame, event, what):
        called.extend([what if event == "c_call" else frame.f_code.co_name] if "return" not in event else [])

    sys.setprofile(profile)
    try:
        given, offer = plainly(body)
    finally:
        sys.setprofile(None)
    assert called == ["plainly", sys.setprofile]
    assert (given is body, offer) == (True, None)


def test_the_form_of_a_response_is_said_as_a_chat_says_it():
    """This server reads no other; what no answer could satisfy it must refuse, as of a chat."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "answer", "strict": True, "schema": schema}
    body, offer = plainly(orjson.dumps({"input": "x", "text": {"format": form}}))
    assert offer is None
    assert orjson.loads(body) == {
        "input": "x",
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    }
    plain = orjson.dumps({"input": "x", "text": {"format": {"type": "text"}}})
    assert plainly(plain) == (plain, None)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("used", "status"), [(16, "incomplete"), (15, "completed")])
def test_a_response_that_has_all_its_tokens_was_cut(used, status, stream):
    """The server says of each that it is completed, in the last event where it is streamed."""
    whole = {"status": "completed", "output": [], "usage": {"output_tokens": used}}
    said = orjson.dumps(whole)
    if stream:
        event = orjson.dumps({"type": "response.completed", "response": whole})
        said = b'event: response.created\ndata: {"type":"response.created"}\n\n'
        said += b"event: response.completed\ndata: %b\n\n" % event
    transport = FunctionCalls(Answering(said))
    transport.start(Call(0, Request("POST", "http://x", ()), b'{"input":"x","max_output_tokens":16}', 60.0))
    (answer,) = transport.wait(0)
    body = orjson.dumps(assembled(answer.body).document()) if stream else answer.body
    assert orjson.loads(body)["status"] == status


class Answering:
    """A transport whose every answer is the same."""

    def __init__(self, body):
        self.body, self.keys = body, []

    def start(self, call):
        self.keys.append(call.key)

    def wait(self, seconds):
        return [Answer(key, 200, b"", self.body) for key in self.keys]
