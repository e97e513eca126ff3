"""Conversations: immutable, known by ids that stand for their messages, and asked as they stand."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import subprocess
from pathlib import Path

import duckdb
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from commands import Command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from permissions import permissions_bind
from sentences import wording
from servers import answer, echo, fault_server

import tablenodes as tn
from tablenodes import tables
from tablenodes.cli import main
from tablenodes.errors import ColumnError, Interrupted, InvalidRequests, SettingError, StoreError, WorkflowError
from tablenodes.problems import Rejected
from tablenodes.run import growth
from tablenodes.store import conversations as stored
from tablenodes.store.commits import EMPTY, is_id, links, reply, written
from tablenodes.store.conversations import Conversations

SAMPLE = Path(__file__).parent.parent / "sample_workflows" / "support_chat.yaml"
CHAT = tn.CreateChatCompletion(model="m")
START = tn.CreateConversation(system="You help.")
ASK = tn.AddUserMessage(text="{{ question }}")
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{ "city":"Rīga",  "n": 1e2 }'},
}

TEXTS = st.text(max_size=12)
MESSAGES = st.builds(
    lambda role, content, more: {"role": role, "content": content, **more},
    st.sampled_from(["system", "user", "assistant"]),
    TEXTS | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), max_size=2),
    st.dictionaries(st.sampled_from(["name", "zone", "a"]), TEXTS, max_size=2),
)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return the path of a store that is not there yet, the one that is used."""
    path = tmp_path / "store.sqlite"
    monkeypatch.setenv("TABLENODES_STORE", str(path))
    return path


def questions(count=3):
    return pd.DataFrame({"question": [f"q{i}" for i in range(count)]}, index=range(10, 10 + count))


def asked(count=3):
    """Return a table with a conversation in each row, in which the row's question was asked."""
    return ASK.run(START.run(questions(count)).table).table


def rows_of(path, statement="SELECT id, parent, message FROM messages ORDER BY id"):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(statement).fetchall()


def change(path, statement, *values):
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        return database.execute(statement, values).rowcount


def message_of(received):
    return orjson.loads(received.body)["messages"]


def says(content, **more):
    choice = {"index": 0, "message": {"role": "assistant", "content": content} | more, "finish_reason": "stop"}
    return answer({"id": "c-1", "object": "chat.completion", "model": "m", "choices": [choice]})


def problems(output):
    """Return each row's outcome with what its body or its log says."""
    if "message" in output.log:
        return list(zip(output.log["outcome"], output.log["message"], strict=True))
    said = [json.loads(body)["error"]["message"] for body in output.result["body"]]
    return list(zip(output.log["outcome"], said, strict=True))


# --- ids -----------------------------------------------------------------------------------------------------------


def test_an_id_is_made_of_the_messages_and_of_nothing_else():
    """It never changes from one version of the program to the next, or stored conversations would be lost."""
    (first, second) = links(EMPTY, [{"role": "system", "content": "You help."}, {"role": "user", "content": "Hé?"}])
    assert EMPTY == "conv_bd39ca7e65d3e7fb3167cb1624d3605db21b4bcf"
    assert first.message == b'{"role":"system","content":"You help."}'
    assert (first.id, second.id) == (
        "conv_20f9648590c9ee22548f860fae4652289e0a0139",
        "conv_f57be0e493561ddfe639a7303ef24a903ca3c94a",
    )
    assert (first.parent, second.parent) == (EMPTY, first.id)


@settings(deadline=None)
@given(message=MESSAGES)
def test_the_order_of_a_messages_keys_makes_no_difference(message):
    """A struct of Arrow orders them as its column does."""
    turned = dict(reversed(message.items()))
    assert written(turned) == written(message)
    assert orjson.loads(written(message)) == message
    assert links(EMPTY, [turned]) == links(EMPTY, [message])


@settings(deadline=None)
@given(one=st.lists(MESSAGES, max_size=4), other=st.lists(MESSAGES, max_size=4))
def test_two_conversations_have_one_id_only_if_they_are_the_same(one, other):
    """Whatever is said in them."""
    ids = [(links(EMPTY, messages) or [None])[-1] for messages in (one, other)]
    assert (ids[0] == ids[1]) == ([written(m) for m in one] == [written(m) for m in other])


@settings(deadline=None)
@given(text=st.text(max_size=50) | st.from_regex(r"conv_[0-9a-fA-F]{38,42}\n?"))
def test_an_id_has_one_form(text):
    """45 characters, all lower case; nothing before or after them."""
    fits = len(text) == 45 and text.startswith("conv_") and set(text[5:]) <= set("0123456789abcdef")
    assert is_id(text) == fits


# --- replies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"content": "Hi."}, {"content": "Hi."}),
        ({"content": "", "refusal": None, "annotations": [], "tool_calls": None}, {"content": ""}),
        ({"content": None, "tool_calls": [CALL]}, {"content": None, "tool_calls": [CALL]}),
        (
            {"content": None, "function_call": CALL["function"], "reasoning_content": "…"},
            {"content": None, "function_call": CALL["function"]},
        ),
        ({"content": None, "refusal": "No."}, {"content": None, "refusal": "No."}),
        (
            {"content": None, "audio": {"id": "a", "data": "UklG", "expires_at": 1, "transcript": "Hi."}},
            {"content": None, "audio": {"id": "a"}},
        ),
    ],
)
def test_a_reply_is_kept_as_the_api_takes_it_back(said, kept):
    """Its text, refusal and calls; nothing that only an answer may have."""
    found = reply({"choices": [{"message": {"role": "assistant", **said}}, {"message": {"content": "2"}}]})
    assert found == {"role": "assistant", **kept}
    assert tn.validate({"model": "m", "messages": [found]}, "create_chat_completion") == []


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        {},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": None, "tool_calls": [], "name": "n"}}]},
        {"error": {"message": "no"}},
        {"choices": [{"text": "of a completion"}]},
    ],
)
def test_what_has_no_message_gives_none(given):
    """Whatever came in place of a chat completion."""
    assert reply(given) is None


# --- the store -----------------------------------------------------------------------------------------------------


def test_a_cell_that_is_run_twice_changes_nothing(store, monkeypatch):
    """The same ids, the same messages in the store, nothing appended and nothing written."""
    first = asked()
    kept = rows_of(store)
    monkeypatch.delattr(stored.StoreFile, "writing")
    again = asked()
    assert list(again["conversation"]) == list(first["conversation"])
    assert rows_of(store) == kept
    assert len(kept) == 1 + 3


