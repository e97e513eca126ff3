"""What comes after a run: the answers of a journal alone, failed rows asked again, and the output nobody has named."""

from __future__ import annotations

import dataclasses
import gc
import pickle
import sys
import threading

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sentences import wording
from servers import answer, echo, fault_server, interrupting

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.errors import Interrupted, JournalError, SettingError, UsageError
from tablenodes.testing import canned

CHAT = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
STARS = tn.CreateChatCompletion(model="m", prompt="{{ word }}", answer={"stars": int})
WORDS = ["a", "b", "c", "d"]


def duplicated(columns):
    return pd.DataFrame(columns, index=[7, 7, 8, 8])


def in_levels(columns):
    return pd.DataFrame(columns, index=pd.MultiIndex.from_product([["x", "y"], [1, 2]]))


KINDS = [pd.DataFrame, duplicated, in_levels, pl.DataFrame, pa.table]


def word_of(request):
    return request["messages"][0]["content"]


def refusing(*words):
    """Return a reply that refuses some words, and answers the others with themselves."""
    return lambda request: (400, {"error": {"message": "no"}}) if word_of(request) in words else word_of(request)


def cells(table, name):
    return table[name].to_pylist() if isinstance(table, pa.Table) else list(table[name])


# --- send=False ----------------------------------------------------------------------------------------------------


def test_the_journal_alone_is_used_where_nothing_is_sent(tmp_path, monkeypatch):
    """Without a key, and nothing of the journal changes: a row that is not in it is not sent, with a message."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    far = "https://api.example.com/v1"
    with fault_server(echo()) as server:
        table, journal = pd.DataFrame({"word": WORDS}), tmp_path / "journal"
        first = CHAT.run(table.iloc[:3], tn.Connection(server.url, "key"), journal=journal, progress=False)
        out = CHAT.run(table, tn.Connection(server.url), journal=journal, send=False, progress=False)
        assert len(server.requests) == 3
    assert out.texts() == [*first.texts(), None]
    assert list(out.log["outcome"]) == ["ok", "ok", "ok", "not_sent"]
    assert list(out.log["reused"]) == [True, True, True, False]
    wording(out.log["message"][3])
    elsewhere = CHAT.run(table, tn.Connection(far), journal=journal, send=False, progress=False)
    assert list(elsewhere.log["outcome"]) == ["not_sent"] * 4
    assert out.summary.requests == 0
    assert out.summary.stopped == "journal_only"


def test_a_failed_row_of_the_journal_keeps_its_end_where_nothing_is_sent(tmp_path):
    """Though a run that sends would try it again."""
    journal, table = tmp_path / "journal", pd.DataFrame({"word": WORDS})
    down = canned(lambda request: (500, {"error": {"message": "down"}}) if word_of(request) == "b" else "fine")
    once = tn.Retry(server_error=0)
    CHAT.run(table, down, journal=journal, retry=once, progress=False)
    out = CHAT.run(table, down, journal=journal, send=False, progress=False)
    assert list(out.log["outcome"]) == ["ok", "http_error", "ok", "ok"]
    assert list(out.result["status"]) == [200, 500, 200, 200]
    assert out.summary.stopped is None  # every row has its end


def test_nothing_is_sent_needs_a_journal_that_is_there(tmp_path):
    """And none is begun."""
    table = pd.DataFrame({"word": WORDS})
    with wording.raises(SettingError):
        CHAT.run(table, canned("x"), send=False)
    with wording.raises(SettingError):
        CHAT.run(table, canned("x"), send=0, journal=tmp_path / "journal")
    with wording.raises(JournalError):
        CHAT.run(table, canned("x"), send=False, journal=tmp_path / "journal")
    later = tn.CreateChatCompletionAsync(model="m", prompt="{{ word }}")
    with wording.raises(SettingError):
        tn.Workflow({"later": later}).run(table, send=False, journal=tmp_path / "journal")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_sends_nothing_either(tmp_path, capsys):
    """``--no-send``: the answers of a journal into a file."""
    place = tmp_path / "words.csv"
    place.write_text("word\na\nb\n")

    def command(*more):
        asked = ["call", "CreateChatCompletion", str(place), "--model", "m", "--prompt", "{{ word }}"]
        with pytest.raises(SystemExit) as ended:
            main([*asked, "--base-url", server.url, *more])
        return ended.value.code, *capsys.readouterr()

    journal = ["--journal", str(tmp_path / "journal")]
    with fault_server(echo()) as server:
        assert command(*journal, "--rows", "1")[0] == 0
        code, out, _ = command(*journal, "--no-send")
        assert (code, out.count("not_sent")) == (3, 1)
        code, _, err = command("--no-send")
        assert len(server.requests) == 1
    assert code == 1
    wording(err)


# --- updated -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("node", [CHAT, STARS], ids=["text", "answer"])
def test_the_answers_of_a_second_run_take_their_places(kind, node):
    """One table again, whatever its kind and its index; the first output stays as it was."""

    def reply(request):
        return word_of(request) if node is CHAT else {"stars": ord(word_of(request))}

    def bad(request):
        return refusing("b", "d")(request) if word_of(request) in "bd" else reply(request)

    table = kind({"word": WORDS})
    first = node.run(table, canned(bad), progress=False)
    assert len(first.failed) == 2
    again = node.run(first.failed, canned(reply), progress=False)
    out = first.updated(again)
    column = "answer" if node is CHAT else "stars"
    assert cells(out.table, column) == (WORDS if node is CHAT else [*map(ord, WORDS)])
    assert cells(out.table, "outcome") == ["ok"] * 4
    assert cells(first.table, "outcome") == ["ok", "http_error"] * 2
    assert out.configuration is table
    assert (out.summary.ok, out.summary.requests, len(out.failed)) == (4, first.summary.requests + 2, 0)
    if isinstance(table, pd.DataFrame):
        assert out.table.index.equals(table.index)
    retried = first.retry_failed(canned(reply), progress=False)
    assert cells(retried.table, column) == cells(out.table, column)


def test_both_runs_are_paid_for():
    """A row's usage is that of its last answer; the summary has what both runs cost, wherever it travels."""
    priced = {"prices": {"m": {"input": 1.0, "output": 1_000.0}}}
    unusable = dataclasses.replace(canned(lambda r: {"stars": 1 if word_of(r) in "ac" else "many"}), **priced)
    first = STARS.run(pd.DataFrame({"word": WORDS}), unusable, progress=False)
    out = first.retry_failed(dataclasses.replace(canned({"stars": 2}), **priced), progress=False)
    for made in (out, pickle.loads(pickle.dumps(out))):
        again = out.usage["cost"].iloc[[1, 3]].sum()
        assert list(made.usage["completion_tokens"]) == [2, 2, 2, 2]
        assert made.summary.cost == pytest.approx(first.summary.cost + again)
        assert made.summary.cost > made.usage["cost"].sum()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_may_be_others_are_refused(kind):
    """Sorted, filtered, of another table: the error names rows=, by which they have their places."""
    first = CHAT.run(kind({"word": WORDS}), canned(refusing("b", "d")), progress=False)
    turned = kind({"word": ["d", "b", "x", "y"]})
    again = CHAT.run(turned.slice(0, 2) if hasattr(turned, "slice") else turned[:2], canned("new"), progress=False)
    with wording.raises(UsageError):
        first.updated(again)
    out = first.updated(again, rows=[3, 1])
    assert out.texts() == ["a", "new", "c", "new"]


