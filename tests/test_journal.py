"""The journal: what was put down is there again, what is not a whole journal is refused, and nothing is paid twice."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from permissions import permissions_bind
from sentences import wording
from servers import echo, fault_server

import tablenodes as tn
from tablenodes.engine.calls import Answer, Call, Request
from tablenodes.engine.journal import Entry, Finder, Journal, KeptAnswer, Keys
from tablenodes.engine.journal import journal_file as journal_file
from tablenodes.engine.journal.recorder import JournalRecorder
from tablenodes.engine.outcomes.judge import judge
from tablenodes.errors import JournalError

NODE = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}")
REQUEST = Request("POST", "https://api.example/v1/chat/completions?v=1", (("Authorization", "Bearer one"),))
OK = KeptAnswer("ok", None, 200, b"Content-Type: application/json\r\n", b'{"choices": []}', None, "", 0.25)
QUIET = {"progress": False}
KEY = "sk-canary-4711-abcdefghijklmnop"


def words(count=6, start=0):
    return pd.DataFrame({"word": [f"w{i}" for i in range(start, start + count)]})


def connection(server, key=KEY, **more):
    return tn.Connection(server if isinstance(server, str) else server.url, key, **more)


def run(table, server, journal, **manner):
    """Run the node over a table, with one request in flight unless `limits` says more."""
    given = {"limits": tn.Limits(concurrency=1)} | QUIET | manner
    return NODE.run(table, connection(server), journal=journal, **given)


def outcomes(out):
    return list(out.log["outcome"])


@contextmanager
def journal_at(path):
    with closing(Journal(path)) as journal:
        yield journal


def put_down(journal, *keys, end=OK, billed=False):
    for key in keys:
        entry = Entry(key)
        journal.intend(entry)
        journal.commit()
        if end is not None:
            journal.done(entry, end, billed=billed)
    journal.commit()


def found(journal, key):
    """Return the row of a key as it is in the file, or None."""
    return next((entry for entry in journal if entry.key == key), None)


def known(found):
    """Return all that is known of a row: its sends, whether it may have been billed, its end."""
    return found.sends, found.billed, found.last


def keys(count):
    made = Keys(REQUEST)
    return [made.key(b'{"n": %d}' % number) for number in range(count)]


def leave_as_killed(source, target):
    """Copy a journal that is open, as a killed process would leave it."""
    for ending in ("", "-wal"):
        if Path(f"{source}{ending}").exists():
            shutil.copy(f"{source}{ending}", f"{target}{ending}")


@pytest.fixture(scope="module")
def quick_folder():
    """A folder in memory, where there is one: each look at a journal syncs."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        yield Path(folder)


# --- keys ----------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def dumped(value):
    return orjson.dumps(value)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.randoms())
def test_a_key_is_the_same_for_the_same_request_however_it_is_written(body, chance):
    """Order of properties and white space do not matter; each further equal row has a key of its own."""
    shuffled = list(body.items())
    chance.shuffle(shuffled)
    made, others = Keys(REQUEST), Keys(REQUEST)
    first, second = made.key(dumped(body)), made.key(dumped(dict(shuffled)))
    assert (second.digest, second.occurrence) == (first.digest, 1)
    assert first == others.key(orjson.dumps(dict(shuffled), option=orjson.OPT_INDENT_2))


@given(st.lists(st.dictionaries(st.text(max_size=2), JSON, max_size=2), min_size=2, max_size=2, unique_by=dumped))
def test_different_requests_have_different_keys(bodies):
    """Also where they differ in a type alone: 1, 1.0, true and "1"."""
    one, other = (orjson.dumps(body, option=orjson.OPT_SORT_KEYS) for body in bodies)
    made = Keys(REQUEST)
    assert (made.key(one).digest == made.key(other).digest) == (one == other)


