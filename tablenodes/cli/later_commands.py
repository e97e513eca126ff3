"""``tablenodes submit``, ``retrieve``, ``store`` and ``worker``: requests that are answered later."""

from __future__ import annotations

import os
import signal
import time
from typing import Annotated

import typer

from ..run.display import counted
from . import shared_options as options
from .exit_codes import OK
from .printout import aligned, show, sized
from .run_commands import Model, Node, Prompt, Settings, Showing, Source, System, one_node

_DAY = 86_400

Wait = Annotated[
    float | None,
    typer.Option("--wait", "-w", metavar="SECONDS", min=0, help="Wait no longer. Default: until no more can come."),
]
Again = Annotated[
    bool, typer.Option("--again", help="Submit every row anew, also what was submitted for the same output before.")
]
Clear = Annotated[
    float | None,
    typer.Option("--clear", metavar="DAYS", min=0, help="Delete the answers that are older than that; 0 for all."),
]


def submit(
    node: Node,
    table: Source,
    *,
    settings: Settings = None,
    model: Model = None,
    prompt: Prompt = None,
    system: System = None,
    rows: options.Rows = None,
    output: options.Output = None,
    form: options.Form = None,
    jsonl: options.Lines = False,
    store: options.Store = None,
    concurrency: options.Concurrency = None,
    max_requests: options.MaxRequests = None,
    base_url: options.BaseUrl = None,
    api_key_env: options.KeyVariable = None,
    no_key: options.NoKey = False,
    local: options.Local = False,
    again: Again = False,
    no_progress: options.Quiet = False,
) -> None:
    """Hand a node's requests to a worker in the background, and write the ids of their answers at once.

    The node is CreateChatCompletionAsync or CreateCompletionAsync. The table, with future_response_id and
    error_message, goes where that of call would. The worker ends by itself; tablenodes retrieve gets the answers. The
    same command again gives the ids that the rows have for this --output, and sends nothing twice.
    """
    _use(store)
    workflow = one_node(
        _later(node),
        settings,
        {"model": model, "prompt": prompt, "system": system},
        connection=options.connected(None, base_url, api_key_env, local, no_key),
        limits=options.limited(None, concurrency, max_requests),
    )
    workflow, form = options.destined(workflow, output, form, jsonl)
    manner = options.manner(workflow, None, again, "transient", "resend", None, no_progress)
    shown = Showing(form, jsonl, asked=output is not None, manner=manner, later=True)
    raise typer.Exit(shown.run(workflow, table, rows, {}))


def _later(name: str) -> str:
    """Give the name of the node that does later what one of this name does at once."""
    from ..nodes import known_nodes  # noqa: PLC0415 - loaded where it is used

    nodes = known_nodes()
    later = name if name.endswith("Async") else f"{name}Async"
    if name in nodes and later not in nodes:
        able = " or ".join(each for each in nodes if f"{each}Async" in nodes)
        raise typer.BadParameter(f"{name} sends nothing that could be answered later; name {able}", param_hint="NODE")
    return later


def retrieve(
    table: Source,
    *,
    wait: Wait = None,
    rows: options.Rows = None,
    output: options.Output = None,
    form: options.Form = None,
    jsonl: options.Lines = False,
    store: options.Store = None,
    no_progress: options.Quiet = False,
) -> None:
    """Get the answers of submitted requests by the ids in the column future_response_id.

    A worker is started where rows are pending and none is at work. The key is read from the environment that it was
    read from when the rows were submitted. What an earlier retrieval put into the table is replaced.
    """
    _use(store)
    given = [] if wait is None else [f"wait={wait}"]
    workflow = one_node("RetrieveResponse", given, {}, connection=None, limits=None)
    workflow, form = options.destined(workflow, output, form, jsonl)
    shown = Showing(form, jsonl, asked=output is not None, manner=_manner(no_progress))
    raise typer.Exit(shown.run(workflow, table, rows, {}))


def store(*, store: options.Store = None, clear: Clear = None) -> None:
    """Show what is in the store: rows that are pending and answered, and whether a worker is at work."""
    from ..later.lock import WorkerLock  # noqa: PLC0415
    from ..store import StoreFile  # noqa: PLC0415 - loaded where it is used
    from ..store.futures import Futures  # noqa: PLC0415

    with StoreFile(store) as file:
        if not file.exists:
            show(f"{file.path}: there is no store yet")
            return
        futures = Futures(file)
        if clear is not None:
            show(f"deleted {counted(futures.clear(time.time() - clear * _DAY), 'answer')}")
            if not WorkerLock(file.path).is_held():
                file.give_back()
        counts = futures.counts()
        size = sized(os.path.getsize(file.path))
        worker = "a worker is at work" if WorkerLock(file.path).is_held() else "no worker is at work"
        show(f"{file.path}: {counted(sum(counts.values()), 'row')}, {size}; {worker}")
        if counts:
            show()
            rows = [("outcome", "rows"), *((name, f"{count:,}") for name, count in counts.items())]
            for line in aligned(rows, right=(False, True)):
                show(line)
        reasons = futures.reasons()
        for reason, count in reasons.items():
            show(f"{count:,} pending: {reason}")


def worker(*, store: options.Store = None) -> None:
    """Send what is pending in the store, and end when nothing is left.

    Whoever submits or retrieves starts a worker; it need not be started by hand. One is at work on a store at a time.
    """
    from ..engine.interrupts import HANGUP  # noqa: PLC0415 - loaded where it is used
    from ..later.worker import Worker  # noqa: PLC0415
    from ..store.store_file import store_path  # noqa: PLC0415

    at_work = Worker(store_path(store))
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True
        at_work.stop()

    for number in (signal.SIGTERM, signal.SIGINT, HANGUP):
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    at_work.run()
    if stopped:
        os._exit(OK)  # threads that wait for answers would hold the process


def _use(path: str | None) -> None:
    """Have everything in this process use a store."""
    if path is not None:
        from ..store.store_file import VARIABLE, store_path  # noqa: PLC0415 - loaded where it is used

        os.environ[VARIABLE] = str(store_path(path))


def _manner(no_progress: bool) -> dict[str, object]:
    return {"journal": None, "progress": False if no_progress else None}
