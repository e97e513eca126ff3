"""The page of options: one row for each, as the options themselves have it."""

from __future__ import annotations

from dataclasses import fields

import pytest
from pages import page

import tablenodes as tn
from tablenodes.cli.sending_options import SENDING

IN_PYTHON = {
    "headers": "Connection.headers",
    "header_envs": "Connection.headers",
    "no_key": 'Connection.api_key=""',
    "local": "Connection.local()",
    "profile": "Connection.from_profile()",
}
"""Options that are called otherwise there, by their names."""


def python_of(name):
    """Return the field that an option sets."""
    for kind, prefix in ((tn.Retry, "retry_"), (tn.Timeout, "timeout_"), (tn.Limits, ""), (tn.Connection, "")):
        if name.startswith(prefix) and name.removeprefix(prefix) in {each.name for each in fields(kind)}:
            return f"{kind.__name__}.{name.removeprefix(prefix)}"
    return IN_PYTHON[name]


def rows():
    """Return the page's rows, in the order of the help."""
    return [
        f"| `{'`, `'.join(each.opts)}` | `{IN_PYTHON.get(each.name) or python_of(each.name)}` | {each.help} |"
        for each in SENDING
    ]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("`")[1])
def test_each_option_is_on_the_page_with_its_field(row):
    """Word for word as the help has it."""
    assert row in page("options.md").splitlines()


def test_the_page_has_no_other_options():
    """What is gone from the options is gone from the page."""
    assert sum(line.startswith("| `") for line in page("options.md").splitlines()) == len(rows())
