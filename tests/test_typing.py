"""A type checker, and so an editor, knows what the public names take and return."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

USES = Path(__file__).with_name("typed_uses.py")
ERROR = re.compile(r"typed_uses\.py:(\d+): error: .*\[([a-z-]+)\]$", re.MULTILINE)


def test_right_uses_pass_and_wrong_ones_are_found():
    """Each wrong one in its line, and nothing else; mypy as the project has it, so that its cache is of use."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", USES]
    said = subprocess.run(command, cwd=USES.parents[1], capture_output=True, text=True, check=False).stdout
    lines = enumerate(USES.read_text().splitlines(), 1)
    wrong = {(at, line.partition("# E: ")[2]) for at, line in lines if "# E: " in line}
    assert {(int(line), code) for line, code in ERROR.findall(said)} == wrong, said
