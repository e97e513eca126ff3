"""What stands around the embedded model's transport: its functions and tools, and a look at whether it has ended."""

from __future__ import annotations

from typing import Any

import orjson

from ..engine.calls import Answer, Call, Event, Transport
from ..engine.transports.wrapper import Wrapper
from ..errors import ModelError
from .function_requests import Offer, plainly
from .server import LocalServer

_LIMIT = b'"max_output_tokens"'
_COMPLETED, _INCOMPLETE = b"event: response.completed\ndata: ", b"event: response.incomplete\ndata: "


class FunctionCalls(Wrapper):
    """A transport that serves functions and tools with a schema-constrained answer.

    A small model ignores ``tools`` and ``functions``. So they are taken out of a request, and the answer is held to a
    JSON schema: an object of ``name`` and ``arguments``, one variant a function. What comes back is given the API's own
    shape. Requests that speak of no functions pass untouched.

    - One call is made, whatever ``parallel_tool_calls`` says.
    - ``"auto"`` always calls a function: this model can't tell when it should not. Where the conversation ends with a
      function's result, ``"auto"`` answers it in words.
    - The request's own ``response_format`` gives way where a function is called.
    - Examples of the functions are put before the conversation and are among the prompt's tokens.
    - ``stream`` is left out where a function is called: the answer is one JSON object.
    - An answer that isn't a whole call (a small ``max_tokens`` cut it) stays as it is: a text.
    """

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner)
        self._offers: dict[int, Offer] = {}
        self._limits: dict[int, int] = {}

    def start(self, call: Call) -> None:
        """Begin a call, with its functions said plainly."""
        try:
            body, offer = plainly(call.body)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            # Not of the API's shape, which only a schema of the user's own lets pass: the server says what is wrong.
            body, offer = call.body, None
        if offer is not None:
            self._offers[call.key] = offer
        if _LIMIT in call.body and (limit := _limit_of(call.body)) is not None:
            self._limits[call.key] = limit
        self.inner.start(call if body is call.body else call._replace(body=body))

    def cancel(self, key: int) -> None:
        """Drop a call."""
        self._offers.pop(key, None)
        self._limits.pop(key, None)
        self.inner.cancel(key)

    def wait(self, seconds: float) -> list[Event]:
        """Return the events that came, answers with a call in the API's shape."""
        events = self.inner.wait(seconds)
        return [self._told(event) for event in events] if self._offers or self._limits else events

    def close(self) -> None:
        """Drop every call and close every connection."""
        self._offers.clear()
        self._limits.clear()
        self.inner.close()

    def _told(self, event: Event) -> Event:
        if not isinstance(event, Answer):
            return event
        offer, limit = self._offers.pop(event.key, None), self._limits.pop(event.key, None)
        if event.status != 200 or event.fault is not None:
            return event
        if limit is not None:
            return event._replace(body=_cut_at(event.body, limit))
        return event if offer is None else event._replace(body=with_calls(event.body, offer))


def _limit_of(body: bytes) -> int | None:
    request = _parsed(body)
    limit = request.get("max_output_tokens") if isinstance(request, dict) and "input" in request else None
    return limit if type(limit) is int else None


def _cut_at(body: bytes, limit: int) -> bytes:
    """Return a response that has all the tokens that it may have as one that was cut: this server says of none.

    Of one that is streamed, it is in the last event.
    """
    before, completed, last = body.rpartition(_COMPLETED)
    event = _parsed(last)
    answer = event.get("response") if completed and isinstance(event, dict) else event
    if not isinstance(answer, dict):
        return body
    usage = answer.get("usage")
    if not isinstance(usage, dict) or answer.get("status") != "completed" or usage.get("output_tokens", 0) < limit:
        return body
    cut = answer | {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    if not completed:
        return orjson.dumps(cut)
    return b"%b%b%b\n\n" % (before, _INCOMPLETE, orjson.dumps({"type": "response.incomplete", "response": cut}))


def with_calls(body: bytes, offer: Offer) -> bytes:
    """Return an answer with its calls where the API has them; the very same bytes if no choice is a whole call."""
    answer = _parsed(body)
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list):
        return body
    found = False
    for number, choice in enumerate(choices):
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict) or (function := _call(message.get("content"), offer)) is None:
            continue
        found = True
        message["content"] = None
        if offer.legacy:
            message["function_call"] = function
        else:
            identity = f"call_{str(answer.get('id', '')).removeprefix('chatcmpl-')}_{number}"
            message["tool_calls"] = [{"id": identity, "type": "function", "function": function}]
        choice["finish_reason"] = "function_call" if offer.legacy else "tool_calls"
    return orjson.dumps(answer) if found else body


def _call(content: Any, offer: Offer) -> dict[str, str] | None:
    call = _parsed(content) if isinstance(content, str) else None
    if not isinstance(call, dict) or "arguments" not in call:
        return None
    if all(call.get("name") != function.get("name") for function in offer.functions):
        return None
    return {"name": call["name"], "arguments": orjson.dumps(call["arguments"]).decode()}


def _parsed(text: bytes | str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


class Watched(Wrapper):
    """Carries calls to the embedded model, and stops where the model has ended: nobody else would answer."""

    def __init__(self, inner: Transport, server: LocalServer) -> None:
        super().__init__(inner)
        self._server = server

    def wait(self, seconds: float) -> list[Event]:
        """Return the events that came; `ModelError` if a call failed because the server has ended."""
        events = self.inner.wait(seconds)
        failed = any(isinstance(event, Answer) and event.status is None for event in events)
        if failed and (reason := self._server.ended) is not None:
            raise ModelError(f"the embedded model has ended: {reason}")
        return events
