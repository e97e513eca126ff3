"""Packs and kills: whatever request a run is killed at, no row that its journal has is paid for again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_packs import NODE, Server, check_places, refusing, run, texts

import tablenodes as tn


class Fatal(Server):
    """A server at one of whose requests the process is killed; it writes down beforehand what is asked."""

    def __init__(self, react, log, left):
        super().__init__(react)
        self.log, self.left = log, left

    def start(self, call):
        super().start(call)
        with open(self.log, "a") as file:
            file.writelines(f"{text}\n" for text in self.texts)
        self.bodies.clear()
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(table, folder, pack, request):
    """Run a table in a process that is killed at a request; return what was asked for."""
    log = folder / "asked"
    log.write_text("")
    code = "import sys, test_pack_kills as t; t.be_killed(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(len(table)), str(log), str(folder / "j"), str(pack), str(request)]
    assert subprocess.run(command, cwd=Path(__file__).parent).returncode == -signal.SIGKILL
    return set(log.read_text().split())


def be_killed(rows, log, journal, pack, request):
    """Be that process."""
    server = Fatal(refusing, log, int(request))
    run(texts(int(rows), (7,)), server, NODE.replace(pack=pack), journal=journal, limits=tn.Limits(concurrency=2))


@pytest.mark.parametrize("deaths", [1, pytest.param(15, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_killed_run_pays_for_nothing_twice(deaths, tmp_path):
    """Whatever packs it was in: each row that the journal has is its own, and the others are asked for."""
    chance, table, known = random.Random(deaths), texts(150 * deaths, bad=(7,)), set()
    for _ in range(deaths):
        assert not known & killed(table, tmp_path, chance.choice((5, 16)), chance.randint(7, 10))
        kept = run(table, Server(refusing), journal=tmp_path / "j", send=False)
        check_places(kept)
        known, before = set(table["text"][list(kept.log["outcome"] == "ok")]), known
        assert known > before
    out = run(table, server := Server(refusing), journal=tmp_path / "j")
    check_places(out, ok=len(table) - 1)
    assert not known & set(server.texts)
