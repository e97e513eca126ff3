"""Answers that come later mean what `answer=` says: judged and typed where they are retrieved."""

from __future__ import annotations

import json

import orjson
import pandas as pd
import polars
import pytest
from background import ending, nobody_at_work, work
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.errors import ColumnError, SettingError
from tablenodes.store.store_file import VARIABLE

FIELDS = {"kind": ["bug", "feature"], "stars": int, "topics": [str], "day": "date"}
MADE = ["kind", "stars", "topics", "day", "status", "outcome", "message"]
GOOD = {"kind": "bug", "stars": 4, "topics": ["a", "b"], "day": "2026-05-31"}
TIMED = ["latency", "started"]  # which only who sent them knows
NODE = tn.CreateChatCompletionAsync(model="m", prompt="Say {{ word }}", answer=FIELDS)
RETRIEVE = tn.RetrieveResponse(answer=FIELDS)
WROTE = {
    "good": (json.dumps(GOOD), "stop"),
    "cut": (json.dumps(GOOD), "length"),
    "prose": ("Four stars.", "stop"),
    "off": (json.dumps({**GOOD, "stars": 4.5}), "stop"),
    "empty": (None, "stop"),
}
REASONS = ["-", "cut", "not_json", "does_not_fit", "empty"]


def react(exchange):
    word = orjson.loads(exchange.received.body)["messages"][-1]["content"].removeprefix("Say ")
    text, finish = WROTE[word]
    answer({"choices": [{"index": 0, "message": {"content": text}, "finish_reason": finish}]})(exchange)


@pytest.fixture
def store(tmp_path):
    with ending(tmp_path / "store") as path:
        yield path


def submitted(url, store, words=(*WROTE,), node=NODE, make=pd.DataFrame):
    with nobody_at_work(store):
        return node.run(make({"word": [*words]}), tn.Connection(url), store=store, progress=False).table


def retrieved(table, store, node=RETRIEVE, wait=0, **manner):
    with nobody_at_work(store):
        return node.run(table, wait, store=store, progress=False, **manner)


def test_what_is_retrieved_is_judged_and_typed_as_a_plain_run_is(store):
    """The worker keeps what came, and calls nothing of it failed; the same table, log and answers as of a chat."""
    with fault_server(react) as server:
        ids = submitted(server.url, store)
        work(store)
        plain = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}", answer=FIELDS).run(
            pd.DataFrame({"word": [*WROTE]}), tn.Connection(server.url), progress=False
        )
        assert len(server.requests) == 2 * len(WROTE)
        assert set(retrieved(ids, store, tn.RetrieveResponse()).log["outcome"]) == {"ok"}
        out = retrieved(ids, store)
    pd.testing.assert_frame_equal(out.log.drop(columns=TIMED), plain.log.drop(columns=TIMED))
    pd.testing.assert_frame_equal(out.answers, plain.answers)
    pd.testing.assert_frame_equal(out.table[MADE], plain.table[MADE])
    assert list(out.log["outcome"]) == ["ok"] + ["unusable"] * 4
    assert list(out.log["reason"].fillna("-")) == REASONS
    assert list(out.table["kind"].cat.categories) == ["bug", "feature"]
    assert (str(out.table["stars"].dtype), out.table["day"][0]) == ("Int64", pd.Timestamp("2026-05-31"))
    assert out.summary.ok == 1


def test_no_row_and_pending_rows_have_the_same_types(store):
    """What comes later changes no column."""
    with fault_server(react) as server:
        ids = submitted(server.url, store, ["good"])
        pending = retrieved(ids, store)
        none = retrieved(ids.iloc[:0], store)
        work(store)
        out = retrieved(ids, store)
    assert list(pending.log["outcome"]) == ["pending"]
    assert pending.answers.isna().all(axis=None)
    assert list(out.answers.dtypes) == list(pending.answers.dtypes) == list(none.answers.dtypes)
    assert list(out.table.columns) == list(pending.table.columns) == list(none.table.columns)


