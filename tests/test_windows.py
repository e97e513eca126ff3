"""What Windows does otherwise, simulated: `windows.py` has what was found in its documents."""

from __future__ import annotations

import pandas as pd
import pytest
import windows
from servers import answer, echo, echo_server, fault_server, fin

import tablenodes as tn

ASK = tn.CreateChatCompletion(model="m", prompt="{{ word }}")


@pytest.fixture
def select_alone(monkeypatch):
    windows.select_alone(monkeypatch)


def run(url, rows, concurrency=1):
    table = pd.DataFrame({"word": [str(row) for row in range(rows)]})
    return ASK.run(table, tn.Connection(url), limits=tn.Limits(concurrency=concurrency))


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(answer("no", status=500), id="server_error"),
        pytest.param(answer("slower", status=429, headers=(("retry-after-ms", "30"),)), id="pause"),
        pytest.param(fin(), id="disconnected"),
    ],
)
def test_a_retry_is_waited_for_without_a_socket(select_alone, first):
    """select takes no empty sets there."""
    with fault_server([first, echo()]) as server:
        found = run(server.url, 1)
    assert list(found.log["outcome"]) == ["ok"]
    assert list(found.log["attempts"]) == [2]


def test_more_requests_are_in_flight_than_select_takes(select_alone):
    """It takes 512 sockets there."""
    with echo_server(latency=0.4) as url:
        found = run(url, 700, concurrency=600)
    assert found.log["outcome"].value_counts().to_dict() == {"ok": 700}
    assert found.log["attempts"].sum() == 700
