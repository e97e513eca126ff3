"""What our transports do beyond what every one promises: libcurl's, and that of requests with its sessions."""

from __future__ import annotations

import gc
import hashlib
import io
import itertools
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import types
from pathlib import Path

import pytest
import requests
from exchanges import (
    BODY,
    EACH,
    HEADERS,
    answer_to,
    answers_by,
    answers_to,
    chunks_in,
    events_until,
    new_transport,
    nothing_left_behind,
    transport_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from measuring import measures_seconds
from requests.adapters import BaseAdapter, HTTPAdapter
from sentences import wording
from servers import (
    LOOPBACK,
    answer,
    chunks,
    completion,
    digest,
    echo,
    echo_server,
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
)
from urllib3.util.retry import Retry

from tablenodes.engine.calls import Call, Request
from tablenodes.engine.transports import curl_lane, requests_session
from tablenodes.engine.transports import curl_transfer as curl_transfer
from tablenodes.errors import ConnectionSettingError
from tablenodes.settings import Timeout

OURS = {name.lower(): value for name, value in HEADERS}


@pytest.fixture(params=EACH)
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
    return server_context(tmp_path_factory.mktemp("tls"))


# --- the answer ---


def test_a_trailer_is_no_header(kind):
    """What stands behind the body came too late to tell anything about it."""
    sent = head(200, {"Transfer-Encoding": "chunked"}) + b"2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n"
    with fault_server([raw(sent), echo()]) as server, transport_of(kind) as transport:
        found = answer_to(transport, server.url)
        assert (found.status, found.body, found.fault) == (200, b"{}", None)
        assert found.headers == b"Transfer-Encoding: chunked\r\n"
        assert answer_to(transport, server.url, key=1).reused


def test_lines_that_end_without_a_carriage_return(kind):
    """As lenient as every other client."""
    with fault_server(raw(b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}")) as server, transport_of(kind) as transport:
        found = answer_to(transport, server.url)
    assert (found.status, found.headers.split(), found.body) == (200, [b"Content-Length:", b"2"], b"{}")
    assert found.fault is None


def test_connections_are_kept(kind):
    """One after the other goes over one connection."""
    with fault_server(echo()) as server, transport_of(kind) as transport:
        found = [answer_to(transport, server.url, key=key).reused for key in range(5)]
        assert found == [False, True, True, True, True]
        assert server.connections == 1


def test_encrypted_connections_are_kept(kind, tls):
    """A TLS handshake is paid once."""
    with (
        fault_server(echo(), tls=tls[0]) as server,
        transport_of(kind, ca_bundle=str(tls[1])) as transport,
    ):
        found = [answer_to(transport, server.url, key=key).reused for key in range(4)]
    assert found == [False, True, True, True]


@given(body=st.binary(max_size=300), cuts=st.lists(st.integers(0, 700), max_size=12), chunked=st.booleans())
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("kind", EACH)
def test_however_an_answer_is_cut_into_segments_it_is_the_same(kind, body, cuts, chunked):
    """15: at whatever bytes, with a Content-Length or in chunks."""
    if chunked:
        middle = len(body) // 2
        parts = [part for part in (body[:middle], body[middle:]) if part]
        sent = head(200, {"Transfer-Encoding": "chunked"}) + chunks(*parts)
    else:
        sent = message(body)
    edges = sorted({0, len(sent), *[cut for cut in cuts if cut < len(sent)]})
    script = pieces([sent[start:end] for start, end in itertools.pairwise(edges)])
    with fault_server(script) as server, transport_of(kind) as transport:
        found = answer_to(transport, server.url)
    assert (found.status, found.fault, found.body) == (200, None, body)


# --- the request ---


def test_exactly_our_headers_are_sent(kind):
    """S3: and those without which HTTP does not work."""
    with fault_server(echo()) as server, transport_of(kind) as transport:
        answer_to(transport, server.url)
        answer_to(transport, server.url, key=1, headers=())
        sent, bare = (each.headers for each in server.requests)
        transports = {"host": f"{LOOPBACK}:{server.port}", "content-length": str(len(BODY))}
        assert "gzip" in sent.pop("accept-encoding")
        assert "gzip" in bare.pop("accept-encoding")
        if kind == "requests":  # a plain session has some of its own
            assert bare.pop("user-agent").startswith("python-requests")
            transports |= {"accept": "*/*", "connection": "keep-alive"}
        assert sent == OURS | transports
        assert bare == transports


def test_no_cookie_is_kept(kind):
    """S3: an answer changes no later request."""
    with fault_server(echo(headers={"Set-Cookie": "a=b; Path=/"})) as server, transport_of(kind) as transport:
        for key in range(2):
            answer_to(transport, server.url, key=key)
        assert [each.headers.get("cookie") for each in server.requests] == [None, None]


def test_threads_that_begin_at_once_share_one_pool(monkeypatch, tls):
    """Certificates are read once; who reads them for himself has connections of his own, which nobody else uses."""
    read = requests_session._context

    def slowly(trusted):
        time.sleep(0.05)
        return read(trusted)

    monkeypatch.setattr(requests_session, "_context", slowly)
    together = threading.Barrier(4)

    def react(exchange):
        together.wait(30)
        echo()(exchange)

    with (
        fault_server(react, tls=tls[0]) as server,
        transport_of("requests", ca_bundle=str(tls[1])) as transport,
    ):
        for reused in (False, True):
            assert [found.reused for found in answers_to(transport, server.url, [BODY] * 4, 4).values()] == [reused] * 4
        assert server.connections == 4


# --- proxies and certificates ---


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(kind, monkeypatch, variable):
    """S4: as every other tool does."""
    with fault_server(echo()) as proxy, transport_of(kind) as transport:
        monkeypatch.setenv(variable, f"{LOOPBACK}:{proxy.port}")
        found = answer_to(transport, "http://api.test/v1/x")
        assert (found.status, found.fault, found.body) == (200, None, completion(BODY))
        assert [each.path for each in proxy.requests] == ["http://api.test/v1/x"]


def test_a_named_proxy_comes_before_that_of_the_environment(kind, monkeypatch):
    """S4: with its login."""
    with fault_server(echo()) as proxy, fault_server(echo()) as other:
        monkeypatch.setenv("http_proxy", other.url)
        monkeypatch.setenv("no_proxy", "*")
        with transport_of(kind, proxy=f"http://me:secret@{LOOPBACK}:{proxy.port}") as transport:
            answer_to(transport, "http://api.test/v1/x")
        assert [each.headers["proxy-authorization"] for each in proxy.requests] == ["Basic bWU6c2VjcmV0"]
        assert other.connections == 0


def test_loopback_addresses_bypass_every_proxy(kind, monkeypatch):
    """S4: the model on this machine is reached from this machine."""
    with fault_server(echo()) as server, fault_server(echo()) as proxy:
        for name in ("http_proxy", "HTTPS_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for named in (None, proxy.url):
            with transport_of(kind, proxy=named) as transport:
                assert answer_to(transport, server.url).status == 200
        assert proxy.connections == 0


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_of_the_environment_are_trusted(kind, monkeypatch, tls, variable):
    """S4: a company's own."""
    monkeypatch.setenv(variable, str(tls[1]))
    with fault_server(echo(), tls=tls[0]) as server, transport_of(kind) as transport:
        assert answer_to(transport, server.url).status == 200


def test_a_folder_of_certificates_is_trusted(kind, tls, tmp_path):
    """S4: as openssl rehash prepares it."""
    (tmp_path / "one.pem").write_bytes(tls[1].read_bytes())
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    with fault_server(echo(), tls=tls[0]) as server, transport_of(kind, ca_bundle=str(tmp_path)) as transport:
        assert answer_to(transport, server.url).status == 200


def test_certificates_that_do_not_exist(kind, monkeypatch):
    """S5: said before anything is sent."""
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    with wording.raises(ConnectionSettingError):
        new_transport(kind)


# --- many at a time ---


def test_hundreds_wait_at_a_time():
    """More than one lane of libcurl's, and more sockets than select can watch; all of them wait at once."""
    bodies = [b'{"row":%d}' % number for number in range(1_400)]
    with echo_server(latency=0.5) as url, transport_of("curl", concurrency=1_400) as transport:
        begun = time.monotonic()
        answers = answers_to(transport, url, bodies, 1_400)
        assert time.monotonic() - begun < 20
        longest = max(found.elapsed for found in answers.values())
    assert all(digest(bodies[key]).encode() in found.body for key, found in answers.items())
    assert longest < 20


def test_libcurl_without_epoll(monkeypatch):
    """Where there is neither epoll nor poll, a selector of the standard library does it."""
    monkeypatch.delattr("select.epoll")
    monkeypatch.delattr("select.poll")
    chosen = curl_lane.readiness()
    chosen.close()
    assert isinstance(chosen, curl_lane.SelectorReadiness)
    bodies = [b'{"row":%d}' % number for number in range(300)]
    with echo_server() as url, transport_of("curl", concurrency=16) as transport:
        answers = answers_to(transport, url, bodies, 16)
        assert answer_to(transport, f"http://{LOOPBACK}:9/v1", key=-1).fault == "connect"
    assert all(digest(bodies[key]).encode() in found.body for key, found in answers.items())


# --- waiting, dropping, ending ---


def test_a_signal_costs_no_answer(kind):
    """76: a handler that only sets a flag may run at any moment."""
    interrupted = []
    before = signal.signal(signal.SIGALRM, lambda *_: interrupted.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.002)
    try:
        bodies = [b'{"row":%d}' % number for number in range(400)]
        with echo_server() as url, transport_of(kind) as transport:
            answers = answers_to(transport, url, bodies, 8)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted
    assert all(digest(bodies[key]).encode() in found.body for key, found in answers.items())


# --- who may send ---


def test_what_the_asked_one_raises_costs_no_answer():
    """87: libcurl asks in the middle of its work; what came meanwhile comes out of the next wait."""

    def may_send(key):
        if key:
            raise LookupError
        return True

    with fault_server(echo()) as server, transport_of("curl", may_send=may_send) as transport:
        answer_to(transport, server.url)
        with pytest.raises(LookupError):
            answer_to(transport, server.url, key=1)
        assert [(event.key, event.sends) for event in transport.wait(0)] == [(1, 0)]
        with pytest.raises(LookupError):
            answer_to(transport, server.url, key=2)
        transport.cancel(2)
        assert transport.wait(0.1) == []


# --- the process ---


def in_child(function):
    """Run a function in a forked child; give whether it returned True."""
    child = os.fork()
    if child == 0:
        passed = False
        try:
            passed = function()
        finally:
            os._exit(0 if passed else 1)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_forked_child_leaves_the_parents_connections_alone(kind, tls, encrypted):
    """82: it opens its own; a call that the parent has in flight is the parent's."""
    context, trusted = tls
    together, answering = threading.Barrier(3), threading.Event()

    def react(exchange):
        if exchange.received.body == BODY:
            together.wait(30)  # each of the three has a connection of its own
        (held(answering) if exchange.received.body == b"slow" else echo())(exchange)

    with (
        fault_server(react, tls=context if encrypted else None) as server,
        transport_of(kind, ca_bundle=str(trusted)) as transport,
    ):
        answers_to(transport, server.url, [BODY] * 3, 3)  # of three connections one is in use and two are idle
        transport.start(Call(1, Request("POST", server.url, ()), b"slow", 15.0))
        while len(server.requests) < 4:
            assert transport.wait(0.01) == []

        def use_it():
            found = answer_to(transport, server.url, key=2, body=b"child")
            mine = answer_to(transport, server.url, key=3, body=b"child")
            transport.close()
            gc.collect()
            return (found.status, found.reused, mine.reused) == (200, False, True)

        assert in_child(use_it)
        answering.set()
        assert events_until(transport, 1)[-1].body == completion(b"slow")
        assert all(found.reused for found in answers_to(transport, server.url, [BODY] * 3, 3).values())
        parents = {each.connection for each in server.requests if each.body != b"child"}
        childs = {each.connection for each in server.requests if each.body == b"child"}
        assert parents.isdisjoint(childs)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_opens_its_own_connections_on_a_given_session():
    """82: the session is the user's, its sockets are the parent's."""
    with (
        fault_server(echo()) as server,
        requests.Session() as session,
        transport_of("requests", session=session) as transport,
    ):
        answer_to(transport, server.url)
        assert in_child(lambda: answer_to(transport, server.url, key=1).status == 200)
        answer_to(transport, server.url, key=2)
        assert [each.connection for each in server.requests] == [1, 2, 1]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_may_close_or_cancel(kind):
    """82: to no effect on the parent."""
    answering = threading.Event()
    with fault_server(held(answering)) as server, transport_of(kind) as transport:
        transport.start(Call(1, Request("POST", server.url, ()), BODY, 15.0))
        while not server.requests:
            assert transport.wait(0.01) == []

        def drop_it():
            transport.cancel(1)
            transport.close()
            return True

        assert in_child(drop_it)
        answering.set()
        assert events_until(transport, 1)[-1].body == completion(BODY)


@pytest.mark.parametrize("kind", ["curl", "requests"])
def test_fewer_sockets_than_asked_for(kind):
    """88: the transport says how many calls may be in flight, and none of these is lost."""
    script = f"""
        import resource, sys
        sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 130))
        from exchanges import answers_to, transport_of
        with transport_of({kind!r}, concurrency=500) as transport:
            room = transport.capacity
            assert 30 <= room <= 60, room
            bodies = [b"%d" % number for number in range(200)]
            found = answers_to(transport, sys.argv[1], bodies, room)
            assert all(each.status == 200 for each in found.values())
        with transport_of({kind!r}, concurrency=20) as transport:
            assert transport.capacity == 20
    """
    with echo_server(latency=0.05) as url:
        ended = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), url], check=False, capture_output=True, text=True
        )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_soft_limit_of_open_files_is_raised():
    """88: where the system allows it, all calls get their sockets."""
    script = """
        import resource
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        from tablenodes.engine.transports.network_environment import sockets_allowed
        assert sockets_allowed(700) == 700
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 700
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_fewer_threads_than_asked_for(monkeypatch):
    """88: the threads that there are do all the work."""
    begin = threading.Thread.start

    def start(thread):
        if (
            thread.name == "tablenodes-requests"
            and sum(each.name == thread.name for each in threading.enumerate()) >= 2
        ):
            raise RuntimeError("can't start new thread")
        begin(thread)

    with echo_server() as url, transport_of("requests", concurrency=8) as transport:
        monkeypatch.setattr(threading.Thread, "start", start)
        answers = answers_to(transport, url, [b"%d" % number for number in range(50)], 8)
        assert {found.status for found in answers.values()} == {200}
        assert transport.capacity == 2


def test_no_thread_at_all(monkeypatch):
    """88: the row is answered all the same."""

    def start(_thread):
        raise RuntimeError("can't start new thread")

    with fault_server(echo()) as server, transport_of("requests") as transport:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            found = answer_to(transport, server.url)
        assert (found.status, found.fault, found.sends) == (None, "internal_error", 0)
        assert answer_to(transport, server.url, key=1).status == 200


@measures_seconds
def test_a_call_that_waited_in_vain_for_a_thread_is_not_sent_later():
    """88: of calls that hang there may be twice as many as may be in flight; a call beyond them ends unsent."""
    released, seen = threading.Event(), []

    class Hanging(HTTPAdapter):
        def send(self, request, **options):
            seen.append(request.body)
            if request.body != b"good":
                released.wait(60)
                raise requests.exceptions.ConnectionError
            return super().send(request, **options)

    limits = {"concurrency": 2, "timeout": Timeout(connect=0.3, total=5)}
    with (
        requests.Session() as session,
        fault_server(echo()) as server,
        transport_of("requests", session=session, **limits) as transport,
    ):
        session.mount("http://", Hanging())
        found = [answer_to(transport, server.url, key=key, total=0.2) for key in range(4)]
        late = answer_to(transport, server.url, key=9, body=b"late")
        assert [each.fault for each in found] == ["timeout_first_byte"] * 4
        assert (late.fault, late.sends) == ("timeout_connect", 0)
        released.set()
        assert answer_to(transport, server.url, key=10, body=b"good").status == 200
        assert seen == [BODY] * 4 + [b"good"]


@measures_seconds
def test_dropped_calls_give_their_threads_back():
    """T20: a thread for each call in flight, and few more."""
    together = threading.Barrier(9)

    def react(exchange):
        if exchange.received.body == b"drop":
            exchange.pause(30)
        together.wait(30)
        echo()(exchange)

    with fault_server(react) as server, transport_of("requests") as transport:
        request = Request("POST", server.url, ())
        for number in range(12):
            transport.start(Call(0, request, b"drop", 60.0))
            while len(server.requests) <= number:
                assert transport.wait(0.01) == []
            transport.cancel(0)
            transport.wait(0.02)
        assert sum(each.name == "tablenodes-requests" for each in threading.enumerate()) <= 6
        for key in range(8):
            transport.start(Call(key, request, BODY, 60.0))
        together.wait(30)  # breaks unless all eight are with the server at a time
        keys = []
        while len(keys) < 8:
            keys += [event.key for event in transport.wait(5)]
        assert sorted(keys) == list(range(8))


def test_an_old_attempt_does_not_end_a_connection_that_has_another():
    """61: a connection may have gone on to the next call a moment before its last one is ended."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = types.SimpleNamespace(sock=ours, handshaking=None, owner=None, lock=threading.Lock())
        first, second, third = (requests_session.Attempt(Call(key, None, b"", 1.0), 0.0, 10) for key in range(3))
        first.own(connection)
        second.own(connection)
        first.expire(1.0)
        second.let_go()
        second.expire(1.0)
        ours.sendall(b"alive")
        assert theirs.recv(10) == b"alive"
        third.own(connection)
        third.expire(1.0)
        assert theirs.recv(10) == b""


