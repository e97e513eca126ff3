"""A journal as a table: what it knows of every request, at any time."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from sentences import wording
from servers import fault_server, message
from test_raw_tables import body, choice

import tablenodes as tn
from tablenodes.engine.journal import Journal
from tablenodes.errors import JournalError

NODE = tn.CreateChatCompletion(model="m", prompt="{{ word }}", answer=["a", "b"])
COLUMNS = ["request", "body", "status", "outcome", "attempts"]
COLUMNS += ["prompt_tokens", "completion_tokens", "total_tokens", "reason", "message"]
SAID = {"good": '{"answer": "a"}', "odd": '{"answer": "c"}'}


def replying(exchange):
    word = json.loads(exchange.received.body)["messages"][-1]["content"]
    refused = message(b'{"error": {"message": "no such word", "code": "word"}}', 400)
    exchange.send(message(body(choice(SAID[word])).encode()) if word in SAID else refused)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A journal of four rows, and the output of its run."""
    path = tmp_path_factory.mktemp("journal") / "j"
    with fault_server(replying) as server:
        table = pd.DataFrame({"word": ["good", "odd", "bad", "good"]})
        limits = tn.Limits(concurrency=1)
        return path, NODE.run(table, tn.Connection(server.url, ""), journal=path, progress=False, limits=limits)


def test_a_journal_is_a_table_that_is_parsed(kept):
    """Each request with its end; equal requests have one digest. What the node makes of it is what the run gave."""
    path, out = kept
    table = tn.read_journal(str(path))
    assert list(table.columns) == COLUMNS
    assert list(table["outcome"]) == ["ok", "unusable", "http_error", "ok"]
    assert list(table["attempts"]) == [1] * 4
    assert table["request"][0] == table["request"][3] != table["request"][1]
    for name in ("body", "status"):
        assert list(table[name]) == list(out.result[name])
    again = NODE.parse(table)
    assert list(again.configuration.columns) == ["request"]
    for name in ("outcome", "attempts", "reason", "message", "prompt_tokens"):
        assert [*map(str, again.log[name])] == [*map(str, out.log[name])]
    assert list(again.answer.dropna()) == ["a", "a"]


def test_a_journal_of_no_rows_has_the_same_columns(tmp_path, kept):
    """And their types."""
    Journal(tmp_path / "empty").close()
    table = tn.read_journal(tmp_path / "empty")
    assert list(table.columns) == COLUMNS
    assert list(table.dtypes) == list(tn.read_journal(kept[0]).dtypes)
    assert len(NODE.parse(table).table) == 0


def test_a_journal_that_a_run_writes_to_is_read_as_of_its_last_commit(tmp_path):
    """At once, while the run holds it, and without taking its lock away: in the run's own process, too."""
    path, seen = tmp_path / "j", []

    def look(row, text):
        seen.append(tn.read_journal(path))
        with pytest.raises(sqlite3.OperationalError):
            sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0).execute("SELECT * FROM row")

    with fault_server(replying) as server:
        table = pd.DataFrame({"word": ["good", "good", "bad"]})
        limits = tn.Limits(concurrency=1)
        NODE.run(table, tn.Connection(server.url, ""), journal=path, limits=limits, on_text=look, progress=False)
    assert [len(each) for each in seen] == [1, 2]
    assert list(seen[1]["outcome"]) == ["ok", "in_doubt"]
    assert list(seen[1]["attempts"]) == [1, 1]
    assert list(tn.read_journal(path)["outcome"]) == ["ok", "ok", "http_error"]


def test_a_journal_that_was_left_open_is_read_and_not_changed(tmp_path, kept):
    """As a killed run leaves it, with a log beside it."""
    path = tmp_path / "j"
    held = Journal(tmp_path / "held")
    for entry in Journal(kept[0], looks=True):
        entry.place = 0
        held.intend(entry)
        held.commit()
        held.done(entry, entry.last)
    held.commit()
    for ending in ("", "-wal"):
        shutil.copyfile(f"{tmp_path / 'held'}{ending}", f"{path}{ending}")
    held.close()
    before = {name: (tmp_path / name).read_bytes() for name in ("j", "j-wal")}
    assert list(tn.read_journal(path)["outcome"]) == ["ok", "unusable", "http_error", "ok"]
    assert {name: (tmp_path / name).read_bytes() for name in ("j", "j-wal")} == before


def test_what_a_run_decided_is_kept(tmp_path, kept):
    """An answer that was good without choices; a row that was given up with nothing from the server."""
    made = Journal(tmp_path / "j")
    ends = [{"body": b"{}"}, {"outcome": "not_sent", "status": None, "body": b"", "message": "the deadline passed"}]
    for entry, end in zip(Journal(kept[0], looks=True), ends, strict=False):
        entry.place = 0
        made.intend(entry)
        made.commit()
        made.done(entry, entry.last._replace(**end))
    made.close()
    table = tn.read_journal(tmp_path / "j")
    assert table[["outcome", "message"]].fillna("-").to_numpy().tolist() == [
        ["ok", "-"],
        ["not_sent", "the deadline passed"],
    ]
    assert json.loads(table["body"][1])["error"]["message"] == "the deadline passed"


def test_a_file_that_is_no_journal_gets_a_line(tmp_path):
    """None at all, a folder, another file, one with something beside it that is no log; nothing is made."""
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    shutil.copyfile(other, tmp_path / "x")
    Path(f"{tmp_path / 'x'}-wal").write_bytes(b"")
    for path in (tmp_path / "none", tmp_path, other, tmp_path / "x"):
        with pytest.raises(JournalError) as caught:
            tn.read_journal(path)
        wording(str(caught.value).replace(str(tmp_path), "."))
    assert sorted(os.listdir(tmp_path)) == ["other.csv", "x", "x-wal"]
