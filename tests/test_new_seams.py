"""A new transport and a new kind of table are one file each and one line of registration.

A new node is in `test_new_nodes`, another sink in `test_sink`.
"""

from __future__ import annotations

import pytest
from listed import Listed
from servers import digest, echo, fault_server

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.engine.transports import TRANSPORTS
from tablenodes.tables import kinds

FLOW = """
table: {folder}/words.csv
connection: {{base_url: "{url}", api_key: "", transport: plain}}
nodes:
  - {{id: ask, type: CreateChatCompletion, model: m, prompt: "{{{{ word }}}}"}}
output: {folder}/out.csv
"""
ASK = tn.CreateChatCompletion(model="m", prompt="{{ word }}")


@pytest.fixture
def plain(monkeypatch):
    """The transport of `plain_transport.py`, by its line of registration."""
    monkeypatch.setitem(TRANSPORTS, "plain", "plain_transport.PlainTransport")


@pytest.fixture
def listed(monkeypatch):
    """The kind of table of `listed.py`, by its line of registration."""
    monkeypatch.setattr(kinds, "VIEWS", [*kinds.VIEWS, ("listed", "Listed", "listed", "ListedView")])


@pytest.mark.usefixtures("plain")
def test_a_new_transport_is_named_at_every_door(tmp_path):
    """In Python, in a workflow's file and so on the command line."""
    (tmp_path / "words.csv").write_text("word\na\nb\n")
    with fault_server(echo()) as server:
        out = ASK.run(
            tn.read_table(tmp_path / "words.csv"), tn.Connection(server.url, "", transport="plain"), progress=False
        )
        (tmp_path / "w.yaml").write_text(FLOW.format(folder=tmp_path, url=server.url))
        with pytest.raises(SystemExit) as ended:
            main(["run", str(tmp_path / "w.yaml"), "--no-journal", "--no-progress"])
        assert not ended.value.code
        sent = {digest(each.body) for each in server.requests}
    assert set(out.texts()) == sent
    assert set(tn.read_table(tmp_path / "out.csv")["ask"]) == sent


@pytest.mark.usefixtures("listed")
def test_a_new_kind_of_table_is_read_and_made():
    """What comes back is of its kind: results, the table with its answers, the rows that failed; in its order."""
    table = Listed({"word": ["a", None, "b"]})
    assert ASK.check(table).valid == 2
    with fault_server(echo()) as server:
        out = ASK.run(table, tn.Connection(server.url, ""), progress=False)
    assert out.configuration is table
    assert isinstance(out.result, Listed)
    assert out.result.columns["status"] == [200, None, 200]
    assert out.table.columns["word"] == table.columns["word"]
    assert out.table.columns["outcome"] == ["ok", "invalid_request", "ok"]
    assert out.failed == Listed({"word": [None]})
    assert tn.Return(text="{{ word }}!").run(Listed({"word": ["a"]})).table == Listed({"word": ["a"], "text": ["a!"]})
