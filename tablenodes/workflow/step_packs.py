"""Nodes of a workflow that send many rows in one request: each packs its own calls, among those of the others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..engine.packs import Among, Each, Pack, Packs
from ..engine.sink import BREATH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..engine.journal.recorder import Recorder
    from ..engine.sink import Sink, Source
    from .stream_step import StreamStep


class StepPacks:
    """The packs of some of so many nodes: a source after another one, and a sink before another one."""

    def __init__(
        self,
        sink: Sink,
        recorder: Recorder,
        steps: Sequence[StreamStep],
        nodes: int,
        may_come: Callable[[int], bool],
    ) -> None:
        self._sink, self._nodes = sink, nodes
        self.packs: dict[int, Pack] = {}  # by the keys of their calls
        self._steps = {step.position: step for step in steps}
        self._each: dict[int, Packs] = {}
        for step in steps:
            most: Any = None if step.asking is None else step.asking.pack
            among = Among(step.position - nodes, nodes, self.packs, partial(may_come, step.position))
            made = Packs(sink, recorder, most, step.usable, among=among)
            self._each[step.position] = made

    def packed(self, source: Source) -> Source:
        """Return the source of packs: what another one gives, packed."""
        for each in self._each.values():
            source = each.packed(source)
        return source

    @property
    def room(self) -> int:
        """How many rows may have begun and not ended."""
        return self._sink.room

    def accept(self, key: int, end: Any) -> None:
        """Accept the end of a row, or of a pack, which is one request of its node."""
        position = key % self._nodes
        own = self._each.get(position)
        if own is None or end is BREATH:
            self._sink.accept(key, end)
        elif key >= 0:
            own.accept(key, end)
        else:
            step = self._steps[position]
            step.is_packed = True
            own.accept(key, end)
            step.is_packed = False
            if type(end) is not Each:
                step.requested(key, end.outcome, end.attempts)

    def finish(self, reason: str | None) -> None:
        """End what never began, or was in a pack that was refused and was not sent again."""
        for each in self._each.values():
            each.leave(reason)
        self._sink.finish(reason)

    def sizes(self, rows: int) -> None:
        """Return nothing: it is not kept of each row."""
