"""The command line as a process: exit codes, signals, pipes."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import pandas as pd
import pytest
from commands import Command
from sentences import wording
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


def start(*arguments, **options) -> Command:
    return Command(arguments, **options)


def run(*arguments, **options) -> tuple[int, str, str]:
    return commands.run(arguments, **options)


def start_anew(*arguments, environ=None, **options) -> subprocess.Popen[str]:
    """Start an interpreter, for what depends on its start."""
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


def run_anew(*arguments, **options) -> tuple[int, str, str]:
    with start_anew(*arguments, **options) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def run_encoded(*arguments, environ, **options) -> tuple[int, str, str]:
    """Run with the encoding that Python would give its streams when it begins."""
    program = "import io, sys\n"
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        stream = f"open({number}, 'wb', closefd=False), {environ['PYTHONIOENCODING']!r}, {errors!r}"
        program += (
            f"sys.{name} = sys.__{name}__ = io.TextIOWrapper({stream}, newline='\\n', line_buffering={number == 2})\n"
        )
    return commands.run(arguments, program + commands.COMMAND_LINE, env={**os.environ, **environ}, **options)


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
    begin = "word,answer,status,outcome,message\na,yes,200,ok,\n,,,invalid_request,"
    assert (code, out[: len(begin)], out[len(begin) :].find("\n")) == (3, begin, len(out) - len(begin) - 1)
    wording(out.removeprefix(begin))
    wording.line(err)
    assert run("run", "no.yaml")[:2] == (1, "")
    assert run("walk")[:2] == (2, "")
    assert run_anew("--version") == (0, f"tablenodes {tn.__version__}\n", "")


def wait_for(condition) -> None:
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def interrupted(process: Command, server) -> tuple[str, str]:
    """Press Ctrl-C twice, once the server holds a request."""
    wait_for(lambda: len(server.requests) >= 5)
    return pressed_twice(process)


def pressed_twice(process: Command) -> tuple[str, str]:
    """Press Ctrl-C twice, and give what the process has written at its end."""
    process.send_signal(signal.SIGINT)
    for patience in (0.3, 10):  # a busy machine may see two signals as one
        try:
            return process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)


def test_ctrl_c_leaves_what_it_has(table, tmp_path):
    """130; the answers are in the file, the same command goes on with the rest."""
    output = tmp_path / "out.csv"
    arguments = ["--output", output, "--concurrency", "1"]
    with fault_server(held_after(4)) as server, start(*call(table, server, *arguments)) as process:
        out, err = interrupted(process, server)
    assert process.returncode == 130
    assert output.read_text().count(",yes,200,ok,\n") == 4
    assert output.read_text().count("\n") == 11
    wording.line(err)
    wording.line(err)
    assert "Traceback" not in err
    assert out == ""
    with fault_server(answer(ANSWER)) as server:
        code, _, err = run(*call(table, server, *arguments, "--base-url", server.url)[:-2])
        # Another address is another server: nothing is reused from the first one.
        assert (code, len(server.requests)) == (0, 10)


def test_ctrl_c_leaves_what_it_has_on_the_standard_output(table):
    """The whole table, with what became of each row."""
    with (
        fault_server(held_after(4)) as server,
        start(*call(table, server, "--concurrency", "1", "--format", "jsonl")) as process,
    ):
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
    wording.line(err)
    assert output.read_text().count(",yes,200,ok,\n") == 10


@pytest.mark.parametrize(
    "more",
    [None, [], ["--journal", "j"], ["-q"], ["-o", "o.csv"]],
    ids=["help", "none", "a journal", "quiet", "a file"],
)
def test_a_reader_may_stop_at_any_time(table, monkeypatch, more):
    """``| head`` is no error, whatever is printed, but for a run's answers: then it is said, and where they are."""
    monkeypatch.chdir(table.parent)
    table.write_text("word\n" + "w\n" * 300)
    with fault_server(answer(ANSWER)) as server:
        arguments = ["call", "--help"] if more is None else call(table, server, "--no-progress", *more)
        with start(*arguments) as process:
            process.stdout.close()
            err = process.stderr.read()
            process.wait(60)
    is_lost = more is not None and "-o" not in more
    assert process.returncode == (1 if is_lost else 0)
    wording("\n".join(line for line in err.splitlines() if "error: " in line))
    assert [line for line in err.splitlines() if "Error" in line or "Traceback" in line or "Exception" in line] == []


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_no_letter_is_too_much_for_the_terminal(table, tmp_path, encoding):
    """What a stream's encoding does not have is shown as an escape; a table in a pipe is UTF-8 all the same."""
    table.write_text("word\n" + "Łódź ⏎ 東\n" * 30 + "\n", encoding="utf-8")
    workflow = tmp_path / "w.yaml"
    named = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "COLUMNS": "40"}
    begin = run_anew if encoding == "ascii" else run_encoded
    with fault_server(answer(ANSWER)) as server:
        workflow.write_text(
            f"connection: {{base_url: {server.url}}}\ntable: words.csv\noutput: {tmp_path / 'out.csv'}\nnodes:\n"
            '  - {id: a, type: CreateChatCompletion, model: m, prompt: "{{ word }}"}\n',
            encoding="utf-8",
        )
        code, out, err = begin("run", workflow, environ=named, encoding=encoding)
        assert (code, "Traceback" in err) == (3, False)
        assert "\\u0141" in out
        assert "\u2026 and 26 more rows".encode(encoding, "backslashreplace").decode(encoding) in out
        code, out, _ = run_encoded(*call(table, server), environ=named, encoding="utf-8", errors="replace")
        assert (code, out.count("Łódź ⏎ 東,yes,200,ok,\n")) == (3, 30)
        code, out, err = begin("run", workflow, "-i", "Ł=x", environ=named, encoding=encoding)
    assert (code, out) == (1, "")
    wording(err)


