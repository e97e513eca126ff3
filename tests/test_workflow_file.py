"""Workflow files: YAML 1.2, read safely; what is wrong is said with its file and line; what is written reads back."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from sentences import wording

import tablenodes as tn
from tablenodes.connection.endpoint import opened
from tablenodes.documents import yaml_reader
from tablenodes.errors import WorkflowError
from tablenodes.workflow import yaml_writer
from tablenodes.workflow.definition_reader import KEYS
from tablenodes.workflow.file_schema import file_schema

NODE = "nodes:\n  - id: a\n    type: CreateChatCompletion\n"


def load(folder: Path, text: str | bytes) -> tn.Workflow:
    path = folder / "w.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return tn.Workflow.load(path)


def value(text: str):
    return yaml_reader.parse(text, "w.yaml").value


# --- scalars ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("=", "="),
        ("~", None),
        ("", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-5", -5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ('"5"', "5"),
        ("'true'", "true"),
        ("!col review", tn.col("review")),
        ('!literal "{{ x }}"', tn.literal("{{ x }}")),
    ],
)
def test_scalars_are_those_of_yaml_1_2(scalar, expected):
    """`no` and `12:30` stay text: no value is of another type than it looks like."""
    found = value(f"x: {scalar}\n")["x"]
    assert (found, type(found)) == (expected, type(expected))


def test_a_directive_does_not_bring_yaml_1_1_back():
    """`no` is a text whatever the file's head asks for."""
    assert value("%YAML 1.1\n---\nx: no\n") == {"x": "no"}


def test_not_a_number_is_read():
    """`.nan` is a number, which the settings refuse."""
    assert str(value("x: .nan\n")["x"]) == "nan"


def test_aliases_repeat_what_they_name():
    """An anchor saves writing; each place gets a value of its own."""
    made = value("a: &x [1, {b: 2}]\nc: *x\n")
    assert made == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}
    assert made["a"] is not made["c"]


def test_keys_are_texts():
    """Keys of JSON objects are texts: a token's number and a word such as yes too."""
    assert value("50256: 1\ntrue: 2\nnull: 3\n") == {"50256": 1, "true": 2, "null": 3}


# --- what is wrong, and where ----------------------------------------------------------------------------------------

