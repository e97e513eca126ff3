"""One worker a store and key: the lock by which it holds it, opened by the system at its end, and how it is started."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import StoreError

_OPTIONS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
_LOOKS = 0.001  # seconds that somebody holds the lock who only looks whether it is held
INHERITED = "TABLENODES_WORKER_LOCK"
"""The variable that tells a worker by which descriptor it holds its lock, if by any, and, behind a colon, its key."""
_DETACH = "import os, sys; os.setsid(); os.fork() and os._exit(0); os.execv(sys.argv[1], sys.argv[1:])"
"""A process whose parent has ended belongs to the system, which takes note of its end in its parent's place.

The session comes first: once the parent has ended, a signal to whoever started it reaches nothing of the worker.
"""
_LOG_OPTIONS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)

if sys.platform == "win32":  # pragma: no cover - the tests run elsewhere
    import msvcrt

    def _take(descriptor: int, *, alone: bool) -> bool:
        """Lock the first byte; nobody can share it here, so whoever looks is waited for."""
        for _ in range(1 if alone else 20):
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            except OSError:
                time.sleep(_LOOKS)
            else:
                return True
        return False

    def _let_go(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _take(descriptor: int, *, alone: bool) -> bool:
        """Lock the file, alone or with whoever looks at it too."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _let_go(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class WorkerLock:
    """The lock file of a key, beside the store; a process that inherits its `descriptor`, open while held, holds it."""

    def __init__(self, store: Path, key: str = "") -> None:
        self.path = store.with_name(f"{store.name}.{key}.worker" if key else f"{store.name}.worker")
        self.descriptor: int | None = None

    def take(self) -> bool:
        """Hold the key's rows; return whether that could be done."""
        descriptor = self._open()
        try:
            is_taken = _is_taken(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise StoreError(f"{self.path}: files cannot be locked in this folder: {error.strerror}") from None
        if is_taken:
            self.descriptor = descriptor
        else:
            os.close(descriptor)
        return is_taken

    @contextmanager
    def unheld(self) -> Iterator[bool]:
        """Keep a worker from beginning inside, who waits for it; what is yielded is false where one is at work."""
        descriptor = self._open()
        try:
            yield _take(descriptor, alone=False)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        try:
            return os.open(self.path, _OPTIONS, 0o600)
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from None

    def adopt(self, descriptor: int) -> None:
        """Hold the key's rows by what whoever started this process has handed on."""
        os.set_inheritable(descriptor, False)
        self.descriptor = descriptor

    def release(self) -> None:
        """Let others hold the key's rows, unless another process has inherited the lock."""
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Check whether a worker holds the key's rows, or one that is being started."""
        try:
            descriptor = os.open(self.path, _OPTIONS & ~os.O_CREAT)
        except OSError:
            return False
        try:
            return not _take(descriptor, alone=False)
        except OSError:
            return False
        finally:
            os.close(descriptor)


def _is_taken(descriptor: int) -> bool:
    """Lock a file for ourselves; return whether nobody else has it."""
    while not _take(descriptor, alone=True):
        if not _take(descriptor, alone=False):
            return False
        _let_go(descriptor)  # nobody holds it: somebody looks
        time.sleep(_LOOKS * random.random())  # noqa: S311 - two that do the same must not keep step
    return True


def log_path(store: Path, key: str = "") -> Path:
    """Return where a worker says what it did not expect; each worker begins it anew."""
    return Path(f"{WorkerLock(store, key).path}.log")


def ensure_worker(store: Path, key: str, secrets: Mapping[str, str]) -> bool:
    """Start a worker, no child of ours and without our terminal, unless one is at work on the rows of the key."""
    lock = WorkerLock(store, key)
    if not lock.take():
        return False
    try:
        log = os.open(log_path(store, key), _LOG_OPTIONS, 0o600)
        try:
            _start(store, lock, {**os.environ, **secrets, INHERITED: f":{key}"}, log)
        finally:
            os.close(log)
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "strerror", None) or type(error).__name__
        raise StoreError(f"cannot start a worker with {sys.executable}: {words}") from None
    finally:
        lock.release()  # the worker has it
    return True


def _start(store: Path, lock: WorkerLock, environ: dict[str, str], log: int) -> None:
    command = [sys.executable, "-P", "-m", "tablenodes", "worker", "--store", str(store)]
    nothing = subprocess.DEVNULL
    options: Any = {"cwd": str(store.parent), "stdin": nothing, "stdout": nothing, "stderr": log}
    if sys.platform == "win32":  # pragma: no cover - the tests run elsewhere
        lock.release()  # no descriptor is inherited here
        options["creationflags"] = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        process = subprocess.Popen(command, env=environ, **options)  # noqa: S603 - this Python, ourselves
        process.returncode = 0  # nobody waits for it
        return
    options["pass_fds"] = (lock.descriptor,) if lock.descriptor is not None else ()
    environ[INHERITED] = f"{lock.descriptor}{environ[INHERITED]}"
    command = [sys.executable, "-I", "-S", "-c", _DETACH, *command]
    subprocess.run(command, env=environ, check=True, **options)  # noqa: S603 - this Python, ourselves