@pytest.mark.parametrize("refuses", [407, 403, 502])
def test_a_proxy_that_opens_no_tunnel_for_requests(refuses):
    """6: http.client tells the status in words alone; if it words it otherwise one day, this says so."""
    with (
        fault_server(answer(b"{}", refuses)) as proxy,
        transport_of("requests", proxy=f"http://me:canary-password@{LOOPBACK}:{proxy.port}") as transport,
    ):
        found = answer_to(transport, "https://api.test/v1")
    fault = {407: "proxy_login", 403: "proxy_refused", 502: "proxy"}[refuses]
    assert (found.fault, found.sends) == (fault, 0)
    assert str(refuses) in found.message
    assert "canary" not in found.message


def test_a_login_that_a_proxy_wants_in_the_servers_place():
    """6: over plain http the proxy answers in the server's place."""
    with (
        fault_server(answer(b"{}", 407)) as proxy,
        transport_of("requests", proxy=f"http://{LOOPBACK}:{proxy.port}") as transport,
    ):
        found = answer_to(transport, "http://api.test/v1")
    assert (found.status, found.fault, found.sends, found.body) == (None, "proxy_login", 1, b"")


def test_a_dead_connection_is_known_to_be_an_old_one():
    """7: the scheduler may send the row again at once."""
    for dies in (reset, fin):
        _, found, server = answers_by([echo(), dies(), echo()], "requests", 2)
        assert (found.status, found.sends, found.reused) == (None, 1, True)
        assert found.fault in ("reset", "disconnected")
        assert len(server.requests) == 2


