"""What breaks between libcurl and a server, on real sockets: each fault has one name."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib

import pytest
from exchanges import (
    BODY,
    LIBCURL,
    answer_to,
    answers_by,
    chunks_in,
    events_until,
    nothing_left_behind,
    peak_memory,
    summary,
    transport_of,
)
from measuring import measures_memory, measures_seconds
from servers import (
    LOOPBACK,
    Exchange,
    answer,
    black_hole,
    chunks,
    completion,
    each_byte,
    echo,
    endless,
    fault_server,
    fin,
    head,
    held,
    message,
    pieces,
    raw,
    refusing_port,
    reset,
    server_context,
    silence,
    tunnel,
)

from tablenodes.engine.calls import Call, Request
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.transports.curl_transfer import Circumstances, fault_of
from tablenodes.settings import Timeout

WHOLE = message(completion(BODY))
CHUNKED = head(200, {"Transfer-Encoding": "chunked"})
GZIPPED = gzip.compress(b"{}", mtime=0)
LATE = 0.5
"""Seconds by which an attempt may exceed its total."""


@pytest.fixture(params=LIBCURL)
def kind(request):
    return request.param


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_behind():
        yield


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server's TLS context, and the certificate that makes a client trust it."""
    return server_context(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls_of_api(tmp_path_factory):
    """The same for the name api.test."""
    return server_context(tmp_path_factory.mktemp("tls"), "api.test", "api")


# --- before the request leaves ---


def test_a_name_that_does_not_exist(kind):
    """1: nothing was sent."""
    with transport_of(kind) as transport:
        found = answer_to(transport, "http://no-such-host.invalid/v1")
    assert (found.status, found.fault, found.sends) == (None, "dns", 0)


@measures_seconds
def test_a_port_that_swallows_everything(kind):
    """3: the connect timeout ends it."""
    with black_hole() as port, transport_of(kind, timeout=Timeout(connect=0.4, total=9)) as transport:
        found = answer_to(transport, f"http://{LOOPBACK}:{port}/v1")
    assert (found.status, found.fault, found.sends) == (None, "timeout_connect", 0)
    assert 0.35 < found.elapsed < 0.4 + LATE


@measures_seconds
def test_a_total_shorter_than_the_connect_timeout(kind):
    """3: whichever ends first."""
    with black_hole() as port, transport_of(kind) as transport:
        found = answer_to(transport, f"http://{LOOPBACK}:{port}/v1", total=0.3)
    assert (found.fault, found.sends) == ("timeout_connect", 0)
    assert found.elapsed < 0.3 + LATE


@pytest.mark.parametrize("breaks", [reset, fin])
def test_a_tls_handshake_that_breaks_off(kind, tls, breaks):
    """5: as a refused connection."""
    with fault_server(echo(), tls=tls[0], on_connect=breaks()) as server, transport_of(kind) as transport:
        found = answer_to(transport, server.url)
    assert (found.status, found.fault, found.sends) == (None, "connect", 0)


@measures_seconds
def test_a_tls_handshake_that_stalls(kind, tls):
    """5: the connect timeout covers it."""
    with (
        fault_server(echo(), tls=tls[0], on_connect=silence()) as server,
        transport_of(kind, timeout=Timeout(connect=0.4, total=9)) as transport,
    ):
        found = answer_to(transport, server.url)
    assert (found.fault, found.sends) == ("timeout_connect", 0)
    assert found.elapsed < 0.4 + LATE


@pytest.mark.parametrize("by", ["curl", "requests"])
def test_a_call_that_ends_within_its_tls_handshake_hangs_up(by):
    """Its thread is woken, too: whoever interrupts a run waits for no connect timeout."""
    with socket.create_server((LOOPBACK, 0)) as listener, transport_of(by, timeout=Timeout(connect=60)) as transport:
        request = Request("POST", f"https://{LOOPBACK}:{listener.getsockname()[1]}/v1", ())
        transport.start(Call(0, request, b"{}", 90.0, lambda *_: None))
        transport.wait(0.05)
        listener.settimeout(9)
        with listener.accept()[0] as server:
            transport.wait(0.05)
            server.settimeout(9)
            assert server.recv(9_999)[:2] == b"\x16\x03"
            transport.end(0, "tls")
            assert server.recv(1) == b""


# --- proxies ---


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_connections(kind, scheme):
    """6: nothing was sent."""
    with refusing_port() as port, transport_of(kind, proxy=f"http://{LOOPBACK}:{port}") as transport:
        found = answer_to(transport, f"{scheme}://api.test/v1")
    assert (found.status, found.fault, found.sends) == (None, "proxy", 0)


def test_a_proxy_whose_name_does_not_exist(kind):
    """6: it is the proxy's name that is at fault."""
    with transport_of(kind, proxy="http://no-such-host.invalid:99") as transport:
        found = answer_to(transport, "https://api.test/v1")
    assert (found.fault, found.sends) == ("proxy", 0)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_login(kind, scheme):
    """6: 407 is told apart by its number, and no password is in the message."""
    with (
        fault_server(answer(b"{}", 407, {"Proxy-Authenticate": "Basic"})) as proxy,
        transport_of(kind, proxy=f"http://me:canary-password@{LOOPBACK}:{proxy.port}") as transport,
    ):
        found = answer_to(transport, f"{scheme}://api.test/v1")
    assert (found.status, found.fault, found.headers, found.body) == (None, "proxy_login", b"", b"")
    assert "407" in found.message
    assert "canary" not in repr(found)


@pytest.mark.parametrize(
    ("refuses", "fault"),
    [(answer(b"no", 502), "proxy"), (answer(b"no", 403), "proxy_refused"), (fin(), "proxy"), (reset(), "proxy")],
)
def test_a_proxy_that_opens_no_tunnel(kind, refuses, fault):
    """6: the server was never reached; some statuses would come again."""
    with (
        fault_server(refuses) as proxy,
        transport_of(kind, proxy=f"http://{LOOPBACK}:{proxy.port}") as transport,
    ):
        found = answer_to(transport, "https://api.test/v1")
    assert (found.status, found.fault, found.sends, found.body) == (None, fault, 0, b"")


def test_a_tunnel_does_not_hide_the_servers_faults(kind, tls_of_api):
    """6: what happens in the tunnel is the server's, and the proxy sees no key."""
    context, trusted = tls_of_api
    script = [echo(), raw(head(200, {"Content-Length": "9"}) + b"abc", then="close"), echo()]
    with (
        fault_server(script, tls=context) as server,
        fault_server(tunnel(server.port)) as proxy,
        transport_of(kind, proxy=f"http://{LOOPBACK}:{proxy.port}", ca_bundle=str(trusted)) as transport,
    ):
        found = [answer_to(transport, "https://api.test/v1", key=key) for key in range(3)]
        other = answer_to(transport, "https://other.test/v1", key=9)
        assert [each.status for each in found] == [200, 200, 200]
        assert [each.fault for each in found] == [None, "truncated", None]
        assert (other.fault, other.sends) == ("tls", 0)
        assert {each.method for each in proxy.requests} == {"CONNECT"}
        assert not [each for each in proxy.requests if "authorization" in each.headers]


def test_a_tunnel_to_a_server_that_resets_the_handshake(kind, tls_of_api):
    """5, 6: the proxy has done its part."""
    context, trusted = tls_of_api
    with (
        fault_server(echo(), tls=context, on_connect=reset()) as server,
        fault_server(tunnel(server.port)) as proxy,
        transport_of(kind, proxy=f"http://{LOOPBACK}:{proxy.port}", ca_bundle=str(trusted)) as transport,
    ):
        found = answer_to(transport, "https://api.test/v1")
    assert (found.fault, found.sends) == ("connect", 0)


@measures_seconds
def test_a_silent_server_behind_a_tunnel_has_said_nothing(kind, tls_of_api):
    """10: what the proxy said to CONNECT is no byte of an answer."""
    context, trusted = tls_of_api
    with (
        fault_server(silence(), tls=context) as server,
        fault_server(tunnel(server.port)) as proxy,
        transport_of(kind, proxy=f"http://{LOOPBACK}:{proxy.port}", ca_bundle=str(trusted)) as transport,
    ):
        found = answer_to(transport, "https://api.test/v1", total=0.5)
    assert (found.status, found.fault, found.sends) == (None, "timeout_first_byte", 1)


# --- connections that die ---


@pytest.mark.parametrize("dies", [reset, fin])
def test_a_kept_connection_that_turns_out_dead(kind, dies):
    """7, 9: it is seen that the connection was an old one; libcurl has repeated the request, and says so."""
    first, found, server = answers_by([echo(), dies(), echo()], kind, 2)
    assert (first.fault, first.reused, first.sends) == (None, False, 1)
    assert (found.status, found.fault, found.sends, found.reused) == (200, None, 2, False)
    assert len(server.requests) == 3


def test_libcurls_own_repeat_can_be_refused():
    """7: at most once means once; the answer is that of the dead connection."""
    asked = []

    def may_send(key):
        asked.append(key)
        return asked.count(key) < 2

    _, found, server = answers_by([echo(), reset(), echo()], "curl", 2, may_send=may_send)
    assert (found.status, found.fault, found.sends, found.reused) == (None, "disconnected", 1, True)
    assert asked == [0, 1, 1]
    assert len(server.requests) == 2


def test_a_repeat_that_fails_too_counts_twice():
    """7: the second connection was a fresh one."""
    _, found, server = answers_by([echo(), reset(), reset()], "curl", 2)
    assert (found.fault, found.sends, found.reused) == ("reset", 2, False)
    assert len(server.requests) == 3


@pytest.mark.parametrize("dies", ["reset", "close"])
def test_a_tls_connection_that_ends_without_an_answer(kind, tls, dies):
    """8, 9: encrypted as well."""
    with (
        fault_server(raw(b"", then=dies), tls=tls[0]) as server,
        transport_of(kind, ca_bundle=str(tls[1])) as transport,
    ):
        found = answer_to(transport, server.url)
    assert (found.status, found.sends) == (None, 1)
    assert found.fault in {"close": ("disconnected",), "reset": ("reset", "disconnected")}[dies]


# --- time ---


@measures_seconds
def test_a_silent_server_over_tls(kind, tls):
    """10: a TLS session ticket is no byte of an answer."""
    with (
        fault_server(silence(), tls=tls[0]) as server,
        transport_of(kind, ca_bundle=str(tls[1])) as transport,
    ):
        found = answer_to(transport, server.url, total=0.5)
    assert (found.status, found.fault, found.sends) == (None, "timeout_first_byte", 1)


@measures_seconds
def test_a_second_answer_that_trickles_on_a_kept_connection(kind):
    """11: what came for the call before is not counted; a silent one after it has said nothing."""
    for slow, fault in ((silence(), "timeout_first_byte"), (pieces([b"", b"HT"], 0.05, then="hold"), "timeout_total")):
        _, found, _ = answers_by([echo(), slow], kind, 2, total=0.5)
        assert (found.fault, found.reused) == (fault, True)


@measures_seconds
@pytest.mark.parametrize("body", [completion(BODY), completion(BODY)[:-9]], ids=["whole", "cut"])
def test_a_body_without_a_length_that_is_held_open(kind, body):
    """12: an end that our own limit has made is no end of the server's, however whole the body looks."""
    found, _ = answers_by(raw(head(200) + body, then="hold"), kind, total=0.4)
    assert summary(found) == (200, "timeout_total", body)
    assert judge(found).outcome == "timeout_total"


def test_blank_lines_keep_a_slow_answer_alive(kind):
    """13: whatever is under its limits is waited for."""
    slow = pieces([CHUNKED, *[chunks(b"\n", end=False)] * 6, chunks(completion(BODY))], 0.1)
    found, _ = answers_by(slow, kind)
    assert summary(found) == (200, None, b"\n" * 6 + completion(BODY))
    assert judge(found).outcome == "ok"


def test_a_narrow_line(kind):
    """14: slow but in time."""
    parts = [WHOLE[start : start + 50] for start in range(0, len(WHOLE), 50)]
    found, _ = answers_by(pieces(parts, 0.05), kind)
    assert summary(found) == (200, None, completion(BODY))


def test_one_byte_a_segment(kind):
    """15: identical bytes."""
    found, _ = answers_by(pieces(each_byte(WHOLE)), kind)
    assert summary(found) == (200, None, completion(BODY))


# --- answers that are not whole ---


def test_fewer_bytes_than_the_content_length_over_tls(kind, tls):
    """16: an end without TLS's farewell is no other."""
    short = raw(head(200, {"Content-Length": "1000"}) + b"abc", then="close")
    with (
        fault_server(short, tls=tls[0]) as server,
        transport_of(kind, ca_bundle=str(tls[1])) as transport,
    ):
        assert summary(answer_to(transport, server.url)) == (200, "truncated", b"abc")


def test_a_reset_in_the_middle_of_a_body(kind):
    """8, 16: what came is kept."""
    slow = pieces([head(200, {"Content-Length": "1000"}) + b"abc", b""], 0.1, then="reset")
    found, _ = answers_by(slow, kind)
    assert summary(found) == (200, "reset", b"abc")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (chunks(b"abc", b"de", end=False), b"abcde"),
        (b"10\r\nabc", b"abc"),
        (b"3\r\nabc\r\n1", b"abc"),
        (b"3\r\nabc\r\n0\r\n", b"abc"),
        (b"", b""),
    ],
)
def test_a_chunked_body_that_is_cut(kind, sent, kept):
    """17: wherever the cut is."""
    found, _ = answers_by(raw(CHUNKED + sent, then="close"), kind)
    assert (found.status, found.fault, found.body) == (200, "truncated", kept)


