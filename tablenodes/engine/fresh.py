"""Fresh rows: the calls of a source that have not begun, in the table's order or from further on."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from . import policy
from .calls import Call, model_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .sink import Source


class Fresh:
    """Returns the calls that have not begun.

    Leaps cut what lies before them, and is kept here, into segments. From then on the segments and the source take
    turns: of two groups of rows, one of which the server refuses, neither waits for the other. `admit` returns the call
    that may be sent, None for an item that needs none; `room` how many more may come out of the source; `postpones`
    whether a call goes behind all others.
    """

    __slots__ = (
        "_admit",
        "_bytes",
        "_kept",
        "_later",
        "_later_bytes",
        "_postpones",
        "_room",
        "_segments",
        "_source",
        "_takes_middle",
        "_turn",
        "is_exhausted",
    )

    def __init__(
        self,
        source: Source,
        admit: Callable[[Any], Call | None],
        room: Callable[[], int],
        postpones: Callable[[Call], bool] | None = None,
    ) -> None:
        self._source, self._admit, self._room, self._postpones = source, admit, room, postpones
        self._segments: list[deque[Call]] = []  # in the table's order; none is empty
        self._turn = -1
        self._takes_middle = True
        self._kept = self._bytes = 0
        self._later: deque[Call] = deque()
        self._later_bytes = 0
        self.is_exhausted = False

    def __len__(self) -> int:
        return self._kept + len(self._later)

    def __iter__(self) -> Iterator[Call]:
        """Yield the calls that came out of the source and have not begun, and forget them."""
        while self._segments:
            yield self._pop(0, 0)
        while self._later:
            yield self._pop_later()

    def next(self) -> Call | None:
        """Return the next call in turn; None where there is none now."""
        while self._segments:
            self._turn = (self._turn + 1) % (len(self._segments) + 1)
            if self._turn < len(self._segments):
                call = self._admit(self._pop(self._turn, 0))
            elif (call := self._pull()) is None:
                call = self._admit(self._pop(0, 0))
            if call is not None:
                return call
        call = self._pull()
        while call is None and self._later:
            call = self._admit(self._pop_later())
        return call

    def take(self, most: int, chosen: list[Call], calls: dict[int, Call], *, as_they_are: bool) -> None:
        """Add the next calls to those that are chosen, up to so many, and to all `calls` that have begun.

        This is the way of nearly every row: with `as_they_are`, no call is looked into.
        """
        if self._segments or self._later or self._postpones is not None:
            while len(chosen) < most and (call := self.next()) is not None:
                calls[call.key] = call
                chosen.append(call)
            return
        self.is_exhausted = False
        room = self._room()
        if len(chosen) >= most or room <= 0:
            return
        for item in self._source:
            found = item if as_they_are and type(item) is Call else self._admit(item)
            if found is not None:
                calls[found.key] = found
                chosen.append(found)
                if len(chosen) >= most:
                    return
            room -= 1
            if room <= 0 and (room := self._room()) <= 0:
                return
        self.is_exhausted = True

    def leap(self, places: int, model: str | None = None) -> tuple[Call | None, bool]:
        """Return the call that is so many `places` further on, and whether none beyond it can be reached.

        Where the table ends before, it is the last one that has not begun, and in every other leap one in the middle
        of the longest segment. With a `model`, it is the next one from there that asks for it, else the last before.
        """
        if model is not None:
            return self._leap_to(model, places)
        call: Call | None = None
        while call is None and self._kept >= places:
            call = self._admit(self._cut(places - 1))
        if call is not None:
            return call, False
        found = self._reach(places - self._kept)
        if found is not None:
            return found, self.is_exhausted or self._is_full
        while call is None and self._segments:
            self._takes_middle = not self._takes_middle
            call = self._admit(self._cut(self._middle() if self._takes_middle else self._kept - 1))
        return call or self.next(), True

    def _leap_to(self, model: str, places: int) -> tuple[Call | None, bool]:
        """Do what `leap` does, among the calls that ask for a model."""
        kept = [model_of(call.body) == model for segment in self._segments for call in segment]
        found = next((index for index in range(places - 1, len(kept)) if kept[index]), None)
        passed: deque[Call] = deque()
        while found is None and not self._is_full and (call := self._pull()) is not None:
            passed.append(call)
            self._kept += 1
            self._bytes += len(call.body)
            kept.append(model_of(call.body) == model)
            found = len(kept) - 1 if kept[-1] and len(kept) >= places else None
        if passed:
            self._segments.append(passed)
        last = found is None
        if last and True in kept:
            found = len(kept) - 1 - kept[::-1].index(True)
        return None if found is None else self._admit(self._cut(found)), last

    def put_back(self, call: Call) -> None:
        """Undo `next`: it is the next one again."""
        if not self._segments:
            self._segments.append(deque())
        self._segments[0].appendleft(call)
        self._turn = -1
        self._kept += 1
        self._bytes += len(call.body)

    @property
    def _is_full(self) -> bool:
        return self._kept >= policy.MOST_SKIPPED or self._bytes >= policy.MOST_SKIPPED_BYTES

    @property
    def _has_enough_later(self) -> bool:
        return len(self._later) >= policy.MOST_SKIPPED or self._later_bytes >= policy.MOST_SKIPPED_BYTES

    def _pop_later(self) -> Call:
        call = self._later.popleft()
        self._later_bytes -= len(call.body)
        return call

    def _middle(self) -> int:
        """Return the place of the call in the middle of the longest segment."""
        longest = max(range(len(self._segments)), key=lambda each: len(self._segments[each]))
        return sum(map(len, self._segments[:longest])) + len(self._segments[longest]) // 2

    def _reach(self, places: int) -> Call | None:
        """Return the call so many places further on in the source, or the last one that there is; keep the others."""
        passed: deque[Call] = deque()
        for _ in range(places):
            if self._is_full or (call := self._pull()) is None:
                break
            passed.append(call)
            self._kept += 1
            self._bytes += len(call.body)
        if not passed:
            return None
        self._segments.append(passed)
        return self._pop(len(self._segments) - 1, len(passed) - 1)

    def _cut(self, index: int) -> Call:
        """Remove and return a call that is kept, and cut its segment there."""
        at = 0
        while index >= len(self._segments[at]):
            index -= len(self._segments[at])
            at += 1
        segment = self._segments[at]
        behind = deque(segment[i] for i in range(index + 1, len(segment)))
        while len(segment) > index + 1:
            segment.pop()
        if behind and len(self._segments) < policy.MOST_SEGMENTS:
            self._segments.insert(at + 1, behind)
        else:
            segment.extend(behind)
        return self._pop(at, index)

    def _pop(self, at: int, index: int) -> Call:
        """Remove and return a call of a segment."""
        segment = self._segments[at]
        call = segment[index]
        del segment[index]
        if not segment:
            del self._segments[at]
        self._kept -= 1
        self._bytes -= len(call.body)
        return call

    def _pull(self) -> Call | None:
        """Return the next call that comes out of the source; None where none does."""
        self.is_exhausted = False
        while self._room() > 0:
            try:
                call = self._admit(next(self._source))
            except StopIteration:
                self.is_exhausted = True
                break
            if call is None:
                continue
            if self._postpones is None or self._has_enough_later or not self._postpones(call):
                return call
            self._later.append(call)
            self._later_bytes += len(call.body)
        return None