WRONG = {
    "empty": "",
    "not a mapping": "- a\n",
    "no nodes": "id: x\n",
    "unknown key": "id: x\nnods: []\n",
    "unknown setting": NODE + "    promt: hi\n",
    "unknown node": "nodes:\n- id: a\n  type: CreateChatCompletions\n",
    "duplicate key": "id: x\nid: y\n",
    "nodes is no list": "nodes: {a: 1}\n",
    "no nodes in it": "nodes: []\n",
    "node is a text": "nodes:\n  - hi\n",
    "no id": "nodes:\n  - type: CreateChatCompletion\n",
    "no type": "nodes:\n  - id: a\n",
    "id is a number": "nodes:\n  - id: 5\n    type: CreateCompletion\n",
    "id is no name": "nodes:\n- id: ../x\n  type: CreateCompletion\n",
    "same id": NODE + "  - id: a\n    type: CreateCompletion\n",
    "workflow id": "id: a b\n" + NODE,
    "unquoted": NODE + "    prompt: {{ x }}\n",
    "unquoted, more": NODE + "    prompt: {{ x }} y\n",
    "unquoted, index": NODE + "    prompt: {{ x[0].y }}\n",
    "unquoted in a list": NODE + "    stop:\n    - {{ x }} y\n",
    "tab": "a:\n\t- b\n",
    "unquoted, after a colon": NODE + "    prompt: Judge: {{ x }}\n",
    "indented": "id: x\n table: t.csv\n" + NODE,
    "indented in a list": NODE + "      model: m\n",
    "indented, after a comment": "id: x\n# so\n\n  table: t\n",
    "indented, with a second colon": "id: x\n  y: z: q\n",
    "second colon": "a: b: c\n",
    "unclosed quote": "a: 1\nb: 'x\nc: 2\n",
    "unclosed list": "a: 1\nb: [1,\n",
    "bad escape": 'a: "\\q"\n',
    "control character": "a: 1\nb: \x01\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "unknown alias": "a: *x\n",
    "python tag": "a: !!python/object:os.system x\n",
    "tag on a list": "a: !x [1]\n",
    "merge": "a: {b: 1}\n<<: {c: 1}\n",
    "key is a list": "? [a]\n: b\n",
    "alias in itself": "a: &x [*x]\n",
    "long number": "a: " + "9" * 5000 + "\n",
    "deep": "a: " + "[" * 150 + "]" * 150 + "\n",
    "very deep": "a: " + "[" * 1_000,
    "template": NODE + '    model: m\n    prompt: "{{ a b }}"\n',
    "template inside": NODE + '    messages:\n    - role: user\n      content: "{{ ( }}"\n',
    "prompt and messages": NODE + "    messages: []\n    prompt: x\n",
    "nan": NODE + "    temperature: .nan\n",
    "columns": NODE + "    columns: all\n",
    "schema": NODE + "    schema: openai-2026-8\n",
    "schema file": NODE + "    schema: my.json\n",
    "limits": "limits:\n  concurrency: 0\n" + NODE,
    "limits key": "limits:\n  concurency: 1\n" + NODE,
    "retry": "retry: {ambiguous: x}\n" + NODE,
    "timeout": "connection:\n  base_url: http://127.0.0.1\n  timeout:\n    total: 0\n" + NODE,
    "timeout as a text": "connection:\n  timeout: soon\n" + NODE,
    "api_key": "connection:\n  base_url: http://127.0.0.1\n  api_key: sk-canary\n" + NODE,
    "api_key without a value": "connection:\n  api_key:\n" + NODE,
    "api_key and variable": 'connection:\n  api_key: ""\n  api_key_env: A_KEY\n' + NODE,
    "columns as a number": NODE + "    columns: 5\n",
    "columns of numbers": NODE + "    columns: [a, 5]\n",
    "extra_body as a number": NODE + "    extra_body: 5\n",
    "schema as a number": NODE + "    schema: 5\n",
    "schema as a list": NODE + "    schema: [x]\n",
    "connection text": "connection: locale\n" + NODE,
    "connection key": "connection: {base_ur: x}\n" + NODE,
    "connection list": "connection: [x]\n" + NODE,
    "base_url": "connection:\n  base_url: ftp://x\n" + NODE,
    "base_url number": "connection:\n  base_url: 5\n" + NODE,
    "header list": "connection:\n  headers:\n    x: [1]\n" + NODE,
    "allow_insecure": "connection: {allow_insecure: 1}\n" + NODE,
    "two ways": "connection: {base_url: http://x.de, transport: curll}\n" + NODE,
    "both": "connection:\n  session: x\n" + NODE,
    "local and more": "connection: {local: {}, proxy: x}\n" + NODE,
    "local option": "connection: {local: {slot: 2}}\n" + NODE,
    "local value": "connection:\n  local:\n    slots: 0\n" + NODE,
    "table": "table: [x]\n" + NODE,
    "empty table": 'table: ""\n' + NODE,
    "inputs": "inputs: [x]\n" + NODE,
    "input type": "inputs:\n  n: 1\n  m: {type: int}\n" + NODE,
    "input default": "inputs:\n  n:\n    type: integer\n    default: x\n" + NODE,
    "input name": "inputs:\n  a-b: 1\n" + NODE,
    "input required": "inputs:\n  n: {required: 5}\n" + NODE,
    "input description": "inputs:\n  n: {description: 5}\n" + NODE,
    "input col": "inputs:\n  n: !col x\n" + NODE,
    "output": NODE + "output: [x]\n",
    "output path": NODE + "output: {raw: true}\n",
    "output key": NODE + "output: {path: x.csv, format: csv}\n",
    "output format": NODE + "output: {path: x.csv, raw: yes}\n",
    "later node": NODE + '    prompt: "{{ outputs.b.x }}"\n  - {id: b, type: CreateCompletion}\n',
    "own answer": NODE + '    prompt: "{{ outputs.a.x }}"\n',
    "first node": NODE + '    prompt: "{{ outputs.b.x }}"\n',
    "no such node": NODE
    + '  - id: b\n    type: CreateChatCompletion\n    system: "{{ outputs.A.x }}"\n    prompt: x\n',
    "no such input": "inputs: {word: x}\n" + NODE + '    prompt: "{{ inputs.wird }}"\n',
    "no inputs": NODE + "    prompt: \"{{ inputs['x'] }}\"\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_its_line(tmp_path, monkeypatch, name):
    """One line: the file, the line, what is wrong and, where a name is close, which was meant."""
    monkeypatch.chdir(tmp_path)
    Path("w.yaml").write_text(WRONG[name])
    with pytest.raises(WorkflowError) as caught:
        tn.Workflow.load("w.yaml")
    message = str(caught.value)
    wording(message)
    assert message.startswith("w.yaml:")
    assert "\n" not in message
    assert "canary" not in message


def test_a_file_that_is_not_there_is_named_with_its_nearest(tmp_path):
    """A typing error in the path is the most common one."""
    (tmp_path / "reviews.yaml").write_text(NODE)
    with wording.raises(WorkflowError):
        tn.Workflow.load(tmp_path / "review.yaml")
    with wording.raises(WorkflowError):
        tn.Workflow.load(tmp_path / "no" / "review.yaml")
    with wording.raises(WorkflowError):
        tn.Workflow.load(tmp_path)


@pytest.mark.parametrize("path", [None, 5, ["w.yaml"]])
def test_a_file_is_named_by_its_path(path):
    """Anything else is refused in a line."""
    with wording.raises(WorkflowError):
        tn.Workflow.load(path)


def test_a_server_without_keys_is_said_to_be_one(tmp_path):
    """``api_key: ""`` sends none, on any host."""
    made = load(tmp_path, 'connection: {base_url: "http://gpu-box:8000/v1", api_key: ""}\n' + NODE)
    assert made.connection == tn.Connection("http://gpu-box:8000/v1", api_key="")
    with opened(made.connection, {"OPENAI_API_KEY": "sk-canary"}) as endpoint:
        assert "Authorization" not in dict(endpoint.headers)


def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path):
    """UTF-8 only, with or without a mark."""
    with wording.raises(WorkflowError):
        load(tmp_path, b"id: x\n# \xe4\n")
    assert load(tmp_path, b"\xef\xbb\xbf" + NODE.encode())._steps[0][0] == "a"


