"""The table of faults: what a server or a network does to a row, and what the row must come to.

Each `Fault` is met by a run of two rows, one after the other: the first is the faulty one, the second tells whether
its neighbour is touched by it. A third one goes before them where the fault needs a kept connection.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from servers import (
    LOOPBACK,
    Exchange,
    FaultServer,
    Reaction,
    Received,
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
    message,
    pieces,
    raw,
    redirect,
    refusing_port,
    reset,
    server_context,
    silence,
)
from streamed import CHUNK, DONE, STREAM_HEAD, TWINS, chunks_of, in_chunks, stream_of, streaming

import tablenodes as tn
from tablenodes.engine import policy
from tablenodes.settings import Limits, Retry, Timeout

BEFORE, FAULTY, AFTER = "before", "faulty", "after"
LIMIT = 100_000
"""The longest answer in bytes in these runs."""
SHORT = Timeout(connect=0.2, total=0.3)
AMPLE = Timeout(connect=5, total=20)
ALONE = Limits(concurrency=1, body_bytes=LIMIT)
FEW = Retry(not_executed=1, throttled=2, server_error=2, ambiguous=1, outage_patience=0.3)
ONCE = Retry(not_executed=1, throttled=2, server_error=2, ambiguous=0, outage_patience=0.3)
"""At most once."""
OWN = "own"
"""The body is the good answer to this very row."""
ERROR = "error"
"""The body is an error object of ours, with the outcome as its type."""
CHUNKED = head(200, {"Transfer-Encoding": "chunked"})


# --- where the server is --------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """How a server is reached.

    Attributes
    ----------
    url : str
        The base address.
    server : FaultServer or None
        The server that would see the requests.
    settings : dict
        Further settings of the connection.
    bystander : FaultServer or None
        A server that must see nothing.
    """

    url: str
    server: FaultServer | None = None
    settings: dict[str, Any] = {}
    bystander: FaultServer | None = None


class Kit:
    """Certificates, made once."""

    def __init__(self, folder: Path) -> None:
        self.context, self.trusted = server_context(folder)
        self.expired_context, self.expired = server_context(folder, name="expired")
        command = ["openssl", "x509", "-in", str(self.expired), "-signkey", str(self.expired.with_suffix(".key"))]
        subprocess.run([*command, "-days", "-1", "-out", str(self.expired)], check=True, capture_output=True)
        self.expired_context.load_cert_chain(self.expired, self.expired.with_suffix(".key"))


Somewhere = Callable[[Kit, Reaction], contextlib.AbstractContextManager[Place]]


@contextlib.contextmanager
def here(kit: Kit, script: Reaction) -> Iterator[Place]:
    """A server on this machine."""
    with fault_server(script) as server:
        yield Place(server.url, server)


@contextlib.contextmanager
def nowhere(kit: Kit, script: Reaction) -> Iterator[Place]:
    """A name that does not exist."""
    yield Place("https://no-such-host.invalid/v1")


@contextlib.contextmanager
def refused(kit: Kit, script: Reaction) -> Iterator[Place]:
    """A port that refuses."""
    with refusing_port() as port:
        yield Place(f"http://{LOOPBACK}:{port}/v1")


@contextlib.contextmanager
def swallowed(kit: Kit, script: Reaction) -> Iterator[Place]:
    """A port that neither accepts nor refuses."""
    with black_hole() as port:
        yield Place(f"http://{LOOPBACK}:{port}/v1")


def encrypted(certificate_of: str = "context", *, trusts: str | None, host: str = LOOPBACK) -> Somewhere:
    """A server that speaks TLS, with a certificate that the client trusts or not."""

    @contextlib.contextmanager
    def place(kit: Kit, script: Reaction) -> Iterator[Place]:
        settings = {} if trusts is None else {"ca_bundle": str(getattr(kit, trusts))}
        with fault_server(script, tls=getattr(kit, certificate_of)) as server:
            yield Place(server.url.replace(LOOPBACK, host), server, settings)

    return place


def breaking(breaks: Reaction) -> Somewhere:
    """A server that breaks off before TLS stands."""

    @contextlib.contextmanager
    def place(kit: Kit, script: Reaction) -> Iterator[Place]:
        with fault_server(script, tls=kit.context, on_connect=breaks) as server:
            yield Place(server.url, server, {"ca_bundle": str(kit.trusted)})

    return place


def behind(refuses: Reaction | None, scheme: str = "https") -> Somewhere:
    """A proxy that does not let through; None for one that refuses connections."""

    @contextlib.contextmanager
    def place(kit: Kit, script: Reaction) -> Iterator[Place]:
        with contextlib.ExitStack() as stack:
            if refuses is None:
                port = stack.enter_context(refusing_port())
            else:
                port = stack.enter_context(fault_server(refuses)).port
            settings = {"proxy": f"http://me:proxy-password-4711@{LOOPBACK}:{port}", "allow_insecure": True}
            yield Place(f"{scheme}://api.test/v1", None, settings)

    return place


def redirecting(code: int) -> Somewhere:
    """A server that sends elsewhere."""

    @contextlib.contextmanager
    def place(kit: Kit, script: Reaction) -> Iterator[Place]:
        with fault_server(echo()) as other:
            sends_on = redirect(code, f"http://{LOOPBACK}:{other.port}/stolen")
            with fault_server(by_row([sends_on])) as server:
                yield Place(server.url, server, {}, other)

    return place


def prompt_of(body: bytes) -> str:
    """Return the prompt that a request's body holds."""
    return str(json.loads(body)["messages"][0]["content"])


