"""A run: every row in, every row out, in its place, whatever the node, the transport and the kind of table."""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import threading
import time
import warnings

import duckdb
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from background import until
from measuring import measures_seconds
from sentences import wording
from servers import Exchange, answer, digest, echo, echo_server, fault_server, interrupting, message, refusing_port

import tablenodes as tn
from tablenodes.engine.outcomes import OUTCOMES
from tablenodes.engine.transports import TRANSPORTS

NODES = [
    tn.CreateChatCompletion(model="m", prompt="Say {{ word }}", temperature=0),
    tn.CreateCompletion(model="m", prompt="Say {{ word }}", max_tokens=3),
]
QUIET = {"progress": False}


def words(count=3):
    return pd.DataFrame({"word": [f"w{i}" for i in range(count)]}, index=range(100, 100 + count))


def connection(server, transport="curl", **more):
    return tn.Connection(server if isinstance(server, str) else server.url, "k" * 20, transport=transport, **more)


def choices(text, **more):
    return {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "text": text, "finish_reason": "stop"}
        ]
    } | more


def by_body(reaction):
    """Let a function from the request's body decide how to answer."""

    def react(exchange: Exchange) -> None:
        reaction(orjson.loads(exchange.received.body))(exchange)

    return react


KINDS = {
    "pandas": lambda frame: frame,
    "pandas-object": lambda frame: frame.astype({"word": object}),
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "polars": lambda frame: pl.from_pandas(frame),
    "duckdb": lambda frame: duckdb.from_arrow(pa.Table.from_pandas(frame, preserve_index=False)),
    "stream": lambda frame: pa.Table.from_pandas(frame, preserve_index=False).to_reader(),
}


@pytest.mark.parametrize("node", NODES, ids=lambda node: type(node).__name__)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_row_is_answered_in_its_place(node, transport):
    """200 rows, bodies byte for byte; `test_conformance` has every node and every kind of table."""
    frame = words(200)
    with echo_server() as server:
        out = node.run(frame, connection(server, transport), **QUIET)
    expected = [digest(sent_body(node, word)) for word in frame["word"]]
    assert [orjson.loads(body)["choices"][0]["message"]["content"] for body in out.result["body"]] == expected
    assert list(out.text) == expected
    assert list(out.text.index) == list(out.result.index) == list(frame.index)


def sent_body(node, word):
    if isinstance(node, tn.CreateCompletion):
        return orjson.dumps({"model": "m", "prompt": f"Say {word}", "max_tokens": 3})
    return orjson.dumps({"model": "m", "messages": [{"role": "user", "content": f"Say {word}"}], "temperature": 0})


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_body_is_what_the_server_sent_to_the_byte(transport):
    """Spaces, order, unicode escapes: nothing is parsed and written again."""
    text = ' {"z": 1.10, "choices" :[{"message":{"content":"\\u00e9 é"}, "finish_reason":"stop"}],\n"a":1e2 } \n'
    with fault_server(answer(text)) as server:
        out = NODES[0].run(words(2), connection(server, transport), **QUIET)
    assert list(out.result["body"]) == [text, text]
    assert list(out.text) == ["é é", "é é"]


def test_requests_carry_path_headers_and_body():
    """What reaches the server is what was asked for, and nothing else."""
    with fault_server(echo()) as server:
        NODES[0].run(words(1), connection(server, headers={"X-Team": "a"}, query={"v": "1"}), **QUIET)
        NODES[1].run(words(1), connection(server), **QUIET)
    chat, completion = server.requests
    assert (chat.method, chat.path, completion.path) == ("POST", "/v1/chat/completions?v=1", "/v1/completions")
    assert chat.headers["authorization"] == "Bearer " + "k" * 20
    assert chat.headers["x-team"] == "a"
    assert chat.headers["content-type"] == "application/json"
    assert chat.headers["user-agent"] == f"tablenodes/{tn.__version__}"
    assert set(chat.headers) <= {
        "host",
        "authorization",
        "x-team",
        "content-type",
        "user-agent",
        "content-length",
        "accept",
        "accept-encoding",
        "connection",
    }


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_invalid_rows_are_reported_in_their_place_and_never_sent(transport):
    """The others are sent; the report says where and why, without the value."""
    table = pd.DataFrame({"word": ["a", None, "c", "d"], "temperature": [1.0, 1.0, 3.5, None]})
    node = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
    with fault_server(echo()) as server:
        out = node.run(table, connection(server, transport), **QUIET)
    assert len(server.requests) == 2
    assert list(out.log["outcome"]) == ["ok", "invalid_request", "invalid_request", "ok"]
    assert list(out.result["status"].isna()) == [False, True, True, False]
    empty, high = (json.loads(body)["error"] for body in out.result["body"][1:3])
    assert empty["type"] == high["type"] == "invalid_request"
    wording.line(empty["message"])
    assert (high["param"], high["code"]) == ("$.temperature", "maximum")
    wording(high["message"])
    assert list(out.succeeded.index) == [0, 3]
    assert list(out.failed.index) == [1, 2]
    assert list(out.text.isna()) == [False, True, True, False]


