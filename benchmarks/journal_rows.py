"""What a journal costs at a size: ``python -m benchmarks.journal_rows --rows 1000000`` prints it.

A journal is written as a run writes it, 64 rows a commit, opened, and every row of it is looked up again in the table's
order. Nothing is sent. The folder decides what a sync costs: a figure of the disk's, not of the journal's.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.stored_rows import SEED, _body
from tablenodes.engine.calls import Answer, Call, Request
from tablenodes.engine.journal import Journal, Keys
from tablenodes.engine.journal.recorder import JournalRecorder
from tablenodes.engine.outcomes.judge import judge

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS, AT_A_TURN, BODIES = 100_000, 64, 2_000
REQUEST = Request("POST", "https://api.example/v1/chat/completions", ())
PROMISED_OPEN, PROMISED_MEMORY = 0.5, 12  # seconds; bytes a row, beside 16 MB that are held whatever the size is
HELD = 16 * 2**20


def calls(rows: int) -> Iterator[Call]:
    """Yield the calls of a table of unlike rows."""
    keys = Keys(REQUEST)
    for row in range(rows):
        yield Call(
            row, REQUEST, b'{"model":"m","messages":[{"role":"user","content":"Say w%d"}]}' % row, 1, judge, keys
        )


def write(path: Path, rows: int) -> None:
    """Write a journal as a run does."""
    draw = random.Random(SEED)
    bodies = [_body(draw, row).encode() for row in range(min(rows, BODIES))]
    answers: list[Answer] = []
    with closing(Journal(path)) as journal:
        recorder = JournalRecorder(journal)
        for call in calls(rows):
            recorder.recall(call)
            recorder.intend(call.key)
            answers.append(
                Answer(call.key, 200, b"content-type: application/json", bodies[call.key % BODIES], None, "")
            )
            if len(answers) == AT_A_TURN or call.key == rows - 1:
                recorder.commit()
                for answer in answers:
                    recorder.record(answer, judge(answer))
                    recorder.forget(answer.key)
                answers.clear()


def resident() -> int:
    """Return the bytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> int:
    """Measure and print; return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal_rows", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, metavar="N", help="rows of the journal (%(default)s)")
    parser.add_argument("--folder", metavar="FOLDER", help="where it is written (the folder for temporary files)")
    given = parser.parse_args()
    rows = given.rows
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder, "journal")
        began, cpu = time.perf_counter(), time.process_time()
        write(path, rows)
        wrote, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(f"written: {rows / wrote:,.0f} rows/s, {cpu / rows * 1e6:.1f} µs of CPU a row")
        print(f"on disk: {path.stat().st_size / rows:,.0f} bytes a row")
        began = time.perf_counter()
        with closing(Journal(path)) as journal:
            opened, before = time.perf_counter() - began, resident()
            recorder = JournalRecorder(journal)
            for call in calls(rows):
                recorder.recall(call)
            looked_up = time.perf_counter() - began - opened
            held = resident() - before
    print(f"opened: {opened:.2f} s; every row looked up: {rows / looked_up:,.0f} rows/s, {held / rows:.1f} bytes a row")
    is_kept = recorder.reused == rows and opened <= PROMISED_OPEN and held <= PROMISED_MEMORY * rows + HELD
    print(f"promised {PROMISED_OPEN} s and {PROMISED_MEMORY} bytes: {'kept' if is_kept else 'NOT KEPT'}")
    return int(not is_kept)


if __name__ == "__main__":
    raise SystemExit(main())
