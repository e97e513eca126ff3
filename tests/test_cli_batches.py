"""``tablenodes call`` over tables that are read, asked and written in batches."""

from __future__ import annotations

import contextlib
import io
import re
import signal
import sqlite3
import threading
import time
from functools import partial

import pandas as pd
import pyarrow as pa
import pytest
from batched import compared, judged
from commands import Command
from sample_runs import exit_code_of
from servers import fault_server

import tablenodes as tn
from tablenodes.cli import batch_call, consent
from tablenodes.run import stream  # noqa: F401 - before batches are made small
from tablenodes.tables import batches, csv_batches

ROWS = 60


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """A table of some batches, in the current folder."""
    monkeypatch.setattr(batches, "BATCH_ROWS", 7)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"{at},w{at}\n" for at in range(ROWS)))


def asked(server, *more, table="rows.csv"):
    base = ["call", "CreateChatCompletion", table, "--model", "m", "--prompt", "{{ text }}", "--base-url", server.url]
    return [*base, "--no-key", "--no-progress", *more]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "csv.gz"])
def test_batches_make_the_table_that_a_whole_one_makes(rows, ending, capsys):
    """The same rows, columns and log, and the same words at the end."""
    with fault_server(judged) as server:
        compared(partial(asked, server), ending, ROWS, capsys)


def test_the_same_command_goes_on(rows, capsys):
    """What was answered is not sent again, and a run over the whole table knows the journal too."""
    with fault_server(judged) as server:
        assert exit_code_of(*asked(server, "-o", "a.csv", "--memory", "300MB")) == 3
        sent = len(server.requests)
        assert exit_code_of(*asked(server, "-o", "a.csv", "--memory", "300MB")) == 3
        assert exit_code_of(*asked(server, "-o", "b.csv", "--journal", "a.csv.journal")) == 3
        assert (sent, len(server.requests)) == (ROWS, ROWS)
    assert capsys.readouterr().err.count("reused") >= 2


def test_chosen_columns_and_conditions(rows):
    """``--columns`` chooses among all that is known of a row, ``--where`` skips rows, ``--raw`` is what was sent."""
    with fault_server(judged) as server:
        more = ["--memory", "300MB", "--where", "id | int < 3"]
        exit_code_of(*asked(server, "-o", "a.csv", *more, "--columns", "outcome,total_tokens,id"))
        exit_code_of(*asked(server, "-o", "b.csv", *more, "--raw"))
    made = pd.read_csv("a.csv")
    assert [*made.columns] == ["outcome", "total_tokens", "id"]
    assert made["outcome"].tolist() == ["ok"] * 3 + ["skipped"] * (ROWS - 3)
    assert [*pd.read_csv("b.csv").columns] == ["body", "status"]


@pytest.mark.parametrize("part", ["5", "3:30", "50:"])
def test_some_rows_are_the_rows_of_a_whole_table(rows, part, capsys):
    """They keep their numbers in the log and in what is said, as those of a table in memory do."""
    with fault_server(judged) as server:
        codes = [
            exit_code_of(*asked(server, "-o", f"{name}.csv", "--log", f"log-{name}.csv", "--rows", part, *more))
            for name, more in (("a", ()), ("b", ("--memory", "300MB")))
        ]
    assert codes[0] == codes[1]
    assert pd.read_csv("a.csv").equals(pd.read_csv("b.csv"))
    first, second = (pd.read_csv(f"log-{name}.csv") for name in "ab")
    assert first["row"].tolist() == second["row"].tolist()
    reasons = [line for line in capsys.readouterr().err.splitlines() if "failed with" in line]
    assert reasons == reasons[:1] * len(reasons)


def test_rows_behind_the_table_are_said_and_leave_no_file(rows, tmp_path, capsys):
    with fault_server(judged) as server:
        assert exit_code_of(*asked(server, "-o", "a.csv", "--memory", "300MB", "--rows", "60:")) == 1
        assert server.requests == []
    assert capsys.readouterr().err == "tablenodes: error: --rows: the table has 60 rows, which count from 0\n"
    assert not [*tmp_path.glob("a.csv*")] or [each.name for each in tmp_path.glob("a.csv*")] == ["a.csv.journal"]


