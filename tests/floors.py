"""Run the quick suite once against the lowest versions that `pyproject.toml` declares.

    python tests/floors.py FOLDER [arguments of pytest]

It makes an environment in the folder, with every dependency at its floor and the newest of what only tests need, and
runs the suite there. What a user meets first, help and a usage error, must show no traceback.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MARKED = "not slow and not timing and not model"
COMMANDS = {("--help",): 0, ("run", "--help"): 0, ("call", "--help"): 0, ("run", "--no-such"): 2, ("run", "no.yaml"): 1}


def environment(folder: Path) -> Path:
    """Make the environment, or bring one that is there up to date; return its interpreter."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "uv"], check=True)
    uv, lowest = [python, "-m", "uv", "pip"], folder / "lowest.txt"
    compiled = [*uv, "compile", "-q", "--resolution", "lowest-direct", ROOT / "pyproject.toml", "-o", lowest]
    subprocess.run(compiled, check=True)
    subprocess.run([*uv, "install", "-q", "--python", python, "-c", lowest, "-e", f"{ROOT}[test]"], check=True)
    return python


def main(folder: str, *arguments: str) -> int:
    """Return 0 if the suite passes and no command shows a traceback."""
    python, code = environment(Path(folder).resolve()), 0
    for command, expected in COMMANDS.items():
        line = [python, "-W", "error", "-m", "tablenodes", *command]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode != expected or "Traceback" in done.stdout + done.stderr:
            print(f"tablenodes {' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
            code = 1
    suite = subprocess.run([python, "-m", "pytest", "-q", "-m", MARKED, *arguments], cwd=ROOT, check=False)
    return code or suite.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
