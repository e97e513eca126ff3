"""A PostgreSQL server of the distribution's, for all the processes that run tests, which ends with the last of them.

`address` starts it where no other process has, and returns its address. Whoever uses it holds a lock in common; the
keeper, a process of its own, waits until nobody holds it any more, however they ended, and then ends the server.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

with contextlib.suppress(ImportError):  # not on Windows, where its tests are skipped
    import fcntl
    import pwd

HOW_TO_INSTALL = "these tests need PostgreSQL 13 or newer: sudo apt-get install postgresql (or brew install postgresql)"
USER = "tn"
_LOCKED = "locked"  # the user who needs a password, `PASSWORD`
PASSWORD = "hunter2 of the/server"
_RULES = f"host all {_LOCKED} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n"
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "logging_collector": "off",
}
_STARTS_WITHIN = 60
_DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs; None where it is not installed."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: -float(each.parent.name))
    return next((each for each in places if (each / "postgres").exists() and (each / "initdb").exists()), None)


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Execute statements of SQL in one transaction; return the rows of the last one, where it has some.

    One connection of this process does it for every schema: to connect takes far longer than most statements.
    """
    server, _, schema = url.partition("?options=-csearch_path%3D")
    connection = _connection(server)
    try:
        with connection.cursor() as cursor:
            for statement in (f"set local search_path to {schema or 'public'}", *statements):
                cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        connection.commit()
    finally:
        connection.rollback()
    return rows


@functools.cache
def _connection(server: str) -> Any:
    from adbc_driver_postgresql import dbapi

    made = dbapi.connect(server)
    atexit.register(made.close)
    return made


@contextlib.contextmanager
def address(folder: Path) -> Iterator[str]:
    """Yield the server's address, without a database; `folder` is the same for all who share it."""
    told = folder / "postgresql.address"
    with open(folder / "postgresql.users", "a") as users, open(folder / "postgresql.start", "a") as start:
        fcntl.flock(users, fcntl.LOCK_SH)  # waits for the end of one that is just ending
        fcntl.flock(start, fcntl.LOCK_EX)
        if not told.exists():
            _start_keeper(folder, told)
        fcntl.flock(start, fcntl.LOCK_UN)
        yield told.read_text()


def _start_keeper(folder: Path, told: Path) -> None:
    command = [sys.executable, __file__, str(folder), str(told)]
    keeper = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + _STARTS_WITHIN
    while not told.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.kill()
            raise RuntimeError("PostgreSQL did not start; see what it said above")
        time.sleep(0.02)
    keeper.returncode = 0  # it outlives this process, and nobody waits for it


# --- the keeper -----------------------------------------------------------------------------------------------------


def _keep(folder: Path, told: Path) -> None:
    """Start the server, tell where it is, and end it when nobody uses it any more."""
    home = Path(tempfile.mkdtemp(prefix="tn-postgresql-"))
    try:
        server, url = _started(home)
        try:
            made = told.with_suffix(".made")
            made.write_text(url)
            made.rename(told)
            with open(folder / "postgresql.users", "a") as users:
                fcntl.flock(users, fcntl.LOCK_EX)
                told.unlink()
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(20)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _started(home: Path) -> tuple[subprocess.Popen[bytes], str]:
    programs = binaries()
    assert programs is not None
    as_other = _as_other(home)
    data = home / "data"
    with open(home / "password", "w") as file:
        file.write(PASSWORD)
    made = [programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-N", "--no-locale", "-E", "UTF8"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd=home, **as_other)
    (data / "pg_hba.conf").write_text(_RULES)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    command = [programs / "postgres", "-D", data, "-k", home, "-p", str(port), *settings]
    log = open(home / "log", "wb")  # noqa: SIM115 - the server's own
    server = subprocess.Popen(command, stderr=log, stdout=log, cwd=home, preexec_fn=_die_with_parent, **as_other)
    _wait(port, server, home / "log")
    return server, f"postgresql://{USER}@127.0.0.1:{port}"


def _as_other(home: Path) -> dict[str, Any]:
    """Return the user, who is not root, that the server runs as."""
    if os.getuid() != 0:
        return {}
    names = {each.pw_name: each for each in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    os.chown(home, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):  # elsewhere than on Linux
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGQUIT)


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while b"ready to accept connections" not in log.read_bytes():
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise RuntimeError(log.read_text())
        time.sleep(0.02)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), Path(sys.argv[2]))
