"""tablenodes over libcurl, every answer on the disk before its slot is used again."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.contestants.contract import contest
from benchmarks.contestants.tablenodes_run import set_up

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        contest(["tablenodes", "pycurl"], partial(set_up, journals=Path(folder)))
