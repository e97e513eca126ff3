"""Pages that guide a reader through a subject: what they show runs, and prints what they say."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from pages import blocks, page, reader
from sample_runs import sharing
from tutorial_chart import follow, steps


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
        with sharing(SimpleNamespace(base_url=here, api_key="", ended=None)):
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
