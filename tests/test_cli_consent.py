"""Before a run that is likely to cost more than a dollar, somebody at a terminal is asked."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import orjson
import pandas as pd
import pytest
from sentences import wording
from servers import answer, fault_server

from tablenodes.cli import main

ASKED = "Go on? [y/N]"


def reply(exchange):
    """Answer with a text that cannot be dear."""
    assert orjson.loads(exchange.received.body)["model"] == "dear"
    message = {"role": "assistant", "content": "yes"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})(exchange)


@pytest.fixture(scope="module")
def server():
    with fault_server(reply) as running:
        yield running


@pytest.fixture
def call(capsys, tmp_path, monkeypatch, server):
    """Calls a node at a terminal where somebody types: 1,000 tokens cost a dollar, and each of 10 rows asks for 100."""
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"n": range(10)}).to_csv("t.csv", index=False)
    Path("prices.json").write_text(json.dumps({"dear": {"input": 0, "output": 1000}}))
    monkeypatch.setenv("TABLENODES_STORE", str(tmp_path / "store"))
    del server.requests[:]

    def run(typed, *arguments, at_terminal=True, name="call", table="t.csv"):
        monkeypatch.setattr("tablenodes.cli.consent.is_at_terminal", lambda: at_terminal)
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        node = ["CreateChatCompletion", table, "--model", "dear", "--prompt", "{{ n }}", "--set", "max_tokens=100"]
        asked = node if name != "run" else ["w.yaml"]
        where = ["--base-url", server.url, "--no-key", "--no-progress", "--prices", "prices.json"]
        with pytest.raises(SystemExit) as ended:
            main([name, *asked, *where, *map(str, arguments)])
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yess\n"], ids=repr)
def test_without_a_yes_nothing_is_sent(call, server, typed):
    """The question says what it is likely to cost, from and to, and for how many rows."""
    code, out, err = call(typed, "--set", "n=11")
    assert (code, out, server.requests) == (1, "", [])
    wording(err)


def test_ctrl_c_at_the_question_is_no_answer(call, server, monkeypatch):
    """Its exit code is another than that of a no."""

    class Stopped(io.StringIO):
        def readline(self, *_):
            raise KeyboardInterrupt

    monkeypatch.setattr(io, "StringIO", Stopped)
    code, out, err = call("", "--set", "n=11")
    assert (code, out, server.requests, err.count("nothing was sent")) == (130, "", [], 0)


@pytest.mark.parametrize("typed", ["ja\n", ""], ids=["ja", "the end of the input"])
def test_a_quiet_run_is_asked_too(call, server, typed):
    """And does not wait where nobody can answer."""
    code, out, err = call(typed, "--set", "n=11", "--quiet")
    assert (code, out, server.requests, err.count(ASKED), err.count("nothing was sent")) == (1, "", [], 1, 1)
    assert err.count("\n") == (2 if not typed else 1)  # what is typed ends the line itself


@pytest.mark.parametrize("typed", ["y\n", " YES \n"], ids=repr)
def test_with_a_yes_it_goes_on(call, server, typed):
    """With the very table that was estimated."""
    code, out, err = call(typed, "--set", "n=11")
    assert (code, len(server.requests), out.count("yes")) == (0, 10, 10)
    assert err.count(ASKED) == 1


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (["--yes"], {}),
        (["--max-cost", "50"], {}),
        (["--rows", "1"], {}),
        ([], {"at_terminal": False}),
    ],
    ids=["--yes", "--max-cost", "a few rows", "no terminal"],
)
def test_nobody_is_asked_who_has_said_it_or_is_not_there(call, server, arguments, more):
    """Nor for what costs less."""
    price = ["--set", "n=5"] if "--rows" in arguments else ["--set", "n=11"]
    code, _, err = call("", *price, *arguments, **more)
    assert (code, ASKED in err) == (0, False)
    assert len(server.requests) == (1 if "--rows" in arguments else 10)


def test_where_nothing_is_sent_or_has_a_price_nobody_is_asked(call, server):
    """A journal alone, and a server of one's own."""
    call("y\n", "--set", "n=11", "--journal", "j")
    assert ASKED not in call("", "--set", "n=11", "--journal", "j", "--no-send")[2]
    Path("prices.json").write_text("{}")
    assert ASKED not in call("", "--set", "n=11")[2]


