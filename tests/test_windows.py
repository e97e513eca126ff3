"""What Windows does otherwise, simulated: `windows.py` has what was found in its documents."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import windows
from sentences import wording
from servers import answer, echo, echo_server, fault_server, fin

import tablenodes as tn
from tablenodes import disk
from tablenodes.errors import TableError
from tablenodes.tables import write_table

ASK = tn.CreateChatCompletion(model="m", prompt="{{ word }}")


@pytest.fixture
def select_alone(monkeypatch):
    windows.select_alone(monkeypatch)


def run(url, rows, concurrency=1):
    table = pd.DataFrame({"word": [str(row) for row in range(rows)]})
    return ASK.run(table, tn.Connection(url), limits=tn.Limits(concurrency=concurrency))


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(answer("no", status=500), id="server_error"),
        pytest.param(answer("slower", status=429, headers=(("retry-after-ms", "30"),)), id="pause"),
        pytest.param(fin(), id="disconnected"),
    ],
)
def test_a_retry_is_waited_for_without_a_socket(select_alone, first):
    """select takes no empty sets there."""
    with fault_server([first, echo()]) as server:
        found = run(server.url, 1)
    assert list(found.log["outcome"]) == ["ok"]
    assert list(found.log["attempts"]) == [2]


def test_more_requests_are_in_flight_than_select_takes(select_alone):
    """It takes 512 sockets there."""
    with echo_server(latency=0.4) as url:
        found = run(url, 700, concurrency=600)
    assert found.log["outcome"].value_counts().to_dict() == {"ok": 700}
    assert found.log["attempts"].sum() == 700


def test_a_file_that_is_open_for_a_moment_is_replaced_then(monkeypatch, tmp_path):
    """Such as by a program that looks for viruses."""
    place = tmp_path / "out.csv"
    place.write_text("before")
    opened = windows.Opened(times=2)
    monkeypatch.setattr(os, "replace", opened)
    write_table(pd.DataFrame({"a": [1]}), place)
    assert (opened.left, place.read_bytes()) == (-1, b"a\n1\n")


def test_a_file_that_stays_open_is_named_and_kept(monkeypatch, tmp_path):
    """Such as by a spreadsheet."""
    place = tmp_path / "out.csv"
    place.write_text("before")
    monkeypatch.setattr(disk, "PATIENCE", 0.1)
    monkeypatch.setattr(os, "replace", windows.Opened(times=99))
    with wording.raises(TableError):
        write_table(pd.DataFrame({"a": [1]}), place)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("out.csv", "before")]


PROGRAM = """
import windows
windows.pretend()
import importlib, pathlib, pkgutil, pandas, tablenodes as tn
from tablenodes.later.lock import WorkerLock
names = [each.name for each in pkgutil.walk_packages(tn.__path__, "tablenodes.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
table = pandas.DataFrame({"word": ["a", "b"]})
node = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
for _ in range(2):
    found = node.run(table, tn.testing.canned("yes"), journal="run.journal", progress=False)
    tn.write_table(found.table, "out.csv")
print(list(found.log["outcome"]), int(found.log["reused"].sum()))
one, other = (WorkerLock(pathlib.Path("store.sqlite").absolute()) for _ in range(2))
print(one.take(), other.is_held(), other.take(), one.release(), other.is_held(), other.take())
"""


def test_every_module_is_loaded_where_windows_lacks_others(tmp_path):
    """Nothing of POSIX alone is asked for; a run keeps its answers, replaces its output, and a worker its lock."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["['ok', 'ok'] 2", "True True False None False True"]
