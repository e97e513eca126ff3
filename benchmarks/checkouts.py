"""Two checkouts, turn by turn, against one server: ``python -m benchmarks.checkouts OLD NEW``.

What a change to the path of a row costs, as the median of the rounds' ratios: other programs of the machine slow both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.servers import HOW_TO_INSTALL, canned_servers, nginx_binary

Costs = tuple[float, float]
"""CPU seconds and seconds of a round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print each round and the ratios; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkouts", description=__doc__)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--rows", type=int, default=20_000, help="a round [%(default)s]")
    parser.add_argument("--contestant", default="tablenodes_libcurl", help="or tablenodes_journal, … [%(default)s]")
    asked = parser.parse_args(arguments)
    binary = nginx_binary()
    if binary is None:
        print(HOW_TO_INSTALL, file=sys.stderr)
        return 2
    rounds: list[tuple[Costs, Costs]] = []
    with canned_servers(binary) as addresses:
        for number in range(asked.rounds):
            turns = (asked.old, asked.new) if number % 2 == 0 else (asked.new, asked.old)
            job = {"base_url": addresses.prompt, "rows": asked.rows, "warm_up": 500, "concurrency": 64, "seed": number}
            found = {place: _measured(place, asked.contestant, job) for place in turns}
            rounds.append((found[asked.old], found[asked.new]))
            print(*(f"{cpu / asked.rows * 1e6:.0f} µs of CPU a row" for cpu, _ in rounds[-1]), sep=" → ")
    cpu, rate = ratios(rounds)
    print(f"new/old, median of {len(rounds)} rounds: CPU {cpu:.3f}, rows/s {rate:.3f}")
    return 0


def ratios(rounds: Sequence[tuple[Costs, Costs]]) -> tuple[float, float]:
    """Return the medians of the rounds' ratios of new to old: of CPU, and of rows a second."""
    cpu = statistics.median(new[0] / old[0] for old, new in rounds)
    return cpu, statistics.median(old[1] / new[1] for old, new in rounds)


def _measured(checkout: str, contestant: str, job: dict[str, object]) -> Costs:
    command = [sys.executable, "-m", f"benchmarks.contestants.{contestant}", json.dumps(job)]
    environ = {**os.environ, "PYTHONPATH": checkout}
    done = subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found = json.loads(done.stdout.splitlines()[-1])
    if found["failures"]:
        raise SystemExit(f"{checkout}: {found['failures']} rows failed")
    return found["cpu_seconds"], found["seconds"]


if __name__ == "__main__":
    raise SystemExit(main())
