"""Whether a text is an answer: its value, or why it is none; and how an answer is asked for."""

from __future__ import annotations

import json
import math

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentences import wording

from tablenodes.answers import AnswerJudge, check_settings, foreign_setting, read_answer, request_part
from tablenodes.errors import SettingError

REVIEW = read_answer(
    {
        "sentiment": ["positive", "negative"],
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "score?": float,
        "topics": [str],
    }
)
GOOD = {"sentiment": "positive", "stars": 4, "score": None, "topics": ["room"]}
judge_review = AnswerJudge(REVIEW)


def verdict(answer, text):
    return AnswerJudge(read_answer(answer))(text)


def test_a_text_that_fits_is_its_value():
    """As plain JSON; what is no object is unwrapped."""
    assert judge_review(json.dumps(GOOD)) == (GOOD, "", "", False)
    assert verdict(["yes", "no"], ' {"answer": "yes"}\n').value == "yes"
    assert verdict([{"name": str}], '{"answer": [{"name": "Ann"}]}').value == [{"name": "Ann"}]
    assert verdict({"a?": ["x"]}, '{"a": null}').value == {"a": None}


MISFITS = {
    "above": {**GOOD, "stars": 6},
    "no label": {**GOOD, "sentiment": "positiv"},
    "a text for a number": {**GOOD, "stars": "4"},
    "a fraction": {**GOOD, "stars": 4.5},
    "a field missing": {"sentiment": "positive", "stars": 4, "score": None},
    "a field too many": {**GOOD, "star": 4},
    "an item": {**GOOD, "topics": ["a", 1]},
    "null": {**GOOD, "stars": None},
    "a list": [GOOD],
}


@pytest.mark.parametrize("value", MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_says_where_and_what_it_must_be(value):
    """By the path and the rule, never by the value."""
    found = judge_review(json.dumps(value))
    assert (found.value, found.reason) == (None, "does_not_fit")
    assert found.message.startswith("$")
    wording(found.message)


def test_a_misfit_among_many_labels_is_explained_at_once():
    """Only those that begin alike are looked at, and none among thousands: it may happen in every row."""
    for count in (100, 1_000, 50_000):
        wording(verdict([f"label {n}" for n in range(count)], '{"answer": "labl 7"}').message)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "positive",
        '{"stars": 4',
        "Here it is: {}",
        '{"stars": NaN}',
        "{'stars': 4}",
        '{"a": 1} {"a": 2}',
        "\ud800",
        "```json\n{\n```",
    ],
)
def test_what_is_no_json_is_said_to_be_none(text):
    """It is never repaired."""
    found = judge_review(text)
    assert (found.value, found.reason) == (None, "not_json")
    wording(found.message)


@pytest.mark.parametrize(
    "form", ["```json\n{}\n```", "```\n{}```", "```{}```", "\n ```JSON\n{}\n```\n ", "```jsonc\r\n{}\r\n```"]
)
def test_a_single_fence_is_taken_off_and_said(form):
    """Local models write one."""
    found = judge_review(form.replace("{}", json.dumps(GOOD)))
    assert found == (GOOD, "", "", True)
    assert judge_review(form.replace("{}", json.dumps({**GOOD, "stars": 6}))).fenced


@pytest.mark.parametrize(
    "form", ["text\n```json\n{}\n```", "```json\n{}\n```\ntext", "```json\n{}\n```\n```json\n{}\n```", "```json\n{}"]
)
def test_more_than_a_fence_around_it_is_no_json(form):
    """Nobody guesses which part is meant."""
    assert judge_review(form.replace("{}", json.dumps(GOOD))).reason == "not_json"


def test_a_long_text_with_a_fence_is_read_at_once():
    """However much of it is blank."""
    assert judge_review("```" + " " * 1_000_000 + "x").reason == "not_json"


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("5.0", 5),
        ("1e3", 1000),
        ("9223372036854775808", None),
        ("-9223372036854775809", None),
        ("18446744073709551616", None),
        ("9" * 400, None),
        ("9" * 5000, None),
        ("1e19", None),
        ("1e999", None),
    ],
)
def test_a_whole_number_has_at_most_64_bits(number, value):
    """A larger one does not fit, it is never cast."""
    found = verdict({"n": [int]}, f'{{"n": [0, {number}]}}')
    assert found.value == (None if value is None else {"n": [0, value]})
    assert found.reason == ("does_not_fit" if value is None else "")
    if found.value:
        assert type(found.value["n"][1]) is int


def test_a_number_is_finite():
    """A column of numbers holds no infinity."""
    assert verdict(float, '{"answer": 1e999}').reason == "does_not_fit"
    assert verdict(float, '{"answer": 1e300}').value == 1e300


DATES = {
    "2026-05-31": True,
    "2024-02-29": True,
    "2026-02-29": False,
    "20260531": False,
    "2026-W22-7": False,
    "31.05.2026": False,
    "2026-05-31T00:00:00Z": False,
    "": False,
}
DATETIMES = {
    "2026-05-31T12:00:00Z": True,
    "2026-05-31T12:00:00.123456789+02:00": True,
    "2026-05-31 12:00": True,
    "2026-05-31t12:00:00z": True,
    "2026-05-31": False,
    "2026-05-31T25:00:00Z": False,
    "noon": False,
}


@pytest.mark.parametrize(
    ("kind", "text", "fits"),
    [*(("date", *each) for each in DATES.items()), *(("datetime", *each) for each in DATETIMES.items())],
)
def test_a_date_is_one(kind, text, fits):
    """Of ISO 8601, so that its column can be one of dates; its value stays the text."""
    found = verdict({"when?": kind}, json.dumps({"when": text}))
    assert found.value == ({"when": text} if fits else None)
    assert verdict({"when?": kind}, '{"when": null}').value == {"when": None}
    if not fits and text:
        wording(found.message)