def test_the_body_of_a_redirect_is_limited_for_requests_too():
    """41, 47: requests would read it whole, to look where it leads."""
    long = raw(message(b"x" * 200_000, 302, {"Location": "/elsewhere"}))
    found, _ = answers_by(long, "requests")
    assert (found.status, found.fault, len(found.body)) == (302, "too_large", 100_000)


@measures_seconds
def test_a_stream_that_stalls_over_requests():
    """52: ended at the idle limit, and what came is kept; its thread is woken."""
    sent = [head(200, {"Content-Type": "text/event-stream"}) + b"data: 1\n\n"]
    with (
        fault_server(pieces(sent, then="hold")) as server,
        transport_of("requests", stream=True, timeout=Timeout(idle=0.3)) as transport,
    ):
        found = answer_to(transport, server.url)
    assert (found.status, found.fault, found.body) == (200, "timeout_idle", b"data: 1\n\n")
    assert found.elapsed < 0.3 + 0.5


def test_the_socket_of_a_connection_is_known_by_its_port():
    """20: where two addresses were tried, the one that won is looked at before a connection is used again."""
    with (
        socket.create_server((LOOPBACK, 0)) as listener,
        socket.create_connection(listener.getsockname()) as loser,
        socket.socket() as never,
        socket.create_connection(listener.getsockname()) as winner,
    ):
        port = winner.getsockname()[1]
        tried = [loser.fileno(), 999_999, never.fileno(), winner.fileno()]
        assert curl_transfer._bound_to(port, tried) == winner.fileno()
        assert curl_transfer._bound_to(port, [winner.fileno()]) == winner.fileno()
        assert winner.getsockname()[1] == port


