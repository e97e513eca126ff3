"""Streamed answers from end to end: the same rows as plain ones, told as they come."""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import closing

import orjson
import pandas as pd
import pytest
from exchanges import HEADERS, chunks_in, transport_of
from measuring import measures_seconds
from sentences import wording
from servers import answer, chunks, echo, fault_server, head, pieces
from streamed import CHUNK, DONE, STREAM_HEAD, TWINS, chunks_of, either, stream_of, streaming

import tablenodes as tn
from tablenodes.cli.printout import LiveText
from tablenodes.engine import policy
from tablenodes.engine.calls import Answer, Call, Chunk, Request
from tablenodes.engine.journal import Journal
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.redaction import Redaction
from tablenodes.engine.transports import TRANSPORTS
from tablenodes.engine.transports.streams import Streams, redacted
from tablenodes.engine.transports.wrapper import Borrowed
from tablenodes.local import FunctionCalls, Watched
from tablenodes.run.rows import PlanInputs

KEY = "sk-0123456789abcdef"
STREAM = stream_of(chunks_of(TWINS["text"]))
TEXT = TWINS["text"]["choices"][0]["message"]["content"]
ONE = tn.Limits(concurrency=1)


def node_of(plain, **settings):
    kind = tn.CreateChatCompletion if plain["object"] == "chat.completion" else tn.CreateCompletion
    return kind(model="m", prompt="{{ word }}", **settings)


NODE = node_of(TWINS["text"], stream=True)


def words(*texts):
    return pd.DataFrame({"word": list(texts or ("a", "b", "c"))})


def run(server, node=NODE, table=None, transport="curl", **manner):
    connection = tn.Connection(server.url, KEY, transport=transport, timeout=manner.pop("timeout", None))
    return node.run(words() if table is None else table, connection, **{"progress": False} | manner)


def asked(server):
    return [orjson.loads(request.body) for request in server.requests]


def refusing(told, status=400, script=None):
    """Refuse requests with stream_options, in these words, and stream to others."""
    script = script or streaming(STREAM)

    def react(exchange):
        (answer(told, status) if "stream_options" in orjson.loads(exchange.received.body) else script)(exchange)

    return react


# --- the same rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", TWINS)
def test_a_streamed_row_equals_its_plain_twin(name, transport):
    """Its choices and its usage: texts, several choices, calls, functions, log probabilities, a refusal."""
    with fault_server(either(TWINS[name])) as server:
        more = {"n": len(TWINS[name]["choices"])}
        plain, streamed = (
            run(server, node_of(TWINS[name], stream=stream, **more), transport=transport) for stream in (None, True)
        )
    told, put_together = ([json.loads(body) for body in out.result["body"]] for out in (plain, streamed))
    assert [body["choices"] for body in put_together] == [body["choices"] for body in told]
    assert [body["usage"] for body in put_together] == [body["usage"] for body in told]
    assert put_together == told
    assert streamed.texts() == plain.texts()
    assert streamed.result["status"].equals(plain.result["status"])
    left_out = ["latency", "started", "request_id"]
    assert streamed.log.drop(columns=left_out).equals(plain.log.drop(columns=left_out))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_column_may_say_which_rows_are_streamed(transport):
    """Named in columns; each row is read as its answer comes."""
    table = words(*"abcdef").assign(stream=[True, False, None, True, False, True])
    with fault_server(either(TWINS["text"])) as server:
        out = run(server, node_of(TWINS["text"], columns=["stream"]), table, transport, limits=ONE)
        requests = asked(server)
    assert [body.get("stream") for body in requests] == [True, False, None, True, False, True]
    assert ["stream_options" in body for body in requests] == [True, False, False, True, False, True]
    assert out.texts() == [TEXT] * 6


def test_whole_bodies_may_ask_for_streams():
    """As JSON text or as objects; a table of plain ones is read as ever."""
    bodies = [
        {"model": "m", "messages": [{"role": "user", "content": "a"}], "stream": stream} for stream in (True, False)
    ]
    for cells in (bodies, [json.dumps(body) for body in bodies]):
        with fault_server(either(TWINS["text"])) as server:
            out = run(server, tn.CreateChatCompletion(), pd.DataFrame({"body": cells}))
        assert out.texts() == [TEXT] * 2
    plan = tn.CreateChatCompletion()._plan(["body"], PlanInputs())
    assert plan.streams is None
    assert tn.CreateChatCompletion(stream=False)._plan(["body"], PlanInputs()).streams is False
    assert tn.CreateChatCompletion(model="m")._plan(["stream"], PlanInputs()).streams is False
    assert tn.CreateChatCompletion(columns=["stream"])._plan(["stream"], PlanInputs()).streams is True
    assert tn.CreateChatCompletion(extra_body={"stream": True})._plan([], PlanInputs()).streams is True


def cut_by_row(stream):
    """Cut the stream after as many bytes as the row says."""

    def react(exchange):
        cut = int(orjson.loads(exchange.received.body)["messages"][0]["content"])
        pieces([STREAM_HEAD, *([chunks(stream[:cut], end=False)] if cut else [])], then="close")(exchange)

    return react


