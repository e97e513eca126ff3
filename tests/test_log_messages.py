"""The log's messages: why a row is not ok, in one line, whoever says it."""

from __future__ import annotations

import json

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sentences import wording
from servers import answer, fault_server, refusing_port
from streamed import STREAM_HEAD

import tablenodes as tn

CHAT = tn.CreateChatCompletion(model="m", prompt="{{ text }}")
ONCE = {"retry": tn.Retry(not_executed=0, server_error=0, ambiguous=0), "progress": False}
KEY = "sk-canary-0123456789"


def messages(reaction, text="a", key=KEY, **settings):
    table = pd.DataFrame({"text": [text]})
    with fault_server(reaction) as server:
        log = CHAT.replace(**settings).run(table, tn.Connection(server.url, key), **ONCE).log
    assert list(log.columns)[-1] == "message"
    return list(log["message"])


def refusal(message):
    return answer(json.dumps({"error": {"message": message, "type": "t"}}), 400)


def test_a_row_that_is_ok_has_no_message():
    """It is null, as its reason is."""
    assert pd.isna(messages(answer(b'{"choices":[{"message":{"content":"a"}}]}'))[0])


def test_what_is_wrong_is_said_with_its_place():
    """Where the words do not name what they are about."""
    table = pd.DataFrame({"text": ["a", None], "temperature": [3.5, 1.0]})
    log = CHAT.run(table, tn.Connection("http://127.0.0.1:9/v1", KEY), **ONCE).log
    wording(list(log["message"]))


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table])
def test_the_servers_words_are_in_the_log(kind):
    """Of every kind of table."""
    with fault_server([refusal("no such word"), answer(b'{"choices":[{"message":{"content":"a"}}]}')]) as server:
        how = {"limits": tn.Limits(concurrency=1), **ONCE}
        log = CHAT.run(kind({"text": ["a", "b"]}), tn.Connection(server.url, KEY), **how).log
    made = log["message"]
    values = made.to_pylist() if isinstance(log, pa.Table) else list(made)
    assert values[0] == "no such word"
    assert pd.isna(values[1])


def test_a_servers_words_are_one_short_line():
    """Line breaks and what moves a cursor are escaped."""
    (message,) = messages(refusal("a\n\x1b[2Jb" + "x" * 1000))
    assert message.startswith("a\\n\\x1b[2Jb")
    assert len(message) == 200


def test_a_key_in_the_servers_words_is_masked():
    """As it is everywhere."""
    assert messages(refusal(f"bad key {KEY}!")) == ["bad key ***!"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("<html>no</html>", 404),
        ("", 500),
        ("{}", 200),
        ("", 200),
        ("<html>", 200),
        ('{"error": {"code": "insufficient_quota"}}', 429),
    ],
)
def test_where_the_server_has_no_words_ours_say_why(body, status):
    """With the status that came."""
    wording(messages(answer(body, status)))


def test_an_error_in_a_stream_is_read():
    """It is in the middle of what came."""

    def react(exchange):
        exchange.send(STREAM_HEAD + b"%x\r\n" % 41 + b'data: {"error":{"message":"model broke"}}' + b"\r\n")
        exchange.send(b"2\r\n\n\n\r\n0\r\n\r\n")

    assert messages(react, stream=True) == ["model broke"]


def test_a_row_that_reached_nobody_says_why():
    """A row that cannot be sent, and one that no server took."""
    with refusing_port() as port:
        connection = tn.Connection(f"http://127.0.0.1:{port}/v1", "")
        unsent, unreached = CHAT.run(pd.DataFrame({"text": [None, "a"]}), connection, **ONCE).log["message"]
    wording(unsent)
    wording(unreached.partition(":")[0])


def test_every_retrieved_row_that_is_not_ok_says_why(tmp_path):
    """What the server said, and what was never asked for."""
    node = tn.CreateChatCompletionAsync(model="m", prompt="{{ text }}")
    with fault_server(refusal("no such word")) as server:
        connection = tn.Connection(server.url, "")
        out = node.run(pd.DataFrame({"text": ["a"]}), connection, store=tmp_path / "store", progress=False)
        table = pd.DataFrame({"future_response_id": [*out.result["future_response_id"], "nobody"]})
        got = tn.RetrieveResponse().run(table, store=tmp_path / "store", progress=False)
    assert list(got.log.columns)[-1] == "message"
    said, unknown = got.log["message"]
    assert said == "no such word"
    assert unknown
