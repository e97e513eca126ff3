"""The page of the environment: each variable that the program names, and each place where it keeps files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import page
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

import tablenodes as tn
from tablenodes.later.lock import WorkerLock
from tablenodes.workflow.destination import Destination

PACKAGE = Path(tn.__file__).parent
OF_THE_SYSTEM = ("O_", "F_", "TCP_")
CAPITALS = re.compile(r'"(?:(_?[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"|\$\{([A-Z_]+)\})')
NO_VARIABLES = {
    *("ANSWER_MODES", "DEFAULT_MODEL", "DEFAULT_REVISION", "USAGE_TYPES"),  # names of a package's
    *(
        "API_KEY_INVALID",
        "DEADLINE_EXCEEDED",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
    ),  # servers'
}
"""Words in capitals that the package has as texts and are not looked up in the environment."""
KEEPS_FILES = {
    "store/store_file.py": "store.sqlite",
    "connection/profile_register.py": "config.yaml",
    "local/model_files.py": "models/",
    "engine/journal/snapshot.py": "tablenodes-…",
    "cli/printout.py": "tablenodes-unwritten-",
    "local/server.py": "a file without a name",
    "tables/spill.py": "`spill`",
}
"""Modules that choose a folder of the system's or the user's, and what the page calls their files."""


def named():
    """Return the texts of the package that may be names of variables."""
    found = (pair for path in PACKAGE.rglob("*.py") for pair in CAPITALS.findall(path.read_text()))
    names = {plain or of_a_text for plain, of_a_text in found} - NO_VARIABLES
    return {name for name in names if not name.startswith(OF_THE_SYSTEM)}


def test_each_variable_that_the_program_names_is_on_the_page():
    """In a table, or below one; or it is none, and is named above."""
    others = {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "COLUMNS"}
    assert {name for name in named() | others if f"`{name}`" not in page("environment.md")} == set()


@pytest.mark.parametrize("module", sorted({*KEEPS_FILES}))
def test_what_is_kept_somewhere_is_on_the_page(module):
    """By the name of its files."""
    assert KEEPS_FILES[module] in page("environment.md")


def test_no_other_module_chooses_a_folder():
    """But those above."""
    uses = re.compile(r"platformdirs\.user_|tempfile\.\w+\(")
    files = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")}
    assert {name for name, text in files.items() if uses.search(text)} == {*KEEPS_FILES}


def test_folders_are_as_the_system_has_them(monkeypatch):
    """Those of Windows cannot be asked for elsewhere."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for system in (Unix, MacOS):
        found = system("tablenodes", appauthor=False)
        for folder in (found.user_config_dir, found.user_data_dir, found.user_cache_dir):
            assert f"`{folder.replace('/home/me', '~')}`" in page("environment.md")


def test_a_journal_and_a_lock_are_called_as_the_page_says():
    """Beside what they belong to."""
    assert Destination("OUTPUT").journal == "OUTPUT.journal"
    assert WorkerLock(Path("store.sqlite"), "a").path.name == "store.sqlite.a.worker"