def test_a_chunk_without_a_length(kind):
    """17: no chunk at all."""
    found, _ = answers_by(raw(CHUNKED + b"zz\r\nabc", then="close"), kind)
    assert (found.status, found.body) == (200, b"")
    assert found.fault in ("protocol", "truncated")


def test_a_body_that_ends_with_the_connection(kind):
    """18: good, if it is whole."""
    found, _ = answers_by(raw(head(200) + completion(BODY), then="close"), kind)
    assert summary(found) == (200, None, completion(BODY))
    assert judge(found).outcome == "ok"


def test_a_cut_body_that_ends_with_the_connection(kind):
    """19: never ok."""
    found, _ = answers_by(raw(head(200) + completion(BODY)[:-9], then="close"), kind)
    assert judge(found).outcome == "truncated"


def test_a_body_that_ends_with_a_tls_connection(kind, tls):
    """18: without TLS's farewell the body itself says whether it is whole."""
    with (
        fault_server(raw(head(200) + b"{}", then="close"), tls=tls[0]) as server,
        transport_of(kind, ca_bundle=str(tls[1])) as transport,
    ):
        assert summary(answer_to(transport, server.url)) == (200, None, b"{}")


def test_headers_that_are_cut(kind):
    """16: half a head is no answer."""
    for part in (b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"):
        found, _ = answers_by(raw(part, then="close"), kind)
        assert (found.status, found.fault, found.headers, found.body) == (None, "truncated", b"", b"")


@pytest.mark.parametrize(
    "garbage", [b"GARBAGE nonsense\r\n\r\n", b"hello", b"\x16\x03\x01\x02\x00", b"ICY 200 OK\r\n\r\n"]
)
def test_a_status_line_that_is_none(kind, garbage):
    """21, 61: the connection is not used again."""
    found, second, _ = answers_by([raw(garbage, then="close"), echo()], kind, 2)
    assert (found.status, found.fault, found.sends) == (None, "protocol", 1)
    assert (second.fault, second.reused) == (None, False)


# --- what a server may do ---


def test_the_body_of_a_redirect_is_limited_too(kind):
    """41, 47: it is read like any other."""
    long = raw(message(b"x" * 200_000, 302, {"Location": "/elsewhere"}))
    found, _ = answers_by(long, kind)
    assert (found.status, found.fault, len(found.body)) == (302, "too_large", 100_000)


@pytest.mark.parametrize("nothing", [raw(head(204)), answer(b"")])
def test_an_answer_without_a_body(kind, nothing):
    """42: a whole exchange, and nothing in it."""
    found, second, _ = answers_by([nothing, echo()], kind, 2)
    assert (found.fault, found.body) == (None, b"")
    assert judge(found).outcome == "empty_body"
    assert second.reused


def test_an_endless_body_is_cut_at_its_limit(kind):
    """47: nobody waits for its end."""
    part = chunks(b"x" * 1000, end=False)
    found, second, _ = answers_by([endless(CHUNKED, part), echo()], kind, 2)
    assert summary(found) == (200, "too_large", b"x" * 100_000)
    assert (second.fault, second.reused) == (None, False)


def test_a_compressed_body_is_decompressed(kind):
    """48: gzip, and gzip in gzip."""
    for body, encoding in ((gzip.compress(b"{}"), "gzip"), (gzip.compress(gzip.compress(b"{}")), "gzip, gzip")):
        found, _ = answers_by(raw(message(body, headers={"Content-Encoding": encoding})), kind)
        assert summary(found) == (200, None, b"{}")


@pytest.fixture(scope="module")
def bomb():
    """200 MB of zeros as 200 KB of gzip."""
    packer = zlib.compressobj(wbits=31)
    return b"".join([*[packer.compress(bytes(2**20)) for _ in range(200)], packer.flush()])


@measures_memory
@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_does_not_explode(kind, bomb, layers):
    """48, S16: what is decompressed is counted, and memory stays within bounds."""
    limit = 8 * 2**20
    body = bomb if layers == 1 else gzip.compress(bomb)
    encoding = {"Content-Encoding": ", ".join(["gzip"] * layers)}
    answers_by(raw(message(gzip.compress(gzip.compress(b"{}")), headers=encoding)), kind)  # what a first answer loads
    script = raw(message(body, headers=encoding))
    with fault_server(script) as server, transport_of(kind, body_bytes=limit) as transport:
        peak = peak_memory()
        found = answer_to(transport, server.url)
        grown = peak() - limit  # the test holds the body itself
    assert (found.status, found.fault, len(found.body)) == (200, "too_large", limit)
    assert grown <= limit + 2 * 2**20


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("rot13", b"{}"),
        ("gzip, rot13", GZIPPED),
        ("gzip", b"this is no gzip at all"),
        (", ".join(["gzip"] * 20), b"x"),
    ],
)
def test_an_encoding_that_cannot_be_decoded(kind, encoding, body):
    """48: the status is known, the body is not."""
    found, second, _ = answers_by([raw(message(body, headers={"Content-Encoding": encoding})), echo()], kind, 2)
    assert summary(found) == (200, "bad_encoding", b"")
    assert summary(second) == (200, None, completion(BODY))


