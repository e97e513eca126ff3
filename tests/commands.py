"""The command line, and Python programs, in processes of their own, forked from one that has imported everything.

The start of an interpreter takes far longer than most commands. What depends on it (the variables that Python reads,
streams that are closed or unbuffered from the beginning, signals while modules are loaded) needs a real start.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from signalling import status_at_end

SAMPLE = Path(__file__).parent.parent / "sample_workflows" / "review_sentiment.yaml"
COMMAND_LINE = "from tablenodes.__main__ import main; main()"
_LONGEST = 2**20
"""Bytes of what a process is told; more than its environment."""
_NUMBER = 4
"""Bytes of a process's number, and of its status."""


class Command(subprocess.Popen):
    """A `subprocess.Popen` of a program that is forked, with ``PYTHONWARNINGS=error``.

    Parameters
    ----------
    arguments : iterable
        What ``sys.argv`` holds besides the program's name.
    program : str
        Python code; the command line, if nothing else is said.
    more
        Standard streams, ``env``, ``cwd``, ``encoding`` and so on, as `subprocess.Popen` takes them.
    """

    def __init__(self, arguments: Any, program: str = COMMAND_LINE, **more: Any) -> None:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        super().__init__([program, *map(str, arguments)], **streams | more)

    def _execute_child(self, args: list[str], *how: Any) -> None:
        cwd, env, stdin, stdout, stderr = (how[place] for place in (4, 5, 9, 12, 14))  # as in Python 3.9 to 3.13
        self._status, tell = os.pipe()
        job = {"args": args, "cwd": os.fspath(cwd or os.getcwd()), "env": dict(env or os.environ)}
        streams = [own if given == -1 else given for own, given in enumerate((stdin, stdout, stderr))]
        socket.send_fds(_forking(), [json.dumps(job).encode()], [*streams, tell])
        os.close(tell)
        self._close_pipe_fds(*how[9:15])
        self.pid = self._told()
        self._child_created = True

    def _told(self) -> int:
        said = os.read(self._status, _NUMBER)
        assert said, "the process that forks has ended"
        return int.from_bytes(said)

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if flags & os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        status = self._told()
        os.close(self._status)
        return self.pid, status

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)
        return self.returncode


def run(arguments: Any, program: str = COMMAND_LINE, **more: Any) -> tuple[int, str, str]:
    """Run a program to its end; return its exit code and what it wrote."""
    with Command(arguments, program, **more) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@functools.cache
def _forking() -> socket.socket:
    """Start the process that forks, which ends with this one; return the way to it."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = dict(os.environ) | {"PYTHONWARNINGS": "error"}
    command = [sys.executable, __file__, str(its.fileno())]
    nothing = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(command, pass_fds=[its.fileno()], env=environment, **nothing)
    its.close()
    atexit.register(lambda: (ours.close(), process.wait(20)))
    return ours


# --- the process that forks -----------------------------------------------------------------------------------------


def _import_everything() -> None:
    import killing

    import tablenodes.cli

    for module in pkgutil.iter_modules(tablenodes.cli.__path__, "tablenodes.cli."):
        importlib.import_module(module.name)
    killing.warm_up()
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), contextlib.suppress(SystemExit):
        tablenodes.cli.main(["check", str(SAMPLE)])


def _next_program(jobs: socket.socket) -> str:
    """Fork for each job; return, in the process that is to run it, its program."""
    while True:
        job, given, _, _ = socket.recv_fds(jobs, _LONGEST, 4)
        if not job:
            os._exit(0)
        *streams, tell = given
        if not os.fork():
            jobs.close()
            return _watched(json.loads(job), streams, tell)
        for each in given:
            os.close(each)


def _watched(job: Mapping[str, Any], streams: list[int], tell: int) -> str:
    """Fork once more, and tell of that process's beginning and end; return the program in it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        for each in (0, 1, 2, *streams):
            os.close(each)
        os.write(tell, pid.to_bytes(_NUMBER))
        os.write(tell, status_at_end(pid).to_bytes(_NUMBER))
        read = select.poll()
        read.register(tell, 0)
        read.poll()  # until that is read or nobody is there, the program keeps its number: signals meet it or nobody
        os._exit(0)
    os.close(tell)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    program, *arguments = job["args"]
    sys.argv = ["tablenodes", *arguments]
    return program


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as received:
        _import_everything()
        gc.collect()
        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        code = _next_program(received)
    exec(code, {"__name__": "__main__"})