def test_what_the_journal_has_is_not_counted(call, server):
    """Nor is a row that is left out."""
    assert call("y\n", "--set", "n=11", "--journal", "j", "--rows", "9")[0] == 0
    code, _, err = call("", "--set", "n=11", "--journal", "j", "--rows", "9")
    assert (code, ASKED in err, len(server.requests)) == (0, False, 9)
    wording(call("n\n", "--set", "n=40", "--where", "n == '1' or n == '2'")[2])


def test_a_journal_whose_answers_do_not_fit_is_named_in_the_question(call, server):
    """All rows are paid for again; one that was begun anew has none to reuse."""
    assert "journal" not in call("y\n", "--set", "n=11", "--journal", "j")[2].partition(ASKED)[0]
    wording(call("n\n", "--set", "n=12", "--journal", "j")[2])
    assert len(server.requests) == 10


def test_a_long_table_is_weighed_by_a_part_of_its_rows(call, monkeypatch):
    """The whole is meant."""
    pd.DataFrame({"n": range(2_500)}).to_csv("long.csv", index=False)
    monkeypatch.setattr("tablenodes.cli.consent._WEIGHED", 100)
    code, _, err = call("n\n", table="long.csv")
    assert code == 1
    wording(re.sub(r" for ", "\nfor ", err.partition(". ")[0] + "."))


@pytest.mark.parametrize("name", ["run", "submit"])
def test_workflows_and_what_is_answered_later_ask_too(call, server, name):
    """All nodes together."""
    ask = "{id: %s, type: CreateChatCompletion, model: dear, prompt: '{{ n }}', max_tokens: 100}"
    Path("w.yaml").write_text(f"table: t.csv\nnodes:\n  - {ask % 'a'}\n  - {ask % 'b'}\n")
    code, _, err = call("n\n", *(["--set", "n=20"] if name == "submit" else []), name=name)
    assert (code, server.requests) == (1, [])
    wording(err)


def test_a_table_that_does_not_fit_is_said_by_the_run(call, server):
    """In its own words, and nobody is asked."""
    code, _, err = call("", "--set", "user={{ m }}")
    assert (code, ASKED in err, server.requests) == (1, False, [])
    wording.line(err)


# --- a limit that was reached ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "low", "high"), [("cost", 0.0035, 5), ("requests", 3, 20), ("token-budget", 5, 90)])
@pytest.mark.parametrize("kept", [["-o", "out.csv"], []], ids=["a journal", "no journal"])
def test_after_a_limit_it_is_said_how_to_go_on(call, server, limit, low, high, kept):
    """Not by the same command, unless the limit is one of each run."""
    option = limit if "-" in limit else f"max-{limit}"
    code, _, err = call("", f"--{option}", low, "--concurrency", 1, *kept)
    sent = len(server.requests)
    assert (code, 0 < sent < 10, f"raise --{option} to " in err) == (3, True, True)
    wording("\n".join(line for line in err.splitlines() if "raise" in line or "again" in line))
    if kept:
        again = call("", f"--{option}", low, "--concurrency", 1, *kept)[2]
        assert (len(server.requests) == sent, f"raise --{option} to " in again) == (
            option != "token-budget",
            True,
        )
        assert call("", f"--{option}", high, *kept)[0] == 0
        assert len(server.requests) == 10


def test_what_a_limit_kept_and_what_failed_are_told_apart(call, server):
    """A row that cannot be sent has to be corrected, whatever the limit."""
    pd.DataFrame({"n": [None, *range(9)]}).to_csv("t.csv", index=False)
    wording.line(call("", "--max-requests", 3, "--concurrency", 1, "-o", "out.csv")[2])


def test_what_is_likely_to_cost_a_dollar_or_less_is_not_asked_about(call):
    """A little more is."""
    assert "Go on?" not in call("", "--set", "n=1", "--quiet")[2]
    Path("prices.json").write_text(json.dumps({"dear": {"input": 0, "output": 1010}}))
    assert "Go on?" in call("", "--set", "n=1", "--quiet")[2]
