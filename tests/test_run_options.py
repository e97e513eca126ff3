"""How a run is carried out: whatever node or workflow is run, a wrong argument is one line, before anything is done."""

from __future__ import annotations

import dataclasses
import inspect

import pandas as pd
import pytest
from sentences import wording

import tablenodes as tn
from tablenodes.errors import SettingError
from tablenodes.run.options import RunOptions, described

WORDS = pd.DataFrame({"word": ["a"], "future_response_id": ["x"], "conversation": ["y"]})
CHAT = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
RUNS = {
    "chat": CHAT.run,
    "async": tn.CreateChatCompletionAsync(model="m", prompt="{{ word }}").run,
    "retrieve": tn.RetrieveResponse().run,
    "return": tn.Return(text="{{ word }}").run,
    "begin": tn.CreateConversation(system="Be kind.").run,
    "add": tn.AddUserMessage(text="{{ word }}").run,
    "workflow": tn.Workflow({"a": tn.Return(text="{{ word }}"), "b": CHAT}).run,
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_slip_is_said_with_the_nearest_word(run, tmp_path, monkeypatch):
    """And nothing is done: no store is made."""
    monkeypatch.setenv("TABLENODES_STORE", str(tmp_path / "store"))
    with wording.raises(SettingError):
        run(WORDS, on_invalid="rais")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"limits": 5}, {"retry": "no"}, {"journal": {}}, {"on_text": 1}], ids=str)
def test_a_workflow_looks_at_all_of_it_before_its_first_node(wrong, tmp_path, monkeypatch):
    """Though that one may need none of it."""
    monkeypatch.setenv("TABLENODES_STORE", str(tmp_path / "store"))
    workflow = tn.Workflow({"a": tn.CreateConversation(system="Be kind."), "b": CHAT})
    with wording.raises(SettingError):
        workflow.run(WORDS, **wrong)
    assert list(tmp_path.iterdir()) == []


def test_every_option_is_described_once():
    """By its type, its default, one line, and its choices where they are few: a door needs no second table."""
    found = described()
    assert list(found) == [field.name for field in dataclasses.fields(RunOptions)]
    assert all(option.description.endswith(".") and "\n" not in option.description for option in found.values())
    assert found["retry_failed"].choices == ("transient", "all", "none")
    assert found["limits"].default == tn.Limits()


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_keywords_of_every_run_are_options(run):
    """With the options' own defaults; what else a run takes is not how it is carried out. A retrieval sends nothing."""
    own = {"retry_failed": "none"} if "wait" in inspect.signature(run).parameters else {}
    own |= {"deadline": None} if isinstance(run.__self__, tn.Workflow) else {}  # it may have one of its own
    beside = {"connection", "wait", "continue_from", "limits", "retry"}
    for parameter in inspect.signature(run).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name not in beside:
            assert parameter.default == own.get(parameter.name, described()[parameter.name].default)
