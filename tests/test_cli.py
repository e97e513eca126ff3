"""The command line: tables to the standard output or a file, words to the standard error stream, errors in one line."""

from __future__ import annotations

import csv
import gc
import io
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import orjson
import pandas as pd
import pytest
from sentences import wording
from servers import Exchange, answer, echo, fault_server, interrupting

import tablenodes as tn
from tablenodes.cli import printout as printing
from tablenodes.cli.complaints import worded
from tablenodes.cli.run_commands import connected
from tablenodes.connection.endpoint import opened
from tablenodes.errors import ConnectionSettingError
from tablenodes.nodes.node import setting_names

WORKFLOW = """\
connection: {{base_url: "{url}"}}
table: words.csv
inputs: {{verb: say, times: 1}}
nodes:
  - id: ask
    type: CreateChatCompletion
    model: m
    prompt: "{{{{ inputs.verb }}}} {{{{ word }}}}"
output: out.csv
"""


def shout(exchange: Exchange) -> None:
    """Answer with the prompt in capitals; a prompt with ``bad`` is refused, in words that repeat it."""
    prompt = orjson.loads(exchange.received.body)["messages"][-1]["content"]
    if "bad" in prompt:
        answer({"error": {"message": f"canary {prompt}", "type": "no", "code": "bad_word"}}, 400)(exchange)
        return
    message = {"role": "assistant", "content": prompt.upper()}
    answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})(exchange)


@pytest.fixture
def server():
    with fault_server(shout) as running:
        yield running


