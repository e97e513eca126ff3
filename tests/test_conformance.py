"""What holds for every node, transport, kind of table and format that is registered, by its being registered."""

from __future__ import annotations

import dataclasses
import pickle
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import duckdb
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from background import ending, nobody_at_work, until, work, workers
from servers import answer, completion, digest, echo, fault_server

import tablenodes as tn
from tablenodes import openapi
from tablenodes.engine.outcomes import OUTCOMES
from tablenodes.engine.transports import TRANSPORTS
from tablenodes.nodes import NODES, known_nodes
from tablenodes.nodes.node import setting_names
from tablenodes.plain import plain
from tablenodes.tables.formats import _FORMATS, FORMATS
from tablenodes.tables.kinds import VIEWS

NOTES = openapi.load(Path(__file__).parent / "api_of_notes.yaml")
OF_A_DOCUMENT = {"ShareNote": NOTES.node("shareNote")}
KINDS = {name: known_nodes()[name] for name in NODES} | OF_A_DOCUMENT
ASKING = [name for name, kind in KINDS.items() if kind._declared.sends]
LATER = [name for name, kind in KINDS.items() if kind._declared.later]
ALONE = [name for name in KINDS if name not in ASKING + LATER]
ROWS = 20
GIVEN = {"text": "Say {{ word }}", "tool_call_id": "{{ word }}", "model": "m"}


def settings_of(name):
    """The fewest settings that a node needs, as its schema says if it has one: texts of the column ``word``."""
    kind = KINDS[name]
    if not kind._declared.operation:
        return {each.name: GIVEN[each.name] for each in dataclasses.fields(kind) if each.name in GIVEN}
    needed = {each: GIVEN.get(each, "Say {{ word }}") for each in kind._described_by().required}
    if kind._declared.shortcuts:
        needed["prompt"] = needed.pop("messages")
    return needed


def node_of(name, **more):
    return KINDS[name](**settings_of(name), **more)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A table with all that any node reads of its own accord, in one store."""
    store = tmp_path_factory.mktemp("conformance") / "store.sqlite"
    words = pd.DataFrame({"word": [f"w{i}." for i in range(ROWS)]}, index=range(100, 100 + ROWS))
    begun = (
        tn.AddUserMessage(text="{{ word }}")
        .run(tn.CreateConversation().run(words, store=store).table, store=store)
        .table
    )
    full = begun.assign(body=[completion(word.encode()).decode() for word in words["word"]])
    with fault_server(echo()) as server:
        later = tn.CreateChatCompletionAsync(model="m", prompt="{{ word }}")
        ids = later.run(words, tn.Connection(server.url, "k" * 20), store=store, progress=False).table
        tn.RetrieveResponse().run(ids, store=store, connection=tn.Connection(server.url, "k" * 20), progress=False)
    until(lambda: not workers(store), "the worker's end")
    full["future_response_id"] = ids["future_response_id"]
    return SimpleNamespace(words=words, full=full, store=store)


def of_kind(library, name):
    """Make a table of a registered kind of a pandas DataFrame."""

    def make(frame):
        kind = getattr(import_module(library), name)
        if isinstance(frame, kind):
            return frame
        arrow = pa.Table.from_pandas(frame, preserve_index=False)
        return arrow if isinstance(arrow, kind) else kind(arrow)

    return make


MADE = {library: of_kind(library, name) for library, name, *_ in VIEWS}
READ = {
    "pandas-object": lambda frame: frame.astype({"word": object}),
    "duckdb": lambda frame: duckdb.from_arrow(pa.Table.from_pandas(frame, preserve_index=False)),
    "stream": lambda frame: pa.Table.from_pandas(frame, preserve_index=False).to_reader(),
}


def types_of(table):
    return table.dtypes if isinstance(table, pd.DataFrame) else table.schema


def frame_of(table):
    return table if isinstance(table, pd.DataFrame) else table.to_pandas()


def run(node, table, rows, server=None, transport="curl", **more):
    """Run any node where it may read the store and, if it sends, ask a server."""
    if isinstance(node, tn.RetrieveResponse) or type(node).__name__ in ALONE:
        return node.run(table, store=rows.store, progress=False, **more)
    return node.run(table, tn.Connection(server.url, "k" * 20, transport=transport), progress=False, **more)


def table_for(name, rows):
    return rows.words if name in ASKING + LATER else rows.full


@pytest.mark.parametrize("kind", MADE | READ)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", ASKING)
def test_every_row_is_answered_in_its_place(name, transport, kind, rows):
    """By the very answer to its own body; the table stays as it was, and the result is of its kind."""
    table = (MADE | READ)[kind](rows.words)
    with fault_server(echo()) as server:
        out = run(node_of(name), table, rows, server, transport)
        bodies = {each.body for each in server.requests}
    result, configuration = out
    assert configuration is table or kind in ("duckdb", "stream")
    assert isinstance(result, type(table)) or kind in ("duckdb", "stream")
    answered = frame_of(result)
    assert list(answered.columns) == ["body", "status"]
    texts = [orjson.loads(body)["choices"][0]["message"]["content"] for body in answered["body"]]
    of_row = {digest(body): body for body in bodies}
    assert [f"Say {word}".encode() in of_row[text] for text, word in zip(texts, rows.words["word"], strict=True)] == [
        True
    ] * ROWS
    assert set(answered["status"]) == {200}
    if isinstance(result, pd.DataFrame):
        assert list(result.index) == list(table.index)


@pytest.mark.parametrize("kind", MADE | READ)
@pytest.mark.parametrize("name", ALONE)
def test_a_node_that_sends_nothing_makes_its_columns_for_every_row(name, kind, rows):
    """In the table's kind and order, by every kind of table the same."""
    table = (MADE | READ)[kind](rows.full)
    out = run(node_of(name), table, rows)
    assert isinstance(out.result, type(table)) or kind in ("duckdb", "stream")
    result = frame_of(out.result)
    assert len(result) == ROWS
    assert out.summary.ok == ROWS
    assert set(KINDS[name]._declared.makes) <= set(result.columns)
    again = frame_of(run(node_of(name), rows.full, rows).result)
    pd.testing.assert_frame_equal(result.reset_index(drop=True), again.reset_index(drop=True), check_dtype=False)


