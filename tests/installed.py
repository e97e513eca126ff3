"""Build the packages and use each as a new user does: `python tests/installed.py [FOLDER]`; it needs a package index.

The sdist and the wheel are built, what an index would show of them is checked, and each is installed alone, in an
environment of its own and used in an empty folder: its help, its nodes, a sample, a table sent to a server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from servers import echo, fault_server

ROOT = Path(__file__).parent.parent


def main(folder: Path) -> None:
    """Build the packages in a folder and use each of them."""
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    packages = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    run(sys.executable, "-m", "twine", "check", "--strict", *packages)
    for package in packages:
        with tempfile.TemporaryDirectory() as place:
            use(package, Path(place))
        print(f"{package.name}: {package.stat().st_size / 1000:,.0f} kB, installed and used")


def use(package: Path, place: Path) -> None:
    """Install a package alone and use it in an empty folder."""
    venv.create(place / "venv", with_pip=True)
    programs = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
    empty = place / "empty"
    empty.mkdir()
    run(programs / "python", "-m", "pip", "install", "-q", package.resolve(), cwd=empty)
    (empty / "in.csv").write_bytes('review\n"good, é"\nbad\n'.encode())
    run(programs / "tablenodes", "--help", cwd=empty)
    run(programs / "tablenodes", "nodes", cwd=empty)
    run(programs / "tablenodes", "sample", "review_sentiment", cwd=empty)
    run(programs / "python", "-W", "error", "-X", "dev", "-m", "tablenodes", "schema", cwd=empty)
    with fault_server(echo()) as server:
        asked = ("--base-url", server.url, "--model", "m", "--prompt", "{{ review }}", "--output", "out.csv")
        run(programs / "tablenodes", "call", "CreateChatCompletion", "in.csv", *asked, cwd=empty)
    lines = (empty / "out.csv").read_text("utf-8").splitlines()
    assert [line.split(",")[-2] for line in lines[1:]] == ["ok", "ok"], lines
    assert lines[1].startswith('"good, é"'), lines


def run(*command: object, cwd: Path | None = None) -> None:
    """Run a program, which must succeed; what it prints is shown where it does not."""
    done = subprocess.run([str(each) for each in command], cwd=cwd, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "dist").resolve())
