"""Functions written the short way become what the API wants; what cannot be read is said with its place."""

from __future__ import annotations

import json

import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentences import wording
from servers import answer, fault_server
from short_functions import REPLY, WRITTEN_OUT

import tablenodes as tn
from tablenodes.bodies import simplified_functions as simplified
from tablenodes.errors import SettingError
from tablenodes.problems import Rejected


def with_parameter(**parameter):
    return [{"name": "f", "parameters": [{"name": "p", "type": "string", **parameter}]}]


# --- what becomes of them --------------------------------------------------------------------------------------------


def test_a_flat_list_of_parameters_becomes_a_schema():
    """The types, the words that are allowed, and those that are required."""
    assert simplified.functions([REPLY]) == [WRITTEN_OUT]


def test_a_tool_written_the_short_way_becomes_one_of_type_function():
    """The same parameters."""
    assert simplified.tools([REPLY]) == [{"type": "function", "function": WRITTEN_OUT}]
    bare = {"name": "now", "description": "The time"}
    assert simplified.tools([bare]) == [{"type": "function", "function": bare}]


@pytest.mark.parametrize("written", [WRITTEN_OUT, {"name": "f"}, "no function", 5])
def test_what_is_the_apis_own_is_left_alone(written):
    """It is the very same object; what is wrong with it the schema says."""
    assert simplified.functions([written])[0] is written
    assert simplified.tools([{"type": "function", "function": written}]) == [{"type": "function", "function": written}]
    assert simplified.tools([{"type": "web_search", "name": written}]) == [{"type": "web_search", "name": written}]
    assert simplified.functions(written) is written
    assert simplified.tools(written) is written


def test_no_parameters_at_all_are_an_empty_object():
    """A function that takes nothing."""
    made = simplified.functions([{"name": "f", "parameters": []}])
    assert made == [{"name": "f", "parameters": {"type": "object", "properties": {}}}]


def refused(call):
    """Return in one line why something cannot be read."""
    with pytest.raises(Rejected) as caught:
        call()
    assert caught.value.problem.rule == "function"
    return f"{caught.value.problem.path.removeprefix('$.')}: {caught.value.problem.message}"


@pytest.mark.parametrize("given_as", ["none", "auto"])
def test_modes_are_no_names(given_as):
    """They mean what they mean in the API."""
    assert simplified.function_call(given_as) == given_as
    assert simplified.tool_choice(given_as) == given_as
    assert simplified.tool_choice("required") == "required"


def test_a_name_means_the_function():
    """In the API's own shape."""
    assert simplified.function_call("f") == {"name": "f"}
    assert simplified.tool_choice("f") == {"type": "function", "function": {"name": "f"}}
    assert simplified.function_call({"name": "f"}) == {"name": "f"}


@pytest.mark.parametrize(
    ("parameter", "schema"),
    [
        ({"type": "integer", "enumValues": ["1", 2]}, {"type": "integer", "enum": [1, 2]}),
        ({"type": "number", "enumValues": ["0.5", 2]}, {"type": "number", "enum": [0.5, 2]}),
        ({"type": "boolean", "enumValues": ["true"]}, {"type": "boolean", "enum": [True]}),
        ({"enumValues": ["1", "true"]}, {"type": "string", "enum": ["1", "true"]}),
        ({"enum_values": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"required": "False"}, {"type": "string"}),
    ],
)
def test_values_are_of_the_parameters_type(parameter, schema):
    """Numbers may be written as texts; enum_values is the same as enumValues."""
    (made,) = simplified.functions(with_parameter(**parameter))
    assert made["parameters"] == {"type": "object", "properties": {"p": schema}}