# --- a session of the user's ---


class Recording(BaseAdapter):
    """An adapter that answers by itself, as mocks do."""

    def __init__(self, respond):
        super().__init__()
        self.respond = respond
        self.seen = []
        self.closed = False

    def send(self, request, **options):
        self.seen.append((request, options))
        found = self.respond(request)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self):
        self.closed = True


def response(status=200, body=b"{}", headers=()):
    made = requests.Response()
    made.status_code = status
    made.raw = io.BytesIO(body)
    made.headers.update(headers)
    return made


def test_a_given_session_is_used_as_it_is():
    """Its headers, login and hooks go into each request, and it is not closed."""
    seen = []
    with requests.Session() as session, fault_server(echo()) as server:
        session.headers["X-Corporate"] = "yes"
        session.auth = ("me", "secret")
        session.hooks["response"].append(lambda found, **_: seen.append(found.status_code))
        before = dict(session.headers), session.adapters.copy(), session.trust_env, session.verify
        with transport_of("requests", session=session) as transport:
            found = answer_to(transport, server.url, headers=(("User-Agent", "tests"),))
            assert (found.status, found.body, found.sends, found.reused) == (200, completion(BODY), 1, False)
        assert (dict(session.headers), session.adapters, session.trust_env, session.verify) == before
        assert session.post(server.url, data=b"x", timeout=5).status_code == 200
        first = server.requests[0]
        assert (first.headers["x-corporate"], first.headers["user-agent"]) == ("yes", "tests")
        assert first.headers["authorization"].startswith("Basic ")
        assert seen == [200, 200]


