"""Packs: many rows that go in one request, each of which has its own end, its own place in the journal, its own body.

An API that takes a list of inputs answers with a list. The loop sends packs; whatever knows rows, knows each of them.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from ..problems import error_body
from .calls import Answer, Call
from .outcomes.judge import Verdict
from .outcomes.rules import Failure
from .outcomes.server_errors import server_error
from .pack_answers import Parts, spanned_parts, taken_apart, written_parts
from .sink import NOT_SENT, OK, UNUSABLE, End, unanswered
from .vector_bodies import VectorBodies
from .vector_spans import Spans, spans_of

if TYPE_CHECKING:
    from .journal.recorder import Recorder
    from .sink import Sink, Source

MOST_TOKENS = 300_000  # of a pack's inputs, as a guess: at most 6 MB of numbers, less of texts
_BYTES_PER_TOKEN = 3  # of a text's JSON, at the least: a pack that is refused for its size costs a request
_GROUPS = 32  # kinds of requests that are gathered at a time
_REFUSED = range(400, 500)
_GONE = (404, 405, 410)
_OK = 200
_new: Any = tuple.__new__  # a named tuple's own constructor takes three times as long


class Pack:
    """Rows that are sent together; `parts` is what each has of the answer, `is_refused` whether fewer may be let in."""

    __slots__ = ("calls", "is_refused", "parts", "weights")

    def __init__(self, calls: Sequence[Call], weights: Sequence[int]) -> None:
        self.calls, self.weights = calls, weights
        self.parts: Parts | None = None
        self.is_refused = False


class Each(NamedTuple):
    """Stands in the place of a pack's end: that of each of its rows, in an earlier run."""

    ends: list[tuple[int, End | None]]


class _Group:
    """Rows that ask the same but for their inputs, and are gathered; `room` is how many tokens more there may be.

    `around` is what stands around the input in their bodies, where it is a text.
    """

    __slots__ = ("around", "calls", "inputs", "name", "room", "weights")

    def __init__(self, name: tuple[Any, ...], around: tuple[bytes, bytes] | None) -> None:
        self.name, self.around, self.room = name, around, MOST_TOKENS
        self.calls: list[Call] = []
        self.inputs: list[bytes] = []
        self.weights: list[int] = []


class Among(NamedTuple):
    """Other nodes' calls among a node's own: `last` is the key above that of its first pack.

    There are so many `nodes`; all packs are kept in `packs`. `may_come` says whether more of its rows may come out of
    a source that has nothing for now.
    """

    last: int = 0
    nodes: int = 1
    packs: dict[int, Pack] | None = None
    may_come: Callable[[], bool] = bool


