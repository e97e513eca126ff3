"""The page of the environment: each variable that the program names, and each place where it keeps files."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from pages import page
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

import tablenodes as tn
from tablenodes.cli.application import application
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
    "engine/journal/kept_ends.py": '`duplicates="once"`',
    "cluster/share_file.py": "`Share(path=…)`",
}
"""Modules that choose a folder of the system's or the user's, and what the page calls their files."""
WRITES_FILES = KEEPS_FILES | {
    "cli/catalog.py": "`convert` and `graph`",
    "cli/samples.py": "`tablenodes sample NAME`",
    "engine/journal/answer_index.py": "`answers.index`",
    "engine/journal/journal_file.py": "`OUTPUT.journal`",
    "later/lock.py": "`store.sqlite….worker.log`",
    "later/replaced_file.py": "`NAME.before`",
    "report/page.py": "`--report`",
    "tables/batch_writer.py": "`OUTPUT.partial`",
    "tables/sqlite_engine.py": "beside a database",
    "tables/writer.py": "`--output`",
    "workflow/workflow.py": "`convert`",
}
"""Modules that write a file, and what the page calls it."""
WRITING = re.compile(
    r'\b(?:write_file|new_file|mkstemp|TemporaryFile)\(|\bO_CREAT\b|\.open\("[wxa]b?"|sqlite3\.connect\((?!":memory:)'
)
FOR_THESE = {"disk.py", "database_file.py", "tables/columnar.py"}
"""What writes the files of those above."""


def named():
    """Return the texts of the package that may be names of variables."""
    found = (pair for path in PACKAGE.rglob("*.py") for pair in CAPITALS.findall(path.read_text()))
    names = {plain or of_a_text for plain, of_a_text in found} - NO_VARIABLES
    return {name for name in names if not name.startswith(OF_THE_SYSTEM)}


def test_each_variable_that_the_program_names_is_on_the_page():
    """In a table, or below one; or it is none, and is named above."""
    others = {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "COLUMNS"}
    assert {name for name in named() | others if f"`{name}`" not in page("environment.md")} == set()


@pytest.mark.parametrize("module", sorted({*WRITES_FILES}))
def test_what_is_written_somewhere_is_on_the_page(module):
    """By the name of its files."""
    assert WRITES_FILES[module] in page("environment.md")


def modules(pattern):
    """Return the modules whose text has it."""
    files = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")}
    return {name for name, text in files.items() if pattern.search(text)}


def test_no_other_module_chooses_a_folder_or_writes_a_file():
    """But those above."""
    assert modules(re.compile(r"platformdirs\.user_|tempfile\.\w+\(")) == {*KEEPS_FILES}
    assert modules(WRITING) - FOR_THESE - {*WRITES_FILES} == set()


def test_each_option_that_names_a_file_or_a_folder_is_on_the_page():
    """Of any command; a table and a store have a row of their own."""
    named = {
        each.opts[0] for each in options(application, "tablenodes") if re.search("FILE|FOLDER", each.metavar or "")
    }
    named -= {"--table", "--store"}
    assert {"--report", "--journal", "--to"} < named
    assert {name for name in named if f"`{name}`" not in page("environment.md")} == set()


def options(command, name, parent=None):
    """Yield the options of a command and of those below it."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    yield from (each for each in command.params if isinstance(each, click.Option))
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from options(command.get_command(context, each), each, context)


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