def test_two_branches_of_one_conversation_differ(store):
    """And the one that they began with is as it was."""
    table = asked(1)
    (begun,) = table["conversation"]
    (one,) = tn.AddAssistantMessage(text="A").run(table).table["conversation"]
    (other,) = tn.AddAssistantMessage(text="B").run(table).table["conversation"]
    known = Conversations(store)
    assert len({begun, one, other}) == 3
    assert known.messages(one)[:-1] == known.messages(other)[:-1] == known.messages(begun)
    assert [m["content"] for m in known.messages(begun)] == ["You help.", "q0"]


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(grown=st.lists(st.tuples(st.integers(0, 100), st.lists(MESSAGES, max_size=3)), max_size=12))
def test_the_store_gives_back_what_was_said(tmp_path, grown):
    """In every conversation of any tree of them, read one by one or together, remembered or forgotten."""
    path = tmp_path / "any.sqlite"
    said = {EMPTY: []}
    for pick, messages in grown:
        parent = list(said)[pick % len(said)]
        added = links(parent, messages)
        Conversations(path).put(added)
        for count, link in enumerate(added, 1):
            said[link.id] = said[parent] + messages[:count]
    together, forgetful = Conversations(path), Conversations(path)
    together.read(said)
    for known_as, messages in said.items():
        assert together.messages(known_as) == messages
        forgetful._bytes = 10**9
        assert forgetful.messages(known_as) == messages


def test_a_conversation_of_thousands_of_messages_is_read_at_once(store):
    """With one query, and without recursion."""
    added = links(EMPTY, [{"role": "user", "content": str(i)} for i in range(5_000)])
    Conversations(store).put(added)
    found = Conversations(store).messages(added[-1].id)
    assert [int(m["content"]) for m in found] == list(range(5_000))


def test_a_table_is_looked_up_with_few_queries(store, monkeypatch):
    """Not one a row: what rows share is read once, the rest for many rows at a time."""
    table = asked(1_200)
    opened = []
    reading = stored.StoreFile.reading
    monkeypatch.setattr(stored.StoreFile, "reading", lambda file: opened.append(1) or reading(file))
    assert CHAT.check(table).valid == 1_200
    assert len(opened) == 5


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE messages SET message = CAST(\'{"role":"user","content":"other"}\' AS BLOB) WHERE id = ?',
        "UPDATE messages SET message = 'text' WHERE id = ?",
        "UPDATE messages SET parent = NULL WHERE id = ?",
        "UPDATE messages SET parent = 'conv_0000000000000000000000000000000000000000' WHERE id = ?",
    ],
)
@pytest.mark.parametrize("last", [True, False])
def test_a_changed_store_is_noticed(store, statement, last):
    """Wherever in the conversation: nothing is sent for the row, the others go on, and the same cells mend it."""
    table = asked(2)
    parents = {known_as: parent for known_as, parent, _ in rows_of(store)}
    known_as = table["conversation"].iloc[0]
    sound = ASK.run(tn.CreateConversation(system="Another.").run(questions(1)).table).table
    assert change(store, statement, known_as if last else parents[known_as]) == 1
    with fault_server(echo()) as server:
        out = CHAT.run(pd.concat([table.iloc[:1], sound]), tn.Connection(server.url), progress=False)
        assert len(server.requests) == 1
    assert list(out.log["outcome"]) == ["invalid_id", "ok"]
    wording(json.loads(out.result["body"].iloc[0])["error"]["message"])
    assert list(asked(2)["conversation"]) == list(table["conversation"])
    assert CHAT.check(table).valid == 2


def test_a_message_that_is_gone_from_the_middle_is_noticed(store):
    """What is left is not the conversation."""
    table = asked(1)
    assert change(store, "DELETE FROM messages WHERE parent = ?", EMPTY) == 1
    with wording.raises(Rejected) as raised:
        Conversations(store).messages(table["conversation"].iloc[0])
    assert raised.value.outcome == "invalid_id"


TAMPERED = [
    "../x",
    "",
    "=HYPERLINK(1)",
    "conv_" + "0" * 39,
    "CONV_" + "0" * 40,
    "conv_" + "A" * 40,
    "conv_" + "0" * 40 + "\n",
    "conv_" + "٠" * 40,
    "x" * 10_000,
]


@pytest.mark.parametrize("text", [*TAMPERED, 7], ids=repr)
def test_what_is_no_id_is_invalid(store, text):
    """Nothing is sent, no file is touched, and the text is not repeated."""
    table = pd.DataFrame({"conversation": [text], "question": ["q"]})
    with fault_server(echo()) as server:
        out = CHAT.run(table, tn.Connection(server.url), progress=False)
        assert server.requests == []
    added = ASK.run(table)
    for each in (out, added):
        ((outcome, message),) = problems(each)
        assert outcome == "invalid_id"
        assert "conv_" in message
        assert len(message) < 100
    assert added.result["conversation"].isna().all()
    assert list(store.parent.iterdir()) == []


def test_an_id_that_the_store_does_not_have_is_unknown(store, tmp_path):
    """One of another store too; nothing is sent, and the other rows go on."""
    table = asked(2)
    elsewhere = tmp_path / "elsewhere.sqlite"
    other = tn.CreateConversation(system="Another.").run(questions(1), store=elsewhere).table
    mixed = pd.concat([table, other])
    with fault_server(echo()) as server:
        out = CHAT.run(mixed, tn.Connection(server.url), progress=False)
        assert len(server.requests) == 2
        there = CHAT.run(table, tn.Connection(server.url), progress=False, store=elsewhere)
        assert len(server.requests) == 2
    assert list(out.log["outcome"]) == ["ok", "ok", "unknown_id"]
    assert list(ASK.run(mixed).log["outcome"]) == ["ok", "ok", "unknown_id"]
    ((outcome, message),) = set(problems(there))
    assert outcome == "unknown_id"
    wording(message)


def test_a_store_that_is_gone_is_said_plainly(store):
    """Every row is unknown_id, and no empty store is put in its place."""
    table = asked(2)
    for part in store.parent.iterdir():
        part.unlink()
    with fault_server(echo()) as server:
        out = CHAT.run(table, tn.Connection(server.url), progress=False)
        assert server.requests == []
    for outcome, message in problems(out) + problems(ASK.run(table)):
        assert outcome == "unknown_id"
        wording(message)
    assert list(store.parent.iterdir()) == []