def by_row(script: Sequence[Reaction]) -> Reaction:
    """Follow the script for the faulty row, and answer the others well.

    The connection of a good answer ends with it, so that a row that is tried again has one of its own, but for that of
    the row before, which is kept.
    """
    seen: list[None] = []
    lock = threading.Lock()

    def react(exchange: Exchange) -> None:
        if not prompt_of(exchange.received.body).startswith(FAULTY):
            kept = prompt_of(exchange.received.body).startswith(BEFORE)
            echo(headers={} if kept else {"Connection": "close"})(exchange)
            if not kept:
                exchange.close()
            return
        with lock:
            number = len(seen)
            seen.append(None)
        script[min(number, len(script) - 1)](exchange)

    return react


# --- what a fault is ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What happens to a row, and what it must come to.

    Attributes
    ----------
    name : str
        What happens; begins with its number.
    outcome : str or set of str
        How the row ends.
    status : int or None
        The status of its last answer.
    attempts : int
        Sends of the row that were begun.
    maybe_billed : bool
        Whether a request of the row may have been executed without its answer being delivered.
    body : str or None or callable
        `OWN`, `ERROR`, the text itself, or what must be true of it.
    script : sequence of reactions
        What the server does with the row's requests, one after the other; the last is for all further ones.
    requests : int, optional
        The row's requests that the server saw; default: as many as attempts.
    after : str
        The outcome of the row after it.
    latency, run_seconds : (float, float)
        Seconds of the row's last attempt, and of the run, least and most.
    log : dict
        What else the row's log holds.
    stream : bool
        Whether the rows ask for streams.
    """

    name: str
    outcome: str | frozenset[str]
    status: int | None
    attempts: int
    maybe_billed: bool
    body: Any
    script: Sequence[Reaction] = (echo(),)
    requests: int | None = None
    after: str = "ok"
    reuses: bool = False
    place: Somewhere = here
    timeout: Timeout = AMPLE
    retry: Retry = FEW
    limits: Limits = ALONE
    latency: tuple[float, float] = (0.0, 5.0)
    run_seconds: tuple[float, float] = (0.0, 10.0)
    log: dict[str, Any] = field(default_factory=dict)
    stream: bool = False

    @property
    def is_timed(self) -> bool:
        """Whether it comes to its end by a clock, or has a bound in seconds."""
        return self.timeout != AMPLE or (self.latency, self.run_seconds) != (Fault.latency, Fault.run_seconds)

    @property
    def outcomes(self) -> frozenset[str]:
        """The outcomes that are right."""
        return frozenset((self.outcome,)) if isinstance(self.outcome, str) else self.outcome

    @property
    def prompts(self) -> list[str]:
        """The rows of the table."""
        return [*([BEFORE] if self.reuses else []), FAULTY, AFTER]


def ok(name: str, *script: Reaction, attempts: int = 1, maybe_billed: bool = False, **more: Any) -> Fault:
    """A fault that the row survives."""
    return Fault(name, **{"outcome": "ok", "status": 200, "body": OWN} | more | {
        "attempts": attempts, "maybe_billed": maybe_billed, "script": script,
    })  # fmt: skip


def unsent(name: str, outcome: str, place: Somewhere, *, attempts: int = 0, **more: Any) -> Fault:
    """A fault before anything is sent; the row after it meets the same."""
    given = {"after": outcome, "body": ERROR, "status": None, "maybe_billed": False, "requests": 0} | more
    return Fault(name, outcome, attempts=attempts, place=place, **given)


def lost(name: str, outcome: str | frozenset[str], *script: Reaction, **more: Any) -> Fault:
    """An ambiguous failure without a status: sent twice, and perhaps billed."""
    given = {"status": None, "attempts": 2, "maybe_billed": True, "body": ERROR} | more
    return Fault(name, outcome, script=script, **given)


def bad(name: str, outcome: str, status: int, body: Any, *script: Reaction, **more: Any) -> Fault:
    """A failure with a status; by default final and certainly not executed."""
    return Fault(name, outcome, status, script=script, body=body, **{"attempts": 1, "maybe_billed": False} | more)


def streams(name: str, script: Reaction, *more: Reaction, **given: Any) -> Fault:
    """A fault of a stream that the row survives: the body is the plain one."""
    return ok(name, script, *more, **{"stream": True, "body": as_plain} | given)


def cuts(name: str, outcome: str, *script: Reaction, **more: Any) -> Fault:
    """A stream that is lost: sent twice, perhaps billed, and what came of it is kept."""
    return lost(name, outcome, *script, **{"status": 200, "stream": True, "body": begins_like_a_stream} | more)


# --- answers --------------------------------------------------------------------------------------------------------


def each(make: Callable[[bytes], bytes], then: str = "keep") -> Reaction:
    """Send what is made from the good answer to the very request."""

    def react(exchange: Exchange) -> None:
        raw(make(completion(exchange.received.body)), then)(exchange)

    return react


def in_parts(cut: Callable[[bytes], list[bytes]], every: float = 0.0, then: str = "keep") -> Reaction:
    """Send the good answer to the very request in pieces."""

    def react(exchange: Exchange) -> None:
        pieces(cut(completion(exchange.received.body)), every, then)(exchange)

    return react


def refuse(status: int, code: str, kind: str = "invalid_request_error", headers: Any = ()) -> Reaction:
    """Answer with an error object of the API's shape."""
    return answer(said(code, kind), status, headers)