def test_a_key_depends_on_where_the_request_goes_and_not_on_headers():
    """Another model server, path, query or node is another question; another API key is not."""
    others = [
        ("GET", REQUEST.url, ""),
        ("POST", REQUEST.url.replace("https", "http"), ""),
        ("POST", REQUEST.url.replace("api.", "api2."), ""),
        ("POST", REQUEST.url.replace("example", "example:8080"), ""),
        ("POST", REQUEST.url.replace("chat/", ""), ""),
        ("POST", REQUEST.url.replace("v=1", "v=2"), ""),
        ("POST", REQUEST.url, "node"),
    ]
    found = {Keys(Request(method, url, ()), scope).key(b"{}") for method, url, scope in others}
    assert len(found) == len(others)
    same = Keys(REQUEST._replace(headers=(("Authorization", "Bearer two"), ("X-New", "1")))).key(b"{}")
    assert same == Keys(REQUEST).key(b"{}")
    assert same not in found


@given(st.lists(st.integers(0, 12), max_size=200))
def test_equal_requests_are_counted(numbers):
    """However many there are of each, in whatever order; as many bytes are kept of a repeated one as of another."""
    made, seen = Keys(REQUEST), Counter()
    for number in numbers:
        assert made.key(b'{"n": %d}' % number).occurrence == seen[number]
        seen[number] += 1
    assert sum(map(len, made._seen._parts)) == len(numbers)


# --- what is put down ----------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.just(1),
            st.booleans(),
            st.builds(
                KeptAnswer,
                st.sampled_from(["ok", "http_error", "reset"]),
                st.none() | st.sampled_from(["final", "ambiguous"]),
                st.none() | st.integers(100, 599),
                st.binary(max_size=50),
                st.binary(max_size=5000),
                st.none() | st.sampled_from(["reset", "too_large"]),
                st.text(max_size=30),
                st.floats(0, 1e6),
            ),
        ),
        max_size=5,
    )
)
def test_what_was_put_down_is_there_again(tmp_path_factory, entries):
    """Whatever the bytes are."""
    path = tmp_path_factory.mktemp("journal") / "run.journal"
    made = keys(len(entries))
    with journal_at(path) as journal:
        for key, (_, billed, end) in zip(made, entries, strict=True):
            put_down(journal, key, end=end, billed=billed)
    with journal_at(path) as journal:
        finder = Finder(journal)
        assert [known(finder.find(key)) for key in made] == entries
        assert journal.rows == journal.sends == len(journal) == len(entries)


def test_what_is_not_committed_is_not_there(tmp_path):
    """And what was intended and has no answer is in doubt."""
    one, two, three = keys(3)
    with journal_at(tmp_path / "a") as journal:
        entry = Entry(one)
        journal.intend(entry)
        journal.commit()
        journal.done(entry, OK)
        journal.intend(Entry(two))
        leave_as_killed(tmp_path / "a", tmp_path / "b")
    with journal_at(tmp_path / "b") as journal:
        assert found(journal, one).last is None
        assert found(journal, two) is None
        assert found(journal, three) is None
        assert journal.sends == 1


def test_each_commit_is_synced(tmp_path):
    """What is committed outlives a power failure: SQLite's own setting for that, in the journal as it is open."""
    with journal_at(tmp_path / "a") as journal:
        settings = ("synchronous", "journal_mode", "locking_mode")
        assert [journal._execute(f"PRAGMA {name}").fetchone()[0] for name in settings] == [2, "wal", "exclusive"]


def test_a_row_that_is_sent_again_is_in_doubt_again(tmp_path):
    """Its old answer is no longer its end; sends are added up, and once it may have been billed it stays so."""
    (key,) = keys(1)
    failed = OK._replace(outcome="http_error", kind="server_error", status=500)
    with journal_at(tmp_path / "a") as journal:
        put_down(journal, key, end=failed, billed=True)
        entry = found(journal, key)
        journal.intend(entry)
        journal.commit()
        assert known(found(journal, key)) == (2, True, None)
        journal.done(entry, OK, unforeseen=2)
        journal.commit()
    with journal_at(tmp_path / "a") as journal:
        assert known(found(journal, key)) == (4, True, OK)
        assert journal.sends == 4


