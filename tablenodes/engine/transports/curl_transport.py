"""The libcurl transport: one thread, thousands of requests in flight."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ...secret import Veiled
from ..calls import Call, Event, Request
from .curl_lane import AT_ONCE, NARROW, NEVER, Common, Lane, PerformLane, Readiness, SocketLane, readiness
from .curl_transfer import Options, Transfer, options_of
from .network_environment import certificates, proxy_for, sockets_allowed
from .wrapper import Carrying

_KNOWN = 256  # requests whose options are kept: of one each row has its own, of several servers each has one


@dataclass(kw_only=True, eq=False, repr=False)
class CurlTransport(Carrying):
    """Carries calls by libcurl, driven by its socket interface in the caller's thread."""

    def __post_init__(self) -> None:
        self.capacity = sockets_allowed(self.concurrency)
        self._common = Common(self.body_bytes, self.may_send, self.clock, self.stream)
        self._trusted = certificates(Veiled(os.environ), self.ca_bundle)
        self._known: dict[Request, Options] = {}
        self._closed = False
        self._open()

    def start(self, call: Call) -> None:
        if self._process != os.getpid():
            self._leave_to_parent()
        key, request, body, _, _, _ = call
        kind = self._kind if len(body) <= AT_ONCE else SocketLane
        spare = self._spare[kind]
        transfer = spare.pop() if spare else self._new_transfer(kind)
        if transfer.request is not request:
            transfer.configure(request, self._options_of(request))
        transfer.begin(call, self.clock())
        self._in_flight[key] = transfer
        transfer.lane.begin(transfer.handle)

    def cancel(self, key: int) -> None:
        if self._process != os.getpid():
            self._leave_to_parent()
        transfer = self._in_flight.get(key)
        if transfer is not None:
            self._release(transfer)
        if self._common.events:
            self._common.events = [event for event in self._common.events if event.key != key]

    def end(self, key: int, fault: str | None = None, message: str = "") -> None:
        transfer = self._in_flight.get(key)
        if transfer is not None:
            self._common.events.append(transfer.ended(fault, message, self.clock()))
            self._release(transfer)

    def wait(self, seconds: float) -> list[Event]:
        if self._process != os.getpid():
            self._leave_to_parent()
        common, lanes, in_flight = self._common, self._lanes, self._in_flight.values()
        now = self.clock()
        until = now + seconds
        moved: dict[Lane, None] = {}
        looked = False
        while True:
            for lane in lanes:
                if lane.timer <= now:
                    lane.run(now, in_flight)
                    moved[lane] = None
            self._collect(moved, now)
            if common.events or (looked and now >= until):
                break
            soonest = min(until, self._idle_end(), *[lane.timer for lane in lanes])
            ready = self._readiness.wait(max(0.0, soonest - now))
            looked = True
            now = self.clock()
            for descriptor, news in ready:
                lane = self._by_descriptor[descriptor]
                if lane.ready(descriptor, news, now, in_flight):
                    moved[lane] = None
        events, common.events = common.events, []
        return events

    def close(self) -> None:
        if self._process != os.getpid():
            self._leave_to_parent()
        if self._closed:
            return
        self._closed = True
        for transfer in [*self._in_flight.values()]:
            self._release(transfer)
        for spare in self._spare.values():
            for transfer in spare:
                transfer.handle.close()
            spare.clear()
        for lane in self._lanes:
            lane.close()
        self._lanes.clear()
        self._readiness.close()

    @property
    def is_connecting(self) -> bool:
        """Whether no call under way has begun to be sent."""
        return self._common.unsent == len(self._in_flight)

    def _open(self) -> None:
        self._process = os.getpid()
        self._closed = False
        self._readiness: Readiness = readiness()
        self._lanes: list[Lane] = []
        self._by_descriptor: dict[int, Lane] = {}
        self._in_flight: dict[int, Transfer] = {}
        narrow = self.capacity <= NARROW and self._readiness.tells_changes
        self._kind: type[Lane] = PerformLane if narrow else SocketLane
        self._spare: dict[type[Lane], list[Transfer]] = {SocketLane: [], PerformLane: []}

    def _options_of(self, request: Request) -> Options:
        options = self._known.get(request)
        if options is None:
            proxy = proxy_for(request.url, Veiled(os.environ), self.proxy)
            options = options_of(request, proxy=proxy, trusted=self._trusted, connect=self.timeout.connect)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[request] = options
        return options

    def _new_transfer(self, kind: type[Lane]) -> Transfer:
        roomy = [lane for lane in self._lanes if type(lane) is kind and lane.width < lane.room]
        lane = roomy[-1] if roomy else kind(self._readiness, self._by_descriptor, self._common)
        if not roomy:
            self._lanes.append(lane)
        lane.width += 1
        return Transfer(self._common, lane)

    def _leave_to_parent(self) -> None:
        """Begin anew in a forked child: the sockets, and what is under way on them, are the parent's.

        The child's copies are kept for as long as the child lives, for closing a handle can write (a TLS farewell)
        to a connection that the parent uses.
        """
        import ctypes  # noqa: PLC0415 - for forked children alone

        ctypes.pythonapi.Py_IncRef(ctypes.py_object((self._lanes, self._in_flight, self._spare, self._readiness)))
        self._common.events = []
        self._common.last_piece = {}
        self._common.unsent = 0
        self._open()

    def _collect(self, moved: dict[Lane, None], now: float) -> None:
        """Turn every transfer that has ended into an answer."""
        common = self._common
        for lane in moved:
            left = True
            while left:
                left, complete, failed = lane.ended()
                for handle in complete:
                    transfer = lane.carried[handle]
                    common.events.append(transfer.answer(now))
                    self._release(transfer)
                for handle, code, words in failed:
                    transfer = lane.carried[handle]
                    if transfer.stale:
                        lane.remove(handle)
                        transfer.again()
                        lane.begin(handle)
                        continue
                    common.events.append(transfer.failure(code, words, now))
                    self._release(transfer)
        moved.clear()
        if common.last_piece:
            self._end_idle(now)
        if common.raised is not None:
            error, common.raised = common.raised, None
            raise error

    def _idle_end(self) -> float:
        for moment in self._common.last_piece.values():
            return moment + self.timeout.idle
        return NEVER

    def _end_idle(self, now: float) -> None:
        while self._idle_end() <= now:
            transfer = self._in_flight[next(iter(self._common.last_piece))]
            words = f"nothing arrived for {self.timeout.idle:g} s in the middle of a stream"
            self._common.events.append(transfer.ended("timeout_idle", words, now))
            self._release(transfer)

    def _release(self, transfer: Transfer) -> None:
        """Remove a transfer, which closes its connection unless the exchange is complete; keep its handle."""
        del self._in_flight[transfer.key]  # first: whatever comes in between, nothing is taken out twice
        transfer.lane.remove(transfer.handle)
        if self._common.last_piece:
            self._common.last_piece.pop(transfer.key, None)
        transfer.drop()
        self._spare[type(transfer.lane)].append(transfer)
