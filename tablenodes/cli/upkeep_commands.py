"""``tablenodes store``, ``worker``, ``journal`` and ``model``: what is kept on this machine, and who works on it."""

from __future__ import annotations

import csv
import math
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import JournalError, StoreError
from ..run.display import counted, say
from .command_options import STORE, Argument, Given, command, flag, option
from .complaints import BAD_INPUT, OK
from .printout import aligned, show, sized

if TYPE_CHECKING:
    from ..engine.journal import Journal
    from ..store import StoreFile
    from ..store.futures import Futures
    from ..store.inventory import Listed

_DAY = 86_400
_SHOWN = 5  # submissions that are named where one is not there
_OLDER = "Delete the answers of this submission, or those older than this many days; 0 deletes all of them."
_IDS = (
    "List the ids with their submissions, times, nodes, outputs and outcomes, as CSV. An answer that came is ok here; "
    "whether it can be used is seen when it is retrieved."
)
_ONE = "Only this submission's rows: list their ids, or with --clear DAYS or --cancel do that with them."
_CANCEL = "Never send what is pending, all or what is of one --submission; requests under way are not stopped."


@command(
    "store",
    STORE,
    flag("--ids", _IDS),
    option("--submission", "NAME", _ONE),
    option("--clear", "NAME|DAYS", _OLDER),
    flag("--cancel", _CANCEL),
    option("--conversation", "ID", "Print the messages of a conversation, one a row, as CSV."),
)
def store(given: Given) -> None:
    """Show what is in the store: rows that are pending and answered, and whether a worker is running."""
    from ..store import StoreFile  # noqa: PLC0415 - loaded where it is used
    from ..store.futures import Futures  # noqa: PLC0415
    from ..store.inventory import Inventory  # noqa: PLC0415

    with StoreFile(given.store) as file:
        if not file.exists:
            show(f"{file.path}: no store here yet")
            return
        if given.conversation is not None:
            _print_messages(given.conversation, given.store)
            return
        if given.submission is not None:
            _check_known(file, given.submission, "--submission")
        if given.cancel:
            _cancel(file, given.submission)
        if given.clear is not None:
            _clear(file, given.clear, given.submission)
        elif given.ids or (given.submission is not None and not given.cancel):
            _list(Inventory(file, given.submission).listed())
            return
        inventory = Inventory(file)
        counts = inventory.counts()
        size = sized(os.path.getsize(file.path))
        workers = _at_work(Futures(file))
        worker = f"{workers} workers are running" if workers > 1 else f"{'a' if workers else 'no'} worker is running"
        show(f"{file.path}: {counted(sum(counts.values()), 'row')}, {size}; {worker}")
        _show_table(("outcome", "rows"), [(name, f"{count:,}") for name, count in counts.items()])
        for reason, count in inventory.reasons().items():
            show(f"{count:,} pending: {reason}")
        if ending := inventory.cancelled():
            show(f"{ending:,} pending: cancelled; those on their way come to their own end, the rest is not sent")


def _check_known(file: StoreFile, name: str, option: str) -> None:
    """Raise `BadParameter` for a submission that is not there."""
    from ..store.inventory import Inventory  # noqa: PLC0415 - loaded where it is used

    known = Inventory(file).submissions()
    if name not in known:
        there = (
            f"there are {', '.join(known[:_SHOWN])}{', …' if len(known) > _SHOWN else ''}"
            if known
            else "none has a name"
        )
        raise click.BadParameter(f"no such submission; {there}", param_hint=f"{option} {name}")


def _cancel(file: StoreFile, submission: str | None) -> None:
    from ..later.worker import cancel  # noqa: PLC0415 - loaded where it is used

    cancelled = cancel(file, submission)
    told = f"cancelled {counted(cancelled, 'pending row')}"
    show(f"{told}: what is on its way comes to its own end, the rest is not sent" if cancelled else told)


def _print_messages(known_as: str, store: str | None) -> None:
    """Print a conversation as `transcript` returns it; raise `StoreError` for one that cannot be read."""
    from .. import tables  # noqa: PLC0415 - loads pandas
    from ..run.transcripts import transcript  # noqa: PLC0415
    from .printout import write_table  # noqa: PLC0415 - loaded where it is used

    read = transcript(tables.frame({"conversation": [known_as]}, {"conversation": "text"}), store)
    for (problem,) in tables.view(read).rows(("problem",)):
        if problem is not None:
            raise StoreError(f"--conversation: {problem}")
    write_table(read, "csv")


def _clear(file: StoreFile, what: str, submission: str | None) -> None:
    """Delete the answers of a submission, or those older than a number of days."""
    from ..store.futures import Futures  # noqa: PLC0415 - loaded where it is used
    from ..store.inventory import Inventory  # noqa: PLC0415

    days = 0.0
    try:
        days = float(what)
    except ValueError:
        _check_known(file, what, "--clear")
        submission = what
    else:
        if what in Inventory(file).submissions():
            own = f"a submission has this name: --clear 0 --submission {what} deletes its answers"
            raise click.BadParameter(f"{own}; for a number of days, write {days:.1f}", param_hint="--clear")
    if not 0 <= days < math.inf:
        raise click.BadParameter("must be 0 or more days, or a submission's name", param_hint="--clear")
    inventory = Inventory(file, submission)
    show(f"deleted {counted(inventory.clear(time.time() - days * _DAY), 'answer')}")
    pending = inventory.counts().get("pending", 0)
    if pending and submission is not None:
        rows = f"{counted(pending, 'row')} of it {'is' if pending == 1 else 'are'} pending and will be sent"
        show(f"{rows}: --cancel --submission {submission} keeps {'it' if pending == 1 else 'them'} from that")
    if not _at_work(Futures(file)):
        file.give_back()


