"""The servers that everyone is measured against: nginx with a canned answer, at once or after a second."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.workload import FIELDS, completion

if TYPE_CHECKING:
    from collections.abc import Iterator

LATENCY = 1
"""Seconds after which the slow server answers."""
HELD = 60
"""Seconds after which a request of 10,000 bytes or more is answered under ``/held``."""

HOW_TO_INSTALL = "the benchmarks need nginx 1.17.10 or newer: sudo apt-get install nginx-light (or brew install nginx)"


class Addresses(NamedTuple):
    """Where the servers listen: base URLs, with ``/v1``."""

    prompt: str
    slow: str


def nginx_binary() -> str | None:
    """Give nginx's path, or None; Debian keeps it where an ordinary user's PATH does not look."""
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


def nginx_version(binary: str) -> str:
    """Give nginx's version, such as ``1.22.1``."""
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stderr
    return said.rpartition("/")[2].split()[0]


def nginx_config(folder: Path, ports: tuple[int, int], answer: bytes) -> str:
    """Return a configuration for an unprivileged nginx with one worker.

    Parameters
    ----------
    folder : Path
        Where it may keep its files.
    ports : tuple of int
        The ports of the prompt and of the slow server.
    answer : bytes
        The body of every answer.

    Notes
    -----
    nginx has no sleep. It has ``auth_delay``, which holds back the refusal of a request without a password; the
    refusal is then turned into the canned answer. Its cost is a timer.
    """
    text, fields = (each.decode().replace("\\", "\\\\").replace("'", "\\'") for each in (answer, completion(FIELDS)))
    scratch = "\n".join(
        f"    {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 16384; }}
http {{
    access_log off;
{scratch}
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    add_header X-Request-ID $request_id;
    server {{
        listen 127.0.0.1:{ports[0]} backlog=4096;
        location / {{ return 200 '{text}'; }}
        location /fields/ {{ return 200 '{fields}'; }}
        location /held/ {{
            if ($content_length ~ "^[0-9][0-9][0-9][0-9][0-9]") {{ rewrite ^ /wait last; }}
            return 200 '{text}';
        }}
        location /wait {{
            auth_delay {HELD}s;
            auth_basic wait;
            auth_basic_user_file /dev/null;
            error_page 401 =200 @answer;
        }}
        location @answer {{ auth_basic off; return 200 '{text}'; }}
    }}
    server {{
        listen 127.0.0.1:{ports[1]} backlog=4096;
        location / {{
            auth_delay {LATENCY}s;
            auth_basic wait;
            auth_basic_user_file /dev/null;
            error_page 401 =200 @answer;
        }}
        location @answer {{ auth_basic off; return 200 '{text}'; }}
    }}
}}
"""


@contextmanager
def canned_servers(binary: str) -> Iterator[Addresses]:
    """Run nginx for the time of a ``with`` block.

    Raises
    ------
    RuntimeError
        If nginx does not start.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, ports = Path(name), _free_ports()
        file = folder / "nginx.conf"
        file.write_text(nginx_config(folder, ports, completion()))
        command = [binary, "-e", "stderr", "-p", name, "-c", str(file)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                for port in ports:
                    _wait_for(port, process)
                yield Addresses(*(f"http://127.0.0.1:{port}/v1" for port in ports))
            finally:
                process.terminate()


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    process.kill()
    said = process.stderr.read().strip() if process.stderr else ""
    raise RuntimeError(f"nginx did not start: {said or 'it said nothing'}")