def test_rows_are_found_in_any_order(tmp_path):
    """Moved, removed and added rows too; an unchanged table needs no index."""
    made = keys(9)
    with journal_at(tmp_path / "a") as journal:
        put_down(journal, *made[:6])
    with journal_at(tmp_path / "a") as journal:
        finder = Finder(journal)
        assert [finder.find(key) is not None for key in made] == [True] * 6 + [False] * 3
        assert finder._places is None
        for order in ([8, 5, 0, 7, 3, 4, 2, 1], [1, 2, 3], [6], [5, 4, 3, 2, 1, 0]):
            finder = Finder(journal)
            assert [finder.find(made[i]) is not None for i in order] == [i < 6 for i in order]
    with journal_at(tmp_path / "a") as journal:
        put_down(journal, *made[6:])
    with journal_at(tmp_path / "a") as journal:
        assert all(found(journal, key).last == OK for key in made)


@settings(max_examples=15)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.randoms())
def test_each_of_equal_rows_finds_its_own_answer(quick_folder, numbers, chance):
    """The kth of them takes the kth answer, also in a table whose rows were moved, removed and added."""
    path, made = quick_folder / "equal", Keys(REQUEST)
    path.unlink(missing_ok=True)
    with journal_at(path) as journal:
        for number in numbers:
            key = made.key(b'{"n": %d}' % number)
            put_down(journal, key, end=OK._replace(body=b"%d of %d" % (key.occurrence, number)))
    table = [*numbers, *numbers, 9]
    chance.shuffle(table)
    with journal_at(path) as journal:
        finder, again, left = Finder(journal), Keys(REQUEST), Counter(numbers)
        for number in table:
            key = again.key(b'{"n": %d}' % number)
            row = finder.find(key)
            assert (row is not None) == (key.occurrence < left[number])
            assert row is None or row.last.body == b"%d of %d" % (key.occurrence, number)


@pytest.mark.parametrize("statement", ["DELETE FROM row WHERE id = 4", "UPDATE row SET digest = x'00' WHERE id = 4"])
def test_a_row_that_is_damaged_is_not_taken_for_one_that_was_never_sent(tmp_path, statement):
    """It is noticed when it is come to, or looked for: it would be paid for again."""
    with journal_at(tmp_path / "a") as journal:
        put_down(journal, *(made := keys(6)))
    _foreign(tmp_path / "a", statement)
    for order in (range(6), [5, 3]):
        with journal_at(tmp_path / "a") as journal, pytest.raises(JournalError, match="damaged"):
            [*map(Finder(journal).find, [made[number] for number in order])]


def test_opening_and_closing_read_no_answer_but_the_first_and_the_last(tmp_path, monkeypatch):
    """However long the journal is; its rows and requests were counted as they were put down."""
    with journal_at(tmp_path / "a") as journal:
        put_down(journal, *keys(50), end=OK._replace(body=os.urandom(9_000)))
    read, right = [], Journal._read_block
    monkeypatch.setattr(Journal, "_read_block", lambda self, number: read.append(number) or right(self, number))
    with journal_at(tmp_path / "a") as journal:
        assert (journal.rows, journal.sends) == (50, 50)
    assert read == [1, 50]


def test_a_compacted_journal_has_the_same_rows(tmp_path):
    """And is smaller: answers that were replaced are gone, and many are compressed together."""
    body = b'{"choices": [{"message": {"content": "%d"}}], "usage": {"prompt_tokens": %d}}'
    with journal_at(tmp_path / "a") as journal:
        for number, key in enumerate(keys(200)):
            put_down(journal, key, end=OK._replace(body=body % (number, 7**200)))
        entry = next(iter(journal))
        journal.intend(entry)
        journal.commit()
        journal.done(entry, OK)
    before = os.path.getsize(tmp_path / "a")
    with journal_at(tmp_path / "a") as journal:
        rows = [(entry.key, known(entry)) for entry in journal]
        journal.compact()
    assert os.path.getsize(tmp_path / "a") < before / 2
    with journal_at(tmp_path / "a") as journal:
        journal.verify()
        assert [(entry.key, known(entry)) for entry in journal] == rows
        assert (len(rows), journal.sends) == (200, 201)