class Packs:
    """A source after another one, that packs its calls, and a sink before another one, that knows no packs.

    A pack's call has a key below 0. A pack that is refused is halved, down to the row that is refused alone; `sizes`
    says of each row with how many it was answered. The vectors go straight to `bodies`, where those are kept.
    What keys leave, divided by the number of nodes `among` which it is, is the node.
    """

    def __init__(
        self,
        sink: Sink,
        recorder: Recorder,
        most: int,
        usable: Any,
        bodies: VectorBodies | None = None,
        among: Among | None = None,
    ) -> None:
        self._sink, self._known, self._most = sink, recorder, most
        self._usable, self._bodies = usable, bodies
        self._last, self._nodes, kept, self._may_come = among or Among()
        self._position = self._last % self._nodes
        self.packs: dict[int, Pack] = {} if kept is None else kept  # by the keys of their calls
        self._groups: dict[tuple[Any, ...], _Group] = {}
        self._ready: deque[Call] = deque()
        self._halves: deque[Sequence[Call]] = deque()
        self._sent: dict[int, tuple[int, bool]] = {}  # of rows that were in packs that were refused: their sends
        self._source: Source = iter(())
        self._sizes = array("H")
        _keep_memory()

    # The source.

    def packed(self, source: Source) -> Iterator[Any]:
        """Return the source of packs: what another one gives, packed."""
        self._source = source
        return self

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            if self._halves:
                return self._call(self._halves.popleft())
            if self._ready:
                return self._ready.popleft()
            for item in self._source:
                if type(item) is not Call or (self._nodes > 1 and item.key % self._nodes != self._position):
                    return item
                self._gather(item)
                break
            else:
                for group in [] if self._may_come() else [*self._groups.values()]:
                    self._close(group)
                if not self._ready:
                    raise StopIteration

    def _gather(self, call: Call) -> None:
        """Put a call to those that ask the same; one that can not be packed goes alone."""
        known = self._known
        if not (known.knows or known.earlier):  # the way of nearly every row
            data = call.body
            for group in self._groups.values():
                if group.around is None:
                    continue
                before, after = group.around
                if data.startswith(before) and data.endswith(after):
                    written = data[len(before) : -len(after)]
                    try:
                        asked = orjson.loads(written)
                    except orjson.JSONDecodeError:
                        continue
                    if type(asked) is str:
                        self._add(group, call, written, len(asked), len(written) // _BYTES_PER_TOKEN)
                        return
        asked, written, template, around = _read(call.body)
        weight = _weight(asked)
        if weight is None:
            self._ready.append(call)
            return
        history = call.key in known.earlier, known.knows and known.was_refused(call.key)
        name = template, type(asked), history
        found = self._groups.get(name)
        if found is None:
            if len(self._groups) >= _GROUPS:
                self._close(next(iter(self._groups.values())))
            found = self._groups[name] = _Group(name, around)
        self._add(found, call, written, weight, len(written) // _BYTES_PER_TOKEN if type(asked) is str else weight)

    def _add(self, group: _Group, call: Call, written: bytes, weight: int, tokens: int) -> None:
        """Add a call to a group, or to a new one like it where that has no room; close it where it is full."""
        if tokens > group.room and group.calls:
            self._close(group)
            group = self._groups[group.name] = _Group(group.name, group.around)
        group.calls.append(call)
        group.inputs.append(written)
        group.weights.append(weight)
        group.room -= tokens
        if len(group.calls) >= self._most:
            self._close(group)

    def _close(self, group: _Group) -> None:
        del self._groups[group.name]
        self._ready.append(self._made(group))

    def _call(self, calls: Sequence[Call]) -> Call:
        """Return the call of rows that were sent together before, with others."""
        read = [_read(call.body) for call in calls]
        group = _Group((read[0][2],), None)
        group.calls, group.inputs = [*calls], [each[1] for each in read]
        group.weights = [_weight(each[0]) or 0 for each in read]
        return self._made(group)

    def _made(self, group: _Group) -> Call:
        first = group.calls[0]
        if len(group.calls) == 1:
            return first
        self._last -= self._nodes
        self.packs[self._last] = pack = Pack(group.calls, group.weights)
        template = group.name[0]
        rest = b"}" if template == b"{}" else b"," + template[1:]
        body = b'{"input":[' + b",".join(group.inputs) + b"]" + rest
        judge = partial(self._judged, pack, first.judge)
        made: Call = _new(Call, (self._last, first.request, body, first.total, judge, None))
        return made

    def _judged(self, pack: Pack, judge: Callable[..., Verdict], answer: Answer, asked: bytes) -> Verdict:
        """Return what a pack's answer means; a refusal is its rows' own, and says nothing of the server."""
        pack.parts = None
        if answer.status == _OK and answer.fault is None:
            spans = spans_of(answer.body, len(pack.calls))
            if spans is not None:
                alike = answer._replace(body=spans.skeleton)
                verdict = judge(alike, asked, use=partial(self._read_spans, pack, spans))
                if pack.parts is not None:
                    pack.is_refused = False
                    return verdict
        return _refused(pack, judge(answer, asked, use=partial(self._take_apart, pack)), answer, asked)

    def _read_spans(self, pack: Pack, spans: Spans, document: Any, verdict: Verdict) -> Verdict:
        """Return the verdict on a pack's answer, and keep what each row has of it, where its vectors can be read."""
        rows = [call.key for call in pack.calls]
        found = taken_apart(
            document, verdict, pack.weights, partial(spanned_parts, spans, rows, self._usable, self._bodies)
        )
        pack.parts = None if isinstance(found, str) else found
        return verdict

    def _take_apart(self, pack: Pack, document: Any, verdict: Verdict) -> Verdict:
        """Return the verdict on a pack's answer, and keep what each row has of it."""
        found = taken_apart(document, verdict, pack.weights, partial(written_parts, self._usable))
        if isinstance(found, str):
            return verdict._replace(outcome=UNUSABLE, kind=Failure.UNUSABLE, reason="does_not_fit", message=found)
        pack.parts = found
        return verdict

    # The sink.

    @property
    def room(self) -> int:
        """How many rows may have begun and not ended."""
        return self._sink.room

    def accept(self, key: int, end: Any) -> None:
        """Accept the end of a row, or of a pack: each of its rows ends, or they are sent again in halves."""
        pack = self.packs.pop(key, None)
        if pack is None:
            self._end(key, end)
        elif type(end) is Each:
            for row, earlier in end.ends:
                if earlier is not None:
                    self._end(row, earlier)
        elif pack.is_refused and end.kind is Failure.FINAL and end.attempts:
            self._halve(pack.calls, end)
        else:
            self._end_all(pack, end)

    def _end_all(self, pack: Pack, end: End) -> None:
        parts = pack.parts if end.outcome == OK else None
        if end.outcome == UNUSABLE:
            end = end._replace(body=error_body(UNUSABLE, str(end.message)), prompt_tokens=None, total_tokens=None)
        if self._nodes == 1:
            self._note_size([call.key for call in pack.calls], len(pack.calls) if end.attempts else 0)
        is_new = not (self._sent or self._known.keeps or self._known.earlier)
        accept = self._sink.accept if is_new else self._end_known
        ends = repeat(end, len(pack.calls)) if parts is None else _ends_of(end, parts)
        for call, own in zip(pack.calls, ends, strict=True):
            accept(call[0], own)

    def _note_size(self, rows: Sequence[int], size: int) -> None:
        if rows[-1] >= len(self._sizes):
            self._sizes.extend([0] * (rows[-1] + 1 - len(self._sizes)))
        for row in rows:
            self._sizes[row] = size

    def _end_known(self, row: int, end: End) -> None:
        """End a row of a pack, with what is known of its earlier sends."""
        if end.attempts and (before := self._known.earlier.get(row)) is not None:
            end = end._replace(attempts=end.attempts + before[0], maybe_billed=end.maybe_billed or before[1])
        self._known.forget(row)
        self._end(row, end)

    def _end(self, row: int, end: End) -> None:
        if self._sent and (before := self._sent.pop(row, None)) is not None:
            end = end._replace(attempts=end.attempts + before[0], maybe_billed=end.maybe_billed or before[1])
        self._sink.accept(row, end)

    def _halve(self, calls: Sequence[Call], end: End) -> None:
        """Have rows that were refused together sent again, in two halves."""
        for call in calls:
            sends, billed = self._sent.get(call.key, (0, False))
            self._sent[call.key] = sends + end.attempts, billed or end.maybe_billed
        middle = len(calls) // 2
        self._halves.extendleft((calls[middle:], calls[:middle]))

    def finish(self, reason: str | None) -> None:
        """End what never began, or was in a pack that was refused and was not sent again."""
        self.leave(reason)
        self._sink.finish(reason)

    def leave(self, reason: str | None) -> None:
        """End what was in a pack that was refused and was not sent again."""
        for row in [*self._sent]:
            self._end(row, unanswered(NOT_SENT, reason or "not sent"))

    def sizes(self, rows: int) -> list[int | None]:
        """Return of each row with how many it was sent in one request; None where it was sent alone, or not at all."""
        return [*((size or None) for size in self._sizes), *[None] * (rows - len(self._sizes))]


def _keep_memory() -> None:
    """Have the C library keep the memory of one large answer for the next, in place of new pages for each.

    glibc takes blocks from its own heap that are no larger than the largest of up to 32 MiB that was freed so far.
    """
    import numpy  # noqa: PLC0415 - loaded where there are answers

    numpy.empty(31 * 2**20, numpy.uint8)


def _read(data: bytes) -> tuple[Any, bytes, bytes, tuple[bytes, bytes] | None]:
    """Return a body's input, that as JSON, the rest as JSON, and what stands around the input where it is a text."""
    body = orjson.loads(data)
    asked = body.pop("input", None)
    written, template = orjson.dumps(asked), orjson.dumps(body)
    before, found, after = data.partition(b'"input":' + written)
    is_text = type(asked) is str and found and orjson.loads(before + b'"input":0' + after) == {**body, "input": 0}
    return asked, written, template, (before + b'"input":', after) if is_text else None


def _weight(asked: Any) -> int | None:
    """Return how much of a pack's tokens an input has: its characters, or its tokens; None for no single input."""
    if type(asked) is str:
        return len(asked)
    return len(asked) if type(asked) is list and asked and all(type(each) is int for each in asked) else None


def _refused(pack: Pack, verdict: Verdict, answer: Answer, asked: bytes) -> Verdict:
    """Return a verdict, of a refusal as that of rows, and note whether fewer of them may be let in."""
    status = answer.status or 0
    refused = (status in _REFUSED and status not in _GONE) or verdict.outcome == "too_large"
    pack.is_refused = verdict.kind is Failure.FINAL and verdict.circuit in (None, "row") and refused
    pack.is_refused = pack.is_refused and not _is_of_all(answer.body, asked)
    return verdict._replace(circuit="row") if pack.is_refused else verdict


def _is_of_all(refusal: bytes, asked: bytes) -> bool:
    """Check whether a refusal is about a property that all rows of a pack have alike: no half fares better."""
    error = server_error(refusal)
    param = (error.param or "").partition(".")[0]
    return "model_not_found" in error.words or (param not in ("", "input") and param in orjson.loads(asked))


def _ends_of(end: End, parts: Parts) -> Iterator[End]:
    """Yield the end of each row, of that of its pack and its own part."""
    _, _, status, attempts, billed, reused, latency, request_id, finish, wait, _, completion, *_, started, _ = end
    for body, verdict in zip(parts.bodies, parts.verdicts, strict=True):
        outcome, kind, message, _, _, _, _, prompt, _, total, _, _, _, _, reason, _ = verdict
        # fmt: off
        yield _new(End, (
            outcome, body, status, attempts, billed, reused, latency, request_id, finish, wait,
            prompt, completion, total, reason, message or None, kind, started, None,
        ))
        # fmt: on
