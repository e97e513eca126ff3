"""What is said about a body that does not fit: the right place, the rule in words, and nothing of the body's text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import wording

import tablenodes as tn
from tablenodes import schemas
from tablenodes.problems import MESSAGE_LENGTH
from tablenodes.schemas.explanations import MOST_PROBLEMS

BODY = {"model": "m", "messages": [{"role": "user", "content": "c"}]}


def chat(**changed):
    return [tuple(problem) for problem in tn.validate(BODY | changed)]


def message(**changed):
    """Return the problems of one message."""
    return chat(messages=[changed])


def own(schema, value):
    """Return the rule, the message and what was got, for the property `a` of a schema of one's own."""
    found = schemas.load({"properties": {"a": schema}}, "x").problems({"a": value})
    assert {problem.path for problem in found} <= {"$.a"}
    return [tuple(problem)[1:] for problem in found]


# Each rule in words.


@pytest.mark.parametrize(
    ("schema", "value", "rule", "got"),
    [
        ({"type": "string"}, 5, "type", "5"),
        ({"type": "integer"}, 16.5, "type", "16.5"),
        ({"type": "number"}, "t", "type", "string"),
        ({"type": "boolean"}, None, "type", "null"),
        ({"type": "array"}, {}, "type", "object"),
        ({"type": "object"}, [], "type", "array"),
        ({"type": "null"}, True, "type", "boolean"),
        ({"type": ["string", "array", "null"]}, 1, "type", "1"),
        ({"type": ["integer", "number"]}, "t", "type", "string"),
        ({"type": "number"}, math.nan, "type", "nan"),
        ({"enum": ["system", "user"]}, "usr", "enum", "usr"),
        ({"enum": ["system", "user"]}, "robot", "enum", "string"),
        ({"enum": ["a", None, 1, True]}, 2, "enum", "2"),
        ({"enum": ["function"]}, [], "enum", "array"),
        ({"const": {"b": 1}}, 2, "const", "2"),
        ({"const": None}, 2, "const", "2"),
        ({"minimum": 0}, -1, "minimum", "-1"),
        ({"maximum": 2}, 2.5, "maximum", "2.5"),
        ({"exclusiveMinimum": 0}, 0, "exclusiveMinimum", "0"),
        ({"exclusiveMaximum": 1.5}, 1.5, "exclusiveMaximum", "1.5"),
        ({"multipleOf": 5}, 7, "multipleOf", "7"),
        ({"minItems": 1}, [], "minItems", "array"),
        ({"maxItems": 2}, [1, 2, 3], "maxItems", "array"),
        ({"minLength": 2}, "t", "minLength", "string"),
        ({"maxLength": 1}, "text", "maxLength", "string"),
        ({"minProperties": 1}, {}, "minProperties", "object"),
        ({"maxProperties": 0}, {"b": 1}, "maxProperties", "object"),
        ({"pattern": "^[a-z]+$"}, "A1", "pattern", "string"),
        ({"uniqueItems": True}, [1, 1], "uniqueItems", "array"),
        ({"not": {"type": "string"}}, "t", "not", "string"),
        ({"contains": {"type": "string"}}, [1], "contains", "array"),
        (False, "t", "false", "string"),
        ({"prefixItems": [{}], "items": False}, [1, 2], "items", "array"),
        ({"maxItems": 1, "minContains": 3, "contains": {}}, [1], "minContains", "array"),
        ({"oneOf": [{"minimum": 1}, {"minimum": 2}]}, 3, "oneOf", "3"),
        ({"dependentRequired": {"b": ["c"]}}, {"b": 1}, "dependentRequired", "object"),
        ({"unevaluatedProperties": False}, {"b": 1}, "unevaluatedProperties", "object"),
    ],
)
def test_each_rule_is_worded_with_its_limit(schema, value, rule, got):
    """From the rule and its limit; `got` is a type, a short number, or nearly one of the allowed words."""
    ((found_rule, found_message, found_got),) = own(schema, value)
    assert (found_rule, found_got) == (rule, got)
    wording(found_message)