def said(code: Any, kind: str = "invalid_request_error") -> str:
    return json.dumps({"error": {"message": "no", "type": kind, "param": None, "code": code}})


def said_of(param: str) -> str:
    return json.dumps({"error": {"message": "Unknown.", "type": "invalid_request_error", "param": param, "code": None}})


TOO_LARGE = json.dumps(
    {"error": {"message": "on tokens per min (TPM): Limit 30000, Requested 41000.", "code": "rate_limit_exceeded"}}
)


def dated(ahead: float, skew: float = 0.0) -> Reaction:
    """Answer 429 with a date to come back at, by a clock that is wrong by `skew` seconds."""

    def react(exchange: Exchange) -> None:
        now = int(time.time() + skew)
        headers = {"Date": formatdate(now, usegmt=True), "Retry-After": formatdate(now + ahead, usegmt=True)}
        answer(b"{}", 429, headers)(exchange)

    return react


def cut(text: bytes, length: int) -> bytes:
    """Return the start of a good answer under the whole length."""
    return head(200, {"Content-Length": str(len(text))}) + text[:length]


def begins_like_an_answer(text: str) -> bool:
    return text.startswith('{"id": "chatcmpl-1"') and not text.endswith("}]}")


def grows(text: str) -> bool:
    return 2 < len(text) < 100 and set(text) == {"x"}


def as_plain(text: str) -> bool:
    return dict(json.loads(text)) == PLAIN


def begins_like_a_stream(text: str) -> bool:
    return text.startswith("data: {") and DONE.decode() not in text


HTML = "<html><body>Bad gateway</body></html>"
BOMB = gzip.compress(bytes(5_000_000))
NOT_ANSWERED = frozenset(("reset", "disconnected"))
NO_CHOICE = '{"id": "x", "object": "chat.completion"}'
FAILED_CHOICE = '{"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "error"}]}'
CUT_OFF = '{"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "length"}]}'
UNFINISHED = '{"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": null}]}'
NOT_A_NUMBER = '{"choices": [{"index": 0, "message": {"content": "a"}, "logprobs": NaN}]}'


PLAIN = TWINS["text"]
FORTY = stream_of([CHUNK] * 40, done=False)
STREAM = stream_of(chunks_of(PLAIN))
FINISHED = stream_of(chunks_of(PLAIN), done=False)
IN_LINES = STREAM.replace(b',"', b',\ndata: "')
EVENT_STREAM = {"Content-Type": "text/event-stream"}
BROKEN = b"data: {oops}\n\n"
WATCHED = Timeout(connect=5, total=20, idle=0.3, payload_idle=0.5)


def broken(code: Any, event: bytes = b"") -> bytes:
    """Return a stream with an error in it."""
    return FORTY + event + b"data: " + said(code, "").encode() + b"\n\n"


# --- the table ------------------------------------------------------------------------------------------------------

