"""Every fault of a network and a server, from end to end: what a run says of the row, and what the server saw."""

from __future__ import annotations

import json
import threading
import time

import orjson
import pandas as pd
import pytest
from exchanges import nothing_left_behind
from faults import AFTER, ERROR, FAULTS, FAULTY, NODE, OWN, PROMISED, Kit, breaks_often, meet, prompt_of, shorten_waits
from measuring import measures_seconds
from servers import answer, completion, digest, echo, fault_server, head, raw, silence

import tablenodes as tn
from tablenodes.engine import policy
from tablenodes.engine.transports import TRANSPORTS

KEY = "k" * 20


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return Kit(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def _short_waits(monkeypatch):
    shorten_waits(monkeypatch)


def sent_body(prompt, *, stream=False, usage=True):
    asked = {"stream": True} | ({"stream_options": {"include_usage": True}} if usage else {}) if stream else {}
    return orjson.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]} | asked)


def table(rows):
    return pd.DataFrame({"prompt": [f"row {row}" for row in range(rows)]})


def run(server, rows, transport="curl", *, timeout=20, **manner):
    connection = tn.Connection(server.url, KEY, transport=transport, timeout=timeout)
    return NODE.run(table(rows), connection, progress=False, **manner)


def assert_body(body, fault, outcome):
    """What the table holds for the faulty row."""
    if fault.body == OWN:
        assert body == completion(sent_body(FAULTY, stream=fault.stream)).decode()
    elif fault.body == ERROR:
        error = json.loads(body)["error"]
        assert error["type"] == outcome
        assert 0 < len(error["message"]) <= 500
    elif callable(fault.body):
        assert fault.body(body), body[:200]
    elif fault.body is not None:
        assert body == fault.body


@pytest.mark.parametrize(
    ("fault", "transport"),
    [
        pytest.param(
            each,
            transport,
            id=f"{each.name.replace(' ', '_')}-{transport}",
            marks=[measures_seconds] if each.is_timed else [],
        )
        for transport, faults in (("curl", FAULTS), ("requests", PROMISED))
        for each in faults
    ],
)
@pytest.mark.usefixtures("_short_waits")
def test_a_row_that_meets_a_fault(fault, transport, kit):
    """It ends as the table of faults says, with what came of its body; the row after it has its own end."""
    with nothing_left_behind():
        met = meet(fault, transport, kit)
    out = met.output
    at = fault.prompts.index(FAULTY)
    row, result = out.log.iloc[at], out.result.iloc[at]
    assert row["outcome"] in fault.outcomes
    assert (None if pd.isna(result["status"]) else result["status"]) == fault.status
    assert (row["attempts"], row["maybe_billed"]) == (fault.attempts, fault.maybe_billed)
    seen = [request for request in met.requests if prompt_of(request.body) == FAULTY]
    assert len(seen) == (fault.attempts if fault.requests is None else fault.requests)
    asked = {sent_body(FAULTY, stream=fault.stream, usage=usage) for usage in (True, "usage" not in fault.name)}
    assert {request.body for request in seen} <= asked
    assert_body(result["body"], fault, row["outcome"])
    for name, value in fault.log.items():
        assert row[name] == value
    assert len(out.result) == len(fault.prompts)
    assert out.log["outcome"].iloc[-1] == fault.after
    if fault.after == "ok":
        after = {completion(sent_body(AFTER, stream=fault.stream, usage=usage)).decode() for usage in (True, False)}
        assert out.result["body"].iloc[-1] in after
        assert out.log["attempts"].iloc[-1] == 1
    assert out.summary.requests == out.log["attempts"].sum()
    assert met.unexpected == 0
    assert fault.latency[0] <= row["latency"] <= fault.latency[1] or pd.isna(row["latency"])
    assert fault.run_seconds[0] <= met.seconds <= fault.run_seconds[1]


def test_the_table_of_faults_is_long():
    """Every number of the network and the server is there, none twice by the same name."""
    numbers = {int(fault.name.split()[0]) for fault in FAULTS}
    assert numbers >= {*range(1, 22), *range(24, 62)}
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names) >= 100


# --- many rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", [503, 429, 529])
def test_a_server_that_serves_nobody_is_not_stormed(status, transport, monkeypatch):
    """33: 1,000 rows, 16 in flight: two windows, five more, and probes that come alone; the rest is not sent."""
    monkeypatch.setattr(policy, "SERVED_NOBODY", 0.25)  # the 30 seconds are tested by the virtual clock
    for wait in ("PROBE_FIRST", "THROTTLED_FIRST"):  # what else takes its time, in a quarter of it
        monkeypatch.setattr(policy, wait, getattr(policy, wait) / 4)
    with fault_server(answer(b"{}", status)) as server:
        retry = tn.Retry(outage_patience=0.3)
        out = run(server, 1000, transport, limits=tn.Limits(concurrency=16), retry=retry)
        probes = 2  # a quarter of a second after the gate was shut, and the last one
        assert len(server.requests) <= 2 * 16 + 5 + probes
        assert len(server.requests) == out.summary.requests == out.log["attempts"].sum()
    assert out.summary.stopped == "outage"
    assert set(out.log["outcome"]) <= {"http_error", "rate_limited", "not_sent"}
    assert (out.log["outcome"] == "not_sent").sum() >= 1000 - 2 * 16 - 5
    assert len(out.result) == 1000