def test_a_file_that_is_no_store_is_one_line(store):
    """A chat says it in every row; what would have to write ends."""
    table = asked(1)
    for part in store.parent.iterdir():
        part.unlink()
    store.write_text("no store")
    with fault_server(echo()) as server:
        ((outcome, message),) = problems(CHAT.run(table, tn.Connection(server.url), progress=False))
        assert server.requests == []
    assert outcome == "unknown_id"
    wording(message)
    with wording.raises(StoreError):
        START.run(questions())
    assert store.read_text() == "no store"


def test_a_store_that_cannot_be_written_ends_the_run(tmp_path):
    """With one line; no id is given whose messages are not kept."""
    with wording.raises(StoreError) as raised:
        START.run(questions(), store=tmp_path / "none" / "store.sqlite")
    assert "\n" not in str(raised.value)


@permissions_bind
def test_a_store_that_is_read_only_is_said(store):
    """At once and in one line."""
    table = asked()
    store.chmod(0o400)
    with wording.raises(StoreError):
        tn.AddUserMessage(text="more").run(table)


def test_a_run_that_is_stopped_gives_what_it_made(store, monkeypatch):
    """The rows that came before, with their conversations; the same cell run again has them all."""
    table = START.run(questions(5)).table
    put, calls = Conversations.put, []

    def stopped(known, links):
        calls.append(links)
        if len(calls) == 2:
            raise KeyboardInterrupt
        put(known, links)

    monkeypatch.setattr(growth, "_ROWS", 2)
    monkeypatch.setattr(Conversations, "put", stopped)
    with wording.raises(Interrupted) as raised:
        ASK.run(table)
    out = raised.value.output
    assert list(out.log["outcome"]) == ["ok", "ok", *["not_sent"] * 3]
    assert CHAT.check(out.succeeded.assign(conversation=out.result["conversation"].iloc[:2])).valid == 2
    again = ASK.run(table)
    assert list(again.log["outcome"]) == ["ok"] * 5
    assert list(again.result["conversation"].iloc[:2]) == list(out.result["conversation"].iloc[:2])


@pytest.mark.parametrize("path", [7, ""])
def test_a_path_that_is_none_is_refused(path):
    """Before anything else."""
    with pytest.raises(StoreError):
        START.run(questions(), store=path)


def test_two_processes_at_once_keep_each_message_once(store):
    """And give the same ids."""
    code = """
import sys, pandas as pd, tablenodes as tn
table = pd.DataFrame({"question": [f"q{i}" for i in range(600)]})
sys.stdin.readline()
table = tn.AddUserMessage(text="{{ question }}").run(tn.CreateConversation(system="You help.").run(table).table).table
print("\\n".join(table["conversation"]))
"""
    both = [Command([], code, stdin=subprocess.PIPE) for _ in range(2)]
    for each in both:
        each.stdin.write("\n")
        each.stdin.flush()
    one, other = (each.communicate(timeout=60)[0] for each in both)
    assert [each.returncode for each in both] == [0, 0]
    assert one == other == "\n".join(asked(600)["conversation"]) + "\n"
    assert rows_of(store, "SELECT COUNT(*) FROM messages") == [(1 + 600,)]


def test_many_conversations_are_read_without_keeping_them_all(store, monkeypatch):
    """What is remembered is bounded; each row has its own all the same."""
    table = asked(600)
    monkeypatch.setattr(stored, "BYTES", 2_000)
    monkeypatch.setattr(stored, "_ABSENT", 10)
    known = Conversations(store)
    strangers = [f"conv_{i:040x}" for i in range(600)]
    rows = [cell for pair in zip(table["conversation"], strangers, strict=True) for cell in pair]
    most, found = 0, []
    for (known_as,) in known.ahead(((cell,) for cell in rows), 0):
        most = max(most, len(known._known) + len(known._absent))
        with contextlib.suppress(Rejected):
            found.append(known.messages(known_as)[-1]["content"])
    assert found == [f"q{i}" for i in range(600)]
    assert most < 300


def test_long_messages_are_read_and_written_few_at_a_time(store, monkeypatch):
    """A table of images would not fit into memory else."""
    table = questions(40).assign(question=[f"{i:02}" + "x" * 1_000 for i in range(40)])
    monkeypatch.setattr(stored, "BYTES", 4_000)
    monkeypatch.setattr(growth, "_BYTES", 4_000)
    written_together, known, remembered = [], Conversations(store), []
    put = Conversations.put
    monkeypatch.setattr(
        Conversations, "put", lambda known, links: written_together.append(len(links)) or put(known, links)
    )
    table = ASK.run(START.run(table).table).table
    for (known_as,) in known.ahead(((cell,) for cell in table["conversation"]), 0):
        remembered.append(len(known._known))
        assert known.messages(known_as)[-1]["content"] == table["question"][len(remembered) + 9]
    assert max(written_together[1:]) == 4
    assert max(remembered[20:]) <= 10


# --- the nodes -----------------------------------------------------------------------------------------------------


def as_duckdb(table):
    return duckdb.connect().from_arrow(pa.Table.from_pandas(table, preserve_index=False))


@pytest.mark.parametrize(
    "convert",
    [lambda t: t, lambda t: pa.Table.from_pandas(t), pl.from_pandas, as_duckdb],
    ids=["pandas", "arrow", "polars", "duckdb"],
)
def test_every_kind_of_table_gives_one_of_its_kind(store, convert):
    """With its rows, order and index; DuckDB's as Arrow."""
    table = convert(questions())
    out = ASK.run(START.run(table).table)
    expected = asked()
    assert out.configuration is not None
    assert type(out.table) is (pa.Table if "duckdb" in type(table).__module__.lower() else type(table))
    made = tables.view(out.table)
    assert list(made.rows(("question", "conversation"))) == list(expected.itertuples(index=False, name=None))
    if isinstance(table, pd.DataFrame):
        assert list(out.table.index) == [10, 11, 12]
        assert list(out.result.columns) == ["conversation"]


def test_the_new_conversation_takes_the_place_of_the_old_one(store):
    """In the table; the configuration is the one that was given."""
    table = asked()
    result, configuration = tn.AddSystemMessage(text="Be brief.").run(table)
    assert configuration is table
    assert list(result.columns) == ["conversation"]
    longer = tn.AddSystemMessage(text="Be brief.").run(table).table
    assert list(longer.columns) == ["question", "conversation"]
    assert not set(longer["conversation"]) & set(table["conversation"])


