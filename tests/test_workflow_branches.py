"""A workflow's branches: what became of a row, read by later nodes, and which rows a node is run for."""

from __future__ import annotations

import orjson
import pandas as pd
import pytest
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn
from tablenodes.errors import WorkflowError

ASK = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
NO_RETRY = tn.Retry(throttled=0, server_error=0, ambiguous=0)


def react(exchange):
    """Refuse ``bad``, and answer any other word with itself."""
    body = orjson.loads(exchange.received.body)
    word = body["messages"][-1]["content"]
    if word == "bad":
        answer({"error": {"message": "No such word", "type": "invalid", "code": "word"}}, status=400)(exchange)
        return
    answer({"choices": [{"index": 0, "message": {"content": f"<{word}>"}, "finish_reason": "stop"}]})(exchange)


def run(nodes, *words, table=None, **manner):
    """Return what came of a run, and what the server was asked."""
    with fault_server(react) as server:
        flow = tn.Workflow(nodes, connection=tn.Connection(server.url), retry=NO_RETRY)
        given = pd.DataFrame({"word": [*words]}) if table is None else table
        out = flow.run(given, progress=False, **manner)
        return out, [orjson.loads(each.body)["messages"][-1]["content"] for each in server.requests]


def texts(output):
    return list(output.text)


def outcomes(output):
    return list(output.log["outcome"])


# --- What became of a row --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("{{ outputs.ask.outcome }}", "ok", "http_error"),
        ("{{ outputs.ask.status }}", "200", "400"),
        ("{{ outputs.ask.error.message | default('none') }}", "none", "No such word"),
        ("{{ outputs.ask.error.code | default('none') }}", "none", "word"),
        ("{{ ask | default('nothing') }} {{ outputs.ask.outcome }}", "<a> ok", "nothing http_error"),
        ("{{ outputs.ask.choices[0].finish_reason | default(outputs.ask.status) }}", "stop", "400"),
    ],
)
def test_a_later_node_reads_what_became_of_a_row(text, good, bad):
    """The outcome, the status and the server's words, of rows that are ok and of those that failed."""
    out, _ = run({"ask": ASK, "say": tn.Return(text=text)}, "a", "bad")
    assert (texts(out["say"]), outcomes(out["say"])) == ([good, bad], ["ok", "ok"])


def test_a_failed_row_of_a_node_that_sends_nothing_has_an_error_too():
    """Its message is the one that the log has; it has no status."""
    table = pd.DataFrame({"word": ["a", None]})
    say = tn.Return(text="{{ outputs.first.outcome }}: {{ outputs.first.error.message | default('-') }}")
    out = tn.Workflow({"first": tn.Return(text="{{ word }}"), "say": say}).run(table, progress=False)
    assert texts(out["say"]) == ["ok: -", f"invalid_request: {out['first'].log['message'][1]}"]


def test_an_answer_is_still_needed_where_it_is_read_as_well():
    """Only what has a default goes on without it."""
    out, _ = run({"ask": ASK, "say": tn.Return(text="{{ ask }} {{ outputs.ask.outcome }}")}, "a", "bad")
    assert outcomes(out["say"]) == ["ok", "upstream_failed"]


@pytest.mark.parametrize("text", ["{{ outputs.ask.error.mesage }}", "{{ outputs.ask.outcome.x }}"])
def test_a_part_of_an_end_that_is_not_there_is_found_beforehand(text):
    """Nothing is sent."""
    with wording.raises(WorkflowError):
        tn.Workflow({"ask": ASK, "say": tn.Return(text=text)})