@pytest.mark.parametrize("mode", ["json_schema", "json_object", "tool"])
def test_an_answer_is_found_however_it_was_asked_for(store, mode):
    """Also where a tool was forced: the retrieval need not be told."""

    def say(exchange):
        call = {
            "id": "1",
            "type": "function",
            "function": {"name": "answer", "arguments": json.dumps({"answer": "yes"})},
        }
        said = {"tool_calls": [call]} if mode == "tool" else {"content": '{"answer": "yes"}'}
        answer({"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]})(exchange)

    labels = ["yes", "no"]
    with fault_server(say) as server:
        ids = submitted(server.url, store, ["x"], NODE.replace(answer=labels, answer_mode=mode))
        work(store)
    out = retrieved(ids, store, tn.RetrieveResponse(answer=labels))
    assert list(out.answer) == ["yes"]
    assert list(out.answer.cat.categories) == labels


@pytest.mark.parametrize("make", [pd.DataFrame, polars.DataFrame])
def test_typed_columns_are_replaced_by_those_of_a_later_retrieval(store, make):
    """Of lists, dates and categories too; nobody's own column is."""
    with fault_server(react) as server:
        out = retrieved(submitted(server.url, store, make=make), store)
        work(store)
        for _ in range(2):
            out = retrieved(out, store)
    assert list(out.table.columns) == ["word", "future_response_id", "error_message", *MADE]
    assert out.table["stars"].to_list()[0] == 4


def test_typed_columns_of_a_file_are_replaced(store):
    """As a reader of CSV has them."""
    path = store.with_name("saved.csv")
    with fault_server(react) as server:
        table = submitted(server.url, store, ["good", "off"])
        work(store)
    for _ in range(2):
        table = retrieved(table, store).table
        table.to_csv(path, index=False)
        table = tn.read_table(path)
    assert list(table.columns) == ["word", "future_response_id", "error_message", *MADE]


def test_a_column_of_a_fields_name_is_refused_before_anybody_waits(store):
    """An evaluation must never compare a gold column with itself."""
    with fault_server(react) as server:
        table = submitted(server.url, store, ["good"]).assign(stars=[4])
        with pytest.raises(ColumnError) as caught:
            retrieved(table, store, wait=30)
        assert (caught.value.code, caught.value.values["columns"]) == ("answer_column", ["stars"])
        work(store)
        out = retrieved(table, store, RETRIEVE.replace(into="said"))
    assert list(out.table["said_stars"]) == list(out.table["stars"]) == [4]


def test_one_id_is_a_table_of_one_row(store):
    """As it was copied from somewhere."""
    with fault_server(react) as server:
        ids = submitted(server.url, store, ["good"])
        work(store)
    assert retrieved(ids["future_response_id"][0], store).answers["stars"].to_list() == [4]
    assert list(retrieved("resp_nonsense", store).log["outcome"]) == ["invalid_id"]


@pytest.mark.parametrize(
    ("again", "asked"), [("none", 0), ("transient", 0), ("all", 2), (["transient", "unusable"], 2), (["auth"], 0)]
)
def test_failed_rows_are_sent_again_when_that_is_asked_for(store, again, asked):
    """By the worker, once each; the others keep their answers."""
    with fault_server(react) as server:
        ids = submitted(server.url, store, ["good", "cut", "prose"])
        work(store)
        before = dict(WROTE)
        try:
            WROTE["cut"] = WROTE["good"]
            pending = retrieved(ids, store, retry_failed=again)
            assert pending.summary.outcomes.get("pending", 0) == asked
            work(store)
            out = retrieved(ids, store)
        finally:
            WROTE.update(before)
        assert len(server.requests) == 3 + asked
    assert list(out.log["outcome"]) == ["ok", "ok" if asked else "unusable", "unusable"]
    assert list(out.log["attempts"]) == [1, *([2, 2] if asked else [1, 1])]


def test_a_workflow_submits_again_only_where_the_rows_are(store):
    """Not where it retrieves ids of others; those whose failure may pass are sent again if that is asked for."""
    reactions = iter([answer(b"{}", 503), answer(b"{}", 400)])
    manner = {"retry": tn.Retry(0, 0, 0), "limits": tn.Limits(concurrency=1), "store": store, "progress": False}
    table, get = pd.DataFrame({"word": ["good", "cut"]}), tn.RetrieveResponse()
    with fault_server(lambda exchange: next(reactions, react)(exchange)) as server:
        with nobody_at_work(store):
            ids = NODE.run(table, tn.Connection(server.url, ""), **manner).table
        work(store)
        with nobody_at_work(store):
            found = tn.Workflow({"get": get}).run(ids, store=store, progress=False)["get"]
        assert found.summary.outcomes == {"http_error": 2}
        wording([note for note in found.summary.notes if "may pass" in note])
        assert retrieved(ids, store, get, retry_failed="transient").summary.outcomes == {"pending": 1, "http_error": 1}
        work(store)
        assert len(server.requests) == 3


def test_what_answer_says_is_read_when_the_node_is_made():
    """As a chat's; it is a value, and stands in a file."""
    with pytest.raises(SettingError):
        tn.RetrieveResponse(answer={"stars": "nonsense"})
    with pytest.raises(SettingError):
        tn.RetrieveResponse(into="")
    saved = tn.Workflow({"ids": NODE, "kinds": RETRIEVE.replace(into="k")})
    assert "answer:" in saved.to_yaml()
    assert tn.RetrieveResponse(answer=FIELDS) == RETRIEVE


def test_a_file_says_what_both_nodes_answer(tmp_path):
    """In the same words; a schema's file stands beside the workflow's."""
    (tmp_path / "review.json").write_text('{"type": "object", "properties": {"stars": {"type": "integer"}}}')
    (tmp_path / "w.yaml").write_text(
        "nodes:\n- {id: ids, type: CreateChatCompletionAsync, model: m, prompt: x, answer: '@review.json'}\n"
        "- {id: review, type: RetrieveResponse, answer: '@review.json', into: r}\n"
        "- {id: said, type: Return, text: '{{ review.stars }}'}\n"
    )
    nodes = dict(tn.Workflow.load(tmp_path / "w.yaml")._steps)
    assert nodes["ids"]._answers.schema == nodes["review"]._answers.schema
    assert [*nodes["review"]._answers.types] == ["r_stars"]


def test_a_turn_that_was_retrieved_twice_is_added_and_leaves_the_table(store):
    """As that of a chat that was asked at once."""
    table = tn.CreateConversation(system="x").run(pd.DataFrame({"word": ["good"]}), store=store).table
    table = tn.AddUserMessage(text="Say {{ word }}").run(table, store=store).table
    with fault_server(react) as server:
        with nobody_at_work(store):
            ids = NODE.replace(prompt=None).run(table, tn.Connection(server.url), store=store, progress=False).table
        work(store)
    out = retrieved(retrieved(ids, store), store)
    added = tn.AddUserMessage(text="And?").run(out.table, continue_from=out, store=store).table
    assert list(added.columns) == ["word", "future_response_id", "error_message", "conversation"]
    assert list(tn.transcript(added, store=store)["role"]) == ["system", "user", "assistant", "user"]


def test_the_command_line_asks_for_answers_and_types_them(store, tmp_path, capsys, monkeypatch):
    """submit --answer, retrieve --answer."""
    pd.DataFrame({"word": ["good", "prose"]}).to_csv(tmp_path / "words.csv", index=False)
    later, out = tmp_path / "later.csv", tmp_path / "out.csv"
    monkeypatch.setenv(VARIABLE, "")
    fields = [
        word for name in ("stars=int", "kind=bug,feature", "topics=[string]", "day=date") for word in ("--answer", name)
    ]

    def command(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments)])
        return ended.value.code

    with fault_server(react) as server:
        asked = ("--model", "m", "--prompt", "Say {{ word }}", "--base-url", server.url, "--no-key", *fields)
        assert (
            command("submit", "CreateChatCompletion", tmp_path / "words.csv", *asked, "-o", later, "--store", store)
            == 0
        )
        got = ("--wait", "30", "--store", store, "-o", out)
        assert command("retrieve", later, *fields, "--into", "x", *got) == 3
        assert all("response_format" in orjson.loads(request.body) for request in server.requests)
    written = tn.read_table(out)
    assert list(written["x_outcome"]) == ["ok", "unusable"]
    assert list(written["x_stars"].fillna("-")) == ["4", "-"]
    assert "unusable" in capsys.readouterr().err


def test_a_workflow_types_what_it_retrieves_and_later_nodes_read_it(store):
    """By the node's id."""
    nodes = {"asked": NODE, "review": RETRIEVE, "said": tn.Return(text="{{ review.kind }} {{ review.stars }}")}
    with fault_server(react) as server:
        flow = tn.Workflow(nodes, connection=tn.Connection(server.url))
        out = flow.run(pd.DataFrame({"word": ["good", "prose"]}), progress=False, store=store)
    assert list(out["said"].log["outcome"]) == ["ok", "upstream_failed"]
    assert out.table["said"][0] == "bug 4"
    assert list(out.table.columns) == [
        "word",
        "future_response_id",
        "error_message",
        "asked_outcome",
        "asked_message",
        *(f"review_{name}" for name in MADE),
        "said",
        "said_outcome",
        "said_message",
    ]
