"""The answer to a pack of inputs, taken apart: of each row the answer that it would have had alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from .outcomes.judge import Verdict
from .vector_bodies import VectorBody

_CLOSES = b'""}]}'  # what stands behind ``"embedding":`` where it is empty, and the last
_END = b'"}]}'
_PLAIN = 3  # properties of an item: object, index, embedding


class Part(NamedTuple):
    """What a row has of its pack's answer: a body of its own, and what that means."""

    body: bytes
    verdict: Verdict


def taken_apart(
    document: Any, verdict: Verdict, weights: Sequence[int], judged: Callable[[Any, Verdict], tuple[Verdict, Any]]
) -> list[Part] | str:
    """Return the part of each row, in the order of the inputs; why there are none where they do not fit together.

    They go by the index that the server names, and by nothing else. What the answer used is shared by the `weights` of
    the inputs, and sums up to what the server said.
    """
    items = _in_order(document, len(weights))
    if isinstance(items, str):
        return items
    rest = {name: value for name, value in document.items() if name not in ("data", "usage")}
    used, made = _shared(document.get("usage"), weights), []
    known: dict[Any, tuple[bytes, Verdict]] = {}  # what stands before a vector, and its verdict
    for item, usage in zip(items, used, strict=True):
        embedding = item.get("embedding")
        name = (*usage.values(), item.get("object")) if len(item) == _PLAIN else None
        if (found := known.get(name)) is None:
            tokens = usage.get("prompt_tokens"), usage.get("total_tokens")
            found = _before(rest, usage, item), verdict._replace(prompt_tokens=tokens[0], total_tokens=tokens[1])
            if name is not None and type(name[-1]) is str:
                known[name] = found
        own, vector = judged(embedding, found[1])
        made.append(Part(_body(found[0], embedding, vector), own))
    return made


def _before(rest: Mapping[str, Any], usage: Mapping[str, int], item: Mapping[str, Any]) -> bytes:
    """Return what stands before the vector in a row's own answer."""
    others = {name: value for name, value in item.items() if name not in ("index", "embedding")}
    alone = {**rest, **({"usage": usage} if usage else {}), "data": [{**others, "index": 0, "embedding": ""}]}
    return orjson.dumps(alone)[: -len(_CLOSES)]


def _body(before: bytes, embedding: Any, vector: Any) -> bytes:
    """Return the body of a row's own answer, which knows its vector where that is written as bytes."""
    if type(embedding) is not str or vector is None:
        return before + orjson.dumps(embedding) + _END[1:]
    before += b'"'
    body = VectorBody(before + embedding.encode() + _END)
    body.before, body.vector = before, vector
    return body


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


def _shared(usage: Any, weights: Sequence[int]) -> Iterator[dict[str, int]]:
    """Yield the share of each input in what was used: whole numbers, whose sum is what was said."""
    counts = {name: value for name, value in usage.items() if type(value) is int} if type(usage) is dict else {}
    whole, before = sum(weights) or 1, 0
    if not sum(weights):
        weights = [*[0] * (len(weights) - 1), 1]
    for weight in weights:
        after = before + weight
        yield {name: value * after // whole - value * before // whole for name, value in counts.items()}
        before = after