def test_rules_beside_one_another_are_told_one_by_one():
    """Each by itself; in draft 4 whether a bound itself fits is said beside it."""
    assert own({"type": "array", "uniqueItems": True, "maxItems": 3}, [1, 1]) == [
        ("uniqueItems", "must not repeat an item", "array")
    ]
    draft_4 = {"$schema": "http://json-schema.org/draft-04/schema#", "type": "object"}
    bound = {"type": "number", "minimum": 3, "exclusiveMinimum": True}
    loaded = schemas.load({**draft_4, "properties": {"a": bound}}, "x")
    assert [p[:2] for p in loaded.problems({"a": 3})] == [("$.a", "minimum")]
    assert loaded.problems({"a": 4}) == []


def test_a_rule_that_the_draft_does_not_know_is_passed_over():
    """The gate, which did not look at it either, says what else is wrong."""
    draft_4 = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "$defs": {"x": {"exclusiveMaximum": 1, "type": "null"}},
    }
    assert [p[:2] for p in schemas.load({**draft_4, "$ref": "#/$defs/x"}, "x").problems({})] == [("$", "type")]


def test_a_missing_property_is_told_by_its_own_path():
    """One problem for each, at the place where it should stand."""
    found = tn.validate({})
    assert [(problem.path, problem.rule) for problem in found] == [("$.model", "required"), ("$.messages", "required")]
    wording([problem.message for problem in found])


def test_a_property_that_may_not_be_there_is_told_with_the_nearest_name():
    """Where the schema allows no others."""
    body = {"model": "m", "input": "t", "dimensoins": 4, "odd": "t"}
    found = tn.validate(body, "create_embedding")
    assert [problem.path for problem in found] == ["$.dimensoins", "$.odd"]
    assert {problem.rule for problem in found} == {"additionalProperties"}
    wording([problem.message for problem in found])


def test_names_that_a_pattern_covers_are_no_extra_ones():
    """And their values are held against the pattern's schema."""
    schema = {"additionalProperties": False, "patternProperties": {"^x-": {"type": "string"}}, "properties": {"a": {}}}
    found = schemas.load(schema, "x").problems({"a": 1, "x-a": "t", "x-b": 1, "b": 1})
    assert {(problem.path, problem.rule) for problem in found} == {("$[*]", "type"), ("$.b", "additionalProperties")}


def test_long_limits_are_cut():
    """Of many words the first twelve; of a long word its beginning."""
    ((_, said, _),) = own({"enum": [f"word{number}" for number in range(40)]}, 1)
    wording(said)
    ((_, said, _),) = own({"enum": ["w" * 500]}, 1)
    assert len(said) < 80
    ((_, said, _),) = own({"enum": [str(number) * 100 for number in range(1, 13)]}, 1)
    assert len(said) == MESSAGE_LENGTH


# The place that is meant.


@pytest.mark.parametrize(
    ("changed", "path", "rule"),
    [
        ({"role": "user"}, "$.messages[0].content", "required"),
        ({"content": "c"}, "$.messages[0].role", "required"),
        ({"role": "user", "content": 5}, "$.messages[0].content", "type"),
        ({"role": "user", "content": []}, "$.messages[0].content", "minItems"),
        ({"role": "assistant", "content": 5}, "$.messages[0].content", "type"),
        ({"role": "tool", "content": "c"}, "$.messages[0].tool_call_id", "required"),
        (
            {"role": "assistant", "tool_calls": [{"id": "i", "type": "function", "function": {"name": "f"}}]},
            "$.messages[0].tool_calls[0].function.arguments",
            "required",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "t"}, {"type": "image_url", "image_url": {}}]},
            "$.messages[0].content[1].image_url.url",
            "required",
        ),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, "$.messages[0].content[0].text", "type"),
        ({"role": "user", "content": ["t"]}, "$.messages[0].content[0]", "type"),
        ({"role": "User", "content": "c"}, "$.messages[0].role", "enum"),
        (
            {"role": "user", "content": [{"type": "image", "image_url": {"url": "u"}}]},
            "$.messages[0].content[0].type",
            "enum",
        ),
    ],
)
def test_the_branch_that_role_or_type_chooses_is_explained(changed, path, rule):
    """A bad user message says what is wrong in the user message."""
    ((found_path, found_rule, found_message, _),) = message(**changed)
    assert (found_path, found_rule) == (path, rule)
    wording(found_message)


