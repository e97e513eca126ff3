"""What a run waits for is said: in the bar where there is one, in a line where there is none."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections import Counter
from types import SimpleNamespace

import pandas as pd
import pytest
from scheduler_simulation import fault, ok, status
from sentences import wording
from servers import refusing_port

import tablenodes as tn
from tablenodes.engine.calls import Answer
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.scheduling import Scheduler
from tablenodes.engine.scheduling.scheduler import Wait
from tablenodes.run import progress as bars
from tablenodes.run import watch as watching
from tablenodes.run.watch import Watch
from tablenodes.settings import Limits, Retry

CHAT = tn.CreateChatCompletion(model="m", prompt="{{ text }}")
TWO = pd.DataFrame({"text": ["a", "b"]})


def scheduler(**limits):
    return Scheduler(Limits(**limits), Retry(), random=lambda: 0.5)


def asked(plan, key, came, at):
    """Send a row and take in what came of it."""
    plan.started(key, at)
    plan.answered(key, judge(Answer(key, **came)), 1, at)


# --- the scheduler knows --------------------------------------------------------------------------------------------


def test_first_attempts_on_their_way_are_no_wait():
    """Nor is nothing at all."""
    plan = scheduler()
    assert plan.wait(0.0) is None
    plan.started(0, 0.0)
    assert plan.wait(60.0) is None


def test_who_is_all_that_is_left_is_tried_again():
    """With what went wrong before, while it waits and while it is asked again; not beside a fresh row."""
    plan = scheduler()
    asked(plan, 0, fault("connect", sends=0), 0.0)
    assert plan.wait(0.0)[:3] == ("retry", None, "connect")
    plan.started(1, 0.1)
    assert plan.wait(0.1) is None
    plan.answered(1, judge(Answer(1, **ok())), 1, 0.2)
    assert plan.next_retry(30.0) == 0
    plan.started(0, 30.0)
    assert plan.wait(30.0)[:3] == ("retry", None, "connect")


def test_a_server_that_answers_nobody_is_an_outage():
    """From the failures that shut the gate on, whatever is in flight."""
    plan = scheduler(concurrency=5)
    for key in range(5):
        asked(plan, key, fault("connect", sends=0), 0.0)
    plan.started(5, 0.1)
    assert plan.wait(0.1)[:3] == ("outage", None, "connect")


def test_a_pause_of_the_servers_has_its_end():
    """As it was asked for, and its reason."""
    plan = scheduler()
    asked(plan, 0, status(429, b"retry-after: 40\r\n") | {"body": b'{"error":{"message":"3 a minute"}}'}, 1.0)
    assert plan.wait(2.0) == Wait("pause", 41.0, "rate_limited", "3 a minute")


def test_a_pace_says_when_the_next_call_goes():
    """Where nothing is in flight and the next has to wait."""
    plan = scheduler(requests_per_minute=6)
    asked(plan, 0, ok(), 0.0)
    assert plan.wait(0.0) == Wait("pace", 10.0)
    assert plan.wait(10.0) is None


def test_a_run_that_has_stopped_waits_for_nothing_more():
    """But for what is in flight."""
    plan = scheduler()
    asked(plan, 0, status(429, b"retry-after: 40\r\n"), 1.0)
    plan.stop("interrupted")
    assert plan.wait(2.0) is None


# --- the watch says -------------------------------------------------------------------------------------------------


class Waiting:
    """Stands for a scheduler."""

    stopped = None
    in_flight = waiting = sent = 0
    retries = {}

    def __init__(self, wait):
        self.given = wait

    def wait(self, now):
        return self.given


def watched(wait, seconds=60, answered=lambda now: 0, capsys=None):
    """Look up once a second; give the lines."""
    now = 0
    records = SimpleNamespace(settled=0, counts=Counter(), recalled=Counter())
    watch = Watch(
        records, Waiting(wait), bars.Progress(9, False), ["127.0.0.1:9"], 600.0, name="ask", clock=lambda: now
    )
    for now in range(seconds):
        records.counts["ok"] = answered(now)
        watch()
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    "wait",
    [
        Wait("outage", None, "connect"),
        Wait("retry", None, "dns"),
        Wait("retry", None, "http_error"),
        Wait("outage"),
        Wait("outage", None, "http_error", "No capacity"),
        Wait("pause", 40.0, "rate_limited", "3 requests a minute are allowed"),
        Wait("pause", 40.0),
        Wait("pace", 7.5),
        Wait("pace", None),
        Wait("pace", 0.1, rate=4.94),
        Wait("pace", 0.1, rate=1234.5),
    ],
)
def test_a_long_wait_is_said_once(wait, capsys):
    """After five seconds, with what is done about it."""
    wording(watched(wait, capsys=capsys))


def test_a_short_wait_is_not_worth_a_line(capsys):
    """An answer begins it anew."""
    assert watched(Wait("pause", 40.0), answered=lambda now: now // 4, capsys=capsys) == []


@pytest.mark.parametrize(("reason", "lines"), [("pause", 6), ("pace", 1)])
def test_each_long_wait_has_its_line_but_for_a_pace(reason, lines, capsys):
    """A pace has every row wait."""
    assert len(watched(Wait(reason, 99.0), answered=lambda now: now // 10, capsys=capsys)) == lines


# --- a run says -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("progress", "expected"), [(None, 1), (False, 0)])
def test_a_server_that_is_down_is_named(progress, expected, capsys, monkeypatch):
    """Unless progress is off."""
    monkeypatch.setattr(watching, "_WORTH_A_LINE", 0.0)
    monkeypatch.setattr(watching, "_BETWEEN", 0.0)
    with refusing_port() as port:
        connection = tn.Connection(f"http://127.0.0.1:{port}/v1", "")
        CHAT.run(TWO, connection, retry=tn.Retry(not_executed=3), progress=progress)
    assert capsys.readouterr().err.count(f"CreateChatCompletion: cannot reach 127.0.0.1:{port} (") == expected


class Terminal(io.StringIO):
    """A standard error stream that somebody sees."""

    def isatty(self):
        return True


def test_a_bar_says_what_is_waited_for_and_its_clock_goes_on(monkeypatch):
    """Though no row moves."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(bars, "_DELAY", 0.0)
    monkeypatch.setattr(bars, "_REDRAWN", 0.0)
    monkeypatch.setenv("COLUMNS", "150")
    with bars.Progress(60) as bar:
        for _ in range(3):
            bar.show(0, 0, "cannot reach 127.0.0.1:9, retrying")
        drawn = terminal.getvalue()
        bar.show(60, 60)
        bar.close(60, 60)
    assert drawn.count("cannot reach 127.0.0.1:9, retrying, 0 ok, 0 failed") >= 3
    assert terminal.getvalue().rstrip().endswith("60 ok, 0 failed")


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_bar_that_was_left_half_ends_as_one_line(error, monkeypatch):
    """Whatever ended the work: nothing of the bar stays."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(bars, "_DELAY", 0.0)
    monkeypatch.setenv("COLUMNS", "150")
    with contextlib.suppress(error), bars.Progress(60) as bar:
        bar.show(4, 3)
        raise error
    *_, last = terminal.getvalue().rstrip("\n").split("\r")
    wording(last)
    assert terminal.getvalue().count("\n") == 1


def test_a_bar_waits_for_its_second(monkeypatch):
    """Work that is done at once needs none."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(bars, "_DELAY", 3600.0)  # a machine may stand still for a second
    with bars.Progress(60) as bar:
        bar.show(0, 0, "x")
        bar.show(1, 1, "x")
        assert terminal.getvalue() == ""


