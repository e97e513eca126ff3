"""The requests transport: a session in a pool of threads, a plain new one or the user's own."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...secret import Veiled
from ..calls import Answer, Call, Chunk, Event, sends_body
from ..outcomes.body_form import form_of
from ..response_head import is_event_stream
from .network_environment import certificates, host_of, proxy_for, refused_by, sockets_allowed
from .requests_faults import TIMEOUT, drop_frames, fault_of, never_sent
from .requests_session import THREADS, Attempt, Current, new_session
from .wrapper import Carrying

if TYPE_CHECKING:
    import requests

_NEVER = math.inf
_PIECE = 65_536
_LENIENCE = 0.1  # seconds that the sockets' own timeouts are given before a call is ended from outside
_LAST_WORDS = 0.2
"""Seconds that a thread is given to answer for a call that was ended; after them the call is answered without it."""
_FAREWELL = 1.0  # seconds that all threads together are given to end


@dataclass(kw_only=True, eq=False, repr=False)
class RequestsTransport(Carrying):
    """Carries calls by a `requests` session, each in a thread.

    `session` is one of the user's, which is used as it is and not closed; what it repeats by itself `may_send` cannot
    be asked for. Without one, a new session is made for the run. `capacity` is lower too where threads are refused.
    """

    session: requests.Session | None = None
    _events: list[Event] = field(init=False)
    _next_look: float = field(init=False)

    def __post_init__(self) -> None:
        self.capacity = sockets_allowed(self.concurrency)
        self._certificates = "" if self.session is not None else certificates(Veiled(os.environ), self.ca_bundle)
        self._open()

    def start(self, call: Call) -> None:
        self._check_process()
        attempt = Attempt(call, self.clock(), self.body_bytes)
        if self.may_send is not None and not self.may_send(call.key):
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
        self._check_process()
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            self._abandoned += 1
            attempt.expire(self.clock())
        self._events = [event for event in self._events if event.key != key]

    def end(self, key: int, fault: str | None = None, message: str = "") -> None:
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            self._abandoned += 1
            self._events.append(self._answer(attempt, fault, message))
            attempt.expire(self.clock())

    def wait(self, seconds: float) -> list[Event]:
        self._check_process()
        now = self.clock()
        until = now + seconds
        while True:
            soonest = now if self._events else min(until, self._next_look)
            self._take_reports(max(0.0, soonest - now))
            now = self.clock()
            if now >= self._next_look:
                self._look_for_the_late(now)
            if self._events or now >= until:
                break
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        self._check_process()
        now = self.clock()
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
        if self.session is None:
            self._session.close()

    @property
    def is_connecting(self) -> bool:
        """Whether no call under way has begun to be sent."""
        return not any(attempt.sends for attempt in self._attempts.values())

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
        if self.session is None:
            self._session = new_session(self._current, self.concurrency, self._certificates)
        else:
            self._session = self.session

    def _check_process(self) -> None:
        """Begin anew in a forked child: threads and sockets are the parent's."""
        if self._process != os.getpid():
            self._session.close()  # the child's copies; nothing is written to them
            self._open()

    def _add_thread(self) -> None:
        if len(self._threads) >= 2 * self.concurrency:  # calls that are stuck; others wait for their threads
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
            form = attempt.beginning.push(event.data)
            stream = form == "stream" or (form in (None, "other") and is_event_stream(attempt.headers))
            attempt.last_piece = self.clock() if stream else None
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
            end = min(end, attempt.started + self.timeout.connect + _LENIENCE)
        return min(end, self._idle_end(attempt))

    def _idle_end(self, attempt: Attempt) -> float:
        return _NEVER if attempt.last_piece is None else attempt.last_piece + self.timeout.idle

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

    def _work(self) -> None:
        """Carry calls, as all that follows, in a thread of the pool."""
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
            if attempt.proxy and response.status_code == 407:  # not the server's
                return self._answer(attempt, *refused_by(attempt.proxy, 407))
            if response.status_code < 200:  # the next row would get the final response
                words = f"an interim response ({response.status_code}) arrived without a final one"
                return self._answer(attempt, "protocol", words)
            attempt.respond(response)
            if not self._read(response, attempt):
                return self._answer(attempt, "too_large", "the answer is longer than the limit for bodies")
        except BaseException as error:  # noqa: BLE001 - whatever a session, a hook or a server does, the row is answered
            if self.session is not None and response is None and never_sent(error):
                attempt.sends = 0
            answer = self._answer(attempt, *_fault(error, attempt))
            drop_frames(error)
            return answer
        finally:
            if response is not None:
                with contextlib.suppress(Exception):
                    response.close()
            attempt.let_go()
        if attempt.proxy and attempt.call.request.url.startswith("http:"):
            return self._answer(attempt, *attempt.refused_in_its_place())
        return self._answer(attempt)

    def _send(self, attempt: Attempt) -> requests.Response:
        call = attempt.call
        options: dict[str, Any] = {
            "data": call.body if sends_body(call.request) else None,
            "headers": dict(call.request.headers),
            "timeout": (min(self.timeout.connect, call.total), call.total + _LENIENCE),
            "allow_redirects": False,
            "stream": True,
        }
        if self.session is not None:
            attempt.begin_send()
            response = self.session.request(call.request.method, call.request.url, **options)
            retries = getattr(response.raw, "retries", None)
            attempt.sends += len(getattr(retries, "history", None) or ())  # an adapter of the user's sent it again
            return response
        proxy = proxy_for(call.request.url, Veiled(os.environ), self.proxy)
        attempt.proxy = host_of(proxy)
        options["proxies"] = {} if proxy is None else {"all": proxy}
        return self._session.request(call.request.method, call.request.url, **options)

    def _read(self, response: requests.Response, attempt: Attempt) -> bool:
        """Read the body; return whether there was room for all of it."""
        if self.session is None:  # each piece as soon as it is there; `iter_content` waits for a full one
            pieces = iter(lambda: response.raw.read1(_PIECE, decode_content=True), b"")
        else:
            pieces = response.iter_content(_PIECE)
        follows = self.stream
        for piece in pieces:
            kept = attempt.take(piece)
            follows = follows or (len(attempt.pieces) == 1 and form_of(kept) == "stream")
            if follows and kept:
                self._reports.put((attempt, Chunk(attempt.call.key, kept)))
            if len(kept) < len(piece):
                return False
        attempt.check_in_time()
        return True

    def _answer(self, attempt: Attempt, fault: str | None = None, words: str = "") -> Answer:
        key, status, headers, body = attempt.call.key, attempt.status, attempt.headers, b"".join(attempt.pieces)
        elapsed = self.clock() - attempt.started
        return Answer(key, status, headers, body, fault, words, attempt.sends, attempt.reused, elapsed)


def _fault(error: BaseException, attempt: Attempt) -> tuple[str, str]:
    if attempt.expired_at is not None:
        return attempt.out_of_time
    fault, words = fault_of(error, sent=attempt.sends > 0, proxy=attempt.proxy)
    return attempt.out_of_time if fault == TIMEOUT else (fault, words)