@pytest.fixture
def folder(tmp_path, monkeypatch, server):
    """A folder with a workflow and its table, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    Path("w.yaml").write_text(WORKFLOW.format(url=server.url))
    Path("words.csv").write_text("word,n\na,1\nb,2\n")
    return tmp_path


# --- run -------------------------------------------------------------------------------------------------------------


def test_run_writes_the_table_and_shows_it(folder, command):
    """The file is written, said to be, and its first rows are shown aligned."""
    code, out, err = command("run", "w.yaml")
    assert code == 0
    assert (
        Path("out.csv").read_text()
        == "word,n,ask,ask_status,ask_outcome,ask_message\na,1,SAY A,200,ok,\nb,2,SAY B,200,ok,\n"
    )
    assert out.splitlines() == [
        "word  n  ask    ask_status  ask_outcome  ask_message",
        "a     1  SAY A         200  ok",
        "b     2  SAY B         200  ok",
    ]
    wording.line(err)
    wording.line(err)


def test_the_same_command_again_asks_nothing(folder, command, server):
    """A journal beside the output has every answer; the output is the same."""
    command("run", "w.yaml")
    first = Path("out.csv").read_bytes()
    code, _, err = command("run", "w.yaml")
    assert (code, len(server.requests), Path("out.csv").read_bytes()) == (0, 2, first)
    wording.line(err)
    assert Path("out.csv.journal").exists()


def test_failed_rows_of_the_journal_are_sent_again_as_asked(folder, command, server):
    """``--retry-failed all`` asks again what the server has refused."""
    Path("words.csv").write_text("word\nbad\n")
    assert command("run", "w.yaml")[0] == 3
    assert command("run", "w.yaml")[0] == 3
    assert len(server.requests) == 1
    assert command("run", "w.yaml", "--retry-failed", "all")[0] == 3
    assert len(server.requests) == 2
    code, _, err = command("run", "w.yaml", "--retry-failed", "some")
    assert code == 2
    wording.line(err)


def test_options_go_before_the_file(folder, command):
    """Table, inputs, output and format."""
    Path("t.jsonl").write_text('{"word": "c"}\n')
    arguments = [
        "run",
        "w.yaml",
        "--table",
        "t.jsonl",
        "--input",
        "verb=sing",
        "--output",
        "o.jsonl",
        "--raw",
    ]
    assert command(*arguments)[0] == 0
    written = json.loads(Path("o.jsonl").read_text())
    assert set(written) == {"body", "status"}
    assert "SING C" in written["body"]
    assert not Path("out.csv").exists()


def test_a_file_keeps_its_format_when_only_the_path_changes(folder, command):
    """``raw: true`` holds for another output too, unless the command line says otherwise."""
    Path("w.yaml").write_text(Path("w.yaml").read_text().replace("out.csv", "{path: out.csv, raw: true}"))
    command("run", "w.yaml", "--output", "o.csv")
    assert Path("o.csv").read_text().startswith("body,status\n")
    _, out, _ = command("run", "w.yaml", "--output", "-")
    assert out.startswith("body,status\n")


@pytest.mark.parametrize("options", [["--output", "-"], []])
def test_the_standard_output_gets_the_table_alone(folder, command, options):
    """As CSV, for a pipe; every word goes to the standard error stream, and no journal is kept."""
    if not options:
        Path("w.yaml").write_text(Path("w.yaml").read_text().replace("output: out.csv\n", ""))
    code, out, err = command("run", "w.yaml", *options)
    assert (code, out) == (0, "word,n,ask,ask_status,ask_outcome,ask_message\na,1,SAY A,200,ok,\nb,2,SAY B,200,ok,\n")
    wording.line(err)
    assert [path.name for path in folder.iterdir() if "journal" in path.name or path.name.startswith("out")] == []


def test_json_lines_go_to_the_standard_output(folder, command):
    """One object a row."""
    _, out, _ = command("run", "w.yaml", "--output", "-", "--format", "jsonl", "--rows", "1")
    assert [json.loads(line)["ask"] for line in out.splitlines()] == ["SAY A"]
    code, _, err = command("run", "w.yaml", "--format", "jsonl")
    assert code == 2
    wording.line(err)


def test_a_person_sees_the_first_rows(folder, command, monkeypatch):
    """In a terminal, without an output, the table is shown; the rest is counted."""
    Path("words.csv").write_text("word\n" + "".join(f"w{i}\n" for i in range(30)))
    monkeypatch.setattr(printing, "is_terminal", lambda: True)
    monkeypatch.setattr("tablenodes.cli.presentation.is_terminal", lambda: True)
    _, out, _ = command("call", "CreateChatCompletion", "words.csv", "--prompt", "{{ word }}", *connection(folder))
    lines = out.splitlines()
    assert lines[1].split() == ["w0", "W0", "200", "ok"]
    assert len(lines) == 27
    wording(lines[-1])


def test_words_for_one_are_singular(folder, command, monkeypatch):
    """``1 row``."""
    Path("words.csv").write_text("word\n" + "".join(f"w{i}\n" for i in range(6)))
    wording(command("run", "w.yaml")[1].splitlines()[-1])
    Path("out.csv").unlink()
    wording.line(command("run", "w.yaml", "--rows", "1")[2])


def test_a_named_output_is_the_only_one_but_for_a_person(folder, command, monkeypatch):
    """Of ``--output``, nothing goes into a pipe; a workflow's own output is shown there too."""
    called = ["call", "CreateChatCompletion", "words.csv", "--prompt", "{{ word }}", *connection(folder)]
    for arguments in (["run", "w.yaml"], called):
        code, out, err = command(*arguments, "-o", "o.csv")
        assert (code, out) == (0, "")
        wording.line(err)
    assert len(command("run", "w.yaml")[1].splitlines()) == 3
    monkeypatch.setattr("tablenodes.cli.presentation.is_terminal", lambda: True)
    for arguments in (["run", "w.yaml"], called):
        assert len(command(*arguments, "-o", "o.csv")[1].splitlines()) == 3


@pytest.mark.parametrize("options", [[], ["-o", "out.csv"], ["-o", "-"]])
def test_nothing_is_written_when_no_row_can_be_sent(folder, command, server, options):
    """Exit code 1, and why, in one line; a good output stays as it is."""
    Path("out.csv").write_text("good")
    Path("words.csv").write_text("word,n\n,1\n,2\n")
    code, out, err = command("run", "w.yaml", "--no-progress", *options)
    assert (code, out, server.requests, Path("out.csv").read_text()) == (1, "", [], "good")
    (line,) = err.splitlines()
    wording(line)


def connection(folder):
    url = Path("w.yaml").read_text().split('"')[1]
    return ["--base-url", url, "--model", "m"]


def test_only_the_first_rows_are_taken(folder, command, server):
    """To try something out."""
    assert command("run", "w.yaml", "--rows", "1")[0] == 0
    assert len(server.requests) == 1
    assert Path("out.csv").read_text().count("\n") == 2
    assert command("run", "w.yaml", "--rows", "0", "--output", "none.csv")[0] == 0
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_an_earlier_output_that_is_replaced_is_said_with_its_rows(folder, command, name):
    """A trial with ``--rows`` in the place of a whole run is seen; a line break in a cell is no row."""
    Path("words.csv").write_text('word\n"a\nb"\nb\nc\n')
    wording.line(command("run", "w.yaml", "-o", name)[2])
    err = command("run", "w.yaml", "-o", name, "--rows", "2")[2]
    wording.line(err)