@pytest.mark.parametrize(
    ("prompt", "path"),
    [
        (5, "$.prompt"),
        ([1, "a", 2], "$.prompt[1]"),
        (["a", "b", 5], "$.prompt[2]"),
        ([[1, 2], [3, "a"]], "$.prompt[1][1]"),
        ([[]], "$.prompt[0]"),
    ],
)
def test_without_such_a_word_the_closest_branch_is_explained(prompt, path):
    """That of the value's type, then the one that fits down to the deepest place, then the one with fewest errors."""
    (problem,) = tn.validate({"model": "m", "prompt": prompt}, "create_completion")
    assert problem.path == path
    wording(problem.message)


def test_everything_that_is_wrong_is_told_at_once():
    """Each place by itself."""
    found = chat(temperature=3, n=0, stop=["s"] * 5, tool_choice="sometimes", logit_bias={"50256": "t"})
    assert {problem[0] for problem in found} == {
        "$.temperature",
        "$.n",
        "$.stop",
        "$.tool_choice",
        "$.logit_bias['50256']",
    }


def test_a_value_that_fits_too_many_forms_is_told_beside_the_rest():
    """Where exactly one must fit."""
    schema = {"properties": {"a": {"oneOf": [{"minimum": 1}, {"minimum": 2}]}, "b": {"type": "null"}}}
    assert [(p.path, p.rule) for p in schemas.load(schema, "x").problems({"a": 3, "b": 3})] == [
        ("$.a", "oneOf"),
        ("$.b", "type"),
    ]


def test_no_more_than_twenty_problems_are_told():
    """Of a thousand, and of a million extra names."""
    assert len(chat(messages=[{"role": "robot"}] * 1000)) == MOST_PROBLEMS
    extra = {f"name{number}": 1 for number in range(1000)}
    assert len(tn.validate({"model": "m", "input": "t", **extra}, "create_embedding")) == MOST_PROBLEMS


def test_the_discriminator_of_openapi_chooses_too():
    """Whatever its name."""
    branches = [
        {"required": ["kind"], "properties": {"kind": {"const": kind}, "size": {"maximum": limit}}}
        for kind, limit in (("small", 1), ("large", 100))
    ]
    schema = {"oneOf": branches, "discriminator": {"propertyName": "kind"}}
    loaded = schemas.load({"properties": {"a": schema}}, "x")
    wording([p.message for p in loaded.problems({"a": {"kind": "large", "size": 101}})])
    wording([p.message for p in loaded.problems({"a": {"kind": "huge"}})])


def test_several_branches_of_one_word_are_told_apart_by_their_fit():
    """The word narrows them down, the closest of the rest is explained."""
    text = {"properties": {"type": {"const": "t"}, "value": {"type": "string"}}}
    deep = {
        "properties": {"type": {"const": "t"}, "value": {"properties": {"b": {"type": "string"}}, "type": "object"}}
    }
    other = {"properties": {"type": {"const": "u"}}}
    loaded = schemas.load({"anyOf": [text, deep, other]}, "x")
    assert [p.path for p in loaded.problems({"type": "t", "value": {"b": 1}})] == ["$.value.b"]


def test_references_to_the_root_keep_to_the_branch():
    """A schema that holds itself, with its draft named."""
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "n": {"type": "integer"}},
        "type": "object",
    }
    loaded = schemas.load(document, "x")
    assert [p.path for p in loaded.problems({"next": {"next": {"n": "t"}}})] == ["$.next.next.n"]


@pytest.mark.parametrize(
    "draft", ["http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-07/schema#", None]
)
def test_schemas_with_an_address_of_their_own_are_explained(draft):
    """Its references may go by that address; older drafts say it in their way."""
    for name in ("id", "$id"):
        document = {
            **({"$schema": draft} if draft else {}),
            name: "https://example.com/mine.json",
            "definitions": {"a": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}},
            "properties": {"a": {"$ref": "#/definitions/a"}},
        }
        loaded = schemas.load(document, "x")
        (problem,) = loaded.problems({"a": ["t", 1]})
        assert (problem.path, problem.rule) == ("$.a[1]", "type")


