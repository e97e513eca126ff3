"""What all tests share: no test is changed by the machine's own environment."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch, tmp_path_factory):
    """Take keys, addresses and proxies of the machine out of the environment; leave the user's own store alone."""
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TABLENODES_STORE", str(tmp_path_factory.getbasetemp() / "store.sqlite"))
