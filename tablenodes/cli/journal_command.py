"""``tablenodes journal``: what a journal holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..run.display import counted
from .printout import aligned, show, sized

if TYPE_CHECKING:
    from ..engine.journal import Entry, Journal

Path_ = Annotated[str, typer.Argument(metavar="JOURNAL", help="The journal, such as answers.csv.journal.")]
Lines = Annotated[bool, typer.Option("--jsonl", help="Print each row, with its answer, as a line of JSON.")]


def journal(path: Path_, *, jsonl: Lines = False) -> None:
    """Show what is in a journal that no run holds: rows by outcome, and the requests that they took."""
    from pathlib import Path  # noqa: PLC0415 - loaded where it is used

    from ..engine.journal import Journal  # noqa: PLC0415
    from ..errors import JournalError  # noqa: PLC0415

    if not os.path.exists(path):
        raise JournalError(f"{path}: there is no such file")
    opened = Journal(Path(path), looks=True)
    try:
        if jsonl:
            _print_rows(opened)
        else:
            _show_counts(opened, path)
    finally:
        opened.close()


def _show_counts(opened: Journal, path: str) -> None:
    counts = [(outcome or "in_doubt", rows, sends) for outcome, rows, sends in opened.tally()]
    size = sized(os.path.getsize(path))
    show(f"{path}: {counted(len(opened), 'row')}, {counted(opened.sends, 'request')}, {size}")
    if counts:
        show()
        rows = [("outcome", "rows", "requests")]
        rows += [(outcome, f"{number:,}", f"{sends:,}") for outcome, number, sends in counts]
        for line in aligned(rows, right=(False, True, True)):
            show(line)


def _print_rows(opened: Journal) -> None:
    import orjson  # noqa: PLC0415 - loaded where it is used

    for entry in opened:
        print(orjson.dumps(_row(entry)).decode())


def _row(entry: Entry) -> dict[str, Any]:
    from ..engine.sink import text  # noqa: PLC0415 - loaded where it is used

    last = entry.last
    return {
        "outcome": "in_doubt" if last is None else last.outcome,
        "status": None if last is None else last.status,
        "requests": entry.sends,
        "maybe_billed": entry.billed,
        "latency": None if last is None else last.latency,
        "body": None if last is None else text(last.body),
    }
