"""The pages for those who carry the project on: the files that they name exist, and the layers are the tests'."""

from __future__ import annotations

import ast
import re

import pytest
from pages import DOCS, page
from test_layers import LAYERS

ROOT = DOCS.parent
TEXTS = {
    "docs/how-it-is-built.md": page("how-it-is-built.md"),
    "CONTRIBUTING.md": (ROOT / "CONTRIBUTING.md").read_text(),
}
PATH = re.compile(r"`((?:tablenodes|tests|docs|schemas|benchmarks|build)/[\w./-]*|[\w-]+\.(?:md|toml|py))`")


@pytest.mark.parametrize("name", TEXTS)
def test_each_file_that_is_named_exists(name):
    """And each folder, but for what a build makes."""
    paths = [path for path in PATH.findall(TEXTS[name]) if not path.startswith("build/")]
    assert len(paths) > 1
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", TEXTS)
def test_each_command_in_python_is_one_that_is_there(name):
    """By the module or the file that it runs."""
    for module, file in re.findall(r"python (?:-m ((?:benchmarks|docs)[\w.]*)|(tests/\w+\.py))", TEXTS[name]):
        path = ROOT / (file or module.replace(".", "/"))
        assert path.exists() or path.with_suffix(".py").exists()


def test_the_picture_has_the_layers_in_their_order():
    """The last is all that is in no other."""
    shown = re.findall(r'class="head"[^>]*>([^<]+)<', (DOCS / "how-it-is-built.svg").read_text())
    rooms = [[each.strip() for each in row.split("·")] for row in shown]
    named = [[each for each in row if each != "__main__"] for row in LAYERS]
    assert rooms[-1] == ["plain values"]
    assert [[each.removeprefix("engine").strip(".") for each in row] for row in rooms[:-1]] == [
        [each.removeprefix("engine").strip(".") for each in row] for row in named[:-1]
    ]


def test_little_stands_in_contributing():
    """It links to the page that has the rest."""
    assert TEXTS["CONTRIBUTING.md"].count("\n") <= 40
    assert "docs/how-it-is-built.md" in TEXTS["CONTRIBUTING.md"]


def test_a_node_that_sends_is_declared_in_forty_lines():
    """Apart from its docstring; what several have in common stands once."""
    tree = ast.parse((ROOT / "tablenodes" / "nodes" / "declarations.py").read_text())
    kinds = [each for each in tree.body if isinstance(each, ast.ClassDef)]
    assert len(kinds) > 4
    long = [each.name for each in kinds if each.end_lineno - each.body[0].end_lineno > 36]  # and what stands above it
    assert long == []
