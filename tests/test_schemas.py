"""Schemas: finding one, loading one of your own, and what it says about a body's places."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
import timeit

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import wording

import tablenodes as tn
from tablenodes import schemas
from tablenodes.bundle import bundled_folder
from tablenodes.errors import SchemaError, UsageError
from tablenodes.schemas import schema_source, subschemas

BODY = {"model": "m", "messages": [{"role": "user", "content": "c"}]}
TYPICAL = {
    "model": "gpt-4o-mini",
    "temperature": 0,
    "max_tokens": 8,
    "messages": [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Is this review positive or negative? Review: great! Answer with one word."},
    ],
}
EVERYTHING = {"string", "number", "integer", "boolean", "null", "array", "object"}


def refused(schema, operation="create_completion"):
    with pytest.raises(SchemaError) as caught:
        schemas.load(schema, operation)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def saved(tmp_path, text, name="mine.json"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Finding one.


def test_the_bundled_revisions_and_their_operations():
    """Two revisions, the oldest first, one schema an operation."""
    assert schemas.revisions() == ("openai-2024-05", "openai-2026-08")
    assert schemas.operations("openai-2024-05") == ("create_chat_completion", "create_completion")
    assert {"create_chat_completion", "create_completion", "create_embedding", "create_moderation"} <= set(
        schemas.operations(schemas.DEFAULT_REVISION)
    )


def test_a_bundled_schema_is_loaded_once():
    """It is immutable, so all share it."""
    one = schemas.load("openai-2024-05", "create_completion")
    assert one is schemas.load("openai-2024-05", "create_completion")
    assert (one.name, one.operation) == ("openai-2024-05", "create_completion")
    assert repr(one) == "Schema('openai-2024-05', 'create_completion')"


@pytest.mark.parametrize(
    ("schema", "operation"),
    [
        ("openai-2026-8", "x"),
        ("mine", "x"),
        ("openai-2026-08", "create_completions"),
        ("openai-2024-05", "moderate"),
        (7, "x"),
    ],
)
def test_a_schema_that_is_not_there_is_said_with_the_nearest_name(schema, operation):
    """Revisions and operations alike."""
    wording(refused(schema, operation))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", ["top_k", "tools"])
def test_a_number_that_json_has_not_fits_nowhere(number, place):
    """Also where the schema says nothing of it: it could not be sent."""
    function = {"name": "f", "parameters": {"type": "object", "default": number}}
    more = {"top_k": {"a": [number]}, "tools": [{"type": "function", "function": function}]}[place]
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], place: more}
    (problem,) = tn.validate(body)
    assert (problem.rule, problem.path.startswith(f"$.{place}")) == ("json", True)


def test_operations_of_no_revision():
    """An error with the nearest name."""
    with wording.raises(SchemaError):
        schemas.operations("openai-2024-5")


def test_bundled_schemas_are_found_in_the_package_first_and_then_beside_it(tmp_path):
    """A wheel has them inside the package, a source tree beside pyproject.toml; other folders are not meant."""
    package = tmp_path / "tablenodes"
    (tmp_path / "schemas").mkdir()
    package.mkdir()
    with wording.raises(UsageError):
        bundled_folder("schemas", package)
    (tmp_path / "pyproject.toml").touch()
    assert bundled_folder("schemas", package) == tmp_path / "schemas"
    (package / "_schemas").mkdir()
    assert bundled_folder("schemas", package) == package / "_schemas"


# Loading your own.


def test_a_file_or_a_mapping_is_a_schema(tmp_path):
    """By path as text or as a path, with or without a byte order mark; and a mapping of any kind."""
    document = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    path = saved(tmp_path, b"\xef\xbb\xbf" + json.dumps(document).encode())
    for schema in (path, str(path), document):
        loaded = schemas.load(schema, "create_completion")
        assert loaded.document == document
        assert [loaded.is_valid(body) for body in ({"a": 1}, {"a": "1"}, {})] == [True, False, False]
    assert schemas.load(path, "x").name == "mine.json"
    assert schemas.load(document, "x").name == "mapping"


def test_a_file_in_the_working_folder_may_go_by_its_bare_name(tmp_path, monkeypatch):
    """With .json, or without where it is there."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, "{}", "mine")
    assert schemas.load("mine", "x").name == "mine"
    wording(refused("yours.json"))