def test_a_commit_that_was_made_although_it_failed_counts_no_row_twice(tmp_path):
    """What it put down of sends that were never made is gone with the next one."""
    one, two, three = map(Entry, keys(3))

    class Connection(sqlite3.Connection):
        fails = False

        def execute(self, statement, *more):
            made = super().execute(statement, *more)
            if self.fails and statement == "COMMIT":
                raise sqlite3.OperationalError("disk I/O error")
            return made

    journal = Journal(tmp_path / "a")
    journal._database.close()
    journal._database = database = sqlite3.connect(tmp_path / "a", factory=Connection, isolation_level=None)
    journal._look_at = float("inf")
    journal.intend(one)
    journal.commit()
    database.fails = True
    for entry in (two, three):
        journal.intend(entry)
    journal.done(one, OK)
    with pytest.raises(JournalError):
        journal.commit()
    database.fails = False
    journal.close()
    with journal_at(tmp_path / "a") as journal:
        assert [entry.last for entry in journal] == [OK]
        assert journal.sends == 1


def test_a_commit_that_fails_keeps_the_answers_and_takes_the_intents_back(tmp_path):
    """Nothing of them was sent; the next commit, if it can, saves what came."""
    one, two = keys(2)
    with journal_at(tmp_path / "a") as journal:
        entry, other = Entry(one), Entry(two)
        journal.intend(entry)
        journal.commit()
        journal.done(entry, OK)
        journal.intend(other)
        assert journal.sends == 2
        journal._database.execute("PRAGMA query_only = 1")
        with wording.raises(JournalError):
            journal.commit()
        assert (other.place, other.sends, journal.sends, len(journal)) == (0, 0, 1, 1)
        journal.intend(entry)
        with wording.raises(JournalError):
            journal.commit()
        assert (entry.place, entry.sends, journal.sends, len(journal)) == (1, 1, 1, 1)
        journal._database.execute("PRAGMA query_only = 0")
        journal.commit()
        assert found(journal, one).last == OK
        assert found(journal, two) is None
        journal.intend(other)
        journal.commit()
        assert found(journal, two).place == 2


def test_what_sqlite_cannot_hold_is_said(tmp_path):
    """An answer of more than a gigabyte, or a number that is none of HTTP's."""
    with journal_at(tmp_path / "a") as journal, wording.raises(JournalError):
        put_down(journal, *keys(1), end=OK._replace(status=2**70))


def test_closing_never_raises(tmp_path):
    """What must be known was committed before. Where marking the end fails, room is made for it."""
    failing = ["UPDATE run"]

    class Connection(sqlite3.Connection):
        def execute(self, statement, *more):
            if failing and statement.startswith(failing[0]):
                failing.pop()
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(statement, *more)

    journal = Journal(tmp_path / "a")
    put_down(journal, *keys(2))
    journal._database.close()
    journal._database = sqlite3.connect(tmp_path / "a", factory=Connection, isolation_level=None)
    journal.close()
    assert not failing
    with journal_at(tmp_path / "a") as journal:
        assert len(journal) == 2


def test_messages_that_are_no_text_are_kept_as_well_as_they_can_be(tmp_path):
    """A lone surrogate in a transport's words is no reason to lose an answer."""
    with journal_at(tmp_path / "a") as journal:
        recorder = JournalRecorder(journal)
        recorder.recall(Call(0, REQUEST, b"{}", 1.0, judge, Keys(REQUEST)))
        recorder.intend(0)
        recorder.commit()
        sent = Answer(0, None, b"", b"", "reset", "gone \udcff é")
        recorder.record(sent, judge(sent))
        recorder.commit()
        assert found(journal, Keys(REQUEST).key(b"{}")).last.message == "gone ? é"


# --- what is refused -----------------------------------------------------------------------------------------------


def _link(path):
    path.with_name("there").write_bytes(b"")
    path.symlink_to(path.with_name("there"))


def _foreign(path, statement="CREATE TABLE t (a)"):
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(statement)