# What JSON cannot hold.


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        {1, 2},
        [math.inf, object()],
        "\ud800",
        10**400,
        {"a": {("k",): 1}},
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_value_that_is_no_json_is_a_problem(value):
    """Whether the schema knows the property or not."""
    for name in ("temperature", "unknown"):
        ((path, rule, message, _),) = chat(**{name: value})
        assert (path, rule) == (f"$.{name}", "json")
        wording(message)


def test_objects_that_only_look_like_json_are_problems():
    """Though a JSON writer might take them."""
    import dataclasses

    @dataclasses.dataclass
    class Own:
        a: int = 1

    ((path, rule, message, _),) = chat(unknown=Own())
    assert (path, rule) == ("$.unknown", "json")
    wording(message)


def test_a_body_that_is_no_mapping_or_has_odd_keys_is_a_problem():
    """At the root."""
    for body, got in ((None, "null"), ([], "array"), ("t", "string"), (5, "5")):
        assert [tuple(p) for p in tn.validate(body)] == [("$", "type", "must be an object", got)]
    assert [p.path for p in tn.validate({**BODY, ("k",): 1})] == ["$"]
    assert [p.path for p in tn.validate(b"{}")] == ["$"]


def test_what_a_request_would_make_plain_is_judged_as_that():
    """NumPy's numbers, tuples, mappings of other kinds."""
    import types
    import uuid

    import numpy as np

    body = {**BODY, "temperature": np.float64(1), "n": np.int64(1), "stop": ("a", "b"), "user": uuid.UUID(int=1)}
    assert tn.validate(body) == []
    assert tn.validate(types.MappingProxyType(body)) == []
    assert [p.path for p in tn.validate(body | {"n": np.int64(0), "stop": ("a",) * 5})] == ["$.n", "$.stop"]


# Nothing of the body's text.

CANARY = "Canary sings 4711"
anywhere = st.recursive(
    st.sampled_from([CANARY, CANARY * 50, 1, None]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from([CANARY, CANARY * 50, "role", "type", "content", "function", "text", "name"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
properties = schemas.load(schemas.DEFAULT_REVISION, "create_chat_completion").properties


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*properties, CANARY]), anywhere, max_size=4))
def test_no_message_path_or_got_carries_the_bodys_text(body):
    """Neither values nor names that are not the schema's; and all of it stays short."""
    for operation in schemas.operations(schemas.DEFAULT_REVISION):
        for problem in tn.validate(body, operation):
            assert "anary" not in "".join(problem)
            assert len(problem.message) <= MESSAGE_LENGTH
            assert len(problem.path) <= 200
            assert len(problem.got) < 40
            assert problem.message
            assert problem.rule


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain_name1", "$.a.plain_name1"),
        ("50256", "$.a['50256']"),
        ("it's \\ known", "$.a['it\\'s \\\\ known']"),
        ("some text", "$.a[*]"),
        ("x" * 41, "$.a[*]"),
        ("9" * 21, "$.a[*]"),
        ("line\nbreak", "$.a[*]"),
        ("", "$.a[*]"),
    ],
)
def test_paths_show_plain_names_numbers_and_what_the_schema_knows(name, shown):
    """A name that may be somebody's text is left out."""
    known = {"it's \\ known": {"type": "null"}, "line\nbreak": {"type": "null"}}
    schema = {"properties": {"a": {"properties": known, "additionalProperties": {"type": "null"}}}}
    assert [p.path for p in schemas.load(schema, "x").problems({"a": {name: 1}})] == [shown]


def test_a_word_with_control_characters_is_not_repeated():
    """However near it is."""
    ((_, said, got),) = own({"enum": ["user", "system"]}, "user\n")
    wording(said)
    assert got == "string"


def test_a_long_path_is_cut():
    """At 200 characters."""
    value = {"leaf": 1}
    for _ in range(100):
        value = {"below": value}
    schema = {"properties": {"leaf": {"type": "null"}, "below": {"$ref": "#"}}}
    (problem,) = schemas.load(schema, "x").problems(value)
    assert len(problem.path) == 200
    assert problem.path.endswith("…")