def test_the_key_is_in_no_list_of_processes(table, monkeypatch):
    """It travels in the environment alone."""
    monkeypatch.setenv("MY_KEY", "sk-canary-key")
    with fault_server(held_after(0)) as server, start_anew(*call(table, server, "--api-key-env", "MY_KEY")) as process:
        wait_for(lambda: server.requests)
        seen = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert server.requests[0].headers["authorization"] == "Bearer sk-canary-key"
    assert b"canary" not in seen
    assert "canary" not in err
    assert process.returncode == 130


LONG = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "y" * 400}, "finish_reason": "stop"}]}
SMALL_FILES = """
import resource, signal, sys
sys.dont_write_bytecode = True
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
from tablenodes.cli import main
main(sys.argv[1:])
"""


def test_an_output_that_cannot_be_written_goes_to_the_standard_output(table, tmp_path):
    """The disk is full once everything is answered: what was paid for is printed, and an earlier output stands."""
    output = tmp_path / "out.csv"
    output.write_text("word,text\nearlier,one\n")
    with fault_server(answer(LONG)) as server:
        code, out, err = run(*call(table, server, "--output", output, "--no-journal"), program=SMALL_FILES)
    assert (code, "Traceback" in err) == (1, False)
    assert out.count(f",{'y' * 400},200,ok,\n") == 10
    wording.line(err)
    assert "wrote " not in err
    assert str(output) in err.splitlines()[-1]
    assert output.read_text() == "word,text\nearlier,one\n"


def test_an_output_that_cannot_be_written_is_printed_without_what_text_cannot_hold(tmp_path):
    """A column of bytes is left out, and said to be; the answers are not lost for it. The journal is named."""
    table, output = tmp_path / "t.parquet", tmp_path / "out.parquet"
    program = SMALL_FILES.replace("2000, 2000", "600_000, 600_000")  # the journal is less, the output is more
    pd.DataFrame({"word": ["w0", "w1"], "b": [os.urandom(700_000)] * 2}).to_parquet(table)
    with fault_server(answer(ANSWER)) as server:
        code, out, err = run(*call(table, server, "--output", output), program=program)
    assert (code, out) == (1, "word,answer,status,outcome,message\nw0,yes,200,ok,\nw1,yes,200,ok,\n")
    wording.line(err)
    wording.line(err)
    assert not output.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_an_output_without_an_answer_leaves_an_earlier_one(table, tmp_path):
    """Whatever went wrong: nothing is put in the place of something."""
    output = tmp_path / "out.csv"
    refused = {"error": {"message": "no", "type": "invalid_request_error"}}
    with fault_server(answer(refused, 401)) as server:
        code, _, err = run(*call(table, server, "--output", output, "--no-journal"))
        assert (code, "wrote " in err, output.read_text().count("auth")) == (3, True, 10)
        output.write_text("word,text\nearlier,one\n")
        code, _, err = run(*call(table, server, "--output", output, "--no-journal"))
    assert (code, "wrote " in err) == (3, False)
    wording.line(err)
    assert output.read_text() == "word,text\nearlier,one\n"