def test_what_is_no_second_run_is_refused():
    """Each with the way."""
    table = pd.DataFrame({"word": WORDS})
    first = CHAT.run(table, canned(refusing("b", "d")), progress=False)
    again = CHAT.run(first.failed, canned("new"), progress=False)
    wrong = [
        lambda: first.updated(again.table),
        lambda: first.updated(CHAT.run(first.failed.iloc[:1], canned("new"), progress=False)),
        lambda: first.updated(CHAT.run(first.failed.reset_index(drop=True), canned("new"), progress=False)),
        lambda: first.updated(STARS.run(first.failed, canned({"stars": 1}), progress=False)),
        lambda: first.updated(again, rows=[1]),
        lambda: first.updated(again, rows=[1, 1]),
        lambda: first.updated(again, rows=[1, 4]),
        lambda: first.updated(again, rows=["b", "d"]),
    ]
    for act in wrong:
        with wording.raises(UsageError):
            act()


# --- retry_failed --------------------------------------------------------------------------------------------------


def test_failed_rows_are_asked_again_over_the_runs_own_connection():
    """Every one of them, also what failed for good; positions in on_text are those of the whole table."""
    refusals, told = ["b", "d"], []
    first = CHAT.run(pd.DataFrame({"word": WORDS}), canned(lambda r: refusing(*refusals)(r)), progress=False)
    refusals.remove("d")
    second = first.retry_failed(on_text=lambda *each: told.append(each))
    assert told == [(3, "d")]
    assert second.texts() == ["a", None, "c", "d"]
    refusals.clear()
    third = second.retry_failed()
    assert third.texts() == WORDS
    assert third.retry_failed() is third
    assert third.summary.requests == 4 + 2 + 1


def test_equal_rows_are_told_apart_in_the_journal_when_failed_ones_are_asked_again(tmp_path):
    """The second of two equal rows is asked, and does not get the first one's answer from the journal."""
    count = iter(range(100))

    def reply(request):
        number = next(count)
        return (400, {"error": {"message": "no"}}) if number == 1 else f"{number}"

    table = pd.DataFrame({"word": ["a", "a", "b"]})
    ways = {"journal": tmp_path / "journal", "progress": False, "limits": tn.Limits(concurrency=1)}
    first = CHAT.run(table, canned(reply), **ways)
    assert first.texts() == ["0", None, "2"]
    second = first.retry_failed()
    assert second.texts() == ["0", "3", "2"]
    later = CHAT.run(table, canned(reply), **ways)
    assert later.texts() == ["0", "3", "2"]
    assert later.summary.requests == 0


