"""The page of outcomes: each outcome, reason and exit code that there is, and what the engine makes of it."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pytest
from pages import page

import tablenodes as tn
from tablenodes.cli import complaints
from tablenodes.engine.journal.entry import may_pass
from tablenodes.engine.outcomes import rules
from tablenodes.engine.outcomes.rules import OUTCOMES, Failure, Rule
from tablenodes.engine.outcomes.shortcomings import LACKS
from tablenodes.engine.scheduling.stops import NOT_SENT_BECAUSE

OF_ANSWERS = {*LACKS, "called_tool", "not_json", "does_not_fit"}
NO_REQUEST_LEFT = {"tls", "proxy"}
"""Outcomes of connections that never stood."""
AGAIN = {(True,): "yes", (False,): "no", (False, True): "where it may pass"}


def cells(first):
    """Return the rows of the tables whose first column is called so, each with a name of its own."""
    found, is_in = [], False
    for line in page("outcomes.md").splitlines():
        names, *rest = [each.strip() for each in line.strip("|").split(" |")] if line.startswith("|") else [""]
        is_in = (is_in or names == first) and line.startswith("|")
        if is_in and names != first and not names.startswith("-"):
            found += [(name.strip("`"), *rest) for name in names.split(", ")]
    return found


def rules_of(outcome):
    """Return all that may come to an outcome."""
    listed = (vars(rules).values(), rules._STATUS_RULES.values(), rules.FAULT_RULES.values())
    return [each for each in itertools.chain(*listed) if isinstance(each, Rule) and each.outcome == outcome]


def test_each_outcome_is_on_the_page_once():
    """And no other word is."""
    assert sorted(name for name, *_ in cells("outcome")) == sorted(OUTCOMES)


@pytest.mark.parametrize("row", [row for row in cells("outcome") if rules_of(row[0])], ids=lambda row: row[0])
def test_what_may_be_paid_and_what_is_sent_again_is_as_the_engine_has_it(row):
    """By all the rules that come to this outcome."""
    outcome, _, paid, again = row
    kinds = {each.kind for each in rules_of(outcome)}
    kinds |= {Failure.FINAL} if outcome in ("in_band_error", "decode_error") else set()  # by the inner code, the break
    ran = any(each.may_have_run and each.kind is not Failure.NOT_EXECUTED for each in rules_of(outcome))
    passes = tuple(sorted({may_pass(outcome, kind) for kind in kinds}))
    assert (paid, again) == ("maybe" if ran and outcome not in NO_REQUEST_LEFT else "no", AGAIN[passes])


def test_rows_that_are_left_may_pass():
    """As the page says of those that have no rule of the engine."""
    left = {name: again for name, _, _, again in cells("outcome") if not rules_of(name)}
    assert {name for name, again in left.items() if again == "yes"} == {n for n in left if may_pass(n, Failure.FINAL)}


def test_each_reason_is_on_the_page():
    """What answers lack, and each rule by which a row is refused outside of the schema."""
    broken = set()
    for path in Path(tn.__file__).parent.rglob("*.py"):
        if path.parent.name != "schemas" and "Problem(" in (source := path.read_text()):
            for call in ast.walk(ast.parse(source)):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Problem" and len(call.args) > 2:
                    broken.add(call.args[1].value if isinstance(call.args[1], ast.Constant) else "")
    shown = {name for name, *_ in cells("reason")}
    assert shown == OF_ANSWERS | (broken | {"image"}) - {"", "type"}


def test_each_reason_to_stop_is_on_the_page():
    """Once."""
    assert sorted(name for name, *_ in cells("stopped")) == sorted(NOT_SENT_BECAUSE)


def test_each_exit_code_is_on_the_page():
    """And that of a program that a signal ends."""
    codes = {getattr(complaints, name) for name in ("OK", "BAD_INPUT", "BAD_USAGE", "SOME_FAILED", "INTERRUPTED")}
    assert {int(name) for name, *_ in cells("code")} == codes | {143}


def test_the_page_says_when_an_outage_is_over():
    """As the settings have it."""
    assert re.search(rf"for {tn.Retry().outage_patience:g} s \(`outage_patience`\)", page("outcomes.md"))
