"""The barest libcurl loop: what any client on libcurl can reach at most.

Every request is the same bytes and no answer is read: no table, no placeholders, no schema, no retries, no timeouts.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import Any

import pycurl

from benchmarks.contestants.contract import Ask, Job, contest
from benchmarks.workload import ANSWER, API_KEY, completion, request_body

SELECT_LIMIT = 900
"""libcurl's own ``select`` ends at 1,024 descriptors."""

Drive = Callable[[pycurl.CurlMulti, Callable[[], bool]], None]


def set_up(job: Job) -> Ask:
    # Up to the limit of select, the plain way is the faster one.
    drive: Drive = _drive_by_select if job.concurrency <= SELECT_LIMIT else _drive_by_sockets

    def ask(reviews: list[str]) -> list[str | None]:
        received: list[bytes] = []
        multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_MAXCONNECTS, job.concurrency)
        body = request_body(reviews[0])
        waiting = len(reviews)
        for _ in range(min(job.concurrency, len(reviews))):
            multi.add_handle(_handle(job.base_url, body, received))
            waiting -= 1
        unanswered = len(reviews)

        def next_requests() -> bool:
            """Give each handle that is done a new request; tell whether any row is unanswered."""
            nonlocal waiting, unanswered
            more = 1
            while more:
                more, done, failed = multi.info_read()
                for handle in done:
                    multi.remove_handle(handle)
                    if waiting:
                        multi.add_handle(handle)
                        waiting -= 1
                unanswered -= len(done) + len(failed)
            return unanswered > 0

        drive(multi, next_requests)
        good = b"".join(received).count(completion())
        return [ANSWER] * good

    return ask


def _handle(base_url: str, body: bytes, received: list[bytes]) -> pycurl.Curl:
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, f"{base_url}/chat/completions")
    handle.setopt(pycurl.POSTFIELDS, body)
    headers = ["Content-Type: application/json", f"Authorization: Bearer {API_KEY}", "Expect:"]
    handle.setopt(pycurl.HTTPHEADER, headers)
    handle.setopt(pycurl.WRITEFUNCTION, received.append)
    handle.setopt(pycurl.NOSIGNAL, 1)
    return handle


def _drive_by_select(multi: pycurl.CurlMulti, next_requests: Callable[[], bool]) -> None:
    multi.perform()
    while next_requests():
        multi.select(1)
        multi.perform()


def _drive_by_sockets(multi: pycurl.CurlMulti, next_requests: Callable[[], bool]) -> None:
    interest = {
        pycurl.POLL_IN: selectors.EVENT_READ,
        pycurl.POLL_OUT: selectors.EVENT_WRITE,
        pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
    }
    deadline = 0.0
    with selectors.DefaultSelector() as selector:

        def watch(what: int, descriptor: int, _multi: Any, _value: Any) -> None:
            known = descriptor in selector.get_map()
            if what == pycurl.POLL_REMOVE:
                if known:
                    selector.unregister(descriptor)
            elif known:
                selector.modify(descriptor, interest[what])
            else:
                selector.register(descriptor, interest[what])

        def set_timer(milliseconds: int) -> None:
            nonlocal deadline
            deadline = time.monotonic() + (milliseconds / 1000 if milliseconds >= 0 else 3600)

        multi.setopt(pycurl.M_SOCKETFUNCTION, watch)
        multi.setopt(pycurl.M_TIMERFUNCTION, set_timer)
        multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        while next_requests():
            for key, happened in selector.select(max(0, deadline - time.monotonic())):
                flags = pycurl.CSELECT_IN if happened & selectors.EVENT_READ else 0
                flags |= pycurl.CSELECT_OUT if happened & selectors.EVENT_WRITE else 0
                multi.socket_action(key.fd, flags)
            if deadline <= time.monotonic():
                set_timer(-1)
                multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)


if __name__ == "__main__":
    contest(["pycurl"], set_up)
