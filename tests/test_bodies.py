"""From settings and cells to a request body: where each property comes from, and what it becomes."""

from __future__ import annotations

import time
from types import MappingProxyType

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentences import wording

import tablenodes as tn
from tablenodes import schemas
from tablenodes.bodies.body_plan import BodyPlan
from tablenodes.bodies.request_form import NAMED_ONLY
from tablenodes.nodes.node import setting_names
from tablenodes.problems import Rejected, Unfit
from tablenodes.run.rows import Context, PlanInputs, prepared
from tablenodes.tables import view

MESSAGES = [{"role": "user", "content": "p"}]


def plan_of(node, columns, **more):
    return BodyPlan(node._recipe(), schemas.load(node.schema, node._declared.operation), columns, **more)


def encoded(node, /, cells=None, **more):
    cells = cells or {}
    plan = plan_of(node, list(cells), **more)
    return orjson.loads(plan.encode(tuple(cells[name] for name in plan.columns)))


def rejected(node, cells):
    with pytest.raises(Rejected) as caught:
        encoded(node, cells)
    return caught.value.problems


def chat(**settings):
    return tn.CreateChatCompletion(**{"model": "m"} | settings)


# Where a property comes from.


def test_a_setting_goes_before_a_column_and_a_column_before_the_body():
    """Highest first: the node's setting, the column of the same name, the row's body."""
    body = {"model": "b", "messages": MESSAGES, "temperature": 0.1, "top_p": 0.1, "max_tokens": 1}
    cells = {"body": orjson.dumps(body).decode(), "top_p": 0.2, "temperature": 0.2}
    assert encoded(tn.CreateChatCompletion(temperature=0.3), cells) == body | {"temperature": 0.3, "top_p": 0.2}


def test_a_null_cell_leaves_the_property_to_the_next_source():
    """A null cell says nothing."""
    assert encoded(chat(prompt="p"), {"temperature": None}) == {"model": "m", "messages": MESSAGES}
    body = {"model": "b", "messages": MESSAGES, "temperature": 0.1}
    assert encoded(tn.CreateChatCompletion(), {"body": body, "temperature": None}) == body


@pytest.mark.parametrize("name", sorted(NAMED_ONLY & set(setting_names(tn.CreateChatCompletion))))
def test_some_columns_are_taken_only_when_named(name):
    """A table may well use n, user or store for something else."""
    prediction = {"type": "content", "content": "c"}
    value = {"n": 2, "user": "u", "store": True, "metadata": {"a": "b"}, "stream": False, "seed": 3, "stop": "s"}.get(
        name, prediction
    )
    assert name not in encoded(chat(prompt="p"), {name: value})
    assert encoded(chat(prompt="p", columns=[name]), {name: value})[name] == value


def test_columns_can_be_chosen_or_none_taken():
    """A list takes exactly those; an empty one takes none, the body neither."""
    cells = {"temperature": 1, "top_p": 1, "body": orjson.dumps({"n": 2}).decode()}
    assert encoded(chat(prompt="p", columns=["top_p"]), cells) == {"model": "m", "messages": MESSAGES, "top_p": 1}
    assert encoded(chat(prompt="p", columns=()), cells) == {"model": "m", "messages": MESSAGES}


@pytest.mark.parametrize(
    "columns",
    [["temprature"], ["seed"], ["base_url"]],
)
def test_a_column_that_cannot_be_taken_is_said(columns):
    """With the nearest name."""
    with wording.raises(tn.errors.UsageError):
        plan_of(chat(prompt="p", columns=columns), ["temperature"])


@given(
    st.sampled_from(
        ["base_url", "api_key", "headers", "Authorization", "extra_headers", "timeout", "url", "method", "proxy"]
    ),
    st.text(),
)
def test_a_cell_never_sets_more_than_the_body(name, value):
    """Columns named like connection settings are passed through and nothing else."""
    assert encoded(chat(prompt="p"), {name: value}) == {"model": "m", "messages": MESSAGES}


def test_extra_body_is_put_on_top_and_may_hold_nulls_and_columns():
    """For properties of a certain server, and for an explicit null."""
    node = chat(prompt="p", extra_body={"top_k": 5, "stop": None, "min_p": tn.col("m")})
    assert encoded(node, {"m": 0.5, "stop": "x"}) == {
        "model": "m",
        "messages": MESSAGES,
        "top_k": 5,
        "stop": None,
        "min_p": 0.5,
    }