def test_a_given_sessions_adapter_answers():
    """A mock without any socket: every row its own answer."""
    adapter = Recording(lambda request: response(body=request.body.upper(), headers={"X-Request-Id": "r1"}))
    session = requests.Session()
    session.mount("https://", adapter)
    with transport_of("requests", session=session) as transport:
        answers = answers_to(transport, "https://api.test/v1", [b"a%d" % number for number in range(50)], 8)
        redirect = answer_to(transport, "https://api.test/v1", key=99)
    assert {key: found.body for key, found in answers.items()} == {key: b"A%d" % key for key in range(50)}
    assert answers[0].headers == b"X-Request-Id: r1\r\n"
    assert redirect.status == 200
    request, options = adapter.seen[0]
    assert (request.method, request.url, options["stream"]) == ("POST", "https://api.test/v1", True)
    assert not adapter.closed


def test_a_given_session_follows_no_redirect():
    """S2: whatever its own settings are."""
    with fault_server(echo()) as target, fault_server(answer(b"{}", 307, {"Location": target.url})) as server:
        with requests.Session() as session, transport_of("requests", session=session) as transport:
            assert answer_to(transport, server.url).status == 307
        assert target.connections == 0


def test_a_given_sessions_own_retries_are_counted():
    """T7: what an adapter of the user's repeats by itself was sent as well."""
    with requests.Session() as session, fault_server([answer(b"{}", 503), answer(b"{}", 503), echo()]) as server:
        retries = Retry(3, status_forcelist=[503], allowed_methods=None, backoff_factor=0)
        session.mount("http://", HTTPAdapter(max_retries=retries))
        with transport_of("requests", session=session) as transport:
            found = answer_to(transport, server.url)
        assert (found.status, found.sends) == (200, len(server.requests)) == (200, 3)


