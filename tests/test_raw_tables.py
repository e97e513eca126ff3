"""Raw tables that were stored, choices and calls: pure functions of bodies, whatever stands in them."""

from __future__ import annotations

import functools
import json
import re

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import wording
from servers import fault_server, message

import tablenodes as tn
from tablenodes.errors import ColumnError
from tablenodes.tables import write_table

KINDS = [pd.DataFrame, pl.DataFrame, pa.table]
FIELDS = {"stars": int, "reason?": str, "topics": [str]}
NODE = tn.CreateChatCompletion(model="m", prompt="{{ review }}")
TYPED = NODE.replace(answer=FIELDS)
CALLING = TYPED.replace(answer_mode="tool")
GOOD = json.dumps({"stars": 5, "reason": None, "topics": ["x"]})


def cells(table, name):
    return table[name].to_pylist() if isinstance(table, pa.Table) else [*map(none, table[name])]


def none(cell):
    return None if cell is pd.NA or (isinstance(cell, float) and cell != cell) else cell


def names(table):
    return list(table.column_names if isinstance(table, pa.Table) else table.columns)


def dtypes(table):
    return [*map(str, table.schema.types if isinstance(table, pa.Table) else table.dtypes)]


def choice(content, finish_reason="stop", **more):
    return {"index": 0, "message": {"role": "assistant", "content": content} | more, "finish_reason": finish_reason}


def body(*choices, **more):
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    return json.dumps({"choices": [*choices], "model": "m-1", "usage": usage} | more)


def called(name, arguments):
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


def parsed(*bodies, node=NODE, kind=pd.DataFrame, status=200):
    return node.parse(kind({"body": [*bodies], "status": [status] * len(bodies)}))


# What comes out


@pytest.mark.parametrize("kind", KINDS)
def test_every_choice_is_a_row_with_its_answer(kind):
    """Typed as the first one is; the reason is that of this choice, and a name that the answer has gets a suffix."""
    out = parsed(body(choice(GOOD), choice("no"), choice(GOOD, "length")), body(choice(GOOD)), node=TYPED, kind=kind)
    made = out.choices
    assert names(made) == ["row", "choice", "stars", "reason", "topics", "text", "finish_reason", "reason_2"]
    assert cells(made, "row") == [0, 0, 0, 1]
    assert cells(made, "choice") == [0, 1, 2, 0]
    assert cells(made, "stars") == [5, None, None, 5]
    assert cells(made, "text") == [GOOD, "no", GOOD, GOOD]
    assert cells(made, "finish_reason") == ["stop", "stop", "length", "stop"]
    assert cells(made, "reason_2") == [None, "not_json", "cut", None]


