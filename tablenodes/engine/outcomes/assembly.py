"""A streamed answer put together: chunks in, the one body out that a plain answer would have had."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from .answer_json import UnreadableError, joined, read
from .sse import EventReader

if TYPE_CHECKING:
    from .sse import ServerEvent

_DONE = b"[DONE]"
_CHUNK = "chat.completion.chunk"
_FIRST_TOLD = ("id", "object", "created", "model")  # what each chunk repeats: the first that is not empty counts
_PARTS = frozenset(("index", "delta", "text"))
_NOT_TOLD = frozenset(("choices", "obfuscation"))
"""What is not passed on as it is; the latter are random letters that hide the length of a chunk."""
_DEEPEST = 16  # objects nested deeper than this are not filled: the last one counts
_REPEATED = frozenset(("id", "type", "role", "object", "format", "index"))
"""Texts that name something: a part repeats them, it does not lengthen them."""


class MalformedError(ValueError):
    """A chunk is not what the API says."""


class Assembly:
    """One streamed answer, as far as it has come.

    `done`: ``[DONE]`` came. `error`: the error that came in the place of a chunk, truthy; else None. `malformed`: a
    chunk could not be read. `counted`: tokens were told with the last part of a choice, or after it.
    """

    def __init__(self) -> None:
        self.done = self.malformed = self.counted = False
        self.error: Any = None
        self._top: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    @property
    def ended(self) -> bool:
        """Whether nothing can follow any more."""
        return self.done or self.error is not None

    def finished(self, choices: int = 1) -> bool:
        """Check whether every choice that started has its end, and there are as many as were asked for."""
        started = self._choices.values()
        return len(started) >= choices and all(choice.rest.get("finish_reason") is not None for choice in started)

    def is_whole(self, choices: int = 1) -> bool:
        """Check whether nothing is missing: ``[DONE]`` came, or the end of every choice; `choices` were asked for."""
        return self.done or self.finished(choices)

    def add(self, event: ServerEvent) -> str:
        """Add an event and return the text by which it lengthens the first choice."""
        if self.ended:
            return ""
        data = event.data.strip()
        if data == _DONE:
            self.done = True
        elif event.name == b"error":
            self.error = _told_error(data)
        elif data:
            try:
                return self._chunk(_parsed(data))
            except MalformedError:
                # What has a name of its own is another matter: a sign of life, for example.
                self.malformed = self.malformed or event.name in (b"", b"message")
        return ""

    def add_unended(self, event: ServerEvent) -> None:
        """Add what came after the last blank line, if it is whole: no start of a JSON object is one itself."""
        if event.data.strip() == _DONE or event.name == b"error" or _is_json(event.data):
            self.add(event)

    def document(self) -> dict[str, Any]:
        """Return the body, as far as it has come."""
        top = {name: self._top[name] for name in _FIRST_TOLD if name in self._top}
        kind = top.get("object")
        chat = kind == _CHUNK or any(choice.is_chat for choice in self._choices.values())
        if kind == _CHUNK or not kind:
            top["object"] = "chat.completion" if chat else "text_completion"
        made = [self._choices[index].document(index, chat=chat) for index in sorted(self._choices)]
        return top | {"choices": made} | self._top | top

    def _chunk(self, chunk: Any) -> str:
        if type(chunk) is not dict:
            raise MalformedError
        if chunk.get("error") or chunk.get("object") == "error":
            self.error = chunk.get("error") or chunk
            return ""
        choices = chunk.get("choices")
        if choices is not None and type(choices) is not list:
            raise MalformedError
        top = self._top
        for name, value in chunk.items():
            if name in _NOT_TOLD or (name in top and top[name] == value):
                continue
            if not (top.get(name) if name in _FIRST_TOLD else value is None and name in top):
                top[name] = value
        if choices or chunk.get("usage"):
            self.counted = bool(chunk.get("usage"))  # some servers count all the while
        text = ""
        for place, choice in enumerate(choices or ()):
            text += self._choice(choice, place)
        return text

    def _choice(self, choice: Any, place: int) -> str:
        if type(choice) is not dict:
            raise MalformedError
        index = choice.get("index", place)
        if type(index) is not int:
            raise MalformedError
        known = self._choices.get(index)
        if known is None:
            known = self._choices[index] = _Choice()
        text = known.add(choice)
        return text if index == 0 else ""


class _Choice:
    """One choice, as far as it has come; `rest` is what is beside its message or text."""

    __slots__ = ("_message", "_text", "_whole", "is_chat", "rest")

    def __init__(self) -> None:
        self.is_chat = False
        self.rest: dict[str, Any] = {}
        self._message: dict[str, Any] = {}
        self._whole: Any = None
        self._text = _Text()

    def add(self, choice: dict[str, Any]) -> str:
        """Add a part and return its text."""
        delta, text = choice.get("delta"), choice.get("text")
        if not isinstance(delta, dict | None) or not isinstance(text, str | None):
            raise MalformedError
        for name, value in choice.items():
            if name == "message":
                self._whole = value
            elif name == "logprobs" and isinstance(value, dict):
                _merge(self.rest, {name: value})
            elif name not in _PARTS and (value is not None or name not in self.rest):
                self._add_rest(name, value)
        if "delta" in choice:
            self.is_chat = True
            _merge(self._message, delta or {})
            text = delta.get("content") if delta else None
        elif text:
            self._text.append(text)
        if isinstance(text, str):
            return text
        return (joined(text) if isinstance(text, list) else None) or ""

    def _add_rest(self, name: str, value: Any) -> None:
        if type(value) is list and type(self.rest.get(name)) is list:
            self.rest[name].extend(value)
        else:
            self.rest[name] = value.copy() if type(value) is list else value

    def document(self, index: int, *, chat: bool) -> dict[str, Any]:
        """Return it as it is in a plain answer."""
        rest: dict[str, Any] = {"finish_reason": None} | _settled(self.rest)
        if not chat and self._whole is None:
            return {"text": "".join(self._text), "index": index} | rest
        return {"index": index, "message": self._whole_message()} | rest

    def _whole_message(self) -> Any:
        if not self._message and isinstance(self._whole, dict):
            return self._whole
        message = {"role": "assistant", "content": None} | _settled(self._message)
        for call in _calls(message):
            call.pop("index", None)
        if message["content"] == "" and any(message.get(name) for name in ("tool_calls", "function_call", "refusal")):
            message["content"] = None  # a plain answer has no text beside a call or a refusal
        return message


# How the parts of a value that comes bit by bit become the value: texts and lists grow, objects are filled.


class _Text(list[str]):
    """A text that grows; its pieces are joined once, at the end."""


class _Items(list[Any]):
    """A list whose items come bit by bit, each part with the item's ``index``.

    A part with an ``id`` of its own begins a new item, for some servers number all calls 0, or none. `in_parts` says
    whether any item came so; the others are as they came.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_parts = False
        self._by_index: dict[int | None, dict[str, Any]] = {}

    def add(self, part: dict[str, Any], depth: int) -> None:
        """Add a part of an item."""
        self.in_parts = True
        number = part.get("index")
        index = number if type(number) is int else None
        item = self._by_index.get(index)
        known, identity = None if item is None else item.get("id"), part.get("id")
        if item is None or (known and identity and known != identity):
            item = {}
            self.append(item)
            self._by_index[index] = item
        self._by_index[None] = item  # parts without a number go on with the last
        _merge(item, part, depth)