@pytest.mark.parametrize("how", ["term", "twice"])
def test_who_leaves_at_once_keeps_the_answers_of_earlier_runs(table, tmp_path, how):
    """New rows stand before the old ones and are not answered; the old ones are in the output all the same."""
    output = tmp_path / "out.csv"
    holding: list[bool] = []

    def react(exchange: Exchange) -> None:
        if holding:
            exchange.pause(60)
        answer(ANSWER)(exchange)

    with fault_server(react) as server:
        arguments = call(table, server, "--output", output, "--concurrency", "2")
        assert run(*arguments)[0] == 0
        table.write_text("word\n" + "".join(f"new{i}\n" for i in range(5)) + table.read_text().partition("\n")[2])
        holding.append(True)
        with start(*arguments) as process:
            wait_for(lambda: len(server.requests) >= 12)
            if how == "term":
                process.terminate()
                _, err = process.communicate(timeout=60)
            else:
                _, err = pressed_twice(process)
    assert process.returncode == 130
    assert list(pd.read_csv(output)["outcome"]) == ["in_doubt"] * 2 + ["not_sent"] * 3 + ["ok"] * 10
    wording.line(err)
    wording.line(err)


@pytest.mark.parametrize("module", ["tablenodes.cli", "tablenodes.errors", "typing", "click"])
def test_ctrl_c_while_the_command_is_loaded_is_no_traceback(module):
    """However early it comes: nothing that takes time is loaded before it is caught."""
    code = (
        "import sys\n"
        f"sys.modules.pop('{module}', None)\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == '{module}': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "from tablenodes.__main__ import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(tn.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    wording(done.stderr)


def test_ctrl_c_after_the_end_does_not_change_the_exit_code():
    """All is written and said; an impatient hand is no reason for another code than 130, or 1."""
    code = (
        "import os, signal, sys\n"
        "from tablenodes.__main__ import main\n"
        "try: main()\n"
        "finally: os.kill(os.getpid(), signal.SIGINT)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(tn.__file__).parents[1])}
    command = [sys.executable, "-c", code, "run", "none.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "a lost terminal"])
def test_who_is_told_to_end_before_an_answer_says_how_to_go_on(table, tmp_path, number):
    """Without a promise about answers that there are none of."""
    with (
        fault_server(held_after(0)) as server,
        start(*call(table, server, "--output", tmp_path / "out.csv")) as process,
    ):
        wait_for(lambda: server.requests)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    wording.line(err)
    assert ".output" not in err


def test_a_journal_that_is_full_promises_no_more_than_it_has(table, tmp_path):
    """How many answers are in it and how many only in the table; where that went is said, and in no word of Python."""
    table.write_text("word\n" + "".join(f"w{i}\n" for i in range(200)))
    small = SMALL_FILES.replace("2000, 2000", "60000, 60000")

    def long_one(exchange):  # no commit of several of them fits, and none is like another
        answer(json.loads(json.dumps(LONG).replace("y" * 400, secrets.token_hex(4000))))(exchange)

    with fault_server(long_one) as server:
        arguments = call(table, server, "--output", tmp_path / "out.csv", "--concurrency", "16")
        code, out, err = run(*arguments, program=small)
    kept, unkept = re.search(r"(\d+) of them are in the journal, (\d+) only in the table", err).groups()
    _, rows, _ = run("journal", tmp_path / "out.csv.journal", "--jsonl")
    assert code == 1
    assert sum(json.loads(row)["outcome"] == "ok" for row in rows.splitlines()) == int(kept)
    assert int(unkept) > 0
    assert "what was answered is in the journal" not in err
    assert ".output" not in err
    if "cannot write" in err:
        wording.line(err)
        printed = out
    else:
        printed = (tmp_path / "out.csv").read_text()
    assert printed.count(",200,ok,\n") == int(kept) + int(unkept)


SHORT_OF = """
import errno, os, resource, threading
from tablenodes.cli.complaints import shortage
held = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (held + 2**22, resource.RLIM_INFINITY))
threading.stack_size(2**26)
try:
    threading.Thread(target=print).start()
except RuntimeError as error:
    print(shortage(error))
print(shortage(OSError(errno.EMFILE, "Too many open files")))
print(shortage(RuntimeError("an error in tablenodes")))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="how much memory it has is not known")
def test_what_a_machine_lacks_is_one_line():
    """It is no mistake of anybody's: a traceback would have people look for one."""
    done = subprocess.run([sys.executable, "-c", SHORT_OF], capture_output=True, text=True, check=True)
    threads, files, ours = done.stdout.splitlines()
    wording(threads.partition(": ")[0])
    wording(files.partition(": ")[0])
    assert ours == "None"


THREE = """\
connection: {{base_url: "{url}", api_key_env: A_KEY}}
table: {table}
nodes:
  - {{id: first, type: CreateChatCompletion, model: m, prompt: "{{{{ word }}}}"}}
  - {{id: second, type: CreateChatCompletion, model: m, prompt: "{{{{ first }}}} {{{{ word }}}}"}}
  - {{id: third, type: CreateChatCompletion, model: m, prompt: "{{{{ second }}}}"}}
output: {output}
"""


@pytest.fixture
def three(table, tmp_path, monkeypatch):
    """Makes a workflow of three chats over ten rows, for a server; returns its file and its output."""
    monkeypatch.setenv("A_KEY", "sk-canary-0123456789")

    def make(server):
        path, output = tmp_path / "three.yaml", tmp_path / "out.csv"
        path.write_text(THREE.format(url=server.url, table=table, output=output))
        return path, output

    return make


def test_ctrl_c_in_the_middle_of_the_second_of_three_nodes_leaves_table_journal_and_log(three, tmp_path):
    """What was answered is in the file; a line says what became of the run, another how to go on, which then works."""
    held = [True]
    numbers = iter(range(10_000))

    def react(exchange: Exchange) -> None:
        if next(numbers) >= 13 and held:
            exchange.pause(60)
        answer(ANSWER)(exchange)

    with fault_server(react) as server:
        workflow, output = three(server)
        arguments = ["run", workflow, "-c", "1", "--grace", "0", "--log", tmp_path / "log.csv"]
        with start(*arguments) as process:
            wait_for(lambda: len(server.requests) >= 14)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        rows = pd.read_csv(output)
        assert (rows["first"].notna().sum(), rows["second"].notna().sum(), "third" in rows.columns) == (10, 3, False)
        assert Path(f"{output}.journal").exists()
        assert pd.read_csv(tmp_path / "log.csv")["outcome"].value_counts().to_dict() == {
            "ok": 13,
            "not_sent": 6,
            "in_doubt": 1,
        }
        wording(err.splitlines()[-3:])
        held.clear()
        assert run(*arguments)[0] == 0
        assert len(server.requests) == 14 + 1 + 6 + 10
    assert pd.read_csv(output)["third"].notna().all()


@pytest.mark.parametrize("wrong", ["a broken table", "no key"])
def test_what_cannot_begin_is_one_line(three, table, monkeypatch, wrong):
    """Nothing is sent, and there is no file that looks like a result."""
    if wrong == "no key":
        monkeypatch.delenv("A_KEY")
    else:
        table.write_text('word,n\na,1\nb,2,3\n"c,4\n')
    with fault_server(answer(ANSWER)) as server:
        workflow, output = three(server)
        code, out, err = run("run", workflow)
        assert (code, out, err.count("\n"), server.requests) == (1, "", 1, [])
    assert not output.exists()
    wording(err)
