"""Which rows a command works on, what they are asked from a file, and which columns are written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import orjson
import pytest
from sentences import wording
from servers import answer, fault_server

from tablenodes.cli import main
from tablenodes.run.display import place_of

WORKFLOW = """\
table: words.csv
inputs: {language: de}
nodes:
  - {id: ask, type: CreateChatCompletion, model: m, prompt: "{{ word }}"}
  - {id: again, type: CreateChatCompletion, model: m, prompt: "{{ ask }}", when: n | int > 2}
  - {id: alone, type: Return, text: "{{ word }}"}
"""


def shout(exchange):
    """Answer with the prompt in capitals."""
    prompt = orjson.loads(exchange.received.body)["messages"][-1]["content"]
    message = {"role": "assistant", "content": prompt.upper()}
    answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})(exchange)


@pytest.fixture(scope="module")
def server():
    with fault_server(shout) as running:
        yield running


@pytest.fixture
def command(capsys, tmp_path, monkeypatch, server):
    """Runs a command on a table, in its folder; gives its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    Path("words.csv").write_text("word,lang,n,status\na,de,1,x\nb,en,2,x\nc,de,3,x\nd,,4,x\n")
    Path("w.yaml").write_text(WORKFLOW)
    del server.requests[:]

    def run(name, *arguments):
        given = {"call": ["CreateChatCompletion", "words.csv", "--model", "m"], "run": ["w.yaml"], "check": ["w.yaml"]}
        sent = [] if name == "check" else ["--base-url", server.url, "--no-key", "--no-progress"]
        with pytest.raises(SystemExit) as ended:
            main([name, *given[name], *sent, *map(str, arguments)])
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


def rows_of(text):
    return [*csv.DictReader(io.StringIO(text))]


ASK = ("--prompt", "{{ word }}")


@pytest.mark.parametrize(
    ("rows", "words"), [("2", "ab"), ("0", ""), ("1:3", "bc"), (":1", "a"), ("2:", "cd"), ("3:9", "d"), ("2:2", None)]
)
def test_rows_are_those_of_a_slice(command, server, rows, words):
    """The first is row 0, as in every message."""
    code, out, _ = command("call", *ASK, "--rows", rows)
    assert (code, [row["word"] for row in rows_of(out)]) == ((0, [*words]) if words is not None else (1, []))
    assert len(server.requests) == len(words or "")


def test_rows_keep_their_numbers(command):
    """In what a run says and logs, a check, and the requests of a preview."""
    Path("words.csv").write_text("word,lang,n\na,de,1\nb,en,1\n,de,1\nd,de,1\n")
    code, _, err = command("call", *ASK, "--rows", "1:4", "-o", "out.csv", "--log", "log.csv")
    assert (code, err.count("(first at row 2, rows count from 0)")) == (3, 1)
    assert [(row["row"], row["outcome"]) for row in rows_of(Path("log.csv").read_text())] == [
        ("1", "ok"), ("2", "invalid_request"), ("3", "ok"),
    ]  # fmt: skip
    assert "\nrow 2, column word: " in command("call", *ASK, "--rows", "1:4", "--check")[1]
    shown = command("call", *ASK, "--rows", "1:4", "--dry-run")[1].splitlines()
    assert [line[:7] for line in shown if line.startswith("# row")] == ["# row 1", "# row 2", "# row 3"]
    assert "row 0" not in command("call", "--prompt", "{{ word }}", "--rows", "2:3")[2]
    wording(command("run", "--rows", "2:4", "--log", "log.csv")[2])
    assert [row["row"] for row in rows_of(Path("log.csv").read_text())] == ["2", "3"] * 3
    assert place_of(0) == 0  # a command leaves nothing behind


@pytest.mark.parametrize("rows", ["", ":-1", "a", "1:2:3", "9:"])
def test_rows_that_are_none_are_one_line(command, server, rows):
    """And nothing is sent."""
    code, out, err = command("call", *ASK, "--rows", rows)
    assert (code, out, server.requests) == (1 if rows == "9:" else 2, "", [])
    wording.line(err)


@pytest.mark.parametrize("expression", ["lang == 'de'", "{{ lang == 'de' }}"], ids=["bare", "in braces"])
def test_rows_that_do_not_match_are_skipped(command, server, expression):
    """They stay in the table, and are no failure; an empty cell has to be met, as everywhere."""
    code, out, _ = command("call", *ASK, "--where", expression, "--rows", "3")
    rows = rows_of(out)
    assert code == 0
    assert [(row["answer"], row["outcome"]) for row in rows] == [("A", "ok"), ("", "skipped"), ("C", "ok")]
    assert len(server.requests) == 2
    wording(rows[1]["message"])
    assert command("call", *ASK, "--where", expression)[0] == 3
    assert command("call", *ASK, "--where", "lang | default('') == 'de'")[0] == 0


def test_where_all_rows_are_skipped_it_is_said_by_what(command):
    """By the option, or by the workflow; a quiet run says nothing."""
    wording(command("call", *ASK, "--where", "lang == 'fr'", "--rows", "1:3")[2])
    assert command("call", *ASK, "--where", "lang == 'fr'", "--rows", "1:3", "-q")[::2] == (0, "")
    wording.line(command("run", "--rows", "2")[2], like="all, ")