def test_a_default_fills_what_nobody_sets():
    """The embedded model supplies its own name."""
    node = tn.CreateChatCompletion(prompt="p")
    assert encoded(node, {}, defaults={"model": "small"})["model"] == "small"
    assert encoded(node, {"model": "mine"}, defaults={"model": "small"})["model"] == "mine"
    assert encoded(node, {"model": None}, defaults={"model": "small"})["model"] == "small"


# The body column.


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ('{"choices": []}', "answer"),
        ({"error": {}}, "answer"),
        ("[1]", "type"),
        ("7", "type"),
        ("{", "json"),
        (Unfit("is bytes"), "cell"),
    ],
)
def test_a_body_that_is_no_request_is_said(cell, rule):
    """An answer that was left in the table is told from a request."""
    (problem,) = rejected(tn.CreateChatCompletion(), {"body": cell})
    assert problem.rule == rule
    wording(problem.message)


@pytest.mark.parametrize("cell", ["Dear all", "7"])
def test_a_body_that_is_no_request_names_the_way_out(cell):
    """A column may well be called body and hold no requests: how it is left alone is said, at both doors."""
    (problem,) = rejected(chat(prompt="p"), {"body": cell})
    wording.line(problem.message)


@pytest.mark.parametrize(
    "reading",
    [
        {"prompt": "Summarise: {{ body }}"},
        {"prompt": "Summarise: {{ row['body'] | upper }}"},
        {"prompt": "{{ row }}"},
        {"prompt": tn.col("body")},
        {"messages": [{"role": "user", "content": tn.col("body")}]},
        {"prompt": "p", "extra_body": {"own": tn.col("body")}},
    ],
)
def test_a_column_body_that_a_setting_reads_is_no_request(reading):
    """The body of an e-mail sets nothing, whatever stands in it."""
    body = encoded(chat(**reading), {"body": '{"temperature": 2, "top_p": 0.5}'})
    assert not {"temperature", "top_p"} & set(body)


def test_a_column_body_that_a_setting_reads_is_a_request_where_it_is_named():
    """What is asked for by name is done."""
    node = chat(prompt="Explain: {{ body }}", columns=["body"])
    assert encoded(node, {"body": '{"temperature": 2}'})["temperature"] == 2


def test_a_check_says_that_a_column_body_is_read_and_no_request():
    """It stands where the request column would be named."""
    plan = plan_of(chat(prompt="Summarise: {{ body }}"), ["subject", "body"])
    assert plan.taken == ()
    assert (
        plan.sources["(all others)"] == 'left out: messages reads column body (columns=["body"] takes requests from it)'
    )
    assert "(all others)" not in plan_of(chat(prompt="p", columns=()), ["body"]).sources


def test_a_whole_body_is_sent_as_it_is():
    """Text or mapping, with properties the schema does not know and with explicit nulls."""
    body = {"model": "m", "messages": MESSAGES, "stop": None, "own": {"a": [1, 2.5, None]}}
    assert encoded(tn.CreateChatCompletion(), {"body": body}) == body
    assert encoded(tn.CreateChatCompletion(), {"body": orjson.dumps(body).decode()}) == body


def test_a_whole_body_is_typed_like_any_other_value():
    """Texts become numbers where only numbers are allowed."""
    body = {"model": "m", "messages": MESSAGES, "temperature": "0.5", "max_tokens": 16.0}
    assert encoded(tn.CreateChatCompletion(), {"body": body}) == body | {"temperature": 0.5, "max_tokens": 16}


@pytest.mark.parametrize("column", ["body", "response_format", "own"])
def test_an_integer_of_more_than_64_bits_is_refused_rather_than_rounded(column):
    """Exact, or invalid."""
    messages = '[{"role": "user", "content": "x"}]'
    long = f'{{"model": "m", "messages": {messages}, "type": "text", "own": 123456789012345678901234}}'
    if column == "own":
        node = tn.CreateChatCompletion(model="m", prompt="p", max_completion_tokens=tn.col("own"))
        assert rejected(node, {"own": "9007199254740993.0"})[0].path == "$.max_completion_tokens"
    else:
        node = tn.CreateChatCompletion(**({} if column == "body" else {"model": "m", "prompt": "p"}))
        assert rejected(node, {column: long})


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "false", "False"])
def test_truth_is_read_as_spreadsheets_and_pandas_write_it(text):
    """In any case of letters, where the schema admits booleans and no text."""
    assert encoded(chat(prompt="p"), {"logprobs": text})["logprobs"] is (text.lower() == "true")


# Prompt and system.


def test_prompt_and_system_become_messages():
    """One user message, a system message before it."""
    assert encoded(chat(prompt="p"))["messages"] == MESSAGES
    assert encoded(chat(prompt="p", system="s"))["messages"] == [{"role": "system", "content": "s"}, *MESSAGES]
    assert encoded(chat(prompt="{{ a }}", system="{{ b }}!"), {"a": "p", "b": "s"})["messages"] == [
        {"role": "system", "content": "s!"},
        *MESSAGES,
    ]


