"""What an answer means."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentences import wording

from tablenodes.engine.calls import Answer
from tablenodes.engine.outcomes.answer_json import first_text
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.outcomes.rules import FAULT_RULES, OUTCOMES, Failure
from tablenodes.engine.outcomes.server_errors import quoted
from tablenodes.engine.redaction import Redaction
from tablenodes.engine.response_head import RateLimit, duration, header, rate_limits

GOOD = {
    "choices": [{"index": 0, "message": {"content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}
LENGTH = b"Content-Length: 1\r\n"

A, R, S, B, C, _ = Failure

AFTER_SENDING = (
    "reset disconnected timeout_first_byte timeout_total timeout_idle truncated protocol stream_truncated stream_error"
)


def answer(status=200, body=GOOD, headers=LENGTH, **more):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(0, status, headers, body, **more)


def silent(fault, **more):
    return Answer(0, None, b"", b"", fault, **more)


def error(**fields):
    return {"error": fields}


# Success.


def test_a_whole_answer_is_ok():
    """A good status, an object, choices: that is a success, with what the server says about it."""
    verdict = judge(answer(headers=b"X-Request-ID: req_1\r\n" + LENGTH))
    assert (verdict.outcome, verdict.kind, verdict.message) == ("ok", None, "")
    assert (verdict.request_id, verdict.finish_reason) == ("req_1", "stop")
    assert (verdict.prompt_tokens, verdict.completion_tokens, verdict.total_tokens) == (9, 1, 10)
    assert not verdict.may_have_run
    assert not verdict.stale_connection


@pytest.mark.parametrize("status", [200, 201, 206])
def test_every_good_status_is_good(status):
    """2xx is a success, not 200 alone."""
    assert judge(answer(status)).outcome == "ok"


def test_a_request_id_is_found_on_any_line():
    """First line, last line without an end, behind a status line."""
    for headers in (b"x-request-id: a", b"HTTP/1.1 200 OK\r\nx-request-id: a\r\n", b"Foo: b\nX-REQUEST-ID:a"):
        assert judge(answer(headers=headers)).request_id == "a"
    assert judge(answer(headers=b"not-x-request-id: a\r\n")).request_id is None


@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls", "stop"])
def test_how_a_choice_ended_is_no_failure(reason):
    """An answer cut at its token limit is an answer; the reason is visible."""
    verdict = judge(answer(body={"choices": [{"finish_reason": reason}]}))
    assert (verdict.outcome, verdict.finish_reason) == ("ok", reason)


@pytest.mark.parametrize("choice", [{}, {"finish_reason": None}, {"finish_reason": 7}])
def test_a_plain_answer_needs_no_finish_reason(choice):
    """Servers leave it out or null."""
    verdict = judge(answer(body={"choices": [choice]}))
    assert (verdict.outcome, verdict.finish_reason) == ("ok", None)


@pytest.mark.parametrize("nothing", [None, "", {}, False])
def test_an_error_that_is_empty_is_none(nothing):
    """``"error": null`` is how some servers say that there was none."""
    assert judge(answer(body={**GOOD, "error": nothing})).outcome == "ok"


def test_an_operation_without_choices_needs_none():
    """Embeddings and the like answer with an object."""
    assert judge(answer(body={"data": []}), needs_choices=False).outcome == "ok"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, (None, None, None)),
        ([], (None, None, None)),
        ({}, (None, None, None)),
        ({"prompt_tokens": 2, "completion_tokens": 3}, (2, 3, 5)),
        ({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 9}, (2, 3, 9)),
        ({"prompt_tokens": -2, "completion_tokens": True, "total_tokens": 1e3}, (None, None, None)),
        ({"prompt_tokens": 2**53, "completion_tokens": 3, "total_tokens": "5"}, (None, 3, None)),
        ({"prompt_tokens": 2, "total_tokens": 2}, (2, None, 2)),
    ],
)
def test_tokens_are_taken_as_counted_or_not_at_all(usage, tokens):
    """A count that is none is left out; the total is summed up where it is missing."""
    verdict = judge(answer(body={**GOOD, "usage": usage}))
    assert (verdict.prompt_tokens, verdict.completion_tokens, verdict.total_tokens) == tokens


def test_a_silent_repeat_may_have_run():
    """A request that was begun twice may have been executed twice, though one answer came."""
    assert judge(answer(sends=2)).may_have_run


@pytest.mark.parametrize(
    "odd",
    [
        '{"choices":[{}],"n":' + "9" * 5000 + "}",
        '{"choices":[{}],"n":1e999}',
        '{"choices":[{}],"n":"\\ud800"}',
        '{"choices":[{}],"n":1,"n":2}',
        '{"choices":[{}],"n":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"choices":[{}],"n":' + '{"a":' * 2000 + '"}]"' + "}" * 2000 + "}",
        '\ufeff{"choices":[{}]}',
        ' \n{"choices":[{}]}\r\n',
    ],
    ids=["digits", "double", "surrogate", "twice", "deep", "deep-objects", "mark", "blanks"],
)
def test_unusual_json_is_json(odd):
    """An answer that was paid for is not a failure because a parser of ours gives up on it."""
    assert judge(answer(body=odd.encode())).outcome == "ok"


# Answers of a good status that are none.


@pytest.mark.parametrize("body", [b"", b" \r\n\n"])
@pytest.mark.parametrize("status", [200, 204])
def test_an_empty_body_is_no_answer(status, body):
    """Nothing came, though the server may have worked for it."""
    verdict = judge(answer(status, body))
    assert (verdict.outcome, verdict.kind, verdict.may_have_run) == ("empty_body", B, True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' + b"[" * 2000 + b"}" * 2001,
        b"<html>log in</html>",
        b"{",
        b'{"a":1}}',
        b'{"a":01}',
        b'{"a":"\x01"}',
        b"nope",
        b'{"a":' + b"[" * 2000,
    ],
)
def test_what_is_no_json_is_asked_again(body):
    """A captive portal or a broken answer: another attempt may bring a good one."""
    verdict = judge(answer(body=body))
    assert (verdict.outcome, verdict.kind, verdict.may_have_run) == ("decode_error", B, True)


@pytest.mark.parametrize("start", ["é".encode()[:1], "日".encode()[:2], "🙂".encode()[:3]])
def test_what_is_cut_within_a_character_is_asked_again(start):
    """Its first bytes are there, and all before them is text; bytes that no character begins with are no cut."""
    assert judge(answer(body=b'{"a":"' + start))[:2] == ("decode_error", B)
    assert judge(answer(body=b'\xef\xbb\xbf{"a":"' + start))[:2] == ("decode_error", B)
    for wrong in (b"\xff", b"\xed\xa0", b"\x80", start + b'"'):
        assert judge(answer(body=b'{"a":"' + wrong))[:2] == ("decode_error", C)


@pytest.mark.parametrize("document", [[], 1, "text", None, True])
def test_json_that_is_no_object_is_no_answer(document):
    """The API answers with an object."""
    assert judge(answer(body=document))[:2] == ("decode_error", B)


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"p":NaN}]}',
        b'{"choices":[{"p":-Infinity}]}',
        '{"choices":[{"m":"é"}]}'.encode("latin-1"),
        '{"choices":[{}]}'.encode("utf-16"),
        gzip.compress(b'{"choices":[{}]}'),
        b'{"choices":[{}],"n":' + b"[" * 3 * 2**20 + b"]" * 3 * 2**20 + b"}",
    ],
    ids=["nan", "infinity", "latin-1", "utf-16", "gzip", "beyond-depth"],
)
def test_a_whole_answer_in_a_language_of_its_own_is_not_asked_again(body):
    """The server would say the same again, for money; the bytes are kept."""
    verdict = judge(answer(body=body))
    assert (verdict.outcome, verdict.kind, verdict.may_have_run) == ("decode_error", C, True)


@pytest.mark.parametrize("cut", [1, 20, 60, -1])
def test_a_body_that_ends_with_its_connection_may_be_cut(cut):
    """Without a length, only the JSON shows that something is missing."""
    whole = json.dumps(GOOD, ensure_ascii=False).encode()
    assert judge(answer(body=whole, headers=b"Server: x\r\n")).outcome == "ok"
    assert judge(answer(body=whole[:cut], headers=b"Server: x\r\n"))[:2] == ("truncated", B)
    assert judge(answer(body=whole[:cut], headers=b"Transfer-Encoding: chunked\r\n")).outcome == "decode_error"


def test_a_cut_in_the_middle_of_a_character_is_a_cut():
    """Half a character at the end is no other encoding."""
    assert judge(answer(body='{"a":"é'.encode()[:-1], headers=b""))[:2] == ("truncated", B)
    assert judge(answer(body='{"a":"é'.encode()[:-1]))[:2] == ("decode_error", B)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": {}},
        {"choices": [{"finish_reason": "error"}]},
        {"choices": [1]},
    ],
)
def test_an_answer_without_a_result_is_a_failure(body):
    """No choices, or one that ended with an error: asked again once, as it may be billed."""
    verdict = judge(answer(body={**body, "usage": GOOD["usage"]}))
    assert (verdict.outcome, verdict.kind, verdict.may_have_run) == ("in_band_error", B, True)
    assert verdict.total_tokens == 10


@pytest.mark.parametrize(
    ("fields", "kind", "may_have_run", "circuit"),
    [
        ({"code": 429}, R, False, None),
        ({"code": "429"}, R, False, None),
        ({"code": "rate_limit_exceeded"}, R, False, None),
        ({"code": 503}, S, True, None),
        ({"type": "server_error"}, S, True, None),
        ({"type": "overloaded_error"}, R, False, None),
        ({"code": 400}, C, False, None),
        ({"code": 401}, C, False, "auth"),
        ({"code": 402}, C, False, "payment"),
        ({"code": "model_not_found"}, C, False, "model"),
        ({"code": "insufficient_quota", "status": 429}, C, False, "quota"),
        ({"code": 1234}, B, True, None),
        ({"code": 200}, B, True, None),
        ({"code": "unheard_of"}, B, True, None),
        ({"message": "it broke"}, B, True, None),
    ],
)
def test_an_error_under_a_good_status_counts_as_its_code(fields, kind, may_have_run, circuit):
    """Gateways answer 200 and put the upstream's failure into the body."""
    verdict = judge(answer(body={**GOOD, "error": fields}))
    assert (verdict.outcome, verdict.kind) == ("in_band_error", kind)
    assert (verdict.may_have_run, verdict.circuit) == (may_have_run, circuit)


