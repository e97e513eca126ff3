"""A node's settings are given by their names, and a slip in one is said in a line."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle

import pytest

import tablenodes as tn
from tablenodes.errors import SettingError, SettingNameError
from tablenodes.nodes import known_nodes
from tablenodes.nodes.node import setting_names

KINDS = sorted(known_nodes().values(), key=lambda kind: kind.__name__)
NODE = tn.CreateChatCompletion(model="m", prompt="p", extra_body={"top_k": 5})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_setting_of_no_node_is_said_with_the_nearest_name(kind):
    """Of all nodes alike."""
    name = setting_names(kind)[0]
    said = rf"^{kind.__name__} has no setting '{name}x'; did you mean '{name}'\?$"
    with pytest.raises(SettingNameError, match=said):
        kind(**{f"{name}x": "v"})


def test_a_wrong_name_is_an_error_of_both_kinds():
    """Whoever catches Python's own still does."""
    with pytest.raises(SettingError):
        tn.CreateChatCompletion(promt="x")
    with pytest.raises(TypeError):
        tn.CreateChatCompletion(promt="x")
    with pytest.raises(SettingNameError):
        NODE.replace(promt="x")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_setting_without_a_name_is_told_to_have_one(kind):
    """Settings have no order that anyone could know."""
    with pytest.raises(SettingNameError) as caught:
        kind("PATIENT-4711")
    first = setting_names(kind)[0]
    assert str(caught.value) == f"{kind.__name__} takes settings by their names only, such as {first}=…"


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, dataclasses.replace, lambda node: pickle.loads(pickle.dumps(node))],
    ids=["copy", "deepcopy", "replace", "pickle"],
)
def test_a_node_is_copied_as_any_value_is(again):
    """With all that was set."""
    assert again(NODE) == NODE


def test_an_editor_completes_the_settings():
    """Their names are those of the call."""
    assert tuple(inspect.signature(tn.CreateChatCompletion).parameters) == tuple(
        field.name for field in dataclasses.fields(tn.CreateChatCompletion)
    )


def test_a_node_may_have_a_constructor_of_its_own():
    """A user's, which makes the settings of something else."""

    class Summary(tn.CreateChatCompletion):
        def __init__(self, topic):
            super().__init__(model="m", prompt=f"Sum up what is said about {topic}")

    assert Summary("tea").prompt == "Sum up what is said about tea"
    assert Summary(topic="tea") == Summary("tea")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_user_completes_settings_and_what_can_be_done(kind):
    """And nothing else: what a node is for the package has an underscore."""
    shown = {name for name in dir(kind) if not name.startswith("_")}
    assert shown == {*setting_names(kind), "run", "check", "replace"}