def test_a_conversation_may_begin_with_nothing_or_with_messages(store):
    """As a list, with placeholders anywhere in it, or as JSON in a column; a system text comes first."""
    table = questions(1).assign(said='[{"role": "user", "content": "x"}]', empty=None)
    known = Conversations(store)
    told = [{"role": "user", "content": "{{ question }}"}, {"role": "assistant", "content": tn.literal("{{ a }}")}]

    def messages(**parts):
        return known.messages(tn.CreateConversation(**parts).run(table).table["conversation"].iloc[0])

    assert tn.CreateConversation().run(table).table["conversation"].tolist() == [EMPTY]
    assert messages() == messages(messages=[]) == messages(messages=tn.col("empty"), system=tn.col("empty")) == []
    assert messages(system="S", messages=told) == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "q0"},
        {"role": "assistant", "content": "{{ a }}"},
    ]
    assert messages(messages=tn.col("said")) == [{"role": "user", "content": "x"}]


def test_messages_that_no_chat_takes_are_refused_at_once(store):
    """Row by row, with their place."""
    given = ['[{"role": "usr", "content": "x"}]', '[{"role": "user", "content": "x"}]', "no list", "{}"]
    out = tn.CreateConversation(messages=tn.col("said")).run(pd.DataFrame({"said": given}))
    assert list(out.log["outcome"]) == ["invalid_request", "ok", "invalid_request", "invalid_request"]
    assert len(rows_of(store)) == 1


def test_a_row_without_a_text_has_no_conversation_and_the_others_go_on(store):
    """A null cell, as on chat nodes; later nodes say that it failed before."""
    table = questions().assign(question=["a", None, "c"], note=[None, "n", 3])
    out = ASK.run(START.run(table).table)
    assert list(out.log["outcome"]) == ["ok", "invalid_request", "ok"]
    assert "question" in out.log["message"].iloc[1]
    assert list(out.table["conversation"].isna()) == [False, True, False]
    assert list(tn.AddUserMessage(text=tn.col("note")).run(START.run(table).table).log["outcome"]) == [
        "invalid_request",
        "ok",
        "ok",
    ]
    later = tn.AddAssistantMessage(text="x").run(out.table)
    assert list(later.log["outcome"]) == ["ok", "upstream_failed", "ok"]
    with fault_server(echo()) as server:
        answered = CHAT.run(out.table, tn.Connection(server.url), progress=False)
        assert len(server.requests) == 2
    assert list(answered.log["outcome"]) == ["ok", "upstream_failed", "ok"]
    with pytest.raises(InvalidRequests):
        ASK.run(out.table, on_invalid="raise")
    with pytest.raises(SettingError, match="on_invalid"):
        ASK.run(out.table, on_invalid="rise")


def test_a_message_may_have_parts(store):
    """Texts and images with placeholders and columns in them; what no chat takes is refused with its place."""
    table = START.run(
        questions(1).assign(url="https://a/b.png", parts='[{"type": "text", "text": "t"}]', wrong='"t"')
    ).table
    content = [
        {"type": "text", "text": "{{ question }}"},
        {"type": "image_url", "image_url": {"url": tn.col("url"), "detail": "low"}},
    ]

    def added(content):
        out = tn.AddUserMessage(content=content).run(table)
        return out, out.table["conversation"].iloc[0]

    known = Conversations(store)
    assert known.messages(added(content)[1])[-1] == {
        "role": "user",
        "content": [
            {"type": "text", "text": "q0"},
            {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
        ],
    }
    assert known.messages(added(tn.col("parts"))[1])[-1]["content"] == [{"type": "text", "text": "t"}]
    content[1]["image_url"]["detail"] = "much"
    for wrong in (content, tn.col("wrong"), tn.col("question")):
        ((outcome, message),) = problems(added(wrong)[0])
        assert outcome == "invalid_request", message


@pytest.mark.parametrize(
    "make",
    [
        tn.AddUserMessage,
        tn.AddSystemMessage,
        lambda: tn.AddUserMessage(text="a", content=[]),
        lambda: tn.AddUserMessage(text="a", continue_from=7),
        lambda: tn.AppendReply(body="x", continue_from="y"),
        lambda: CHAT.replace(conversation="x", prompt="y"),
        lambda: CHAT.replace(conversation="x", messages=[]),
    ],
)
def test_what_is_set_fits_together(make):
    """Said in one line, before any table is there."""
    with wording.raises(SettingError):
        make()


@pytest.mark.parametrize("node", [tn.AddUserMessage, tn.AddSystemMessage, tn.AddAssistantMessage])
def test_parts_are_no_text(node):
    """They would be sent as what stands in JSON."""
    parts = [{"type": "text", "text": "{{ question }}"}]
    for text in (parts, tuple(parts), parts[0]):
        with wording.raises(SettingError):
            node(text=text)


def test_parts_in_a_cell_are_no_text(store):
    """Said in the row; any other list is the text that it is in a placeholder."""
    table = START.run(pd.DataFrame({"said": [[{"type": "text", "text": "t"}], ["a", "b"], []]})).table
    out = tn.AddUserMessage(text=tn.col("said")).run(table)
    assert list(out.log["outcome"]) == ["invalid_request", "ok", "ok"]
    wording(out.log["message"].iloc[0])
    assert tn.AddUserMessage(content=tn.col("said")).run(table.iloc[:1]).summary.ok == 1


def test_a_call_is_answered(store):
    """The tool's message follows the answer that called for it, with the call's id, and is what the API takes."""
    table = asked(2).assign(call=["call_1", None], weather=["rain", "sun"])
    tool = tn.AddToolMessage(text="{{ weather }}", tool_call_id=tn.col("call"))
    with fault_server([says(None, tool_calls=[CALL]), says(None, tool_calls=[CALL]), says("Rain.")]) as server:
        connection = tn.Connection(server.url)
        out = CHAT.run(table, connection, progress=False)
        made = tool.run(table, continue_from=out)
        CHAT.run(made.table, connection, progress=False)
        told = message_of(server.requests[-1])
    assert problems(made)[1][0] == "invalid_request"
    wording(problems(made)[1][1])
    assert [m["role"] for m in told] == ["system", "user", "assistant", "tool"]
    assert told[-1] == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}
    assert tn.validate({"model": "m", "messages": told}, "create_chat_completion") == []
    with wording.raises(SettingError):
        tn.AddToolMessage(text="x")


