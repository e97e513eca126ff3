"""The end of a run: what is said of rows that failed, and of answers that are less than they seem."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from sentences import wording
from servers import answer, chunks, fault_server
from streamed import DONE, STREAM_HEAD, stream_of

import tablenodes as tn
from tablenodes.addresses import split_base_url

CHAT = tn.CreateChatCompletion(model="m", prompt="{{ text }}")
TWO = pd.DataFrame({"text": ["a", "b"]})
REFUSED = answer('{"error": {"message": "canary", "type": "auth"}}', 401)


def ended(reason):
    return answer(json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": reason}]}))


def test_rows_that_fail_are_said_in_one_line(capsys):
    """How many, as what, with the status, and where to look."""
    with fault_server(REFUSED) as server:
        CHAT.run(TWO, tn.Connection(server.url, "sk-wrong-0123456789"))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "failed" in line]
    wording(line)


def test_why_a_run_was_stopped_is_said_once(capsys):
    """Not of each row that was not sent for it; a row that failed by itself has its reason beside it."""
    with fault_server(REFUSED) as server:
        CHAT.run(TWO, tn.Connection(server.url, ""), limits=tn.Limits(max_requests=1, concurrency=1))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "failed" in line]
    wording(line)


def test_nothing_is_said_of_rows_that_are_ok(capsys):
    """No news is good news."""
    with fault_server(ended("stop")) as server:
        CHAT.run(TWO, tn.Connection(server.url, ""))
    assert "rows" not in capsys.readouterr().err


def test_without_progress_nothing_is_said(capsys):
    """Who asked for silence has it."""
    with fault_server(REFUSED) as server:
        CHAT.run(TWO, tn.Connection(server.url, ""), progress=False)
    assert capsys.readouterr().err == ""


def test_each_node_of_a_workflow_says_its_own(capsys):
    """By its id; a node that makes its rows itself as well."""
    workflow = tn.Workflow({"ask": CHAT, "say": tn.Return(text="{{ outputs.ask.choices[0].message.content }}")})
    with fault_server(REFUSED) as server:
        workflow.run(TWO, connection=tn.Connection(server.url, "sk-wrong-0123456789"))
    wording(capsys.readouterr().err)


def test_rows_that_are_pending_have_not_failed(tmp_path, capsys):
    """They may still come; an id that nobody knows has failed."""
    table = pd.DataFrame({"future_response_id": ["nobody"]})
    tn.RetrieveResponse().run(table, store=tmp_path / "store", wait=0)
    wording.line(capsys.readouterr().err)


def test_the_command_line_says_it_once(command, tmp_path, monkeypatch):
    """In the report at its end."""
    monkeypatch.chdir(tmp_path)
    Path("words.csv").write_text("text\na\nb\n")
    with fault_server(REFUSED) as server:
        code, _, err = command(
            "call", "CreateChatCompletion", "words.csv", "--model", "m", "--prompt", "x", "--base-url", server.url
        )
    assert code == 3
    assert err.count("2 auth") == 1
    assert err.count("2 rows failed with HTTP 401") == 1
    assert ".failed" not in err
    assert err.count("canary") == 1


def test_a_refusal_where_no_key_was_sent_says_so(capsys, monkeypatch):
    """The environment's key goes to its own address alone."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    with fault_server(REFUSED) as server:
        out = CHAT.run(TWO, tn.Connection(server.url))
    (note,) = out.summary.notes
    wording.line(note)
    assert "api_key_env=" in note
    err = capsys.readouterr().err
    assert note in err
    assert "sk-canary" not in err


@pytest.mark.parametrize("connected", [{"api_key": "sk-0123456789"}, {"headers": {"X-Api-Key": "sk-0123456789"}}])
def test_a_refusal_of_a_key_that_was_sent_is_no_lack_of_one(connected):
    """However it was sent."""
    with fault_server(REFUSED) as server:
        out = CHAT.run(TWO, tn.Connection(server.url, **connected), progress=False)
    assert out.summary.notes == ()


@pytest.mark.parametrize(
    "reason",
    [
        "length",
        "content_filter",
    ],
)
def test_answers_that_are_not_whole_are_counted(reason):
    """They are ok, and the summary says what they lack."""
    with fault_server(ended(reason)) as server:
        out = CHAT.run(TWO, tn.Connection(server.url, ""), progress=False)
    assert out.summary.ok == 2
    wording(out.summary.notes)
    wording.line(str(out.summary))


@pytest.mark.parametrize("body", ["<html>no such page</html>", "404 page not found", '{"detail": "Not Found"}'])
def test_a_404_that_is_not_the_apis_names_the_address(body):
    """Without its query, where a key may be."""
    with fault_server(answer(body, 404)) as server:
        connection = tn.Connection(server.url, "", query={"api-version": "1", "key": "sk-canary-0123456789"})
        out = CHAT.run(TWO, connection, progress=False)
    wording(out.summary.notes)


def test_a_404_of_the_api_is_about_the_model():
    """The address is right."""
    with fault_server(answer('{"error": {"code": "model_not_found"}}', 404)) as server:
        out = CHAT.run(TWO, tn.Connection(server.url, ""), progress=False)
    assert out.summary.notes == ()


@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/chat/completions/"])
def test_a_base_url_that_ends_in_an_operation_is_refused(path):
    """One line names the address without it."""
    with pytest.raises(tn.errors.ConnectionSettingError) as refused:
        tn.Connection(f"https://host.test/v1{path}")
    wording(refused.value)


def test_only_the_end_of_a_path_is_an_operation():
    """A folder may be called what it likes."""
    assert split_base_url("https://host.test/my-completions").path == "/my-completions"


PARTS = [{"type": "text", "text": "Bon"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "jour"}]


def test_a_text_in_parts_is_joined():
    """Those that are texts."""
    with fault_server(answer(json.dumps({"choices": [{"message": {"content": PARTS}}]}))) as server:
        out = CHAT.run(TWO, tn.Connection(server.url, ""), progress=False)
    assert list(out.text) == ["Bonjour"] * 2


@pytest.mark.parametrize("content", [[], [{"type": "image_url"}], [{"type": "text", "text": 3}], [3]])
def test_parts_without_a_text_are_none(content):
    """Null, as where there is no content."""
    with fault_server(answer(json.dumps({"choices": [{"message": {"content": content}}]}))) as server:
        out = CHAT.run(TWO, tn.Connection(server.url, ""), progress=False)
    assert out.texts() == [None] * 2


def test_a_stream_of_parts_is_joined_and_told_as_it_comes():
    """Each piece of it."""

    def react(exchange):
        exchange.send(STREAM_HEAD + chunks(stream_of({"choices": [{"delta": {"content": [p]}}]} for p in PARTS) + DONE))

    told = []
    with fault_server(react) as server:
        out = CHAT.replace(stream=True).run(
            TWO.head(1), tn.Connection(server.url, ""), on_text=lambda row, text: told.append(text), progress=False
        )
    assert list(out.text) == ["Bonjour"] == ["".join(told)]


def test_a_closed_error_stream_costs_no_answer(monkeypatch):
    """What cannot be said decides nothing: the output is there, also where rows failed."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    with fault_server(REFUSED) as server:
        out = tn.CreateChatCompletion(model="m", prompt="x").run(
            pd.DataFrame({"a": ["1", "2"]}), tn.Connection(server.url)
        )
    assert out.summary.failed == 2
