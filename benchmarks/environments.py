"""A virtual environment for each contestant, made once and kept."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).resolve().parent.parent / ".benchmarks"
"""Where the environments are kept: in the checkout, with a file that makes git ignore them."""


class NotInstalled(Exception):  # noqa: N818 - it is a result, and shown as one
    """An environment could not be made; its text is the reason."""


def python_of(name: str, requirements: Sequence[str], folder: Path = FOLDER) -> Path:
    """Return the Python of an environment with these requirements, which is made if need be.

    Parameters
    ----------
    name : str
        The environment's name.
    requirements : sequence of str
        What is installed, as pip reads it. An environment made for other requirements is made anew.
    folder : Path
        Where environments are kept.

    Raises
    ------
    NotInstalled
        With pip's last line, if pip fails.
    """
    home = folder / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python, stamp = home / "bin" / "python", home / "requirements.txt"
    wanted = "\n".join(requirements) + "\n"
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    venv.create(home, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstalled((lines or [f"pip ended with {done.returncode}"])[-1])
    stamp.write_text(wanted)  # last, so that an environment made halfway is made anew
    return python
