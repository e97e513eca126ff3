"""Why a row failed, or what its answer lacks: found wherever servers put it."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import answer as answered
from servers import fault_server, pieces
from test_outcomes import answer, error

import tablenodes as tn
from tablenodes.engine.outcomes.error_words import names_an_error, says_something, words_in
from tablenodes.engine.outcomes.finish_reasons import meaning_of, says
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.response_head import REQUEST_ID_NAMES

KEY = "sk-canary-0123456789"
CHAT = tn.CreateChatCompletion(model="m", prompt="{{ text }}")
ONE = pd.DataFrame({"text": ["a"]})


def logged(reaction, **more):
    """Return the log's row of a run of one row."""
    with fault_server(reaction) as server:
        retry = tn.Retry(ambiguous=0, server_error=0, throttled=0)
        out = CHAT.run(ONE, tn.Connection(server.url, KEY), retry=retry, progress=False, **more)
    return out, out.log.iloc[0].to_dict()


def said(content, reason="stop", **more):
    return {"choices": [{"message": {"content": content} | more, "finish_reason": reason}]}


# --- whose words ----------------------------------------------------------------------------------------------------

WORDS = {
    "OpenAI": (error(message="no such word", code="bad_word"), "no such word"),
    "a text": ({"error": "no such word"}, "no such word"),
    "a text beside a message": ({"error": "Bad Request", "message": "no such word", "statusCode": 400}, "no such word"),
    "FastAPI": (
        {"detail": [{"loc": ["body", "messages", 0], "msg": "field required"}, {"loc": ["body", "n"], "msg": "a"}]},
        "body.messages.0: field required; body.n: a",
    ),
    "a problem of RFC 9457": ({"title": "Bad", "status": 400, "detail": "no such word"}, "no such word"),
    "OpenRouter": (
        error(message="Provider returned error", metadata={"raw": json.dumps(error(message="no such word"))}),
        "Provider returned error: no such word",
    ),
    "OpenRouter, a plain text": (
        error(message="Provider returned error", metadata={"raw": "no such word"}),
        "Provider returned error: no such word",
    ),
    "OpenRouter, moderation": (
        error(message="flagged", metadata={"reasons": ["violence", "spam"]}),
        "flagged: violence; spam",
    ),
    "JSON in a message": (error(message=json.dumps(error(message="no such word"))), "no such word"),
    "MiniMax": ({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "no such word"}}, "no such word"),
    "Zhipu": ({"code": 500, "msg": "no such word", "success": False}, "no such word"),
    "Baidu": ({"error_code": 18, "error_msg": "no such word"}, "no such word"),
    "Spark": ({"header": {"code": 10013, "message": "no such word"}}, "no such word"),
    "Tencent": ({"Response": {"Error": {"Code": "X", "Message": "no such word"}, "RequestId": "r"}}, "no such word"),
    "Anthropic": ({"type": "error", "error": {"type": "invalid", "message": "no such word"}}, "no such word"),
    "Google": ([error(code=400, message="no such word", status="INVALID_ARGUMENT")], "no such word"),
    "a list": ({"errors": [{"message": "no such word"}, "and another"]}, "no such word; and another"),
    "AWS": ({"__type": "ValidationException", "Message": "no such word"}, "no such word"),
    "Apigee": ({"fault": {"faultstring": "no such word", "detail": {"errorcode": "x"}}}, "no such word"),
    "OAuth": ({"error": "invalid", "error_description": "no such word"}, "no such word"),
    "camel case": ({"errorCode": 7, "errorMessage": "no such word"}, "no such word"),
    "vLLM": ({"object": "error", "message": "no such word", "code": 40303}, "no such word"),
    "a detail that is an object": ({"detail": {"error": {"message": "no such word"}}}, "no such word"),
    "a stream": (b'data: {"error":{"message":"no such word"}}\n\ndata: [DONE]\n\n', "no such word"),
}


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("who", WORDS)
def test_the_words_are_found_wherever_they_are(who, status):
    """Under a good status as under a bad one."""
    body, words = WORDS[who]
    verdict = judge(answer(status, body))
    assert verdict.message == words
    assert verdict.outcome == ("in_band_error" if status == 200 else "http_error")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"CUDA out of memory\n", "CUDA out of memory"),
        (b"<html><head><TITLE>502  Bad\nGateway</title></head>x</html>", "502 Bad Gateway"),
        (b"<!DOCTYPE html><body><h1>Access <b>denied</b> &amp; gone</h1>", "Access denied & gone"),
        (b"<html><body>no <i>such</i> word</body></html>", "no such word"),
        (b"<?xml version='1.0'?><Error><Code>X</Code><Message>no such word</Message></Error>", "no such word"),
        (b'{"error": {"message": "no such', '{"error": {"message": "no such'),
    ],
)
def test_a_page_and_a_text_are_quoted_behind_our_words(body, words):
    """They are not the API's: what happened comes first."""
    for status, ours in ((502, "the gateway got no good answer from the server (502)"), (404, None)):
        message = judge(answer(status, body)).message
        assert message.endswith(f": {words}")
        assert ours is None or message == f"{ours}: {words}"