@pytest.mark.parametrize(
    ("error", "fault", "sends"),
    [
        (requests.exceptions.ConnectTimeout("x"), "timeout_connect", 0),
        (requests.exceptions.ProxyError("x"), "proxy", 0),
        (requests.exceptions.InvalidSchema("x"), "proxy", 0),
        (requests.exceptions.ReadTimeout("x"), "timeout_first_byte", 1),
        (requests.exceptions.ConnectionError("x"), "reset", 1),
        (requests.exceptions.ChunkedEncodingError("x"), "truncated", 1),
        (requests.exceptions.ContentDecodingError("x"), "bad_encoding", 1),
        (ConnectionResetError(104, "gone"), "reset", 1),
        (KeyError("the user's own hook"), "internal_error", 1),
        (SystemExit("the user's own hook"), "internal_error", 1),
    ],
)
def test_what_a_given_session_raises_has_a_name(error, fault, sends):
    """87: any exception ends its own row, without a word of its text."""
    session = requests.Session()
    session.mount("https://", Recording(lambda _: error))
    with transport_of("requests", session=session) as transport:
        found = answer_to(transport, "https://api.test/v1")
    assert (found.status, found.fault, found.sends) == (None, fault, sends)
    assert "own hook" not in found.message


def test_a_given_session_that_reaches_nobody():
    """2: nothing was sent."""
    with (
        requests.Session() as session,
        refusing_port() as port,
        transport_of("requests", session=session) as transport,
    ):
        found = answer_to(transport, f"http://{LOOPBACK}:{port}/v1")
    assert (found.fault, found.sends) == ("connect", 0)