def test_an_earlier_output_whose_rows_cannot_be_counted_is_said_too(folder, command, monkeypatch):
    """It may be anything, and long."""
    Path("out.parquet").write_text("no Parquet")
    wording.line(command("run", "w.yaml", "-o", "out.parquet")[2])
    monkeypatch.setattr("tablenodes.tables.table_files._COUNTED", 10)
    Path("out.csv").write_text("word,n\na,1\n")
    wording.line(command("run", "w.yaml")[2])


@pytest.mark.parametrize(
    "options", [["-o", "out.csv"], ["-o", "out.jsonl"], ["-o", "-"], ["-o", "-", "--format", "jsonl"]]
)
@pytest.mark.parametrize("rows", [[], ["--rows", "1"]])
def test_a_table_that_the_output_cannot_hold_is_refused_before_anything_is_sent(folder, command, server, options, rows):
    """Else its answers are paid for, and are nowhere."""
    pd.DataFrame({"word": ["a"], "b": [b"x"]}).to_parquet("t.parquet")
    code, out, err = command("run", "w.yaml", "--table", "t.parquet", *options, *rows)
    assert (code, out, len(server.requests)) == (1, "", 0)
    wording.line(err)


@pytest.mark.parametrize("options", [["-o", "out.parquet"], ["-o", "out.csv", "--raw"]])
def test_a_column_that_the_output_holds_or_leaves_out_is_no_fault(folder, command, options):
    """Parquet holds bytes, and the raw table has no column of the table."""
    pd.DataFrame({"word": ["a"], "b": [b"x"]}).to_parquet("t.parquet")
    assert command("run", "w.yaml", "--table", "t.parquet", *options)[0] == 0


def test_check_finds_what_the_output_cannot_hold(folder, command):
    """With the line of the output in the workflow's file."""
    pd.DataFrame({"word": ["a"], "b": [b"x"]}).to_parquet("t.parquet")
    code, _, err = command("check", "w.yaml", "--table", "t.parquet")
    assert code == 1
    wording(err)


def test_a_journal_that_is_the_table_is_refused_without_an_output_too(folder, command, server):
    """Whatever is printed."""
    code, _, err = command("run", "w.yaml", "-o", "-", "--journal", "words.csv")
    assert (code, len(server.requests)) == (1, 0)
    wording.line(err)


def test_an_index_of_a_file_that_has_a_name_is_a_column(folder, command):
    """It looks like one in every viewer, and stands in the output once."""
    pd.DataFrame({"n": [1, 2]}, index=pd.Index(["a", "b"], name="word")).to_parquet("t.parquet")
    assert command("run", "w.yaml", "--table", "t.parquet")[0] == 0
    assert (
        Path("out.csv").read_text()
        == "word,n,ask,ask_status,ask_outcome,ask_message\na,1,SAY A,200,ok,\nb,2,SAY B,200,ok,\n"
    )


def test_a_column_that_is_written_as_text_is_named(folder, command):
    """Parquet has one type a column."""
    Path("t.jsonl").write_text('{"word": "a", "m": 1}\n{"word": "b", "m": "x"}\n')
    err = command("run", "w.yaml", "--table", "t.jsonl", "-o", "out.parquet")[2]
    wording.line(err)
    assert "'word'" not in err


def test_some_rows_that_fail_make_another_exit_code(folder, command):
    """3; and for each kind of failure the first row and why, in the server's words."""
    Path("words.csv").write_text("word\na\nbad\n\n")
    code, _, err = command("run", "w.yaml")
    assert code == 3
    wording.line(err)
    wording.line(err)
    assert "canary" in err


def test_a_failure_without_words_has_its_status(folder, command, server):
    """Whatever the body is."""
    Path("words.csv").write_text("word\na\n")
    with fault_server(answer("<html>canary</html>", 404)) as other:
        code, _, err = command("run", "w.yaml", "--base-url", other.url)
    assert code == 3
    wording.line(err)


def test_limits_are_set_for_a_run(folder, command, server):
    """Requests that may be sent, and how many at a time."""
    code, _, err = command("run", "w.yaml", "--max-requests", "1", "--concurrency", "1", "--no-progress")
    assert (code, len(server.requests)) == (3, 1)
    wording.line(err)


