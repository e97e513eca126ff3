"""What `answer=` says: one grammar in Python, YAML and on the command line, and one schema for one meaning."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import datetime
import enum
import json
import pickle
import subprocess
import sys
import typing
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import wording

from tablenodes.answers import AnswerJudge, Field, FieldType, lint, read_answer, read_answer_texts
from tablenodes.documents import yaml_reader
from tablenodes.errors import SchemaError, SettingError

TEXT, INTEGER, NUMBER, BOOLEAN = (FieldType(kind) for kind in ("text", "integer", "number", "boolean"))


def enum_of(*members, nullable=False):
    return FieldType("enum", nullable, members)


def list_of(item):
    return FieldType("list", item=item)


def struct(**fields):
    return FieldType("struct", fields=tuple(Field(*each) for each in fields.items()))


def nullable(kind):
    return dataclasses.replace(kind, nullable=True)


def kinds(answer):
    return dict(answer.fields)


def from_yaml(text):
    return yaml_reader.parse(text, "answer").value


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


# One value.

ONE_VALUE = [
    (["positive", "negative"], enum_of("positive", "negative")),
    ([True, False], BOOLEAN),
    ([1, 2, 3], INTEGER),
    ([1.0, 2.0], INTEGER),
    ([1, 2.5], NUMBER),
    (["yes", None], enum_of("yes", nullable=True)),
    (["only"], enum_of("only")),
    (["string"], list_of(TEXT)),
    ([[str]], list_of(list_of(TEXT))),
    ([{"name": str}], list_of(struct(name=TEXT))),
    (["string", "number"], enum_of("string", "number")),
    ({"enum": ["string"]}, enum_of("string")),
    ({"const": "x"}, enum_of("x")),
    ({"type": "string", "const": "date"}, enum_of("date")),
    ({"type": "string", "format": "date"}, FieldType("date")),
    ({"type": "string"}, TEXT),
    ({"type": ["string", "null"]}, nullable(TEXT)),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, nullable(TEXT)),
    ({"oneOf": [{"type": "string"}, {"type": "null"}]}, nullable(TEXT)),
    *((word, TEXT) for word in ("string", "str", "text", str)),
    *((word, INTEGER) for word in ("integer", "int", int)),
    *((word, NUMBER) for word in ("number", "float", float)),
    *((word, BOOLEAN) for word in ("boolean", "bool", bool)),
    *((word, FieldType("date")) for word in ("date", datetime.date)),
    *((word, FieldType("datetime")) for word in ("datetime", datetime.datetime)),
    (Literal["a", "b"], enum_of("a", "b")),
    (Mood, enum_of("good", "bad")),
    (list[str], list_of(TEXT)),
    (list, None),
    (typing.Sequence[Mood], list_of(enum_of("good", "bad"))),
    (tuple[int, ...], list_of(INTEGER)),
    (float | None, nullable(NUMBER)),
    (Mood | None, enum_of("good", "bad", nullable=True)),
    (int | str, FieldType("json")),
    (int | float, NUMBER),
    (Annotated[int, "how good"], INTEGER),
    (typing.NewType("Stars", int), INTEGER),
    (np.array(["a", "b"]), enum_of("a", "b")),
    (pd.Series(["a", "b"]).unique(), enum_of("a", "b")),
]


@pytest.mark.parametrize(
    ("given_", "kind"), [pytest.param(*case, id=str(n)) for n, case in enumerate(ONE_VALUE) if case[1]]
)
def test_an_answer_may_be_one_value(given_, kind):
    """It is asked for as the only field of an object, which strict modes need."""
    answer = read_answer(given_)
    assert answer.wrapped
    assert kinds(answer) == {"answer": kind}
    assert answer.document["required"] == ["answer"]


# Objects.

OBJECTS = {
    "fields": (
        {"sentiment": ["positive", "negative"], "stars": int, "reason?": str, "topics": [str]},
        {
            "sentiment": enum_of("positive", "negative"),
            "stars": INTEGER,
            "reason": nullable(TEXT),
            "topics": list_of(TEXT),
        },
    ),
    "labels in an array": ({"topics": [["price", "quality"]]}, {"topics": list_of(enum_of("price", "quality"))}),
    "objects in an array": (
        {"people": [{"name": str, "age?": int}]},
        {"people": list_of(struct(name=TEXT, age=nullable(INTEGER)))},
    ),
    "numbers": ({"stars": [1, 2, 3, 4, 5]}, {"stars": INTEGER}),
    "the schema of a field": (
        {"stars": {"type": "integer", "minimum": 1, "maximum": 5, "description": "how good"}},
        {"stars": INTEGER},
    ),
    "an enum with a description": ({"kind": {"enum": ["a", "b"], "description": "which"}}, {"kind": enum_of("a", "b")}),
    "a union in a schema": ({"x": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, {"x": nullable(TEXT)}),
    "a schema without a type": ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": TEXT}),
    "a schema by reference": (
        {"$ref": "#/$defs/X", "$defs": {"X": {"type": "object", "properties": {"a": {"type": "integer"}}}}},
        {"a": nullable(INTEGER)},
    ),
    "a schema": ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": TEXT}),
    "a field called type": (
        {"type": ["bug", "feature"], "urgent": bool},
        {"type": enum_of("bug", "feature"), "urgent": BOOLEAN},
    ),
    "a type of Python called type": (
        {"item": {"type": str, "price": float}},
        {"item": struct(type=TEXT, price=NUMBER)},
    ),
    "a word that is no JSON type": ({"type": "text", "title": "text"}, {"type": TEXT, "title": TEXT}),
    "title and description": ({"title": str, "description": str}, {"title": TEXT, "description": TEXT}),
    "items": ({"items": [str], "total": float}, {"items": list_of(TEXT), "total": NUMBER}),
    "keywords beside a type that is none": (
        {"type": ["bug", "feature"], "enum": ["a", "b"]},
        {"type": enum_of("bug", "feature"), "enum": enum_of("a", "b")},
    ),
    "keywords as fields": (
        {"enum": str, "const": int, "properties": [str]},
        {"enum": TEXT, "const": INTEGER, "properties": list_of(TEXT)},
    ),
    "labels that are types": ({"dtype": ["string", "number"]}, {"dtype": enum_of("string", "number")}),
    "one word that is a type": ({"dtype": ["string"]}, {"dtype": list_of(TEXT)}),
    "one label": ({"kind": ["only"]}, {"kind": enum_of("only")}),
    "one label that is a type": ({"dtype": {"enum": ["string"]}}, {"dtype": enum_of("string")}),
    "a nullable enum": ({"kind?": ["a", "b"]}, {"kind": enum_of("a", "b", nullable=True)}),
    "a free object": ({"x": {"type": "object"}}, {"x": FieldType("json")}),
    "a union": ({"x": int | str}, {"x": FieldType("json")}),
}


@pytest.mark.parametrize(("given_", "fields"), OBJECTS.values(), ids=OBJECTS)
def test_a_mapping_is_an_object_of_fields_or_a_schema(given_, fields):
    """By its keys and what they hold; the order is the author's, everywhere."""
    answer = read_answer(given_)
    assert not answer.wrapped
    assert kinds(answer) == fields
    assert [each.name for each in answer.fields] == list(fields) == list(answer.document["properties"])