def test_an_error_text_under_a_good_status_is_quoted():
    """Some servers put a text in the place of the object."""
    verdict = judge(answer(body={"error": "it broke"}))
    assert (verdict.outcome, verdict.kind) == ("in_band_error", B)
    assert verdict.message == "it broke"


# Statuses.


@pytest.mark.parametrize(
    ("status", "outcome", "kind"),
    [
        *((status, "redirect_refused", C) for status in (300, 301, 302, 303, 304, 307, 308)),
        *((status, "http_error", C) for status in (400, 404, 405, 413, 415, 418, 422, 431, 451, 501, 505, 530, 600)),
        (401, "auth", C),
        (403, "http_error", C),
        (402, "quota_exhausted", C),
        (407, "proxy", C),
        *((status, "http_error", S) for status in (408, 409, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524)),
        (429, "rate_limited", R),
        (529, "http_error", R),
        (101, "http_error", C),
    ],
)
def test_each_status_has_its_kind(status, outcome, kind):
    """What may be done about a status is a table."""
    verdict = judge(answer(status, b"<html>"))
    assert (verdict.outcome, verdict.kind) == (outcome, kind)
    assert f"({status})" in verdict.message


def test_a_503_that_names_a_delay_is_a_throttle():
    """A server that says when to come back is not broken; a delay that is none changes nothing."""
    assert judge(answer(503, headers=b"Retry-After: 3\r\n"))[:2] == ("http_error", R)
    assert judge(answer(503, headers=b"Retry-After: 3\r\n")).retry_after == 3.0
    assert judge(answer(503, headers=b"Retry-After: soon\r\n"))[:2] == ("http_error", S)


