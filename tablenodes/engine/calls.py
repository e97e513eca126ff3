"""The values that pass between the loop, the scheduler and a transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import orjson

from . import policy

_IMAGE = b'url":"data:image/'


class Request(NamedTuple):
    """Where all calls of a node go; the headers, the API key's among them, are never shown.

    Without `has_body`, the calls' bodies are not sent.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    has_body: bool = True

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url.partition('?')[0]})"


def sends_body(request: Request) -> bool:
    """Check whether the bodies of a request's calls are sent."""
    return request.has_body and request.method not in ("GET", "HEAD")


class PlacedBody(bytes):
    """The body of a row that goes to a place of its own: below the base URL, with a query and headers of its own.

    Without a `media_type` nothing is sent of the body, which is an empty object then.
    """

    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    media_type: str

    def __new__(
        cls,
        body: bytes,
        path: str = "",
        query: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        media_type: str = "application/json",
    ) -> PlacedBody:
        """Return the body, with its place."""
        made = super().__new__(cls, body)
        made.path, made.query, made.headers, made.media_type = path, query, headers, media_type
        return made

    @property
    def place(self) -> bytes:
        """What tells it from an equal body that goes elsewhere."""
        return orjson.dumps([self.path, self.query, *self.headers]) + b"\n"


def place_of(body: bytes) -> bytes:
    """Return what tells a body from an equal one that goes elsewhere; empty where all of a node go to one place."""
    return body.place if isinstance(body, PlacedBody) else b""


def _nobody(answer: Answer, asked: bytes) -> Any:
    raise TypeError("a call without a judge goes to a transport alone")


class Call(NamedTuple):
    """One request, and all that must be known to send it and to use its answer.

    Its end goes by `key`, which no two calls of a loop share: of a row's request, the row's position. `total` is the
    seconds that one attempt may take. The judge returns what an `Answer` means, a `Verdict`, given also the body that
    was asked; the scope makes the key that the answer is found by in a journal.
    """

    key: int
    request: Request
    body: bytes
    total: float
    judge: Callable[[Answer, bytes], Any] = _nobody
    scope: Any = None

    def __repr__(self) -> str:
        return f"Call({self.key}, {self.request!r})"


class Chunk(NamedTuple):
    """Some bytes of a streamed answer, as they arrive."""

    key: int
    data: bytes


class Answer(NamedTuple):
    """The end of one attempt, good or bad.

    Attributes
    ----------
    key : int
        The `Call` that it answers.
    status : int or None
        The HTTP status that the server sent; None where it sent none.
    headers : bytes
        The header lines of the final response as they came; empty where none came.
    body : bytes
        What came of the body, decompressed; partial where `fault` is set.
    fault : str or None
        None for an exchange that came to its end as HTTP wants it; else what broke it: ``dns``, ``connect``,
        ``timeout_connect``, ``tls``, ``proxy``, ``proxy_login`` (it answered 407), ``reset``, ``disconnected``,
        ``timeout_first_byte``, ``timeout_total``, ``timeout_idle``, ``truncated``, ``protocol``, ``too_large``,
        ``bad_encoding``, ``internal_error``.
    message : str
        The transport's own words for the fault, without the key; empty where there was none.
    sends : int
        How many times the request was begun to be sent; a transport that repeats one silently counts each.
    reused : bool
        Whether it went over a connection that had carried an exchange before.
    elapsed : float
        Seconds from `start` to now.
    """

    key: int
    status: int | None
    headers: bytes
    body: bytes
    fault: str | None = None
    message: str = ""
    sends: int = 1
    reused: bool = False
    elapsed: float = 0.0

    def after(self, status: int | None, headers: bytes, body: bytes) -> Answer:
        """Return it with what came before, where this brought nothing: a good answer that could not be used is paid."""
        if self.status is not None or status is None or not 200 <= status < 300 or not body:
            return self
        return self._replace(status=status, headers=headers, body=body)


Event = Chunk | Answer


class Carrier(Protocol):
    """What a user's own transport must have. Used by one thread; it retries nothing and follows no redirect."""

    def start(self, call: Call) -> None:
        """Begin a call. Its `Answer` comes out of a later `wait`, exactly once, unless it is cancelled."""

    def cancel(self, key: int) -> None:
        """Drop a call: close its connection; no event of it comes any more. Unknown keys are ignored."""

    def wait(self, seconds: float) -> list[Event]:
        """Return the events that came, after `seconds` at the latest and as soon as there is one."""

    def close(self) -> None:
        """Drop every call and close every connection. A second time does nothing."""


class Transport(Carrier, Protocol):
    """The seam between decisions and bytes."""

    @property
    def capacity(self) -> int | None:
        """How many calls it can carry at a time; None where it does not know."""

    def end(self, key: int, fault: str | None = None, message: str = "") -> None:
        """End a call: its `Answer`, with what came until now, comes out of the next `wait`. Unknown keys are ignored.

        A stream whose server does not close it is ended by that.
        """


def tokens_of(body: bytes) -> int:
    """Return about how many tokens a request has, for pacing alone; of an image, its base64 says nothing of them."""
    size, images, at = len(body), 0, body.find(_IMAGE)
    while at >= 0:
        end = body.find(b'"', at + len(_IMAGE))
        size, images = size - (end - at), images + 1
        at = body.find(_IMAGE, end)
    return size // policy.BYTES_PER_TOKEN + images * policy.TOKENS_OF_AN_IMAGE


def model_of(body: bytes) -> str:
    """Return the model that a request's body asks for."""
    return str(orjson.loads(body).get("model"))
