"""Wheels of a test's own, in a folder that stands for a package index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def write_wheel(index: Path, name: str, version: str, files: Mapping[str, bytes]) -> Path:
    """Write a wheel of these files, with a dependency that is nowhere; return its path."""
    folder = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\nRequires-Dist: not-there\n"
    every = {
        **files,
        f"{folder}/METADATA": metadata.encode(),
        f"{folder}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digest = lambda data: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()  # noqa: E731
    record = "".join(f"{each},sha256={digest(data)},{len(data)}\n" for each, data in every.items())
    every[f"{folder}/RECORD"] = f"{record}{folder}/RECORD,,\n".encode()
    path = index / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, data in every.items():
            archive.writestr(each, data)
    return path