def test_a_mapping_is_copied():
    """What its owner does with it afterwards changes nothing; nor does a change to the document that is given out."""
    document = {"properties": {"a": {"type": "integer", "enum": (1, 2)}}}
    loaded = schemas.load(document, "x")
    document["properties"]["a"]["type"] = "string"
    loaded.document["properties"].clear()
    assert loaded.document == {"properties": {"a": {"type": "integer", "enum": [1, 2]}}}
    assert loaded.is_valid({"a": 1})


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "object",\n "properties" {}}',
        "",
        "[]",
        "true",
        '{"maximum": NaN}',
        '{"maximum": 1' + "0" * 5000 + "}",
        b'{"title": "\xff"}',
        '{"a":' * 100_000,
        '{"not":' * 400 + "{}" + "}" * 400,
        '{"properties": {"n": {"type": "whole"}}}',
        '{"properties": {"n": {"pattern": "("}}}',
        '{"properties": []}',
        '{"$schema": "https://example.com/own"}',
        '{"$ref": "#/$defs/nowhere"}',
        '{"$ref": "#nowhere"}',
    ],
)
def test_a_broken_schema_is_said_with_its_file_and_its_place(tmp_path, text):
    """Before any row is looked at."""
    said = refused(saved(tmp_path, text))
    wording(said, python=re.compile("; use sys.*"))  # cut, and the path is of any length
    assert "mine.json" in said
    assert len(said) < 500


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {1: {}}},
        {"maximum": float("nan")},
        {"const": {1, 2}},
    ],
)
def test_a_mapping_that_is_no_json_is_refused(schema):
    """As a file would be."""
    wording(refused(schema))


def test_a_mapping_that_holds_itself_is_refused():
    """It has no end."""
    schema = {}
    schema["not"] = schema
    wording(refused(schema))


def test_a_folder_and_an_unreadable_file_are_refused(tmp_path, monkeypatch):
    """Each by its own reason."""
    wording(refused(tmp_path))
    path = saved(tmp_path, "{}")
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Denied")))
    wording(refused(path))


def test_older_drafts_are_understood():
    """By their $schema; the parts of a list, in draft 7's way."""
    document = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"a": {"items": [{"type": "integer"}], "additionalItems": {"type": "string"}}},
    }
    loaded = schemas.load(document, "x")
    assert [problem.path for problem in loaded.problems({"a": ["x", "y"]})] == ["$.a[0]"]
    assert loaded.admits(("a", 0)) == {"integer"}
    assert loaded.admits(("a", 1)) == {"string"}
    assert loaded.problems({"a": [1, "y"]}) == []


@pytest.mark.parametrize("draft", ["http://json-schema.org/draft-07/schema#", None])
def test_formats_are_only_said(draft):
    """In no draft does a format reject a value."""
    formats = {"properties": {name: {"format": name} for name in ("uri", "email", "date", "regex", "int32")}}
    loaded = schemas.load({**({"$schema": draft} if draft else {}), "items": {"anyOf": [formats]}, **formats}, "x")
    body = dict.fromkeys(formats["properties"], "(")
    assert loaded.problems(body) == []
    assert loaded.problems([body]) == []


def test_references_by_an_address_in_the_document_are_followed():
    """By the validators; what they admit is then anything."""
    document = {
        "$id": "https://example.com/mine",
        "$defs": {
            "part": {
                "$id": "https://example.com/part",
                "$defs": {"word": {"type": "string"}},
                "anyOf": [{"type": "null"}, {"items": {"$ref": "#/$defs/word"}, "type": "array"}],
            }
        },
        "properties": {"a": {"$ref": "https://example.com/part"}, "b": {"$ref": "part#/$defs/word"}},
    }
    loaded = schemas.load(document, "x")
    assert [(p.path, p.rule) for p in loaded.problems({"a": ["t", 1], "b": 2})] == [("$.a[1]", "type"), ("$.b", "type")]
    assert loaded.admits(("a",)) == EVERYTHING


# OpenAPI's nullable.