def test_a_file_has_a_bounded_length(tmp_path):
    """It is not even parsed."""
    with wording.raises(WorkflowError):
        load(tmp_path, b"#" * (2**20 + 1))


def test_aliases_that_multiply_are_bounded():
    """A few lines of aliases cannot fill the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with wording.raises(WorkflowError):
        value("\n".join(lines))


# --- paths -----------------------------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_file_but_the_output(tmp_path, monkeypatch):
    """A workflow can be run from anywhere with its table; what it makes stays where it is run."""
    monkeypatch.chdir("/")
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    (tmp_path / "certificates.pem").write_text("")
    made = load(
        tmp_path,
        "table: data/x.csv\nconnection: {base_url: https://x.de/v1, ca_bundle: certificates.pem}\n"
        + NODE
        + "    schema: ./schema.json\noutput: out.csv\n",
    )
    assert made.table == str(tmp_path / "data" / "x.csv")
    assert made._steps[0][1].schema == str(tmp_path / "schema.json")
    assert made.connection.ca_bundle == str(tmp_path / "certificates.pem")
    assert made.output.path == "out.csv"


def test_a_saved_workflow_finds_its_files_again(tmp_path, monkeypatch):
    """Paths are written relative to the new file."""
    monkeypatch.chdir(tmp_path)
    made = tn.Workflow({"a": tn.CreateCompletion(model="m", prompt="x")}, table="data/x.csv")
    (tmp_path / "flows").mkdir()
    made.save("flows/w.yaml")
    assert "table: ../data/x.csv" in Path("flows/w.yaml").read_text()
    monkeypatch.chdir("/")
    assert tn.Workflow.load(tmp_path / "flows" / "w.yaml") == made


@pytest.mark.parametrize(
    ("met", "text"),
    [
        ("a tab", "a:\n\t- b\n"),
        ("an open scalar", "a: 'x\n"),
        ("an open list", "a: [1,\n"),
        ("a second value", "a: b: c\n"),
        ("a mapping", "a: [1]\n  b: 2\n"),
        ("a document", "a: 1\n---\nb: 2\n"),
    ],
)
def test_the_parsers_words_are_those_that_are_looked_for(met, text):
    """It has no codes: a version that says something else is found here."""
    with pytest.raises(MarkedYAMLError) as caught:
        YAML(typ="safe", pure=True).compose(text)
    assert yaml_reader.FOREIGN[met] in caught.value.problem


# --- there and back --------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    [
        "no",
        "null",
        "1e3",
        "0x1",
        " x",
        "x ",
        "a: b",
        "a #b",
        "- a",
        "{{ x }}",
        "a\n",
        "a\n\nb",
        "\n",
        "a\r\nb",
        "\x85",
        "\ufeff",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
REFERENCES = st.builds(tn.col, TEXTS) | st.builds(tn.literal, TEXTS)
VALUES = st.recursive(
    SCALARS | REFERENCES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_what_is_written_reads_back_the_same(document):
    """Any texts, numbers and nesting; also texts that look like something else."""
    assert value(yaml_writer.write(document)) == document


PLAIN = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.text(st.characters(codec="utf-8", exclude_characters="{")) | st.just("{{ model }}"),
        "temperature": st.floats(0, 2) | st.just(tn.col("t")),
        "max_tokens": st.integers(1, 99),
        "stop": st.lists(st.sampled_from(["a", "{{ x }}"]), min_size=1, max_size=3),
        "tools": st.lists(st.dictionaries(TEXTS, PLAIN, max_size=2), min_size=1, max_size=2),
        "messages": st.just([{"role": "user", "content": "{{ inputs.word }} of {{ x }}"}]),
        "columns": st.just(()) | st.just(("seed",)),
        "schema": st.sampled_from(["openai-2024-05", "openai-2026-08", "/x/y.json"]) | st.just({"type": "object"}),
        "extra_body": st.dictionaries(st.just("top_k"), PLAIN, max_size=1),
    },
)
INPUTS = st.dictionaries(
    st.sampled_from(["a", "b"]),
    PLAIN
    | st.none()
    | st.just({"type": "string"})
    | st.just({"type": "number", "default": 1})
    | st.just({"required": False, "description": "x"})
    | st.just({"default": {"type": "x"}}),
)
CONNECTIONS = st.sampled_from([None, tn.Connection("http://gpu:8000/v1", "")]) | st.builds(
    tn.Connection,
    st.sampled_from([None, "https://x.de/v1"]),
    api_key_env=st.sampled_from([None, "X_KEY"]),
    headers=st.none() | st.just({"X-Team": "a b"}),
    query=st.none() | st.just({"api-version": "2024-06-01"}),
    timeout=st.none() | st.just(30) | st.just(tn.Timeout(connect=1, idle=5)),
    proxy=st.sampled_from([None, "http://proxy.de:3128"]),
    transport=st.sampled_from([None, "requests"]),
    allow_insecure=st.booleans(),
)


@given(
    SETTINGS,
    INPUTS,
    CONNECTIONS,
    st.none() | st.builds(tn.Limits, concurrency=st.integers(1, 9)),
    st.none() | st.builds(tn.Retry, ambiguous=st.integers(0, 2)),
    st.sampled_from([None, "x.csv", {"path": "x.parquet", "raw": True}]),
    st.sampled_from([None, "t.csv", "/t/t.csv"]),
)
@settings(max_examples=20, deadline=None)
def test_a_workflow_saved_and_loaded_is_the_same(
    tmp_path_factory, node, inputs, connection, limits, retry, output, table
):
    """load(save(w)) == w."""
    monkeypatched = tmp_path_factory.getbasetemp() / "w.yaml"
    made = tn.Workflow(
        {"a": tn.CreateChatCompletion(**node)},
        id="x",
        description="first\nsecond",
        inputs={"word": "x", **inputs},
        connection=connection,
        limits=limits,
        retry=retry,
        output=output,
        table=table,
    )
    schema = node.get("schema")
    if isinstance(schema, str) and schema.startswith("/"):  # it is looked at when it is loaded
        made = made.replace(nodes={"a": made._steps[0][1].replace(schema="openai-2024-05")})
    made.save(monkeypatched)
    assert tn.Workflow.load(monkeypatched) == made


def test_an_embedded_model_is_written_as_local(tmp_path):
    """With its options, where it has some."""
    node = {"a": tn.CreateCompletion(prompt="x")}
    (tmp_path / "m.gguf").write_text("")
    for connection, text in (
        (tn.Connection.local(), "connection: local\n"),
        (tn.Connection.local(str(tmp_path / "m.gguf")), "connection:\n  local:\n    path: m.gguf\n"),
        (tn.Connection.local(slots=2), "connection:\n  local:\n    slots: 2\n"),
    ):
        made = tn.Workflow(node, connection=connection)
        made.save(tmp_path / "w.yaml")
        assert text in (tmp_path / "w.yaml").read_text()
        assert tn.Workflow.load(tmp_path / "w.yaml") == made


@pytest.mark.parametrize(
    "connection",
    [
        lambda: tn.Connection("https://x.de/v1", "sk-canary"),
        lambda: tn.Connection("https://x.de/v1", headers={"X-Key": "canary"}),
        lambda: tn.Connection("https://x.de/v1", "", proxy="http://u:canary@p.de:1"),
        lambda: tn.Connection("https://x.de/v1", proxy="http://u:canary@p.de:1"),
        lambda: tn.Connection("https://x.de/v1", session=_Session()),
    ],
)
def test_no_secret_and_no_object_is_written_to_a_file(tmp_path, connection):
    """A file is for sharing."""
    made = tn.Workflow({"a": tn.CreateCompletion(prompt="x")}, connection=connection())
    with wording.raises(WorkflowError) as caught:
        made.save(tmp_path / "w.yaml")
    assert "canary" not in str(caught.value)
    assert not (tmp_path / "w.yaml").exists()


class _Session:
    def request(self) -> None: ...


def test_a_folder_cannot_be_written_to(tmp_path):
    """One line, as for every file."""
    with wording.raises(WorkflowError):
        tn.Workflow({"a": tn.CreateCompletion(prompt="x")}).save(tmp_path)


def test_a_workflow_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """An earlier file stays as it is, also behind a link, and nothing is left beside it."""
    node = {"a": tn.CreateCompletion(prompt="x")}
    place, link = tmp_path / "w.yaml", tmp_path / "link.yaml"
    tn.Workflow(node).save(place)
    link.symlink_to(place)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(WorkflowError):
            tn.Workflow(node, id="new").save(link)
    assert tn.Workflow.load(place) == tn.Workflow(node)
    tn.Workflow(node, id="new").save(link)
    assert tn.Workflow.load(place) == tn.Workflow(node, id="new")
    assert sorted(os.listdir(tmp_path)) == ["link.yaml", "w.yaml"]


def test_what_no_file_can_hold_is_named():
    """A node may hold more than YAML does."""
    made = tn.Workflow({"a": tn.CreateCompletion(prompt="x", schema={"x": b"1"})})
    with wording.raises(WorkflowError):
        made.to_yaml()


def test_a_workflow_is_written_for_people(tmp_path):
    """In the order of the settings, texts of several lines as blocks, quotes only where they are needed."""
    made = tn.Workflow(
        [
            (
                "a",
                tn.CreateChatCompletion(
                    model="gpt-4o-mini", prompt="One {{ x }}\ntwo", stop=["no", "b"], temperature=0
                ),
            )
        ],
        inputs={"word": "x"},
        output="out.csv",
    )
    assert made.to_yaml(tmp_path) == (
        "inputs:\n  word: x\nnodes:\n  - id: a\n    type: CreateChatCompletion\n    model: gpt-4o-mini\n"
        "    prompt: |-\n      One {{ x }}\n      two\n    stop:\n      - no\n      - b\n    temperature: 0\n"
        "output: out.csv\n"
    )


def test_a_loaded_workflow_can_be_pickled(tmp_path):
    """It is a value."""
    made = load(tmp_path, NODE)
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_text_with_braces_inside_a_placeholder_is_read(tmp_path):
    """What only looks like the end of a placeholder is none."""
    node = tn.CreateChatCompletion(model="m", prompt="{{ '}}' }}{{ inputs.word }}")
    assert tn.Workflow({"a": node}, inputs={"word": "x"})._steps[0][1] == node


def test_a_file_on_another_drive_keeps_its_path(monkeypatch):
    """There is no way from one to the other."""

    def elsewhere(path, start):
        raise ValueError

    monkeypatch.setattr(os.path, "relpath", elsewhere)
    assert "table: /t.csv" in tn.Workflow({"a": tn.CreateCompletion(prompt="x")}, table="/t.csv").to_yaml()


def test_certificates_are_found_from_the_file(tmp_path):
    """Their path is written relative to it."""
    (tmp_path / "c.pem").write_text("")
    connection = tn.Connection("https://x.de/v1", ca_bundle=str(tmp_path / "c.pem"))
    made = tn.Workflow({"a": tn.CreateCompletion(prompt="x")}, connection=connection)
    made.save(tmp_path / "w.yaml")
    assert "ca_bundle: c.pem" in (tmp_path / "w.yaml").read_text()
    assert tn.Workflow.load(tmp_path / "w.yaml") == made


def test_a_users_home_is_understood(tmp_path, monkeypatch):
    """``~`` as in a shell."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.yaml").write_text("table: ~/x.csv\n" + NODE)
    assert tn.Workflow.load("~/w.yaml").table == os.path.join(tmp_path, "x.csv")


