"""Operations of an OpenAPI document: what is read of it, and why no node is made of some."""

from __future__ import annotations

import json
import os
import time
from itertools import islice
from keyword import iskeyword
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from sentences import wording
from test_schemas_verdicts import changes, reference, variants

from tablenodes import errors, openapi, schemas
from tablenodes.nodes.node import METHODS, own_names
from tablenodes.openapi.operation_node import OperationNode, called
from tablenodes.schemas.schema_source import own_schema

NOTES = Path(__file__).parent / "api_of_notes.yaml"
LARGE = os.environ.get("LARGE_API_DOCUMENT")


@pytest.fixture(scope="module")
def notes():
    return openapi.load(NOTES)


@pytest.fixture(scope="module")
def table(notes):
    made = notes.operations
    return made.set_index(made["id"].where(made["id"] != "", made["method"] + " " + made["path"]))


def test_every_operation_is_a_node_or_says_why_not(table):
    """In the document's order, with what can be set of each."""
    wording("\n".join(f"{known_as}: {made}" for known_as, made in table["made"].items() if made != "yes"))
    unmade = {"uploadThing", "listBody", "noKind", "cookie", "undescribed", "matrix", "nowhere", "otherFile", "nothing"}
    assert set(table.index[table["made"] != "yes"]) == unmade | {
        "host",
        " /elsewhere",
        "userOfAddress",
        "endOfAddress",
        "above",
    }
    assert len(table) == 31


@pytest.mark.parametrize(
    ("operation", "settings"),
    [
        ("createNote", "text, stars, tags, parent"),
        ("listNotes", "limit, tag, ids, where, sort, shown, filter"),
        ("countNotes", ""),
        ("deleteNote", "note_id, X_Trace"),
        ("shareNote", "note_id, user__query, Tags, user, max_days, from_, check_, columns_, kind"),
        ("search", "type, text, tree"),
        ("changeNote", "note_id, X_Trace"),
        ("useInner", "low, high, strict, note, example"),
        ("GET /things", ""),
    ],
)
def test_parameters_and_properties_are_settings(table, operation, settings):
    """A name in two places says which it is; what only answers have, and what Python cannot write, is left out."""
    assert sorted(table.loc[operation, "settings"].split(", ")) == sorted(settings.split(", "))


@pytest.mark.parametrize(
    ("operation", "body", "fits"),
    [
        ("createNote", {"text": "a"}, True),  # what it requires of answers is not required
        ("createNote", {"text": "a" * 41}, False),
        ("createNote", {"text": "a", "parent": None}, True),
        ("createNote", {"stars": 1}, False),
        ("rate", {"low": 0}, False),
        ("rate", {"low": 0.1, "high": 9, "note": None}, True),
        ("rate", {"high": 9.1}, False),
        ("rate", {"strict": 3}, False),
        ("rate", {"example": 1}, False),
        ("useInner", {"low": 0}, False),
        ("plantTree", {"name": "a", "children": [{"name": "b", "children": []}]}, True),
        ("plantTree", {"name": "a", "children": [{"children": []}]}, False),
        ("createFilter", {"op": "and", "of": [{"op": "eq"}]}, True),
        ("createFilter", {"op": "and", "of": [{"op": "or"}]}, False),
        ("search", {"type": "tree", "tree": {"name": "a"}}, True),
        ("search", {"type": "tree", "tree": {}}, False),
    ],
)
def test_a_schema_means_what_the_document_says(notes, operation, body, fits):
    """In the words of either version, however deep, and with no schema put in another's place."""
    found = notes._operation(operation)
    schema = own_schema("notes", operation, notes._components.standing_alone(found.body))
    assert schema.is_valid(body) is fits


