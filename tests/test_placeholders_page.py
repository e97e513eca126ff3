"""The page on placeholders is true: its filters are those that there are, and give what it says."""

from __future__ import annotations

import re

import pytest
from pages import page

from tablenodes.templates.environment import environment
from tablenodes.templates.template import Template

PAGE = page("placeholders.md")
LISTED = re.findall(r"^- ((?:`\w+`, )*`\w+`): (.*)$", PAGE.partition("## Filters")[2], re.MULTILINE)
EXAMPLES = re.findall(r"^- .*; `([^`]+)` gives `([^`]*)`$", PAGE, re.MULTILINE)
CELLS = {
    "text": "The Big cat",
    "n": -2.567,
    "words": ["pear", "fig", "fig"],
    "day": "2026-01-31",
    "rows": [{"k": "a", "v": 2}, {"k": "b", "v": 1}],
    "html": "<b>x</b>",
    "empty": None,
}


def test_the_page_lists_every_filter_that_there_is():
    """And no other."""
    names = [name for names, _ in LISTED for name in re.findall(r"\w+", names)]
    assert sorted(names) == sorted(environment().filters)


def test_every_filter_but_the_useless_one_has_an_example():
    """What stands after its name."""
    assert len(EXAMPLES) == len(LISTED) - 1


@pytest.mark.parametrize(("expression", "text"), EXAMPLES)
def test_an_example_gives_what_the_page_says(expression, text):
    """With the cells that the page names."""
    template = Template(f"{{{{ {expression} }}}}", "page")
    assert template.bind({name: i for i, name in enumerate(CELLS)}, {})(tuple(CELLS.values())) == text


def test_the_page_is_short():
    """One page."""
    assert PAGE.count("\n") < 120
