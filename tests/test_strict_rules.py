"""What strict modes of providers forbid: their documented rules, and what they answer with 400."""

from __future__ import annotations

import pytest
from sentences import wording

from tablenodes.answers import StrictProblem, lint, provider_of, read_answer

TEXT = {"type": "string"}


def closed(properties=None, **more):
    """Return an object as strict modes want it, with a few keywords changed."""
    properties = {"a": TEXT} if properties is None else properties
    made = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **more,
    }
    return {name: value for name, value in made.items() if value is not ...}


def field(**schema):
    return closed({"a": schema})


def nested(levels, inside=None):
    """Return objects in objects: `levels` of them in all."""
    made = inside or closed()
    for _ in range(levels - 1):
        made = closed({"a": made})
    return made


def lists(levels):
    made = TEXT
    for _ in range(levels):
        made = {"type": "array", "items": made}
    return closed({"a": made})


def many(count):
    return closed({f"p{n}": TEXT for n in range(count)})


def enum(count, length=3):
    return {"type": "string", "enum": [str(n).zfill(length) for n in range(count)]}


TREE = closed({"kids": {"type": "array", "items": {"$ref": "#"}}})
CHAIN = closed({"next": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}})
BRANCHES = [closed({"kind": {"type": "string", "const": name}}) for name in ("x", "y")]