@measures_seconds
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nobody_is_sent_before_the_delay_of_the_server_is_over(transport):
    """24: 429 with ``Retry-After: 3`` for the first 3 seconds, 64 rows at 16: no early send after the first wave."""
    refused = []
    lock = threading.Lock()

    def react(exchange):
        with lock:
            began = refused[0] if refused else exchange.received.time
            early = exchange.received.time < began + 2.0
            if early:
                refused.append(exchange.received.time)
        (answer(b"{}", 429, {"Retry-After": "3"}) if early else echo())(exchange)

    with fault_server(react) as server:
        out = run(server, 64, transport, limits=tn.Limits(concurrency=16))
        times = sorted(request.time for request in server.requests)
    assert set(out.log["outcome"]) == {"ok"}
    assert len(refused) <= 16
    later = times[len(refused) :]
    # The last refusal's delay counts from when it was read, which is after its request came.
    assert min(later) >= max(refused) + 3.0
    assert max(later) <= max(refused) + 3.0 + 1.0 + 2.0  # the pace is found anew


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_answers_that_are_cut_after_thirty_bytes(transport):
    """16: every row is truncated, may be billed, and was sent twice: no more, no less."""
    with fault_server(raw(head(200, {"Content-Length": "1000"}) + b"x" * 30, then="close")) as server:
        out = run(server, 20, transport, limits=tn.Limits(concurrency=8))
        seen = [prompt_of(request.body) for request in server.requests]
    assert set(out.log["outcome"]) == {"truncated"}
    assert out.log["maybe_billed"].all()
    assert set(out.log["attempts"]) == {2}
    assert sorted(seen) == sorted([*table(20)["prompt"]] * 2)
    assert set(out.result["body"]) == {"x" * 30}


@measures_seconds
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_silent_server_is_left_at_its_deadline(transport):
    """10: with a total of a second, no attempt is longer than 1.5 seconds, 32 at a time."""
    with fault_server(silence()) as server:
        out = run(server, 32, transport, timeout=1, retry=tn.Retry(ambiguous=0), limits=tn.Limits(concurrency=32))
    assert set(out.log["outcome"]) == {"timeout_first_byte"}
    assert out.log["latency"].between(0.95, 1.5).all()
    assert out.summary.seconds <= 2.5


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_is_away_for_a_while_loses_no_row(transport, monkeypatch):
    """22: while it is away one probe at a time is sent; then every row is answered."""
    shorten_waits(monkeypatch)
    began = []

    def react(exchange):
        began.append(exchange.received.time)
        away = len(began) > 50 and exchange.received.time < began[50] + 0.7
        (answer(b"{}", 503) if away else echo())(exchange)

    with fault_server(react) as server:
        out = run(server, 300, transport, limits=tn.Limits(concurrency=8))
        assert len(server.requests) <= 300 * 1.15
    assert set(out.log["outcome"]) == {"ok"}


class Allowance:
    """A server that allows so many requests a second, in a burst too, and says in its headers what is left."""

    def __init__(self, rate, burst):
        self.rate, self.burst = rate, burst
        self.left, self.at = float(burst), time.monotonic()
        self.refused = self.served = 0
        self.lock = threading.Lock()

    def __call__(self, exchange):
        with self.lock:
            now = time.monotonic()
            self.left = min(self.burst, self.left + (now - self.at) * self.rate)
            self.at = now
            fits = self.left >= 1
            self.left -= fits
            self.served += fits
            self.refused += not fits
            headers = {
                "x-ratelimit-limit-requests": str(self.burst),
                "x-ratelimit-remaining-requests": str(int(self.left)),
                "x-ratelimit-reset-requests": f"{(self.burst - self.left) / self.rate:.3f}s",
            }
        (echo(headers=headers, delay=0.05) if fits else answer(b"{}", 429, headers))(exchange)


@pytest.mark.slow
def test_an_allowance_that_is_told_is_used_and_kept():
    """40 requests/s, 1,200 rows, 64 in flight: at least 0.9 of the allowed rate, less than 4 % refused."""
    allowance = Allowance(40, 40)
    with fault_server(allowance) as server:
        out = run(server, 1200, limits=tn.Limits(concurrency=64))
    assert out.summary.ok == 1200
    rate = (1200 - allowance.burst) / out.summary.seconds
    refused = allowance.refused / (allowance.refused + allowance.served)
    print(f"{rate / 40:.3f} of the rate, {100 * refused:.2f} % refused, {out.summary.seconds:.1f} s")
    assert rate >= 0.9 * 40
    assert refused < 0.04


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_rows_and_faults_in_one_crowd(transport, monkeypatch):
    """61, S27: 240 rows, 32 in flight, over a server that breaks every third exchange: no row has another's answer."""
    shorten_waits(monkeypatch)
    with fault_server(breaks_often()) as server:
        out = run(server, 240, transport, limits=tn.Limits(concurrency=32), retry=tn.Retry(ambiguous=8))
    expected = [digest(sent_body(prompt)) for prompt in table(240)["prompt"]]
    answered = [(text, own) for text, own in zip(out.texts(), expected, strict=True) if text is not None]
    assert len(answered) >= 236
    assert [text for text, own in answered if text != own] == []
