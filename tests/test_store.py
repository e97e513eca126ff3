"""The store's file: private, whole or not there, shared by processes, and plain about what is wrong with it."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from permissions import permissions_bind
from sentences import wording

from tablenodes.engine.journal import Journal, KeptAnswer
from tablenodes.errors import StoreError
from tablenodes.store import StoreFile, ids
from tablenodes.store import store_file as file
from tablenodes.store.futures import Futures
from tablenodes.store.inventory import Inventory
from tablenodes.store.store_file import VARIABLE, store_path


def put(store, name="conv_1"):
    with store.writing() as database:
        database.execute("INSERT INTO messages VALUES (?, NULL, x'00')", (name,))


def names(store):
    with store.reading() as database:
        return [row[0] for row in database.execute("SELECT id FROM messages ORDER BY id")]


def test_what_is_written_is_there_for_whoever_opens_the_file(tmp_path):
    """One transaction, one commit."""
    with StoreFile(tmp_path / "store") as store:
        put(store)
    with StoreFile(tmp_path / "store") as store:
        assert names(store) == ["conv_1"]


def test_an_exception_takes_everything_back(tmp_path):
    """A transaction is whole or it is not; the exception passes as it is."""
    with StoreFile(tmp_path / "store") as store:
        with pytest.raises(ZeroDivisionError), store.writing() as database:
            database.executemany("INSERT INTO messages VALUES (?, NULL, x'00')", ((f"{1 / i}",) for i in (1, 0)))
        assert names(store) == []


def test_a_store_that_is_not_there_reads_as_an_empty_one_and_is_not_made(tmp_path):
    """Looking changes nothing."""
    with StoreFile(tmp_path / "store") as store:
        assert (names(store), store.changes(), store.exists) == ([], 0, False)
    assert os.listdir(tmp_path) == []


def test_the_files_are_for_their_owner_alone(tmp_path):
    """Whatever the process's mask says."""
    before = os.umask(0)
    try:
        with StoreFile(tmp_path / "store") as store:
            put(store)
            modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
    finally:
        os.umask(before)
    assert modes == {"store": 0o600, "store-wal": 0o600, "store-shm": 0o600}


def test_the_folder_that_is_made_is_private_and_one_that_is_there_is_left_alone(tmp_path, monkeypatch):
    """Only the user's data folder is made; another folder must be there."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("platformdirs.user_data_path", lambda name, appauthor: tmp_path / "data" / name)
    with StoreFile() as store:
        put(store)
    assert store.path == tmp_path / "data" / "tablenodes" / "store.sqlite"
    assert stat.S_IMODE(os.stat(store.path.parent).st_mode) == 0o700
    os.chmod(store.path.parent, 0o755)
    with StoreFile() as store:
        put(store, "conv_2")
    assert stat.S_IMODE(os.stat(store.path.parent).st_mode) == 0o755
    with StoreFile(tmp_path / "none" / "store") as other, wording.raises(StoreError):
        put(other)


def test_where_the_store_is(tmp_path, monkeypatch):
    """What is given, else what the environment names."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "named"))
    assert store_path() == tmp_path / "named"
    assert store_path(tmp_path / "given") == tmp_path / "given"
    for wrong in (7, ""):
        with wording.raises(StoreError):
            StoreFile(wrong)
    with StoreFile(f"{tmp_path}/\0") as store, wording.raises(StoreError):
        put(store)


def _link(path):
    target = path.with_name("target")
    with StoreFile(target) as store:
        put(store)
    path.symlink_to(target)


def _journal(path):
    Journal(path).close()


def _foreign(path):
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE mine (a)")


def _newer(path):
    with StoreFile(path) as store:
        put(store)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")


def _damaged(path):
    with StoreFile(path) as store:
        put(store)
    data = bytearray(path.read_bytes())
    data[4096 - 2000 : 4096] = b"\xff" * 2000
    path.write_bytes(data)


@pytest.mark.parametrize(
    "make",
    [
        _link,
        Path.mkdir,
        Path.touch,
        lambda path: path.write_text("name,text\n" * 20),
        _foreign,
        _journal,
        _newer,
        _damaged,
        lambda path: path.with_name("store-wal").write_bytes(b"x"),
    ],
)
def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path, make):
    """In one line that names the file; nothing is ever begun anew by itself."""
    path = tmp_path / "store"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with StoreFile(path) as store, wording.raises(StoreError) as caught:
        put(store)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_store_of_the_first_version_is_read_and_written(tmp_path):
    """What was added since is added to it, by whoever opens it first."""
    with StoreFile(tmp_path / "store") as store:
        put(store)
    with closing(sqlite3.connect(tmp_path / "store")) as database, database:
        for statement in ("DROP TABLE worker", "DROP TABLE submission", "ALTER TABLE future DROP COLUMN submission"):
            database.execute(statement)
        database.execute("PRAGMA user_version = 1")
    with StoreFile(tmp_path / "store") as store, StoreFile(tmp_path / "store") as other:
        assert names(store) == names(other) == ["conv_1"]
        answered(store, final=True)
        assert Inventory(store).counts() == {"http_error": 1}


