"""Schemas and hostile input: no access outside the document, no endless work, no crash."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import timeit

import jsonschema_rs
import pytest
from measuring import measures_seconds

import tablenodes as tn
from tablenodes import schemas
from tablenodes.errors import SchemaError
from tablenodes.schemas.explanations import Explainer

BODY = {"model": "m", "messages": [{"role": "user", "content": "c"}]}


# S14: nothing outside the document is opened.


@pytest.fixture
def listener():
    """A socket that nobody should ever connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.fixture
def outside(tmp_path, listener):
    """Give addresses outside a schema; the file's would be a schema that admits nothing but numbers."""
    canary = tmp_path / "canary.json"
    canary.write_text('{"type": "number", "title": "the canary"}')
    port = listener.getsockname()[1]
    return [
        f"http://127.0.0.1:{port}/schema.json",
        f"https://127.0.0.1:{port}/schema.json",
        f"ftp://127.0.0.1:{port}/schema.json",
        f"//127.0.0.1:{port}/schema.json",
        canary.as_uri(),
        f"{canary.as_uri()}#/title",
        str(canary),
        "canary.json",
        "./canary.json",
        "canary.json#/title",
        "urn:example:elsewhere",
    ]


def everywhere(address):
    """Give schemas that lead to an address, each in another way."""
    yield {"$ref": address}
    yield {"$dynamicRef": address}
    yield {"properties": {"a": {"anyOf": [{"type": "string"}, {"$ref": address}]}}}
    yield {"$defs": {"unused": {"$ref": address}}}
    yield {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"$ref": address}]}
    yield {"$schema": "http://json-schema.org/draft-04/schema#", "properties": {"a": {"$ref": address}}}
    yield {"$schema": "https://json-schema.org/draft/2019-09/schema", "properties": {"a": {"$ref": address}}}


def test_no_reference_leads_outside_the_schema(tmp_path, monkeypatch, outside):
    """Not to the network and not to a file: an error at once that names the reference."""
    monkeypatch.chdir(tmp_path)
    for address in outside:
        for number, schema in enumerate(everywhere(address)):
            path = tmp_path / f"schema{number}.json"
            path.write_text(json.dumps(schema))
            for given in (schema, path):
                with pytest.raises(SchemaError, match=r"outside it|not followed") as caught:
                    schemas.load(given, "x")
                assert address.rpartition("/")[2] in str(caught.value)
                assert "the canary" not in str(caught.value)


def test_no_base_address_leads_outside_the_schema(outside):
    """A relative reference beside an $id, and a draft by address, are not fetched either."""
    for address in outside[:5]:
        with pytest.raises(SchemaError):
            schemas.load({"$id": address.rpartition("/")[0] + "/base.json", "$ref": "canary.json"}, "x")
        with pytest.raises(SchemaError):
            schemas.load({"$schema": address}, "x")


def test_an_address_that_is_no_reference_is_only_text(outside):
    """In values and in keywords that nobody knows."""
    for address in outside:
        schema = {"const": {"$ref": address}, "x-own": {"$ref": address}, "default": {"$ref": address}}
        loaded = schemas.load({"properties": {"a": schema}}, "x")
        assert loaded.problems({"a": {"$ref": address}}) == []
        assert len(loaded.problems({"a": 1})) == 1


def test_explaining_opens_nothing_outside_either(tmp_path, monkeypatch, outside):
    """The second validator refuses by itself, should the gate ever let such a schema through."""
    monkeypatch.chdir(tmp_path)
    rejecting = jsonschema_rs.validator_for(False)
    for address in outside:
        for document in ({"$ref": address}, {"properties": {"a": {"anyOf": [{"$ref": address}]}}}):
            with pytest.raises(SchemaError, match=r"schema mine: .*(outside it|not followed)") as caught:
                Explainer(document, rejecting, "mine")({"a": "t"})
            assert "the canary" not in str(caught.value)