@pytest.mark.parametrize(
    "word", ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "access_terminated"]
)
@pytest.mark.parametrize("field", ["code", "type"])
def test_a_spent_quota_is_final_and_about_all_rows(word, field):
    """No waiting helps; the status is a throttle's."""
    verdict = judge(answer(429, error(**{field: word}), headers=b"x-should-retry: true\r\n"))
    assert (verdict.outcome, verdict.kind, verdict.circuit) == ("quota_exhausted", C, "quota")


@pytest.mark.parametrize(
    ("status", "circuit"), [(401, "auth"), (403, "page"), (402, "payment"), (400, None), (404, None), (413, "row")]
)
def test_refusals_of_a_key_count_beyond_their_row(status, circuit):
    """What is wrong with the key or the account is wrong for every row."""
    assert judge(answer(status)).circuit == circuit


@pytest.mark.parametrize("fields", [{"code": "model_not_found"}, {"param": "model"}])
def test_a_missing_model_counts_for_its_model(fields):
    """Other models may well be there."""
    assert judge(answer(404, error(**fields))).circuit == "model"
    assert judge(answer(400, error(**fields))).circuit is None


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_a_server_may_forbid_a_retry(status):
    """``x-should-retry: false`` is obeyed on any status, and under a good one."""
    assert judge(answer(status, headers=b"X-Should-Retry: false\r\n")).kind is C
    assert judge(answer(200, b"", headers=b"X-Should-Retry: false\r\n")).kind is C