NULLABLE = [
    {"type": "string", "nullable": True},
    {"type": "string", "nullable": True, "enum": ["a"]},
    {"type": "string", "nullable": True, "enum": ["a", None]},
    {"type": "string", "nullable": True, "const": "a"},
    {"type": "integer", "nullable": True, "minimum": 3},
    {"type": ["integer", "string"], "nullable": True},
    {"nullable": True, "$ref": "#/$defs/word"},
    {"nullable": True, "type": "string", "allOf": [{"type": "string"}]},
    {"nullable": True, "oneOf": [{"type": "string"}, {"type": "integer"}]},
    {"nullable": True, "anyOf": [{"type": "string", "nullable": True}]},
    {"nullable": True, "not": {"type": "null"}},
    {"nullable": True, "enum": ["a"]},
    {"nullable": True, "maximum": 3},
    {"nullable": True},
]


@pytest.mark.parametrize("schema", NULLABLE, ids=json.dumps)
def test_nullable_admits_null_and_nothing_else_more(schema):
    """Whatever else the schema says; and without it, null is judged as ever."""
    defs = {"$defs": {"word": {"type": "string"}}}
    loaded = schemas.load({**defs, "properties": {"a": schema}}, "x")
    assert "nullable" not in json.dumps(loaded.document)
    assert loaded.is_valid({"a": None})
    assert "null" in loaded.admits(("a",))
    strict = schemas.load({**defs, "properties": {"a": {**schema, "nullable": False}}}, "x")
    for value in ("a", "b", 1, 5, 1.5, [], {}, True):
        assert loaded.is_valid({"a": value}) == strict.is_valid({"a": value})


def test_nullable_with_a_type_extends_it_and_without_one_is_wrapped():
    """In plain JSON Schema, with its words about the property left on top."""
    translated = schema_source.without_nullable
    assert translated({"type": "string", "enum": ["a"], "nullable": True}) == {
        "type": ["string", "null"],
        "enum": ["a", None],
    }
    assert translated({"$ref": "#/x", "nullable": True, "description": "d"}) == {
        "description": "d",
        "anyOf": [{"type": "null"}, {"$ref": "#/x"}],
    }


def test_only_the_keyword_is_translated():
    """Not a property of that name, nor a value that looks like a schema."""
    document = {
        "properties": {"nullable": {"type": "string", "const": {"nullable": True}}},
        "default": {"type": "string", "nullable": True},
        "enum": [{"nullable": True}],
        "required": ["nullable"],
    }
    assert schema_source.without_nullable(document) == document


def test_properties_may_have_the_names_of_keywords():
    """They are properties all the same, and their schemas may be plain true."""
    nullable = {"type": "string", "nullable": True}
    document = {"properties": {"nullable": True, "default": nullable, "enum": nullable, "example": nullable}}
    translated = {"type": ["string", "null"]}
    assert schema_source.without_nullable(document) == {
        "properties": {"nullable": True, "default": translated, "enum": translated, "example": translated}
    }


def test_a_document_of_openapi_is_translated_where_its_references_lead():
    """Its shared schemas as well."""
    document = {
        "$ref": "#/components/schemas/nullable",
        "components": {"schemas": {"nullable": {"properties": {"a": {"type": "integer", "nullable": True}}}}},
    }
    assert schemas.load(document, "x").admits(("a",)) == {"integer", "null"}


# What a schema says.


