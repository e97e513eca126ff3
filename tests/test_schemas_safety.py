"""Schemas and hostile input: no access outside the document, no endless work, no crash."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import timeit

import pandas as pd
import pytest
from measuring import measures_seconds
from sentences import wording

import tablenodes as tn
from tablenodes import schemas
from tablenodes.errors import SchemaError
from tablenodes.schemas.explanations import Explainer

BODY = {"model": "m", "messages": [{"role": "user", "content": "c"}]}
TABLE = pd.DataFrame({"a": [1]})


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
    """Return addresses outside a schema; the file's would be a schema that admits nothing but numbers."""
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
    """Return schemas that lead to an address, each in another way."""
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
                with pytest.raises(SchemaError, match=r"\$ref") as caught:
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
    """What explains refuses by itself, should the gate ever let such a schema through."""
    monkeypatch.chdir(tmp_path)
    for address in outside:
        for document in ({"$ref": address}, {"properties": {"a": {"anyOf": [{"$ref": address}]}}}):
            try:
                said = str(Explainer(document)({"a": "t"}))
            except ValueError as error:
                said = str(error)
            assert "the canary" not in said


def test_a_schema_may_be_made_of_the_metaschema():
    """The published drafts are known, and are no outside."""
    loaded = schemas.load({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "x")
    assert loaded.is_valid({"type": "string"})
    assert [problem.path for problem in loaded.problems({"type": 5})] == ["$.type"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_schema_file(tmp_path):
    """Opening one would wait for ever."""
    os.mkfifo(tmp_path / "pipe.json")
    with wording.raises(SchemaError):
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
    """Return the longest time that judging and explaining a hostile text takes, in seconds; of three tries the best."""
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


# A schema that multiplies.


def doubled(levels, union="anyOf", leaf=None, through=lambda reference: reference):
    """Return a schema whose every level leads to the next one twice."""
    defs = {f"l{n}": {union: [through({"$ref": f"#/$defs/l{n + 1}"})] * 2} for n in range(levels)}
    return {"$defs": {**defs, f"l{levels}": leaf or {"type": "string"}}, "$ref": "#/$defs/l0"}


def anchored(levels):
    """Return the same by anchors and by addresses of its parts."""
    parts = {f"l{n}": {"$anchor": f"a{n}", "allOf": [{"$ref": f"#a{n + 1}"}] * 2} for n in range(levels)}
    last = {"$id": "https://example.com/last", "type": "string"}
    parts[f"l{levels}"] = {"$anchor": f"a{levels}", "$ref": "last"}
    return {"$id": "https://example.com/mine", "$defs": {**parts, "last": last}, "$ref": "#a0"}


EXPLODING = {
    **{union: doubled(30, union) for union in ("anyOf", "oneOf", "allOf")},
    "not": doubled(30, "allOf", through=lambda reference: {"not": reference}),
    "condition": doubled(30, "allOf", through=lambda reference: {"if": reference, "then": False}),
    "properties": doubled(30, through=lambda reference: {"properties": {"a": reference}}),
    "more properties": doubled(30, through=lambda reference: {"additionalProperties": reference}),
    "items": doubled(30, through=lambda reference: {"type": "array", "items": reference}),
    "dependent": doubled(30, through=lambda reference: {"dependentSchemas": {"a": reference}}),
    "anchors": anchored(30),
    "many alternatives": {"anyOf": [{"const": number} for number in range(20_000)]},
    "many patterns": {"patternProperties": {f"^{number}": {} for number in range(20_000)}},
}


@pytest.mark.parametrize("schema", EXPLODING.values(), ids=EXPLODING)
def test_a_schema_that_multiplies_is_refused_when_it_is_given(schema):
    """Whatever it multiplies by."""
    with wording.raises(SchemaError):
        schemas.load(schema, "x")


def test_a_schema_that_leads_on_without_end_is_refused_when_it_is_given():
    """By nesting, and by references from one to the next."""
    chain = {f"l{n}": {"$ref": f"#/$defs/l{n + 1}"} for n in range(3_000)}
    with wording.raises(SchemaError):
        schemas.load({"$defs": {**chain, "l3000": {}}, "$ref": "#/$defs/l0"}, "x")
    nest = {}
    for _ in range(20_000):
        nest = {"items": nest}
    for give in (
        lambda: schemas.load(nest, "x"),
        lambda: tn.CreateChatCompletion(prompt="t", schema=nest).check(TABLE),
    ):
        with wording.raises(SchemaError):
            give()


RECURSIVE = {
    "lists of itself": {"anyOf": [{"type": "array", "items": {"$ref": "#"}}] * 2},
    "expressions": {
        "anyOf": [
            {"properties": {"of": {"items": {"$ref": "#"}}, "op": {"const": name}}, "required": ["op", "of"]}
            for name in ("and", "or", "not", "xor", "if")
        ]
    },
    "levels": doubled(5, leaf={"items": {"$ref": "#/$defs/l0"}, "type": "array"}),
}


def expression(depth):
    made = {"op": "none", "of": []}
    for _ in range(depth):
        made = {"op": "if", "of": [made]}
    return made


ADMITTED = {
    **RECURSIVE,
    "eleven levels": doubled(11),
    "ten levels of objects": doubled(10, leaf={"properties": {"a": {"type": "null"}}, "required": ["b"]}),
    "eleven of one": doubled(11, "oneOf"),
    "ten of lists": doubled(10, leaf={"type": "array", "items": {"type": "null"}}),
    "nested lists": doubled(9, through=lambda reference: {"type": "array", "items": reference}),
    "two thousand": {"anyOf": [{"const": number} for number in range(2_000)]},
}


@measures_seconds
@pytest.mark.parametrize("schema", ADMITTED.values(), ids=ADMITTED)
def test_whatever_a_schema_multiplies_by_a_row_is_explained_within_a_second(schema):
    """Deep bodies, long lists and long texts."""
    loaded = schemas.load(schema, "x")
    for body in (
        1,
        nested(150),
        expression(60),
        ["t"] * 1000,
        ["t", [1] * 1000],
        [["t"] * 30] * 30,
        "t" * 1_000_000,
        {"a": "t" * 100_000},
    ):
        start = time.process_time()
        found = loaded.problems(body)
        assert time.process_time() - start < 1
        assert bool(found) is not loaded.is_valid(body)


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
        ((path, rule, message, _),) = found
        assert (path, rule) == (f"$.{name}", "json")
        wording(message)


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
    start = time.process_time()
    found = tn.validate({"model": "m", "prompt": [1] * 100_000 + ["t"]}, "create_completion")
    assert [problem.path for problem in found] == ["$.prompt[100000]"]
    assert time.process_time() - start < 2


def test_a_long_text_in_the_wrong_place_is_explained():
    """Ten million characters, and none of them in what is said."""
    (problem,) = tn.validate(BODY | {"temperature": "x" * 10_000_000})
    assert (problem.path, problem.rule) == ("$.temperature", "type")
    wording(problem.message)


@measures_seconds
def test_long_names_are_not_compared_with_known_ones():
    """That would take longer than all the rest."""
    start = time.process_time()
    names = {str(number) + "x" * 1_000_000: 1 for number in range(20)}
    assert {p.path for p in tn.validate({"model": "m", "input": "t"} | names, "create_embedding")} == {"$[*]"}
    assert time.process_time() - start < 1


# Where no rule is seen to be broken, the gate speaks.

DYNAMIC = {
    "$id": "urn:whole",
    "$ref": "urn:list",
    "$defs": {
        "item": {"$dynamicAnchor": "item", "type": "integer"},
        "list": {
            "$id": "urn:list",
            "items": {"$dynamicRef": "#item"},
            "$defs": {"any": {"$dynamicAnchor": "item"}},
        },
    },
}
METASCHEMA = {"properties": {"a": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}}


@pytest.mark.parametrize(
    ("schema", "body", "problem"),
    [
        (DYNAMIC, [1, "t"], ("$[1]", "type", "string")),
        (METASCHEMA, {"a": {"maximum": "t"}}, ("$.a.maximum", "type", "string")),
        (METASCHEMA, {"a": {"not": 5}}, ("$.a.not", "type", "5")),
        (METASCHEMA, {"a": {"maxLength": -1}}, ("$.a.maxLength", "minimum", "-1")),
        (
            {"properties": {"a": {}}, "unevaluatedProperties": False},
            *({"b": 1}, ("$", "unevaluatedProperties", "object")),
        ),
        (
            {"contentEncoding": "base64", "$schema": "http://json-schema.org/draft-07/schema#"},
            *("?", ("$", "contentEncoding", "string")),
        ),
    ],
)
def test_the_gates_own_rule_and_path_are_used_where_no_rule_is_seen_to_be_broken(schema, body, problem):
    """In the same words."""
    (found,) = schemas.load(schema, "x").problems(body)
    assert (found.path, found.rule, found.got) == problem
    wording(found.message)


def test_what_nobody_can_explain_is_still_a_problem():
    """A large body that only the gate rejects is told by its place alone."""
    loaded = schemas.load({"properties": {"a": {"unevaluatedItems": False}}}, "x")
    (problem,) = loaded.problems({"a": list(range(50_000))})
    assert (problem.path, problem.rule, problem.got) == ("$.a", "schema", "array")
    wording(problem.message)


def test_names_are_matched_as_the_gate_matches_them():
    """A pattern that Python's own cannot read."""
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
    (problem,) = {problem for problems in found for problem in problems}
    assert (problem.path, problem.rule, problem.got) == ("$.a", "maximum", "3")


def test_a_name_within_a_document_without_a_web_address_is_found():
    """An older draft's ``$id`` of a fragment alone, below one that is no address of the web."""
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:a:b",
        "definitions": {"word": {"$id": "#word", "type": "string"}},
        "properties": {"model": {"$ref": "#word"}},
    }
    node = tn.CreateChatCompletion(prompt="Hello", model="m", schema=schema)
    assert node.check(pd.DataFrame({"row": [1]})).valid == 1
