"""The JSON Schema of a workflow's file: it admits what is read, and finds what is wrong in one round."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
from sentences import wording

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.documents import yaml_reader
from tablenodes.errors import UsageError, WorkflowError
from tablenodes.store.commits import EMPTY

SAMPLES = sorted((Path(__file__).parent.parent / "sample_workflows").glob("*.yaml"))
WRONG = """\
naem: x
inputs: {n: {type: FLOAT}}
output: {path: out.csv, rw: true}
nodes:
  - {id: ask, type: CreateChatCompletion, modle: m, promt: x}
  - {id: say, type: Retrun, text: x}
  - {type: Return, text: x}
"""


@pytest.fixture(scope="module")
def schema():
    from tablenodes.workflow.file_schema import file_schema

    made = json.loads(json.dumps(file_schema()))
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_it_admits_every_sample(schema, path):
    """As they are read."""
    assert list(schema.iter_errors(json.loads(json.dumps(yaml_reader.read(path, path.name).value)))) == []


def test_all_that_is_wrong_is_found_at_once(schema, tmp_path):
    """By the schema in an editor, and when the file is read, each with its line."""
    document = json.loads(json.dumps(yaml_reader.parse(WRONG, "w.yaml").value))
    assert len({tuple(error.absolute_path)[:2] for error in schema.iter_errors(document)}) >= 6
    (tmp_path / "w.yaml").write_text(WRONG)
    with pytest.raises(WorkflowError) as caught:
        tn.Workflow.load(tmp_path / "w.yaml")
    wording([caught.value, *caught.value.__notes__])


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"nodes": []}, ["nodes"]),
        ({"limits": {"max_costs": 1}}, ["limits"]),
        ({"retry": {"throtled": 1}}, ["retry"]),
        ({"connection": {"base-url": "x"}}, ["connection"]),
        ({"inputs": {"n": {"type": "string", "defaults": 1}}}, ["inputs", "n"]),
        ({"output": {"path": "x.csv", "colums": []}}, ["output"]),
        ({"nodes": [{"id": "a", "type": "Return", "text": "x", "wen": "y"}]}, ["nodes", 0]),
        ({"nodes": [{"id": "a", "type": "CreateChatCompletion", "stop": 3}]}, ["nodes", 0, "stop"]),
        ({"nodes": [{"type": "Return", "text": "x"}]}, ["nodes", 0]),
    ],
)
def test_an_editor_marks_the_place_of_a_mistake(schema, part, place):
    """And no other."""
    errors = [*schema.iter_errors({"nodes": [{"id": "a", "type": "Return", "text": "x"}], **part})]
    assert [[*error.absolute_path] for error in errors] == [place]


BASE = {"nodes": [{"id": "a", "type": "Return", "text": "x"}]}
CHAT = {"id": "a", "type": "CreateChatCompletion"}
LATER = {"id": "a", "type": "RetrieveResponse"}
TOLD = {"id": "a", "type": "AddUserMessage"}
REFUSED = {
    "no nodes": {"nodes": None},
    "an empty list": {"nodes": []},
    "a key at the top": {"table_": "x.csv"},
    "an id with a blank": {"id": "a b"},
    "a description that is no text": {"description": 3},
    "an empty table": {"table": ""},
    "a table without a path": {"table": {"encoding": "utf-8"}},
    "a limit below its least": {"limits": {"concurrency": 0}},
    "a limit that is no whole number": {"limits": {"concurrency": 2.5}},
    "a limit that is a text": {"limits": {"max_requests": "10"}},
    "a null that a limit cannot be": {"limits": {"grace": None}},
    "a choice of a limit": {"limits": {"warm_up": "always"}},
    "retries above their most": {"retry": {"throttled": 1001}},
    "a retry's misspelt name": {"retry": {"throtled": 1}},
    "a key in the file": {"connection": {"api_key": "sk-1"}},
    "two ways to the key": {"connection": {"api_key": "", "api_key_env": "KEY"}},
    "the embedded model and a server": {"connection": {"local": {}, "base_url": "http://127.0.0.1:1/v1"}},
    "a connection that is a path": {"connection": "a/b"},
    "a header that is a list": {"connection": {"headers": {"x": ["y"]}}},
    "a yes that is a text": {"connection": {"allow_insecure": "yes"}},
    "a timeout of none": {"connection": {"timeout": {"connect": 0}}},
    "an input's type": {"inputs": {"n": {"type": "FLOAT"}}},
    "a default of another type": {"inputs": {"n": {"type": "integer", "default": [1]}}},
    "an input's name": {"inputs": {"a-b": 1}},
    "required as a text": {"inputs": {"n": {"type": "string", "required": "yes"}}},
    "a deadline of no time": {"deadline": 0},
    "an output without a path": {"output": {"columns": ["a"]}},
    "an output without columns": {"output": {"path": "x.csv", "columns": []}},
    "a column twice": {"output": {"path": "x.csv", "columns": ["a", "a"]}},
    "columns of raw answers": {"output": {"path": "x.csv", "raw": True, "columns": ["a"]}},
    "a database without a table": {"output": {"url": "sqlite:///x.db"}},
    "what is done with a table": {"output": {"url": "sqlite:///x.db", "table": "t", "if_exists": "upsert"}},
    "no database": {"table": {"url": "x.db", "query": "select 1"}},
    "a query of a file": {"table": {"path": "x.csv", "query": "select 1"}},
    "a node's id": {"nodes": [{"id": "a-b", "type": "Return", "text": "x"}]},
    "a node's type": {"nodes": [{"id": "a", "type": "Retrun"}]},
    "neither a text nor fields": {"nodes": [{"id": "a", "type": "Return"}]},
    "a text and fields": {"nodes": [{"id": "a", "type": "Return", "text": "x", "fields": {"y": "z"}}]},
    "a message of nothing": {"nodes": [TOLD]},
    "a tool's message without its call": {"nodes": [{"id": "a", "type": "AddToolMessage", "text": "x"}]},
    "a prompt and messages": {"nodes": [{**CHAT, "prompt": "x", "messages": "{{ m }}"}]},
    "a when that is empty": {"nodes": [{**BASE["nodes"][0], "when": ""}]},
    "an earlier node that is a list": {"nodes": [{**TOLD, "text": "x", "continue_from": ["a"]}]},
    "an answer mode": {"nodes": [{**CHAT, "answer_mode": "xml"}]},
    "columns that are one text": {"nodes": [{**CHAT, "columns": 3}]},
    "a timeout that is a list": {"nodes": [{**CHAT, "client_timeout": [10]}]},
    "an empty timeout": {"nodes": [{**CHAT, "client_timeout": 0}]},
    "a number above its most": {"nodes": [{**CHAT, "temperature": 9}]},
    "a word that is none": {"nodes": [{**CHAT, "service_tier": "fastest"}]},
    "too many stops": {"nodes": [{**CHAT, "stop": ["a", "b", "c", "d", "e"]}]},
    "a name that is a number": {"nodes": [{**LATER, "into": 3}]},
    "an id that is a row's": {"nodes": [{**BASE["nodes"][0], "id": "row"}]},
    "an id that is the inputs'": {"nodes": [{**BASE["nodes"][0], "id": "inputs"}]},
    "an id that is the outputs'": {"nodes": [{**BASE["nodes"][0], "id": "outputs"}]},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_when_it_is_read_is_refused_by_the_schema(schema, tmp_path, name):
    """Or by the check that comes before a run: keys, types, ranges, closed words, what excludes each other."""
    document = BASE | REFUSED[name]
    assert not schema.is_valid(document)
    (tmp_path / "w.yaml").write_text(json.dumps(document))
    table = pd.DataFrame({"x": ["y"], "m": ["z"], "future_response_id": ["resp_1"], "conversation": [EMPTY]})
    try:
        valid = tn.Workflow.load(tmp_path / "w.yaml").check(table)["a"].valid
    except UsageError:
        valid = 0
    assert valid == 0


ADMITTED = {
    "all left out": {"id": None, "table": None, "limits": None, "inputs": None, "output": None, "connection": None},
    "a profile's name": {"connection": "lab"},
    "limits as numbers": {"limits": {"concurrency": 8, "max_cost": 0.5, "warm_up": False, "max_requests": None}},
    "a default alone": {"inputs": {"größe": 3, "words": ["a"], "made": {"a": 1}, "none": None}},
    "a declaration": {
        "inputs": {"n": {"type": "integer", "default": "5", "required": None}, "d": {"default": {"type": "x"}}}
    },
    "a number as a text": {"nodes": [{**CHAT, "temperature": "{{ t }}", "client_timeout": "20", "n": "2"}]},
    "a word of the row": {"nodes": [{**CHAT, "service_tier": "{{ tier }}", "reasoning_effort": None}]},
    "another schema": {"nodes": [{**CHAT, "schema": "openai-2024-05", "temperature": 2}]},
    "a null beside what excludes it": {"nodes": [{**CHAT, "prompt": "x", "messages": None}]},
    "parts": {"nodes": [{**TOLD, "content": [{"type": "text", "text": "x"}]}]},
    "JSON as text": {"nodes": [{**CHAT, "stop": '["a"]', "logit_bias": "{}", "functions": "[]"}]},
    "a query": {"table": {"url": "postgres://h/d", "query": "@x.sql"}},
    "a database": {
        "output": {"url": "duckdb:///x.duckdb", "table": "a.t", "key": "id", "if_exists": None, "columns": ["id"]}
    },
    "raw": {"output": {"path": "x.jsonl", "raw": True}},
    "a timeout": {"connection": {"base_url": "http://127.0.0.1:1/v1", "timeout": {"total": 5}, "headers": {"x": 1}}},
}


@pytest.mark.parametrize("name", ADMITTED)
def test_what_may_be_is_admitted(schema, name):
    """Also what is unusual."""
    assert [*schema.iter_errors(BASE | ADMITTED[name])] == []


def test_the_command_line_prints_it(schema, capsys):
    """For an editor's settings."""
    with pytest.raises(SystemExit):
        main(["schema", "workflow"])
    assert json.loads(capsys.readouterr().out) == schema.schema