def test_raise_sends_nothing_when_a_row_is_invalid():
    """on_invalid="raise" is for those who want all or nothing."""
    node = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
    with fault_server(echo()) as server, wording.raises(tn.errors.InvalidRequests) as caught:
        node.run(pd.DataFrame({"word": ["a", None]}), connection(server), on_invalid="raise", **QUIET)
    assert server.requests == []
    assert caught.value.check.valid == 1


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "polars"])
def test_no_rows_make_no_requests_and_the_same_columns(kind):
    """An empty table is a table."""
    with fault_server(echo()) as server:
        out = NODES[0].run(KINDS[kind](words(0)), connection(server), **QUIET)
    assert server.requests == []
    assert len(out.result) == 0
    assert list(out.table.columns if kind != "pyarrow" else out.table.column_names) == [
        "word",
        "answer",
        "status",
        "outcome",
        "message",
    ]
    assert out.summary.rows == 0


def test_nodes_chain_over_one_configuration():
    """The configuration goes through untouched, so a next node runs on it."""
    table = words(3)
    before = table.copy()
    with echo_server() as server:
        result, configuration = NODES[0].run(table, connection(server), **QUIET)
        again, same = NODES[1].run(configuration, connection(server), **QUIET)
    assert configuration is table
    assert same is table
    pd.testing.assert_frame_equal(table, before)
    assert list(result["body"]) != list(again["body"])