def test_what_cannot_be_read_under_a_good_status_is_told_of_a_page_but_not_of_an_answer():
    """A sign-in page has a title; half an answer is no reason."""
    assert judge(answer(200, b"<title>Sign in</title>")).message.endswith(": Sign in")
    assert judge(answer(200, b"try again later")).message.endswith(": try again later")
    assert "secret" not in judge(answer(200, b'{"choices": [{"message": {"content": "secret')).message


def test_a_document_without_an_error_is_not_called_one():
    """It has no choices, and that is what is said."""
    verdict = judge(answer(202, {"id": "q1", "status": "queued"}))
    assert (verdict.outcome, verdict.message) == ("in_band_error", "the answer has no choices")


@pytest.mark.parametrize("nothing", [None, "", {}, [], False, 0, {"code": None, "message": ""}, [{}], {"code": 0}])
def test_an_error_that_says_nothing_is_none(nothing):
    """Beside a good answer."""
    assert judge(answer(200, said("a") | {"error": nothing})).outcome == "ok"
    assert judge(answer(200, {"choices": [said("a")["choices"][0] | {"error": nothing}]})).outcome == "ok"
    assert (
        judge(answer(200, said("a") | {"code": 200, "msg": "success", "base_resp": {"status_code": 0}})).message == ""
    )


@pytest.mark.parametrize("something", ["x", {"code": 1}, [{"message": "x"}], True, {"message": "", "details": ["x"]}])
def test_an_error_that_says_something_is_one(something):
    """Whatever it is, on the answer or on a choice."""
    assert judge(answer(200, said("a") | {"error": something})).outcome == "in_band_error"
    assert judge(answer(200, {"choices": [said("a")["choices"][0] | {"error": something}]})).outcome == "in_band_error"


def test_the_reason_is_the_servers_code_or_the_rule_that_was_broken():
    """In the log; where the server has none, its type."""
    assert logged(answered(error(message="x", code="bad_word", type="t"), 400))[1]["reason"] == "bad_word"
    assert logged(answered(error(message="x", type="t"), 400))[1]["reason"] == "t"
    assert logged(answered(error(message="x", code=1113), 400))[1]["reason"] == "1113"
    assert pd.isna(logged(answered("x", 400))[1]["reason"])
    table = pd.DataFrame({"text": ["a"], "temperature": [3.5]})
    log = CHAT.run(table, tn.Connection("http://127.0.0.1:9/v1", KEY), progress=False).log
    assert list(log["reason"]) == ["maximum"]


NESTED = {"double escapes": json.dumps(KEY).replace("-", "\\u002d"), "entities": KEY.replace("-", "&#45;")}


