"""Runs that are killed, and the server that knows better: its log outlives them.

`Victims` starts runs, each in a process of its own, and kills them with SIGKILL: after a time, or at a named point.
`Oracle` answers well, and writes down every request and every answer.
Nothing in the package knows of this: the points are put around its functions from outside, in the victim alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from servers import LOOPBACK, completion, digest, message
from signalling import Process, killed_in_the_end, status_at_end

KEY = "sk-" + "k" * 20
NODE = "say"


# --- what is asked, and who knows what was asked --------------------------------------------------------------------


def bodies(rows: int, pad: int = 0) -> list[bytes]:
    """Return the request bodies of a victim's table, as they are sent; prompts are longer by `pad`."""
    more = "x" * pad
    asked = [{"model": "m", "messages": [{"role": "user", "content": f"Say w{row}{more}"}]} for row in range(rows)]
    return [json.dumps(body, separators=(",", ":")).encode() for body in asked]


class Oracle:
    """A server that answers each request with the digest of its body, in a thread of the test.

    Attributes
    ----------
    received, answered : list of str
        The digests of the bodies that came whole, and of those whose answers were written, in order.
    at_half : callable or None
        Called once, when half of a request's body has come; for that, bodies must be longer than one segment.
    at_half_answer : callable or None
        Called once, when half of an answer has been written.
    at_answers : (int, callable) or None
        How many answers are to have been written when it is called, once.
    holding : bool
        Whether answers are kept back until `release`.
    delays : list of float
        Seconds for which each of the bodies that came waits for its answer.
    """

    def __init__(self, latency: float = 0.002) -> None:
        self.received: list[str] = []
        self.answered: list[str] = []
        self.times: list[float] = []
        self.at_half: Callable[[], None] | None = None
        self.at_half_answer: Callable[[], None] | None = None
        self.at_answers: tuple[int, Callable[[], None]] | None = None
        self.holding = False
        self.delays: list[float] = []
        self._held: list[Callable[[], None]] = []
        self._open: set[asyncio.BaseTransport] = set()
        self.latency = latency
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(self._loop.create_server(lambda: _Talk(self), LOOPBACK, 0))
        self.url = f"http://{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def sends(self) -> Counter[str]:
        """How often each body came."""
        return Counter(self.received)

    def release(self) -> None:
        """Return the answers that were kept back, and from now on each when its time has come."""

        def give() -> None:
            self.holding = False
            for answer in self._held:
                answer()

        self._loop.call_soon_threadsafe(give)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._server.close()
        for transport in [*self._open]:  # a worker keeps its connection: who drops it unclosed would be another test
            transport.abort()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


