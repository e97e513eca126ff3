"""The model's file: where it lies, whether it is the right one, and what of the embedded model is missing."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import platformdirs

from ..errors import ModelError

DEFAULT_MODEL = "smollm2-135m-instruct"  # the embedded model's name, as a request's ``model`` and as the server says it
FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE_SIZE = 98_362_432
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
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
        lines = [
            f"model:  {DEFAULT_MODEL}",
            f"path:   {self.path}",
            f"file:   {size}",
            f"engine: {f'{ENGINE} {self.engine}' if self.engine else 'none'}",
        ]
        lines += [problem for problem in (self.problem, None if self.engine else NO_ENGINE) if problem]
        return "\n".join(lines)


def folder() -> Path:
    """Return the folder of models: in ``TABLENODES_CACHE``, else in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen or platformdirs.user_cache_dir("tablenodes", appauthor=False)).expanduser() / "models"


def default_path() -> Path:
    """Return the place of the model that ``tablenodes model install`` puts there."""
    return folder() / FILE_NAME


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
        if not default.exists():
            raise ModelError(NOT_INSTALLED)
        problem = damage(default)
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
