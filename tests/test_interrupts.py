"""Ctrl-C and SIGTERM: nothing new is sent, what is in flight is waited for or in doubt, and what came is not lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from killing import NODE, Oracle, Victims, bodies, committed, oracle
from measuring import measures_seconds
from servers import Exchange, Reaction, digest, echo, fault_server

import tablenodes as tn
from tablenodes.engine.calls import Request
from tablenodes.engine.interrupts import Interrupts
from tablenodes.engine.journal.journal import Keys

ROWS, CONCURRENCY = 60, 4
LATENCY = 0.1
"""Seconds; the longest answer takes three times as long."""

SIGNALS = [
    pytest.param([signal.SIGINT, signal.SIGINT], id="Ctrl-C twice"),
    pytest.param([signal.SIGTERM], id="SIGTERM"),
    pytest.param([signal.SIGHUP], id="a lost terminal"),
]


@pytest.fixture(scope="module")
def victims():
    started = Victims()
    yield started
    started.close()


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
    command = [sys.executable, "-m", "tablenodes", "call", "CreateChatCompletion", "words.csv", "--model", "m"]
    command += ["--prompt", "Say {{ word }}", "--output", "out.csv", "--concurrency", str(CONCURRENCY)]
    with oracle(LATENCY) as server:
        command += ["--base-url", server.url]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
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
        rows = (tmp_path / "out.csv").read_text().splitlines()[1:]
        assert (len(rows), sum(row.endswith(",ok") for row in rows)) == (ROWS, sent)
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
        assert len(server.received) == ROWS == len(set(server.received))


@measures_seconds
@pytest.mark.parametrize("signals", SIGNALS)
def test_in_a_hurry_it_leaves_within_a_second(victims, tmp_path, signals):
    """What is in flight is in doubt, what came is committed, and the next run makes up for it."""
    with oracle(latency=0.02) as server:
        seen: dict[str, float] = {}

        def hurry(pid: int) -> None:
            wait_until(lambda: len(server.answered) >= 12)
            server.latency = 20
            wait_until(lambda: sum(delay >= 20 for delay in server.delays) == CONCURRENCY)
            for left, each in reversed([*enumerate(signals)]):
                os.kill(pid, each)
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

        def press(pid: int) -> None:
            wait_until(lambda: len(server.received) == CONCURRENCY)
            os.kill(pid, signal.SIGINT)

        end = victims.run(job(server, tmp_path, manner={"limits": {"grace": 0.3}}), press)
        assert 0.3 <= end["seconds"] < 1.5
        assert end["said"]["outcomes"] == {"in_doubt": CONCURRENCY, "not_sent": ROWS - CONCURRENCY}


@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGHUP], ids=["in the background", "under nohup"])
def test_a_signal_that_is_ignored_stays_ignored(victims, tmp_path, ignored):
    """As for a process that a shell has put into the background."""
    with oracle() as server:
        server.holding = True

        def press(pid: int) -> None:
            wait_until(lambda: len(server.received) == CONCURRENCY)
            os.kill(pid, ignored)
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


class TookTooLong(Exception):  # noqa: N818 - as an orchestrator's timeout
    """What a program's own handler raises."""


class MustGo(BaseException):
    """The same, of the kind that nobody catches by mistake."""


@pytest.mark.parametrize("kind", [TookTooLong, MustGo, SystemExit])
@pytest.mark.parametrize("journal", [False, True])
def test_an_error_of_the_programs_own_handler_goes_through_with_what_came(kind, journal, tmp_path):
    """It is raised as it is; its `output` has every answer, and says which rows are in doubt."""

    def raising(*_: object) -> None:
        raise kind

    before = signal.signal(signal.SIGALRM, raising)
    kept = {"journal": tmp_path / "j"} if journal else {}
    slow = [echo(), echo(), echo(), alarming(), echo()]
    try:
        node = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
        table = pd.DataFrame({"word": [f"w{row}" for row in range(9)]})
        with fault_server(slow) as server, pytest.raises(kind) as caught:
            node.run(table, tn.Connection(server.url), limits=tn.Limits(concurrency=1), progress=False, **kept)
        log = caught.value.output.log
        assert list(log["outcome"]) == ["ok"] * 3 + ["in_doubt"] + ["not_sent"] * 5
        assert list(log["maybe_billed"]) == [False] * 3 + [True] + [False] * 5
    finally:
        signal.signal(signal.SIGALRM, before)


def alarming() -> Reaction:
    """Send the signal that the program has a handler for, and answer nothing."""

    def react(exchange: Exchange) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        exchange.pause(30)

    return react


def test_a_terminal_that_is_lost_is_told_more_than_once():
    """By the shell and by the system: the second time does not end what writes the answers."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            wait_until(lambda: interrupts.level > 0)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with Interrupts():
            pass
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
