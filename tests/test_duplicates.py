"""Equal rows: each is asked, or the first one for all of them."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pandas as pd
import pyarrow as pa
import pytest
from background import nobody_at_work
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import wording
from servers import answer, echo, fault_server, held

import tablenodes as tn
from tablenodes.engine.calls import Call, Request
from tablenodes.engine.journal import Keys, answer_blocks
from tablenodes.engine.journal.recorder import Recorder
from tablenodes.engine.sink import Records
from tablenodes.engine.twins import Twins
from tablenodes.run import display
from tablenodes.testing import canned

CHAT = tn.CreateChatCompletion(model="m", prompt="{{ word }}", temperature=0, seed=1)
SILENT = {"progress": False}
OWN = ["attempts", "started", "latency", "prompt_tokens", "completion_tokens", "total_tokens"]


def table_of(words):
    return pd.DataFrame({"word": list(words)})


def word_of(request):
    return request["messages"][0]["content"]


class Counting:
    """Counts what it is asked, and answers each request with a text of its own."""

    def __init__(self):
        self.asked = Counter()

    def __call__(self, request):
        self.asked[word_of(request)] += 1
        return f"{word_of(request)}{self.asked.total()}"


def test_equal_rows_are_sent_once_and_the_table_is_the_same():
    """40 % duplicates: 60 % of the requests; it is said what that saved."""
    words = [str(number) for number in range(600)] + [str(number) for number in range(400)]
    random.Random(4).shuffle(words)
    with fault_server(echo()) as server:
        connection = tn.Connection(server.url, "")
        each = CHAT.run(table_of(words), connection, **SILENT)
        before = len(server.requests)
        once = CHAT.run(table_of(words), connection, duplicates="once", **SILENT)
        assert (before, len(server.requests) - before) == (1000, 600)
    pd.testing.assert_frame_equal(once.table, each.table)
    assert (once.summary.requests, once.summary.shared, once.summary.shared_tokens) == (600, 400, 800)
    assert once.summary.notes == ()
    wording.line(str(once.summary), like="saved")


def test_what_was_not_sent_has_used_nothing():
    """Its tokens and cost are null, in the log and in the usage; the answer is there."""
    out = CHAT.run(table_of("aba"), canned(Counting()), duplicates="once", **SILENT)
    assert out.texts() == ["a1", "b2", "a1"]
    assert out.log[OWN].iloc[2].tolist()[0] == 0
    assert out.log[OWN[1:]].iloc[2].isna().all()
    assert out.usage.iloc[2].isna().all()
    assert out.usage["total_tokens"].sum() == out.summary.prompt_tokens + out.summary.completion_tokens
    assert [*out.log["outcome"]] == ["ok"] * 3
    assert not out.log["reused"].any()


def test_a_twin_waits_for_the_first_that_is_in_flight():
    """It is sent once, though there is room."""
    come = threading.Event()
    with fault_server([held(come), echo(), echo()]) as server:
        timer = threading.Timer(0.2, come.set)
        timer.start()
        out = CHAT.run(table_of("aaab"), tn.Connection(server.url, ""), duplicates="once", **SILENT)
        timer.join()
        assert len(server.requests) == 2
    assert [*out.log["outcome"]] == ["ok"] * 4
    assert len(set(out.texts()[:3])) == 1


def test_a_failure_is_the_failure_of_all_of_them():
    """And rows that a stopped run did not come to are not sent, whoever they are twins of."""
    refused = answer({"error": {"message": "no", "code": "c"}}, 400)
    with fault_server([refused, echo(), echo(), echo()]) as server:
        ways = {"limits": tn.Limits(concurrency=1, max_requests=2), "duplicates": "once"}
        out = CHAT.run(table_of("aabcc"), tn.Connection(server.url, ""), **ways, **SILENT)
        assert len(server.requests) == 2
    assert [*out.log["outcome"]] == ["http_error", "http_error", "ok", "not_sent", "not_sent"]
    assert [*out.log["message"]][:2] == ["no"] * 2
    assert out.result["status"].tolist()[:2] == [400] * 2
    assert dict(out.summary.outcomes) == {"ok": 1, "http_error": 2, "not_sent": 2}
    assert [*out.log["attempts"]] == [1, 0, 1, 0, 0]


def test_requests_are_equal_that_say_the_same():
    """In whatever order; rows that cannot be sent have their own reasons."""
    bodies = ['{"model":"m","messages":[{"role":"user","content":"x"}]}']
    bodies += ['{"messages":[{"content":"x","role":"user"}],"model":"m"}', '{"model":"m"}', '{"model":"m"}']
    node, count = tn.CreateChatCompletion(), Counting()
    out = node.run(pd.DataFrame({"body": bodies}), canned(count), duplicates="once", **SILENT)
    assert count.asked == {"x": 1}
    assert [*out.log["outcome"]] == ["ok", "ok", "invalid_request", "invalid_request"]
    assert out.summary.shared == 1


@pytest.mark.parametrize("more", [{"temperature": 1}, {"seed": None}, {"n": 2}], ids=str)
def test_it_is_said_that_a_sampled_answer_is_shared(more):
    """Where asking again might have brought another one."""
    out = CHAT.replace(**more).run(table_of("aa"), canned("x"), duplicates="once", **SILENT)
    wording(out.summary.notes)


def test_of_what_no_model_writes_it_is_not_said_that_it_might_be_another():
    """Vectors of equal texts are the same, by a table and by a stream."""
    node, ways = tn.CreateEmbedding(model="m", input="{{ text }}"), {"duplicates": "once", **SILENT}
    table = pd.DataFrame({"text": ["a", "a"]})
    out = node.run(table, tn.testing.canned([1.0, 2.0]), **ways)
    flow = tn.Workflow({"vector": node, "again": node}).run_batches(table, tn.testing.canned([1.0, 2.0]), **ways)
    flow.read_all()
    for summary in (out.summary, *flow.summaries.values()):
        assert (summary.shared, summary.notes) == (1, ())


def test_a_journal_has_the_first_of_equal_rows_and_each_keeps_what_it_has(tmp_path):
    """Who sends each later finds that one, and asks for the others; who shares later keeps their own answers."""
    count, ways = Counting(), {"journal": tmp_path / "journal", **SILENT}
    once = CHAT.run(table_of("aab"), canned(count), duplicates="once", **ways)
    assert once.texts() == ["a1", "a1", "b2"]
    again = CHAT.run(table_of("aab"), canned(count), duplicates="once", **ways)
    assert (again.texts(), count.asked.total()) == (once.texts(), 2)
    assert [*again.log["reused"]] == [True, False, True]
    each = CHAT.run(table_of("aabb"), canned(count), **ways)
    assert each.texts() == ["a1", "a3", "b2", "b4"]
    kept = CHAT.run(table_of("aaabb"), canned(count), duplicates="once", **ways)
    assert kept.texts() == ["a1", "a3", "a1", "b2", "b4"]
    assert kept.summary.shared == 1
    assert count.asked.total() == 4


@settings(max_examples=12)
@given(st.lists(st.tuples(st.text("abc", max_size=8), st.sampled_from(["once", "send"])), min_size=1, max_size=4))
def test_no_answer_is_paid_for_twice_and_none_is_mixed_up(tmp_path_factory, runs):
    """Whatever runs share a journal: each row has its own word's answer, asked for as seldom as can be."""
    path, count, known = tmp_path_factory.mktemp("runs") / "journal", Counting(), Counter()
    for words, duplicates in runs:
        before = count.asked.total()
        out = CHAT.run(table_of(words), canned(count), journal=path, duplicates=duplicates, **SILENT)
        wanted = Counter(words) if duplicates == "send" else Counter(set(words))
        missing = wanted - known
        assert count.asked.total() - before == missing.total()
        known |= wanted
        assert [text[0] for text in out.texts()] == list(words)
        if duplicates == "send":
            assert len(set(out.texts())) == len(words)


