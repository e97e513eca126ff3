"""What the project shows its users runs: sample workflows, notebooks, what the README shows."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
from pages import blocks, page
from sample_runs import FEW, README_SAMPLE, ROWS, SAMPLES, copy_samples, run_command, sharing
from servers import answer, fault_server

import tablenodes as tn

ROOT = Path(__file__).parent.parent
README = page("../README.md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PAGES = ("../README.md", "requests.md")
SNIPPETS = {name: [block for block in blocks(name) if block.mark == "snippet"] for name in PAGES}
MEASURED = {
    "tablenodes, every answer in a journal on disk": "tablenodes, with a journal",
    "a bare libcurl loop, the limit": "raw libcurl loop (the limit)",
}
"""What the README calls otherwise than the page of the benchmarks."""


@pytest.fixture
def in_a_copy(tmp_path, monkeypatch):
    """Stand in a folder that has the sample workflows, with few reviews, so that no output falls into the project."""
    copy_samples(tmp_path, FEW)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SHARING = """
import contextlib, types
from tablenodes.local import CHAT, LocalModel
start = LocalModel.start
LocalModel.start = lambda recipe, model=CHAT: (
    contextlib.nullcontext(types.SimpleNamespace(model=CHAT, **{})) if model is CHAT else start(recipe, model)
)
"""
"""Has a notebook's kernel ask a server that runs already."""


def snippets(name, language):
    return [block.code for block in SNIPPETS[name] if block.language == language]


NAMES = sorted(path.stem for path in SAMPLES.glob("*.yaml"))
ELSEWHERE = {"azure_reviews", "ollama_reviews"}
"""Samples that ask a server which is not on this machine."""


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_workflow_says_how_to_run_it_and_what_comes_out(name):
    """In the comment that it begins with; a file that it names is the one that is written."""
    lines = (SAMPLES / f"{name}.yaml").read_text().splitlines()
    comment = "\n".join(takewhile(lambda line: line.startswith("# "), lines))
    assert f"tablenodes run sample_workflows/{name}.yaml" in comment
    output = tn.Workflow.load(SAMPLES / f"{name}.yaml").output
    assert output is None or output.path in comment.partition("Comes out:")[2]


@pytest.mark.model
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ELSEWHERE])
def test_every_sample_workflow_runs(name, sample):
    """On the embedded model, with exit code 0 and a whole table where it says so."""
    ran = sample(name)
    assert ran.code == 0
    output = tn.Workflow.load(SAMPLES / f"{name}.yaml").output
    assert output is None or len(tn.read_table(ran.folder / output.path)) == ROWS.get(name, 1)


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_sentiment_workflow_gives_one_answer_a_row(sample):
    """The README's first command writes and prints the table; the small model is mostly right."""
    ran = sample(README_SAMPLE)
    written = tn.read_table(ran.folder / "review_sentiment.csv")
    reviews = tn.read_table(SAMPLES / "data" / "reviews.csv")
    assert list(written["review"]) == list(reviews["review"][: ROWS[README_SAMPLE]])
    assert "outcome" in ran.printed
    assert judged_right(written) >= 0.9


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_sample_of_fields_gives_typed_columns(sample):
    """The words and the whole numbers that its answer says, and nothing else."""
    written = tn.read_table(sample("ticket_fields").folder / "ticket_fields.parquet")
    assert list(written["ticket_mood"].cat.categories) == ["positive", "negative"]
    assert str(written["ticket_stars"].dtype) == "Int64"
    assert set(written["ticket_stars"]) <= {1, 2, 3, 4, 5}


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_sample_of_a_spreadsheet_keeps_its_cells(sample):
    """Text that looks like a number, and dates."""
    given = tn.read_table(SAMPLES / "data" / "orders.xlsx")
    written = tn.read_table(sample("excel_reviews").folder / "excel_reviews.xlsx")
    assert list(given["order"][:2]) == ["0017", "0018"]
    pd.testing.assert_frame_equal(written[list(given)], given.iloc[:1])
    assert list(written)[len(given.columns) :] == ["mood", "mood_status", "mood_outcome", "mood_message"]