@measures_seconds
@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (silence(), "timeout_first_byte"),
        (pieces([message(b"x" * 50)[:30]] * 3, 0.1, then="hold"), "timeout_first_byte"),
        (raw(head(200, {"Content-Length": "9"}) + b"abc", then="hold"), "timeout_total"),
    ],
)
def test_a_given_session_that_hangs_is_answered_for(script, fault):
    """10, T8: its socket is out of reach, but its row ends in time."""
    with (
        requests.Session() as session,
        fault_server(script) as server,
        transport_of("requests", session=session) as transport,
    ):
        found = answer_to(transport, server.url, total=0.4)
        assert (found.fault, found.sends) == (fault, 1)
        assert found.elapsed < 0.4 + 0.5
        server.close()


@measures_seconds
def test_a_given_sessions_body_that_hangs_gives_its_thread_back():
    """12: once a response of urllib3's is there, its socket can be shut down; nobody waits for the server."""
    with (
        requests.Session() as session,
        fault_server(raw(head(200, {"Content-Length": "9"}) + b"abc", then="hold")) as server,
        transport_of("requests", session=session) as transport,
    ):
        found = answer_to(transport, server.url, total=0.4)
        assert (found.status, found.fault) == (200, "timeout_total")
        transport.close()
        assert not [each for each in threading.enumerate() if each.name == "tablenodes-requests"]


def test_a_given_sessions_stream_is_told_piece_by_piece():
    """51: as far as its adapter lets it come."""
    told = threading.Event()

    def react(exchange):
        exchange.send(head(200, {"Transfer-Encoding": "chunked"}) + chunks(b"one", end=False))
        held(told, raw(chunks(b"two")))(exchange)

    with (
        requests.Session() as session,
        fault_server(react) as server,
        transport_of("requests", session=session, stream=True) as transport,
    ):
        transport.start(Call(0, Request("POST", server.url, ()), BODY, 15.0))
        events = events_until(transport, 0, told.set)
    assert chunks_in(events) == events[-1].body == b"onetwo"
    assert len(events) == 3


@measures_seconds
def test_a_given_sessions_stream_may_stall():
    """52: its socket is out of reach, but its row ends in time, with what came."""
    sent = [head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}), chunks(b"one", end=False)]
    with (
        requests.Session() as session,
        fault_server(pieces(sent, then="hold")) as server,
        transport_of("requests", session=session, stream=True, timeout=Timeout(idle=0.3)) as transport,
    ):
        found = answer_to(transport, server.url)
        assert (found.status, found.fault, found.body) == (200, "timeout_idle", b"one")
        assert found.elapsed < 0.3 + 0.5
        server.close()


def test_a_long_answer_of_a_given_session_is_cut():
    """47: at the same limit."""
    session = requests.Session()
    session.mount("https://", Recording(lambda _: response(body=b"x" * 5000)))
    with transport_of("requests", session=session, body_bytes=1000) as transport:
        found = answer_to(transport, "https://api.test/v1")
    assert (found.status, found.fault, found.body) == (200, "too_large", b"x" * 1000)


# --- what must not be seen ---


def test_timeouts_of_a_stream_are_settings(kind):
    """52: the idle limit is the connection's own."""
    with transport_of(kind, stream=True, timeout=Timeout(idle=1)) as transport:
        assert transport.wait(0) == []


def test_digests_are_what_they_seem():
    """The echo server's digest is that of the body."""
    assert digest(b"x") == hashlib.sha256(b"x").hexdigest()