NETWORK = [
    unsent("1 a name that does not exist", "dns", nowhere),
    unsent("2 a port that refuses", "connect", refused),
    unsent("2 a port that refuses, at most once", "connect", refused, retry=ONCE),
    unsent("3 a port that swallows everything", "timeout_connect", swallowed, timeout=SHORT, latency=(0.15, 0.7)),
    unsent("4 a certificate that nobody signed", "tls", encrypted(trusts=None)),
    unsent("4 a certificate of another host", "tls", encrypted(trusts="trusted", host="localhost")),
    unsent("4 a certificate that has expired", "tls", encrypted("expired_context", trusts="expired")),
    unsent("5 a TLS handshake that is reset", "connect", breaking(reset())),
    unsent("5 a TLS handshake that ends", "connect", breaking(fin())),
    unsent("5 a TLS handshake that stalls", "timeout_connect", breaking(silence()), timeout=SHORT),
    unsent("6 a proxy that refuses connections", "proxy", behind(None)),
    unsent("6 a proxy that opens no tunnel", "proxy", behind(answer(b"no", 502))),
    unsent("6 a proxy that wants a login, over TLS", "proxy", behind(answer(b"{}", 407))),
    unsent("6 a proxy that wants a login", "proxy", behind(answer(b"{}", 407), "http"), attempts=1),
    ok("7 a reset of a kept connection", reset(), echo(), attempts=2, maybe_billed=True, reuses=True),
    ok("7 an end of a kept connection", fin(), echo(), attempts=2, maybe_billed=True, reuses=True),
    lost("7 a reset of a kept connection, at most once", NOT_ANSWERED, reset(), attempts=1, reuses=True, retry=ONCE),
    lost("8 a reset instead of an answer", "reset", reset()),
    ok("8 a reset instead of an answer, once", reset(), echo(), attempts=2, maybe_billed=True),
    lost("8 a reset instead of an answer, at most once", "reset", reset(), attempts=1, retry=ONCE),
    lost("8 a reset in the middle of an answer", "reset",
         pieces([head(200, {"Content-Length": "1000"}) + b"abc", b""], 0.1, then="reset"), status=200, body="abc"),
    lost("9 an end instead of an answer", "disconnected", fin()),
    lost("9 an end instead of an answer, at most once", "disconnected", fin(), attempts=1, retry=ONCE),
    lost("10 silence", "timeout_first_byte", silence(), timeout=SHORT, latency=(0.25, 0.8)),
    lost("10 silence, at most once", "timeout_first_byte", silence(), timeout=SHORT, attempts=1, retry=ONCE),
    ok("10 silence, once", silence(), echo(), timeout=SHORT, attempts=2, maybe_billed=True),
    lost("11 a status line and nothing more", "timeout_total", raw(b"HTTP/1.1 200 OK\r\n", then="hold"),
         timeout=SHORT, latency=(0.25, 0.8)),
    lost("11 headers one byte at a time", "timeout_total", in_parts(lambda text: each_byte(message(text)), 0.05),
         timeout=SHORT, latency=(0.25, 0.8)),
    lost("11 headers without end", "timeout_total", endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.02),
         timeout=SHORT, latency=(0.25, 0.8)),
    lost("12 a body without end", "timeout_total", endless(head(200, {"Content-Length": "100000"}), b"x", 0.02),
         status=200, body=grows, timeout=SHORT, latency=(0.25, 0.8)),
    ok("13 blank lines before an answer",
       in_parts(lambda text: [CHUNKED, *[chunks(b"\n", end=False)] * 6, chunks(text)], 0.05),
       body=lambda text: text.startswith("\n\n\n\n\n\n{")),
    ok("14 a narrow line", in_parts(lambda text: [message(text)[at : at + 40] for at in range(0, 600, 40)], 0.02)),
    ok("15 one byte a segment", in_parts(lambda text: each_byte(message(text)))),
    lost("16 cut after 30 bytes", "truncated", each(lambda text: cut(text, 30), "close"),
         status=200, body='{"id": "chatcmpl-1", "object":'),
    lost("16 cut before the first byte", "truncated", each(lambda text: cut(text, 0), "close"), status=200, body=""),
    lost("16 cut before the last byte", "truncated", each(lambda text: cut(text, len(text) - 1), "close"),
         status=200, body=begins_like_an_answer),
    lost("16 cut, at most once", "truncated", each(lambda text: cut(text, 3), "close"),
         status=200, body='{"i', attempts=1, retry=ONCE),
    ok("16 cut, once", each(lambda text: cut(text, 30), "close"), echo(), attempts=2, maybe_billed=True),
    lost("16 headers that are cut", "truncated", raw(b"HTTP/1.1 200 OK\r\nContent-Le", then="close")),
    lost("17 chunks without their end", "truncated",
         each(lambda text: CHUNKED + chunks(text[:50], end=False), "close"), status=200, body=begins_like_an_answer),
    lost("17 half a chunk", "truncated", raw(CHUNKED + b"10\r\nabc", then="close"), status=200, body="abc"),
    ok("18 a body that ends with the connection", each(lambda text: head(200) + text, "close")),
    lost("19 a cut body that ends with the connection", "truncated", each(lambda text: head(200) + text[:-9], "close"),
         status=200, body=begins_like_an_answer),
    ok("20 garbage behind an answer", each(lambda text: message(text) + b"GARBAGE")),
    ok("20 a second answer behind an answer", each(lambda text: message(text) + message(b'{"choices":[{}]}'))),
    lost("21 a status line that is none", "protocol", raw(b"GARBAGE nonsense\r\n\r\n", then="close")),
    lost("21 no HTTP at all", "protocol", raw(b"\x16\x03\x01\x02\x00", then="close")),
]  # fmt: skip