def test_properties_and_required_are_found_through_references():
    """In the schema's order: $ref, allOf, and the alternatives for what is known, but not for what is required."""
    document = {
        "allOf": [{"$ref": "#/$defs/base"}, {"properties": {"b": {"description": "bee"}}, "required": ["b"]}],
        "anyOf": [{"properties": {"c": {}}, "required": ["c"]}],
        "if": {"properties": {"never": {}}},
        "then": {"properties": {"d": {}}},
        "$defs": {"base": {"properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}, "a": {"description": "ay"}},
    }
    loaded = schemas.load(document, "x")
    assert loaded.properties == ("a", "b", "c", "d")
    assert loaded.required == ("a", "b")
    assert [loaded.description(name) for name in ("a", "b", "c", "z")] == ["ay", "bee", "", ""]


def test_every_bundled_property_is_described():
    """For the help of the command line."""
    for revision in schemas.revisions():
        for operation in schemas.operations(revision):
            loaded = schemas.load(revision, operation)
            assert loaded.properties
            assert set(loaded.required) <= set(loaded.properties)
            assert [name for name in loaded.properties if len(loaded.description(name)) < 10] == []


def in_one_order(value):
    """Return a parameter's name: the same in every process, where the order of a set is not."""
    return str(sorted(value) if isinstance(value, set) else value)


@pytest.mark.parametrize(
    ("path", "admitted"),
    [
        (("model",), {"string"}),
        (("temperature",), {"number", "integer", "null"}),
        (("n",), {"integer", "null"}),
        (("messages",), {"array"}),
        (("messages", 0), {"object"}),
        (("messages", 3, "role"), {"string"}),
        (("messages", 0, "content"), {"string", "array", "null"}),
        (("stop",), {"string", "array", "null"}),
        (("stop", 0), {"string"}),
        (("logit_bias", "50256"), {"integer"}),
        (("metadata", "any"), {"string"}),
        (("tool_choice",), {"string", "object"}),
        (("stream_options", "include_usage"), {"boolean"}),
        (("tools", 0, "type"), {"string"}),
        (("unknown",), EVERYTHING),
        (("temperature", "below", 0), EVERYTHING),
        (("tools", 0, "function", "parameters", "type"), EVERYTHING),
        ((), {"object"}),
    ],
    ids=in_one_order,
)
def test_admitted_types_of_a_chat_request(path, admitted):
    """Through references, alternatives, items and additional properties; all where the schema says nothing."""
    assert schemas.load(schemas.DEFAULT_REVISION, "create_chat_completion").admits(path) == admitted


@pytest.mark.parametrize(
    ("schema", "admitted"),
    [
        ({"type": "number"}, {"number", "integer"}),
        ({"allOf": [{"type": "number"}, {"type": ["integer", "string"]}]}, {"integer"}),
        ({"enum": ["a", 1, 1.5, None, True, [], {}]}, EVERYTHING),
        ({"enum": [1, "a"], "type": ["string", "null"]}, {"string"}),
        ({"const": 1.0}, {"integer"}),
        ({"anyOf": [{"type": "string"}, {"oneOf": [{"type": "null"}]}]}, {"string", "null"}),
        ({"$ref": "#/$defs/list/prefixItems/1"}, {"boolean"}),
        ({"$ref": "#/$defs/a~1b%20c"}, {"array"}),
        ({"$ref": "#named"}, EVERYTHING),
        ({"$ref": "#/properties/a"}, EVERYTHING),
        (True, EVERYTHING),
        (False, EVERYTHING),
    ],
    ids=in_one_order,
)
def test_admitted_types_of_a_schema_of_your_own(schema, admitted):
    """What must hold at once is intersected, alternatives are united; a reference in circles bounds nothing."""
    named = {"$anchor": "named", "type": "string"}
    shared = {"list": {"prefixItems": [{}, {"type": "boolean"}]}, "a/b c": {"type": "array"}, "named": named}
    assert schemas.load({"$defs": shared, "properties": {"a": schema}}, "x").admits(("a",)) == admitted


def test_admitted_types_of_list_places_and_patterns():
    """Positions of a tuple first, then its other items; a name that a pattern covers may be anything."""
    places = {"a": {"prefixItems": [{"type": "null"}], "items": {"type": "string"}}}
    patterns = {"patternProperties": {"^x": {"type": "string"}}, "additionalProperties": {"type": "null"}}
    loaded = schemas.load({"properties": places | {"p": patterns}}, "x")
    assert [loaded.admits(("a", position)) for position in (0, 1)] == [{"null"}, {"string"}]
    assert loaded.admits(("p", "y")) == EVERYTHING


def test_a_schema_that_holds_itself_admits_to_any_depth():
    """And a path without end admits everything."""
    loaded = schemas.load({"properties": {"a": {"$ref": "#"}, "n": {"type": "integer"}}}, "x")
    assert loaded.admits((*["a"] * 50, "n")) == {"integer"}
    assert loaded.admits((*["a"] * 5000, "n")) == EVERYTHING


TYPES = ["string", "number", "integer", "boolean", "null", "array", "object"]
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
small_schemas = st.recursive(
    st.fixed_dictionaries({"type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, unique=True)})
    | st.fixed_dictionaries({"enum": st.lists(plain_json, min_size=1, max_size=3)})
    | st.fixed_dictionaries({"const": plain_json})
    | st.just({}),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"oneOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"items": inner, "type": st.just("array")}),
        st.fixed_dictionaries({"properties": st.fixed_dictionaries({}, optional={"a": inner, "b": inner})}),
        st.fixed_dictionaries({"additionalProperties": inner}),
    ),
    max_leaves=5,
)


def places(value, path=()):
    yield path, value
    for step, each in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from places(each, (*path, step))


@settings(deadline=None)
@given(small_schemas, plain_json)
def test_the_types_of_a_fitting_value_are_admitted_at_every_place(schema, value):
    """Never too few: what the gate lets through is admitted, down to the last item."""
    if schemas.load(schema, "x").is_valid(value):
        for path, each in places(value):
            assert subschemas.kind(each) in schemas.load(schema, "x").admits(path)


@settings(deadline=None)
@given(small_schemas, plain_json)
def test_any_schema_explains_what_it_rejects(schema, value):
    """The gate and jsonschema agree on small schemas, and there is a problem exactly where they say no."""
    loaded = schemas.load(schema, "x")
    assert loaded.is_valid(value) == jsonschema.Draft202012Validator(loaded.document).is_valid(value)
    assert (loaded.problems(value) == []) == loaded.is_valid(value)


# The value itself.


def test_a_schema_is_a_value():
    """Equal by what it says, hashable, immutable; copies and pickles, used ones too, work as before."""
    document = {"properties": {"a": {"type": "integer"}}}
    one = schemas.load(document, "x")
    assert one == schemas.load(dict(document), "x")
    assert len({one, schemas.load(document, "x"), schemas.load(document, "y")}) == 2
    assert one.problems({"a": "t"})
    for again in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), copy.copy(one)):
        assert again == one
        assert again.problems({"a": "t"}) == one.problems({"a": "t"})
    with pytest.raises(AttributeError):
        one.name = "other"


def test_validate_takes_a_revision_a_path_and_a_mapping(tmp_path):
    """And the chat request of the newest revision by default."""
    assert tn.validate(BODY) == []
    assert tn.validate(BODY, schema="openai-2024-05") == []
    assert [p.path for p in tn.validate({"model": "m"}, "create_completion")] == ["$.prompt"]
    document = {"required": ["own"]}
    for schema in (document, saved(tmp_path, json.dumps(document))):
        assert [p.path for p in tn.validate({}, "anything", schema)] == ["$.own"]


def test_the_gate_alone_judges_a_body_that_fits():
    """Importing costs nothing, and what explains a rejected body is loaded with the first of them."""
    code = (
        "import sys; from tablenodes import schemas\n"
        "def loaded(): print(*(m in sys.modules for m in ('jsonschema_rs', 'tablenodes.schemas.explanations')))\n"
        f"loaded(); assert not schemas.validate({BODY!r}); loaded(); assert schemas.validate({{}}); loaded()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False", "True", "False", "True", "True"]


def benchmark():
    """Print what the gate and an explanation cost; run this file to see it."""
    for revision in schemas.revisions():
        loaded = schemas.load(revision, "create_chat_completion")
        wrong = TYPICAL | {"temperature": 3}
        worse = TYPICAL | {"messages": [{"role": "user", "content": 5}]}
        for name, call, rounds in (
            ("is_valid", lambda loaded=loaded: loaded.is_valid(TYPICAL), 20_000),
            ("validate", lambda revision=revision: schemas.validate(TYPICAL, schema=revision), 20_000),
            ("problems, one number", lambda loaded=loaded, wrong=wrong: loaded.problems(wrong), 500),
            ("problems, a message", lambda loaded=loaded, worse=worse: loaded.problems(worse), 500),
        ):
            call()
            seconds = min(timeit.repeat(call, number=rounds, repeat=5)) / rounds
            print(f"{revision} {name}: {seconds * 1e6:.2f} µs")


if __name__ == "__main__":
    benchmark()