def test_a_prompt_column_does_the_same():
    """A system setting goes with it."""
    assert encoded(chat(), {"prompt": "p"})["messages"] == MESSAGES
    assert encoded(chat(system="s"), {"prompt": "p"})["messages"] == [{"role": "system", "content": "s"}, *MESSAGES]
    assert encoded(chat(columns=["prompt", "system"]), {"prompt": "p", "system": "s"})["messages"][0]["content"] == "s"


@pytest.mark.parametrize(
    ("node", "cells"),
    [
        (chat(), {"prompt": "p"}),
        (chat(prompt="{{ a }}"), {"a": "p"}),
        (chat(prompt="p"), {}),
        (chat(prompt="p", columns=["system"]), {}),
        (chat(columns=["prompt", "system"]), {"prompt": "p"}),
    ],
)
def test_a_system_column_goes_with_a_prompt(node, cells):
    """As system= does, whether the prompt is a column or a setting; a null cell makes no message."""
    plan = plan_of(node, (*cells, "system"))
    assert [*plan.taken][-1] == "system"
    assert encoded(node, cells | {"system": "s"})["messages"] == [{"role": "system", "content": "s"}, *MESSAGES]
    assert encoded(node, cells | {"system": None})["messages"] == MESSAGES


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "{{ system }}"},
        {"prompt": "{{ row }}"},
        {"prompt": "p", "columns": ()},
        {"prompt": "p", "system": "s"},
        {"messages": MESSAGES},
    ],
)
def test_a_system_column_that_is_read_or_unwanted_is_not_used_again(settings):
    """What is set, and what reads the column, goes first."""
    plan = plan_of(chat(**settings), ("system",))
    assert "system" not in plan.taken
    assert [line.place for line in plan.passed_over] == (["system"] if "messages" in settings else [])


def test_a_null_prompt_makes_no_message_at_all():
    """The row lacks its messages; it is not sent with the system message alone."""
    (problem,) = rejected(chat(system="s"), {"prompt": None})
    assert (problem.path, problem.rule) == ("$.messages", "required")


def test_a_null_system_text_makes_no_system_message():
    """The prompt is sent alone."""
    assert encoded(chat(prompt="p", system=tn.col("s")), {"s": None})["messages"] == MESSAGES


def test_what_does_not_go_together_is_an_error_before_any_row():
    """Two ways to say the messages, or half of one."""
    with wording.raises(tn.errors.SettingError):
        chat(prompt="p", messages=MESSAGES)
    with wording.raises(tn.errors.SettingError):
        plan_of(chat(system="s"), ["messages"])
    with wording.raises(tn.errors.ColumnError):
        plan_of(chat(), ["prompt", "messages"])
    with wording.raises(tn.errors.SettingError):
        chat(prompt="p", temperature=1, extra_body={"temperature": None})


def test_in_completions_prompt_is_the_apis_own():
    """A text, or lists of texts and tokens."""
    node = tn.CreateCompletion(model="m")
    for prompt in ("p", ["a", "b"], [1, 2], [[1], [2]]):
        assert encoded(node, {"prompt": prompt})["prompt"] == prompt
    assert encoded(tn.CreateCompletion(model="m", prompt=["{{ a }}", "b"]), {"a": "x"})["prompt"] == ["x", "b"]


# Columns inside settings.


def test_a_column_may_stand_anywhere_in_a_setting():
    """A null cell leaves its key, or its item, out."""
    node = chat(messages=[{"role": "user", "content": tn.col("q"), "name": tn.col("who")}, tn.col("more")])
    assert encoded(node, {"q": "x", "who": None, "more": None})["messages"] == [{"role": "user", "content": "x"}]
    more = {"role": "user", "content": "y"}
    assert encoded(node, {"q": "x", "who": "n", "more": more})["messages"] == [
        {"role": "user", "content": "x", "name": "n"},
        more,
    ]


FUNCTION = {
    "name": "set_{{ c }}",
    "description": "For {{ c }}",
    "parameters": [{"name": "to", "description": "{{ c }}", "type": "string", "enumValues": ["{{ c }}", "none"]}],
}
WRITTEN_OUT = {
    "name": "set_X",
    "description": "For X",
    "parameters": {
        "type": "object",
        "properties": {"to": {"type": "string", "description": "X", "enum": ["X", "none"]}},
    },
}