def test_a_twin_is_forgotten_where_calls_are_kept():
    """Its call never begins, so nothing else would ever drop it."""
    forgotten, request = [], Request("POST", "http://127.0.0.1:1/v1", ())

    class Keeping(Recorder):
        def forget(self, key):
            forgotten.append(key)

    twins = Twins(Records(4), Keys(request, ""), Keeping())
    calls = [Call(key, request, body, 60.0, lambda *_: None) for key, body in enumerate([b"{}", b"[]", b"{}", b"{}"])]
    assert [getattr(item, "key", None) for item in twins.unlike(iter(calls))] == [0, 1, None, None]
    assert forgotten == [2, 3]


def judged(request):
    """Return what each word has whenever it is asked; one is refused."""
    word = word_of(request)
    return (400, {"error": {"message": "no", "code": "c"}}) if word == "x" else word * 50


@settings(max_examples=8)
@given(
    st.text("abcx", max_size=25),
    st.integers(1, 9),
    st.sampled_from([100, 2_000, 10**6]),
    st.sampled_from([2**15, 64]),
    st.booleans(),
)
def test_in_batches_it_is_the_same(tmp_path_factory, words, size, window, full, has_journal):
    """Whatever the batches are, wherever answers and batches wait, and however far behind an equal row is."""
    table, asked = pa.table({"word": pa.array(words, pa.string()), "at": range(len(words))}), Counter()

    def reply(request):
        asked[word_of(request)] += 1
        return judged(request)

    ways = {"duplicates": "once", **SILENT}
    if has_journal:
        ways["journal"] = tmp_path_factory.mktemp("runs") / "journal"
    whole = CHAT.run(table, canned(judged), **{**ways, "journal": None})
    source = table.to_reader(size) if words else table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_blocks, "FULL", full)
        for _ in range(1 + has_journal):
            made = CHAT.run_batches(source, canned(reply), window=window, **ways)
            together, source = made.read_all(), table.to_reader(size) if words else table
    expected = whole.table
    assert together.select(expected.column_names).to_pydict() == expected.to_pydict()
    assert together["body"].to_pylist() == whole.result["body"].to_pylist()
    for name in ("attempts", "request_id", "finish_reason", "reason", "message", "total_tokens", "prompt_tokens"):
        kept = whole.usage if "tokens" in name else whole.log
        assert together[name].to_pylist() == kept[name].to_pylist(), name
    assert asked == Counter(set(words))
    assert made.summary.outcomes == whole.summary.outcomes
    assert (made.summary.shared, made.summary.shared_tokens) == (whole.summary.shared, whole.summary.shared_tokens)
    assert made.summary.reused == (len(set(words)) if has_journal else 0)


