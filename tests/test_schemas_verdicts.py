"""The bundled schemas say of every body what the API's own reference says.

The reference schemas in ``tests/reference`` are OpenAPI's, untouched. What they mean is spelled out here by a small
interpreter of its own, which shares nothing with the product: neither its translation nor its validators.
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

import jsonschema
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tablenodes import schemas

REFERENCE = Path(__file__).parent / "reference"
BUNDLED = [(path.parent.name, path.stem) for path in sorted(REFERENCE.glob("*/*.json"))]

every_bundled = pytest.mark.parametrize(("revision", "operation"), BUNDLED)


@functools.cache
def reference(revision, operation):
    return json.loads((REFERENCE / revision / f"{operation}.json").read_text())


# What a reference schema means.

_SAYS_NOTHING = {"default", "deprecated", "discriminator", "$defs", "nullable"}
_KINDS = {"null": type(None), "string": str, "array": list, "object": dict, "number": (int, float), "boolean": bool}
_ROUNDED = {-9223372036854776000: -(2**63), 9223372036854776000: 2**63 - 1}


def is_type(value, name):
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, _KINDS[name])


def is_number(value):
    return is_type(value, "number")


def admits(schema, value, root):
    """Check whether the reference allows a value; nullable: true means that null is allowed as well."""
    if schema.get("nullable") is True and value is None:
        return True
    return all(keyword_admits(keyword, schema, value, root) for keyword in schema)


def keyword_admits(keyword, schema, value, root):  # noqa: C901
    limit = schema[keyword]
    if keyword in _SAYS_NOTHING:
        return True
    if keyword == "type":
        return is_type(value, limit)
    if keyword == "enum":
        return isinstance(value, str) and value in limit
    if keyword == "anyOf":
        return any(admits(branch, value, root) for branch in limit)
    if keyword == "oneOf":
        return sum(admits(branch, value, root) for branch in limit) == 1
    if keyword == "allOf":
        return all(admits(branch, value, root) for branch in limit)
    if keyword == "$ref":
        return admits(root["$defs"][limit.removeprefix("#/$defs/")], value, root)
    if keyword == "minimum":
        return not is_number(value) or value >= _ROUNDED.get(limit, limit)
    if keyword == "maximum":
        return not is_number(value) or value <= _ROUNDED.get(limit, limit)
    if keyword == "maxLength":
        return not isinstance(value, str) or len(value) <= limit
    if keyword == "minItems":
        return not isinstance(value, list) or len(value) >= limit
    if keyword == "maxItems":
        return not isinstance(value, list) or len(value) <= limit
    if keyword == "items":
        return not isinstance(value, list) or all(admits(limit, item, root) for item in value)
    if keyword == "required":
        return not isinstance(value, dict) or all(name in value for name in limit)
    if keyword == "properties":
        known = [name for name in limit if isinstance(value, dict) and name in value]
        return all(property_admits(limit[name], value[name], root) for name in known)
    if keyword == "additionalProperties":
        more = [name for name in value if name not in schema.get("properties", {})] if isinstance(value, dict) else []
        return all(limit is True or (limit is not False and admits(limit, value[name], root)) for name in more)
    if keyword == "format":
        return {"uri": True, "int64": not is_number(value) or -(2**63) <= value < 2**63}[limit]
    raise AssertionError(f"the reference uses {keyword}, which this interpreter does not know")


_verdicts = {}
"""By a property's schema, which lives as long as its cached reference, and its value: most bodies share nearly all."""


def property_admits(schema, value, root):
    """Check whether the reference allows a property's value, once for all the bodies that have it."""
    key = id(schema), json.dumps(value)
    if key not in _verdicts:
        _verdicts[key] = admits(schema, value, root)
    return _verdicts[key]


# Bodies: mostly valid ones, with something broken in many of them.

ODD = [None, True, False, 0, -1, 1, 1.5, 2, 2.0, 2.0001, 16.0, 128, 129, 20.5, 1e300, 2**53 + 1]
ODD += [
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    "",
    "a",
    "auto",
    "none",
    "text",
    "user",
    "json_object",
    "x" * 64,
    "x" * 65,
]
ODD += [
    [],
    ["a"],
    ["a"] * 4,
    ["a"] * 5,
    [1],
    [1.0],
    [1.5],
    [[1]],
    [[]],
    [None],
    [["a"]],
    ["a", 1],
    {},
    {"a": 1},
    {"a": "b"},
]
ODD += [
    {"type": "text"},
    {"type": "text", "text": "t"},
    {"name": "f"},
    {"id": "v"},
    {"id": "v", "more": 1},
    {"role": "user"},
]
ODD += [
    {"type": "json_object"},
    {"type": "json_schema"},
    {"role": "user", "content": "c"},
    [{"type": "text", "text": "t"}],
]
odd_values = st.sampled_from(ODD)
scalars = {
    "string": st.text(max_size=5),
    "integer": st.integers(-3, 200) | st.just(3.0),
    "number": st.floats(-3, 3) | st.integers(-3, 3),
    "boolean": st.booleans(),
    "null": st.none(),
}