def test_a_row_that_reads_an_earlier_answer_reads_its_own_when_it_is_asked_again():
    """In a workflow, rows have their places in the table."""
    refusals = ["on b", "on d"]
    nodes = {"a": CHAT, "b": CHAT.replace(prompt="on {{ outputs.a.choices[0].message.content }}")}
    flow = tn.Workflow(nodes).run(pd.DataFrame({"word": WORDS}), None, canned(lambda r: refusing(*refusals)(r)))
    refusals.clear()
    assert flow["b"].retry_failed().texts() == ["on a", "on b", "on c", "on d"]


def test_an_output_that_travelled_has_no_connection():
    """It says what to do."""
    first = CHAT.run(pd.DataFrame({"word": WORDS}), canned(refusing("b")), progress=False)
    thawed = pickle.loads(pickle.dumps(first))
    with wording.raises(UsageError):
        thawed.retry_failed(canned("x"))
    assert thawed.updated(CHAT.run(thawed.failed, canned("x"), progress=False)).texts() == ["a", "x", "c", "d"]


def test_rows_go_to_no_other_server_unasked(monkeypatch):
    """Where the environment names another one by now; a connection that is given is asked for."""
    with fault_server(answer(status=400)) as server, fault_server(echo()) as other:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-first")
        first = CHAT.run(pd.DataFrame({"word": ["a"]}), progress=False)
        monkeypatch.setenv("OPENAI_BASE_URL", other.url)
        with wording.raises(SettingError):
            first.retry_failed()
        assert other.requests == []
        assert first.retry_failed(tn.Connection(other.url, "")).summary.ok == 1
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert first.retry_failed().summary.failed == 1
        assert len(server.requests) == 2


def test_a_second_run_that_is_stopped_has_both_runs_as_one():
    """In the error, and as the last output."""
    script = [answer(status=400), answer(status=400), echo(), interrupting(echo()), echo()]
    limits = tn.Limits(concurrency=1, grace=5)
    with fault_server(script) as server:
        first = CHAT.run(
            pd.DataFrame({"word": WORDS[:3]}), tn.Connection(server.url, ""), limits=limits, progress=False
        )
        with pytest.raises(Interrupted) as caught:
            first.retry_failed()
    out = caught.value.output
    assert list(out.log["outcome"]) == ["ok", "not_sent", "ok"]
    assert tn.last_output(forget=True) is out


# --- the last output -----------------------------------------------------------------------------------------------


def asked(**more):
    return CHAT.run(pd.DataFrame({"word": ["a"]}), canned("x"), progress=False, **more)


def test_the_last_output_of_a_script_lives_as_long_as_somebody_holds_it(monkeypatch):
    """In an interactive session until the next run ends, or it is let go."""
    out = asked()
    assert tn.last_output() is out
    del out
    gc.collect()
    assert tn.last_output() is None
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    asked()
    gc.collect()
    kept = tn.last_output()
    assert kept.texts() == ["x"]
    made = tn.Return(text="{{ word }}!").run(pd.DataFrame({"word": ["a"]}), progress=False)
    assert tn.last_output(forget=True) is made
    assert tn.last_output() is None


def test_the_output_of_a_run_that_was_stopped_is_kept_until_the_next():
    """An interrupted cell, then a name that is not defined: what was answered is still here."""
    with fault_server([echo(), interrupting(echo()), echo()]) as server:
        table, limits = pd.DataFrame({"word": WORDS}), tn.Limits(concurrency=1, grace=5)
        with pytest.raises(Interrupted):
            CHAT.run(table, tn.Connection(server.url, ""), limits=limits, progress=False)
    with pytest.raises(NameError):
        out  # noqa: B018, F821
    gc.collect()
    assert list(tn.last_output().log["outcome"]) == ["ok", "ok", "not_sent", "not_sent"]
    asked()
    gc.collect()
    assert tn.last_output() is None


def test_the_last_output_of_a_workflow_has_all_its_nodes():
    """Also what nodes gave before one was stopped."""
    nodes = {"a": CHAT, "b": CHAT.replace(prompt="on {{ word }}")}
    with fault_server([echo(), interrupting(echo())]) as server, pytest.raises(Interrupted):
        tn.Workflow(nodes).run(pd.DataFrame({"word": ["a"]}), None, tn.Connection(server.url, ""), progress=False)
    gc.collect()
    kept = tn.last_output(forget=True)
    assert [*kept] == ["a", "b"]
    assert kept["a"].summary.ok == 1


def test_other_threads_leave_the_last_output_alone():
    """It is that of whoever types."""
    out = asked()
    thread = threading.Thread(target=asked)
    thread.start()
    thread.join()
    assert tn.last_output() is out