WRONG = {
    "type": ({"type": "strng"}, "functions[0].parameters[0].type"),
    "no type": ({"type": None}, "functions[0].parameters[0].type"),
    "no name": ({"name": ""}, "functions[0].parameters[0].name"),
    "key": ({"enumValue": ["a"]}, "functions[0].parameters[0].enumValue"),
    "odd key": ({"can ary": 1}, "functions[0].parameters[0]"),
    "required": ({"required": "canary"}, "functions[0].parameters[0].required"),
    "enum": ({"enumValues": "canary"}, "functions[0].parameters[0].enumValues"),
    "no enum": ({"enumValues": []}, "functions[0].parameters[0].enumValues"),
    "both": ({"enumValues": ["a"], "enum_values": ["a"]}, "functions[0].parameters[0]"),
    "enum type": ({"enumValues": ["1", "canary"], "type": "integer"}, "functions[0].parameters[0].enumValues[1]"),
    "enum truth": ({"enumValues": [True], "type": "number"}, "functions[0].parameters[0].enumValues[0]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_is_said_with_its_place(name):
    """One line, the nearest name, and never a value."""
    parameter, place = WRONG[name]
    message = refused(lambda: simplified.functions(with_parameter(**parameter)))
    assert message.startswith(f"{place}: ")
    wording(message)
    assert "canary" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("listing", "twins"),
    [
        ("functions", [{"name": "f"}, {"name": "g"}, {"name": "f"}]),
        ("tools", [{"name": "f"}, {"type": "custom"}, {"type": "function", "function": {"name": "f"}}]),
    ],
)
def test_two_functions_of_one_name_are_refused(listing, twins):
    """Nobody could tell which is called; those without a name are the API's to refuse."""
    wording(refused(lambda: simplified.WRITTEN_OUT[listing](twins)))
    assert len(simplified.WRITTEN_OUT[listing]([*twins[:2], {}, {}, "None", {"name": "None"}])) == 6


def test_a_value_is_listed_once():
    """One and true are two values; a text that is read as a number is that number."""
    wording(refused(lambda: simplified.functions(with_parameter(enumValues=["a", "b", "a"]))))
    wording(refused(lambda: simplified.functions(with_parameter(type="integer", enum_values=[1, "1"]))))
    simplified.functions(with_parameter(type="array", enumValues=[[1], [True]]))


def test_a_parameter_that_is_no_mapping_or_there_twice_is_said():
    """Each by its place."""
    wording(refused(lambda: simplified.functions([{"name": "f", "parameters": ["canary"]}])))
    twice = [{"name": "p", "type": "string"}] * 2
    wording(refused(lambda: simplified.tools([{"name": "f", "parameters": twice}])))
    wording(refused(lambda: simplified.functions([{"name": "f", "descripton": "x", "parameters": []}])))


@pytest.mark.parametrize("listing", ["functions", "tools"])
@pytest.mark.parametrize("key", ["paramters", "params", "Parameters"])
def test_a_flat_list_under_nearly_its_name_is_refused(listing, key):
    """A function without its parameters would be sent."""
    wording(refused(lambda: simplified.WRITTEN_OUT[listing]([{"name": "f", key: REPLY["parameters"]}])))


def test_a_list_of_names_is_no_list_of_parameters():
    """Some servers have keys of their own: they are sent as they are."""
    function = {"name": "f", "parameter_order": ["a", "b"]}
    assert simplified.WRITTEN_OUT["functions"]([function]) == [function]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*REPLY, *REPLY["parameters"][0], "function"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_a_cell_holds_is_written_out_refused_or_left_alone(value):
    """Never a failure of ours, and what was given is not changed."""
    before = orjson.dumps(value)
    for write_out in simplified.WRITTEN_OUT.values():
        try:
            made = write_out(value)
            simplified.check_named({"functions": made, "tools": made, "function_call": made, "tool_choice": made})
            orjson.dumps(made)
        except Rejected:
            continue
    assert orjson.dumps(value) == before


# --- in a node -------------------------------------------------------------------------------------------------------

ASK = tn.CreateChatCompletion(model="m", prompt="{{ review }}", functions=[REPLY], function_call="respond_to_review")
SAID = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}


def sent(node, table):
    with fault_server(answer(SAID)) as server:
        out = node.run(table, tn.Connection(server.url), progress=False)
    return out, [orjson.loads(request.body) for request in server.requests]


def reviews(**columns):
    return pd.DataFrame({"review": ["good"], **{name: [value] for name, value in columns.items()}})


def test_a_node_sends_them_written_out():
    """As settings."""
    _, (body,) = sent(ASK, reviews())
    assert body["functions"] == [WRITTEN_OUT]
    assert body["function_call"] == {"name": "respond_to_review"}


def test_tools_are_sent_written_out():
    """As settings."""
    node = tn.CreateChatCompletion(model="m", prompt="x", tools=[REPLY], tool_choice="respond_to_review")
    _, (body,) = sent(node, reviews())
    assert body["tools"] == [{"type": "function", "function": WRITTEN_OUT}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "respond_to_review"}}


def test_cells_and_rendered_templates_are_written_out_too():
    """Whether they come by their column's name, by col() or by a placeholder."""
    bare = tn.CreateChatCompletion(model="m", prompt="{{ review }}")
    columns = {"functions": json.dumps([REPLY]), "function_call": "respond_to_review"}
    _, (body,) = sent(bare, reviews(**columns))
    assert (body["functions"], body["function_call"]) == ([WRITTEN_OUT], {"name": "respond_to_review"})
    _, (body,) = sent(ASK.replace(function_call="respond_to_{{ what }}"), reviews(what="review"))
    assert body["function_call"] == {"name": "respond_to_review"}
    _, (body,) = sent(bare.replace(tools=tn.col("t")), reviews(t=[REPLY]))
    assert body["tools"] == [{"type": "function", "function": WRITTEN_OUT}]


