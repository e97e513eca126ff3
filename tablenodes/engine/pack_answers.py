"""The answer to a pack of inputs, taken apart: of each row the answer that it would have had alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol

import orjson

from .outcomes.judge import Verdict
from .vector_bodies import Around, VectorBodies, are_finite, as_base64
from .vector_spans import Spans

_CLOSES = b'""}]}'  # what stands behind ``"embedding":`` where it is empty, and the last
_END = b'"}]}'
_PLAIN = 3  # properties of an item: object, index, embedding


class Usable(Protocol):
    """Judges the vectors of a run, of so many numbers each; None before the first, which decides it."""

    size: int | None

    def judged(self, embeddings: Sequence[Any], verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        """Return the verdicts on vectors as they stand in an answer."""


class Parts(NamedTuple):
    """What the rows of a pack have of its answer: bodies of their own, as a sink keeps them, and what those mean.

    A body is bytes, or what stands around a vector that is `kept` at its row of the run's matrix.
    """

    bodies: Sequence[Any]
    verdicts: Sequence[Verdict]
    kept: VectorBodies | None = None

    def body(self, at: int, row: int) -> bytes:
        """Return the body of a row of the table, the so-manieth of the pack."""
        found = self.bodies[at]
        made: bytes = found if self.kept is None else self.kept.body(found, row)
        return made


def taken_apart(
    document: Any,
    verdict: Verdict,
    weights: Sequence[int],
    parts: Callable[[list[Any], Sequence[Around], Sequence[Verdict]], Parts | None],
) -> Parts | str | None:
    """Return the parts of the rows, in the order of the inputs; why there are none where they do not fit together.

    They go by the index that the server names, and by nothing else. What the answer used is shared by the `weights` of
    the inputs, and sums up to what the server said. `parts` makes them of what stands for the vectors in the document.
    """
    items = _in_order(document, len(weights))
    if isinstance(items, str):
        return items
    rest = {name: value for name, value in document.items() if name not in ("data", "usage")}
    known: dict[Any, tuple[Around, Verdict]] = {}  # what stands around a vector, and its verdict
    found: list[tuple[Around, Verdict]] = []
    names, shares = _shared(document.get("usage"), weights)
    for item, share in zip(items, shares, strict=True):
        kind = item.get("object") if len(item) == _PLAIN else None
        if type(kind) is str and (one := known.get((share, kind))) is not None:
            found.append(one)
            continue
        usage = dict(zip(names, share, strict=True))
        tokens = usage.get("prompt_tokens"), usage.get("total_tokens")
        one = _around(rest, usage, item), verdict._replace(prompt_tokens=tokens[0], total_tokens=tokens[1])
        found.append(one)
        if type(kind) is str:
            known[share, kind] = one
    return parts([item.get("embedding") for item in items], *zip(*found, strict=True))


def written_parts(
    usable: Usable, embeddings: list[Any], arounds: Sequence[Around], verdicts: Sequence[Verdict]
) -> Parts:
    """Return the parts of rows whose embeddings are as they stand in JSON."""
    told = zip(arounds, embeddings, strict=True)
    bodies = [around.before[:-1] + orjson.dumps(each) + _END[1:] for around, each in told]
    return Parts(bodies, usable.judged(embeddings, verdicts))


def spanned_parts(
    spans: Spans,
    rows: Sequence[int],
    usable: Usable,
    kept: VectorBodies | None,
    marks: list[Any],
    arounds: Sequence[Around],
    verdicts: Sequence[Verdict],
) -> Parts | None:
    """Return the parts of rows whose vectors were not read yet; None where one of them is none of the run's.

    They are put to the rows of the run's matrix, where it has one.
    """
    order, size = spans.order(marks), spans.size
    if order is None or size == 0 or usable.size not in (None, size):
        return None
    kept = kept if kept is not None and kept.room(size) is not None else None
    try:
        are_usable = are_finite(spans.decoded(order)) if kept is None else kept.place(rows, spans.decoded(order))
    except ValueError:
        return None
    if not are_usable:
        return None
    usable.size = size
    if kept is not None:
        return Parts(arounds, verdicts, kept)
    told = zip(arounds, map(spans.text, order), strict=True)
    return Parts([b"".join((around.before, text, around.after)) for around, text in told], verdicts)


def _around(rest: Mapping[str, Any], usage: Mapping[str, int], item: Mapping[str, Any]) -> Around:
    """Return what stands around the text of the vector in a row's own answer."""
    others = {name: value for name, value in item.items() if name not in ("index", "embedding")}
    alone = {**rest, **({"usage": usage} if usage else {}), "data": [{**others, "index": 0, "embedding": ""}]}
    return Around(orjson.dumps(alone)[: 1 - len(_CLOSES)], _END, as_base64)


def _in_order(document: Any, count: int) -> list[Mapping[str, Any]] | str:
    """Return the items of an answer by their index; why they are not those of so many inputs."""
    data = document.get("data") if type(document) is dict else None
    if type(data) is not list or not all(type(item) is dict for item in data):
        return "the answer has no list of embeddings"
    if len(data) != count:
        return f"the answer has {len(data):,} embeddings, and {count:,} were asked for together"
    found: list[Any] = [None] * count
    for item in data:
        index = item.get("index")
        if type(index) is not int or not 0 <= index < count or found[index] is not None:
            return "the indices of the embeddings are not those of the inputs, so nobody knows whose they are"
        found[index] = item
    return found


def _shared(usage: Any, weights: Sequence[int]) -> tuple[list[str], Sequence[tuple[int, ...]]]:
    """Return the names of what was used, and the share of each input: whole numbers, whose sum is what was said."""
    counts = {name: value for name, value in usage.items() if type(value) is int} if type(usage) is dict else {}
    if not sum(weights):
        weights = [*[0] * (len(weights) - 1), 1]
    ends = [0, *accumulate(weights)]
    reached = ([value * end // ends[-1] for end in ends] for value in counts.values())
    shares = [[after - before for before, after in pairwise(each)] for each in reached]
    return [*counts], [*zip(*shares, strict=True)] or [()] * len(weights)
