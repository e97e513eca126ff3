"""Standard streams that are full, closed or unbuffered: a table arrives whole or is an error, words decide nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import commands
import pytest
from commands import COMMAND_LINE
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn
from tablenodes.cli.standard_streams import Outlet

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")

TEXT = "y" * 400
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}]}
SMALL_FILES = """
import resource, sys
sys.dont_write_bytecode = True  # a module's file that is cut would be there for the next one
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
from tablenodes.cli import main
main(sys.argv[1:])
"""
"""No file gets longer than 2,000 bytes: as on a disk that fills up, a write that begins before that is cut there."""


@pytest.fixture(autouse=True)
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "words.csv"
    path.write_text("word\n" + "".join(f"w{i}\n" for i in range(10)))
    return path


CLOSED = "import os, sys\nsys.{name} = sys.__{name}__ = None\nos.close({number})\n"
UNBUFFERED = (
    "import io, sys\nsys.stdout = sys.__stdout__ = io.TextIOWrapper(\n"
    "    open(1, 'wb', 0, closefd=False), sys.stdout.encoding, sys.stdout.errors, newline='\\n', write_through=True)\n"
)
"""What Python makes of such streams when it begins."""


def run(redirected: str, arguments, program=COMMAND_LINE, *, unbuffered: str = "") -> tuple[int, str, str]:
    """Run the command line with its streams redirected as a shell does; give what its open ones got."""
    for sign, name, number in (("2>&-", "stderr", 2), (">&-", "stdout", 1), ("<&-", "stdin", 0)):
        if sign in redirected.split():
            program = CLOSED.format(name=name, number=number) + program
    program = UNBUFFERED * bool(unbuffered) + program
    which, _, path = ("" if "&-" in redirected else redirected).partition("> ")
    with contextlib.ExitStack() as opened:
        streams = {"stderr" if which == "2" else "stdout": opened.enter_context(open(path, "wb"))} if path else {}
        code, out, err = commands.run(arguments, program, **streams)
    return code, out or "", clean(err or "")


def run_anew(redirected: str, arguments, program=COMMAND_LINE, *, unbuffered: str = "") -> tuple[int, str, str]:
    """Do so by a shell, in an interpreter that begins with these streams."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # no file of theirs
    kept |= {"PYTHONPATH": str(Path(tn.__file__).parents[1]), "PYTHONWARNINGS": "error"}
    kept |= {"PYTHONUNBUFFERED": unbuffered}
    shell = ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(shell, capture_output=True, text=True, env=kept, timeout=60, check=False)
    return done.returncode, done.stdout, clean(done.stderr)


def clean(said: str) -> str:
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    return said


def call(server, *more):
    asked = ("--model", "m", "--prompt", "{{ word }}", "--base-url", server.url, "--no-key")
    return ["call", "CreateChatCompletion", "words.csv", *asked, *more]