def test_rows_refused_alike_stop_a_run_after_as_many_as_are_said(folder, command):
    """Two, and three from further on."""
    Path("words.csv").write_text("word\n" + "a\n" * 30)
    with fault_server(answer('{"error": {"message": "no", "code": "unsupported_value"}}', 400)) as other:
        code, _, err = command("run", "w.yaml", "--base-url", other.url, "--stop-after-alike", "2", "-c", "1")
        assert (code, len(other.requests)) == (3, 5)
    assert "stopped  alike" in err


def test_all_nodes_of_a_run_share_its_limits(folder, command, server):
    """With a journal and without one."""
    text = Path("w.yaml").read_text()
    second = text.partition("  - id: ask")[2].partition("output:")[0]
    Path("w.yaml").write_text(text.replace("output:", f"  - id: again{second}output:"))
    for options in ([], ["--output", "-"]):
        before = len(server.requests)
        code, _, err = command("run", "w.yaml", "--max-requests", "3", *options)
        assert (code, len(server.requests) - before) == (3, 3)
        wording.line(err)
        wording.line(err)


def test_tokens_of_all_nodes_count(folder, server):
    """A budget is for the whole run."""
    workflow = tn.Workflow.load("w.yaml")
    ask = workflow._steps[0][1]
    with fault_server(echo()) as other:  # each answer uses two tokens
        out = workflow.replace(nodes={"a": ask, "b": ask}, output=None).run(
            connection=tn.Connection(other.url), limits=tn.Limits(concurrency=1, token_budget=5), progress=False
        )
    assert [output.summary.ok for output in out.values()] == [2, 1]


# --- what is wrong ---------------------------------------------------------------------------------------------------

WRONG = {
    "no file": ["run", "x.yaml"],
    "no table": ["run", "w.yaml", "--table", "word.csv"],
    "column": ["run", "w.yaml", "--table", "other.csv"],
    "yaml": ["run", "bad.yaml"],
    "input": ["run", "w.yaml", "--input", "verp=x"],
    "input type": ["run", "w.yaml", "--input", "times=x"],
    "key": ["run", "w.yaml", "--base-url", "https://example.com/v1"],
    "key of the environment": ["call", "CreateChatCompletion", "words.csv", "--model", "m", "--prompt", "x"],
    "key over http": ["run", "w.yaml", "--base-url", "http://example.com/v1", "--api-key-env", "CANARY_KEY"],
    "key variable": ["run", "w.yaml", "--api-key-env", "CANARY_KE"],
    "output is the table": ["run", "w.yaml", "-o", "words.csv"],
    "output is the table, some rows": ["run", "w.yaml", "-o", "words.csv", "--rows", "1"],
    "output folder": ["run", "w.yaml", "-o", "no/out.csv"],
    "output ending": ["run", "w.yaml", "-o", "out.txt"],
    "journal is the table": ["run", "w.yaml", "--journal", "words.csv"],
    "journal is the output": ["run", "w.yaml", "--journal", "./out.csv"],
    "journal is something else": ["run", "w.yaml", "--journal", "other.csv"],
    "node": ["call", "CreateChatCompletions", "words.csv"],
    "setting": ["call", "CreateChatCompletion", "words.csv", "-s", "temprature=0"],
    "not json": ["call", "CreateChatCompletion", "words.csv", "-s", "messages=[{"],
    "extra": ["call", "CreateChatCompletion", "words.csv", "-s", "extra_body=x"],
    "operation": ["schema", "create_chat"],
    "revision": ["schema", "--revision", "openai-2026"],
    "property": ["schema", "create_completion", "-p", "temp"],
    "unknown node": ["nodes", "Chat"],
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_line(folder, command, server, monkeypatch, name):
    """Exit code 1, what is wrong and what to do, no traceback, nothing sent and nothing printed."""
    monkeypatch.setenv("CANARY_KEY", "sk-canary")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    Path("bad.yaml").write_text("nods: []\n")
    Path("other.csv").write_text("wort\nx\n")
    if name == "unknown node":
        gc.collect()  # the nodes of other tests, which nobody holds any more, are not listed
    code, out, err = command(*WRONG[name])
    assert (code, out) == (1, "")
    lines = [line for line in err.splitlines() if "request setting" not in line and "no node reads it" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("tablenodes: error: ")
    wording(lines[0], why=re.compile(r"(?<=at character \d: )[^;]*"))  # in orjson's words
    assert "sk-canary" not in err
    assert not any(argument in err for argument in ("api_key=", "api_key_env=", "=True"))
    assert server.requests == []
    assert Path("words.csv").read_text() == "word,n\na,1\nb,2\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["ran", "w.yaml"],
        ["run", "w.yaml", "--no-such"],
        ["run", "w.yaml", "--input", "verb"],
        ["run", "w.yaml", "--input", "=x"],
        ["run", "w.yaml", "-i", "verb=x", "-i", "verb=y"],
        ["run", "w.yaml", "--local", "--base-url", "http://127.0.0.1"],
        ["run", "w.yaml", "--local", "--no-key"],
        ["run", "w.yaml", "--no-key", "--api-key-env", "A_KEY"],
        ["run", "w.yaml", "--format", "cvs"],
        ["run", "w.yaml", "--rows", "-1"],
        ["run", "w.yaml", "--concurrency", "0"],
        ["run", "w.yaml", "-c", "10001"],
        ["call", "CreateCompletion", "words.csv", "--max-requests", "-1"],
        ["call", "CreateCompletion", "words.csv", "--model", "m", "--set", "model=m"],
    ],
)
def test_bad_usage_has_its_own_exit_code(folder, command, arguments):
    """2, in one line, with the way to help."""
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("tablenodes: error: ")
    assert err.endswith(" --help\n")
    assert err.count("\n") == 1
    wording(err)