def mostly(strategy, otherwise, weight):
    return st.integers(0, weight).flatmap(lambda drawn: otherwise if drawn == 0 else strategy)


class Bodies:
    """Draws what a reference admits, more or less: sometimes something else stands somewhere in it."""

    def __init__(self, root):
        self.root = root
        self.made = {}

    def values(self, schema):
        if id(schema) not in self.made:
            self.made[id(schema)] = mostly(self.fitting(schema), odd_values, 60)
        return self.made[id(schema)]

    def fitting(self, schema):
        if "$ref" in schema:
            return self.fitting(self.root["$defs"][schema["$ref"].removeprefix("#/$defs/")])
        if schema.get("nullable") is True:
            return mostly(self.fitting({**schema, "nullable": False}), st.none(), 5)
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return st.one_of([self.fitting(branch) for branch in schema[union]])
        if "allOf" in schema:
            parts = st.tuples(*(self.fitting(branch) for branch in schema["allOf"]))
            return parts.map(lambda drawn: {name: value for part in drawn for name, value in part.items()})
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        if schema["type"] == "array":
            low = schema.get("minItems", 0)
            return st.lists(self.values(schema["items"]), min_size=low, max_size=low + 2)
        if schema["type"] == "object":
            return self.objects(schema)
        low, high = schema.get("minimum"), schema.get("maximum")
        if schema["type"] == "integer" and low is not None:
            return st.integers(_ROUNDED.get(low, low), _ROUNDED.get(high, high) or low + 3)
        return st.floats(low, high) if schema["type"] == "number" and low is not None else scalars[schema["type"]]

    def objects(self, schema):
        known = {name: self.values(each) for name, each in schema.get("properties", {}).items()}
        required = schema.get("required", [])
        more = schema.get("additionalProperties")
        others = self.values(more) if isinstance(more, dict) else odd_values
        optional = [name for name in known if name not in required]
        chosen = st.lists(st.sampled_from(optional), max_size=3, unique=True) if optional else st.just([])

        @st.composite
        def whole(draw):
            return {name: draw(known[name]) for name in (*required, *draw(chosen))}

        extra = st.builds(lambda body, name, value: {name: value, **body}, whole(), extra_names, others)
        left_out = st.sampled_from([*known, ""])
        cut = st.builds(lambda body, name: {n: v for n, v in body.items() if n != name}, whole(), left_out)
        return mostly(whole(), extra | cut, 12)


extra_names = st.sampled_from(["50256", "extra"])


def is_writable(body):
    try:
        return bool(orjson.dumps(body))
    except TypeError:  # an integer of more than 64 bits, which some properties allow
        return False


