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
from tablenodes.cli.closing_report import _failed
from tablenodes.run.failures import Failed

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


@pytest.mark.parametrize("outcome", ["not_sent", "network"])
def test_nothing_is_told_that_is_not_known(outcome):
    """Neither why nor a status, of rows of which nothing more is kept."""
    told = _failed(Failed(outcome, None, None, 3, 0, "", passes=False), " (first at row 0)", 80, None, sent_again=False)
    assert told.splitlines()[0] in (
        "3 rows were not sent (first at row 0)",
        "3 rows failed with network (first at row 0)",
    )


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


def labelled(exchange):
    """Answer yes; of the row b, a part of it where no more than 50 tokens are allowed."""
    body = json.loads(exchange.received.body)
    is_cut = body["messages"][0]["content"] == "b" and body.get("max_tokens") == 50
    message = {"content": '{"answer": "y' if is_cut else '{"answer": "yes"}'}
    choice = {"index": 0, "message": message, "finish_reason": "length" if is_cut else "stop"}
    answer(json.dumps({"choices": [choice, choice]}))(exchange)


def test_another_setting_asks_every_row_again_and_only_some_where_that_is_asked_for(command, tmp_path, monkeypatch):
    """The end says so, the beginning of a run that does it says so, and what the end advises works."""
    monkeypatch.chdir(tmp_path)
    Path("words.csv").write_text("text\na\nb\nc\n")
    with fault_server(labelled) as server:

        def call(table, output, *more):
            ask = ["--model", "m", "--prompt", "{{ text }}", "--answer", "yes,no", "--base-url", server.url]
            del server.requests[:]
            code, _, err = command("call", "CreateChatCompletion", table, *ask, "-o", output, *more)
            return code, len(server.requests), err

        code, sent, err = call("words.csv", "out.csv", "--set", "max_tokens=50")
        assert (code, sent) == (3, 3)
        wording(err.splitlines()[-1])
        some = ["--set", "max_tokens=400", "--where", "outcome == 'unusable'", "--into", "again"]
        assert call("out.csv", "again.csv", *some)[:2] == (0, 1)
        assert pd.read_csv("again.csv").again.tolist()[1] == "yes"
        code, sent, err = call("words.csv", "out.csv", "--set", "max_tokens=400", "--retry-failed", "unusable")
        assert (code, sent) == (0, 3)
        wording(next(line for line in err.splitlines() if "no answer in the journal" in line))
        assert "no answer in the journal" not in call("words.csv", "out.csv", "--set", "max_tokens=400")[2]


@pytest.mark.parametrize("more", [[], ["--memory", "300MB"]], ids=["whole", "batches"])
def test_a_key_that_is_refused_is_named_by_its_variable(command, tmp_path, monkeypatch, more):
    """The one that the connection names, and no other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ODD_KEY", "sk-canary-0123456789")
    Path("words.csv").write_text("text\na\n")
    with fault_server(REFUSED) as server:
        ask = ["--prompt", "x", "--model", "m", "--base-url", server.url, "--api-key-env", "ODD_KEY", "-o", "out.csv"]
        err = command("call", "CreateChatCompletion", "words.csv", *ask, *more)[2]
    assert ("in ODD_KEY" in err, "OPENAI_API_KEY" in err) == (True, False)


def test_answers_that_the_table_does_not_hold_are_said(command, tmp_path, monkeypatch):
    """More than one of a row, which were paid for, and calls of tools."""
    monkeypatch.chdir(tmp_path)
    Path("words.csv").write_text("text\na\nb\n")
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"content": None, "tool_calls": [call]}
    calling = answer(json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}))
    with fault_server(calling) as server:
        ask = ["--prompt", "x", "--model", "m", "--base-url", server.url, "--set", "n=3", "-o", "out.csv"]
        code, _, err = command("call", "CreateChatCompletion", "words.csv", *ask)
        out = tn.CreateChatCompletion(model="m", prompt="x", n=3).run(
            TWO, tn.Connection(server.url, ""), progress=False
        )
    assert code == 0
    wording([line for line in err.splitlines() if "answers" in line])
    wording(out.summary.notes)
