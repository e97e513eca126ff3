"""A workflow as an orchestrator's task: a text for every row, inputs, timeouts, and what is said before it runs."""

from __future__ import annotations

import contextlib
import io
import pickle
from pathlib import Path

import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from measuring import measures_seconds
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.errors import ColumnError, InvalidRequests, SettingError, TableError, WorkflowError
from tablenodes.workflow.inputs import parsed

ASK = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
NOWHERE = tn.Connection("http://127.0.0.1:1/v1")


def chat(**message):
    choice = {"index": 0, "message": {"role": "assistant", "content": "said", **message}, "finish_reason": "stop"}
    return {"id": "c-1", "object": "chat.completion", "model": "m-1", "choices": [choice], "usage": {"total_tokens": 7}}


def words(*cells):
    return pd.DataFrame({"word": list(cells)}, index=range(5, 5 + len(cells)))


# --- Return ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [lambda frame: frame, pa.Table.from_pandas, pl.from_pandas])
def test_return_gives_a_text_for_every_row(kind):
    """In the table's own kind, with its rows; nothing is sent, and no connection is needed."""
    table = kind(words("a", "b"))
    result, configuration = tn.Return(text="{{ word }}!").run(table)
    assert configuration is table
    assert type(result) is type(table)
    assert list(pd.DataFrame(result.to_pandas() if hasattr(result, "to_pandas") else result)["text"]) == ["a!", "b!"]


def test_return_keeps_the_tables_index_and_its_columns():
    """The text is at their right."""
    out = tn.Return(text="{{ word }}!").run(words("a", "b"))
    assert list(out.result.index) == [5, 6]
    assert list(out.table.columns) == ["word", "text"]
    assert list(out.log["outcome"]) == ["ok", "ok"]


def test_return_gives_other_cells_as_a_placeholder_shows_them():
    """Numbers and lists as JSON; a null cell that is referred to as such stays null."""
    table = pd.DataFrame({"x": [[1, 2], None]})
    assert list(tn.Return(text=tn.col("x")).run(table).result["text"].fillna("-")) == ["[1,2]", "-"]
    assert list(tn.Return(text="same").run(table).result["text"]) == ["same", "same"]
    assert list(tn.Return(text=tn.literal("{{ x }}")).run(table).result["text"]) == ["{{ x }}"] * 2


def test_a_row_whose_cell_is_empty_has_no_text():
    """It is reported in its place, or nothing is made; check finds it too."""
    node, table = tn.Return(text="{{ word }}!"), words("a", None)
    out = node.run(table)
    assert list(out.log["outcome"]) == ["ok", "invalid_request"]
    assert out.result["text"].isna().tolist() == [False, True]
    assert list(out.failed.index) == [6]
    assert node.check(table).valid == 1
    with wording.raises(InvalidRequests):
        node.run(table, on_invalid="raise")


def test_return_says_what_does_not_fit():
    """As every node does."""
    with wording.raises(SettingError):
        tn.Return()
    with wording.raises(ColumnError):
        tn.Return(text="{{ wrd }}").run(words("a"))
    with wording.raises(SettingError):
        tn.Return(text="x").replace(txt="y")


def test_return_is_a_value():
    """It compares, is pickled, and is written to a file and read again."""
    node = tn.Return(text="{{ word }}")
    assert pickle.loads(pickle.dumps(node)) == node
    assert repr(node) == "Return(text='{{ word }}')"
    assert "type: Return" in tn.Workflow({"a": node}).to_yaml()


def test_later_nodes_read_the_text():
    """As ``{{ outputs.ID.text }}``, and as a column; a row without an earlier answer is upstream_failed."""
    script = [answer(chat()), answer({"error": {"message": "no"}}, 400)]
    workflow = tn.Workflow(
        {
            "ask": ASK,
            "said": tn.Return(text="<{{ outputs.ask.choices[0].message.content }}>"),
            "again": tn.Return(text="{{ outputs.said.text }} {{ text | default('') }}"),
            "aside": tn.Return(text="{{ word }}"),
        }
    )
    with fault_server(script) as server:
        out = workflow.run(
            words("a", "b"), connection=tn.Connection(server.url), progress=False, limits=tn.Limits(concurrency=1)
        )
    assert list(out["said"].log["outcome"]) == ["ok", "upstream_failed"]
    wording.line(out["said"].log["message"].iloc[1])
    assert list(out["again"].log["outcome"]) == ["ok", "upstream_failed"]
    assert out["again"].result["text"].iloc[0] == "<said> <said>"
    assert list(out["aside"].result["text"]) == ["a", "b"]
    assert len(server.requests) == 2