THROTTLED = [
    ok("24 429 with a delay", answer(b"{}", 429, {"Retry-After": "0.5"}), echo(), attempts=2, run_seconds=(0.5, 4.0)),
    ok("24 503 with a delay", answer(b"{}", 503, {"Retry-After": "0"}), echo(), attempts=2),
    ok("24 429 with a delay, at most once", answer(b"{}", 429, {"Retry-After": "0"}), echo(), attempts=2, retry=ONCE),
    ok("25 milliseconds before seconds", answer(b"{}", 429, {"retry-after-ms": "300", "Retry-After": "60"}), echo(),
       attempts=2, run_seconds=(0.3, 4.0)),
    ok("26 a date", dated(1), echo(), attempts=2, run_seconds=(1.0, 4.0)),
    ok("26 a date by a clock that is a day ahead", dated(1, skew=86_400), echo(), attempts=2, run_seconds=(1.0, 4.0)),
    ok("26 a date in the past", dated(-3600), echo(), attempts=2, run_seconds=(0.0, 3.0)),
    *(ok(f"27 a delay of {delay[:9]}", answer(b"{}", 429, {"Retry-After": delay}), echo(), attempts=2,
         run_seconds=(0.0, 3.0)) for delay in ("0.05", "-1", "nan", "soon", "")),
    *(bad(f"27 a delay of {delay[:9]}", "rate_limited", 429, "{}", answer(b"{}", 429, {"Retry-After": delay}),
          after="not_sent") for delay in ("inf", "9" * 400)),
    bad("28 429 with a delay of a day", "rate_limited", 429, "{}", answer(b"{}", 429, {"Retry-After": "86400"}),
        after="not_sent", log={"retry_after": 86400.0}),
    bad("29 429 for ever", "rate_limited", 429, "{}", answer(b"{}", 429), attempts=3),
    bad("30 a quota that is spent", "quota_exhausted", 429, said("insufficient_quota"),
        refuse(429, "insufficient_quota")),
    bad("30 a limit on bills", "quota_exhausted", 429, said("billing_hard_limit_reached"),
        refuse(429, "billing_hard_limit_reached")),
    bad("109 a row that is larger than the limit", "rate_limited", 429, TOO_LARGE, answer(TOO_LARGE, 429)),
    bad("33 529 for ever", "http_error", 529, "{}", answer(b"{}", 529), attempts=3),
]  # fmt: skip

