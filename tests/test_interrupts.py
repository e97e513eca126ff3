"""Ctrl-C and SIGTERM: nothing new is sent, what is in flight is waited for or in doubt, and what came is not lost."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import commands
import pandas as pd
import pytest
from commands import Command
from killing import NODE, Oracle, bodies, committed, oracle
from measuring import measures_seconds
from sentences import wording
from servers import Exchange, Reaction, digest, echo, fault_server, interrupting
from signalling import Process

import tablenodes as tn
from tablenodes.cli.application import HangUp
from tablenodes.engine.calls import Request
from tablenodes.engine.interrupts import AT_ONCE, Interrupts
from tablenodes.engine.journal import Keys
from tablenodes.engine.transports.curl_transport import CurlTransport
from tablenodes.run import progress as bars
from tablenodes.run import watch as watching

ROWS, CONCURRENCY = 60, 4
LATENCY = 0.1
"""Seconds; the longest answer takes three times as long."""

SIGNALS = [
    pytest.param([signal.SIGINT, signal.SIGINT], id="Ctrl-C twice"),
    pytest.param([signal.SIGTERM], id="SIGTERM"),
    pytest.param([signal.SIGHUP], id="a lost terminal"),
]


def job(server: Oracle, folder: Path, **more: Any) -> dict[str, Any]:
    paths = {"journal": str(folder / "j"), "output": str(folder / "out.csv")}
    return {"url": server.url, "rows": ROWS, "concurrency": CONCURRENCY} | paths | more


def names(server: Oracle) -> dict[tuple[bytes, int], str]:
    keys = Keys(Request("POST", f"{server.url}/chat/completions", ()), NODE)
    return {keys.key(body): digest(body) for body in bodies(ROWS)}


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


@measures_seconds
def test_ctrl_c_sends_nothing_new_and_loses_nothing(tmp_path):
    """No send later than 0.1 s after it; exit code 130; the same command then asks for the rest alone."""
    (tmp_path / "words.csv").write_text("word\n" + "".join(f"w{row}\n" for row in range(ROWS)))
    command = ["call", "CreateChatCompletion", "words.csv", "--model", "m"]
    command += ["--prompt", "Say {{ word }}", "--output", "out.csv", "--concurrency", str(CONCURRENCY)]
    with oracle(LATENCY) as server:
        command += ["--base-url", server.url]
        with Command(command, cwd=tmp_path) as process:
            wait_until(lambda: len(server.answered) >= 6)
            process.send_signal(signal.SIGINT)
            pressed = time.monotonic()
            said = process.communicate(timeout=30)[1]
        assert process.returncode == 130
        assert "Traceback" not in said
        assert max(server.times) <= pressed + 0.15  # the server's own reading takes time too
        sent = len(server.received)
        assert sent < ROWS
        assert len(server.answered) == sent
        rows = pd.read_csv(tmp_path / "out.csv")
        assert (len(rows), (rows["outcome"] == "ok").sum()) == (ROWS, sent)
        assert commands.run(command, cwd=tmp_path)[0] == 0
        assert len(server.received) == ROWS == len(set(server.received))


@measures_seconds
@pytest.mark.parametrize("signals", SIGNALS)
def test_in_a_hurry_it_leaves_within_a_second(victims, tmp_path, signals):
    """What is in flight is in doubt, what came is committed, and the next run makes up for it."""
    with oracle(latency=0.02) as server:
        seen: dict[str, float] = {}

        def hurry(victim: Process) -> None:
            wait_until(lambda: len(server.answered) >= 12)
            server.latency = 20
            wait_until(lambda: sum(delay >= 20 for delay in server.delays) == CONCURRENCY)
            for left, each in reversed([*enumerate(signals)]):
                victim.send(each)
                time.sleep(0.2 if left else 0)  # a busy machine may see two signals as one
            seen["signalled"] = time.monotonic()

        said = victims.run(job(server, tmp_path), hurry)["said"]
        assert time.monotonic() - seen["signalled"] < 1
        done = len(server.answered)
        assert said["error"] == "Interrupted"
        assert said["outcomes"] == {"ok": done, "in_doubt": CONCURRENCY, "not_sent": ROWS - done - CONCURRENCY}
        assert len(said["maybe_billed"]) == CONCURRENCY
        assert committed(tmp_path / "j", names(server)) == set(server.answered)
        server.latency = 0.001
        again = victims.run(job(server, tmp_path))["said"]
        assert again["outcomes"] == {"ok": ROWS}
        assert (again["reused"], again["requests"]) == (done, ROWS - done)
        assert again["maybe_billed"] == said["maybe_billed"]


@measures_seconds
def test_the_grace_period_is_kept(victims, tmp_path):
    """After it, what is still in flight is in doubt."""
    with oracle(latency=20) as server:

        def press(victim: Process) -> None:
            wait_until(lambda: len(server.received) == CONCURRENCY)
            victim.send(signal.SIGINT)

        end = victims.run(job(server, tmp_path, manner={"limits": {"grace": 0.3}}), press)
        assert 0.3 <= end["seconds"] < 10  # the answers would take 20, the grace where none is said 30
        assert end["said"]["outcomes"] == {"in_doubt": CONCURRENCY, "not_sent": ROWS - CONCURRENCY}


@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGHUP], ids=["in the background", "under nohup"])
def test_a_signal_that_is_ignored_stays_ignored(victims, tmp_path, ignored):
    """As for a process that a shell has put into the background."""
    with oracle() as server:
        server.holding = True

        def press(victim: Process) -> None:
            wait_until(lambda: len(server.received) == CONCURRENCY)
            victim.send(ignored)
            server.release()

        said = victims.run(job(server, tmp_path, ignores=int(ignored)), press)["said"]
        assert said["outcomes"] == {"ok": ROWS}


def test_handlers_of_the_program_come_back(tmp_path):
    """Its own handler for SIGTERM is left alone; that for Ctrl-C is there again after the run."""

    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, own), signal.signal(signal.SIGINT, own)
    try:
        with Interrupts() as interrupts:
            assert signal.getsignal(signal.SIGTERM) is own
            assert signal.getsignal(signal.SIGINT) is not own
            signal.raise_signal(signal.SIGINT)
            assert interrupts.level == 1
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


WORDS = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
TABLE = pd.DataFrame({"word": [f"w{row}" for row in range(9)]})


ALARM = signal.SIGUSR1
"""Not SIGALRM, which is the test's own limit of time."""