def test_an_output_is_given_as_the_table_that_it_has(store):
    """To every node, run and checked; where answers would be left out of conversations, it is said."""
    begun = START.run(questions())
    out = ASK.run(begun)
    assert out.configuration is begun.table
    assert out.table.equals(asked())
    assert CHAT.check(out).valid == ASK.check(begun).valid == 3
    with fault_server(echo()) as server:
        chatted = CHAT.run(out, tn.Connection(server.url), progress=False)
        assert len(server.requests) == 3
    assert list(tn.Return(text="{{ answer }}").run(chatted).table["text"]) == list(chatted.text)
    more = tn.AddUserMessage(text="Why?")
    with wording.raises(SettingError):
        more.run(chatted)
    assert more.run(chatted, continue_from=chatted).result.equals(more.run(out, continue_from=chatted).result)
    assert tn.AppendReply().run(chatted).summary.ok == 3


def test_the_conversation_may_be_named(store):
    """By a column, a text with placeholders, or the id itself."""
    table = asked(2).rename(columns={"conversation": "chat"})
    for named in (tn.col("chat"), "{{ chat }}"):
        out = ASK.replace(conversation=named).run(table)
        assert list(out.log["outcome"]) == ["ok", "ok"]
        with fault_server(echo()) as server:
            CHAT.replace(conversation=named).run(table, tn.Connection(server.url), progress=False)
            assert sorted(message_of(r)[-1]["content"] for r in server.requests) == ["q0", "q1"]
    constant = tn.AddUserMessage(text="x", conversation=table["chat"].iloc[0]).run(questions(2)).table
    assert constant["conversation"].nunique() == 1
    with wording.raises(ColumnError):
        ASK.run(table)


# --- replies, turn by turn -----------------------------------------------------------------------------------------


def test_the_second_turn_is_asked_with_all_that_was_said(store):
    """Byte for byte: what the system and the user said, and the assistant's calls as the model wrote them."""
    table = asked(1)
    reactions = [says(None, tool_calls=[CALL], refusal=None, annotations=[]), echo()]
    with fault_server(reactions) as server:
        connection = tn.Connection(server.url)
        out = CHAT.run(table, connection, progress=False)
        longer = tn.AddUserMessage(text="Why?\r\n “é” ").run(table, continue_from=out).table
        CHAT.run(longer, connection, progress=False)
        first, second = (received.body for received in server.requests)
    called = b'{"role":"assistant","content":null,"tool_calls":[' + orjson.dumps(CALL) + b"]}"
    more = b',%b,{"role":"user","content":"Why?\\r\\n \xe2\x80\x9c\xc3\xa9\xe2\x80\x9d "}]}' % called
    assert second == first.removesuffix(b"]}") + more


def test_an_answer_is_appended_once(store):
    """The cells of a turn run again: the same ids, and no request for what the journal has."""
    table, journal = asked(), store.parent / "journal"
    with fault_server(echo()) as server:
        connection = tn.Connection(server.url)

        def turn():
            out = CHAT.run(table, connection, progress=False, journal=journal)
            longer = tn.AddUserMessage(text="Why?").run(table, continue_from=out).table
            return list(CHAT.run(longer, connection, progress=False, journal=journal).configuration["conversation"])

        first, kept = turn(), rows_of(store)
        assert turn() == first
        assert rows_of(store) == kept
        assert len(server.requests) == 6


def test_a_reply_can_be_appended_by_itself(store):
    """From the output of a chat, or from a table that has the bodies, such as one that was written to a file."""
    table = asked()
    with fault_server([echo(), answer({"error": {"message": "no"}}, 400), echo()]) as server:
        out = CHAT.run(table, tn.Connection(server.url), progress=False, limits=tn.Limits(concurrency=1))
    from_output = tn.AppendReply().run(out)
    wording(problems(from_output)[1][1])
    from_table = tn.AppendReply().run(table.assign(body=out.result["body"]))
    named = tn.AppendReply(body=tn.col("answer")).run(table.assign(answer=out.result["body"], body="{}"))
    added = tn.AppendReply().run(table.assign(body="{}"), continue_from=out)
    for each in (from_output, from_table, named, added):
        assert list(each.log["outcome"]) == ["ok", "upstream_failed", "ok"]
        assert list(each.table["conversation"].isna()) == [False, True, False]
        assert each.result.equals(from_output.result)
    assert from_output.configuration is table
    assert list(Conversations(store).messages(from_output.table["conversation"].iloc[0])[-1]) == ["role", "content"]


@pytest.mark.parametrize(
    "body", ["no JSON", '{"choices":[{"message":{"tool_calls":' + "[" * 300 + "]" * 300 + "}}]}", None, "[]", 7]
)
def test_a_body_that_is_no_answer_is_said(store, body):
    """In its row."""
    ((outcome, message),) = problems(tn.AppendReply().run(asked(1).assign(body=[body])))
    assert outcome == "upstream_failed"
    wording(message)


def test_what_is_continued_from_must_be_of_the_same_rows(store):
    """And an output, given to the run."""
    table = asked()
    with fault_server(echo()) as server:
        out = CHAT.run(table, tn.Connection(server.url), progress=False)
    more = tn.AddUserMessage(text="x")
    with wording.raises(SettingError):
        more.run(table.iloc[:2], continue_from=out)
    with wording.raises(SettingError):
        more.run(table, continue_from=out.table)
    with wording.raises(SettingError):
        more.replace(continue_from=out)
    with wording.raises(SettingError):
        more.replace(continue_from="reply").run(table)
    with wording.raises(ColumnError):
        tn.AppendReply().run(table)
    assert len(more.replace(continue_from="reply").run(table, continue_from=out).table) == 3


def answered(table, chat=CHAT):
    with fault_server(echo()) as server:
        return chat.run(table, tn.Connection(server.url), progress=False)


@pytest.mark.parametrize(
    "other",
    [
        lambda table: table.iloc[::-1],
        lambda table: table.sample(frac=1, random_state=2).reset_index(drop=True),
        lambda table: ASK.run(tn.CreateConversation(system="Another.").run(questions()).table).table,
        lambda table: tn.AddSystemMessage(text="And.").run(table).table,
    ],
    ids=["turned", "shuffled", "unrelated", "grown"],
)
@pytest.mark.parametrize("node", [tn.AddUserMessage(text="next"), tn.AppendReply()], ids=["message", "reply"])
def test_an_answer_is_added_to_no_conversation_but_the_one_that_it_answers(store, other, node):
    """Whatever became of the rows in between; rows that are still in their places go on."""
    table = asked()
    out, given = answered(table), other(table)
    made = node.run(given, continue_from=out)
    same = [one == now for one, now in zip(table["conversation"], given["conversation"], strict=True)]
    assert [outcome == "ok" for outcome in made.log["outcome"]] == same
    assert sum(same) < 3
    for outcome, message in problems(made):
        assert outcome in ("ok", "invalid_request")
        if outcome != "ok":
            wording(message)
    assert list(made.result["conversation"].notna()) == same