WRONG = {
    "an empty list": [],
    "an empty mapping": {},
    "types in a list": [str, int],
    "constants of two kinds": ["a", 1],
    "true and 1": [True, 1],
    "no type's name": {"a": "colour"},
    "nearly a type's name": {"people": [{"age": "integr"}]},
    "labels as a text": "positive, negative",
    "a list in Python's words": {"topics": "list[str]"},
    "a dict in Python's words": {"topics": "dict[str, int]"},
    "a list of what": {"topics": "list"},
    "null in Python's words": {"reason": "str | None"},
    "a keyword that is none": {"type": "object", "properties": {"a": {"type": "string"}}, "require": ["a"]},
    "two readings, as a field": {"item": {"type": "string", "price": "number"}},
    "two readings, as a keyword": {"item": {"type": "string", "description": "string"}},
    "two readings of a format": {"type": "string", "format": "text"},
    "two readings of an array": {"type": "array", "items": "string"},
    "nothing": {"a": None},
    "a number": 5,
    "a value twice": {"a": ["x", "y", "x"]},
    "NaN": [1.0, float("nan")],
    "a large number": [2**63, 1],
    "a name twice": {"a": int, "a?": str},
    "a name that is no text": {1: int},
    "no name": {"?": int},
    "any type": {"a": Any},
    "a dict": dict[str, int],
    "a bare list": list,
    "a pair": {"a": tuple[int, str]},
    "bytes": {"a": Literal[b"x"]},
    "a format for the API": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
}