@pytest.mark.parametrize(
    ("name", "given", "sent"),
    [
        ("stop", ["{{ c }}", "END"], ["X", "END"]),
        ("functions", [FUNCTION], [WRITTEN_OUT]),
        ("tools", [FUNCTION], [{"type": "function", "function": WRITTEN_OUT}]),
        ("tools", orjson.dumps([FUNCTION]).decode(), [{"type": "function", "function": WRITTEN_OUT}]),
        ("logit_bias", {"7": "{{ k }}"}, {"7": 5}),
        ("metadata", {"id": "{{ k }}"}, {"id": "5"}),
        ("extra_body", {"guided_choice": ["{{ c }}", "no"]}, ["X", "no"]),
        ("extra_body", {"top_k": "{{ k }}"}, 5),
        ("extra_body", {"min_p": "{{ k / 2 }}"}, 2.5),
        ("extra_body", {"session": "{{ digits }}"}, "07"),
        ("extra_body", {"session": "s{{ k }}"}, "s5"),
        ("extra_body", {"temperature": "{{ k / 5 }}"}, 1),
    ],
)
def test_placeholders_are_filled_in_wherever_a_text_stands(name, given, sent):
    """In lists and objects of every setting; a number stays one where the schema says nothing."""
    property_ = next(iter(given)) if name == "extra_body" else name
    cells = {"c": "X", "k": 5, "digits": "07"}
    node = chat(prompt="p", **{name: given})
    assert encoded(node, cells)[property_] == sent
    assert node.check(pd.DataFrame({name: [cell] for name, cell in cells.items()})).valid == 1


def test_placeholders_are_text_in_a_literal_and_in_names():
    """A name that looks like one is said, by a check and a run."""
    assert encoded(chat(prompt=tn.literal("{{ f }}")))["messages"][0]["content"] == "{{ f }}"
    assert encoded(chat(messages=[{"role": "user", "content": tn.literal("{{")}]))["messages"][0]["content"] == "{{"
    node = chat(prompt="p", metadata={"{{ f }}": "x"}, answer={"kind": ["{{ f }}", "b"]})
    assert encoded(node)["metadata"] == {"{{ f }}": "x"}
    plan = plan_of(node, ["f"])
    wording("\n".join(plan.passed_over))
    assert [line.place for line in plan.passed_over] == ["metadata", "answer"]
    assert set(plan.passed_over) <= set(plan.warnings)


def test_a_placeholder_in_a_function_must_name_a_column():
    """The place inside the setting is named."""
    with wording.raises(tn.errors.ColumnError) as raised:
        chat(prompt="p", functions=[FUNCTION]).check(pd.DataFrame({"d": [1]}))
    assert raised.value.place == "functions[0].name"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *(("tool_choice", "{'type': 'function'}"), ("function_call", "{bad"), ("function_call", "[1]")),
        *(("functions", "[{'name': 'f'}]"), ("functions", "f"), ("logit_bias", "{'5': 1}"), ("logit_bias", "5: 1")),
    ],
)
def test_a_text_that_was_to_be_json_is_named_as_what_it_is(name, given):
    """A Python list or dict, or where it is no JSON: in a setting and in a cell alike."""
    found = chat(prompt="p", columns=[name]).check(pd.DataFrame({name: [given]}))
    assert found.valid == 0
    wording(next(iter(found.lines())))
    if name in ("tool_choice", "function_call"):
        with wording.raises(tn.errors.SettingError):
            chat(prompt="p", **{name: given}).check(pd.DataFrame({"x": [1]}))


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "{{ p | default(none) }}"},
        {"prompt": "{{p|d(None)}}", "columns": ()},
        {"extra_body": {"prompt": "{{ p | default(none) }}"}},
    ],
    ids=str,
)
def test_a_prompt_of_a_completion_is_null_where_its_author_says_so(settings):
    """Else an empty cell leaves it out; a cell that says null is a text."""
    node = tn.CreateCompletion(model="m", **settings)
    assert [encoded(node, {"p": cell})["prompt"] for cell in (None, "null", "x", "")] == [None, "null", "x", ""]
    assert "prompt" not in plan_of(tn.CreateCompletion(model="m", prompt=tn.col("p")), ["p"]).build((None,))