def test_columns_body_and_status_of_the_input_stay_its_own():
    """body is read as the row's request; the result is a table of its own."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    table = pd.DataFrame({"body": [json.dumps(body)], "status": ["mine"], "text": ["t"]})
    with fault_server(echo()) as server:
        out = tn.CreateChatCompletion().run(table, connection(server), **QUIET)
    assert orjson.loads(server.requests[0].body) == body
    assert list(out.table.columns[:3]) == ["body", "status", "text"]
    assert list(out.configuration["status"]) == ["mine"]
    assert list(out.table.columns[3:]) == ["answer", "status_2", "outcome", "message"]


def test_rows_with_different_keys_do_not_leak_nulls_into_each_other():
    """Dicts and lists of an object column go out as they are; null fields of Arrow structs are left out."""
    messages = [[{"role": "user", "content": "a", "name": "n"}], [{"role": "user", "content": "b"}]]
    for table in (pd.DataFrame({"messages": messages}), pa.table({"messages": messages})):
        with fault_server(echo()) as server:
            out = tn.CreateChatCompletion(model="m").run(
                table, connection(server), limits=tn.Limits(concurrency=1), **QUIET
            )
        assert [orjson.loads(r.body)["messages"] for r in server.requests] == messages
        assert out.summary.ok == 2


def test_a_table_with_columns_of_its_own_names_keeps_them():
    """n, user and store of a table never reach the wire unless they are named."""
    table = pd.DataFrame(
        {"prompt": ["p"], "n": [9], "user": ["u"], "store": [True], "seed": [1], "stream": [True], "metadata": ["x"]}
    )
    with fault_server(echo()) as server:
        tn.CreateChatCompletion(model="m").run(table, connection(server), **QUIET)
        tn.CreateChatCompletion(model="m", columns=["prompt", "user"]).run(table, connection(server), **QUIET)
    plain, named = (orjson.loads(request.body) for request in server.requests)
    assert set(plain) == {"model", "messages"}
    assert named["user"] == "u"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_failed_answer_keeps_its_body_and_status(transport):
    """status is what the server said; a row that fails does not stop the others."""

    def choose(body):
        bad = "w1" in body["messages"][0]["content"]
        return answer({"error": {"message": "too long"}}, 400) if bad else echo()

    with fault_server(by_body(choose)) as server:
        out = NODES[0].run(words(3), connection(server, transport), **QUIET)
    assert list(out.result["status"]) == [200, 400, 200]
    assert json.loads(out.result["body"].iloc[1]) == {"error": {"message": "too long"}}
    assert list(out.log["outcome"]) == ["ok", "http_error", "ok"]
    assert list(out.log["attempts"]) == [1, 1, 1]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_where_no_answer_came_the_status_is_null(transport):
    """A status is never invented."""
    with refusing_port() as port:
        out = NODES[0].run(
            words(2), connection(f"http://127.0.0.1:{port}/v1", transport), retry=tn.Retry(not_executed=0), **QUIET
        )
    assert list(out.result["status"].isna()) == [True, True]
    assert {json.loads(body)["error"]["type"] for body in out.result["body"]} == {"connect"}
    assert not out.log["maybe_billed"].any()


def test_a_server_error_is_tried_again():
    """A single 500 costs a second request, and the row is ok."""
    with fault_server([answer(b"oops", 500), echo()]) as server:
        out = NODES[0].run(words(1), connection(server), **QUIET)
    assert list(out.log["outcome"]) == ["ok"]
    assert list(out.log["attempts"]) == [2] == [len(server.requests)]
    assert out.summary.retries == {"server_error": 1}
    assert out.summary.first_try == 0


def test_a_refused_key_stops_the_run_and_the_rest_is_not_sent():
    """A run of many rows does not ask ten thousand times with a key that is refused."""
    with fault_server(answer({"error": {"message": "bad key"}}, 401)) as server:
        out = NODES[0].run(words(200), connection(server), limits=tn.Limits(concurrency=4), **QUIET)
    assert len(server.requests) <= 4 + 5
    assert out.summary.stopped == "auth"
    assert set(out.log["outcome"]) == {"auth", "not_sent"}
    unsent = json.loads(out.result["body"].iloc[-1])["error"]
    assert unsent["type"] == "not_sent"
    wording.line(unsent["message"])


def test_a_model_that_is_not_there_stops_its_own_rows_only():
    """Rows of other models go on."""

    def choose(body):
        return echo() if body["model"] == "good" else answer({"error": {"code": "model_not_found"}}, 404)

    table = pd.DataFrame({"prompt": ["p"] * 60, "model": ["bad", "good"] * 30})
    with fault_server(by_body(choose)) as server:
        out = tn.CreateChatCompletion().run(table, connection(server), limits=tn.Limits(concurrency=2), **QUIET)
    assert (out.log["outcome"][1::2] == "ok").all()
    assert set(out.log["outcome"][0::2]) == {"http_error", "not_sent"}
    assert len(server.requests) < 45


def test_max_requests_is_never_exceeded():
    """The guard counts every send, retries among them."""
    with fault_server(answer(b"", 500)) as server:
        out = NODES[0].run(words(50), connection(server), limits=tn.Limits(max_requests=7, concurrency=4), **QUIET)
    assert len(server.requests) == 7 == out.summary.requests
    assert out.summary.stopped == "max_requests"


def test_an_echoed_key_is_masked_in_the_result():
    """A server that repeats the key does not put it into the table."""

    def react(exchange):
        exchange.send(message(json.dumps(choices(exchange.received.headers["authorization"])).encode()))

    with fault_server(react) as server:
        out = NODES[0].run(words(1), connection(server), **QUIET)
    assert list(out.text) == ["Bearer ***"]


def test_an_answer_that_is_not_utf8_is_kept_with_replacement_characters():
    """The row says decode_error; what came is not thrown away."""
    with fault_server(answer(b'{"choices": "\xff\xfe"}')) as server:
        out = NODES[0].run(words(1), connection(server), retry=tn.Retry(ambiguous=0), **QUIET)
    assert list(out.log["outcome"]) == ["decode_error"]
    assert out.result["body"].iloc[0] == '{"choices": "��"}'


def test_the_log_has_one_row_an_input_row_with_what_was_counted():
    """Outcome, attempts, request id, latency, tokens, finish reason."""
    body = choices("x", usage={"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7})
    with fault_server(answer(body, headers={"X-Request-Id": "req-1"}, delay=0.02)) as server:
        out = NODES[0].run(words(2), connection(server), **QUIET)
    row = out.log.iloc[0].to_dict()
    assert 0.02 <= row.pop("latency") < 10
    assert 0 <= row.pop("started") < 1
    assert pd.isna(row.pop("retry_after"))
    assert pd.isna(row.pop("message"))
    assert pd.isna(row.pop("reason"))
    assert row == {
        "outcome": "ok",
        "attempts": 1,
        "maybe_billed": False,
        "request_id": "req-1",
        "reused": False,
        "finish_reason": "stop",
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
    }
    assert list(out.log.index) == [100, 101]
    assert set(out.log["outcome"]) <= OUTCOMES
    assert (out.summary.prompt_tokens, out.summary.completion_tokens) == (10, 4)


def test_a_custom_transport_is_used_as_it_is():
    """A user's tests need no socket; the key is not asked for."""
    out = NODES[0].run(words(10), tn.Connection("https://nowhere.example/v1", transport=Canned()), **QUIET)
    assert list(out.text) == ["x"] * 10