@pytest.mark.parametrize("given_", WRONG.values(), ids=WRONG)
def test_what_says_no_answer_is_an_error_that_says_what_to_write(given_):
    """With the path of the field."""
    with wording.raises(SettingError) as caught:
        read_answer(given_)
    assert caught.value.place.startswith("answer")
    assert str(caught.value).startswith(caught.value.place)


WRONG_SCHEMAS = {
    "not a schema": ({"s": {"type": "integer", "minimum": "a"}}, "answer.s"),
    "a reference to nothing": ({"s": {"$ref": "#/$defs/X"}}, "answer.s"),
    "a reference outside": ({"s": {"$ref": "https://example.com/x.json"}}, "answer.s"),
    "no fields": ({"type": "object"}, "answer"),
    "too deep": ({"a": {"enum": [json.loads("[" * 300 + "]" * 300)]}}, "answer.a"),
}


@pytest.mark.parametrize(("given_", "place"), WRONG_SCHEMAS.values(), ids=WRONG_SCHEMAS)
def test_a_schema_that_cannot_be_used_is_an_error(given_, place):
    """Before anything is sent."""
    with wording.raises(SchemaError) as caught:
        read_answer(given_)
    assert caught.value.place == place


def test_nothing_recurses_without_an_end():
    """However deep it is, or if it holds itself."""
    endless: list[Any] = []
    endless.append(endless)
    for deep in (endless, {"a": endless}):
        with wording.raises(SettingError):
            read_answer(deep)


def test_aliases_that_multiply_are_refused():
    """A schema is written out, but not without an end."""
    defs = {"a0": {"type": "string"}}
    for n in range(1, 40):
        two = {name: {"$ref": f"#/$defs/a{n - 1}"} for name in ("x", "y")}
        defs[f"a{n}"] = {"type": "object", "properties": two}
    with pytest.raises(SchemaError):
        read_answer({"$ref": "#/$defs/a39", "$defs": defs})


# The doors.

TEXTS = {
    ("sentiment=positive,negative", "stars=int", "topics=[str]", "reason?=text"): {
        "sentiment": ["positive", "negative"],
        "stars": int,
        "topics": [str],
        "reason?": str,
    },
    ("yes,no",): ["yes", "no"],
    ("bool",): bool,
    ("[str]",): [str],
    ("{urgency: [now, later], reply: text}",): {"urgency": ["now", "later"], "reply": str},
    ("stars=1, 2, 3",): {"stars": [1, 2, 3]},
    ("score=0.5,1",): {"score": [0.5, 1]},
    ("kind=[only]",): {"kind": ["only"]},
    ('dtype={enum: ["string"]}',): {"dtype": {"enum": ["string"]}},
    ("people=[{name: str, age?: int}]",): {"people": [{"name": str, "age?": int}]},
}


@pytest.mark.parametrize(("texts", "value"), TEXTS.items(), ids=map(" ".join, TEXTS))
def test_the_command_line_says_the_same_as_python(texts, value):
    """A comma list is labels, a type's name is the type, what begins with a bracket is YAML."""
    assert read_answer(read_answer_texts(texts, from_yaml)) == read_answer(value)


