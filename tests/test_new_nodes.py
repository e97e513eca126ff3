"""A new node is one file and one line of registration: then it is there at every door."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar

import orjson
import pandas as pd
import pytest
from servers import fault_server, message

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.nodes import NODES, find_node
from tablenodes.nodes.node import OWN, Declaration
from tablenodes.nodes.reference import documented
from tablenodes.nodes.request_node import RequestNode
from tablenodes.nodes.table_node import TableNode
from tablenodes.problems import Rejected

SCHEMA = {
    "type": "object",
    "properties": {
        "model": {"type": "string", "description": "Which model."},
        "pitch": {"type": "number", "description": "How high.", "maximum": 2},
        "check": {"type": "boolean", "description": "Whether it is checked."},
    },
    "required": ["model"],
}

FLOW = """
nodes:
  - {id: sing, type: CreateTune, model: m, check_: true}
  - id: count
    type: CountLetters
    text: "{{ word }}{{ outputs.sing.tune }}"
"""


@pytest.fixture
def _made_up(monkeypatch, tmp_path):
    """Two nodes in a module of their own, each registered by one line."""
    path = tmp_path / "create_tune.json"
    path.write_bytes(orjson.dumps(SCHEMA))

    @dataclass(frozen=True, kw_only=True, repr=False)
    class CreateTune(RequestNode):
        """Have a model sing: POST /tunes."""

        _declared: ClassVar[Declaration] = Declaration(operation="create_tune", path="/tunes", choices=False)
        model: Any = None
        pitch: Any = None
        check_: Any = None
        schema: Any = field(default=str(path), metadata=OWN)

    @dataclass(frozen=True, kw_only=True, repr=False)
    class CountLetters(TableNode):
        """Count the letters of a text.

        Parameters
        ----------
        text : str
            What is counted.
        """

        _declared: ClassVar[Declaration] = Declaration(gives="a number", makes={"letters": "integer"})
        text: Any = None

        def _make(self, rows, context, options):
            for row in rows:
                yield row if isinstance(row, Rejected) else (len(row["text"]),)

    module = ModuleType("tablenodes.nodes.made_up")
    module.CreateTune, module.CountLetters = CreateTune, CountLetters
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for kind in (CreateTune, CountLetters):
        monkeypatch.setitem(NODES, kind.__name__, "made_up")
    yield
    for kind in (CreateTune, CountLetters):
        kind._declared = Declaration()  # a class that is gone is found no more


@pytest.mark.usefixtures("_made_up")
def test_a_new_node_runs_in_python_and_in_a_workflow(tmp_path):
    """With the columns that its schema knows, and its answers read by the nodes after it."""
    seen = []

    def react(exchange):
        seen.append(orjson.loads(exchange.received.body))
        exchange.send(message(b'{"tune": "la"}'))

    words = pd.DataFrame({"word": ["a", "bc"], "pitch": [1, 3]})
    path = tmp_path / "flow.yaml"
    path.write_text(FLOW)
    with fault_server(react) as server:
        connection = tn.Connection(server.url)
        out = find_node("CreateTune")(model="m").run(words, connection, progress=False)
        assert list(out.log["outcome"]) == ["ok", "invalid_request"]
        made = tn.Workflow.load(path).run(words, connection=connection, progress=False)
    assert made["count"].result["letters"][0] == 3
    assert list(made["count"].log["outcome"]) == ["ok", "upstream_failed"]
    assert seen == [{"model": "m", "pitch": 1}, {"model": "m", "pitch": 1, "check": True}]


@pytest.mark.usefixtures("_made_up")
def test_a_new_node_is_listed_and_described(capsys):
    """By its schema, or its own words."""
    shown = {}
    for arguments in ((), ("CreateTune",), ("CountLetters",)):
        with pytest.raises(SystemExit) as ended:
            main(["nodes", *arguments])
        assert not ended.value.code
        shown[arguments] = capsys.readouterr().out
    assert "POST /tunes" in shown[()]
    assert "How high. [at most 2]" in shown["CreateTune",]
    assert "check_" in shown["CreateTune",]
    assert "What is counted." in shown["CountLetters",]
    assert "How high. [at most 2]" in inspect.getdoc(documented(find_node("CreateTune")))
