"""A node as a function of a batch: what goes in and comes out, what does not travel, and its folder of journals."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import multiprocessing
import os
import pickle
import threading

import cloudpickle
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import requests
from killing import oracle
from sentences import wording
from servers import answer, echo, echo_server, fault_server

import tablenodes as tn
from tablenodes.errors import (
    ConnectionSettingError,
    JournalError,
    SettingError,
    SettingNameError,
    TableError,
    UsageError,
)

NODE = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}")
WORDS = pd.DataFrame({"word": [f"w{i}" for i in range(60)]}, index=range(100, 160))


def numbered():
    """A reaction that answers each request with another number."""
    numbers = itertools.count()

    def react(exchange):
        choice = {"message": {"content": str(next(numbers))}, "finish_reason": "stop"}
        answer({"choices": [choice]})(exchange)

    return react


def parts(table, count):
    """Return a table in so many parts."""
    return [table.iloc[at * len(table) // count : (at + 1) * len(table) // count] for at in range(count)]


def asked(mapper, table, count):
    """Return the parts of a table, asked one after the other, as one table again."""
    return pd.concat([mapper.beside(part) for part in parts(table, count)])


def journals(folder):
    return sorted(each.name for each in folder.iterdir() if each.name.endswith(".journal"))


# --- what goes in and comes out -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pickled", [pickle.dumps, cloudpickle.dumps])
def test_it_is_the_same_after_a_pickle(pickled):
    """With its schema, which is known before there is a row."""
    mapper = NODE.replace(answer={"stars": int}).mapper(tn.Connection("http://127.0.0.1:1", ""))
    again = pickle.loads(pickled(mapper))
    assert repr(again) == repr(mapper)
    assert again.schema == mapper.schema
    assert list(again.meta.dtypes) == list(mapper.meta.dtypes)


def test_a_data_frame_keeps_its_index_and_gets_the_columns_that_the_node_makes():
    """Of the same types, whatever the answers are; those of `beside` stand to the right of its own."""
    mapper = NODE.mapper(tn.testing.canned("yes"))
    made, whole, none = mapper(WORDS), mapper.beside(WORDS), mapper(WORDS.iloc[:0])
    assert (made["answer"] == "yes").all()
    for each in (made, none):
        pd.testing.assert_series_equal(each.dtypes, mapper.meta.dtypes)
    assert list(made.index) == list(WORDS.index)
    assert list(whole.columns) == ["word", *made.columns]
    pd.testing.assert_series_equal(whole.dtypes, mapper.meta_beside(WORDS).dtypes)


@pytest.mark.parametrize("kind", [pa.Table, pa.RecordBatch])
def test_what_arrow_has_comes_back_as_the_same_kind(kind):
    """Batch by batch too, without rows too; a column of its own that is called as one of ours stays."""
    table = kind.from_pandas(WORDS.assign(status="mine"), preserve_index=False)
    mapper = NODE.mapper(tn.testing.canned("yes"))
    for given in (table, table.slice(0, 0)):
        made, (whole,) = mapper(given), mapper.batches(iter([given]))
        assert (type(made), type(whole)) == (kind, kind)
        assert made.schema == mapper.schema
        assert whole.schema == mapper.schema_beside(table.schema)
        assert whole.column_names[:4] == ["word", "status", "answer", "status_2"]
        assert (made.num_rows, whole.num_rows) == (given.num_rows, given.num_rows)


def test_a_polars_data_frame_comes_back_as_one():
    """Its schema is none of Arrow's, and is said to be none."""
    table, mapper = pl.DataFrame({"word": ["w0", "w1"]}), NODE.mapper(tn.testing.canned("yes"))
    made = mapper.beside(table)
    assert (type(made), made.columns[:2], made.height) == (pl.DataFrame, ["word", "answer"], 2)
    with wording.raises(TableError):
        mapper.schema_beside(table.schema)


def test_nothing_is_said_and_nothing_is_held_where_it_works(capfd):
    """What became of each row is in its columns."""
    tn.last_output(forget=True)
    mapper = NODE.mapper(tn.testing.canned((400, {"error": {"message": "no"}})))
    made = mapper(WORDS.assign(temperature=0.5))
    assert set(made["outcome"]) <= {"http_error", "not_sent"}
    assert capfd.readouterr() == ("", "")
    assert tn.last_output() is None


