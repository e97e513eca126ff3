"""What every transport promises: pairing, accounting, the total timeout, no key elsewhere."""

from __future__ import annotations

import socket
import threading
import time

import pandas as pd
import pytest
from exchanges import (
    BODY,
    EACH,
    EVERY,
    HEADERS,
    LIBCURL,
    answer_to,
    answers_by,
    answers_to,
    events_until,
    new_transport,
    nothing_left_behind,
    open_sockets,
    summary,
    transport_of,
)
from measuring import measures_seconds
from servers import (
    LOOPBACK,
    answer,
    completion,
    digest,
    each_byte,
    echo,
    echo_server,
    endless,
    fault_server,
    fin,
    head,
    held,
    message,
    pieces,
    raw,
    redirect,
    refusing_port,
    reset,
    server_context,
    silence,
)

import tablenodes as tn
from tablenodes.engine.calls import Answer, Call, Request
from tablenodes.engine.transports import TRANSPORTS

OURS = {name.lower(): value for name, value in HEADERS}
WHOLE = message(completion(BODY))
LATE = 0.5
"""Seconds by which an attempt may exceed its total."""


@pytest.fixture(params=EVERY)
def kind(request):
    return request.param


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_behind():
        yield


@pytest.fixture(autouse=True)
def _no_certificates_of_this_machine(monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server's TLS context, and the certificate that makes a client trust it."""
    return server_context(tmp_path_factory.mktemp("tls"))


def test_a_transport_is_one_file_and_one_line_of_registration(monkeypatch):
    """A connection finds it by its name, and a run goes over it."""
    monkeypatch.setitem(TRANSPORTS, "plain", "plain_transport.PlainTransport")
    node = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
    with fault_server(echo()) as server:
        connection = tn.Connection(server.url, "k" * 20, transport="plain")
        out = node.run(pd.DataFrame({"word": ["a", "b"]}), connection, progress=False)
        assert (out.summary.ok, len(server.requests)) == (2, 2)
    with pytest.raises(tn.errors.ConnectionSettingError, match="no transport 'plane'; did you mean 'plain'"):
        tn.Connection(transport="plane")


# --- the request and its answer ---


def test_an_answer_holds_what_the_server_sent(kind):
    """Status, header lines and body as they came."""
    with (
        fault_server(answer(b'{"a":1}', 429, [("Retry-After", "2"), ("X-A", "1"), ("X-A", "2")])) as server,
        transport_of(kind) as transport,
    ):
        found = answer_to(transport, server.url, key=7)
    assert (found.key, found.status, found.body, found.fault, found.message) == (7, 429, b'{"a":1}', None, "")
    assert (found.sends, found.reused) == (1, False)
    assert 0 < found.elapsed < 5
    assert found.headers.splitlines() == [
        b"Content-Type: application/json",
        b"Retry-After: 2",
        b"X-A: 1",
        b"X-A: 2",
        b"Content-Length: 7",
    ]


def test_the_body_is_sent_as_it_is(kind):
    """Byte for byte, any byte, none too."""
    with fault_server(echo()) as server, transport_of(kind) as transport:
        for key, body in enumerate((BODY, bytes(range(256)) * 100, b"")):
            answer_to(transport, server.url, key=key, body=body)
            assert server.requests[-1].body == body


def test_a_get_has_no_body(kind):
    """Whatever the call holds."""
    with fault_server(echo()) as server, transport_of(kind) as transport:
        found = answer_to(transport, server.url + "/models?limit=2", method="GET")
        assert (found.status, found.fault) == (200, None)
        received = server.requests[0]
        assert (received.method, received.path, received.body) == ("GET", "/v1/models?limit=2", b"")
        assert "content-length" not in received.headers


def test_requests_may_alternate(kind):
    """Another address, other headers, another method: nothing of the call before is left."""
    with fault_server(echo()) as server, transport_of(kind) as transport:
        answer_to(transport, server.url + "/a", headers=(("X-One", "1"),))
        answer_to(transport, server.url + "/b", key=1, method="GET", headers=(("X-Two", "2"),))
        answer_to(transport, server.url + "/c", key=2, headers=(("X-Three", ""),))
        assert [(each.method, each.path) for each in server.requests] == [
            ("POST", "/v1/a"),
            ("GET", "/v1/b"),
            ("POST", "/v1/c"),
        ]
        assert [[name for name in each.headers if name.startswith("x-")] for each in server.requests] == [
            ["x-one"],
            ["x-two"],
            ["x-three"],
        ]


def test_netrc_and_other_variables_change_nothing(kind, tmp_path, monkeypatch):
    """S3, S4: a login for this very host in netrc, and a file for TLS keys."""
    for name in (".netrc", "_netrc"):
        (tmp_path / name).write_text(f"machine {LOOPBACK} login me password canary\ndefault login me password canary\n")
        (tmp_path / name).chmod(0o600)
    (tmp_path / ".curlrc").write_text("header = canary: yes\n")
    for name, value in (("HOME", tmp_path), ("CURL_HOME", tmp_path), ("NETRC", tmp_path / ".netrc")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with fault_server(echo()) as server, transport_of(kind) as transport:
        answer_to(transport, server.url)
        answer_to(transport, server.url, key=1, headers=())
        assert [each.headers.get("authorization") for each in server.requests] == [OURS["authorization"], None]


# --- pairing ---


def test_every_row_gets_its_own_answer(kind):
    """S27: many rows at concurrency 64, each answer with the digest of its own row."""
    count = {"requests": 400, "plain": 250}.get(kind, 1_000)
    bodies = [b'{"row":%d}' % number for number in range(count)]
    with echo_server() as url, transport_of(kind, concurrency=64) as transport:
        answers = answers_to(transport, url, bodies, 64)
    wrong = [key for key, found in answers.items() if digest(bodies[key]).encode() not in found.body]
    assert (len(answers), wrong) == (count, [])
    assert {(found.status, found.fault, found.sends) for found in answers.values()} == {(200, None, 1)}
    assert kind == "plain" or sum(not found.reused for found in answers.values()) <= 64


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_every_one_of_ten_thousand_rows_gets_its_own_answer(name):
    """S27: at full length."""
    bodies = [b'{"row":%d}' % number for number in range(10_000)]
    with echo_server() as url, transport_of(name, concurrency=64) as transport:
        answers = answers_to(transport, url, bodies, 64)
    assert all(digest(bodies[key]).encode() in found.body for key, found in answers.items())


def test_rows_and_faults_in_one_crowd(kind):
    """S27: connections that die and lie hand no row another row's answer."""
    script = [echo(), raw(message(b"{}") + message(b"{}")), fin(), reset(), echo(), raw(b"nonsense\r\n", then="close")]
    bodies = [b'{"row":%d}' % number for number in range(150)]

    def react(exchange):
        script[int(exchange.received.body[7:-1]) % len(script)](exchange)

    with fault_server(react) as server, transport_of(kind, concurrency=16) as transport:
        answers = answers_to(transport, server.url, bodies, 16)
    assert set(answers) == set(range(150))
    for key, found in answers.items():
        if key % len(script) in (0, 4) and found.fault is None:
            assert found.body == completion(bodies[key])
        elif key % len(script) == 1 and found.fault is None:
            assert found.body == b"{}"
    assert sum(found.fault is None for found in answers.values()) >= 70


@pytest.mark.parametrize("extra", [b"GARBAGE", WHOLE], ids=["garbage", "a second answer"])
def test_more_than_the_content_length(kind, extra):
    """20, 61: the answer is good, and the next row gets its own; libcurl drops the connection."""
    first, second, server = answers_by([raw(WHOLE + extra), echo()], kind, 2)
    assert summary(first) == summary(second) == (200, None, completion(BODY))
    assert second.sends == 1
    assert kind not in LIBCURL or [each.connection for each in server.requests] == [1, 2]


@pytest.mark.parametrize("interim", [head(103, {"Link": "</a>"}), head(102) * 3 + head(100)])
def test_an_interim_response_hands_no_row_the_answer_of_another(kind, interim):
    """50, 61: libcurl passes it over; what takes it for an answer drops the connection."""
    if kind == "plain":
        return  # it has a connection for each call
    found, second, _ = answers_by([raw(interim + WHOLE), echo()], kind, 2)
    if kind in LIBCURL:
        assert summary(found) == (200, None, completion(BODY))
        assert b"Link" not in found.headers
    else:
        assert summary(found) == (None, "protocol", b"")
    assert (second.fault, second.reused) == (None, kind in LIBCURL)


@pytest.mark.parametrize("extra", [b"GARBAGE", WHOLE, b""], ids=["garbage", "a second answer", "the end"])
def test_what_comes_on_an_idle_connection(kind, extra):
    """7, 20, 61: it is seen before anything is sent; the next row gets its own answer, over another connection."""
    asked = []
    has_come = threading.Event()

    def react(exchange):
        exchange.send(WHOLE)
        exchange.pause(0.05)
        if extra:
            exchange.send(extra)
        else:
            exchange.sock.shutdown(socket.SHUT_WR)
        has_come.set()

    with (
        fault_server([react, echo()]) as server,
        transport_of(kind, may_send=lambda key: asked.append(key) or True) as transport,
    ):
        first = answer_to(transport, server.url)
        assert has_come.wait(30)
        second = answer_to(transport, server.url, key=1, body=b'{"other":1}')
        third = answer_to(transport, server.url, key=2)
        assert summary(first) == (200, None, completion(BODY))
        assert summary(second) == (200, None, completion(b'{"other":1}'))
        assert (second.sends, second.reused, third.sends) == (1, False, 1)
        assert kind == "plain" or [each.connection for each in server.requests] == [1, 2, 2]
        assert asked == [0, 1, 2]


# --- accounting ---


def test_a_port_that_refuses(kind):
    """2: nothing was sent."""
    with refusing_port() as port, transport_of(kind) as transport:
        found = answer_to(transport, f"http://{LOOPBACK}:{port}/v1")
    assert (found.status, found.fault, found.sends) == (None, "connect", 0)


def test_a_reset_instead_of_an_answer(kind):
    """8: it may have been executed."""
    found, server = answers_by(reset(), kind)
    assert (found.status, found.fault, found.sends, found.reused) == (None, "reset", 1, False)
    assert len(server.requests) == 1


def test_an_end_instead_of_an_answer(kind):
    """9."""
    found, server = answers_by(fin(), kind)
    assert (found.status, found.fault, found.sends, found.reused) == (None, "disconnected", 1, False)
    assert len(server.requests) == 1


def test_fewer_bytes_than_the_content_length(kind):
    """16: what came is kept."""
    found, _ = answers_by(raw(head(200, {"Content-Length": "1000"}) + b"abc", then="close"), kind)
    assert summary(found) == (200, "truncated", b"abc")


@pytest.mark.parametrize("length", [100_000, 100_001, 250_000])
def test_a_body_is_cut_at_its_limit(kind, length):
    """47: exactly there; a body as long as the limit is whole."""
    sent = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    found, _ = answers_by(raw(message(sent)), kind)
    assert summary(found) == (200, "too_large" if length > 100_000 else None, sent[:100_000])


def test_a_send_may_be_refused(kind):
    """S28: then nothing is sent, and the answer says so."""
    asked = []
    with (
        fault_server(echo()) as server,
        transport_of(kind, may_send=lambda key: asked.append(key) or key != 5) as transport,
    ):
        assert answer_to(transport, server.url, key=4).sends == 1
        found = answer_to(transport, server.url, key=5)
        assert (found.status, found.fault, found.sends, found.reused) == (None, "disconnected", 0, False)
        assert asked == [4, 5]
        assert len(server.requests) == 1


def test_what_the_asked_one_raises_is_not_lost(kind):
    """87: it comes out of the transport, not onto the terminal, and the other calls go on."""

    class AskedError(Exception):
        pass

    def may_send(key):
        if key == 1:
            raise AskedError
        return True

    with fault_server(echo()) as server, transport_of(kind, may_send=may_send) as transport:
        with pytest.raises(AskedError):
            answer_to(transport, server.url, key=1)
        assert answer_to(transport, server.url, key=2).status == 200
        assert [each.body for each in server.requests] == [BODY]


# --- time ---


@measures_seconds
def test_a_server_that_never_answers(kind):
    """10, T12: one request, ended at its total."""
    found, server = answers_by(silence(), kind, total=0.5)
    assert (found.status, found.fault, found.sends) == (None, "timeout_first_byte", 1)
    assert 0.45 < found.elapsed < 0.5 + LATE
    assert len(server.requests) == 1


@measures_seconds
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(pieces(each_byte(WHOLE), 0.1), id="bytes of the status line"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\n", then="hold"), id="status line only"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\nContent-Le", then="hold"), id="half a header"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05), id="one header after the other"),
    ],
)
def test_headers_that_trickle(kind, said):
    """11, T8: something came, but no status."""
    found, _ = answers_by(said, kind, total=0.6)
    assert (found.status, found.headers) == (None, b"")
    assert found.fault == ("timeout_total" if kind in LIBCURL else "timeout_first_byte")
    assert 0.55 < found.elapsed < 0.6 + LATE