def test_a_command_alone_shows_its_help_as_bad_usage(command):
    """On the standard error stream; every command is listed, in the order of a day's work."""
    for arguments in ([], ["model"]):
        code, out, err = command(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"Usage: {' '.join(['tablenodes', *arguments])} [OPTIONS] COMMAND [ARGS]...\n")
    names = [line.split()[0] for line in command()[2].partition("Commands:\n")[2].splitlines() if line[2:3].strip()]
    assert names[:15] == [
        "run",
        "check",
        "call",
        "sample",
        "submit",
        "retrieve",
        "store",
        "worker",
        "connections",
        "nodes",
        "schema",
        "graph",
        "convert",
        "journal",
        "model",
    ]


@pytest.mark.parametrize("arguments", [["run", "w.yaml", "--api-key", "sk-canary"], ["call", "--api-key=sk-canary"]])
def test_a_key_is_never_an_argument(command, arguments):
    """It would stand in the list of processes; the refusal names what to do and does not repeat it."""
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    wording.line(err)
    assert "canary" not in err


def test_what_follows_two_hyphens_is_no_option(folder, command):
    """A file may have any name."""
    code, _, err = command("run", "--", "--api-key")
    assert code == 1
    wording.line(err)


def test_ctrl_c_at_any_time_is_quiet(folder, command, monkeypatch):
    """130 and one line, also before there is anything to show."""

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tn.Workflow, "load", stopped)
    assert command("run", "w.yaml") == (130, "", "tablenodes: interrupted\n")


def test_ctrl_c_shows_what_there_is(folder, command, monkeypatch):
    """In process as well: the table so far, how to go on, 130."""
    Path("words.csv").write_text("word\n" + "w\n" * 9)
    with fault_server(interrupting(shout, 3)) as server:
        code, out, err = command("run", "w.yaml", "--base-url", server.url, "--concurrency", "1")
    assert (code, out.count("\n")) == (130, 7)
    wording.line(err)
    wording.line(err)


def test_a_closed_pipe_is_no_error(monkeypatch):
    """What is left to print goes nowhere."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with printing.quiet_pipe():
            print("x" * 100_000)
        print("x" * 100_000, flush=True)
        assert os.path.samestat(os.fstat(pipe.fileno()), os.stat(os.devnull))


def test_nothing_moves_the_terminals_cursor(folder, command):
    """Control characters of cells, names and messages are shown, not obeyed."""
    Path("words.csv").write_text('word\n"\x1b[31mred\rx\ny"\n')
    _, out, _ = command("run", "w.yaml")
    assert "\\x1b[31mred\\x0dx⏎y" in out
    assert "\x1b" not in out
    _, _, err = command("run", "\x1b[31m\nx.yaml")
    assert err.count("\n") == 1
    assert "\x1b" not in err


# --- the connection --------------------------------------------------------------------------------------------------


def connected_over(connection, **options):
    nothing = dict.fromkeys(("profile", "base_url", "api_key_env", "local", "no_key"))
    return connected(connection, SimpleNamespace(**nothing | options))


def test_a_key_for_one_address_does_not_go_to_another():
    """``--base-url`` leaves the workflow's key and headers behind, and keeps how it is connected."""
    own = tn.Connection("https://a.de/v1", api_key_env="A_KEY", headers={"X-Key": "secret"}, timeout=5)
    assert connected_over(own, base_url="https://b.de/v1") == tn.Connection("https://b.de/v1", timeout=5)
    assert connected_over(own, api_key_env="B_KEY") == tn.Connection(
        "https://a.de/v1", api_key_env="B_KEY", headers={"X-Key": "secret"}, timeout=5
    )
    assert connected_over(own) is own
    assert connected_over(own, local=True) == tn.Connection.local()
    assert connected_over(tn.Connection.local(), base_url="https://b.de/v1") == tn.Connection("https://b.de/v1")
    assert connected_over(tn.Connection.from_profile("azure"), base_url="https://b.de/v1") == tn.Connection(
        "https://b.de/v1"
    )


