"""The shape of the package: imports run one way, and loading it costs nothing."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

from sentences import wording

import tablenodes as tn
from tablenodes.nodes import known_nodes

PACKAGE = Path(tn.__file__).parent

LAYERS = [
    ("cli", "__main__"),
    ("workflow",),
    ("nodes", "openapi", "testing"),
    ("cluster",),
    ("later",),
    ("run", "report"),
    ("connection", "local"),
    ("bodies",),
    ("store",),
    ("answers",),
    ("engine.loop",),
    ("engine.transports", "engine.scheduling", "engine.journal"),
    ("engine",),
    ("documents",),
    ("templates", "tables"),
    ("schemas",),
    ("*",),
]
"""From the doors down to plain values: a module imports from its own row and from those below it."""


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__") or "__init__", path


@functools.cache
def names():
    return {module for module, _ in modules()}


@functools.cache
def parsed(path):
    return ast.parse(path.read_text())


@functools.cache
def imports(path):
    """Return a file's statements that import, each with whether it is there for types alone.

    They stand in bodies: to look at each expression too takes ten times as long.
    """
    found, todo = [], [(parsed(path), False)]
    while todo:
        node, for_types = todo.pop()
        for_types |= isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        found += [(node, for_types)] if isinstance(node, ast.Import | ast.ImportFrom) else []
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, name, ())
            todo += [(each, for_types) for each in (inner if isinstance(inner, list) else ())]
    return found


def row_of(module):
    for number, row in enumerate(LAYERS):
        if any(module == name or module.startswith(name + ".") for name in row):
            return number
    return len(LAYERS) - 1


def imported(path, *, for_types=False):
    """Return the modules of ours that a file imports, inside functions too; those for types alone if asked for."""
    package, known = path.relative_to(PACKAGE).parent.parts, names()
    for node, only_typing in imports(path):
        if (only_typing and not for_types) or not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = ".".join((*package[: len(package) - node.level + 1], *(node.module or "").split("."))).strip(".")
        for alias in node.names:
            candidate = f"{base}.{alias.name}".strip(".")
            yield candidate if candidate in known else base


def test_imports_run_one_way():
    """From the command line down to plain values, never back."""
    upward = [
        (module, name)
        for module, path in modules()
        for name in imported(path)
        if module != "__init__" and row_of(name) < row_of(module)
    ]
    assert upward == []


def test_no_module_needs_itself():
    """However long the way, and be it for a type alone: what a module is made of can be read before it."""
    needs = {module: set(imported(path, for_types=True)) - {module} for module, path in modules()}
    while ground := {module for module, others in needs.items() if not others & needs.keys()}:
        needs = {module: others for module, others in needs.items() if module not in ground}
    assert sorted(needs) == []


def test_exactly_one_place_imports_pandas_and_pyarrow():
    """Everything else goes through it."""
    users = set()
    for module, path in modules():
        for node, _ in imports(path):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if any(name.split(".")[0] in {"pandas", "pyarrow", "polars", "duckdb"} for name in names):
                users.add(module.split(".")[0])
    assert users == {"tables"}


def test_no_node_is_named_in_workflow():
    """Nodes answer for themselves: a new one needs no change there."""
    kinds = {base.__name__ for kind in known_nodes().values() for base in kind.__mro__} - {"Node", "object"}
    named = {
        (module, name)
        for module, path in modules()
        if module.split(".")[0] == "workflow"
        for node in ast.walk(parsed(path))
        for name in (getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None))
        if name in kinds
    }
    assert named == set()


def test_importing_the_package_loads_nothing_heavy():
    """pandas, pyarrow, libcurl and the rest wait until they are used."""
    code = "import sys, tablenodes; print(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {
        "pandas",
        "pyarrow",
        "pycurl",
        "requests",
        "jinja2",
        "jsonschema",
        "numpy",
        "click",
        "genai_prices",
    } & set(loaded)


def test_the_public_names_are_those_that_show():
    """__all__, dir() and what can be got agree; beside the nodes they are few."""
    assert sorted(tn.__all__) == sorted(dir(tn))
    assert len(set(tn.__all__) - set(known_nodes())) <= 26
    for name in tn.__all__:
        assert getattr(tn, name) is not None
    with wording.raises(AttributeError):
        tn.CreateChatCompletions  # noqa: B018


def test_no_certificate_check_can_be_switched_off():
    """No code path turns TLS verification off."""
    for _, path in modules():
        text = path.read_text()
        assert "verify=False" not in text
        assert "CERT_NONE" not in text


def test_every_module_says_its_reason_and_stays_small():
    """The first line says what a module is for; it has at most 450 lines: from 400 on, look for two reasons."""
    for module, path in modules():
        text = path.read_text()
        assert ast.get_docstring(parsed(path)), module
        assert text.count("\n") <= 450, module
