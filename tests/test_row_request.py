"""One row's request is shown as it would be sent, and pasted into a shell it is that request."""

from __future__ import annotations

import json
import pickle
import shlex
import shutil
import subprocess

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sentences import wording
from servers import echo, fault_server

import tablenodes as tn
from tablenodes.errors import ConnectionSettingError, UsageError
from tablenodes.testing import canned

KEY = "sk-canary-0123456789"
CHAT = tn.CreateChatCompletion(model="m", prompt="Read: {{ text }}", temperature=tn.col("heat"))
TEXTS = [
    "it's \"quoted\" \\ $(touch here) `id` $HOME !! \\'",
    "two\nlines\ttab \r\x01\x7f",
    "ü \U0001f600 €",
    "\nEND_OF_BODY\n" + "long " * 40_000,
    "@file",
    "{{ 1 }} %s [1-3] {a,b}",
]


def table(texts=TEXTS):
    return pd.DataFrame({"text": texts, "heat": [0.5] * len(texts)})


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "API_KEY"):
        monkeypatch.delenv(name, raising=False)


def run_in_a_shell(command, folder, **variables):
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(folder), **variables}
    subprocess.run(
        ["sh"], input=command.encode(), cwd=folder, env=environment, check=True, capture_output=True, timeout=30
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("stream", [None, True])
def test_what_is_pasted_into_a_shell_is_what_a_run_sends(stream, tmp_path):
    """Byte for byte, whatever is in it, with the run's own headers; the key is a variable."""
    node = CHAT.replace(stream=stream)
    with fault_server(echo()) as server:
        connection = tn.Connection(server.url, KEY, headers={"X-Team": "it's"}, query={"v": "a b&c", "api-key": KEY})
        node.run(table(), connection, limits=tn.Limits(concurrency=1), progress=False)
        sent, found = server.requests.copy(), node.check(table(), connection)
        del server.requests[:]
        for row in range(len(TEXTS)):
            assert KEY not in found.curl(row)
            run_in_a_shell(found.curl(row), tmp_path, OPENAI_API_KEY=KEY, API_KEY=KEY)
        pasted = server.requests
    assert [each.body.rstrip(b"\n") for each in pasted] == [each.body for each in sent]
    names = ("authorization", "x-team", "content-type", "user-agent")
    for one, other in zip(pasted, sent, strict=True):
        assert (one.method, one.path) == (other.method, other.path)
        assert [one.headers[name] for name in names] == [other.headers[name] for name in names]
    assert list(tmp_path.iterdir()) == []


def test_a_request_is_shown_as_it_would_be_sent():
    """Method, address, headers and body; the key is masked."""
    connection = tn.Connection("https://example.test/v1/", KEY, headers={"api-key": KEY}, query={"token": KEY, "v": 1})
    request = CHAT.check(table(["it's"]), connection).request(0)
    assert (request.method, request.url) == ("POST", "https://example.test/v1/chat/completions?token=***&v=1")
    assert request.headers["Authorization"] == "Bearer ***"
    assert request.headers["api-key"] == "***"
    assert request.headers["Content-Type"] == "application/json"
    assert request.body == {"model": "m", "messages": [{"role": "user", "content": "Read: it's"}], "temperature": 0.5}
    assert request.problems == ()
    head, _, body = repr(request).partition("\n\n")
    assert head.startswith(f"POST {request.url}\n")
    assert json.loads(body) == request.body
    assert KEY not in repr(request) + request._repr_html_()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "Authorization: Bearer $OPENAI_API_KEY"),
        ({"api_key": KEY}, "Authorization: Bearer $OPENAI_API_KEY"),
        ({"api_key_env": "MY_KEY"}, "Authorization: Bearer $MY_KEY"),
        ({"headers": {"Authorization": f"Basic {KEY}"}}, "Authorization: Basic $OPENAI_API_KEY"),
        ({"headers": {"api-key": KEY}}, "api-key: $API_KEY"),
        ({"api_key": ""}, None),
    ],
)
def test_the_key_is_a_variable_of_the_shells(given, expected):
    """Named as the connection names it, also where it is not set here."""
    command = CHAT.check(table(["x"]), tn.Connection("https://example.test/v1", **given)).curl(0)
    headers = [each for name, each in zip(*[shlex.split(command)[at:] for at in (0, 1)], strict=False) if name == "-H"]
    assert [each for each in headers if "$" in each] == [expected] * (expected is not None)


def test_the_default_connection_is_the_environments(monkeypatch):
    """As in a run; what a run would refuse is refused."""
    found = CHAT.check(table(["x"]))
    assert found.request(0).url == "https://api.openai.com/v1/chat/completions"
    assert found.request(0).headers["Authorization"] == "Bearer (not set)"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere.test/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ConnectionSettingError) as caught:
        found.request(0)
    assert caught.value.code == "key_unencrypted"
    with pytest.raises(UsageError):
        CHAT.check(table(["x"]), "https://example.test")