@pytest.mark.parametrize(
    "texts",
    [("urgent",), ("yes,no", "bool"), ("a=int", "bool"), ("a=int", "a=str"), ("a=x,,y",), ("a=",)],
    ids=" ".join,
)
def test_texts_that_say_no_answer_are_errors(texts):
    """That say what to write."""
    with wording.raises(SettingError):
        read_answer(read_answer_texts(texts, from_yaml))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{urgency: [now, later], reply: text}", {"urgency": ["now", "later"], "reply": str}),
        ("[now, later]", ["now", "later"]),
        ("[yes, no]", ["yes", "no"]),
        ("{score: {type: number, minimum: 0}}", {"score": {"type": "number", "minimum": 0}}),
    ],
)
def test_yaml_says_the_same_as_python(text, value):
    """With the types in words."""
    assert read_answer(from_yaml(text)) == read_answer(value)


def test_a_file_holds_a_json_schema(tmp_path):
    """At every door, and at any place."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    whole = read_answer(schema)
    assert read_answer(tmp_path / "schema.json") == whole
    assert read_answer("@schema.json", folder=tmp_path) == whole
    assert read_answer(read_answer_texts(["@schema.json"], from_yaml), folder=tmp_path) == whole
    assert read_answer({"x": "@schema.json"}, folder=tmp_path) == read_answer({"x": {"a": str}})
    (tmp_path / "schema.json").write_text(json.dumps({**schema, "version": 2}))
    assert read_answer(tmp_path / "schema.json").fields == whole.fields


@pytest.mark.parametrize(
    "content", ["{}", '{"sentiment": ["a", "b"]}', '{"name": "x", "schema": {"type": "object"}}', "[", None]
)
def test_a_file_without_a_json_schema_is_an_error(tmp_path, content):
    """It says what is missing."""
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_text(content)
    with wording.raises((SettingError, SchemaError)):
        read_answer(path)


# One meaning, one schema.


@dataclasses.dataclass
class Person:
    name: str
    age: int | None = None


@dataclasses.dataclass
class Review:
    """What a review says."""

    sentiment: Literal["positive", "negative"]
    stars: int
    topics: list[str]
    people: list[Person]
    mood: Mood
    when: datetime.date
    reason: Annotated[str | None, "why"] = None


class PersonDict(TypedDict):
    name: str
    age: NotRequired[int | None]


class ReviewDict(TypedDict):
    """What a review says."""

    sentiment: Literal["positive", "negative"]
    stars: int
    topics: list[str]
    people: list[PersonDict]
    mood: Mood
    when: datetime.date
    reason: NotRequired[Annotated[str | None, "why"]]


REVIEW_SCHEMA = {
    "title": "Review",
    "description": "What a review says.",
    "type": "object",
    "$defs": {
        "Person": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": ["null", "integer"]}},
            "required": ["name", "age"],
        },
        "Mood": {"enum": ["good", "bad"], "title": "Mood"},
    },
    "required": ["stars", "sentiment", "topics", "people", "mood", "when"],
    "properties": {
        "sentiment": {"enum": ["positive", "negative"]},
        "stars": {"type": "integer", "title": "Stars"},
        "topics": {"type": "array", "items": {"type": "string"}},
        "people": {"items": {"$ref": "#/$defs/Person"}},
        "mood": {"allOf": [{"$ref": "#/$defs/Mood"}]},
        "when": {"format": "date", "type": "string"},
        "reason": {"type": "string", "nullable": True, "description": "why", "default": None},
    },
}


def pydantic_review():
    pydantic = pytest.importorskip("pydantic")
    person = pydantic.create_model("Person", name=(str, ...), age=(int | None, None))
    return pydantic.create_model(
        "Review",
        __doc__="What a review says.",
        sentiment=(Literal["positive", "negative"], ...),
        stars=(int, ...),
        topics=(list[str], ...),
        people=(list[person], ...),
        mood=(Mood, ...),
        when=(datetime.date, ...),
        reason=(str | None, pydantic.Field(None, description="why")),
    )


@pytest.mark.parametrize("said", [ReviewDict, REVIEW_SCHEMA, pydantic_review], ids=["TypedDict", "schema", "pydantic"])
def test_one_meaning_is_one_schema(said):
    """The same bytes are sent for a dataclass, a TypedDict, a pydantic model and a JSON Schema."""
    answer = read_answer(said() if said is pydantic_review else said)
    assert answer.source == read_answer(Review).source
    assert answer == read_answer(Review)


def test_a_typed_dict_of_a_package_for_older_pythons_is_one():
    """As pydantic wants them there."""
    extensions = pytest.importorskip("typing_extensions")
    kind = extensions.TypedDict("Other", {"b": str, "a": extensions.NotRequired[int]})
    assert read_answer(kind) == read_answer({"b": str, "a?": int})


def test_the_short_form_is_the_same_schema():
    """But for the words of a docstring."""
    short = {
        "sentiment": ["positive", "negative"],
        "stars": int,
        "topics": ["text"],
        "people": [{"name": str, "age?": "integer"}],
        "mood": Mood,
        "when": "date",
        "reason?": Annotated[str, "why"],
    }
    document = read_answer(Review).document
    del document["description"]
    assert json.dumps(read_answer(short).document) == json.dumps(document)


SCALARS = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.datetime: {"type": "string", "format": "date-time"},
}
LABELS = st.sets(st.sampled_from("abcdef"), min_size=1, max_size=4).map(
    lambda labels: tuple(sorted(labels, reverse=True))
)
"""Each set in one order: Python itself takes `Literal["a", "b"] | None` for `Literal["b", "a"] | None`."""
NAMES = st.permutations(["zeta", "alpha", "type", "title", "items", "x"])


def fields_of(inside):
    """Draw an object: names in any order, what each is, and whether it is optional."""
    drawn = st.lists(st.tuples(inside, st.booleans()), min_size=1, max_size=4)
    return st.tuples(NAMES, drawn).map(lambda both: [(name, *each) for name, each in zip(*both, strict=False)])


MEANINGS = fields_of(
    st.recursive(
        st.sampled_from(list(SCALARS)) | LABELS,
        lambda inside: st.tuples(st.just(list), inside) | fields_of(inside),
        max_leaves=6,
    )
)
"""An object of fields: a scalar, a tuple of labels, a list of something, an object."""


def said(meaning, make_class, short):
    """Say a meaning by annotations, objects as `make_class` has it; `short`: in the short form."""
    if isinstance(meaning, list):
        return make_class([(name, said(each, make_class, short), optional) for name, each, optional in meaning])
    if isinstance(meaning, tuple) and meaning[0] is list:
        return [said(meaning[1], make_class, short)] if short else list[said(meaning[1], make_class, short)]
    if isinstance(meaning, tuple):
        return list(meaning) if short else Literal[meaning]
    return meaning


def as_schema(meaning):
    if isinstance(meaning, list):
        named = {name: as_schema(each) for name, each, _ in meaning}
        return {
            "required": [name for name, _, optional in reversed(meaning) if not optional],
            "properties": named,
            "type": "object",
        }
    if isinstance(meaning, tuple):
        return {"items": as_schema(meaning[1]), "type": "array"} if meaning[0] is list else {"enum": list(meaning)}
    return dict(reversed(SCALARS[meaning].items()))


def as_dataclass(fields):
    made = [
        (name, kind | None, dataclasses.field(default=None)) if optional else (name, kind)
        for name, kind, optional in fields
    ]
    return dataclasses.make_dataclass("Data", made, kw_only=True)


def as_typed_dict(fields):
    return TypedDict("Typed", {name: NotRequired[kind | None] if optional else kind for name, kind, optional in fields})


def as_model(fields):
    pydantic = pytest.importorskip("pydantic")
    return pydantic.create_model(
        "Model", **{name: (kind | None, None) if optional else (kind, ...) for name, kind, optional in fields}
    )


@settings(max_examples=15)
@given(MEANINGS)
def test_one_meaning_is_one_schema_however_it_is_said(meaning):
    """The same bytes, in the author's order."""
    short = said(meaning, lambda fields: {name + "?" * optional: kind for name, kind, optional in fields}, True)
    answer = read_answer(short)
    assert [each.name for each in answer.fields] == [name for name, _, _ in meaning]
    for other in (
        as_schema(meaning),
        *(said(meaning, each, False) for each in (as_dataclass, as_typed_dict, as_model)),
    ):
        assert read_answer(other).source == answer.source