def test_a_column_that_is_not_there_is_an_error():
    """And a table that has an answer already."""
    mapper = NODE.mapper(tn.testing.canned("yes"))
    with pytest.raises(tn.errors.ColumnError):
        mapper(WORDS.rename(columns={"word": "other"}))
    with pytest.raises(UsageError):
        mapper(WORDS.assign(answer="gold"))


@pytest.mark.parametrize("empty", [pd.DataFrame(), pa.table({}), pa.RecordBatch.from_pydict({})])
def test_a_part_without_rows_may_have_no_columns_either(empty):
    """Engines have such a thing in the place of an empty part; what comes out has its columns and types."""
    made = NODE.mapper(tn.testing.canned("yes"))(empty)
    assert (type(made), len(made)) == (type(empty), 0)
    names = list(made.columns) if isinstance(made, pd.DataFrame) else made.column_names
    assert names == NODE.mapper().schema.names


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["a", "b"], dtype="category"),
        pd.Series(["a", "b"], dtype="string[pyarrow]"),
        pd.Series(["a", "b"], index=pd.MultiIndex.from_tuples([(1, "x"), (1, "y")], names=["one", "other"])),
        pd.Series([], dtype=float),
    ],
)
def test_a_column_may_be_of_any_kind(column):
    """Labels, Arrow's text, several levels of an index, and no rows of another type."""
    mapper = NODE.mapper(tn.testing.canned("yes"))
    made = mapper(column.to_frame("word"))
    pd.testing.assert_index_equal(made.index, column.index)
    pd.testing.assert_series_equal(made.dtypes, mapper.meta.dtypes)


def test_what_is_no_table_is_an_error_with_the_way():
    """Ray Data's default, and a setting that a mapper does not have."""
    with wording.raises(TableError):
        NODE.mapper(tn.testing.canned("yes"))({"word": ["a"]})
    with wording.raises(SettingNameError):
        NODE.mapper(tn.testing.canned("yes"), retry_failed="all")
    with wording.raises(SettingNameError):
        NODE.run(WORDS, tn.testing.canned("yes"), share=5)


# --- what does not travel -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connection", "place"),
    [
        (tn.Connection("http://127.0.0.1:1", "k" * 20), "api_key"),
        (tn.Connection("http://127.0.0.1:1", headers={"x-secret": "k" * 20}), "headers"),
        (tn.Connection("http://127.0.0.1:1", query={"api_key": "k" * 20}), "query"),
        (tn.Connection("http://127.0.0.1:1", proxy="http://me:word@127.0.0.1:2"), "proxy"),
    ],
)
def test_no_secret_goes_with_it(connection, place):
    """The error names the way."""
    with wording.raises(SettingError) as caught:
        NODE.mapper(connection)
    assert caught.value.place == place


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"limits": tn.Limits(max_cost=5)}, "max_cost"),
        ({"limits": tn.Limits(max_requests=5)}, "max_requests"),
        ({"journal": "s3://bucket/answers"}, "journal"),
        ({"journal": __file__}, "journal"),
        ({"limits": tn.Limits(), "share": object()}, "limits"),
    ],
)
def test_what_each_batch_would_have_for_itself_is_refused(options, place):
    """Nothing is spent twice, and no file is written by two."""
    with wording.raises(UsageError, file=__file__) as caught:
        NODE.mapper(tn.Connection("http://127.0.0.1:1", ""), **options)
    assert caught.value.place == place


def test_a_node_whose_answers_come_later_has_none():
    """The error names the node that has."""
    with wording.raises(SettingError):
        tn.CreateChatCompletionAsync(model="m", prompt="{{ word }}").mapper(tn.testing.canned("yes"))


def test_an_object_of_this_process_works_here_and_does_not_travel():
    """Such as a session, or the answers of a test."""
    for connection in (tn.testing.canned("yes"), tn.Connection("http://127.0.0.1:1", "", session=requests.Session())):
        with pytest.raises(SettingError):
            pickle.dumps(NODE.mapper(connection))


def test_a_worker_without_the_key_says_so_in_one_line():
    """And which one it is."""
    mapper = NODE.mapper(tn.Connection("http://127.0.0.1:1", api_key_env="KEY_OF_THE_WORKERS"))
    with pytest.raises(ConnectionSettingError) as caught:
        mapper(WORDS)
    assert (caught.value.code, str(caught.value).count("\n")) == ("variable_unset", 0)
    assert str(os.getpid()) in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("own", [False, True])
