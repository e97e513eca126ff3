"""The warm start: of rows that share a long prefix one goes first, and the rest finds it in the server's prompt cache.

Providers cache prompts from 1,024 tokens on, and read what they have there at a tenth to a half of the price; but rows
that are sent together find nothing yet. One latency is waited for the first row's first byte, at most
`policy.WARM_LONGEST` seconds, whatever becomes of that row.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from . import policy
from .calls import Answer, Call
from .sink import BREATH

if TYPE_CHECKING:
    from .sink import Source

_BEFORE = ("model", "tools", "functions", "response_format")
"""What a server's prompt begins with, before the messages."""


class WarmStart:
    """A source after another one: the first of its rows, and once they have warmed the server's cache, the rest.

    While it holds the rest back it is as one that has nothing more for now. `has_begun` says whether the first byte of
    a row's answer has come, `has_ended` whether the run has to look at all rows at once, for nothing is sent any more.
    """

    def __init__(
        self,
        first: list[Any],
        rest: Source,
        has_begun: Callable[[int], bool],
        has_ended: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = {item.key for item in first if type(item) is Call}
        self._first = iter([self._watched(item) if type(item) is Call else item for item in first])
        self._rest, self._has_begun, self._has_ended, self._clock = rest, has_begun, has_ended, clock
        self._until: float | None = None
        self._holds = True

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._holds:
            for item in self._first:
                return item
            self._holds = self._is_cold()
            if self._holds:
                raise StopIteration
        return next(self._rest)

    def _is_cold(self) -> bool:
        """Check whether the rest must wait."""
        now = self._clock()
        self._until = now + policy.WARM_LONGEST if self._until is None else self._until
        self._open = {key for key in self._open if not self._has_begun(key)}
        return bool(self._open) and now < self._until and not self._has_ended()

    def _watched(self, call: Call) -> Call:
        """Return the call, whose first answer, good or bad, opens the way for those that wait for it."""
        judge = call.judge

        def judged(answer: Answer, asked: bytes) -> Any:
            self._open.discard(answer.key)
            return judge(answer, asked)

        return call._replace(judge=judged)


def warm_start(
    source: Source, has_begun: Callable[[int], bool], has_ended: Callable[[], bool], servers: int = 1
) -> Iterator[Any]:
    """Return a source with a warm start, where many of its first rows share a long prefix; else as it is."""
    ahead: list[Any] = []
    calls = 0
    try:
        for item in itertools.islice(source, policy.WARM_LOOK_MOST):
            ahead.append(item)
            calls += type(item) is Call
            if calls == policy.WARM_LOOK or item[1] is BREATH:
                break
    except Exception as error:  # noqa: BLE001 - it comes out where it would have
        return itertools.chain(ahead, _raising(error))
    first, held = parted(ahead, servers)
    if not is_worth_it(held):
        return itertools.chain(ahead, source)
    return WarmStart(first, itertools.chain(held, source), has_begun, has_ended)


def is_worth_it(held: list[Any]) -> bool:
    """Check whether so many rows share a long prefix with those before them that they are to wait for these."""
    return len(held) + 1 >= policy.WARM_ROWS


def parted(ahead: list[Any], servers: int = 1) -> tuple[list[Any], list[Any]]:
    """Return the rows that go first, of each long prefix one to each of the `servers`, and those that share it."""
    first: list[Any] = []
    held: list[Any] = []
    seen = Counter[bytes]()
    for item in ahead:
        prefix = _prefix(item.body) if type(item) is Call and len(item.body) >= policy.WARM_BYTES else None
        if prefix is None:
            first.append(item)
            continue
        (held if seen[prefix] >= servers else first).append(item)
        seen[prefix] += 1
    return first, held


def _prefix(body: bytes) -> bytes | None:
    """Return what the prompt of a request begins with; None where it is shorter than a cache needs."""
    asked = orjson.loads(body)
    prompt = [*(asked.get(name) for name in _BEFORE), asked.get("messages", asked.get("prompt"))]
    begins = orjson.dumps(prompt)[: policy.WARM_BYTES]
    return begins if len(begins) == policy.WARM_BYTES else None


def _raising(error: Exception) -> Iterator[Any]:
    """Raise an error, as a source."""
    raise error
    yield