def test_a_pydantic_model_in_a_dataclass():
    """References are written out where they end."""
    pydantic = pytest.importorskip("pydantic")
    inner = pydantic.create_model("Inner", mood=(Mood, ...), limit=(int, pydantic.Field(ge=1, le=5)))
    outer = dataclasses.make_dataclass("Outer", [("inner", list[inner])])
    limit = {"type": "integer", "maximum": 5, "minimum": 1}
    assert read_answer(outer) == read_answer({"inner": [{"mood": Mood, "limit": limit}]})


def test_validators_hooks_and_defaults_are_said_not_to_be_used():
    """An answer is judged by its schema alone."""
    pydantic = pytest.importorskip("pydantic")

    class Checked(pydantic.BaseModel):
        stars: int

        @pydantic.field_validator("stars")
        @classmethod
        def few(cls, value):
            return value

    fields = [("checked", Checked), ("score", float, 0.5), ("more", list[str], dataclasses.field(default_factory=list))]
    hook = {"__post_init__": lambda self: None}
    hooked = dataclasses.make_dataclass("Hooked", fields, namespace=hook)
    answer = read_answer(hooked)
    wording(answer.remarks)
    assert answer == read_answer({"checked": {"stars": int}, "score?": float, "more?": [str]})


@dataclasses.dataclass
class Comment:
    text: str
    answers: list[Comment]


