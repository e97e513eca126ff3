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

from tablenodes.engine.journal.journal import Journal
from tablenodes.errors import StoreError
from tablenodes.store import StoreFile, file, ids
from tablenodes.store.file import VARIABLE, store_path
from tablenodes.store.futures import Futures


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
    monkeypatch.setattr(file.platformdirs, "user_data_path", lambda name: tmp_path / "data" / name)
    with StoreFile() as store:
        put(store)
    assert store.path == tmp_path / "data" / "tablenodes" / "store.sqlite"
    assert stat.S_IMODE(os.stat(store.path.parent).st_mode) == 0o700
    os.chmod(store.path.parent, 0o755)
    with StoreFile() as store:
        put(store, "conv_2")
    assert stat.S_IMODE(os.stat(store.path.parent).st_mode) == 0o755
    with StoreFile(tmp_path / "none" / "store") as other, pytest.raises(StoreError, match="make it first"):
        put(other)


def test_where_the_store_is(tmp_path, monkeypatch):
    """What is given, else what the environment names."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "named"))
    assert store_path() == tmp_path / "named"
    assert store_path(tmp_path / "given") == tmp_path / "given"
    for wrong, words in ((7, "must be a path, not int"), ("", "the path is empty")):
        with pytest.raises(StoreError, match=words):
            StoreFile(wrong)
    with StoreFile(f"{tmp_path}/\0") as store, pytest.raises(StoreError, match="no path can hold"):
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
    ("make", "words"),
    [
        (_link, "not a link"),
        (Path.mkdir, "not a link, a folder"),
        (Path.touch, "the file is empty"),
        (lambda path: path.write_text("name,text\n" * 20), "this is no store"),
        (_foreign, "this is no store of tablenodes"),
        (_journal, "this is a journal, not a store"),
        (_newer, "the store has version 99"),
        (_damaged, "the store is damaged"),
        (lambda path: path.with_name("store-wal").write_bytes(b"x"), "a part of one, store-wal"),
    ],
)
def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path, make, words):
    """In one line that names the file; nothing is ever begun anew by itself."""
    path = tmp_path / "store"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with StoreFile(path) as store, pytest.raises(StoreError, match=words) as caught:
        put(store)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_full_disk_is_said_and_changes_nothing(tmp_path):
    """What was there before is there."""
    with StoreFile(tmp_path / "store") as store:
        put(store)
        with store.writing() as database:
            database.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StoreError, match="the disk is full"), store.writing() as database:
            database.execute("INSERT INTO messages VALUES ('b', NULL, zeroblob(100000))")
        assert names(store) == ["conv_1"]


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is read-only for root")
def test_a_store_that_is_read_only_is_said(tmp_path):
    """Before a statement fails."""
    with StoreFile(tmp_path / "store") as store:
        put(store)
    (tmp_path / "store").chmod(0o400)
    with StoreFile(tmp_path / "store") as store, pytest.raises(StoreError, match="read-only"):
        put(store)


def test_a_store_of_another_user_is_refused(tmp_path, monkeypatch):
    """What it says is sent with one's own keys."""
    with StoreFile(tmp_path / "store") as store:
        put(store)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with StoreFile(tmp_path / "store") as store, pytest.raises(StoreError, match="belongs to another user"):
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
        with store.writing(), pytest.raises(StoreError, match="in use by others"):
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
        with pytest.raises(StoreError, match="does not fit its check sum"):
            futures.take(1, 0, 10)