def test_with_a_bar_there_is_no_line_besides(monkeypatch):
    """It says the same."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    for each, seconds in (
        (watching, "_WORTH_A_LINE"),
        (watching, "_BETWEEN"),
        (bars, "_DELAY"),
        (bars, "_REDRAWN"),
    ):
        monkeypatch.setattr(each, seconds, 0.0)
    monkeypatch.setenv("COLUMNS", "150")
    with refusing_port() as port:
        CHAT.run(TWO, tn.Connection(f"http://127.0.0.1:{port}/v1", ""), retry=tn.Retry(not_executed=2))
    assert f"cannot reach 127.0.0.1:{port} (no connection), retrying" in terminal.getvalue()
    assert "Ctrl-C" not in terminal.getvalue()


def test_a_terminal_without_columns_has_a_bar_all_the_same(monkeypatch):
    """Some say that they are 0 wide."""
    import fcntl
    import pty
    import select
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    monkeypatch.setattr(bars, "_DELAY", 0.0)
    with os.fdopen(ours, "rb", 0) as seen, os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with bars.Progress(60) as bar:
            bar.close(60, 60)
        monkeypatch.undo()
        drawn = b""
        # A terminal hands on what was written in pieces, and some time later.
        while b"\n" not in drawn and select.select([seen], [], [], 10.0)[0]:
            drawn += os.read(seen.fileno(), 10_000)
    assert b"60 ok, 0 failed" in drawn


def test_a_bar_without_a_number_of_rows_says_how_far_the_source_is_read():
    """Behind what is waited for."""
    drawn = []

    class Drawn:
        def draw(self, settled, ok, waits_for):
            drawn.append((settled, ok, waits_for))

        def refresh(self):
            pass

        def end(self, line):
            drawn.append(line)

    bar = bars.Progress(None, bar=Drawn(), how_far=lambda: "1.0 of 4.0 MB read (25%)")
    bar.show(7, 6)
    bar.show(8, 6, "pacing")
    bar.close(9, 8)
    assert drawn[:2] == [(7, 6, "1.0 of 4.0 MB read (25%)"), (8, 6, "pacing, 1.0 of 4.0 MB read (25%)")]
    assert drawn[2].startswith("9 rows in")
