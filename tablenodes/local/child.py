"""What runs in the child process: the model's HTTP server, for as long as the parent holds on to it.

Started as a file by `LocalModel.start`, or as ``python -m tablenodes.local.child``. The first line on its standard
input is the recipe, a JSON object with ``path``, ``alias``, ``slots``, ``context``, ``threads``, ``api_key`` and
``embedding``; with ``folder`` too where the model brings its own engine, which is there. It prints one line:
``{"base_url": …}`` when it is ready, or ``{"error": …}``. A second line, the end of its input or the end of its parent
ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

GIB = 2**30
LOG_BYTES = 2**20
MOST_THREADS = 8  # a small model gets no faster beyond


def main() -> NoReturn:
    """Serve until the parent lets go; the process ends without any clean-up of the engine's."""
    # A Ctrl-C in the terminal is the parent's to answer: requests in flight get their time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    say = _own_voice()
    line = sys.stdin.buffer.readline()
    if not line.strip():
        os._exit(0)
    threading.Thread(target=_leave_when_let_go, daemon=True).start()
    try:
        server = serve(json.loads(line))
    except Exception as error:  # noqa: BLE001 - whatever it was, the parent says it
        time.sleep(0.1)  # the engine's log is written by a thread of its own
        say({"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    bound_memory()
    say({"base_url": f"{server.listening_address}/v1"})
    # The pipe alone does not tell where another process of the parent's has inherited its other end.
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def serve(recipe: dict[str, Any]) -> Any:
    """Load the model and start its server, which listens when this returns."""
    # Else idle threads spin, and a machine with other work makes the model up to 20 times slower. Read by the OpenMP
    # library when it is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    recipe["threads"] = recipe["threads"] or min(_usable_cores(), MOST_THREADS)
    if "folder" in recipe:
        return _vector_server().serve(recipe)
    import xllamacpp  # noqa: PLC0415 - after the environment is set

    return xllamacpp.Server(parameters(xllamacpp.CommonParams(), recipe))


def parameters(params: Any, recipe: dict[str, Any]) -> Any:
    """Write the recipe into the engine's parameters."""
    params.model.path = recipe["path"]
    params.model_alias = {recipe["alias"]}
    params.api_keys = [recipe["api_key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = recipe["slots"]
    params.n_ctx = recipe["context"]
    params.cpuparams.n_threads = recipe["threads"]
    params.embedding = recipe["embedding"]
    # A connection that is kept alive holds a thread: room for two runs at a time.
    params.n_threads_http = 2 * recipe["slots"] + 2
    params.cache_ram_mib = 0  # the default fills 8 GiB
    params.cors_origins = "http://127.0.0.1"  # the default lets any web page ask
    params.offline = True
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 1  # errors
    return params


def _vector_server() -> Any:
    """Load the file beside this one, of which the search path knows nothing."""
    from importlib.util import module_from_spec, spec_from_file_location  # noqa: PLC0415 - for one of the models

    spec = spec_from_file_location("vector_server", os.path.join(os.path.dirname(__file__), "vector_server.py"))
    module = module_from_spec(spec)  # type: ignore[arg-type] # there is one for every file
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def bound_memory() -> None:
    """Let the process grow by 1 GiB from here, and its log to 1 MiB, where the system can bound them.

    A schema that nothing satisfies makes the engine take all memory there is; with a bound it answers with an error.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows

        with open("/proc/self/statm", "rb") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return
    for what, bound in ((resource.RLIMIT_AS, size + GIB), (resource.RLIMIT_FSIZE, LOG_BYTES)):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))


def _own_voice() -> Callable[[dict[str, str]], None]:
    """Keep the standard output for our one line: what the engine prints there is dropped."""
    voice = os.dup(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.close(silence)

    def say(what: dict[str, str]) -> None:
        with contextlib.suppress(OSError):  # the parent is gone: its end is noticed elsewhere
            os.write(voice, json.dumps(what).encode() + b"\n")
        os.close(voice)

    return say


def _leave_when_let_go() -> NoReturn:
    sys.stdin.buffer.readline()
    os._exit(0)


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


if __name__ == "__main__":
    main()