def test_a_row_that_cannot_be_sent_is_shown_with_its_problems():
    """Where its request can be made; else the problem says why not."""
    broken = pd.DataFrame({"text": ["a", None], "heat": [7.5, 1.0]})
    found = CHAT.check(broken, tn.Connection("https://example.test/v1", KEY))
    request = found.request(0)
    assert [(each.path, each.rule) for each in request.problems] == [("$.temperature", "maximum")]
    assert request.body["temperature"] == 7.5
    wording(repr(request).splitlines()[0])
    assert "$.temperature: must be at most 2" in request._repr_html_()
    for row, ask in ((0, found.curl), (1, found.curl), (1, found.request)):
        with wording.raises(UsageError) as caught:
            ask(row)
        assert (caught.value.code, caught.value.values) == ("row_refused", {"row": row})


@pytest.mark.parametrize("row", [3, -1, True, "0", None, 1.0])
def test_a_row_that_is_not_there_is_named(row):
    """Rows are positions, counted from 0."""
    with wording.raises(UsageError) as caught:
        CHAT.check(table(["a", "b", "c"])).request(row)
    assert (caught.value.code, caught.value.place) == ("no_row", "row")


def test_what_has_no_request_says_so(tmp_path):
    """A node that sends none, a check from elsewhere, and what is made of answers that are not there yet."""
    workflow = tn.Workflow(
        {"first": CHAT, "second": CHAT.replace(prompt="{{ outputs.first.choices[0].message.content }}")}
    )
    checked = workflow.check(table(["x"]))
    assert checked["first"].request(0).body["messages"][0]["content"] == "Read: x"
    none = (
        tn.Return(text="x").check(table(["x"])),
        pickle.loads(pickle.dumps(CHAT.check(table(["x"])))),
        checked["second"],
    )
    for found in none:
        with wording.raises(UsageError) as caught:
            found.request(0)
        assert caught.value.code == "no_request"


def test_the_embedded_model_has_an_address_while_it_runs():
    """Nothing is started for a look."""
    found = CHAT.replace(model=None).check(table(["x"]), tn.Connection.local())
    assert found.request(0).url.startswith("embedded://model/")
    assert found.request(0).body["model"]
    with wording.raises(UsageError) as caught:
        found.curl(0)
    assert caught.value.code == "no_address"


KINDS = {
    "pandas": (lambda rows: pd.DataFrame(rows, index=["x", "y", "y"]), ["y", "y"]),
    "levels": (
        lambda rows: pd.DataFrame(rows, index=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])),
        [("a", 2), ("b", 1)],
    ),
    "dates": (
        lambda rows: pd.DataFrame(rows, index=pd.date_range("2026-01-01", periods=3)),
        [pd.Timestamp("2026-01-02"), pd.Timestamp("2026-01-03")],
    ),
    "pyarrow": (pa.table, [1, 2]),
    "polars": (pl.DataFrame, [1, 2]),
    "duckdb": (lambda rows: duckdb.from_arrow(pa.table(rows)), [1, 2]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_problems_have_the_index_label_beside_the_position(kind):
    """Without an index, the position; requests are found by position."""
    make, labels = KINDS[kind]
    found = CHAT.check(make({"text": ["a", "b", "c"], "heat": [0.5, 9.0, 7.0]}))
    assert list(found.problems.columns) == ["row", "index", "column", "path", "rule", "message", "got"]
    assert list(found.problems["row"]) == [1, 2]
    assert list(found.problems["index"]) == labels
    assert found.request(2).body["temperature"] == 7.0


def test_what_every_row_lacks_has_no_label():
    """As it has no position; nor has a table without problems any."""
    strict = tn.CreateChatCompletion(model="m", prompt="x", answer={"x": {"type": "string", "minLength": 1}})
    refused = strict.check(table(["a"]), tn.Connection("https://api.openai.com/v1", KEY)).problems
    assert refused["row"].isna().all()
    assert refused["index"].isna().all()
    assert list(CHAT.check(table(["a"])).problems["index"]) == []


@pytest.mark.parametrize(
    ("settings", "table"),
    [
        ({"prompt": "a"}, {"text": ["a"]}),
        ({"model": "m"}, {"text": ["a"]}),
        ({"model": "m", "columns": ()}, {"text": ["a"]}),
        ({"prompt": "a"}, {"model": [None, "m"]}),
    ],
)
def test_a_missing_property_is_said_with_how_it_is_set_at_every_door(settings, table):
    """By what sends, checks and estimates alike; a null of a column that is used needs another value."""
    node, table = tn.CreateChatCompletion(**settings), pd.DataFrame(table)
    (told, *_) = node.run(table, canned("a"), progress=False).log["message"]
    wording(told)
    assert told in str(node.check(table))
    assert told in str(node.estimate(table))
    assert told in str(node.check(table).request(0))