@pytest.mark.parametrize("setting", ["max_tokens={{ text }}", "columns=[nope]", "messages={{ x }}"])
def test_a_table_of_which_no_row_can_be_sent_is_refused_as_a_whole_one_is(rows, tmp_path, capsys, setting):
    """Nothing is sent, and an earlier output stays what it is; one row that can be is enough."""
    (tmp_path / "a.csv").write_text("earlier\n")
    said = []
    with fault_server(judged) as server:
        for memory in ((), ("--memory", "300MB")):
            assert exit_code_of(*asked(server, "-o", "a.csv", "--set", setting, *memory)) == 1
            said.append(capsys.readouterr().err)
        assert server.requests == []
        assert said[0] == said[1]
        assert (tmp_path / "a.csv").read_text() == "earlier\n"
        assert [each.name for each in tmp_path.glob("a.csv*")] == ["a.csv"]
        (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"{at},w{at}\n" for at in range(30)) + "31,9\n")
        assert exit_code_of(*asked(server, "-o", "a.csv", "--set", "max_tokens={{ text }}", "--memory", "300MB")) == 3
        assert len(server.requests) == 1


def test_a_call_in_batches_has_a_report(rows, tmp_path, capsys):
    """Where the output and the log are said to be, it is too; of another ending it is refused before."""
    with fault_server(judged) as server:
        more = ["-o", "a.csv", "--memory", "300MB", "--report"]
        assert exit_code_of(*asked(server, *more, "run.txt")) == 1
        assert server.requests == []
        assert exit_code_of(*asked(server, *more, "run.html")) == 3
    assert "; report run.html" in capsys.readouterr().err
    page = (tmp_path / "run.html").read_text()
    assert "54 of 60 rows were answered" in page
    assert "first at row 7" in page


def test_how_a_file_is_read_is_said_to_batches_too(rows, tmp_path):
    """Its encoding, its separator and its format, whatever its name."""
    (tmp_path / "rows.dat").write_bytes("id;text\n1;caf\xe9\n".encode("cp1252"))
    with fault_server(judged) as server:
        how = ["--input-format", "csv", "--encoding", "cp1252", "--separator", ";", "--memory", "300MB"]
        assert exit_code_of(*asked(server, "-o", "a.csv", *how, table="rows.dat")) == 0
    assert pd.read_csv("a.csv")["text"].tolist() == ["caf\xe9"]


def test_a_dear_run_is_asked_for_by_its_first_rows(rows, tmp_path, monkeypatch, capsys):
    """The price of so many more as the file is longer; who says no sends nothing."""
    (tmp_path / "long.csv").write_text("text\n" + "some words of a row\n" * 20_000)
    (tmp_path / "prices.json").write_text('{"m": {"input": 10, "output": 20}}')
    monkeypatch.setattr(csv_batches, "BLOCK", 40_000)
    monkeypatch.setattr(consent, "is_at_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    with fault_server(judged) as server:
        how = ["-o", "a.csv", "--memory", "300MB", "--prices", "prices.json"]
        assert exit_code_of(*asked(server, *how, table="long.csv")) == 1
        assert server.requests == []
    (rows_told,) = re.findall(r"for ([\d,]+) rows", capsys.readouterr().err)
    assert int(rows_told.replace(",", "")) == pytest.approx(20_000, rel=0.1)


def test_a_query_of_a_database_comes_in_batches(rows, tmp_path):
    """Where ``--memory`` is given; how long a table is, nobody knows before."""
    with contextlib.closing(sqlite3.connect("base.sqlite")) as base:
        base.execute("create table rows (id integer, text text)")
        base.executemany("insert into rows values (?, ?)", [(at, f"w{at}") for at in range(ROWS)])
        base.commit()
    with fault_server(judged) as server:
        query = ["--query", "select * from rows where id < 20", "--memory", "300MB"]
        assert exit_code_of(*asked(server, "-o", "a.csv", *query, table="sqlite:///base.sqlite")) == 3
    assert pd.read_csv("a.csv")["id"].tolist() == [*range(20)]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["-o", "a.xlsx"], "write one of csv"),
        ([], "--output must be a file"),
        (["-o", "a.csv", "--memory", "much"], 'memory must be a size, such as "64MB"'),
        (["-o", "a.csv", "--columns", "idd"], "the table has no column 'idd'; did you mean 'id'?"),
    ],
)
def test_what_cannot_be_done_in_batches_is_said(rows, more, told, capsys):
    """Before anything is sent."""
    with fault_server(judged) as server:
        assert exit_code_of(*asked(server, "--memory", "300MB", *more)) in (1, 2)
        assert server.requests == []
    assert told in " ".join(capsys.readouterr().err.split())


