"""Servers that limit a rate, in the ways that servers are known to, and a run against one of them in virtual time."""

from __future__ import annotations

import math
import random
from typing import NamedTuple

from scheduler_simulation import Simulation, ok, status

from tablenodes.settings import Limits

KINDS = ("full", "next", "seconds", "ms", "silent", "window", "windows")
"""Buckets that tell in ``x-ratelimit-*`` when they are full, or when the next request is let in; in ``Retry-After``, or
in milliseconds; that tell nothing; windows of 1 s that tell nothing, and of 10 s with ``Retry-After``."""
BEGAN = 1000.0


class LimitedServer:
    """Lets `rate` requests a second in: from a bucket of `depth` (of a second, at least 5), or in fixed windows."""

    def __init__(self, kind: str, rate: float, depth: float | None = None, phase: float = 0.0) -> None:
        self.kind, self.rate, self.phase = kind, rate, phase
        self.left = self.depth = depth or max(5.0, rate)
        self.at, self.window, self.count = 0.0, -1, 0

    def ask(self, now: float) -> tuple[int, bytes]:
        """Return the status and the headers of the answer to a request."""
        if self.kind.startswith("window"):
            return self._in_window(now + self.phase, 1.0 if self.kind == "window" else 10.0)
        self.left = min(self.depth, self.left + (now - self.at) * self.rate)
        self.at = now
        good = self.left >= 1 - 1e-9
        self.left -= good
        wait = (1 - self.left) / self.rate
        told = {
            "full": self._told((self.depth - self.left) / self.rate),
            "next": self._told((1 - self.left % 1) / self.rate),
            "seconds": b"" if good else b"retry-after: %d\r\n" % max(1, math.ceil(wait)),
            "ms": b"" if good else b"retry-after-ms: %d\r\n" % math.ceil(wait * 1000),
        }
        return 200 if good else 429, told.get(self.kind, b"")

    def _told(self, reset: float) -> bytes:
        written = b"%dms" % (reset * 1000) if reset < 1 else b"%dm%.3fs" % divmod(reset, 60)
        lines = (b"limit", b"%d" % self.depth), (b"remaining", b"%d" % self.left), (b"reset", written)
        return b"".join(b"x-ratelimit-%s-requests: %s\r\n" % line for line in lines)

    def _in_window(self, now: float, length: float) -> tuple[int, bytes]:
        window = int(now / length)
        if window != self.window:
            self.window, self.count = window, 0
        self.count += 1
        if self.count <= self.rate * length:
            return 200, b""
        left = b"%d" % math.ceil((window + 1) * length - now)
        return 429, b"" if length == 1 else b"retry-after: %s\r\n" % left


class Seen(NamedTuple):
    """What came of a run: how many were served, those sent after the first refusal was known, and refused of them."""

    served: int
    informed: int
    refused: int
    served_by_second: list[int]
    refused_by_second: list[int]


class BusyMachine:
    """The delays that a busy machine adds: to each answer, to each first use of a connection, and pauses of the client.

    `most` is the longest that opening all connections takes, in seconds.
    """

    def __init__(self, connections, most, seed):
        self._connections, self._most, self._chance = connections, most, random.Random(seed)
        self._pause = (-math.inf, -math.inf)

    def delay(self):
        """Return what is added to the latency of the next call."""
        self._connections -= 1
        opens = self._connections >= 0
        return self._chance.uniform(0, 0.03) + (self._chance.uniform(0, self._most) if opens else 0.0)

    def acts_at(self, at):
        """Return when the client acts on what happens then: now and then it gets no processor for a while."""
        while at >= self._pause[0]:
            if at < self._pause[1]:
                return self._pause[1]
            begins = max(at, self._pause[1]) + self._chance.expovariate(1 / 4)
            self._pause = begins, begins + self._chance.uniform(0.1, 0.3)
        return at


def simulated(server, seconds, *, concurrency=64, latency=0.05, seed=0, busy=0.0):
    """Return what came of a run without an end, and the run; `server` returns the fields of an answer.

    `busy` are the seconds that a busy machine takes to open all connections; 0 for an idle one, on which nothing waits.
    """
    machine = BusyMachine(concurrency, busy, seed) if busy else None
    run = Simulation(
        10**7,
        server,
        Limits(concurrency=concurrency),
        latency=lambda chance: latency * chance.uniform(0.9, 1.1) + (machine.delay() if machine else 0.0),
        seed=seed,
        interrupt_at=seconds,
        **({"acts_at": machine.acts_at} if machine else {}),
    ).run()
    return seen(run, seconds), run


def seen(run, seconds):
    """Return what came of a run in its first `seconds`."""
    starts = {}
    for start in run.starts:
        starts.setdefault(start.key, []).append(start.at)
    known = min((at for at, _, answer, _ in run.answers if answer.status == 429), default=math.inf)
    answers = {}
    informed = refused = 0
    by_second = {200: [0] * (int(seconds) + 1), 429: [0] * (int(seconds) + 1)}
    for at, key, answer, _ in run.answers:
        number = answers[key] = answers.get(key, -1) + 1
        if at > BEGAN + seconds:
            continue
        by_second[answer.status][int(at - BEGAN)] += 1
        if starts[key][number] >= known:
            informed += 1
            refused += answer.status == 429
    return Seen(sum(by_second[200]), informed, refused, by_second[200], by_second[429])


def limited(kind, rate, seconds=30, *, depth=None, seed=0, **more):
    """Return what came of a run against a server that limits a rate."""
    server = LimitedServer(kind, rate, depth, phase=random.Random(seed).random() * 10)

    def serve(now, key):
        code, headers = server.ask(now - BEGAN)
        return ok(headers) if code == 200 else status(code, headers)

    return simulated(serve, seconds, seed=seed, **more)


def at_random(share, seed):
    """Return a server that turns away a share of all requests, whatever the pace."""
    chance = random.Random(seed)
    return lambda now, key: status(429) if chance.random() < share else ok()


def first_tries(refused):
    """Return a server that refuses each row's first tries."""
    tries: dict[int, int] = {}

    def serve(now, key):
        tries[key] = tries.get(key, 0) + 1
        return ok() if tries[key] > refused else status(429)

    return serve


def every_tenth(told):
    """Return a server of which every tenth answer is a refusal that asks for a second, with further header lines."""
    count = [0]

    def serve(now, key):
        count[0] += 1
        return ok() if count[0] % 10 else status(429, b"retry-after: 1\r\n" + told)

    return serve
