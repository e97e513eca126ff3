"""Turns chain over a table: an answer that is added leaves it, one that is not is said, and all is read back."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import duckdb
import orjson
import pandas as pd
import polars
import pyarrow as pa
import pytest
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn
from tablenodes.cli import main

ASK = tn.AddUserMessage(text="{{ word }}")
CHAT = tn.CreateChatCompletion(model="m")
NOT_ADDED = "is not in the conversation"


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("TABLENODES_STORE", str(tmp_path / "store"))


@pytest.fixture
def server():
    """Answers with the number of messages."""

    def count(exchange):
        said = f"{len(orjson.loads(exchange.received.body)['messages'])} messages"
        if "response_format" in orjson.loads(exchange.received.body):
            said = '{"stars": 4}'
        answer({"choices": [{"index": 0, "message": {"content": said}, "finish_reason": "stop"}]})(exchange)

    with fault_server(count) as server:
        yield server


def begun(kind=lambda frame: frame):
    frame = pd.DataFrame({"word": ["a", "b"]}, index=["x", "y"])
    return ASK.run(tn.CreateConversation(system="Be kind.").run(kind(frame)).table).table


def told(do):
    """Return what a run prints beside its result."""
    with redirect_stderr(io.StringIO()) as printed:
        made = do()
    return made, printed.getvalue()


def asked(table, server, node=CHAT):
    return node.run(table, tn.Connection(server.url), progress=False)


@pytest.mark.parametrize("node", [CHAT, CHAT.replace(into="first"), CHAT.replace(answer={"stars": int}, into="first")])
def test_turns_chain(server, node):
    """The answer, status, outcome and message of the turn leave the table as it is added, however they are called."""
    table = begun()
    for _ in range(3):
        out = asked(table, server, node)
        (table, said) = told(lambda out=out: ASK.run(out.table, continue_from=out).table)
        assert list(table.columns) == ["word", "conversation"]
        assert said == ""
    assert len(orjson.loads(server.requests[-1].body)["messages"]) == 6


@pytest.mark.parametrize(
    ("node", "column"),
    [
        (CHAT, "answer"),
        (CHAT.replace(into="first"), "first"),
        (CHAT.replace(answer={"stars": int}), "stars"),
        (CHAT.replace(answer={"stars": int}, into="x"), "x_stars"),
    ],
)
def test_a_turn_that_is_left_out_is_said_with_the_way(server, node, column):
    """In one line of a run, and by check; nothing is changed."""
    pipe = begun().pipe(asked, server, node).table
    (out, said) = told(lambda: pipe.pipe(ASK.run))
    assert said.count(NOT_ADDED) == 1
    assert f"'{column}'" in said
    wording.line(said)
    assert NOT_ADDED in "".join(ASK.check(pipe).warnings)
    assert set(pipe.columns) == set(out.table.columns)
    assert told(lambda: ASK.run(pipe, progress=False))[1] == ""
    assert NOT_ADDED in told(lambda: asked(begun(), server, node).succeeded.pipe(ASK.run))[1] or column != "answer"


def test_what_is_no_turn_of_the_conversation_is_not_said(server):
    """Answers of before it began; an answer that the message is made of."""
    earlier = asked(pd.DataFrame({"word": ["a"]}), server, CHAT.replace(prompt="{{ word }}")).table
    assert NOT_ADDED not in told(lambda: ASK.run(tn.CreateConversation().run(earlier).table))[1]
    table = asked(begun(), server).table
    assert NOT_ADDED not in told(lambda: tn.AddAssistantMessage(text="{{ answer }}").run(table))[1]


def test_an_answer_that_is_appended_from_its_body_leaves_the_table(server):
    """With what stands beside it; the user's own columns stay."""
    out = asked(begun(), server)
    table = out.table.assign(body=out.result["body"], mine=[1, 2])
    made, said = told(lambda: tn.AppendReply().run(table))
    assert list(made.table.columns) == ["word", "body", "mine", "conversation"]
    assert NOT_ADDED not in said
    assert list(tn.transcript(made)["role"]) == ["system", "user", "assistant"] * 2


def test_a_second_question_needs_a_name_of_its_own(server):
    """And the error says which setting names it; an answer is never mixed up with an earlier one."""
    out = asked(begun(), server)
    for table in (out.table, out.succeeded):
        with pytest.raises(tn.errors.ColumnError, match="with into") as caught:
            asked(table, server)
        assert caught.value.code == "answer_column"
        assert "second" in asked(table, server, CHAT.replace(into="second")).table.columns


KINDS = {"pandas": lambda f: f, "pyarrow": pa.Table.from_pandas, "polars": polars.from_pandas}


@pytest.mark.parametrize("kind", KINDS)
def test_conversations_are_read_back(server, kind):
    """One row a message, in the table's kind, with the index of its row."""
    out = asked(begun(KINDS[kind]), server)
    made = tn.transcript(tn.AppendReply().run(out))
    assert type(made) is type(out.table)
    found = made if kind == "pandas" else made.to_pandas()
    assert list(found.columns) == ["row", "position", "role", "content", "other", "problem"]
    assert list(found["row"]) == [0, 0, 0, 1, 1, 1]
    assert list(found["position"]) == [0, 1, 2] * 2
    assert list(found["content"]) == ["Be kind.", "a", "2 messages", "Be kind.", "b", "2 messages"]
    assert found[["other", "problem"]].isna().all(axis=None)
    if kind == "pandas":
        assert list(found.index) == ["x"] * 3 + ["y"] * 3


