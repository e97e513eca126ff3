"""Calls carried by a transport, for tests: make one, send one, send many."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from plain_transport import PlainTransport
from servers import fault_server

from tablenodes.engine.calls import Answer, Call, Chunk, Event, Request, Transport
from tablenodes.engine.transports import TRANSPORTS, transport_class
from tablenodes.settings import Timeout

LIBCURL = ("curl", "curl-wide")
"""libcurl is driven in another way where it carries many calls at a time."""
EACH = (*LIBCURL, *(name for name in TRANSPORTS if name != "curl"))
"""Each transport that is registered."""
EVERY = (*EACH, "plain")
"""And one that is made for tests, in a file of its own."""
HEADERS = (("Authorization", "Bearer sk-1234567890"), ("User-Agent", "tests"), ("Content-Type", "application/json"))
BODY = b'{"model":"m","messages":[]}'
PATIENCE = 40.0
"""Seconds after which a test gives up on an answer."""


def new_transport(kind: str, **settings: Any) -> Transport:
    """Make a transport: one of `EVERY`."""
    from tablenodes.engine.transports.curl_lane import NARROW

    defaults = {"timeout": Timeout(connect=5, total=20), "body_bytes": 100_000, "concurrency": 8}
    if kind == "curl-wide":
        settings["concurrency"] = max(NARROW + 1, settings.get("concurrency", 0))
    made = PlainTransport if kind == "plain" else transport_class(kind.removesuffix("-wide"))
    return made(**defaults | settings)


@contextlib.contextmanager
def transport_of(kind: str, **settings: Any) -> Iterator[Transport]:
    """Make a transport and close it at the end."""
    transport = new_transport(kind, **settings)
    try:
        yield transport
    finally:
        transport.close()


def events_until(transport: Transport, key: int, told: Callable[[], object] = lambda: None) -> list[Event]:
    """Return every event up to the answer to `key`; `told` is called after each piece of an answer."""
    events: list[Event] = []
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for event in transport.wait(1.0):
            events.append(event)
            if isinstance(event, Answer) and event.key == key:
                return events
            told()
    raise AssertionError(f"no answer within {PATIENCE:g} s")


def answer_to(
    transport: Transport,
    url: str,
    *,
    key: int = 0,
    body: bytes = BODY,
    total: float = 15.0,
    method: str = "POST",
    headers: tuple[tuple[str, str], ...] = HEADERS,
) -> Answer:
    """Send one call and give its answer."""
    transport.start(Call(key, Request(method, url, headers), body, total))
    last = events_until(transport, key)[-1]
    assert isinstance(last, Answer)
    return last


def answers_to(transport: Transport, url: str, bodies: Iterable[bytes], concurrency: int) -> dict[int, Answer]:
    """Send many calls, so many at a time, and give their answers by position."""
    request = Request("POST", url, HEADERS)
    waiting = enumerate(bodies)
    answers: dict[int, Answer] = {}
    begun = 0
    while True:
        while begun - len(answers) < concurrency and (following := next(waiting, None)) is not None:
            transport.start(Call(following[0], request, following[1], 60.0))
            begun += 1
        if len(answers) == begun:
            return answers
        for event in transport.wait(5.0):
            assert isinstance(event, Answer)
            assert event.key not in answers
            answers[event.key] = event


def answers_by(script, kind, count=1, *, total=15.0, **settings):
    """Send `count` calls, one after the other, to a server with this script; return their answers, and the server."""
    with fault_server(script) as server, transport_of(kind, **settings) as transport:
        found = [answer_to(transport, server.url, key=key, total=total) for key in range(count)]
        return (*found, server)


def summary(found: Answer):
    return found.status, found.fault, found.body


def chunks_in(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Chunk))


def open_sockets() -> int:
    """How many sockets and event queues this process has."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith(("socket:", "anon_inode:"))
    return count


def peak_memory() -> Callable[[], int]:
    """Begin to watch this process's memory; give a function that tells by how many bytes it grew at most."""

    def in_status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    Path("/proc/self/clear_refs").write_text("5")
    before = in_status("VmRSS")
    return lambda: in_status("VmHWM") - before


@contextlib.contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Fail if a thread or a socket outlives the context by more than a moment."""
    threads, sockets = threading.active_count(), open_sockets()
    yield
    end = time.monotonic() + 15
    while (threading.active_count() > threads or open_sockets() > sockets) and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= threads, "threads are left"
    assert open_sockets() <= sockets, "sockets are left"