STATUSES = [
    bad("31 500 that says not to repeat", "http_error", 500, "{}", answer(b"{}", 500, {"x-should-retry": "false"}),
        maybe_billed=True),
    bad("31 429 that says not to repeat", "rate_limited", 429, "{}", answer(b"{}", 429, {"x-should-retry": "false"})),
    ok("31 400 that says to repeat", answer(b"{}", 400, {"x-should-retry": "true"}), echo(), attempts=2),
    bad("31 401 that says to repeat", "auth", 401, "{}", answer(b"{}", 401, {"x-should-retry": "true"})),
    ok("32 500 once", answer(b"{}", 500), echo(), attempts=2, maybe_billed=True),
    bad("32 500, at most once", "http_error", 500, "{}", answer(b"{}", 500), maybe_billed=True, retry=ONCE),
    bad("33 503 for ever", "http_error", 503, "{}", answer(b"{}", 503), attempts=3, maybe_billed=True),
    *(bad(f"34 {status} and a page", "http_error", status, HTML, answer(HTML, status, {"Content-Type": "text/html"}),
          attempts=3, maybe_billed=status not in (521, 523)) for status in (502, 504, 520, 521, 522, 523, 524)),
    bad("34 502, at most once", "http_error", 502, HTML, answer(HTML, 502), maybe_billed=True, retry=ONCE),
    bad("35 a context that is too long", "http_error", 400, said("context_length_exceeded"),
        refuse(400, "context_length_exceeded")),
    bad("35 a content filter", "http_error", 400, said("content_filter"), refuse(400, "content_filter")),
    bad("36 401", "auth", 401, said("invalid_api_key"), refuse(401, "invalid_api_key")),
    bad("35 a page that forbids", "http_error", 403, "<html>no</html>", answer(b"<html>no</html>", 403)),
    bad("35 a 403 among answers", "http_error", 403, said("forbidden"), refuse(403, "forbidden")),
    bad("37 401 once", "auth", 401, "{}", answer(b"{}", 401), echo()),
    bad("35 a 402 among answers", "http_error", 402, "{}", answer(b"{}", 402)),
    bad("38 a model that is not there", "http_error", 404, said("model_not_found"), refuse(404, "model_not_found")),
    *(bad(f"39 {status}", "http_error", status, "{}", answer(b"{}", status)) for status in (405, 413, 418, 422)),
    *(bad(f"40 {status} for ever", "http_error", status, "{}", answer(b"{}", status), attempts=3,
          maybe_billed=status == 408) for status in (408, 409, 425)),
    ok("40 409 once", answer(b"{}", 409), echo(), attempts=2),
    *(bad(f"41 a redirect by {code}", "redirect_refused", code, "{}", place=redirecting(code))
      for code in (301, 302, 303, 307, 308)),
]  # fmt: skip

BODIES = [
    lost("42 no content", "empty_body", raw(head(204)), status=204, body=""),
    lost("42 an empty body", "empty_body", answer(b""), status=200, body=""),
    lost("42 a blank body", "empty_body", answer(b" \r\n "), status=200, body=" \r\n "),
    ok("42 an empty body, once", answer(b""), echo(), attempts=2, maybe_billed=True),
    lost("43 an error without a code", "in_band_error", answer(said(None, "")), status=200, body=said(None, "")),
    bad("43 an error 429", "in_band_error", 200, said(429), answer(said(429)), attempts=3),
    bad("43 an error 500", "in_band_error", 200, said(500), answer(said(500)), attempts=3, maybe_billed=True),
    bad("43 an error 400", "in_band_error", 200, said(400), answer(said(400))),
    bad("43 an error in words", "in_band_error", 200, said("context_length_exceeded"),
        answer(said("context_length_exceeded"))),
    lost("44 no choices", "in_band_error", answer(NO_CHOICE), status=200, body=NO_CHOICE),
    lost("44 an empty list of choices", "in_band_error", answer('{"choices": []}'), status=200,
         body='{"choices": []}'),
    lost("44 a choice that failed", "in_band_error", answer(FAILED_CHOICE), status=200, body=FAILED_CHOICE),
    ok("44 a choice without a reason for its end", answer(UNFINISHED), body=UNFINISHED),
    lost("45 no JSON", "decode_error", answer('{"choices": [oops]}'), status=200, body='{"choices": [oops]}'),
    lost("45 a page in the place of JSON", "decode_error", answer(HTML), status=200, body=HTML),
    lost("45 a list", "decode_error", answer("[1, 2]"), status=200, body="[1, 2]"),
    lost("45 a page, at most once", "decode_error", answer(HTML), status=200, body=HTML, attempts=1, retry=ONCE),
    ok("46 an answer that reached its length", answer(CUT_OFF), body=CUT_OFF, log={"finish_reason": "length"}),
    bad("47 a body over its limit", "too_large", 200, "x" * LIMIT, answer("x" * (LIMIT + 1)), maybe_billed=True),
    bad("47 a body without end", "too_large", 200, "x" * LIMIT, endless(CHUNKED, chunks(b"x" * 1000, end=False)),
        maybe_billed=True),
    bad("48 a bomb", "too_large", 200, "\0" * LIMIT, raw(message(BOMB, 200, {"Content-Encoding": "gzip"})),
        maybe_billed=True),
    bad("48 a bomb in a bomb", "too_large", 200, "\0" * LIMIT,
        raw(message(gzip.compress(BOMB), 200, {"Content-Encoding": "gzip, gzip"})), maybe_billed=True),
    bad("48 an unknown encoding", "bad_encoding", 200, "", raw(message(b"{}", 200, {"Content-Encoding": "rot13"})),
        maybe_billed=True),
    bad("48 an encoding that it has not", "bad_encoding", 200, "",
        raw(message(b"plain", 200, {"Content-Encoding": "gzip"})), maybe_billed=True),
    ok("48 a compressed answer", each(lambda text: message(gzip.compress(text), 200, {"Content-Encoding": "gzip"}))),
    lost("49 ten thousand headers", "protocol", raw(head(200, [(f"X-{n}", "y") for n in range(10_000)]), then="close")),
    lost("49 a header of a megabyte", "protocol", raw(head(200, {"X": "y" * 1_000_000}), then="close")),
    ok("50 interim responses", each(lambda text: head(100) * 50 + head(103, {"Link": "</a>"}) + message(text))),
    lost("50 interim responses without end", "timeout_total", endless(b"", head(102), 0.01), timeout=SHORT),
    bad("60 bytes that are no text", "decode_error", 200, '{"choices": "\ufffd\ufffd"}',
        answer(b'{"choices": "\xff\xfe"}'), maybe_billed=True),
    bad("60 another encoding of text", "decode_error", 200, None,
        answer('{"choices": []}'.encode("utf-16")), maybe_billed=True),
    bad("60 a charset that lies", "decode_error", 200, '{"choices": "\ufffd"}',
        answer('{"choices": "é"}'.encode("latin-1"), headers={"Content-Type": "application/json; charset=utf-8"}),
        maybe_billed=True),
    bad("60 a number that JSON has not", "decode_error", 200, NOT_A_NUMBER, answer(NOT_A_NUMBER), maybe_billed=True),
    lost("61 an answer for the row after", "protocol", raw(b"GARBAGE\r\n\r\n" + message(b'{"choices":[{}]}'))),
    lost("61 a length that is not true", "protocol",
         raw(head(200, [("Content-Length", "2"), ("Content-Length", "30")]) + b'{"choices":[{}]}')),
]  # fmt: skip

