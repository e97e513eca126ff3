"""The answer to a pack of inputs, taken apart: of each row the answer that it would have had alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, TypeAlias

import orjson

from .outcomes.judge import Verdict
from .vector_bodies import Around, VectorBody, as_base64

_CLOSES = b'""}]}'  # what stands behind ``"embedding":`` where it is empty, and the last
_END = b'"}]}'
_PLAIN = 3  # properties of an item: object, index, embedding
_new: Any = tuple.__new__  # a named tuple's own constructor takes three times as long

Judged: TypeAlias = Callable[[Sequence[Any], Sequence[Verdict]], tuple[Sequence[Verdict], Sequence[Any]]]
"""Returns the verdicts on vectors as they stand in an answer, and the vectors."""


class Part(NamedTuple):
    """What a row has of its pack's answer: a body of its own, and what that means."""

    body: bytes
    verdict: Verdict


def taken_apart(document: Any, verdict: Verdict, weights: Sequence[int], judged: Judged) -> list[Part] | str:
    """Return the part of each row, in the order of the inputs; why there are none where they do not fit together.

    They go by the index that the server names, and by nothing else. What the answer used is shared by the `weights` of
    the inputs, and sums up to what the server said.
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
    embeddings = [item.get("embedding") for item in items]
    verdicts, vectors = judged(embeddings, [one[1] for one in found])
    ends = zip(found, embeddings, vectors, verdicts, strict=True)
    return [_new(Part, (_body(around, embedding, vector), own)) for (around, _), embedding, vector, own in ends]


def _around(rest: Mapping[str, Any], usage: Mapping[str, int], item: Mapping[str, Any]) -> Around:
    """Return what stands around the text of the vector in a row's own answer."""
    others = {name: value for name, value in item.items() if name not in ("index", "embedding")}
    alone = {**rest, **({"usage": usage} if usage else {}), "data": [{**others, "index": 0, "embedding": ""}]}
    return Around(orjson.dumps(alone)[: 1 - len(_CLOSES)], _END, as_base64)


def _body(around: Around, embedding: Any, vector: Any) -> bytes:
    """Return the body of a row's own answer, which knows its vector where that is written as bytes."""
    if type(embedding) is not str or vector is None:
        return around.before[:-1] + orjson.dumps(embedding) + _END[1:]
    return VectorBody.of(around, embedding, vector)


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
