"""The source of a workflow's calls: each row's next one, as soon as what it is made of is there."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..engine.calls import Call
from ..engine.sink import BREATH, NOT_SENT, OK, SKIPPED, End, rejected, unanswered
from ..problems import Rejected
from ..run.table_run import Handed, end_of_made
from .passage import Passage

if TYPE_CHECKING:
    from ..engine.journal.recorder import Recorder
    from .step_twins import StepTwins
    from .stream_gate import StreamGate
    from .stream_step import StreamStep

_OF_NO_ROW = -1  # in place of a call's key
_AT_ONCE = 16  # fresh rows that are made ready together


class RowPaths:
    """Leads every row through the nodes; calls and their ends go by keys: ``row * nodes + node``.

    Rows that have come further go before fresh ones, so that little is on its way. As a source it has nothing more for
    now while all rows that have begun are on their way and no fresh one is left. `more` opens the next batch of rows,
    and returns whether there was one; `finished` is told of each row that has come to its end at every node.
    """

    def __init__(
        self, steps: Sequence[StreamStep], more: Callable[[], bool], finished: Callable[[Passage], None]
    ) -> None:
        self._steps, self._more, self._finished = steps, more, finished
        self._first = next((step.position for step in steps if step.making is None), len(steps) - 1)
        self._fresh: Iterator[Any] = iter(())
        self._row = 0
        self._on_way: dict[int, Passage] = {}
        self._calling = [0] * len(steps)  # how many of these are at each node
        self._ready: deque[Any] = deque()  # items of rows that have come further
        self._begun: deque[Any] = deque()  # items of fresh rows
        self._waits = 0  # rows that wait at nodes behind the first that sends
        self._is_over = False
        self._ending: End | None = None
        self._passed: deque[tuple[int, Any]] = deque()  # fresh rows that a probe went over
        self.has_news: Callable[[], bool] = bool  # whether a batch can be handed out
        self.recorder: Recorder
        self.gate: StreamGate

    def open(self, start: int, cells: Iterator[Any]) -> None:
        """Go on with the rows of a batch, the first of which is at `start`."""
        self._row, self._fresh = start, cells

    def __iter__(self) -> RowPaths:
        return self

    def __next__(self) -> Any:
        while True:
            if self._ready:
                return self._ready.popleft()
            if self._begun and type(self._begun[0]) is not Call:  # known: such rows go on together
                return self._begun.popleft()
            if self._waits and self._go_on():
                continue
            if self._begun:
                return self._begun.popleft()
            if self._waits and self.gate.is_narrow and self._flush():
                continue
            if not self._begin() and not (self._waits and self._flush()):
                raise StopIteration
            if not self._begun and not self._ready and self.has_news():
                return _OF_NO_ROW, BREATH

    def put_back(self, items: Sequence[Any]) -> None:
        """Undo that items were asked for: they are the next ones again."""
        self._begun.extendleft(reversed(items))

    def ended(self, key: int, end: End) -> None:
        """Accept the end of a call."""
        if key == _OF_NO_ROW:
            return
        passage = self._on_way.pop(key)
        at = passage.at
        self._calling[at] -= 1
        step = self._steps[at]
        if step.twins is not None:
            self._share(step.twins, passage, end)
            return
        step.ended(key, end, passage)
        passage.at = at = at + 1
        if at == len(self._steps):
            self._finished(passage)
        else:
            self._steps[at].waiting.append(passage)
            self._waits += 1

    def _share(self, twins: StepTwins, passage: Passage, end: Any) -> None:
        """Note the end of a row, and of those that asked the same and have waited for it."""
        own = twins.end_of(passage, end)
        if own is None:
            return
        step, row = self._steps[passage.at], passage.row
        for other in (passage, *twins.followers(row, own)):
            shared = own if other is passage else twins.of_another(own)
            step.ended(other.row * len(self._steps) + step.position, shared, other)
            self._pass_on(other)

    def leave(self, reason: str | None) -> None:
        """End all rows that have begun, and the rest of the batch: nothing is sent any more."""
        self._ending = end = unanswered(NOT_SENT, reason or "not sent")
        while True:
            known = {item[0]: item[1] for item in (*self._ready, *self._begun) if not isinstance(item, Call)}
            self._ready.clear()
            self._begun.clear()
            for key in [*self._on_way]:
                self.ended(key, known.get(key, end))
            if not (self._waits and self._go_on(1)) and not self._begin():
                break
        self._ending = None

    def _begin(self) -> bool:
        """Make some fresh rows ready; return whether there were any."""
        places = self.gate.places() if self._ending is None else 0
        if places is None:
            return False
        fresh = self._probe(places) if places else self._next(self._many)
        self._steps[0].waiting.extend(Passage(row, cells, len(self._steps)) for row, cells in fresh)
        for step in self._steps[: self._first + 1]:
            self._work(step)
        return bool(fresh)

    def _next(self, count: int) -> list[tuple[int, Any]]:
        """Return some fresh rows; none where there are no more."""
        if self._passed:
            return [self._passed.popleft() for _ in range(min(count, len(self._passed)))]
        fresh = [*enumerate(islice(self._fresh, count), self._row)]
        while not fresh and self._ending is None and not self._is_over:
            self._is_over = not self._more()
            fresh = [*enumerate(islice(self._fresh, count), self._row)]
        self._row += len(fresh)
        return fresh

    def _probe(self, places: int) -> list[tuple[int, Any]]:
        """Return the fresh row that is so many places further on, or the last one."""
        passed: list[tuple[int, Any]] = []
        while len(passed) < places and (found := self._next(1)):
            passed += found
        row = passed[-1:]
        self._passed.extendleft(reversed(passed[:-1]))
        return row

    @property
    def _many(self) -> int:
        return max(_AT_ONCE, *(step.gathers for step in self._steps[: self._first + 1]))

    def _go_on(self, least: float = math.inf) -> bool:
        """Work on rows that have come further, those that have come furthest; where they are gathered, on so many."""
        for step in reversed(self._steps[self._first + 1 :]):
            if step.waiting and len(step.waiting) >= min(step.gathers, least):
                self._waits -= len(step.waiting)
                self._work(step)
                return True
        return False

    def may_come(self, position: int) -> bool:
        """Check whether a row is on its way to a node, or waits before it."""
        return any(self._calling[:position]) or any(step.waiting for step in self._steps[:position])

    def _flush(self) -> bool:
        """Work on rows that wait for more where no fresh one begins; those of a pack, where no other is on its way."""
        for step in reversed(self._steps[self._first + 1 :]):
            if step.waiting and not (step.packs and self.may_come(step.position)):
                self._waits -= len(step.waiting)
                self._work(step)
                return True
        return False

    def _work(self, step: StreamStep) -> None:
        """Make what a node makes of the rows that wait for it."""
        if not step.waiting:
            return
        passages = [*step.waiting]
        step.waiting.clear()
        if step.making is None and self._ending is not None:
            for passage in passages:
                self._end(passage, self._ending)
            return
        if self._ending is not None and step.making is not None and step.making.later:
            for passage in passages:
                self._end(passage, Handed(None, self._ending.message, NOT_SENT))
            return
        if step.making is None:
            self._call(step, passages)
            return
        for passage, made in zip(passages, step.made(passages), strict=True):
            self._end(passage, made)

    def _call(self, step: StreamStep, passages: Sequence[Passage]) -> None:
        """Make the calls of rows, or end those that cannot be sent."""
        nodes, position, call, on_way = len(self._steps), step.position, step.call, self._on_way
        items = self._ready if position > self._first else self._begun
        recorder, twins = self.recorder if self.recorder.keeps else None, step.twins
        for passage, body in zip(passages, step.made(passages), strict=True):
            if isinstance(body, Rejected):
                self._end(passage, rejected(body))
                continue
            key = passage.row * nodes + position
            if step.models_differ:
                step.note_model(passage, body)
            on_way[key] = passage
            self._calling[position] += 1
            made = item = call(body, key)
            if recorder is not None:
                item = recorder.recall(item)
                passage.earlier = recorder.earlier.get(key, (0, False))[0]
            if twins is not None:
                item = twins.told_apart(passage.row, made, item)
            items.append(item)

    def _end(self, passage: Passage, end: Any) -> None:
        """Note what became of a row at a node that nothing is sent for."""
        step, outcome = self._steps[passage.at], end.outcome if isinstance(end, End | Rejected | Handed) else OK
        passage.ends[passage.at] = end
        step.counts[outcome] += 1
        if outcome == SKIPPED and step.skipped is None:
            step.skipped = end.message if isinstance(end, End) else end_of_made(end)[1]
        self._pass_on(passage)

    def _pass_on(self, passage: Passage) -> None:
        """Lead a row to the next node."""
        passage.at += 1
        if passage.at == len(self._steps):
            self._finished(passage)
            return
        self._steps[passage.at].waiting.append(passage)
        self._waits += passage.at > self._first