def test_long_tables_and_patterns_come_in_batches_by_themselves(rows, monkeypatch, tmp_path):
    """Above so many rows or bytes; several files are one table."""
    tn.write_table(pa.table({"text": ["w1", "w2", "w3"]}), "rows.parquet")
    (tmp_path / "rows-2.csv").write_text("id,text\n1,x\n")
    monkeypatch.setattr(batch_call, "HELD_ROWS", 2)
    called = []
    monkeypatch.setattr("tablenodes.cli.run_commands.call_in_batches", lambda *given, **_: called.append(given) or 0)
    with fault_server(judged) as server:
        assert exit_code_of(*asked(server, "-o", "a.csv", table="rows.parquet")) == 0
        assert exit_code_of(*asked(server, "-o", "a.csv", table="rows*.csv")) == 0
        assert exit_code_of(*asked(server, "-o", "a.csv", table="rows.csv")) == 0
        assert len(called) == 3
        monkeypatch.setattr(batch_call, "HELD_ROWS", ROWS)
        assert exit_code_of(*asked(server, "-o", "a.csv", table="rows.csv")) == 3
        monkeypatch.setattr(batch_call, "_BYTES", 10)
        assert exit_code_of(*asked(server, "-o", "a.csv", table="rows.csv")) == 0


def test_ctrl_c_leaves_what_came_beside_the_output(rows, tmp_path, capsys):
    """Whole rows, in a file with .partial at its end; the same command goes on, and removes it at its end."""
    held, seen = threading.Event(), []

    def react(exchange):
        seen.append(exchange)
        if len(seen) > 20:
            held.wait(30)
        judged(exchange)

    with fault_server(react) as server:
        more = ["-o", "out.csv", "--memory", "300MB", "-c", "1", "--grace", "0"]
        with Command(asked(server, *more), cwd=tmp_path) as process:
            ends = time.monotonic() + 60
            while len(seen) <= 20 and time.monotonic() < ends:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        held.set()
        assert process.returncode == 130
        assert "Traceback" not in err
        assert "wrote out.csv.partial" in err
        assert not (tmp_path / "out.csv").exists()
        assert (pd.read_csv("out.csv.partial")["outcome"] == "ok").sum() == 18
        assert exit_code_of(*asked(server, *more)) == 3
        assert not (tmp_path / "out.csv.partial").exists()
        assert "removed out.csv.partial" in capsys.readouterr().err
        (tmp_path / "rows.csv").rename("out.csv.partial")  # a table that is read stays
        assert exit_code_of(*asked(server, *more, table="out.csv.partial")) == 3
    assert len(pd.read_csv("out.csv")) == len(pd.read_csv("out.csv.partial")) == ROWS


def test_an_output_is_none_of_the_files_of_a_pattern(rows, tmp_path, capsys):
    """Neither one that is there, nor one that the next run would read."""
    before = (tmp_path / "rows.csv").read_bytes()
    with fault_server(judged) as server:
        for output in ("rows.csv", "rows-new.csv"):
            assert exit_code_of(*asked(server, "-o", output, table="rows*.csv")) in (1, 2)
            assert f"output '{output}' is one of the files that the run reads" in capsys.readouterr().err
        assert server.requests == []
        assert exit_code_of(*asked(server, "-o", "other.csv", table="rows*.csv")) == 3
    assert (tmp_path / "rows.csv").read_bytes() == before