@pytest.mark.parametrize(
    "headers",
    [
        [(f"X-{number}", "y") for number in range(10_000)],
        [("X", "y" * 1_000_000)],
        [(f"X-{number}", "y" * 50_000) for number in range(20)],
    ],
    ids=["many", "long", "many long"],
)
def test_headers_without_measure(kind, headers):
    """49: nobody stores them."""
    found, second, _ = answers_by([raw(head(200, headers) + b"{}", then="close"), echo()], kind, 2)
    assert summary(found) == (None, "protocol", b"")
    assert (second.fault, second.reused) == (None, False)


@pytest.mark.parametrize("interim", [head(100) * 50, head(103, {"Link": "</a>"})])
def test_interim_responses_are_passed_over(kind, interim):
    """50: the final one counts, and the connection goes on."""
    found, second, _ = answers_by([raw(interim + WHOLE), echo()], kind, 2)
    assert summary(found) == (200, None, completion(BODY))
    assert b"Link" not in found.headers
    assert (second.fault, second.reused) == (None, True)


@measures_seconds
def test_interim_responses_without_end(kind):
    """50: no final response, no status."""
    found, _ = answers_by(endless(b"", head(102), 0.01), kind, total=0.5)
    assert (found.status, found.fault, found.headers) == (None, "timeout_total", b"")


