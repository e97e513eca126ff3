"""Start a worker that lives on by itself: no child of whoever starts it, without its terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from ..errors import StoreError
from .lock import WorkerLock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DETACH = "import os, sys; os.fork() and os._exit(0); os.setsid(); os.execv(sys.argv[1], sys.argv[1:])"
"""A process whose parent has ended belongs to the system, which takes note of its end in its parent's place."""
INHERITED = "TABLENODES_WORKER_LOCK"
"""The environment variable that tells a worker by which descriptor it holds its store."""
_LOG_OPTIONS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)


def log_path(store: Path) -> Path:
    """Return where a worker says what it did not expect; each worker begins it anew."""
    return store.with_name(f"{store.name}.worker.log")


def ensure_worker(store: Path, secrets: Mapping[str, str]) -> bool:
    """Start a worker, unless one is at work on the store."""
    lock = WorkerLock(store)
    if not lock.take():
        return False
    try:
        log = os.open(log_path(store), _LOG_OPTIONS, 0o600)
        try:
            _start(store, lock, {**os.environ, **secrets}, log)
        finally:
            os.close(log)
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "strerror", None) or type(error).__name__
        raise StoreError(f"a worker cannot be started with {sys.executable}: {words}") from None
    finally:
        lock.release()  # the worker has it
    return True


def _start(store: Path, lock: WorkerLock, environ: dict[str, str], log: int) -> None:
    command = [sys.executable, "-P", "-m", "tablenodes", "worker", "--store", str(store)]
    folder, nothing = str(store.parent), subprocess.DEVNULL
    if sys.platform == "win32":  # pragma: no cover - the tests run elsewhere
        lock.release()  # no descriptor is inherited here
        process = subprocess.Popen(  # noqa: S603 - this Python, ourselves
            command,
            env=environ,
            cwd=folder,
            stdin=nothing,
            stdout=nothing,
            stderr=log,
            creationflags=subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP,
        )
        process.returncode = 0  # nobody waits for it
        return
    subprocess.run(  # noqa: S603 - this Python, ourselves
        [sys.executable, "-I", "-S", "-c", _DETACH, *command],
        env={**environ, INHERITED: str(lock.descriptor)},
        cwd=folder,
        check=True,
        stdin=nothing,
        stdout=nothing,
        stderr=log,
        pass_fds=(lock.descriptor,) if lock.descriptor is not None else (),
    )
