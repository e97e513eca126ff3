"""What a row of a run in memory takes: ``python -m benchmarks.row_bytes [CHECKOUT ...]``.

Each checkout, this one by itself, runs in a process of its own against nginx; what is reported is how much more memory
the process has in use, over the rows: at the run's peak, after it, and at the peak once every table has been made.
Linux alone says so.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PARTS = ("peak", "after", "tables")
TABLES = ("table", "result", "text", "log", "usage")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print each round and the ratios to the first checkout; return the exit code."""
    from benchmarks.servers import HOW_TO_INSTALL, canned_servers, nginx_binary

    parser = argparse.ArgumentParser(prog="python -m benchmarks.row_bytes", description=__doc__)
    parser.add_argument("checkouts", nargs="*", default=[str(HERE)], help="the first is what the others are beside")
    parser.add_argument("--rounds", type=int, default=1, help="[%(default)s]")
    parser.add_argument("--rows", type=int, default=200_000, help="a round [%(default)s]")
    asked = parser.parse_args(arguments)
    binary = nginx_binary()
    if binary is None:
        print(HOW_TO_INSTALL, file=sys.stderr)
        return 2
    found: dict[str, list[dict[str, float]]] = {place: [] for place in asked.checkouts}
    with canned_servers(binary) as addresses:
        for _ in range(asked.rounds):
            for place, rounds in found.items():
                rounds.append(_measured(place, addresses.prompt, asked.rows))
                print(place, *(f"{name} {rounds[-1][name]:,.0f}" for name in PARTS), "bytes a row")
    first, *others = ({name: _median(rounds, name) for name in PARTS} for rounds in found.values())
    for place, medians in zip(asked.checkouts[1:], others, strict=True):
        print(f"{place}, of the first:", *(f"{name} {medians[name] / first[name]:.2f}" for name in PARTS))
    return 0


def _median(rounds: Sequence[dict[str, float]], name: str) -> float:
    return statistics.median(each[name] for each in rounds)


def _measured(checkout: str, base_url: str, rows: int) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).resolve()), base_url, str(rows)]
    environ = {**os.environ, "PYTHONPATH": checkout}
    done = subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _run(base_url: str, rows: int) -> dict[str, float]:
    """Return what a row takes in this process, in bytes."""
    import pandas as pd

    import tablenodes as tn
    from benchmarks.workload import API_KEY, MODEL, TEMPERATURE, TEMPLATE, reviews

    node = tn.CreateChatCompletion(model=MODEL, prompt=TEMPLATE, temperature=TEMPERATURE)
    connection = tn.Connection(base_url, API_KEY)
    table = pd.DataFrame({"review": reviews(rows, 1)})
    for name in TABLES:
        getattr(node.run(table[:500], connection, progress=False), name)
    gc.collect()
    before = _in_use()
    Path("/proc/self/clear_refs").write_text("5")  # what came before is no peak of the run
    output = node.run(table, connection, progress=False)
    peak = _peak()
    gc.collect()
    after = _in_use()
    made = [getattr(output, name) for name in TABLES]
    if output.summary.ok != rows or len(made[0]) != rows:
        raise SystemExit(f"{rows - output.summary.ok} rows failed")
    sizes = zip(PARTS, (peak, after, _peak()), strict=True)
    return {name: (size - before) / rows for name, size in sizes}


def _in_use() -> int:
    return _kibibytes("VmRSS:") * 1024


def _peak() -> int:
    return _kibibytes("VmHWM:") * 1024


def _kibibytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1].startswith("http"):
        print(json.dumps(_run(sys.argv[1], int(sys.argv[2]))))
    else:
        raise SystemExit(main())
