"""The page of messages: each is said word for word, and each cause that a run's end knows has an entry."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pages import page

from tablenodes.cli.closing_report import _how
from tablenodes.cli.complaints import option_for
from tablenodes.engine.outcomes import rules
from tablenodes.run import cures
from tablenodes.run.failures import Failed

MESSAGES = re.findall(r"^### `(.*)`$", page("troubleshooting.md"), re.MULTILINE)


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
    words = [rule.words for rule in vars(rules).values() if isinstance(rule, rules.Rule)]
    return "\n".join(
        [*texts, *words, *(_how(Failed(outcome, status, None, 2, 0, "", True)) for outcome, status in ends)]
    )


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_on_the_page_is_one_of_the_program(message, said):
    """What stands for `…` is in one line with the rest."""
    assert re.search(re.escape(message).replace("…", ".*?"), said)


@pytest.mark.parametrize("words", re.findall("“(.*?)”", page("troubleshooting.md")))
def test_words_of_a_server_are_those_of_an_answer_in_the_tests(words, said):
    """A user looks for them, since the report shows them."""
    assert words in said


def test_no_message_is_there_twice():
    """Each has one entry."""
    assert len(MESSAGES) == len({*MESSAGES})


@pytest.mark.parametrize("cause", [*cures._OF_OUTCOME, *cures._OF_REASON, *map(str, cures._OF_STATUS)])
def test_each_cause_that_a_runs_end_knows_has_an_entry(cause):
    """By its outcome, its reason or its status."""
    entries = page("troubleshooting.md").partition("## Rows that failed")[2]
    assert re.search(rf"(?:`|rows failed with (?:HTTP )?){cause}`", entries)


def test_what_is_too_large_may_be_allowed():
    """The longest answer is a setting."""
    assert "--body-bytes" in cures.cure(Failed("too_large", 200, None, 1, 0, "", False), option_for)