def test_a_server_may_ask_for_a_retry():
    """``x-should-retry: true`` makes a final status worth repeating, but for a refused key and redirects."""
    headers = b"X-Should-Retry: true\r\n"
    assert [judge(answer(status, headers=headers)).kind for status in (400, 404, 418, 501)] == [S] * 4
    assert [judge(answer(status, headers=headers)).kind for status in (401, 402, 403, 302)] == [C] * 4
    assert judge(answer(429, headers=headers)).kind is R


def test_a_status_counts_even_where_its_body_is_broken():
    """A throttle whose error page is cut is a throttle."""
    verdict = judge(answer(429, b"{", headers=b"Retry-After: 1\r\n", fault="truncated"))
    assert (verdict.outcome, verdict.kind, verdict.retry_after) == ("rate_limited", R, 1.0)


def test_only_what_may_have_been_executed_may_be_billed():
    """A throttle and a refusal did no work; a gateway's timeout may hide some."""
    billed = {status for status in range(300, 600) if judge(answer(status)).may_have_run}
    assert billed == {408, 500, 502, 503, 504, 520, 522, 524}
    assert not judge(answer(503, headers=b"Retry-After: 1\r\n")).may_have_run


# Faults.


@pytest.mark.parametrize(
    ("kind", "faults"),
    [
        (A, "dns connect timeout_connect proxy"),
        (
            B,
            AFTER_SENDING,
        ),
        (C, "tls too_large bad_encoding internal_error"),
    ],
)
def test_each_fault_has_its_kind(kind, faults):
    """What may be done about a fault is a table; what was begun to be sent may be billed."""
    for fault in faults.split():
        verdict = judge(silent(fault))
        assert (verdict.outcome, verdict.kind, verdict.may_have_run) == (fault, kind, True)
        assert not judge(silent(fault, sends=0)).may_have_run


def test_every_fault_and_outcome_is_in_the_vocabulary():
    """The vocabulary is closed."""
    assert {rule.outcome for rule in FAULT_RULES.values()} <= OUTCOMES
    assert {judge(silent(fault)).outcome for fault in FAULT_RULES} <= OUTCOMES


def test_a_fault_nobody_knows_is_an_error_of_ours():
    """A transport that makes up a name does not break the run."""
    assert judge(silent("made_up"))[:2] == ("internal_error", C)


def test_an_answer_of_a_good_status_that_broke_is_named_by_its_fault():
    """The status stays 200; the outcome says what happened."""
    assert judge(answer(fault="timeout_total")).outcome == "timeout_total"