def split_by_row(stream):
    """Send the stream in two segments, split after as many bytes as the row says."""

    def react(exchange):
        split = int(orjson.loads(exchange.received.body)["messages"][0]["content"])
        whole = STREAM_HEAD + b"%x\r\n%s\r\n0\r\n\r\n" % (len(stream), stream)
        at = whole.index(stream) + split
        pieces([whole[:at], whole[at:]], 0.002)(exchange)

    return react


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.slow)])
def test_a_stream_that_is_cut_on_the_way_is_never_taken_for_whole(transport, step):
    """After each so manieth byte: the whole text, or stream_truncated."""
    table = words(*map(str, range(0, len(STREAM) + 1, step)), str(len(STREAM)))
    with fault_server(cut_by_row(STREAM)) as server:
        out = run(server, NODE, table, transport, limits=tn.Limits(concurrency=16), retry=tn.Retry(ambiguous=0))
    assert set(zip(out.log["outcome"], out.texts(), strict=True)) == {("ok", TEXT), ("stream_truncated", None)}
    cut = out.result["body"][out.log["outcome"] == "stream_truncated"]
    assert all(STREAM.startswith(body.rstrip("\ufffd").encode()) for body in cut)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.slow)])
def test_a_stream_that_is_split_on_the_way_is_the_same(transport, step):
    """After each so manieth byte."""
    table = words(*map(str, range(0, len(STREAM) + 1, step)))
    with fault_server(split_by_row(STREAM)) as server:
        out = run(server, NODE, table, transport, limits=tn.Limits(concurrency=16))
    assert set(zip(out.log["outcome"], out.texts(), strict=True)) == {("ok", TEXT)}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_connection_of_a_stream_carries_the_next(transport):
    """It is left only where the server does not end the exchange after [DONE]."""
    with fault_server(streaming(STREAM)) as server:
        assert run(server, transport=transport, limits=ONE).texts() == [TEXT] * 3
        assert server.connections == 1


@measures_seconds
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_stream_that_stays_open_is_left_at_once(transport):
    """Within a second of its [DONE]."""
    with fault_server(streaming(STREAM, then="hold")) as server:
        out = run(server, table=words("a"), transport=transport)
    assert out.texts() == [TEXT]
    assert out.log["latency"].iloc[0] < 1.0
    assert out.log["total_tokens"].iloc[0] == 21


@measures_seconds
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("asked_for", "told"), [(True, True), (True, False), (False, False)])
def test_a_stream_without_done_that_stays_open_is_left_soon(asked_for, told, transport, monkeypatch):
    """Once every choice has its end and the tokens have come, at once; later where they do not come, and it says so."""
    monkeypatch.setattr(policy, "AFTER_FINISH", 1.0)
    plain = TWINS["three choices"]
    stream = stream_of(chunks_of(plain)[: None if told else -1], done=False)
    node = node_of(plain, stream=True, n=3, stream_options={"include_usage": asked_for})
    with fault_server(streaming(stream, then="hold")) as server:
        out = run(server, node, words("a"), transport)
    assert out.texts() == ["eins"]
    assert [choice["message"]["content"] for choice in orjson.loads(out.result["body"].iloc[0])["choices"]] == [
        "eins",
        "zwei zwei",
        "drei 🙂 drei drei",
    ]
    assert out.log["latency"].iloc[0] < (1.0 if told else 2.0)
    assert list(out.log["total_tokens"].dropna()) == [21] * told
    assert sum("token counts" in note for note in out.summary.notes) == (not told)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_call_can_be_ended_with_what_came_of_it(transport):
    """Its status, its headers and its bytes; a call that is not there cannot."""
    with fault_server(streaming(STREAM, then="hold")) as server, transport_of(transport, stream=True) as carrier:
        carrier.end(7)
        carrier.start(Call(7, Request("POST", server.url, HEADERS), BODY, 30.0))
        came = b""
        while len(came) < len(STREAM):
            came += chunks_in(carrier.wait(10))
        carrier.end(7, "timeout_idle", "silence")
        (ended,) = carrier.wait(10)
    assert (ended.key, ended.status, ended.body, ended.fault) == (7, 200, STREAM, "timeout_idle")
    assert b"text/event-stream" in ended.headers
    assert came == STREAM


