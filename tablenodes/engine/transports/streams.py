"""Streamed answers while they come: their text told, their silences timed, their end seen before the connection's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ...settings import Timeout
from .. import policy
from ..calls import Answer, Call, Chunk, Event
from ..outcomes.answer_json import UnreadableError, first_text, without_done
from ..outcomes.assembly import Assembly, MalformedError, as_stream, assembled, choices_asked, encoded
from ..outcomes.body_form import Beginning
from ..outcomes.rules import OPTION_REFUSED
from ..outcomes.server_errors import server_error
from ..outcomes.sse import EventReader
from ..redaction import LiveMask, Redaction
from .wrapper import Wrapper

_NEVER = math.inf
_OPTION = "stream_options"
_OPTION_ADDED = b',"stream_options":{"include_usage":true}}'
STREAMED = b'"stream":true'  # what stands in the body of a request for a stream, and hardly in another
_REFUSALS = frozenset((400, 422))


def extended(request: Mapping[str, Any], body: bytes) -> bytes:
    """Return a request's body as it is sent first: one for a stream asks for its tokens, unless it says itself.

    One for a response has them anyway, and knows no such option.
    """
    is_asked = request.get("stream") is True and _OPTION not in request and "input" not in request
    return body[:-1] + _OPTION_ADDED if is_asked else body


@dataclass(eq=False, repr=False)
class Streams(Wrapper):
    """A transport around one that tells of every piece of a body: it reads the streams among the answers.

    A request for a stream is extended by ``stream_options``, so that the server counts tokens, unless the request has
    its own. A server that refuses that is asked without from then on, in this run.

    An answer comes out as the inner transport gives it; it is put together by whoever judges it. Streams end soon
    after ``[DONE]``, or after the end of every choice and the tokens, or once these have been waited for; and after
    `Timeout.payload_idle` without content.

    `redaction` takes the secrets out of live text. `on_text` is given a row and the text of its first choice, as it
    comes; of an answer in one piece, all of it. An empty text voids what a row was told before: it is tried again.
    `on_failure` is given what `on_text` raised, which is not called any more then.
    """

    timeout: Timeout
    redaction: Redaction
    on_text: Callable[[int, str], None] | None = None
    on_failure: Callable[[Exception | KeyboardInterrupt], None] | None = None
    idle_of: Callable[[int], float] | None = None  # of a call, by its key, where they differ
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._payload_idle = self.timeout.payload_idle
        self._begun: set[int] = set()
        self._extended: set[int] = set()
        self._asked: dict[int, int] = {}
        self._readings: dict[int, _Reading] = {}
        self._read: dict[int, tuple[bytes, Assembly]] = {}
        self._told: set[int] = set()
        self._next_look = _NEVER
        self.option_refused = False  # by the server: ``stream_options``
        self.uncounted = 0  # streams that had all their ends, and no tokens

    def start(self, call: Call) -> None:
        self._forget(call.key)
        self._begun.add(call.key)
        if call.key in self._told:
            self._told.discard(call.key)
            self._call_user(call.key, "")
        if STREAMED in call.body:
            request = orjson.loads(call.body)
            if request.get("stream") is True:
                self._asked[call.key] = choices_asked(call.body)
                body = call.body if self.option_refused else extended(request, call.body)
                if body is not call.body:
                    self._extended.add(call.key)
                    call = call._replace(body=body)
        self.inner.start(call)

    def cancel(self, key: int) -> None:
        self._forget(key)
        self.inner.cancel(key)

    def wait(self, seconds: float) -> list[Event]:
        if self._next_look < _NEVER:
            seconds = max(0.0, min(seconds, self._next_look - self.clock()))
        events: list[Event] = []
        for event in self.inner.wait(seconds):
            if event.key not in self._begun:  # a user's transport may give what nobody asked for
                continue
            if type(event) is Answer:
                events.append(self._answered(event))
            else:
                self._take(event)  # type: ignore[arg-type] # there are but two kinds
        self._look()
        return events

    def read(self, answer: Answer) -> Assembly:
        """Return the stream that an answer is, put together; what was read while it came is not read again."""
        body, assembly = self._read.pop(answer.key, (None, None))
        return assembled(answer.body) if assembly is None or body is not answer.body else assembly

    def has_begun(self, key: int) -> bool:
        """Check whether something of a call's answer has come, which has not ended."""
        return key in self._readings

    def _forget(self, key: int) -> None:
        self._begun.discard(key)
        self._extended.discard(key)
        self._asked.pop(key, None)
        self._readings.pop(key, None)

    def _take(self, chunk: Chunk) -> None:
        """Read a piece of a body."""
        key, data = chunk
        reading = self._readings.get(key)
        if reading is None:
            mask = None if self.on_text is None else self.redaction.live()
            reading = self._readings[key] = _Reading(self._asked.get(key, 1), mask)
        patience = policy.AFTER_FINISH if self.uncounted < policy.UNCOUNTED else policy.AFTER_FINISH_KNOWN
        text = reading.take(data, self.clock(), self._idle_of(key), patience)
        self._next_look = min(self._next_look, reading.due)
        self._tell(key, text)

    def _answered(self, answer: Answer) -> Answer:
        """Handle the end of a call."""
        key = answer.key
        extended = key in self._extended
        reading = self._readings.get(key)
        self._forget(key)
        if extended and answer.status in _REFUSALS and _names_the_option(answer.body):
            self.option_refused = True
            return answer._replace(fault=OPTION_REFUSED)
        if reading is None or not reading.is_stream:
            if self.on_text is not None and answer.status == 200 and answer.fault is None:
                mask = self.redaction.live()
                self._tell(key, mask.push(first_text(without_done(answer.body) or answer.body) or "") + mask.rest())
            return answer
        self._tell(key, reading.rest())
        self.uncounted += reading.is_uncounted
        assembly = reading.whole(answer.body)
        safe = None if assembly is None else _without_secrets(assembly, self.redaction)
        if safe is not None:
            return answer._replace(body=safe)
        if assembly is not None:
            self._read[key] = answer.body, assembly
        return answer

    def _tell(self, key: int, text: str) -> None:
        if text:
            self._told.add(key)
            self._call_user(key, text)

    def _call_user(self, key: int, text: str) -> None:
        if self.on_text is None:
            return
        try:
            self.on_text(key, text)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - what was paid for is brought to its end first
            self.on_text = None
            if self.on_failure is not None:
                self.on_failure(error)

    def _idle_of(self, key: int) -> float:
        return self._payload_idle if self.idle_of is None else self.idle_of(key)

    def _look(self) -> None:
        """End the streams whose time is over."""
        now = self.clock() if self._next_look < _NEVER else -_NEVER
        if now < self._next_look:
            return
        for key, reading in [*self._readings.items()]:
            if reading.due <= now:
                reading.due = _NEVER
                if reading.has_ended:
                    self.inner.end(key)
                else:
                    words = f"no content arrived for {self._idle_of(key):g} s in the middle of a stream"
                    self.inner.end(key, "timeout_idle", words)
        due = (reading.due for reading in self._readings.values())
        self._next_look = min(due, default=_NEVER)


