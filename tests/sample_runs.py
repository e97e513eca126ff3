"""A sample workflow's run on the embedded model, once for all the tests that look at it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tablenodes.cli import main

SAMPLES = Path(__file__).parent.parent / "sample_workflows"


class Ran(NamedTuple):
    """What came of it."""

    code: int
    printed: str
    folder: Path
    """Where its output is."""


def run_command(*arguments: str) -> tuple[int, str]:
    """Run the command line in this process; give its exit code and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code or 0, printed.getvalue()


def run_sample(name: str, folder: Path) -> Ran:
    """Run a sample workflow in a folder of its own, so that no output falls into the project."""
    shutil.copytree(SAMPLES, folder / "sample_workflows")
    with contextlib.chdir(folder):
        return Ran(*run_command("run", f"sample_workflows/{name}.yaml", "--no-progress"), folder)


def run_once(name: str, folder: Path) -> Ran:
    """Run a sample workflow below a folder, where no process of this suite has run it before."""
    folder.mkdir(exist_ok=True)
    told = folder / f"{name}.json"
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            (folder / name).mkdir()
            code, printed, _ = run_sample(name, folder / name)
            told.write_text(json.dumps([code, printed]))
    return Ran(*json.loads(told.read_text()), folder / name)
