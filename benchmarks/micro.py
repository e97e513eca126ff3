"""Small costs of tablenodes, with nothing sent: ``python -m benchmarks.micro`` prints them as JSON."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import stored_rows
from benchmarks.workload import MODEL, TEMPERATURE, TEMPLATE, messages, reviews

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 20_000
REPEATS = 5


class Micro(NamedTuple):
    """Small costs.

    Attributes
    ----------
    import_seconds : float
        ``import tablenodes`` in a fresh Python.
    gate_microseconds : float
        ``tn.validate`` of a valid body, a row.
    check_microseconds : float
        ``node.check``, a row: the cell, the placeholder, the body and the gate.
    sync_milliseconds : float
        What this disk takes to write and sync 40 KB: the least that a commit of a journal costs.
    answers_seconds, usage_seconds, choices_seconds : float
        What the property takes of 100,000 stored rows; see `benchmarks.stored_rows`.
    """

    import_seconds: float
    gate_microseconds: float
    check_microseconds: float
    sync_milliseconds: float
    answers_seconds: float = 0.0
    usage_seconds: float = 0.0
    choices_seconds: float = 0.0


def measure() -> Micro:
    """Measure, in this process, with the tablenodes that is installed in it."""
    import pandas as pd

    import tablenodes as tn

    texts = reviews(ROWS, 0)
    bodies = [{"model": MODEL, "temperature": TEMPERATURE, "messages": messages(text)} for text in texts]
    node = tn.CreateChatCompletion(model=MODEL, prompt=TEMPLATE, temperature=TEMPERATURE)
    table = pd.DataFrame({"review": texts})
    if any(map(tn.validate, bodies)) or node.check(table).valid != ROWS:
        raise RuntimeError("the gate rejects a valid body")

    def gate() -> None:
        for body in bodies:
            tn.validate(body)

    small = (_import_seconds(), _per_row(gate), _per_row(lambda: node.check(table)), _sync_milliseconds())
    found = stored_rows.measure()
    return Micro(*small, *(found[name].wall for name in stored_rows.PROMISED))


def _per_row(work: Callable[[], object]) -> float:
    """Return the microseconds a row of the quickest repeat, as the others only measure the machine's other work."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) / ROWS * 1e6


def _import_seconds() -> float:
    code = "import time; start = time.perf_counter(); import tablenodes; print(time.perf_counter() - start)"
    command = [sys.executable, "-c", code]
    said = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(REPEATS))
    return statistics.median(map(float, said))


def _sync_milliseconds() -> float:
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(100):
            start = time.perf_counter()
            file.write(bytes(40_960))
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


if __name__ == "__main__":
    print(json.dumps(measure()._asdict()))
