"""The file of sentences holds what the tests look at, and nothing more."""

from __future__ import annotations

import pytest
from sentences import COLLECTED, left_over, load, merge, wording


def test_every_sentence_of_the_file_belongs_to_a_test(request):
    if any("::" in str(each) for each in request.config.args):
        pytest.skip("only a part of a file is collected")
    assert left_over(load(), request.config.stash[COLLECTED]) == []


def test_a_test_that_is_gone_leaves_its_sentences_over():
    kept = {"test_store.py": {"test_a": ["x"], "test_b[1]": ["y"], "test_c": ["z"]}}
    assert left_over(kept, {"test_store.py::test_a[0]", "test_store.py::test_b[2]"}) == [
        "test_store.py::test_b[1]",
        "test_store.py::test_c",
    ]
    assert left_over(kept, {"test_other.py::test_a"}) == []


def test_cases_that_say_the_same_are_written_once():
    collected = {"t.py::test_a[0]", "t.py::test_a[1]"}
    written = merge({}, {"t.py": {"test_a[0]": ["x"], "test_a[1]": ["x"]}}, collected)
    assert written == {"t.py": {"test_a": ["x"]}}
    assert merge(written, {"t.py": {"test_a[1]": ["y"]}}, collected) == {
        "t.py": {"test_a[0]": ["x"], "test_a[1]": ["y"]}
    }


def test_what_differs_from_run_to_run_has_a_name(tmp_path):
    assert (
        wording._plain(f"{tmp_path}/a.csv at http://127.0.0.1:54321/v1", {})
        == "{tmp}/a.csv at http://127.0.0.1:{port}/v1"
    )
    assert wording._plain("12 rows of sub-3", {"name": "sub-3"}) == "12 rows of {name}"