def test_the_key_comes_from_the_variable_that_is_named(folder, command, server, monkeypatch):
    """And from nowhere else."""
    monkeypatch.setenv("MY_KEY", "sk-mine")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    command("run", "w.yaml", "--api-key-env", "MY_KEY")
    command("run", "w.yaml", "--output", "-")
    assert [received.headers.get("authorization") for received in server.requests] == ["Bearer sk-mine"] * 2 + [
        None
    ] * 2


def test_who_has_no_key_is_told_how_to_send_none():
    """In the words of the command line."""
    with pytest.raises(ConnectionSettingError) as refused, opened(tn.Connection("http://gpu-box:8000/v1"), {}):
        pass
    wording.line(worded(refused.value))


def test_a_server_without_keys_gets_none(folder, command, server, monkeypatch):
    """``--no-key``, with another address or the file's own, whatever the environment holds."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    called = ["call", "CreateChatCompletion", "words.csv", "--model", "m", "--prompt", "x"]
    assert command(*called)[0] == 0
    assert {"authorization" in request.headers for request in server.requests} == {True}
    server.requests.clear()
    for arguments in (called, [*called, "--base-url", server.url], ["run", "w.yaml"]):
        assert command(*arguments, "--no-key")[0] == 0
    assert len(server.requests) == 6
    assert {"authorization" in request.headers for request in server.requests} == {False}
    made = connected_over(None, base_url="http://gpu-box:8000/v1", no_key=True)
    assert made == tn.Connection("http://gpu-box:8000/v1", "")


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_sends_nothing(folder, command, server):
    """It says what would be sent and why not; exit code 1 where rows are invalid."""
    code, out, err = command("check", "w.yaml")
    assert (code, err) == (0, "")
    wording.line(out)
    Path("words.csv").write_text("word\na\n\n")
    code, out, _ = command("check", "w.yaml", "--input", "verb=sing", "--local")
    assert code == 1
    wording.line(out)
    wording.line(out)
    wording(out.splitlines()[-1])
    assert command("check", "w.yaml", "--rows", "1")[0] == 0
    assert server.requests == []


def test_check_says_what_was_perhaps_not_meant(folder, command):
    """Such as braces where no placeholder is read, and an input that no node reads."""
    Path("w.yaml").write_text(
        Path("w.yaml").read_text().replace("    model: m\n", '    model: m\n    metadata: {"{{ n }}": x}\n')
    )
    code, out, _ = command("check", "w.yaml")
    assert code == 0
    wording([line.partition("holds")[0] for line in out.splitlines() if "warning: " in line])


# --- call ------------------------------------------------------------------------------------------------------------


def test_call_runs_one_node(folder, command, server):
    """Settings are typed by the schema, placeholders filled in."""
    messages = '[{"role": "system", "content": "x"}, {"role": "user", "content": "hi {{ word }}"}]'
    settings = ["temperature=0", "max_tokens={{ n }}", 'stop=["a", "b"]', "stream=false", f"messages={messages}"]
    settings += ['extra_body={"top_k": 1}', "columns=", "schema=openai-2024-05"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    code, out, _ = command("call", "CreateChatCompletion", "words.csv", *connection(folder), *arguments)
    assert code == 0
    assert [row["answer"] for row in csv.DictReader(io.StringIO(out))] == ["HI A", "HI B"]
    assert sorted((orjson.loads(r.body) for r in server.requests), key=lambda body: body["max_tokens"])[1] == {
        "model": "m",
        "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "hi b"}],
        "temperature": 0,
        "max_tokens": 2,
        "stop": ["a", "b"],
        "stream": False,
        "top_k": 1,
    }


def test_a_text_that_looks_like_json_stays_one_where_it_may(folder, command, server):
    """A prompt is a text; a stop that is no JSON array is a text too."""
    arguments = ["--prompt", '["{{ word }}"]', "--system", "{x}", "--set", "stop=[a", "--set", "columns=auto"]
    command("call", "CreateChatCompletion", "words.csv", *connection(folder), "--rows", "1", *arguments)
    body = orjson.loads(server.requests[0].body)
    assert [message["content"] for message in body["messages"]] == ["{x}", '["a"]']
    assert body["stop"] == "[a"


@pytest.mark.parametrize("names", ["seed,n", "seed, n, ", '["seed","n"]', ' [ "seed", "n" ]'])
def test_columns_are_named_with_commas_or_in_a_list(folder, command, server, names):
    """Those that are named are taken, and no others."""
    Path("words.csv").write_text("word,seed,temperature,n\na,5,1,2\n")
    arguments = ["--prompt", "{{ word }}", "--set", f"columns={names}"]
    command("call", "CreateChatCompletion", "words.csv", *connection(folder), *arguments)
    body = orjson.loads(server.requests[0].body)
    assert (body["seed"], body["n"], "temperature" in body) == (5, 2, False)


def test_columns_that_are_half_a_list_are_no_names(folder, command):
    """One line says so."""
    arguments = ["--prompt", "{{ word }}", "--set", 'columns=["seed"']
    code, _, err = command("call", "CreateChatCompletion", "words.csv", *connection(folder), *arguments)
    assert code == 1
    wording.line(err)


# --- what there is ---------------------------------------------------------------------------------------------------


def test_nodes_are_listed(command):
    """Name, request and what it does, in columns."""
    code, out, _ = command("nodes")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()]
    assert names[:2] == ["CreateChatCompletion", "CreateCompletion"]
    assert out.splitlines()[0].split(maxsplit=1)[1].split("  ")[0] == "POST /chat/completions"
    assert len({line.index(words) for line, words in zip(out.splitlines(), ("Ask", "Have"), strict=False)}) == 1


@pytest.mark.parametrize("kind", [tn.CreateChatCompletion, tn.CreateCompletion])
def test_a_node_lists_its_settings(command, kind):
    """Every setting, with type, limits and what it is."""
    _, out, _ = command("nodes", kind.__name__)
    listed = [line.split()[0] for line in out.splitlines()[3:] if not line.startswith(" ")]
    assert listed == list(setting_names(kind))
    assert "[0 to 2; default 1]" in out


def test_schemas_are_listed(command):
    """By revision."""
    _, out, _ = command("schema")
    assert "openai-2026-08  create_chat_completion" in out
    _, out, _ = command("schema", "--revision", "openai-2024-05")
    assert out == "openai-2024-05  create_chat_completion\nopenai-2024-05  create_completion\n"


def test_a_schema_is_shown(command, tmp_path):
    """An overview, one property in full, or the document itself; of a file too."""
    _, out, _ = command("schema", "create_chat_completion")
    assert "* messages" in out
    wording.line(out)
    _, out, _ = command("schema", "create_chat_completion", "--property", "reasoning_effort")
    wording.line(out)
    assert "none|minimal|low" in out
    _, out, _ = command("schema", "create_completion", "--json")
    assert json.loads(out)["required"] == ["model", "prompt"]
    _, out, _ = command("schema", "create_completion", "-p", "model", "--json")
    assert json.loads(out)["type"] == "string"
    limits = {"maxLength": 5, "default": 7}
    (tmp_path / "s.json").write_text(
        json.dumps({"properties": {"x": limits, "y": {"minLength": 2}}, "required": ["x"]})
    )
    _, out, _ = command("schema", "create_completion", "--revision", tmp_path / "s.json")
    assert [line.split() for line in out.splitlines()[2:]] == [
        ["*", "x", "any", "[at", "most", "5", "characters;", "default", "7]"],
        ["y", "any", "[at", "least", "2", "characters]"],
    ]


def test_help_and_version(command):
    """Every command has help; the exit codes stand in it."""
    _, out, _ = command("--help")
    assert "130 interrupted" in " ".join(out.split())
    for name in ("run", "check", "call", "nodes", "schema", "model"):
        assert name in out
        assert command(name, "--help")[0] == 0
    assert command("--version") == (0, f"tablenodes {tn.__version__}\n", "")


def test_the_embedded_model_is_looked_after(command, monkeypatch, tmp_path):
    """Its state, with the command to run; removing what is not there is no error."""
    monkeypatch.setenv("TABLENODES_CACHE", str(tmp_path))
    code, out, _ = command("model", "status")
    assert code == 1
    wording.line(out)
    code, _, err = command("model", "remove")
    assert code == 0
    wording.line(err)
    monkeypatch.setattr("tablenodes.local.install", lambda say, model: say("downloading"))
    code, _, err = command("model", "install")
    assert code == 0
    wording(err)
    monkeypatch.setattr("tablenodes.local.remove", lambda model: True)
    wording.line(command("model", "remove")[2])


# --- printing --------------------------------------------------------------------------------------------------------


def test_columns_line_up_whatever_the_letters():
    """Letters that take two columns or none are counted as they are shown."""
    lines = list(printing.aligned([["a", "b"], ["日本", "x"], ["é", "y"], ["", "z"]]))
    assert lines == ["a     b", "日本  x", "é     y", "      z"]


def test_the_widest_columns_are_cut_for_the_terminal():
    """The narrow ones stay whole, and nothing is cut to nothing."""
    lines = list(printing.aligned([["id", "text", "more"], ["1", "x" * 50, "日" * 30]], width=40))
    assert [printing.columns_of(line) <= 40 for line in lines] == [True, True]
    assert lines[1].startswith("1   xxxx")
    assert lines[1].count("…") == 2
    assert len(next(iter(printing.aligned([["a" * 20] * 9], width=10)))) == 8 * 9 + 2 * 8


def test_names_that_begin_alike_stay_apart_when_they_are_cut():
    """As those of the columns of a workflow's nodes."""
    names = [f"{node}_{each}" for node in ("first", "second") for each in ("stars", "status", "outcome", "message")]
    header, cells = printing.aligned([names, ["x" * 30] * len(names)], width=80)
    assert len(header.split()) == len({*header.split()}) == len(names)
    assert len(header) <= 80
    assert cells.count("xxxxxxx…") == len(names)