def _other_version(path):
    Journal(path).close()
    _foreign(path, "PRAGMA user_version = 3")


def _other_table(path):
    Journal(path).close()
    _foreign(path, "ALTER TABLE row ADD COLUMN more")


def _text_for_bytes(path):
    with journal_at(path) as journal:
        put_down(journal, *keys(2))
    _foreign(path, "UPDATE row SET digest = 'text'")


def _without_mark(path):
    Journal(path).close()
    _foreign(path, "DELETE FROM run")


def _without_log(path):
    with journal_at(path.with_name("open")) as journal:
        put_down(journal, *keys(3))
        shutil.copy(path.with_name("open"), path)


REFUSED = {
    "a folder": Path.mkdir,
    "a link": _link,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a pipe": os.mkfifo,
    "an empty file": Path.touch,
    "a text": lambda path: path.write_text("word\na\n"),
    "a long text": lambda path: path.write_text("word\na\n" * 9999),
    "another program's file": _foreign,
    "an empty SQLite file": lambda path: _foreign(path, "PRAGMA user_version = 1"),
    "another version": _other_version,
    "another table": _other_table,
    "a text where bytes were": _text_for_bytes,
    "a file without its mark": _without_mark,
    "a killed run's file without its -wal": _without_log,
    "a -wal alone": lambda path: path.with_name("run.journal-wal").write_text("x"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_whole_journal_is_refused(tmp_path, kind):
    """In one entry, before anything is sent, and it stays as it is: beginning anew would pay for every row again."""
    path = tmp_path / "run.journal"
    REFUSED[kind](path)
    before = path.read_bytes() if path.is_file() else None
    for _ in range(2):
        with fault_server(echo()) as server, wording.raises(JournalError) as caught:
            run(words(), server, path)
        assert server.requests == []
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.output is None
    if (
        before is not None
        and "version" not in kind
        and "without" not in kind
        and "table" not in kind
        and "text where" not in kind
    ):
        assert path.read_bytes() == before
    with suppress(IsADirectoryError, FileNotFoundError):
        path.unlink()


@pytest.mark.parametrize(
    "path",
    [
        "no/run.journal",
        "file/run.journal",
        "a\0b",
        "n" * 300,
    ],
)
def test_a_path_that_cannot_be_is_said_before_anything_is_sent(tmp_path, path):
    """Nothing is made on the way."""
    (tmp_path / "file").touch()
    with fault_server(echo()) as server, wording.raises(JournalError):
        run(words(), server, str(tmp_path / path))
    assert server.requests == []
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("there", [True, False], ids=["there", "not there"])
@pytest.mark.parametrize("what", ["folder", "file"])
@permissions_bind
def test_what_is_read_only_is_said_before_anything_is_sent(tmp_path, what, there):
    """A folder without the right to write, or a file."""
    folder = tmp_path / "folder"
    path = folder / "run.journal"
    folder.mkdir()
    if there:
        Journal(path).close()
        path.chmod(0o400 if what == "file" else 0o600)
    folder.chmod(0o500 if what == "folder" else 0o700)
    with fault_server(echo()) as server:
        if what == "file" and not there:
            assert outcomes(run(words(1), server, path)) == ["ok"]
        else:
            with pytest.raises(JournalError, match=r"read-only|Permission denied"):
                run(words(1), server, path)
            assert server.requests == []
    folder.chmod(0o700)


@pytest.mark.parametrize("killed_before", [False, True])
def test_a_journal_that_another_process_holds_is_refused_at_once(tmp_path, killed_before):
    """The second run sends nothing; when the first is gone, the journal is free. A run that was killed is no matter."""
    path = tmp_path / "run.journal"
    hold = "import sys; from pathlib import Path; from tablenodes.engine.journal import Journal\n"
    hold += "journal = Journal(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, path]
    if killed_before:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as victim:
            assert victim.stdout.readline() == b"held\n"
            victim.kill()
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder, fault_server(echo()) as server:
        assert holder.stdout.readline() == b"held\n"
        with wording.raises(JournalError):
            run(words(), server, path)
        assert server.requests == []
        holder.kill()
        holder.wait()
        assert outcomes(run(words(), server, path)) == ["ok"] * 6


def test_a_journal_that_another_run_of_this_process_holds_is_refused(tmp_path):
    """Threads are no exception."""
    with journal_at(tmp_path / "a"), wording.raises(JournalError):
        Journal(tmp_path / "a")


def test_two_that_make_one_journal_at_the_same_time_do_not_share_it(tmp_path):
    """The file is made under another name; only one can hold it, and no half of one is ever seen."""
    path = tmp_path / "run.journal"
    found, ready, tried = [], threading.Barrier(8), threading.Barrier(8)

    def open_it():
        ready.wait()
        journal = None
        try:
            journal = Journal(path)
            found.append("held")
        except JournalError as error:
            found.append(str(error))
        tried.wait()
        if journal is not None:
            journal.close()

    for _ in range(5):
        threads = [threading.Thread(target=open_it) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found.count("held") <= 1
        assert set(found) <= {
            "held",
            f"{path}: another run is using the journal; wait for it, or choose another path",
        }
        found.clear()
        assert os.listdir(tmp_path) == ["run.journal"]


def test_a_journal_that_another_has_just_made_is_no_part_of_one(tmp_path):
    """Who comes a moment later sees its log beside it, and leaves both as they are."""
    path = tmp_path / "run.journal"
    first = Journal(path)
    before = path.read_bytes()
    assert Path(f"{path}-wal").exists()
    journal_file._KIND.make(path, b"anew")
    assert path.read_bytes() == before
    first.close()


def test_journals_are_private_whatever_the_umask_is(tmp_path):
    """Answers may be anything: nobody else may read them."""
    path = tmp_path / "run.journal"
    before = os.umask(0)
    try:
        with journal_at(path) as journal:
            put_down(journal, *keys(3))
            modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
    finally:
        os.umask(before)
    assert modes == {"run.journal": 0o600, "run.journal-wal": 0o600}


def test_a_journal_is_made_where_there_are_no_links(tmp_path, monkeypatch):
    """As on FAT: the file is then written in its place."""

    def no_links(*_):
        raise OSError("Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with journal_at(tmp_path / "a") as journal:
        put_down(journal, *keys(1))
    assert os.listdir(tmp_path) == ["a"]


# --- what is damaged -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def closed(quick_folder):
    """A journal with six rows that was closed, and one of them in doubt."""
    with journal_at(quick_folder / "closed") as journal:
        put_down(journal, *DAMAGED_KEYS[:5], end=DAMAGED_END)
        put_down(journal, DAMAGED_KEYS[5], end=None)
    return quick_folder / "closed"


@pytest.fixture(scope="module")
def killed(quick_folder):
    """The same journal, not closed: most of it is in the log."""
    with journal_at(quick_folder / "open") as journal:
        put_down(journal, *DAMAGED_KEYS[:5], end=DAMAGED_END)
        put_down(journal, DAMAGED_KEYS[5], end=None)
        leave_as_killed(quick_folder / "open", quick_folder / "killed")
    return quick_folder / "killed"


DAMAGED_KEYS = keys(6)
DAMAGED_END = OK._replace(body=bytes(range(256)) * 8, message="some words", outcome="http_error", kind="final")


def found_in(path):
    """What a journal gives for each row, in the table's order and another; None where it is refused."""
    with suppress(JournalError), journal_at(path) as journal:
        finder, other = Finder(journal), Finder(journal)
        every_way = [finder.find(key) for key in DAMAGED_KEYS]
        every_way += reversed([other.find(key) for key in reversed(DAMAGED_KEYS)])
        rows = [found and (*known(found)[:2], found.last and found.last._replace(latency=0.0)) for found in every_way]
        return rows, journal.sends
    return None


def flip(source, target, ending, bit):
    leave_as_killed(source, target)
    for more in {"", "-wal"} - {e for e in ("", "-wal") if Path(f"{source}{e}").exists()}:
        Path(f"{target}{more}").unlink(missing_ok=True)
    damaged = bytearray(Path(f"{target}{ending}").read_bytes())
    damaged[bit // 8] ^= 1 << bit % 8
    Path(f"{target}{ending}").write_bytes(damaged)


def bits(path, count):
    """Some bits of a file, spread over all of it, its first bytes among them; one in each byte if `count` is 0."""
    size = os.path.getsize(path)
    chance = random.Random(4711)
    if not count:
        return [8 * byte + chance.randrange(8) for byte in range(size)]
    return [8 * byte + chance.randrange(8) for byte in range(0, 200, 3)] + chance.sample(range(8 * size), count)


EACH_BYTE = pytest.param(0, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])


@pytest.mark.parametrize("count", [300, EACH_BYTE])
def test_a_flipped_bit_is_noticed_or_does_no_harm(quick_folder, closed, count):
    """Wherever it is: a journal is refused, or gives every row as it was put down. None goes missing, none changes."""
    right = found_in(closed)
    assert right is not None
    assert None not in right[0]
    seen = {True: 0, False: 0}
    for bit in bits(closed, count):
        flip(closed, quick_folder / "flipped", "", bit)
        found = found_in(quick_folder / "flipped")
        assert found in (None, right), f"bit {bit}"
        seen[found is None] += 1
    print(f"refused {seen[True]}, harmless {seen[False]}")
    assert seen[True] > 50


@pytest.mark.parametrize("count", [200, EACH_BYTE])
def test_a_flipped_bit_in_the_log_loses_the_last_commits_at_most(quick_folder, killed, count):
    """A damaged last commit looks as one that a crash cut off; for one before it, the journal is refused.

    Where the bit is in the very header that ends the last commit but one, the two look as one.
    """
    right = found_in_copy(killed, quick_folder)
    without_last = [*right[0][:5], None, *right[0][6:11], None]
    doubtful = (1, False, None)
    without_two = [*right[0][:4], doubtful, None, *right[0][6:10], doubtful, None]
    seen = []
    for bit in bits(Path(f"{killed}-wal"), count):
        flip(killed, quick_folder / "flipped", "-wal", bit)
        found = found_in(quick_folder / "flipped")
        assert found in (None, right) or found[0] in (without_last, without_two), f"bit {bit}"
        seen.append("refused" if found is None else "lost" if found[0] == without_last else "two lost")
        assert seen[-1] != "two lost" or found == right or (bit // 8 - 32) % (4096 + 24) < 24
    print({each: seen.count(each) for each in set(seen)})
    assert seen.count("refused") > 50


def found_in_copy(source, folder):
    leave_as_killed(source, folder / "copy")
    found = found_in(folder / "copy")
    assert found is not None
    assert None not in found[0]
    return found


def test_a_journal_that_is_cut_off_is_refused(quick_folder, closed):
    """At whatever length."""
    whole = closed.read_bytes()
    for length in [*range(0, 200, 7), *range(200, len(whole), 499), len(whole) - 1]:
        (quick_folder / "cut").write_bytes(whole[:length])
        for ending in ("-wal", "-journal"):
            Path(f"{quick_folder / 'cut'}{ending}").unlink(missing_ok=True)
        assert found_in(quick_folder / "cut") is None, length


def test_a_log_that_is_cut_off_within_its_last_commit_loses_that_alone(quick_folder, killed):
    """As after a power failure in the middle of it."""
    right = found_in_copy(killed, quick_folder)
    log = Path(f"{killed}-wal").read_bytes()
    for length in (len(log) - 1, len(log) - 100, len(log) - 4096):
        leave_as_killed(killed, quick_folder / "cut")
        Path(f"{quick_folder / 'cut'}-wal").write_bytes(log[:length])
        found = found_in(quick_folder / "cut")
        assert found is not None
        assert found[0][:5] == right[0][:5]
    for length in (0, 10):
        leave_as_killed(killed, quick_folder / "cut")
        Path(f"{quick_folder / 'cut'}-wal").write_bytes(log[:length])
        assert found_in(quick_folder / "cut") is None or length
