"""A connection to several servers at each door: its addresses, its keys, its journal, and what is shown of it."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from servers import fault_server
from test_several_servers import NODE, says, table

import tablenodes as tn
from tablenodes.connection.endpoint import opened, shown_base_url
from tablenodes.connection.probe import probe
from tablenodes.errors import ConnectionSettingError
from tablenodes.later.stored_connection import StoredConnection, restored

FAR = ["https://a.example/v1", "https://b.example/v1"]


@pytest.fixture(scope="module")
def pair():
    with fault_server(says) as first, fault_server(says) as second:
        yield first, second


@pytest.fixture
def two(pair):
    for each in pair:
        each.requests.clear()
    return pair


def counts(two):
    """Return how many requests each server has had since it was last asked."""
    had = [len(each.requests) for each in two]
    for each in two:
        each.requests.clear()
    return had


def test_each_door_spreads_rows(two, tmp_path, monkeypatch, command):
    """Python, batches, a mapper, a profile, a workflow's file, and the command line."""
    monkeypatch.chdir(tmp_path)
    urls = [each.url for each in two]
    (tmp_path / "tablenodes.yaml").write_text(f"pair:\n  base_url: {json.dumps(urls)}\n  api_key: ''\n")
    table(40).to_csv("rows.csv", index=False)
    assert tn.Connection.from_profile("pair").base_url == tuple(urls)
    out = NODE.run(table(40), "pair", progress=False)
    assert min(counts(two)) >= 10
    assert set(out.log["server"]) == {f"127.0.0.1:{each.port}" for each in two}
    assert sum(len(batch) for batch in NODE.run_batches("rows.csv", "pair", progress=False)) == 40
    assert min(counts(two)) >= 10
    assert set(NODE.mapper(tn.Connection(urls))(table(40))["outcome"]) == {"ok"}
    assert min(counts(two)) >= 10
    (tmp_path / "w.yaml").write_text(
        f"table: rows.csv\nconnection: {{base_url: {json.dumps(urls)}}}\noutput: out.csv\n"
        "nodes:\n  - {id: a, type: CreateChatCompletion, model: m}\n"
    )
    assert command("run", "w.yaml", "--no-journal", "--quiet")[0] == 0
    assert min(counts(two)) >= 10
    asked = ["call", "CreateChatCompletion", "rows.csv", "--model", "m", "--no-journal", "-q"]
    assert command(*asked, "--base-url", urls[0], "--base-url", urls[1])[0] == 0
    assert min(counts(two)) >= 10


def test_a_journal_knows_rows_by_the_first_address(two, tmp_path):
    """Whoever answered: servers come and go, and nothing is paid for twice."""
    first, second = (each.url for each in two)
    for urls in ([first, second], first, [first, "http://127.0.0.1:9/v1"]):
        out = NODE.run(table(30), tn.Connection(urls), journal=tmp_path / "j", progress=False)
        assert out.summary.ok == 30
    assert sum(counts(two)) == 30
    assert list(out.log["server"].isna()) == [True] * 30


def test_a_key_goes_where_it_may(two, monkeypatch):
    """A given one to each address, the environment's to its own alone; none over plain http to another machine."""
    first, second = two
    NODE.run(table(20), tn.Connection([first.url, second.url], "sk-given"), progress=False)
    assert {each.headers.get("authorization") for server in two for each in server.requests} == {"Bearer sk-given"}
    counts(two)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", first.url)
    NODE.run(table(20), tn.Connection([first.url, second.url]), progress=False)
    assert {each.headers.get("authorization") for each in first.requests} == {"Bearer sk-environment"}
    assert {each.headers.get("authorization") for each in second.requests} == {None}
    monkeypatch.setenv("OPENAI_BASE_URL", FAR[0])
    with pytest.raises(ConnectionSettingError) as refused, opened(tn.Connection(FAR)):
        pass
    assert (refused.value.code, refused.value.values["host"]) == ("no_key_for_address", "b.example")
    with (
        pytest.raises(ConnectionSettingError) as refused,
        opened(tn.Connection([FAR[0], "http://c.example"], "sk-x")),
    ):
        pass
    assert (refused.value.code, refused.value.values["host"]) == ("key_unencrypted", "c.example")


@pytest.mark.parametrize("wrong", [[], ["http://a/v1", "http://a/v1/"], ["http://a/v1", 3], ["a"], ["http://a"] * 65])
def test_a_list_that_cannot_be_used(wrong):
    """Is refused as it is written."""
    with pytest.raises(ConnectionSettingError):
        tn.Connection(wrong)


def test_what_is_shown_is_the_first():
    """`check` shows its requests; the connection names all, and no key. A list of one is that one."""
    connection = tn.Connection(FAR, "sk-secret")
    assert repr(connection) == f"Connection(base_url={tuple(FAR)!r}, api_key=***)"
    assert tn.Connection(FAR[:1]) == tn.Connection(FAR[0])
    checked = NODE.check(table(1), connection)
    assert checked.request(0).url == f"{FAR[0]}/chat/completions"
    assert FAR[0] in checked.curl(0)
    assert shown_base_url(connection) == ", ".join(FAR)
    told = probe(tn.Connection(["http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"]))
    assert told.outcome == "unreachable"
    assert told.message.count("/v1 not reachable: ") == 2


def test_prices_are_those_of_all():
    """Built-in ones only where they are the same everywhere; else only those that are given."""
    node, rows = tn.CreateChatCompletion(model="gpt-4o-mini"), pd.DataFrame({"prompt": ["x"]})
    openai, other = "https://api.openai.com/v1", "https://gpu.example/v1"
    given = {"gpt-4o-mini": {"input": 1.0, "output": 1.0}}
    known = [
        node.estimate(rows, connection).cost is not None
        for connection in (
            tn.Connection([openai, "https://api.openai.com:443/v1"], "sk-x"),
            tn.Connection([openai, other], "sk-x"),
            tn.Connection([other, openai], "sk-x"),
            tn.Connection([openai, other], "sk-x", prices=given),
        )
    ]
    assert known == [True, False, False, True]


def test_a_worker_has_all_servers():
    """They are put down with the rest, and a connection with one is put down as before."""
    stored = StoredConnection(tn.Connection(FAR, "sk-x"), b"salt")
    assert restored(stored.recipe, stored.secrets, b"salt").base_urls == tuple(FAR)
    assert "more_base_urls" not in StoredConnection(tn.Connection(FAR[0], "sk-x"), b"salt").recipe