@pytest.mark.parametrize(
    "chat",
    [
        CHAT.replace(conversation=tn.col("chat")),
        CHAT.replace(conversation="{{ chat }}"),
        CHAT.replace(
            messages=[{"role": "system", "content": "You help."}, {"role": "user", "content": "{{ question }}"}]
        ),
        CHAT.replace(system="You help.", prompt=tn.col("question")),
    ],
    ids=["column", "text", "messages", "prompt"],
)
def test_what_was_asked_counts_and_not_a_column_of_that_name(store, chat):
    """However the messages were given: a conversation is what is said in it."""
    table = asked()
    table = START.run(table.assign(chat=table["conversation"])).table
    out = answered(table, chat)
    assert set(tn.AddUserMessage(text="x").run(table, continue_from=out).log["outcome"]) == {"invalid_request"}
    meant = tn.AddUserMessage(text="x", conversation=tn.col("chat")).run(table, continue_from=out)
    assert set(meant.log["outcome"]) == {"ok"}


def test_the_cell_of_a_turn_run_twice_gives_the_same_ids(store):
    """Also where it puts its table in the place of the one that it had: nothing is added twice."""
    first = answered(asked())
    more = tn.AddUserMessage(text="Why?")
    chat = more.run(first.configuration, continue_from=first).table
    kept = rows_of(store)
    again = more.run(chat, continue_from=first)
    assert list(again.log["outcome"]) == ["ok"] * 3
    assert again.table.equals(chat)
    assert rows_of(store) == kept
    appended = tn.AppendReply().run(first).table
    assert tn.AppendReply().run(appended, continue_from=first).table.equals(appended)
    for other in (tn.AddUserMessage(text="How?"), tn.AppendReply()):
        assert set(other.run(chat, continue_from=first).log["outcome"]) == {"invalid_request"}
    assert set(more.run(appended, continue_from=first).log["outcome"]) == {"invalid_request"}


def test_what_is_not_there_yet_is_not_continued(store):
    """The ids of answers that come later are no answers, and neither are longer conversations."""
    table = asked()
    for other in (START.run(table), tn.Return(text="x").run(table)):
        for node in (tn.AddUserMessage(text="x"), tn.AppendReply()):
            with wording.raises(SettingError):
                node.run(table, continue_from=other)


def test_a_stream_of_rows_continues_as_far_as_there_are_answers(store):
    """Its length is not known before it is read."""
    table = asked(2)
    with fault_server(echo()) as server:
        out = CHAT.run(table, tn.Connection(server.url), progress=False)
    longer = pa.Table.from_pandas(pd.concat([table, table])).to_reader()
    log = tn.AddUserMessage(text="x").run(longer, continue_from=out).log
    assert log["outcome"].to_pylist() == ["ok", "ok", "upstream_failed", "upstream_failed"]


# --- chat nodes ----------------------------------------------------------------------------------------------------


def test_a_prompt_that_is_set_goes_before_a_conversation_column(store):
    """And two columns that both make messages are not chosen between silently."""
    table = asked(1).assign(prompt="p")
    with fault_server(echo()) as server:
        connection = tn.Connection(server.url)
        CHAT.replace(prompt="P {{ question }}").run(table, connection, progress=False)
        CHAT.replace(conversation=tn.col("conversation")).run(table, connection, progress=False)
        CHAT.replace(columns=("prompt",)).run(table, connection, progress=False)
        assert [message_of(r)[-1]["content"] for r in server.requests] == ["P q0", "q0", "p"]
    for other in ("prompt", "messages"):
        both = table.rename(columns={"prompt": other})
        with wording.raises(ColumnError):
            CHAT.check(both)
    with wording.raises(SettingError):
        CHAT.replace(system="S").check(table.drop(columns="prompt"))


@pytest.mark.parametrize(
    "settings", [{"prompt": "P"}, {"messages": [{"role": "user", "content": "P"}]}], ids=["prompt", "messages"]
)
def test_a_conversation_column_that_is_not_taken_is_said(store, capsys, settings):
    """By a check, and by a run before it sends: what was said before would be missed. Not where columns are chosen."""
    table, chat = asked(1), CHAT.replace(**settings)
    (warning,) = chat.check(table).warnings
    wording.line(warning)
    with fault_server(echo()) as server:
        chat.run(table, tn.Connection(server.url))
        wording.line(capsys.readouterr().err)
        chat.run(table, tn.Connection(server.url), progress=False)
    assert warning not in capsys.readouterr().err
    tn.CreateChatCompletionAsync(**chat._settings()).run(table.iloc[:0], tn.Connection("http://127.0.0.1:9/v1"))
    wording.line(capsys.readouterr().err)
    assert chat.replace(columns=()).check(table).warnings == ()
    assert chat.check(table.drop(columns="conversation")).warnings == ()


def test_the_body_of_an_answer_is_no_request_of_a_conversation(store):
    """It is left alone beside one, as a reply that was appended leaves it; a body that is a request is taken."""
    table = asked(1)
    bodies = answered(table).result["body"]
    table = ASK.run(tn.AppendReply().run(table.assign(body=bodies)).table).table
    failed = '{"error": {"message": "no"}}'
    with fault_server(echo()) as server:
        for body in (bodies.iloc[0], failed, '{"temperature": 0.5}'):
            out = CHAT.run(table.assign(body=body), tn.Connection(server.url), progress=False)
            assert list(out.log["outcome"]) == ["ok"]
        told = [orjson.loads(received.body) for received in server.requests]
    assert [sorted(each) for each in told] == [["messages", "model"]] * 2 + [["messages", "model", "temperature"]]
    assert [m["role"] for m in told[0]["messages"]] == ["system", "user", "assistant", "user"]
    alone = CHAT.replace(prompt="P").check(pd.DataFrame({"body": bodies}))
    assert list(alone.problems["rule"]) == ["answer"]


