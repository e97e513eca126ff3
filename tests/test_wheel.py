"""The packages that are built: what is in them, and the wheel used from where it is unpacked, as a user installs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from email import message_from_string
from pathlib import Path

import pytest

import tablenodes as tn

ROOT = Path(__file__).parent.parent
SCHEMAS = ROOT / "schemas"
SAMPLES = ROOT / "sample_workflows"
_LINK = re.compile(r'(?:\]\(|<a [^>]*href="|<img [^>]*src=")([^)"\s]+)')
PROGRAM = """
import contextlib, json, sys, pandas as pd, tablenodes as tn
from tablenodes import schemas
from tablenodes.cli import main
node = tn.CreateChatCompletion(model="m", prompt="{{ word }}", temperature=0)
found = node.check(pd.DataFrame({"word": ["a", None]}))
said = {"home": tn.__file__, "rows": found.rows, "valid": found.valid, "version": tn.__version__}
said["problems"] = [problem.rule for problem in tn.validate({"model": "m"})]
said["revisions"] = {name: list(schemas.operations(name)) for name in schemas.revisions()}
said["text"] = tn.Return(text="{{ word }}!").run(pd.DataFrame({"word": ["a"]})).texts()
print(json.dumps(said))
sys.stdout.flush()
with contextlib.suppress(SystemExit):
    main(["sample", "review_sentiment"])
main(["schema", "create_completion"])
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the folder of the wheel and the sdist, built as the project's settings say."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def unpacked(built):
    """Return the folder with what is in the wheel, as an installer unpacks it."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built / "site")
    return built / "site"


@pytest.fixture(scope="module")
def described(unpacked):
    """Return the project's settings, and the wheel's description of itself, which a package index shows."""
    (about,) = unpacked.glob("*.dist-info")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return settings, message_from_string((about / "METADATA").read_text("utf-8"))


def test_the_wheel_is_used_where_it_is_unpacked(unpacked, tmp_path):
    """Nodes check and run, the schemas and samples are there, the command line answers."""
    env = os.environ | {"PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-BP", "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "tablenodes: wrote review_sentiment.yaml and data/reviews.csv\n")
    assert (tmp_path / "data" / "reviews.csv").read_bytes() == (SAMPLES / "data" / "reviews.csv").read_bytes()
    first, _, shown = done.stdout.partition("\n")
    said = json.loads(first)
    assert Path(said["home"]) == unpacked / "tablenodes" / "__init__.py"
    assert (said["rows"], said["valid"], said["problems"], said["text"]) == (2, 1, ["required"], ["a!"])
    bundled = {each.name: {file.name.partition(".")[0] for file in each.glob("*.json")} for each in SCHEMAS.iterdir()}
    assert {name: set(found) for name, found in said["revisions"].items()} == bundled
    assert "prompt" in shown


def test_the_wheel_holds_the_package_and_nothing_else(unpacked):
    """Every module, the stubs, the schemas, the samples and the mark of typing; the command is `tablenodes`."""
    ours = [path for path in (ROOT / "tablenodes").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    sources = {path.relative_to(ROOT) for path in ours}
    sources |= {"tablenodes/_schemas" / path.relative_to(SCHEMAS) for path in SCHEMAS.rglob("*") if path.is_file()}
    sources |= {"tablenodes/_samples" / path.relative_to(SAMPLES) for path in SAMPLES.rglob("*") if path.is_file()}
    held = {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()}
    (about,) = unpacked.glob("*.dist-info")
    assert {path for path in held if about.name not in path.parts} == sources
    entries = ConfigParser()
    entries.read(about / "entry_points.txt")
    assert dict(entries["console_scripts"]) == {"tablenodes": "tablenodes.__main__:main"}
    assert (about / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_sdist_holds_what_the_wheel_is_built_and_tested_from(built):
    """All that git has in these places; nothing that lies about here."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {Path(*Path(name).parts[1:]) for name in archive.getnames()}
    places = [ROOT / name for name in ("tablenodes", "schemas", "sample_workflows", "tests", "benchmarks", "docs")]
    kinds = (
        ".py",
        ".pyi",
        ".typed",
        ".json",
        ".toml",
        ".md",
        ".svg",
        ".png",
        ".html",
        ".yaml",
        ".csv",
        ".xlsx",
        ".ipynb",
    )
    wanted = {path.relative_to(ROOT) for place in places for path in place.rglob("*") if path.suffix in kinds}
    wanted |= {Path(name) for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE")}
    assert {path for path in wanted - held if ".ipynb_checkpoints" not in path.parts} == set()
    assert {path.parts[0] for path in held} <= {place.name for place in places} | {str(path) for path in wanted} | {
        "PKG-INFO",
        ".gitignore",
    }
    assert not [path for path in held if "__pycache__" in path.parts or path.suffix == ".pyc"]


def test_links_of_the_readme_lead_somewhere_from_a_package_index(described):
    """Pages to the site, files to the version's own; pictures to where they are served as such."""
    settings, description = described
    source, site = settings["urls"]["Source"], settings["urls"]["Documentation"]
    raw = source.replace("https://github.com/", "https://raw.githubusercontent.com/")
    there = {f"{source}/blob/v{tn.__version__}/": "", f"{raw}/v{tn.__version__}/": "", site: "docs/"}
    targets = _LINK.findall(description.get_payload())
    assert targets
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    for target in targets:
        for start, folder in there.items():
            if target.startswith(start):
                name = target.removeprefix(start).partition("#")[0]
                assert (ROOT / folder / (name.replace(".html", ".md") if folder else name)).exists(), target


def test_what_an_index_shows_of_the_project_is_whole(described):
    """It asks for the dependencies, has an address for each purpose, and names the Pythons from the lowest on."""
    settings, description = described
    assert description["Description-Content-Type"] == "text/markdown"
    assert description["License-Expression"] == settings["license"]
    assert {each.partition(", ")[0] for each in description.get_all("Project-URL")} == {
        *("Documentation", "Source", "Issues", "Changelog")
    }
    assert f">={settings['requires-python'].removeprefix('>=')}" == description["Requires-Python"]
    needed = [each for each in description.get_all("Requires-Dist") if "extra" not in each]
    assert len(needed) == len(settings["dependencies"])
