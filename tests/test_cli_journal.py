"""The command line's journals: shown, left out, looked into while nobody runs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pandas as pd
import pytest
from permissions import permissions_bind
from sentences import wording
from servers import answer, echo, fault_server

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.cli.printout import sized
from tablenodes.engine.calls import Request
from tablenodes.engine.journal import Entry, Journal, Keys

NODE = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}")
REFUSED = answer({"error": {"message": "no", "type": "invalid_request_error"}}, 400)


@pytest.fixture
def command(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def journal(tmp_path):
    """A journal with two rows that are ok and one that was refused."""
    path = tmp_path / "words.journal"
    table = tmp_path / "words.csv"
    table.write_text("word\na\nb\nc\n")
    with fault_server([echo(), echo(), REFUSED]) as server:
        NODE.run(
            tn.read_table(table),
            tn.Connection(server.url),
            journal=path,
            progress=False,
            limits=tn.Limits(concurrency=1),
        )
    return path


def test_a_journal_is_shown(journal, command):
    """How many rows ended how, and the requests that it took."""
    code, out, err = command("journal", journal)
    assert (code, err) == (0, "")
    first, _, head, *rows = out.splitlines()
    wording(first, size=first.rpartition(", ")[2])
    assert head.split() == ["outcome", "rows", "requests"]
    assert [row.split() for row in rows] == [["ok", "2", "2"], ["http_error", "1", "1"]]


def test_a_journal_is_verified_and_compacted(journal, command):
    """Nothing of it is lost, and it is said whether all of it is as it was written."""
    whole = command("journal", journal, "--jsonl")[1]
    for option in ("--compact", "--verify"):
        code, out, err = command("journal", journal, option)
        assert (code, err) == (0, "")
        wording(out.splitlines()[0].replace(str(journal), "words.journal"))
    assert command("journal", journal, "--jsonl")[1] == whole
    with closing(sqlite3.connect(journal)) as database, database:
        database.execute("UPDATE block SET answers = zeroblob(length(answers))")
    code, _, err = command("journal", journal, "--verify")
    assert code == 1
    wording(err.replace(str(journal), "words.journal"))


def test_a_folder_of_journals_is_one(tmp_path, command):
    """Shown, verified, compacted and printed as one; a file that is damaged is named."""
    with fault_server(echo()) as server:
        first, second = (NODE.mapper(tn.Connection(server.url, ""), journal=tmp_path / "answers") for _ in range(2))
        for words in ("ab", "cde"):
            first(pd.DataFrame({"word": list(words)}))
        for options in ((), ("--verify",), ("--compact",)):
            code, out, err = command("journal", tmp_path / "answers", *options)
            assert (code, err) == (0, "")
            wording(out.splitlines()[0].replace(str(tmp_path), ""), size=out.splitlines()[0].split(", ")[3])
            assert out.split()[-3:] == ["ok", "5", "5"]
        assert len(command("journal", tmp_path / "answers", "--jsonl")[1].splitlines()) == 5
        assert second(pd.DataFrame({"word": list("edcba")}))["reused"].all()
        damaged = min((tmp_path / "answers").glob("*.journal"))
        damaged.write_bytes(damaged.read_bytes()[:5000])
        assert damaged.name in command("journal", tmp_path / "answers", "--verify")[2]
    (tmp_path / "none").mkdir()
    wording.line(command("journal", tmp_path / "none")[2].replace(str(tmp_path), ""))


def test_the_rows_of_a_journal_are_printed(journal, command):
    """With the whole answers: whatever happens to the output, they can be had."""
    code, out, _ = command("journal", journal, "--jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(row["outcome"], row["status"], row["requests"]) for row in rows] == [
        ("ok", 200, 1),
        ("ok", 200, 1),
        ("http_error", 400, 1),
    ]
    assert json.loads(rows[0]["body"])["choices"]


def test_looking_changes_nothing(journal, command):
    """The rows that it has are still reused."""
    before = journal.read_bytes(), journal.stat().st_mtime_ns, sorted(journal.parent.iterdir())
    assert command("journal", journal)[0] == 0
    assert (journal.read_bytes(), journal.stat().st_mtime_ns, sorted(journal.parent.iterdir())) == before


@permissions_bind
def test_what_cannot_be_written_can_be_looked_at(journal, command):
    """Another's journal, or one on a medium that is read-only."""
    journal.chmod(0o400)
    journal.parent.chmod(0o500)
    try:
        assert command("journal", journal)[0] == 0
    finally:
        journal.parent.chmod(0o700)


def test_a_journal_whose_log_is_gone_is_not_shown_as_whole(journal, command):
    """What was in the log would be missing from it."""
    with closing(sqlite3.connect(journal)) as database:
        database.execute("UPDATE run SET clean = 0")
        database.commit()
    code, out, err = command("journal", journal)
    assert (code, out) == (1, "")
    wording.line(err)