def test_a_row_of_a_stream_waits_for_its_first_in_a_batch_before(tmp_path):
    """While others go on and leave; and what was refused is refused for each."""
    come = threading.Event()
    words = ["a", *"bcdefgh", "a", *"ijk", "a"]
    with fault_server([held(come), *[echo()] * 10]) as server:
        timer = threading.Timer(0.3, come.set)
        timer.start()
        made = CHAT.run_batches(
            iter(pa.table({"word": words}).to_batches(max_chunksize=3)),
            tn.Connection(server.url, ""),
            duplicates="once",
            window=1_000,
            **SILENT,
        )
        table = made.read_all()
        timer.join()
        assert len(server.requests) == 11
    assert table["word"].to_pylist() == words
    texts = table.column(1).to_pylist()
    assert texts[0] == texts[8] == texts[12]
    assert made.summary.shared == 2


def test_failed_twins_are_asked_again_once():
    """By `retry_failed`, as the run itself did."""
    replies = iter([(400, b"{}"), "b", "a"])
    out = CHAT.run(
        table_of("aba"),
        canned(lambda request: next(replies)),
        duplicates="once",
        limits=tn.Limits(concurrency=1),
        **SILENT,
    )
    again = out.retry_failed()
    assert again.texts() == ["a", "b", "a"]
    assert (again.summary.requests, again.summary.shared) == (3, 2)


@pytest.mark.parametrize(
    ("node", "rows", "more", "is_said"),
    [
        (CHAT.replace(prompt="x"), 2, {}, True),
        (CHAT.replace(prompt="x"), 2, {"duplicates": "once"}, False),
        (CHAT.replace(prompt="x"), 1, {}, False),
        (CHAT, 2, {}, False),
        (tn.CreateChatCompletionAsync(model="m", prompt="x"), 2, {}, True),
    ],
)
def test_it_is_said_that_all_rows_send_the_same(tmp_path, capsys, node, rows, more, is_said):
    """Where no column is used, and that was not asked for."""
    store = tmp_path / "store"
    with fault_server(echo()) as server, nobody_at_work(store):
        node.run(table_of("a" * rows), tn.Connection(server.url, ""), store=store, **more)
    assert (display.ALIKE in capsys.readouterr().err) == is_said