@pytest.mark.parametrize("name", LATER)
def test_what_is_submitted_is_retrieved_in_its_place(name, rows):
    """Another process sends it; the ids lead to the answers, in whatever order they are retrieved."""
    with fault_server(echo()) as server:
        connection = tn.Connection(server.url, "k" * 20)
        table = node_of(name).run(rows.words, connection, store=rows.store, progress=False).table
        turned = table.iloc[::-1]
        out = tn.RetrieveResponse().run(turned, store=rows.store, connection=connection, progress=False)
        of_row = {digest(each.body): each.body for each in server.requests}
    until(lambda: not workers(rows.store), "the worker's end")
    texts = [orjson.loads(body)["choices"][0]["message"]["content"] for body in out.result["body"]]
    assert [f"Say {word}".encode() in of_row[text] for text, word in zip(texts, turned["word"], strict=True)] == [
        True
    ] * ROWS


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("name", [name for name in LATER if "answer" in setting_names(KINDS[name])])
def test_what_comes_later_is_typed_as_what_comes_at_once(name, kind, rows, tmp_path):
    """By the same answer=, in every kind of table; a row that is pending has the same columns."""
    fields = {"stars": int, "kind": ["a", "b"], "topics": [str]}
    said = {
        "choices": [{"message": {"content": '{"stars": 4, "kind": "b", "topics": ["x"]}'}, "finish_reason": "stop"}]
    }
    later, store = node_of(name, answer=fields), tmp_path / "store"
    at_once, retrieve = node_of(name.removesuffix("Async"), answer=fields), tn.RetrieveResponse(answer=fields)
    table = MADE[kind](rows.words.iloc[:3])
    with fault_server(answer(said)) as server:
        connection = tn.Connection(server.url, "")
        plain = at_once.run(table, connection, progress=False)
        with nobody_at_work(store):
            ids = later.run(table, connection, store=store, progress=False).table
            pending = retrieve.run(ids, 0, store=store, progress=False)
        work(store)
        out = retrieve.run(ids, 0, store=store, progress=False)
    assert out.answers.equals(plain.answers)
    assert str(types_of(pending.answers)) == str(types_of(plain.answers))
    assert list(frame_of(out.table).columns)[-6:] == list(frame_of(plain.table).columns)[-6:]


@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name]._answer_columns(node_of(name), "a")])
def test_a_later_node_reads_the_answer_of_every_node_that_has_one(name, rows, tmp_path):
    """As ``{{ ID }}``: what the workflow's table has in the columns that the node says, one value or a record."""
    asked = {"asked": node_of("CreateChatCompletionAsync")} if name == "RetrieveResponse" else {}
    nodes = {**asked, "first": node_of(name), "second": tn.Return(text="<{{ first }}>")}
    with fault_server(echo()) as server, ending(tmp_path / "store") as store:
        flow = tn.Workflow(nodes, connection=tn.Connection(server.url, "k" * 20))
        assert all(found.valid == 3 for found in flow.check(rows.words.iloc[:3]).values())
        table = flow.run(rows.words.iloc[:3], progress=False, store=store).table
    columns = [*node_of(name)._answer_columns("first")]
    records = [{each.removeprefix("first_"): row[each] for each in columns} for row in table.to_dict("records")]
    answers = [plain(each if len(each) > 1 else each["first"]) for each in records]
    said = [each if isinstance(each, str) else orjson.dumps(each).decode() for each in answers]
    assert list(table["second"]) == [f"<{each}>" for each in said]
    assert list(table.index) == [100, 101, 102]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", ASKING)
