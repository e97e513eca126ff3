"""Canned answers: a connection for tests of your own code, with no server, no key and no address behind it.

A pipeline takes its connection as an argument, and its test gives it one that answers as the test wants:

.. code-block:: python

    # pipeline.py
    import tablenodes as tn

    def rated(reviews, connection=None):
        node = tn.CreateChatCompletion(model="gpt-4o-mini", prompt="Rate: {{ review }}", answer={"stars": int})
        out = node.run(reviews, connection, progress=False)
        return out.table.assign(good=out.answers["stars"] >= 4)

    # test_pipeline.py
    import pandas as pd
    import tablenodes as tn
    from pipeline import rated

    def test_four_stars_and_more_are_good():
        def reply(request):
            return {"stars": 5 if "great" in request["messages"][0]["content"] else 2}

        table = rated(pd.DataFrame({"review": ["great", "poor"]}), tn.testing.canned(reply))
        assert list(table["good"]) == [True, False]

    def test_a_review_that_is_refused_is_neither():
        refused = (400, {"error": {"message": "too long", "code": "context_length_exceeded"}})
        table = rated(pd.DataFrame({"review": ["great"]}), tn.testing.canned(refused))
        assert table["good"].isna().all() and list(table["outcome"]) == ["http_error"]
"""

from __future__ import annotations

import time
from array import array
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from .connection import Connection
from .engine.calls import Answer, Call, Chunk, Event
from .errors import UsageError

Reply: TypeAlias = "str | Mapping[str, Any] | Sequence[float] | tuple[int, Any] | Callable[[dict[str, Any]], Any]"

_NOWHERE = "https://canned.invalid/v1"  # a name that can never be found: nothing could be sent there
_PER_TOKEN = 4  # characters
_SUCCESS = 200
_FLAGGED = 0.5  # the score from which on a category is flagged
_PIECE = 8  # characters of a stream that come together


def canned(reply: Reply, *, prices: Mapping[str, Mapping[str, float]] | None = None) -> Connection:
    """Return a connection that sends nothing: every request has this reply.

    Parameters
    ----------
    reply : str, mapping, (int, body) or callable
        A text is what the model says. So is a mapping, as JSON, or any other value that ``answer=`` asks for: it is put
        into the form that the request asks for (an answer of one value is wrapped, a forced tool is called with it).
        For `CreateModeration` it is whether something is flagged, the flagged categories, or the scores of some.
        A pair is an HTTP status and a whole body: a mapping, a text or bytes, such as
        ``(429, {"error": {"message": "slow down"}})``. A function is called with each request's body, a dict, and
        returns one of these; what it raises ends the run as a `TransportError`. For embeddings, a list of numbers is
        the vector of one text; a function is asked for each text of a request.
    prices : mapping, optional
        As those of `Connection`: what the answers cost, for tests of a cost or of ``Limits(max_cost=…)``.

    Returns
    -------
    Connection
        As many rows as there are can be answered at once; streams and several choices (``n``) come as they are asked
        for, tokens are counted at four characters each. A journal knows its answers for those of no real server.

    Examples
    --------
    >>> import pandas, tablenodes as tn
    >>> node = tn.CreateChatCompletion(model="m", prompt="{{ word }}", answer=["noun", "verb"])
    >>> node.run(pandas.DataFrame({"word": ["go"]}), tn.testing.canned("verb")).answer.tolist()
    ['verb']
    """
    if isinstance(reply, tuple):
        _checked(reply)
    return Connection(_NOWHERE, "", transport=Canned(reply), prices=prices)


