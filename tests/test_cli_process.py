"""The command line as a process: exit codes, signals, pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers import Exchange, answer, fault_server

import tablenodes as tn

COMMAND = [sys.executable, "-m", "tablenodes"]
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]}


def held_after(count: int):
    """Answer so many requests; hold the others back until the server ends."""
    numbers = iter(range(10_000))

    def react(exchange: Exchange) -> None:
        if next(numbers) >= count:
            exchange.pause(60)
        answer(ANSWER)(exchange)

    return react


def start(*arguments, environ=None, **options) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(tn.__file__).parents[1]), "PYTHONWARNINGS": "error"} | (
        environ or {}
    )
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def run(*arguments, **options) -> tuple[int, str, str]:
    with start(*arguments, **options) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("word\n" + "".join(f"w{i}\n" for i in range(10)))
    return path


def call(table, server, *more):
    return [
        "call",
        "CreateChatCompletion",
        table,
        "--base-url",
        server.url,
        "--model",
        "m",
        "--prompt",
        "{{ word }}",
        *more,
    ]


def test_tables_and_words_are_kept_apart(table):
    """The standard output is the table, byte for byte, whatever happens; the code says how it went."""
    table.write_text("word\na\n\n")
    with fault_server(answer(ANSWER)) as server:
        code, out, err = run(*call(table, server))
    assert (code, out) == (3, "word,text,status,outcome\na,yes,200,ok\n,,,invalid_request\n")
    assert "1 ok, 1 invalid_request" in err
    assert run("run", "no.yaml")[:2] == (1, "")
    assert run("walk")[:2] == (2, "")
    assert run("--version") == (0, f"tablenodes {tn.__version__}\n", "")


def wait_for(condition) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def interrupted(process: subprocess.Popen[str], server) -> tuple[str, str]:
    """Press Ctrl-C twice, once the server holds a request."""
    wait_for(lambda: len(server.requests) >= 5)
    process.send_signal(signal.SIGINT)
    for patience in (0.3, 10):  # a busy machine may see two signals as one
        try:
            return process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
    return process.communicate(timeout=20)


def test_ctrl_c_leaves_what_it_has(table, tmp_path):
    """130; the answers are in the file, the same command goes on with the rest."""
    output = tmp_path / "out.csv"
    arguments = ["--output", output, "--concurrency", "1"]
    with fault_server(held_after(4)) as server, start(*call(table, server, *arguments)) as process:
        out, err = interrupted(process, server)
    assert process.returncode == 130
    assert output.read_text().count(",yes,200,ok\n") == 4
    assert output.read_text().count("\n") == 11
    assert "4 of 10 rows answered" in err
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    assert out == ""
    with fault_server(answer(ANSWER)) as server:
        code, _, err = run(*call(table, server, *arguments, "--base-url", server.url)[:-2])
        # Another address is another server: nothing is reused from the first one.
        assert (code, len(server.requests)) == (0, 10)


def test_ctrl_c_leaves_what_it_has_on_the_standard_output(table):
    """The whole table, with what became of each row."""
    with fault_server(held_after(4)) as server, start(*call(table, server, "--concurrency", "1", "--jsonl")) as process:
        out, _ = interrupted(process, server)
    assert process.returncode == 130
    outcomes = [json.loads(line)["outcome"] for line in out.splitlines()]
    assert outcomes == ["ok"] * 4 + ["in_doubt"] + ["not_sent"] * 5


def test_a_run_that_was_stopped_goes_on(table, tmp_path):
    """With the same command, the rest is sent and nothing twice but what was in doubt."""
    output = tmp_path / "out.csv"
    numbers = iter(range(10_000))
    holding = [True]

    def react(exchange: Exchange) -> None:
        if next(numbers) >= 4 and holding:
            exchange.pause(60)
        answer(ANSWER)(exchange)

    with fault_server(react) as server:
        arguments = call(table, server, "--output", output, "--concurrency", "1")
        with start(*arguments) as process:
            interrupted(process, server)
        holding.clear()
        code, _, err = run(*arguments)
        assert (code, len(server.requests)) == (0, 4 + 1 + 6)
    assert "4 of 10 reused from the journal, sending 6" in err
    assert output.read_text().count(",yes,200,ok\n") == 10


@pytest.mark.parametrize("arguments", [["schema", "create_chat_completion", "--json"], None])
def test_a_reader_may_stop_at_any_time(table, arguments):
    """``| head`` is no error, whatever is printed."""
    table.write_text("word\n" + "w\n" * 3000)
    with fault_server(answer(ANSWER)) as server:
        arguments = arguments or call(table, server, "--no-progress")
        with start(*arguments) as process:
            process.stdout.close()
            err = process.stderr.read()
            process.wait(60)
    assert process.returncode == 0
    assert [line for line in err.splitlines() if "Error" in line or "Traceback" in line or "Exception" in line] == []


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_no_letter_is_too_much_for_the_terminal(table, tmp_path, encoding):
    """What a stream's encoding does not have is shown as an escape; a table in a pipe is UTF-8 all the same."""
    table.write_text("word\n" + "Łódź ⏎ 東\n" * 30 + "\n", encoding="utf-8")
    workflow = tmp_path / "w.yaml"
    named = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "COLUMNS": "40"}
    with fault_server(answer(ANSWER)) as server:
        workflow.write_text(
            f"connection: {{base_url: {server.url}}}\ntable: words.csv\noutput: {tmp_path / 'out.csv'}\nnodes:\n"
            '  - {id: a, type: CreateChatCompletion, model: m, prompt: "{{ word }}"}\n',
            encoding="utf-8",
        )
        code, out, err = run("run", workflow, environ=named, encoding=encoding)
        assert (code, "Traceback" in err) == (3, False)
        assert "\\u0141" in out
        assert "\u2026 and 6 rows more".encode(encoding, "backslashreplace").decode(encoding) in out
        code, out, _ = run(*call(table, server), environ=named, encoding="utf-8", errors="replace")
        assert (code, out.count("Łódź ⏎ 東,yes,200,ok\n")) == (3, 30)
        code, out, err = run("run", workflow, "-i", "Ł=x", environ=named, encoding=encoding)
    assert (code, out, err) == (1, "", "tablenodes: error: the workflow has no input '\\u0141'; it has none\n")


def test_the_key_is_in_no_list_of_processes(table, monkeypatch):
    """It travels in the environment alone."""
    monkeypatch.setenv("MY_KEY", "sk-canary-key")
    with fault_server(held_after(0)) as server, start(*call(table, server, "--api-key-env", "MY_KEY")) as process:
        wait_for(lambda: server.requests)
        seen = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert server.requests[0].headers["authorization"] == "Bearer sk-canary-key"
    assert b"canary" not in seen
    assert "canary" not in err
    assert process.returncode == 130