PLAIN = json.dumps(TWINS["text"]).encode()
FORMS = {
    "a stream": STREAM,
    "a stream behind blank lines": b"\r\n \n\xef\xbb\xbf" + STREAM,
    "JSON": PLAIN,
    "JSON behind blank lines": b"\n\n" + PLAIN,
    "JSON and an end": PLAIN + b"\n\ndata: [DONE]\n\n",
}
KINDS = ["text/event-stream", "application/json", "text/plain", "application/octet-stream", "text/html", ""]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_row_is_sent_twice_for_what_its_answer_is_called(transport):
    """Whatever form an answer has, whatever its content type says, and whatever was asked for; its text is told."""
    rows = list(itertools.product(FORMS, KINDS, (True, False)))

    def react(exchange):
        form, kind, _ = rows[int(orjson.loads(exchange.received.body)["messages"][0]["content"])]
        headers = {"Content-Length": str(len(FORMS[form]))} | ({"Content-Type": kind} if kind else {})
        exchange.send(head(200, headers) + FORMS[form])

    table = words(*map(str, range(len(rows)))).assign(stream=[stream for *_, stream in rows])
    told = dict.fromkeys(range(len(rows)), "")
    with fault_server(react) as server:
        node = node_of(TWINS["text"], columns=["stream"])
        out = run(server, node, table, transport, on_text=lambda row, text: told.update({row: told[row] + text}))
        assert len(server.requests) == len(rows)
    assert out.texts() == [TEXT] * len(rows) == list(told.values())
    assert all(json.loads(body)["choices"] == TWINS["text"]["choices"] for body in out.result["body"])


@measures_seconds
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_idle_limits_go_by_the_bytes(transport):
    """A stream under another name that falls silent is ended; JSON under a stream's name is waited for."""
    timeout = tn.Timeout(connect=5, total=20, idle=0.4, payload_idle=10)
    stalls = [head(200, {"Content-Type": "application/json", "Connection": "close"}), STREAM[:200]]
    with fault_server(pieces(stalls, then="hold")) as server:
        out = run(server, NODE, words("a"), transport, timeout=timeout, retry=tn.Retry(ambiguous=0))
    assert out.log["outcome"][0] == "timeout_idle"
    slow = [head(200, {"Content-Type": "text/event-stream", "Content-Length": str(len(PLAIN))}), PLAIN[:9], PLAIN[9:]]
    with fault_server(pieces(slow, 0.9)) as server:
        assert run(server, NODE, words("a"), transport, timeout=timeout).texts() == [TEXT]


@measures_seconds
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_stream_that_nobody_asked_for_is_followed_as_one(transport):
    """It is left after its end, and ended where it falls silent; the rows beside it are as ever."""
    node, timeout = NODE.replace(stream=None), tn.Timeout(connect=5, total=20, idle=0.4)
    told = []
    for on_text in (None, lambda row, text: told.append(text)):
        with fault_server([streaming(STREAM, then="hold"), either(TWINS["text"])]) as server:
            out = run(server, node, words("a", "b"), transport, limits=ONE, on_text=on_text)
        assert out.texts() == [TEXT] * 2
        assert out.log["latency"].max() < 1.0
    assert "".join(told) == TEXT * 2
    with fault_server(streaming(stream_of(chunks_of(TWINS["text"])[:3], done=False), then="hold")) as server:
        out = run(server, node, words("a"), transport, timeout=timeout, retry=tn.Retry(ambiguous=0))
    assert out.log["outcome"][0] == "timeout_idle"


# --- the usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", ["openai-2026-08", "openai-2024-05"])
@pytest.mark.parametrize("name", ["text", "completion"])
def test_a_stream_is_asked_for_its_usage(name, schema):
    """Whatever the revision of the schema."""
    with fault_server(either(TWINS[name])) as server:
        run(server, node_of(TWINS[name], stream=True, schema=schema))
        assert all(body["stream_options"] == {"include_usage": True} for body in asked(server))


@pytest.mark.parametrize(
    "settings",
    [
        {"stream_options": {"include_usage": False}},
        {"extra_body": {"stream_options": None}},
        {"extra_body": {"stream_options": {"include_obfuscation": False}}},
        {"stream": False},
    ],
)
def test_options_of_your_own_are_left_as_they_are(settings):
    """Also an explicit null; and a plain request has none."""
    own = settings.get("stream_options") or settings.get("extra_body", {}).get("stream_options")
    with fault_server(either(TWINS["text"])) as server:
        run(server, NODE.replace(**settings), words("a"))
        assert asked(server)[0].get("stream_options") == own


