"""A look ahead: what a run will send is known before it sends anything."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from . import policy
from .calls import Call

if TYPE_CHECKING:
    from .sink import Sink, Source


def look_ahead(source: Source, sink: Sink) -> tuple[deque[Call], bool]:
    """Return the first calls of a source, and whether it has no more; ends among them go to the sink."""
    calls: deque[Call] = deque()
    size = 0
    for item in source:
        if not isinstance(item, Call):
            sink.accept(*item)
            if sink.room <= 0:
                return calls, False
            continue
        calls.append(item)
        size += len(item.body)
        if len(calls) >= policy.AHEAD or size >= policy.AHEAD_BYTES:
            return calls, False
    return calls, True


def in_front(calls: deque[Call], source: Source) -> Source:
    """Yield what was looked ahead at, which is forgotten then, and the rest of its source."""
    while calls:
        yield calls.popleft()
    yield from source