@pytest.mark.parametrize("fault", ["reset", "disconnected"])
def test_a_dead_reused_connection_is_repeated(fault):
    """Not a byte came over a connection that had been used: it was dead, most likely before the request."""
    verdict = judge(silent(fault, reused=True))
    assert (verdict.outcome, verdict.kind, verdict.stale_connection) == (fault, A, True)
    assert verdict.may_have_run
    for began in ((200, b"a: b\r\n", b"{"), (200, b"", b""), (None, b"a: b\r\n", b""), (None, b"", b"{")):
        partial = judge(Answer(0, *began, fault, reused=True))
        assert (partial.kind, partial.stale_connection) == (B, False)
    assert judge(silent(fault)).kind is B


def test_at_most_once_repeats_no_dead_connection():
    """It may hide a request that was executed."""
    verdict = judge(silent("reset", reused=True), at_most_once=True)
    assert (verdict.kind, verdict.stale_connection, verdict.may_have_run) == (B, False, True)


def test_at_most_once_heeds_a_silent_repeat_that_found_nobody():
    """The connection that could not be made was the second one; over the first a request went out."""
    assert judge(silent("connect"), at_most_once=True).kind is B
    assert judge(silent("connect", sends=0), at_most_once=True).kind is A


def test_what_was_never_sent_was_never_executed():
    """A timeout before the first byte of the request is as harmless as a refused connection."""
    verdict = judge(silent("timeout_total", sends=0))
    assert (verdict.kind, verdict.may_have_run) == (A, False)


def test_a_proxy_that_wants_a_password_is_final():
    """407 in the tunnel has no status of the server's own; the fault says it, whatever the words."""
    assert judge(silent("proxy_login", message="CONNECT tunnel failed"))[:2] == ("proxy", C)
    assert judge(silent("proxy", message="CONNECT tunnel failed, response 407"))[:2] == ("proxy", A)


# Messages.


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (error(message="no such thing"), "no such thing"),
        ({"error": "no such thing"}, "no such thing"),
        ({"message": "no such thing"}, "no such thing"),
        ({"detail": "no such thing"}, "no such thing"),
        ({"detail": [{"loc": 1}]}, None),
        ([error(message="no such thing")], "no such thing"),
        ([1], None),
    ],
)
def test_the_servers_own_words_are_quoted(body, words):
    """They are the best explanation there is; without any, ours say why, with the status."""
    message = judge(answer(400, body)).message
    assert message == words or (words is None and message.endswith("(400)"))


def test_a_quote_is_one_short_line():
    """A server can neither flood a log nor steer a terminal."""
    message = judge(answer(500, error(message="a\r\nb\x1b[31m\u202e" + "x" * 1000))).message
    assert "a\\r\\nb\\x1b[31m\\u202e" in message
    assert len(message) < 260
    assert message.isprintable()
    assert len(quoted("\x1b" * 300)) == 200


def test_no_message_carries_a_key():
    """A server may echo the key, also where the quote would cut it in two."""
    key = b"sk-0123456789abcdef"
    for echoed in ("the key sk-0123456789abcdef", "x" * 190 + " sk-0123456789abcdef"):
        message = judge(answer(401, error(message=echoed)), secrets=(key,)).message
        assert "sk-0" not in message
        assert "sk-0" not in judge(silent("dns", message=echoed), secrets=(key,)).message
        assert "sk-0" not in judge(answer(200, error(message=echoed)), secrets=(key,)).message


def test_a_fault_is_told_in_our_words_and_the_transports():
    """What happened, then the detail."""
    wording(judge(silent("dns", message="no such host: x")).message)


# Streams, and rows without an answer.


STREAM = b"Content-Type: text/event-stream\r\n"
PLAIN = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}'
STREAMED = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def streamed(*chunks, end=b"data: [DONE]\n\n", **more):
    return answer(
        body=b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks) + end, headers=STREAM, **more
    )


def test_a_stream_is_judged_by_what_is_put_together():
    """The bytes of a stream are no JSON; the body is the one that a plain answer would have had."""
    chunk = {
        "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}],
        "usage": {"total_tokens": 3},
    }
    verdict = judge(streamed(chunk))
    assert (verdict.outcome, verdict.finish_reason, verdict.total_tokens) == ("ok", "stop", 3)
    assert json.loads(verdict.body)["choices"][0]["message"] == {"role": "assistant", "content": "a"}
    assert judge(streamed(error(code=429)))[:2] == ("in_band_error", R)
    assert judge(streamed({"data": 1})).outcome == "in_band_error"
    assert judge(streamed({"data": 1}), needs_choices=False).outcome == "ok"
    assert judge(streamed([1]))[:2] == ("stream_error", B)