def test_a_full_disk_is_said_and_changes_nothing(tmp_path):
    """What was there before is there."""
    with StoreFile(tmp_path / "store") as store:
        put(store)
        with store.writing() as database:
            database.execute("PRAGMA max_page_count = 1")
        with wording.raises(StoreError), store.writing() as database:
            database.execute("INSERT INTO messages VALUES ('b', NULL, zeroblob(100000))")
        assert names(store) == ["conv_1"]


@permissions_bind
def test_a_store_that_is_read_only_is_said(tmp_path):
    """Before a statement fails."""
    with StoreFile(tmp_path / "store") as store:
        put(store)
    (tmp_path / "store").chmod(0o400)
    with StoreFile(tmp_path / "store") as store, wording.raises(StoreError):
        put(store)


def test_a_store_of_another_user_is_refused(tmp_path, monkeypatch):
    """What it says is sent with one's own keys."""
    with StoreFile(tmp_path / "store") as store:
        put(store)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with StoreFile(tmp_path / "store") as store, wording.raises(StoreError):
        names(store)


def test_a_store_in_another_ones_place_is_seen(tmp_path):
    """A file that was deleted is not written to as long as somebody holds it."""
    with StoreFile(tmp_path / "store") as store:
        put(store)
        for path in tmp_path.iterdir():
            path.unlink()
        assert names(store) == []
        with StoreFile(tmp_path / "store") as other:
            put(other, "conv_2")
        assert names(store) == ["conv_2"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_opens_the_file_itself(tmp_path):
    """No two processes share what SQLite holds."""
    with StoreFile(tmp_path / "store") as store:
        put(store)
        child = os.fork()
        if not child:
            try:
                put(store, "conv_2")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert names(store) == ["conv_1", "conv_2"]


def test_others_are_waited_for_and_not_for_ever(tmp_path, monkeypatch):
    """A transaction that lasts too long is said."""
    monkeypatch.setattr(file, "BUSY", 0.05)
    with StoreFile(tmp_path / "store") as store, StoreFile(tmp_path / "store") as other:
        put(store)
        with store.writing(), wording.raises(StoreError):
            put(other)


def test_changes_of_others_are_seen(tmp_path):
    """A number tells, without a question to a table."""
    with StoreFile(tmp_path / "store") as store, StoreFile(tmp_path / "store") as other:
        put(store)
        before = store.changes()
        assert store.changes() == before
        put(other, "conv_2")
        assert store.changes() != before


@given(st.binary(min_size=16, max_size=16))
def test_an_id_is_read_as_it_was_written(chance):
    """resp_, 32 digits of chance, 8 that check them."""
    text = ids.written(chance)
    assert re.fullmatch(r"resp_[0-9a-f]{40}", text)
    assert ids.read(text) == chance


@given(st.binary(min_size=16, max_size=16), st.integers(0, 44), st.characters())
def test_an_id_with_one_other_character_is_none(chance, place, other):
    """Whichever it is."""
    text = ids.written(chance)
    changed = text[:place] + other + text[place + 1 :]
    assert changed == text or ids.read(changed) is None


@given(st.text() | st.integers() | st.none() | st.from_regex(r"resp_[0-9a-f]{40}"))
def test_what_is_no_id_is_none(value):
    """Nothing is raised, whatever stands in a cell."""
    found = ids.read(value)
    assert found is None or ids.written(found) == value


def test_ids_are_chance():
    """They say nothing about what they stand for, and no two are the same."""
    assert len({ids.new_id() for _ in range(1000)}) == 1000


def test_a_row_that_does_not_fit_its_check_sum_is_never_sent(tmp_path):
    """A bit that changed on the disk is seen."""
    with StoreFile(tmp_path / "store") as store:
        futures = Futures(store)
        futures.submit("{}", [b'{"a":1}'], 0.0, 1e12)
        with store.writing() as database:
            database.execute("UPDATE future SET body = ?", (b'{"a":2}',))
        with wording.raises(StoreError):
            futures.take(1, 0, 10)


# --- answers ---------------------------------------------------------------------------------------------------------

TOKEN = b"t" * 16
KEPT = KeptAnswer("http_error", "final", 400, b"Date: now", b'{"error":{}}', "reset", "no", 0.5)
COLUMNS = ("sends", "billed", "outcome", "kind", "status", "headers", "body", "fault", "message", "crc")


def answered(store, *, final):
    """Write one row and what came of its only send."""
    futures = Futures(store)
    futures.submit("{}", [b'{"a":1}'], 0.0, 1e12)
    futures.begin(TOKEN, os.getpid(), 0.0)
    (future,) = futures.take(1, 0, 10)
    future.sends, future.end, future.final = 1, KEPT, final
    futures.put(TOKEN, [future], 1.0)
    return futures


def flipped(value):
    """Return a column's value with one bit of it turned."""
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, str):
        return flipped(value.encode()).decode()
    return bytes([value[0] ^ 1]) + value[1:]


