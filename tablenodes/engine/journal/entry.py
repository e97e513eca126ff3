"""An entry of a journal: what a request is found by again, and what is kept of its last answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from ..calls import Answer, Request, place_of
from ..outcomes.judge import Verdict
from ..outcomes.rules import Failure
from ..response_head import REQUEST_ID_NAMES
from .seen_digests import SeenDigests

_VERSION = 1  # of keys; journals and stores on disk know rows by them
_KEPT_HEADERS = re.compile(
    rb"\n((?:content-(?:type|length)|transfer-encoding|date|retry-after(?:-ms)?"
    rb"|x-(?:should-retry|ratelimit-[\w-]+)|openai-[\w-]+|%s):[^\r\n]*\r?)" % b"|".join(REQUEST_ID_NAMES),
    re.IGNORECASE,
)
"""What an answer is judged by, and found again by; a cookie is neither."""
_ANOTHER_TIME = frozenset({"auth", "quota_exhausted", "rate_limited", "not_sent", "in_doubt"})
"""Final for a run, but not for the row: another key, a paid bill or a later hour mends them."""
_SETTLED = (None, Failure.FINAL, Failure.UNUSABLE)
_new: Any = tuple.__new__  # a named tuple's own constructor takes three times as long


def may_pass(outcome: str | None, kind: Failure | None) -> bool:
    """Check whether a failure may well be none another time."""
    return outcome in _ANOTHER_TIME or kind not in _SETTLED


class Key(NamedTuple):
    """What an answer is found by: the digest of all that was asked, and which of the equal rows it is."""

    digest: bytes
    occurrence: int


class Keys:
    """The keys of one node's rows; `scope` is the node's id in a workflow.

    The request's method and address are part of every key; its headers are not, so an API key may be rotated.
    """

    def __init__(self, request: Request, scope: str = "") -> None:
        parts = urlsplit(request.url)
        named = [scope, request.method, f"{parts.scheme}://{parts.netloc}", parts.path, parts.query, _VERSION]
        self._start = hashlib.sha256(orjson.dumps(named) + b"\n")
        self._seen = SeenDigests()

    def key(self, body: bytes, place: bytes = b"") -> Key:
        """Return the key of the next row, in the table's order; `place` is that of a row that has one of its own."""
        digest = self.digest(body, place)
        key: Key = _new(Key, (digest, self._seen.add(digest)))
        return key

    def digest(self, body: bytes, place: bytes = b"") -> bytes:
        """Return the digest of all that a row asks; a body of JSON alone decides it, however it is written."""
        hashed = self._start.copy()
        if place:
            hashed.update(place)
        hashed.update(orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS))
        return hashed.digest()

    def pass_by(self, starts: bytes) -> None:
        """Count rows that need no key of their own, by what `start_of` returns of each."""
        self._seen.put(starts)

    @property
    def identity(self) -> bytes:
        """What decides the keys besides the bodies."""
        return self._start.digest()


class KeysAmong(Keys):
    """The keys of some rows of a table: which of the equal ones each is, is counted among all rows, as it was before.

    `bodies` are those of all rows (None of one without a request), `rows` the positions of the ones that are asked for,
    in their order.
    """

    def __init__(self, request: Request, scope: str, bodies: Iterable[bytes | None], rows: Collection[int]) -> None:
        super().__init__(request, scope)
        whole, chosen = super().key, frozenset(rows)
        keys = ((row, whole(bytes(body), place_of(body))) for row, body in enumerate(bodies) if body is not None)
        self._among = (key for row, key in keys if row in chosen)

    def key(self, body: bytes, place: bytes = b"") -> Key:
        """Return the key of the next row that is asked for."""
        return next(self._among)


class PlacedKeys(NamedTuple):
    """The keys of a row that has a place of its own; without `keys`, no journal asks for one."""

    keys: Keys | None
    place: bytes

    def key(self, body: bytes) -> Key:
        """Return the row's key."""
        return self.keys.key(body, self.place)  # type: ignore[union-attr]


class KeptAnswer(NamedTuple):
    """What came of a send and what it meant, as it is on disk; without an `outcome`, nothing has come yet.

    `kind` is the class of its failure, None for ``ok``; headers and body hold no secret; the message is the
    transport's, or where nothing was answered the user's.
    """

    outcome: str | None = None
    kind: str | None = None
    status: int | None = None
    headers: bytes = b""
    body: bytes = b""
    fault: str | None = None
    message: str = ""
    latency: float = 0.0

    @classmethod
    def of(cls, answer: Answer, verdict: Verdict) -> KeptAnswer:
        """Return what is kept of an answer, which must hold no secret."""
        _, status, headers, body, fault, message, _, _, elapsed = answer
        kind = None if verdict.kind is None else verdict.kind.value
        headers = b"\n".join(_KEPT_HEADERS.findall(b"\n" + headers))
        message = message if message.isascii() else message.encode(errors="replace").decode()
        made: KeptAnswer = _new(cls, (verdict.outcome, kind, status, headers, body, fault, message, elapsed))
        return made

    @property
    def may_pass(self) -> bool:
        """Whether it is a failure that may well be none another time."""
        return may_pass(self.outcome, None if self.kind is None else Failure(self.kind))

    def answer(self, key: int, sends: int) -> Answer:
        """Return the answer again, as that of the call `key`, for which `sends` were begun."""
        _, _, status, headers, body, fault, message, latency = self
        return Answer(key, status, headers, body, fault, message, sends, elapsed=latency)


@dataclass(eq=False, repr=False, slots=True)
class Entry:
    """A row in the journal; `place` is its number, 0 until it is first kept.

    `sends` were begun in all runs; `billed` is whether one may have been executed without its answer having come;
    `rides` is whether it is sent in the request of another row, which alone counts as one; `last` is what came of the
    last send, None where nothing has.
    """

    key: Key
    place: int = 0
    sends: int = 0
    _: KW_ONLY
    billed: bool = False
    last: KeptAnswer | None = None
    rides: bool = False
