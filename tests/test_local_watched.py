"""When the embedded model dies in the middle of a run."""

from __future__ import annotations

import os
import signal

import pandas as pd
import pytest
from sentences import wording

import tablenodes as tn
from tablenodes.local import installed

pytestmark = [pytest.mark.model, pytest.mark.skipif(installed() is None, reason="run: tablenodes model install")]


def test_a_model_that_ends_stops_the_run_at_once_and_gives_what_came():
    """Nobody waits for a server that is not there any more."""
    node = tn.CreateChatCompletion(prompt="Write a long story. {{ word }}", max_tokens=20, stream=True)
    told = []

    def kill(row, text):
        told.append(row)
        if len(told) == 12:
            os.kill(connection.server.pid, signal.SIGKILL)

    with (
        tn.Connection.local() as connection,
        wording.raises(tn.errors.ModelError) as caught,
    ):
        node.run(pd.DataFrame({"word": map(str, range(500))}), connection, on_text=kill, progress=False)
    outcomes = set(caught.value.output.log["outcome"])
    assert "not_sent" in outcomes
    assert outcomes <= {"ok", "not_sent", "in_doubt", "connect", "reset", "disconnected", "stream_truncated"}
