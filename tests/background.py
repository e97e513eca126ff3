"""Workers of tests: found by their stores, which no other process names, and ended with their tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from commands import Command
from signalling import Process

from tablenodes.later.lock import WorkerLock
from tablenodes.later.worker import Worker

BOUND = 40.0


def until(true: Callable[[], Any], what: str = "it", seconds: float = BOUND) -> Any:
    """Wait for something, and give it."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.01)
    return found


def workers(store: Path) -> list[int]:
    """Return the processes that have a store in their command lines."""
    every = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    return [pid for pid in every if pid != os.getpid() and is_worker(pid, store)]


def is_worker(pid: int | None, store: Path) -> bool:
    """Check whether a process is a worker of a store."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return str(store).encode() in words and b"worker" in words
    return False


def at_work(store: Path) -> int:
    """Wait for the store's worker and give its process."""
    return until(lambda: registered(store), "a worker")


def registered(store: Path) -> int | None:
    """Return the process of a worker that writes to a store."""
    with contextlib.closing(sqlite3.connect(store, timeout=30)) as database:
        return next((pid for (pid,) in database.execute("SELECT pid FROM worker") if is_worker(pid, store)), None)


def kill(pid: int, store: Path, number: int = getattr(signal, "SIGKILL", 9)) -> None:
    """End a worker of a store, if that is what the number still stands for, and wait for its end."""
    with contextlib.suppress(ProcessLookupError), Process(pid) as worker:
        if is_worker(pid, store):
            worker.send(number)
            assert worker.ends(BOUND), f"{pid} did not end"


@contextlib.contextmanager
def ending(store: Path) -> Iterator[Path]:
    """Return a store whose workers are ended."""
    try:
        yield store
    finally:
        while found := workers(store):
            for pid in found:
                kill(pid, store)


@contextlib.contextmanager
def nobody_at_work(store: Path) -> Iterator[None]:
    """Keep workers from being started by this process for a store, of whichever key."""
    take, is_held = WorkerLock.take, WorkerLock.is_held

    def is_ours(lock: WorkerLock) -> bool:
        return lock.path.parent == store.parent and lock.path.name.startswith(f"{store.name}.")

    with mock.patch.multiple(
        WorkerLock,
        take=lambda lock: not is_ours(lock) and take(lock),
        is_held=lambda lock: is_ours(lock) or is_held(lock),
    ):
        yield


def work(store: Path) -> None:
    """Do what a worker does, in this process."""
    Worker(store, idle=0.05).run()


def elsewhere(code: str, *arguments: str, alone: bool = False) -> Command:
    """Run some Python in another process, `alone` in a session of its own; what it prints is one line of JSON."""
    script = f"import json, os, sys\nimport pandas as pd\nimport tablenodes as tn\n{code}"
    return Command(arguments, f"import os; os.setsid()\n{script}" if alone else script)


def told(process: Command) -> Any:
    """Wait for what a process prints."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out)