class Canned:
    """A user's own transport: answers whatever is asked, or fails."""

    def __init__(self, failure=None):
        self.calls, self.failure = [], failure

    def start(self, call):
        self.calls.append(call)

    def cancel(self, key):
        pass

    def wait(self, seconds):
        from tablenodes.engine.calls import Answer

        if self.failure is not None:
            raise self.failure
        calls, self.calls = self.calls, []
        return [Answer(c.key, 200, b"", json.dumps(choices("x")).encode()) for c in calls]

    def close(self):
        raise AssertionError("it is the user's to close")


def test_a_custom_transport_serves_run_after_run():
    """Nobody closes it but its owner."""
    shared = tn.Connection("https://nowhere.example/v1", transport=Canned())
    for _ in range(2):
        assert NODES[0].run(words(3), shared, **QUIET).summary.ok == 3


def test_a_custom_transport_that_fails_ends_the_run_with_what_came():
    """Its own error is the cause; rows in flight are in doubt."""
    failing = tn.Connection("https://nowhere.example/v1", transport=Canned(RuntimeError("mine")))
    with pytest.raises(tn.errors.TransportError, match="RuntimeError") as caught:
        NODES[0].run(words(3), failing, **QUIET)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert list(caught.value.output.log["outcome"]) == ["in_doubt"] * 3


