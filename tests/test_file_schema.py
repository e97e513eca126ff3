"""The JSON Schema of a workflow's file: it admits what is read, and finds what is wrong in one round."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from sentences import wording

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.documents import yaml_reader
from tablenodes.errors import WorkflowError

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
        ({"nodes": [{"type": "Return"}]}, ["nodes", 0]),
    ],
)
def test_an_editor_marks_the_place_of_a_mistake(schema, part, place):
    """And no other."""
    errors = [*schema.iter_errors({"nodes": [{"id": "a", "type": "Return", "text": "x"}], **part})]
    assert [[*error.absolute_path] for error in errors] == [place]


def test_the_command_line_prints_it(schema, capsys):
    """For an editor's settings."""
    with pytest.raises(SystemExit):
        main(["schema", "workflow"])
    assert json.loads(capsys.readouterr().out) == schema.schema