def test_an_interim_response_and_nothing_more(kind):
    """50: the same."""
    found, _ = answers_by(raw(head(100), then="close"), kind)
    assert (found.status, found.fault) == (None, "disconnected")


def test_a_header_that_looks_like_a_status_line(kind):
    """61: it is a header like any other."""
    odd = raw(head(200, [("A", "1"), ("HTTP/1.1 404", "2"), ("Content-Length", "2")]) + b"{}")
    found, _ = answers_by(odd, kind, total=2.0)
    assert (found.status, found.headers) == (200, b"A: 1\r\nHTTP/1.1 404: 2\r\nContent-Length: 2\r\n")


@pytest.mark.parametrize("body", [b'{"a":"\xff\xfe"}', '{"a":1}'.encode("utf-16"), bytes(range(256))])
def test_bytes_that_are_no_text_are_kept(kind, body):
    """60: as they came, whatever the charset says."""
    found, _ = answers_by(answer(body, headers={"Content-Type": "application/json; charset=utf-8"}), kind)
    assert summary(found) == (200, None, body)


# --- streams ---


def stream_of(parts, every, *, first=0.0, then="keep"):
    def react(exchange: Exchange) -> None:
        exchange.send(head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}))
        exchange.pause(first)
        pieces([chunks(part, end=False) for part in parts], every, then=then)(exchange)
        if then != "open":
            exchange.send(chunks())

    return react