class Canned:
    """A transport whose calls are answered at once."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._events: deque[Event] = deque()

    def start(self, call: Call) -> None:
        """Answer a call."""
        began, request = time.monotonic(), orjson.loads(call.body)
        is_embedding = call.request.url.partition("?")[0].endswith("/embeddings")
        given = _embedded(request, self._given) if is_embedding else self._given(request)
        status, body = _checked(given) if isinstance(given, tuple) else (_SUCCESS, None)
        pieces = [*_answered(call.request.url, request, given)] if body is None else [body]
        self._events += (Chunk(call.key, piece) for piece in pieces if request.get("stream") is True)
        length = b"".join(pieces)
        kind = b"text/event-stream" if body is None and request.get("stream") is True else b"application/json"
        head = b"HTTP/1.1 %d Canned\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(length))
        self._events.append(Answer(call.key, status, head, length, elapsed=time.monotonic() - began))

    def _given(self, request: dict[str, Any]) -> Any:
        return self._reply(request) if callable(self._reply) else self._reply

    def cancel(self, key: int) -> None:
        """Drop a call."""
        self._events = deque(event for event in self._events if event.key != key)

    def wait(self, seconds: float) -> list[Event]:
        """Return what has come, which is all."""
        events = [*self._events]
        self._events.clear()
        return events

    def close(self) -> None:
        """Drop every call."""
        self._events.clear()


def _embedded(request: dict[str, Any], reply: Callable[[dict[str, Any]], Any]) -> tuple[Any, ...]:
    """Return the reply to a request for embeddings: that of each of its texts is a vector, or else the whole one."""
    asked = request.get("input")
    inputs = asked if isinstance(asked, list) and asked and not isinstance(asked[0], int) else [asked]
    items = []
    for index, text in enumerate(inputs):
        vector = reply({**request, "input": text})
        if isinstance(vector, tuple):
            return vector
        numbers = array("f", vector)
        told: Any = b64encode(numbers).decode() if request.get("encoding_format") == "base64" else numbers.tolist()
        items.append({"object": "embedding", "index": index, "embedding": told})
    used = sum(max(1, len(str(text)) // _PER_TOKEN) for text in inputs)
    usage = {"prompt_tokens": used, "total_tokens": used}
    return 200, {"object": "list", "data": items, "model": request.get("model"), "usage": usage}


def _checked(reply: tuple[Any, ...]) -> tuple[int, bytes]:
    """Return the status and the body of a reply that is both."""
    if len(reply) != 2 or type(reply[0]) is not int or not 100 <= reply[0] <= 599:
        raise UsageError("a canned reply that is a tuple must be an HTTP status and a body, such as (400, {})")
    status, body = reply
    if isinstance(body, bytes):
        return status, body
    return status, body.encode() if isinstance(body, str) else orjson.dumps(body)


def _answered(url: str, request: Mapping[str, Any], reply: Any) -> Iterator[bytes]:
    """Return the body of a good answer of the operation that was asked, of a stream in pieces."""
    asked = url.partition("?")[0].rpartition("/")[2]
    return {"moderations": _moderated, "responses": _responded}.get(asked, _said)(request, reply)


def _moderated(request: Mapping[str, Any], reply: Any) -> Iterator[bytes]:
    """Yield a moderation: of true or false, of the flagged categories, or of the scores of some."""
    if isinstance(reply, str | list | tuple):
        reply = dict.fromkeys([reply] if isinstance(reply, str) else reply, True)
    given = reply if isinstance(reply, Mapping) else {}
    scores = {name: float(value) for name, value in given.items()}
    categories = {name: score >= _FLAGGED for name, score in scores.items()}
    flagged = any(categories.values()) if isinstance(reply, Mapping) else bool(reply)
    result = {"flagged": flagged, "categories": categories, "category_scores": scores}
    yield orjson.dumps({"id": "canned", "model": request.get("model"), "results": [result]})


def _responded(request: Mapping[str, Any], reply: Any) -> Iterator[bytes]:
    """Yield a response, of a stream in pieces."""
    text, tool = _text(_as_chat(request), reply)
    part = {"type": "output_text", "text": text, "annotations": []}
    item: dict[str, Any] = {"id": "msg_canned", "type": "message", "role": "assistant", "content": [part]}
    if tool is not None:
        item = {"id": "fc_canned", "type": "function_call", "call_id": "call_canned", "name": tool, "arguments": text}
    used = [max(1, len(each) // _PER_TOKEN) for each in (orjson.dumps(request.get("input")), text)]
    usage = dict(zip(("input_tokens", "output_tokens", "total_tokens"), (*used, sum(used)), strict=True))
    whole = {"id": "resp_canned", "object": "response", "created_at": 0, "model": request.get("model")}
    whole |= {"status": "completed", "output": [{**item, "status": "completed"}], "usage": usage}
    if request.get("stream") is not True:
        yield orjson.dumps(whole)
        return
    begun: dict[str, Any] = {**whole, "status": "in_progress", "output": [], "usage": None}
    events = [{"type": "response.created", "response": begun}]
    for at in range(0, len(text) if tool is None else 0, _PIECE):
        events.append({"type": "response.output_text.delta", "delta": text[at : at + _PIECE]})
    for event in (*events, {"type": "response.completed", "response": whole}):
        yield b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), orjson.dumps(event))


def _as_chat(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a request for a response says of its answer, as a chat says it."""
    text, choice = request.get("text"), request.get("tool_choice")
    form = text.get("format") if isinstance(text, Mapping) else None
    made: dict[str, Any] = {}
    if isinstance(form, Mapping):
        made["response_format"] = {"type": form.get("type"), "json_schema": form}
    if isinstance(choice, Mapping) and "name" in choice:
        made["tool_choice"] = {"function": choice}
        made["tools"] = [{"function": tool} for tool in request.get("tools", ())]
    return made


