"""Canned answers: a user's own code is tested with no server, no key and no address."""

from __future__ import annotations

import doctest
import pickle
import re
import socket
import sys

import pandas as pd
import pytest
from sentences import wording

import tablenodes as tn
from tablenodes import testing
from tablenodes.errors import TransportError, UsageError
from tablenodes.testing import canned

WORDS = pd.DataFrame({"word": ["go", "run"]})
CHAT = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
ANSWERS = {
    "labels": (["noun", "verb"], "verb", "verb"),
    "a number": (int, 3, 3),
    "a truth": (bool, False, False),
    "a list": ([str], ["x", "y"], ["x", "y"]),
    "a text": (str, "good, and more than a few", "good, and more than a few"),
    "a field that is called answer": ({"answer": int}, {"answer": 3}, 3),
}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Whatever opens a socket fails."""
    monkeypatch.setattr(socket, "socket", None)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.mark.parametrize("stream", [None, True], ids=["whole", "stream"])
@pytest.mark.parametrize("mode", ["json_schema", "json_object", "tool"])
@pytest.mark.parametrize(("kind", "reply", "value"), ANSWERS.values(), ids=ANSWERS)
def test_a_reply_is_put_into_the_form_that_the_request_asks_for(kind, reply, value, mode, stream):
    """A value is what the answer is, in every mode and in streams."""
    node = CHAT.replace(answer=kind, answer_mode=mode, stream=stream)
    out = node.run(WORDS, canned(reply), progress=False)
    assert out.answers.iloc[:, 0].tolist() == [value] * 2
    assert [*out.log["outcome"]] == ["ok"] * 2


def test_a_text_is_what_the_model_says():
    """In streams piece by piece, as often as choices are asked for, of a completion too; tokens are counted."""
    told = []
    node = CHAT.replace(stream=True, n=2)
    out = node.run(WORDS, canned("good morning"), progress=False, on_text=lambda *each: told.append(each))
    assert out.texts() == ["good morning"] * 2
    assert told == [(0, "good mor"), (0, "ning"), (1, "good mor"), (1, "ning")]
    assert out.summary.completion_tokens == 2 * 2 * len("good morning") // 4
    old = tn.CreateCompletion(model="m", prompt="{{ word }}", stream=True)
    assert old.run(WORDS, canned("x"), progress=False).texts() == ["x"] * 2


def test_a_pair_is_a_status_and_a_body():
    """A mapping, a text or bytes, as it is."""
    refused = CHAT.run(WORDS, canned((400, {"error": {"message": "too long", "code": "c"}})), progress=False)
    assert [*refused.log["outcome"], *refused.log["reason"]] == ["http_error"] * 2 + ["c"] * 2
    page = CHAT.run(WORDS, canned((200, "<html>")), progress=False, retry=tn.Retry(ambiguous=0))
    assert [*page.result["body"]] == ["<html>"] * 2
    assert [*page.log["outcome"]] == ["decode_error"] * 2


def test_a_function_is_given_each_request(tmp_path):
    """It may return whatever a reply may be; what it raises is the cause of the run's error."""
    replies = {"go": "went", "run": (400, b"{}")}
    out = CHAT.run(WORDS, canned(lambda request: replies[request["messages"][0]["content"]]), progress=False)
    assert out.texts() == ["went", None]

    def wrong(request):
        raise AssertionError("not this")

    with pytest.raises(TransportError) as caught:
        CHAT.run(WORDS, canned(wrong), progress=False)
    assert isinstance(caught.value.__cause__, AssertionError)


@pytest.mark.parametrize("reply", [(1, "x"), ("a", "b"), (200, "x", 3)], ids=str)
def test_a_tuple_that_is_no_reply_is_refused(reply):
    """Before a run."""
    with wording.raises(UsageError):
        canned(reply)


def test_a_canned_connection_that_travelled_reaches_nobody():
    """Its transport stays where it is, and its address can never be found."""
    thawed = pickle.loads(pickle.dumps(canned("x")))
    assert thawed.base_url.partition("//")[2].partition("/")[0].endswith(".invalid")


def test_the_example_in_the_docs_is_true(tmp_path, monkeypatch):
    """A pipeline and its tests, as they stand there."""
    code = re.search(r"code-block:: python\n\n((?: {4}.*\n|\n)+)", testing.__doc__)[1].replace("\n    ", "\n")
    pipeline, tests = re.split(r" *# \w+\.py\n", code)[1:]
    (tmp_path / "pipeline.py").write_text(pipeline)
    monkeypatch.syspath_prepend(tmp_path)
    scope = {}
    exec(tests, scope)
    ran = [value() for name, value in scope.items() if name.startswith("test_")]
    assert len(ran) == 2
    sys.modules.pop("pipeline")


def test_the_example_of_canned_is_true():
    """As it stands in its docstring."""
    assert doctest.run_docstring_examples(canned, {}) is None
    found = doctest.DocTestFinder().find(canned, "canned")
    assert [doctest.DocTestRunner().run(each).failed for each in found] == [0]


def test_canned_answers_have_the_prices_that_they_are_given():
    node = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
    table = pd.DataFrame({"word": ["a"]})
    assert node.run(table, canned("b"), progress=False).summary.cost is None
    assert node.run(table, canned("b", prices={"m": {"input": 1, "output": 2}}), progress=False).summary.cost > 0


def test_answers_that_are_no_use_are_counted_by_reason(capsys):
    def reply(request):
        text, end = request["messages"][0]["content"].split()
        body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": end}]}
        return 200, body

    table = pd.DataFrame({"word": ["1 length", "no stop", "no stop"]})
    tn.CreateChatCompletion(model="m", prompt="{{ word }}", answer=int).run(table, canned(reply))
    wording(capsys.readouterr().err)


def test_conversations_are_used_without_a_word(capsys):
    chat = tn.AddUserMessage(text="{{ word }}").run(tn.CreateConversation().run(pd.DataFrame({"word": ["a"]})))
    assert tn.CreateChatCompletion(model="m").run(chat, canned("b")).summary.ok == 1
    assert capsys.readouterr().err == ""