STREAMS = [
    cuts("51 a stream that is cut", "stream_truncated", streaming(FORTY, then="close")),
    cuts("51 a stream that is reset", "stream_truncated",
         pieces([*in_chunks(FORTY), b""], 0.02, then="reset")),
    cuts("51 a stream that ends too early", "stream_truncated", streaming(FORTY)),
    cuts("51 a stream that ends too early with its connection", "stream_truncated",
         raw(head(200, EVENT_STREAM) + FORTY, then="close")),
    cuts("51 a stream that ends before it begins", "stream_truncated", streaming(b""), body=""),
    cuts("51 a stream that is cut, at most once", "stream_truncated", streaming(FORTY, then="close"),
         attempts=1, retry=ONCE),
    streams("51 a stream that is cut, once", streaming(FORTY, then="close"), streaming(STREAM), attempts=2,
            maybe_billed=True),
    cuts("52 a stream that stalls", "timeout_idle", streaming(FORTY, then="hold"), timeout=WATCHED,
         latency=(0.25, 0.8)),
    cuts("53 a stream that stalls with comments", "timeout_idle",
         endless(b"".join(in_chunks(FORTY)), chunks(b": ping\n\n", end=False), 0.05), timeout=WATCHED,
         latency=(0.45, 1.2)),
    streams("54 a stream without [DONE]", streaming(FINISHED)),
    streams("54 a stream without [DONE] that ends with its connection",
            raw(head(200, EVENT_STREAM) + FINISHED, then="close")),
    streams("54 a stream without [DONE] that is cut", streaming(FINISHED, then="close")),
    streams("54 a stream without [DONE] that stays open", streaming(FINISHED, then="hold"), latency=(0.0, 1.0)),
    streams("55 a stream that stays open", streaming(STREAM, then="hold"), latency=(0.0, 1.0)),
    streams("55 a stream that goes on",
            endless(b"".join(in_chunks(STREAM)), chunks(stream_of([CHUNK]), end=False), 0.01), latency=(0.0, 1.0)),
    cuts("56 a chunk that is no JSON", "stream_error", streaming(FORTY + BROKEN + FORTY)),
    cuts("56 a chunk that is no object", "stream_error", streaming(FORTY + b"data: 1\n\n")),
    cuts("56 a chunk that is no JSON, and a whole stream", "stream_error", streaming(BROKEN + STREAM), body=None),
    cuts("57 an error without a code", "in_band_error", streaming(broken(None))),
    bad("57 an error 429", "in_band_error", 200, begins_like_a_stream, streaming(broken(429)), attempts=3,
        stream=True),
    bad("57 an error 400 as an event", "in_band_error", 200, begins_like_a_stream,
        streaming(broken(400, b"event: error\n")), stream=True),
    bad("57 an error 500, and the connection stays open", "in_band_error", 200, begins_like_a_stream,
        streaming(broken(500), then="hold"), attempts=3, maybe_billed=True, stream=True, latency=(0.0, 1.0)),
    streams("58 one byte a segment", pieces([STREAM_HEAD, *[chunks(byte, end=False) for byte in each_byte(STREAM)],
                                             chunks()])),
    *(streams(f"58 lines that end in {end!r}", raw(STREAM_HEAD + chunks(STREAM.replace(b"\n", end))))
      for end in (b"\r", b"\r\n")),
    streams("58 a byte order mark, comments and names",
            raw(STREAM_HEAD + chunks(b"\xef\xbb\xbf: a\nevent: message\nid: 1\n" + STREAM))),
    streams("58 several lines of data", raw(STREAM_HEAD + chunks(IN_LINES))),
    streams("58 a compressed stream",
            raw(message(gzip.compress(STREAM), 200, {**EVENT_STREAM, "Content-Encoding": "gzip"}))),
    ok("59 an answer in one piece", echo(), stream=True),
    streams("59 a stream that nobody asked for", streaming(STREAM), stream=False),
    streams("59 a stream under another name", raw(message(STREAM))),
    streams("59 a stream under another name that nobody asked for", raw(message(STREAM)), stream=False),
    ok("59 an answer and the end of a stream", answer(json.dumps(PLAIN) + "\n\ndata: [DONE]\n\n"), body=as_plain),
    streams("59 a refusal of the usage", answer(said_of("stream_options"), 400), streaming(STREAM), attempts=2),
]  # fmt: skip

