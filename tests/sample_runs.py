"""A sample workflow's run on the embedded model, once for all the tests that look at it."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from locked import lock

from tablenodes.cli import main
from tablenodes.local import CHAT, EMBEDDING, LocalModel, LocalServer

SAMPLES = Path(__file__).parent.parent / "sample_workflows"
README_SAMPLE = "review_sentiment"
VECTORS = "review_embeddings"
"""The sample that asks the embedded model for vectors, which not every system has."""
FEW = 2
ROWS = {README_SAMPLE: 4, "review_reply": FEW, "review_embeddings": FEW, "support_chat": FEW}
"""How many rows of its table a sample is run with: more where what the model says is judged, the others have one."""


class Ran(NamedTuple):
    """What came of it."""

    code: int
    printed: str
    folder: Path
    """Where its output is."""


def exit_code_of(*arguments: object) -> int:
    """Run the command line in this process; give its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    return ended.value.code or 0


def run_command(*arguments: str) -> tuple[int, str]:
    """Run the command line in this process; give its exit code and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = exit_code_of(*arguments)
    return code, printed.getvalue()


def copy_samples(folder: Path, rows: int | None) -> None:
    """Copy the sample workflows, with each table's first rows, to where their outputs disturb nobody."""
    shutil.copytree(SAMPLES, folder / "sample_workflows")
    for table in (folder / "sample_workflows" / "data").glob("*.csv"):
        lines = table.read_text().splitlines(keepends=True)
        table.write_text("".join(lines if rows is None else lines[: 1 + rows]))


def sharing(server: LocalServer) -> contextlib.AbstractContextManager[object]:
    """Have each start of the embedded model in this process return the server that runs already; others start."""
    real = LocalModel.start

    def start(recipe: LocalModel, model: object = CHAT) -> Any:
        return contextlib.nullcontext(server) if model is CHAT else real(recipe, EMBEDDING)

    return mock.patch.object(LocalModel, "start", start)


def run_sample(name: str, folder: Path, shared: Callable[[], LocalServer]) -> Ran:
    """Run a sample workflow on a shared model."""
    copy_samples(folder, ROWS.get(name, 1))
    with contextlib.chdir(folder), sharing(shared()):
        few = ("--rows", "1") if name == "excel_reviews" else ()  # a sheet is no text that can be cut
        return Ran(*run_command("run", f"sample_workflows/{name}.yaml", "--no-progress", *few), folder)


def run_once(name: str, folder: Path, shared: Callable[[], LocalServer]) -> Ran:
    """Run a sample workflow below a folder, where no process of this suite has run it before."""
    folder.mkdir(exist_ok=True)
    told = folder / f"{name}.json"
    with open(folder / f"{name}.lock", "w") as turn:
        lock(turn)
        if not told.exists():
            (folder / name).mkdir()
            code, printed, _ = run_sample(name, folder / name, shared)
            told.write_text(json.dumps([code, printed]))
    return Ran(*json.loads(told.read_text()), folder / name)