def _list(rows: Iterable[Listed]) -> None:
    """Print rows as CSV, as a table that retrieve reads."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(("future_response_id", "submission", "when", "node", "output", "outcome"))
    for row in rows:
        when = datetime.fromtimestamp(row.when).astimezone().isoformat(timespec="seconds")
        out.writerow((row.id, row.submission, when, *row[3:]))


def _at_work(futures: Futures) -> int:
    """Return how many workers are at work on a store, or being started."""
    from ..later.lock import WorkerLock  # noqa: PLC0415 - loaded where it is used

    keys = {*futures.workers(), *(group.key for group in futures.groups(time.time()))}
    return sum(WorkerLock(futures.store.path, key).is_held() for key in keys)


@command("worker", STORE)
def worker(given: Given) -> None:
    """Send what is pending in the store, then end.

    Submitting and retrieving start a worker when one is needed; you do not have to. One worker at a time sends the rows
    of one key.
    """
    from ..engine.interrupts import HANGUP  # noqa: PLC0415 - loaded where it is used
    from ..later.worker import Worker  # noqa: PLC0415
    from ..store.store_file import store_path  # noqa: PLC0415

    at_work = Worker(store_path(given.store))
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


@command(
    "journal",
    Argument("path", "JOURNAL", "The journal's file, such as answers.csv.journal, or a folder of journals."),
    flag("--jsonl", "Print each row with its answer as a line of JSON."),
    flag("--verify", "Read all of it, every answer too, and say whether it is as it was written."),
    flag("--compact", "Write it anew, as small as it gets; nothing of it is lost."),
)
def journal(given: Given) -> None:
    """Show what is in a journal that no run is using: rows by outcome, and how many requests they took."""
    from ..engine.journal import Journal  # noqa: PLC0415 - loaded where it is used

    path, found = given.path, _journals(Path(given.path))
    before, rows, sends = sum(map(os.path.getsize, found)), 0, 0
    ends: Counter[str] = Counter()
    requests: Counter[str] = Counter()
    for each in found:
        if given.compact:
            with closing(Journal(each)) as opened:
                opened.compact()
        with closing(Journal(each, looks=True)) as opened:
            if given.verify:
                opened.verify()
            if given.jsonl:
                _print_rows(opened)
            rows, sends = rows + len(opened), sends + opened.sends
            for outcome, number, begun in opened.tally():
                ends[outcome or "in_doubt"] += number
                requests[outcome or "in_doubt"] += begun
    if given.jsonl:
        return
    size = sized(sum(map(os.path.getsize, found)))
    size += f" (was {sized(before)})" if given.compact else ""
    size += "; all of it is as it was written" if given.verify else ""
    files = f"{counted(len(found), 'journal')}, " if os.path.isdir(path) else ""
    show(f"{path}: {files}{counted(rows, 'row')}, {counted(sends, 'request')}, {size}")
    told = sorted(ends.items(), key=lambda end: (-end[1], end[0]))
    _show_table(("outcome", "rows", "requests"), [(end, f"{rows:,}", f"{requests[end]:,}") for end, rows in told])


def _journals(path: Path) -> list[Path]:
    """Return the files of a journal: one, or those of a folder that a node's mapper has filled."""
    if not path.exists():
        raise JournalError(f"{path}: no such file")
    found = sorted(path.glob("*.journal")) if path.is_dir() else [path]
    if not found:
        raise JournalError(f"{path}: there is no journal in this folder")
    return found


def _show_table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Show counts below their names, after an empty line; nothing where there are none."""
    if rows:
        show()
        for line in aligned([names, *rows], right=(False, True, True)):
            show(line)


def _print_rows(opened: Journal) -> None:
    import orjson  # noqa: PLC0415 - loaded where it is used

    for entry in opened:
        last = entry.last
        row = {
            "outcome": "in_doubt" if last is None else last.outcome,
            "status": None if last is None else last.status,
            "requests": entry.sends,
            "maybe_billed": entry.billed,
            "latency": None if last is None else last.latency,
            "body": None if last is None else last.body.decode(errors="replace"),
        }
        print(orjson.dumps(row).decode())


_FOR_VECTORS = "The model for vectors (CreateEmbedding), in place of the one that writes."


@command("install", flag("--embedding", _FOR_VECTORS))
def install(given: Given) -> None:
    """Download the embedded model into the user's cache folder (about 100 MB), if it is not there."""
    from .. import local  # noqa: PLC0415 - loaded where it is used

    local.install(say, local.EMBEDDING if given.embedding else local.CHAT)


@command("status", flag("--embedding", _FOR_VECTORS))
def status(given: Given) -> int:
    """Show whether the embedded model can be used, and where its file is."""
    from .. import local  # noqa: PLC0415 - loaded where it is used

    found = local.status(local.EMBEDDING if given.embedding else local.CHAT)
    show(str(found))
    return OK if found.ready else BAD_INPUT


@command("remove", flag("--embedding", _FOR_VECTORS))
def remove(given: Given) -> None:
    """Delete the embedded model from the user's cache folder."""
    from .. import local  # noqa: PLC0415 - loaded where it is used

    model = local.EMBEDDING if given.embedding else local.CHAT
    say(f"removed the {model.title}" if local.remove(model) else f"there is no {model.title} to remove")