def test_a_stream_that_is_not_whole_is_never_ok():
    """It is cut, or whatever else ended it; one that is whole is ok, whatever happens to its connection then."""
    chunk = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    for fault in (None, "truncated", "reset", "disconnected"):
        assert judge(streamed(chunk, end=b"", fault=fault))[:2] == ("stream_truncated", B)
    assert judge(streamed(chunk, end=b"", fault="timeout_idle")).outcome == "timeout_idle"
    assert judge(streamed(chunk, fault="timeout_idle")).outcome == "ok"
    assert judge(streamed({"choices": [{"index": 0, "finish_reason": "stop"}]}, end=b"")).outcome == "ok"


def test_a_stream_needs_as_many_choices_as_were_asked_for():
    """Where no [DONE] came, the end of those that started may not be the end of all."""
    stream = streamed({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, end=b"")
    assert judge(stream, b'{"n":1}').outcome == "ok"
    assert judge(stream, b'{"n":2}').outcome == "stream_truncated"
    assert judge(stream, b'{"prompt":["a","b"]}').outcome == "stream_truncated"
    assert judge(stream, b'{"prompt":[1,2]}').outcome == "ok"


def test_a_stream_put_together_holds_no_secret():
    """Though no chunk holds one, and each part of it is harmless."""
    parts = [{"choices": [{"index": 0, "delta": {"content": part}}]} for part in ("It is sk-01", "2345.")]
    body = judge(streamed(*parts), secrets=(b"sk-012345",)).body
    assert json.loads(body)["choices"][0]["message"]["content"] == "It is ***."


FORMS = {
    "a stream": (STREAMED, "ok", "a"),
    "a stream behind blank lines and a mark": (b"\xef\xbb\xbf\r\n \n" + STREAMED, "ok", "a"),
    "a stream that begins with a comment": (b": hello\n\n" + STREAMED, "ok", "a"),
    "a stream that begins with a name": (b"event: message\n" + STREAMED, "ok", "a"),
    "a stream that begins with an id": (b"id: 1\n" + STREAMED, "ok", "a"),
    "a stream that begins with a time": (b"retry:3000\n\n" + STREAMED, "ok", "a"),
    "JSON": (PLAIN, "ok", "a"),
    "JSON behind blank lines and a mark": (b"\r\n\n\xef\xbb\xbf" + PLAIN, "ok", "a"),
    "JSON and an end": (PLAIN + b"\n\ndata: [DONE]\n\n", "ok", "a"),
    "JSON and an end in its line": (PLAIN + b"data:[DONE]", "ok", "a"),
    "a page": (b"<html><title>Sign in</title>x</html>", "decode_error", None),
    "a text": (b"upstream connect error", "decode_error", None),
}
"""Bodies, what they come to and their text."""


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json", "text/plain; charset=utf-8", None])
@pytest.mark.parametrize("form", FORMS)
def test_a_body_is_read_by_its_bytes(form, kind):
    """Whatever its content type says; only where the bytes do not tell, it decides."""
    body, outcome, text = FORMS[form]
    headers = b"" if kind is None else b"Content-Type: %s\r\n" % kind.encode()
    verdict = judge(answer(body=body, headers=headers + LENGTH))
    expected = "stream_error" if form == "a text" and kind == "text/event-stream" else outcome
    assert verdict.outcome == expected
    if text:
        assert first_text(verdict.body or body) == text
        assert json.loads((verdict.body or body).decode("utf-8-sig").strip("\ufeff\r\n"))


def test_a_secret_that_begins_another_leaves_nothing_of_it():
    """The longer one is masked first."""
    for secrets in ([b"sk-aaaa", b"sk-aaaa-bbbb"], [b"sk-aaaa-bbbb", b"sk-aaaa"]):
        assert Redaction(secrets).mask(b"sk-aaaa-bbbb, sk-aaaa") == b"***, ***"


# Headers.


def test_allowances_are_handed_on_only_where_there_are_any():
    """An ordinary answer costs no reading of its headers."""
    assert judge(answer()).told is None
    headers = b"X-RateLimit-Remaining-Requests: 7\r\n" + LENGTH
    for status in (200, 429):
        told = judge(answer(status, headers=headers)).told
        assert rate_limits(told) == (RateLimit(7.0), None)


def test_allowances_are_read_as_servers_write_them():
    """Limit, rest and time to the reset; what is no number is left out."""
    lines = (
        b"x-ratelimit-limit-requests: 40\r\nx-ratelimit-remaining-requests: 12\r\nx-ratelimit-reset-requests: 6m0s\r\n"
        b"x-ratelimit-limit-tokens: many\r\nx-ratelimit-remaining-tokens:  900.5 \r\nx-ratelimit-reset-tokens: soon"
    )
    assert rate_limits(lines) == (RateLimit(12.0, 40.0, 360.0), RateLimit(900.5))
    assert rate_limits(b"x-ratelimit-remaining-requests: -1\r\n") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("20ms", 0.02),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("150us", 0.00015),
        ("1s500ms", 1.5),
        ("2", 2.0),
        ("0.5", 0.5),
        ("", None),
        ("ms", None),
        ("1s!", None),
        ("s1", None),
        ("-1s", None),
    ],
)
def test_durations_are_read(text, seconds):
    """All forms that servers use; anything else is none."""
    assert duration(text.encode()) == (None if seconds is None else pytest.approx(seconds))