class TookTooLong(Exception):  # noqa: N818 - as an orchestrator's timeout
    """What a program's own handler raises."""


class MustGo(BaseException):
    """The same, of the kind that nobody catches by mistake."""


@pytest.mark.parametrize("kind", [TookTooLong, MustGo, SystemExit])
@pytest.mark.parametrize("journal", [False, True])
def test_an_error_of_the_programs_own_handler_goes_through_with_what_came(kind, journal, tmp_path):
    """It is raised as it is; its `output` has every answer, and says which rows are in doubt."""

    kept = {"journal": tmp_path / "j"} if journal else {}
    reactions = [echo(), echo(), echo(), alarming(), echo()]
    with alarmed(kind), fault_server(reactions) as server, pytest.raises(kind) as caught:
        WORDS.run(TABLE, tn.Connection(server.url), limits=tn.Limits(concurrency=1), progress=False, **kept)
    log = caught.value.output.log
    assert list(log["outcome"]) == ["ok"] * 3 + ["in_doubt"] + ["not_sent"] * 5
    assert list(log["maybe_billed"]) == [False] * 3 + [True] + [False] * 5


@contextlib.contextmanager
def alarmed(kind: type[BaseException]) -> Iterator[None]:
    """Have a handler of the program's own that raises an error of this kind."""

    def raising(*_: object) -> None:
        raise kind

    before = signal.signal(ALARM, raising)
    try:
        yield
    finally:
        signal.signal(ALARM, before)


def alarming() -> Reaction:
    """Send the signal that the program has a handler for, and answer nothing."""

    def react(exchange: Exchange) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, ALARM)
        exchange.pause(30)

    return react


@pytest.mark.parametrize("journal", [False, True])
def test_an_error_of_a_handler_while_a_row_waits_for_its_turn(journal, tmp_path, monkeypatch):
    """What is in nobody's hands was not sent, and the next run sends it, also one that sends nothing in doubt."""
    kept = {"journal": tmp_path / "j"} if journal else {}
    paced = tn.Limits(concurrency=1, requests_per_minute=1)
    real = CurlTransport.wait
    with fault_server(echo()) as server:

        def wait(self, seconds):
            if server.requests and not self._in_flight:
                signal.raise_signal(ALARM)
            return real(self, seconds)

        with alarmed(TookTooLong), monkeypatch.context() as patched:
            patched.setattr(CurlTransport, "wait", wait)
            with pytest.raises(TookTooLong) as caught:
                WORDS.run(TABLE, tn.Connection(server.url), limits=paced, progress=False, **kept)
        assert list(caught.value.output.log["outcome"]) == ["ok"] + ["not_sent"] * 8
        if journal:
            cautious = {"retry": tn.Retry(ambiguous=0), "on_in_doubt": "report", "progress": False}
            assert WORDS.run(TABLE, tn.Connection(server.url), **cautious, **kept).summary.ok == 9
            assert len(server.requests) == 9