@every_bundled
@pytest.mark.parametrize("many", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_bundled_schema_gives_the_verdicts_of_the_reference(revision, operation, many):
    """On valid bodies and on slightly broken ones, of which both are drawn often.

    The gate and jsonschema hold to one verdict, and a rejected body has a problem.
    """
    root = reference(revision, operation)
    schema = schemas.load(revision, operation)
    other = jsonschema.Draft202012Validator(schema.document)
    verdicts = []

    @settings(max_examples=many, deadline=None, suppress_health_check=list(HealthCheck))
    @given(Bodies(root).values(root))
    def compare(body):
        verdicts.append(admits(root, body, root))
        fits = schema.is_valid(body)
        assert fits == verdicts[-1]
        assert other.is_valid(body) == fits
        assert (schema.problems(body) == []) == (fits and is_writable(body))

    compare()
    assert len(verdicts) >= many
    assert min(verdicts.count(True), verdicts.count(False)) > len(verdicts) / 10


def layers(schema, root):
    if "$ref" in schema:
        yield from layers(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    for branch in schema.get("allOf", []):
        yield from layers(branch, root)
    yield schema


def variants(schema, root):
    """Return values that between them reach every place of a reference schema, and every bound from both sides."""
    found = []
    for layer in layers(schema, root):
        for union in ("anyOf", "oneOf"):
            found += [value for branch in layer.get(union, []) for value in variants(branch, root)]
        found += layer.get("enum", [])
        if "enum" not in layer and "type" in layer:
            found += typed_variants(layer, root)
    return found


def typed_variants(schema, root):
    if schema["type"] == "object":
        return object_variants(schema, root)
    if schema["type"] == "array":
        each = variants(schema["items"], root)
        low, high = schema.get("minItems", 0), schema.get("maxItems", 2)
        return [[value] for value in each] + [each[:1] * length for length in (low, max(low - 1, 0), high, high + 1)]
    if schema["type"] == "string":
        return ["t" * length for length in {1, schema.get("maxLength", 1), schema.get("maxLength", 1) + 1}]
    bounds = [_ROUNDED.get(schema[name], schema[name]) for name in ("minimum", "maximum") if name in schema]
    return {
        "boolean": [True],
        "null": [None],
        "integer": [1, *(bound + step for bound in bounds for step in (-1, 0, 1))],
        "number": [1, *(bound + step for bound in bounds for step in (-1, -0.001, 0, 0.001))],
    }[schema["type"]]


def object_variants(schema, root):
    """Return objects with all their properties at once, each variant of each property in one of them."""
    every = {name: variants(each, root) for name, each in schema.get("properties", {}).items()}
    if isinstance(schema.get("additionalProperties"), dict):
        every["50256"] = variants(schema["additionalProperties"], root)
    first = {name: values[0] for name, values in every.items()}
    return [first] + [first | {name: value} for name, values in every.items() for value in values[1:]]


OF_EACH_KIND = [None, True, 1, 1.5, "", "auto", "text", [], ["a"], [1], {}, {"a": 1}, {"type": "text"}]


def changes(value, odd=ODD):
    """Return a value with one thing changed in it: each place replaced by each odd value, left out, or added to."""
    yield from odd
    if isinstance(value, dict):
        yield value | {"extra": 1}
        for name in value:
            yield {n: v for n, v in value.items() if n != name}
            yield from (value | {name: changed} for changed in changes(value[name], OF_EACH_KIND))
    if isinstance(value, list) and 0 < len(value) < 5:
        yield from ([changed, *value[1:]] for changed in changes(value[0], OF_EACH_KIND))


@every_bundled
def test_every_place_takes_the_values_that_the_reference_takes(revision, operation):
    """Each place of a full body with each odd value, at its bounds and beyond: no verdict differs."""
    root = reference(revision, operation)
    schema = schemas.load(revision, operation)
    known = {name: each for layer in layers(root, root) for name, each in layer.get("properties", {}).items()}
    required = [name for layer in layers(root, root) for name in layer.get("required", [])]
    least = {name: [{"role": "user", "content": "c"}] if name == "messages" else "t" for name in required}
    assert set(schema.properties) == set(known)
    assert set(schema.required) == set(required)
    bodies = {json.dumps({n: v for n, v in least.items() if n != name}) for name in ("", *required)}
    for name, each in known.items():
        for value in variants(each, root):
            bodies.update(json.dumps(least | {name: changed}) for changed in (value, *changes(value)))
    different = [body for body in map(json.loads, bodies) if schema.is_valid(body) != admits(root, body, root)]
    assert different == []
    assert len(bodies) > 100


@every_bundled
def test_bundled_schemas_are_plain_json_schema(revision, operation):
    """2020-12, with a title and a description for each property, and no word of OpenAPI's own."""
    document = schemas.load(revision, operation).document
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["title"]
    assert [name for name, schema in document["properties"].items() if not schema.get("description")] == []
    text = json.dumps(document)
    assert [word for word in ("nullable", "discriminator", '"format": "uri"', "int64") if f'"{word}' in text] == []


def test_the_interpreter_knows_null_and_whole_numbers():
    """The oracle itself: null only where nullable, 1.0 is whole, true is no number, 2**63 is too large."""
    nullable = {"type": "string", "enum": ["a"], "nullable": True}
    assert [admits(nullable, value, {}) for value in (None, "a", "b", 1)] == [True, True, False, False]
    assert not admits({"type": "string"}, None, {})
    assert [is_type(value, "integer") for value in (1, 1.0, 1.5, True, math.inf)] == [True, True, False, False, False]
    assert [admits({"format": "int64"}, value, {}) for value in (2**63 - 1, 2**63)] == [True, False]
    assert [admits({"oneOf": [{"type": "array"}, {"items": {}}]}, value, {}) for value in ([], "a")] == [False, True]
