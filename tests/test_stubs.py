"""Editors see every public name, and what each setting of a node means."""

from __future__ import annotations

import stubs

WAY = "python tests/stubs.py writes them anew"


def test_the_stubs_say_what_the_package_and_the_schemas_say():
    """They are made, never edited."""
    assert {path: path.read_text() for path in stubs.stubs()} == stubs.stubs(), WAY