class Unasked(Streams):
    """The same for a run that asks for no stream: it reads those that servers send all the same, and costs nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.start = self.inner.start  # type: ignore[method-assign] # every row comes through it

    def cancel(self, key: int) -> None:
        self._readings.pop(key, None)
        self.inner.cancel(key)

    def wait(self, seconds: float) -> list[Event]:
        if self._next_look < _NEVER:
            seconds = max(0.0, min(seconds, self._next_look - self.clock()))
        came = self.inner.wait(seconds)
        self.start = self.inner.start  # type: ignore[method-assign] # a transport that only watched the first is gone
        if not self._readings and Chunk not in map(type, came):
            return came
        events: list[Event] = []
        for event in came:
            if type(event) is Chunk:
                self._take(event)
            else:
                events.append(self._answered(event) if event.key in self._readings else event)  # type: ignore[arg-type]
        self._look()
        return events


@dataclass(eq=False, repr=False, slots=True)
class _Reading:
    """One answer while it comes: it is ended at `due`, and `has_ended` if nothing that must come is missing."""

    _choices: int
    _mask: LiveMask | None
    _reader: EventReader = field(default_factory=EventReader)
    _assembly: Assembly = field(default_factory=Assembly)
    _length: int = 0
    _beginning: Beginning = field(default_factory=Beginning)
    _plain: bool | None = None
    due: float = _NEVER
    has_ended: bool = False

    @property
    def is_stream(self) -> bool:
        """Whether it is an event stream, as far as anything has come."""
        return self._plain is False

    @property
    def is_uncounted(self) -> bool:
        """Whether all has come that must, but tokens."""
        return self.has_ended and not self._assembly.counted and self._assembly.error is None

    def take(self, data: bytes, now: float, payload_idle: float, patience: float) -> str:
        """Read a piece and return the text in it that may be shown.

        `patience` is the seconds for which tokens are waited for, where every choice has its end.
        """
        self._length += len(data)
        if self._plain is None and (form := self._beginning.push(data)) is not None:
            self._plain = form in ("json", "page")
            self.due = _NEVER if self._plain else now + payload_idle
        if self._plain or self._assembly.ended:
            return ""
        had_ended = self.has_ended
        text, has_content = self._read(data)
        self.has_ended = self._assembly.ended or self._assembly.finished(self._choices)
        if self.has_ended:
            all_came = self._assembly.ended or self._assembly.counted
            due = now + min(policy.AFTER_DONE if all_came else patience, payload_idle)
            # What comes after the end of every choice may make it shorter: longer only what is a choice's still.
            self.due = min(self.due, due) if had_ended and not text else due
        elif has_content:
            self.due = now + payload_idle
        return text if self._mask is None else self._mask.push(text)

    def _read(self, data: bytes) -> tuple[str, bool]:
        try:
            events = self._reader.push(data)
            return "".join(map(self._assembly.add, events)), any(event.data for event in events)
        except Exception:  # noqa: BLE001 - one answer that cannot be read must not end the run: it is left to the judge
            self._plain = True
            return "", False

    def rest(self) -> str:
        """Return the text that was held back because a secret might have begun in it; none of a stream that was cut."""
        whole = self._mask is not None and self._assembly.is_whole(self._choices)
        return self._mask.rest() if whole and self._mask is not None else ""

    def whole(self, body: bytes) -> Assembly | None:
        """Return all of it, put together; None if something of the body was not told as it came."""
        if self._length != len(body):
            return None
        self._assembly.add_unended(self._reader.finish())
        return self._assembly


def redacted(answer: Answer, redaction: Redaction) -> Answer:
    """Return an answer without the secrets, where no `Streams` reads it: it may be a stream that nobody asked for.

    The very same where it holds none. A stream whose chunks hold one in pieces is written anew, as one chunk.
    """
    answer = redaction.masked(answer)
    body = answer.body
    if body[:1] == b"{" or b"data:" not in body:
        return answer
    safe = _without_secrets(assembled(body), redaction)
    return answer if safe is None else answer._replace(body=safe)


def _without_secrets(assembly: Assembly, redaction: Redaction) -> bytes | None:
    """Return a stream written anew, where it holds a secret that none of its chunks holds; else None."""
    if not redaction:
        return None
    try:
        body = encoded(assembly.document())
        masked = redaction.mask(body)
        return None if masked == body else redaction.mask(as_stream(assembly, masked))
    except (MalformedError, UnreadableError):  # it will be judged so
        return None


def _names_the_option(body: bytes) -> bool:
    """Check whether an error is about ``stream_options``."""
    error = server_error(body)
    return (error.param or "").partition(".")[0] == _OPTION or _OPTION in error.message