def test_rows_that_failed_have_no_choices_and_those_that_cannot_be_used_do():
    """What the model wrote is there to be looked at."""
    out = NODE.replace(answer=["a"]).parse(
        pd.DataFrame({"body": [body(choice("x")), '{"error": {"message": "no"}}', None], "status": [200, 400, None]})
    )
    assert list(out.choices["row"]) == [0]
    assert list(out.choices["reason"]) == ["not_json"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_tool_call_is_a_row(kind):
    """Also a legacy one, and a custom one; arguments are parsed where the table can hold that, else JSON."""
    custom = {"id": "2", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    calls = [called("a", '{"x": [1, null]}'), called("b", '{"x": '), custom, called("c", ""), called("d", "[1]")]
    old = choice(None, "function_call", function_call={"name": "old", "arguments": "{}"})
    out = parsed(body(choice(None, "tool_calls", tool_calls=calls)), body(choice("text"), old), kind=kind)
    made = out.calls
    assert names(made) == ["row", "choice", "call", "name", "arguments", "reason"]
    assert cells(made, "row") == [0, 0, 0, 0, 0, 1]
    assert cells(made, "choice") == [0, 0, 0, 0, 0, 1]
    assert cells(made, "call") == [0, 1, 2, 3, 4, 0]
    assert cells(made, "name") == ["a", "b", "sql", "c", "d", "old"]
    first, empty = ({"x": [1, None]}, {}) if kind is pd.DataFrame else ('{"x": [1, null]}', "{}")
    assert cells(made, "arguments") == [first, '{"x": ', "SELECT 1", None, "[1]", empty]
    assert cells(made, "reason") == [None, "not_json", None, "empty", "does_not_fit", None]


def test_arguments_that_were_cut_are_called_so():
    """At the token limit, and not by chance."""
    out = parsed(body(choice(None, "length", tool_calls=[called("a", '{"x": ')])))
    assert list(out.calls["reason"]) == ["cut"]


@pytest.mark.parametrize("index", [[7, 7], pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", None])])
def test_the_index_is_repeated(index):
    """Whatever it is."""
    both = body(choice("a"), choice(None, "tool_calls", tool_calls=[called("a", "{}")]))
    out = NODE.parse(pd.DataFrame({"body": [both, both], "status": [200, 200]}, index=index))
    assert list(out.choices.index) == [label for label in out.configuration.index for _ in range(2)]
    assert out.calls.index.equals(out.configuration.index)
    assert out.choices.index.names == out.configuration.index.names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("node", [NODE, TYPED], ids=["text", "typed"])
def test_the_types_of_long_tables_do_not_hang_on_the_answers(kind, node):
    """With no row, one, or only failed ones."""
    full = parsed(body(choice(GOOD, tool_calls=[called("a", "{}")])), node=node, kind=kind)
    text = pa.string() if kind is pa.table else "object" if kind is pd.DataFrame else pl.String
    empty = (
        {"body": {pa.table: pa.array, pd.DataFrame: pd.Series, pl.DataFrame: pl.Series}[kind]([], dtype=text)}
        if (kind is not pa.table)
        else {"body": pa.array([], text)}
    )
    none_at_all = node.parse(kind(empty | {"status": empty["body"]}))
    for other in (none_at_all, parsed("{}", node=node, kind=kind, status=500), parsed(body(choice("x")), kind=kind)):
        if other._answers.schema is not node._answers.schema:
            continue
        for name in ("choices", "calls", "answers", "usage", "log", "table", "result"):
            assert dtypes(getattr(other, name)) == dtypes(getattr(full, name)), name


# A stored table is an output again


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_table_is_what_the_run_gave(kind, tmp_path):
    """Outcomes, reasons, answers, texts and usage; the other columns are the configuration."""
    replies = {"good": body(choice(GOOD)), "cut": body(choice("{", "length")), "odd": "<p>", "full": body(choice("x"))}

    def replying(exchange):
        word = json.loads(exchange.received.body)["messages"][-1]["content"]
        refused = message(b'{"error": {"message": "no such word", "code": "word"}}', 400)
        exchange.send(message(replies[word].encode()) if word in replies else refused)

    table = kind({"review": [*replies, "bad"], "message": ["mine"] * 5})
    with fault_server(replying) as server:
        out = TYPED.run(table, tn.Connection(server.url, ""), progress=False, retry=tn.Retry(ambiguous=0))
    if kind is pd.DataFrame:
        stored = table.assign(body=out.result["body"], status=out.result["status"])
    elif kind is pl.DataFrame:
        stored = table.with_columns(out.result.get_columns())
    else:
        stored = table.append_column("body", out.result["body"]).append_column("status", out.result["status"])
    again = TYPED.parse(stored)
    same = [("table", name) for name in names(out.table)] + [("log", name) for name in ("reason", "message", "outcome")]
    same += [("usage", name) for name in names(out.usage)] + [("result", "body"), ("result", "status")]
    for table_name, name in same:
        expected = cells(getattr(out, table_name), name)
        assert [*map(str, cells(getattr(again, table_name), name))] == [*map(str, expected)], name
    assert again.texts() == out.texts()
    assert dict(again.summary.outcomes) == dict(out.summary.outcomes)
    assert (again.summary.requests, again.summary.prompt_tokens) == (0, out.summary.prompt_tokens)
    assert cells(again.failed, "review") == ["cut", "odd", "full", "bad"]
    wording(re.sub(r"[0-9.]+ s", "0 s", str(again.summary)))


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".jsonl", ".parquet", ".arrow"])
def test_a_file_of_a_stored_table_is_parsed(ending, tmp_path):
    """By its path, as a text or a path; a status that a reader made a text or a float is one."""
    table = pd.DataFrame({"id": ["a", "b"], "body": [body(choice(GOOD)), None], "status": [200, None]})
    write_table(table, tmp_path / f"raw{ending}")
    for path in (tmp_path / f"raw{ending}", str(tmp_path / f"raw{ending}")):
        out = TYPED.parse(path)
        assert list(out.table["outcome"]) == ["ok", "not_sent"]
        assert list(out.result["status"]) == [200, pd.NA] or out.result["status"].isna().tolist() == [False, True]
    assert list(out.configuration.columns) == ["id"]


def test_a_row_without_an_answer_says_what_became_of_it():
    """Its body is our own error object; another answer has a status."""
    own = '{"error": {"type": "timeout_connect", "message": "no answer", "param": null, "code": null}}'
    out = NODE.parse(pd.DataFrame({"body": [own, body(choice("a")), None, "x"], "status": [None] * 4}))
    assert list(out.log["outcome"]) == ["timeout_connect", "not_sent", "not_sent", "not_sent"]
    wording("\n".join(out.log["message"]))


def test_what_a_log_says_counts():
    """Its outcomes alone, or all that it has; a message of the user's stays where it is no log's."""
    half = body(choice("a"))[:40]
    stored = pd.DataFrame({"message": ["mine"], "body": [half], "status": [200], "outcome": ["timeout_total"]})
    out = NODE.parse(stored)
    assert list(out.log["outcome"]) == ["timeout_total"]
    assert list(out.configuration.columns) == ["message"]
    assert list(NODE.parse(stored.assign(outcome="fine")).configuration.columns) == ["message", "outcome"]
    whole = pd.concat([out.configuration.rename(columns={"message": "review"}), out.result, out.log], axis=1)
    again = NODE.parse(whole.assign(attempts=3, message="cut off"))
    assert list(again.configuration.columns) == ["review"]
    assert again.log[["outcome", "attempts", "message"]].values.tolist() == [["timeout_total", 3, "cut off"]]


def test_bodies_may_be_bytes_or_the_json_that_they_are():
    """As other programs store them."""
    whole = body(choice("é"))
    table = pd.DataFrame({"body": [whole.encode(), json.loads(whole)], "status": ["200", 200.0]})
    assert NODE.parse(table).texts() == ["é", "é"]
    assert NODE.parse(duckdb.sql(f"SELECT '{body(choice('a'))}' AS body, 200 AS status")).texts() == ["a"]


@pytest.mark.parametrize(
    "columns",
    [["body"], ["status", "boddy"], ["x"], [], ["future_response_id"], ["body", "status", "stars"]],
    ids=lambda columns: ",".join(columns) or "none",
)
def test_a_table_that_is_no_raw_one_gets_a_line(columns):
    """With what it lacks, and what to do."""
    with pytest.raises(ColumnError) as caught:
        TYPED.parse(pd.DataFrame({name: ["x"] for name in columns}))
    wording(str(caught.value))


# Whatever stands in a body

SURROGATE, DEEP = '"\\ud83d"', "[" * 1_500 + "]" * 1_500
STRANGE = [
    "NaN",
    "1" * 5000,
    "-1e999",
    SURROGATE,
    DEEP,
    "null",
    "true",
    '""',
    "[]",
    "{}",
    "1.5",
    "9" * 30,
    '{"a":1,"a":2}',
]
ODD = ["", " ", "x", "\0", "<html>", "data: {}\n\ndata: [DONE]\n\n", '{"choices": [', "﻿" + body(choice("a")), *STRANGE]
ODD += [body(choice(GOOD)).replace(part, strange) for strange in STRANGE for part in ("5", '"stop"', '"m-1"', "3")]
ODD += [json.dumps({"choices": [json.loads("0")]}).replace("0", strange) for strange in STRANGE]
ODD += [body(choice(None, "tool_calls", tool_calls=[called("a", s)])) for s in STRANGE]
ODD += [body(choice(None, tool_calls=[called("answer", "@")])).replace('"@"', s) for s in STRANGE]
ODD += [body(choice(json.dumps({"stars": 1, "reason": None, "topics": []}).replace("1", s))) for s in STRANGE]
PROPERTIES = ("choices", "calls", "answers", "usage", "log", "table", "result", "text", "failed", "succeeded")


def documents():
    """Bodies of answers in which something is anything."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([2**70])
    keys = st.sampled_from(["function", "name", "arguments", "text", "content", "prompt_tokens", "error", "type", "x"])
    odd = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2), max_leaves=4
    )
    part = st.sampled_from(
        [None, "function", "custom", "message", "content", "tool_calls", "choices", "usage", "arguments"]
    )
    return st.tuples(part, odd).map(lambda drawn: changed(*drawn))


def changed(place, value):
    """Return a body in which what stands at a place is another value."""
    call = called("answer", GOOD)
    details = {"cached_tokens": 1}
    whole = {"choices": [choice(GOOD, tool_calls=[call, {"custom": {}}])], "usage": {"prompt_tokens_details": details}}

    def walk(part):
        if isinstance(part, dict):
            return {name: value if name == place else walk(each) for name, each in part.items()}
        return [*map(walk, part)] if isinstance(part, list) else part

    return json.dumps(walk(whole) if place else value)


@settings(max_examples=8, deadline=None)
@given(st.lists(documents(), min_size=1, max_size=12))
def test_no_body_raises_anything_or_changes_a_type(bodies):
    """In any property of any kind of table, however the answer is asked for."""
    for kind in KINDS:
        for node in (NODE, TYPED, CALLING):
            looked_through(parsed(*bodies, node=node, kind=kind), node, kind)


@pytest.mark.parametrize("node", [NODE, TYPED, CALLING], ids=["text", "typed", "tool"])
@pytest.mark.parametrize("kind", KINDS)
def test_bodies_that_no_parser_likes_are_kept(kind, node):
    """Numbers of 5,000 digits, NaN, halves of characters, 100,000 levels: what came is in the result as it came."""
    out = parsed(*ODD, node=node, kind=kind)
    looked_through(out, node, kind)
    assert {*cells(out.log, "outcome")} <= {
        "ok",
        "unusable",
        "decode_error",
        "truncated",
        "in_band_error",
        "empty_body",
    } | {
        "stream_truncated",
        "stream_error",
    }
    kept = cells(out.result, "body")
    assert [a for a, b in zip(kept, ODD, strict=True) if a != b and "[DONE]" not in b] == []


@functools.cache
def usual(mode, kind):
    node = {None: NODE, "json_schema": TYPED, "tool": CALLING}[mode]
    out = parsed(body(choice(GOOD)), node=node, kind=kind)
    return {name: dtypes(getattr(out, name)) for name in PROPERTIES if name not in ("text", "failed")}


def looked_through(out, node, kind):
    for name in PROPERTIES:
        made, expected = getattr(out, name), usual(node.answer and node.answer_mode, kind)
        assert name not in expected or dtypes(made) == expected[name], name
    assert len(out.compare(out).changed) == 0


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet", ".arrow"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_made_of_odd_bodies_can_be_written_and_read(kind, ending, tmp_path):
    """In every format; a result that was read again is parsed to the same."""
    out = parsed(*ODD[::3], node=TYPED, kind=kind)
    for name in ("choices", "calls", "usage", "table", "result"):
        write_table(getattr(out, name), tmp_path / f"{name}{ending}")
        assert len(tn.read_table(tmp_path / f"{name}{ending}")) == len(getattr(out, name))
    again = TYPED.parse(tmp_path / f"result{ending}")
    assert list(again.log["outcome"]) == cells(out.log, "outcome")