def change(store, column, make):
    """Write another value into a column of the answer."""
    with store.writing() as database:
        (value,) = database.execute(f"SELECT {column} FROM answer").fetchone()
        database.execute(f"UPDATE answer SET {column} = ?", (make(value),))


def read(futures, *, final):
    """Read the answer as it is retrieved, or as a worker takes the row up again."""
    return list(futures.ended([1])) if final else futures.take(1, 0, 10)


@pytest.mark.parametrize("final", [True, False], ids=["retrieved", "taken up again"])
def test_an_answer_is_read_as_it_was_put_down(tmp_path, final):
    """Every column of it."""
    with StoreFile(tmp_path / "store") as store:
        (found,) = read(answered(store, final=final), final=final)
    if final:
        assert found[:1] + found[2:] == (1, "{}", b'{"a":1}', (KEPT, 1, False))
    else:
        assert (found.end, found.sends, found.billed, found.body) == (KEPT, 1, False, b'{"a":1}')


@pytest.mark.parametrize("final", [True, False], ids=["retrieved", "taken up again"])
@pytest.mark.parametrize("column", COLUMNS)
def test_an_answer_that_does_not_fit_its_check_sum_is_refused(tmp_path, column, final):
    """A bit that changed on the disk is seen, in whichever column; in one line that names the file."""
    with StoreFile(tmp_path / "store") as store:
        futures = answered(store, final=final)
        change(store, column, flipped)
        with wording.raises(StoreError) as caught:
            read(futures, final=final)
    assert str(caught.value).startswith(f"{store.path}: ")


@pytest.mark.parametrize("column", ["headers", "body"])
def test_a_text_where_bytes_were_is_damage(tmp_path, column):
    """Though it says the same."""
    with StoreFile(tmp_path / "store") as store:
        futures = answered(store, final=True)
        change(store, column, bytes.decode)
        with wording.raises(StoreError):
            read(futures, final=True)


@pytest.mark.parametrize("column", ["outcome", "kind", "fault", "message"])
def test_a_text_that_is_none_any_more_is_damage(tmp_path, column):
    """A byte of it can be such that no text has it."""
    with StoreFile(tmp_path / "store") as store:
        futures = answered(store, final=True)
        with store.writing() as database:
            database.execute(f"UPDATE answer SET {column} = CAST(x'ff' || CAST({column} AS BLOB) AS TEXT)")
        with wording.raises(StoreError):
            read(futures, final=True)


def test_rows_past_their_deadline_end_when_it_is_seen(tmp_path):
    """With the words for it where nothing was sent; the others stay."""
    with StoreFile(tmp_path / "store") as store:
        futures = Futures(store)
        futures.submit("{}", [b"1"], 0.0, 10.0)
        futures.submit("{}", [b"2"], 0.0, 30.0)
        futures.begin(TOKEN, os.getpid(), 20.0)
        futures.expire(TOKEN, 20.0, 1)
        ((number, _, _, body, late),) = futures.ended([1, 2])
        assert (number, body, late.end.outcome, late.sends) == (1, b"1", "not_sent", 0)
        wording(late.end.message)
        assert list(futures.pending(range(1, 9))) == [2]


def test_a_list_that_is_read_in_part_is_closed_in_silence(tmp_path, recwarn):
    """As by a pipe to head; meanwhile others write, and the list goes on."""
    with StoreFile(tmp_path / "store") as store:
        futures = Futures(store)
        futures.submit("{}", [b"%d" % row for row in range(1001)], 0.0, 10.0)
        assert len({each.id for each in Inventory(store).listed()}) == 1001
        listed = Inventory(store).listed()
        next(listed)
        futures.submit("{}", [b"1"], 0.0, 10.0)
    listed.close()
    del listed
    assert not recwarn


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_INTERRUPT, 0])
def test_only_what_is_damaged_is_called_so(tmp_path, code):
    """What is not known of SQLite's errors is said by its number."""
    error = sqlite3.OperationalError()
    error.sqlite_errorcode = code
    with wording.raises(StoreError), StoreFile(tmp_path / "store") as store, store.writing():
        raise error