def test_a_worker_without_an_address_of_its_own_has_that_of_where_the_mapper_was_made(monkeypatch, own):
    """Rows that are for one server never go to another because a variable did not come along."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-worker")
    with fault_server(answer(b"{}", 500)) as other, fault_server(echo()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", other.url if own else server.url)
        sent = pickle.dumps(NODE.mapper())
        monkeypatch.setenv("OPENAI_BASE_URL", server.url) if own else monkeypatch.delenv("OPENAI_BASE_URL")
        made = pickle.loads(sent)(WORDS)
        assert (len(server.requests), other.requests) == (len(WORDS), [])
    assert set(made["outcome"]) == {"ok"}


def test_an_address_with_a_password_does_not_travel(monkeypatch):
    """It is refused where the mapper is made."""
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:word@127.0.0.1/v1")
    with pytest.raises(ConnectionSettingError):
        NODE.mapper()


# --- a folder of journals -------------------------------------------------------------------------------------------


def test_a_second_run_in_other_parts_sends_nothing(tmp_path):
    """Each of equal rows has an answer of its own again, also where their parts change; nothing is left of the run."""
    table = pd.DataFrame({"word": [f"w{i % 7}" for i in range(60)]})
    with fault_server(numbered()) as server:
        connection = tn.Connection(server.url, "")
        first = asked(NODE.mapper(connection, journal=tmp_path), table, 8)
        files = journals(tmp_path)
        for count in (8, 1, 5):
            again = asked(NODE.mapper(connection, journal=tmp_path), table, count)
            assert again["reused"].all()
            answers = [sorted(each["answer"].groupby(each["word"]).get_group("w3")) for each in (first, again)]
            assert answers[0] == answers[1]
            assert again["answer"].is_unique
        assert len(server.requests) == len(table)
    assert journals(tmp_path) == files
    assert len(files) == 8


def test_a_folder_is_read_as_one_journal(tmp_path):
    """With each request of each of its files."""
    with fault_server(echo()) as server:
        asked(NODE.mapper(tn.Connection(server.url, ""), journal=tmp_path), WORDS, 3)
    found = tn.read_journal(tmp_path)
    assert (len(found), set(found["outcome"])) == (len(WORDS), {"ok"})
    assert found["request"].is_unique


def test_the_same_part_has_its_own_answers_again(tmp_path):
    """Whichever part comes first."""
    table = pd.DataFrame({"word": ["a"] * 6}, index=range(6))
    with fault_server(numbered()) as server:
        connection = tn.Connection(server.url, "")
        first = asked(NODE.mapper(connection, journal=tmp_path), table, 3)
        mapper = NODE.mapper(connection, journal=tmp_path)
        again = pd.concat([mapper.beside(part) for part in reversed(parts(table, 3))]).sort_index()
        assert list(again["answer"]) == list(first["answer"])
        assert len(server.requests) == 6


def test_more_equal_rows_than_before_are_sent(tmp_path):
    """The kth of a run has the kth answer, in whatever part it is."""
    table = pd.DataFrame({"word": ["a"] * 9}, index=range(9))
    with fault_server(numbered()) as server:
        connection = tn.Connection(server.url, "")
        asked(NODE.mapper(connection, journal=tmp_path), table.iloc[:5], 2)
        again = asked(NODE.mapper(connection, journal=tmp_path), table, 4)
        assert len(server.requests) == 9
        assert again["answer"].is_unique
        assert again["reused"].sum() == 5


def test_a_batch_that_is_computed_twice_is_sent_once(tmp_path):
    """By the same mapper: the second finds what the first was answered, and so it is without the index."""
    with fault_server(echo()) as server:
        mapper = NODE.mapper(tn.Connection(server.url, ""), journal=tmp_path)
        first = mapper(WORDS)
        assert mapper(WORDS)["reused"].all()
        (tmp_path / "answers.index").unlink()
        again = pickle.loads(pickle.dumps(mapper))(WORDS)
        assert again["reused"].all()
        assert list(again["answer"]) == list(first["answer"])
        assert len(server.requests) == len(WORDS)


def test_an_index_that_cannot_be_read_is_an_error_with_the_way(tmp_path):
    """Nothing is in it that is not in the journals."""
    (tmp_path / "answers.index").write_bytes(b"no database" * 500)
    with wording.raises(JournalError):
        NODE.mapper(tn.testing.canned("yes"), journal=tmp_path)(WORDS)


def test_two_attempts_at_once_meet_no_lock(tmp_path):
    """The second uses what the first has by then, and both are whole."""
    with oracle() as server, concurrent.futures.ThreadPoolExecutor(2) as pool:
        mapper = NODE.mapper(tn.Connection(server.url, ""), limits=tn.Limits(concurrency=4), journal=tmp_path)
        half = threading.Event()

        def hold():
            server.holding = True
            half.set()

        server.at_answers = 40, hold
        first = pool.submit(mapper, WORDS)
        assert half.wait(20)
        second = pool.submit(mapper, WORDS)
        threading.Timer(1.0, server.release).start()
        made = [each.result(60) for each in (first, second)]
        assert [set(each["outcome"]) for each in made] == [{"ok"}, {"ok"}]
        assert list(made[0]["answer"]) == list(made[1]["answer"])
        assert made[1]["reused"].sum() >= 30
        assert len(server.received) <= len(WORDS) + 30


def test_a_damaged_file_of_the_folder_is_named(tmp_path):
    """Nothing is sent instead of what is in it."""
    with fault_server(echo()) as server:
        connection = tn.Connection(server.url, "")
        NODE.mapper(connection, journal=tmp_path)(WORDS)
        (name,) = journals(tmp_path)
        content = bytearray((tmp_path / name).read_bytes())
        content[5000:6000] = bytes(1000)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(JournalError) as caught:
            NODE.mapper(connection, journal=tmp_path)(WORDS)
        assert name in str(caught.value)
        assert len(server.requests) == len(WORDS)


def test_a_failure_that_may_pass_is_sent_again(tmp_path):
    """What was answered is not."""
    fails = {"on": True}

    def react(exchange):
        word = orjson.loads(exchange.received.body)["messages"][0]["content"]
        (answer("{}", 500) if fails["on"] and word.endswith("7") else echo())(exchange)

    retry = tn.Retry(server_error=0)
    with fault_server(react) as server:
        connection = tn.Connection(server.url, "")
        first = NODE.mapper(connection, retry=retry, journal=tmp_path)(WORDS)
        fails["on"] = False
        again, third = (asked(NODE.mapper(connection, retry=retry, journal=tmp_path), WORDS, at) for at in (2, 3))
    assert first["outcome"].value_counts().to_dict() == {"ok": 54, "http_error": 6}
    assert (again["outcome"] == "ok").all()
    assert (again["reused"].sum(), third["reused"].sum()) == (54, 60)


def _killed_in_the_middle(mapper, table):
    mapper(table)


def test_a_process_that_is_killed_loses_nothing(tmp_path):
    """What it was answered is found by the next attempt; only what was in flight is sent again."""
    with oracle() as server:
        mapper = NODE.mapper(tn.Connection(server.url, ""), limits=tn.Limits(concurrency=4), journal=tmp_path)
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=_killed_in_the_middle, args=(mapper, WORDS))
        server.at_answers = 30, process.kill
        process.start()
        process.join(60)
        assert process.exitcode == -9
        made = mapper(WORDS)
        assert (made["outcome"] == "ok").all()
        assert sum(count - 1 for count in server.sends.values()) <= 4
        assert made["reused"].sum() >= 26


def test_parts_asked_by_other_processes_are_the_table_of_one(tmp_path):
    """By concurrent.futures, with nothing of ours that knows of it."""
    with echo_server() as url:
        mapper = NODE.mapper(tn.Connection(url, ""), journal=tmp_path)
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as pool:
            made = pd.concat(pool.map(mapper.beside, parts(WORDS, 6)))
        whole = NODE.run(WORDS, tn.Connection(url, ""), progress=False).table
    pd.testing.assert_frame_equal(made[whole.columns], whole)
    assert len(journals(tmp_path)) == 6


def test_an_ordinary_journal_that_is_put_into_the_folder_counts_too(tmp_path):
    """What was answered before is not paid for again."""
    with fault_server(echo()) as server:
        connection = tn.Connection(server.url, "")
        NODE.run(WORDS, connection, journal=tmp_path / "before.journal", progress=False)
        assert NODE.mapper(connection, journal=tmp_path)(WORDS)["reused"].all()
        assert json.loads(server.requests[0].body)["model"] == "m"
        assert len(server.requests) == len(WORDS)