def test_a_document_of_the_older_version_is_read(tmp_path):
    """As a mapping, or a file of JSON."""
    schema = {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/A"}}}
    content = {"application/json": {"schema": schema}}
    document = {
        "openapi": "3.0.3",
        "info": {"title": "Old"},
        "paths": {"/a": {"post": {"operationId": "a", "requestBody": {"content": content}}}},
        "components": {"schemas": {"A": {"type": "string", "nullable": True, "enum": ["b"]}}},
    }
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document))
    for given in (document, path, str(path)):
        found = openapi.load(given)
        schema = own_schema("old", "a", found._components.standing_alone(found._operation("a").body))
        assert [schema.is_valid({"a": each}) for each in (None, "b", "c")] == [True, True, False]
    assert repr(openapi.load(document)) == "ApiDocument('Old': 1 operations, 1 of them nodes)"


@pytest.mark.parametrize(
    "document",
    [
        {"swagger": "2.0", "paths": {}},
        {"openapi": "4.0.0", "paths": {}},
        {"openapi": "3.1.0"},
        {"openapi": 3.1, "paths": {}},
        7,
        "https://example.org/openapi.json",
        "no_such.json",
    ],
)
def test_what_is_no_such_document_is_refused(document, tmp_path, monkeypatch):
    """With what to do; nothing is fetched."""
    monkeypatch.chdir(tmp_path)
    with wording.raises(errors.SchemaError):
        openapi.load(document)


@pytest.mark.parametrize("name", ["createNode", "POST /note", "uploadThing", "x"])
def test_what_is_no_node_is_refused(notes, name):
    """With the nearest name, or the reason."""
    with wording.raises(errors.SettingError):
        notes.node(name)


ODD = [None, True, 7, "a", [], {}, [1], {"$ref": 5}, {"$ref": "#/nowhere"}, {"name": 5, "in": []}]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_an_odd_document_breaks_nothing_else(odd):
    """One operation that cannot be read says so; the others are nodes."""
    good = {"operationId": "good"}
    media = [odd, {"schema": odd}, {"schema": {"properties": odd}}, {"schema": {"properties": {"a": odd}}}]
    odd_ones = [
        {"parameters": odd},
        {"parameters": [odd]},
        {"parameters": [{"name": "a", "in": "query", "schema": odd, "style": odd}]},
        {"requestBody": odd},
        {"requestBody": {"content": odd}},
        *({"requestBody": {"content": {"application/json": each}}} for each in media),
        {"operationId": odd, "summary": odd},
        odd,
    ]
    for each in odd_ones:
        document = {"openapi": "3.1.0", "paths": {"/a": {"post": each, "get": good}, "/b": odd}, "components": odd}
        made = openapi.load(document).operations
        assert list(made["made"][made["id"] == "good"]) == ["yes"]


def test_no_setting_is_called_as_a_method_is(notes):
    """Nor as what says something of a node itself; each leads to what the document calls it."""
    for operation in notes._operations:
        names = called(operation.keys)
        assert not {*names} & {*METHODS, *own_names(OperationNode)}
        assert all(name.isidentifier() and not iskeyword(name) for name in names)
        assert sorted(names.values()) == sorted(set(operation.keys))


@pytest.mark.slow
def test_the_operations_of_a_large_document():
    """Of OpenAI's own, where the environment says where it is: its requests mean what the bundled schemas say."""
    path = LARGE
    if not path:
        pytest.skip("LARGE_API_DOCUMENT names no file")
    began = time.process_time()
    document = openapi.load(path)
    assert time.process_time() - began < 1.5
    for operation in document._operations:
        if operation.why:
            assert "multipart/form-data" in operation.why
        else:
            test_no_setting_is_called_as_a_method_is(SimpleNamespace(_operations=[operation]))
            document.node(operation.id or operation.place)
    for name, bundled in (("createChatCompletion", "create_chat_completion"), ("createEmbedding", "create_embedding")):
        one, other = document.node(name)._operation.of_body, schemas.load("openai-2026-08", bundled)
        root = reference("openai-2026-08", bundled)
        bodies = [body for full in variants(root, root)[:100] for body in (full, *islice(changes(full), 30))]
        assert [one.is_valid(body) for body in bodies] == [other.is_valid(body) for body in bodies]


