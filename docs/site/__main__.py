"""Build the site of the documentation: `python -m docs.site`, needs `pip install tablenodes[docs]` and no network."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tablenodes.workflow.file_schema import file_schema

from . import reference

HERE = Path(__file__).parent
DOCS = HERE.parent
ROOT = DOCS.parent
SOURCE = "https://github.com/tablenodes/tablenodes/blob/main"
BESIDE = ("theme.css", "icon.svg", "iframe-worker.js")
_GENERATED = re.compile(r"<!-- generated: (\w+) -->")
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)[^)\s#]+")


def lay(folder: Path) -> None:
    """Write the pages, and what the generator reads beside them, into a folder."""
    pages = folder / "pages"
    shutil.rmtree(folder, ignore_errors=True)
    pages.mkdir(parents=True)
    shutil.copy(HERE / "zensical.toml", folder)
    shutil.copytree(HERE / "theme", folder / "theme")
    for beside in (*(HERE / name for name in BESIDE), *DOCS.glob("*.svg"), *DOCS.glob("*.png")):
        shutil.copy(beside, pages)
    (pages / "workflow.schema.json").write_text(json.dumps(file_schema(), indent=1), "utf-8")
    for source in [*DOCS.glob("*.md"), ROOT / "CHANGELOG.md"]:
        text = _LINK.sub(lambda found, source=source: target(source.parent, found[0]), source.read_text("utf-8"))
        text = _GENERATED.sub(lambda found: getattr(reference, found[1])(), text)
        if source.parent == ROOT:  # it names everything, so that a search would have it before the pages that explain
            text = f"---\nsearch: {{exclude: true}}\n---\n\n{text}"
        (pages / source.name.replace("CHANGELOG", "changelog")).write_text(text, "utf-8")


def target(folder: Path, link: str) -> str:
    """Return where a link of a file in a folder leads from a page of the site."""
    path = Path(os.path.normpath(folder / link))
    if path == ROOT / "CHANGELOG.md":
        return "changelog.md"
    if not path.exists():
        raise SystemExit(f"{link}, in {folder.name or '.'}: there is no such file")
    return path.name if path.parent == DOCS else f"{SOURCE}/{path.relative_to(ROOT)}"


def build(folder: Path) -> Path:
    """Build the site strictly and return the folder of its pages."""
    lay(folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(folder / "zensical.toml")]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr))
    return folder / "html"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "site", help="where to [build/site]")
    print(build(parser.parse_args().folder) / "index.html")