@pytest.mark.parametrize("kind", [TookTooLong, MustGo])
def test_a_workflow_writes_what_came_before_an_error_of_a_handler(kind, tmp_path):
    """The error has the outputs of all nodes."""
    workflow = tn.Workflow({"ask": WORDS}, output=str(tmp_path / "o.csv"), limits=tn.Limits(concurrency=1))
    reactions = [echo(), echo(), alarming(), echo()]
    with alarmed(kind), fault_server(reactions) as server, pytest.raises(kind) as caught:
        workflow.run(TABLE, connection=tn.Connection(server.url), progress=False)
    assert list(caught.value.output["ask"].log["outcome"]) == ["ok"] * 2 + ["in_doubt"] + ["not_sent"] * 6
    assert (tmp_path / "o.csv").read_text().count(",ok,\n") == 2


@pytest.mark.parametrize("method", ["start", "wait"])
def test_an_error_of_our_own_transport_ends_the_run_in_order(method, monkeypatch):
    """As one of a transport of the user's own does."""
    real = getattr(CurlTransport, method)
    with fault_server(echo()) as server:

        def failing(self, *arguments):
            if len(server.requests) >= 3:  # so that two have been answered
                raise RuntimeError("no such thing")
            return real(self, *arguments)

        monkeypatch.setattr(CurlTransport, method, failing)
        with pytest.raises(tn.errors.TransportError, match="RuntimeError") as caught:
            WORDS.run(TABLE, tn.Connection(server.url), limits=tn.Limits(concurrency=1), progress=False)
    assert set(caught.value.output.log["outcome"]) <= {"ok", "in_doubt", "not_sent"}
    assert caught.value.output.summary.ok >= 2


def test_a_terminal_that_is_lost_is_told_more_than_once():
    """By the shell and by the system: on the command line the second time does not end what writes the answers."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        HangUp().take_over()
        with Interrupts() as interrupts:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGHUP)
            wait_until(lambda: interrupts.level > 0)
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.level == AT_ONCE
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_program_that_runs_nodes_keeps_its_own_signals():
    """Also after a terminal was lost in the middle of a run."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            wait_until(lambda: interrupts.level > 0)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_loop_that_goes_on_after_errors_ends_with_ctrl_c():
    """An interrupt is no `Exception`: nothing more is paid for, and what came is there."""
    ends = []
    with fault_server(interrupting(echo(), 2)) as server, wording.raises(tn.errors.Interrupted):
        for _ in range(3):
            try:
                WORDS.run(TABLE, tn.Connection(server.url), limits=tn.Limits(concurrency=1), progress=False)
            except Exception as error:
                ends.append(error)
    assert (ends, len(server.requests)) == ([], 2)
    assert tn.last_output().summary.ok == 2


@pytest.mark.parametrize("kind", [tn.Workflow, None])
def test_an_interrupt_counts_the_answers_that_were_paid_and_are_no_use(kind):
    node = WORDS.replace(answer=int)
    asking = node if kind is None else kind({"ask": node})
    with fault_server(interrupting(echo(), 2)) as server, wording.raises(tn.errors.Interrupted):
        asking.run(TABLE, connection=tn.Connection(server.url), limits=tn.Limits(concurrency=1), progress=False)


@pytest.mark.parametrize("progress", [None, True])
def test_ctrl_c_says_what_is_finishing_and_how_to_leave(progress, monkeypatch):
    """In a line where there is no bar, else in the bar."""
    monkeypatch.setattr(sys, "stderr", said := io.StringIO())
    monkeypatch.setattr(bars, "_DELAY", 0.0)
    monkeypatch.setattr(bars, "_REDRAWN", 0.0)
    monkeypatch.setattr(watching, "_BETWEEN", 0.0)
    monkeypatch.setenv("COLUMNS", "80")
    with fault_server(interrupting(echo(delay=0.4), 3)) as server, pytest.raises(tn.errors.Interrupted):
        WORDS.run(TABLE, tn.Connection(server.url), limits=tn.Limits(concurrency=3), progress=progress)
    if progress:
        assert "3 finishing, Ctrl-C again to leave" in said.getvalue()
        assert "ended after 3 of 9 rows" in said.getvalue()
        assert "3 ok, 0 failed" in said.getvalue().splitlines()[-1]
    else:
        wording(said.getvalue())