@measures_seconds
def test_a_body_that_trickles_for_ever(kind):
    """12, T8: what came is kept."""
    found, _ = answers_by(endless(head(200, {"Content-Length": "100000"}), b"x", 0.02), kind, total=0.6)
    assert (found.status, found.fault) == (200, "timeout_total")
    assert 5 < len(found.body) < 60
    assert set(found.body) == {ord("x")}
    assert 0.55 < found.elapsed < 0.6 + LATE


@measures_seconds
def test_each_call_has_its_own_total(kind):
    """T8: a short one does not wait for a long one."""
    with fault_server(silence()) as server, transport_of(kind) as transport:
        request = Request("POST", server.url, ())
        for key, total in enumerate((0.8, 0.3)):
            transport.start(Call(key, request, BODY, total))
        for key, total in ((1, 0.3), (0, 0.8)):
            found = events_until(transport, key)[-1]
            assert found.fault == "timeout_first_byte"
            assert total - 0.05 < found.elapsed < total + LATE
        for key, total in enumerate((0.2, 0.5, 0.2)):
            found = answer_to(transport, server.url, key=key, total=total)
            assert found.fault == "timeout_first_byte"
            assert total - 0.05 < found.elapsed < total + 0.25


@measures_seconds
def test_waiting_ends_after_its_time(kind):
    """At once for 0; and it burns no processor meanwhile."""
    with fault_server(silence()) as server, transport_of(kind) as transport:
        transport.start(Call(0, Request("POST", server.url, ()), BODY, 5.0))
        used, begun = time.process_time(), time.monotonic()
        assert transport.wait(0.4) == []
        assert 0.35 < time.monotonic() - begun < 0.9
        assert time.process_time() - used < 0.2
        begun = time.monotonic()
        assert transport.wait(0) == []
        assert time.monotonic() - begun < 0.2