def test_in_a_workflow_no_node_runs_for_the_other_rows(command, server):
    """Beside what each node says itself; an input may decide."""
    where = "lang | default('') == inputs.language"
    code, out, _ = command("run", "--where", where, "--columns", "word,ask_outcome,again_outcome,alone")
    wanted = [
        ["a", "ok", "skipped", "a"],
        ["b", "skipped", "skipped", ""],
        ["c", "ok", "ok", "c"],
        ["d", *["skipped"] * 2, ""],
    ]
    assert (code, [[*row.values()] for row in rows_of(out)]) == (0, wanted)
    assert len(server.requests) == 3
    wording.line(command("check", "--where", where)[1].partition("\n")[0])


@pytest.mark.parametrize(
    "expression", ["langg == 'de'", "lang ==", "", "{{ lang }} x", "inputs.x", "outputs.ask.status"]
)
@pytest.mark.parametrize("name", ["call", "run"])
def test_what_is_no_expression_of_the_table_is_one_line(command, server, name, expression):
    """With the nearest name; nothing is sent."""
    code, out, err = command(name, *(ASK if name == "call" else ()), "--where", expression)
    assert (code, out, server.requests) == (1, "", [])
    wording(err)


@pytest.mark.parametrize(
    "expression",
    [
        *("word like '%a%'", "word NOT LIKE 'a%' AND n <> '2'", "word =", "n = 1", "no word"),
        *("word lik 'a'", "word | lik", "{{ word like 'a' }}"),
    ],
)
def test_an_expression_that_cannot_be_read_is_said_as_it_was_written(command, server, expression):
    """Without the braces that nobody wrote, and with what stands here for SQL."""
    code, _, err = command("call", *ASK, "--where", expression)
    assert (code, server.requests) == (1, [])
    wording(err)


@pytest.mark.parametrize("expression", ["n > 1", "n == 1", "word | int > 1"])
def test_why_an_expression_has_no_value_begins_with_its_option(command, server, expression):
    """No row is passed over in silence."""
    code, _, err = command("call", *ASK, "--where", expression, "--rows", "3")
    assert (code, server.requests) == (1, [])
    wording(err)


@pytest.mark.parametrize(
    "form", [[], ["--format", "jsonl"], ["--output", "out.csv"], ["--output", "out.jsonl"]], ids=" ".join
)
def test_columns_are_chosen_and_in_this_order(command, form):
    """Those of the answers too, by the names that the table has them by."""
    code, out, _ = command("call", *ASK, "--columns", "status_2, answer,word", "--rows", "1", *form)
    text = Path(form[1]).read_text() if "--output" in form else out
    assert code == 0
    made = [json.loads(text)] if "jsonl" in " ".join(form) else rows_of(text)
    assert [[*row.items()] for row in made] == [
        [("status_2", 200 if isinstance(made[0]["status_2"], int) else "200"), ("answer", "A"), ("word", "a")]
    ]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [["answr"], ["answer,answer"], [""], ["answer", "--raw"], ["['answer'"], ["word,answr", "-o", "out.csv"]],
    ids=" ".join,
)
def test_columns_that_will_not_be_there_are_refused(command, server, monkeypatch, arguments, terminal):
    """With the nearest name, before anything is sent, whoever looks."""
    monkeypatch.setattr("tablenodes.cli.presentation.is_terminal", lambda: terminal)
    code, out, err = command("call", *ASK, "--columns", *arguments)
    assert (code, out, server.requests) == (1, "", [])
    wording.line(err)


def test_a_terminal_shows_the_columns_that_were_chosen(command, monkeypatch):
    """No others."""
    monkeypatch.setattr("tablenodes.cli.presentation.is_terminal", lambda: True)
    assert command("call", *ASK, "--columns", "answer", "--rows", "1")[1] == "answer\nA\n"


def test_a_prompt_and_a_system_message_are_read_from_files(command, server):
    """As they are, but for returns, the last line's end and a mark at the beginning; two @ begin a text with one."""
    Path("prompt.txt").write_bytes(b"\xef\xbb\xbfRead:\r\n\n{{ word }}\n")
    Path("system.txt").write_text("@ is said\n\n")
    command("call", "--prompt", "@prompt.txt", "--system", "@system.txt", "--rows", "1")
    command("call", "--prompt", "@@{{ word }}", "--system", "a@b", "--rows", "1")
    sent = [[each["content"] for each in orjson.loads(each.body)["messages"]] for each in server.requests]
    assert sent == [["@ is said\n", "Read:\n\na"], ["a@b", "@a"]]


@pytest.mark.parametrize("text", ["@none.txt", "@", "@.", "@bytes.txt", "@a\0b"])
def test_a_file_that_cannot_be_read_is_one_line(command, server, text):
    """With how to begin a text with that sign."""
    Path("bytes.txt").write_bytes(b"\xff\xfe")
    code, out, err = command("call", "--prompt", text)
    assert (code, out, server.requests) == (1, "", [])
    wording.line(err)