def test_check_looks_conversations_up(store, tmp_path):
    """In the store that a run would use; nothing is sent or made."""
    table = asked(2)
    found = CHAT.check(table)
    assert (found.valid, found.sources["messages"]) == (2, "column conversation")
    missing = CHAT.check(table, store=tmp_path / "none.sqlite")
    assert missing.valid == 0
    assert set(missing.problems["column"]) == {"conversation"}
    assert not (tmp_path / "none.sqlite").exists()


def test_an_empty_conversation_cannot_be_sent(store):
    """The API wants a message."""
    found = CHAT.check(tn.CreateConversation().run(questions(1)).table)
    assert found.valid == 0
    assert list(found.problems["path"]) == ["$.messages"]
    wording(list(found.problems["message"]))


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table])
def test_the_rows_that_succeeded_have_the_new_conversation(store, kind):
    """Those that failed keep the one that they had: both can be given to the next node as they are."""
    table = START.run(kind({"question": ["a", None, "c"]})).table
    out = ASK.run(table)
    old, new = tables.view(table), tables.view(out.table)
    assert [id for (id,) in tables.view(out.succeeded).rows(("conversation",))] == [
        id for (id,) in new.rows(("conversation",)) if id is not None
    ]
    assert [id for (id,) in tables.view(out.failed).rows(("conversation",))] == [
        id for (id,) in list(old.rows(("conversation",)))[1:2]
    ]
    assert tables.view(out.succeeded).columns == old.columns
    assert type(out.succeeded) is type(table)


def test_a_column_of_ones_own_is_no_place_for_ids(store):
    """A transcript would be lost without a word, and its id be sent in its place."""
    table = pd.DataFrame({"conversation": ["Hello, my kettle broke.", None, ""]})
    assert START.check(table).valid == 2
    out = START.run(table)
    assert out.table["conversation"].iloc[0] == "Hello, my kettle broke."
    assert all(map(is_id, out.table["conversation"].iloc[1:]))
    assert problems(out)[0][0] == "invalid_request"
    wording(problems(out)[0][1])
    again = START.run(START.run(questions(2)).table)
    assert again.summary.ok == 2


@pytest.mark.parametrize(
    ("node", "table"),
    [
        (tn.AddUserMessage(text="x"), {"conversation": ["nonsense"]}),
        (tn.AddUserMessage(text="x"), {"conversation": [None]}),
        (tn.AddUserMessage(content="no parts"), {"conversation": [EMPTY]}),
        (tn.AddUserMessage(content=tn.col("parts")), {"conversation": [EMPTY], "parts": ['[{"type": "texts"}]']}),
        (tn.AddToolMessage(text="x", tool_call_id=tn.col("id")), {"conversation": [EMPTY], "id": [None]}),
        (tn.AppendReply(), {"conversation": [EMPTY], "body": ["no answer"]}),
        (tn.CreateConversation(messages=tn.col("said")), {"said": ['[{"role": "nobody"}]']}),
    ],
)
def test_a_check_finds_what_a_run_would_report(store, node, table):
    """In the same words."""
    table = pd.DataFrame(table)
    found, out = node.check(table), node.run(table)
    assert (found.valid, out.summary.ok) == (0, 0)
    assert problems(out)[0][1].endswith(found.problems["message"].iloc[0])


def test_a_conversation_that_is_read_is_not_said_to_be_left_out(store):
    """The column is sent, though not as a conversation."""
    table = pd.DataFrame({"conversation": ["Hello"]})
    assert CHAT.replace(prompt="{{ conversation }}").check(table).warnings == ()
    wording(CHAT.replace(prompt="Hello").check(table).warnings)


# --- workflows and the command line --------------------------------------------------------------------------------


CHAIN = """
table: questions.csv
nodes:
  - {id: start, type: CreateConversation, system: You help.}
  - {id: question, type: AddUserMessage, text: "{{ question }}"}
  - {id: reply, type: CreateChatCompletion, model: m}
  - {id: more, type: AddUserMessage, text: "Why {{ outputs.reply.choices[0].message.content }}?", continue_from: reply}
  - {id: second, type: CreateChatCompletion, model: m}
  - {id: last, type: AppendReply, continue_from: second}
"""


def chain(folder, text=CHAIN):
    questions().to_csv(folder / "questions.csv", index=False)
    (folder / "chain.yaml").write_text(text)
    return tn.Workflow.load(folder / "chain.yaml")


def test_a_chat_over_a_table_is_a_chain_of_nodes(store, tmp_path):
    """The second turn of each row has the first one's answer; a row whose answer is missing goes no further."""
    workflow = chain(tmp_path)
    assert {found.valid for found in workflow.check().values()} == {3}

    def react(exchange):
        said = message_of(exchange.received)
        bad = said[1]["content"] == "q1"
        (answer({"error": {"message": "no"}}, 400) if bad else says(f"A{len(said)}"))(exchange)

    with fault_server(react) as server:
        out = workflow.run(connection=tn.Connection(server.url), progress=False)
        assert len(server.requests) == 3 + 2
    assert list(out["second"].log["outcome"]) == ["ok", "upstream_failed", "ok"]
    assert list(out["last"].table.columns) == ["question", "conversation"]
    said = Conversations(store).messages(out["last"].table["conversation"].iloc[2])
    assert [m["content"] for m in said] == ["You help.", "q2", "A2", "Why A2?", "A4"]
    saved = tmp_path / "saved.yaml"
    workflow.save(saved)
    assert tn.Workflow.load(saved) == workflow


@pytest.mark.parametrize(
    "named",
    [
        "relpy",
        "second",
        "more",
        "question",
    ],
)
def test_what_a_node_continues_from_is_checked_with_the_file(store, tmp_path, named):
    """With its line."""
    with pytest.raises(WorkflowError) as raised:
        chain(tmp_path, CHAIN.replace("continue_from: reply", f"continue_from: {named}"))
    wording(raised.value)


def test_a_row_that_goes_no_further_is_one_for_every_later_turn(store, tmp_path):
    """A check says it too: where a message has no text, nothing after it in the conversation can be sent."""
    workflow = chain(tmp_path)
    found = workflow.check(questions().assign(question=["a", None, "c"]))
    assert {name: each.valid for name, each in found.items()} == {"start": 3} | dict.fromkeys(list(found)[1:], 2)
    assert {row for each in found.values() for row in each.problems["row"]} == {1}
    wording([list(each.problems["message"]) for each in found.values()][2])
    chat = CHAT.replace(model=tn.col("name"))
    steps = {
        "reply": chat,
        "more": tn.AddUserMessage(text="x", continue_from="reply"),
        "judge": CHAT.replace(prompt="P"),
    }
    named = asked().assign(name=["m", "m", None])
    assert [each.valid for each in tn.Workflow(steps).check(named).values()] == [2, 2, 3]


