"""The page of messages: each is said word for word, and each cause that a run's end knows has an entry."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from pages import DOCS, page

import tablenodes
from tablenodes.cli import complaints
from tablenodes.cli.closing_report import _how
from tablenodes.cli.complaints import option_for
from tablenodes.engine.outcomes import rules
from tablenodes.run import cures
from tablenodes.run.failures import Failed

PAGE = page("troubleshooting.md")
PACKAGE = Path(tablenodes.__file__).parent
HEADINGS = re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE)
ALSO = [each for line in re.findall(r"^Also: (.*)", PAGE, re.MULTILINE) for each in re.findall("`(.*?)`", line)]
MESSAGES = [*HEADINGS, *ALSO]
ENTRIES = {
    "answer_column": "which is what the answer's column would be called",
    "billed_twice": "was sent before without an answer seen, and may be billed twice",
    "encoding": "not UTF-8 but …, as it seems",
    "encoding_unknown": "not UTF-8 but …, as it seems",
    "ids_elsewhere": "the store no longer has this id at …",
    "ids_lost": "which would be in no file any more",
    "key_unencrypted": "the API key would be sent unencrypted to …",
    "no_column": "no column '…'",
    "no_ending": "must end in one of …",
    "no_journal": "no journal was kept",
    "no_key": "no API key for …",
    "no_key_for_address": "no API key for …",
    "no_key_sent": "no API key was sent",
    "no_key_sent_here": "no API key was sent",
    "no_library": "needs the library …",
    "no_price": "no price is known for …",
    "no_profile": "no profile '…'",
    "other_rows": "the second run's rows are not those of .failed",
    "submitted_again": "submitted before, and sent again",
    "unchanged": "was not changed: no row was answered",
    "unpriced": "unknown: no price for …",
    "variable_unset": "the environment variable … is not set",
}
"""Where the page has the messages of a code."""
SAYING_ALL = {
    "actor",
    "no_share",
    "another_server",
    "answer",
    "answer_readings",
    "answer_settings",
    "calls",
    "choices",
    "duplicates",
    "input_format",
    "key_in_address",
    "key_in_file",
    "later",
    "may_pass",
    "other_limits",
    "no_address",
    "no_charts",
    "no_connection",
    "no_query",
    "no_reply",
    "no_request",
    "no_row",
    "no_target_table",
    "no_variable_name",
    "not_openapi",
    "not_over",
    "option",
    "other_answer",
    "query_in_address",
    "row_refused",
    "rows",
    "sends_later",
    "whole_table",
    "several_sheets",
    "swagger",
    "target_exists",
    "target_lacks",
    "unsent",
}
"""Codes whose messages say what to do themselves, and so have no entry."""


@pytest.fixture(scope="module")
def said():
    """All that is known to be said: the sentences of the tests, and the beginnings of a closing report's lines."""
    kept = json.loads((Path(__file__).parent / "sentences.json").read_text())
    texts = [
        "\n".join(each) if isinstance(each, list) else each
        for file in kept.values()
        for t in file.values()
        for each in t
    ]
    ends = [(outcome, None) for outcome in sorted(rules.OUTCOMES)] + [
        ("http_error", status) for status in range(300, 600)
    ]
    texts += [each.replace("{column}", "columns") for each in complaints._SENTENCES.values()]
    texts += [path.read_text("utf-8") for path in (PACKAGE / "nodes").glob("*.py")]
    words = [rule.words for rule in vars(rules).values() if isinstance(rule, rules.Rule)]
    ended = [_how(Failed(outcome, status, None, rows, 0, "", True)) for outcome, status in ends for rows in (1, 2)]
    return "\n".join([*texts, *words, *ended])


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_on_the_page_is_one_of_the_program(message, said):
    """What stands for `…` is in one line with the rest."""
    assert re.search(re.escape(message).replace("…", ".*?"), said)


@pytest.mark.parametrize("words", re.findall("“(.*?)”", PAGE))
def test_words_of_a_server_are_those_of_an_answer_in_the_tests(words, said):
    """A user looks for them, since the report shows them."""
    assert words in said


def test_no_message_is_there_twice():
    """Each has one entry."""
    assert len(MESSAGES) == len({*MESSAGES})


def test_each_code_of_a_message_has_an_entry_or_says_all_itself():
    """A new one is put into one of the two lists."""
    sources = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    codes = {*re.findall(r'code="(\w+)"', sources), *complaints._SENTENCES}
    assert codes == ENTRIES.keys() | SAYING_ALL
    assert not ENTRIES.keys() & SAYING_ALL
    assert set(ENTRIES.values()) <= {*MESSAGES}


@pytest.mark.parametrize(
    ("pasted", "heading"),
    [
        ("tablenodes: 1 row failed with HTTP 400", "rows failed with HTTP 400"),
        ("3 rows failed with HTTP 401: Incorrect API key provided", "rows failed with HTTP 401"),
        ("the second run has 2 rows, and .failed has 4", "the second run's rows are not those of .failed"),
        ("1,204 rows have no usable answer", "rows have no usable answer"),
        ("1 row has no usable answer: the answer was cut at its token limit", "rows have no usable answer"),
        ("tablenodes: error: writing .xlsx needs the library xlsxwriter", "needs a driver that is not installed"),
    ],
)
def test_a_line_from_the_terminal_finds_its_entry(pasted, heading):
    """The search asks for every word of it, as they are separated in the site's settings."""
    config = tomllib.loads((DOCS / "site" / "zensical.toml").read_text("utf-8"))
    separator = re.compile(config["project"]["plugins"]["search"]["separator"])
    found = [each for each in PAGE.split("\n### ")[1:] if words_of(pasted, separator) <= words_of(each, separator)]
    assert [each.partition("\n")[0].strip("`") for each in found] == [heading]


def words_of(text, separator):
    """Return the words that a search compares."""
    return {*separator.split(text.lower())} - {"", None}


@pytest.mark.parametrize("cause", [*cures._OF_OUTCOME, *cures._OF_REASON, *map(str, cures._OF_STATUS)])
def test_each_cause_that_a_runs_end_knows_has_an_entry(cause):
    """By its outcome, its reason or its status."""
    entries = PAGE.partition("## Rows that failed")[2]
    assert re.search(rf"(?:`|rows failed with (?:HTTP )?){cause}`", entries)


def test_what_is_too_large_may_be_allowed():
    """The longest answer is a setting."""
    assert "--body-bytes" in cures.cure(Failed("too_large", 200, None, 1, 0, "", False), option_for)
