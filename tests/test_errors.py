"""Errors are read by programs through codes, places and values; their words are for people."""

from __future__ import annotations

import copy
import pickle

import pandas as pd
import pytest

import tablenodes as tn
from tablenodes.connection.endpoint import opened
from tablenodes.errors import EndedError, Interrupted, SettingError, TablenodesError, framed
from tablenodes.problems import Remark

TABLE = pd.DataFrame({"word": ["a"]})


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: tn.CreateChatCompletion(messages=[{"role": "user", "content": "{{ a b }}"}]), "messages[0].content"),
        (lambda: tn.CreateChatCompletion(columns=5), "columns"),
        (lambda: tn.CreateChatCompletion(temperature=float("nan")), "temperature"),
        (lambda: tn.CreateChatCompletion(prompt="x", messages=[]), "prompt"),
        (lambda: tn.CreateChatCompletion(model="m", prompt="{{ wrd }}").check(TABLE), "prompt"),
        (lambda: tn.CreateChatCompletion(model="m", prompt="x", columns=["seed"]).check(TABLE), "columns"),
        (lambda: tn.CreateChatCompletion(prompt="x", temperature=tn.col("t")).check(TABLE), "temperature"),
        (
            lambda: tn.Workflow({"a": tn.Return(text="x")}, inputs={"n": {"type": "integer", "default": "x"}}),
            "n.default",
        ),
        (lambda: tn.Workflow({"1": tn.Return(text="x")}), "id"),
        (lambda: tn.Workflow({"a": tn.Return(text="x")}, output={"path": "o.csv", "rw": True}), "output.rw"),
    ],
)
def test_an_error_has_the_place_that_is_meant(make, place):
    with pytest.raises(TablenodesError) as caught:
        make()
    assert caught.value.place == place


def test_an_error_about_a_key_has_a_code_and_the_host():
    with pytest.raises(TablenodesError) as caught, opened(tn.Connection("https://host.example/v1"), {}):
        pass
    assert (caught.value.code, caught.value.values["host"]) == ("no_key_for_address", "host.example")


def test_an_error_of_a_file_has_the_file_and_the_line(tmp_path):
    (tmp_path / "w.yaml").write_text("nodes:\n  - id: a\n    type: Return\n    text: '{{ a b }}'\n")
    with pytest.raises(TablenodesError) as caught:
        tn.Workflow.load(tmp_path / "w.yaml")
    assert caught.value.place == "nodes.0.text"
    assert caught.value.values == {"file": str(tmp_path / "w.yaml"), "line": 4}


def test_a_warning_has_the_place_that_is_meant():
    node = tn.CreateChatCompletion(model="m", prompt="{{ word }}", metadata={"{{ word }}": "x"})
    assert [warning.place for warning in node.check(TABLE).warnings] == ["metadata"]
    kept = pickle.loads(pickle.dumps(Remark("stop holds {{", "stop")))
    assert (kept, kept.place) == ("stop holds {{", "stop")


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error)), framed])
def test_an_error_that_is_copied_keeps_what_it_has(again):
    error = again(SettingError("stop: no", code="c", place="stop", values={"limit": 4}))
    assert (str(error), error.code, error.place, error.values) == ("stop: no", "c", "stop", {"limit": 4})
    ended = again(EndedError("full", {"a": 1}, output_has="them"))
    assert (str(ended), ended.message, ended.output) == ("full; .output has them", "full", {"a": 1})


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_interrupt_that_is_copied_keeps_what_it_has(again):
    ended = again(Interrupted("interrupted", {"a": 1}, output_has="them"))
    assert (str(ended), ended.message, ended.output) == ("interrupted; .output has them", "interrupted", {"a": 1})


def test_words_around_a_message_leave_the_error_what_it_is():
    error = SettingError("stop: no", place="stop")
    assert str(framed(error, "w.yaml:4: ", "!")) == "w.yaml:4: stop: no!"
    assert (framed(error, "w.yaml:4: ").place, str(error)) == ("stop", "stop: no")
    ended = framed(EndedError("full", output_has="the rest"), after="; not written")
    assert (str(ended), ended.message) == ("full; not written; .output has the rest", "full; not written")
