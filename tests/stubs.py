"""The stubs that editors read: which public name is where, and what each setting of a node means.

``python tests/stubs.py`` writes them anew, from the lazy homes of the package and the bundled schemas.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tablenodes"
NODES = PACKAGE / "nodes" / "declarations.py"
_SAID = "# Written by tests/stubs.py from {source}; do not edit.\n"


def stubs() -> dict[Path, str]:
    """Return the text of each stub, by its path."""
    return {PACKAGE / "__init__.pyi": _formatted(_public_names()), NODES.with_suffix(".pyi"): _formatted(_nodes())}


def _public_names() -> str:
    sys.path.insert(0, str(ROOT))
    import tablenodes

    lines = [_SAID.format(source="the homes of the public names")]
    lines += [f"from . import {name} as {name}" for name in tablenodes._MODULES]
    lines.append("from ._version import __version__ as __version__")
    homes = sorted((_home(home, name), name) for name, home in tablenodes._HOMES.items())
    lines += [f"from .{home} import {name} as {name}" for home, name in homes]
    return "\n".join((*lines, f"__all__ = {sorted(tablenodes.__all__)!r}", ""))


def _home(home: str, name: str) -> str:
    """Return the module of a public name; the folder of nodes knows them by their names alone."""
    from tablenodes.nodes import NODES

    return f"{home}.{NODES[name]}" if name in NODES else home


def _nodes() -> str:
    """Return the declarations of the nodes that send, with every setting described as the schema describes it."""
    tree = ast.parse(NODES.read_text())
    shared = {each.name: each for each in tree.body if isinstance(each, ast.ClassDef) and len(each.decorator_list) == 1}
    tree.body = [each for each in tree.body if each not in shared.values()]
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            _put_in(node, shared)
            node.decorator_list = node.decorator_list[1:]  # which describes the settings too, where they are run
            node.body = [each for each in node.body if not isinstance(each, ast.FunctionDef)]  # all of them private
            _describe(node)
    return _SAID.format(source="declarations.py and the schemas") + ast.unparse(tree)


def _put_in(node: ast.ClassDef, shared: dict[str, ast.ClassDef]) -> None:
    """Write what a node has of a base of several nodes as its own: each has its words of it there."""
    base = shared.get(ast.unparse(node.bases[0]))
    if base is not None:
        node.bases = base.bases
        words = (ast.get_docstring(base) or "").partition("----------\n")[2]
        node.body[0] = ast.Expr(ast.Constant(f"{ast.get_docstring(node)}\n{words}\n"))
        node.body += base.body[1:]


def _describe(node: ast.ClassDef) -> None:
    operation = re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).lower()
    schema = json.loads((ROOT / "schemas" / "openai-2026-08" / f"{operation}.json").read_text())
    said = _own_words(ast.get_docstring(node) or "")
    lines = [(ast.get_docstring(node) or "").partition("Parameters\n")[0].rstrip(), "", "Parameters", "----------"]
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and not ast.unparse(field.annotation).startswith("ClassVar"):
            name = ast.unparse(field.target)
            kind, words = said.get(name) or ("", schema["properties"].get(name.rstrip("_"), {}).get("description"))
            assert words, f"{node.name}.{name} is described nowhere"
            lines.append(f"{name} : {_type(ast.unparse(field.annotation)) or kind}")
            lines += textwrap.wrap(words, 108, initial_indent="    ", subsequent_indent="    ")
    node.body[0] = ast.Expr(ast.Constant("\n".join(lines) + "\n"))


def _own_words(docstring: str) -> dict[str, tuple[str, str]]:
    """Return what a class says of its settings itself, their types and words; shortcuts have no schema."""
    found = {}
    for names, kind, words in re.findall(r"^(\w[\w, ]*) : (.*)\n((?: {4}.*\n?)+)", docstring, re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), (kind, " ".join(words.split())))
    return found


def _type(annotation: str) -> str:
    words = {"Text": "str", "Number": "float", "Integer": "int", "Flag": "bool", "List": "list", "Object": "dict"}
    return f"{words[annotation]}, Column or text with placeholders, optional" if annotation in words else ""


def _formatted(text: str) -> str:
    for command in (["check", "--select", "I,F401", "--fix", "--quiet"], ["format"]):
        whole = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(PACKAGE / "stub.pyi"), "-"]
        text = subprocess.run(whole, input=text, text=True, capture_output=True, check=True, cwd=ROOT).stdout
    return text


if __name__ == "__main__":
    for path, text in stubs().items():
        path.write_text(text)
        print(path.relative_to(ROOT))