@pytest.mark.parametrize(
    ("kind", "settings", "places"),
    [
        (tn.CreateCompletion, {"best_of": 1, "n": 2}, ["best_of"]),
        (tn.CreateCompletion, {"best_of": 2, "stream": True}, ["best_of"]),
        (tn.CreateCompletion, {"best_of": 2, "n": 2, "stream": False}, []),
        (tn.CreateCompletion, {"best_of": 1, "n": 1, "stream": True}, []),
        (tn.CreateChatCompletion, {"top_logprobs": 2}, ["top_logprobs"]),
        (tn.CreateChatCompletion, {"top_logprobs": 2, "logprobs": "{{ yes }}"}, []),
        (tn.CreateChatCompletion, {"stream_options": {"include_usage": True}}, ["stream_options"]),
        (tn.CreateChatCompletion, {"stream_options": {"include_usage": True}, "stream": True}, []),
        (tn.CreateChatCompletion, {"image": {"url": tn.literal("data:image/png;base64,AA==")}}, []),
    ],
)
def test_a_rule_that_the_documents_state_in_prose_is_a_warning_of_check(kind, settings, places):
    """One line, however many rows; the rows can be sent."""
    found = kind(model="m", prompt="{{ x }}", **settings).check(
        pd.DataFrame({"x": ["a", "b"], "yes": ["true", "true"]})
    )
    assert (found.valid, [line.place for line in found.warnings]) == (2, places)
    wording("\n".join(found.warnings))


@pytest.mark.parametrize(
    ("url", "said"), [("cat.png", 1), ("https://x.example/cat.png", 0), ("data:,", 0), ("C:\\a", 1)]
)
def test_an_image_url_that_is_no_uri_is_a_warning_of_check(url, said):
    """A path is one of the sender's machine."""
    parts = [{"type": "image_url", "image_url": {"url": "{{ url }}"}}]
    found = chat(messages=[{"role": "user", "content": parts}]).check(pd.DataFrame({"url": [url]}))
    assert [line.place for line in found.warnings] == ["messages"] * said


@pytest.mark.parametrize("kind", [tn.CreateChatCompletion, tn.CreateCompletion])
def test_an_empty_cell_of_a_required_property_is_said_with_its_column(kind):
    """And how null is sent, where the schema admits it."""
    found = kind(model="m", prompt=tn.col("p")).check(pd.DataFrame({"p": ["a", None]}))
    wording(found.problems["message"][0])


@pytest.mark.parametrize("stop", ['["a","b"', '{"a":1}', "{{ w }}, b"])
def test_a_stop_that_was_probably_meant_as_a_list_is_said(stop):
    """Broken JSON, JSON of another kind, and texts with commas between; it is sent as it is."""
    found = tn.CreateChatCompletion(model="m", prompt="{{ w }}", stop=stop).check(pd.DataFrame({"w": ["a"]}))
    assert (found.valid, [line.place for line in found.warnings if "stop" in line]) == (1, ["stop"])
    wording(next(line for line in found.warnings if "stop" in line))
    for plain in ("[END]", "{", ",", "\n"):
        whole = tn.CreateChatCompletion(model="m", prompt="{{ w }}", stop=plain).check(pd.DataFrame({"w": ["a"]}))
        assert not [line for line in whole.warnings if "stop" in line]


def test_a_python_list_as_a_stop_text_is_said():
    """It is one sequence, which hardly anybody means."""
    found = chat(prompt="p", stop="['a', 'b']").check(pd.DataFrame({"x": [1]}))
    assert found.valid == 1
    wording("\n".join(found.warnings))
    assert [line.place for line in found.warnings][:1] == ["stop"]


def test_a_column_that_is_not_there_is_an_error_with_the_nearest_name():
    """Wherever it is named."""
    for node in (chat(prompt="{{ reviw }}"), chat(prompt=tn.col("reviw")), chat(messages=[{"content": "{{ reviw }}"}])):
        with wording.raises(tn.errors.ColumnError):
            plan_of(node, ["review"])


def test_only_the_columns_that_are_needed_are_read():
    """A wide table costs nothing."""
    assert plan_of(chat(prompt="{{ a }} {{ row['b c'] }}"), ["x", "a", "b c", "temperature", "n"]).columns == (
        "a",
        "b c",
        "temperature",
    )
    assert plan_of(chat(prompt="{{ row }}"), ["x", "a"]).columns == ("x", "a")


# Typing by the schema.


@pytest.mark.parametrize(
    ("name", "given", "sent"),
    [
        ("temperature", "0.5", 0.5),
        ("temperature", " 1 ", 1),
        ("max_tokens", "16", 16),
        ("max_tokens", 16.0, 16),
        ("max_tokens", "16.0", 16),
        ("logprobs", "true", True),
        ("logit_bias", '{"50256": -100}', {"50256": -100}),
        ("logit_bias", {"50256": -100.0}, {"50256": -100}),
        ("response_format", '{"type": "text"}', {"type": "text"}),
        ("stop", "[1]", "[1]"),
        ("tool_choice", "none", "none"),
        ("temperature", 2, 2),
        ("user", "12", "12"),
    ],
)
def test_cells_settings_and_rendered_texts_are_typed_alike(name, given, sent):
    """A text becomes JSON only where no text is allowed; 16.0 becomes 16 where it says integer."""
    for node, cells in (
        (chat(prompt="p", **{name: given}), {}),
        (chat(prompt="p", columns=[name]), {name: given}),
        (chat(prompt="p", **{name: tn.col("c")}), {"c": given}),
        (chat(prompt="p", **{name: "{{ c }}"}), {"c": given}),
    ):
        got = encoded(node, cells)[name]
        assert (got, type(got)) == (sent, type(sent))