def test_a_stream_is_told_as_it_comes(kind):
    """51: piece by piece, and whole at the end; the second is sent when the first one has been told."""
    told = threading.Event()

    def react(exchange):
        stream_of([b"data: 1\n\n"], 0, then="open")(exchange)
        held(told, raw(chunks(b"data: 2\n\n")))(exchange)

    with fault_server(react) as server, transport_of(kind, stream=True) as transport:
        transport.start(Call(3, Request("POST", server.url, ()), BODY, 15.0))
        events = events_until(transport, 3, told.set)
    assert [type(event).__name__ for event in events] == ["Chunk", "Chunk", "Answer"]
    assert chunks_in(events) == events[-1].body == b"data: 1\n\ndata: 2\n\n"
    assert {event.key for event in events} == {3}


@measures_seconds
def test_a_stream_that_stalls(kind):
    """52: ended at the idle limit, and what came is kept."""
    with (
        fault_server(stream_of([b"data: 1\n\n"], 0, then="hold")) as server,
        transport_of(kind, stream=True, timeout=Timeout(idle=0.3)) as transport,
    ):
        found = answer_to(transport, server.url)
    assert summary(found) == (200, "timeout_idle", b"data: 1\n\n")
    assert 0.25 < found.elapsed < 0.3 + LATE