class Unable(Canned):
    """Begins so many calls and no more; answers one of them at a time."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def start(self, call):
        self.most -= 1
        if self.most < 0:
            raise RuntimeError("mine")
        super().start(call)

    def wait(self, seconds):
        later, self.calls = self.calls[1:], self.calls[:1]
        events = super().wait(seconds)
        self.calls = later
        return events


@pytest.mark.parametrize("way", ["plain", "stream", "journal"])
def test_a_custom_transport_that_cannot_begin_a_call_loses_no_answer(way, tmp_path):
    """Calls in flight come to their ends, the one that failed is in doubt, and nothing more is sent."""
    failing = tn.Connection("https://nowhere.example/v1", transport=Unable(5))
    manner = {"journal": tmp_path / "j"} if way == "journal" else {}
    node = NODES[0].replace(stream=True) if way == "stream" else NODES[0]
    with pytest.raises(tn.errors.TransportError, match="RuntimeError") as caught:
        node.run(words(9), failing, limits=tn.Limits(concurrency=8), **manner, **QUIET)
    assert isinstance(caught.value.__cause__, RuntimeError)
    out = caught.value.output
    assert list(out.log["outcome"]) == ["ok"] * 5 + ["in_doubt"] + ["not_sent"] * 3
    assert list(out.log["attempts"]) == [1] * 6 + [0] * 3


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_custom_transport_was_not_asked_for_is_nobodys(stream):
    """Answers to no call, and second ones, are left aside, in whatever order they come."""
    from tablenodes.engine.calls import Answer, Chunk

    class Talkative(Canned):
        def wait(self, seconds):
            wrong = Answer(99, 200, b"", json.dumps(choices("wrong")).encode())
            events = [
                each for event in super().wait(seconds) for each in (wrong, event, event._replace(body=wrong.body))
            ]
            return [*events, Chunk(0, b"wrong"), Chunk(99, b"wrong"), wrong]

    node = NODES[0].replace(stream=True) if stream else NODES[0]
    told = []
    out = node.run(
        words(10),
        tn.Connection("https://nowhere.example/v1", transport=Talkative()),
        limits=tn.Limits(concurrency=3),
        on_text=(lambda row, text: told.append((row, text))) if stream else None,
        **QUIET,
    )
    assert list(out.text) == ["x"] * 10
    assert told == ([(row, "x") for row in range(10)] if stream else [])


ALLOWANCE_SPENT = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "40s"}


@pytest.mark.parametrize(
    ("reaction", "manner", "expected"),
    [
        pytest.param(echo(), {"limits": tn.Limits(requests_per_minute=1)}, "ok", id="pace"),
        pytest.param(echo(200, ALLOWANCE_SPENT), {}, "ok", id="allowance"),
        pytest.param(
            answer(b"{}", 429, {"Retry-After": "40"}), {"retry": tn.Retry(throttled=0)}, "rate_limited", id="delay"
        ),
        pytest.param(
            answer(b"{}", 429, {"Retry-After": "50"}),
            {"retry": tn.Retry(row_deadline=40)},
            "rate_limited",
            id="deadline",
        ),
    ],
)
@pytest.mark.parametrize("journal", [False, True])
def test_a_run_with_nothing_left_to_send_does_not_wait(reaction, manner, expected, journal, tmp_path):
    """Nobody needs the time that a server or a pace puts before the next request."""
    kept = {"journal": tmp_path / "j"} if journal else {}
    began = time.monotonic()
    with fault_server(reaction) as server:
        out = NODES[0].run(words(1), connection(server), **manner, **kept, **QUIET)
    assert list(out.log["outcome"]) == [expected]
    assert time.monotonic() - began < 30


def test_what_a_broken_transport_did_not_send_is_not_in_doubt(tmp_path):
    """It is sent by the next run, also by one that sends nothing in doubt."""

    class Breaking(Canned):
        def start(self, call):
            if call.key == 1 and not self.is_whole:
                raise RuntimeError("broken")
            super().start(call)

    transport = Breaking()
    transport.is_whole = False
    manner = {"journal": tmp_path / "j", "on_in_doubt": "report", "progress": False}
    own = tn.Connection("https://nowhere.example/v1", transport=transport)
    with pytest.raises(tn.errors.TransportError) as ended:
        NODES[0].run(words(5), own, **manner)
    assert list(ended.value.output.log["outcome"]) == ["ok", "in_doubt", "not_sent", "not_sent", "not_sent"]
    transport.is_whole = True
    out = NODES[0].run(words(5), own, **manner)
    assert list(out.log["outcome"]) == ["ok", "in_doubt", "ok", "ok", "ok"]
    assert list(out.log["reused"]) == [True, False, False, False, False]
    assert list(out.log["attempts"]) == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("subject", ["requests", "tokens"])
def test_an_allowance_that_is_renewed_too_late_ends_the_run(subject):
    """As a delay beyond `max_retry_after` does, once it is used up: what is left is told to come again later."""
    told = {f"x-ratelimit-remaining-{subject}": "0", f"x-ratelimit-reset-{subject}": "99999h"}
    refusals = [answer(b"{}", 429, told)] * 5
    with fault_server([echo(200, told), echo(200, told), *refusals]) as server:
        out = NODES[0].run(words(6), connection(server), limits=tn.Limits(concurrency=1), **QUIET)
        assert len(server.requests) == 7, "five refusals in a row say that it serves nobody"
    assert list(out.log["outcome"][:3]) == ["ok", "ok", "rate_limited"]
    assert out.log["outcome"].iloc[-1] == "not_sent"
    wording.line(out.result["body"].iloc[-1])


@pytest.mark.parametrize("subject", ["requests", "tokens"])
def test_a_server_that_refuses_nobody_is_not_given_up(subject):
    """Whatever it says of an allowance: it may be another's, or drip back in."""
    told = {f"x-ratelimit-remaining-{subject}": "0", f"x-ratelimit-reset-{subject}": "99999h"}
    with fault_server(echo(200, told)) as server:
        out = NODES[0].run(words(9), connection(server), limits=tn.Limits(concurrency=2), **QUIET)
    assert list(out.log["outcome"]) == ["ok"] * 9