@pytest.mark.parametrize("given", ["warm", "NaN", "1,5", "", "0x10", "True", "3"])
def test_a_text_that_is_no_number_stays_for_the_schema_to_refuse(given):
    """The message names the rule, not the text."""
    (problem,) = rejected(chat(prompt="p"), {"temperature": given})
    assert problem.path == "$.temperature"
    assert given not in problem.message or given in {"", "3"}


def test_a_cell_that_cannot_be_json_rejects_its_row_only_where_it_is_needed():
    """The column is named, not the value."""
    (problem,) = rejected(chat(prompt="p"), {"temperature": Unfit("holds NaN")})
    assert (problem.path, problem.rule) == ("$.temperature", "cell")
    wording(problem.message)
    assert encoded(chat(prompt="p"), {"other": Unfit("holds NaN")})


def test_a_lone_surrogate_rejects_its_row():
    """What is no character is not sent."""
    (problem,) = rejected(chat(prompt="{{ a }}"), {"a": "x\ud800"})
    assert (problem.path, problem.rule) == ("$.messages", "json")


def test_a_node_keeps_plain_copies_of_its_settings():
    """Mappings of any kind, arrays and tuples become its own; nobody changes a node from outside."""
    stop, extra = np.array(["a", "b"]), MappingProxyType({"top_k": np.int64(3), "more": (1, 2)})
    node = chat(prompt="p", stop=stop, extra_body=extra)
    stop[0] = "z"
    assert node == chat(prompt="p", stop=["a", "b"], extra_body={"top_k": 3, "more": [1, 2]})
    assert "['a', 'b']" in repr(node)


@pytest.mark.parametrize("columns", [None, 5, "temperature", [1]])
def test_columns_of_a_wrong_type_are_said(columns):
    """One line, no traceback of ours."""
    with wording.raises(tn.errors.SettingError):
        chat(prompt="p", columns=columns)


def test_check_warns_of_what_was_perhaps_not_meant():
    """Braces where no placeholders are read, and texts that look like JSON arrays, also inside messages."""
    node = chat(messages=[{"role": "user", "content": tn.col("parts")}], metadata={"{{ parts }}": "id"})
    found = node.check(pd.DataFrame({"parts": ['[{"type": "text", "text": "x"}]']}))
    assert found.valid == 1
    assert [warning.place for warning in found.warnings] == ["metadata", "messages.content"]


def test_settings_that_cannot_be_json_are_refused_at_once():
    """The place inside the setting is named."""
    with pytest.raises(tn.errors.SettingError, match="temperature"):
        chat(prompt="p", temperature=float("nan"))
    with pytest.raises(tn.errors.SettingError, match=r"messages\[0\].content"):
        chat(messages=[{"role": "user", "content": b"x"}])


@given(st.integers(-(2**63), 2**63 - 1))
def test_large_integers_arrive_exactly(seed):
    """64-bit integers make the round trip."""
    assert encoded(chat(prompt="p", columns=["seed"]), {"seed": seed})["seed"] == seed


