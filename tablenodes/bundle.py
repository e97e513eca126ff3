"""Where the files are that come with the package: schemas and samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .errors import UsageError

PACKAGE = Path(__file__).parent
NOTEBOOK = ".ipynb"
_SOURCES = {"schemas": "schemas", "samples": "sample_workflows"}


def bundled_folder(what: str, package: Path = PACKAGE) -> Path:
    """Return the folder of schemas or samples: inside an installed package, else in the source beside it."""
    source = package.parent
    for folder, marker in ((package / f"_{what}", package), (source / _SOURCES[what], source / "pyproject.toml")):
        if folder.is_dir() and marker.exists():
            return folder
    raise UsageError(f"the bundled {what} are missing: install tablenodes again")


def bundled_samples() -> Mapping[str, Path]:
    """Return the workflows and notebooks of the samples by their names."""
    paths = sorted(bundled_folder("samples").iterdir())
    return {path.stem: path for path in paths if path.suffix in (".yaml", NOTEBOOK)}
