"""A second run: what was answered is not asked for again, and what was not is."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import orjson
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentences import wording
from servers import answer, completion, echo, fault_server, fin, head, interrupting, message, raw, refusing_port

import tablenodes as tn
from tablenodes.engine import policy
from tablenodes.engine.journal import Journal
from tablenodes.run import run as run_module

NODE = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}")
QUIET = {"progress": False}
TIMED = ["reused", "started"]  # an answer of an earlier run was not sent by this one
KEY = "sk-canary-4711/abcdefghijklmnop"
ONE = tn.Limits(concurrency=1)
NO_RETRY = tn.Retry(not_executed=0, throttled=0, server_error=0)
STRICT = {"retry": tn.Retry(ambiguous=0), "on_in_doubt": "report"}


def words(*given, count=6):
    return pd.DataFrame({"word": list(given) or [f"w{i}" for i in range(count)]})


def connection(server, key=KEY, **more):
    return tn.Connection(server if isinstance(server, str) else server.url, key, **more)


def run(table, server, journal, *, node=NODE, key=KEY, **manner):
    """Run a node over a table, with one request in flight unless `limits` says more."""
    return node.run(table, connection(server, key), journal=journal, **{"limits": ONE} | QUIET | manner)


def asked(server, since=0):
    """The words that the server was asked for."""
    prompts = [orjson.loads(request.body)["messages"][0]["content"] for request in server.requests[since:]]
    return [prompt.removeprefix("Say ") for prompt in prompts]


def outcomes(out):
    return list(out.log["outcome"])


def failing(wrong, *reactions):
    """Answer well, but for some words as given: one reaction after the other, the last again and again."""
    left = {word: list(reactions) for word in wrong}

    def react(exchange):
        word = orjson.loads(exchange.received.body)["messages"][0]["content"].removeprefix("Say ")
        script = left.get(word)
        (echo() if script is None else script.pop(0) if len(script) > 1 else script[0])(exchange)

    return react


def left():
    """Answer too late for a run that is interrupted twice: the row is left in doubt."""
    return interrupting(echo(delay=30), times=2)


def leave_in_doubt(table, server, journal):
    """Run against a server that has one row left in doubt."""
    with pytest.raises(tn.errors.Interrupted) as caught:
        run(table, server, journal)
    return caught.value.output


# --- what was answered ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["curl", "requests"])
def test_a_run_after_success_asks_for_nothing_and_gives_the_same(tmp_path, transport):
    """0 requests; the same bytes in every table, the log's column reused aside."""
    body = {"id": "é \u2028", "choices": [{"message": {"content": "x"}, "finish_reason": "length"}]}
    usage = {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    headers = {"X-Request-Id": "req-1", "x-ratelimit-remaining-requests": "5", "Set-Cookie": "secret=1"}
    with fault_server(answer(body | usage, headers=headers)) as server:
        out, again = (
            NODE.run(words(), connection(server, transport=transport), journal=tmp_path / "j", **QUIET)
            for _ in range(2)
        )
        assert len(server.requests) == 6
    pd.testing.assert_frame_equal(again.result, out.result)
    pd.testing.assert_frame_equal(again.table, out.table)
    pd.testing.assert_frame_equal(again.log.drop(columns=TIMED), out.log.drop(columns=TIMED))
    assert list(out.log["reused"]) == [False] * 6
    assert list(again.log["reused"]) == [True] * 6
    assert (again.summary.requests, again.summary.reused, again.summary.ok) == (0, 6, 6)
    assert again.log["request_id"].iloc[0] == "req-1"


REFUSED = b'{"error":{"message":"no"}}'
SPENT = b'{"error":{"message":"no","code":"insufficient_quota"}}'
REFUSALS = {
    "400": answer({"error": {"message": "too long", "code": "context_length_exceeded"}}, 400),
    "404": answer({"error": {"message": "gone"}}, 404),
    "302": answer("", 302, {"Location": "http://elsewhere/"}),
    "not JSON": answer("<html>"),
    "cut JSON": answer('{"choices": [1'),
    "cut body": raw(head(200, {"Content-Length": "100"}) + b'{"choices"', then="close"),
    "until close": raw(head(200, {"Connection": "close"}) + b'{"choices": [', then="close"),
    "no choices": answer({"choices": []}),
    "an error in a 200": answer({"error": {"code": 500, "message": "no"}}),
    "empty": answer(b""),
    "500": answer({"error": {"message": "oops"}}, 500),
    "503 with a delay": answer("later", 503, {"Retry-After": "1000"}),
    "429 with a date": answer(
        "later", 429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:27:00 GMT"}
    ),
    "529": answer("busy", 529),
    "not UTF-8": answer(b'{"choices": "\xff"}'),
    "never again": answer("", 500, {"x-should-retry": "false"}),
    "no answer": fin(),
    "not HTTP": raw(b"220 mail\r\n\r\n", then="close"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_failed_row_that_is_kept_is_the_same_row_again(tmp_path, kind):
    """Same body, status, outcome, attempts and flags, for each kind of failure: it is judged as it was judged then."""
    how = {"retry": tn.Retry(0, 0, 0, 0, max_retry_after=1), "retry_failed": "none"}
    with fault_server(failing(["w1"], REFUSALS[kind])) as server:
        out = run(words(count=2), server, tmp_path / "j", **how)
        sent = len(server.requests)
        again = run(words(count=2), server, tmp_path / "j", **how)
        assert len(server.requests) == sent
    assert outcomes(out)[1] != "ok"
    pd.testing.assert_frame_equal(again.result, out.result)
    pd.testing.assert_frame_equal(again.log.drop(columns=TIMED), out.log.drop(columns=TIMED))


@pytest.mark.parametrize(
    ("choice", "sent_again"),
    [("transient", ["w1", "w3", "w4", "w5"]), ("all", ["w1", "w2", "w3", "w4", "w5"]), ("none", [])],
)
def test_failed_rows_are_sent_again_by_choice(tmp_path, choice, sent_again):
    """transient: what may go well another time, a refused key and a spent quota among it; not a refused request."""
    script = {"w1": 500, "w2": 400, "w3": 401, "w4": 402, "w5": 429}

    def react(exchange):
        word = orjson.loads(exchange.received.body)["messages"][0]["content"].removeprefix("Say ")
        (answer("{}", script.pop(word)) if word in script else echo())(exchange)

    with fault_server(react) as server:
        out = run(words(), server, tmp_path / "j", retry=NO_RETRY)
        assert outcomes(out) == ["ok", "http_error", "http_error", "auth", "quota_exhausted", "rate_limited"]
        again = run(words(), server, tmp_path / "j", retry=NO_RETRY, retry_failed=choice)
        assert asked(server, 6) == sent_again
    ok = {"transient": [1, 1, 0, 1, 1, 1], "all": [1] * 6, "none": [1, 0, 0, 0, 0, 0]}[choice]
    assert [outcome == "ok" for outcome in outcomes(again)] == [bool(each) for each in ok]
    assert list(again.log["attempts"]) == [2 if f"w{row}" in sent_again else 1 for row in range(6)]


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from("abcd"), max_size=7), st.lists(st.sampled_from("abcde"), max_size=7))
def test_rows_may_be_moved_added_and_removed(tmp_path_factory, before, after):
    """Only what is new is sent; of equal rows each counts for itself."""
    journal = tmp_path_factory.mktemp("moved") / "j"
    with fault_server(echo()) as server:
        run(pd.DataFrame({"word": before}, dtype=str), server, journal)
        out = run(pd.DataFrame({"word": after}, dtype=str), server, journal)
        sent = asked(server, len(before))
    left = list(before)
    expected = [word for word in after if word not in left or left.remove(word)]
    assert sent == expected
    assert outcomes(out) == ["ok"] * len(after)
    assert out.summary.reused == len(after) - len(expected)


def test_equal_rows_are_each_sent_and_each_reused(tmp_path):
    """Whoever asks three times wants three answers."""
    numbered = iter(range(10))

    def react(exchange):
        exchange.send(message(completion(b"%d" % next(numbered))))

    with fault_server(react) as server:
        out, again = (run(words("a", "a", "a"), server, tmp_path / "j") for _ in range(2))
        assert len(server.requests) == 3
    assert len(set(out.text)) == 3
    assert list(again.text) == list(out.text)


def test_nodes_of_a_workflow_keep_their_answers_apart(tmp_path):
    """The same question of two nodes is asked twice; after that, and when a third is added, only what is new."""
    table = words(count=4)
    nodes = {"one": NODE, "two": NODE}
    third = tn.CreateChatCompletion(model="m", prompt="And {{ outputs.two.choices[0].message.content }}")
    with fault_server(echo()) as server:
        how = {"connection": connection(server), "journal": tmp_path / "j"} | QUIET
        first = tn.Workflow(nodes).run(table, **how)
        assert len(server.requests) == 8
        again = tn.Workflow(nodes | {"three": third}).run(table, **how)
        assert len(server.requests) == 12
        tn.Workflow(nodes | {"three": third}).run(table, **how)
        assert len(server.requests) == 12
    assert [out.summary.reused for out in again.values()] == [4, 4, 0]
    pd.testing.assert_frame_equal(again["two"].result, first["two"].result)


def test_another_key_is_the_same_question(tmp_path):
    """Keys are rotated; an organisation, a header or a timeout is no part of the question either."""
    with fault_server(echo()) as server:
        run(words(), server, tmp_path / "j")
        other = connection(server, "another-key-12345", headers={"X-Team": "b"}, timeout=5)
        out = NODE.run(words(), other, journal=tmp_path / "j", limits=tn.Limits(concurrency=9), **QUIET)
        assert len(server.requests) == 6
    assert out.summary.reused == 6


@pytest.mark.parametrize(
    "node",
    [
        tn.CreateChatCompletion(model="other", prompt="Say {{ word }}"),
        tn.CreateChatCompletion(model="m", prompt="Say  {{ word }}"),
        tn.CreateChatCompletion(model="m", prompt="Say {{ word }}", temperature=0),
        tn.CreateChatCompletion(model="m", prompt="Say {{ word }}", extra_body={"x": None}),
        tn.CreateCompletion(model="m", prompt="Say {{ word }}"),
    ],
    ids=["model", "prompt", "setting", "extra", "operation"],
)
def test_another_question_is_asked(tmp_path, node, capsys):
    """And it is said that nothing is reused; the old answers stay for whoever asks the old question again."""
    with fault_server(echo()) as server:
        run(words(), server, tmp_path / "j")
        out = run(words(), server, tmp_path / "j", node=node, progress=None)
        wording.line(capsys.readouterr().err)
        assert len(server.requests) == 12
        assert (out.summary.reused, out.summary.ok) == (0, 6)
        run(words(), server, tmp_path / "j")
        assert len(server.requests) == 12


def test_another_server_is_asked(tmp_path):
    """Its answers are its own."""
    with fault_server(echo()) as server, fault_server(echo()) as other:
        run(words(), server, tmp_path / "j")
        run(words(), other, tmp_path / "j")
        assert len(server.requests) == len(other.requests) == 6


def test_what_is_sent_is_said_before_it_is_and_each_row_is_made_once(tmp_path, capsys, monkeypatch):
    """Of a long table: of its first rows. The rest goes on, and is looked up as it comes."""
    made, right = [], run_module.prepared
    monkeypatch.setattr(run_module, "prepared", lambda *given: (made.append(row) or row for row in right(*given)))
    with fault_server(echo()) as server:
        run(words(count=3), server, tmp_path / "j")
        monkeypatch.setattr(policy, "AHEAD", 4)
        said = []
        table = words("w0", "w1", *"abcdef", "w2")
        watch = lambda row, text: said.append(capsys.readouterr().err)  # noqa: E731
        out = run(table, server, tmp_path / "j", progress=None, on_text=watch)
        assert outcomes(out) == ["ok"] * 9
        assert len(server.requests) == 3 + 6
    assert len(made) == 3 + 9
    wording.line(said[0])


def test_some_rows_are_reused_and_it_is_said(tmp_path, capsys):
    """How many of how many, before anything is sent."""
    with fault_server(echo()) as server:
        run(words(count=4), server, tmp_path / "j")
        run(words("w0", "w1", "w2", "w3", None, "a", "b", "c", "d", "e"), server, tmp_path / "j", progress=None)
    wording.line(capsys.readouterr().err)


def test_invalid_rows_are_no_matter_of_the_journal(tmp_path):
    """They are found anew in each run, in their places."""
    table = words("a", None, "b")
    with fault_server(echo()) as server:
        for _ in range(2):
            assert outcomes(run(table, server, tmp_path / "j")) == ["ok", "invalid_request", "ok"]
        assert len(server.requests) == 2


def test_an_answer_whose_judgement_fails_is_kept(tmp_path, monkeypatch):
    """The fault is ours, the answer is paid for: the row says internal_error, its body is there, the others go on."""
    from tablenodes.run import rows as module

    right = module.judge

    def wrong(answer, asked, **named):
        if answer.key == 1:
            raise ZeroDivisionError("canary-4711")
        return right(answer, asked, **named)

    with fault_server(echo()) as server:
        with monkeypatch.context() as patched:
            patched.setattr(module, "judge", wrong)
            out = run(words(count=3), server, tmp_path / "j")
        assert outcomes(out) == ["ok", "internal_error", "ok"]
        assert "choices" in out.result["body"].iloc[1]
        again = run(words(count=3), server, tmp_path / "j")
        assert outcomes(again) == ["ok"] * 3
        assert len(server.requests) == 3


def test_rows_of_a_model_that_is_gone_keep_their_answers(tmp_path):
    """A server that no longer knows a model takes nothing back that it has answered."""
    node = tn.CreateChatCompletion(prompt="Say {{ word }}", model="old")
    missing = answer({"error": {"code": "model_not_found"}}, 404)
    new = [f"n{i}" for i in range(60)]
    with fault_server(failing(new, missing)) as server:
        run(words("w0", "w1"), server, tmp_path / "j", node=node)
        out = run(words(*new, "w0", "w1"), server, tmp_path / "j", node=node)
        assert len(server.requests) < 2 + 30
    assert outcomes(out)[-2:] == ["ok", "ok"]
    assert set(outcomes(out)[:-2]) == {"http_error", "not_sent"}


# --- what is in doubt ----------------------------------------------------------------------------------------------


def test_a_row_in_doubt_is_sent_again_and_says_so(tmp_path):
    """At least once is the default: two attempts, and maybe billed, in this run and in the next."""
    with fault_server([left(), echo()]) as server:
        out = leave_in_doubt(words(), server, tmp_path / "j")
        assert outcomes(out) == ["in_doubt"] + ["not_sent"] * 5
        again, third = (run(words(), server, tmp_path / "j") for _ in range(2))
        assert len(server.requests) == 7
    for found in (again, third):
        assert outcomes(found) == ["ok"] * 6
        assert list(found.log["attempts"]) == [2, 1, 1, 1, 1, 1]
        assert list(found.log["maybe_billed"]) == [True] + [False] * 5


def test_a_row_in_doubt_counts_every_attempt(tmp_path):
    """Those before the one that nobody saw the end of as well, in this run and over all of them."""
    with fault_server([answer("", 500, {"Retry-After": "0"}), left(), echo()]) as server:
        out = leave_in_doubt(words("w0"), server, tmp_path / "j")
        assert list(out.log["attempts"]) == [2]
        out = run(words(), server, tmp_path / "j", **STRICT)
        assert list(out.log["attempts"]) == [2, 1, 1, 1, 1, 1]
        out = run(words(), server, tmp_path / "j")
        assert list(out.log["attempts"]) == [3, 1, 1, 1, 1, 1]


def test_a_row_in_doubt_is_reported_where_that_is_asked_for(tmp_path):
    """Nothing is sent that may have been executed; the row stays in doubt for as long as nobody decides otherwise."""
    with fault_server([left(), echo()]) as server:
        leave_in_doubt(words(), server, tmp_path / "j")
        for _ in range(2):
            out = run(words(), server, tmp_path / "j", **STRICT)
            assert outcomes(out) == ["in_doubt"] + ["ok"] * 5
            assert list(out.log["maybe_billed"]) == [True] + [False] * 5
            assert list(out.result["status"].isna()) == [True] + [False] * 5
        assert asked(server) == ["w0", "w1", "w2", "w3", "w4", "w5"]
        out = run(words(), server, tmp_path / "j")
        assert outcomes(out) == ["ok"] * 6


def test_at_most_once_sends_nothing_again_that_may_have_been_executed(tmp_path):
    """Neither in the run nor in a later one; what was refused before it was executed is sent again."""
    script = failing(["w0", "w1", "w2"], answer("", 500), echo())
    with fault_server([answer("", 502), fin(), answer("", 429), script]) as server:
        retry = tn.Retry(ambiguous=0, throttled=0)
        out = run(words(), server, tmp_path / "j", retry=retry, on_in_doubt="report")
        assert outcomes(out)[:3] == ["http_error", "disconnected", "rate_limited"]
        assert list(out.log["maybe_billed"]) == [True, True, False, False, False, False]
        out = run(words(), server, tmp_path / "j", retry=retry, on_in_doubt="report", retry_failed="all")
        assert asked(server, 6) == ["w2"]


# --- a run that stops ----------------------------------------------------------------------------------------------


def test_rows_that_a_stopped_run_did_not_come_to_keep_the_ends_that_they_had(tmp_path):
    """A refused key, ten rows further up, takes nothing away that was paid for."""
    reactions = [echo(), echo(), echo(), answer("oops", 500), left(), answer("{}", 401)]
    with fault_server(reactions) as server:
        run(words("w0", "w1", "w2", "w3"), server, tmp_path / "j", retry=NO_RETRY)
        leave_in_doubt(words("w4"), server, tmp_path / "j")
        moved = words(*[f"n{i}" for i in range(10)], "w0", "w1", None, "w2", "w3", "w4", "w5")
        out = run(moved, server, tmp_path / "j")
    assert out.summary.stopped == "auth"
    assert set(outcomes(out)[:10]) == {"auth", "not_sent"}
    assert outcomes(out)[10:] == ["ok", "ok", "invalid_request", "ok", "http_error", "in_doubt", "not_sent"]
    assert list(out.log["reused"])[10:] == [True, True, False, True, True, False, False]
    assert list(out.log["maybe_billed"])[10:] == [False] * 4 + [True, True, False]
    assert list(out.log["attempts"])[10:] == [1, 1, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("rows", [400, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("code", "body"), [(401, REFUSED), (403, REFUSED), (402, REFUSED), (429, SPENT)])
def test_a_key_that_goes_bad_in_the_middle_loses_no_row(tmp_path, rows, code, body):
    """Mended, it finds every row that was refused with it sent again by the second run."""
    good = {"from": 0, "until": rows // 2}

    def react(exchange):
        is_good = good["from"] <= len(server.requests) <= good["until"]
        (echo() if is_good else answer(body, code))(exchange)

    table = words(count=rows)
    with fault_server(react) as server:
        first = run(table, server, tmp_path / "j", limits=tn.Limits(concurrency=16))
        sent = len(server.requests)
        good["until"] = 10 * rows
        second = run(table, server, tmp_path / "j", limits=tn.Limits(concurrency=16))
        assert len(server.requests) - sent == rows - first.summary.ok
    assert rows // 2 - 16 <= first.summary.ok <= rows // 2
    assert sent - first.summary.ok <= 20 + 16 + 6 + policy.PROBES_AT_END_OF_ROWS  # a streak, in flight, leaps, the last
    assert set(outcomes(first)) == {"ok", "not_sent"}
    assert set(outcomes(second)) == {"ok"}


def test_a_transport_that_fails_takes_nothing_away(tmp_path):
    """The rows behind those that it was given keep their answers."""

    class Broken:
        def start(self, call):
            pass

        def wait(self, seconds):
            raise ZeroDivisionError

        def cancel(self, key):
            pass

        def close(self):
            pass

    with fault_server(echo()) as server:
        run(words(), server, tmp_path / "j")
        broken = tn.Connection(server.url, KEY, transport=Broken())
        with pytest.raises(tn.errors.TablenodesError) as caught:
            NODE.run(words("n0", *[f"w{i}" for i in range(6)]), broken, journal=tmp_path / "j", limits=ONE, **QUIET)
    assert outcomes(caught.value.output) == ["in_doubt"] + ["ok"] * 6


def test_an_interrupted_run_gives_what_is_in_the_journal(tmp_path):
    """Also for the rows behind those that were in flight."""
    new = words("n0", "n1", *[f"w{i}" for i in range(6)])
    with fault_server([*[echo()] * 6, interrupting(echo())]) as server:
        run(words(), server, tmp_path / "j")
        with pytest.raises(tn.errors.Interrupted) as caught:
            run(new, server, tmp_path / "j")
    assert outcomes(caught.value.output) == ["ok", "not_sent"] + ["ok"] * 6


def test_max_requests_counts_all_runs_exactly(tmp_path):
    """Retries among them; a run that may send nothing gives what is there."""
    with fault_server(failing(["w1"], answer("", 500), echo())) as server:
        for most, sent, ok in [(3, 3, 2), (3, 3, 2), (4, 4, 3), (0, 4, 3), (50, 7, 6), (50, 7, 6)]:
            out = run(words(), server, tmp_path / "j", limits=tn.Limits(concurrency=1, max_requests=most))
            assert len(server.requests) == sent
            assert (out.summary.ok, out.summary.stopped) == (ok, None if ok == 6 else "max_requests")
            assert sum(out.log["attempts"]) == sent


def test_with_max_requests_every_send_is_in_the_journal_before_it_is_made(tmp_path):
    """libcurl's silent repeat over a fresh connection among them: a kill at any moment leaves no send uncounted."""
    counted = []

    def react(exchange):
        copy = tmp_path / "copy"
        for ending in ("", "-wal"):
            shutil.copy(f"{tmp_path / 'j'}{ending}", f"{copy}{ending}")
        with closing(sqlite3.connect(copy)) as database:
            counted.append(database.execute("SELECT sum(sends) FROM row").fetchone()[0])
        (fin() if len(counted) in (2, 4) else echo())(exchange)

    with fault_server(react) as server:
        out = run(words(), server, tmp_path / "j", limits=tn.Limits(concurrency=1, max_requests=20))
        assert outcomes(out) == ["ok"] * 6
        assert len(server.requests) == 8 == out.summary.requests
    assert counted == [1, 2, 3, 4, 5, 6, 7, 8]


def test_at_most_once_keeps_the_transport_from_repeating_too(tmp_path):
    """A reused connection that dies before the first byte of the answer: the request may have been executed."""
    with fault_server([echo(), fin(), echo()]) as server:
        out = run(words(), server, tmp_path / "j", **STRICT)
        assert asked(server) == ["w0", "w1", "w2", "w3", "w4", "w5"]
    assert outcomes(out) == ["ok", "disconnected", "ok", "ok", "ok", "ok"]
    assert list(out.log["maybe_billed"]) == [False, True, False, False, False, False]


def test_a_refused_connection_is_no_request(tmp_path):
    """It does not count against max_requests, now or later."""
    with refusing_port() as port:
        out = run(words(count=3), f"http://127.0.0.1:{port}/v1", tmp_path / "j", retry=NO_RETRY)
        assert set(outcomes(out)) == {"connect"}
        assert list(out.log["attempts"]) == [0] * 3
        most = tn.Limits(max_requests=3)
        out = run(words(count=3), f"http://127.0.0.1:{port}/v1", tmp_path / "j", retry=NO_RETRY, limits=most)
        assert out.summary.stopped != "max_requests"
        with closing(sqlite3.connect(tmp_path / "j")) as database:
            assert database.execute("SELECT sum(sends), sum(billed), count(*) FROM row").fetchone() == (0, 0, 3)


# --- what is in the file -------------------------------------------------------------------------------------------


def test_no_secret_and_no_prompt_is_in_the_journal(tmp_path):
    """The key, echoed in body and headers and as it is encoded; cookies; what was asked: only its digest is kept."""

    def react(exchange):
        sent = exchange.received.headers["authorization"]
        headers = {"X-Request-Id": sent, "Set-Cookie": "cookie-4711", "X-Echo": sent, "openai-organization": sent}
        exchange.send(message(orjson.dumps({"choices": [{"message": {"content": sent}}]}), headers=headers))

    with fault_server(react) as server:
        for _ in range(2):
            out = run(words("prompt-4711"), server, tmp_path / "j")
        assert outcomes(out) == ["ok"]
        assert list(out.text) == ["Bearer ***"]
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    for path in tmp_path.iterdir():
        held = path.read_bytes()
        with closing(Journal(path, looks=True)) as journal:
            held += b"".join(repr(entry.last).encode() for entry in journal)
        for secret in (KEY, KEY.replace("/", "%2F"), KEY.replace("/", "\\/"), "cookie-4711", "prompt-4711", "Say "):
            assert secret.encode() not in held, path
        assert b"Bearer ***" in held


def test_the_journal_of_a_run_under_way_holds_no_secret_either(tmp_path):
    """What is in the log beside it counts as well."""
    found = []

    def react(exchange):  # as long as it has no answer the run goes no further
        found.append(b"".join(path.read_bytes() for path in tmp_path.iterdir()))
        echo()(exchange)

    with fault_server(react) as server:
        run(words("prompt-4711", "b", "c"), server, tmp_path / "j")
    assert len(found) == 3
    assert all(KEY.encode() not in each and b"prompt-4711" not in each for each in found)


def test_paid_bytes_are_kept_whole(tmp_path):
    """Bytes that are no UTF-8 become U+FFFD in the table, and stay as they are in the journal."""
    body = b'{"choices": "\xff\xfe"}'
    with fault_server(answer(body)) as server:
        out = run(words("a"), server, tmp_path / "j", **STRICT)
    assert out.result["body"].iloc[0] == '{"choices": "\ufffd\ufffd"}'
    with closing(Journal(tmp_path / "j", looks=True)) as journal:
        assert [entry.last.body for entry in journal] == [body]