@given(st.text().filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_any_text_of_a_cell_arrives_to_the_letter(text):
    """Whatever it looks like."""
    assert encoded(chat(), {"prompt": text})["messages"][0]["content"] == text
    assert encoded(chat(prompt="<{{ a }}>"), {"a": text})["messages"][0]["content"] == f"<{text}>"


# Columns whose names belong to workflows.

RESERVED = {"review": ["r"], "inputs": ["column in"], "outputs": ["column out"]}


def contents(prompt, context, node=None):
    """Send nothing: give what each row's prompt becomes."""
    table = view(pd.DataFrame(RESERVED))
    plan = plan_of(node or chat(prompt=prompt), table.columns, constants=context.constants)
    return [orjson.loads(body)["messages"][0]["content"] for body in prepared(plan, table, context)]


IN_A_WORKFLOW = Context({"a": "given"}, lambda row: {"ask": {"id": "answer"}})


@pytest.mark.parametrize("context", [Context(), IN_A_WORKFLOW], ids=["alone", "in a workflow"])
@pytest.mark.parametrize("name", ["inputs", "outputs"])
def test_a_column_is_reached_whatever_it_is_called(context, name):
    """Names of workflows are columns too where they are asked for as columns."""
    cell = RESERVED[name][0]
    assert contents(f"{{{{ row['{name}'] }}}} {{{{ row.{name} }}}}", context) == [f"{cell} {cell}"]
    assert contents(f"{{{{ row['{name}'] }}}} {{{{ review }}}}", context) == [f"{cell} r"]
    assert contents(tn.col(name), context) == [cell]
    whole = '{"review":"r","inputs":"column in","outputs":"column out"}'
    assert contents("{{ row }}", context) == [whole]
    assert contents("{{ row[review ~ ''] | default(row) }}", context) == [whole]


def test_a_column_and_an_answer_of_the_same_name_stand_side_by_side():
    """What comes from earlier nodes is told from a column by more than its name."""
    both = "{{ outputs.ask.id }}, {{ row['outputs'] }}, {{ inputs.a }}, {{ row['inputs'] }}"
    assert contents(both, IN_A_WORKFLOW) == ["answer, column out, given, column in"]
    node = tn.CreateChatCompletion(
        model="m",
        messages=[{"role": "user", "content": tn.col("outputs")}, {"role": "user", "content": "{{ outputs.ask.id }}"}],
        user=tn.col("inputs"),
        columns=(),
    )
    table = view(pd.DataFrame(RESERVED))
    [body] = prepared(plan_of(node, table.columns, constants=IN_A_WORKFLOW.constants), table, IN_A_WORKFLOW)
    sent = orjson.loads(body)
    assert [message["content"] for message in sent["messages"]] == ["column out", "answer"]
    assert sent["user"] == "column in"


@pytest.mark.parametrize("cell", [np.inf, b"x", "\ud800", [np.nan]], ids=["infinity", "bytes", "surrogate", "nested"])
@pytest.mark.parametrize("prompt", ['{{ row["unit price"] | default("unknown") }}', "{{ row }}"])
def test_a_cell_that_cannot_be_json_makes_its_row_invalid_through_row_too(cell, prompt):
    """It is not sent as if it were missing."""
    table = view(pd.DataFrame({"unit price": pd.Series([cell], dtype=object)}))
    [rejection] = prepared(plan_of(chat(prompt=prompt), table.columns), table, Context())
    assert rejection.outcome == "invalid_request"
    wording(rejection.problem.message)


@pytest.mark.parametrize(
    "column",
    [
        *("Temperature", "max tokens", "Max-Tokens", "TOP_P", "\u00a0temperature", "temperature\u200b", "\ufefftop_p"),
        *("temperature\t", "\ntemperature", "ｔｏｐ＿ｐ", "System", "\u200bseed", "\ufeffbody", "top_p\u3164"),
    ],
)
def test_a_column_whose_name_is_nearly_a_property_is_said(column):
    """It is not sent, and that is hardly what was meant."""
    node = tn.CreateChatCompletion(model="m", prompt="{{ a }}")
    (line,) = node._plan(("a", column), PlanInputs()).passed_over
    wording(line)


@pytest.mark.parametrize("column", ["Prompt", "prompt\u200b", "Messages", "System"])
def test_a_column_that_nearly_makes_messages_is_said(column):
    """Where nothing else makes them."""
    (line,) = tn.CreateChatCompletion(model="m")._plan((column,), PlanInputs()).passed_over
    wording(line)


def test_a_column_that_must_be_named_is_said():
    """With what names it, beside those that are used already."""
    node = tn.CreateChatCompletion(model="m")
    (line,) = node._plan(("prompt", "seed", "stop", "max_tokens"), PlanInputs()).passed_over
    wording(line)


def test_a_column_of_images_that_is_not_used_is_said():
    """Without its images the model would make something up; nothing is said where they are used, or others are."""
    node = tn.CreateChatCompletion(model="m", prompt="What is it?")
    (line,) = node._plan(("image",), PlanInputs()).passed_over
    wording(line)
    for value in ("{{ image }}", tn.col("image"), tn.col("path")):
        assert node.replace(image=value)._plan(("image", "path"), PlanInputs()).passed_over == ()


def test_a_column_that_is_read_or_whose_property_is_set_is_no_slip():
    """Nor one beside the property itself, nor any other word."""
    node = tn.CreateChatCompletion(model="m", prompt="{{ Temperature }}", top_p=1)
    columns = ("Temperature", "Top P", "max_tokens", "Max Tokens", "tool", "N", "Seed", "text")
    assert node._plan(columns, PlanInputs()).passed_over == ()
    assert node.replace(columns=())._plan(("Temperature", "Stop"), PlanInputs()).passed_over == ()


# What looks like a placeholder and is none.


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "Judge: {review}"},
        {"prompt": "{{ stars }} stars: { review }"},
        {"prompt": "p", "system": "{review}"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "{review}"}]}]},
    ],
)
def test_a_column_in_single_braces_is_said_by_check_and_run(settings):
    """Every row would ask the same, and be paid for."""
    plan = chat(**settings)._plan(("review", "stars"), PlanInputs())
    (line,) = plan.passed_over
    wording(line)
    assert plan.warnings == plan.passed_over