def test_a_row_that_fails_stops_no_other(name, transport, rows):
    """And each row has its line in the log, with one of the known outcomes."""

    def react(exchange):
        (answer("{}", 400) if b"Say w7." in exchange.received.body else echo())(exchange)

    with fault_server(react) as server:
        out = run(node_of(name), rows.words, rows, server, transport)
    assert list(out.log["outcome"]) == ["ok"] * 7 + ["http_error"] + ["ok"] * (ROWS - 8)
    assert set(out.log["outcome"]) <= set(OUTCOMES)


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("name", ASKING + ALONE)
def test_a_table_without_rows_has_the_columns_of_one_with_rows(name, kind, rows):
    """Nothing is sent, and later nodes find what they read."""
    table = table_for(name, rows)
    with fault_server(echo()) as server:
        some = run(node_of(name), MADE[kind](table), rows, server)
        sent = len(server.requests)
        none = run(node_of(name), MADE[kind](table.iloc[:0]), rows, server)
        assert len(server.requests) == sent
    assert list(frame_of(none.result).columns) == list(frame_of(some.result).columns)
    assert len(frame_of(none.result)) == 0


@pytest.mark.parametrize("name", ASKING)
def test_a_node_that_sends_can_be_sent_to_workers(name, rows):
    """As a function of a batch, of every kind of batch with the columns that were known before."""
    with fault_server(echo()) as server:
        mapper = pickle.loads(pickle.dumps(node_of(name).mapper(tn.Connection(server.url, ""))))
        made = mapper(rows.words)
        arrow = mapper(pa.Table.from_pandas(rows.words, preserve_index=False))
    assert set(made["outcome"]) == {"ok"}
    assert list(made.index) == list(rows.words.index)
    pd.testing.assert_series_equal(made.dtypes, mapper.meta.dtypes)
    assert arrow.schema == mapper.schema
    assert list(made["body"]) == arrow.column("body").to_pylist()


@pytest.mark.parametrize("name", KINDS)
def test_a_node_is_a_value(name):
    """It compares by its settings, is the same after a pickle, and shows what it is set to."""
    node = node_of(name)
    assert node == node_of(name)
    assert pickle.loads(pickle.dumps(node)) == node
    assert repr(node).startswith(f"{name}(")
    assert node.replace() == node
    assert name in OF_A_DOCUMENT or getattr(tn, name) is KINDS[name]


@pytest.mark.parametrize("name", KINDS)
def test_a_node_is_checked_before_it_runs(name, rows):
    """Nothing is sent for it; a table without what the node reads is an error."""
    found = node_of(name).check(table_for(name, rows), store=rows.store)
    assert (found.rows, found.valid) == (ROWS, ROWS)
    if "{{ word }}" in repr(node_of(name)) or (KINDS[name]._declared.defaults and not node_of(name)._begins_empty()):
        with pytest.raises(tn.errors.ColumnError):
            node_of(name).check(pd.DataFrame({"other": ["x"]}), store=rows.store)


@pytest.mark.parametrize("name", KINDS)
def test_a_node_of_a_file_is_the_node_that_was_saved(name, tmp_path):
    """Every node can stand in a workflow's file, whatever its settings are called."""
    saved = tn.Workflow({"a": node_of(name)})
    saved.save(tmp_path / "w.yaml")
    assert tn.Workflow.load(tmp_path / "w.yaml") == saved


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("ending", [ending for ending, form in _FORMATS.items() if form in FORMATS])
def test_an_output_is_read_again_as_it_was_written(raw, ending, rows, tmp_path):
    """Either table of a result in every format of a file."""
    path = tmp_path / f"out{ending}"
    with fault_server(echo()) as server:
        flow = tn.Workflow(
            {"ask": node_of(ASKING[0])},
            output={"path": str(path), "raw": raw},
            connection=tn.Connection(server.url, "k" * 20),
        )
        out = flow.run(rows.words, progress=False)
    read = tn.read_table(path)
    expected = out["ask"].result if raw else out.table
    assert len(read) == ROWS
    assert set(read.columns) >= set(expected.columns) - {"outcome"}