def test_what_cannot_be_read_is_one_row_and_what_is_empty_is_none(tmp_path):
    """The others are read; a store that is not there says so."""
    table = begun()
    strange = pd.concat([table, pd.DataFrame({"conversation": [None, "conv_" + "0" * 40, "nonsense", ""]})])
    made = tn.transcript(strange)
    assert list(made["row"]) == [0, 0, 1, 1, 3, 4]
    assert made["role"].isna().tolist() == [False] * 4 + [True] * 2
    for line in made["problem"][4:]:
        wording(line)
    assert len(tn.transcript(table, store=tmp_path / "none")) == 2
    assert list(tn.transcript(table.iloc[:0]).columns) == list(made.columns)
    with wording.raises(tn.errors.ColumnError):
        tn.transcript(pd.DataFrame({"conversatoin": ["x"]}))


def test_parts_and_calls_are_there_as_json():
    """A message that is more than a text keeps all that it has."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    parts = [{"type": "text", "text": "see"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    table = tn.CreateConversation(messages=messages).run(duckdb.sql("SELECT 1 AS one")).table
    made = tn.transcript(table).to_pandas()
    assert orjson.loads(made["content"][0]) == parts
    assert orjson.loads(made["other"][1]) == {"tool_calls": [call]}


# --- a reply that is forgotten, at each door -----------------------------------------------------------------------


THREE_TURNS = """
table: words.csv
nodes:
  - {id: begin, type: CreateConversation, system: Be kind.}
  - {id: one, type: AddUserMessage, text: "{{ word }}"}
  - {id: first, type: CreateChatCompletion, model: m}
  - {id: two, type: AddUserMessage, text: "{{ word }}"MORE}
  - {id: second, type: CreateChatCompletion, model: m}
  - {id: three, type: AddUserMessage, text: "{{ word }}", continue_from: second}
  - {id: third, type: CreateChatCompletion, model: m}
"""


def command(capsys, *arguments):
    """Return the exit code of a command, and what it prints to the two streams."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return ended.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize(
    ("more", "is_said"),
    [("", True), (", continue_from: first", False)],
    ids=["forgotten", "added"],
)
def test_a_reply_that_is_forgotten_between_nodes_is_said(server, tmp_path, more, is_said):
    """By check and by a run, with the way, at the node that should add it."""
    pd.DataFrame({"word": ["a"]}).to_csv(tmp_path / "words.csv", index=False)
    (tmp_path / "flow.yaml").write_text(THREE_TURNS.replace("MORE", more))
    flow = tn.Workflow.load(tmp_path / "flow.yaml")
    found = flow.check()
    assert [name for name, each in found.items() if "continue_from: first" in "".join(each.warnings)] == (
        ["two"] if is_said else []
    )
    out, said = told(lambda: flow.run(connection=tn.Connection(server.url)))
    assert said.count("continue_from: first") == is_said
    if is_said:
        wording.line(next(line for line in said.splitlines() if "continue_from" in line))
    assert out["third"].summary.ok == 1
    assert len(orjson.loads(server.requests[-1].body)["messages"]) == 6 - is_said


@pytest.mark.parametrize("text", ["{{ first }}", "{{ outputs.first.answer }}"])
def test_a_reply_that_a_message_is_made_of_is_not_said(text):
    """It is added, in the author's own way."""
    nodes = {"begin": tn.CreateConversation(system="x"), "first": CHAT, "say": tn.AddAssistantMessage(text=text)}
    assert tn.Workflow(nodes).check(pd.DataFrame({"word": ["a"]}))["say"].warnings == check_warnings(nodes)


def test_an_answer_that_is_not_added_stays_for_later_nodes(server):
    """It is in no conversation, so it does not leave the table; one that is added does."""
    table, say = asked(begun(), server).table, tn.Return(text="{{ answer }}")
    assert tn.Workflow({"more": ASK, "say": say}).check(table)["say"].valid == 2
    with pytest.raises(tn.errors.ColumnError):
        tn.Workflow({"add": tn.AppendReply(), "say": say}).check(table)


@pytest.mark.parametrize("between", [CHAT.replace(prompt="{{ word }}"), tn.Return(text="{{ conversation }}")])
def test_a_node_that_does_not_answer_the_conversation_leaves_no_reply(between):
    """Whether it asks something else, or sends nothing."""
    nodes = {"begin": tn.CreateConversation(system="x"), "between": between, "say": tn.AddUserMessage(text="hi")}
    found = tn.Workflow(nodes).check(pd.DataFrame({"word": ["a"]}))["say"]
    assert [each for each in found.warnings if "is not added" in each] == []


def check_warnings(nodes):
    """Return the warnings of the last node but for what says that a reply is forgotten."""
    found = tn.Workflow(nodes).check(pd.DataFrame({"word": ["a"]}))["say"].warnings
    return tuple(each for each in found if "is not added" not in each)