def test_a_schema_may_be_made_of_the_metaschema():
    """The published drafts are known, and are no outside."""
    loaded = schemas.load({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "x")
    assert loaded.is_valid({"type": "string"})
    assert [problem.path for problem in loaded.problems({"type": 5})] == ["$.type"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_schema_file(tmp_path):
    """Opening one would wait for ever."""
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(SchemaError, match="not a file"):
        schemas.load(tmp_path / "pipe.json", "x")


# S15: time is bounded.

HOSTILE = [
    *(symbol * 50_000 for symbol in "a0 -_.@/\\:\n\t\x00"),
    *(symbol * 49_999 + "!" for symbol in "a0 -_.@/"),
    *(pair * 25_000 for pair in ("ab", "a ", "0.", "a@", "a-", "()", "[]", "éa")),
    "a@" + "a." * 25_000,
    "http://" + "a" * 50_000,
    "data:image/png;base64," + "A" * 50_000 + "!",
]


def patterns(schema):
    for keyword, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if keyword == "pattern" and isinstance(value, str):
            yield value
        if keyword == "patternProperties":
            yield from value
        if isinstance(value, dict | list):
            yield from patterns(value)


def slowest(pattern):
    """Give the longest time that judging and explaining a hostile text takes, in seconds; of three tries the best."""
    loaded = schemas.load({"properties": {"a": {"pattern": pattern}}}, "x")
    return max(
        min(timeit.repeat(lambda text=text: loaded.problems({"a": text}), number=1, repeat=3)) for text in HOSTILE
    )


def test_there_are_thirty_hostile_texts():
    """Of 50,000 characters each."""
    assert len(HOSTILE) >= 30
    assert min(map(len, HOSTILE)) >= 50_000


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|a)*$", r"(.*)*x", r"^([a-z0-9._-]+)+@([a-z0-9-]+\.)+[a-z]+$"])
def test_patterns_of_your_own_take_no_endless_time(pattern):
    """Nested repetition costs the gate and the explanation no more than 50 ms for 50 KB."""
    assert slowest(pattern) < 0.05


def test_bundled_patterns_take_no_endless_time():
    """Each of them, on each hostile text."""
    loaded = [schemas.load(r, o) for r in schemas.revisions() for o in schemas.operations(r)]
    found = {pattern for schema in loaded for pattern in patterns(schema.document)}
    assert [pattern for pattern in found if slowest(pattern) >= 0.05] == []


# S17: depth, size and numbers are bounded.


def nested(depth, leaf="t"):
    for _ in range(depth):
        leaf = [leaf]
    return leaf


@pytest.mark.parametrize("depth", [190, 250, 254, 255, 256, 1000, 100_000])
@pytest.mark.parametrize("name", ["temperature", "stop", "messages", "tools", "unknown"])
def test_a_deep_body_is_judged_or_refused(name, depth):
    """A problem or none, and nothing else, wherever the depth is."""
    found = tn.validate(BODY | {name: nested(depth)})
    assert [problem.path[: len(name) + 2] for problem in found] == [f"$.{name}"] or (name == "unknown" and not found)
    if depth > 255:
        assert found == [(f"$.{name}", "json", "the value is nested more than 200 levels deep", "")]


def test_a_deep_body_meets_a_schema_without_end():
    """Where both go down for ever, the process lives and the body is judged."""
    loaded = schemas.load({"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}, "x")
    for depth in (100, 190, 250, 1000, 100_000):
        assert len(loaded.problems(nested(depth))) == 1
    assert loaded.problems(nested(190, [])) == []


@pytest.mark.parametrize(
    "number", [10**20, 10**400, -(10**5000), 1e308, 2**63], ids=["21", "401", "5001", "float", "64 bits"]
)
@pytest.mark.parametrize("name", ["temperature", "n", "seed", "model", "stop", "logit_bias", "messages"])
def test_a_huge_number_is_a_problem(name, number):
    """Wherever it stands, and it is not written out."""
    (problem,) = tn.validate(BODY | {name: number})
    assert problem.path == f"$.{name}"
    assert len("".join(problem)) < 200


@pytest.mark.slow
@pytest.mark.parametrize("many", [1_000_000])
def test_a_body_of_a_million_values_is_judged(many):
    """In seconds; the place is found at the very end of a list, too."""
    names = {str(number): 1 for number in range(many)}
    assert tn.validate(BODY | {"logit_bias": names} | names) == []
    assert [p.path for p in tn.validate(BODY | {"logit_bias": names | {"last": "t"}})] == ["$.logit_bias.last"]
    assert [p.path for p in tn.validate(names | BODY | {"temperature": 3})] == ["$.temperature"]
    assert len(tn.validate({"model": "m", "input": "t"} | names, "create_embedding")) == 20
    prompt = {"model": "m", "prompt": [1] * many + ["t"]}
    assert [p.path for p in tn.validate(prompt, "create_completion")] == [f"$.prompt[{many}]"]


@measures_seconds
def test_a_long_list_is_explained_without_looking_at_each_item():
    """What is valid is skipped: a hundred thousand items take a fraction of a second."""
    start = time.perf_counter()
    found = tn.validate({"model": "m", "prompt": [1] * 100_000 + ["t"]}, "create_completion")
    assert [problem.path for problem in found] == ["$.prompt[100000]"]
    assert time.perf_counter() - start < 2


def test_a_long_text_in_the_wrong_place_is_explained():
    """Ten million characters, and none of them in what is said."""
    (problem,) = tn.validate(BODY | {"temperature": "x" * 10_000_000})
    assert problem == ("$.temperature", "type", "must be a number or null", "string")


@measures_seconds
def test_long_names_are_not_compared_with_known_ones():
    """That would take longer than all the rest."""
    start = time.perf_counter()
    names = {str(number) + "x" * 1_000_000: 1 for number in range(20)}
    assert {p.path for p in tn.validate({"model": "m", "input": "t"} | names, "create_embedding")} == {"$[*]"}
    assert time.perf_counter() - start < 1


# Where jsonschema finds nothing, the gate speaks.


def judged_by(gate_schema, body, document=None):
    """Explain by a document that finds nothing wrong, with a gate that does."""
    gate = jsonschema_rs.validator_for(gate_schema)
    assert not gate.is_valid(body)
    explainer = Explainer(gate_schema, gate, "mine")
    explainer._validator = Explainer(document or {}, gate, "mine")._validator
    return [tuple(problem) for problem in explainer(body)]


@pytest.mark.parametrize(
    ("schema", "body", "problem"),
    [
        ({"properties": {"a": {"maximum": 2}}}, {"a": 3}, ("$.a", "maximum", "must be at most 2", "3")),
        ({"required": ["a", "b"]}, {"a": 3}, ("$.b", "required", "is required", "")),
        (
            {"additionalProperties": {"type": "null"}},
            *({"0": "t"}, ("$['0']", "type", "must be null", "string")),
        ),
        (
            {"additionalProperties": False, "properties": {"a": {}}},
            *({"b": 1}, ("$.b", "additionalProperties", "is no property that the schema knows", "integer")),
        ),
        ({"properties": {"a": False}}, {"a": 1}, ("$.a", "false", "is not allowed here", "1")),
        ({"items": {"enum": ["a"]}}, ["b"], ("$[0]", "enum", "must be a", "string")),
        (
            {"properties": {"a": {"$ref": "#/$defs/x~1y%20z"}}, "$defs": {"x/y z": {"type": "null"}}},
            *({"a": 1}, ("$.a", "type", "must be null", "1")),
        ),
        (
            {"anyOf": [{"type": "null"}, {"type": "string"}]},
            *(5, ("$", "anyOf", "must fit one of the forms that the schema allows", "5")),
        ),
    ],
)
def test_the_gates_own_rule_and_path_are_used_where_jsonschema_finds_none(schema, body, problem):
    """In the same words."""
    assert judged_by(schema, body) == [problem]


def test_what_nobody_can_explain_is_still_a_problem():
    """A large body, and a deep one, that only the gate rejects."""
    general = [("$", "schema", "does not fit the schema", "")]
    assert judged_by({"maxItems": 1}, list(range(20_000))) == general
    assert judged_by({"items": {"type": "null"}}, [nested(400)]) == general


def test_what_jsonschema_stumbles_over_is_explained_by_the_gate():
    """A name that Python's own patterns cannot read, in a part that only jsonschema's code looks at."""
    schema = {"patternProperties": {r"\p{L}": {}}, "unevaluatedProperties": False}
    assert schemas.load(schema, "x").problems({"é": 1}) == []
    (problem,) = schemas.load(schema, "x").problems({"1": 1})
    assert problem[:2] == ("$", "unevaluatedProperties")


def test_threads_share_a_schema():
    """Its validators are built once, whoever comes first."""
    loaded = schemas.load({"properties": {"a": {"oneOf": [{"type": "null"}, {"maximum": 2, "type": "number"}]}}}, "x")
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(loaded.problems({"a": 3}) for _ in range(20))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 160
    assert {problem for problems in found for problem in problems} == {("$.a", "maximum", "must be at most 2", "3")}
