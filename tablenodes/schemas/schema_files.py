"""Where schema documents come from: the bundled folders, files and mappings."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..errors import SchemaError

RESPONSE = ".response.json"
SHOWN = 200
"""Letters of a name or a reason that a message quotes."""


@functools.cache
def index() -> Mapping[str, Mapping[str, Path]]:
    """Give the bundled schemas of requests: their files by operation, by revision, the oldest first."""
    folders = sorted(path for path in bundled_folder(Path(__file__).parents[1]).iterdir() if path.is_dir())
    return {folder.name: {file.stem: file for file in _requests(folder)} for folder in folders}


def _requests(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.json")) if not file.name.endswith(RESPONSE)]


def bundled_folder(package: Path) -> Path:
    """Give the folder of the bundled schemas: inside an installed package, else in the source beside it."""
    source = package.parent
    for folder, marker in ((package / "_schemas", package), (source / "schemas", source / "pyproject.toml")):
        if folder.is_dir() and marker.exists():
            return folder
    raise SchemaError("the bundled schemas are missing: install tablenodes again")


def read(path: Path) -> dict[str, Any]:
    """Read a file that is one JSON object, or say what is wrong with it."""
    if path.exists() and not path.is_file():
        raise SchemaError(f"schema {path}: not a file; name one JSON Schema file")
    try:
        document = json.loads(path.read_text("utf-8-sig"), parse_constant=_no_constant)
    except FileNotFoundError:
        raise SchemaError(f"schema {path}: no such file") from None
    except OSError as error:
        raise SchemaError(f"schema {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise SchemaError(f"schema {path}: not UTF-8 text, at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise SchemaError(f"schema {path}: not JSON, {where}: {error.msg}") from None
    except RecursionError:
        raise SchemaError(f"schema {path}: nested too deeply") from None
    except ValueError as error:
        raise SchemaError(f"schema {path}: not JSON ({error})"[:SHOWN]) from None
    if not isinstance(document, dict):
        raise SchemaError(f"schema {path}: must be a JSON object")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def copied(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Give a mapping as plain dicts and lists of its own."""

    def copy(value: Any) -> Any:
        if isinstance(value, Mapping):
            if not all(isinstance(name, str) for name in value):
                raise SchemaError("schema mapping: has a key that is not text")
            return {name: copy(each) for name, each in value.items()}
        return [copy(each) for each in value] if isinstance(value, list | tuple) else value

    try:
        plain: dict[str, Any] = copy(schema)
    except RecursionError:
        raise SchemaError("schema mapping: nested too deeply") from None
    return plain