def test_the_first_header_of_a_name_counts():
    """Names are whole; values are trimmed."""
    assert header(b"a-b: 1\r\nb: 2\r\nB: 3\r\n", b"b") == "2"


# Anything.

CELL = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
DOCUMENT = st.recursive(
    CELL,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "choices", "finish_reason", "usage", "code", "type", "message", "param", "total_tokens"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=40) | DOCUMENT.map(lambda document: json.dumps(document).encode())
LINES = st.lists(
    st.sampled_from(
        [b"retry-after: 1", b"Retry-After: x", b"x-should-retry: true", b"X-Should-Retry: false", LENGTH.strip()]
    )
    | st.binary(max_size=20),
    max_size=4,
).map(b"\r\n".join)


@given(
    st.none() | st.integers(100, 599),
    LINES,
    BODIES,
    st.none() | st.sampled_from(sorted(FAULT_RULES)),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_every_answer_has_an_outcome(status, headers, body, fault, sends, reused, needs_choices, at_most_once):
    """Nothing is raised, whatever came; and ok is what it says."""
    whole = Answer(0, status, headers, body, fault or (None if status else "reset"), "why", sends, reused)
    verdict = judge(whole, needs_choices=needs_choices, at_most_once=at_most_once)
    assert verdict.outcome in OUTCOMES
    assert (verdict.kind is None) == (verdict.outcome == "ok") == (verdict.message == "")
    assert len(verdict.message) < 400
    assert verdict.message.isprintable()
    if verdict.outcome == "ok":
        assert 200 <= status < 300
        assert fault is None
        assert isinstance(json.loads(body), dict)
    if sends == 0:
        assert not verdict.may_have_run
    if at_most_once and verdict.may_have_run and sends == 1:
        assert verdict.kind not in (A, R)


@pytest.mark.parametrize("at_most_once", [False, True])
@pytest.mark.parametrize("fault", ["connect", "dns", "proxy"])
def test_a_repeat_that_reached_nobody_leaves_the_first_send_in_doubt(fault, at_most_once):
    """A transport's own repeat failed to connect: nothing says that what it repeats was not executed."""
    found = judge(Answer(1, None, b"", b"", fault=fault, sends=1), at_most_once=at_most_once)
    assert found.may_have_run
    assert found.kind is (Failure.AMBIGUOUS if at_most_once else Failure.NOT_EXECUTED)
    never = judge(Answer(1, None, b"", b"", fault=fault, sends=0), at_most_once=at_most_once)
    assert (never.may_have_run, never.kind) == (False, Failure.NOT_EXECUTED)