@dataclasses.dataclass
class Unresolved:
    text: Missing  # noqa: F821


def test_what_holds_itself_stays_a_reference():
    """Its definition is strict too, and the root is an object."""
    for said in (Comment, {"thread": Comment}, list[Comment]):
        answer = read_answer(said)
        assert answer.document["type"] == "object"
        assert answer.document["$defs"]["Comment"]["additionalProperties"] is False
        assert lint(answer.document) == []
        assert lint(answer.document, "anthropic") != []


def test_a_name_that_cannot_be_resolved_is_an_error():
    """It says where it should be."""
    with wording.raises(SettingError) as caught:
        read_answer(Unresolved)
    assert caught.value.place == "answer"


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (Annotated[int, "how good"], {"type": "integer", "description": "how good"}),
        (
            Annotated[list[Annotated[str, "one topic"]], "all"],
            {"type": "array", "description": "all", "items": {"type": "string", "description": "one topic"}},
        ),
        (Annotated[str, "why"] | None, {"type": ["string", "null"], "description": "why"}),
        (
            Annotated[Mood | None, "which"],
            {"description": "which", "anyOf": [{"type": "string", "enum": ["good", "bad"]}, {"type": "null"}]},
        ),
    ],
    ids=str,
)
def test_descriptions_are_sent(annotation, schema):
    """They tell the model what is meant."""
    assert read_answer({"x": annotation}).document["properties"]["x"] == schema


def test_bounds_of_annotations_are_sent():
    """Those of `annotated_types` and of pydantic."""
    types = pytest.importorskip("annotated_types")
    bounded = read_answer(
        {"x": Annotated[int | None, types.Ge(1), types.Le(5)], "y": Annotated[list[str], types.Len(1, 3)]}
    )
    x = {"type": ["integer", "null"], "maximum": 5, "minimum": 1}
    y = {"type": "array", "items": {"type": "string"}, "maxItems": 3, "minItems": 1}
    assert bounded.document["properties"] == {"x": x, "y": y}


# What is made strict.