class _Talk(asyncio.Protocol):
    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.oracle._open.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.oracle._open.discard(self.transport)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = int(bytes(self.buffer[:end]).lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                if self.oracle.at_half is not None and len(self.buffer) > end + length // 2:
                    self._once("at_half")
                    self.transport.abort()
                return
            body = bytes(self.buffer[end + 4 : end + 4 + length])
            del self.buffer[: end + 4 + length]
            name = digest(body)
            # Some answers come late, always the same: they overtake each other.
            late = self.oracle.latency * (1 + int(name[0], 16) % 3)
            self.oracle.times.append(time.monotonic())
            self.oracle.delays.append(late)
            self.oracle.received.append(name)
            asyncio.get_running_loop().call_later(late, self._answer, name, body)

    def _answer(self, name: str, body: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.oracle.holding:
            self.oracle._held.append(lambda: self._answer(name, body))
            return
        data = message(completion(body))
        if self.oracle.at_half_answer is not None:
            self.transport.write(data[: len(data) // 2])
            self._once("at_half_answer")
            return
        self.transport.write(data)
        self.oracle.answered.append(name)
        if self.oracle.at_answers is not None and len(self.oracle.answered) >= self.oracle.at_answers[0]:
            act = self.oracle.at_answers[1]
            self.oracle.at_answers = None
            act()

    def _once(self, what: str) -> None:
        act = getattr(self.oracle, what)
        if act is not None:
            setattr(self.oracle, what, None)
            act()


@contextlib.contextmanager
def oracle(latency: float = 0.002) -> Iterator[Oracle]:
    server = Oracle(latency)
    try:
        yield server
    finally:
        server.close()


def committed(journal: Path, names: dict[tuple[bytes, int], str]) -> set[str]:
    """Return the bodies' digests of the rows that are done in a journal, without touching it.

    Parameters
    ----------
    journal : Path
        The journal that a killed run left.
    names : dict
        From a key to the body's digest.
    """
    copy = journal.with_name("copy.db")
    for ending in ("", "-wal", "-journal"):
        Path(f"{copy}{ending}").unlink(missing_ok=True)
        if Path(f"{journal}{ending}").exists():
            shutil.copy(f"{journal}{ending}", f"{copy}{ending}")
    if not copy.exists():
        return set()
    with contextlib.closing(sqlite3.connect(copy)) as database:
        found = database.execute("SELECT digest, occurrence FROM row WHERE outcome IS NOT NULL").fetchall()
    return {names[key] for key in found}


# --- those who are killed -------------------------------------------------------------------------------------------


class Victims:
    """Starts runs and has them killed; a warm process that has imported everything forks one for each.

    `run` takes a job, a mapping: ``url``, ``rows``, ``journal``, ``output``; optionally ``concurrency``, ``pad``
    (bytes of each prompt), ``manner`` (keyword arguments as JSON), ``transport``, ``ignores`` (a signal's number),
    ``kill_after`` (seconds from its beginning), and ``point`` with ``nth`` (where it kills itself).
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, job: dict[str, Any], on_start: Callable[[Process], None] | None = None) -> dict[str, Any]:
        """Run a job to its end or its death; return ``status`` (as from `os.waitpid`), ``seconds`` and ``said``.

        A job that is given up in the middle is killed, and the next one has a new warm process.
        """
        try:
            if self._process is None:
                self._start()
            with killed_in_the_end(self._ask(job)["pid"]) as victim:
                if on_start is not None:
                    on_start(victim)
                return self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.communicate()
            self._stderr.close()

    def _start(self) -> None:
        environment = {n: v for n, v in os.environ.items() if not n.startswith("OPENAI_") and "proxy" not in n.lower()}
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env=environment | {"OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
        )
        self._read()

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # reading says why
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait(20)
            self._stderr.seek(0)
            raise AssertionError(
                f"the warm process ended (exit code {code}), and said: {self._stderr.read()[-5000:]!r}"
            )
        found: dict[str, Any] = json.loads(line)
        return found


def was_killed(end: dict[str, Any]) -> bool:
    return os.WIFSIGNALED(end["status"]) and os.WTERMSIG(end["status"]) == signal.SIGKILL


def warm_up() -> None:
    """Carry out jobs in this process, so that all is imported and loaded."""
    with tempfile.TemporaryDirectory() as folder, oracle() as server:
        job = {"url": server.url, "rows": 2, "output": f"{folder}/out.csv"}
        for transport in (None, "requests"):
            _carry_out(job | {"transport": transport, "journal": f"{folder}/{transport}.journal"})


def _serve_jobs() -> None:
    """Be the warm process."""
    warm_up()
    gc.collect()
    gc.freeze()
    print(json.dumps({"ready": True}), flush=True)
    pid = 0
    for line in sys.stdin:
        if pid:
            os.waitpid(pid, 0)  # whoever signals it has its end by now
        job = json.loads(line)
        told, tell = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(told)
            _be_victim(job, tell)
        os.close(tell)
        print(json.dumps({"pid": pid}), flush=True)
        _see_to_its_end(pid, told, job.get("kill_after"))


def _see_to_its_end(pid: int, told: int, kill_after: float | None) -> None:
    with open(told, "rb") as reader:
        reader.readline()  # it begins
        began = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)  # it may have ended; it is ours, and not yet waited for
        status = status_at_end(pid)
        seconds = time.monotonic() - began
        said = json.loads(reader.readline() or "null")
    print(json.dumps({"status": status, "seconds": seconds, "said": said}), flush=True)


def _be_victim(job: dict[str, Any], tell: int) -> None:
    said: dict[str, Any]
    try:
        if "ignores" in job:
            signal.signal(job["ignores"], signal.SIG_IGN)
        if "point" in job:
            POINTS[job["point"]](Fate(job.get("nth", 1)))
        os.write(tell, b"begins\n")
        said = _carry_out_twice(job) if "file_bytes" in job or "disk_bytes" in job else _carry_out(job)
    except BaseException as error:
        out = (getattr(error, "output", None) or {}).get(NODE)
        said = {"error": type(error).__name__, "message": str(error)} | ({} if out is None else _told(out))
    os.write(tell, json.dumps(said).encode() + b"\n")
    os._exit(0)


def _carry_out_twice(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job where there is not enough room for its journal, and again where there is."""
    import tablenodes as tn

    filler = Path(job["journal"]).with_name("filler")
    if "disk_bytes" in job:
        if not _made_a_disk(filler.parent, job["disk_bytes"]):
            return {"first": None, "then": None}
        filler.write_bytes(bytes(job["filler_bytes"]))
    else:
        sys.dont_write_bytecode = True  # a module's file that is cut would be there for the next one
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_bytes"], resource.RLIM_INFINITY))
    try:
        first = _carry_out(job)
    except tn.errors.JournalError as error:
        first = {"error": type(error).__name__, "message": str(error)} | _told(error.output[NODE])
    if "disk_bytes" in job:
        filler.unlink()
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {"first": first, "then": _carry_out(job)}


def _made_a_disk(folder: Path, size: int) -> bool:
    """Mount a file system in memory on a folder, for this process alone; return whether the system allows that."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_user, new_mounts, private = 0x10000000, 0x00020000, 0x44000
    if libc.unshare(new_mounts) and libc.unshare(new_user | new_mounts):
        return False
    if libc.mount(b"none", b"/", None, private, None):
        return False
    return not libc.mount(b"none", str(folder).encode(), b"tmpfs", 0, f"size={size}".encode())


def _carry_out(job: dict[str, Any]) -> dict[str, Any]:
    import pandas as pd

    import tablenodes as tn

    pad = "x" * job.get("pad", 0)
    table = pd.DataFrame({"word": [f"w{row}{pad}" for row in range(job["rows"])]})
    manner = dict(job.get("manner", {}))
    limits = tn.Limits(concurrency=job.get("concurrency", 8), **manner.pop("limits", {}))
    retry = tn.Retry(**manner.pop("retry", {}))
    node = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}")
    workflow = tn.Workflow({NODE: node}, output=job["output"], limits=limits, retry=retry)
    connection = tn.Connection(job["url"], KEY, transport=job.get("transport"))
    out = workflow.run(table, connection=connection, journal=job["journal"], progress=False, **manner)[NODE]
    return _told(out)


def _told(out: Any) -> dict[str, Any]:
    outcomes = list(out.log["outcome"])
    return {
        "outcomes": dict(Counter(outcomes)),
        "requests": out.summary.requests,
        "reused": out.summary.reused,
        "maybe_billed": [row for row, flag in enumerate(out.log["maybe_billed"]) if flag],
        "ok": [row for row, outcome in enumerate(outcomes) if outcome == "ok"],
        "attempts": int(out.log["attempts"].sum()),
        "stopped": out.summary.stopped,
    }


# --- where they kill themselves -------------------------------------------------------------------------------------


class Fate:
    """Kills its process when it has been met so many times."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def meet(self) -> None:
        self.left -= 1
        if not self.left:
            self.strike()

    def strike(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def _around(owner: Any, name: str, *, before: Fate | None = None, after: Fate | None = None) -> None:
    right = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if before is not None:
            before.meet()
        result = right(*arguments, **named)
        if after is not None:
            after.meet()
        return result

    setattr(owner, name, wrapped)


def _journal() -> Any:
    from tablenodes.engine.journal.journal import Journal

    return Journal


def _transport() -> Any:
    from tablenodes.engine.transports.curl_transport import CurlTransport

    return CurlTransport


def _at_commit(fate: Fate, *, before: bool) -> None:
    """Meet fate at commits that have something to write."""
    right = _journal().commit

    def commit(self: Any) -> None:
        full = bool(self._intents or self._dones)
        if full and before:
            fate.meet()
        right(self)
        if full and not before:
            fate.meet()

    _journal().commit = commit


def _during_commit(fate: Fate) -> None:
    """Strike from another thread, as soon as a commit has begun to write; the commit's thread goes no further."""
    right = _journal().commit

    def commit(self: Any) -> None:
        if self._intents or self._dones:
            fate.left -= 1
        striker = None
        if not fate.left:
            log = f"{self.path}-wal"
            striker = threading.Thread(target=_strike_when_changed, args=(fate, log, os.stat(log).st_mtime_ns))
            striker.start()
        right(self)
        if striker is not None:
            striker.join()

    _journal().commit = commit


def _strike_when_changed(fate: Fate, path: str, before: int) -> None:
    end = time.monotonic() + 0.5
    with contextlib.suppress(FileNotFoundError):  # it is over already
        while os.stat(path).st_mtime_ns == before and time.monotonic() < end:
            pass
    fate.strike()


def _at_statement(fate: Fate, *, before: bool) -> None:
    """Meet fate at each statement that SQLite is given."""

    class Connection(sqlite3.Connection):
        def execute(self, *arguments: Any) -> Any:
            return self._meet(super().execute, arguments)

        def executemany(self, *arguments: Any) -> Any:
            return self._meet(super().executemany, arguments)

        def _meet(self, act: Any, arguments: Any) -> Any:
            if before:
                fate.meet()
            result = act(*arguments)
            if not before:
                fate.meet()
            return result

    from tablenodes.engine.journal import journal_file as journal_file

    class Module:
        def __getattr__(self, name: str) -> Any:
            return getattr(sqlite3, name)

        def connect(self, path: Any, **named: Any) -> Any:
            return sqlite3.connect(path, factory=Connection, **named)

    journal_file.sqlite3 = Module()  # type: ignore[assignment]


def _in_the_table(fate: Fate) -> None:
    """Strike when a part of the output is written."""
    from tablenodes.tables import writer as writing

    right = writing.text_pieces

    def pieces(*arguments: Any) -> Iterator[str]:
        for piece in right(*arguments):
            yield piece[: len(piece) // 2]
            fate.strike()

    writing.text_pieces = pieces  # type: ignore[assignment]


def _fsync_of_output(fate: Fate) -> None:
    """Strike when the output is written but not synced: the journal's own files are synced by SQLite."""
    from tablenodes.tables import writer as writing

    right = writing.new_file

    @contextlib.contextmanager
    def replacing(target: str) -> Iterator[Any]:
        _around(os, "fsync", before=fate)
        with right(target) as handle:
            yield handle

    writing.new_file = replacing  # type: ignore[assignment]


POINTS: dict[str, Callable[[Fate], None]] = {
    "before the journal has its name": lambda fate: _around(os, "link", before=fate),
    "after the journal has its name": lambda fate: _around(os, "link", after=fate),
    "before intent": lambda fate: _around(_journal(), "intend", before=fate),
    "after intent": lambda fate: _around(_journal(), "intend", after=fate),
    "before commit": lambda fate: _at_commit(fate, before=True),
    "mid commit": _during_commit,
    "after commit": lambda fate: _at_commit(fate, before=False),
    "before send": lambda fate: _around(_transport(), "start", before=fate),
    "after send": lambda fate: _around(_transport(), "start", after=fate),
    "before done": lambda fate: _around(_journal(), "done", before=fate),
    "after done": lambda fate: _around(_journal(), "done", after=fate),
    "temp write": _in_the_table,
    "before fsync": _fsync_of_output,
    "before rename": lambda fate: _around(os, "replace", before=fate),
    "after rename": lambda fate: _around(os, "replace", after=fate),
    "before close": lambda fate: _around(_journal(), "close", before=fate),
    "before statement": lambda fate: _at_statement(fate, before=True),
    "after statement": lambda fate: _at_statement(fate, before=False),
}
"""Where a victim may kill itself. "mid send" and "mid answer" are the server's to choose: see `Oracle`."""

ONCE = frozenset(name for name in POINTS if "journal has" in name or "rename" in name or "close" in name) | {
    "temp write",
    "before fsync",
}
"""Points that a run comes to once."""


def moments(seed: object, longest: float) -> Iterator[float]:
    """Return random times up to `longest` seconds, the same for the same seed."""
    chance = random.Random(repr(seed))
    while True:
        yield chance.uniform(0, longest)


if __name__ == "__main__":
    _serve_jobs()