@measures_seconds
def test_waiting_ends_with_the_first_event(kind):
    """Whatever time was given."""
    with fault_server(echo(delay=0.1)) as server, transport_of(kind) as transport:
        transport.start(Call(0, Request("POST", server.url, ()), BODY, 5.0))
        begun = time.monotonic()
        while not transport.wait(10):
            pass
        assert time.monotonic() - begun < 3


def test_a_dropped_call_is_never_answered(kind):
    """Its connection is closed, its key is free for another call, and the others go on."""
    closed, dropped = threading.Event(), threading.Event()

    def react(exchange):
        if exchange.received.body == b"drop":
            exchange.sock.settimeout(30)
            if exchange.sock.recv(1) == b"":
                closed.set()
            exchange.close()
        held(dropped)(exchange)

    with fault_server(react) as server, transport_of(kind) as transport:
        request = Request("POST", server.url, ())
        transport.start(Call(1, request, b"drop", 15.0))
        transport.start(Call(2, request, b"keep", 15.0))
        while len(server.requests) < 2:
            assert transport.wait(0.01) == []
        transport.cancel(1)
        transport.cancel(99)
        dropped.set()
        transport.start(Call(1, request, b"again", 15.0))
        found = {}
        while len(found) < 2:
            found.update({event.key: event for event in transport.wait(1)})
        assert {key: event.body for key, event in found.items()} == {
            1: completion(b"again"),
            2: completion(b"keep"),
        }
        assert transport.wait(0.1) == []
        assert closed.wait(30)


