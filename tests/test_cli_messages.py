"""What the command line says, and does not: a log of every row, silence, details, and never a word of Python."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from sentences import wording
from servers import answer, fault_server, interrupting
from test_cli import WORKFLOW, connection, folder, server, shout  # noqa: F401 - fixtures

import tablenodes as tn
from tablenodes.notices import folded
from tablenodes.run.output import LOG_TYPES

CALL = ["call", "CreateChatCompletion", "words.csv", "--prompt", "{{ word }}"]
BROKEN = answer('{"error": {"message": "The server had an error"}}', 500)


# --- the log --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet", "log.csv.gz"])
def test_the_log_has_what_became_of_each_row(folder, command, name):  # noqa: F811
    """As ``.log`` in Python, in the format of its ending, also where rows failed."""
    Path("words.csv").write_text("word,n\na,1\nbad,2\n,3\n")
    code, _, err = command(*CALL, *connection(folder), "-o", "out.csv", "--log", name)
    log = tn.read_table(name)
    assert code == 3
    assert list(log.columns) == ["row", *LOG_TYPES]
    assert [*map(int, log["row"])] == [0, 1, 2]
    assert list(log["outcome"]) == ["ok", "http_error", "invalid_request"]
    assert list(log["message"].fillna("")) == ["", *tn.read_table("out.csv")["message"][1:]]
    assert [*map(int, log["attempts"])] == [1, 1, 0]
    wording.line(err)


def test_a_run_that_is_stopped_has_its_log(folder, command):  # noqa: F811
    """With the rows that were not sent."""
    Path("words.csv").write_text("word\n" + "w\n" * 9)
    with fault_server(interrupting(shout, 3)) as other:
        code, _, err = command("run", "w.yaml", "--base-url", other.url, "--concurrency", "1", "--log", "log.csv")
    log = tn.read_table("log.csv")
    assert code == 130
    assert list(log["outcome"]) == ["ok"] * 3 + ["not_sent"] * 6
    wording.line(err)


def test_a_workflows_log_names_the_node_and_the_row(folder, command):  # noqa: F811
    """One row for each row of each node; of a node that sends nothing, what is known."""
    again = '  - id: again\n    type: Return\n    text: "{{ ask }}"\n'
    Path("w.yaml").write_text(Path("w.yaml").read_text().replace("output:", f"{again}output:"))
    command("run", "w.yaml", "--log", "log.jsonl")
    log = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert [(each["node"], each["row"], each["outcome"]) for each in log] == [
        (node, row, "ok") for node in ("ask", "again") for row in (0, 1)
    ]
    assert {each["attempts"] for each in log} == {1, None}


@pytest.mark.parametrize("name", ["words.csv", "out.csv", "./out.csv.journal", "log.txt", "no/log.csv"])
def test_a_log_that_cannot_be_is_refused_before_anything_is_sent(folder, command, server, name):  # noqa: F811
    """No file of the run is written over."""
    code, out, err = command(*CALL, *connection(folder), "-o", "out.csv", "--log", name)
    assert (code, out, server.requests) == (1, "", [])
    wording.line(err, like="error: ", endings=re.compile(r"(?<=must end in one of ).*"))


def test_a_log_that_cannot_be_written_at_the_end_costs_no_answer(folder, command, monkeypatch):  # noqa: F811
    """The table is there, the line says what is not, and the code is no success."""

    def fill(table, path):
        if str(path) == "log.csv":
            raise tn.errors.TableError("cannot write output 'log.csv': No space left on device")
        return write(table, path)

    write = tn.tables.write_table
    monkeypatch.setattr("tablenodes.tables.write_table", fill)
    code, _, err = command(*CALL, *connection(folder), "-o", "out.csv", "--log", "log.csv")
    assert (code, Path("out.csv").read_text().count(",ok,")) == (1, 2)
    wording.line(err, like="error: ")


def test_submitted_and_retrieved_rows_have_a_log(folder, command, tmp_path):  # noqa: F811
    """The one of the ids, the other of the answers."""
    store = ["--store", tmp_path / "store"]
    command("submit", *CALL[1:], *connection(folder), "-o", "ids.csv", "--log", "first.csv", *store)
    assert list(tn.read_table("first.csv")["outcome"]) == ["submitted"] * 2
    command("retrieve", "ids.csv", "-o", "out.csv", "--log", "second.csv", "--wait", "30", *store)
    assert list(tn.read_table("second.csv").columns) == ["row", *LOG_TYPES]
    assert list(tn.read_table("second.csv")["outcome"]) == ["ok"] * 2


# --- quiet and verbose ----------------------------------------------------------------------------------------------


def test_a_quiet_run_says_errors_alone(folder, command):  # noqa: F811
    """Nothing of rows that failed, which the code tells, and no preview; the table itself where no file has it."""
    Path("words.csv").write_text("word,n,model\na,1,m\nbad,2,m\n")
    quiet = command("run", "w.yaml", "-q")
    assert quiet == (3, "", "")
    code, out, err = command("run", "w.yaml", "-q", "-o", "-")
    assert (code, out.count("\n"), err) == (3, 3, "")
    code, out, err = command("run", "w.yaml", "-q", "--table", "no.csv")
    assert (code, out, err.count("\n")) == (1, "", 1)
    code, _, err = command("run", "w.yaml", "-q", "-v")
    assert code == 2
    wording(err)


def test_a_verbose_run_says_what_is_sent_again_and_why(folder, command, monkeypatch):  # noqa: F811
    """Where requests go, how fast, what was sent again and why, in the server's words; at its end, how long it took."""
    monkeypatch.setattr("tablenodes.run.watch._OFTEN", 0.0)
    with fault_server([*[BROKEN] * 4, shout]) as other:
        code, _, err = command(*CALL, "--base-url", other.url, "--model", "m", "-v", "-o", "out.csv", "-c", "1")
    assert code == 0
    wording.line(err, like="POST", url=other.url)
    assert "after server_error (The server had an error)" in err
    wording.line(re.sub(r"[0-9.]+ s|row \d+", "{varies}", err), like="  attempt ")
    assert "took more than one" in err


def test_a_run_that_is_not_verbose_says_none_of_that(folder, command):  # noqa: F811
    """Only its end."""
    with fault_server([BROKEN, shout]) as other:
        _, _, err = command(*CALL, "--base-url", other.url, "--model", "m", "-o", "out.csv", "-c", "1")
    assert "sent again" not in err
    assert "POST" not in err


# --- the width ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [24, 60, 80, 200])
@pytest.mark.parametrize(
    "line",
    [
        "tablenodes: " + "a word and another " * 20,
        "  to do    " + "a word and another " * 20,
        "tablenodes: 東京は日本の首都です。 " * 9,
        "tablenodes: see https://example.org/a-path-that-is-longer-than-a-line-of-a-narrow-terminal-is now",
    ],
)
def test_lines_are_folded_between_words(line, width):
    """None is wider than the terminal but for a word that is; what was said is all there."""
    from tablenodes.notices import columns_of

    made = folded(line, width).split("\n")
    assert " ".join(" ".join(made).split()) == " ".join(line.split())
    assert all(columns_of(each) <= width or len(each.split()) <= 2 for each in made)
    assert folded(line, None) == line
