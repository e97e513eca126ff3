"""tablenodes over libcurl, its default."""

from __future__ import annotations

from benchmarks.contestants.contract import contest
from benchmarks.contestants.tablenodes_run import set_up

if __name__ == "__main__":
    contest(["tablenodes", "pycurl"], set_up)
