"""``tablenodes run`` over tables that are read, asked and written in batches."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial

import pandas as pd
import pytest
from batched import compared, judged
from commands import Command
from sample_runs import exit_code_of
from servers import fault_server

from tablenodes.cli import batch_call
from tablenodes.tables import batches
from tablenodes.workflow import workflow_stream  # noqa: F401 - before batches are made small

ROWS = 40
FLOW = """
nodes:
  - {id: ask, type: CreateChatCompletion, model: m, prompt: "{{ text }}"}
  - {id: note, type: Return, fields: {both: "{{ ask }}+{{ id }}"}}
  - {id: again, type: CreateChatCompletion, model: m, prompt: "{{ note.both }} {{ inputs.x }}", when: id | int > 2}
  - {id: last, type: CreateChatCompletion, model: m, prompt: "{{ again | default('none') }} {{ id }}"}
inputs: {x: y}
"""


@pytest.fixture
def flow(tmp_path, monkeypatch):
    """A table of some batches and a workflow, in the current folder."""
    monkeypatch.setattr(batches, "BATCH_ROWS", 7)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("id;text\n" + "".join(f"{at};w{at}\n" for at in range(ROWS)))
    (tmp_path / "flow.yaml").write_text(FLOW)


def asked(server, *more):
    base = [
        "run",
        "flow.yaml",
        "--table",
        "rows.csv",
        "--separator",
        ";",
        "--base-url",
        server.url,
        "--no-key",
        "--no-progress",
    ]
    return [*base, *more]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_batches_make_the_table_that_a_whole_one_makes(flow, ending, capsys, tmp_path):
    """The same rows, columns and log, and the same words at the end; and a report of all nodes."""
    report = ("--report", "run.html") if ending == "csv" else ()
    with fault_server(judged) as server:
        second = compared(partial(asked, server), ending, ROWS, capsys, *report)
    if report:
        assert "; report run.html" in second
        assert "Report of ask, note, again, last" in (tmp_path / "run.html").read_text()


def test_chosen_columns_and_what_was_sent(flow):
    """``--columns`` chooses among the table's, ``--raw`` is the last node's."""
    with fault_server(judged) as server:
        for name, more in (("a", ["--memory", "300MB"]), ("b", [])):
            exit_code_of(*asked(server, "-o", f"{name}.csv", "--columns", "last,id,again_outcome", *more))
            exit_code_of(*asked(server, "-o", f"{name}-raw.csv", "--raw", *more))
    for name in ("", "-raw"):
        pd.testing.assert_frame_equal(pd.read_csv(f"a{name}.csv"), pd.read_csv(f"b{name}.csv"))


def test_long_tables_come_in_batches_by_themselves(flow, monkeypatch, capsys):
    """Where the workflow can; else a line says why not."""
    monkeypatch.setattr(batch_call, "_BYTES", 20)
    called = []
    monkeypatch.setattr("tablenodes.cli.run_commands.call_in_batches", lambda *given, **_: called.append(given) or 0)
    with fault_server(judged) as server:
        assert exit_code_of(*asked(server, "-o", "a.csv")) == 0
        assert len(called) == 1
        told = [arg for arg in asked(server, "-o", "a.xlsx", "--duplicates", "once") if arg != "--no-progress"]
        assert exit_code_of(*told) == 3
    assert "the whole table is held in memory: write one of" in capsys.readouterr().err


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGKILL])
def test_what_was_committed_is_not_sent_again(flow, tmp_path, ends):
    """After Ctrl-C, which leaves whole rows beside the output, and after a kill: the same command goes on."""
    held, seen, answered = threading.Event(), [], []

    def react(exchange):
        seen.append(exchange.received.body)
        if len(seen) == 60:
            held.wait(30)
        judged(exchange)
        answered.append(exchange.received.body)

    with fault_server(react) as server:
        more = ["-o", "out.csv", "--memory", "300MB", "-c", "1", "--grace", "0"]
        with Command(asked(server, *more), cwd=tmp_path) as process:
            until = time.monotonic() + 60
            while len(seen) < 60 and time.monotonic() < until and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(ends)
            _, err = process.communicate(timeout=60)
        held.set()
        assert "Traceback" not in err
        if ends is signal.SIGINT:
            assert process.returncode == 130
            assert "wrote out.csv.partial" in err
            assert 0 < (pd.read_csv("out.csv.partial")["last_outcome"] == "ok").sum() < 20
        first = set(answered[:59])
        assert exit_code_of(*asked(server, *more)) == 3
        assert not first & set(seen[60:])
        exit_code_of(*asked(server, "-o", "whole.csv"))
    pd.testing.assert_frame_equal(pd.read_csv("out.csv"), pd.read_csv("whole.csv"))