def test_an_answer_that_was_not_fetched_is_dropped_with_its_call(kind):
    """After cancel there is no event, even of what has already come."""
    with fault_server(echo()) as server, transport_of(kind, may_send=lambda key: key != 1) as transport:
        transport.start(Call(1, Request("POST", server.url, ()), BODY, 5.0))
        transport.cancel(1)
        assert transport.wait(0.2) == []


@measures_seconds
def test_closing_ends_everything_at_once(kind):
    """T20, T15: calls in flight, threads, sockets; the fixture counts them. A second time does nothing."""
    with fault_server(silence()) as server:
        transport = new_transport(kind)
        before = open_sockets()
        for key in range(6):
            transport.start(Call(key, Request("POST", server.url, ()), BODY, 600.0))
        while len(server.requests) < 6:
            transport.wait(0.05)
        assert open_sockets() > before
        begun = time.monotonic()
        transport.close()
        transport.close()
        assert time.monotonic() - begun < 1


# --- what must not be seen, and where nothing goes ---


def test_a_certificate_that_nobody_signed(kind, tls):
    """4, S5: the key is not sent."""
    with fault_server(echo(), tls=tls[0]) as server, transport_of(kind) as transport:
        found = answer_to(transport, server.url)
        assert (found.status, found.fault, found.sends) == (None, "tls", 0)
        assert server.requests == []