# --- what outputs hold -----------------------------------------------------------------------------------------------


def test_an_answer_is_read_part_by_part():
    """choices, id, model, object and usage; the arguments of both kinds of call are parsed."""
    call = {"name": "f", "arguments": '{"a": {"b": [1]}}'}
    message = {"function_call": call, "tool_calls": [{"id": "1", "type": "function", "function": call}]}
    said = "outputs.ask.choices[0]"
    text = (
        "{{ outputs.ask.id }} {{ outputs.ask.model }} {{ outputs.ask.object }} {{ outputs.ask.usage }} "
        f"{{{{ {said}.index }}}} {{{{ {said}.finish_reason }}}} {{{{ {said}.message.role }}}} "
        f"{{{{ {said}.message.function_call.name }}}} {{{{ {said}.message.function_call.arguments.a.b[0] }}}} "
        f"{{{{ {said}.message.tool_calls[0].function.arguments.a }}}}"
    )
    ask = ASK.replace(functions=[{"name": "f"}], tools=[{"name": "f"}])
    workflow = tn.Workflow({"ask": ask, "read": tn.Return(text=text)})
    with fault_server(answer(chat(**message))) as server:
        out = workflow.run(words("a"), connection=tn.Connection(server.url), progress=False)
    assert list(out["read"].result["text"]) == [
        'c-1 m-1 chat.completion {"total_tokens":7} 0 stop assistant f 1 {"b":[1]}'
    ]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("arguments.a", None),
        ("arguments.a.b", None),
        ("arguments['a']", None),
        ("arguments.a | default('-')", "-"),
        ("arguments", "{bad"),
        ("name", "f"),
    ],
)
def test_arguments_that_are_no_json_are_called_that(expression, expected):
    """Not a thing without the name that was looked for; as a whole they are read as the text that they are."""
    call = {"name": "f", "arguments": "{bad"}
    text = f"{{{{ outputs.ask.choices[0].message.function_call.{expression} }}}}"
    workflow = tn.Workflow({"ask": ASK.replace(functions=[{"name": "f"}]), "read": tn.Return(text=text)})
    with fault_server(answer(chat(function_call=call))) as server:
        out = workflow.run(words("a"), connection=tn.Connection(server.url), progress=False)
    if expected is None:
        wording(out["read"].log["message"].iloc[0])
    else:
        assert list(out["read"].result["text"]) == [expected]


@pytest.mark.parametrize(
    "body",
    [
        '{"choices": ["arguments"]}',
        '{"choices": {"arguments": 1}}',
        '["arguments"]',
        '{"choices": [{"message": "arguments"}]}',
        '{"choices": [{"message": {"tool_calls": "arguments"}}]}',
        '{"choices": [{"message": {"tool_calls": ["arguments", {"function": "x"}]}}]}',
        '{"choices": [{"message": {"function_call": {"arguments": "{broken"}}}]}',
        '{"choices": [{"message": {"function_call": {"arguments": 5}}}]}',
    ],
)
def test_an_answer_of_another_shape_stays_as_it_is(body):
    """Whatever a server sends."""
    assert parsed(body.replace('["arguments"', '["\\"arguments\\""')) is not None
    assert parsed(body) == orjson.loads(body)