def test_a_column_that_is_no_name_is_told_how_a_placeholder_reaches_it():
    """As it can be written."""
    (line,) = chat(prompt="{unit price}")._plan(("unit price",), PlanInputs()).passed_over
    assert line.endswith('{{ row["unit price"] }}')


@pytest.mark.parametrize(
    "text",
    [
        "{{ review }} as {review}",
        "{other}",
        '{"review": 1}',
        "{{ {'review': review} }}",
        "{{ '{review}' }}{{ review }}",
        tn.literal("{review} {%"),
        tn.col("review"),
    ],
)
def test_braces_that_are_meant_are_passed_over_in_silence(text):
    """JSON, a text beside its own placeholder, and what is called literal."""
    assert chat(prompt=text)._plan(("review",), PlanInputs()).warnings == ()


@pytest.mark.parametrize("name", ["inputs.tone", "outputs.ask.id"])
def test_a_name_of_workflows_in_single_braces_is_said_inside_of_one(name):
    """There it is a slip; elsewhere it is a text."""
    node = chat(prompt=f"{{{name}}}")
    assert node._plan(("a",), PlanInputs()).warnings == ()
    (line,) = node._plan(("a",), PlanInputs({"inputs": {}, "outputs": None})).passed_over
    assert line.endswith(f"{{{{ {name} }}}}")


@pytest.mark.parametrize("mark", ["{%", "{#"])
def test_a_statement_or_a_comment_is_said_by_check_and_run(mark):
    """Other languages have them; here they are sent."""
    plan = chat(prompt=f"{mark} if review %}}{{{{ review }}}}")._plan(("review",), PlanInputs())
    (line,) = plan.passed_over
    wording(line)
    assert plan.warnings == plan.passed_over


def test_a_check_counts_rows_that_ask_the_same():
    """One or many, in words."""
    node = chat(prompt="{{ a }}")
    for rows in (2, 3):
        wording.line(node.check(pd.DataFrame({"a": ["x"] * rows})), like="same request")


def test_a_check_warns_where_nothing_depends_on_the_row():
    """With one row that is no matter."""
    wording(chat(prompt="p").check(pd.DataFrame({"a": ["x", "y"]})).warnings)
    assert chat(prompt="p").check(pd.DataFrame({"a": ["x"]})).warnings == ()
    assert chat(prompt="{{ a }}").check(pd.DataFrame({"a": ["x", "x"]})).warnings == ()


# What an empty cell leaves of a message.


@pytest.mark.parametrize("more", [{}, {"name": "n"}], ids=["role", "role and name"])
def test_a_message_that_an_empty_cell_leaves_nothing_of_makes_the_row_invalid(more):
    """An example without its answer is no example; the column is named."""
    example = {"role": "assistant", "content": tn.col("example"), **more}
    (problem,) = rejected(chat(messages=[*MESSAGES, example]), {"example": None})
    assert problem.path == "$.messages[1].content"
    wording(problem.message)


@pytest.mark.parametrize("other", ["tool_calls", "function_call", "refusal", "audio", "own"])
def test_a_message_that_says_something_else_may_lack_its_content(other):
    """A call, a refusal, or what only a certain server knows."""
    message = {"role": "assistant", "content": tn.col("example"), other: "x"}
    plan = plan_of(chat(messages=[message]), ["example"])
    assert plan.build((None,))["messages"] == [{"role": "assistant", other: "x"}]


def test_a_whole_message_of_an_empty_cell_is_left_out():
    """So can an example be, row by row."""
    node = chat(messages=[tn.col("example"), *MESSAGES])
    assert encoded(node, {"example": None})["messages"] == MESSAGES


def test_a_brace_before_many_blanks_costs_nothing():
    """What looks nearly like a placeholder is found in one pass."""
    began = time.process_time()
    check = tn.CreateChatCompletion(model="m", prompt="{" + " " * 20_000 + "x").check(pd.DataFrame({"x": ["1", "2"]}))
    assert check.valid == 2
    assert time.process_time() - began < 10
