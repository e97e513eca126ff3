"""Outputs: what a node gives stands beside what the user had, and goes wherever a table goes."""

from __future__ import annotations

import gc
import json
import pickle
import weakref

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from servers import answer, echo, fault_server

import tablenodes as tn
from tablenodes.answers import TEXTS
from tablenodes.engine.calls import Answer
from tablenodes.engine.outcomes.judge import judge

KINDS = [pd.DataFrame, pl.DataFrame, pa.table]
CHAT = tn.CreateChatCompletion(model="m", prompt="{{ text }}")


def cells(table, name):
    return table[name].to_pylist() if isinstance(table, pa.Table) else list(table[name])


def names(table):
    return list(table.column_names if isinstance(table, pa.Table) else table.columns)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_the_users_is_never_written_over(kind):
    """What a node makes under a name that is taken gets a suffix."""
    out = tn.Return(text="{{ text }}!").run(kind({"text": ["a", "b"]}))
    assert names(out.table) == ["text", "text_2"]
    assert cells(out.table, "text") == ["a", "b"]
    assert (
        cells(out.table, "text_2") == list(out.text if kind is not pa.table else out.text.to_pylist()) == ["a!", "b!"]
    )


def test_a_workflow_writes_over_what_its_own_nodes_made_alone():
    """The last text is the one that counts; the user's stays, and goes on to every node."""
    nodes = {"a": tn.Return(text="{{ text }}1"), "b": tn.Return(text="{{ text }}2")}
    assert cells(tn.Workflow(nodes).run(pd.DataFrame({"text": ["x"]}))["b"].table, "text") == ["x"]
    nodes = {"a": tn.Return(text="{{ word }}1"), "b": tn.Return(text="{{ text }}2")}
    table = tn.Workflow(nodes).run(pd.DataFrame({"word": ["x"]}))["b"].table
    assert names(table) == ["word", "text"]
    assert cells(table, "text") == ["x12"]


def test_an_error_message_of_the_users_stays(tmp_path):
    """The id is what later nodes read by its name."""
    node = tn.CreateChatCompletionAsync(model="m", prompt="Why? {{ error_message }}")
    table = pd.DataFrame({"error_message": ["disk full", None]})
    with fault_server(echo()) as server:
        out = node.run(table, tn.Connection(server.url, ""), store=tmp_path / "store", progress=False)
        tn.RetrieveResponse().run(out, store=tmp_path / "store", progress=False)
    assert names(out.table) == ["error_message", "future_response_id", "error_message_2"]
    assert cells(out.table, "error_message")[0] == "disk full"


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_travels_to_another_process(kind):
    """With all that was made, and what was asked."""
    table = kind({"text": ["a", "b"]})
    with fault_server(echo()) as server:
        out = CHAT.run(table, tn.Connection(server.url, "sk-canary-0123456789"), progress=False)
    for made in (out, tn.Return(text="{{ text }}").run(table)):
        assert len(made.table) == len(made.log) == 2  # made once, and not taken along
        frozen = pickle.dumps(made)
        assert b"sk-canary" not in frozen
        again = pickle.loads(frozen)
        assert again.texts() == made.texts()
        assert cells(again.table, "text") == ["a", "b"]
        assert str(again.summary) == str(made.summary)
    assert list(pickle.loads(pickle.dumps(out))._asked()) == list(out._asked())


def odd(**more):
    choice = {"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"} | more
    return json.dumps({"choices": [choice]})


ODD = {
    "half a character elsewhere": (odd(logprobs={"content": [{"token": "\ud83d"}]}), "fine"),
    "half a character in the text": (odd(message={"role": "assistant", "content": "fi\ud83dne"}), "fi\ufffdne"),
    "half a character, and 500 levels": (
        odd(n="\ud83d").replace('"\\ud83d"', '["\\ud83d", ' + "[" * 500 + "]" * 500 + "]"),
        "fine",
    ),
    "a pair, and what only looks like half of one": (
        odd(message={"role": "assistant", "content": "\\ud83d \U0001f600"}, n="\ud83d"),
        "\\ud83d \U0001f600",
    ),
    "5,000 digits": (odd(n=0).replace('"n": 0', '"n": ' + "7" * 5000), "fine"),
    "2,000 levels": (odd(n=0).replace('"n": 0', '"n": ' + "[" * 2000 + "]" * 2000), "fine"),
}


@pytest.mark.parametrize(("body", "text"), ODD.values(), ids=ODD)
def test_the_text_of_every_answer_that_is_ok_is_read(body, text):
    """Whatever JSON allows elsewhere in it; a later node reads it too."""
    workflow = tn.Workflow({"ask": CHAT, "say": tn.Return(text="{{ outputs.ask.choices[0].message.content }}")})
    with fault_server(answer(body)) as server:
        out = workflow.run(pd.DataFrame({"text": ["a"]}), connection=tn.Connection(server.url, ""), progress=False)
    assert list(out["ask"].log["outcome"]) == ["ok"]
    assert out["ask"].texts() == [text]
    assert out["say"].texts() == [text]
    assert list(out["say"].table["text_2"]) == [text]


def test_what_a_run_leaves_is_freed_with_its_output():
    """At once, by nothing but its last name: a notebook's memory is that of the outputs that it holds."""
    gc.collect()
    gc.disable()
    try:
        out = tn.CreateChatCompletion(model="m", prompt="x").run(
            pd.DataFrame(index=range(3)), tn.testing.canned("y"), progress=False
        )
        records = weakref.ref(out._records)
        del out
        assert records() is None
    finally:
        gc.enable()


def bodies_with_texts():
    """Return bodies of answers, by what is special about their texts."""
    plain = {"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
    of = {
        "plain": [plain],
        "long": [plain | {"message": {"content": "x" * 65}}],
        "cut": [plain | {"finish_reason": "length"}],
        "two": [plain, plain | {"message": {"content": "other"}}],
        "empty": [plain | {"message": {"content": ""}}],
        "in parts": [plain | {"message": {"content": [{"type": "text", "text": "a"}]}}],
        "refused": [plain | {"message": {"content": "fine", "refusal": "no"}}],
        "no chat": [{"text": "fine", "finish_reason": "stop"}],
    }
    found = {name: json.dumps({"choices": choices}) for name, choices in of.items()}
    return found | {"a key twice": found["plain"].replace('"fine"', '"no", "content": "fine"')}


def test_a_text_that_is_kept_beside_its_body_is_the_one_in_it():
    """Of a short one, by far the most common, the body is not parsed again."""
    for name, body in bodies_with_texts().items():
        verdict = judge(Answer(0, 200, b"", body.encode()))
        assert verdict.kind is None, name
        assert verdict.text == (TEXTS.text_in(body) if name in ("plain", "a key twice") else None), name


def test_the_arguments_of_the_tool_come_before_a_text_beside_them():
    """Also of a short one, which is kept."""
    call = {"id": "1", "type": "function", "function": {"name": "answer", "arguments": '{"n": 7}'}}
    body = odd(message={"role": "assistant", "content": "fine", "tool_calls": [call]})
    node = tn.CreateChatCompletion(model="m", prompt="{{ text }}", answer={"n": "integer"}, answer_mode="tool")
    with fault_server(answer(body)) as server:
        out = node.run(pd.DataFrame({"text": ["a"]}), tn.Connection(server.url, ""), progress=False)
    assert (out.texts(), list(out.table["n"])) == (['{"n": 7}'], [7])
