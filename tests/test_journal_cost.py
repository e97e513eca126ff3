"""What a journal costs: time and memory, each against the same run without one. Slow: run with ``-m slow``."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from servers import echo_server

import tablenodes as tn

pytestmark = pytest.mark.slow

NODE = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}")
SLOW_DISK = 0.0015
"""Seconds of a sync from which on a figure says more about the disk than about the journal."""

MEMORY = """
import sys
import pandas as pd, tablenodes as tn
from pathlib import Path
from tablenodes.engine.calls import Answer

class Canned:
    calls = []
    def start(self, call): self.calls.append(call)
    def cancel(self, key): pass
    def close(self): pass
    def wait(self, seconds):
        answers = [Answer(c.key, 200, b"", b'{"choices":[{"message":{"content":"%s"}}]}' % (b"%08d" % c.key * 120))
                   for c in self.calls]
        self.calls.clear()
        return answers

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

journal = sys.argv[1] or None
table = pd.DataFrame({"word": [f"w{row}" for row in range(100_000)]})
node = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}")
run = lambda table, journal: node.run(table, tn.Connection("https://x.example/v1", transport=Canned()), journal=journal,
                                      progress=False)
run(table[:500], None)
before = resident()
out = run(table, journal)
assert out.summary.ok == 100_000
print(resident() - before)
"""


def sync_seconds(folder: Path) -> float:
    """How long this disk takes to write and sync some pages."""
    descriptor = os.open(folder / "sync", os.O_CREAT | os.O_WRONLY)
    began = time.perf_counter()
    for number in range(50):
        os.pwrite(descriptor, bytes(40_960), number * 40_960)
        os.fsync(descriptor)
    os.close(descriptor)
    return (time.perf_counter() - began) / 50


def rows_per_second(url: str, rows: int, journal: Path | None) -> float:
    table = pd.DataFrame({"word": [f"w{row}" for row in range(rows)]})
    began = time.perf_counter()
    out = NODE.run(table, tn.Connection(url, "k" * 20), journal=journal, progress=False)
    assert out.summary.ok == rows
    return rows / (time.perf_counter() - began)


@pytest.mark.parametrize(("latency", "rows", "least"), [(0.05, 3000, 0.9), (0.0, 10_000, 0.5)])
def test_a_journal_costs_little_time(tmp_path, latency, rows, least):
    """With 64 in flight: 0.9 of the rows a second against a server of 50 ms, 0.5 against one that answers at once."""
    synced = sync_seconds(tmp_path)
    with echo_server(latency) as url:
        rows_per_second(url, 500, None)
        pairs = [(rows_per_second(url, rows, None), rows_per_second(url, rows, tmp_path / f"{i}")) for i in range(5)]
    ratio = statistics.median(kept / plain for plain, kept in pairs)
    print(f"a sync takes {synced * 1000:.2f} ms; {[[round(each) for each in pair] for pair in pairs]}, {ratio:.3f}")
    if synced > SLOW_DISK:
        pytest.skip(f"this disk takes {synced * 1000:.1f} ms for a sync")
    assert ratio >= least


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_journal_keeps_no_answer_in_memory(tmp_path):
    """100,000 rows of 1 KB: what it adds is a digest a row, in the run and in a run that finds all of them there."""

    def growth(journal: str) -> float:
        return float(subprocess.run([sys.executable, "-c", MEMORY, journal], check=True, capture_output=True).stdout)

    plain, kept, again = growth(""), growth(str(tmp_path / "j")), growth(str(tmp_path / "j"))
    kept, again = (kept - plain) / 1e5, (again - plain) / 1e5
    print(f"beyond {plain / 1e5:.0f} bytes a row: {kept:.0f}, and {again:.0f} when resumed")
    assert max(kept, again) < 400