def test_what_a_worker_is_told_stands_in_the_file_too(tmp_path, monkeypatch):
    """Its store beside the file; what a run is given goes before; all is written back and known to the schema."""
    from tablenodes.workflow import runner

    said = "submission: nightly\nstore: kept.sqlite\ndeadline: 60\nnodes: [{id: say, type: Return, text: x}]\n"
    (tmp_path / "flow.yaml").write_text(said)
    flow = tn.Workflow.load(tmp_path / "flow.yaml")
    seen = []
    monkeypatch.setattr(runner, "run", lambda *given: seen.append(given[-1]))
    flow.run()
    flow.run(submission="other", deadline=5, store="s")
    store = str(tmp_path / "kept.sqlite")
    assert [(each.submission, str(each.store), each.deadline) for each in seen] == [
        ("nightly", store, 60),
        ("other", "s", 5),
    ]
    flow.save(tmp_path / "again.yaml")
    assert "store: kept.sqlite" in (tmp_path / "again.yaml").read_text()
    assert tn.Workflow.load(tmp_path / "again.yaml") == flow
    assert {"submission", "store", "deadline"} <= file_schema()["properties"].keys()


@pytest.mark.parametrize("key", ["submission: 3", "store: 3", "deadline: 0", "deadline: soon"])
def test_what_a_worker_cannot_be_told_is_refused_with_its_line(tmp_path, key):
    """As the options of a run."""
    (tmp_path / "flow.yaml").write_text(f"nodes: [{{id: say, type: Return, text: x}}]\n{key}\n")
    with pytest.raises(WorkflowError, match=r"flow.yaml:2: ") as caught:
        tn.Workflow.load(tmp_path / "flow.yaml")
    assert key.partition(":")[0] in str(caught.value)


def test_a_workflow_completes_to_its_parts_and_what_can_be_done():
    """In a notebook: all that is described, and nothing of how it works."""
    flow = tn.Workflow({"a": tn.Return(text="x")})
    done = {"load", "save", "to_yaml", "graph", "replace", "check", "estimate", "run", "run_batches"}
    assert {name for name in dir(flow) if not name.startswith("_")} == {*KEYS} | done
