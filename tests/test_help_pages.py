"""Pages for those who look something up: what they show runs and prints what they say."""

from __future__ import annotations

import pandas as pd
import pytest
from pages import blocks, page, reader


@pytest.mark.parametrize("name", ["outcomes.md", "troubleshooting.md"])
def test_a_page_runs_from_top_to_bottom_and_prints_what_it_says(name, tmp_path):
    """In one session, and each block of code is run."""
    names = {}
    found = blocks(name)
    with reader(tmp_path, "Well."):
        pd.DataFrame({"id": [1, 2], "review": ["good, and cheap", "bad"]}).to_csv("reviews.csv", index=False)
        for block in found:
            assert block.shown in (None, block.run(names))
    assert page(name).count("```") == 2 * sum(1 + (block.shown is not None) for block in found)