TEXTS = {
    "a text": ("integer", "7", 7),
    "a whole float": ("integer", 5.0, 5),
    "a whole float as a text": ("integer", "5.0", 5),
    "a number": ("number", "1.5", 1.5),
    "a truth": ("boolean", "True", True),
    "a list": ("array", "[1]", [1]),
    "an object": ("object", '{"a": 1}', {"a": 1}),
    "a text for a text": ("string", "7", "7"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_an_input_may_be_written_as_a_text(case):
    """Whether it is given to a run or is a default, as settings may be."""
    kind, written, meant = TEXTS[case]
    nodes = {"show": tn.Return(text="{{ inputs.value }}")}
    expected = meant if isinstance(meant, str) else orjson.dumps(meant).decode()
    given = tn.Workflow(nodes, inputs={"value": {"type": kind}}).run(words("a"), {"value": written})
    default = tn.Workflow(nodes, inputs={"value": {"type": kind, "default": written}})
    assert list(given["show"].result["text"]) == list(default.run(words("a"))["show"].result["text"]) == [expected]
    assert default.inputs["value"].default == meant
    assert type(default.inputs["value"].default) is type(meant)


# --- one attempt's time ----------------------------------------------------------------------------------------------


@measures_seconds
@pytest.mark.parametrize("seconds", [0.2, "0.2"])
def test_client_timeout_bounds_one_attempt_of_its_node(seconds):
    """It goes before the connection's own, and is no part of the body."""
    node = ASK.replace(client_timeout=seconds)
    with fault_server([answer(chat(), delay=5)]) as server:
        out = node.run(words("a"), tn.Connection(server.url, timeout=60), progress=False, retry=tn.Retry(ambiguous=0))
    assert out.log["outcome"].iloc[0].startswith("timeout")
    assert server.requests
    assert "client_timeout" not in orjson.loads(server.requests[0].body)
    assert node.client_timeout == 0.2


@pytest.mark.parametrize("seconds", ["soon", 0, -1, True, "nan", "inf", tn.col("word"), "{{ word }}", [5]])
def test_a_client_timeout_is_a_number_of_seconds(seconds):
    """Neither a column nor a template: it is the node's, not the row's."""
    with wording.raises(SettingError):
        ASK.replace(client_timeout=seconds)


@pytest.mark.parametrize("seconds", ["{{ inputs.seconds }}", tn.col("seconds")])
def test_a_client_timeout_is_not_filled_in(seconds):
    """It says so."""
    with wording.raises(SettingError):
        ASK.replace(client_timeout=seconds)


def test_a_client_timeout_does_not_change_what_a_journal_knows(tmp_path):
    """An answer that was paid for is found again with another one."""
    with fault_server(answer(chat())) as server:
        for seconds in (5, 50):
            out = ASK.replace(client_timeout=seconds).run(
                words("a"), tn.Connection(server.url), progress=False, journal=tmp_path / "j"
            )
    assert out.summary.reused == 1
    assert len(server.requests) == 1


# --- without a table -------------------------------------------------------------------------------------------------


def test_a_workflow_whose_nodes_read_no_column_is_one_row():
    """Where it names no table and the run gives none."""
    node = ASK.replace(prompt="{{ inputs.what }}")
    workflow = tn.Workflow(
        {"ask": node, "said": tn.Return(text="{{ text }}, {{ outputs.ask.id }}")}, inputs={"what": "x"}
    )
    with wording.raises(WorkflowError):
        workflow.run(connection=NOWHERE)
    workflow = workflow.replace(nodes=[*workflow._steps[:1], ("said", tn.Return(text="{{ outputs.ask.id }}"))])
    assert {name: found.rows for name, found in workflow.check(connection=NOWHERE).items()} == {"ask": 1, "said": 1}
    with fault_server(answer(chat())) as server:
        out = workflow.run(connection=tn.Connection(server.url), progress=False)
    assert list(out["said"].table["text"]) == ["c-1"]
    assert len(server.requests) == 1


def test_a_column_that_an_earlier_node_makes_needs_no_table():
    """It is there by then."""
    workflow = tn.Workflow({"a": tn.Return(text="x"), "b": tn.Return(text="{{ text }}y")})
    assert list(workflow.run()["b"].table["text"]) == ["xy"]


@pytest.mark.parametrize("text", ["{{ row['a'] }}", "{{ row | length }}", tn.col("a")])
def test_every_way_to_read_a_column_needs_a_table(text):
    """By row, as a whole, or by reference."""
    with wording.raises(WorkflowError):
        tn.Workflow({"a": tn.Return(text=text)}).run()


# --- inputs ----------------------------------------------------------------------------------------------------------

TYPED = {
    "string": ("x", "x"),
    "integer": ("5", 5),
    "number": ("0.5", 0.5),
    "boolean": ("True", True),
    "array": ('["a"]', ["a"]),
    "object": ('{"a": 1}', {"a": 1}),
}
FLOW = """\
inputs:
  value: {{type: {kind}}}
nodes:
  - id: show
    type: Return
    text: "{{{{ inputs.value }}}}"
"""


def run_command(*arguments):
    """Run the command line in this process; give its exit code, and what it printed to both streams."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code or 0, out.getvalue(), err.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", TYPED)
def test_an_input_of_the_command_line_is_of_its_type(folder, kind):
    """A text that is read as JSON, but for texts; a wrong one is named in one line."""
    Path("w.yaml").write_text(FLOW.format(kind=kind))
    given, meant = TYPED[kind]
    code, out, _ = run_command("run", "w.yaml", "--format", "jsonl", "--input", f"value={given}")
    assert code == 0
    shown = meant if isinstance(meant, str) else orjson.dumps(meant).decode()
    assert orjson.loads(out) == {"show": shown, "show_outcome": "ok", "show_message": None}
    if kind != "string":
        for command in ("run", "check"):
            code, out, err = run_command(command, "w.yaml", "--input", "value=canary")
            assert (code, out) == (1, "")
            wording(err)


def test_inputs_that_must_be_given_are_listed_together(folder):
    """In one line, by check and by run."""
    workflow = tn.Workflow({"a": tn.Return(text="x")}, inputs={"b": None, "c": {"type": "integer"}, "d": 1})
    with wording.raises(WorkflowError):
        workflow.run()
    with wording.raises(WorkflowError):
        workflow.check(inputs={"b": 1})


def test_a_misspelt_key_of_an_input_is_no_default():
    """What has a type of ours is a declaration."""
    with wording.raises(WorkflowError):
        tn.Workflow({"a": tn.Return(text="x")}, inputs={"n": {"type": "integer", "defualt": 5}})
    with wording.raises(WorkflowError):
        tn.Workflow({"a": tn.Return(text="x")}, inputs={"n": {"type": "integer", "x": 5}})
    with wording.raises(WorkflowError):
        tn.Workflow({"a": tn.Return(text="x")}, inputs={"n": {"type": "sedan", "x": 5}})


# --- what the command line says --------------------------------------------------------------------------------------

ROWS = """\
table: words.csv
connection: {base_url: "http://127.0.0.1:1/v1"}
nodes:
  - id: ask
    type: CreateChatCompletion
    model: m
    prompt: "{{ word }}"
  - id: judge
    type: CreateChatCompletion
    model: m
    messages:
      - {role: user, content: "{{ number }}"}
      - {role: assitant, content: x}
"""


def test_check_says_where_in_the_file_a_rows_problem_stands(folder):
    """File and line, then the row; what every row has is said once."""
    Path("words.csv").write_text("word,number\na,1\n,2\nc,3\n")
    Path("w.yaml").write_text(ROWS)
    code, out, _ = run_command("check", "w.yaml")
    assert code == 1
    wording.line(out)
    (line,) = [line for line in out.splitlines() if "role" in line]
    wording(line)


def test_check_and_run_say_all_that_is_wrong_one_line_each(folder):
    """With exit code 1, and nothing sent."""
    Path("words.csv").write_text("word,number\na,1\n")
    Path("w.yaml").write_text(ROWS.replace("assitant", "user") + "    temperature: 9\n    n: '0'\n    maxTokens: 5\n")
    assert run_command("check", "w.yaml") == run_command("run", "w.yaml")
    wording(run_command("check", "w.yaml")[2])
    Path("w.yaml").write_text(Path("w.yaml").read_text().replace("    maxTokens: 5\n", ""))
    code, out, err = run_command("check", "w.yaml")
    assert (code, out) == (1, "")
    wording(err.splitlines())
    assert run_command("run", "w.yaml") == (code, out, err)


def test_a_wrong_setting_is_found_without_any_row(folder):
    """It does not depend on them; nor does what a schema of one's own may tie to other properties."""
    node = ASK.replace(temperature=9)
    with wording.raises(SettingError):
        tn.Workflow({"a": node}).check(words(), connection=NOWHERE)
    tied = {"properties": {"n": {"maximum": 5}}, "if": {"required": ["user"]}}
    found = tn.Workflow({"a": ASK.replace(n=9, schema=tied)}).check(words("a"), connection=NOWHERE)
    assert list(found["a"].problems["path"]) == ["$.n"]


def test_return_is_there_on_the_command_line(folder):
    """Over a table, with a cell that is empty."""
    Path("words.csv").write_text("word,number\na,1\n,2\n")
    code, out, err = run_command("call", "Return", "words.csv", "--set", "text={{ word }}!", "--format", "jsonl")
    assert code == 3
    assert [orjson.loads(line)["text"] for line in out.splitlines()] == ["a!", None]
    wording.line(err)
    code, out, _ = run_command("nodes", "Return")
    assert code == 0
    assert "text" in out


def test_a_key_is_no_setting_of_a_node(folder):
    """Nor is it repeated."""
    Path("words.csv").write_text("word\na\n")
    code, _, err = run_command("call", "CreateChatCompletion", "words.csv", "--set", "apiKey=canary")
    assert code == 1
    wording(err)


def test_short_functions_are_set_on_the_command_line(folder):
    """As JSON, with the function's name."""
    Path("words.csv").write_text("word\na\n")
    functions = '[{"name": "f", "parameters": [{"name": "p", "type": "string"}]}]'
    arguments = ["call", "CreateChatCompletion", "words.csv", "--model", "m", "--prompt", "{{ word }}", "--no-key"]
    arguments += ["--set", f"functions={functions}", "--set", "function_call=f", "--set", "client_timeout=5"]
    with fault_server(answer(chat())) as server:
        code, _, _ = run_command(*arguments, "--base-url", server.url)
    body = orjson.loads(server.requests[0].body)
    assert code == 0
    assert body["function_call"] == {"name": "f"}
    assert body["functions"][0]["parameters"]["properties"] == {"p": {"type": "string"}}


def test_a_run_that_could_send_no_row_says_where_the_first_problem_stands(folder):
    """File and line, before the earlier output is touched."""
    Path("words.csv").write_text("word,number\n,1\n")
    Path("w.yaml").write_text(ROWS.replace("assitant", "user") + "output: out.csv\n")
    code, out, err = run_command("run", "w.yaml")
    assert (code, out) == (1, "")
    wording.line(err)
    assert not Path("out.csv").exists()


@pytest.mark.parametrize(("cells", "expected"), [(["a", "b"], 0), (["a", None], 3)])
def test_the_exit_code_of_a_run_is_about_every_node(folder, cells, expected):
    """Rows that an earlier node has failed for are failed rows, whatever the last one gives."""
    pd.DataFrame({"word": cells, "number": [1, 2]}).to_csv("words.csv", index=False)
    nodes = {"said": tn.Return(text="{{ word }}"), "aside": tn.Return(text="{{ number }}")}
    tn.Workflow(nodes, table="words.csv").save("w.yaml")
    code, out, err = run_command("run", "w.yaml", "--format", "jsonl")
    assert code == expected
    assert [orjson.loads(line)["aside"] for line in out.splitlines()] == ["1", "2"]
    assert ("1 invalid_request" in err) == (expected == 3)


# --- a table and an output that do not fit together ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_a_table_that_the_output_cannot_hold_is_refused_before_anything_is_sent(tmp_path, name):
    """Whatever kind of table it is; a column that holds bytes is for Parquet."""
    table = pa.table({"word": ["a"], "b": [b"x"]})
    with fault_server(answer(chat())) as server:
        workflow = tn.Workflow({"ask": ASK}, connection=tn.Connection(server.url), output=tmp_path / name)
        with wording.raises(TableError):
            workflow.run(table, progress=False)
        with wording.raises(TableError):
            workflow.check(table)
        assert server.requests == []
        workflow.replace(output=tmp_path / "out.parquet").run(table, progress=False)
    assert pd.read_parquet(tmp_path / "out.parquet")["b"].tolist() == [b"x"]
