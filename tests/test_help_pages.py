"""Pages for those who look something up: what they show runs and prints what they say."""

from __future__ import annotations

import pandas as pd
import pytest
from pages import blocks, page, reader


def answered(request):
    """Answer in the form that is asked for."""
    return {"sentiment": "positive", "stars": 4} if "response_format" in request else "Well."


@pytest.mark.parametrize(
    "name", ["outcomes.md", "troubleshooting.md", "coming-from.md", "environment.md", "how-it-works.md"]
)
def test_a_page_runs_from_top_to_bottom_and_prints_what_it_says(name, tmp_path):
    """In one session; each block of code is run, but for another tool's."""
    names = {"__name__": "page"}
    found = blocks(name)
    with reader(tmp_path, answered):
        pd.DataFrame({"id": [1, 2], "review": ["good, and cheap", "bad"]}).to_csv("reviews.csv", index=False)
        for block in found:
            if block.mark == "theirs":  # another tool's, which is not here
                compile(block.code, name, "exec")
            else:
                assert block.shown in (None, block.run(names))
    assert page(name).count("```") == 2 * sum(1 + (block.shown is not None) for block in found)