def test_a_workflow_without_a_conversation_says_how_to_begin(store, tmp_path):
    """Before anything is sent."""
    text = CHAIN.replace("  - {id: start, type: CreateConversation, system: You help.}\n", "")
    with wording.raises(ColumnError):
        chain(tmp_path, text).check()


BRANCHES = """
nodes:
  - {id: start, type: CreateConversation, messages: [{role: user, content: "{{ inputs.about }}"}]}
  - {id: reply, type: CreateChatCompletion, model: m}
  - {id: brief, type: AddSystemMessage, text: Be brief., continue_from: reply}
  - {id: long, type: AddSystemMessage, text: Be long., conversation: "{{ outputs.start.conversation }}"}
  - {id: both, type: CreateChatCompletion, model: m, conversation: "{{ outputs.brief.conversation }}"}
inputs: {about: ducks}
"""


def test_a_workflow_may_branch_and_needs_no_table(store, tmp_path):
    """A node's conversation is there for placeholders too, so that two nodes can go on from the same one."""
    workflow = chain(tmp_path, BRANCHES)
    assert [found.valid for found in workflow.check().values()] == [1] * 5
    with fault_server(says("Quack.")) as server:
        out = workflow.run(connection=tn.Connection(server.url), progress=False)
        asked_for = [[m["content"] for m in message_of(r)] for r in server.requests]
    assert asked_for == [["ducks"], ["ducks", "Quack.", "Be brief."]]
    (long,) = out["long"].table["conversation"]
    assert [m["content"] for m in Conversations(store).messages(long)] == ["ducks", "Be long."]


def test_what_came_later_is_continued_like_any_other_answer(store, tmp_path):
    """A node that only hands requests on gives no answers; the one that gets them does."""
    text = CHAIN.replace("type: CreateChatCompletion, model: m}", "type: CreateChatCompletionAsync, model: m}", 1)
    with wording.raises(WorkflowError):
        chain(tmp_path, text)
    got = text.replace(", continue_from: reply", "").replace("Why {{ outputs.reply.choices[0].message.content }}?", "x")
    chain(tmp_path, got.replace("second, type: CreateChatCompletion, model: m", "second, type: RetrieveResponse"))


def command(*arguments):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code or 0, printed.getvalue()


def test_the_command_line_knows_the_nodes(store, tmp_path, monkeypatch):
    """It lists them, and calls them one after another."""
    monkeypatch.chdir(tmp_path)
    questions().to_csv("questions.csv", index=False)
    code, listed = command("nodes")
    for name in ("CreateConversation", "AddSystemMessage", "AddUserMessage", "AddAssistantMessage", "AppendReply"):
        assert name in listed
        assert command("nodes", name)[0] == 0
    assert "ConversationNode" not in listed
    assert "Adding" not in listed
    begin = command("call", "CreateConversation", "questions.csv", "-s", "system=You help.", "-o", "begun.csv")
    assert (code, begin[0]) == (0, 0)
    assert command("call", "AddUserMessage", "begun.csv", "-s", "text={{ question }}", "-o", "asked.csv")[0] == 0
    assert list(pd.read_csv("asked.csv")["conversation"]) == list(asked()["conversation"])


def test_a_workflow_keeps_its_conversations_where_it_is_told_to(store, tmp_path):
    """Every node of it, in a run and in a check; the store that is there else is not touched."""
    other = tmp_path / "other.sqlite"
    with fault_server(echo()) as server:
        out = chain(tmp_path).run(connection=tn.Connection(server.url), progress=False, store=other)
    assert out["last"].summary.ok == 3
    table = ASK.run(out["last"], store=other).table
    asks = tn.Workflow({"more": tn.AddUserMessage(text="x"), "ask": CHAT.replace(conversation=tn.col("given"))})
    table = table.assign(given=table["conversation"])
    assert [found.valid for found in asks.check(table, store=other).values()] == [3, 3]
    assert asks.check(table)["ask"].valid == 0
    assert not store.exists()


def test_the_command_line_takes_a_store(store, tmp_path, monkeypatch):
    """To run, call and check."""
    monkeypatch.chdir(tmp_path)
    chain(tmp_path)
    kept = ("--store", "other.sqlite")
    begin = ("call", "CreateConversation", "questions.csv", "-s", "system=You help.", "-o", "begun.csv", *kept)
    assert command(*begin)[0] == 0
    (tmp_path / "ask.yaml").write_text(
        "table: begun.csv\nnodes:\n  - {id: ask, type: CreateChatCompletion, model: m}\n"
    )
    assert command("check", "ask.yaml", *kept)[0] == 0
    assert command("check", "ask.yaml")[0] != 0
    with fault_server(echo()) as server:
        address = ("--base-url", server.url, "--no-key", "--no-journal", "-o", "out.csv")
        assert command("run", "ask.yaml", *kept, *address)[0] == 0
        assert command("call", "CreateChatCompletion", "begun.csv", "--model", "m", *kept, *address)[0] == 0
        assert len(server.requests) == 6
    assert not store.exists()


def test_the_sample_chat_asks_its_second_turn_with_the_first(store):
    """For each customer, with the customer's name and both questions."""
    workflow = tn.Workflow.load(SAMPLE)
    nodes = [(n, node.replace(model="m") if hasattr(node, "model") else node) for n, node in workflow._steps]
    table = tn.read_table(workflow.table)
    with fault_server(says("So.")) as server:
        out = workflow.replace(nodes=nodes, connection=tn.Connection(server.url), output=None).run(progress=False)
        second = {message_of(r)[0]["content"]: message_of(r) for r in server.requests if len(message_of(r)) == 4}
    assert 5 <= len(table) == len(second) <= 8
    for row in table.itertuples():
        (said,) = (messages for system, messages in second.items() if row.customer in system)
        assert [m["content"] for m in said[1:]] == [row.question, "So.", row.follow_up]
    assert set(out["second_reply"].log["outcome"]) == {"ok"}


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_sample_chat_runs_on_the_embedded_model(sample):
    """Every customer has an answer to the second question."""
    written_out = pd.read_csv(sample("support_chat").folder / "support_chat.csv")
    assert set(written_out["second_reply_outcome"]) == {"ok"}
    assert written_out[["reply", "second_reply"]].map(len).min().min() > 0