@measures_seconds
def test_a_stream_without_a_length_that_stalls(kind):
    """52: the same where only the end of the connection could end it."""
    with (
        fault_server(raw(head(200, {"Content-Type": "text/event-stream"}) + b"data: 1\n\n", then="hold")) as server,
        transport_of(kind, stream=True, timeout=Timeout(idle=0.3)) as transport,
    ):
        assert summary(answer_to(transport, server.url)) == (200, "timeout_idle", b"data: 1\n\n")


@measures_seconds
def test_the_idle_limit_begins_with_the_first_byte_of_a_stream(kind):
    """52: a model may think for long before it speaks."""
    with (
        fault_server(stream_of([b"1", b"2", b"3"], 0.15, first=0.6)) as server,
        transport_of(kind, stream=True, timeout=Timeout(idle=0.4)) as transport,
    ):
        assert summary(answer_to(transport, server.url)) == (200, None, b"123")


@measures_seconds
@pytest.mark.parametrize("kind_of_content", [b"", b"Content-Type: application/json\r\n"])
def test_the_idle_limit_is_for_event_streams_alone(kind, kind_of_content):
    """An answer in one piece has the time that all of it has, however slowly it comes among streams."""
    sent = [b"HTTP/1.1 200 OK\r\n%sContent-Length: 3\r\n\r\n1" % kind_of_content, b"2", b"3"]
    with (
        fault_server([pieces(sent, 0.4), stream_of([b"data: 1\n\n"], 0, then="hold")] * 2) as server,
        transport_of(kind, stream=True, timeout=Timeout(idle=0.2)) as transport,
    ):
        for _ in range(2):  # one handle after another carries either kind
            assert summary(answer_to(transport, server.url)) == (200, None, b"123")
            assert summary(answer_to(transport, server.url)) == (200, "timeout_idle", b"data: 1\n\n")


