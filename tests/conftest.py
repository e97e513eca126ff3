"""What all tests share: no test is changed by the machine's own environment."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import uuid

import database_server
import pytest
from hypothesis import HealthCheck, settings
from killing import Victims
from locked import lock
from sample_runs import VECTORS, exit_code_of, run_once

import tablenodes as tn
from tablenodes import local
from tablenodes.local import model_files

pytest_plugins = ["sentences"]

# A machine that stands still for a second is no fault of an example, and what is drawn is the same in every run.
# To look further: pytest --hypothesis-profile=exploring
settings.register_profile("exploring", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("exploring"), derandomize=True, max_examples=25)
settings.load_profile("steady")


# What is compiled once is kept, whatever the machine's habit: the suite starts a hundred interpreters.
sys.dont_write_bytecode = False
for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
    os.environ.pop(name, None)
# Databases and files are synced all the time: in memory that costs nothing, where there is enough of it.
if sys.platform == "linux" and os.path.isdir("/dev/shm"):
    memory = os.statvfs("/dev/shm")
    if memory.f_bavail * memory.f_frsize > 2**31 and not memory.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")
# The embedded model shares the cores with other tests: a second thread of it mostly spins, waiting for the first.
os.environ.setdefault("OMP_THREAD_LIMIT", "1")


_LINUX_ALONE = re.compile(
    r"/proc/|/dev/|SIGKILL|SIGALRM|SIGHUP|\bos\.(fork|mkfifo|geteuid|waitid)\b|"
    r"^(import|from) (fcntl|pty|resource|signalling|background|permissions|killing|test_cli_process)\b",
    re.MULTILINE,
)
"""What a file of tests has that ends processes, counts what they have open, or looks at a file's modes."""


def pytest_ignore_collect(collection_path, config):
    """Leave out files that need not even be read: all of it is for Linux, or only what measures is asked for."""
    if collection_path.suffix != ".py":
        return None
    text = collection_path.read_text("utf-8")
    only_timing = str(config.option.markexpr).startswith("timing")
    is_elsewhere = sys.platform != "linux" and _LINUX_ALONE.search(text)
    return bool(is_elsewhere) or (only_timing and "measures_" not in text) or None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Let one process at a time read a file of tests: the first one compiles it, the others find it compiled."""
    if not isinstance(collector, pytest.Module):
        return (yield)
    with open(collector.path) as file:
        lock(file)
        return (yield)


def pytest_collection_modifyitems(items):
    """Begin with the embedded model, which takes longest."""
    items.sort(key=lambda item: item.get_closest_marker("model") is None)


def pytest_collection():
    """Read the tests without the garbage collector's rounds: nearly all that is made by then stays."""
    gc.disable()


def pytest_collection_finish():
    """Leave what was imported out of the garbage collector's rounds: each would stop a test that measures seconds."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # rounds at Python's own rate are half of what it takes to read a tree of source
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _heed_signals():
    """Whoever runs the tests in the background has them ignore Ctrl-C, and `nohup` the loss of a terminal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch, tmp_path_factory):
    """Remove keys, addresses and proxies of the machine from the environment; leave the user's own store alone."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "TABLENODES_PROFILE")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TABLENODES_STORE", str(tmp_path_factory.getbasetemp() / "store.sqlite"))


@pytest.fixture
def command(capsys):
    """Runs the command line; gives its exit code and what it printed."""

    def run(*arguments):
        code = exit_code_of(*arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def victims():
    """Start runs that may be killed."""
    started = Victims()
    yield started
    started.close()


@pytest.fixture(scope="session")
def embedded():
    """Return a connection to the embedded model, started once for all the tests that only ask it something."""
    with tn.Connection.local(slots=2, context=4096) as started:  # what rows have in common is computed in each slot
        yield started


@pytest.fixture(scope="session")
def embedding_model(tmp_path_factory):
    """See to it that the embedding model is installed where there is one, once for all processes that run tests."""
    if local.EMBEDDING.problem == model_files.NOT_HERE:
        pytest.skip(model_files.NOT_HERE)
    with open(tmp_path_factory.getbasetemp().parent / "embedding_model.lock", "w") as turn:
        lock(turn)
        return local.install(model=local.EMBEDDING)


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory):
    """Return the address of a PostgreSQL server, one for all processes that run tests."""
    if database_server.binaries() is None:
        pytest.skip(database_server.HOW_TO_INSTALL)
    base = tmp_path_factory.getbasetemp()
    with database_server.address(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as url:
        yield url


@pytest.fixture
def postgresql(postgresql_server, monkeypatch):
    """Return the address of a schema of its own in a database of that server."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    schema = f"t_{uuid.uuid4().hex[:12]}"
    database_server.execute(f"{postgresql_server}/postgres", f"create schema {schema}")
    return f"{postgresql_server}/postgres?options=-csearch_path%3D{schema}"


@pytest.fixture
def sample(request, tmp_path_factory):
    """Return a function that returns the run of a sample workflow by its name, on the embedded model.

    Each is run once, in whatever process it is asked for first.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def run(name: str):
        if name == VECTORS:
            request.getfixturevalue("embedding_model")
        return run_once(name, shared / "samples", lambda: request.getfixturevalue("embedded").server)

    return run
