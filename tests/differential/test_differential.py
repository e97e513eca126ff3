"""The engine of an earlier checkout and today's come to the same ends.

Set TABLENODES_BEFORE to a checkout of the earlier code; without one there is nothing to compare. Both sides are given
the same seeded inputs in processes of their own (`side.py`), and tell what they make of each in a line of JSON.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
NOW = HERE.parent.parent
BEFORE = os.environ.get("TABLENODES_BEFORE", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(not BEFORE, reason="TABLENODES_BEFORE names no checkout to compare with"),
]


def told(checkout: str | Path, kind: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(HERE / "side.py"), str(checkout), kind, "0", str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.parametrize(("kind", "count"), [("schedules", 20_000), ("answers", 20_000), ("runs", 200)])
def test_both_come_to_the_same_ends(kind, count):
    """Every schedule, every answer, every run: the same line."""
    with told(BEFORE, kind, count) as before, told(NOW, kind, count) as now:
        lines = itertools.zip_longest(before.stdout, now.stdout)
        differing = [seed for seed, (old, new) in enumerate(lines) if old != new]
    assert before.returncode == now.returncode == 0
    assert differing == [], f"of {count:,}; look at one with: side.py CHECKOUT {kind} SEED 1"