ODD = [
    '{"a": 1, "a": 2}',
    '{"a": "\\ud800"}',
    "[" * 900 + "]" * 900,
    "[" * 100_000 + "]" * 100_000,
    "[" * 100_000,
    '\ufeff{"a": "x"}',
]


@pytest.mark.parametrize("text", ODD, ids=map(str, range(len(ODD))))
@pytest.mark.parametrize(
    "answer",
    [
        {"a": str},
        {"a": int},
        {"properties": {"x": {}}},
        {"$ref": "#/$defs/L", "$defs": {"L": {"type": "array", "items": {"$ref": "#/$defs/L"}}}},
    ],
    ids=str,
)
def test_odd_texts_are_judged_like_any(answer, text):
    """Twice the same name, half a character, any depth, a byte order mark: nothing is raised."""
    found = verdict(answer, text)
    assert found.reason in ("", "not_json", "does_not_fit")
    assert len(found.message) <= 500


@given(st.text() | st.text(alphabet='{}[]":,0123456789.eE-`ansuetrl \n\\u'))
def test_whatever_is_written_is_judged(text):
    """Nothing is raised."""
    assert judge_review(text).reason in ("not_json", "does_not_fit")


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "sentiment": st.sampled_from(["positive", "negative", "other", None, 1]),
        "stars": st.integers(-1, 7) | st.sampled_from([4.0, 4.5, "4", None, True]),
        "score": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
        "topics": st.lists(st.text(max_size=3) | st.integers(), max_size=3) | st.none(),
        "more": st.none(),
    },
)


@given(VALUES)
def test_the_verdict_is_that_of_the_schema_that_was_sent(value):
    """`jsonschema` says the same."""
    fits = jsonschema.Draft202012Validator(REVIEW.document).is_valid(value)
    found = judge_review(json.dumps(value))
    assert (found.reason == "") == fits
    if fits:
        assert found.value == value


# How it is asked for.


def test_a_request_asks_for_an_answer_in_three_ways():
    """By a strict schema, by JSON alone, or by one forced tool; in the author's order."""
    document = REVIEW.document
    strict = request_part(REVIEW)
    assert strict == {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": document},
        }
    }
    assert list(strict["response_format"]["json_schema"]["schema"]["properties"]) == [
        "sentiment",
        "stars",
        "score",
        "topics",
    ]
    assert request_part(REVIEW, "json_object") == {"response_format": {"type": "json_object"}}
    tool = request_part(REVIEW, "tool")
    assert tool["tool_choice"] == {"type": "function", "function": {"name": "answer"}}
    assert [each["function"]["parameters"] for each in tool["tools"]] == [document]


@pytest.mark.parametrize(
    ("settings", "mode", "place"),
    [
        (["response_format"], "json_schema", "response_format"),
        (["tools"], "tool", "tools"),
        (["tool_choice"], "tool", "tool_choice"),
        ([], "json-schema", "answer_mode"),
        ([], "xml", "answer_mode"),
    ],
)
def test_settings_that_contradict_an_answer_are_refused(settings, mode, place):
    """With what to set instead."""
    with wording.raises(SettingError) as caught:
        check_settings(["model", *settings], mode)
    assert caught.value.place == place


def test_settings_beside_an_answer_are_its_own():
    """Tools go with a schema, and without an answer nothing is refused."""
    check_settings(["tools", "model"], "json_schema")
    check_settings(["tools"], "json_object")
    check_settings(["response_format", "tools"], "tool", has_answer=False)


class Review:
    """A class of the user's."""


FOREIGN = {
    "a model": ("response_model", Review),
    "labels": ("labels", ["a", "b"]),
    "a schema in its wrapper": (
        "json_schema",
        {"name": "x", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
    ),
    "an output schema": ("output_schema", {"stars": "integer"}),
    "a type as a format": ("response_format", Review),
    "a list as a format": ("response_format", ["a", "b"]),
    "a short form as a format": ("response_format", {"stars": int}),
    "a bare schema as a format": ("response_format", {"type": "object", "properties": {"a": {"type": "string"}}}),
    "an answer's schema": ("schema", {"type": "object", "properties": {"stars": {"type": "integer"}}}),
    "a short form as a schema": ("schema", {"stars": int}),
    "a type's name as a format": ("response_format", "bool"),
    "labels with commas": ("labels", "a, b"),
    "many labels": ("labels", [f"label {n}" for n in range(100)]),
}


@pytest.mark.parametrize(("name", "value"), FOREIGN.values(), ids=FOREIGN)
def test_other_tools_settings_are_answered_with_the_line_to_write(name, value):
    """In the words of the door."""
    wording(foreign_setting(name, value, ["model", "messages"]))


def test_the_line_is_that_of_the_door():
    """Python, YAML, the command line."""
    wording([foreign_setting("labels", ["a", "b"], door=door) for door in ("python", "yaml", "command line")])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}),
        ("response_format", "{{ format }}"),
        ("response_format", "text"),
        ("response_format", None),
        ("schema", "openai-2024-05"),
        ("schema", {"type": "object", "properties": {"model": {"type": "string"}}}),
        ("schema", {"anyOf": [{"type": "object"}]}),
        ("temperature", 1),
    ],
)
def test_settings_of_the_api_are_left_alone(name, value):
    """They mean what they say."""
    assert foreign_setting(name, value, ["model", "messages"]) is None


def test_values_are_of_plain_json():
    """A number with a point that is whole becomes an integer where its column is one."""
    assert type(verdict(int, '{"answer": 5.0}').value) is int
    assert math.isclose(verdict(float, '{"answer": 5.5}').value, 5.5)