def _merge(target: dict[str, Any], part: dict[str, Any], depth: int = 0) -> None:
    """Fill an object with a part of it: anything that is no text, list or object replaces, null changes nothing.

    `target` holds `_Text`, `_Items` and objects of its own; nothing of `part` is changed later on.
    """
    for name, value in part.items():
        kind = type(value)
        if value is None:
            target.setdefault(name, None)
        elif kind is str:
            _lengthen(target, name, value)
        elif kind is list:
            _extend(target, name, value, depth)
        elif kind is dict and depth < _DEEPEST:
            known = target.get(name)
            if type(known) is not dict:
                known = target[name] = {}
            _merge(known, value, depth + 1)
        else:
            target[name] = value


def _lengthen(target: dict[str, Any], name: str, value: str) -> None:
    known = target.get(name)
    if name in _REPEATED:
        if value or known is None:
            target[name] = value
    elif type(known) is _Text:
        if name != "name" or "".join(known) != value:  # some servers repeat a function's name
            known.append(value)
    elif type(known) is _Items:
        known.append(value)
    else:
        target[name] = _Text((value,))


def _extend(target: dict[str, Any], name: str, value: list[Any], depth: int) -> None:
    known = target.get(name)
    if type(known) is not _Items:
        items = target[name] = _Items()
        if type(known) is _Text:
            items.append("".join(known))
        known = items
    for item in value:
        in_parts = type(item) is dict and (type(item.get("index")) is int or name == "tool_calls")
        if in_parts and depth < _DEEPEST:
            known.add(item, depth + 1)
        else:
            known.append(item)


def _settled(value: Any, depth: int = 0) -> Any:
    """Return a merged value as plain JSON."""
    if type(value) is _Text:
        return "".join(value)
    if type(value) is dict and depth <= _DEEPEST:
        return {name: _settled(item, depth + 1) for name, item in value.items()}
    if type(value) is _Items:
        return [_settled(item, depth + 1) for item in value] if value.in_parts else [*value]
    return value


# Whole streams.


def assembled(body: bytes) -> Assembly:
    """Assemble a stream that came to its end, or was cut anywhere."""
    assembly = Assembly()
    reader = EventReader(len(body) + 1)
    for event in reader.push(body):
        assembly.add(event)
    last = reader.finish()
    if last is not None:
        assembly.add_unended(last)
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
    document = read(body)
    for choice in document["choices"]:
        if "message" in choice:
            choice["delta"] = message = choice.pop("message")
            for number, call in enumerate(_calls(message)):
                call["index"] = number
    parts = [encoded(document)]
    parts += [b"?"] if assembly.malformed else []
    parts += [encoded({"error": assembly.error})] if assembly.error is not None else []
    parts += [_DONE] if assembly.done else []
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