def test_what_was_optional_may_be_null():
    """Or what has a default, which is not applied."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 1}, "c": {"type": "string"}},
        "required": ["b", "c"],
    }
    answer = read_answer(schema)
    assert kinds(answer) == {"a": nullable(TEXT), "b": nullable(INTEGER), "c": TEXT}
    assert answer.document["required"] == ["a", "b", "c"]


def test_a_property_may_have_a_keywords_name():
    """What says nothing is left out, but no field."""
    names = ["title", "default", "examples", "$schema", "type", "x-note"]
    answer = read_answer(
        {"type": "object", "title": "T", "properties": {name: {"type": "string", "title": "T"} for name in names}}
    )
    assert [each.name for each in answer.fields] == names
    assert "title" not in answer.document


def test_all_of_is_merged_and_one_of_of_forms_told_apart_is_any_of():
    """As libraries write inheritance and unions with a discriminator."""
    cat = {"type": "object", "properties": {"kind": {"const": "cat"}}, "required": ["kind"]}
    dog = {"type": "object", "properties": {"kind": {"const": "dog"}}, "required": ["kind"]}
    answer = read_answer(
        {
            "type": "object",
            "properties": {
                "pet": {
                    "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
                    "discriminator": {"propertyName": "kind"},
                }
            },
            "allOf": [{"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}],
            "required": ["pet"],
            "$defs": {"Cat": cat, "Dog": dog},
        }
    )
    assert {each.name for each in answer.fields} == {"id", "pet"}
    assert len(answer.document["properties"]["pet"]["anyOf"]) == 2
    assert lint(answer.document) == []


CONDITIONS = {
    "not": {"not": {"properties": {"a": {"const": "x"}}, "required": ["a"]}},
    "if": {"if": {"properties": {"a": {"const": "x"}}}, "then": {"properties": {"a": {"minLength": 1}}}},
    "allOf": {"allOf": [{"properties": {"a": {"minLength": 1}}}, {"properties": {"a": {"maxLength": 5}}}]},
    "anyOf": {"anyOf": [{"required": ["a"]}, {"properties": {"b": {"type": "string"}}, "required": ["b"]}]},
}


@pytest.mark.parametrize("more", CONDITIONS.values(), ids=CONDITIONS)
def test_conditions_stay_what_they_are(more):
    """An object with more to say is not closed, and a condition not made strict; the lint says so."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], **more}
    judge = AnswerJudge(read_answer({"x": schema}))
    assert judge('{"x": {"a": "y"}}').reason == ""
    assert lint(read_answer({"x": schema}).document) != []


def test_what_is_given_is_not_changed_and_the_answer_is_a_value():
    """It can be compared, hashed and pickled."""
    schema = copy.deepcopy(REVIEW_SCHEMA)
    answer = read_answer(schema)
    assert schema == REVIEW_SCHEMA
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert hash(pickle.loads(pickle.dumps(answer))) == hash(answer)
    assert answer != read_answer({"a": int})


SHORT = st.recursive(
    st.sampled_from(["text", "integer", "number", "boolean", "date", "datetime", ["a", "b"], [1, 2, 3]]),
    lambda inside: st.one_of(
        st.dictionaries(
            st.sampled_from(["kind", "name?", "type", "stars", "items", "title?"]), inside, min_size=1
        ).filter(lambda fields: fields.get("type") not in ("integer", "number", "boolean")),
        inside.map(lambda item: [item]),
    ),
    max_leaves=12,
)


@given(SHORT)
def test_every_answer_is_strict_and_says_itself(value):
    """Its schema is what strict modes take, but for its depth; read again as a JSON Schema, it is the same."""
    answer = read_answer(value)
    assert [problem for problem in lint(answer.document) if problem.rule != "depth"] == []
    again = read_answer(answer.document)
    assert again.source == answer.source
    assert again.fields == answer.fields


@given(
    SHORT
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
        lambda i: (
            st.lists(i, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "properties", "enum", "$ref", "anyOf", "items", "a", "required", "allOf", "const", "$defs"]
                )
                | st.text(max_size=3),
                i,
                max_size=4,
            )
        ),
        max_leaves=15,
    )
)
def test_whatever_is_given_is_an_answer_or_an_error(value):
    """No other exception; and what was read is read as the same again."""
    with contextlib.suppress(SettingError, SchemaError):
        found = read_answer(value)
        assert read_answer(found) == found
        assert found.document["additionalProperties"] is False


def test_reading_answers_loads_no_table_library():
    """Nor pydantic: what is not used costs nothing."""
    code = (
        "import sys, tablenodes.answers as answers; answers.read_answer({'a': ['x', 'y'], 'b': int});"
        "print(*sorted({'pandas', 'pyarrow', 'pydantic', 'numpy', 'jsonschema_rs'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
