"""The requests transport: a session in a pool of threads, a plain new one or the user's own."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from ...secret import Veiled
from ..calls import Answer, Chunk
from ..response_head import is_event_stream
from .network_environment import certificates, proxy_for, sockets_allowed
from .requests_faults import PROXY_WANTS_LOGIN, TIMEOUT, drop_frames, fault_of, never_sent
from .requests_session import THREADS, Attempt, Current, new_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from ...settings import Timeout
    from ..calls import Call, Event

_NEVER = math.inf
_PIECE = 65_536
_LENIENCE = 0.1
"""Seconds that the sockets' own timeouts are given before a call is ended from outside."""
_LAST_WORDS = 0.2
"""Seconds that a thread is given to answer for a call that was ended; after them the call is answered without it."""
_FAREWELL = 1.0
"""Seconds that all threads together are given to end."""


class TooLargeError(Exception):
    """A body is longer than its limit."""


class RequestsTransport:
    """Carries calls by a `requests` session, each in a thread.

    The parameters are those of `CurlTransport`, and `session`: one of the user's, which is used as it is and not
    closed. What it repeats by itself `may_send` cannot be asked for. Without one, a new session is made for the run.

    Attributes
    ----------
    capacity : int
        `concurrency`, or fewer where the machine allows fewer sockets or threads.
    """

    _events: list[Event]
    _next_look: float

    def __init__(
        self,
        *,
        timeout: Timeout,
        body_bytes: int,
        concurrency: int,
        proxy: str | None = None,
        ca_bundle: str | None = None,
        may_send: Callable[[int], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        stream: bool = False,
        session: requests.Session | None = None,
    ) -> None:
        self.capacity = sockets_allowed(concurrency)
        self._timeout = timeout
        self._body_bytes = body_bytes
        self._concurrency = concurrency
        self._proxy = proxy
        self._may_send = may_send
        self._clock = clock
        self._stream = stream
        self._given = session
        self._certificates = "" if session is not None else certificates(Veiled(os.environ), ca_bundle)
        self._open()

    def start(self, call: Call) -> None:
        """Begin a call, in a thread of the pool."""
        self._check_process()
        attempt = Attempt(call, self._clock(), self._body_bytes)
        if self._may_send is not None and not self._may_send(call.key):
            self._events.append(self._answer(attempt, "disconnected", "sending it was refused"))
            return
        if len(self._attempts) + self._abandoned >= len(self._threads):
            self._add_thread()
        if not self._threads:
            self._events.append(self._answer(attempt, "internal_error", "the system allows no more threads"))
            return
        self._attempts[call.key] = attempt
        self._next_look = min(self._next_look, self._end_of(attempt))
        self._waiting.put(attempt)

    def cancel(self, key: int) -> None:
        """Drop a call and close its connection."""
        self._check_process()
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            self._abandoned += 1
            attempt.expire(self._clock())
        self._events = [event for event in self._events if event.key != key]

    def end(self, key: int, fault: str | None = None, message: str = "") -> None:
        """End a call: the next `wait` returns its answer with what came until now."""
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            self._abandoned += 1
            self._events.append(self._answer(attempt, fault, message))
            attempt.expire(self._clock())

    def wait(self, seconds: float) -> list[Event]:
        """Return the events that came, after `seconds` at the latest and as soon as there is one."""
        self._check_process()
        now = self._clock()
        until = now + seconds
        while True:
            soonest = now if self._events else min(until, self._next_look)
            self._take_reports(max(0.0, soonest - now))
            now = self._clock()
            if now >= self._next_look:
                self._look_for_the_late(now)
            if self._events or now >= until:
                break
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Drop every call, close every connection and end every thread."""
        self._check_process()
        now = self._clock()
        for attempt in self._attempts.values():
            attempt.expire(now)
        self._attempts.clear()
        self._events = []
        for _ in self._threads:
            self._waiting.put(None)
        last = time.monotonic() + _FAREWELL
        for thread in self._threads:
            thread.join(max(0.0, last - time.monotonic()))
        self._threads.clear()
        if self._given is None:
            self._session.close()

    # --- in the caller's thread ---

    def _open(self) -> None:
        self._process = os.getpid()
        self._attempts: dict[int, Attempt] = {}
        self._abandoned = 0  # threads still busy with a call that is over
        self._next_look = _NEVER
        self._events = []
        self._threads: list[threading.Thread] = []
        self._waiting: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()
        self._reports: queue.SimpleQueue[tuple[Attempt, Event]] = queue.SimpleQueue()
        self._current = Current()
        if self._given is None:
            self._session = new_session(self._current, self._concurrency, self._certificates)
        else:
            self._session = self._given

    def _check_process(self) -> None:
        """Begin anew in a forked child: threads and sockets are the parent's."""
        if self._process != os.getpid():
            self._session.close()  # the child's copies; nothing is written to them
            self._open()

    def _add_thread(self) -> None:
        if len(self._threads) >= 2 * self._concurrency:  # calls that are stuck; others wait for their threads
            return
        thread = threading.Thread(target=self._work, name=THREADS, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads: those that there are do it
            self.capacity = max(1, len(self._threads))
            return
        self._threads.append(thread)

    def _take_reports(self, seconds: float) -> None:
        try:
            attempt, event = self._reports.get(timeout=seconds) if seconds > 0 else self._reports.get_nowait()
            while True:
                self._take(attempt, event)
                attempt, event = self._reports.get_nowait()
        except queue.Empty:
            pass

    def _take(self, attempt: Attempt, event: Event) -> None:
        current = self._attempts.get(attempt.call.key) is attempt
        if isinstance(event, Chunk):
            if attempt.is_stream is None:
                attempt.is_stream = is_event_stream(attempt.headers)
            if attempt.is_stream:
                attempt.last_piece = self._clock()
                self._next_look = min(self._next_look, self._end_of(attempt))
        elif current:
            del self._attempts[attempt.call.key]
        else:
            self._abandoned -= 1
        if current:
            self._events.append(event)

    def _end_of(self, attempt: Attempt) -> float:
        """When a call is to be looked after, if it has not answered by then."""
        if attempt.expired_at is not None:
            return attempt.expired_at + _LAST_WORDS
        end = attempt.started + attempt.call.total
        if not attempt.sends:
            end = min(end, attempt.started + self._timeout.connect + _LENIENCE)
        return min(end, self._idle_end(attempt))

    def _idle_end(self, attempt: Attempt) -> float:
        return _NEVER if attempt.last_piece is None else attempt.last_piece + self._timeout.idle

    def _look_for_the_late(self, now: float) -> None:
        """End the calls whose time is over; answer for those whose thread does not."""
        for attempt in [*self._attempts.values()]:
            if self._end_of(attempt) > now:
                continue
            if attempt.expired_at is None:
                attempt.expire(now, stalled=self._idle_end(attempt) <= now)
            else:
                del self._attempts[attempt.call.key]
                self._abandoned += 1
                self._events.append(self._answer(attempt, *attempt.out_of_time))
        self._next_look = min(map(self._end_of, self._attempts.values()), default=_NEVER)

    # --- in the threads ---

    def _work(self) -> None:
        while (attempt := self._waiting.get()) is not None:
            self._reports.put((attempt, self._exchange(attempt)))
            del attempt

    def _exchange(self, attempt: Attempt) -> Answer:
        """Carry one call to its end."""
        self._current.attempt = attempt
        response: requests.Response | None = None
        try:
            response = self._send(attempt)
            attempt.check_in_time()
            if attempt.proxied and response.status_code == 407:  # not the server's
                return self._answer(attempt, *PROXY_WANTS_LOGIN)
            if response.status_code < 200:  # the next row would get the final response
                return self._answer(
                    attempt, "protocol", f"an interim response ({response.status_code}) arrived without a final one"
                )
            attempt.respond(response)
            self._read(response, attempt)
        except BaseException as error:  # noqa: BLE001 - whatever a session, a hook or a server does, the row is answered
            if self._given is not None and response is None and never_sent(error):
                attempt.sends = 0
            answer = self._answer(attempt, *_fault(error, attempt))
            drop_frames(error)
            return answer
        finally:
            if response is not None:
                with contextlib.suppress(Exception):
                    response.close()
            attempt.let_go()
        return self._answer(attempt)

    def _send(self, attempt: Attempt) -> requests.Response:
        call = attempt.call
        options: dict[str, Any] = {
            "data": call.body if call.request.method != "GET" else None,
            "headers": dict(call.request.headers),
            "timeout": (min(self._timeout.connect, call.total), call.total + _LENIENCE),
            "allow_redirects": False,
            "stream": True,
        }
        if self._given is not None:
            attempt.begin_send()
            response = self._given.request(call.request.method, call.request.url, **options)
            attempt.sends += _silent_repeats(response)
            return response
        proxy = proxy_for(call.request.url, Veiled(os.environ), self._proxy)
        attempt.proxied = proxy is not None
        options["proxies"] = {} if proxy is None else {"all": proxy}
        return self._session.request(call.request.method, call.request.url, **options)

    def _read(self, response: requests.Response, attempt: Attempt) -> None:
        pieces = _arriving(response) if self._given is None else response.iter_content(_PIECE)
        for piece in pieces:
            kept = attempt.take(piece)
            if self._stream and kept:
                self._reports.put((attempt, Chunk(attempt.call.key, kept)))
            if len(kept) < len(piece):
                raise TooLargeError
        attempt.check_in_time()

    def _answer(self, attempt: Attempt, fault: str | None = None, words: str = "") -> Answer:
        return Answer(
            attempt.call.key,
            attempt.status,
            attempt.headers,
            b"".join(attempt.pieces),
            fault,
            words,
            attempt.sends,
            attempt.reused,
            self._clock() - attempt.started,
        )


def _fault(error: BaseException, attempt: Attempt) -> tuple[str, str]:
    if isinstance(error, TooLargeError):
        return "too_large", "the answer is longer than the limit for bodies"
    if attempt.expired_at is not None:
        return attempt.out_of_time
    fault, words = fault_of(error, sent=attempt.sends > 0, proxied=attempt.proxied)
    return attempt.out_of_time if fault == TIMEOUT else (fault, words)


def _arriving(response: requests.Response) -> Iterator[bytes]:
    """Yield the body's pieces, decompressed, each as soon as it is there; `iter_content` waits for a full one."""
    while piece := response.raw.read1(_PIECE, decode_content=True):
        yield piece


def _silent_repeats(response: requests.Response) -> int:
    """How often an adapter of the user's sent the request again before this response."""
    retries = getattr(response.raw, "retries", None)
    return len(getattr(retries, "history", None) or ())