@pytest.mark.parametrize("how", NESTED)
def test_a_key_is_masked_however_deep_it_is_wrapped(how):
    """In JSON within JSON, and in a page's title: in the message, the code and the request's id."""
    echoed = NESTED[how]
    body = {
        "double escapes": error(message="x", code=KEY, request_id=KEY, metadata={"raw": f'{{"message":{echoed}}}'}),
        "entities": f"<title>{echoed}</title>",
    }[how]
    out, row = logged(answered(body, 400))
    assert KEY not in json.dumps(row, default=str)
    assert "***" in row["message"]
    assert KEY not in str(out)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.just('{"error":'),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["error", "message", "detail", "loc", "code", "metadata", "raw", "base_resp", "header"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_a_server_says_is_read(document):
    """Nothing is raised, and what is said is one bounded line."""
    assert isinstance(words_in(document), str)
    assert isinstance(says_something(document), bool)
    if isinstance(document, dict):
        assert names_an_error(document) in (True, False)
    message = judge(answer(400, document)).message
    assert message.isprintable()
    assert len(message) < 400


def test_a_hostile_page_takes_no_time():
    """Nor do tags that never end, and documents of many parts."""
    for body in (
        b"<" * 2**20,
        b"<h1>" * 2**18,
        b"<script" * 2**17,
        b"[" * 2**20,
        json.dumps([[{"error": []}] * 99] * 99),
    ):
        judge(answer(500, body if isinstance(body, bytes) else body.encode()))


@pytest.mark.parametrize("body", [b"no JSON at all", b"caf\xc3", b'{"choices": "none"}', b"data: {oops}\n\n"])
def test_a_paid_answer_that_cannot_be_used_is_kept_where_nothing_follows_it(body, tmp_path):
    """In the result and in the journal, though the server gave nothing at all when the row was tried again."""
    journal = tmp_path / "j"
    with fault_server([answered(body), pieces([], then="close")]) as server:
        connection = tn.Connection(server.url, KEY)
        out = CHAT.run(ONE, connection, journal=journal, progress=False)
    assert (out.log["outcome"][0], out.result["status"][0]) == ("disconnected", 200)
    assert out.log["attempts"][0] >= 2
    assert out.result["body"][0] == body.decode(errors="replace")
    kept = CHAT.run(ONE, connection, journal=journal, progress=False, retry_failed="none")
    assert (kept.result["body"][0], kept.log["reused"][0]) == (body.decode(errors="replace"), True)


# --- what an answer lacks -------------------------------------------------------------------------------------------

LACKING = {
    "cut": (said("ab", "length"), "cut"),
    "cut, Mistral": (said("ab", "model_length"), "cut"),
    "cut, Gemini": (said("ab", "MAX_TOKENS"), "cut"),
    "cut in its reasoning": (said("", "length", reasoning_content="x"), "cut"),
    "filtered": (said(None, "content_filter"), "filtered"),
    "filtered, Zhipu": (said("", "sensitive"), "filtered"),
    "filtered, Gemini": (said("", "SAFETY"), "filtered"),
    "refused": (said(None, refusal="I can't."), "refused"),
    "refused in parts": (said([{"type": "refusal", "refusal": "no"}]), "refused"),
    "empty": (said(""), "empty"),
    "blank": (said(" \n"), "empty"),
    "null": (said(None), "empty"),
    "no message": ({"choices": [{}]}, "empty"),
    "no parts": (said([]), "empty"),
    "reasoning alone": (said(None, reasoning_content="x"), "empty"),
    "a call": (said(None, "tool_calls", tool_calls=[{"function": {"name": "f"}}]), None),
    "a call without a reason": (said(None, None, tool_calls=[{"function": {"name": "f"}}]), None),
    "an image": (said("", images=[{"type": "image_url"}]), None),
    "a sound": (said(None, audio={"data": "x"}), None),
    "parts": (said([{"type": "text", "text": "a"}]), None),
    "a completion": ({"choices": [{"text": "a", "finish_reason": "stop"}]}, None),
    "an empty completion": ({"choices": [{"text": "", "finish_reason": "stop"}]}, "empty"),
    "a placeholder": (said("a", ""), None),
    "a word for an end": (said("a", "eos"), None),
    "a word that nobody knows": (said("a", "sunset"), "sunset"),
    "a number": (said("a", 7), None),
    "the second of two": ({"choices": [*said("a")["choices"], *said("b", "length")["choices"]]}, None),
}


@pytest.mark.parametrize("what", LACKING)
def test_what_an_answer_lacks_is_marked(what):
    """It is ok all the same."""
    body, reason = LACKING[what]
    verdict = judge(answer(200, body))
    assert (verdict.outcome, verdict.reason) == ("ok", reason)
    assert bool(verdict.message) == (reason is not None)


@pytest.mark.parametrize("reason", ["error", "network_error", "insufficient_system_resource", "abort", "Cancelled"])
def test_a_choice_that_failed_is_a_failure(reason):
    """Though it has a text; and so is one that ended for a reason that nobody knows and has none."""
    verdict = judge(answer(200, said("The capital of", reason)))
    assert (verdict.outcome, verdict.reason) == ("in_band_error", reason)
    assert judge(answer(200, said("", "sunset"))).outcome == "in_band_error"
    assert (
        judge(answer(200, {"choices": [*said("a")["choices"], *said("b", reason)["choices"]]})).kind.value
        == "ambiguous"
    )


@pytest.mark.parametrize("nothing", ["", " ", "null", "NULL", "None", "FINISH_REASON_UNSPECIFIED", None, False])
def test_what_stands_for_no_reason_says_nothing(nothing):
    """It is the end of nothing, and stands in no log."""
    assert not says(nothing)
    assert meaning_of(nothing) == "whole"
    assert judge(answer(200, said("a", nothing))).finish_reason is None


def test_what_answers_lack_is_in_the_log_and_in_the_summary():
    """A count for each, and nothing of those that lack nothing."""
    bodies = [
        said("a", "length"),
        said(""),
        said(None, refusal="x"),
        said("b", "sunset"),
        said("c"),
        said("", "length"),
    ]
    with fault_server([answered(body) for body in bodies]) as server:
        limits = tn.Limits(concurrency=1)
        table = pd.DataFrame({"text": list("abcdef")})
        out = CHAT.run(table, tn.Connection(server.url, KEY), limits=limits, progress=False)
    assert out.summary.ok == 6
    assert [None if pd.isna(reason) else reason for reason in out.log["reason"]] == [
        *("cut", "empty", "refused", "sunset", None, "cut"),
    ]
    assert list(out.log["message"].isna()) == [False] * 4 + [True, False]
    assert [note.partition(" ")[0] for note in out.summary.notes] == ["2", "1", "1", "1"]
    assert "sunset" in str(out.summary)


# --- the name of an exchange ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name.decode() for name in REQUEST_ID_NAMES])
def test_an_exchange_is_named_in_many_dialects(name, tmp_path):
    """In the log, of a failure too, and in that of a run that uses the journal's answer."""
    assert logged(answered(error(message="x"), 400, headers={name.title(): "r-1"}))[1]["request_id"] == "r-1"
    journal = tmp_path / "j"
    with fault_server(answered(said("a"), headers={name.upper(): "r-2"})) as server:
        connection = tn.Connection(server.url, KEY)
        for reused in (False, True):
            log = CHAT.run(ONE, connection, journal=journal, progress=False).log
            assert (log["request_id"][0], log["reused"][0]) == ("r-2", reused)


def test_the_best_name_of_an_exchange_counts():
    """OpenAI's, then the server's own, then a gateway's, then the body's."""
    lines = b"CF-Ray: 3\r\nRequest-Id: 2\r\n"
    assert judge(answer(headers=lines)).request_id == "2"
    assert judge(answer(headers=lines + b"X-Request-Id: 1\r\n")).request_id == "1"
    assert judge(answer(400, {"error": {"message": "x"}, "request_id": "4"}, headers=b"")).request_id == "4"
    assert judge(answer(400, {"error": {"message": "x"}}, headers=b"")).request_id is None
