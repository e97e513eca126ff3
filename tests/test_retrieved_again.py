"""The same table retrieved again: what an earlier retrieval put into it makes room, what anybody else did stays."""

from __future__ import annotations

import pandas as pd
import polars
import pytest
from background import nobody_at_work, work
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn
from tablenodes.errors import UsageError
from tablenodes.store import StoreFile
from tablenodes.store.inventory import Inventory

NODE = tn.CreateChatCompletionAsync(model="m", prompt="Say {{ word }}")
RETRIEVE = tn.RetrieveResponse()
MADE = ["answer", "status", "outcome", "message"]
IDS = ["future_response_id", "error_message"]


def seven(exchange):
    """Answer what a file's reader takes for a number."""
    answer({"choices": [{"message": {"content": "7"}, "finish_reason": "stop"}]})(exchange)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def submitted(url, store, table=None):
    with nobody_at_work(store):
        table = pd.DataFrame({"word": ["a", "b"]}) if table is None else table
        return NODE.run(table, tn.Connection(url), store=store, progress=False).table


def retrieved(table, store, node=RETRIEVE):
    with nobody_at_work(store):
        return node.run(table, 0, store=store, progress=False)


def polled(table, store, change=lambda table: table, node=RETRIEVE):
    """Retrieve it before and after it is answered, each time what came the time before, and once more."""
    out = retrieved(table, store, node)
    work(store)
    for _ in range(3):
        out = retrieved(change(out.table), store, node)
    return out


def saved(path, read):
    """Return what makes a table one that was saved, and read again."""

    def again(table):
        table.to_csv(path, index=False)
        return read(path)

    return again


@pytest.mark.parametrize("how", ["as it is", "read_table", "pandas.read_csv"])
def test_a_table_that_is_retrieved_again_grows_no_columns(store, how):
    """Its columns are those of the last time, also where the table was saved."""
    path = store.with_name("saved.csv")
    change = {
        "as it is": lambda table: table,
        "read_table": saved(path, tn.read_table),
        "pandas.read_csv": saved(path, pd.read_csv),
    }[how]
    with fault_server(seven) as server:
        out = polled(submitted(server.url, store), store, change)
    assert list(out.table.columns) == ["word", *IDS, *MADE]
    assert list(out.table["answer"]) == ["7", "7"]
    assert list(out.table["outcome"]) == ["ok", "ok"]


def test_an_output_that_is_retrieved_again_grows_no_columns(store):
    """The loop of somebody who polls; any kind of table."""
    with fault_server(seven) as server:
        out = retrieved(submitted(server.url, store, polars.DataFrame({"word": ["a", "b"]})), store)
        work(store)
        for _ in range(2):
            out = retrieved(out, store)
    assert out.table.columns == ["word", *IDS, *MADE]
    assert out.table["answer"].to_list() == ["7", "7"]


def test_columns_of_your_own_stay(store):
    """Also those of a plain run, with the same answers: another name must be chosen, and is found again."""
    named = tn.RetrieveResponse(into="later")
    with fault_server(seven) as server:
        own = {
            "word": ["a", "b"],
            "answer": ["7", "7"],
            "status": [200, 200],
            "outcome": ["ok", "ok"],
            "message": [None, None],
        }
        table = submitted(server.url, store, pd.DataFrame(own))
        with wording.raises(tn.errors.ColumnError) as caught:
            retrieved(table, store)
        assert caught.value.code == "answer_column"
        with wording.raises(tn.errors.ColumnError):
            tn.RetrieveResponse().check(table, store=store)
        out = polled(table, store, node=named)
        assert list(out.table.columns) == [*own, *IDS, "later", *(f"later_{name}" for name in MADE[1:])]


def test_what_was_changed_in_a_column_stays(store):
    """It is yours then."""
    with fault_server(seven) as server:
        table = polled(submitted(server.url, store), store).table
    table.loc[1, "answer"] = "eight"
    again = retrieved(table, store).table
    assert list(again["answer"]) == ["7", "eight"]
    assert list(again["answer_2"]) == ["7", "7"]


def test_answers_that_the_store_no_longer_has_stay_in_the_table(store):
    """They are nowhere else."""
    with fault_server(seven) as server:
        table = polled(submitted(server.url, store), store).table
    with StoreFile(store) as file:
        Inventory(file).clear(float("inf"))
    again = retrieved(table, store).table
    assert list(again["answer"]) == ["7", "7"]
    assert list(again["outcome_2"]) == ["unknown_id"] * 2


def test_columns_that_a_later_node_made_stay(store):
    """Only what is known from the retrieval makes room for it."""
    with fault_server(seven) as server:
        table = polled(submitted(server.url, store), store).table
    with fault_server(answer({"choices": [{"message": {"content": "8"}, "finish_reason": "stop"}]})) as server:
        table = (
            tn.CreateChatCompletion(model="m", prompt="Then?", into="then").run(table, tn.Connection(server.url)).table
        )
    assert list(table.columns) == ["word", *IDS, *MADE, "then", *(f"then_{name}" for name in MADE[1:])]
    again = retrieved(table, store).table
    assert {*again.columns} == {*table.columns}
    assert (list(again["answer"]), list(again["then"])) == (["7", "7"], ["8", "8"])


def test_ids_may_be_in_a_column_of_another_name(store):
    """The one that the setting names."""
    node = tn.RetrieveResponse(future_response_id=tn.col("mine"))
    with fault_server(seven) as server:
        table = submitted(server.url, store).rename(columns={"future_response_id": "mine"})[["mine"]]
        work(store)
        with nobody_at_work(store):
            for _ in range(2):
                table = node.run(table, 0, store=store, progress=False).table
    assert list(table.columns) == ["mine", *MADE]


def test_rows_that_failed_are_asked_again_by_their_ids(store):
    """A retrieval knows of no connection; its error has the line that does it."""
    with fault_server(lambda exchange: answer({"error": {"message": "no"}}, 400)(exchange)) as server:
        ids = submitted(server.url, store)
        work(store)
        out = retrieved(ids, store)
        with wording.raises(UsageError):
            out.retry_failed()
        again = out.updated(RETRIEVE.run(out.failed, 0, store=store, retry_failed="all", progress=False))
    assert (len(out.failed), len(again.failed), again.summary.pending) == (2, 0, 2)