def test_cells_are_shown_in_one_line():
    """Text as it is, anything else as JSON, null as nothing."""
    cells = [None, "a\tb\nc", 5, 1.5, True, {"a": [1]}, object()]
    assert [printing.cell_text(cell) for cell in cells] == ["", "a b⏎c", "5", "1.5", "true", '{"a":[1]}', "?"]


def test_an_empty_table_is_shown_by_its_names(capsys):
    """There is nothing else of it."""
    printing.show_table(pd.DataFrame({"a": [], "b": []}))
    assert capsys.readouterr().out == "a  b\n"


def test_no_heavy_library_is_loaded_for_help_and_lists(folder):
    """``--help`` comes at once; pandas waits for a table, and what a call needs for it is all that it loads."""
    import subprocess

    Path("flow.yaml").write_text("tasks: [{id: a, type: io.kestra.plugin.openai.ChatCompletion, prompt: x}]\n")
    code = (
        "import json, sys\nfrom tablenodes.cli import main\nfound = []\n"
        "for arguments, unwanted in json.loads(sys.argv[1]):\n"
        "    try: main(arguments)\n    except SystemExit: pass\n"
        "    found.append(sorted({name.split('.')[0] for name in sys.modules}.intersection(unwanted)))\n"
        "print(json.dumps(found), file=sys.stderr)"
    )
    none = ["pandas", "pyarrow", "numpy", "pycurl", "rich"]
    listing = [
        (["--help"], [*none, "jinja2", "orjson", "ruamel", "jsonschema_rs"]),
        (["nodes"], none),
        (["schema", "create_completion"], none),
        (["schema", "workflow"], none),
        (["convert", "flow.yaml"], none),
    ]
    call = ["call", "CreateChatCompletion", "words.csv", "--model", "m", "--prompt", "{{ word }}", "--dry-run"]
    calling = [(call, ["ssl", "requests", "platformdirs", "jsonschema", "ruamel", "tqdm", "rich", "pycurl"])]
    for commands in (listing, calling):
        started = [sys.executable, "-c", code, json.dumps(commands)]
        done = subprocess.run(started, capture_output=True, text=True, check=True)
        assert json.loads(done.stderr.splitlines()[-1]) == [[]] * len(commands)


@pytest.mark.parametrize("option", ["--top-k", "--temperature", "--api-key", "--node", "--input"])
def test_an_option_that_is_a_setting_or_of_another_server_is_answered_with_what_to_write(folder, command, option):
    """One line; no argument is taken for an option."""
    code, _, err = command("call", "CreateChatCompletion", "t.csv", option, "5")
    assert code == 2
    wording(err)
