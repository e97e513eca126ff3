"""What the project shows its users runs: sample workflows, notebooks, the README's snippets."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest

import tablenodes as tn
from tablenodes.cli import main

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_workflows"
README = (ROOT / "README.md").read_text()


@pytest.fixture
def in_a_copy(tmp_path, monkeypatch):
    """Stand in a folder that has the sample workflows, so that no output falls into the project."""
    shutil.copytree(SAMPLES, tmp_path / "sample_workflows")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snippets(language):
    return re.findall(rf"<!-- snippet -->\n```{language}\n(.*?)```", README, re.DOTALL)


def run_command(*arguments):
    """Run the command line in this process; give its exit code and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code or 0, printed.getvalue()


@pytest.mark.model
@pytest.mark.timeout(300)
@pytest.mark.parametrize("workflow", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sample_workflow_runs(workflow, in_a_copy):
    """On the embedded model, with exit code 0 and a table where it says so."""
    code, _ = run_command("run", f"sample_workflows/{workflow.name}", "--no-progress")
    assert code == 0


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_sentiment_workflow_gives_one_answer_a_row(in_a_copy):
    """The README's first command writes and prints the table; the small model is mostly right."""
    code, printed = run_command("run", "sample_workflows/review_sentiment.yaml", "--no-progress")
    written = tn.read_table("review_sentiment.csv")
    reviews = tn.read_table(SAMPLES / "data" / "reviews.csv")
    assert code == 0
    assert list(written["review"]) == list(reviews["review"])
    assert set(written["outcome"]) == {"ok"}
    assert "outcome" in printed
    judged = written["text"].str.lower().str.extract("(positive|negative)", expand=False)
    assert (judged == written["label"]).mean() >= 0.9


@pytest.mark.model
@pytest.mark.timeout(300)
@pytest.mark.parametrize("notebook", sorted(SAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_runs_from_top_to_bottom(notebook, in_a_copy):
    """From the CSV to a chart, in a kernel of its own."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    read = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(read, timeout=240, resources={"metadata": {"path": "sample_workflows"}}).execute()
    kinds = {kind for cell in read.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())}
    assert {"image/png", "text/html"} <= kinds


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_readmes_first_python_snippet_runs(in_a_copy):
    """Word for word."""
    names: dict[str, object] = {}
    exec(compile(snippets("python")[0], "README.md", "exec"), names)
    assert len(names["result"]) == len(names["reviews"]) > 20
    assert names["configuration"] is names["reviews"]


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_readmes_other_nodes_run(in_a_copy, capsys):
    """A chat of two turns, a stream, and answers that come later."""
    names: dict[str, object] = {}
    exec(compile(snippets("python")[1], "README.md", "exec"), names)
    assert list(names["answers"]["outcome"]) == ["ok", "ok"]
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()} >= {"0", "1"}


def test_the_readmes_check_prints_what_it_says(capsys):
    """The text block below the snippet is what comes out."""
    exec(compile(snippets("python")[2], "README.md", "exec"), {})
    shown = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    assert capsys.readouterr().out in shown


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_readmes_commands_run(in_a_copy):
    """Those that begin with tablenodes, with their line breaks."""
    (block,) = snippets("sh")
    command = shlex.split(block.replace("\\\n", " "))
    assert command[0] == "tablenodes"
    code, _ = run_command(*command[1:])
    assert code == 0
    assert len(pd.read_csv("sentiment.csv")) == 3


def test_the_readme_stays_short():
    """A stranger in a hurry reads it."""
    assert README.count("\n") < 200


def test_the_readmes_yaml_is_the_sample_workflow():
    """One workflow, shown and shipped."""
    (shown,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert tn.Workflow.load(SAMPLES / "review_sentiment.yaml").to_yaml() == _loaded(shown)


def _loaded(text):
    folder = SAMPLES
    path = folder / ".shown.yaml"
    try:
        path.write_text(text)
        return tn.Workflow.load(path).to_yaml()
    finally:
        path.unlink(missing_ok=True)