def test_a_certificate_of_another_host(kind, tls):
    """4: trusted, but not for this name."""
    with (
        fault_server(echo(), tls=tls[0]) as server,
        transport_of(kind, ca_bundle=str(tls[1])) as transport,
    ):
        found = answer_to(transport, server.url.replace(LOOPBACK, "localhost"))
        assert (found.fault, found.sends, server.requests) == ("tls", 0, [])


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_redirect_is_followed(kind, code, method):
    """41, S2: the other host gets nothing."""
    with (
        fault_server(echo()) as target,
        fault_server(redirect(code, f"http://{LOOPBACK}:{target.port}/stolen")) as server,
        transport_of(kind) as transport,
    ):
        found = answer_to(transport, server.url, method=method)
        assert summary(found) == (code, None, b"{}")
        assert target.connections == 0


@pytest.mark.parametrize("script", [reset(), raw(b"canary-from-server\r\n\r\n", then="close"), answer(b"{}", 401)])
def test_no_message_holds_a_key_or_a_servers_words(kind, script):
    """S6: whatever goes wrong."""
    with fault_server(script) as server, transport_of(kind) as transport:
        found = answer_to(transport, server.url + "?token=canary-in-query")
    assert "canary" not in found.message
    assert "sk-1234567890" not in repr(found)
    assert isinstance(found, Answer)


def test_what_is_sent_is_not_logged(kind, caplog):
    """S22: at no level."""
    caplog.set_level(0)
    with fault_server([echo(), reset()]) as server, transport_of(kind) as transport:
        for key in range(2):
            answer_to(transport, server.url, key=key, body=b"canary-prompt")
    assert "canary" not in caplog.text
    assert "sk-1234567890" not in caplog.text