@pytest.mark.parametrize(
    "settings",
    [
        {"function_call": "respond_to_reviews"},
        {"function_call": "x"},
        {"function_call": {"name": "x"}},
        {"function_call": "Auto"},
        {"tool_choice": "requierd", "function_call": None},
        {"functions": None},
        {"function_call": None, "tool_choice": "x"},
        {"tool_choice": "reply", "tools": [REPLY]},
        {"functions": with_parameter(type="text")},
    ],
)
def test_a_setting_that_cannot_be_read_is_refused_before_anything_is_sent(settings):
    """By check and by run, with its place and the nearest name."""
    node = ASK.replace(**settings)
    with wording.raises(SettingError):
        node.check(reviews())
    with fault_server(answer(SAID)) as server, wording.raises(SettingError):
        node.run(reviews(), tn.Connection(server.url), progress=False)
    assert server.requests == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"functions": [{"name": "f", "paramters": {}}]}, "functions[0].paramters"),
        ({"functions": [{"name": "f", "cache_control": 1}]}, "functions[0].cache_control"),
        ({"functions": [{"name": "f", "so so": 1}]}, "a key of functions[0]"),
        (
            {"tools": [{"name": "f", "desciption": ""}]},
            "tools[0].function.desciption",
        ),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "x_y": 1}},
                    {"type": "custom", "custom": {"name": "c"}},
                ]
            },
            "tools[0].function.x_y",
        ),
        ({"extra_body": {"functions": [{"name": "f", "x_y": 1}]}}, "extra_body.functions[0].x_y"),
        ({"functions": '[{"name": "f", "x_y": 1}]'}, "functions[0].x_y"),
    ],
)
def test_a_key_of_a_function_that_the_api_does_not_know_is_a_warning(settings, expected):
    """It is sent: servers add keys of their own."""
    node = tn.CreateChatCompletion(model="m", prompt="{{ review }}", **settings)
    assert node.check(reviews()).warnings[0].startswith(expected)
    wording(node.check(reviews()).warnings[0])
    _, bodies = sent(node, reviews())
    assert len(bodies) == 1


def test_a_cell_that_cannot_be_read_ends_its_row_alone():
    """Its message holds nothing of it."""
    table = pd.DataFrame({"review": ["a"] * 3, "call": ["respond_to_review", "canary", None]})
    out, bodies = sent(ASK.replace(function_call=tn.col("call")), table)
    assert list(out.log["outcome"]) == ["ok", "invalid_request", "ok"]
    error = orjson.loads(out.result["body"][1])["error"]
    assert error["param"] == "$.function_call"
    assert "canary" not in error["message"]
    assert sorted("function_call" in body for body in bodies) == [False, True]
    out, bodies = sent(ASK.replace(functions=tn.col("f")), reviews(f=json.dumps(with_parameter(type="canary"))))
    error = orjson.loads(out.result["body"][0])["error"]
    assert bodies == []
    assert error["param"] == "$.functions[0].parameters[0].type"
    assert "canary" not in error["message"]


def test_names_of_functions_from_cells_are_not_repeated():
    """They are somebody's text."""
    table = reviews(functions=json.dumps([{"name": "canary_one"}]), function_call="canary_two")
    found = tn.CreateChatCompletion(model="m", prompt="x").check(table)
    assert list(found.problems["path"]) == ["$.function_call"]
    assert "canary" not in found.problems["message"][0]


# --- numbers given as texts ------------------------------------------------------------------------------------------

TEXTS = {
    "temperature": ("0.5", 0.5),
    "top_p": ("0.9", 0.9),
    "n": ("2", 2),
    "max_tokens": ("16", 16),
    "presence_penalty": ("-1.5", -1.5),
    "frequency_penalty": ("1", 1),
    "logit_bias": ({"50256": "-100", "7": 5}, {"50256": -100, "7": 5}),
    "stop": (["a", "b", "c", "d"], ["a", "b", "c", "d"]),
    "user": ("u", "u"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_numbers_may_be_given_as_texts(name):
    """As settings and as cells; a template renders to text."""
    text, expected = TEXTS[name]
    node = tn.CreateChatCompletion(model="m", prompt="x")
    _, (by_setting,) = sent(node.replace(**{name: text}), reviews())
    cell = json.dumps(text) if isinstance(text, dict) else text
    _, (by_cell,) = sent(node.replace(**{name: tn.col("cell")}), reviews(cell=cell))
    assert by_setting[name] == by_cell[name] == expected
    if isinstance(text, str):
        _, (by_template,) = sent(node.replace(**{name: "{{ cell }}"}), reviews(cell=cell))
        assert by_template[name] == expected


def test_more_than_four_stops_are_refused():
    """As the API does, and before it."""
    found = tn.CreateChatCompletion(model="m", prompt="x", stop=list("abcde")).check(reviews())
    assert list(found.problems["path"]) == ["$.stop"]