def test_no_mistake_hides_another(tmp_path):
    """Of a node whose type there is not, of an input with an unknown key; what others call a path is found."""
    (tmp_path / "w.yaml").write_text("""\
table: {file: in.csv}
output: {file: out.csv}
inputs: {n: {type: FLOAT, defualt: 1, requird: true}}
nodes:
  - {id: say, type: Retrun, txet: x, wen: y}
""")
    with pytest.raises(WorkflowError) as caught:
        tn.Workflow.load(tmp_path / "w.yaml")
    wording([caught.value, *caught.value.__notes__])


def test_one_part_of_it_is_shown(schema, capsys):
    """A part that there is not is told with the nearest; there is one revision of it."""
    outcomes = []
    for more in (["-p", "nodes"], ["-p", "nods"], ["-r", "x"]):
        with pytest.raises(SystemExit) as ended:
            main(["schema", "workflow", *more])
        outcomes.append((ended.value.code or 0, capsys.readouterr()))
    assert [code for code, _ in outcomes] == [0, 1, 2]
    assert json.loads(outcomes[0][1].out) == schema.schema["properties"]["nodes"]
    wording([each.err for _, each in outcomes[1:]])


def test_it_is_listed_and_found(capsys):
    """With the operations, and where its name is misspelt."""
    for arguments, code in ((["schema"], 0), (["schema", "workflw"], 1)):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert (ended.value.code or 0) == code
    said = capsys.readouterr()
    assert "workflow" in said.out.splitlines()[-1].split()
    wording(said.err)
