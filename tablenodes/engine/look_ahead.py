"""A look ahead: what a run will send is known before it sends anything."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import policy
from .calls import Call

if TYPE_CHECKING:
    from .sink import Source


def look_ahead(source: Source, accept: Callable[..., Any]) -> tuple[deque[Call], bool]:
    """Return the first calls of a source, and whether it has no more; the ends among them are accepted."""
    calls: deque[Call] = deque()
    size = 0
    for item in source:
        if not isinstance(item, Call):
            accept(*item)
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
