"""A streamed answer put together: chunks in, the one body out that a plain answer would have had."""

from __future__ import annotations

import json
from typing import Any

import orjson

from ..policy import STRAY_BYTES
from .accumulation import Text, fill, number_of, settled
from .answer_json import UnreadableError, joined, read
from .body_form import form_of
from .error_words import names_an_error, says_something
from .finish_reasons import meaning_of, says
from .response_events import ResponseEvents, is_response_event
from .sse import DONE, STRAY, EventReader, ServerEvent

_CHUNK = "chat.completion.chunk"
_FIRST_TOLD = ("id", "object", "created", "model")  # what each chunk repeats: the first that is not empty counts
_PARTS = frozenset(("index", "delta", "text", "message", "finish_reason"))
_NO_CHUNKS = (b"null", b'""', b"[]")  # signs of life
_NOT_TOLD = frozenset(("choices", "obfuscation"))
"""What is not passed on as it is; the latter are random letters that hide the length of a chunk."""


class MalformedError(ValueError):
    """A chunk is not what the API says."""


class Assembly:
    """One streamed answer, as far as it has come.

    `done`: ``[DONE]`` came. `error`: the error that came in the place of a chunk, truthy; else None. `malformed`: a
    chunk could not be read, or something came that is none; `stray` is what came so, as far as it is no chunk.
    `counted`: tokens were told with the last part of a choice, or after it.
    """

    def __init__(self) -> None:
        self.done = self.malformed = self.counted = False
        self.error: Any = None
        self.stray = b""
        self._counts_on_the_way = False
        self._top: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}
        self._response: ResponseEvents | None = None  # where the events are those of a response

    @property
    def ended(self) -> bool:
        """Whether nothing can follow any more."""
        return self.done or self.error is not None

    def finished(self, choices: int = 1) -> bool:
        """Check whether every choice that started has its end, and there are as many as were asked for."""
        if self._response is not None:
            return self._response.ended
        started = self._choices.values()
        return len(started) >= choices and all(choice.ended for choice in started)

    def is_whole(self, choices: int = 1, *, ended_well: bool = False) -> bool:
        """Check whether nothing is missing: ``[DONE]`` came, or the end of every choice; `choices` were asked for.

        `ended_well` says that the server ended the body, not just the connection: an end in every chunk will do then.
        """
        is_done = self.done and self._response is None  # which says so itself
        return is_done or self.finished(choices) or (ended_well and self._told_ends(choices))

    def _told_ends(self, choices: int) -> bool:
        started = self._choices.values()
        return len(started) >= choices and all(choice.rest["finish_reason"] is not None for choice in started)

    def add(self, event: ServerEvent) -> str:
        """Add an event and return the text by which it lengthens the first choice."""
        if self.ended:
            return ""
        data = event.data.strip()
        if data == DONE:
            self.done = True
        elif event.name == b"error":
            self.error = _told_error(data)
        elif event.name == STRAY:
            self._stray(data)
        elif data and data not in _NO_CHUNKS:
            try:
                return self._chunk(_parsed(data))
            except MalformedError:
                return self._odd(event.name, data)
        return ""

    def _odd(self, name: bytes, given: bytes) -> str:
        """Add what is no chunk: several in one event, one in a wrapping of a gateway's, or something else."""
        data = given
        while data.startswith(b"data:"):
            data = data[5:].lstrip()
        if data.strip(b'"') == DONE:
            self.done = True
            return ""
        lines = [line for line in data.splitlines() if line.strip()]
        if (len(lines) > 1 or data != given) and all(line.strip() == DONE or _is_json(line) for line in lines):
            return "".join(self.add(ServerEvent(name, line)) for line in lines)
        # What has a name of its own is another matter: a sign of life, for example.
        if name in (b"", b"message"):
            self.malformed = True
            if not data.startswith((b"{", b"[")):
                self._stray(data)
        return ""

    def _stray(self, line: bytes) -> None:
        """Add a line that is none of a stream; it may be the error that ended it."""
        document = _parsed(line) if _is_json(line) else None
        if isinstance(document, dict) and names_an_error(document):
            self.error = _error_of(document)
        self.malformed = True
        self.stray = (self.stray + line + b"\n")[:STRAY_BYTES]

    def add_unended(self, events: list[ServerEvent]) -> None:
        """Add what came after the last blank line, if it is whole: no start of a JSON object is one itself."""
        for event in events:
            data = event.data.strip()
            is_text = event.name == STRAY and not self._top and form_of(data) is not None  # no stream has begun at all
            if data == DONE or event.name == b"error" or is_text or _is_json(data):
                self.add(event)

    def document(self) -> dict[str, Any]:
        """Return the body, as far as it has come."""
        if self._response is not None:
            return self._response.document()
        top = {name: self._top[name] for name in _FIRST_TOLD if name in self._top}
        kind = top.get("object")
        chat = kind == _CHUNK or any(choice.is_chat for choice in self._choices.values())
        if kind == _CHUNK or not kind:
            top["object"] = "chat.completion" if chat else "text_completion"
        made = [self._choices[index].document(index, chat=chat) for index in sorted(self._choices)]
        document = top | {"choices": made} | self._top | top
        if not document.get("usage") and (usage := self._usage_elsewhere()):
            document["usage"] = usage
        return document

    def _usage_elsewhere(self) -> Any:
        """Return the tokens that some servers count on a choice, or among what is their own."""
        own = [value for name, value in self._top.items() if name.startswith("x_") and isinstance(value, dict)]
        places = [*own, *(choice.rest for choice in self._choices.values())]
        return next((place["usage"] for place in places if place.get("usage")), None)

    def _chunk(self, chunk: Any) -> str:
        if type(chunk) is not dict:
            raise MalformedError
        choices = chunk.get("choices")
        if type(choices) is not list and (told := self._without_choices(chunk, choices)) is not None:
            return told
        if (chunk.get("error") and says_something(chunk["error"])) or (
            not choices and not chunk.get("usage") and names_an_error(chunk)
        ):
            self.error = _error_of(chunk)
            return ""
        top = self._top
        for name, value in chunk.items():
            if name in _NOT_TOLD or (name in top and top[name] == value):
                continue
            if not (top.get(name) if name in _FIRST_TOLD else value is None and name in top):
                top[name] = value
        text = ""
        for place, choice in enumerate(choices or ()):
            text += self._choice(choice, place)
        if chunk.get("usage"):  # some servers count all the while: with a part, it is no sign of an end then
            self.counted = not (choices and self._counts_on_the_way)
            self._counts_on_the_way = self._counts_on_the_way or not self.finished()
        elif choices:
            self.counted = False
        return text

    def _without_choices(self, chunk: dict[str, Any], choices: Any) -> str | None:
        """Add a response's event and return its text; None for a chunk that may be another."""
        if choices is not None:
            raise MalformedError
        if not is_response_event(chunk):
            return None
        if self._response is None:
            self._response = ResponseEvents()
        text = self._response.add(chunk)
        self.counted = self._response.counted
        return text

    def as_chunk(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the chunk by which the same document comes of a stream at once."""
        if self._response is not None:
            return self._response.as_event(document)
        for choice in document["choices"]:
            if "message" in choice:
                choice["delta"] = message = choice.pop("message")
                for number, call in enumerate(_calls(message)):
                    call["index"] = number
        return document

    def _choice(self, choice: Any, place: int) -> str:
        if type(choice) is not dict:
            raise MalformedError
        index = choice.get("index")
        if type(index) is not int:
            index = number_of(index, place)
        if choice.get("error") and says_something(choice["error"]):
            self.error = choice["error"]
            return ""
        known = self._choices.get(index)
        if known is None:
            known = self._choices[index] = _Choice()
        text = known.add(choice)
        return text if index == 0 else ""


class _Choice:
    """One choice, as far as it has come; `ended` is whether its end has, `rest` what is beside its message or text.

    An end after which more came was none: servers put ``"stop"`` into every chunk. From then on only a part that brings
    nothing ends it.
    """

    __slots__ = ("_goes_on", "_message", "_text", "_whole", "ended", "is_chat", "rest")

    def __init__(self) -> None:
        self.is_chat = self.ended = self._goes_on = False
        self.rest: dict[str, Any] = {"finish_reason": None}
        self._message: dict[str, Any] = {}
        self._whole: Any = None
        self._text = Text()

    def add(self, choice: dict[str, Any]) -> str:
        """Add a part and return its text."""
        delta, text, whole = choice.get("delta"), choice.get("text"), choice.get("message")
        if not isinstance(delta, dict | None) or not isinstance(text, str | None):
            raise MalformedError
        for name, value in choice.items():
            if name == "logprobs" and isinstance(value, dict):
                fill(self.rest, {name: value})
            elif name not in _PARTS and (value is not None or name not in self.rest):
                self._add_rest(name, value)
        told = ""
        if "delta" in choice:
            self.is_chat = True
            fill(self._message, delta or {})
            content = delta.get("content") if delta else None
            told = content if type(content) is str else _text_of(delta)
        if whole is not None:
            told = told or self._add_whole(whole)
        if text and not told:
            told = text
            if "delta" in choice:
                fill(self._message, {"content": text})
            else:
                self._text.append(text)
        reason = choice.get("finish_reason")
        if reason or self.ended:
            self._end(reason, brings=bool(told) or _brings(delta))
        return told

    def _end(self, reason: Any, *, brings: bool) -> None:
        """Note whether it has its end."""
        self._goes_on = self._goes_on or (brings and self.ended)
        if says(reason):
            if meaning_of(self.rest["finish_reason"]) != "failed":
                self.rest["finish_reason"] = reason
            self.ended = not (brings and self._goes_on)
        elif brings:
            self.ended = False

    def _add_whole(self, message: Any) -> str:
        """Add a message in the place of deltas: all that was said so far, or the next bit; return what is new in it."""
        before, now = _text_of(self._whole), _text_of(message)
        if isinstance(self._whole, dict) and isinstance(message, dict) and not now.startswith(before):
            grown: dict[str, Any] = {}
            fill(grown, self._whole)
            fill(grown, message)
            self._whole = settled(grown)
            return now
        self._whole = message
        return "" if self._message else now[len(before) :]

    def _add_rest(self, name: str, value: Any) -> None:
        if type(value) is list and type(self.rest.get(name)) is list:
            self.rest[name].extend(value)
        else:
            self.rest[name] = value.copy() if type(value) is list else value

    def document(self, index: int, *, chat: bool) -> dict[str, Any]:
        """Return it as it is in a plain answer."""
        rest: dict[str, Any] = settled(self.rest)
        if not chat and self._whole is None:
            return {"text": "".join(self._text), "index": index} | rest
        return {"index": index, "message": self._whole_message()} | rest

    def _whole_message(self) -> Any:
        message: Any = settled(self._message)
        if not any(message.get(name) for name in message if name != "role") and isinstance(self._whole, dict):
            return message | self._whole
        message = {"role": "assistant", "content": None} | message
        for call in _calls(message):
            call.pop("index", None)
        if message["content"] == "" and any(message.get(name) for name in ("tool_calls", "function_call", "refusal")):
            message["content"] = None  # a plain answer has no text beside a call or a refusal
        if not message["content"] and self._text:
            message["content"] = "".join(self._text)
        return message


def _text_of(message: Any) -> str:
    """Return the text of a message, or of a part of one."""
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else (joined(content) if isinstance(content, list) else None) or ""


def _error_of(document: dict[str, Any]) -> Any:
    """Return the error in a document that has one: the object of that name, else all of it."""
    return document["error"] if says_something(document.get("error")) else document


def _brings(delta: Any) -> bool:
    """Check whether a part brings anything but a role."""
    return bool(delta) and any(value and name != "role" for name, value in delta.items())


# Whole streams.


def assembled(body: bytes) -> Assembly:
    """Assemble a stream that came to its end, or was cut anywhere."""
    assembly = Assembly()
    reader = EventReader(len(body) + 1)
    for event in reader.push(body):
        assembly.add(event)
    assembly.add_unended(reader.finish())
    return assembly


def encoded(document: dict[str, Any]) -> bytes:
    """Return a body as JSON; raise `MalformedError` if it holds what JSON cannot, or is nested too deeply."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        pass
    try:  # half of a character, which another chunk had the other half of
        return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise MalformedError from None


def as_stream(assembly: Assembly, body: bytes) -> bytes:
    """Return a stream of one chunk that is judged and put together as the given one is.

    `body` is its document, perhaps with something masked. ``[DONE]``, an error or something unreadable follows it.
    """
    parts = [encoded(assembly.as_chunk(read(body)))]
    parts += (assembly.stray.splitlines() or [b"{"]) if assembly.malformed else []
    parts += [encoded({"error": assembly.error})] if assembly.error is not None else []
    parts += [DONE] if assembly.done else []
    return b"".join(b"data: %s\n\n" % part for part in parts)


def choices_asked(body: bytes) -> int:
    """Return how many choices a request asks for, at least 1: ``n``, times the prompts."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 1
    if type(request) is not dict:
        return 1
    n, prompt = request.get("n"), request.get("prompt")
    several = type(prompt) is list and any(type(each) is not int for each in prompt)
    return max(1, n if type(n) is int else 1) * (len(prompt) if several and type(prompt) is list else 1)


def _calls(message: Any) -> list[dict[str, Any]]:
    """Return the calls of a message that are objects."""
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return read(data)
    except UnreadableError:
        raise MalformedError from None


def _is_json(data: bytes) -> bool:
    try:
        _parsed(data)
    except MalformedError:
        return False
    return True


def _told_error(data: bytes) -> Any:
    """Return the error of an event of that name: an object of the API's shape, or a text."""
    try:
        value = _parsed(data)
    except MalformedError:
        return data.decode(errors="replace") or "error"
    return (value.get("error") if isinstance(value, dict) else None) or value or "error"