@pytest.mark.parametrize(
    ("unbuffered", "form"), [("1", ()), ("1", ("--format", "jsonl")), ("1", ("--raw", "-o", "-")), ("", ())]
)
def test_a_table_that_is_cut_is_an_error(tmp_path, monkeypatch, unbuffered, form):
    """Never a part of it with the exit code of the whole: an unbuffered stream takes a part, and is silent about it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with fault_server(answer(ANSWER)) as server:
        code, _, err = run("> cut", call(server, *form), SMALL_FILES, unbuffered=unbuffered)
    assert (tmp_path / "cut").stat().st_size <= 2000
    assert code == 1
    last = err.splitlines()[-1]
    wording(last)
    assert [*tmp_path.glob("tablenodes-unwritten-*")] == []


@pytest.mark.parametrize(
    ("unbuffered", "redirected", "form", "ending"),
    [("", "> /dev/full", (), "csv"), ("1", "> /dev/full", ("--format", "jsonl"), "jsonl"), ("", ">&-", (), "csv")],
)
def test_a_table_that_cannot_be_printed_is_in_a_file(tmp_path, unbuffered, redirected, form, ending):
    """What was paid for is not lost; the last line says where it is."""
    with fault_server(answer(ANSWER)) as server:
        code, out, err = run(redirected, call(server, *form), unbuffered=unbuffered)
    (saved,) = tmp_path.glob("tablenodes-unwritten-*")
    assert (code, out, saved.suffix) == (1, "", f".{ending}")
    wording(err.splitlines()[-1], saved=saved.name)
    assert saved.stat().st_mode & 0o777 == 0o600
    assert saved.read_text().count(TEXT) == 10


def test_a_table_that_is_in_its_file_need_not_be_seen(tmp_path):
    """With the output written, its first rows may go nowhere: the run is as good as it was."""
    with fault_server(answer(ANSWER)) as server:
        Path("w.yaml").write_text(
            f"connection: {{base_url: {server.url}}}\ntable: words.csv\noutput: out.csv\n"
            'nodes:\n  - {id: a, type: CreateChatCompletion, model: m, prompt: "{{ word }}"}\n'
        )
        for redirected in ("> /dev/full", ">&-"):
            code, _, err = run(redirected, ["run", "w.yaml", "--no-journal"])
            assert code == 0, err
            wording.line(err)
            wording.line(err)
    assert Path("out.csv").read_text().count(TEXT) == 10


@pytest.mark.parametrize("redirected", ["2> /dev/full", "2>&- >&- <&-"])
def test_what_cannot_be_said_decides_nothing(redirected):
    """The standard error stream may be full or closed: the output is written, and the exit code is that of the rows."""
    with fault_server(answer(ANSWER)) as server:
        begin = run_anew if "&-" in redirected else run
        code, _, _ = begin(redirected, call(server, "-o", "out.csv"))
        assert (code, len(server.requests)) == (0, 10)
    assert Path("out.csv").read_text().count(TEXT) == 10
    assert run(redirected, ["journal", "out.csv.journal", "--jsonl"])[0] == (0 if ">&- <" not in redirected else 1)
    assert run(redirected, ["run", "none.yaml"])[0] == 1


def test_python_without_a_standard_error_stream_runs():
    """As under pythonw: there is nobody to tell, and nothing else changes."""
    code = (
        "import sys, tablenodes as tn; sys.stderr = None\n"
        "node = tn.CreateChatCompletion(model='m', prompt='{{ word }}')\n"
        "out = node.run(tn.read_table('words.csv'), tn.Connection(sys.argv[1]))\n"
        "print(out.summary.ok)\n"
    )
    with fault_server(answer(ANSWER)) as server:
        assert run("", [server.url], code) == (0, "10\n", "")


SHOWN = [
    ("schema", "create_completion", "--json"),
    ("nodes",),
    ("journal", "out.csv.journal", "--jsonl"),
    ("--help",),
]


def test_whatever_is_printed_arrives_or_is_an_error():
    """One line, exit code 1."""
    with fault_server(answer(ANSWER)) as server:
        assert run("", call(server, "-o", "out.csv"))[0] == 0
    for arguments, redirected in zip(SHOWN, ("> /dev/full", ">&-", "> /dev/full", ">&-"), strict=True):
        code, _, err = run(redirected, arguments)
        assert (code, err.count("\n")) == (1, 1), arguments
        wording.line(err)


def test_an_unbuffered_stream_gets_the_same_bytes():
    """All of them, in order."""
    with fault_server(answer(ANSWER)) as server:
        found = [how("", call(server, "--format", "jsonl"), unbuffered="1")[1] for how in (run_anew, run)]
        found.append(run("", call(server, "--format", "jsonl"))[1])
    assert found[0] == found[1] == found[2]
    assert [json.loads(line)["word"] for line in found[0].splitlines()] == [f"w{i}" for i in range(10)]


# A real limit is no test: where it is met depends on the machine, and some libraries then end the process themselves.
SHORT_OF_MEMORY = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}": raise {error}
sys.meta_path.insert(0, Finder())
from tablenodes.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("pandas", "MemoryError"),
        ("pyarrow", "ImportError('x.so: failed to map segment from shared object')"),
        ("pycurl", "OSError(12, 'Cannot allocate memory')"),
    ],
)
def test_too_little_memory_is_one_line(module, error):
    """What the machine lacks is no error in this program."""
    short = SHORT_OF_MEMORY.format(module=module, error=error)
    with fault_server(answer(ANSWER)) as server:
        code, _, err = run_anew("", call(server, "-o", "out.csv", "--no-progress"), short)
        assert server.requests == []
    assert (code, err.count("\n")) == (1, 1), err
    assert err.startswith("tablenodes: error: ")


def test_a_pipe_that_does_not_wait_is_waited_for():
    """As one that another program has set so: all bytes arrive, in order."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    sent, got = os.urandom(1_000_000), bytearray()

    def read() -> None:
        while select.select([], [writing], [], 0)[1]:  # until it is full
            time.sleep(0.001)
        while piece := os.read(reading, 100_000):
            got.extend(piece)

    thread = threading.Thread(target=read)
    with open(writing, "wb", buffering=0) as under:
        outlet = io.BufferedWriter(Outlet(under, needed=True))
        thread.start()
        outlet.write(sent)
        outlet.flush()
    thread.join(60)
    os.close(reading)
    assert bytes(got) == sent