def test_a_row_that_was_looked_at_early_ends_as_in_an_earlier_run(tmp_path):
    """It was not sent again: its old answer stands, and is the row's."""
    once = {"journal": tmp_path / "j", "limits": tn.Limits(concurrency=1), **QUIET}
    with fault_server(
        [answer(b"{}", 503), answer(b"{}", 429, ALLOWANCE_SPENT | {"x-ratelimit-reset-requests": "1h"})]
    ) as server:
        NODES[0].run(words(2)[1:], connection(server), retry=tn.Retry(server_error=0), **once)
        table = pd.DataFrame({"word": ["w0", *"abcd", "w1", "w2"]})
        out = NODES[0].run(table, connection(server), retry=tn.Retry(throttled=0), **once)
        assert len(server.requests) == 6
    assert list(out.log["outcome"]) == ["rate_limited"] * 5 + ["http_error", "not_sent"]
    assert (out.result["status"][5], out.log["attempts"][5]) == (503, 1)


def test_answers_stay_with_their_rows_when_the_table_is_changed_afterwards():
    """The frame that was given may be sorted, cut and written to; the output is of the rows that were sent."""
    table = pd.DataFrame({"word": ["c", "a", "b"]})
    own = tn.Connection("https://nowhere.example/v1", transport=Canned())
    out = NODES[0].run(table, own, **QUIET)
    table.index = [9, 8, 7]
    table.loc[:, "word"] = ["x", "y", "z"]
    table.loc[5] = "w"
    assert list(out.table["word"]) == ["c", "a", "b"]
    assert list(out.table.index) == list(out.text.index) == [0, 1, 2]
    assert len(out.succeeded) == 3
    assert out.configuration is table


def test_a_duckdb_relation_goes_through_as_it_is():
    """The configuration is the very relation; the result is Arrow."""
    relation = duckdb.sql("select 'a' as word")
    out = NODES[0].run(relation, tn.Connection("https://nowhere.example/v1", transport=Canned()), **QUIET)
    assert out.configuration is relation
    assert isinstance(out.result, pa.Table)


def test_a_row_whose_code_fails_is_an_internal_error_and_the_others_go_on(monkeypatch):
    """One bad row never stops the run, even when the fault is ours."""
    from tablenodes.bodies.body_plan import BodyPlan

    right = BodyPlan.build

    def wrong(self, cells):
        if cells == ("w1",):
            raise ZeroDivisionError("canary-4711")
        return right(self, cells)

    monkeypatch.setattr(BodyPlan, "build", wrong)
    with fault_server(echo()) as server:
        out = NODES[0].run(words(3), connection(server), **QUIET)
    assert list(out.log["outcome"]) == ["ok", "internal_error", "ok"]
    assert "4711" not in out.result["body"].iloc[1]


def test_ctrl_c_gives_what_came_and_says_what_did_not():
    """No new sends; what is in flight comes to its end; the partial output travels with the error."""
    with fault_server(interrupting(echo(delay=0.2), 6)) as server:
        with pytest.raises(tn.errors.Interrupted) as caught:
            NODES[0].run(words(500), connection(server), limits=tn.Limits(concurrency=4), **QUIET)
        sent = len(server.requests)
    out = caught.value.output
    counts = dict(out.log["outcome"].value_counts())
    assert counts["ok"] == sent < 500
    assert counts["not_sent"] == 500 - sent
    assert out.summary.stopped == "interrupted"
    assert isinstance(caught.value, KeyboardInterrupt)


@measures_seconds
def test_a_second_ctrl_c_leaves_at_once_and_marks_what_is_in_doubt():
    """In less than a second, with every row accounted for."""
    with fault_server(interrupting(echo(delay=30), 3, times=2)) as server:
        with pytest.raises(tn.errors.Interrupted) as caught:
            NODES[0].run(words(10), connection(server), limits=tn.Limits(concurrency=3), **QUIET)
        assert time.monotonic() - server.requests[-1].time < 1.3
    log = caught.value.output.log
    assert list(log["outcome"]) == ["in_doubt"] * 3 + ["not_sent"] * 7
    assert list(log["maybe_billed"]) == [True] * 3 + [False] * 7