OPENAI = {
    # As it should be.
    "an object of texts": (closed(), {}),
    "every type": (closed({name: {"type": name} for name in ("string", "integer", "number", "boolean", "null")}), {}),
    "a list of types with null": (field(type=["string", "null"]), {}),
    "an enum": (field(type="string", enum=["x", "y"]), {}),
    "a constant": (field(type="string", const="x"), {}),
    "descriptions and titles": (
        closed({"a": {"type": "string", "description": "d", "title": "t"}}, description="d"),
        {},
    ),
    "an object in an object": (nested(2), {}),
    "a list of objects": (field(type="array", items=closed()), {}),
    "a union inside": (field(anyOf=[closed(), {"type": "null"}]), {}),
    "a union of objects": (field(anyOf=BRANCHES), {}),
    "a definition": (closed({"a": {"$ref": "#/$defs/X"}}, **{"$defs": {"X": closed()}}), {}),
    "a root that recurs": (TREE, {}),
    "a definition that recurs": (closed({"n": {"$ref": "#/$defs/N"}}, **{"$defs": {"N": CHAIN}}), {}),
    "a pattern": (field(type="string", pattern="^@[a-z]+$"), {}),
    "known formats": (
        closed(
            {
                name: {"type": "string", "format": name}
                for name in ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
            }
        ),
        {},
    ),
    "bounds of numbers": (
        closed(
            {
                "a": {"type": "number", "multipleOf": 2, "minimum": 0, "exclusiveMaximum": 9},
                "b": {"type": "integer", "maximum": 9, "exclusiveMinimum": 0},
            }
        ),
        {},
    ),
    "bounds of lists": (field(type="array", items=TEXT, minItems=1, maxItems=3), {}),
    "fields with keywords' names": (
        closed(dict.fromkeys(("oneOf", "not", "default", "$ref", "format", "uniqueItems"), TEXT)),
        {},
    ),
    "ten levels": (nested(10), {}),
    "5,000 properties": (many(5_000), {}),
    "1,000 enum values": (field(**enum(1_000)), {}),
    "an enum of 250 long values": (field(**enum(250, 100)), {}),
    "a schema with its draft": (closed(**{"$schema": "https://json-schema.org/draft/2020-12/schema"}), {}),
    # The root.
    "a text as the root": (TEXT, {("$", "root")}),
    "a list as the root": ({"type": "array", "items": TEXT}, {("$", "root")}),
    "a union as the root": ({"anyOf": BRANCHES}, {("$", "root")}),
    "an object with a union as the root": (closed(anyOf=BRANCHES), {("$", "root")}),
    "a reference as the root": ({"$ref": "#/$defs/X", "$defs": {"X": closed()}}, {("$", "root")}),
    "null or an object as the root": (closed(type=["object", "null"]), {("$", "root")}),
    # Closed, required, typed.
    "an open object": (closed(additionalProperties=...), {("$", "closed")}),
    "an object open by word": (closed(additionalProperties=True), {("$", "closed")}),
    "a map": (field(type="object", additionalProperties=TEXT), {("$.a", "closed")}),
    "an open object inside": (nested(2, closed(additionalProperties=...)), {("$.a", "closed")}),
    "an open object in a list": (field(type="array", items=closed(additionalProperties=...)), {("$.a[*]", "closed")}),
    "an open object in a union": (
        field(anyOf=[closed(additionalProperties=...), {"type": "null"}]),
        {("$.a", "closed")},
    ),
    "an open definition": (
        closed({"a": {"$ref": "#/$defs/X"}}, **{"$defs": {"X": closed(additionalProperties=...)}}),
        {("$.a", "closed")},
    ),
    "nothing required": (closed(required=...), {("$.a", "required")}),
    "one not required": (closed({"a": TEXT, "b": TEXT}, required=["a"]), {("$.b", "required")}),
    "one required that is none": (closed(required=["a", "b"]), {("$.b", "required")}),
    "no type": (field(description="any"), {("$.a", "type")}),
    "an enum without a type": (field(enum=["x"]), {("$.a", "type")}),
    "any value": (closed({"a": {}}), {("$.a", "type")}),
    "a list of anything": (field(type="array"), {("$.a", "items")}),
    # Keywords.
    "allOf": (field(allOf=[closed()]), {("$.a", "allOf")}),
    "oneOf": (field(oneOf=BRANCHES), {("$.a", "oneOf")}),
    "not": (field(type="string", **{"not": {"type": "string", "const": "x"}}), {("$.a", "not")}),
    "a condition": (
        closed(**{"if": closed(), "then": closed(), "else": closed()}),
        {("$", "if"), ("$", "then"), ("$", "else")},
    ),
    "dependentRequired": (closed(dependentRequired={"a": ["a"]}), {("$", "dependentRequired")}),
    "dependentSchemas": (closed(dependentSchemas={"a": closed()}), {("$", "dependentSchemas")}),
    "patternProperties": (closed(patternProperties={"^x": TEXT}), {("$", "patternProperties")}),
    "uniqueItems": (field(type="array", items=TEXT, uniqueItems=True), {("$.a", "uniqueItems")}),
    "minLength": (field(type="string", minLength=1), {("$.a", "minLength")}),
    "a tuple": (field(type="array", items=TEXT, prefixItems=[TEXT]), {("$.a", "prefixItems")}),
    "a default": (field(type="string", default="x"), {("$.a", "default")}),
    "an unknown format": (field(type="string", format="uri"), {("$.a", "format")}),
    "words beside a reference": (
        closed({"a": {"$ref": "#/$defs/X", "description": "d"}}, **{"$defs": {"X": closed()}}),
        {("$.a", "reference")},
    ),
    "a reference to nothing": (
        closed({"a": {"$ref": "#/$defs/Y"}}, **{"$defs": {"X": closed()}}),
        {("$.a", "reference")},
    ),
    # Sizes.
    "eleven levels": (nested(11), {("$", "depth")}),
    "eleven levels by a definition": (
        nested(10, closed({"a": {"$ref": "#/$defs/X"}}) | {"$defs": {}}) | {"$defs": {"X": closed()}},
        {("$", "depth")},
    ),
    "5,001 properties": (many(5_001), {("$", "properties")}),
    "1,001 enum values": (closed({"a": enum(1_000), "b": enum(1)}), {("$", "enum_values")}),
    "an enum of 251 long values": (field(**enum(251, 60)), {("$.a", "enum_length")}),
    "long names": (closed({f"{n:0100}": TEXT for n in range(1_201)}), {("$", "names_length")}),
}


@pytest.mark.parametrize(("document", "found"), OPENAI.values(), ids=OPENAI)
def test_the_verdict_is_openais(document, found):
    """Of a schema that it takes, nothing is said; of one that it refuses, where and why."""
    problems = lint(document, "openai")
    assert {(problem.path, problem.rule) for problem in problems} == set(found)
    assert {problem.severity for problem in problems} <= {"error"}


def test_there_are_at_least_sixty_verdicts():
    """Of which a good third is that all is well."""
    assert len(OPENAI) >= 60


def test_a_problem_says_what_to_do():
    """In one line."""
    wording(
        [
            f"{problem.path}: {problem.message}"
            for document, found in OPENAI.values()
            if found
            for problem in lint(document)
        ]
    )