def _said(request: Mapping[str, Any], reply: Any) -> Iterator[bytes]:
    """Yield the body of a good answer, of a stream in pieces."""
    text, tool = _text(request, reply)
    count: int = request["n"] if type(request.get("n")) is int else 1
    is_chat = "messages" in request
    written = orjson.dumps(request.get("messages", request.get("prompt")))
    used = [max(1, len(part) // _PER_TOKEN) for part in (written, text)]
    usage = {"prompt_tokens": used[0], "completion_tokens": count * used[1]}
    usage["total_tokens"] = sum(usage.values())
    kind = "chat.completion" if is_chat else "text_completion"
    head = {"id": "canned", "object": kind, "created": 0, "model": request.get("model")}
    if request.get("stream") is not True:
        choices = [{"index": index, **_choice(text, tool, is_chat=is_chat)} for index in range(count)]
        yield orjson.dumps({**head, "choices": choices, "usage": usage})
        return
    head["object"] = f"{kind}.chunk" if is_chat else kind
    for index in range(count):
        for at in range(0, len(text) + _PIECE, _PIECE):  # the last one is empty, and says that it was the last
            part = _choice(text[at : at + _PIECE], tool, is_chat=is_chat)
            if is_chat:
                part = {"delta": _delta(part.pop("message"), is_first=at == 0)}
            end = "stop" if at >= len(text) else None
            yield b"data: %b\n\n" % orjson.dumps({**head, "choices": [{"index": index, **part, "finish_reason": end}]})
    yield b"data: %b\n\n" % orjson.dumps({**head, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _choice(text: str, tool: str | None, *, is_chat: bool) -> dict[str, Any]:
    """Return a choice with a text, or with a call of a tool that has the text as its arguments."""
    end = {"finish_reason": "stop"}
    if not is_chat:
        return {"text": text, **end}
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if tool is not None:
        called = {"id": "call_canned", "type": "function", "function": {"name": tool, "arguments": text}}
        message = {"role": "assistant", "content": None, "tool_calls": [called]}
    return {"message": message, **end}


def _delta(message: dict[str, Any], *, is_first: bool) -> dict[str, Any]:
    """Return a piece of a message; only the first says whose it is, and which tool is called."""
    calls = message.get("tool_calls")
    if calls is None:
        return message if is_first else {"content": message["content"]}
    if is_first:
        return {**message, "tool_calls": [{"index": 0, **calls[0]}]}
    return {"tool_calls": [{"index": 0, "function": {"arguments": calls[0]["function"]["arguments"]}}]}


def _text(request: Mapping[str, Any], reply: Any) -> tuple[str, str | None]:
    """Return what is said, as the request asks for it, and the tool that is called with it, if it asks for one."""
    choice, form = request.get("tool_choice"), request.get("response_format")
    tool = choice["function"]["name"] if isinstance(choice, dict) and "function" in choice else None
    form = form if isinstance(form, dict) else {}
    kind = form.get("type")
    schema: Any = form["json_schema"].get("schema") if kind == "json_schema" else None
    if tool is not None:
        functions = (each.get("function") for each in request.get("tools", ()))
        schema = next((each.get("parameters") for each in functions if each and each.get("name") == tool), None)
    wants_json = tool is not None or kind in ("json_schema", "json_object")
    if isinstance(reply, str) and not (wants_json and _is_wrapped(schema, kind) and not _is_object(reply)):
        is_said = tool is not None and not _is_object(reply)
        return reply, None if is_said else tool
    if wants_json and not isinstance(reply, Mapping):
        reply = {"answer": reply}
    return orjson.dumps(reply, default=dict).decode(), tool


def _is_wrapped(schema: Any, kind: str | None) -> bool:
    """Check whether an answer of one value is asked for, which stands in an object; a plain object may have one."""
    if schema is None:
        return kind == "json_object"
    return isinstance(schema, Mapping) and [*schema.get("properties", ())] == ["answer"]


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