FAULTS = [*NETWORK, *THROTTLED, *STATUSES, *BODIES, *STREAMS]
_PROMISED = {1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 16, 20, 21, 41, 47, 51, 52, 55}
PROMISED = [fault for fault in FAULTS if int(fault.name.split()[0]) in _PROMISED and "headers" not in fault.name]
"""What every transport promises: what was sent how often, whose answer it is, and when it ends; libcurl passes all."""


# --- a run through a fault ------------------------------------------------------------------------------------------

NODE = tn.CreateChatCompletion(model="m", prompt="{{ prompt }}")
SHORTER_WAITS = {"BACKOFF_FIRST": 0.02, "BACKOFF_FLOOR": 0.002, "THROTTLED_FIRST": 0.02, "PROBE_FIRST": 0.02,
                  "AFTER_FINISH": 0.2, "NAME_TRIES": (0.05, 0.1, 0.2)}  # fmt: skip
"""Waits of ours that are tested elsewhere, by the virtual clock; by their names in the engine's policy."""


def shorten_waits(monkeypatch: Any) -> None:
    """Remove the time from the engine's own waits."""
    for name, seconds in SHORTER_WAITS.items():
        monkeypatch.setattr(policy, name, seconds)


class Met(NamedTuple):
    """What came of a fault.

    Attributes
    ----------
    output : NodeOutput
        What the run gave.
    seconds : float
        How long it took.
    connection : Connection
        What it ran on.
    requests, unexpected : list of Received, int
        What the server saw; what reached the one that must see nothing.
    """

    output: Any
    seconds: float
    connection: Any
    requests: list[Received]
    unexpected: int


def meet(fault: Fault, transport: str, kit: Kit, *, key: str = "k" * 20, more: str = "", **manner: Any) -> Met:
    """Run a table through a fault; each prompt ends with `more`."""
    table = pd.DataFrame({"prompt": [prompt + more for prompt in fault.prompts]})
    with fault.place(kit, by_row(fault.script)) as place:
        settings = {"transport": transport, "timeout": fault.timeout} | place.settings
        connection = tn.Connection(place.url, key, **settings)
        began = time.monotonic()
        node = NODE.replace(stream=True) if fault.stream else NODE
        output = node.run(table, connection, limits=fault.limits, retry=fault.retry, progress=False, **manner)
        seconds = time.monotonic() - began
        requests = [] if place.server is None else place.server.requests
        return Met(output, seconds, connection, requests, place.bystander.connections if place.bystander else 0)


def breaks_often() -> Reaction:
    """Answer well twice of three times, and break the exchange in ever other ways else."""
    ways = [reset(), fin(), each(lambda text: cut(text, 30), "close"), each(lambda text: message(text) + b"GARBAGE"),
            raw(b"GARBAGE\r\n\r\n" + message(b'{"choices":[{}]}')), answer(b"{}", 500)]  # fmt: skip
    numbers = itertools.count()

    def react(exchange: Exchange) -> None:
        number = next(numbers)
        (echo() if number % 3 else ways[number // 3 % len(ways)])(exchange)

    return react