@pytest.mark.parametrize("into", ["answer", "said"])
def test_three_turns_on_the_command_line(server, tmp_path, capsys, into):
    """A file with an answer that is in no conversation is noticed, and AppendReply adds it from the file's texts."""
    at, table = ("--base-url", server.url, "--no-key"), tmp_path / "t0.csv"
    begun().reset_index(drop=True).to_csv(table, index=False)
    for turn in range(3):
        replied, added = (tmp_path / f"{name}{turn}.csv" for name in ("replied", "added"))
        chat = ("call", "CreateChatCompletion", "--model", "m", *at)
        assert command(capsys, *chat, table, "--into", into, "-o", replied)[0] == 0
        for forgotten in (("call", "AddUserMessage", "-s", "text=x"), (*chat, "--into", "b")):
            _, _, said = command(capsys, *forgotten, replied, "-o", tmp_path / "x.csv", "--no-journal")
            assert said.count(NOT_ADDED) == 1
            assert "tablenodes call AppendReply" in said
        code, _, said = command(capsys, "call", "AppendReply", replied, "-o", added)
        assert (code, NOT_ADDED in said) == (0, False)
        assert list(pd.read_csv(added).columns) == ["word", "conversation"]
        table = tmp_path / f"next{turn}.csv"
        assert command(capsys, "call", "AddUserMessage", added, "-s", "text={{ word }}", "-o", table)[0] == 0
    messages = command(capsys, "store", "--conversation", pd.read_csv(table)["conversation"][0])[1]
    assert list(pd.read_csv(io.StringIO(messages))["content"]) == [
        *("Be kind.", "a", "2 messages", "a", "4 messages", "a", "6 messages", "a")
    ]
    code, shown, said = command(capsys, "store", "--conversation", "conv_" + "0" * 40)
    assert (code != 0, shown) == (True, "")
    wording.line(said)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_enough_to_append_a_reply(server, kind):
    """The ids are those that the answers' bodies give; a row without an answer has the reason."""
    out = asked(begun(), server)
    assert list(tn.AppendReply().run(out.table).table["conversation"]) == list(
        tn.AppendReply().run(out).table["conversation"]
    )
    texts = out.table.assign(answer=['[1, "x"]', None], outcome=["ok", "ok"])
    made = tn.AppendReply().run(KINDS[kind](texts))
    assert dict(made.summary.outcomes) == {"ok": 1, "upstream_failed": 1}
    frame = tn.transcript(made)
    assert '[1, "x"]' in list(frame["content"] if kind != "pyarrow" else frame.to_pandas()["content"])
    failed = tn.AppendReply().run(out.table.assign(outcome=["rate_limited", "skipped"]))
    assert dict(failed.summary.outcomes) == {"upstream_failed": 1, "skipped": 1}


def test_what_was_submitted_and_retrieved_is_said_too():
    """At the node after it that makes the conversation longer."""
    nodes = {
        "begin": tn.CreateConversation(system="x"),
        "ask": tn.CreateChatCompletionAsync(model="m"),
        "got": tn.RetrieveResponse(),
        "say": ASK,
    }
    found = tn.Workflow(nodes).check(pd.DataFrame({"word": ["a"]}))
    assert "continue_from: got" in "".join(found["say"].warnings)


TWO_CHATS = """
table: words.csv
nodes:
  - {id: begin, type: CreateConversation, system: Be kind.}
  - {id: first, type: CreateChatCompletion, model: m}
BETWEEN
  - {id: second, type: CreateChatCompletion, model: mMORE}
AFTER
"""


@pytest.mark.parametrize(
    ("between", "more", "after", "is_said"),
    [
        ("", "", "", True),
        ("  - {id: reply, type: AppendReply, continue_from: first}", "", "", False),
        ("", ', extra_body: {said: "{{ first }}"}', "", False),
        ("", ', when: "{{ word == 1 }}"', "", False),
        ("", "", "  - {id: reply, type: AppendReply, continue_from: first}", False),
        ("", ', prompt: "{{ word }}"', "", False),
    ],
    ids=["forgotten", "added", "read", "a branch", "two on purpose", "another question"],
)
def test_a_second_chat_on_one_conversation_is_said(server, tmp_path, between, more, after, is_said):
    """By check and by a run, where nothing shows that both are meant to answer the same messages."""
    pd.DataFrame({"word": [1]}).to_csv(tmp_path / "words.csv", index=False)
    text = TWO_CHATS.replace("BETWEEN", between).replace("MORE", more).replace("AFTER", after)
    (tmp_path / "flow.yaml").write_text(text)
    flow = tn.Workflow.load(tmp_path / "flow.yaml")
    warned = [name for name, each in flow.check().items() if "continue_from: first" in "".join(each.warnings)]
    assert warned == (["second"] if is_said else [])
    _, said = told(lambda: flow.run(connection=tn.Connection(server.url)))
    assert said.count("continue_from: first") == is_said
    if is_said:
        wording.line(next(line for line in said.splitlines() if "continue_from" in line))