def test_the_grace_period_ends():
    """After it, what is still in flight is in doubt."""
    with (
        fault_server(interrupting(echo(delay=30), 2)) as server,
        pytest.raises(tn.errors.Interrupted) as caught,
    ):
        NODES[0].run(words(2), connection(server), limits=tn.Limits(grace=0.1), **QUIET)
    assert set(caught.value.output.log["outcome"]) == {"in_doubt"}


def test_signals_are_given_back_after_a_run():
    """The handlers of before are there again."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with fault_server(echo()) as server:
        NODES[0].run(words(1), connection(server), **QUIET)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_run_works_in_a_thread_that_is_not_the_main_one():
    """No signals there, and none needed."""
    found = []
    with fault_server(echo()) as server:
        thread = threading.Thread(target=lambda: found.append(NODES[0].run(words(3), connection(server), **QUIET)))
        thread.start()
        thread.join(60)
    assert found[0].summary.ok == 3


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_is_left_after_a_run(transport):
    """No thread, no socket, no warning."""
    with echo_server() as server:
        NODES[0].run(words(5), connection(server, transport), **QUIET)
        gc.collect()
        threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            NODES[0].run(words(200), connection(server, transport), **QUIET)
            gc.collect()
        until(lambda: threading.active_count() <= threads, "the end of the threads")
        until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors, "the end of the files and sockets")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_concurrency_that_the_system_does_not_allow_is_said(transport, monkeypatch):
    """In the summary, with what to raise; where there are fewer rows than that, nothing is lost by it."""
    for module in ("curl", "requests"):
        monkeypatch.setattr(
            f"tablenodes.engine.transports.{module}_transport.sockets_allowed", lambda wanted: min(wanted, 2)
        )
    with fault_server(echo()) as server:
        few, many = (NODES[0].run(words(count), connection(server, transport), **QUIET).summary for count in (2, 5))
    assert few.notes == ()
    wording(many.notes)


@pytest.mark.parametrize(
    "manner",
    [
        {"limits": 5},
        {"retry": {}},
        {"on_invalid": "rais"},
        {"on_in_doubt": "x"},
    ],
)
def test_how_a_run_is_carried_out_is_checked_first(manner):
    """Before anything is sent."""
    with fault_server(echo()) as server, wording.raises(tn.errors.SettingError):
        NODES[0].run(words(1), connection(server), **manner)
    assert server.requests == []


def test_a_string_is_no_connection():
    """A base URL is wrapped in a Connection."""
    with wording.raises(tn.errors.SettingError):
        NODES[0].run(words(1), "http://127.0.0.1:1/v1")


def test_no_key_for_openai_is_said_before_anything_is_sent():
    """The message names the variable to set."""
    with pytest.raises(tn.errors.ConnectionSettingError, match="OPENAI_API_KEY"):
        NODES[0].run(words(1))


def test_a_run_says_which_columns_it_took_and_that_nothing_is_kept(capsys):
    """One line each, on the standard error stream, unless progress is off."""
    table = pd.DataFrame({"prompt": ["p"] * 101, "model": ["m"] * 101, "n": [1] * 101})
    with echo_server() as server:
        tn.CreateChatCompletion().run(table, connection(server))
        said = capsys.readouterr()
        tn.CreateChatCompletion().run(table, connection(server), **QUIET)
    assert said.out == ""
    wording.line(said.err)
    assert said.err.count("no journal") == 1
    assert capsys.readouterr().err == ""


def test_a_node_travels_to_another_process():
    """Nodes and outputs' tables can be pickled; a node holds no connection."""
    for node in NODES:
        assert pickle.loads(pickle.dumps(node)) == node


def test_the_output_shows_itself():
    """A repr and HTML with the counts and the first rows."""
    with echo_server() as server:
        out = NODES[0].run(words(3), connection(server), **QUIET)
    wording.line(repr(out))
    assert "<table" in out._repr_html_()
    arrow = NODES[0]
    with echo_server() as server:
        shown = arrow.run(KINDS["pyarrow"](words(2)), connection(server), **QUIET)
    wording.line(repr(shown))
    assert "<table" in shown._repr_html_()
