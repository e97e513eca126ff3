"""Pages that guide a reader through a subject: what they show runs, and prints what they say."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tomllib
from base64 import b64encode
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from background import ending
from pages import DOCS, blocks, page, reader
from sample_runs import sharing
from tutorial_chart import follow, steps

import tablenodes as tn
from tablenodes.errors import SettingError
from tablenodes.local import CHAT
from tablenodes.testing import canned


def judged(request):
    """Answer as the embedded model does in the tutorial."""
    text = request["messages"][0]["content"]
    fields = request["response_format"]["json_schema"]["schema"]["properties"]
    stars = int(re.search(r"(\d) star", text)[1])
    if "answer" in fields:
        return "negative" if stars == 1 or "Poor" in text else "positive"
    said = {"stars": stars, "mood": "positive" if stars > 3 else "negative"}
    return {name: said[name] for name in fields}


def test_the_tutorial_runs_from_top_to_bottom_and_prints_what_it_says(tmp_path):
    """In one session; what is asked with one's own key is asked here, for the usual price."""
    pytest.importorskip("matplotlib")
    names = {}
    with reader(tmp_path, judged):
        here = os.environ["OPENAI_BASE_URL"]
        with sharing(SimpleNamespace(base_url=here, api_key="", ended=None, model=CHAT)):
            assert follow(steps(), names) == []
        (own,) = [block for block in blocks("tutorial.md") if block.mark == "run openai"]
        profile = (
            f"{{base_url: '{here}', api_key_env: OPENAI_API_KEY, prices: {{gpt-4o-mini: {{input: 1, output: 1}}}}}}"
        )
        Path("tablenodes.yaml").write_text(f"openai: {profile}\n")
        assert 0 < float(own.run(names)) < 0.01
        assert len(Path("stars.csv").read_text().splitlines()) == 8
    assert page("tutorial.md").count("```sh") == 2  # how to install, and the commands that are run


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(600)
def test_the_tutorial_is_what_the_embedded_model_says(tmp_path):
    """Word for word."""
    pytest.importorskip("matplotlib")
    with contextlib.chdir(tmp_path):
        assert follow(steps(), {}) == []


REVIEWS = {"review": ["good, and cheap", "bad", "good, and cheap", "so so, and dear"]}
PNG = b"\x89PNG\r\n\x1a\n"


def seen(request):
    """Answer by the image that is shown."""
    is_lamp = b64encode(PNG + b"a").decode() in str(request)
    said = {"kind": "lamp" if is_lamp else "kettle", "is_broken": not is_lamp}
    return {name: said[name] for name in request["response_format"]["json_schema"]["schema"]["properties"]}


def rated(request):
    """Answer by what is read, as a request for a response asks."""
    is_good = "Works" in request["input"]
    return {"sentiment": "positive" if is_good else "negative", "stars": 5 if is_good else 1}


def moderated(request):
    """Return the scores of a post."""
    return {"violence": 0.97 if "find you" in request["input"] else 0.01, "hate": 0.02}


def talked(request):
    """Answer in two turns."""
    said = str(request["messages"])
    if len(request["messages"]) == 2:
        return "Yes." if "love" in said else "No."
    return "Because of love." if "love" in said and "Yes." in said else "Because of breaks."


def meant(request):
    """Return what a text is about, as a vector; to a chat, whether somebody complains."""
    if "messages" in request:
        return "Terrible" in request["messages"][0]["content"]
    text = request["input"]
    found = [bool(re.search(words, text)) + 0.0 for words in ("lamp", "soup", "Terrible|bad")]
    length = sum(found) ** 0.5 or 1.0
    return [each / length for each in found]


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        *((name, "Well.") for name in ("rate-limits.md", "retries.md", "resume.md", "signals.md")),
        *((name, "Well.") for name in ("scale.md", "clusters.md")),
        ("images.md", seen),
        ("conversations.md", talked),
        ("responses.md", rated),
        ("moderation.md", moderated),
        ("testing.md", "nobody is asked"),
        ("openapi.md", "nobody is asked"),
        ("embeddings.md", meant),
    ],
)
def test_a_page_runs_from_top_to_bottom_and_prints_what_it_says(name, reply, tmp_path):
    """In one session."""
    (tmp_path / "photos").mkdir()
    for photo in "ab":
        (tmp_path / "photos" / f"{photo}.png").write_bytes(PNG + photo.encode())
    (tmp_path / "photos.csv").write_text("photo\nphotos/a.png\nphotos/b.png\n")
    with ending(tmp_path / "store"), reader(tmp_path, reply):
        pd.DataFrame(REVIEWS).to_csv("reviews.csv", index=False)
        Path("posts.csv").write_text("post\nWhat a lovely kettle.\nI will find you.\n")
        Path("parts").mkdir()
        for part in range(2):
            pd.DataFrame(REVIEWS)[part * 2 :][:2].to_csv(f"parts/{part}.csv", index=False)
        assert follow([block for block in blocks(name) if block.mark != "run local"], {}) == []


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_page_on_embeddings_says_what_the_embedded_model_makes_of_the_reviews(embedding_model, monkeypatch):
    """Of all 30, without a network."""
    monkeypatch.chdir(DOCS.parent)
    assert follow([block for block in blocks("embeddings.md") if block.mark == "run local"], {}) == []


def test_the_tests_of_a_pipeline_pass(tmp_path, monkeypatch):
    """Those that the page shows, and they can fail."""
    files = [block for block in blocks("testing.md") if block.mark.endswith(".py")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for block in files:
        block.run({})
    scope = {}
    exec(files[1].code, scope)
    tests = [value for name, value in scope.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()
    monkeypatch.setattr(scope["tn"].testing, "canned", lambda reply: canned({"stars": 4}))
    for test in tests:
        with pytest.raises(AssertionError):
            test()
    sys.modules.pop("pipeline")


def test_the_page_on_installing_names_extras_that_there_are(tmp_path, monkeypatch):
    """What it runs removes a model, here none."""
    monkeypatch.setenv("TABLENODES_CACHE", str(tmp_path))
    with reader(tmp_path, "nobody is asked"):
        assert follow(blocks("install.md"), {}) == []
    extras = re.findall(r"^\| `(\w+)` \|", page("install.md"), re.MULTILINE)
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    assert len(extras) >= 6
    assert {*extras} <= project["optional-dependencies"].keys()


def test_what_the_page_on_answers_writes_is_read_as_it_says():
    """Each answer of its tables: as an error where it says so, else as one."""
    kinds = {each.__name__: each for each in (str, int, float, bool, date, datetime, list)}
    text = page("answers.md").partition("## What you may write")[2].partition("## Where answers are")[0]
    found = [
        (eval(code, kinds), "error" in cells)
        for written, cells in re.findall(r"^\| (.*?) \| (.*) \|$", text, re.MULTILINE)
        for code in re.findall(r"`([\[{].*?|str|int|float|bool|date|datetime)`", written)
    ]
    assert len(found) >= 20
    for answer, is_error in found:
        with pytest.raises(SettingError) if is_error else contextlib.nullcontext():
            tn.CreateChatCompletion(model="m", prompt="x", answer=answer)


@pytest.mark.parametrize("name", sorted(path.name for path in DOCS.glob("*.md")))
def test_a_list_stands_apart_from_the_text_before_it(name):
    """Or the site shows it as a part of that text."""
    text = re.sub(r"^```.*?^```$", "", page(name), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^(?! |- |\d+\. |\||#|$).+\n(?=- |\d+\. |\|)", text, re.MULTILINE) == []