REFUSALS = {
    "by its name": ({"error": {"message": "Unknown", "param": "stream_options"}}, 400),
    "by a part of it": ({"error": {"message": "Unknown", "param": "stream_options.include_usage"}}, 400),
    "in words": ({"error": {"message": "Unrecognized argument: stream_options"}}, 400),
    "in other words": ({"detail": "unknown field `stream_options`"}, 422),
    "by its place": ({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}, 422),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", REFUSALS)
def test_a_server_that_refuses_to_count_is_asked_without(name, transport):
    """Once for the first row; from then on no row asks for it. The summary says so, and nothing was billed."""
    with fault_server(refusing(*REFUSALS[name])) as server:
        out = run(server, transport=transport, limits=ONE)
        assert ["stream_options" in body for body in asked(server)] == [True, False, False, False]
    assert out.texts() == [TEXT] * 3
    assert list(out.log["attempts"]) == [2, 1, 1]
    assert not out.log["maybe_billed"].any()
    assert out.summary.requests == 4
    assert len(out.summary.notes) == 1
    assert "stream_options" in str(out.summary)


def test_a_crowd_that_is_refused_does_not_wait():
    """All rows in flight at once: each is asked again at once, and the gate for outages stays open."""
    with fault_server(refusing(*REFUSALS["by its name"])) as server:
        out = run(server, table=words(*map(str, range(32))), limits=tn.Limits(concurrency=32))
        assert len(server.requests) == out.summary.requests == 64
    assert out.summary.ok == 32
    assert set(out.log["attempts"]) == {2}
    assert out.summary.seconds_paused == 0


def test_other_refusals_are_final():
    """Of another property, of options that the user set, and the second one of a row."""
    others = [
        (answer({"error": {"message": "bad", "param": "messages"}}, 400), NODE, 1),
        (answer(*REFUSALS["by its name"]), NODE.replace(stream_options={"include_usage": True}), 1),
        (answer(*REFUSALS["by its name"]), NODE, 2),
        (answer({"error": {"message": "x", "param": "stream_options"}}, 403), NODE, 1),
    ]
    for reaction, node, attempts in others:
        with fault_server(reaction) as server:
            out = run(server, node, words("a"))
            assert len(server.requests) == attempts
        assert out.log["outcome"].iloc[0] in {"http_error", "auth"}
        assert list(out.log["attempts"]) == [attempts]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_repeat_without_the_option_counts_against_the_limit(transport, tmp_path):
    """max_requests holds, with a journal and without one."""
    for journal in (None, tmp_path / "j"):
        with fault_server(refusing(*REFUSALS["by its name"])) as server:
            out = run(server, transport=transport, limits=tn.Limits(concurrency=1, max_requests=3), journal=journal)
            assert len(server.requests) == 3
        assert list(out.log["outcome"]) == ["ok", "ok", "not_sent"]


# --- the journal ----------------------------------------------------------------------------------------------------


def bodies_in(journal):
    with closing(Journal(journal, looks=True)) as read:
        return [(entry.last.body,) for entry in read]


@pytest.mark.parametrize("name", ["text", "three choices", "tool calls", "log probabilities"])
def test_a_stream_is_kept_as_it_came_and_put_together_again(name, tmp_path):
    """A second run sends nothing and gives the same bytes; the journal has the stream itself."""
    plain, journal = TWINS[name], tmp_path / "j"
    node = node_of(plain, stream=True, n=len(plain["choices"]))
    with fault_server(either(plain)) as server:
        first = run(server, node, journal=journal)
        second = run(server, node, journal=journal)
        assert len(server.requests) == 3
    assert second.summary.requests == 0
    assert second.summary.reused == 3
    assert list(second.result["body"]) == list(first.result["body"])
    left_out = ["latency", "started", "request_id", "reused"]
    assert second.log.drop(columns=left_out).equals(first.log.drop(columns=left_out))
    assert bodies_in(journal) == [(stream_of(chunks_of(plain)),)] * 3


def test_asking_without_the_option_is_no_other_request(tmp_path):
    """What a server that refused it answered is found again when another asks with it."""
    with fault_server(refusing(*REFUSALS["by its name"])) as server:
        run(server, journal=tmp_path / "j")
        second = run(server, journal=tmp_path / "j")
    assert second.summary.requests == 0
    assert second.texts() == [TEXT] * 3


def test_a_cut_stream_stays_cut_when_it_is_reused(tmp_path):
    """Of two choices that were asked for, one was whole: in the next run too."""
    stream = stream_of([{"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}], done=False)
    with fault_server(streaming(stream)) as server:
        manner = {"journal": tmp_path / "j", "retry": tn.Retry(ambiguous=0), "retry_failed": "none"}
        outs = [run(server, NODE.replace(n=2), **manner) for _ in range(2)]
        assert len(server.requests) == 3
    assert [set(out.log["outcome"]) for out in outs] == [{"stream_truncated"}] * 2
    assert list(outs[0].result["body"]) == list(outs[1].result["body"]) == [stream.decode()] * 3


# --- live text ------------------------------------------------------------------------------------------------------


class Heard(list):
    """What on_text was told."""

    def __call__(self, row, text):
        self.append((row, text))

    def of(self, row):
        return "".join(text for number, text in self if number == row)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_text_is_told_while_it_comes(transport):
    """The server goes on only when the first piece has been heard."""
    heard = threading.Event()

    def react(exchange):
        exchange.send(STREAM_HEAD + chunks(stream_of([CHUNK], done=False), end=False))
        assert heard.wait(30)
        exchange.send(chunks(stream_of([CHUNK])))

    texts = []
    with fault_server(react) as server:
        run(server, table=words("a"), transport=transport, on_text=lambda *told: (texts.append(told), heard.set()))
    assert texts == [(0, "a"), (0, "a")]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_pieces_are_the_text(transport):
    """Of the first choice of each row; of an answer in one piece, all of it at once."""
    heard = Heard()
    with fault_server(either(TWINS["three choices"])) as server:
        table = words("a", "b").assign(stream=[True, False])
        node = node_of(TWINS["text"], columns=["stream"], n=3)
        out = run(server, node, table, transport, on_text=heard)
        assert [heard.of(row) for row in range(2)] == out.texts() == ["eins"] * 2
        heard.clear()
        run(server, node_of(TWINS["text"]), transport=transport, on_text=heard)
    assert sorted(heard) == [(0, "eins"), (1, "eins"), (2, "eins")]


def test_failures_and_calls_have_no_text():
    """Nothing is told of them."""
    for reaction in (answer({"error": {"message": "no"}}, 400), answer("oops"), either(TWINS["tool calls"])):
        for stream in (None, True):
            heard = Heard()
            with fault_server(reaction) as server:
                run(server, NODE.replace(stream=stream), words("a"), on_text=heard, retry=tn.Retry(ambiguous=0))
            assert heard == []


CUT = streaming(stream_of([CHUNK], done=False), then="close")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_text_of_a_row_that_is_tried_again_starts_anew(transport):
    """An empty text says so wherever something had been told; the row's own text is that of its last answer."""
    heard = Heard()
    with fault_server([CUT, answer("oops", 500), CUT, streaming(STREAM)]) as server:
        out = run(server, table=words("a"), on_text=heard, transport=transport, retry=tn.Retry(ambiguous=5))
    assert list(out.log["attempts"]) == [4]
    texts = [text for _, text in heard]
    assert texts[:4] == ["a", "", "a", ""]
    assert "" not in texts[4:]
    assert "".join(texts[4:]) == out.texts()[0] == TEXT


def test_a_row_whose_next_answer_has_no_text_has_none():
    """What it was told before is void all the same; what broke off at last is not, for nothing comes after it."""
    for reaction, told in ((either(TWINS["tool calls"]), [(0, "a"), (0, "")]), (CUT, [(0, "a"), (0, ""), (0, "a")])):
        heard = Heard()
        with fault_server([CUT, reaction]) as server:
            run(server, table=words("a"), on_text=heard, retry=tn.Retry(ambiguous=1))
        assert heard == told


def test_a_row_of_the_journal_is_not_told_again(tmp_path):
    """It does not arrive."""
    heard = Heard()
    with fault_server(either(TWINS["text"])) as server:
        run(server, journal=tmp_path / "j")
        run(server, journal=tmp_path / "j", on_text=heard)
    assert heard == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_function_that_fails_ends_the_run(transport):
    """What is in flight comes to its end, nothing more is sent, and the output has what came."""
    calls = []

    def fails(row, text):
        calls.append(row)
        raise ZeroDivisionError("secret")

    with fault_server(streaming(STREAM)) as server, pytest.raises(tn.errors.EndedError) as raised:
        run(server, table=words(*"abcdef"), transport=transport, limits=tn.Limits(concurrency=2), on_text=fails)
    out = raised.value.output
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert "secret" not in str(raised.value)
    assert len(calls) == 1
    assert list(out.log["outcome"]) == ["ok"] * 2 + ["not_sent"] * 4
    assert out.texts()[:2] == [TEXT] * 2


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_keyboard_interrupt_in_the_function_is_one_of_the_run(transport):
    """What is in flight comes to its end, nothing more is sent, and the output has what came."""

    def interrupts(row, text):
        raise KeyboardInterrupt

    with fault_server(streaming(STREAM)) as server, pytest.raises(tn.errors.Interrupted) as raised:
        run(server, table=words(*"abcd"), transport=transport, limits=tn.Limits(concurrency=2), on_text=interrupts)
    out = raised.value.output
    assert list(out.log["outcome"]) == ["ok"] * 2 + ["not_sent"] * 2
    assert out.texts()[:2] == [TEXT] * 2


def test_after_a_keyboard_interrupt_in_the_function_nothing_is_waited_for_longer_than_the_grace():
    """What is in flight then is in doubt."""

    def interrupts(row, text):
        raise KeyboardInterrupt

    holding = streaming(stream_of([CHUNK], done=False), then="hold")
    with fault_server(holding) as server, pytest.raises(tn.errors.Interrupted) as raised:
        run(server, table=words("a"), limits=tn.Limits(grace=0.2), on_text=interrupts)
    assert list(raised.value.output.log["outcome"]) == ["in_doubt"]
    assert raised.value.output.summary.seconds < 5


def test_only_a_function_can_be_told():
    """Found before anything is sent."""
    with (
        fault_server(echo()) as server,
        wording.raises(tn.errors.SettingError),
    ):
        run(server, on_text="print")


@pytest.mark.parametrize("cuts", [(), (7,), range(1, len(KEY))])
def test_a_key_is_masked_in_live_text_and_in_the_body(cuts, tmp_path):
    """However it is cut into chunks; the rest of the text is there."""
    places = [0, *cuts, len(KEY)]
    texts = ["It is ", *(KEY[a:b] for a, b in itertools.pairwise(places)), " sk-01, isn't it? sk-0"]
    body = stream_of({"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts)
    heard = Heard()
    with fault_server(streaming(body)) as server:
        first = run(server, table=words("a"), on_text=heard, journal=tmp_path / "j")
        again = run(server, table=words("a"), journal=tmp_path / "j")
        assert len(server.requests) == 1
    masked = "It is *** sk-01, isn't it? sk-0"
    assert heard.of(0) == masked
    assert first.texts() == again.texts() == [masked]
    assert list(first.result["body"]) == list(again.result["body"])
    kept = (tmp_path / "j").read_bytes()
    assert KEY.encode() not in kept
    assert KEY[:7].encode() not in kept.replace(b" sk-01", b"")


@pytest.mark.parametrize("done", [True, False])
def test_a_key_in_pieces_is_masked_in_a_stream_that_nobody_asked_for(done, tmp_path):
    """In the body, whole or cut, and in the journal; a second run gives the same."""
    texts = ["It is ", *KEY, ", isn't it?"]
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    node, manner = NODE.replace(stream=None), {"journal": tmp_path / "j", "retry": tn.Retry(ambiguous=0)}
    with fault_server(streaming(stream_of(chunks, done=done))) as server:
        first, again = (run(server, node, words("a"), retry_failed="none", **manner) for _ in range(2))
        assert len(server.requests) == 1
    assert list(first.log["outcome"]) == list(again.log["outcome"]) == ["ok" if done else "stream_truncated"]
    assert list(first.result["body"]) == list(again.result["body"])
    assert "It is ***, isn't it?" in first.result["body"].iloc[0]
    ((kept,),) = bodies_in(tmp_path / "j")
    assert b'"content":"It is ***, isn\'t it?"' in kept
    assert kept.count(b'"content"') == 1


def test_a_stream_that_nobody_asked_for_is_kept_as_it_came(tmp_path):
    """Where no secret is in it."""
    with fault_server(streaming(STREAM)) as server:
        out = run(server, NODE.replace(stream=None), words("a"), journal=tmp_path / "j")
    assert out.texts() == [TEXT]
    assert bodies_in(tmp_path / "j") == [(STREAM,)]


def test_a_workflow_tells_texts_too():
    """Of every node."""
    heard = Heard()
    with fault_server(either(TWINS["text"])) as server:
        workflow = tn.Workflow({"one": NODE, "two": NODE}, connection=tn.Connection(server.url, KEY))
        workflow.run(words("a"), on_text=heard, progress=False)
    assert heard.of(0) == TEXT * 2


# --- by itself ------------------------------------------------------------------------------------------------------


class Inner:
    """A transport that gives what it is told to."""

    capacity = 3

    def __init__(self, *batches):
        self.batches = list(batches)
        self.started, self.ended, self.waits = [], [], []
        self.closed = self.cancelled = None

    def start(self, call):
        self.started.append(call)

    def cancel(self, key):
        self.cancelled = key

    def wait(self, seconds):
        self.waits.append(seconds)
        return self.batches.pop(0) if self.batches else []

    def end(self, key, fault=None, message=""):
        self.ended.append((key, fault))

    def close(self):
        self.closed = True


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


REQUEST = Request("POST", "http://x", ())
BODY = b'{"stream":true}'
TIMEOUT = tn.Timeout(payload_idle=30)


FINISH = b'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n'


def streams_of(inner, on_text=None, body=BODY):
    clock = Clock()
    streams = Streams(inner, TIMEOUT, Redaction(()), on_text, clock=clock)
    streams.start(Call(7, REQUEST, body, 60.0))
    return streams, clock


def test_comments_are_no_content():
    """From the first byte on, content must come within payload_idle."""
    inner = Inner([], [Chunk(7, b": a\n")], [Chunk(7, b"data: {}\n\n")], [Chunk(7, b": b\n\n")], [])
    streams, clock = streams_of(inner)
    for now, ended in ((200, 0), (300, 0), (320, 0), (340, 0), (350.1, 1), (400, 1)):
        clock.now = now
        streams.wait(0.1)
        assert inner.ended == [(7, "timeout_idle")] * ended


def test_a_stream_has_a_while_to_end_well():
    """A moment after [DONE], and after the end of its only choice and the tokens; longer if these are missing."""
    error, tokens, nothing = b'data: {"error":"x"}\n\n', b'data: {"choices":[],"usage":{"total_tokens":1}}\n\n', b""
    for told, patience in (
        (DONE, 0.25),
        (error, 0.25),
        (FINISH, 10.0),
        (FINISH + tokens, 0.25),
        (FINISH.replace(b'"choices"', b'"usage":{"total_tokens":1},"choices"'), 0.25),
        (tokens + FINISH, 10.0),  # it counted all the while
        (tokens + FINISH.replace(b'"choices"', b'"usage":{"total_tokens":1},"choices"'), 10.0),
        (FINISH + tokens + b"data: {}\n\n", 0.25),
        (FINISH + nothing.join([tokens, FINISH]), 10.0),
    ):
        inner = Inner([Chunk(7, told)])
        streams, clock = streams_of(inner)
        streams.wait(0.1)
        streams.wait(100.0)
        assert inner.waits[-1] == pytest.approx(patience)
        clock.now += patience
        streams.wait(0.1)
        assert inner.ended == [(7, None)]
        inner.batches = [[Answer(7, 200, b"", told)]]
        assert len(streams.wait(0.1)) == 1
        streams.wait(100.0)
        assert inner.waits[-1] == 100.0


@pytest.mark.parametrize("body", [b'{"stream":true,"stream_options":{"include_usage":false}}', b"{}"])
def test_tokens_that_hardly_ever_come_are_waited_for_less(body):
    """Though nobody asked for them, for the end of a choice may be none; from the twenty-first stream on less."""
    inner = Inner()
    streams, _ = streams_of(inner, body=body)
    for at in range(25):
        inner.batches = [[Chunk(7, FINISH)]]
        streams.wait(0.1)
        streams.wait(100.0)
        assert inner.waits[-1] == pytest.approx(10.0 if at < 20 else 1.5)
        inner.batches = [[Answer(7, 200, b"", FINISH)]]
        streams.wait(0.1)
        streams.start(Call(7, Request("POST", "u", ()), body, 30.0))
    assert streams.uncounted == 25


@pytest.mark.parametrize(
    ("piece", "ends"),
    [
        (b": a\n\n", 110.0),
        (b'data: {"choices":[]}\n\n', 110.0),
        (b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n', 131.0),
        (b'data: {"choices":[{"index":1,"delta":{"content":"b"}}]}\n\n', 131.0),
    ],
)
def test_only_a_part_of_a_choice_keeps_a_stream_open_after_the_end_of_every_choice(piece, ends):
    """Neither comments nor events without one."""
    inner = Inner([Chunk(7, FINISH)], [Chunk(7, piece)])
    streams, clock = streams_of(inner)
    for now, ended in ((100.0, 0), (101.0, 0), (ends - 0.1, 0), (ends + 0.1, 1)):
        clock.now = now
        streams.wait(0.1)
        assert len(inner.ended) == ended


@pytest.mark.parametrize("lacks", [("end",), ("end", "capacity")])
def test_a_users_transport_that_cannot_end_a_call_is_waited_for(lacks):
    """It needs neither `end` nor `capacity`, and is its user's to close."""
    inner = type("Own", (), {name: each for name, each in vars(Inner).items() if name not in lacks})([Chunk(7, DONE)])
    streams, clock = streams_of(Borrowed(inner))
    for _ in range(3):
        clock.now += 100
        streams.wait(1.0)
    streams.close()
    assert (inner.waits[-1], inner.ended, inner.closed) == (1.0, [], None)
    assert streams.capacity == (None if "capacity" in lacks else 3)


def test_a_users_transport_that_can_end_a_call_does():
    """As any other."""
    inner = Inner([Chunk(7, DONE)])
    streams, clock = streams_of(Borrowed(inner))
    streams.wait(1.0)
    clock.now += 100
    streams.wait(1.0)
    assert inner.ended == [(7, None)]


def test_an_answer_in_one_piece_is_not_timed_as_a_stream():
    """Blank lines before it are nothing either."""
    for data in (b'{"choices"', b" \n", b"[", b"<html>"):
        inner = Inner([Chunk(7, data)], [], [])
        streams, clock = streams_of(inner)
        for _ in range(3):
            clock.now += 100
            streams.wait(1.0)
        assert inner.ended == []


def test_what_was_read_as_it_came_is_the_answers_own():
    """Else the answer is read: where not all of it was told, and where something else is in its place."""
    other = stream_of([CHUNK])
    for told, body, expected in ((STREAM, STREAM, 1), (STREAM[:100], STREAM, 1), (STREAM, other, 0)):
        inner = Inner([Chunk(7, told), Answer(7, 200, b"", body if expected else told)])
        streams, _ = streams_of(inner)
        (given,) = streams.wait(0.1)
        read = streams.read(given if expected else given._replace(body=other))
        assert (read.document() == TWINS["text"]) == expected
        assert streams.read(given).document() == TWINS["text"]


def test_an_event_beyond_all_limits_is_not_read_on():
    """Its bytes are the answer's, whoever judges it."""
    inner = Inner([Chunk(7, b"data: " + b"x" * (65 * 2**20))], [Chunk(7, b"\n\n")])
    streams, _ = streams_of(inner)
    streams.wait(0.1)
    streams.wait(0.1)
    assert inner.ended == []


def test_a_function_that_failed_is_never_called_again():
    """Not even to say that a text starts anew; whoever drives the streams may leave the failure be."""
    told = []

    def fails(row, text):
        told.append(text)
        raise ZeroDivisionError

    inner = Inner([Chunk(7, stream_of([CHUNK], done=False))], [Chunk(7, stream_of([CHUNK], done=False))])
    streams, _ = streams_of(inner, fails)
    streams.wait(0.1)
    streams.start(Call(7, REQUEST, BODY, 60.0))
    streams.wait(0.1)
    assert told == ["a"]


def test_a_stream_that_cannot_be_written_is_left_as_it_came():
    """It holds a number that no writer of JSON writes, beside one that only the slower writes; it is no answer."""
    odd = b'data: {"x":1e999,"y":' + b"9" * 30 + b',"choices":[{"index":0,"finish_reason":"stop"}]}\n\n'
    came = Answer(7, 200, b"Content-Type: text/event-stream\r\n", odd)
    assert redacted(came, Redaction((KEY.encode(),))) is came
    assert judge(came).outcome == "stream_error"


def test_an_answer_without_a_secret_is_the_very_same():
    """In one piece or a stream, whatever it is."""
    for body in (b"{}", b"", b"data: oops", b" [1]", STREAM, STREAM[:99]):
        came = Answer(7, 200, b"", body)
        assert redacted(came, Redaction((KEY.encode(),))) is came


def test_it_is_a_transport():
    """Cancelling, closing and the capacity are the inner one's."""
    inner = Inner()
    streams, _ = streams_of(inner)
    streams.cancel(7)
    streams.close()
    assert (streams.capacity, inner.cancelled, inner.closed) == (3, 7, True)
    assert inner.started[0].body == b'{"stream":true,"stream_options":{"include_usage":true}}'


def test_the_word_stream_in_a_text_is_no_wish():
    """Only the property itself is."""
    inner = Inner()
    streams, _ = streams_of(inner)
    bodies = [{"model": '"stream":true'}, {"metadata": {"stream": True}}, {"stream": False}]
    for key, body in enumerate(bodies):
        streams.start(Call(key, REQUEST, orjson.dumps(body), 60.0))
    assert [orjson.loads(call.body) for call in inner.started[1:]] == bodies


def test_transports_around_others_end_calls_too():
    """Those of the embedded model, as any."""
    inner = Inner()
    FunctionCalls(Watched(inner, None)).end(7)
    assert inner.ended == [(7, None)]


def test_functions_of_the_embedded_model_are_served_where_a_stream_is_asked_for():
    """In one piece, with the calls where the API has them."""
    call = {"name": "now", "arguments": {}}
    body = {"id": "x", "choices": [{"index": 0, "message": {"content": json.dumps(call)}, "finish_reason": "stop"}]}
    request = {
        "messages": [{"role": "user", "content": "a"}],
        "functions": [{"name": "now", "parameters": {"type": "object", "properties": {}}}],
        "stream": True,
    }
    data = json.dumps(body).encode()
    inner = Inner([Chunk(1, data), Answer(1, 200, b"", data)])
    heard = Heard()
    streams = Streams(FunctionCalls(inner), TIMEOUT, Redaction(()), heard)
    streams.start(Call(1, REQUEST, orjson.dumps(request), 60.0))
    (answered,) = streams.wait(0.1)
    assert not {"stream", "stream_options"} & set(orjson.loads(inner.started[0].body))
    assert orjson.loads(answered.body)["choices"][0]["message"]["function_call"]["name"] == "now"
    assert heard == []


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("watched", [True, False])
def test_the_command_line_shows_the_text_of_a_single_row_as_it_comes(rows, watched, tmp_path, monkeypatch, capsys):
    """To whoever watches, among the words; the table goes where it goes."""
    from tablenodes.cli import main

    monkeypatch.chdir(tmp_path)
    words(*"abc"[:rows]).to_csv("t.csv", index=False)
    (tmp_path / "w.yaml").write_text(
        'nodes: [{id: ask, type: CreateChatCompletion, model: m, prompt: "{{ word }}", stream: true}]\ntable: t.csv\n'
    )
    with fault_server(either(TWINS["reasoning"])) as server:
        base = ["--base-url", server.url, "--no-key"]
        call = [
            "call",
            "CreateChatCompletion",
            "t.csv",
            "--model",
            "m",
            "--prompt",
            "{{ word }}",
            "--set",
            "stream=true",
        ]
        for arguments in (["run", "w.yaml"], call):
            monkeypatch.setattr("sys.stderr.isatty", lambda: watched, raising=False)
            with pytest.raises(SystemExit):
                main([*arguments, *base])
            printed = capsys.readouterr()
            assert ("\n4\n" in "\n" + printed.err) == (watched and rows == 1)
            assert printed.out.count("\n") == 1 + rows


def test_the_command_line_shows_an_answer_that_broke_off_and_the_next_apart(tmp_path, monkeypatch, capsys):
    """The one that counts stands in lines of its own."""
    from tablenodes.cli import main

    monkeypatch.chdir(tmp_path)
    words("a").to_csv("t.csv", index=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with fault_server([CUT, streaming(stream_of(chunks_of(TWINS["reasoning"])))]) as server:
        arguments = [
            "--prompt",
            "{{ word }}",
            "--model",
            "m",
            "--set",
            "stream=true",
            "--base-url",
            server.url,
            "--no-key",
        ]
        with pytest.raises(SystemExit):
            main(["call", "CreateChatCompletion", "t.csv", *arguments])
    assert "a\n[interrupted; retrying]\n4\n" in capsys.readouterr().err


def test_the_command_line_says_where_a_text_starts_anew(capsys):
    """In a line of its own."""
    with LiveText() as shown:
        for text in ("", "Hello w", "", "Hello\n", "", "Hello"):
            shown(0, text)
    wording(capsys.readouterr().err)
