"""Disks that are full or fail: what came is returned, what was committed stays, a later run makes up for the rest."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import time
from contextlib import closing
from itertools import count, product
from pathlib import Path

import orjson
import pandas as pd
import pytest
from killing import oracle
from sentences import wording
from servers import answer, digest, echo, fault_server

import tablenodes as tn
from tablenodes.engine.journal import Journal
from tablenodes.engine.journal import journal_file as journal_file
from tablenodes.store.store_file import StoreFile
from tablenodes.tables import write_table

NODE = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}")
ROWS = 8


def words(rows=ROWS):
    return pd.DataFrame({"word": [f"w{i}" for i in range(rows)]})


def asked(server, since=0):
    prompts = [orjson.loads(request.body)["messages"][0]["content"] for request in server.requests[since:]]
    return {prompt.removeprefix("Say ") for prompt in prompts}


def run(server, journal, rows=ROWS):
    limits = tn.Limits(concurrency=2)
    return NODE.run(words(rows), tn.Connection(server.url, "k" * 20), journal=journal, limits=limits, progress=False)


def attempt(act, *arguments, **named):
    """Return what comes of it: the output, also that of an error of ours, and the error."""
    try:
        return act(*arguments, **named), None
    except (tn.errors.JournalError, tn.errors.TableError) as error:
        return getattr(error, "output", None), error


class Failing:
    """In the place of the module `sqlite3`: the `nth` statement fails, and those after it if it is `lasting`.

    It fails before it is carried out, or `late`, when SQLite has done it: a disk may have written what it then reports
    as lost. A disk that fails for good takes nothing at the end either.
    """

    def __init__(self, nth, code, *, lasting, late):
        self.left, self.code, self.lasting, self.late = nth, code, lasting, late
        self.failed = False

    def __getattr__(self, name):
        return getattr(sqlite3, name)

    def connect(self, path, **named):
        outer = self

        class Connection(sqlite3.Connection):
            def execute(self, *arguments):
                return outer.act(super().execute, arguments)

            def executemany(self, *arguments):
                return outer.act(super().executemany, arguments)

            def close(self):
                files = [] if path == ":memory:" else [path, f"{path}-wal"]
                held = {name: Path(name).read_bytes() for name in files if os.path.exists(name)}
                super().close()
                if outer.failed and outer.lasting:
                    for name, data in held.items():
                        Path(name).write_bytes(data)

        return sqlite3.connect(path, factory=Connection, **named)

    def act(self, act, arguments):
        self.left -= 1
        fails = self.left == 0 or (self.left < 0 and self.lasting)
        if not fails:
            return act(*arguments)
        self.failed = True
        if self.late and "ROLLBACK" not in arguments[0]:
            act(*arguments)
        error = sqlite3.OperationalError("it fails")
        error.sqlite_errorcode = self.code
        raise error


def committed(journal):
    """The rows that are done in a journal, by their place in the table, without touching it."""
    copy = journal.with_name("copy")
    for ending in ("", "-wal"):
        copy.with_name(f"copy{ending}").unlink(missing_ok=True)
        if journal.with_name(f"{journal.name}{ending}").exists():
            shutil.copy(f"{journal}{ending}", f"{copy}{ending}")
    if not copy.exists():
        return set()
    with closing(Journal(copy)) as read:
        bodies = [entry.last.body for entry in read if entry.last is not None and entry.last.outcome == "ok"]
    return {orjson.loads(body)["choices"][0]["message"]["content"] for body in bodies}


def text_of(word):
    return digest(orjson.dumps({"model": "m", "messages": [{"role": "user", "content": f"Say {word}"}]}))


def ways():
    """Each two of the three together in one of the quick ones; all three together in one of all."""
    codes = {"full": sqlite3.SQLITE_FULL, "broken": sqlite3.SQLITE_IOERR}
    lasts, lateness = {"once": False, "from then on": True}, {"not done": False, "done": True}
    for number, how in enumerate(product(codes, lasts, lateness)):
        marks = [pytest.mark.slow] * (number.bit_count() % 2)
        yield pytest.param(codes[how[0]], lasts[how[1]], lateness[how[2]], id="-".join(how), marks=marks)


@pytest.mark.parametrize(("code", "lasting", "late"), [*ways()])
def test_whichever_statement_fails_nothing_is_lost(tmp_path, monkeypatch, code, lasting, late):
    """One after the other, until a run comes through: it stops sending, gives what came, and a rerun sends the rest."""
    stopped, rows = 0, 4
    for nth in count(1):
        journal = tmp_path / f"{nth}.journal"
        failing = Failing(nth, code, lasting=lasting, late=late)
        with fault_server(echo()) as server:
            with monkeypatch.context() as patched:
                patched.setattr(journal_file, "sqlite3", failing)
                out, error = attempt(run, server, journal, rows)
            sent = len(server.requests)
            if out is None:
                assert sent == 0
            else:
                outcomes = list(out.log["outcome"])
                assert outcomes.count("ok") == sent == len(asked(server))
                assert outcomes.count("ok") + outcomes.count("not_sent") == rows
                assert [text for text in out.text if isinstance(text, str)] == [
                    text_of(word)
                    for word, outcome in zip(words(rows)["word"], outcomes, strict=True)
                    if outcome == "ok"
                ]
            kept = committed(journal)
            if not lasting and out is not None:
                assert len(kept) == sent, "what came was saved after all"
            again = run(server, journal, rows)
            assert list(again.log["outcome"]) == ["ok"] * rows
            assert {text_of(word) for word in asked(server, sent)} == {text_of(w) for w in words(rows)["word"]} - kept
            assert len(server.requests) - sent == rows - len(kept)
            assert error is None or "the disk" in str(error)
        if not failing.failed:
            break
        stopped += error is not None
    assert stopped > 10


def test_rows_that_are_put_back_keep_what_is_known_of_them(tmp_path, monkeypatch):
    """They were about to be sent again when the disk failed: they end as they ended before, and are not forgotten."""
    wrong = {"w0": 500, "w1": 429}

    def react(exchange):
        word = orjson.loads(exchange.received.body)["messages"][0]["content"].removeprefix("Say ")
        (answer("oops", wrong[word]) if word in wrong else echo())(exchange)

    def full(self):
        if self._intents:
            raise tn.errors.JournalError("the disk is full")

    connection = {"limits": tn.Limits(concurrency=2), "retry": tn.Retry(server_error=0, throttled=0)}
    with fault_server(react) as server:
        how = {"connection": tn.Connection(server.url, "k" * 20), "journal": tmp_path / "j", "progress": False}
        NODE.run(words(), **how, **connection)
        monkeypatch.setattr(Journal, "commit", full)
        with wording.raises(tn.errors.JournalError) as caught:
            NODE.run(words(), **how, **connection)
        assert len(server.requests) == ROWS
    log = caught.value.output.log
    assert list(log["outcome"]) == ["http_error", "rate_limited"] + ["ok"] * (ROWS - 2)
    assert list(log["maybe_billed"]) == [True] + [False] * (ROWS - 1)
    assert log["reused"].all()


def test_a_row_whose_repeat_the_disk_prevents_ends_as_it_was(tmp_path, monkeypatch):
    """It was to be sent a second time; what the first one came to is its end."""
    right = Journal.commit

    def full(self):
        if any(line.sends > 1 for line in self._intents):
            raise tn.errors.JournalError("the disk is full")
        right(self)

    monkeypatch.setattr(Journal, "commit", full)
    with fault_server([*[echo()] * (ROWS - 1), answer("oops", 500), echo()]) as server:
        with wording.raises(tn.errors.JournalError) as caught:
            run(server, tmp_path / "j")
        assert len(server.requests) == ROWS
    assert sorted(caught.value.output.log["outcome"]) == ["http_error"] + ["ok"] * (ROWS - 1)
    assert list(caught.value.output.log["attempts"]) == [1] * ROWS


def test_a_journal_that_cannot_be_read_any_more_stops_the_run(tmp_path, monkeypatch):
    """In the middle of a run; what it had until then is given."""
    right = Journal.entry

    def broken(self, row):
        if row[0] == 5:
            raise tn.errors.JournalError("the disk fails")
        return right(self, row)

    with fault_server(echo()) as server:
        run(server, tmp_path / "j")
        monkeypatch.setattr(Journal, "entry", broken)
        with wording.raises(tn.errors.JournalError) as caught:
            run(server, tmp_path / "j")
        assert len(server.requests) == ROWS
    assert list(caught.value.output.log["outcome"]) == ["ok"] * 4 + ["not_sent"] * 4


@pytest.mark.parametrize("name", ["fsync", "link", "replace", "open", "chmod"])
def test_whichever_call_to_the_system_fails_the_old_output_stands(tmp_path, monkeypatch, name):
    """The journal's making and the output's writing: an error of ours, no half file; the rerun asks for the rest."""
    right = getattr(os, name)
    raised = 0
    for nth in count(1):
        folder = tmp_path / f"{nth}"
        folder.mkdir()
        output, journal, left = folder / "out.csv", folder / "j", [nth]
        output.write_text("old")

        def fails(*arguments, left=left, folder=folder, **named):
            if str(folder) in str(arguments) or name == "fsync":
                left[0] -= 1
                if not left[0]:
                    raise OSError(errno.EIO, "Input/output error")
            return right(*arguments, **named)

        with fault_server(echo()) as server:
            workflow = tn.Workflow({"say": NODE}, output=output, connection=tn.Connection(server.url, "k" * 20))
            with monkeypatch.context() as patched:
                patched.setattr(os, name, fails)
                error = attempt(workflow.run, words(), journal=journal, progress=False)[1]
            if error is not None:
                raised += 1
                assert "Input/output error" in str(error)
                assert output.read_text() == "old" or (name == "fsync" and output.read_text().startswith("word,"))
            assert sorted(os.listdir(folder)) in (["j", "out.csv"], ["out.csv"])
            sent = len(server.requests)
            assert sent in (0, ROWS)
            workflow.run(words(), journal=journal, progress=False)
            assert len(server.requests) == ROWS
            assert output.read_text().startswith("word,say,say_status,say_outcome,say_message\n")
        if left[0] > 0:
            break
    assert raised >= {"fsync": 2, "link": 0, "replace": 1, "open": 2, "chmod": 1}[name]


def test_an_output_that_fails_in_the_middle_leaves_the_old_one(tmp_path, monkeypatch):
    """A full disk while the table is written: the answers are in the journal, and the rerun asks for nothing."""
    from tablenodes.tables import writer as writing

    right = writing.text_pieces

    def full(*arguments):
        yield next(iter(right(*arguments)))[:20]
        raise OSError(errno.ENOSPC, "No space left on device")

    output = tmp_path / "out.csv"
    output.write_text("old")
    with fault_server(echo()) as server:
        workflow = tn.Workflow({"say": NODE}, output=output, connection=tn.Connection(server.url, "k" * 20))
        with monkeypatch.context() as patched:
            patched.setattr(writing, "text_pieces", full)
            with wording.raises(tn.errors.TableError):
                workflow.run(words(), journal=tmp_path / "j", progress=False)
        assert output.read_text() == "old"
        assert sorted(os.listdir(tmp_path)) == ["j", "out.csv"]
        workflow.run(words(), journal=tmp_path / "j", progress=False)
        assert len(server.requests) == ROWS
    assert output.read_text().startswith("word,say,say_status,say_outcome,say_message\n")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param({"file_bytes": 150_000}, id="a limit for files"),
        pytest.param({"disk_bytes": 8_000_000, "filler_bytes": 7_850_000}, id="a full disk"),
    ],
)
def test_a_disk_that_is_really_full(victims, tmp_path, kind):
    """The run stops sending and returns what came; with room again, only what is not in the journal is sent."""
    rows, concurrency = 400, 8
    (tmp_path / "disk").mkdir()
    with oracle() as server:
        job = {"url": server.url, "rows": rows, "concurrency": concurrency, "output": str(tmp_path / "out.csv")}
        end = victims.run(job | {"journal": str(tmp_path / "disk" / "j"), "pad": 300} | kind)
        said, then = end["said"]["first"], end["said"]["then"]
        if said is None:
            pytest.skip("no disk of a size of its own can be made here")
        sent = said["requests"]
        assert said["error"] == "JournalError"
        assert "the disk" in said["message"]
        assert 20 < sent < rows
        assert said["outcomes"] == {"ok": sent, "not_sent": rows - sent}
        assert then["outcomes"] == {"ok": rows}
        assert then["reused"] >= sent - 2 * concurrency
        assert then["requests"] == rows - then["reused"]
        assert len(server.received) == sent + then["requests"]


@pytest.mark.parametrize("how", ["moved", "replaced", "without its log"])
def test_a_journal_that_loses_its_name_stops_the_run_within_a_second(tmp_path, how):
    """Nobody would find again what is written to it; put back, it has what was answered until then.

    Without its log it still comes to have all of it: the run holds what is in the log.
    """
    journal, aside = tmp_path / "j", tmp_path / "aside"
    lost: list[float] = []

    def react(exchange):
        if len(server.requests) == 12:
            if how == "replaced":
                shutil.copy(journal, aside)
                os.replace(aside, journal)
            else:
                os.rename(journal if how == "moved" else tmp_path / "j-wal", aside)
            lost.append(time.monotonic())
        time.sleep(0.05)
        echo()(exchange)

    table, limits = pd.DataFrame({"prompt": [f"p{i}" for i in range(200)]}), tn.Limits(concurrency=2)
    node = tn.CreateChatCompletion(model="m")
    with fault_server(react) as server:
        with pytest.raises(tn.errors.JournalError) as raised:
            node.run(table, tn.Connection(server.url), limits=limits, journal=journal, progress=False)
        assert time.monotonic() - lost[0] < 1.0
        out = raised.value.output
        assert out.summary.ok == len(server.requests) < 60
        assert set(out.log["outcome"]) == {"ok", "not_sent"}
        if how != "replaced":
            if how == "moved":
                os.rename(aside, journal)
            sent = len(server.requests)
            known = table.head(10 if how == "moved" else out.summary.ok)
            node.run(known, tn.Connection(server.url), limits=limits, journal=journal, progress=False)
            assert len(server.requests) == sent


# --- a system whose fsync is not enough ---


def test_what_is_done_is_on_the_disk_itself_on_macos(monkeypatch, tmp_path):
    """fsync hands on to the drive there, whose own memory a power cut empties; F_FULLFSYNC is the way to the disk."""
    asked = []
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda descriptor, request: asked.append(request))
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append("fsync"))
    write_table(words(), tmp_path / "out.csv")
    assert asked == [51, 51]  # the file, and the folder with its name


def test_a_file_system_without_the_request_of_macos_is_synced_as_elsewhere(monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    asked = []
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    monkeypatch.setattr(os, "fsync", asked.append)
    write_table(words(), tmp_path / "out.csv")
    assert len(asked) == 2


def test_sqlite_commits_to_the_disk_itself(tmp_path):
    """Of a journal and of a store: where the system knows F_FULLFSYNC, SQLite asks for it."""
    with StoreFile(tmp_path / "store.sqlite").writing() as store:
        assert store.execute("PRAGMA fullfsync").fetchone() == (1,)
        assert store.execute("PRAGMA synchronous").fetchone() == (2,)
    database, *_ = journal_file.opened(tmp_path / "run.journal")
    with closing(database):
        assert database.execute("PRAGMA fullfsync").fetchone() == (1,)
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