def test_what_is_not_documented_is_a_warning():
    """The server may take it."""
    (problem,) = lint(field(type="string", contentEncoding="base64"))
    assert problem[:2] == ("$.a", "contentEncoding")
    assert problem.severity == "warning"


def test_objects_of_a_union_begin_with_a_field_that_tells_them_apart():
    """Some models are told so by OpenAI, in a refusal; it is documented nowhere."""
    alike = [closed({"id": TEXT, name: TEXT}) for name in ("x", "y")]
    assert [problem[:2] + problem[3:] for problem in lint(field(anyOf=alike))] == [("$.a", "anyOf", "warning")]
    assert lint(field(anyOf=BRANCHES)) == []


def test_lists_in_lists_may_count_as_levels():
    """Nobody says so, but some servers do it."""
    assert lint(lists(9)) == []
    assert [problem.severity for problem in lint(lists(10))] == ["warning"]
    assert [problem.severity for problem in lint(nested(11))] == ["error"]


@pytest.mark.parametrize(
    ("provider", "document", "found"),
    [
        ("azure", closed(), {}),
        ("azure", field(type="integer", minimum=1), {("$.a", "minimum", "warning")}),
        ("azure", field(type="string", format="date"), {("$.a", "format", "warning")}),
        ("azure", field(oneOf=BRANCHES), {("$.a", "oneOf", "error")}),
        ("azure", nested(6), {("$", "depth", "warning")}),
        ("azure", many(101), {("$", "properties", "warning")}),
        ("azure", nested(11), {("$", "depth", "error")}),
        ("anthropic", closed(), {}),
        ("anthropic", field(type="integer", minimum=1), {("$.a", "minimum", "warning")}),
        ("anthropic", field(type="array", items=TEXT, minItems=1), {}),
        ("anthropic", field(type="array", items=TEXT, minItems=2), {("$.a", "minItems", "warning")}),
        ("anthropic", TREE, {("$", "recursion", "warning")}),
        ("anthropic", closed(additionalProperties=...), {("$", "closed", "warning")}),
        ("anthropic", closed({f"p{n}": {"type": ["string", "null"]} for n in range(17)}), {("$", "unions", "warning")}),
        ("gemini", closed(), {}),
        ("gemini", {"type": "array", "items": TEXT}, {}),
        ("gemini", field(type="string", pattern="x"), {("$.a", "pattern", "warning")}),
        ("gemini", field(type="integer", minimum=1), {}),
        ("llama.cpp", nested(20), {}),
        ("llama.cpp", field(type="integer", multipleOf=2), {("$.a", "multipleOf", "warning")}),
        ("other", field(oneOf=BRANCHES), {("$.a", "oneOf", "warning")}),
        ("other", closed(required=...), {("$.a", "required", "warning")}),
    ],
)
def test_rules_that_only_some_providers_have_are_theirs(provider, document, found):
    """They are warnings, but where OpenAI and Azure refuse the request."""
    assert {(problem.path, problem.rule, problem.severity) for problem in lint(document, provider)} == set(found)


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "azure"),
        ("https://api.anthropic.com/v1", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "gemini"),
        ("https://europe-west1-aiplatform.googleapis.com/v1", "gemini"),
        ("http://127.0.0.1:8080/v1", "other"),
        ("https://openai.com.example.org/v1", "other"),
        ("https://notapi.openai.com/v1", "other"),
        ("", "other"),
    ],
)
def test_a_provider_is_known_by_its_host(url, provider):
    """And the embedded model by being it."""
    assert provider_of(url) == provider
    assert provider_of(url, local=True) == "llama.cpp"


def test_what_is_read_from_python_is_taken_by_all():
    """The short forms make nothing that a provider forbids."""
    answer = read_answer({"kind": ["a", "b"], "stars": int, "when?": "date", "people": [{"name": str, "age?": int}]})
    for provider in ("openai", "anthropic", "gemini", "llama.cpp", "other"):
        assert lint(answer.document, provider) == []


@pytest.mark.parametrize(
    "document",
    [{}, {"type": 5}, {"properties": []}, {"$ref": 5}, {"anyOf": {}}, {"enum": 5, "required": "a"}, {"items": [TEXT]}],
    ids=str,
)
def test_whatever_it_is_nothing_is_raised(document):
    """A schema that is none has problems."""
    assert all(isinstance(problem, StrictProblem) for problem in lint(document))
    assert lint(document) != []