def positive(exchange):
    text = json.dumps({"answer": "positive"})
    answer({"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]})(exchange)


def test_the_sample_for_azure_asks_the_deployment(in_a_copy, monkeypatch):
    """With the key in its header, at the address that the variable says."""
    with fault_server(positive) as server:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url.removesuffix("/v1"))
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
        given = ("sample_workflows/azure_reviews.yaml", "--input", "deployment=mine", "--no-progress")
        assert run_command("run", *given)[0] == 0
    asked = server.requests[0]
    assert asked.path == "/openai/v1/chat/completions"
    assert (json.loads(asked.body)["model"], asked.headers["api-key"]) == ("mine", "azure-key")
    assert list(tn.read_table("azure_reviews.csv")["sentiment"]) == ["positive"] * FEW


def test_the_sample_for_ollama_needs_no_key(in_a_copy, monkeypatch):
    """The project's file names the server here; else it is the one on this machine's port 11434."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    with fault_server(positive) as server:
        Path("tablenodes.yaml").write_text(f"ollama: {{base_url: {server.url}}}\n")
        assert run_command("run", "sample_workflows/ollama_reviews.yaml", "--no-progress")[0] == 0
    assert "authorization" not in {name.lower() for name in server.requests[0].headers}
    assert list(tn.read_table("ollama_reviews.csv")["sentiment"]) == ["positive"] * FEW


@pytest.mark.slow
@pytest.mark.model
def test_the_small_model_judges_nearly_all_reviews_right(tmp_path, monkeypatch):
    """All that the README speaks of."""
    monkeypatch.chdir(tmp_path)
    assert run_command("run", str(SAMPLES / f"{README_SAMPLE}.yaml"), "--no-progress")[0] == 0
    written = tn.read_table("review_sentiment.csv")
    assert len(written) == len(tn.read_table(SAMPLES / "data" / "reviews.csv"))
    assert judged_right(written) >= 0.9


def judged_right(written):
    assert set(written["sentiment_outcome"]) == {"ok"}
    return (written["sentiment"] == written["label"]).mean()


@pytest.mark.model
@pytest.mark.timeout(300)
@pytest.mark.parametrize("notebook", sorted(SAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch, embedded, embedding_model):
    """From the CSV to a chart, in a kernel of its own; with short answers, from a server that runs already.

    One review is enough beside the one that the notebook itself adds.
    """
    copy_samples(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    read = nbformat.read(notebook, as_version=4)
    for cell in read.cells:
        cell.source = re.sub(r"max_tokens=\d+", "max_tokens=8", cell.source)
    running = {"base_url": embedded.server.base_url, "api_key": embedded.server.api_key, "ended": None}
    read.cells.insert(0, nbformat.v4.new_code_cell(SHARING.format(running)))
    nbclient.NotebookClient(read, timeout=240, resources={"metadata": {"path": "sample_workflows"}}).execute()
    kinds = {kind for cell in read.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())}
    assert {"image/png", "text/html"} <= kinds


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_readmes_python_snippet_runs(in_a_copy, monkeypatch, embedded):
    """Word for word, with the types that it speaks of, where the sample was copied."""
    names: dict[str, Any] = {}
    (snippet,) = snippets("../README.md", "python")
    monkeypatch.chdir("sample_workflows")
    with sharing(embedded.server):
        exec(compile(snippet, "README.md", "exec"), names)
    assert len(names["result"]) == len(names["reviews"]) == FEW
    assert names["configuration"] is names["reviews"]
    table = names["out"].table
    assert list(table["answer"].cat.categories) == ["positive", "negative"]
    assert str(table["status"].dtype) == "Int64"


@pytest.mark.model
@pytest.mark.timeout(300)
def test_nodes_of_several_turns_run(in_a_copy, monkeypatch, capsys, embedded):
    """A chat of two turns, a stream, and answers that come later, from a worker that starts its own model."""
    names: dict[str, object] = {}
    monkeypatch.chdir("sample_workflows")
    with sharing(embedded.server):
        exec(compile(snippets("requests.md", "python")[1], "requests.md", "exec"), names)
    assert list(names["answers"]["outcome"]) == ["ok", "ok"]
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()} >= {"0", "1"}


def test_a_check_prints_what_its_page_says():
    """The text block below the snippet is what comes out."""
    (check,) = [block for block in SNIPPETS["requests.md"] if block.shown]
    assert check.run({}) == check.shown


@pytest.mark.model
@pytest.mark.timeout(300)
def test_a_command_over_the_embedded_model_runs(in_a_copy, monkeypatch):
    """Those that begin with tablenodes, with their line breaks; the model is started as a user's is."""
    (block,) = snippets("requests.md", "sh")
    command = shlex.split(block.replace("\\\n", " "))
    assert command[0] == "tablenodes"
    monkeypatch.chdir("sample_workflows")
    code, _ = run_command(*command[1:])
    assert code == 0
    assert len(pd.read_csv("sentiment.csv")) == FEW


def test_the_readme_stays_short():
    """A stranger in a hurry reads it."""
    assert README.count("\n") <= 150


def test_the_readmes_figures_are_those_that_were_measured():
    """As the page of the benchmarks has them, at once and after a second; the CPU rounded."""
    measured: dict[str, list[list[str]]] = {}
    for line in page("benchmarks.md").splitlines():
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        measured.setdefault(name, []).append(cells)
    for line in README.partition("## How fast")[2].splitlines():
        name, *told = (cell.strip().strip("`") for cell in line.replace("`", "").strip("|").split("|"))
        if told and told[-1][:1].isdigit():
            first, second = measured[MEASURED.get(name, name)][:2]
            assert told[:2] == [first[0], second[0]]
            assert abs(float(told[2]) / float(first[1]) - 1) < 0.04


def test_the_readmes_headline_is_what_its_table_shows():
    """After a second: how many times as many rows as the fastest and the slowest of the others."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines()]
    measured = {row[0].strip("`"): float(row[2].replace(",", "")) for row in rows if row[3:] and row[2][:1].isdigit()}
    own = measured["tablenodes"]
    others = [value for name, value in measured.items() if "tablenodes" not in name and "libcurl" not in name]
    told = f"{own / max(others):.0f} to {own / min(others):.0f} times as many rows a second as the usual clients"
    assert f"Where answers take a second, it gets {told}" in " ".join(README.split())


def test_the_readme_names_the_pythons_and_systems_that_the_package_claims():
    """The first Python, and each system, as the package's settings have them; tested is where the tests have run."""
    (line,) = [line for line in README.splitlines() if line.startswith("Python ")]
    systems = {"Linux": "POSIX", "macOS": "MacOS", "Windows": "Microsoft :: Windows"}
    assert line.startswith(f"Python {PROJECT['requires-python'].removeprefix('>=')} or later")
    tested, _, simulated = line.partition("while")
    for name, claimed in systems.items():
        (tried, *_) = [row for row in page("platforms.md").splitlines() if row.startswith(f"| {name}")]
        assert name in (simulated if "never run" in tried else tested)
        assert any(each.startswith(f"Operating System :: {claimed}") for each in PROJECT["classifiers"])


def test_the_readmes_badges_say_what_the_package_says_of_itself():
    """In words and in the picture: the first and the last Python, the licence, and that it is typed."""
    pythons = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if "Python :: 3." in each]
    claims = [f"python {pythons[0]} to {pythons[-1]}", f"license {PROJECT['license']}", "typing typed"]
    badges = re.findall(r"\[!\[([^]]+)\]\(https://img\.shields\.io/badge/(.+)-blue\)\]\(", README)
    pictured = [unquote(re.sub(r"(?<!-)-(?!-)", " ", picture)).replace("--", "-") for _, picture in badges]
    assert pictured == claims
    assert [words.lower().replace(":", "") for words, _ in badges] == [*map(str.lower, claims[:2]), "typed"]
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert (ROOT / "tablenodes" / "py.typed").exists()


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


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_beside_the_pages_lead_somewhere(name):
    """To a file that is there, and to a heading that it has; the site's own pages are checked where it is built."""
    for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / name).read_text("utf-8")):
        path, _, heading = link.partition("#")
        if "://" not in link:
            assert (ROOT / path).exists(), link
            assert not heading or heading in headings(ROOT / (path or name)), link


def headings(path):
    """Return a page's headings as links have them."""
    found = re.findall(r"^#+ (.+)$", path.read_text("utf-8").lower(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each).replace(" ", "-") for each in found}
