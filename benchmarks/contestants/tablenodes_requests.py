"""tablenodes over ``requests``."""

from __future__ import annotations

from functools import partial

from benchmarks.contestants.contract import contest
from benchmarks.contestants.tablenodes_run import set_up

if __name__ == "__main__":
    contest(["tablenodes", "requests"], partial(set_up, transport="requests"))
