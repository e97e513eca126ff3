"""The README's first steps are a run, and its picture shows it."""

from __future__ import annotations

import re

import pytest
from pages import blocks
from servers import Received

import tablenodes as tn

pytest.importorskip("pty", reason="this system has no terminals such as these", exc_type=ImportError)
import terminal_picture
from commands import Command


def test_the_readmes_first_steps_and_its_picture_are_a_run(tmp_path):
    """Its own key goes to the server, and the picture shows what a terminal shows, but for the seconds."""
    (steps,) = [block.code for block in blocks("../README.md") if block.mark == "key"]
    install, export, *_ = steps.splitlines()
    name, _, key = export.removeprefix("export ").partition("=")
    asked: list[Received] = []
    lines = terminal_picture.shown(Command, tmp_path, 0.0, key, asked.append)
    assert (install, name) == ("pip install tablenodes", "OPENAI_API_KEY")
    assert {each.headers["authorization"] for each in asked} == {f"Bearer {key}"}
    pictured = terminal_picture.texts(terminal_picture.PICTURE.read_text())
    assert timeless(pictured) == timeless(terminal_picture.texts(terminal_picture.drawn(lines)))
    assert list(tn.read_table(tmp_path / "moods.csv")["outcome"]).count("ok") == 497


def timeless(lines):
    """Return lines without what depends on the clock."""
    return [re.sub(r"in [\d.]+ s|\([\d,.]+ a second\)", "", line) for line in lines]