def test_a_size_has_the_unit_that_fits():
    """No file of some kilobytes has 0.0 of anything."""
    assert [sized(size) for size in (36_864, 1, 2**20, 137 * 2**20)] == ["37 kB", "1 kB", "1.0 MiB", "137.0 MiB"]


def test_a_journal_that_a_run_holds_is_left_alone(journal, command):
    """It says so, in one line."""
    held = Journal(journal)
    try:
        code, out, err = command("journal", journal)
    finally:
        held.close()
    assert (code, out, err.count("\n")) == (1, "", 1)
    wording.line(err)


@pytest.mark.parametrize("content", [None, b"word\na\n"])
def test_what_is_no_journal_is_not_made_one(tmp_path, command, content):
    """Nothing is made, nothing is changed."""
    path = tmp_path / "other"
    if content is not None:
        path.write_bytes(content)
    code, out, err = command("journal", path)
    assert (code, out, err.count("\n")) == (1, "", 1)
    wording.line(err)
    assert (path.read_bytes() if path.exists() else None) == content


def test_a_run_without_a_journal(tmp_path, command, monkeypatch):
    """``--no-journal`` leaves no file beside the output, and the same command asks again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.csv").write_text("word\na\n")
    with fault_server(echo()) as server:
        for _ in range(2):
            arguments = ("--prompt", "{{ word }}", "--model", "m", "--base-url", server.url, "--no-key")
            code, _, _ = command("call", "CreateChatCompletion", "words.csv", *arguments, "-o", "o.csv", "--no-journal")
            assert code == 0
        assert len(server.requests) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.csv", "words.csv"]


@pytest.mark.parametrize("named", [True, False], ids=["on the command line", "in the workflow"])
def test_the_journal_is_beside_the_output(tmp_path, command, monkeypatch, named):
    """Wherever that is, by its name; nothing is left in the current directory or beside the table."""
    for folder in ("here", "table", "output"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "table" / "words.csv").write_text("word\na\n")
    output = tmp_path / "output" / "o.csv"
    with fault_server(echo()) as server:
        workflow = tn.Workflow({"ask": NODE}, connection=tn.Connection(server.url), output=None if named else output)
        workflow.save(tmp_path / "table" / "w.yaml")
        arguments = ("../table/w.yaml", "--table", "../table/words.csv", *(("-o", "../output/o.csv") if named else ()))
        for _ in range(2):
            assert command("run", *arguments)[0] == 0
        assert len(server.requests) == 1
    found = [f"{path.parent.name}/{path.name}" for path in tmp_path.rglob("*.*")]
    assert sorted(found) == ["output/o.csv", "output/o.csv.journal", "table/w.yaml", "table/words.csv"]


def test_a_journal_is_named_or_left_out(tmp_path, command):
    """Not both."""
    (tmp_path / "words.csv").write_text("word\na\n")
    table = tmp_path / "words.csv"
    code, _, err = command(
        "call", "CreateChatCompletion", table, "--prompt", "x", "--model", "m", "--journal", "j", "--no-journal"
    )
    assert code == 2
    wording.line(err)


@pytest.mark.parametrize(("choice", "requests", "outcome"), [("resend", 1, "ok"), ("report", 0, "in_doubt")])
def test_rows_in_doubt_end_as_asked(tmp_path, command, monkeypatch, choice, requests, outcome):
    """A row that an earlier run sent without seeing an answer is sent again, or said to be in doubt."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.csv").write_text("word\na\n")
    with fault_server(echo()) as server:
        request = Request("POST", f"{server.url}/chat/completions", ())
        body = b'{"messages":[{"role":"user","content":"a"}],"model":"m"}'
        held = Journal(tmp_path / "o.csv.journal")
        held.intend(Entry(Keys(request, "CreateChatCompletion").key(body)))
        held.close()
        arguments = ("--prompt", "{{ word }}", "--model", "m", "--base-url", server.url, "--no-key", "-o", "o.csv")
        _, _, err = command("call", "CreateChatCompletion", "words.csv", *arguments, "--on-in-doubt", choice)
        assert len(server.requests) == requests
    assert list(pd.read_csv(tmp_path / "o.csv")["outcome"]) == [outcome]
    wording("\n".join(line for line in err.splitlines() if "sent before" in line or "reused" in line))


def test_what_becomes_of_rows_in_doubt_is_one_of_two(tmp_path, command):
    """Anything else is bad usage."""
    (tmp_path / "words.csv").write_text("word\na\n")
    arguments = ("call", "CreateChatCompletion", tmp_path / "words.csv", "--prompt", "x", "--on-in-doubt", "perhaps")
    code, _, err = command(*arguments)
    assert code == 2
    wording.line(err)