def test_a_document_in_yaml_may_be_long_or_repeat_its_parts_and_not_both(tmp_path):
    """Keys are texts in either; parts that multiply are refused."""
    path, begun = tmp_path / "a.yaml", 'openapi: 3.1.0\ninfo: {title: "A & B", 7: x, true: y, null: z}\n'
    paths = "paths: {/x: {get: {operationId: g, responses: {200: {}}}}}\n"
    path.write_text(begun + "long: '" + "x" * 2**21 + "'\n" + paths)
    long = openapi.load(path)
    assert [*long._components.document["info"]] == ["title", "7", "true", "null"]
    assert [*long._components.document["paths"]["/x"]["get"]["responses"]] == ["200"]
    path.write_text(begun + "shared: &s [1]\nagain: *s\n" + paths)
    assert openapi.load(path)._components.document["again"] == [1]
    multiplied = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(9))
    for bomb in (f"a0: &a0 [x]\n{multiplied}", f"a0: !!seq &a0 [x]\n{multiplied}", f"a: [{{x: &a0 y}}]\n{multiplied}"):
        path.write_text(begun + bomb + paths)
        with pytest.raises(errors.SchemaError, match="values"):
            openapi.load(path)
    path.write_text(begun + "shared: &s [1]\nlong: '" + "x" * 2**21 + "'\n" + paths)
    with pytest.raises(errors.SchemaError) as error:
        openapi.load(path)
    wording(str(error.value))


def test_a_property_called_body_is_a_property():
    """A column of that name holds its values, not whole requests."""
    schema = {"type": "object", "properties": {"title": {"type": "string"}, "body": {"type": "string"}}}
    content = {"application/json": {"schema": schema}}
    paths = {"/issues": {"post": {"operationId": "open", "requestBody": {"content": content}}}}
    node = openapi.load({"openapi": "3.1.0", "info": {}, "paths": paths}).node("open")
    table = pd.DataFrame({"title": ["t"], "body": ["It is broken."]})
    assert node().check(table).request(0).body == {"title": "t", "body": "It is broken."}
    assert node(title="{{ body }}").check(table).request(0).body == {"title": "It is broken.", "body": "It is broken."}


@pytest.mark.parametrize("path", ["/a/../b", "/a/%2e%2E/b", "/.%2e"])
def test_a_path_that_leads_elsewhere_is_none(path):
    document = openapi.load({"openapi": "3.1.0", "info": {}, "paths": {path: {"get": {"operationId": "g"}}}})
    assert document.operations["made"][0] != "yes"


def test_an_item_of_a_list_in_a_header_has_no_comma():
    parameter = {"name": "X-Tags", "in": "header", "schema": {"type": "array", "items": {"type": "string"}}}
    paths = {"/x": {"get": {"operationId": "g", "parameters": [parameter]}}}
    node = openapi.load({"openapi": "3.1.0", "info": {}, "paths": paths}).node("g")
    check = node(X_Tags=["a", "{{ tag }}"]).check(pd.DataFrame({"tag": ["b", "b,c"]}))
    assert check.request(0).headers["X-Tags"] == "a,b"
    wording(str(check.problems["message"].iloc[0]))


def test_operations_that_differ_in_their_query_alone_are_told_apart():
    paths = {"/x": {"get": {}}, "/x?beta=true": {"get": {}}, "/y?beta=true": {"get": {}}}
    document = openapi.load({"openapi": "3.1.0", "info": {}, "paths": paths})
    urls = {name: document.node(name)().check(pd.DataFrame({"a": [1]})).request(0).url for name in ("GET /x", "GET /y")}
    assert [url.partition("/v1")[2] for url in urls.values()] == ["/x", "/y?beta=true"]
    assert document.node("GET /x?beta=true")._operation.query == "beta=true"


def test_a_document_whose_schemas_all_reach_each_other_is_read_in_one_go():
    """Each is looked at once, not once an operation."""
    schemas = {
        f"S{n}": {"properties": {"next": {"$ref": f"#/components/schemas/S{(n + 1) % 400}"}}} for n in range(400)
    }
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}}
    paths = {f"/{n}": {"post": {"requestBody": body}} for n in range(400)}
    began = time.process_time()
    openapi.load({"openapi": "3.1.0", "info": {}, "paths": paths, "components": {"schemas": schemas}})
    assert time.process_time() - began < 0.5