def test_a_stream_is_cut_at_the_limit_as_well(kind):
    """47: in the pieces as in the whole."""
    with (
        fault_server(endless(CHUNKED, chunks(b"x" * 700, end=False))) as server,
        transport_of(kind, stream=True, body_bytes=10_000) as transport,
    ):
        transport.start(Call(0, Request("POST", server.url, ()), BODY, 5.0))
        events = events_until(transport, 0)
    assert (events[-1].fault, len(events[-1].body)) == ("too_large", 10_000)
    assert chunks_in(events) == events[-1].body


# --- what we send ---


@pytest.mark.parametrize("length", [1_000_000, 20_000_000])
def test_a_long_request_arrives_whole(kind, length):
    """70: and an answer to it comes back."""
    body = b'{"prompt":"' + b"x" * length + b'"}'
    with fault_server(echo()) as server, transport_of(kind) as transport:
        found = answer_to(transport, server.url, body=body)
        assert found.body == completion(body)
        assert [len(each.body) for each in server.requests] == [len(body)]
        assert "expect" not in server.requests[0].headers


@pytest.mark.parametrize("length", [200_000, 20_000_000])
def test_a_long_answer_arrives_whole(kind, length):
    """However many times it must be read, and also where it is compressed."""
    long = b'{"text":"' + bytes(range(97, 123)) * (length // 26) + b'"}'
    replies = [raw(message(long)), raw(message(gzip.compress(long), headers={"Content-Encoding": "gzip"})), echo()]
    with fault_server(replies) as server, transport_of(kind, body_bytes=2 * length) as transport:
        assert answer_to(transport, server.url, key=1).body == long
        assert answer_to(transport, server.url, key=2).body == long
        assert answer_to(transport, server.url, key=3).body == completion(BODY)


def test_an_answer_before_the_request_is_read(kind):
    """39: a server that refuses a long request does not read it first."""

    def refuse_early(listener):
        sock, _ = listener.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(message(b"{}", 413, {"Connection": "close"}))
            time.sleep(0.3)

    with socket.create_server((LOOPBACK, 0)) as listener, transport_of(kind) as transport:
        server = threading.Thread(target=refuse_early, args=(listener,))
        server.start()
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}/v1"
        found = answer_to(transport, url, body=b"x" * 20_000_000)
        server.join()
    assert found.status in (413, None)
    assert found.fault in (None, "reset")


@pytest.mark.parametrize(("code", "fault"), [(5, "proxy"), (6, "dns"), (7, "connect"), (97, "proxy")])
@pytest.mark.parametrize("sent", [False, True])
def test_libcurls_own_repeat_may_reach_nobody(code, fault, sent):
    """7: the kept connection was dead, and the server does not listen any more."""
    seen = Circumstances(sent, False, False, False, False, False, False, False, 0, 0)
    assert fault_of(code, "words", seen) == (fault, "words")
