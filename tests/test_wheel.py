"""The wheel that is built, used from where it is unpacked: what a user installs, not what lies in this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCHEMAS = ROOT / "schemas"
SAMPLES = ROOT / "sample_workflows"
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
def unpacked(tmp_path_factory):
    """Build the wheel as the project's settings say and unpack it, as an installer does."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


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
    kinds = (".py", ".pyi", ".typed", ".json")
    sources = {path.relative_to(ROOT) for path in (ROOT / "tablenodes").rglob("*") if path.suffix in kinds}
    sources |= {"tablenodes/_schemas" / path.relative_to(SCHEMAS) for path in SCHEMAS.rglob("*") if path.is_file()}
    sources |= {"tablenodes/_samples" / path.relative_to(SAMPLES) for path in SAMPLES.rglob("*") if path.is_file()}
    held = {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()}
    (about,) = unpacked.glob("*.dist-info")
    assert {path for path in held if about.name not in path.parts} == sources
    entries = ConfigParser()
    entries.read(about / "entry_points.txt")
    assert dict(entries["console_scripts"]) == {"tablenodes": "tablenodes.__main__:main"}
